//! Whether a value lies in a range or a list.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::buffer::{BooleanBuffer, NullBuffer};

use super::{ARGUMENTS_MAX, Call, Cells, Form, Function, Kernel, arg, nulls_of};
use crate::error::Result;
use crate::expr::ast::Operator;
use crate::expr::evaluate::{Operand, bools};
use crate::expr::number::float_as_exact_int;
use crate::expr::side::{Side, test};
use crate::expr::typing::{Node, Shown, as_type, binary, fold};
use crate::value::{DataType, Value, cell};

pub(super) const ALL: &[Function] = &[
    Function::method("between", (3, 3), between),
    Function { name: "is_in", form: Form::Members, count: (1, ARGUMENTS_MAX), compile: is_in },
];

/// `(a >= low) & (a <= high)`
fn between(mut call: Call<'_>) -> Result<Node> {
    let expr = call.expr;
    let (Some(high), Some(low), Some(value)) = (call.args.pop(), call.args.pop(), call.args.pop()) else {
        return Err(call.refuse("it takes two ends"));
    };
    let above = fold(binary(&Shown { op: Operator::Ge, expr }, value.clone(), low)?)?;
    let below = fold(binary(&Shown { op: Operator::Le, expr }, value, high)?)?;
    binary(&Shown { op: Operator::And, expr }, above, below)
}

/// What a value may be: exact, so that an int is in a list of floats that has the same number.
#[derive(Default)]
struct Members {
    ints: BTreeSet<i64>,
    floats: BTreeSet<u64>,
    texts: BTreeSet<Arc<str>>,
    bools: [bool; 2],
    /// Dates, bytes and decimals, those of the value's scale.
    others: HashSet<Value>,
    /// It may also be something unknown: what is none of the others is null then.
    null: bool,
}

impl Members {
    fn add(&mut self, value: &Value) {
        match value {
            Value::Null => self.null = true,
            Value::Int(v) | Value::Datetime(v) => drop(self.ints.insert(*v)),
            // NaN equals nothing.
            Value::Float(v) if v.is_nan() => {}
            Value::Float(v) => match float_as_exact_int(*v) {
                Some(int) => drop(self.ints.insert(int)),
                None => drop(self.floats.insert(v.to_bits())),
            },
            Value::Str(v) => drop(self.texts.insert(v.clone())),
            Value::Bool(v) => self.bools[usize::from(*v)] = true,
            other => drop(self.others.insert(other.clone())),
        }
    }

    fn has_float(&self, v: f64) -> bool {
        match float_as_exact_int(v) {
            Some(int) => self.ints.contains(&int),
            None => self.floats.contains(&v.to_bits()),
        }
    }

    fn answer(&self, found: BooleanBuffer, nulls: Option<&NullBuffer>) -> ArrayRef {
        let unknown = self.null.then(|| NullBuffer::new(found.clone()));
        Arc::new(BooleanArray::new(found, NullBuffer::union(unknown.as_ref(), nulls)))
    }
}

/// Equality with any of the constants, three-valued: null of null, and null of no match where one of them is null.
fn is_in(mut call: Call<'_>) -> Result<Node> {
    let Some(data_type) = call.type_of(0) else {
        return Ok(Node::null(Some(DataType::Bool)));
    };
    if data_type.scalar().is_none() {
        return Err(call.refuse("it takes values that have no parts"));
    }
    let mut members = Members::default();
    for index in 1..call.args.len() {
        let node = std::mem::replace(&mut call.args[index], Node::null(None));
        call.args[index] = as_type(node, Some(data_type))?;
        let Some(value) = call.args[index].constant() else {
            return Err(call
                .refuse_constant("constants; compare with a column by ==", super::shown(&call.args[index])));
        };
        let is_number = |t: DataType| matches!(t, DataType::Int | DataType::Float);
        if let (DataType::Decimal(_), Some(DataType::Decimal(_) | DataType::Int)) =
            (data_type, value.data_type())
        {
            // One that has digits which the value cannot have equals none.
            value.clone().widen(data_type).iter().for_each(|value| members.add(value));
            continue;
        }
        let fits = value.data_type().is_none_or(|t| t == data_type || (is_number(t) && is_number(data_type)));
        if !fits {
            let expected = format!("constants of type {data_type}, as the value is");
            return Err(call.refuse_constant(&expected, value));
        }
        members.add(value);
    }
    let kernel = match data_type {
        DataType::Int | DataType::Datetime => Kernel::new(move |args, _| {
            let operand = arg(args, 0)?;
            let found = test(operand.ints()?, Side::One(()), |v, ()| members.ints.contains(&v));
            Ok(members.answer(found, operand.nulls()))
        }),
        DataType::Float => Kernel::new(move |args, _| {
            let operand = arg(args, 0)?;
            let found = test(operand.floats()?, Side::One(()), |v, ()| members.has_float(v));
            Ok(members.answer(found, operand.nulls()))
        }),
        DataType::Str => Kernel::new(move |args, rows| {
            let operand = arg(args, 0)?;
            let (texts, nulls) = (operand.texts()?, operand.nulls());
            let rows = texts.len().unwrap_or(rows.min(1));
            let has = |row| {
                nulls.is_none_or(|n: &NullBuffer| n.is_valid(row)) && members.texts.contains(texts.at(row))
            };
            Ok(members.answer(BooleanBuffer::collect_bool(rows, has), nulls))
        }),
        DataType::Bool => Kernel::new(move |args, _| {
            let operand = arg(args, 0)?;
            let array = match operand {
                Operand::Column(array) => array.clone(),
                Operand::Scalar(_) => operand.array(DataType::Bool, 1),
            };
            let array = bools(&array)?;
            let has = |row| members.bools[usize::from(array.value(row))];
            Ok(members.answer(BooleanBuffer::collect_bool(array.len(), has), array.nulls()))
        }),
        _ => Kernel::new(move |args, rows| {
            let cells = Cells::of(args, 0, data_type)?;
            let has = |row| members.others.contains(&cell(data_type, &cells.array, cells.row(row)));
            Ok(members.answer(BooleanBuffer::collect_bool(rows, has), nulls_of(args).as_ref()))
        }),
    };
    Ok(call.strict(1, DataType::Bool, kernel))
}
