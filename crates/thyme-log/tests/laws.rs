//! Laws over random histories.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use proptest::prelude::*;
use support::{MemDisk, Random, all, append, open};
use thyme_log::{Log, MemoryLog};

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<usize>),
    Reopen,
    /// An append is under way when the power goes.
    PowerCut(Vec<usize>),
}

fn lengths() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![0..40usize, 0..3_000usize], 1..5)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => lengths().prop_map(Step::Append),
        1 => Just(Step::Reopen),
        2 => lengths().prop_map(Step::PowerCut),
    ];
    prop::collection::vec(step, 1..25)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// What was acknowledged is there after any history, and a batch under way when the power went is
    /// there whole or not at all.
    #[test]
    fn a_segment_log_is_a_memory_log_that_survives(
        steps in steps(),
        segment_bytes in prop_oneof![Just(600u64), Just(5_000), Just(1 << 20)],
        seed in any::<u64>(),
    ) {
        let mut random = Random(seed);
        let mut disk = MemDisk::default();
        let mut log = open(&disk, segment_bytes).unwrap().0;
        let model = MemoryLog::new();
        for step in steps {
            match step {
                Step::Append(lengths) => {
                    let payloads: Vec<_> = lengths.iter().map(|length| random.payload(*length)).collect();
                    let payloads: Vec<_> = payloads.iter().map(Vec::as_slice).collect();
                    prop_assert_eq!(append(&log, &payloads).unwrap(), append(&model, &payloads).unwrap());
                }
                Step::Reopen => {
                    drop(log);
                    let (again, report) = open(&disk, segment_bytes).unwrap();
                    prop_assert_eq!(report.torn, None);
                    log = again;
                }
                Step::PowerCut(lengths) => {
                    let payloads: Vec<_> = lengths.iter().map(|length| random.payload(*length)).collect();
                    let payloads: Vec<_> = payloads.iter().map(Vec::as_slice).collect();
                    disk.fail_sync(true);
                    append(&log, &payloads).unwrap_err();
                    drop(log);
                    disk = disk.after_power_cut(&mut |n| random.below(n));
                    log = open(&disk, segment_bytes).unwrap().0;
                    if log.last() != model.last() {
                        append(&model, &payloads).unwrap();
                    }
                }
            }
            prop_assert_eq!(log.last(), model.last());
        }
        let records = all(&model);
        prop_assert_eq!(&all(&log), &records);
        for number in 0..=records.len() as u64 + 1 {
            for stamp in [number as i64 * 10 - 1, number as i64 * 10] {
                prop_assert_eq!(log.last_at(stamp).unwrap(), model.last_at(stamp).unwrap());
            }
        }
        let from = random.below(records.len() as u64 + 2);
        let some: Vec<_> = log.read(from).unwrap().map(Result::unwrap).collect();
        prop_assert_eq!(&some[..], &records[(from.max(1) as usize - 1).min(records.len())..]);
    }
}
