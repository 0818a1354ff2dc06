//! One entity with ten million rows, in order and out of order: read, sweep, write, load. Prints JSON:
//! `cargo run --release -p thyme-timeline --example hot [ROWS]`.
#![expect(clippy::disallowed_methods, reason = "it measures time")]
#![expect(clippy::unwrap_used, reason = "an example")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::Float64Array;
use thyme_core::aggregate::{Settings, lookup};
use thyme_core::{DataType, EventTime, Position, Span, Window};
use thyme_timeline::{Batch, BatchColumn, Layout, Slot, SweepOutput, Timeline};

const SECOND: i64 = 1_000_000;
const LATE: usize = 200_000;

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

fn layout() -> Layout {
    let slot = |name: &&str| {
        let of = (*name != "count").then_some((0, DataType::Float));
        Slot::new(lookup(name).unwrap(), Settings::default(), of, None)
    };
    Layout {
        columns: vec![DataType::Float],
        predicates: 0,
        slots: ["count", "sum", "max"].iter().map(slot).collect(),
        ..Layout::default()
    }
}

fn batch(times: Vec<i64>, first_record: u64, random: &mut Random) -> Batch {
    let values = Float64Array::from_iter_values(times.iter().map(|_| random.below(100_000) as f64 / 100.0));
    let position = |i: usize| Position::new(first_record + i as u64 / 30_000, (i % 30_000) as u32).to_bits();
    Batch {
        positions: (0..times.len()).map(position).collect(),
        times,
        columns: vec![BatchColumn::new(DataType::Float, Arc::new(values).as_ref()).unwrap()],
        predicates: vec![],
        changes: None,
    }
}

fn seconds(run: impl FnOnce()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_secs_f64()
}

/// The worst and the median of some reads, in microseconds.
fn reads(timeline: &Timeline, layout: &Layout, rows: usize, random: &mut Random) -> String {
    let now = EventTime(rows as i64 * SECOND);
    let mut spent: Vec<f64> = (0..500)
        .map(|_| {
            let after = EventTime(random.below(rows) as i64 * SECOND / 100 + 17);
            let requests: Vec<_> = (0..layout.slots.len()).map(|slot| (slot, after)).collect();
            1e6 * seconds(|| drop(black_box(timeline.fold_many(layout, &requests, now, Position::MAX))))
        })
        .collect();
    spent.sort_by(f64::total_cmp);
    format!("{{\"p50_us\": {:.1}, \"max_us\": {:.1}}}", spent[spent.len() / 2], spent[spent.len() - 1])
}

fn sweep(timeline: &Timeline, layout: &Layout, rows: usize, labels: usize, window: Span) -> f64 {
    let step = (rows as i64 * SECOND / labels as i64).max(1);
    let labels: Vec<EventTime> = (1..=labels as i64).map(|i| EventTime(i * step)).collect();
    let outputs: Vec<_> = (0..layout.slots.len())
        .map(|slot| SweepOutput {
            slot,
            window: Some(Window::sliding(window)),
            retention: None,
            begins: None,
        })
        .collect();
    seconds(|| {
        timeline.sweep(layout, &outputs, &labels, Position::MAX, &mut |_, _, outcome| _ = black_box(outcome));
    })
}

fn main() {
    let rows: usize = std::env::args().nth(1).map_or(10_000_000, |n| n.parse().unwrap());
    let (layout, mut random) = (layout(), Random(88172645463325252));
    let in_order = batch((0..rows).map(|i| i as i64 * SECOND).collect(), 1, &mut random);
    let mut timeline = Timeline::new();
    let insert = seconds(|| {
        for row in 0..rows {
            timeline.insert(&layout, &in_order, row);
            timeline.seal(&layout);
        }
    });
    let fresh = reads(&timeline, &layout, rows, &mut random);
    let times = (0..LATE).map(|_| random.below(rows) as i64 * SECOND + 1).collect();
    let late = batch(times, 1_000_000, &mut random);
    let out_of_order = seconds(|| {
        for row in 0..LATE {
            timeline.insert(&layout, &late, row);
            timeline.seal(&layout);
        }
    });
    let front: Vec<i64> = (0..LATE as i64).map(|i| -i).collect();
    let front = batch(front, 2_000_000, &mut random);
    let at_the_front = seconds(|| {
        for row in 0..LATE {
            timeline.insert(&layout, &front, row);
            timeline.seal(&layout);
        }
    });
    let split = reads(&timeline, &layout, rows, &mut random);
    let sweeps =
        [(100_000, 7 * 86_400), (100_000, rows as i64), (1_000, rows as i64)].map(|(labels, window)| {
            let spent = sweep(&timeline, &layout, rows, labels, Span(window * SECOND));
            format!("{{\"labels\": {labels}, \"window_s\": {window}, \"s\": {spent:.3}}}")
        });
    let mut stored = Vec::new();
    let encode = seconds(|| {
        timeline.dirty_chunks(&layout, &mut |id, chunk| stored.push((id, chunk.to_vec())));
    });
    let bytes: usize = stored.iter().map(|(_, chunk)| chunk.len()).sum();
    let mut loaded = Timeline::new();
    let load = seconds(|| {
        let chunks = stored.iter().map(|(id, chunk)| (*id, chunk.as_slice()));
        loaded = Timeline::from_chunks(&layout, chunks, Position::MAX).unwrap();
    });
    assert_eq!(loaded.len(), timeline.len());
    println!(
        "{{\"rows\": {}, \"bytes_a_row\": {:.1}, \"insert_in_order_us\": {:.3}, \"insert_out_of_order_us\": {:.3}, \
         \"insert_at_the_front_us\": {:.3}, \"read\": {fresh}, \"read_after_splits\": {split}, \"sweeps\": [{}], \
         \"encode_s\": {encode:.2}, \"stored_bytes\": {bytes}, \"load_s\": {load:.2}}}",
        timeline.len(),
        timeline.bytes() as f64 / timeline.len() as f64,
        1e6 * insert / rows as f64,
        1e6 * out_of_order / LATE as f64,
        1e6 * at_the_front / LATE as f64,
        sweeps.join(", "),
    );
}
