//! What a datetime in UTC and a timedelta are asked for.

use serde::Deserialize;

use super::arithmetic::divided;
use super::object::Object;
use super::{Computed, Deferred};

/// 0001-01-01T00:00:00Z.
const FIRST_US: i64 = -62_135_596_800_000_000;
/// 9999-12-31T23:59:59.999999Z.
const LAST_US: i64 = 253_402_300_799_999_999;
const DAY_US: i64 = 86_400_000_000;

/// Whether CPython has a datetime for it.
pub(super) fn is_python_time(us: i64) -> bool {
    (FIRST_US..=LAST_US).contains(&us)
}

/// An attribute of a datetime or a timedelta, or a method of one that is called without arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Part {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
    Microsecond,
    Weekday,
    Isoweekday,
    Timestamp,
    Days,
    Seconds,
    Microseconds,
    TotalSeconds,
}

/// The part of an object; deferred where the object has none.
pub(super) fn part(object: &Object, part: Part) -> Computed<Object> {
    match object {
        Object::Moment(us) => of_moment(*us, part),
        Object::Duration(us) => of_duration(*us, part),
        _ => Err(Deferred),
    }
}

fn of_moment(us: i64, part: Part) -> Computed<Object> {
    let (day, in_day) = (us.div_euclid(DAY_US), us.rem_euclid(DAY_US));
    let seconds = in_day / 1_000_000;
    Ok(Object::Int(match part {
        Part::Year => civil(day).0,
        Part::Month => civil(day).1,
        Part::Day => civil(day).2,
        Part::Hour => seconds / 3600,
        Part::Minute => seconds / 60 % 60,
        Part::Second => seconds % 60,
        Part::Microsecond => in_day % 1_000_000,
        // The epoch was a Thursday.
        Part::Weekday => (day + 3).rem_euclid(7),
        Part::Isoweekday => (day + 3).rem_euclid(7) + 1,
        Part::Timestamp => return divided(us, 1_000_000),
        Part::Days | Part::Seconds | Part::Microseconds | Part::TotalSeconds => return Err(Deferred),
    }))
}

fn of_duration(us: i64, part: Part) -> Computed<Object> {
    let (days, in_day) = (us.div_euclid(DAY_US), us.rem_euclid(DAY_US));
    Ok(Object::Int(match part {
        Part::Days => days,
        Part::Seconds => in_day / 1_000_000,
        Part::Microseconds => in_day % 1_000_000,
        Part::TotalSeconds => return divided(us, 1_000_000),
        _ => return Err(Deferred),
    }))
}

/// Year, month and day of the proleptic Gregorian calendar, from days since the epoch: counted in eras of 400 years
/// that begin in March, so that a leap day is the last of its year.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day_of_month)
}
