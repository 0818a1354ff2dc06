//! How long inserts, folds and sweeps take here: `cargo run --release -p thyme-timeline --example measure`.
#![expect(clippy::disallowed_methods, reason = "it measures time")]
#![expect(clippy::unwrap_used, reason = "an example")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::Float64Array;
use arrow::buffer::BooleanBuffer;
use thyme_core::aggregate::{ExactSum, Settings, lookup};
use thyme_core::{DataType, EventTime, Position, Span, Window};
use thyme_timeline::{Batch, BatchColumn, Layout, Slot, SweepOutput, Timeline};

fn layout(names: &[&str], predicates: usize) -> Layout {
    let slot = |name: &&str| {
        let of = (*name != "count").then_some((0, DataType::Float));
        Slot::new(lookup(name).unwrap(), Settings::default(), of, None)
    };
    Layout {
        columns: vec![DataType::Float],
        predicates,
        slots: names.iter().map(slot).collect(),
        ..Layout::default()
    }
}

/// One row a second; prices in cents.
fn batch(rows: usize) -> Batch {
    let mut seed = 88172645463325252u64;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let values = Float64Array::from_iter_values((0..rows).map(|_| (next() % 100_000) as f64 / 100.0));
    Batch {
        times: (0..rows).map(|i| i as i64 * 1_000_000).collect(),
        positions: (0..rows)
            .map(|i| Position::new(1 + i as u64 / 1000, (i % 1000) as u32).to_bits())
            .collect(),
        columns: vec![BatchColumn::new(DataType::Float, Arc::new(values).as_ref()).unwrap()],
        predicates: vec![BooleanBuffer::new_set(rows)],
        changes: None,
    }
}

fn report(what: &str, count: usize, run: impl FnOnce()) {
    let start = Instant::now();
    run();
    println!("{what:<60} {:>10.1} ns", start.elapsed().as_nanos() as f64 / count as f64);
}

fn main() {
    const ROWS: usize = 1_000_000;
    let rows = batch(ROWS);
    let all = layout(&["count", "sum", "avg", "min", "max", "first", "last"], 0);

    let BatchColumn::Words { values, .. } = &rows.columns[0] else { return };
    let like: Vec<u64> = (0..256).map(|i| (64.0 + i as f64 / 100.0).to_bits()).collect();
    for (name, block) in [("cents", &values[..256]), ("one binade", &like[..])] {
        let mut sum = ExactSum::default();
        report(&format!("ExactSum, 256 floats, {name}"), 100_000, || {
            (0..100_000).for_each(|_| black_box(&mut sum).add_all(black_box(block)));
        });
    }
    let mut sum = ExactSum::default();
    report("ExactSum, one float", ROWS, || {
        values.iter().for_each(|w| black_box(&mut sum).add(f64::from_bits(*w)))
    });
    report("ExactSum, rounding", ROWS, || (0..ROWS).for_each(|_| _ = black_box(black_box(&sum).round())));
    let mut hot = Timeline::new();
    report("insert, one entity, in order", ROWS, || {
        (0..ROWS).for_each(|row| _ = hot.insert(&all, &rows, row));
    });
    report("seal, 7 aggregates, a row", ROWS, || hot.seal(&all));
    println!("bytes a row, hot entity: {:.1}", hot.bytes() as f64 / ROWS as f64);
    let mut late = Timeline::new();
    report("insert, one entity, within the last 1000 rows at random", ROWS, || {
        (0..ROWS).for_each(|row| _ = late.insert(&all, &rows, row - row % 1000 + (row * 7919) % 1000));
    });
    const ENTITIES: usize = 100_000;
    let mut many: Vec<Timeline> = (0..ENTITIES).map(|_| Timeline::new()).collect();
    report("insert, 100k entities with 10 rows each, in turn", ROWS, || {
        (0..ROWS).for_each(|row| _ = many[row % ENTITIES].insert(&all, &rows, row));
    });
    println!("bytes an entity of 10 rows and one float column: {}", many[0].bytes());

    for rows_in_window in [10, 256, 1_000, 10_000, 100_000, 999_999] {
        for name in ["count", "sum", "max", "last"] {
            let one = layout(&["count", "sum", "avg", "min", "max", "first", "last"], 0);
            let slot = one.slots.iter().position(|s| s.aggregate.name() == name).unwrap();
            report(&format!("fold {name} over {rows_in_window} rows"), 10_000, || {
                for i in 0..10_000i64 {
                    let until = (ROWS as i64 - 1 - i % 300) * 1_000_000;
                    let after = until - rows_in_window as i64 * 1_000_000;
                    black_box(hot.fold(&one, slot, EventTime(after), EventTime(until), Position::MAX));
                }
            });
        }
    }
    let labels: Vec<EventTime> = (0..100_000).map(|i| EventTime(i * 10_000_000)).collect();
    for (index, slot) in all.slots.iter().enumerate() {
        for (window, name) in [(Some(Span(3_600_000_000)), "1h"), (None, "no window")] {
            let output = SweepOutput {
                slot: index,
                window: window.map(Window::sliding),
                retention: None,
                begins: None,
            };
            let what = format!("sweep {} {name}, 100k labels over 1M rows, a label", slot.aggregate.name());
            report(&what, labels.len(), || {
                hot.sweep(&all, &[output], &labels, Position::MAX, &mut |_, _, outcome| {
                    _ = black_box(outcome)
                });
            });
        }
    }
    let few: Vec<EventTime> = (0..10_000).map(|i| EventTime(i * 100_000_000 + 1)).collect();
    for window in [60_000_000, 3_600_000_000, 86_400_000_000] {
        let output = SweepOutput {
            slot: 1,
            window: Some(Window::sliding(Span(window))),
            retention: None,
            begins: None,
        };
        report(
            &format!("sweep sum, window {}, 10k labels over 1M rows, a label", Span(window)),
            few.len(),
            || {
                hot.sweep(&all, &[output], &few, Position::MAX, &mut |_, _, outcome| _ = black_box(outcome));
            },
        );
    }
    report("latest_rows, a label", labels.len(), || {
        hot.latest_rows(&all, None, &labels, Position::MAX, &mut |_, row| _ = black_box(row));
    });
    let mut bytes = 0;
    let mut chunks = Vec::new();
    report("encode, a row", ROWS, || {
        hot.dirty_chunks(&all, &mut |id, chunk| {
            bytes += chunk.len();
            chunks.push((id, chunk.to_vec()));
        });
    });
    println!("encoded bytes a row: {:.1}", bytes as f64 / ROWS as f64);
    report("decode and seal, a row", ROWS, || {
        black_box(
            Timeline::from_chunks(&all, chunks.iter().map(|(i, b)| (*i, b.as_slice())), Position::MAX)
                .unwrap(),
        );
    });
}
