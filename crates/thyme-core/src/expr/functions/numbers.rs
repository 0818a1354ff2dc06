//! Numbers to numbers of the same type: size, sign, and the least and greatest of several.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Float64Array, Int64Array, TimestampMicrosecondArray};
use arrow::buffer::NullBuffer;

use super::{ARGUMENTS_MAX, Call, Function, Kernel, arg, nulls_of};
use crate::error::{Error, Result};
use crate::expr::decimals;
use crate::expr::evaluate::Operand;
use crate::expr::side::{Side, map, map_checked};
use crate::expr::texts;
use crate::expr::typing::Node;
use crate::value::decimal::rescaled;
use crate::value::{DataType, NAN, canonical};

pub(super) const ALL: &[Function] = &[
    Function::method("abs", (1, 1), abs),
    Function::method("sign", (1, 1), sign),
    Function::method("clip", (3, 3), clip),
    Function::free("min_of", (1, ARGUMENTS_MAX), |call| extreme(call, Ordering::Less)),
    Function::free("max_of", (1, ARGUMENTS_MAX), |call| extreme(call, Ordering::Greater)),
];

/// The size of a number; that of the lowest int is null.
fn abs(call: Call<'_>) -> Result<Node> {
    number(call, i64::checked_abs, f64::abs, |v, _| Some(v.abs()))
}

/// -1, 0 or 1; NaN of NaN.
fn sign(call: Call<'_>) -> Result<Node> {
    let float = |v: f64| if v == 0.0 || v.is_nan() { v } else { 1.0f64.copysign(v) };
    let decimal = |v: i128, scale| rescaled(v.signum(), 0, scale);
    number(call, |v| Some(v.signum()), float, decimal)
}

fn number(
    call: Call<'_>,
    int: fn(i64) -> Option<i64>,
    float: fn(f64) -> f64,
    decimal: fn(i128, u8) -> Option<i128>,
) -> Result<Node> {
    let kernel = match call.type_of(0) {
        None => return Ok(call.first()),
        Some(DataType::Int) => Kernel::new(move |args, _| {
            let operand = arg(args, 0)?;
            let (values, nulls) =
                map_checked(operand.ints()?, Side::One(()), operand.nulls(), |v, ()| int(v));
            Ok(Arc::new(Int64Array::new(values.into(), nulls)))
        }),
        Some(DataType::Float) => Kernel::new(move |args, _| {
            let operand = arg(args, 0)?;
            let values = map(operand.floats()?, Side::One(()), |v, ()| canonical(float(v)));
            Ok(Arc::new(Float64Array::new(values.into(), operand.nulls().cloned())))
        }),
        Some(DataType::Decimal(scale)) => Kernel::new(move |args, _| {
            let operand = arg(args, 0)?;
            let (values, nulls) =
                map_checked(operand.decimals()?, Side::One(()), operand.nulls(), |v, ()| decimal(v, scale));
            decimals::column(values, nulls, scale)
        }),
        Some(_) => return Err(call.refuse("it takes a number")),
    };
    let data_type = call.type_of(0).unwrap_or(DataType::Float);
    Ok(call.strict(1, data_type, kernel))
}

/// The greatest of a value and the low end, and then the least of that and the high end. The null literal as an end is
/// none.
fn clip(mut call: Call<'_>) -> Result<Node> {
    // Only the literal has no type: an end that is null for another reason is unknown, and so is the value.
    let is_open = [1, 2].map(|end| call.type_of(end).is_none());
    let unified = call.unify(|_| true)?;
    match unified {
        None => return Ok(call.first()),
        Some(
            DataType::Int | DataType::Float | DataType::Datetime | DataType::Date | DataType::Decimal(_),
        ) => {}
        Some(_) => return Err(call.refuse("it takes numbers, datetimes or dates")),
    }
    let (function, expr) = (call.function, call.expr);
    let mut ends = std::mem::take(&mut call.args).into_iter();
    let mut clipped = ends.next().unwrap_or(Node::null(unified));
    for ((end, order), is_open) in ends.zip([Ordering::Greater, Ordering::Less]).zip(is_open) {
        if !is_open {
            let pair = Call { function, expr, args: vec![clipped, end] };
            clipped = crate::expr::typing::fold(extreme(pair, order)?)?;
        }
    }
    Ok(clipped)
}

/// The argument that comes first in `order`; NaN if any is NaN, as of the aggregates.
fn extreme(mut call: Call<'_>, order: Ordering) -> Result<Node> {
    let Some(data_type) = call.unify(|_| true)? else {
        return Ok(call.first());
    };
    let kernel = match data_type {
        DataType::Int | DataType::Datetime => Kernel::new(move |args, _| {
            let ints = pick(args, Operand::ints, |a: i64, b: i64| if b.cmp(&a) == order { b } else { a })?;
            let nulls = nulls_of(args);
            Ok(match data_type {
                DataType::Int => Arc::new(Int64Array::new(ints.into(), nulls)) as ArrayRef,
                _ => Arc::new(TimestampMicrosecondArray::new(ints.into(), nulls).with_timezone("UTC")),
            })
        }),
        DataType::Float => Kernel::new(move |args, _| {
            let floats = pick(args, Operand::floats, |a: f64, b: f64| match b.partial_cmp(&a) {
                None => NAN,
                Some(found) if found == order => b,
                Some(_) => a,
            })?;
            Ok(Arc::new(Float64Array::new(floats.into(), nulls_of(args))))
        }),
        DataType::Decimal(scale) => Kernel::new(move |args, _| {
            let choose = |a: i128, b: i128| if b.cmp(&a) == order { b } else { a };
            decimals::column(pick(args, Operand::decimals, choose)?, nulls_of(args), scale)
        }),
        DataType::Date => Kernel::new(move |args, _| {
            let days = pick(args, Operand::days, |a: i32, b: i32| if b.cmp(&a) == order { b } else { a })?;
            Ok(Arc::new(Date32Array::new(days.into(), nulls_of(args))))
        }),
        DataType::Str => Kernel::new(move |args, rows| extreme_text(args, rows, order)),
        _ => return Err(call.refuse("it takes numbers, texts, datetimes or dates")),
    };
    let count = call.args.len();
    Ok(call.strict(count, data_type, kernel))
}

/// Folds operands row by row.
fn pick<T: Copy>(
    args: &[Operand],
    side: impl for<'a> Fn(&'a Operand) -> Result<Side<'a, T>>,
    choose: impl Fn(T, T) -> T + Copy,
) -> Result<Vec<T>> {
    // A constant, if there is one, meets the first column before any other: a column stays a column.
    let mut sides = args.iter().map(&side).collect::<Result<Vec<_>>>()?.into_iter();
    let first = sides.next().ok_or_else(|| Error::internal("the least of nothing"))?;
    let mut chosen = map(first, Side::One(()), |v, ()| v);
    for next in sides {
        chosen = match (chosen.as_slice(), next) {
            // Only constants so far.
            ([one], next @ Side::Many(_)) => map(Side::One(*one), next, choose),
            (_, next) => map(Side::Many(&chosen), next, choose),
        };
    }
    Ok(chosen)
}

fn extreme_text(args: &[Operand], rows: usize, order: Ordering) -> Result<ArrayRef> {
    let nulls: Option<NullBuffer> = nulls_of(args);
    let all = args.iter().map(Operand::texts).collect::<Result<Vec<_>>>()?;
    let rows = all.iter().find_map(|texts| texts.len()).unwrap_or(rows.min(1));
    texts::build(rows, nulls.as_ref(), |row, out| {
        let chosen =
            all.iter().map(|texts| texts.at(row)).reduce(|a, b| if b.cmp(a) == order { b } else { a });
        out.push_str(chosen.unwrap_or_default());
        chosen.is_some()
    })
}
