//! Comparisons, `in` and `is`, as CPython computes them.

use std::cmp::Ordering;

use serde::Deserialize;

use super::object::{Number, Object};
use super::{Computed, Deferred};

/// A comparison of two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Comparison {
    Eq,
    NotEq,
    Lt,
    LtE,
    Gt,
    GtE,
    In,
    NotIn,
    /// The right operand is None, True or False.
    Is,
    IsNot,
}

pub(super) fn compare(comparison: Comparison, left: &Object, right: &Object) -> Computed<bool> {
    Ok(match comparison {
        Comparison::Eq => is_equal(left, right)?,
        Comparison::NotEq => !is_equal(left, right)?,
        Comparison::Lt => is_less(left, right)?,
        Comparison::Gt => is_less(right, left)?,
        Comparison::LtE => order(left, right)?.is_some_and(Ordering::is_le),
        Comparison::GtE => order(left, right)?.is_some_and(Ordering::is_ge),
        Comparison::In => is_in(left, right)?,
        Comparison::NotIn => !is_in(left, right)?,
        Comparison::Is => is(left, right)?,
        Comparison::IsNot => !is(left, right)?,
    })
}

/// `left < right`.
pub(super) fn is_less(left: &Object, right: &Object) -> Computed<bool> {
    Ok(order(left, right)?.is_some_and(Ordering::is_lt))
}

/// Which is first; `None` if one is NaN.
fn order(left: &Object, right: &Object) -> Computed<Option<Ordering>> {
    Ok(match (left, right) {
        (Object::Text(a), Object::Text(b)) => Some(a.cmp(b)),
        (Object::Moment(a), Object::Moment(b)) | (Object::Duration(a), Object::Duration(b)) => Some(a.cmp(b)),
        _ => order_of_numbers(left.number()?, right.number()?),
    })
}

/// Exactly: an int is not rounded to be compared with a float.
fn order_of_numbers(left: Number, right: Number) -> Option<Ordering> {
    match (left, right) {
        (Number::Int(a), Number::Int(b)) => Some(a.cmp(&b)),
        (Number::Float(a), Number::Float(b)) => a.partial_cmp(&b),
        (Number::Int(a), Number::Float(b)) => order_of_int_and_float(a, b),
        (Number::Float(a), Number::Int(b)) => order_of_int_and_float(b, a).map(Ordering::reverse),
    }
}

fn order_of_int_and_float(int: i64, float: f64) -> Option<Ordering> {
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    if float.is_nan() {
        return None;
    }
    if float >= BEYOND {
        return Some(Ordering::Less);
    }
    if float < -BEYOND {
        return Some(Ordering::Greater);
    }
    let whole = float.trunc();
    Some(int.cmp(&(whole as i64)).then_with(|| 0.0.partial_cmp(&(float - whole)).unwrap_or(Ordering::Equal)))
}

pub(super) fn is_equal(left: &Object, right: &Object) -> Computed<bool> {
    use Object::{Bool, Dict, Duration, Float, Int, Moment, None, Row, Text, Tuple};
    Ok(match (left, right) {
        (None, None) => true,
        (Text(a), Text(b)) => a == b,
        (Moment(a), Moment(b)) | (Duration(a), Duration(b)) => a == b,
        (Bool(_) | Int(_) | Float(_), Bool(_) | Int(_) | Float(_)) => {
            order_of_numbers(left.number()?, right.number()?) == Some(Ordering::Equal)
        }
        (Tuple(_) | Dict(_) | Row(_), _) | (_, Tuple(_) | Dict(_) | Row(_)) => return Err(Deferred),
        _ => false,
    })
}

fn is_in(item: &Object, container: &Object) -> Computed<bool> {
    match container {
        Object::Text(text) => match item {
            Object::Text(part) => Ok(text.contains(&**part)),
            _ => Err(Deferred),
        },
        Object::Tuple(items) => is_among(item, items.iter()),
        Object::Dict(items) => is_among(item, items.iter().map(|(key, _)| key)),
        Object::Row(row) => match item {
            Object::Text(name) => Ok(row.get(name).is_some()),
            _ => Err(Deferred),
        },
        _ => Err(Deferred),
    }
}

/// Whether one of `items` is equal to `item`. A NaN is in a tuple if it is the same object, which is not known here.
fn is_among<'o>(item: &Object, mut items: impl Iterator<Item = &'o Object>) -> Computed<bool> {
    if matches!(item, Object::Float(v) if v.is_nan())
        || matches!(item, Object::Tuple(_) | Object::Dict(_) | Object::Row(_))
    {
        return Err(Deferred);
    }
    loop {
        match items.next() {
            None => return Ok(false),
            Some(other) if is_equal(item, other)? => return Ok(true),
            Some(_) => {}
        }
    }
}

fn is(left: &Object, right: &Object) -> Computed<bool> {
    match (left, right) {
        (_, Object::None) => Ok(matches!(left, Object::None)),
        (_, Object::Bool(wanted)) => Ok(matches!(left, Object::Bool(v) if v == wanted)),
        _ => Err(Deferred),
    }
}
