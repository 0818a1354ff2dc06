//! Arithmetic on numbers, and the concatenation of texts.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Array, Int64Array};
use arrow::buffer::NullBuffer;

use super::ast::Operator;
use super::decimals;
use super::evaluate::Operand;
use super::number::{floor_div_float, floor_div_int, floor_mod_float, floor_mod_int, true_div_int};
use super::side::{Side, map, map_checked};
use super::texts;
use crate::error::{Error, Result};
use crate::value::{DataType, Value, canonical};

/// Computes `a op b` for operands of type `operands` that are not null constants.
pub(super) fn arithmetic(op: Operator, a: &Operand, b: &Operand, operands: DataType) -> Result<ArrayRef> {
    match operands {
        DataType::Int => ints(op, a, b),
        DataType::Float => floats(op, a, b),
        DataType::Str => concatenate(a, b),
        other => Err(Error::internal(format!("\"{}\" was evaluated on {other}", op.symbol()))),
    }
}

fn ints(op: Operator, a: &Operand, b: &Operand) -> Result<ArrayRef> {
    let nulls = NullBuffer::union(a.nulls(), b.nulls());
    let (nulls, a, b) = (nulls.as_ref(), a.ints()?, b.ints()?);
    let (values, nulls) = match op {
        Operator::Add => map_checked(a, b, nulls, i64::checked_add),
        Operator::Sub => map_checked(a, b, nulls, i64::checked_sub),
        Operator::Mul => map_checked(a, b, nulls, i64::checked_mul),
        Operator::FloorDiv => map_checked(a, b, nulls, floor_div_int),
        Operator::Mod => map_checked(a, b, nulls, floor_mod_int),
        Operator::Div => {
            let (values, nulls) = map_checked(a, b, nulls, true_div_int);
            return Ok(Arc::new(Float64Array::new(values.into(), nulls)));
        }
        _ => {
            return Err(Error::internal(format!("\"{}\" was evaluated on ints", op.symbol())));
        }
    };
    Ok(Arc::new(Int64Array::new(values.into(), nulls)))
}

fn floats(op: Operator, a: &Operand, b: &Operand) -> Result<ArrayRef> {
    let nulls = NullBuffer::union(a.nulls(), b.nulls());
    let (a, b) = (a.floats()?, b.floats()?);
    let divided = |f: fn(f64, f64) -> f64| move |a: f64, b: f64| (b != 0.0).then(|| canonical(f(a, b)));
    let (values, nulls) = match op {
        Operator::Add => (map(a, b, |a, b| canonical(a + b)), nulls),
        Operator::Sub => (map(a, b, |a, b| canonical(a - b)), nulls),
        Operator::Mul => (map(a, b, |a, b| canonical(a * b)), nulls),
        Operator::Div => map_checked(a, b, nulls.as_ref(), |a, b| (b != 0.0).then(|| canonical(a / b))),
        Operator::FloorDiv => map_checked(a, b, nulls.as_ref(), divided(floor_div_float)),
        Operator::Mod => map_checked(a, b, nulls.as_ref(), divided(floor_mod_float)),
        _ => {
            return Err(Error::internal(format!("\"{}\" was evaluated on floats", op.symbol())));
        }
    };
    Ok(Arc::new(Float64Array::new(values.into(), nulls)))
}

/// Computes `-a`.
pub(super) fn negate(array: &ArrayRef, data_type: DataType) -> Result<ArrayRef> {
    let operand = Operand::Column(array.clone());
    if data_type == DataType::Int {
        // 0 - i64::MIN overflows and is null like any other overflow.
        return ints(Operator::Sub, &Operand::Scalar(Value::Int(0)), &operand);
    }
    if let DataType::Decimal(scale) = data_type {
        return decimals::negate(&operand, scale);
    }
    let values = map(operand.floats()?, Side::One(()), |v, ()| canonical(-v));
    Ok(Arc::new(Float64Array::new(values.into(), array.nulls().cloned())))
}

fn concatenate(a: &Operand, b: &Operand) -> Result<ArrayRef> {
    let nulls = NullBuffer::union(a.nulls(), b.nulls());
    let (a, b) = (a.texts()?, b.texts()?);
    let rows = a.len().or(b.len()).unwrap_or(1);
    texts::build(rows, nulls.as_ref(), |row, out| {
        out.push_str(a.at(row));
        out.push_str(b.at(row));
        true
    })
}
