//! Random timelines and the same rows for the oracle.

pub mod check;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow::buffer::BooleanBuffer;
use proptest::prelude::*;
use thyme_core::aggregate::{Settings, all, further, sample_arguments};
use thyme_core::value::{NAN, Unscaled, canonical, column as column_of};
use thyme_core::{DataType, EventTime, Position, Value};
use thyme_oracle::Row;
use thyme_timeline::{Batch, BatchColumn, Layout, Slot, Timeline};

/// The first of the registry, which the oracle is quick with.
const USUAL: usize = 7;

/// Rows, the order in which they arrive, and what is asked of them.
#[derive(Clone, Debug)]
pub struct Case {
    pub types: Vec<DataType>,
    pub predicates: usize,
    pub rows: Vec<Row>,
    pub order: Vec<usize>,
    pub chunk_rows_max: usize,
    pub seal_every: usize,
    pub labels: Vec<i64>,
    pub windows: Vec<i64>,
    pub at: Position,
}

/// Every aggregate over every column; those without parameters and formulas of their own with every predicate, the others
/// with one, and their parameters are each time others.
#[expect(clippy::unwrap_used, reason = "a test")]
pub fn all_slots(types: &[DataType], predicates: usize) -> Layout {
    let mut slots = Vec::new();
    let mut turn = types.len() + predicates;
    for (index, &aggregate) in all().iter().enumerate() {
        let arguments = sample_arguments(aggregate);
        for of in std::iter::once(None).chain((0..types.len()).map(|of| Some((of, types[of])))) {
            turn += 1;
            for predicate in std::iter::once(None).chain((0..predicates).map(Some)) {
                let settings = Settings::of(aggregate, &arguments[turn % arguments.len()]).unwrap();
                let by = further(aggregate, &arguments[turn % arguments.len()]).and_then(|_| {
                    let columns = (0..types.len()).map(|by| (turn + by) % types.len());
                    columns.map(|by| (by, types[by])).find(|by| {
                        let slot = Slot::new(aggregate, settings.clone(), of, predicate).by(Some(*by));
                        aggregate.output_type(&slot.call).is_ok()
                    })
                });
                let slot = Slot::new(aggregate, settings, of, predicate).by(by);
                let its_turn = index < USUAL || predicate.map_or(0, |p| p + 1) == turn % (predicates + 1);
                if its_turn && aggregate.output_type(&slot.call).is_ok() {
                    slots.push(slot);
                }
            }
        }
    }
    Layout { columns: types.to_vec(), predicates, slots, ..Layout::default() }
}

fn value(data_type: DataType) -> BoxedStrategy<Value> {
    let some = match data_type {
        DataType::Int => prop_oneof![
            8 => (-100i64..100).prop_map(Value::Int),
            1 => any::<i64>().prop_map(Value::Int),
            1 => prop::sample::select(vec![i64::MAX, i64::MIN]).prop_map(Value::Int),
        ]
        .boxed(),
        DataType::Float => prop_oneof![
            12 => (-1000i32..1000).prop_map(|cents| f64::from(cents) / 100.0),
            4 => any::<f64>(),
            2 => prop::sample::select(vec![f64::MAX, -f64::MAX, 5e-324, -5e-324, 1e300, -1e300, 0.0]),
            1 => prop::sample::select(vec![NAN, f64::INFINITY, f64::NEG_INFINITY]),
        ]
        .prop_map(|v| Value::Float(canonical(v)))
        .boxed(),
        DataType::Str => "[a-c\u{e9}\u{fffd}\u{10000}]{0,3}".prop_map(|s| Value::Str(s.into())).boxed(),
        DataType::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        DataType::Datetime => (-50i64..50).prop_map(Value::Datetime).boxed(),
        DataType::Date => (-3i32..3).prop_map(Value::Date).boxed(),
        DataType::Bytes => {
            prop::collection::vec(any::<u8>(), 0..3).prop_map(|v| Value::Bytes(v.into())).boxed()
        }
        DataType::Decimal(scale) => prop_oneof![
            4 => (-20i128..20).boxed(),
            1 => prop::sample::select(vec![10i128.pow(38) - 1, 1 - 10i128.pow(38)]).boxed(),
        ]
        .prop_map(move |v| Value::Decimal(scale, Unscaled::new(v)))
        .boxed(),
        DataType::Vector(length) => {
            let float = prop_oneof![
                8 => (-1000i32..1000).prop_map(|cents| f64::from(cents) / 100.0),
                2 => prop::sample::select(vec![f64::MAX, -f64::MAX, 5e-324, 1e300, -1e300, 0.0]),
                1 => prop::sample::select(vec![NAN, f64::INFINITY, f64::NEG_INFINITY]),
            ];
            prop::collection::vec(float, length as usize).prop_map(|v| Value::Vector(v.into())).boxed()
        }
        other => unreachable!("no case has a column of type {other}"),
    };
    prop_oneof![1 => Just(Value::Null), 5 => some].boxed()
}

pub fn case() -> impl Strategy<Value = Case> {
    let types = prop::sample::subsequence(
        vec![
            DataType::Float,
            DataType::Int,
            DataType::Str,
            DataType::Bool,
            DataType::Datetime,
            DataType::Date,
            DataType::Bytes,
            DataType::Decimal(2),
            DataType::Vector(2),
        ],
        0..=3,
    );
    let shape = (types, 0usize..3, prop_oneof![6 => 0usize..40, 3 => 40usize..200, 1 => 200usize..700]);
    shape.prop_flat_map(|(types, predicates, len)| {
        let chunk_rows_max = if len < 200 {
            prop_oneof![Just(2usize), Just(3), Just(5), Just(16), Just(256)].boxed()
        } else {
            prop_oneof![Just(2usize), Just(3), Just(7), Just(100), Just(256)].boxed()
        };
        let time_range = prop::sample::select(vec![4i64, 40, 1000, 1_000_000]);
        let rows = time_range.prop_flat_map({
            let types = types.clone();
            move |range| {
                let values: Vec<_> = types.iter().map(|t| value(*t)).collect();
                let row = (-range..range, values, prop::collection::vec(any::<bool>(), predicates));
                let span =
                    prop_oneof![4 => -range - 2..range + 2, 1 => Just(i64::MAX / 4), 1 => Just(-range)];
                (
                    prop::collection::vec(row, len),
                    prop::collection::vec(span, 1..12),
                    prop::collection::vec(
                        prop_oneof![3 => 1..range, 1 => Just(1), 1 => Just(3 * range)],
                        1..4,
                    ),
                )
            }
        });
        let order = prop_oneof![
            Just((0..len).collect::<Vec<_>>()),
            Just((0..len).collect::<Vec<_>>()).prop_shuffle(),
        ];
        let arrivals = (order, any::<bool>());
        (Just(types), Just(predicates), rows, arrivals, chunk_rows_max, 1usize..100, 0..=len as u64 + 1)
            .prop_map(
                |(
                    types,
                    predicates,
                    (rows, mut labels, windows),
                    (order, in_time),
                    chunk_rows_max,
                    seal_every,
                    at,
                )| {
                    labels.sort_unstable();
                    let mut rows = rows;
                    if in_time {
                        rows.sort_by_key(|(time, _, _)| *time);
                    }
                    let rows = rows
                        .into_iter()
                        .enumerate()
                        .map(|(i, (time, values, predicates))| Row {
                            time: EventTime(time),
                            position: Position::new(1 + i as u64 / 3, i as u32 % 3),
                            values,
                            predicates,
                        })
                        .collect();
                    let at = Position::new(1 + at / 3, (at % 3) as u32);
                    Case { types, predicates, rows, order, chunk_rows_max, seal_every, labels, windows, at }
                },
            )
    })
}

/// All rows, in the order of their positions.
#[expect(clippy::unwrap_used, reason = "a test")]
pub fn batch_of(case: &Case) -> Batch {
    let column = |index: usize, data_type: DataType| -> ArrayRef {
        let values = case.rows.iter().map(|row| &row.values[index]);
        macro_rules! collect {
            ($array:ty, $kind:path) => {
                Arc::new(
                    values.map(|v| if let $kind(v) = v { Some(v.clone()) } else { None }).collect::<$array>(),
                )
            };
        }
        match data_type {
            DataType::Int => collect!(Int64Array, Value::Int),
            DataType::Float => collect!(Float64Array, Value::Float),
            DataType::Str => collect!(StringArray, Value::Str),
            DataType::Bool => collect!(BooleanArray, Value::Bool),
            DataType::Datetime => collect!(TimestampMicrosecondArray, Value::Datetime),
            other => column_of(other, &values.cloned().collect::<Vec<_>>()),
        }
    };
    let columns = case.types.iter().enumerate();
    Batch {
        times: case.rows.iter().map(|row| row.time.0).collect(),
        positions: case.rows.iter().map(|row| row.position.to_bits()).collect(),
        columns: columns.map(|(i, t)| BatchColumn::new(*t, column(i, *t).as_ref()).unwrap()).collect(),
        predicates: (0..case.predicates)
            .map(|p| BooleanBuffer::collect_bool(case.rows.len(), |row| case.rows[row].predicates[p]))
            .collect(),
        changes: None,
    }
}

/// The timeline of the rows, in their order of arrival, one by one or some at once; each arrives a second time later.
pub fn timeline_of(case: &Case, layout: &Layout) -> Timeline {
    let batch = batch_of(case);
    let mut timeline = Timeline::with_chunk_rows_max(case.chunk_rows_max);
    if case.seal_every.is_multiple_of(3) {
        insert_some_at_once(case, layout, &batch, &mut timeline);
        return timeline;
    }
    for (i, row) in case.order.iter().enumerate() {
        assert!(timeline.insert(layout, &batch, *row));
        if i % case.seal_every == 0 {
            timeline.seal(layout);
            assert!(!timeline.insert(layout, &batch, case.order[i / 2]));
        }
    }
    if case.seal_every.is_multiple_of(2) {
        timeline.seal(layout);
    }
    timeline
}

#[expect(clippy::unwrap_used, reason = "a test")]
fn insert_some_at_once(case: &Case, layout: &Layout, batch: &Batch, timeline: &mut Timeline) {
    let order: Vec<u32> = case.order.iter().map(|row| *row as u32).collect();
    let (moved, rows) = (batch.take(&order).unwrap(), (0..order.len()).collect::<Vec<_>>());
    for some in rows.chunks(case.seal_every) {
        timeline.insert_all(layout, some.iter().map(|row| (&moved, *row)));
        timeline.seal(layout);
        let bytes = timeline.bytes();
        timeline.insert_all(layout, some.iter().rev().map(|row| (batch, case.order[*row])));
        assert_eq!(timeline.bytes(), bytes);
    }
}

/// What a store has after it took all dirty chunks.
pub fn stored(timeline: &mut Timeline, layout: &Layout) -> BTreeMap<u32, Vec<u8>> {
    let mut chunks = BTreeMap::new();
    timeline.dirty_chunks(layout, &mut |id, bytes| {
        assert!(chunks.insert(id, bytes.to_vec()).is_none());
    });
    chunks
}
