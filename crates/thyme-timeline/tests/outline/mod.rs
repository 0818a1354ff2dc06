//! An outline, once it has what a read looks into, gives what the whole timeline gives.

mod inserts;

use std::collections::BTreeMap;

use proptest::prelude::*;
use thyme_core::window::Part;
use thyme_core::{EventTime, Extent, Position, Span};
use thyme_timeline::{Layout, Look, Outline, Timeline};

use crate::support::check::SINCE_BEGINNING;
use crate::support::{Case, all_slots, case, stored, timeline_of};

/// The windows of a case that are not told by time alone.
fn parts(case: &Case) -> Vec<Extent> {
    let mut parts = Vec::new();
    for until in &case.labels {
        for window in &case.windows {
            let rows = Part::Last(1 + (window.unsigned_abs() % 300) as u32);
            for part in [rows, Part::Session(Span(*window)), Part::Session(Span(1))] {
                let extent = Extent { part, ..Extent::up_to(EventTime(*until)) };
                parts.extend([extent, Extent { after: EventTime(until - window), ..extent }]);
            }
        }
    }
    parts
}

fn outline_of(layout: &Layout, chunks: &BTreeMap<u32, Vec<u8>>) -> Outline {
    // In the order of their ids, which need not be that of their rows.
    let chunks = chunks.iter().map(|(id, bytes)| Ok((*id, bytes.clone())));
    Outline::of(layout, chunks).unwrap().unwrap()
}

/// Fills what a read lacks; whether it can be read then.
fn fill(
    outline: &mut Outline,
    layout: &Layout,
    chunks: &BTreeMap<u32, Vec<u8>>,
    look: Look,
) -> Option<usize> {
    let lacking = outline.lacks(layout, &[look])?;
    for chunk in &lacking {
        assert!(outline.fill(layout, *chunk, &chunks[&chunk.id]).unwrap());
        assert!(!outline.fill(layout, *chunk, &chunks[&chunk.id]).unwrap(), "it is filled already");
    }
    assert_eq!(outline.lacks(layout, &[look]), Some(Vec::new()));
    Some(lacking.len())
}

/// The windows that a case asks for.
fn windows(case: &Case) -> Vec<(EventTime, EventTime)> {
    let mut windows = Vec::new();
    for until in &case.labels {
        windows.push((SINCE_BEGINNING, EventTime(*until)));
        windows.extend(case.windows.iter().map(|window| (EventTime(until - window), EventTime(*until))));
    }
    windows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_an_outline_gives_is_what_the_whole_gives(case in case()) {
        prop_assume!(!case.rows.is_empty());
        let layout = all_slots(&case.types, case.predicates);
        let mut whole = timeline_of(&case, &layout);
        whole.seal(&layout);
        let chunks = stored(&mut whole, &layout);
        let mut outline = outline_of(&layout, &chunks);
        prop_assert_eq!((outline.timeline().len(), outline.timeline().newest()), (whole.len(), whole.newest()));
        for (index, (after, until)) in windows(&case).into_iter().enumerate() {
            for at in [Position::MAX, case.at] {
                for slot in (index % 3..layout.slots.len()).step_by(3) {
                    let look = Look::Fold { slot, extent: Extent::between(after, until), at };
                    let asked = &layout.slots[slot];
                    let is_summarised = asked.aggregate.is_summarised(&asked.call);
                    let may_need_all = at == case.at || !is_summarised;
                    let Some(filled) = fill(&mut outline, &layout, &chunks, look) else {
                        prop_assert!(may_need_all, "{:?}", look);
                        continue;
                    };
                    prop_assert!(may_need_all || filled <= 2, "{} chunks for {:?}", filled, look);
                    prop_assert_eq!(
                        format!("{:?}", outline.timeline().fold(&layout, slot, after, until, at)),
                        format!("{:?}", whole.fold(&layout, slot, after, until, at)),
                    );
                    outline.trim();
                }
                let look = Look::Latest { after, until, at };
                if fill(&mut outline, &layout, &chunks, look).is_some() {
                    let key = |timeline: &Timeline| {
                        let row = timeline.latest_row(&layout, after, until, at)?;
                        let values: Vec<_> = (0..case.types.len()).map(|column| row.value(column)).collect();
                        Some((row.time(), row.position(), format!("{values:?}")))
                    };
                    prop_assert_eq!(key(outline.timeline()), key(&whole));
                    outline.trim();
                } else {
                    prop_assert_eq!(at, case.at, "{:?}", look);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn the_last_rows_and_sessions_of_an_outline_are_those_of_the_whole(case in case()) {
        prop_assume!(!case.rows.is_empty());
        let layout = all_slots(&case.types, case.predicates);
        let mut whole = timeline_of(&case, &layout);
        whole.seal(&layout);
        let chunks = stored(&mut whole, &layout);
        let mut outline = outline_of(&layout, &chunks);
        for (index, extent) in parts(&case).into_iter().enumerate() {
            let slot = index % layout.slots.len();
            let asked = &layout.slots[slot];
            let may_need_all = !asked.aggregate.is_summarised(&asked.call);
            for at in [Position::MAX, case.at] {
                let look = Look::Fold { slot, extent, at };
                match fill(&mut outline, &layout, &chunks, look) {
                    Some(_) => prop_assert_eq!(
                        format!("{:?}", outline.timeline().fold_extent(&layout, slot, &extent, at, &mut None)),
                        format!("{:?}", whole.fold_extent(&layout, slot, &extent, at, &mut None)),
                        "{:?}", look
                    ),
                    None => prop_assert!(
                        at == case.at
                            || may_need_all
                            || extent.part == Part::All
                            || matches!(extent.part, Part::Session(_))
                            || whole.newest().is_some_and(|newest| newest > extent.until),
                        "{:?}", look
                    ),
                }
                outline.trim();
            }
        }
    }
}

#[test]
fn a_chunk_that_has_changed_since_is_not_taken_and_one_with_versions_has_no_outline() {
    let rows = 3_000_i64;
    let layout = Layout { columns: Vec::new(), slots: all_slots(&[], 0).slots, ..Layout::default() };
    let batch = thyme_timeline::Batch {
        times: (0..rows).map(|row| 10 * row).collect(),
        positions: (0..rows as u64).map(|row| Position::new(row + 1, 0).to_bits()).collect(),
        ..Default::default()
    };
    let mut whole = Timeline::new();
    whole.insert_all(&layout, (0..rows as usize).map(|row| (&batch, row)));
    let mut chunks = stored(&mut whole, &layout);
    let mut outline = outline_of(&layout, &chunks);
    assert!(outline.timeline().bytes() < whole.bytes() / 4, "{} of {}", outline.bytes(), whole.bytes());
    let count = layout.slots.iter().position(|slot| slot.aggregate.name() == "count").unwrap();
    let look = Look::Fold {
        slot: count,
        extent: Extent::between(EventTime(995), EventTime(15_000)),
        at: Position::MAX,
    };
    let lacking = outline.lacks(&layout, &[look]).unwrap();
    assert_eq!(lacking.len(), 2);
    // A row comes into the chunk in which the window begins.
    let late = thyme_timeline::Batch {
        times: vec![1_001],
        positions: vec![Position::new(9_999, 0).to_bits()],
        ..Default::default()
    };
    whole.insert(&layout, &late, 0);
    chunks.extend(stored(&mut whole, &layout));
    let taken: Vec<bool> =
        lacking.iter().map(|it| outline.fill(&layout, *it, &chunks[&it.id]).unwrap()).collect();
    assert_eq!(taken.iter().filter(|taken| **taken).count(), 1);
    let mut ended = Timeline::with_chunk_rows_max(2);
    ended.insert_all(&layout, (0..9).map(|row| (&batch, row)));
    let changes = thyme_timeline::Changes {
        at: vec![Position::new(20_000, 0).to_bits()],
        ends: arrow::buffer::BooleanBuffer::new_set(1),
    };
    let end = thyme_timeline::Batch {
        times: vec![30],
        positions: vec![Position::new(4, 0).to_bits()],
        changes: Some(changes),
        ..Default::default()
    };
    assert!(ended.insert(&layout, &end, 0));
    let chunks = stored(&mut ended, &layout);
    let given = chunks.iter().map(|(id, bytes)| Ok((*id, bytes.clone())));
    assert!(Outline::of(&layout, given).unwrap().is_none());
}
