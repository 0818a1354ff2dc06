//! Runs many histories on all cores: `sim SEEDS [FROM]`. A history that fails is printed with the command
//! that replays it.
#![expect(clippy::print_stdout, reason = "a command prints")]

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use thyme_testing::sim;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(|a| a.parse::<u64>());
    let (Some(Ok(seeds)), from) = (arguments.next(), arguments.next().and_then(Result::ok).unwrap_or(0))
    else {
        println!("expected: sim SEEDS [FROM]");
        return ExitCode::FAILURE;
    };
    // What a history does wrong is said below, once.
    std::panic::set_hook(Box::new(|_| {}));
    #[expect(clippy::disallowed_methods, reason = "a rate for people")]
    let begun = std::time::Instant::now();
    let (next, ran, failed) = (AtomicU64::new(from), AtomicU64::new(0), AtomicU64::new(0));
    let rate = |ran: u64| ran as f64 / begun.elapsed().as_secs_f64();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + seeds || failed.load(Ordering::Relaxed) > 0 {
                        return;
                    }
                    let outcome = sim::run(seed);
                    if let Some(fault) = &outcome.fault {
                        failed.fetch_add(1, Ordering::Relaxed);
                        let lines = outcome.trace.lines().join("\n  ");
                        println!("seed {seed}:\n  {lines}\n{fault}\nmake sim SEEDS=1 FROM={seed}");
                    }
                    let ran = ran.fetch_add(1, Ordering::Relaxed) + 1;
                    if ran.is_multiple_of(1000) {
                        println!("{ran} of {seeds} histories, {:.0}/s", rate(ran));
                    }
                }
            });
        }
    });
    let (ran, failed) = (ran.into_inner(), failed.into_inner());
    println!("{ran} histories from seed {from}, {failed} failed, {:.0}/s", rate(ran));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
