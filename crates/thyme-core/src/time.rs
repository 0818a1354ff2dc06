//! Event times and spans, and the texts they are read from.

use chrono::{DateTime, NaiveDate, NaiveDateTime};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

/// A point in event time: microseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EventTime(pub i64);

/// Event times outside the years -9999 to 9999 are refused, so that window arithmetic cannot overflow.
pub const EVENT_TIME_MAX: EventTime = EventTime(253_402_300_799_999_999);
/// The earliest event time admitted.
pub const EVENT_TIME_MIN: EventTime = EventTime(-377_705_116_800_000_000);

impl EventTime {
    /// The time as RFC 3339 with `Z` and as many fractional digits as it needs.
    pub fn to_rfc3339(self) -> String {
        format_rfc3339(self.0)
    }
}

/// A positive length of time in microseconds, written as an integer and one of `s m h d w`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub i64);

const UNITS: [(char, i64); 5] = [
    ('w', 7 * 86_400_000_000),
    ('d', 86_400_000_000),
    ('h', 3_600_000_000),
    ('m', 60_000_000),
    ('s', 1_000_000),
];

impl Span {
    /// Reads `"90s"`, `"15m"`, `"24h"`, `"7d"`, `"2w"`.
    ///
    /// # Errors
    /// Anything else, zero, and spans of more than 10,000 years.
    pub fn parse(text: &str) -> Result<Span> {
        let bad = || {
            Error::invalid_definition(format!(
                "\"{text}\" is not a duration: expected a positive integer and one of s, m, h, d, w, such as \"90s\", \"24h\" or \"7d\""
            ))
        };
        let unit = text.chars().last().ok_or_else(bad)?;
        let (_, us) = UNITS.iter().find(|(c, _)| *c == unit).ok_or_else(bad)?;
        let digits = &text[..text.len() - 1];
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad());
        }
        let span = digits.parse::<i64>().ok().and_then(|n| n.checked_mul(*us)).ok_or_else(bad)?;
        if span == 0 || span > EVENT_TIME_MAX.0 {
            return Err(bad());
        }
        Ok(Span(span))
    }
}

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match UNITS.iter().find(|(_, us)| self.0 % us == 0) {
            Some((unit, us)) => write!(f, "{}{unit}", self.0 / us),
            None => write!(f, "{}us", self.0),
        }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Span::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// `2013-01-01T05:17:00Z`, with up to six fractional digits where they are not zero.
pub fn format_rfc3339(us: i64) -> String {
    match DateTime::from_timestamp_micros(us) {
        Some(t) if us.rem_euclid(1_000_000) == 0 => t.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Some(t) => t.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
        None => format!("{us}us"),
    }
}

/// Reads an ISO 8601 / RFC 3339 text; without an offset it is UTC; finer than a microsecond is floored.
///
/// # Errors
/// Texts of another form and times outside the years 0 to 9999.
pub fn parse_timestamp(text: &str) -> Result<EventTime> {
    let bad = || {
        Error::invalid_data(format!(
            "\"{text}\" is not a time: expected ISO 8601 such as \"2026-03-15T10:00:00Z\", or seconds since the epoch"
        ))
    };
    let t = text.trim();
    let nanos_floor = |secs: i64, nanos: u32| secs * 1_000_000 + i64::from(nanos / 1_000);
    if let Ok(t) = DateTime::parse_from_rfc3339(t) {
        return in_range(nanos_floor(t.timestamp(), t.timestamp_subsec_nanos()), text);
    }
    for format in ["%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f%#z"] {
        if let Ok(t) = DateTime::parse_from_str(t, format) {
            return in_range(nanos_floor(t.timestamp(), t.timestamp_subsec_nanos()), text);
        }
    }
    for format in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"] {
        if let Ok(t) = NaiveDateTime::parse_from_str(t.trim_end_matches(['Z', 'z']), format) {
            let t = t.and_utc();
            return in_range(nanos_floor(t.timestamp(), t.timestamp_subsec_nanos()), text);
        }
    }
    if let Ok(day) = NaiveDate::parse_from_str(t, "%Y-%m-%d") {
        let t = day.and_time(chrono::NaiveTime::MIN).and_utc();
        return in_range(t.timestamp() * 1_000_000, text);
    }
    Err(bad())
}

/// Reads a day such as `2026-03-15`, of the years 1 to 9999, as days since the Unix epoch.
pub fn parse_date(text: &str) -> Option<i32> {
    // chrono takes fewer digits, too, and a sign.
    let is_plain = text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().filter(|_| is_plain)?;
    date_in_range(i32::try_from(day.signed_duration_since(NaiveDate::default()).num_days()).ok()?)
}

/// The day, if it is of the years 1 to 9999.
pub fn date_in_range(days: i32) -> Option<i32> {
    (-719_162..=2_932_896).contains(&days).then_some(days)
}

/// `2026-03-15` for days since the Unix epoch.
pub fn date_text(days: i32) -> String {
    match DateTime::from_timestamp(i64::from(days) * 86_400, 0) {
        Some(t) => t.format("%Y-%m-%d").to_string(),
        None => format!("{days}d"),
    }
}

/// The latest number taken as seconds since the epoch: the year 2999. Later ones are milliseconds by mistake.
const EPOCH_SECONDS_MAX: f64 = 32_503_680_000.0;

/// An integer as seconds since the epoch.
///
/// # Errors
/// A number too large to be seconds, with the hint that it looks like milliseconds.
pub fn from_epoch_seconds(seconds: i64) -> Result<EventTime> {
    if (seconds as f64).abs() > EPOCH_SECONDS_MAX {
        return Err(not_seconds(&seconds.to_string()));
    }
    Ok(EventTime(seconds * 1_000_000))
}

/// A float as seconds since the epoch, its decimal form floored to the microsecond.
///
/// # Errors
/// NaN, infinities, and numbers too large to be seconds.
pub fn from_epoch_seconds_f64(seconds: f64) -> Result<EventTime> {
    if !seconds.is_finite() || seconds.abs() > EPOCH_SECONDS_MAX {
        return Err(not_seconds(&seconds.to_string()));
    }
    // The shortest decimal that is this float is what was written; flooring that, and not the float's
    // own binary value, keeps 1773568800.1 at .100000 and takes 1773568800.1234567 to .123456.
    let text = format!("{}", seconds.abs());
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let micros: String = fraction.chars().chain("000000".chars()).take(6).collect();
    let finer = fraction.chars().skip(6).any(|c| c != '0');
    let whole: i64 = whole.parse().map_err(|_| not_seconds(&text))?;
    let micros: i64 = micros.parse().map_err(|_| not_seconds(&text))?;
    let us = whole * 1_000_000 + micros;
    Ok(EventTime(if seconds < 0.0 { -us - i64::from(finer) } else { us }))
}

fn not_seconds(number: &str) -> Error {
    Error::invalid_data(format!(
        "{number} cannot be seconds since the epoch (after the year 2999); is it in milliseconds or microseconds? Divide it, or send ISO 8601"
    ))
}

/// Checks that a time lies in the range Thyme computes with.
///
/// # Errors
/// Times before [`EVENT_TIME_MIN`] or after [`EVENT_TIME_MAX`].
pub fn in_range(us: i64, shown: &str) -> Result<EventTime> {
    if !(EVENT_TIME_MIN.0..=EVENT_TIME_MAX.0).contains(&us) {
        return Err(Error::invalid_data(format!("\"{shown}\" is outside the years -9999 to 9999")));
    }
    Ok(EventTime(us))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_an_integer_and_a_unit() {
        for (text, us) in
            [("1s", 1_000_000), ("90s", 90_000_000), ("24h", 86_400_000_000), ("2w", 1_209_600_000_000)]
        {
            assert_eq!(Span::parse(text).unwrap().0, us);
        }
        assert_eq!(Span::parse("24h").unwrap().to_string(), "1d");
        for text in ["", "7 days", "h", "0h", "-1h", "1.5h", "1H", "1y", "99999999999999w", "١h"] {
            assert!(Span::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_read_as_written() {
        let cases = [
            ("2026-03-15T10:00:00Z", 1_773_568_800_000_000),
            ("2026-03-15T10:00:00", 1_773_568_800_000_000),
            ("2026-03-15 10:00", 1_773_568_800_000_000),
            ("2026-03-15T12:00:00+02:00", 1_773_568_800_000_000),
            ("2026-03-15T12:00:00.5+0200", 1_773_568_800_500_000),
            ("2026-03-15", 1_773_532_800_000_000),
            ("2026-03-15T10:00:00.000001999Z", 1_773_568_800_000_001),
            ("1969-12-31T23:59:59.9999999Z", -1),
        ];
        for (text, us) in cases {
            assert_eq!(parse_timestamp(text).unwrap().0, us, "{text}");
        }
        for text in ["", "yesterday", "2026-13-01", "10:00"] {
            assert!(parse_timestamp(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_are_seconds_and_milliseconds_are_refused_with_a_hint() {
        assert_eq!(from_epoch_seconds(1_773_568_800).unwrap().0, 1_773_568_800_000_000);
        assert_eq!(from_epoch_seconds_f64(1_773_568_800.1).unwrap().0, 1_773_568_800_100_000);
        assert_eq!(from_epoch_seconds_f64(1_773_568_800.1234567).unwrap().0, 1_773_568_800_123_456);
        assert_eq!(from_epoch_seconds_f64(-0.000_000_5).unwrap().0, -1);
        assert_eq!(from_epoch_seconds_f64(-0.25).unwrap().0, -250_000);
        assert!(from_epoch_seconds(1_773_568_800_000).unwrap_err().to_string().contains("milliseconds"));
        assert!(from_epoch_seconds_f64(f64::NAN).is_err());
    }

    #[test]
    fn formatting_round_trips() {
        for us in [0, -1, 1_773_568_800_500_000, EVENT_TIME_MAX.0] {
            assert_eq!(parse_timestamp(&format_rfc3339(us)).unwrap().0, us);
        }
    }

    #[test]
    fn days_are_read_as_they_are_shown() {
        for days in [-719_162, -1, 0, 20_527, 2_932_896] {
            assert_eq!(parse_date(&date_text(days)), Some(days));
        }
        assert_eq!(parse_date("2026-03-15"), Some(20_527));
        for text in
            ["", "2026-3-15", "2026-02-30", "0000-01-01", "2026-03-15T00:00:00Z", "+026-03-15", "20260315"]
        {
            assert_eq!(parse_date(text), None, "{text}");
        }
    }
}
