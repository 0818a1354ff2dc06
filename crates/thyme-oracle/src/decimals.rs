//! Decimals as fractions.

use std::cmp::Ordering;

use num_bigint::BigInt;
use thyme_core::expr::Operator;
use thyme_core::value::decimal::parse_decimal;
use thyme_core::value::{Unscaled, canonical};
use thyme_core::{DataType, Error, Result, Value};

use crate::exact::Fraction;
use crate::expression::Typed;

/// Ten to a power.
pub(crate) fn ten(power: u8) -> BigInt {
    BigInt::from(10).pow(u32::from(power))
}

/// What a decimal, an int, or a float or a text by its digits is exactly.
pub(crate) fn fraction(value: &Value) -> Option<Fraction> {
    match value {
        Value::Decimal(scale, v) => Some(Fraction::new(BigInt::from(v.get()), ten(*scale))),
        Value::Int(v) => Some(Fraction::new(BigInt::from(*v), BigInt::from(1))),
        Value::Float(v) => written(&format!("{v:e}")),
        Value::Str(text) => written(text),
        _ => None,
    }
}

/// The number whose digits a text has.
fn written(text: &str) -> Option<Fraction> {
    let scale = (0..=38).find(|scale| parse_decimal(text, *scale).is_ok())?;
    Some(Fraction::new(BigInt::from(parse_decimal(text, scale).ok()?), ten(scale)))
}

/// The value with `scale` digits after the point; null if it has more, or 38 in all are not enough.
pub(crate) fn of_scale(value: &Value, scale: u8) -> Value {
    let Some(exact) = fraction(value) else { return Value::Null };
    let scaled = exact.times(&Fraction::new(ten(scale), BigInt::from(1)));
    let (numerators, denominator) = Fraction::common(std::slice::from_ref(&scaled));
    match numerators.first() {
        Some(numerator) if numerator % &denominator == BigInt::ZERO => {
            decimal(scale, &(numerator / denominator))
        }
        _ => Value::Null,
    }
}

/// The decimal of these digits; null if they are more than 38.
fn decimal(scale: u8, unscaled: &BigInt) -> Value {
    match i128::try_from(unscaled) {
        Ok(v) if v.unsigned_abs() < 10u128.pow(38) => Value::Decimal(scale, Unscaled::new(v)),
        _ => Value::Null,
    }
}

/// How two numbers compare, of which one is a decimal.
pub(crate) fn compared(a: &Value, b: &Value) -> Option<Ordering> {
    let (a, b) = (fraction(a)?, fraction(b)?);
    let (numerators, _) = Fraction::common(&[a, b]);
    Some(numerators.first()?.cmp(numerators.get(1)?))
}

/// The scale of an operand: a constant float has as many digits as it needs.
fn scale(of: &Typed) -> u8 {
    match (of.data_type, &of.value) {
        (Some(DataType::Decimal(scale)), _) => scale,
        (_, Value::Float(v)) => (0..=38).find(|s| parse_decimal(&format!("{v:e}"), *s).is_ok()).unwrap_or(0),
        _ => 0,
    }
}

/// `a op b`, of which one is a decimal.
pub(crate) fn arithmetic(op: Operator, a: &Typed, b: &Typed) -> Result<Typed> {
    let (s, t) = (scale(a), scale(b));
    let data_type = match op {
        Operator::Div => DataType::Float,
        Operator::FloorDiv => DataType::Decimal(0),
        Operator::Mul => DataType::Decimal(s + t),
        _ => DataType::Decimal(s.max(t)),
    };
    let value = match (fraction(&a.value), fraction(&b.value)) {
        (Some(x), Some(y)) => computed(op, &x, &y, data_type)?,
        _ => Value::Null,
    };
    Ok(Typed { value, data_type: Some(data_type) })
}

fn computed(op: Operator, x: &Fraction, y: &Fraction, data_type: DataType) -> Result<Value> {
    let minus = |v: &Fraction| v.times(&Fraction::new(BigInt::from(-1), BigInt::from(1)));
    let exact = match op {
        Operator::Add => x.plus(y),
        Operator::Sub => x.plus(&minus(y)),
        Operator::Mul => x.times(y),
        _ => match x.over(y) {
            None => return Ok(Value::Null),
            Some(quotient) if op == Operator::Div => return Ok(Value::Float(canonical(quotient.rounded()))),
            Some(quotient) => {
                let (numerators, denominator) = Fraction::common(std::slice::from_ref(&quotient));
                let numerator = numerators.first().ok_or_else(|| Error::internal("a fraction is one"))?;
                let cut = numerator / &denominator;
                let below = if &cut * &denominator > *numerator { cut - 1 } else { cut };
                let below = Fraction::new(below, BigInt::from(1));
                if op == Operator::FloorDiv { below } else { x.plus(&minus(&below.times(y))) }
            }
        },
    };
    let DataType::Decimal(scale) = data_type else { return Err(Error::internal("a decimal has a scale")) };
    let scaled = exact.times(&Fraction::new(ten(scale), BigInt::from(1)));
    let (numerators, denominator) = Fraction::common(std::slice::from_ref(&scaled));
    Ok(numerators.first().map_or(Value::Null, |numerator| decimal(scale, &(numerator / denominator))))
}
