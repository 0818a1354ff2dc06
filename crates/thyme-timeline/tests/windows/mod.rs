//! Every kind of window: folded, swept, and by the oracle.

use proptest::prelude::*;
use thyme_core::window::{Every, Hopping, Kind, Rows, Session, Sliding, Tumbling};
use thyme_core::{EventTime, Extent, Position, Span, Window, Zone};
use thyme_oracle::{Question, answer};
use thyme_timeline::SweepOutput;

use crate::support::{Case, all_slots, case, timeline_of};

/// The times of a case, spread over some minutes around a change of London's clocks.
fn spread(mut case: Case) -> Case {
    let spread = |time: i64| {
        let time = time.clamp(-2_000_000, 2_000_000) * 500_000 + 1_774_746_000_000_000;
        time - 1 + time.rem_euclid(3)
    };
    case.rows.iter_mut().for_each(|row| row.time = EventTime(spread(row.time.0)));
    case.labels.iter_mut().for_each(|label| *label = spread(*label));
    case
}

fn every() -> impl Strategy<Value = Every> {
    let lengths = vec!["5s", "20s", "1m", "15m", "1d", "1w", "1mo"];
    prop::sample::select(lengths).prop_map(|text| Every::parse(text).unwrap())
}

fn window() -> impl Strategy<Value = Window> {
    let tz = prop::sample::select(vec!["UTC", "Europe/London", "Asia/Kathmandu"]);
    let tz = tz.prop_map(|name| Zone::named(name).unwrap()).boxed();
    let calendar = || (every(), tz.clone(), 0u32..3);
    let kind = prop_oneof![
        Just(Kind::Forever),
        prop_oneof![4 => 1u32..5, 2 => 5u32..60, 1 => Just(100_000)]
            .prop_map(|rows| Kind::Rows(Rows { rows })),
        prop_oneof![4 => 0i64..9, 1 => 9i64..200, 1 => Just(100_000)]
            .prop_map(|halves| Kind::Session(Session { gap: Span(halves * 500_000 + 1) })),
        (1i64..60).prop_map(|seconds| Kind::Sliding(Sliding { span: Span(seconds * 500_000) })),
        calendar().prop_map(|(every, tz, lookback)| Kind::Tumbling(Tumbling { every, tz, lookback })),
        (calendar(), 1u32..5).prop_map(|((hop, tz, lookback), hops)| Kind::Hopping(Hopping {
            hop,
            hops,
            tz,
            lookback
        })),
    ];
    let offset = prop::option::of((1i64..60).prop_map(|seconds| Span(seconds * 500_000)));
    (kind, offset).prop_map(|(kind, offset)| Window { kind, offset })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn windows_of_every_kind_are_folded_and_swept_alike(
        case in case().prop_map(spread),
        windows in prop::collection::vec(window(), 3),
        retention in prop::option::of((1i64..120).prop_map(|seconds| Span(seconds * 500_000))),
    ) {
        let layout = all_slots(&case.types, case.predicates);
        let timeline = timeline_of(&case, &layout);
        let labels: Vec<EventTime> = case.labels.iter().map(|label| EventTime(*label)).collect();
        let outputs: Vec<SweepOutput> = (0..layout.slots.len())
            .map(|slot| SweepOutput { slot, window: Some(windows[slot % windows.len()]), retention, begins: None })
            .collect();
        for at in [Position::MAX, case.at] {
            let mut swept = vec![vec![None; outputs.len()]; labels.len()];
            timeline.sweep(&layout, &outputs, &labels, at, &mut |label, output, outcome| {
                assert!(swept[label][output].replace(outcome).is_none());
            });
            for (label_index, label) in labels.iter().enumerate() {
                for (index, output) in outputs.iter().enumerate() {
                    let slot = &layout.slots[output.slot];
                    let question = Question {
                        aggregate: slot.aggregate.name(),
                        parameters: slot.call.settings.arguments(),
                        of: slot.of,
                        by: slot.by,
                        predicate: slot.predicate,
                        until: *label,
                        at,
                        window: output.window,
                        retention,
                        gives: slot.aggregate.output_type(&slot.call).ok(),
                    };
                    let expected = answer(&case.rows, &question).unwrap();
                    let extent = Extent::of(output.window.as_ref(), retention, *label);
                    let folded = timeline.fold_extent(&layout, output.slot, &extent, at, &mut None);
                    prop_assert_eq!(&folded, &expected, "fold {:?} {:?}", output, label);
                    let swept = swept[label_index][index].as_ref();
                    prop_assert_eq!(swept, Some(&expected), "sweep {:?} {:?}", output, label);
                }
            }
        }
    }
}
