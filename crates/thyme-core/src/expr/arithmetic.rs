//! Arithmetic on numbers, and the concatenation of texts.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, StringArray};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};

use super::ast::Operator;
use super::evaluate::Operand;
use super::number::{floor_div_float, floor_div_int, floor_mod_float, floor_mod_int, true_div_int};
use super::side::{Side, map, map_checked};
use crate::error::{Error, ErrorKind, Result};
use crate::value::{DataType, Value, canonical};

/// The longest text a concatenation makes; a longer one is null, as an int that overflows is.
pub const TEXT_BYTES_MAX: usize = 1 << 20;

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
    let values = map(operand.floats()?, Side::One(()), |v, ()| canonical(-v));
    Ok(Arc::new(Float64Array::new(values.into(), array.nulls().cloned())))
}

enum Texts<'a> {
    Many(&'a StringArray),
    One(&'a str),
}

impl<'a> Texts<'a> {
    fn of(operand: &'a Operand) -> Result<Self> {
        match operand {
            Operand::Column(array) => array.as_string_opt().map(Texts::Many),
            Operand::Scalar(Value::Str(text)) => Some(Texts::One(text)),
            Operand::Scalar(_) => None,
        }
        .ok_or_else(|| Error::internal("a text operand is not a text"))
    }

    fn at(&self, row: usize) -> &'a str {
        match self {
            Texts::Many(array) => array.value(row),
            Texts::One(text) => text,
        }
    }

    fn len(&self) -> Option<usize> {
        match self {
            Texts::Many(array) => Some(array.len()),
            Texts::One(_) => None,
        }
    }
}

fn concatenate(a: &Operand, b: &Operand) -> Result<ArrayRef> {
    let nulls = NullBuffer::union(a.nulls(), b.nulls());
    let (a, b) = (Texts::of(a)?, Texts::of(b)?);
    let rows = a.len().or(b.len()).unwrap_or(1);
    let fits = |row: usize| a.at(row).len() + b.at(row).len() <= TEXT_BYTES_MAX;
    let own = (!(0..rows).all(fits)).then(|| (0..rows).map(fits).collect::<NullBuffer>());
    let nulls = NullBuffer::union(own.as_ref(), nulls.as_ref());
    let kept = |row: usize| nulls.as_ref().is_none_or(|n| n.is_valid(row));

    let mut bytes = Vec::new();
    let mut ends = Vec::with_capacity(rows + 1);
    ends.push(0i32);
    for row in 0..rows {
        if kept(row) {
            bytes.extend_from_slice(a.at(row).as_bytes());
            bytes.extend_from_slice(b.at(row).as_bytes());
        }
        ends.push(i32::try_from(bytes.len()).map_err(|_| too_much_text())?);
    }
    let ends = OffsetBuffer::new(ScalarBuffer::from(ends));
    Ok(Arc::new(StringArray::try_new(ends, bytes.into(), nulls)?))
}

fn too_much_text() -> Error {
    Error::new(
        ErrorKind::TooLarge,
        "a concatenation makes more than 2 GiB of text in one batch; send smaller batches",
    )
}
