//! Datetimes on the clock and in the calendar of a zone.

use chrono::{Datelike, NaiveDate, NaiveDateTime, TimeDelta, Timelike};
use thyme_core::time::parse_timestamp;
use thyme_core::{Error, Result, Value, Zone};

use crate::number::divide;

const UTC: &str = "UTC";

/// The microseconds of a day.
const DAY_US: i64 = 86_400_000_000;

/// The day of a date, or the one that clocks of a zone show.
pub(super) fn date(args: &[Value]) -> Result<Value> {
    let Value::Datetime(us) = args[0] else { return Ok(Value::Null) };
    let day = local(&zone(args.get(1))?, us)?.date();
    Ok(if (1..=9999).contains(&day.year()) { Value::Date(days(day)) } else { Value::Null })
}

fn days(day: NaiveDate) -> i32 {
    day.signed_duration_since(NaiveDate::default()).num_days() as i32
}

fn zone(value: Option<&Value>) -> Result<Zone> {
    match value {
        Some(Value::Str(name)) => Zone::named(name),
        _ => Zone::named(UTC),
    }
}

/// What the clocks of a zone show, which is all that is taken from the tz database here.
fn local(zone: &Zone, us: i64) -> Result<NaiveDateTime> {
    let shown = chrono::DateTime::from_timestamp_micros(us + zone.offset_us(us));
    shown.map(|t| t.naive_utc()).ok_or_else(|| Error::internal(format!("{us} is outside the calendar")))
}

pub(super) fn clock(name: &str, args: &[Value]) -> Result<Value> {
    let us = match args[0] {
        Value::Datetime(us) => us,
        Value::Date(day) => i64::from(day) * DAY_US,
        _ => return Ok(Value::Null),
    };
    let t = local(&zone(args.get(1))?, us)?;
    Ok(Value::Int(match name {
        "year" => i64::from(t.year()),
        "month" => i64::from(t.month()),
        "day" => i64::from(t.day()),
        "hour" => i64::from(t.hour()),
        "minute" => i64::from(t.minute()),
        "second" => i64::from(t.second()),
        _ => i64::from(t.weekday().num_days_from_monday()),
    }))
}

/// The first instant, to the second, at which clocks show `midnight` or later.
fn reaches(zone: &Zone, midnight: NaiveDate) -> Result<i64> {
    let midnight = midnight.and_time(chrono::NaiveTime::MIN);
    let as_utc = midnight.and_utc().timestamp_micros();
    // No clock is further ahead. In small steps: clocks that are put back may show midnight for a minute only.
    let mut at = as_utc - 16 * 3_600_000_000;
    for step in [60_000_000, 1_000_000] {
        while local(zone, at + step)? < midnight {
            at += step;
        }
    }
    Ok(at + 1_000_000)
}

/// The first day of the stretch that a day lies in, and that of the next one.
fn stretch(unit: &str, day: NaiveDate) -> Option<(NaiveDate, NaiveDate)> {
    let month = |months: i32| {
        let all = day.year() * 12 + months;
        NaiveDate::from_ymd_opt(all.div_euclid(12), all.rem_euclid(12) as u32 + 1, 1)
    };
    let month0 = day.month0() as i32;
    Some(match unit {
        "1d" => (day, day.succ_opt()?),
        "1w" => {
            let monday = day - TimeDelta::days(i64::from(day.weekday().num_days_from_monday()));
            (monday, monday + TimeDelta::days(7))
        }
        "1mo" => (month(month0)?, month(month0 + 1)?),
        "1q" => (month(month0 / 3 * 3)?, month(month0 / 3 * 3 + 3)?),
        _ => (month(0)?, month(12)?),
    })
}

pub(super) fn truncated(args: &[Value]) -> Result<Value> {
    if let (Value::Date(date), Value::Str(unit)) = (&args[0], &args[1]) {
        let day = NaiveDate::default() + TimeDelta::days(i64::from(*date));
        let (first, _) = stretch(unit, day).ok_or_else(|| Error::internal("a day outside the calendar"))?;
        return Ok(Value::Date(days(first)));
    }
    let (Value::Datetime(us), Value::Str(unit)) = (&args[0], &args[1]) else { return Ok(Value::Null) };
    let zone = zone(args.get(2))?;
    let outside = || Error::internal(format!("{us} is outside the calendar"));
    if unit.starts_with('1') && ["d", "w", "mo", "q", "y"].contains(&&unit[1..]) {
        let (mut first, mut next) = stretch(unit, local(&zone, *us)?.date()).ok_or_else(outside)?;
        while reaches(&zone, next)? <= *us {
            (first, next) = stretch(unit, next).ok_or_else(outside)?;
        }
        return reaches(&zone, first).map(Value::Datetime);
    }
    let step = thyme_core::Span::parse(unit)?.0;
    let shown = local(&zone, *us)?;
    let of_day =
        i64::from(shown.num_seconds_from_midnight()) * 1_000_000 + i64::from(shown.nanosecond() / 1000);
    Ok(Value::Datetime(us - of_day % step))
}

pub(super) fn difference(args: &[Value]) -> Result<Value> {
    let time = |value: &Value| match value {
        Value::Datetime(us) => Ok(Some(*us)),
        Value::Date(day) => Ok(Some(i64::from(*day) * DAY_US)),
        Value::Str(text) => parse_timestamp(text).map(|t| Some(t.0)),
        _ => Ok(None),
    };
    let unit = match args.get(2) {
        Some(Value::Str(unit)) => &**unit,
        _ => "s",
    };
    let us = match unit {
        "us" => 1,
        "ms" => 1_000,
        unit => thyme_core::Span::parse(&format!("1{unit}"))?.0,
    };
    Ok(match (time(&args[0])?, time(&args[1])?) {
        (Some(a), Some(b)) => divide(a - b, us).map_or(Value::Null, Value::Float),
        _ => Value::Null,
    })
}
