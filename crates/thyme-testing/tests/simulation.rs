//! Whole engines on disks that fail, in one thread: what was once wrong stays right, so do some hundred
//! more histories, and a seed is a run.
#![expect(clippy::panic, reason = "a test fails by panicking")]

use thyme_testing::sim;

/// Fresh histories, run in two threads.
const SEEDS: u64 = 160;
const REMEMBERED: &str = include_str!("../../../tests/sim/seeds.txt");

fn must_hold(seed: u64) -> u64 {
    let outcome = sim::run(seed);
    if let Some(fault) = outcome.fault {
        panic!("{}\n{fault}\nmake sim SEEDS=1 FROM={seed} replays it", outcome.trace.lines().join("\n"));
    }
    outcome.trace.hash()
}

#[test]
fn what_was_once_wrong_stays_right() {
    let lines = REMEMBERED.lines().filter(|line| !line.starts_with('#'));
    let seeds: Vec<u64> = lines.map(|l| l.split_whitespace().next().unwrap().parse().unwrap()).collect();
    assert!(!seeds.is_empty());
    seeds.into_iter().for_each(|seed| _ = must_hold(seed));
}

#[test]
fn no_history_loses_or_doubles_an_event_or_shows_a_value_that_the_oracle_does_not() {
    std::thread::scope(|scope| {
        for half in 0..2 {
            scope.spawn(move || (0..SEEDS).filter(|s| s % 2 == half).for_each(|s| _ = must_hold(s)));
        }
    });
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 7_000..7_010 {
        assert_eq!(must_hold(seed), must_hold(seed), "seed {seed} ran in two ways");
    }
    assert_ne!(must_hold(7_000), must_hold(7_001));
}

#[test]
fn some_histories_lose_rows_that_are_too_old_and_go_on() {
    let loses = |seed: &u64| {
        let outcome = sim::run(*seed);
        assert!(outcome.fault.is_none(), "seed {seed}");
        outcome.trace.lines().iter().any(|line| line.ends_with("rows were too old"))
    };
    // Every third history removes rows at all.
    let lost = (9_001..9_091).step_by(3).filter(loses).count();
    assert!(lost > 2, "{lost} of 30");
}
