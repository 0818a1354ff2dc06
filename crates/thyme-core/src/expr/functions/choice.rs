//! `when(a).then(b).otherwise(c)`: the value of the first condition that is true; null is not.

use arrow::array::{Array, BooleanArray, Scalar};
use arrow::compute::kernels::zip::zip;
use arrow::compute::prep_null_mask_filter;

use super::{ARGUMENTS_MAX, Call, Form, Function, Kernel};
use crate::error::{Error, Result};
use crate::expr::evaluate::{Operand, bools};
use crate::expr::typing::Node;
use crate::value::{DataType, Value};

pub(super) const ALL: &[Function] =
    &[Function { name: "when", form: Form::When, count: (3, ARGUMENTS_MAX), compile: when }];

/// Conditions and values in turn, and last what is given when none is true.
fn when(mut call: Call<'_>) -> Result<Node> {
    let last = call.args.len() - 1;
    if last % 2 == 1 {
        let expected = "a value for each condition, and one for when none is true";
        return Err(call.refuse_constant(expected, format!("{} arguments", last + 1)));
    }
    let is_condition = |index: usize| index < last && index.is_multiple_of(2);
    for index in (0..last).step_by(2) {
        if !matches!(call.type_of(index), None | Some(DataType::Bool)) {
            return Err(call.refuse("a condition is a bool, such as a comparison"));
        }
    }
    let Some(data_type) = call.unify(|index| !is_condition(index))? else {
        return Ok(Node::null(None));
    };
    let kernel = Kernel::new(move |args, rows| {
        // Two constants and nothing else are one row.
        let mut args = args.iter().rev();
        let mut chosen = args.next().ok_or_else(nothing)?.array(data_type, rows);
        while let (Some(value), Some(condition)) = (args.next(), args.next()) {
            chosen = match condition {
                Operand::Scalar(Value::Bool(true)) => value.array(data_type, rows),
                Operand::Scalar(_) => chosen,
                Operand::Column(array) => {
                    let mask = bools(array)?;
                    let mask: BooleanArray = match mask.nulls() {
                        Some(_) => prep_null_mask_filter(mask),
                        None => mask.clone(),
                    };
                    match value {
                        Operand::Column(value) => zip(&mask, value, &chosen)?,
                        Operand::Scalar(_) => zip(&mask, &Scalar::new(value.array(data_type, 1)), &chosen)?,
                    }
                }
            };
        }
        Ok(chosen)
    });
    Ok(Node::Function { kernel, args: call.args, data_type })
}

fn nothing() -> Error {
    Error::internal("a choice was evaluated without a value")
}
