//! Arrow batches of any producer to the columns of a dataset's schema.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, RecordBatch, Scalar, TimestampMicrosecondArray, UInt64Array,
};
use arrow::compute::kernels::zip::zip;
use arrow::compute::{CastOptions, cast_with_options, is_not_null};
use arrow::datatypes::{
    DataType as A, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType, UInt64Type,
};
use thyme_core::definition::{Dataset, Extra, OnError};
use thyme_core::error::{Fault, nearest};
use thyme_core::value::canonical;
use thyme_core::{DataType, Error, Field, Result, Schema, time};

use super::rows::TEXT_BYTES_MAX;
use super::{Decoded, FAULTS_MAX, ROW_FAULTS_MAX, Rejected, nested, row_fault};
use crate::gather::repeated;

/// Brings a batch to `schema`: columns by name, types widened where nothing is lost, floats canonical.
/// `first_row` is the index of the batch's first row in the push, for the faults.
///
/// # Errors
/// InvalidData with a fault for each missing or unknown column, wrong type, or bad value.
pub fn conform(schema: &Schema, extra: Extra, batch: &RecordBatch, first_row: u64) -> Result<RecordBatch> {
    let mut faults = Vec::new();
    if extra == Extra::Forbid {
        for column in batch.schema_ref().fields() {
            if schema.field(column.name()).is_none() {
                let near = nearest(column.name(), schema.fields.iter().map(|f| f.name.as_str()));
                let hint = if near.is_empty() {
                    String::new()
                } else {
                    format!(" (did you mean {}?)", near.join(", "))
                };
                faults.push(column_fault(
                    column.name(),
                    format!("a field of the dataset{hint}"),
                    "an unknown column",
                ));
            }
        }
    }
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields.len());
    for field in &schema.fields {
        let given = batch.schema_ref().fields().iter().filter(|f| *f.name() == field.name).count();
        if given > 1 {
            faults.push(column_fault(&field.name, "the column once".into(), &format!("it {given} times")));
            continue;
        }
        match batch.column_by_name(&field.name) {
            Some(column) => match with_default(field, column, first_row) {
                Ok(column) => columns.push(column),
                Err(mut found) => faults.append(&mut found),
            },
            None => match field.missing() {
                Some(value) => columns.push(repeated(field.data_type, &value, batch.num_rows())),
                None => {
                    faults.push(column_fault(&field.name, field.data_type.name().into(), "no such column"))
                }
            },
        }
    }
    if !faults.is_empty() {
        // Those of columns first, then row by row. Of each column the first are there, so of all of them, too.
        faults.sort_by_key(|fault| fault.row);
        faults.truncate(FAULTS_MAX);
        let detail = format!("{}; nothing was stored", super::with_row(&faults[0]));
        return Err(Error::invalid_data(detail).with_faults(faults));
    }
    Ok(RecordBatch::try_new(schema.arrow(), columns)?)
}

/// One column to the type of `field`; where the field is never null and has a default, a null is a cell that was
/// left out, which a frame cannot say otherwise.
fn with_default(field: &Field, column: &ArrayRef, first_row: u64) -> Result<ArrayRef, Vec<Fault>> {
    let Some(default) = field.missing().filter(|_| field.default.is_some() && !field.optional) else {
        return conform_column(field, column, first_row);
    };
    let column = conform_column(&Field { optional: true, ..field.clone() }, column, first_row)?;
    if column.null_count() == 0 {
        return Ok(column);
    }
    let default = Scalar::new(repeated(field.data_type, &default, 1));
    let filled = is_not_null(&column).and_then(|given| zip(&given, &column, &default));
    filled.map_err(|e| vec![column_fault(&field.name, field.data_type.name().into(), &e.to_string())])
}

/// One column to the type of `field`.
///
/// # Errors
/// The faults, at most twice [`FAULTS_MAX`].
pub fn conform_column(field: &Field, column: &ArrayRef, first_row: u64) -> Result<ArrayRef, Vec<Fault>> {
    let column = decode_dictionary(column)
        .map_err(|e| vec![column_fault(&field.name, "a readable column".into(), &e)])?;
    let wrong_type = || {
        let got = format!("a column of type {}", column.data_type());
        vec![column_fault(
            &field.name,
            format!("{}{}", field.data_type, if field.optional { " or null" } else { "" }),
            &got,
        )]
    };
    if matches!(column.data_type(), A::Null) {
        let nulls = arrow::array::new_null_array(&field.data_type.arrow(), column.len());
        return check_nulls(field, nulls, first_row);
    }
    let converted = match convert(field, &column, first_row, &wrong_type) {
        Ok(converted) => converted,
        Err(mut faults) if faults.iter().all(|fault| fault.row.is_some()) => {
            faults.extend(check_nulls(field, column, first_row).err().unwrap_or_default());
            return Err(faults);
        }
        Err(faults) => return Err(faults),
    };
    let checked = check_nulls(field, converted, first_row)?;
    match field.data_type {
        DataType::Float => Ok(canonical_floats(&checked)),
        DataType::Str => short_texts(field, checked, first_row),
        _ => Ok(checked),
    }
}

/// A column in the type of `field`, whatever is null in it.
fn convert(
    field: &Field,
    column: &ArrayRef,
    first_row: u64,
    wrong_type: &dyn Fn() -> Vec<Fault>,
) -> Result<ArrayRef, Vec<Fault>> {
    Ok(match (field.data_type, column.data_type()) {
        (DataType::Int, A::UInt64) => unsigned(field, column.as_primitive::<UInt64Type>(), first_row)?,
        (DataType::Int, t) if t.is_integer() => cast(column, &A::Int64).map_err(|_| wrong_type())?,
        // pandas has no int with missing values: it sends floats.
        (DataType::Int, A::Float32 | A::Float64) => integral(field, column, first_row)?,
        (DataType::Float, A::Float64) => column.clone(),
        (DataType::Float, t)
            if t.is_numeric()
                && !matches!(
                    t,
                    A::Decimal128(..) | A::Decimal256(..) | A::Decimal32(..) | A::Decimal64(..)
                ) =>
        {
            cast(column, &A::Float64).map_err(|_| wrong_type())?
        }
        (DataType::Str, A::Utf8 | A::LargeUtf8 | A::Utf8View) => {
            cast(column, &A::Utf8).map_err(|_| wrong_type())?
        }
        (DataType::Bool, A::Boolean) => column.clone(),
        (DataType::Datetime, _) => datetimes(field, column, first_row)?.ok_or_else(wrong_type)?,
        (DataType::Int | DataType::Float | DataType::Str | DataType::Bool, _) => return Err(wrong_type()),
        _ => nested::conform(field, column, first_row)?.ok_or_else(wrong_type)?,
    })
}

/// Brings batches to the schema of `dataset`. Where the dataset skips invalid rows, these are found one by
/// one and become `rejected`, shown as JSON-like text.
///
/// # Errors
/// Faults of columns always; faults of rows unless the dataset says `on_error="skip"`.
pub fn conform_all(dataset: &Dataset, batches: &[RecordBatch]) -> Result<Decoded> {
    let schema = &dataset.fields;
    let (mut out, mut rejected, mut first_row) = (Vec::new(), Vec::new(), 0u64);
    for batch in batches {
        match conform(schema, dataset.extra, batch, first_row) {
            Ok(batch) => out.push(batch),
            Err(error)
                if dataset.on_error == OnError::Skip && error.faults().iter().all(|f| f.row.is_some()) =>
            {
                for row in 0..batch.num_rows() {
                    match conform(schema, dataset.extra, &batch.slice(row, 1), first_row + row as u64) {
                        Ok(one) => out.push(one),
                        Err(e) => {
                            let faults = e.faults().iter().take(ROW_FAULTS_MAX).cloned().collect();
                            rejected.push(Rejected { faults, raw: shown_row(batch, row).into_bytes() });
                        }
                    }
                }
            }
            Err(error) => {
                let detail = format!("dataset {}: {}", dataset.name, error.detail());
                return Err(Error::invalid_data(detail).with_faults(error.faults().to_vec()));
            }
        }
        first_row += batch.num_rows() as u64;
    }
    Ok(Decoded { batch: arrow::compute::concat_batches(&schema.arrow(), &out)?, rejected })
}

/// A row of a foreign batch as a JSON object, for the dead letters: what a push of JSON would have held.
pub fn shown_row(batch: &RecordBatch, row: usize) -> String {
    let fields = batch.schema_ref().fields().iter().zip(batch.columns());
    let cells = fields.map(|(field, column)| (field.name().clone(), shown_cell(&column.slice(row, 1))));
    serde_json::Value::Object(cells.collect()).to_string()
}

/// The only value of `column` as JSON.
fn shown_cell(column: &ArrayRef) -> serde_json::Value {
    let column = decode_dictionary(column).unwrap_or_else(|_| column.clone());
    if column.is_null(0) {
        return serde_json::Value::Null;
    }
    if column.data_type().is_floating()
        && let Ok(floats) = cast(&column, &A::Float64)
    {
        let float = floats.as_primitive::<arrow::datatypes::Float64Type>().value(0);
        return serde_json::Number::from_f64(float).map_or_else(
            || {
                if float.is_nan() {
                    "NaN"
                } else if float > 0.0 {
                    "Infinity"
                } else {
                    "-Infinity"
                }
                .into()
            },
            Into::into,
        );
    }
    if let Some(us) = shown_time(&column) {
        return time::format_rfc3339(us).into();
    }
    if let Some(json) = nested::tree(&column, 0) {
        return serde_json::to_value(json).unwrap_or_default();
    }
    let text = arrow::util::display::array_value_to_string(&column, 0).unwrap_or_else(|_| "?".to_owned());
    let is_plain = column.data_type().is_integer() || *column.data_type() == A::Boolean;
    match serde_json::from_str(&text) {
        Ok(value) if is_plain => value,
        _ => text.into(),
    }
}

/// The only value of a column of timestamps in microseconds, floored. What shows a time in a zone would need to know it.
fn shown_time(column: &ArrayRef) -> Option<i64> {
    let A::Timestamp(unit, _) = column.data_type() else { return None };
    let ticks = cast(column, &A::Int64).ok()?.as_primitive::<arrow::datatypes::Int64Type>().value(0);
    match unit {
        TimeUnit::Second => ticks.checked_mul(1_000_000),
        TimeUnit::Millisecond => ticks.checked_mul(1_000),
        TimeUnit::Microsecond => Some(ticks),
        TimeUnit::Nanosecond => Some(ticks.div_euclid(1_000)),
    }
}

fn column_fault(subject: &str, expected: String, got: &str) -> Fault {
    Fault {
        subject: subject.to_owned(),
        message: format!("column {subject}: expected {expected}, got {got}"),
        expected,
        got: got.to_owned(),
        ..Fault::default()
    }
}

pub(super) fn decode_dictionary(column: &ArrayRef) -> Result<ArrayRef, String> {
    match column.data_type() {
        A::Dictionary(_, values) => cast(column, values).map_err(|e| e.to_string()),
        _ => Ok(column.clone()),
    }
}

pub(super) fn cast(column: &ArrayRef, to: &A) -> Result<ArrayRef, arrow::error::ArrowError> {
    cast_with_options(column, to, &CastOptions { safe: false, ..CastOptions::default() })
}

fn check_nulls(field: &Field, column: ArrayRef, first_row: u64) -> Result<ArrayRef, Vec<Fault>> {
    if field.optional || column.null_count() == 0 {
        return Ok(column);
    }
    Err((0..column.len())
        .filter(|&row| column.is_null(row))
        .take(FAULTS_MAX)
        .map(|row| row_fault(first_row + row as u64, &field.name, field.data_type.name(), "null"))
        .collect())
}

fn short_texts(field: &Field, column: ArrayRef, first_row: u64) -> Result<ArrayRef, Vec<Fault>> {
    let texts = column.as_string::<i32>();
    let long = |row: &usize| texts.is_valid(*row) && texts.value(*row).len() > TEXT_BYTES_MAX;
    let fault = |row: usize| {
        let expected = format!("a str of at most {TEXT_BYTES_MAX} bytes");
        row_fault(first_row + row as u64, &field.name, expected, format!("{} bytes", texts.value(row).len()))
    };
    let faults: Vec<Fault> = match texts.value_data().len() > TEXT_BYTES_MAX {
        true => (0..column.len()).filter(long).take(FAULTS_MAX).map(fault).collect(),
        false => Vec::new(),
    };
    if faults.is_empty() { Ok(column) } else { Err(faults) }
}

fn unsigned(field: &Field, column: &UInt64Array, first_row: u64) -> Result<ArrayRef, Vec<Fault>> {
    let outside: Vec<Fault> = column
        .iter()
        .enumerate()
        .filter_map(|(row, v)| v.filter(|v| *v > i64::MAX as u64).map(|v| (row, v)))
        .take(FAULTS_MAX)
        .map(|(row, v)| {
            row_fault(first_row + row as u64, &field.name, "int", format!("{v}, which is outside int64"))
        })
        .collect();
    if !outside.is_empty() {
        return Err(outside);
    }
    Ok(Arc::new(column.unary::<_, Int64Type>(|v| v as i64)))
}

/// Floats that are all whole numbers, as ints.
fn integral(field: &Field, column: &ArrayRef, first_row: u64) -> Result<ArrayRef, Vec<Fault>> {
    let floats = cast(column, &A::Float64)
        .map_err(|e| vec![column_fault(&field.name, "int".into(), &e.to_string())])?;
    let floats = floats.as_primitive::<Float64Type>();
    let whole = |v: f64| v.fract() == 0.0 && v.abs() <= 9_007_199_254_740_992.0;
    let other: Vec<Fault> = floats
        .iter()
        .enumerate()
        .filter_map(|(row, v)| v.filter(|v| !whole(*v)).map(|v| (row, v)))
        .take(FAULTS_MAX)
        .map(|(row, v)| row_fault(first_row + row as u64, &field.name, "int", format!("float {v}")))
        .collect();
    match other.is_empty() {
        true => Ok(Arc::new(floats.unary::<_, Int64Type>(|v| v as i64))),
        false => Err(other),
    }
}

fn canonical_floats(column: &ArrayRef) -> ArrayRef {
    let floats = column.as_primitive::<Float64Type>();
    let clean = |v: &f64| canonical(*v).to_bits() == v.to_bits();
    if floats.values().iter().all(clean) {
        return column.clone();
    }
    let canonical: Float64Array = floats.unary(canonical);
    Arc::new(canonical)
}

/// Times of any unit, dates, ISO texts, or seconds since the epoch; `None` for a type that has no times.
fn datetimes(field: &Field, column: &ArrayRef, first_row: u64) -> Result<Option<ArrayRef>, Vec<Fault>> {
    let read: Box<dyn Fn(usize) -> Result<i64>> = match column.data_type() {
        A::Timestamp(unit, _) => {
            let unit = *unit;
            let ticks = cast(column, &A::Int64)
                .map_err(|e| vec![column_fault(&field.name, "datetime".into(), &e.to_string())])?;
            // An offset names how a time is shown; the ticks are UTC already.
            Box::new(move |row| to_micros(unit, ticks.as_primitive::<Int64Type>().value(row)))
        }
        A::Date32 | A::Date64 => {
            let days = cast(column, &A::Timestamp(TimeUnit::Microsecond, None))
                .map_err(|e| vec![column_fault(&field.name, "datetime".into(), &e.to_string())])?;
            Box::new(move |row| Ok(days.as_primitive::<TimestampMicrosecondType>().value(row)))
        }
        A::Utf8 | A::LargeUtf8 | A::Utf8View => {
            let texts = cast(column, &A::Utf8)
                .map_err(|e| vec![column_fault(&field.name, "datetime".into(), &e.to_string())])?;
            Box::new(move |row| time::parse_timestamp(texts.as_string::<i32>().value(row)).map(|t| t.0))
        }
        t if t.is_integer() => {
            let seconds = cast(column, &A::Int64)
                .map_err(|e| vec![column_fault(&field.name, "datetime".into(), &e.to_string())])?;
            Box::new(move |row| {
                time::from_epoch_seconds(seconds.as_primitive::<Int64Type>().value(row)).map(|t| t.0)
            })
        }
        A::Float32 | A::Float64 => {
            let seconds = cast(column, &A::Float64)
                .map_err(|e| vec![column_fault(&field.name, "datetime".into(), &e.to_string())])?;
            Box::new(move |row| {
                time::from_epoch_seconds_f64(seconds.as_primitive::<Float64Type>().value(row)).map(|t| t.0)
            })
        }
        _ => return Ok(None),
    };
    let mut faults = Vec::new();
    let mut micros = Vec::with_capacity(column.len());
    for row in 0..column.len() {
        if column.is_null(row) {
            micros.push(0);
            continue;
        }
        match read(row).and_then(|us| time::in_range(us, &us.to_string())) {
            Ok(t) => micros.push(t.0),
            Err(e) => {
                micros.push(0);
                if faults.len() < FAULTS_MAX {
                    faults.push(row_fault(first_row + row as u64, &field.name, "datetime", e.detail()));
                }
            }
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let values = TimestampMicrosecondArray::new(micros.into(), column.logical_nulls()).with_timezone("UTC");
    Ok(Some(Arc::new(values)))
}

fn to_micros(unit: TimeUnit, ticks: i64) -> Result<i64> {
    let outside = || Error::invalid_data(format!("{ticks} is outside the years -9999 to 9999"));
    match unit {
        TimeUnit::Second => ticks.checked_mul(1_000_000).ok_or_else(outside),
        TimeUnit::Millisecond => ticks.checked_mul(1_000).ok_or_else(outside),
        TimeUnit::Microsecond => Ok(ticks),
        TimeUnit::Nanosecond => Ok(ticks.div_euclid(1_000)),
    }
}

/// The event times of a conformed batch, in microseconds.
///
/// # Errors
/// Internal: the column is not there.
pub fn event_times(batch: &RecordBatch, name: &str) -> Result<TimestampMicrosecondArray> {
    batch
        .column_by_name(name)
        .and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>().cloned())
        .ok_or_else(|| Error::internal(format!("a batch has no event time column {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int32Array, StringArray, TimestampNanosecondArray};
    use arrow::datatypes::{Field as F, Schema as S};
    use thyme_core::schema::Role;

    fn schema() -> Schema {
        let field = |name: &str, data_type, optional, role| Field::new(name, data_type, optional, role);
        Schema {
            fields: vec![
                field("k", DataType::Str, false, Role::Key),
                field("x", DataType::Float, true, Role::Value),
                field("at", DataType::Datetime, false, Role::Timestamp),
            ],
        }
    }

    #[test]
    fn columns_are_found_by_name_and_widened() {
        let batch = RecordBatch::try_from_iter([
            ("at", Arc::new(TimestampNanosecondArray::from(vec![-1, 1999])) as ArrayRef),
            ("x", Arc::new(Int32Array::from(vec![Some(1), None])) as ArrayRef),
            ("k", Arc::new(StringArray::from(vec!["a", "b"])) as ArrayRef),
        ])
        .unwrap();
        let out = conform(&schema(), Extra::Forbid, &batch, 0).unwrap();
        assert_eq!(out.schema(), schema().arrow());
        let at = out.column(2).as_primitive::<TimestampMicrosecondType>();
        assert_eq!(at.values().as_ref(), [-1, 1], "finer than a microsecond is floored");
    }

    #[test]
    fn faults_name_rows_and_columns() {
        let batch = RecordBatch::try_new(
            Arc::new(S::new(vec![
                F::new("k", A::Utf8, true),
                F::new("z", A::Int32, true),
                F::new("at", A::Int64, true),
            ])),
            vec![
                Arc::new(StringArray::from(vec![Some("a"), None])),
                Arc::new(Int32Array::from(vec![1, 2])),
                Arc::new(arrow::array::Int64Array::from(vec![0, 1_773_568_800_000])),
            ],
        )
        .unwrap();
        let error = conform(&schema(), Extra::Forbid, &batch, 10).unwrap_err();
        let messages: Vec<&str> = error.faults().iter().map(|f| f.message.as_str()).collect();
        assert_eq!(messages.len(), 3, "{messages:?}");
        assert!(messages[0].starts_with("column z: expected a field of the dataset"));
        assert_eq!(messages[1], "k: expected str, got null");
        assert!(messages[2].contains("at: ") && messages[2].contains("milliseconds"));
    }
}
