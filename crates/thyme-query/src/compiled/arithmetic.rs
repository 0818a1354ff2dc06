//! `+ - * / // % ** & | ^` and the unary operators, as CPython computes them.

use serde::Deserialize;

use super::object::{Number, Object};
use super::time::is_python_time;
use super::{Computed, Deferred};

/// An operator with two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Mod,
    Pow,
    And,
    Or,
    Xor,
}

/// An operator with one operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Unary {
    Not,
    Minus,
    Plus,
    Invert,
}

/// Longer texts are put together by CPython.
pub(super) const TEXT_BYTES_MAX: usize = 1 << 20;

/// Every int up to this one is a float, so that a quotient of two is rounded once.
const EXACT_MAX: u64 = 1 << 53;

pub(super) fn binary(operator: Binary, left: &Object, right: &Object) -> Computed<Object> {
    match (left, right) {
        (Object::Text(a), Object::Text(b)) if operator == Binary::Add => {
            if a.len() + b.len() > TEXT_BYTES_MAX {
                return Err(Deferred);
            }
            Ok(Object::Text(format!("{a}{b}").into()))
        }
        (Object::Moment(_) | Object::Duration(_), _) | (_, Object::Moment(_) | Object::Duration(_)) => {
            of_times(operator, left, right)
        }
        (Object::Bool(a), Object::Bool(b)) if matches!(operator, Binary::And | Binary::Or | Binary::Xor) => {
            Ok(Object::Bool(match operator {
                Binary::And => *a && *b,
                Binary::Or => *a || *b,
                _ => a != b,
            }))
        }
        _ => match (left.number()?, right.number()?) {
            (Number::Int(a), Number::Int(b)) => of_ints(operator, a, b),
            (a, b) => of_floats(operator, a.float(), b.float()).map(Object::Float),
        },
    }
}

pub(super) fn unary(operator: Unary, object: &Object) -> Computed<Object> {
    match (operator, object) {
        (Unary::Not, _) => Ok(Object::Bool(!object.is_true())),
        (Unary::Minus, Object::Duration(us)) => Ok(Object::Duration(us.checked_neg().ok_or(Deferred)?)),
        // `~True` is an int, and warned of.
        (Unary::Invert, Object::Int(v)) => Ok(Object::Int(!v)),
        (Unary::Invert, _) => Err(Deferred),
        (Unary::Minus, _) => match object.number()? {
            Number::Int(v) => Ok(Object::Int(v.checked_neg().ok_or(Deferred)?)),
            Number::Float(v) => Ok(Object::Float(-v)),
        },
        (Unary::Plus, _) => match object.number()? {
            Number::Int(v) => Ok(Object::Int(v)),
            Number::Float(v) => Ok(Object::Float(v)),
        },
    }
}

fn of_ints(operator: Binary, a: i64, b: i64) -> Computed<Object> {
    match operator {
        Binary::Div => quotient(a, b).map(Object::Float),
        Binary::Pow if b < 0 => power(a as f64, b as f64).map(Object::Float).ok(),
        _ => whole(operator, a, b).map(Object::Int),
    }
    .ok_or(Deferred)
}

/// Of the operators that give an int of two ints.
pub(super) fn whole(operator: Binary, a: i64, b: i64) -> Option<i64> {
    match operator {
        Binary::Add => a.checked_add(b),
        Binary::Sub => a.checked_sub(b),
        Binary::Mul => a.checked_mul(b),
        Binary::FloorDiv => floor_divided(a, b),
        Binary::Mod if b == -1 => Some(0),
        Binary::Mod => {
            a.checked_rem(b).map(|rest| if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest })
        }
        Binary::Pow => u32::try_from(b).ok().and_then(|b| a.checked_pow(b)),
        Binary::And => Some(a & b),
        Binary::Or => Some(a | b),
        Binary::Xor => Some(a ^ b),
        Binary::Div => None,
    }
}

fn floor_divided(a: i64, b: i64) -> Option<i64> {
    let quotient = a.checked_div(b)?;
    Some(if a % b != 0 && (a < 0) != (b < 0) { quotient - 1 } else { quotient })
}

/// `a / b` of ints: the exact quotient rounded once.
pub(super) fn quotient(a: i64, b: i64) -> Option<f64> {
    let is_exact = b != 0 && a.unsigned_abs() <= EXACT_MAX && b.unsigned_abs() <= EXACT_MAX;
    is_exact.then(|| a as f64 / b as f64)
}

pub(super) fn divided(a: i64, b: i64) -> Computed<Object> {
    quotient(a, b).map(Object::Float).ok_or(Deferred)
}

pub(super) fn of_floats(operator: Binary, a: f64, b: f64) -> Computed<f64> {
    let is_by_zero = b == 0.0 && matches!(operator, Binary::Div | Binary::FloorDiv | Binary::Mod);
    if is_by_zero {
        return Err(Deferred);
    }
    Ok(match operator {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::FloorDiv => floor_and_rest(a, b).0,
        Binary::Mod => floor_and_rest(a, b).1,
        Binary::Pow => power(a, b)?,
        Binary::And | Binary::Or | Binary::Xor => return Err(Deferred),
    })
}

/// `divmod(a, b)` of floats, in the steps that CPython takes.
fn floor_and_rest(a: f64, b: f64) -> (f64, f64) {
    let mut rest = a % b;
    let mut quotient = (a - rest) / b;
    if rest != 0.0 {
        if (b < 0.0) != (rest < 0.0) {
            rest += b;
            quotient -= 1.0;
        }
    } else {
        rest = 0.0f64.copysign(b);
    }
    if quotient == 0.0 {
        return (0.0f64.copysign(a / b), rest);
    }
    let floor = quotient.floor();
    (if quotient - floor > 0.5 { floor + 1.0 } else { floor }, rest)
}

/// `a ** b` of floats: CPython's special cases, then the `pow` of the C library that both of us call. Results on the
/// edge of an error are left to it.
fn power(a: f64, b: f64) -> Computed<f64> {
    if b == 0.0 || a == 1.0 {
        return Ok(1.0);
    }
    if !a.is_finite() || !b.is_finite() {
        return Err(Deferred);
    }
    let is_odd = b.abs() % 2.0 == 1.0;
    if a == 0.0 {
        return if b > 0.0 { Ok(if is_odd { a } else { 0.0 }) } else { Err(Deferred) };
    }
    if a < 0.0 && b.floor() != b {
        return Err(Deferred); // complex
    }
    let magnitude = if a == -1.0 { 1.0 } else { a.abs().powf(b) };
    if !magnitude.is_normal() {
        return Err(Deferred);
    }
    Ok(if a < 0.0 && is_odd { -magnitude } else { magnitude })
}

fn of_times(operator: Binary, left: &Object, right: &Object) -> Computed<Object> {
    use Object::{Duration, Int, Moment};
    let moment = |us: Option<i64>| us.filter(|us| is_python_time(*us)).map(Moment).ok_or(Deferred);
    // Whatever fits is one: a timedelta goes up to 999,999,999 days.
    let duration = |us: Option<i64>| us.map(Duration).ok_or(Deferred);
    match (operator, left, right) {
        (Binary::Sub, Moment(a), Moment(b)) => duration(a.checked_sub(*b)),
        (Binary::Add, Moment(a), Duration(b)) | (Binary::Add, Duration(b), Moment(a)) => {
            moment(a.checked_add(*b))
        }
        (Binary::Sub, Moment(a), Duration(b)) => moment(a.checked_sub(*b)),
        (Binary::Add, Duration(a), Duration(b)) => duration(a.checked_add(*b)),
        (Binary::Sub, Duration(a), Duration(b)) => duration(a.checked_sub(*b)),
        (Binary::Mul, Duration(a), Int(b)) | (Binary::Mul, Int(b), Duration(a)) => {
            duration(a.checked_mul(*b))
        }
        (Binary::Div, Duration(a), Duration(b)) => divided(*a, *b),
        (Binary::FloorDiv, Duration(a), Duration(b)) => floor_divided(*a, *b).map(Int).ok_or(Deferred),
        _ => Err(Deferred),
    }
}
