//! Values as another type.

use std::sync::Arc;

use num_bigint::BigInt;
use thyme_core::expr::TEXT_BYTES_MAX;
use thyme_core::time::{from_epoch_seconds, from_epoch_seconds_f64, parse_date, parse_timestamp};
use thyme_core::value::decimal::{ShownDecimal, parse_decimal};
use thyme_core::value::{JSON_DEPTH_MAX, Json, NAN, Unscaled, canonical, typed, untyped};
use thyme_core::{DataType, Result, Value};

use super::{misuse, whole};
use crate::exact::Fraction;
use crate::expression::Typed;
use crate::nested::items;
use crate::number::divide;

/// The microseconds of a day.
const DAY_US: i64 = 86_400_000_000;

pub(super) fn cast(args: &[Typed]) -> Result<Typed> {
    let Value::Str(name) = &args[1].value else { return Err(misuse("cast", &[args[1].value.clone()])) };
    let to = DataType::named(name).ok_or_else(|| misuse("cast", &[args[1].value.clone()]))?;
    Ok(Typed { value: as_type(&args[0].value, to).unwrap_or_default(), data_type: Some(to) })
}

/// The value as one of `to`; `None` for null, and for what is none.
pub(super) fn as_type(value: &Value, to: DataType) -> Option<Value> {
    if value.data_type()? == to {
        return Some(value.clone());
    }
    match (value, to) {
        (Value::Json(text), to) => from_json(text, to),
        (Value::Str(text), DataType::Json | DataType::List(_) | DataType::Map(_) | DataType::Vector(_)) => {
            from_json(text, to)
        }
        (value, DataType::Json) => as_json(value),
        (value, DataType::Int) => as_int(value),
        (value, DataType::Float) => as_float(value),
        (value, DataType::Str) => as_text(value),
        (value, DataType::Bool) => as_bool(value),
        (value, DataType::Datetime) => as_datetime(value),
        (value, DataType::Decimal(scale)) => as_decimal(value, scale),
        (Value::Datetime(us), DataType::Date) => i32::try_from(us.div_euclid(DAY_US)).ok().and_then(day),
        (Value::Str(text), DataType::Date) => parse_date(text.trim()).map(Value::Date),
        (Value::Str(text), DataType::Bytes) => Some(Value::Bytes(text.as_bytes().into())),
        (Value::Map(_, entries), DataType::Map(item)) => {
            let entry = |(k, v): &(Arc<str>, Value)| (k.clone(), as_type(v, item.into()).unwrap_or_default());
            Some(Value::Map(item, entries.iter().map(entry).collect()))
        }
        (list, DataType::List(item)) => {
            let items = items(list)?;
            let items = items.iter().map(|v| as_type(v, item.into()).unwrap_or_default()).collect();
            Some(Value::List(item, items))
        }
        (list, DataType::Vector(length)) => {
            let floats: Option<Vec<f64>> = items(list)?.iter().map(number).collect();
            floats.filter(|floats| floats.len() == length as usize).map(|floats| Value::Vector(floats.into()))
        }
        _ => None,
    }
}

/// What a whole JSON text says, as events say it; a decimal has all digits that are written.
pub(super) fn from_json(text: &str, to: DataType) -> Option<Value> {
    let json: Json = serde_json::from_str(text).ok().filter(|json: &Json| json.depth() <= JSON_DEPTH_MAX)?;
    match (to, &json) {
        (_, Json::Null) => None,
        (DataType::Str, Json::Str(text)) => Some(Value::Str(text.as_str().into())),
        (DataType::Str, json) => Some(Value::Str(json.to_string().into())),
        (DataType::Decimal(scale), Json::Str(digits)) => {
            parse_decimal(digits, scale).ok().map(|v| decimal(scale, v))
        }
        (DataType::Decimal(scale), Json::Int(_) | Json::Float(_)) => {
            parse_decimal(text, scale).ok().map(|v| decimal(scale, v))
        }
        (DataType::Decimal(_), _) => None,
        _ => typed(to, &json).ok(),
    }
}

fn as_json(value: &Value) -> Option<Value> {
    let text = untyped(value, "", &mut |_, _| {}).canonical_text();
    let is_finite = |v: &Value| !matches!(v, Value::Float(v) if !v.is_finite());
    let parts = match value {
        Value::Map(_, entries) => entries.iter().map(|(_, v)| v.clone()).collect(),
        other => items(other).unwrap_or_else(|| vec![other.clone()]),
    };
    (parts.iter().all(is_finite) && text.len() <= TEXT_BYTES_MAX).then_some(Value::Json(text))
}

fn as_int(value: &Value) -> Option<Value> {
    match value {
        Value::Float(v) => Some(whole(v.trunc())),
        Value::Bool(v) => Some(Value::Int(i64::from(*v))),
        Value::Str(text) => text.trim().parse().ok().map(Value::Int),
        Value::Datetime(us) => Some(Value::Int(us.div_euclid(1_000_000))),
        Value::Decimal(scale, v) => {
            let text = ShownDecimal(v.get(), *scale).to_string();
            text.split('.').next()?.parse().ok().map(Value::Int)
        }
        _ => None,
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(v) => Some(*v as f64),
        Value::Float(v) => Some(*v),
        _ => None,
    }
}

fn as_float(value: &Value) -> Option<Value> {
    match value {
        Value::Int(v) => Some(Value::Float(*v as f64)),
        Value::Bool(v) => Some(Value::Float(if *v { 1.0 } else { 0.0 })),
        Value::Str(text) => float_of(text.trim()).map(Value::Float),
        Value::Datetime(us) => divide(*us, 1_000_000).map(Value::Float),
        Value::Decimal(scale, v) => {
            let exact = Fraction::new(BigInt::from(v.get()), BigInt::from(10).pow(u32::from(*scale)));
            Some(Value::Float(canonical(exact.rounded())))
        }
        _ => None,
    }
}

fn as_text(value: &Value) -> Option<Value> {
    match value {
        Value::Float(v) => Some(Value::Str(python_repr(*v).into())),
        Value::Bytes(bytes) => String::from_utf8(bytes.to_vec()).ok().map(|text| Value::Str(text.into())),
        // A datetime is shown as RFC 3339, a date and a decimal as JSON has them, an int and a bool as they are.
        other => Some(Value::Str(other.to_string().into())),
    }
}

fn as_bool(value: &Value) -> Option<Value> {
    match value {
        Value::Int(v) => Some(Value::Bool(*v != 0)),
        Value::Decimal(_, v) => Some(Value::Bool(v.get() != 0)),
        Value::Str(text) => match text.trim() {
            "true" | "True" => Some(Value::Bool(true)),
            "false" | "False" => Some(Value::Bool(false)),
            _ => None,
        },
        _ => None,
    }
}

fn as_datetime(value: &Value) -> Option<Value> {
    match value {
        Value::Int(v) => from_epoch_seconds(*v).ok().map(|t| Value::Datetime(t.0)),
        Value::Float(v) => from_epoch_seconds_f64(*v).ok().map(|t| Value::Datetime(t.0)),
        Value::Str(text) => parse_timestamp(text).ok().map(|t| Value::Datetime(t.0)),
        Value::Date(day) => Some(Value::Datetime(i64::from(*day) * DAY_US)),
        _ => None,
    }
}

/// The nearest of that scale, half to even; a text has to say one exactly.
fn as_decimal(value: &Value, scale: u8) -> Option<Value> {
    let exact = match value {
        Value::Int(_) | Value::Float(_) => Fraction::of(value)?,
        Value::Decimal(from, v) => {
            Fraction::new(BigInt::from(v.get()), BigInt::from(10).pow(u32::from(*from)))
        }
        Value::Str(text) => return parse_decimal(text, scale).ok().map(|v| decimal(scale, v)),
        _ => return None,
    };
    let scaled = exact.times(&Fraction::new(BigInt::from(10).pow(u32::from(scale)), BigInt::from(1)));
    nearest(&scaled).map(|v| decimal(scale, v))
}

/// The nearest integer of at most 38 digits, half to even.
pub(super) fn nearest(exact: &Fraction) -> Option<i128> {
    let (numerators, denominator) = Fraction::common(std::slice::from_ref(exact));
    let twice = numerators.first()? * 2;
    let below = floor(&twice, &(&denominator * 2));
    let rest = &twice - &below * &denominator * 2;
    let up = rest > denominator || (rest == denominator && (&below % 2) != BigInt::ZERO);
    let found = i128::try_from(if up { below + 1 } else { below }).ok()?;
    (found.unsigned_abs() < 10u128.pow(38)).then_some(found)
}

/// The whole number next below (-1) or above (1), itself if it is whole.
pub(super) fn whole_beside(exact: &Fraction, way: i32) -> Option<i128> {
    let (numerators, denominator) = Fraction::common(std::slice::from_ref(exact));
    let numerator = numerators.first()?;
    let below = floor(numerator, &denominator);
    let is_whole = &below * &denominator == *numerator;
    i128::try_from(if way > 0 && !is_whole { below + 1 } else { below }).ok()
}

/// The floor of a quotient by something positive.
fn floor(numerator: &BigInt, denominator: &BigInt) -> BigInt {
    let quotient = numerator / denominator;
    if &quotient * denominator > *numerator { quotient - 1 } else { quotient }
}

fn decimal(scale: u8, unscaled: i128) -> Value {
    Value::Decimal(scale, Unscaled::new(unscaled))
}

fn day(days: i32) -> Option<Value> {
    (-719_162..=2_932_896).contains(&days).then_some(Value::Date(days))
}

fn float_of(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ if text.chars().all(|c| c.is_ascii_digit() || "+-.eE".contains(c)) => {
            text.parse().ok().map(canonical)
        }
        _ => None,
    }
}

/// `repr` of Python: the point moved by hand.
fn python_repr(v: f64) -> String {
    if v.is_nan() {
        return "NaN".into();
    }
    if v.is_infinite() {
        return (if v > 0.0 { "Infinity" } else { "-Infinity" }).into();
    }
    let (sign, shortest) = (if v < 0.0 { "-" } else { "" }, format!("{:e}", v.abs()));
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let point = exponent + 1;
    if !(-3..=16).contains(&point) {
        let rest = if digits.len() > 1 { format!(".{}", &digits[1..]) } else { String::new() };
        let direction = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{}{rest}e{direction}{:02}", &digits[..1], exponent.abs());
    }
    if point <= 0 {
        return format!("{sign}0.{}{digits}", "0".repeat(-point as usize));
    }
    let (point, padded) = (point as usize, format!("{digits:0<width$}", width = point as usize));
    let after = if padded.len() > point { &padded[point..] } else { "0" };
    format!("{sign}{}.{after}", &padded[..point])
}
