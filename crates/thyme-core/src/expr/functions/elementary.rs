//! Roots, powers, logarithms and angles, from one pure Rust implementation (`libm`), so that no bit depends on the
//! platform.
//!
//! Where Python raises (the root of a negative number, the logarithm of zero) they are null. A result too large for a
//! float is infinite, as of `*`.

use std::sync::Arc;

use arrow::array::{Float64Array, Int64Array};

use super::{Call, Form, Function, Kernel, arg, nulls_of};
use crate::error::Result;
use crate::expr::ast::Expr;
use crate::expr::side::{Side, map_once};
use crate::expr::typing::{Node, widened};
use crate::value::{DataType, Value, canonical};

pub(super) const ALL: &[Function] = &[
    Function::method("sqrt", (1, 1), |call| of_one(call, libm::sqrt)),
    Function::method("cbrt", (1, 1), |call| of_one(call, libm::cbrt)),
    Function::method("exp", (1, 1), |call| of_one(call, libm::exp)),
    Function::method("expm1", (1, 1), |call| of_one(call, libm::expm1)),
    Function::method("log", (1, 1), |call| of_one(call, libm::log)),
    Function::method("log2", (1, 1), |call| of_one(call, libm::log2)),
    Function::method("log10", (1, 1), |call| of_one(call, libm::log10)),
    Function::method("log1p", (1, 1), |call| of_one(call, libm::log1p)),
    Function::method("sin", (1, 1), |call| of_one(call, libm::sin)),
    Function::method("cos", (1, 1), |call| of_one(call, libm::cos)),
    Function::method("tan", (1, 1), |call| of_one(call, libm::tan)),
    Function::method("asin", (1, 1), |call| of_one(call, libm::asin)),
    Function::method("acos", (1, 1), |call| of_one(call, libm::acos)),
    Function::method("atan", (1, 1), |call| of_one(call, libm::atan)),
    Function::method("tanh", (1, 1), |call| of_one(call, libm::tanh)),
    Function::free("atan2", (2, 2), |call| of_two(call, |y, x| Some(canonical(libm::atan2(y, x))))),
    Function { name: "pow", form: Form::Power, count: (2, 2), compile: pow },
];

fn of_one(call: Call<'_>, f: fn(f64) -> f64) -> Result<Node> {
    let call = call.floats()?;
    let kernel = Kernel::new(move |args, _| {
        let operand = arg(args, 0)?;
        let (values, nulls) =
            map_once(operand.floats()?, Side::One(()), operand.nulls(), |v, ()| defined(v, f(v)));
        Ok(Arc::new(Float64Array::new(values.into(), nulls)))
    });
    Ok(call.strict(1, DataType::Float, kernel))
}

fn of_two(call: Call<'_>, f: fn(f64, f64) -> Option<f64>) -> Result<Node> {
    let call = call.floats()?;
    let kernel = Kernel::new(move |args, _| {
        let (a, b) = (arg(args, 0)?.floats()?, arg(args, 1)?.floats()?);
        let (values, nulls) = map_once(a, b, nulls_of(args).as_ref(), f);
        Ok(Arc::new(Float64Array::new(values.into(), nulls)))
    });
    Ok(call.strict(2, DataType::Float, kernel))
}

/// `f(v)` where it is defined: not NaN of a number, and no pole (only logarithms give -infinity of a finite number).
fn defined(v: f64, result: f64) -> Option<f64> {
    let is_pole = result == f64::NEG_INFINITY && v.is_finite();
    let is_defined = (!result.is_nan() || v.is_nan()) && !is_pole;
    is_defined.then(|| canonical(result))
}

/// An int to the power of a literal int that is not negative is an int, null outside int64; everything else is a float.
fn pow(mut call: Call<'_>) -> Result<Node> {
    // As it is written, not as it comes out, so that a reader knows the type.
    let is_literal =
        matches!(call.expr, Expr::Call { args, .. } if matches!(args.get(1), Some(Expr::Literal(_))));
    if let (Some(DataType::Int), Some(Node::Scalar { value: Value::Int(exponent @ 0..), .. }), true) =
        (call.type_of(0), call.args.get(1), is_literal)
    {
        let exponent = u32::try_from(*exponent).unwrap_or(u32::MAX);
        let kernel = Kernel::new(move |args, _| {
            let operand = arg(args, 0)?;
            let power = |v: i64, ()| v.checked_pow(exponent);
            let (values, nulls) = map_once(operand.ints()?, Side::One(()), operand.nulls(), power);
            Ok(Arc::new(Int64Array::new(values.into(), nulls)))
        });
        return Ok(call.strict(1, DataType::Int, kernel));
    }
    call.args = std::mem::take(&mut call.args).into_iter().map(|arg| widened(arg, DataType::Float)).collect();
    of_two(call, |base, exponent| {
        let power = libm::pow(base, exponent);
        let is_complex = power.is_nan() && !base.is_nan() && !exponent.is_nan();
        let is_pole = base == 0.0 && exponent < 0.0;
        (!is_complex && !is_pole).then(|| canonical(power))
    })
}
