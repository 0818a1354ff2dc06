//! `Tumbling("1d", tz="Europe/London")`: the calendar's windows, one after the other.

use super::Extent;
use super::calendar::{Every, before};
use crate::time::EventTime;
use crate::zone::Zone;

/// The window `[start, end)` of the calendar that T is in, as far as T: `[start, T]`; or the `lookback`-th before it, all of
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tumbling {
    /// How long the windows are.
    pub every: Every,
    /// By whose calendar.
    pub tz: Zone,
    /// 0 is the window that T is in, 1 the one before.
    pub lookback: u32,
}

impl Tumbling {
    pub(super) fn extent(&self, time: EventTime) -> Extent {
        let start = before(self.every.start(self.tz, time.0, self.lookback));
        match self.lookback.checked_sub(1) {
            None => Extent::between(start, time),
            Some(next) => Extent::between(start, before(self.every.start(self.tz, time.0, next))),
        }
    }

    pub(super) fn reach_us(&self) -> i64 {
        self.every.longest_us().saturating_mul(i64::from(self.lookback) + 1)
    }

    pub(super) fn name(&self, arguments: &mut Vec<String>) -> &'static str {
        arguments.push(format!("\"{}\"", self.every));
        arguments.extend((self.tz != Zone::utc()).then(|| format!("tz=\"{}\"", self.tz)));
        arguments.extend((self.lookback > 0).then(|| format!("lookback={}", self.lookback)));
        "Tumbling"
    }
}
