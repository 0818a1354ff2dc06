//! Columns made of single values.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder,
};
use thyme_core::value::column as column_of;
use thyme_core::{DataType, Value};

/// A column that grows.
#[derive(Debug)]
pub(crate) enum Gather {
    Int(Int64Builder),
    Float(Float64Builder),
    Str(StringBuilder),
    Bool(BooleanBuilder),
    Datetime(TimestampMicrosecondBuilder),
    Other(DataType, Vec<Value>),
}

impl Gather {
    pub fn new(data_type: DataType, rows: usize) -> Gather {
        match data_type {
            DataType::Int => Gather::Int(Int64Builder::with_capacity(rows)),
            DataType::Float => Gather::Float(Float64Builder::with_capacity(rows)),
            DataType::Str => Gather::Str(StringBuilder::with_capacity(rows, rows * 8)),
            DataType::Bool => Gather::Bool(BooleanBuilder::with_capacity(rows)),
            DataType::Datetime => Gather::Datetime(TimestampMicrosecondBuilder::with_capacity(rows)),
            other => Gather::Other(other, Vec::with_capacity(rows)),
        }
    }

    /// Appends a value of the column's type; any other is null.
    pub fn push(&mut self, value: &Value) {
        match (self, value) {
            (Gather::Int(column), Value::Int(v)) => column.append_value(*v),
            (Gather::Float(column), Value::Float(v)) => column.append_value(*v),
            (Gather::Str(column), Value::Str(v)) => column.append_value(v),
            (Gather::Bool(column), Value::Bool(v)) => column.append_value(*v),
            (Gather::Datetime(column), Value::Datetime(v)) => column.append_value(*v),
            (Gather::Other(_, values), value) => values.push(value.clone()),
            (column, _) => column.push_null(),
        }
    }

    pub fn push_null(&mut self) {
        match self {
            Gather::Int(column) => column.append_null(),
            Gather::Float(column) => column.append_null(),
            Gather::Str(column) => column.append_null(),
            Gather::Bool(column) => column.append_null(),
            Gather::Datetime(column) => column.append_null(),
            Gather::Other(_, values) => values.push(Value::Null),
        }
    }

    pub fn finish(&mut self) -> ArrayRef {
        match self {
            Gather::Int(column) => Arc::new(column.finish()),
            Gather::Float(column) => Arc::new(column.finish()),
            Gather::Str(column) => Arc::new(column.finish()),
            Gather::Bool(column) => Arc::new(column.finish()),
            Gather::Datetime(column) => Arc::new(column.finish().with_timezone("UTC")),
            Gather::Other(data_type, values) => column_of(*data_type, &std::mem::take(values)),
        }
    }
}

/// A column of one value.
pub(crate) fn repeated(data_type: DataType, value: &Value, rows: usize) -> ArrayRef {
    if value.is_null() {
        return arrow::array::new_null_array(&data_type.arrow(), rows);
    }
    let mut column = Gather::new(data_type, rows);
    (0..rows).for_each(|_| column.push(value));
    column.finish()
}
