//! Datetimes on the clock and in the calendar of a zone, and the time between two of them.

use std::sync::Arc;

use arrow::array::{BooleanArray, Date32Array, Float64Array, Int64Array, TimestampMicrosecondArray};

use super::cast_values::date_of;
use super::{Call, Function, Kernel, arg, nulls_of};
use crate::error::{Error, Result};
use crate::expr::number::true_div_int;
use crate::expr::side::{Side, map, map_once, test};
use crate::expr::typing::{Node, as_type, fold};
use crate::time::Span;
use crate::value::DataType;
use crate::zone::{Calendar, Clock, DAY_US, Zone};

pub(super) const ALL: &[Function] = &[
    Function::method("date", (1, 2), date),
    Function::method("year", (1, 2), |call| shown(at_midnight(call)?, |clock| clock.year)),
    Function::method("month", (1, 2), |call| shown(at_midnight(call)?, |clock| clock.month)),
    Function::method("day", (1, 2), |call| shown(at_midnight(call)?, |clock| clock.day)),
    Function::method("hour", (1, 2), |call| shown(call, |clock| clock.hour)),
    Function::method("minute", (1, 2), |call| shown(call, |clock| clock.minute)),
    Function::method("second", (1, 2), |call| shown(call, |clock| clock.second)),
    Function::method("weekday", (1, 2), |call| shown(at_midnight(call)?, |clock| clock.weekday)),
    Function::method("is_weekend", (1, 2), |call| is_weekend(at_midnight(call)?)),
    Function::method("truncate", (2, 3), truncate),
    Function::method("diff", (2, 3), diff),
];

/// The datetime at index 0, and the zone at `zone`; UTC if none is named.
fn zoned(call: &Call<'_>, zone: usize) -> Result<Zone> {
    call.require(&[0], DataType::Datetime, "it takes a datetime")?;
    match call.text_constant(zone, "the name of a time zone")? {
        None => Ok(Zone::utc()),
        Some(name) => Zone::named(&name),
    }
}

/// A date as its midnight; it has no zone.
fn at_midnight(mut call: Call<'_>) -> Result<Call<'_>> {
    if call.type_of(0) == Some(DataType::Date) {
        if call.args.len() > 1 {
            return Err(call.refuse("a date has no zone"));
        }
        let date = std::mem::replace(&mut call.args[0], Node::null(None));
        call.args[0] = cast(date, DataType::Date, DataType::Datetime)?;
    }
    Ok(call)
}

/// The node as another type.
fn cast(node: Node, from: DataType, to: DataType) -> Result<Node> {
    let kernel = super::cast::kernel(from, to);
    let kernel = kernel.ok_or_else(|| Error::internal(format!("a {from} is not cast to a {to}")))?;
    if node.is_null_constant() {
        return Ok(Node::null(Some(to)));
    }
    fold(Node::Function { kernel, args: vec![node], data_type: to })
}

/// The day that the calendar of a zone shows; null outside the years that dates have.
fn date(call: Call<'_>) -> Result<Node> {
    let zone = zoned(&call, 1)?;
    let kernel = Kernel::new(move |args, _| {
        let operand = arg(args, 0)?;
        let day = |t: i64, ()| date_of(t.saturating_add(zone.offset_us(t)));
        let (days, nulls) = map_once(operand.ints()?, Side::One(()), operand.nulls(), day);
        Ok(Arc::new(Date32Array::new(days.into(), nulls)))
    });
    Ok(call.strict(1, DataType::Date, kernel))
}

fn shown(call: Call<'_>, part: fn(Clock) -> i64) -> Result<Node> {
    let zone = zoned(&call, 1)?;
    let kernel = Kernel::new(move |args, _| {
        let operand = arg(args, 0)?;
        let parts = map(operand.ints()?, Side::One(()), |t, ()| part(zone.clock(t)));
        Ok(Arc::new(Int64Array::new(parts.into(), operand.nulls().cloned())))
    });
    Ok(call.strict(1, DataType::Int, kernel))
}

/// Saturday and Sunday.
fn is_weekend(call: Call<'_>) -> Result<Node> {
    let zone = zoned(&call, 1)?;
    let kernel = Kernel::new(move |args, _| {
        let operand = arg(args, 0)?;
        let found = test(operand.ints()?, Side::One(()), |t, ()| zone.clock(t).weekday >= 5);
        Ok(Arc::new(BooleanArray::new(found, operand.nulls().cloned())))
    });
    Ok(call.strict(1, DataType::Bool, kernel))
}

/// Where a stretch that is cut off ends.
enum Unit {
    Calendar(Calendar),
    /// So many microseconds of the clock, which divide a day.
    Clock(i64),
}

fn unit(text: &str) -> Option<Unit> {
    Some(match text {
        "1d" => Unit::Calendar(Calendar::Day),
        "1w" => Unit::Calendar(Calendar::Week),
        "1mo" => Unit::Calendar(Calendar::Month),
        "1q" => Unit::Calendar(Calendar::Quarter),
        "1y" => Unit::Calendar(Calendar::Year),
        other => {
            let span = Span::parse(other).ok().filter(|span| span.0 < DAY_US && DAY_US % span.0 == 0)?;
            Unit::Clock(span.0)
        }
    })
}

/// The beginning of the stretch of the calendar, or of the clock as it is set at that time, that a datetime lies in.
fn truncate(call: Call<'_>) -> Result<Node> {
    if call.type_of(0) == Some(DataType::Date) {
        return truncate_date(call);
    }
    let zone = zoned(&call, 2)?;
    let expected = "\"1d\", \"1w\", \"1mo\", \"1q\", \"1y\", or a part of a day that divides it, such as \"15m\" or \"6h\"";
    let text = call.text_constant(1, expected)?.unwrap_or_default();
    let unit = unit(&text).ok_or_else(|| call.refuse_constant(expected, format!("{text:?}")))?;
    let kernel = Kernel::new(move |args, _| {
        let operand = arg(args, 0)?;
        let begins = match unit {
            Unit::Clock(step) => map(operand.ints()?, Side::One(()), |t, ()| {
                let offset = zone.offset_us(t);
                t.saturating_sub(t.saturating_add(offset).rem_euclid(step))
            }),
            Unit::Calendar(calendar) => {
                // Rows that follow each other are mostly of the same stretch.
                let last = std::cell::Cell::new((0i64, 0i64));
                map(operand.ints()?, Side::One(()), |t, ()| {
                    let (begin, end) = last.get();
                    if (begin..end).contains(&t) {
                        return begin;
                    }
                    let number = zone.number(calendar, t);
                    last.set((zone.begin(calendar, number), zone.begin(calendar, number + 1)));
                    last.get().0
                })
            }
        };
        let begins = TimestampMicrosecondArray::new(begins.into(), operand.nulls().cloned());
        Ok(Arc::new(begins.with_timezone("UTC")))
    });
    Ok(call.strict(1, DataType::Datetime, kernel))
}

/// The first day of the stretch of the calendar that a date lies in.
fn truncate_date(mut call: Call<'_>) -> Result<Node> {
    let expected = "\"1d\", \"1w\", \"1mo\", \"1q\" or \"1y\" of a date";
    let text = call.text_constant(1, expected)?.unwrap_or_default();
    if !matches!(unit(&text), Some(Unit::Calendar(_))) {
        return Err(call.refuse_constant(expected, format!("{text:?}")));
    }
    if call.args.len() > 2 {
        return Err(call.refuse("a date has no zone"));
    }
    let date = std::mem::replace(&mut call.args[0], Node::null(None));
    call.args[0] = cast(date, DataType::Date, DataType::Datetime)?;
    cast(fold(truncate(call)?)?, DataType::Datetime, DataType::Date)
}

const UNITS: [(&str, i64); 7] = [
    ("us", 1),
    ("ms", 1_000),
    ("s", 1_000_000),
    ("m", 60_000_000),
    ("h", 3_600_000_000),
    ("d", DAY_US),
    ("w", 7 * DAY_US),
];

/// The first less the second in units of a fixed length, rounded once.
fn diff(mut call: Call<'_>) -> Result<Node> {
    let expected = "one of \"us\", \"ms\", \"s\", \"m\", \"h\", \"d\", \"w\"";
    let text = call.text_constant(2, expected)?.unwrap_or_else(|| "s".into());
    let Some((_, unit)) = UNITS.into_iter().find(|(name, _)| *name == &*text) else {
        return Err(call.refuse_constant(expected, format!("{text:?}")));
    };
    let is_date = [0, 1].map(|index| call.type_of(index)).contains(&Some(DataType::Date));
    let wanted = if is_date { DataType::Date } else { DataType::Datetime };
    for index in [0, 1] {
        let node = std::mem::replace(&mut call.args[index], Node::null(None));
        call.args[index] = as_type(node, Some(wanted))?;
    }
    call.require(&[0, 1], wanted, "it takes two datetimes, or two dates")?;
    if is_date {
        for index in [0, 1] {
            let node = std::mem::replace(&mut call.args[index], Node::null(None));
            call.args[index] = cast(node, DataType::Date, DataType::Datetime)?;
        }
    }
    let kernel = Kernel::new(move |args, _| {
        let (a, b) = (arg(args, 0)?.ints()?, arg(args, 1)?.ints()?);
        let between = |a: i64, b: i64| true_div_int(a.checked_sub(b)?, unit);
        let (values, nulls) = map_once(a, b, nulls_of(args).as_ref(), between);
        Ok(Arc::new(Float64Array::new(values.into(), nulls)))
    });
    Ok(call.strict(2, DataType::Float, kernel))
}
