//! Comparisons: numbers as Python compares them, all else by Arrow's kernels.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::kernels::cmp;

use super::ast::Operator;
use super::decimals;
use super::evaluate::Operand;
use super::number::{compare_int_float, float_as_exact_int, int_as_exact_float};
use super::side::{Side, test};
use crate::error::{Error, Result};
use crate::value::{DataType, cell};

/// Compares two operands that are not null constants; a null row gives null.
pub(super) fn compare(op: Operator, a: (&Operand, DataType), b: (&Operand, DataType)) -> Result<ArrayRef> {
    let nulls = NullBuffer::union(a.0.nulls(), b.0.nulls());
    let bits = match (a.1, b.1) {
        (DataType::Str, DataType::Str)
        | (DataType::Bool, DataType::Bool)
        | (DataType::Date, DataType::Date)
        | (DataType::Bytes, DataType::Bytes) => return by_kernel(op, a, b),
        (DataType::Decimal(s), DataType::Decimal(t)) => {
            if s == t {
                return by_kernel(op, a, b);
            }
            let ordered = decimals::order_of((a.0, s), (b.0, t))?;
            Ok(match op {
                Operator::Eq => ordered.rows(Ordering::is_eq),
                Operator::Ne => ordered.rows(Ordering::is_ne),
                Operator::Lt => ordered.rows(Ordering::is_lt),
                Operator::Le => ordered.rows(Ordering::is_le),
                Operator::Gt => ordered.rows(Ordering::is_gt),
                Operator::Ge => ordered.rows(Ordering::is_ge),
                _ => return Err(not_a_comparison(op)),
            })
        }
        (DataType::Int, DataType::Int) | (DataType::Datetime, DataType::Datetime) => {
            ordered(op, a.0.ints()?, b.0.ints()?)
        }
        (DataType::Float, DataType::Float) => ordered(op, a.0.floats()?, b.0.floats()?),
        (DataType::Int, DataType::Float) => int_with_float(op, a.0.ints()?, b.0.floats()?),
        (DataType::Float, DataType::Int) => int_with_float(mirrored(op), b.0.ints()?, a.0.floats()?),
        (left, right) if left == right => nested(op, a.0, b.0, left),
        (left, right) => return Err(Error::internal(format!("{left} was compared with {right}"))),
    };
    Ok(Arc::new(BooleanArray::new(bits?, nulls)))
}

fn by_kernel(op: Operator, a: (&Operand, DataType), b: (&Operand, DataType)) -> Result<ArrayRef> {
    let (a, b) = (a.0.datum(a.1), b.0.datum(b.1));
    let result = match op {
        Operator::Eq => cmp::eq(a.as_ref(), b.as_ref()),
        Operator::Ne => cmp::neq(a.as_ref(), b.as_ref()),
        Operator::Lt => cmp::lt(a.as_ref(), b.as_ref()),
        Operator::Le => cmp::lt_eq(a.as_ref(), b.as_ref()),
        Operator::Gt => cmp::gt(a.as_ref(), b.as_ref()),
        Operator::Ge => cmp::gt_eq(a.as_ref(), b.as_ref()),
        _ => return Err(not_a_comparison(op)),
    };
    Ok(Arc::new(result?))
}

/// Whether two values of several parts are the same: those with the same bits are.
fn nested(op: Operator, a: &Operand, b: &Operand, data_type: DataType) -> Result<BooleanBuffer> {
    let rows = [a, b].into_iter().find_map(Operand::rows).unwrap_or(1);
    let constant = |operand: &Operand| match operand {
        Operand::Scalar(value) => Some(value.clone()),
        Operand::Column(_) => None,
    };
    let (one, other) = (constant(a), constant(b));
    let (a, b) = (a.array(data_type, 1), b.array(data_type, 1));
    let equal = |row: usize| {
        let a = one.clone().unwrap_or_else(|| cell(data_type, &a, row));
        a == other.clone().unwrap_or_else(|| cell(data_type, &b, row))
    };
    match op {
        Operator::Eq => Ok(BooleanBuffer::collect_bool(rows, equal)),
        Operator::Ne => Ok(BooleanBuffer::collect_bool(rows, |row| !equal(row))),
        _ => Err(not_a_comparison(op)),
    }
}

/// IEEE comparisons, which are Python's: NaN differs from everything.
fn ordered<T: Copy + PartialOrd>(op: Operator, a: Side<'_, T>, b: Side<'_, T>) -> Result<BooleanBuffer> {
    Ok(match op {
        Operator::Eq => test(a, b, |a, b| a == b),
        Operator::Ne => test(a, b, |a, b| a != b),
        Operator::Lt => test(a, b, |a, b| a < b),
        Operator::Le => test(a, b, |a, b| a <= b),
        Operator::Gt => test(a, b, |a, b| a > b),
        Operator::Ge => test(a, b, |a, b| a >= b),
        _ => return Err(not_a_comparison(op)),
    })
}

/// Exact: a constant that the other type has too is compared in that type, the rest number by number.
fn int_with_float(op: Operator, a: Side<'_, i64>, b: Side<'_, f64>) -> Result<BooleanBuffer> {
    if let Side::One(i) = a
        && let Some(f) = int_as_exact_float(i)
    {
        return ordered(op, Side::One(f), b);
    }
    if let Side::One(f) = b
        && let Some(i) = float_as_exact_int(f)
    {
        return ordered(op, a, Side::One(i));
    }
    let order = compare_int_float;
    Ok(match op {
        Operator::Eq => test(a, b, |a, b| order(a, b) == Some(Ordering::Equal)),
        Operator::Ne => test(a, b, |a, b| order(a, b) != Some(Ordering::Equal)),
        Operator::Lt => test(a, b, |a, b| order(a, b) == Some(Ordering::Less)),
        Operator::Le => test(a, b, |a, b| order(a, b).is_some_and(Ordering::is_le)),
        Operator::Gt => test(a, b, |a, b| order(a, b) == Some(Ordering::Greater)),
        Operator::Ge => test(a, b, |a, b| order(a, b).is_some_and(Ordering::is_ge)),
        _ => return Err(not_a_comparison(op)),
    })
}

/// The operator that says the same with its sides exchanged.
fn mirrored(op: Operator) -> Operator {
    match op {
        Operator::Lt => Operator::Gt,
        Operator::Le => Operator::Ge,
        Operator::Gt => Operator::Lt,
        Operator::Ge => Operator::Le,
        other => other,
    }
}

fn not_a_comparison(op: Operator) -> Error {
    Error::internal(format!("\"{}\" was evaluated as a comparison", op.symbol()))
}
