//! Every way of reading a timeline against the oracle.

use proptest::prelude::*;
use thyme_core::{EventTime, Position, Span, Window};
use thyme_timeline::{Layout, RowView, SweepOutput, Timeline};

use super::Case;
use thyme_oracle::{self as oracle, Question, answer, visible};

pub const SINCE_BEGINNING: EventTime = EventTime(i64::MIN);

pub fn question<'a>(
    layout: &Layout,
    slot: usize,
    until: EventTime,
    at: Position,
    window: Option<Span>,
) -> Question<'a> {
    let slot = &layout.slots[slot];
    Question {
        aggregate: slot.aggregate.name(),
        parameters: slot.call.settings.arguments(),
        of: slot.of,
        by: slot.by,
        predicate: slot.predicate,
        until,
        at,
        window: window.map(Window::sliding),
        retention: None,
        gives: slot.aggregate.output_type(&slot.call).ok(),
    }
}

fn after(until: EventTime, window: Option<Span>) -> EventTime {
    window.map_or(SINCE_BEGINNING, |w| EventTime(until.0 - w.0))
}

fn same_row(found: Option<RowView<'_>>, expected: Option<&oracle::Row>) -> bool {
    match (found, expected) {
        (None, None) => true,
        (Some(found), Some(expected)) => {
            found.time() == expected.time
                && found.position() == expected.position
                && expected.values.iter().enumerate().all(|(i, v)| found.value(i) == *v)
                && expected.predicates.iter().enumerate().all(|(i, v)| found.predicate(i) == *v)
        }
        _ => false,
    }
}

/// Every read of the timeline against the oracle.
pub fn check(case: &Case, layout: &Layout, timeline: &Timeline, at: Position) -> Result<(), TestCaseError> {
    check_as(case, layout, timeline, at, at)
}

/// The same, where the rows of `case` that are up to `oracle_at` are those that the timeline shows at `at`.
pub fn check_as(
    case: &Case,
    layout: &Layout,
    timeline: &Timeline,
    at: Position,
    oracle_at: Position,
) -> Result<(), TestCaseError> {
    let labels: Vec<EventTime> = case.labels.iter().map(|t| EventTime(*t)).collect();
    let windows: Vec<Option<Span>> = case.windows.iter().map(|w| Some(Span(*w))).chain([None]).collect();
    let outputs: Vec<SweepOutput> = (0..layout.slots.len())
        .map(|slot| (slot, windows[(slot + case.labels.len()) % windows.len()]))
        .map(|(slot, window)| SweepOutput {
            slot,
            window: window.map(Window::sliding),
            retention: None,
            begins: None,
        })
        .collect();
    let spans: Vec<Option<Span>> =
        (0..outputs.len()).map(|slot| windows[(slot + case.labels.len()) % windows.len()]).collect();
    let mut swept = vec![vec![None; outputs.len()]; labels.len()];
    timeline.sweep(layout, &outputs, &labels, at, &mut |label, output, outcome| {
        assert!(swept[label][output].replace(outcome).is_none());
    });
    for (label_index, label) in labels.iter().enumerate() {
        let requests: Vec<_> = outputs.iter().map(|o| (o.slot, after(*label, spans[o.slot]))).collect();
        let folded = timeline.fold_many(layout, &requests, *label, at);
        for (index, output) in outputs.iter().enumerate() {
            let expected =
                answer(&case.rows, &question(layout, output.slot, *label, oracle_at, spans[index])).unwrap();
            let slot = &layout.slots[output.slot];
            let what = (slot.aggregate.name(), &slot.call, output, label, at);
            prop_assert_eq!(&folded[index], &expected, "fold_many {:?}", what);
            let single = timeline.fold(layout, output.slot, after(*label, spans[index]), *label, at);
            prop_assert_eq!(&single, &expected, "fold {:?}", what);
            prop_assert_eq!(swept[label_index][index].as_ref(), Some(&expected), "sweep {:?}", what);
        }
        prop_assert_eq!(
            timeline.has_rows(*label, at),
            !visible(&case.rows, *label, oracle_at, None).is_empty()
        );
    }
    for window in windows {
        for label in &labels {
            let (mut found, expected) = (Vec::new(), visible(&case.rows, *label, oracle_at, window));
            timeline.rows(layout, after(*label, window), *label, at, &mut |row| found.push(row));
            prop_assert_eq!(found.len(), expected.len());
            prop_assert!(found.into_iter().zip(expected).all(|(f, e)| same_row(Some(f), Some(e))));
        }
        let expected: Vec<_> = labels
            .iter()
            .map(|label| visible(&case.rows, *label, oracle_at, window).last().copied())
            .collect();
        let mut seen = 0;
        timeline.latest_rows(layout, window, &labels, at, &mut |index, row| {
            assert!(same_row(row, expected[index]), "latest_rows {window:?} {:?} {at}", labels[index]);
            seen += 1;
        });
        prop_assert_eq!(seen, labels.len());
        for (label, expected) in labels.iter().zip(expected) {
            let found = timeline.latest_row(layout, after(*label, window), *label, at);
            prop_assert!(same_row(found, expected), "latest_row {:?} {:?} {}", window, label, at);
        }
    }
    for label in &labels {
        let later = case.rows.iter().filter(|r| r.time > *label && r.position <= oracle_at);
        prop_assert_eq!(timeline.next_time(*label, at), later.map(|r| r.time).min());
    }
    Ok(())
}
