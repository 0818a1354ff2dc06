//! Values as another type.

use thyme_core::time::{from_epoch_seconds, from_epoch_seconds_f64, parse_timestamp};
use thyme_core::value::{NAN, canonical};
use thyme_core::{DataType, Result, Value};

use super::{misuse, whole};
use crate::expression::Typed;
use crate::number::divide;

pub(super) fn cast(args: &[Typed]) -> Result<Typed> {
    let Value::Str(name) = &args[1].value else { return Err(misuse("cast", &[args[1].value.clone()])) };
    let (to, value) = match (&**name, &args[0].value) {
        ("int", value) => (
            DataType::Int,
            match value {
                Value::Int(v) => Some(Value::Int(*v)),
                Value::Float(v) => Some(whole(v.trunc())),
                Value::Bool(v) => Some(Value::Int(i64::from(*v))),
                Value::Str(text) => text.trim().parse().ok().map(Value::Int),
                Value::Datetime(us) => Some(Value::Int(us.div_euclid(1_000_000))),
                _ => None,
            },
        ),
        ("float", value) => (
            DataType::Float,
            match value {
                Value::Int(v) => Some(Value::Float(*v as f64)),
                Value::Float(v) => Some(Value::Float(*v)),
                Value::Bool(v) => Some(Value::Float(if *v { 1.0 } else { 0.0 })),
                Value::Str(text) => float_of(text.trim()).map(Value::Float),
                Value::Datetime(us) => divide(*us, 1_000_000).map(Value::Float),
                _ => None,
            },
        ),
        ("str", value) => (
            DataType::Str,
            match value {
                Value::Null => None,
                Value::Str(text) => Some(Value::Str(text.clone())),
                Value::Float(v) => Some(Value::Str(python_repr(*v).into())),
                // A datetime is shown as RFC 3339, an int and a bool as they are.
                other => Some(Value::Str(other.to_string().into())),
            },
        ),
        ("bool", value) => (
            DataType::Bool,
            match value {
                Value::Bool(v) => Some(Value::Bool(*v)),
                Value::Int(v) => Some(Value::Bool(*v != 0)),
                Value::Str(text) => match text.trim() {
                    "true" | "True" => Some(Value::Bool(true)),
                    "false" | "False" => Some(Value::Bool(false)),
                    _ => None,
                },
                _ => None,
            },
        ),
        (_, value) => (
            DataType::Datetime,
            match value {
                Value::Datetime(us) => Some(Value::Datetime(*us)),
                Value::Int(v) => from_epoch_seconds(*v).ok().map(|t| Value::Datetime(t.0)),
                Value::Float(v) => from_epoch_seconds_f64(*v).ok().map(|t| Value::Datetime(t.0)),
                Value::Str(text) => parse_timestamp(text).ok().map(|t| Value::Datetime(t.0)),
                _ => None,
            },
        ),
    };
    Ok(Typed { value: value.unwrap_or_default(), data_type: Some(to) })
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
