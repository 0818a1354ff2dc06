//! The windows that a zone's calendar and clocks make: seconds to hours, days, weeks, months, years.
//!
//! - **Days** and weeks: counted from Monday, 1970-01-05, so that whole weeks begin on Mondays. A day begins at the first
//!   instant at which the zone's clocks show it; it has 23 or 25 hours where they are put forward or back.
//! - **Months** and years: counted from January of the year 0, so that 3 months are quarters.
//! - **Parts of a day**: a window begins at each instant at which the clocks show a multiple of it since midnight, or are put
//!   forward to or over one. So hours have 60 minutes, also the one that is shown twice.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};
use crate::time::{EVENT_TIME_MAX, EventTime, Span};
use crate::zone::{Calendar, DAY_US, Zone};

/// The number of 1970-01-05, a Monday.
const FIRST_MONDAY: i64 = 4;
/// The number of January of the year 0.
const FIRST_MONTH: i64 = -1970 * 12;
/// Longer windows are refused: 10,000 years.
const DAYS_MAX: i64 = 3_652_425;
const MONTHS_MAX: i64 = 120_000;
/// No day or month of these times has a larger number.
const NUMBER_MAX: i64 = 3 * DAYS_MAX;
/// Calendars are asked for no time that is further from 1970 than this.
const TIME_MAX: i64 = 2 * EVENT_TIME_MAX.0;
/// What stands for a number and a unit.
const WORDS: [(&str, &str); 6] =
    [("hour", "1h"), ("day", "1d"), ("week", "1w"), ("month", "1mo"), ("quarter", "3mo"), ("year", "1y")];

/// How long the windows of a calendar are: an integer and one of `s m h d w mo y`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Every {
    /// A part of a day, in microseconds.
    Clock(i64),
    /// So many days.
    Days(i64),
    /// So many months.
    Months(i64),
}

impl Every {
    /// Reads `"1h"`, `"1d"`, `"2w"`, `"1mo"`, `"1y"`, or one of the words `hour day week month quarter year`.
    ///
    /// # Errors
    /// Anything else; hours, minutes and seconds that a day is no multiple of.
    pub fn parse(text: &str) -> Result<Every> {
        let bad = || {
            Error::invalid_definition(format!(
                "\"{text}\" is not a length of a calendar: expected a positive integer and one of s, m, h, d, w, mo, y, such as \"1h\", \"1d\" or \"1mo\""
            ))
        };
        let written = WORDS.iter().find(|(word, _)| *word == text).map_or(text, |(_, length)| length);
        let digits = written.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let (count, unit) = written.split_at(digits);
        let count = count
            .parse::<i64>()
            .ok()
            .filter(|count| (1..=DAYS_MAX * 86_400).contains(count))
            .ok_or_else(bad)?;
        let seconds = match unit {
            "s" => count,
            "m" => count * 60,
            "h" => count * 3_600,
            "d" => return (count <= DAYS_MAX).then_some(Every::Days(count)).ok_or_else(bad),
            "w" => return (count <= DAYS_MAX / 7).then_some(Every::Days(count * 7)).ok_or_else(bad),
            "mo" => return (count <= MONTHS_MAX).then_some(Every::Months(count)).ok_or_else(bad),
            "y" => return (count <= MONTHS_MAX / 12).then_some(Every::Months(count * 12)).ok_or_else(bad),
            _ => return Err(bad()),
        };
        match seconds {
            86_400 => Ok(Every::Days(1)),
            _ if seconds < 86_400 && 86_400 % seconds == 0 => Ok(Every::Clock(seconds * 1_000_000)),
            _ => Err(Error::invalid_definition(format!(
                "\"{text}\" does not divide a day, so windows of it would not begin at the same times each day; use a length that does, such as \"1h\", \"6h\" or \"15m\", or whole days"
            ))),
        }
    }

    /// So many of them, as one.
    pub fn times(self, count: u32) -> Every {
        let count = i64::from(count);
        match self {
            Every::Clock(us) if us.saturating_mul(count) % DAY_US == 0 => {
                Every::Days(us.saturating_mul(count) / DAY_US)
            }
            Every::Clock(us) => Every::Clock(us.saturating_mul(count)),
            Every::Days(days) => Every::Days(days.saturating_mul(count)),
            Every::Months(months) => Every::Months(months.saturating_mul(count)),
        }
    }

    /// How many of `part` it is, if it is a whole number.
    pub fn in_parts_of(self, part: Every) -> Option<u32> {
        let (all, part) = match (self, part) {
            (Every::Days(days), Every::Clock(part)) => (days.checked_mul(DAY_US)?, part),
            (Every::Clock(all), Every::Clock(part))
            | (Every::Days(all), Every::Days(part))
            | (Every::Months(all), Every::Months(part)) => (all, part),
            _ => return None,
        };
        (all % part == 0).then(|| u32::try_from(all / part).ok()).flatten()
    }

    /// No window of it is longer.
    pub(super) fn longest_us(self) -> i64 {
        match self {
            Every::Clock(us) => us + DAY_US,
            Every::Days(days) => (days + 2) * DAY_US,
            Every::Months(months) => (months * 31 + 2) * DAY_US,
        }
    }

    /// Where the window begins that is `back` windows before the one that `time` is in.
    pub fn start(self, tz: Zone, time: i64, back: u32) -> i64 {
        let time = time.clamp(-TIME_MAX, TIME_MAX);
        let Every::Clock(length) = self else { return self.day_start(tz, time, i64::from(back)) };
        let mut start = clock_start(tz, length, time);
        let mut back = i64::from(back);
        while back > 0 {
            start = clock_start(tz, length, start.saturating_sub(1));
            back -= 1;
            // Up to the last time that the clocks were set, all windows are of one length.
            let whole = (start.saturating_sub(tz.even(start).since) / length).min(back);
            start = start.saturating_sub(whole * length);
            back -= whole;
        }
        start
    }

    /// Where the window of whole days or months begins that is `back` before the one that `time` is in.
    fn day_start(self, tz: Zone, time: i64, back: i64) -> i64 {
        let (calendar, first, length) = match self {
            Every::Months(months) => (Calendar::Month, FIRST_MONTH, months),
            Every::Days(days) => (Calendar::Day, FIRST_MONDAY, days),
            Every::Clock(_) => (Calendar::Day, 0, 1),
        };
        let number = (tz.number(calendar, time) - first).div_euclid(length).saturating_sub(back);
        tz.begin(calendar, number.saturating_mul(length).saturating_add(first).clamp(-NUMBER_MAX, NUMBER_MAX))
    }
}

/// The exclusive form of a begin or an end: the last microsecond before it.
pub(super) fn before(us: i64) -> EventTime {
    EventTime(us.saturating_sub(1))
}

/// Where the part of a day begins that `time` is in.
fn clock_start(tz: Zone, length: i64, time: i64) -> i64 {
    let mut time = time;
    loop {
        let even = tz.even(time);
        let shown = time.saturating_add(even.offset);
        let multiple = shown.saturating_sub(shown.rem_euclid(length));
        let start = multiple.saturating_sub(even.offset);
        if start >= even.since || even.since == i64::MIN {
            return start;
        }
        if multiple >= even.since + even.before {
            // The clocks were put forward to it or over it.
            return even.since;
        }
        time = even.since - 1;
    }
}

impl fmt::Display for Every {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Every::Clock(us) => write!(f, "{}", Span(*us)),
            Every::Days(days) => write!(f, "{}", Span(days.saturating_mul(DAY_US))),
            Every::Months(months) if months % 12 == 0 => write!(f, "{}y", months / 12),
            Every::Months(months) => write!(f, "{months}mo"),
        }
    }
}

impl Serialize for Every {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Every {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        Every::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}
