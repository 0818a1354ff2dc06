//! What a zone's calendar and clocks say of an event's time, asked of the clocks one time after the other.

use jiff::Timestamp;
use jiff::civil::{DateTime, date};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use thyme_core::Zone;
use thyme_core::window::Every;

const MINUTE: i64 = 60_000_000;

/// The clocks of a zone.
#[derive(Clone, Debug)]
pub struct Clocks(TimeZone);

impl Clocks {
    /// Those of a zone.
    pub fn of(zone: Zone) -> Clocks {
        Clocks(TimeZoneDatabase::bundled().get(zone.name()).unwrap_or(TimeZone::UTC))
    }

    fn shown(&self, us: i64) -> DateTime {
        let farthest = if us < 0 { Timestamp::MIN } else { Timestamp::MAX };
        self.0.to_datetime(Timestamp::from_microsecond(us).unwrap_or(farthest))
    }

    /// The number of the day, from Monday 1970-01-05, or of the month, in fields of `every`; `None` for a part of a day.
    pub fn number(&self, every: Every, us: i64) -> Option<i64> {
        let shown = self.shown(us).date();
        match every {
            Every::Days(days) => {
                let hours = shown.duration_since(date(1970, 1, 5)).as_hours();
                Some(hours.div_euclid(24).div_euclid(days))
            }
            Every::Months(months) => {
                Some((i64::from(shown.year()) * 12 + i64::from(shown.month()) - 1).div_euclid(months))
            }
            Every::Clock(_) => None,
        }
    }

    /// Where the part of a day begins that `us` is in, and the `count` before it, the latest first: the times at which the
    /// clocks show a multiple of `length`, or are put forward to or over one.
    pub fn begins(&self, length: i64, us: i64, count: u32) -> Vec<i64> {
        // Clocks are put forward and back on whole minutes.
        let step = if length % MINUTE == 0 { MINUTE } else { 1_000_000 };
        let since_midnight = |us: i64| {
            let shown = self.shown(us);
            shown.duration_since(date(1970, 1, 5).at(0, 0, 0, 0)).as_micros() as i64
        };
        let (mut at, mut found) = (us - us.rem_euclid(step), Vec::new());
        while found.len() <= count as usize {
            let (shown, before) = (since_midnight(at), since_midnight(at - step) + step);
            let passed = (before..=shown).step_by(step as usize).any(|passed| passed.rem_euclid(length) == 0);
            if passed || shown.rem_euclid(length) == 0 {
                found.push(at);
            }
            at -= step;
        }
        found
    }
}
