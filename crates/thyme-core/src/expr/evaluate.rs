//! Evaluation on Arrow batches.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Datum, Float64Array, Int64Array, NullArray, RecordBatch,
    RecordBatchOptions, Scalar, StringArray, TimestampMicrosecondArray, new_null_array,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::kernels::{boolean, zip::zip};
use arrow::datatypes::{
    Date32Type, Decimal128Type, Float64Type, Int64Type, Schema, TimestampMicrosecondType,
};

use super::arithmetic::{arithmetic, negate};
use super::ast::Operator;
use super::compare::compare;
use super::decimals;
use super::side::Side;
use super::texts::Texts;
use super::typing::{Compiled, Node};
use crate::error::{Error, Result};
use crate::value::decimal::rescaled;
use crate::value::{DataType, Value, cell, column as column_of};

/// The value of a node on a batch.
pub(super) enum Operand {
    /// A value a row.
    Column(ArrayRef),
    /// The same value for all rows.
    Scalar(Value),
}

impl Operand {
    /// The nulls of a column; a constant has none to add.
    pub(super) fn nulls(&self) -> Option<&NullBuffer> {
        match self {
            Operand::Column(array) => array.nulls(),
            Operand::Scalar(_) => None,
        }
    }

    /// Rows; `None` for a constant.
    pub(super) fn rows(&self) -> Option<usize> {
        match self {
            Operand::Column(array) => Some(array.len()),
            Operand::Scalar(_) => None,
        }
    }

    /// Ints, or datetimes as microseconds.
    pub(super) fn ints(&self) -> Result<Side<'_, i64>> {
        match self {
            Operand::Column(array) => {
                let ints = array.as_primitive_opt::<Int64Type>().map(|a| a.values());
                ints.or_else(|| array.as_primitive_opt::<TimestampMicrosecondType>().map(|a| a.values()))
                    .map(|values| Side::Many(values.as_ref()))
            }
            Operand::Scalar(Value::Int(v) | Value::Datetime(v)) => Some(Side::One(*v)),
            Operand::Scalar(_) => None,
        }
        .ok_or_else(|| Error::internal("an int operand is not an int"))
    }

    /// Floats.
    pub(super) fn floats(&self) -> Result<Side<'_, f64>> {
        match self {
            Operand::Column(array) => {
                array.as_primitive_opt::<Float64Type>().map(|a| Side::Many(a.values().as_ref()))
            }
            Operand::Scalar(Value::Float(v)) => Some(Side::One(*v)),
            Operand::Scalar(_) => None,
        }
        .ok_or_else(|| Error::internal("a float operand is not a float"))
    }

    /// The integers of decimals.
    pub(super) fn decimals(&self) -> Result<Side<'_, i128>> {
        match self {
            Operand::Column(array) => {
                array.as_primitive_opt::<Decimal128Type>().map(|a| Side::Many(a.values().as_ref()))
            }
            Operand::Scalar(Value::Decimal(_, v)) => Some(Side::One(v.get())),
            Operand::Scalar(_) => None,
        }
        .ok_or_else(decimals::misfit)
    }

    /// The days of dates.
    pub(super) fn days(&self) -> Result<Side<'_, i32>> {
        match self {
            Operand::Column(array) => {
                array.as_primitive_opt::<Date32Type>().map(|a| Side::Many(a.values().as_ref()))
            }
            Operand::Scalar(Value::Date(day)) => Some(Side::One(*day)),
            Operand::Scalar(_) => None,
        }
        .ok_or_else(|| Error::internal("a date operand is not a date"))
    }

    /// Texts.
    pub(super) fn texts(&self) -> Result<Texts<'_>> {
        match self {
            Operand::Column(array) => array.as_string_opt().map(Texts::Many),
            Operand::Scalar(Value::Str(text)) => Some(Texts::One(text)),
            Operand::Scalar(_) => None,
        }
        .ok_or_else(|| Error::internal("a text operand is not a text"))
    }

    /// The operand as Arrow's kernels take it, a constant unexpanded.
    pub(super) fn datum(&self, data_type: DataType) -> Box<dyn Datum> {
        match self {
            Operand::Column(array) => Box::new(array.clone()),
            Operand::Scalar(value) => Box::new(Scalar::new(repeat(value, Some(data_type), 1))),
        }
    }

    /// The type of a constant.
    pub(super) fn scalar_type(&self) -> Option<DataType> {
        match self {
            Operand::Column(_) => None,
            Operand::Scalar(value) => value.data_type(),
        }
    }

    /// A column of `rows` rows with its values.
    pub(super) fn array(&self, data_type: DataType, rows: usize) -> ArrayRef {
        match self {
            Operand::Column(array) => array.clone(),
            Operand::Scalar(value) => repeat(value, Some(data_type), rows),
        }
    }

    /// The operand as a column of `rows` rows.
    pub(super) fn into_array(self, data_type: Option<DataType>, rows: usize) -> ArrayRef {
        match self {
            Operand::Column(array) => array,
            Operand::Scalar(value) => repeat(&value, data_type, rows),
        }
    }
}

impl Compiled {
    /// The value for each row of `batch`, whose columns are found by name. The null literal, which
    /// has no type, gives Arrow's null column.
    ///
    /// # Errors
    /// A batch without the columns the expression was compiled for, or more than 2 GiB of text.
    pub fn evaluate(&self, batch: &RecordBatch) -> Result<ArrayRef> {
        Ok(operand(&self.root, batch)?.into_array(self.data_type(), batch.num_rows()))
    }

    /// The rows of `batch` where a predicate is true; null is false.
    ///
    /// # Errors
    /// As [`Compiled::evaluate`]; an expression that is not a bool.
    pub fn evaluate_mask(&self, batch: &RecordBatch) -> Result<BooleanBuffer> {
        let rows = batch.num_rows();
        match operand(&self.root, batch)? {
            Operand::Scalar(Value::Null) => Ok(BooleanBuffer::new_unset(rows)),
            Operand::Scalar(Value::Bool(true)) => Ok(BooleanBuffer::new_set(rows)),
            Operand::Scalar(Value::Bool(false)) => Ok(BooleanBuffer::new_unset(rows)),
            Operand::Scalar(_) => Err(Error::internal("a predicate is not a bool")),
            Operand::Column(array) => {
                let array = bools(&array)?;
                Ok(match array.nulls() {
                    Some(nulls) => array.values() & nulls.inner(),
                    None => array.values().clone(),
                })
            }
        }
    }
}

/// The constant that a node over constants is worth.
pub(super) fn constant(node: &Node) -> Result<Value> {
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let batch = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options)?;
    match operand(node, &batch)? {
        Operand::Scalar(value) => Ok(value),
        Operand::Column(array) => first(&array, node.data_type()),
    }
}

fn first(array: &ArrayRef, data_type: Option<DataType>) -> Result<Value> {
    let Some(data_type) = data_type.filter(|_| array.len() == 1 && array.is_valid(0)) else {
        return Ok(Value::Null);
    };
    match cell(data_type, array, 0) {
        Value::Null => Err(Error::internal("a constant has another type than its expression")),
        value => Ok(value),
    }
}

/// A column of `rows` times `value`.
fn repeat(value: &Value, data_type: Option<DataType>, rows: usize) -> ArrayRef {
    match value {
        Value::Null => match data_type {
            Some(data_type) => new_null_array(&data_type.arrow(), rows),
            None => Arc::new(NullArray::new(rows)),
        },
        Value::Int(v) => Arc::new(Int64Array::from_value(*v, rows)),
        Value::Float(v) => Arc::new(Float64Array::from_value(*v, rows)),
        Value::Str(v) => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(v.as_ref(), rows))),
        Value::Bool(v) => {
            let bits = if *v { BooleanBuffer::new_set(rows) } else { BooleanBuffer::new_unset(rows) };
            Arc::new(BooleanArray::new(bits, None))
        }
        Value::Datetime(v) => Arc::new(TimestampMicrosecondArray::from_value(*v, rows).with_timezone("UTC")),
        other => match other.data_type().or(data_type) {
            Some(data_type) => column_of(data_type, std::iter::repeat_n(other, rows)),
            None => Arc::new(NullArray::new(rows)),
        },
    }
}

fn operand(node: &Node, batch: &RecordBatch) -> Result<Operand> {
    match node {
        Node::Column { name, data_type } => column(batch, name, *data_type).map(Operand::Column),
        Node::Scalar { value, .. } => Ok(Operand::Scalar(value.clone())),
        Node::Widen { arg, to } => widen(operand(arg, batch)?, arg.data_type(), *to),
        Node::Unary { op, arg, data_type } => {
            let array = operand(arg, batch)?.into_array(arg.data_type(), batch.num_rows());
            unary(*op, &array, *data_type).map(Operand::Column)
        }
        Node::Binary { op, left, right, .. } => binary(*op, left, right, batch).map(Operand::Column),
        Node::Function { kernel, args, .. } => {
            let args = args.iter().map(|arg| operand(arg, batch)).collect::<Result<Vec<_>>>()?;
            kernel.run(&args, batch.num_rows()).map(Operand::Column)
        }
    }
}

fn column(batch: &RecordBatch, name: &str, data_type: DataType) -> Result<ArrayRef> {
    let array = batch.column_by_name(name).ok_or_else(|| {
        Error::internal(format!("a batch has no column \"{name}\", which an expression reads"))
    })?;
    if *array.data_type() != data_type.arrow() {
        return Err(Error::internal(format!(
            "column \"{name}\" of a batch is {}, and an expression reads it as {data_type}",
            array.data_type()
        )));
    }
    Ok(array.clone())
}

/// What does not fit after all, such as a decimal with too many digits, is null.
fn widen(operand: Operand, from: Option<DataType>, to: DataType) -> Result<Operand> {
    let array = match operand {
        Operand::Scalar(value) => return Ok(Operand::Scalar(value.widen(to).unwrap_or_default())),
        Operand::Column(array) => array,
    };
    if let (Some(ints), DataType::Float) = (array.as_primitive_opt::<Int64Type>(), to) {
        return Ok(Operand::Column(Arc::new(ints.unary::<_, Float64Type>(|v| v as f64))));
    }
    if let (Some(ints), DataType::Decimal(scale)) = (array.as_primitive_opt::<Int64Type>(), to) {
        let decimals = ints.unary_opt::<_, Decimal128Type>(|v| rescaled(v.into(), 0, scale));
        return Ok(Operand::Column(Arc::new(decimals.with_data_type(to.arrow()))));
    }
    let from = from.ok_or_else(|| Error::internal("a widened operand has no type"))?;
    let values: Vec<Value> = (0..array.len()).map(|row| cell(from, &array, row)).collect();
    Ok(Operand::Column(column_of(to, &values)))
}

fn unary(op: Operator, array: &ArrayRef, data_type: DataType) -> Result<ArrayRef> {
    match op {
        Operator::Neg => negate(array, data_type),
        Operator::Not => Ok(Arc::new(boolean::not(bools(array)?)?)),
        Operator::IsNull => Ok(Arc::new(boolean::is_null(array.as_ref())?)),
        _ => Err(Error::internal(format!("\"{}\" was evaluated with one argument", op.symbol()))),
    }
}

fn binary(op: Operator, left: &Node, right: &Node, batch: &RecordBatch) -> Result<ArrayRef> {
    let (a, b) = (operand(left, batch)?, operand(right, batch)?);
    let (Some(left), Some(right)) = (left.data_type(), right.data_type()) else {
        return Err(Error::internal(format!("\"{}\" was evaluated without types", op.symbol())));
    };
    match op {
        Operator::And | Operator::Or => {
            let rows = batch.num_rows();
            let (a, b) = (a.into_array(Some(left), rows), b.into_array(Some(right), rows));
            let kernel = if op == Operator::And { boolean::and_kleene } else { boolean::or_kleene };
            Ok(Arc::new(kernel(bools(&a)?, bools(&b)?)?))
        }
        Operator::FillNull => {
            let a = a.into_array(Some(left), batch.num_rows());
            match a.nulls() {
                Some(nulls) => {
                    let kept = BooleanArray::new(nulls.inner().clone(), None);
                    Ok(zip(&kept, &a, b.datum(right).as_ref())?)
                }
                None => Ok(a),
            }
        }
        Operator::Add
        | Operator::Sub
        | Operator::Mul
        | Operator::Div
        | Operator::FloorDiv
        | Operator::Mod => match (left, right) {
            (DataType::Decimal(s), DataType::Decimal(t)) => decimals::arithmetic(op, (&a, s), (&b, t)),
            _ => arithmetic(op, &a, &b, left),
        },
        _ => compare(op, (&a, left), (&b, right)),
    }
}

/// A column of bools.
pub(super) fn bools(array: &ArrayRef) -> Result<&BooleanArray> {
    array.as_boolean_opt().ok_or_else(|| Error::internal("a bool operand is not a bool"))
}
