//! Decimals in operators: exact, whatever the scales; what has more than 38 digits is null.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, Float64Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::i256;
use num_bigint::BigUint;

use super::ast::Operator;
use super::evaluate::Operand;
use super::side::{Side, map_once};
use super::typing::{Node, Shown, join, widened};
use crate::error::{Error, Result};
use crate::value::decimal::{float_as_decimal, is_decimal};
use crate::value::{DECIMAL_DIGITS_MAX, DataType, Unscaled, Value};

/// Types `a op b`, of which one is a decimal.
pub(super) fn typed(shown: &Shown<'_>, left: Node, right: Node) -> Result<Node> {
    let types = [left.data_type(), right.data_type()];
    let refuse = |expected: &str| shown.refuse(&types, expected);
    let (Some(left), Some(right)) = (operand(left), operand(right)) else {
        return Err(refuse(if types.contains(&Some(DataType::Float)) {
            "a float and a decimal are not computed with exactly; cast one, as in col(\"a\").cast(\"float\")"
        } else {
            "it takes decimals and ints"
        }));
    };
    let scale = |node: &Node| match node.data_type() {
        Some(DataType::Decimal(scale)) => scale,
        _ => 0,
    };
    let (a, b) = (scale(&left), scale(&right));
    let data_type = match shown.op {
        Operator::Div => DataType::Float,
        Operator::FloorDiv => DataType::Decimal(0),
        Operator::Mul if a + b > DECIMAL_DIGITS_MAX => {
            return Err(refuse("the product would have more than 38 digits after its point; cast one first"));
        }
        Operator::Mul => DataType::Decimal(a + b),
        _ => DataType::Decimal(a.max(b)),
    };
    if left.is_null_constant() || right.is_null_constant() {
        return Ok(Node::null(Some(data_type)));
    }
    Ok(join(shown.op, left, right, data_type))
}

/// An int or a constant float as a decimal of the fewest digits; `None` of what is no decimal.
fn operand(node: Node) -> Option<Node> {
    match (&node, node.data_type()) {
        (_, Some(DataType::Decimal(_)) | None) => Some(node),
        (_, Some(DataType::Int)) => Some(widened(node, DataType::Decimal(0))),
        (Node::Scalar { value: Value::Float(v), .. }, _) => {
            let of_scale = |scale| float_as_decimal(*v, scale).ok().map(|unscaled| (scale, unscaled));
            let (scale, unscaled) = (0..=DECIMAL_DIGITS_MAX).find_map(of_scale)?;
            let value = Value::Decimal(scale, Unscaled::new(unscaled));
            Some(Node::Scalar { value, data_type: Some(DataType::Decimal(scale)) })
        }
        _ => None,
    }
}

/// Computes `a op b` of decimals of these scales.
pub(super) fn arithmetic(op: Operator, a: (&Operand, u8), b: (&Operand, u8)) -> Result<ArrayRef> {
    let nulls = NullBuffer::union(a.0.nulls(), b.0.nulls());
    let (nulls, x, y) = (nulls.as_ref(), a.0.decimals()?, b.0.decimals()?);
    if op == Operator::Div {
        let (values, nulls) = map_once(x, y, nulls, |x, y| quotient((x, a.1), (y, b.1)));
        return Ok(Arc::new(Float64Array::new(values.into(), nulls)));
    }
    let scale = match op {
        Operator::FloorDiv => 0,
        Operator::Mul => a.1 + b.1,
        _ => a.1.max(b.1),
    };
    let computed = |x: i128, y: i128| {
        let (x, y) = if op == Operator::Mul { (wide(x, 0), wide(y, 0)) } else { aligned((x, a.1), (y, b.1)) };
        let value = match op {
            Operator::Add => x.checked_add(y),
            Operator::Sub => x.checked_sub(y),
            Operator::Mul => x.checked_mul(y),
            Operator::FloorDiv => floored(x, y).map(|(quotient, _)| quotient),
            _ => floored(x, y).map(|(_, remainder)| remainder),
        };
        value?.to_i128().filter(|v| is_decimal(*v))
    };
    let (values, nulls) = map_once(x, y, nulls, computed);
    column(values, nulls, scale)
}

/// Computes `-a`.
pub(super) fn negate(operand: &Operand, scale: u8) -> Result<ArrayRef> {
    let values = super::side::map(operand.decimals()?, Side::One(()), |v: i128, ()| -v);
    column(values, operand.nulls().cloned(), scale)
}

/// A column of decimals.
pub(super) fn column(values: Vec<i128>, nulls: Option<NullBuffer>, scale: u8) -> Result<ArrayRef> {
    let array = Decimal128Array::try_new(values.into(), nulls)?;
    Ok(Arc::new(array.with_data_type(DataType::Decimal(scale).arrow())))
}

/// The exact order of two decimals.
pub(super) fn compare(a: (i128, u8), b: (i128, u8)) -> Ordering {
    let (a, b) = aligned(a, b);
    a.cmp(&b)
}

/// `v` with so many zeros behind it. 38 digits and 38 zeros have room in 256 bits.
fn wide(v: i128, zeros: u8) -> i256 {
    i256::from_i128(v).wrapping_mul(i256::from_i128(10i128.pow(u32::from(zeros))))
}

/// Both at the larger of their scales.
fn aligned(a: (i128, u8), b: (i128, u8)) -> (i256, i256) {
    let scale = a.1.max(b.1);
    (wide(a.0, scale - a.1), wide(b.0, scale - b.1))
}

/// `a // b` and `a % b`, as Python has them of ints.
fn floored(a: i256, b: i256) -> Option<(i256, i256)> {
    let (quotient, remainder) = (a.checked_div(b)?, a.checked_rem(b)?);
    let is_below = remainder != i256::ZERO && (remainder < i256::ZERO) != (b < i256::ZERO);
    Some(if is_below { (quotient - i256::ONE, remainder + b) } else { (quotient, remainder) })
}

/// `a / b` rounded once to the nearest float, ties to even.
fn quotient(a: (i128, u8), b: (i128, u8)) -> Option<f64> {
    if b.0 == 0 {
        return None;
    }
    let ten = |power: u8| BigUint::from(10u8).pow(u32::from(power));
    let (x, y) = (BigUint::from(a.0.unsigned_abs()) * ten(b.1), BigUint::from(b.0.unsigned_abs()) * ten(a.1));
    // At least 58 bits of the quotient, whose last is sticky: converting them rounds once.
    let shift = 58 + y.bits() as i64 - x.bits() as i64;
    let (x, y) = if shift < 0 { (x, y << shift.unsigned_abs()) } else { (x << shift.unsigned_abs(), y) };
    let is_exact = (&x % &y).bits() == 0;
    let bits = u64::try_from(x / y).ok()? | u64::from(!is_exact);
    let magnitude = libm::ldexp(bits as f64, i32::try_from(-shift).ok()?);
    Some(if (a.0 < 0) != (b.0 < 0) && magnitude != 0.0 { -magnitude } else { magnitude })
}

/// Evaluates a comparison of decimals of different scales.
pub(super) fn order_of<'a>(a: (&'a Operand, u8), b: (&'a Operand, u8)) -> Result<Ordered<'a>> {
    Ok(Ordered { a: (a.0.decimals()?, a.1), b: (b.0.decimals()?, b.1) })
}

/// Two operands that compare row by row.
pub(super) struct Ordered<'a> {
    a: (Side<'a, i128>, u8),
    b: (Side<'a, i128>, u8),
}

impl Ordered<'_> {
    /// The rows where `is` holds of how they compare.
    pub(super) fn rows(&self, is: fn(Ordering) -> bool) -> arrow::buffer::BooleanBuffer {
        super::side::test(self.a.0, self.b.0, |a, b| is(compare((a, self.a.1), (b, self.b.1))))
    }
}

/// The refusal of an operand that is no decimal.
pub(super) fn misfit() -> Error {
    Error::internal("a decimal operand is not a decimal")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotients_are_rounded_once() {
        for ((a, s), (b, t), quotient_is) in [
            ((1, 0), (3, 0), 1.0 / 3.0),
            ((10, 1), (30, 1), 1.0 / 3.0),
            ((-1, 2), (1, 0), -0.01),
            ((0, 2), (-5, 0), 0.0),
            ((10i128.pow(38) - 1, 0), (1, 38), 1e76),
            ((1, 38), (10i128.pow(38) - 1, 0), 1e-76),
            ((9_007_199_254_740_993, 0), (1, 0), 9_007_199_254_740_992.0),
        ] {
            assert_eq!(
                quotient((a, s), (b, t)).map(f64::to_bits),
                Some(f64::to_bits(quotient_is)),
                "{a} / {b}"
            );
        }
        assert_eq!(quotient((1, 0), (0, 5)), None);
    }

    #[test]
    fn decimals_of_any_scales_compare_exactly() {
        let most = 10i128.pow(38) - 1;
        assert_eq!(compare((most, 0), (most, 38)), Ordering::Greater);
        assert_eq!(compare((-most, 0), (most, 38)), Ordering::Less);
        assert_eq!(compare((120, 2), (12, 1)), Ordering::Equal);
        assert_eq!(floored(wide(-7, 0), wide(2, 0)), Some((wide(-4, 0), wide(1, 0))));
        assert_eq!(floored(wide(7, 0), wide(-2, 0)), Some((wide(-4, 0), wide(-1, 0))));
    }
}
