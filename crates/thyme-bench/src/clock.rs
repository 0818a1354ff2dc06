//! Time, for measuring and for the events that are sent.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A moment to measure from.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
pub(crate) fn moment() -> Instant {
    Instant::now()
}

/// Seconds since the epoch.
#[expect(clippy::disallowed_methods, reason = "the events of a benchmark happen now")]
pub(crate) fn epoch_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[expect(clippy::disallowed_methods, reason = "a load generator keeps a pace")]
pub(crate) fn sleep_until(at: Instant) {
    let left = at.saturating_duration_since(Instant::now());
    if !left.is_zero() {
        std::thread::sleep(left);
    }
}

pub(crate) fn sleep(time: Duration) {
    sleep_until(moment() + time);
}
