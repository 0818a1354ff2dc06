//! What a deterministic program takes from outside.

use std::fmt::Debug;

/// The outside world as the engine sees it, so that a simulator can stand in for it.
pub trait Env: Send + Sync + Debug {
    /// The wall clock: microseconds since the Unix epoch, UTC. May step backwards.
    fn now_us(&self) -> i64;
}

/// The machine's own clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemEnv;

impl Env for SystemEnv {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    fn now_us(&self) -> i64 {
        match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => since.as_micros() as i64,
            Err(before) => -(before.duration().as_micros() as i64),
        }
    }
}
