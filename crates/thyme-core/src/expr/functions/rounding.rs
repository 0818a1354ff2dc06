//! Rounding, as Python's `round`, `math.floor` and `math.ceil` do it.

use std::sync::Arc;

use arrow::array::{Float64Array, Int64Array};

use super::{Call, Function, Kernel, arg};
use crate::error::Result;
use crate::expr::decimals;
use crate::expr::number::float_as_exact_int;
use crate::expr::side::{Side, map, map_once};
use crate::expr::typing::Node;
use crate::value::decimal::is_decimal;
use crate::value::{DataType, canonical};

pub(super) const ALL: &[Function] = &[
    Function::method("round", (1, 2), round),
    Function::method("floor", (1, 1), |call| whole(call, f64::floor, |v, unit| v.div_euclid(unit))),
    Function::method("ceil", (1, 1), |call| whole(call, f64::ceil, |v, unit| -(-v).div_euclid(unit))),
];

/// The most digits after or before the point.
const DIGITS_MAX: i64 = 18;

/// Without digits to an int, half to even; with them to the same type.
fn round(call: Call<'_>) -> Result<Node> {
    let expected = "a constant number of digits from -18 to 18";
    let Some(digits) = call.int_constant(1, -DIGITS_MAX..=DIGITS_MAX, expected)? else {
        return whole(call, f64::round_ties_even, half_even);
    };
    match call.type_of(0) {
        None => Ok(call.first()),
        Some(DataType::Int) if digits >= 0 => Ok(call.first()),
        Some(DataType::Int) => {
            let unit = 10i64.pow(digits.unsigned_abs() as u32);
            let kernel = Kernel::new(move |args, _| {
                let operand = arg(args, 0)?;
                let (values, nulls) =
                    map_once(operand.ints()?, Side::One(()), operand.nulls(), |v, ()| round_int(v, unit));
                Ok(Arc::new(Int64Array::new(values.into(), nulls)))
            });
            Ok(call.strict(1, DataType::Int, kernel))
        }
        Some(DataType::Float) => {
            let kernel = Kernel::new(move |args, _| {
                let operand = arg(args, 0)?;
                let values = map(operand.floats()?, Side::One(()), |v, ()| round_float(v, digits));
                Ok(Arc::new(Float64Array::new(values.into(), operand.nulls().cloned())))
            });
            Ok(call.strict(1, DataType::Float, kernel))
        }
        Some(DataType::Decimal(scale)) if digits >= i64::from(scale) => Ok(call.first()),
        Some(data_type @ DataType::Decimal(scale)) => {
            let places = (i64::from(scale) - digits) as u32;
            let rounded = move |v: i128, ()| match 10i128.checked_pow(places) {
                Some(unit) => half_even(v, unit).checked_mul(unit).filter(|v| is_decimal(*v)),
                None => Some(0),
            };
            let kernel = Kernel::new(move |args, _| {
                let operand = arg(args, 0)?;
                let (values, nulls) = map_once(operand.decimals()?, Side::One(()), operand.nulls(), rounded);
                decimals::column(values, nulls, scale)
            });
            Ok(call.strict(1, data_type, kernel))
        }
        Some(_) => Err(call.refuse("it takes a number")),
    }
}

/// How many times `unit` is nearest to `v`, half to even.
fn half_even(v: i128, unit: i128) -> i128 {
    let (below, rest) = (v.div_euclid(unit), v.rem_euclid(unit));
    let above = unit - rest;
    if rest > above || (rest == above && below % 2 != 0) { below + 1 } else { below }
}

/// A float or a decimal to an int; NaN, infinities and what is outside int64 are null. An int stays as it is.
fn whole(call: Call<'_>, to_whole: fn(f64) -> f64, units: fn(i128, i128) -> i128) -> Result<Node> {
    match call.type_of(0) {
        None => Ok(Node::null(Some(DataType::Int))),
        Some(DataType::Int) => Ok(call.first()),
        Some(DataType::Float) => {
            let kernel = Kernel::new(move |args, _| {
                let operand = arg(args, 0)?;
                let (values, nulls) = map_once(operand.floats()?, Side::One(()), operand.nulls(), |v, ()| {
                    float_as_exact_int(to_whole(v))
                });
                Ok(Arc::new(Int64Array::new(values.into(), nulls)))
            });
            Ok(call.strict(1, DataType::Int, kernel))
        }
        Some(DataType::Decimal(scale)) => {
            let unit = 10i128.pow(scale.into());
            let kernel = Kernel::new(move |args, _| {
                let operand = arg(args, 0)?;
                let (values, nulls) =
                    map_once(operand.decimals()?, Side::One(()), operand.nulls(), |v, ()| {
                        i64::try_from(units(v, unit)).ok()
                    });
                Ok(Arc::new(Int64Array::new(values.into(), nulls)))
            });
            Ok(call.strict(1, DataType::Int, kernel))
        }
        Some(_) => Err(call.refuse("it takes a number")),
    }
}

/// The multiple of `unit` nearest to `v`, half to even; `None` outside int64.
fn round_int(v: i64, unit: i64) -> Option<i64> {
    let (below, rest) = (v.div_euclid(unit), v.rem_euclid(unit));
    let up = match rest.cmp(&(unit - rest)) {
        std::cmp::Ordering::Greater => 1,
        std::cmp::Ordering::Equal => below & 1,
        std::cmp::Ordering::Less => 0,
    };
    i64::try_from((i128::from(below) + i128::from(up)) * i128::from(unit)).ok()
}

/// The exact binary value rounded half to even to a decimal of so many digits, and that to the nearest float.
fn round_float(v: f64, digits: i64) -> f64 {
    if !v.is_finite() {
        return v;
    }
    let text = match usize::try_from(digits) {
        // The digits that are printed are those of the exact value, rounded half to even.
        Ok(digits) => format!("{v:.digits$}"),
        Err(_) => round_left_of_the_point(v, digits.unsigned_abs() as usize),
    };
    text.parse().map_or(v, canonical)
}

/// Digits of the whole part without the last `cut`, which say whether the rest is rounded up.
fn round_left_of_the_point(v: f64, cut: usize) -> String {
    let whole = v.trunc().abs();
    let digits = format!("{whole:.0}");
    let (kept, rest) = digits.split_at(digits.len().saturating_sub(cut));
    let half = format!("{:0<cut$}", "5");
    // With zeros in front both have as many digits, and compare as numbers do.
    let order = format!("{rest:0>cut$}").cmp(&half);
    let order =
        order.then(if v.trunc() == v { std::cmp::Ordering::Equal } else { std::cmp::Ordering::Greater });
    let last_is_odd = kept.bytes().last().is_some_and(|digit| digit % 2 == 1);
    let up = order.is_gt() || (order.is_eq() && last_is_odd);
    // At most 309 digits, of a float, of which those in front of the last 18 may be more than an int has.
    let sign = if v < 0.0 { "-" } else { "" };
    format!("{sign}{}e{cut}", if up { incremented(kept) } else { format!("0{kept}") })
}

/// A decimal and one.
fn incremented(digits: &str) -> String {
    let mut digits: Vec<u8> = std::iter::once(b'0').chain(digits.bytes()).collect();
    for digit in digits.iter_mut().rev() {
        if *digit == b'9' {
            *digit = b'0';
        } else {
            *digit += 1;
            break;
        }
    }
    digits.into_iter().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_rounded_as_python_rounds_them() {
        let cases = [
            (2.675, 2, 2.67),
            (0.5, 0, 0.0),
            (1.5, 0, 2.0),
            (2.5, 0, 2.0),
            (0.125, 2, 0.12),
            (0.375, 2, 0.38),
            (-2.5, 0, -2.0),
            (1e300, 2, 1e300),
            (0.1, 18, 0.1),
            (1250.0, -2, 1200.0),
            (1350.0, -2, 1400.0),
            (1250.0000001, -2, 1300.0),
            (-1250.5, -2, -1300.0),
            (49.9, -2, 0.0),
            (50.0, -2, 0.0),
            (50.5, -2, 100.0),
            (999.0, -1, 1000.0),
            (1e22, -3, 1e22),
            (7.0, -18, 0.0),
            (-0.4, 0, 0.0),
        ];
        for (v, digits, expected) in cases {
            assert_eq!(round_float(v, digits).to_bits(), f64::to_bits(expected), "round({v}, {digits})");
        }
        assert!(round_float(f64::NAN, 2).is_nan());
    }

    #[test]
    fn ints_are_rounded_half_to_even() {
        let cases = [(15, 10, 20), (25, 10, 20), (-15, 10, -20), (-25, 10, -20), (-26, 10, -30), (4, 10, 0)];
        for (v, unit, expected) in cases {
            assert_eq!(round_int(v, unit), Some(expected), "{v}");
        }
        assert_eq!(round_int(i64::MAX, 10), None);
        assert_eq!(round_int(i64::MIN, 1_000_000_000_000_000_000), Some(-9_000_000_000_000_000_000));
    }
}
