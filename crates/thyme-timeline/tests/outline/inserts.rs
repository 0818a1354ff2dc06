//! Rows that are put into an outline are where they are when they are put into the whole timeline.

use std::collections::BTreeMap;

use proptest::prelude::*;
use thyme_core::{EventTime, Extent, Position};
use thyme_timeline::{Batch, Layout, Look, Outline, Timeline};

use super::{fill, outline_of, windows};
use crate::support::{Case, all_slots, batch_of, case, stored};

fn insert(
    outline: &mut Outline,
    layout: &Layout,
    chunks: &BTreeMap<u32, Vec<u8>>,
    batch: &Batch,
    row: usize,
) {
    assert!(outline.takes(layout, batch, row, Position::MAX));
    if let Some(lacking) = outline.lacks_for(batch, row) {
        assert!(outline.fill(layout, lacking, &chunks[&lacking.id]).unwrap());
        assert_eq!(outline.lacks_for(batch, row), None);
    }
    outline.insert(layout, batch, row);
}

fn store(outline: &mut Outline, layout: &Layout, chunks: &mut BTreeMap<u32, Vec<u8>>) {
    outline.dirty_chunks(layout, &mut |id, bytes| drop(chunks.insert(id, bytes.to_vec())));
    let mut given = 0;
    outline.dirty_chunks(layout, &mut |_, _| given += 1);
    assert_eq!(given, 0, "it was stored");
}

fn shown(timeline: &Timeline, layout: &Layout, case: &Case) -> Vec<String> {
    let mut rows = Vec::new();
    timeline.rows(layout, EventTime(i64::MIN), EventTime(i64::MAX), Position::MAX, &mut |row| {
        let values: Vec<_> = (0..case.types.len()).map(|column| row.value(column)).collect();
        let verdicts: Vec<_> = (0..case.predicates).map(|predicate| row.predicate(predicate)).collect();
        rows.push(format!("{:?} {:?} {values:?} {verdicts:?}", row.time(), row.position()));
    });
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    #[test]
    fn what_is_put_into_an_outline_is_stored_and_read_as_if_the_whole_was_there(case in case(), part in 1usize..100) {
        prop_assume!(case.rows.len() > 1);
        let (layout, batch) = (all_slots(&case.types, case.predicates), batch_of(&case));
        let first = (case.order.len() * part / 100).max(1);
        let mut whole = Timeline::with_chunk_rows_max(case.chunk_rows_max);
        for row in &case.order[..first] {
            whole.insert(&layout, &batch, *row);
        }
        let mut chunks = stored(&mut whole, &layout);
        let mut outline = outline_of(&layout, &chunks).with_chunk_rows_max(case.chunk_rows_max);
        for (index, row) in case.order.iter().enumerate().skip(first) {
            whole.insert(&layout, &batch, *row);
            insert(&mut outline, &layout, &chunks, &batch, *row);
            if index % case.seal_every == 0 {
                store(&mut outline, &layout, &mut chunks);
                // What came before is there already.
                insert(&mut outline, &layout, &chunks, &batch, case.order[index / 2]);
                match index % 3 {
                    0 => outline.empty(),
                    1 => outline.trim(),
                    _ => {}
                }
            }
        }
        store(&mut outline, &layout, &mut chunks);
        whole.seal(&layout);
        let stored = chunks.iter().map(|(id, bytes)| (*id, bytes.as_slice()));
        let loaded = Timeline::from_chunks(&layout, stored, Position::MAX).unwrap();
        prop_assert_eq!(shown(&loaded, &layout, &case), shown(&whole, &layout, &case));
        prop_assert_eq!((outline.timeline().len(), outline.timeline().newest()), (whole.len(), whole.newest()));
        for (index, (after, until)) in windows(&case).into_iter().enumerate() {
            outline.empty();
            for slot in (index % 3..layout.slots.len()).step_by(3) {
                let look = Look::Fold { slot, extent: Extent::between(after, until), at: Position::MAX };
                let asked = &layout.slots[slot];
                if fill(&mut outline, &layout, &chunks, look).is_none() {
                    // Without summaries it may need every row.
                    prop_assert!(!asked.aggregate.is_summarised(&asked.call), "{:?}", look);
                    continue;
                }
                prop_assert_eq!(
                    format!("{:?}", outline.timeline().fold(&layout, slot, after, until, Position::MAX)),
                    format!("{:?}", whole.fold(&layout, slot, after, until, Position::MAX)),
                );
            }
        }
    }
}

#[test]
fn what_has_not_been_stored_is_not_let_go_of_and_versions_are_not_taken() {
    let layout = all_slots(&[], 0);
    let batch = |times: Vec<i64>, record: u64| Batch {
        positions: (0..times.len() as u32).map(|row| Position::new(record, row).to_bits()).collect(),
        times,
        ..Batch::default()
    };
    let mut whole = Timeline::with_chunk_rows_max(4);
    let rows = batch((0..40).map(|row| 10 * row).collect(), 1);
    whole.insert_all(&layout, (0..40).map(|row| (&rows, row)));
    let chunks = stored(&mut whole, &layout);
    let mut outline = outline_of(&layout, &chunks).with_chunk_rows_max(4);
    let hollow = outline.filled_bytes();
    let late = batch(vec![155], 2);
    insert(&mut outline, &layout, &chunks, &late, 0);
    outline.empty();
    assert!(outline.filled_bytes() > hollow, "the row is in the store no more than here");
    let mut ids = Vec::new();
    outline.dirty_chunks(&layout, &mut |id, _| ids.push(id));
    assert_eq!(ids.len(), 2, "the chunk was full and cut in two: {ids:?}");
    outline.empty();
    assert_eq!(outline.filled_bytes(), hollow);
    assert!(!outline.takes(&layout, &batch(vec![500], 3), 0, Position::end_of(1)), "it has rows of record 2");
    assert!(outline.takes(&layout, &batch(vec![500], 3), 0, Position::end_of(2)));
    let version = |at: Position, ends: bool| {
        let ends = arrow::buffer::BooleanBuffer::collect_bool(1, |_| ends);
        let changes = thyme_timeline::Changes { at: vec![at.to_bits()], ends };
        Batch { changes: Some(changes), ..batch(vec![500], 3) }
    };
    assert!(outline.takes(&layout, &version(Position::new(3, 0), false), 0, Position::MAX));
    assert!(!outline.takes(&layout, &version(Position::new(4, 0), false), 0, Position::MAX));
    assert!(!outline.takes(&layout, &version(Position::new(3, 0), true), 0, Position::MAX));
}
