//! Many seeds of one test, split over threads.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `test` for the seeds up to `count`, or for the one that `THYME_SEED` names, on so many `workers`, and
/// gives what each came to, in no order.
///
/// # Panics
/// When a seed fails; says which, and how to run it alone.
#[expect(clippy::panic, reason = "a test fails by panicking")]
pub fn each<T: Send>(count: u64, workers: u64, test: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let seeds = std::env::var("THYME_SEED").ok().and_then(|s| s.parse().ok()).map_or(0..count, |s| s..s + 1);
    let run = |seed: u64| match catch_unwind(AssertUnwindSafe(|| test(seed))) {
        Ok(outcome) => outcome,
        Err(_) => panic!("history {seed} failed; THYME_SEED={seed} runs it alone"),
    };
    std::thread::scope(|scope| {
        let (run, seeds) = (&run, &seeds);
        let work =
            |worker| move || seeds.clone().filter(|s| s % workers == worker).map(run).collect::<Vec<T>>();
        let running: Vec<_> = (0..workers).map(|worker| scope.spawn(work(worker))).collect();
        let joined = running.into_iter().map(|thread| thread.join());
        joined
            .flat_map(|outcomes| outcomes.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}
