//! `Hopping("1d", "1h")`: a span that moves on in hops.

use super::Extent;
use super::calendar::{Every, before};
use crate::time::EventTime;
use crate::zone::Zone;

/// `hops` windows of the calendar in a row, `[start, end)`, of which the last one ended at T or is the latest that ended before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hopping {
    /// How long a hop is.
    pub hop: Every,
    /// How many of them the window has.
    pub hops: u32,
    /// By whose calendar.
    pub tz: Zone,
    /// How many hops earlier it is.
    pub lookback: u32,
}

impl Hopping {
    pub(super) fn extent(&self, time: EventTime) -> Extent {
        let end = self.hop.start(self.tz, time.0, self.lookback);
        let start = self.hop.start(self.tz, time.0, self.lookback.saturating_add(self.hops));
        Extent::between(before(start), before(end))
    }

    pub(super) fn reach_us(&self) -> i64 {
        let hops = i64::from(self.lookback) + i64::from(self.hops) + 1;
        self.hop.longest_us().saturating_mul(hops)
    }

    pub(super) fn name(&self, arguments: &mut Vec<String>) -> &'static str {
        arguments.push(format!("\"{}\"", self.hop.times(self.hops)));
        arguments.push(format!("\"{}\"", self.hop));
        arguments.extend((self.tz != Zone::utc()).then(|| format!("tz=\"{}\"", self.tz)));
        arguments.extend((self.lookback > 0).then(|| format!("lookback={}", self.lookback)));
        "Hopping"
    }
}
