//! Versions: a row is visible at `S` if and only if `added <= S < removed`, whatever was added and ended since,
//! and every way of reading gives what the oracle gives of the visible rows alone.

use arrow::buffer::BooleanBuffer;
use proptest::prelude::*;
use thyme_core::Position;
use thyme_timeline::{Batch, Changes, Layout, Timeline};

use crate::support::check::check_as;
use crate::support::{Case, all_slots, batch_of, case, stored};
use thyme_oracle as oracle;

/// One change of a history.
#[derive(Clone, Debug)]
struct Change {
    at: Position,
    ends: bool,
    row: oracle::Row,
}

/// A history of changes in the order of their positions, and what is asked of it.
#[derive(Clone, Debug)]
struct History {
    case: Case,
    changes: Vec<Change>,
}

impl History {
    /// Each row of `case` comes and goes as `steps` say: after so many records its version ends, and another
    /// with the values of another row comes at once or later.
    fn new(case: Case, steps: &[(u64, u64, prop::sample::Index)]) -> History {
        let mut changes = Vec::new();
        for (index, row) in case.rows.iter().enumerate() {
            let mut at = row.position;
            let mut version = row.clone();
            changes.push(Change { at, ends: false, row: version.clone() });
            for (ends_after, comes_after, other) in steps.iter().skip(index).step_by(5).take(index % 4) {
                at = Position::new(at.record() + ends_after, at.row());
                changes.push(Change { at, ends: true, row: version.clone() });
                if *comes_after > 5 {
                    break;
                }
                at = Position::new(at.record() + comes_after, at.row());
                let other = other.get(&case.rows);
                (version.values, version.predicates) = (other.values.clone(), other.predicates.clone());
                changes.push(Change { at, ends: false, row: version.clone() });
            }
        }
        changes.sort_by_key(|change| (change.at, !change.ends));
        History { case, changes }
    }

    fn batch(&self) -> Batch {
        let rows = self.changes.iter().map(|change| change.row.clone()).collect();
        Batch {
            changes: Some(Changes {
                at: self.changes.iter().map(|change| change.at.to_bits()).collect(),
                ends: BooleanBuffer::collect_bool(self.changes.len(), |row| self.changes[row].ends),
            }),
            ..batch_of(&Case { rows, ..self.case.clone() })
        }
    }

    /// What is visible at `at`, as rows that were always there.
    fn seen(&self, at: Position) -> Case {
        let mut rows: Vec<oracle::Row> = Vec::new();
        for change in self.changes.iter().filter(|change| change.at <= at) {
            rows.retain(|row| row.position != change.row.position);
            if !change.ends {
                rows.push(change.row.clone());
            }
        }
        Case { rows, ..self.case.clone() }
    }

    fn check(&self, layout: &Layout, timeline: &Timeline, at: Position) -> Result<(), TestCaseError> {
        check_as(&self.seen(at), layout, timeline, at, Position::MAX)
    }

    /// The changes up to `at`, each of them made a second time.
    fn timeline(&self, layout: &Layout, at: Position) -> Timeline {
        let mut timeline = Timeline::with_chunk_rows_max(self.case.chunk_rows_max);
        // From the last to the first.
        let order: Vec<u32> = (0..self.changes.len() as u32).rev().collect();
        let (batch, place) = (self.batch().take(&order).unwrap(), |row: usize| order[row] as usize);
        for (row, _) in self.changes.iter().enumerate().take_while(|(_, change)| change.at <= at) {
            assert!(timeline.insert(layout, &batch, place(row)));
            assert!(!timeline.insert(layout, &batch, place(row)));
            if row % self.case.seal_every == 0 {
                timeline.seal(layout);
                assert!(!timeline.insert(layout, &batch, place(row / 2)));
            }
        }
        if self.case.seal_every.is_multiple_of(2) {
            timeline.seal(layout);
        }
        timeline
    }
}

fn history() -> impl Strategy<Value = History> {
    let step = (0u64..30, prop_oneof![4 => Just(0u64), 1 => 1..8u64], any::<prop::sample::Index>());
    let step = step.prop_map(|(ends, comes, other)| (1 + ends, comes, other));
    (case(), prop::collection::vec(step, 1..60)).prop_map(|(case, steps)| History::new(case, &steps))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_version_is_visible_from_where_it_was_added_to_where_it_was_removed(
        history in history(), picks in prop::collection::vec(any::<prop::sample::Index>(), 3),
    ) {
        let layout = all_slots(&history.case.types, history.case.predicates);
        let timeline = history.timeline(&layout, Position::MAX);
        history.check(&layout, &timeline, Position::MAX)?;
        history.check(&layout, &timeline, history.case.at)?;
        for pick in picks {
            if let Some(change) = history.changes.get(pick.index(history.changes.len().max(1))) {
                history.check(&layout, &timeline, change.at)?;
            }
        }
    }

    #[test]
    fn a_restored_timeline_forgets_what_came_and_went_after_the_checkpoint(
        history in history(), cut in any::<prop::sample::Index>(),
    ) {
        let layout = all_slots(&history.case.types, history.case.predicates);
        let mut whole = history.timeline(&layout, Position::MAX);
        let chunks = stored(&mut whole, &layout);
        let refs = || chunks.iter().map(|(id, bytes)| (*id, bytes.as_slice()));
        let again = Timeline::from_chunks(&layout, refs(), Position::MAX).unwrap();
        prop_assert!(!again.is_dirty());
        prop_assert_eq!(again.len(), whole.len());
        history.check(&layout, &again, history.case.at)?;

        let at = history.changes.get(cut.index(history.changes.len().max(1))).map_or(Position::ZERO, |c| c.at);
        let mut earlier = Timeline::from_chunks(&layout, refs(), at).unwrap();
        prop_assert_eq!(earlier.len(), history.timeline(&layout, at).len());
        prop_assert_eq!(earlier.is_dirty(), history.changes.iter().any(|change| change.at > at));
        // As of any position it is what it was at the checkpoint.
        for later in [at, Position::MAX] {
            check_as(&history.seen(at), &layout, &earlier, later, Position::MAX)?;
        }
        // The log replays all of it.
        let batch = history.batch();
        for (row, change) in history.changes.iter().enumerate() {
            prop_assert_eq!(earlier.insert(&layout, &batch, row), change.at > at);
        }
        history.check(&layout, &earlier, Position::MAX)?;
        history.check(&layout, &earlier, history.case.at)?;
        prop_assert_eq!(earlier.len(), whole.len());
    }
}

/// The bytes in `docs/formats-timeline.md`.
#[test]
fn lives_are_encoded_as_documented() {
    use thyme_core::{DataType, EventTime, Value};
    let row = |value| oracle::Row {
        time: EventTime(2),
        position: Position::from_bits(16),
        values: vec![Value::Int(value)],
        predicates: vec![],
    };
    let change = |at, ends, value| Change { at: Position::from_bits(at), ends, row: row(value) };
    let changes = vec![change(16, false, 7), change(21, true, 7), change(21, false, 8)];
    let case = Case {
        types: vec![DataType::Int],
        predicates: 0,
        rows: vec![],
        order: vec![],
        chunk_rows_max: 256,
        seal_every: 1,
        labels: vec![],
        windows: vec![],
        at: Position::MAX,
    };
    let history = History { case, changes };
    let layout = all_slots(&[DataType::Int], 0);
    let expected = [
        b'C', 1, 3, // magic, version, flags: lives, all there is
        2, 1, 0, b'i', // rows, columns, predicates, types
        4, 0, // times: 2, +0
        32, 0, // positions: 16, +0
        0, 5, // added: 16, 16 + 5
        5, 0, // removed: 16 + 5, never
        0b11, 1, 14, 2, // ints: validity, delta, 7, +1
    ];
    assert_eq!(stored(&mut history.timeline(&layout, Position::MAX), &layout)[&0], expected);
}
