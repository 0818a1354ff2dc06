//! Fold, sweep and the naive oracle agree bit for bit, whatever the chunks, the order of arrival and
//! the path through the codec.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod growth;
mod lives;
mod outline;
mod support;
mod windows;

use std::collections::BTreeMap;

use proptest::prelude::*;
use support::check::{SINCE_BEGINNING, check, question};
use support::{Case, all_slots, batch_of, case, stored, timeline_of};
use thyme_core::aggregate::Outcome;
use thyme_core::{EventTime, Position, Span};
use thyme_oracle::{self as oracle, answer};
use thyme_timeline::{Layout, Timeline};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn fold_and_sweep_give_what_the_oracle_gives(case in case()) {
        let layout = all_slots(&case.types, case.predicates);
        let timeline = timeline_of(&case, &layout);
        prop_assert_eq!(timeline.len(), case.rows.len());
        prop_assert_eq!(timeline.newest(), case.rows.iter().map(|r| r.time).max());
        for at in [Position::MAX, case.at] {
            check(&case, &layout, &timeline, at)?;
        }
    }

    #[test]
    fn a_stored_timeline_comes_back_without_what_the_log_replays(case in case()) {
        let layout = all_slots(&case.types, case.predicates);
        let mut timeline = timeline_of(&case, &layout);
        let chunks = stored(&mut timeline, &layout);
        prop_assert!(!timeline.is_dirty());
        let chunk_refs = || chunks.iter().map(|(id, bytes)| (*id, bytes.as_slice()));

        let whole = Timeline::from_chunks(&layout, chunk_refs(), Position::MAX).unwrap();
        prop_assert_eq!(whole.len(), case.rows.len());
        prop_assert!(!whole.is_dirty());
        check(&case, &layout, &whole, case.at)?;

        let mut earlier = Timeline::from_chunks(&layout, chunk_refs(), case.at).unwrap();
        let later = case.rows.iter().filter(|r| r.position > case.at).count();
        prop_assert_eq!(earlier.len(), case.rows.len() - later);
        prop_assert_eq!(earlier.is_dirty(), later > 0);
        check(&case, &layout, &earlier, case.at)?;

        // The log replays, and the store takes what changed over what it had.
        let batch = batch_of(&case);
        for row in 0..case.rows.len() {
            prop_assert_eq!(earlier.insert(&layout, &batch, row), case.rows[row].position > case.at);
        }
        check(&case, &layout, &earlier, Position::MAX)?;
        let mut store = chunks.clone();
        if case.seal_every % 3 == 0 {
            // The first write fails.
            earlier.dirty_chunks(&layout, &mut |_, _| {});
            prop_assert!(!earlier.is_dirty());
            earlier.mark_dirty();
        }
        earlier.dirty_chunks(&layout, &mut |id, bytes| {
            store.remove(&id);
            if !bytes.is_empty() {
                store.insert(id, bytes.to_vec());
            }
        });
        prop_assert!(store.is_empty() || store.contains_key(&0), "a stored timeline has a chunk 0");
        prop_assert!(store.len() < 2 || !Timeline::is_whole(&store[&0]), "a look at chunk 0 would miss the others");
        let again = Timeline::from_chunks(&layout, store.iter().map(|(id, b)| (*id, b.as_slice())), Position::MAX).unwrap();
        prop_assert_eq!(again.len(), case.rows.len());
        check(&case, &layout, &again, case.at)?;
    }

    #[test]
    fn what_is_removed_has_never_been_there(case in case(), share in 1_u64..5) {
        let mut case = case;
        let layout = all_slots(&case.types, case.predicates);
        let mut timeline = timeline_of(&case, &layout);
        let mut store = stored(&mut timeline, &layout);
        let gone = |time: EventTime, position: Position| {
            (time.0 as u64 ^ position.to_bits()).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32 & 3 < share
        };
        let before = case.rows.len();
        case.rows.retain(|row| !gone(row.time, row.position));
        prop_assert_eq!(timeline.remove(&layout, &gone), before - case.rows.len());
        prop_assert_eq!(timeline.remove(&layout, &gone), 0);
        prop_assert_eq!(timeline.len(), case.rows.len());
        for at in [Position::MAX, case.at] {
            check(&case, &layout, &timeline, at)?;
        }
        timeline.dirty_chunks(&layout, &mut |id, bytes| {
            store.remove(&id);
            if !bytes.is_empty() {
                store.insert(id, bytes.to_vec());
            }
        });
        prop_assert_eq!(store.is_empty(), case.rows.is_empty());
        prop_assert!(store.is_empty() || store.contains_key(&0), "a stored timeline has a chunk 0");
        prop_assert!(store.len() < 2 || !Timeline::is_whole(&store[&0]), "a look at chunk 0 would miss the others");
        let again = Timeline::from_chunks(&layout, store.iter().map(|(id, b)| (*id, b.as_slice())), Position::MAX).unwrap();
        check(&case, &layout, &again, case.at)?;
    }

    #[test]
    fn a_chunk_that_says_so_is_all_that_is_stored(case in case(), store_every in 1_usize..40) {
        let layout = all_slots(&case.types, case.predicates);
        let (batch, mut store) = (batch_of(&case), BTreeMap::<u32, Vec<u8>>::new());
        let mut timeline = Timeline::with_chunk_rows_max(2 + store_every % 7);
        for (count, &row) in case.order.iter().enumerate() {
            timeline.insert(&layout, &batch, row);
            if (count + 1) % store_every != 0 {
                continue;
            }
            timeline.dirty_chunks(&layout, &mut |id, bytes| {
                store.insert(id, bytes.to_vec());
            });
            prop_assert_eq!(Timeline::is_whole(&store[&0]), store.len() == 1);
        }
    }

    #[test]
    fn what_is_forgotten_is_old_and_windows_after_it_do_not_change(case in case(), cut in any::<prop::sample::Index>()) {
        let mut case = case;
        let layout = all_slots(&case.types, case.predicates);
        let mut timeline = timeline_of(&case, &layout);
        let mut store = stored(&mut timeline, &layout);
        let Some(row) = (!case.rows.is_empty()).then(|| &case.rows[cut.index(case.rows.len())]) else { return Ok(()) };
        let time = row.time;
        let has = timeline.has_forgettable(time);
        let gone = timeline.forget_until(&layout, time);
        prop_assert_eq!((gone > 0, timeline.forget_until(&layout, time)), (has, 0));
        let mut left = Vec::new();
        timeline.rows(&layout, SINCE_BEGINNING, EventTime(i64::MAX), Position::MAX, &mut |row| {
            left.push((row.time(), row.position()));
        });
        prop_assert_eq!(left.len() + gone, case.rows.len());
        let old = left.iter().filter(|(t, _)| *t <= time).count();
        prop_assert_eq!(left.len() - old, case.rows.iter().filter(|row| row.time > time).count());
        // No chunk is kept for less than as many rows that count.
        prop_assert!(old < case.chunk_rows_max.max(2));
        case.rows.retain(|row| left.contains(&(row.time, row.position)));
        check(&case, &layout, &timeline, case.at)?;
        timeline.dirty_chunks(&layout, &mut |id, bytes| {
            store.remove(&id);
            if !bytes.is_empty() {
                store.insert(id, bytes.to_vec());
            }
        });
        prop_assert!(store.is_empty() || store.contains_key(&0), "a stored timeline has a chunk 0");
        let again = Timeline::from_chunks(&layout, store.iter().map(|(id, b)| (*id, b.as_slice())), Position::MAX).unwrap();
        check(&case, &layout, &again, case.at)?;
        prop_assert_eq!(timeline.forget_until(&layout, EventTime(i64::MAX)), left.len());
        prop_assert!(timeline.is_empty());
    }

    #[test]
    fn decoding_damaged_bytes_is_an_error_and_never_a_panic(
        case in case(), hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), cut in any::<prop::sample::Index>(),
    ) {
        let layout = all_slots(&case.types, case.predicates);
        let mut timeline = timeline_of(&case, &layout);
        for bytes in stored(&mut timeline, &layout).values() {
            let shorter = &bytes[..cut.index(bytes.len())];
            prop_assert!(Timeline::from_chunks(&layout, [(1, shorter)].into_iter(), Position::MAX).is_err());
            let mut damaged = bytes.clone();
            for (index, byte) in &hits {
                let index = index.index(damaged.len());
                damaged[index] = *byte;
            }
            if let Ok(timeline) = Timeline::from_chunks(&layout, [(1, damaged.as_slice())].into_iter(), case.at) {
                for slot in 0..layout.slots.len() {
                    timeline.fold(&layout, slot, SINCE_BEGINNING, EventTime(i64::MAX), Position::MAX);
                }
            }
        }
    }

    #[test]
    fn decoding_any_bytes_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), header in any::<bool>(), lives in any::<bool>()) {
        let layout = all_slots(&[thyme_core::DataType::Float, thyme_core::DataType::Str], 1);
        let mut all = if header { vec![b'C', 1, u8::from(lives)] } else { Vec::new() };
        if header {
            all.extend([bytes.len() as u8, 2, 1, b'f', b's']);
        }
        all.extend(bytes);
        let _ = Timeline::from_chunks(&layout, [(7, all.as_slice())].into_iter(), Position::MAX);
    }
}

#[test]
fn a_timeline_can_go_to_another_thread() {
    fn check<T: Send + Sync>() {}
    check::<Timeline>();
    check::<Layout>();
}

#[test]
fn an_empty_timeline_answers_nothing() {
    let layout = all_slots(&[thyme_core::DataType::Float], 1);
    let mut timeline = Timeline::new();
    timeline.seal(&layout);
    assert!(timeline.is_empty() && timeline.newest().is_none() && !timeline.is_dirty());
    let now = EventTime(5);
    assert!(!timeline.has_rows(now, Position::MAX));
    assert!(timeline.latest_row(&layout, SINCE_BEGINNING, now, Position::MAX).is_none());
    for slot in 0..layout.slots.len() {
        assert_eq!(timeline.fold(&layout, slot, SINCE_BEGINNING, now, Position::MAX), Outcome::Nothing);
    }
    timeline.mark_dirty();
    timeline.dirty_chunks(&layout, &mut |_, _| unreachable!());
}

/// One int column, one row a chunk on average, at times 0, 10, 20, ...
fn regular(rows: usize) -> Case {
    let row = |i: usize| oracle::Row {
        time: EventTime(i as i64 * 10),
        position: Position::new(1 + i as u64, 0),
        values: vec![thyme_core::Value::Int(1 << (i % 50))],
        predicates: vec![],
    };
    Case {
        types: vec![thyme_core::DataType::Int],
        predicates: 0,
        rows: (0..rows).map(row).collect(),
        order: (0..rows).collect(),
        chunk_rows_max: 2,
        seal_every: 1,
        labels: vec![i64::MAX / 4],
        windows: vec![1],
        at: Position::MAX,
    }
}

#[test]
fn a_split_anywhere_keeps_the_summaries_of_groups_right() {
    let layout = all_slots(&[thyme_core::DataType::Int], 0);
    let mut case = regular(400);
    for place in 100..300 {
        case.rows.truncate(400);
        case.order.truncate(400);
        let mut late = case.rows[place].clone();
        late.time.0 += 5;
        late.position = Position::new(1000, 0);
        case.rows.push(late);
        case.order.push(400);
        let timeline = timeline_of(&case, &layout);
        // Each slot has its turn many times over.
        for slot in (place % 7..layout.slots.len()).step_by(7) {
            for from in [SINCE_BEGINNING, EventTime(640), EventTime(1280)] {
                let window = (from != SINCE_BEGINNING).then(|| Span(i64::MAX / 4 - from.0));
                let expected =
                    answer(&case.rows, &question(&layout, slot, EventTime(i64::MAX / 4), case.at, window))
                        .unwrap();
                assert_eq!(
                    timeline.fold(&layout, slot, from, EventTime(i64::MAX / 4), case.at),
                    expected,
                    "{place}"
                );
            }
        }
    }
}

/// The bytes in `docs/formats-timeline.md`.
#[test]
fn the_encoding_is_the_documented_one() {
    use thyme_core::{DataType, Value};
    let row = |time, position, values: [Value; 2], predicate| oracle::Row {
        time: EventTime(time),
        position: Position::from_bits(position),
        values: values.to_vec(),
        predicates: vec![predicate],
    };
    let case = Case {
        types: vec![DataType::Float, DataType::Str],
        predicates: 1,
        rows: vec![
            row(-1, 16, [Value::Float(1.5), Value::Str("a".into())], true),
            row(2, 18, [Value::Null, Value::Str("bc".into())], false),
        ],
        order: vec![0, 1],
        ..regular(0)
    };
    let layout = all_slots(&case.types, 1);
    let mut timeline = timeline_of(&case, &layout);
    let expected = [
        b'C', 1, 2, // magic, version, flags: all there is
        2, 2, 1, b'f', b's', // rows, columns, predicates, types
        1, 6, // times: -1, +3
        32, 4, // positions: 16, +2
        0b01, 2, 0xbf, 0xf0, 0x03, // floats: validity, xor, 1.5 = 3f f8 00 ...
        0b11, 1, b'a', 2, b'b', b'c', // strings
        0b01, // predicate
    ];
    assert_eq!(stored(&mut timeline, &layout)[&0], expected);
}
