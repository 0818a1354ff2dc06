//! The functions and methods that programs call, as CPython computes them.

use serde::Deserialize;

use super::arithmetic::TEXT_BYTES_MAX;
use super::compare::is_less;
use super::object::{Number, Object};
use super::{Computed, Deferred};

/// A builtin, a function of `math`, or a method of a text, whose first argument is the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Function {
    Min,
    Max,
    Abs,
    Round,
    Int,
    Float,
    Bool,
    Str,
    Len,
    Floor,
    Ceil,
    Trunc,
    Sqrt,
    Fabs,
    Isnan,
    Isinf,
    Isfinite,
    Exp,
    Log,
    Log2,
    Log10,
    Log1p,
    Lower,
    Upper,
    Strip,
    Startswith,
    Endswith,
    Any,
    All,
    /// Texts put together: an f-string.
    Concat,
}

/// A type that `isinstance` is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Int,
    Float,
    Str,
    Bool,
    Datetime,
    Timedelta,
}

pub(super) fn is_instance(object: &Object, kind: Kind) -> bool {
    match kind {
        Kind::Int => matches!(object, Object::Int(_) | Object::Bool(_)),
        Kind::Float => matches!(object, Object::Float(_)),
        Kind::Str => matches!(object, Object::Text(_)),
        Kind::Bool => matches!(object, Object::Bool(_)),
        Kind::Datetime => matches!(object, Object::Moment(_)),
        Kind::Timedelta => matches!(object, Object::Duration(_)),
    }
}

pub(super) fn call(function: Function, arguments: &[Object]) -> Computed<Object> {
    match (function, arguments) {
        (Function::Min, [_, _, ..]) => extreme(arguments, is_less),
        (Function::Max, [_, _, ..]) => extreme(arguments, |item, best| is_less(best, item)),
        (Function::Round, [object] | [object, Object::None]) => rounded(object),
        (Function::Round, [object, digits]) => rounded_to(object, digits.index()?),
        (Function::Startswith, [Object::Text(text), Object::Text(part)]) => {
            Ok(Object::Bool(text.starts_with(&**part)))
        }
        (Function::Endswith, [Object::Text(text), Object::Text(part)]) => {
            Ok(Object::Bool(text.ends_with(&**part)))
        }
        (Function::Concat, _) => concat(arguments),
        (Function::Any, [Object::Tuple(items)]) => Ok(Object::Bool(items.iter().any(Object::is_true))),
        (Function::All, [Object::Tuple(items)]) => Ok(Object::Bool(items.iter().all(Object::is_true))),
        (_, [Object::Text(text)]) => of_text(function, text),
        (_, [object]) => of_one(function, object),
        _ => Err(Deferred),
    }
}

fn extreme(arguments: &[Object], is_better: impl Fn(&Object, &Object) -> Computed<bool>) -> Computed<Object> {
    let (first, others) = arguments.split_first().ok_or(Deferred)?;
    let mut best = first;
    for item in others {
        if is_better(item, best)? {
            best = item;
        }
    }
    Ok(best.clone())
}

/// Of a text. What letters and spaces are depends on the edition of Unicode, but for ASCII.
fn of_text(function: Function, text: &std::sync::Arc<str>) -> Computed<Object> {
    match function {
        Function::Str => return Ok(Object::Text(text.clone())),
        Function::Bool => return Ok(Object::Bool(!text.is_empty())),
        Function::Len => return Ok(Object::Int(text.chars().count() as i64)),
        _ if !text.is_ascii() => return Err(Deferred),
        _ => {}
    }
    let is_space = |c: char| matches!(c, ' ' | '\t'..='\r' | '\x1c'..='\x1f');
    Ok(Object::Text(match function {
        Function::Lower => text.to_ascii_lowercase().into(),
        Function::Upper => text.to_ascii_uppercase().into(),
        Function::Strip => text.trim_matches(is_space).into(),
        _ => return Err(Deferred),
    }))
}

fn of_one(function: Function, object: &Object) -> Computed<Object> {
    match (function, object) {
        (Function::Bool, _) => return Ok(Object::Bool(object.is_true())),
        (Function::Len, Object::Tuple(items)) => return Ok(Object::Int(items.len() as i64)),
        (Function::Len, Object::Dict(items)) => return Ok(Object::Int(items.len() as i64)),
        (Function::Len, Object::Row(row)) => return Ok(Object::Int(row.fields.len() as i64)),
        (Function::Abs, Object::Duration(us)) => {
            return us.checked_abs().map(Object::Duration).ok_or(Deferred);
        }
        (Function::Str, Object::None) => return Ok(Object::Text("None".into())),
        (Function::Str, Object::Bool(v)) => {
            return Ok(Object::Text(if *v { "True" } else { "False" }.into()));
        }
        (Function::Str, Object::Int(v)) => return Ok(Object::Text(v.to_string().into())),
        (Function::Str, Object::Float(v)) => return Ok(Object::Text(text_of_float(*v).into())),
        _ => {}
    }
    let number = object.number()?;
    match function {
        Function::Abs => match number {
            Number::Int(v) => v.checked_abs().map(Object::Int).ok_or(Deferred),
            Number::Float(v) => Ok(Object::Float(v.abs())),
        },
        Function::Int | Function::Trunc => whole(number, f64::trunc),
        Function::Floor => whole(number, f64::floor),
        Function::Ceil => whole(number, f64::ceil),
        Function::Isnan => Ok(Object::Bool(number.float().is_nan())),
        Function::Isinf => Ok(Object::Bool(number.float().is_infinite())),
        Function::Isfinite => Ok(Object::Bool(number.float().is_finite())),
        Function::Float => Ok(Object::Float(number.float())),
        Function::Fabs => Ok(Object::Float(number.float().abs())),
        Function::Sqrt if number.float() >= 0.0 => Ok(Object::Float(number.float().sqrt())),
        _ => of_library(function, number),
    }
}

fn concat(parts: &[Object]) -> Computed<Object> {
    let mut whole = String::new();
    for part in parts {
        let Object::Text(part) = part else { return Err(Deferred) };
        whole.push_str(part);
    }
    if whole.len() > TEXT_BYTES_MAX { Err(Deferred) } else { Ok(Object::Text(whole.into())) }
}

/// The fewest digits that give `v` again, and of those the nearest, ties to even: `d.ddde-7`.
fn shortest(v: f64) -> String {
    let found = format!("{v:e}");
    // Of two that are as near, this took either; so many digits exactly rounded are the even one.
    let digits = found.split('e').next().map_or(0, |mantissa| mantissa.replace('.', "").len());
    let nearest = format!("{v:.*e}", digits.saturating_sub(1));
    if nearest.parse() == Ok(v) { nearest } else { found }
}

/// `str(x)`: the shortest digits, with an exponent if the point is far from them.
fn text_of_float(v: f64) -> String {
    if !v.is_finite() {
        return (if v.is_nan() {
            "nan"
        } else if v > 0.0 {
            "inf"
        } else {
            "-inf"
        })
        .to_owned();
    }
    let sign = if v.is_sign_negative() { "-" } else { "" };
    let scientific = shortest(v.abs());
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let digits = mantissa.replace('.', "");
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let point = exponent + 1;
    if !(-3..=16).contains(&point) {
        let (first, rest) = digits.split_at(1);
        let rest = if rest.is_empty() { String::new() } else { format!(".{rest}") };
        let direction = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{first}{rest}e{direction}{:02}", exponent.unsigned_abs());
    }
    match usize::try_from(point) {
        Ok(point) if point >= digits.len() => format!("{sign}{digits:0<point$}.0"),
        Ok(point) if point > 0 => format!("{sign}{}.{}", &digits[..point], &digits[point..]),
        _ => format!("{sign}0.{}{digits}", "0".repeat(point.unsigned_abs() as usize)),
    }
}

/// Functions of the C library that CPython calls too; what is on the edge of an error is left to it.
fn of_library(function: Function, number: Number) -> Computed<Object> {
    let x = number.float();
    let (is_inside, result) = match function {
        Function::Exp => (true, x.exp()),
        Function::Log => (x > 0.0, x.ln()),
        Function::Log2 => (x > 0.0, x.log2()),
        Function::Log10 => (x > 0.0, x.log10()),
        Function::Log1p => (x > -1.0, x.ln_1p()),
        _ => return Err(Deferred),
    };
    let is_sure =
        x.is_finite() && is_inside && (result.is_normal() || result == 0.0 && function != Function::Exp);
    if is_sure { Ok(Object::Float(result)) } else { Err(Deferred) }
}

/// `int(x)` and the like.
fn whole(number: Number, to_whole: impl Fn(f64) -> f64) -> Computed<Object> {
    match number {
        Number::Int(v) => Ok(Object::Int(v)),
        Number::Float(v) => int_of(to_whole(v)),
    }
}

fn int_of(whole: f64) -> Computed<Object> {
    let fits = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&whole);
    if fits { Ok(Object::Int(whole as i64)) } else { Err(Deferred) }
}

/// `round(x)`: to the nearest int, ties to even.
fn rounded(object: &Object) -> Computed<Object> {
    match object.number()? {
        Number::Int(v) => Ok(Object::Int(v)),
        Number::Float(v) => int_of(v.round_ties_even()),
    }
}

/// `round(x, digits)`: of an int itself, of a float the decimal.
fn rounded_to(object: &Object, digits: i64) -> Computed<Object> {
    let digits = usize::try_from(digits).map_err(|_| Deferred)?;
    match object.number()? {
        Number::Int(v) => Ok(Object::Int(v)),
        Number::Float(v) => rounded_float(v, digits).map(Object::Float),
    }
}

/// The decimal nearest to the exact value of `v`, ties to even, as the float nearest to it.
pub(super) fn rounded_float(v: f64, digits: usize) -> Computed<f64> {
    // No float has that many digits after the point to be rounded off.
    if !v.is_finite() || v == 0.0 || digits > 323 {
        return Ok(v);
    }
    match rounded_quickly(v, digits) {
        Some(rounded) => Ok(rounded),
        None => format!("{v:.digits$}").parse().map_err(|_| Deferred),
    }
}

/// The same without going through digits, where `v` is nowhere near the middle of two decimals: which of them is
/// nearer is then the same after a product that was rounded, and the quotient of two exact floats is the nearest to it.
fn rounded_quickly(v: f64, digits: usize) -> Option<f64> {
    const POWERS: [f64; 10] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
    /// Below it a product of two floats is off by less than `MARGIN`.
    const MOST: f64 = 1e9;
    const MARGIN: f64 = 1e-6;
    let power = POWERS.get(digits)?;
    let scaled = v * power;
    let from_middle = (scaled - scaled.floor() - 0.5).abs();
    (scaled.abs() < MOST && from_middle > MARGIN).then(|| scaled.round_ties_even() / power)
}
