//! What each aggregate of the registry costs: `cargo run --release -p thyme-timeline --example aggregates -- ROWS`.
//!
//! One line of JSON for each: nanoseconds a row inserted and summarised, a read of a window of an hour and of one of a
//! day, both of a row a second, and rows of a training set a second. What is first takes no part: the rows alone.
#![expect(clippy::disallowed_methods, reason = "it measures time")]
#![expect(clippy::unwrap_used, reason = "an example")]

use std::hint::black_box;
use std::time::Instant;

use thyme_core::aggregate::{Aggregate, Settings, all, further, sample_arguments};
use thyme_core::value::column;
use thyme_core::{DataType, EventTime, Position, Span, Value, Window};
use thyme_timeline::{Batch, BatchColumn, Layout, Slot, SweepOutput, Timeline};

const ROUNDS: usize = 3;
const SECOND_US: i64 = 1_000_000;
const COLUMNS: [DataType; 4] = [DataType::Float, DataType::Str, DataType::Vector(64), DataType::Int];

/// One row a second: prices in cents, twenty categories, vectors, small ints.
fn batch(rows: usize) -> Batch {
    let mut seed = 88_172_645_463_325_252_u64;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let mut value = |data_type: DataType| match data_type {
        DataType::Float => Value::Float((next() % 100_000) as f64 / 100.0),
        DataType::Str => Value::Str(format!("category {}", next() % 20).into()),
        DataType::Vector(length) => {
            Value::Vector((0..length).map(|_| (next() % 2000) as f64 / 1000.0 - 1.0).collect())
        }
        _ => Value::Int((next() % 100) as i64),
    };
    let columns = COLUMNS.map(|data_type| {
        let values: Vec<Value> = (0..rows).map(|_| value(data_type)).collect();
        BatchColumn::new(data_type, column(data_type, &values).as_ref()).unwrap()
    });
    Batch {
        times: (0..rows).map(|row| row as i64 * SECOND_US).collect(),
        positions: (0..rows)
            .map(|row| Position::new(1 + row as u64 / 1000, (row % 1000) as u32).to_bits())
            .collect(),
        columns: columns.into(),
        predicates: Vec::new(),
        changes: None,
    }
}

/// A layout of the columns that a slot reads, and that slot, if the aggregate is defined on them.
fn layout(aggregate: &'static dyn Aggregate, of: Option<usize>) -> Option<Layout> {
    let arguments = sample_arguments(aggregate).into_iter().next()?;
    let settings = Settings::of(aggregate, &arguments).ok()?;
    let mut columns: Vec<DataType> = of.map(|of| COLUMNS[of]).into_iter().collect();
    let of = of.map(|of| (0, COLUMNS[of]));
    let by = further(aggregate, &arguments).map(|_| {
        columns.push(DataType::Str);
        (columns.len() - 1, DataType::Str)
    });
    let slot = Slot::new(aggregate, settings, of, None).by(by);
    aggregate.output_type(&slot.call).ok()?;
    Some(Layout { columns, slots: vec![slot], ..Layout::default() })
}

/// The least nanoseconds that one of so many took.
fn measured(count: usize, mut run: impl FnMut()) -> f64 {
    let rounds = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed().as_nanos() as f64 / count as f64
    });
    rounds.fold(f64::INFINITY, f64::min)
}

fn filled(layout: &Layout, rows: &Batch) -> Timeline {
    let mut timeline = Timeline::new();
    for row in 0..rows.len() {
        timeline.insert(layout, rows, row);
        if row % 1000 == 999 {
            timeline.seal(layout);
        }
    }
    timeline
}

fn measure(name: &str, layout: &Layout, rows: &Batch) {
    let columns = |data_type: &DataType| {
        let place = COLUMNS.iter().position(|known| known == data_type).unwrap();
        rows.columns[place].clone()
    };
    let rows = Batch { columns: layout.columns.iter().map(columns).collect(), ..rows.clone() };
    let alone = Layout { slots: Vec::new(), ..layout.clone() };
    let insert = measured(rows.len(), || _ = black_box(filled(&alone, &rows)));
    let ingest = measured(rows.len(), || _ = black_box(filled(layout, &rows)));
    let timeline = filled(layout, &rows);
    let last = rows.len() as i64 - 1;
    let read = |window_s: i64, reads: usize| {
        measured(reads, || {
            for read in 0..reads as i64 {
                let until = (last - read * 7 % 300) * SECOND_US;
                let after = EventTime(until - window_s * SECOND_US);
                black_box(timeline.fold(layout, 0, after, EventTime(until), Position::MAX));
            }
        })
    };
    let labels: Vec<EventTime> = (0..=last).step_by(5).map(|second| EventTime(second * SECOND_US)).collect();
    let window = Some(Window::sliding(Span(3600 * SECOND_US)));
    let output = SweepOutput { slot: 0, window, retention: None, begins: None };
    let label = measured(labels.len(), || {
        timeline.sweep(layout, &[output], &labels, Position::MAX, &mut |_, _, outcome| {
            _ = black_box(outcome);
        });
    });
    println!(
        "{{\"aggregate\": \"{name}\", \"rows_alone_ns\": {insert:.1}, \"ingest_ns\": {ingest:.1}, \"read_1h_ns\": {:.0}, \
         \"read_1d_ns\": {:.0}, \"training_rows_per_s\": {:.0}}}",
        read(3600, 200),
        read(86_400, 20),
        1e9 / label,
    );
}

fn main() {
    let rows = std::env::args().nth(1).and_then(|rows| rows.parse().ok()).unwrap_or(100_000);
    let rows = batch(rows);
    for &aggregate in all() {
        let name = aggregate.name();
        let ofs = if aggregate.needs_of() { &[Some(0), Some(1), Some(3)][..] } else { &[None][..] };
        if let Some(layout) = ofs.iter().find_map(|of| layout(aggregate, *of)) {
            measure(name, &layout, &rows);
        }
        if let Some(layout) = layout(aggregate, Some(2)).filter(|_| matches!(name, "sum" | "avg" | "last")) {
            measure(&format!("{name} of vectors"), &layout, &rows);
        }
    }
}
