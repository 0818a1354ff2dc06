//! Nulls and NaN.

use std::sync::Arc;

use arrow::array::BooleanArray;

use super::{ARGUMENTS_MAX, Call, Function, Kernel, arg};
use crate::error::Result;
use crate::expr::ast::Operator;
use crate::expr::side::{Side, test};
use crate::expr::typing::{Node, Shown, binary, fold, unary};
use crate::value::DataType;

pub(super) const ALL: &[Function] = &[
    Function::method("is_not_null", (1, 1), is_not_null),
    Function::method("is_nan", (1, 1), is_nan),
    Function::free("coalesce", (1, ARGUMENTS_MAX), coalesce),
];

fn is_not_null(call: Call<'_>) -> Result<Node> {
    let expr = call.expr;
    let is_null = fold(unary(&Shown { op: Operator::IsNull, expr }, call.first())?)?;
    unary(&Shown { op: Operator::Not, expr }, is_null)
}

/// Null stays null: it is not known whether it is.
fn is_nan(call: Call<'_>) -> Result<Node> {
    let call = call.floats()?;
    let kernel = Kernel::new(|args, _| {
        let operand = arg(args, 0)?;
        let bits = test(operand.floats()?, Side::One(()), |v, ()| v.is_nan());
        Ok(Arc::new(BooleanArray::new(bits, operand.nulls().cloned())))
    });
    Ok(call.strict(1, DataType::Bool, kernel))
}

/// The first that is not null.
fn coalesce(call: Call<'_>) -> Result<Node> {
    let expr = call.expr;
    let mut filled = Node::null(None);
    for next in call.args {
        filled = fold(binary(&Shown { op: Operator::FillNull, expr }, filled, next)?)?;
    }
    Ok(filled)
}
