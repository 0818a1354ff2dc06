//! Rows into columns, one checked cell at a time, without an allocation a row.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, RecordBatch, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::datatypes::SchemaRef;
use thyme_core::error::Fault;
use thyme_core::value::{Json, Misfit, canonical, column as column_of, typed};
use thyme_core::{DataType, Field, Result, Schema, Value, time};

use super::{ROW_FAULTS_MAX, row_fault, shown};

/// The longest text a field may have, in bytes.
pub(super) const TEXT_BYTES_MAX: usize = 1 << 20;

/// One cell as it came.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Cell {
    /// The field was not there.
    #[default]
    Missing,
    /// An explicit null.
    Null,
    /// A bool.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A text; the buffer is reused from row to row.
    Str(String),
    /// An array or an object.
    Nested(Json),
    /// A value of the field's type already.
    Value(Value),
    /// Something no field can hold, described.
    Other(String),
}

impl Cell {
    fn describe(&self) -> String {
        match self {
            Cell::Missing => "nothing (the field is missing)".into(),
            Cell::Null => "null".into(),
            Cell::Bool(b) => format!("bool {b}"),
            Cell::Int(i) => format!("int {i}"),
            Cell::Float(f) => format!("float {f}"),
            Cell::Str(s) => format!("str {}", shown(s)),
            Cell::Nested(json) => json.describe(),
            Cell::Value(value) => value.to_string(),
            Cell::Other(what) => what.clone(),
        }
    }
}

enum Column {
    Int(Int64Builder),
    Float(Float64Builder),
    Str(StringBuilder),
    Bool(BooleanBuilder),
    Datetime(TimestampMicrosecondBuilder),
    Other(DataType, Vec<Value>),
}

/// Builds the columns of a dataset from rows of cells.
pub struct RowBuilder {
    fields: Vec<Field>,
    /// What cells that are missing become.
    defaults: Vec<Option<Cell>>,
    arrow: SchemaRef,
    columns: Vec<Column>,
    rows: usize,
}

impl RowBuilder {
    /// For rows of `schema`.
    pub fn new(schema: &Schema) -> Self {
        let columns = schema
            .fields
            .iter()
            .map(|f| match f.data_type {
                DataType::Int => Column::Int(Int64Builder::new()),
                DataType::Float => Column::Float(Float64Builder::new()),
                DataType::Str => Column::Str(StringBuilder::new()),
                DataType::Bool => Column::Bool(BooleanBuilder::new()),
                DataType::Datetime => {
                    Column::Datetime(TimestampMicrosecondBuilder::new().with_timezone("UTC"))
                }
                other => Column::Other(other, Vec::new()),
            })
            .collect();
        let defaults = schema.fields.iter().map(default_cell).collect();
        RowBuilder { fields: schema.fields.clone(), defaults, arrow: schema.arrow(), columns, rows: 0 }
    }

    /// The fields, in order.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Rows so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Appends a row of one cell a field, or says what is wrong with its fields and appends nothing.
    /// Cells are changed in place to the type of their field.
    pub fn push(&mut self, row: u64, cells: &mut [Cell]) -> Result<(), Vec<Fault>> {
        let faults = self.check(row, cells);
        if !faults.is_empty() {
            return Err(faults);
        }
        self.append(cells);
        Ok(())
    }

    /// Brings cells to the types of their fields, and gives what is wrong with those that cannot be.
    pub(super) fn check(&self, row: u64, cells: &mut [Cell]) -> Vec<Fault> {
        let mut faults = Vec::new();
        for ((field, default), cell) in self.fields.iter().zip(&self.defaults).zip(cells.iter_mut()) {
            if (*cell != Cell::Missing || default.is_none())
                && let Err(misfit) = coerce(field, cell)
                && faults.len() < ROW_FAULTS_MAX
            {
                let subject = format!("{}{}", field.name, misfit.path);
                faults.push(row_fault(row, &subject, misfit.expected, misfit.got));
            }
        }
        faults
    }

    fn append(&mut self, cells: &[Cell]) {
        for ((column, default), cell) in self.columns.iter_mut().zip(&self.defaults).zip(cells.iter()) {
            let cell = match (cell, default) {
                (Cell::Missing, Some(default)) => default,
                _ => cell,
            };
            match (column, cell) {
                (Column::Int(b), Cell::Int(v)) => b.append_value(*v),
                (Column::Float(b), Cell::Float(v)) => b.append_value(*v),
                (Column::Str(b), Cell::Str(v)) => b.append_value(v),
                (Column::Bool(b), Cell::Bool(v)) => b.append_value(*v),
                (Column::Datetime(b), Cell::Int(v)) => b.append_value(*v),
                (Column::Other(_, b), Cell::Value(v)) => b.push(v.clone()),
                (Column::Int(b), _) => b.append_null(),
                (Column::Float(b), _) => b.append_null(),
                (Column::Str(b), _) => b.append_null(),
                (Column::Bool(b), _) => b.append_null(),
                (Column::Datetime(b), _) => b.append_null(),
                (Column::Other(_, b), _) => b.push(Value::Null),
            }
        }
        self.rows += 1;
    }

    /// The batch of all rows.
    ///
    /// # Errors
    /// Internal ones only.
    pub fn finish(mut self) -> Result<RecordBatch> {
        let columns: Vec<ArrayRef> = self
            .columns
            .iter_mut()
            .map(|c| -> ArrayRef {
                match c {
                    Column::Int(b) => Arc::new(b.finish()),
                    Column::Float(b) => Arc::new(b.finish()),
                    Column::Str(b) => Arc::new(b.finish()),
                    Column::Bool(b) => Arc::new(b.finish()),
                    Column::Datetime(b) => Arc::new(b.finish()),
                    Column::Other(data_type, b) => column_of(*data_type, b.iter()),
                }
            })
            .collect();
        Ok(RecordBatch::try_new(self.arrow, columns)?)
    }
}

/// A field's default as a cell that needs no coercion.
fn default_cell(field: &Field) -> Option<Cell> {
    field.default.as_ref()?;
    Some(match field.missing()? {
        Value::Null => Cell::Null,
        Value::Bool(v) => Cell::Bool(v),
        Value::Int(v) | Value::Datetime(v) => Cell::Int(v),
        Value::Float(v) => Cell::Float(v),
        Value::Str(v) => Cell::Str(v.as_ref().to_owned()),
        other => Cell::Value(other),
    })
}

/// Brings a cell to its field's type (a datetime becomes `Int` microseconds, a value that a word does not say a
/// [`Cell::Value`]).
fn coerce(field: &Field, cell: &mut Cell) -> Result<(), Misfit> {
    match (&*cell, field.data_type) {
        (Cell::Missing | Cell::Null, _) if field.optional => Ok(()),
        (_, DataType::Int | DataType::Float | DataType::Str | DataType::Bool | DataType::Datetime) => {
            coerce_plain(field, cell).map_err(|expected| Misfit::new(expected, cell.describe()))
        }
        (Cell::Value(_), _) => Ok(()),
        _ => {
            *cell = Cell::Value(coerce_other(field, cell)?);
            Ok(())
        }
    }
}

/// The value of a cell whose field is of another type than the five that are read in place.
fn coerce_other(field: &Field, cell: &Cell) -> Result<Value, Misfit> {
    let json = match cell {
        Cell::Bool(v) => Json::Bool(*v),
        Cell::Int(v) => Json::Int(*v),
        Cell::Float(v) => Json::Float(*v),
        Cell::Str(v) => Json::Str(v.clone()),
        Cell::Nested(json) => json.clone(),
        _ => return Err(Misfit::new(expected(field), cell.describe())),
    };
    typed(field.data_type, &json).map_err(|misfit| match misfit.path.is_empty() && field.optional {
        true if misfit.expected == field.data_type.name() => Misfit::new(expected(field), misfit.got),
        _ => misfit,
    })
}

fn expected(field: &Field) -> String {
    format!("{}{}", field.data_type, if field.optional { " or null" } else { "" })
}

/// `Err` is what was expected.
fn coerce_plain(field: &Field, cell: &mut Cell) -> Result<(), String> {
    let expected = || expected(field);
    let replacement = match (&mut *cell, field.data_type) {
        (Cell::Missing | Cell::Null, _) if field.optional => return Ok(()),
        (Cell::Int(_), DataType::Int) | (Cell::Bool(_), DataType::Bool) => return Ok(()),
        (Cell::Str(text), DataType::Str) if text.len() <= TEXT_BYTES_MAX => return Ok(()),
        (Cell::Str(_), DataType::Str) => return Err(format!("a str of at most {TEXT_BYTES_MAX} bytes")),
        (Cell::Float(v), DataType::Float) => Cell::Float(canonical(*v)),
        (Cell::Int(v), DataType::Float) => Cell::Float(*v as f64),
        (Cell::Str(text), DataType::Float) => match text.as_str() {
            "NaN" => Cell::Float(thyme_core::value::NAN),
            "Infinity" => Cell::Float(f64::INFINITY),
            "-Infinity" => Cell::Float(f64::NEG_INFINITY),
            _ => return Err(expected()),
        },
        (Cell::Str(text), DataType::Datetime) => match time::parse_timestamp(text) {
            Ok(t) => Cell::Int(t.0),
            Err(_) => return Err(format!("{} (ISO 8601, or seconds since the epoch)", expected())),
        },
        (Cell::Int(v), DataType::Datetime) => {
            Cell::Int(time::from_epoch_seconds(*v).map_err(|e| seconds(&expected(), &e))?.0)
        }
        (Cell::Float(v), DataType::Datetime) => {
            Cell::Int(time::from_epoch_seconds_f64(*v).map_err(|e| seconds(&expected(), &e))?.0)
        }
        _ => return Err(expected()),
    };
    *cell = replacement;
    Ok(())
}

fn seconds(expected: &str, error: &thyme_core::Error) -> String {
    format!("{expected} ({})", error.detail())
}
