//! Arrow columns of any producer as dates, bytes, decimals, lists, maps, vectors and JSON.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StructArray};
use arrow::datatypes::{DataType as A, Float64Type, Int64Type, UInt64Type};
use thyme_core::error::Fault;
use thyme_core::schema::Role;
use thyme_core::value::{
    Json, Misfit, Scalar, canonical_value, cell, check_items, check_size, column as column_of, typed,
};
use thyme_core::{DataType, Field, Value};

use super::columns::{cast, conform_column, decode_dictionary};
use super::{FAULTS_MAX, row_fault, shown};

/// One column to the type of `field`, which is none of int, float, str, bool and datetime; `None` for a column that has
/// no values of this type.
///
/// # Errors
/// The faults of its rows, at most [`FAULTS_MAX`].
pub(super) fn conform(
    field: &Field,
    column: &ArrayRef,
    first_row: u64,
) -> Result<Option<ArrayRef>, Vec<Fault>> {
    if !takes(field.data_type, column.data_type()) {
        return Ok(None);
    }
    let (mut values, mut faults) = (Vec::with_capacity(column.len()), Vec::new());
    for row in 0..column.len() {
        match value(field.data_type, column, row) {
            Ok(value) => values.push(value),
            Err(misfit) if faults.len() < FAULTS_MAX => {
                let subject = format!("{}{}", field.name, misfit.path);
                faults.push(row_fault(first_row + row as u64, &subject, misfit.expected, misfit.got));
            }
            Err(_) => {}
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(Some(column_of(field.data_type, &values)))
}

/// Whether columns of an Arrow type may hold values of `data_type`.
fn takes(data_type: DataType, given: &A) -> bool {
    let is_text = matches!(given, A::Utf8 | A::LargeUtf8 | A::Utf8View);
    match data_type {
        DataType::Date => is_text || matches!(given, A::Date32 | A::Date64),
        DataType::Bytes => {
            is_text || matches!(given, A::Binary | A::LargeBinary | A::BinaryView | A::FixedSizeBinary(_))
        }
        DataType::Decimal(_) => is_text || given.is_numeric(),
        DataType::List(_) | DataType::Vector(_) => is_text || items_type(given).is_some(),
        DataType::Map(_) => {
            is_text || matches!(given, A::Map(..) | A::Struct(_)) || pairs_of(items_type(given)).is_some()
        }
        _ => true,
    }
}

fn items_type(given: &A) -> Option<&A> {
    match given {
        A::List(item) | A::LargeList(item) | A::FixedSizeList(item, _) => Some(item.data_type()),
        _ => None,
    }
}

/// A list of pairs of a key and a value is how those who have no maps write one.
fn pairs_of(items: Option<&A>) -> Option<()> {
    let Some(A::Struct(fields)) = items else { return None };
    let is = |i: usize, names: [&str; 2]| fields.get(i).is_some_and(|f| names.contains(&f.name().as_str()));
    (fields.len() == 2 && is(0, ["key", "keys"]) && is(1, ["value", "values"])).then_some(())
}

/// The value of a row.
fn value(data_type: DataType, column: &ArrayRef, row: usize) -> Result<Value, Misfit> {
    if column.is_null(row) {
        return Ok(Value::Null);
    }
    if *column.data_type() == data_type.arrow() && data_type.scalar().is_some() {
        return checked(data_type, cell(data_type, column, row));
    }
    let value = match (data_type, column.data_type()) {
        (DataType::List(_) | DataType::Vector(_), A::List(_) | A::LargeList(_) | A::FixedSizeList(..)) => {
            items(data_type, &items_of(column, row)?)?
        }
        (DataType::Map(item), A::Map(..)) => pairs(item, &column.as_map().value(row))?,
        (DataType::Map(item), A::List(_) | A::LargeList(_)) => {
            pairs(item, items_of(column, row)?.as_struct())?
        }
        (DataType::Map(item), A::Struct(_)) => entries(item, column.as_struct(), row)?,
        (DataType::Date, A::Date32 | A::Date64) => cell(data_type, &as_type(column, data_type)?, row),
        (DataType::Bytes, t) if !matches!(t, A::Utf8 | A::LargeUtf8 | A::Utf8View) => {
            cell(data_type, &as_type(&column.slice(row, 1), data_type)?, 0)
        }
        (
            DataType::Decimal(_),
            A::Decimal128(..) | A::Decimal256(..) | A::Decimal32(_, _) | A::Decimal64(..),
        ) => {
            let text = arrow::util::display::array_value_to_string(column, row)
                .map_err(|e| Misfit::new(data_type.name(), e.to_string()))?;
            typed(data_type, &Json::Str(text))?
        }
        // The text of a list or of JSON is what it says, as in a file that has no such columns.
        (
            DataType::Json | DataType::List(_) | DataType::Map(_) | DataType::Vector(_),
            A::Utf8 | A::LargeUtf8 | A::Utf8View,
        ) => {
            let text = text_of(column, row);
            let json = serde_json::from_str(&text).map_err(|e| {
                Misfit::new(data_type.name(), format!("{}, which is not JSON ({e})", shown(&text)))
            })?;
            typed(data_type, &json)?
        }
        _ => {
            let unsayable = || Misfit::new(data_type.name(), format!("a {}", column.data_type()));
            typed(data_type, &tree(column, row).ok_or_else(unsayable)?)?
        }
    };
    checked(data_type, value)
}

fn checked(data_type: DataType, value: Value) -> Result<Value, Misfit> {
    check_size(data_type, &value)?;
    match value {
        Value::Date(days) if thyme_core::time::date_in_range(days).is_none() => {
            Err(Misfit::new("date of the years 1 to 9999", format!("day {days} since 1970-01-01")))
        }
        Value::Decimal(_, v) if !thyme_core::value::decimal::is_decimal(v.get()) => {
            Err(Misfit::new(format!("{data_type} of at most 38 digits"), v.get().to_string()))
        }
        value => Ok(canonical_value(value)),
    }
}

fn as_type(column: &ArrayRef, data_type: DataType) -> Result<ArrayRef, Misfit> {
    cast(column, &data_type.arrow()).map_err(|e| Misfit::new(data_type.name(), e.to_string()))
}

fn items_of(column: &ArrayRef, row: usize) -> Result<ArrayRef, Misfit> {
    match column.data_type() {
        A::List(_) => Ok(column.as_list::<i32>().value(row)),
        A::LargeList(_) => Ok(column.as_list::<i64>().value(row)),
        A::FixedSizeList(..) => Ok(column.as_fixed_size_list().value(row)),
        other => Err(Misfit::new("a list", format!("a {other}"))),
    }
}

/// A child column as plain values; where one of them is wrong, `at` says where it is.
fn children(
    item: Scalar,
    optional: bool,
    column: &ArrayRef,
    at: impl Fn(usize) -> String,
) -> Result<Vec<Value>, Misfit> {
    let field = Field::new("", item.into(), optional, Role::Value);
    match conform_column(&field, column, 0) {
        Ok(column) => Ok((0..column.len()).map(|row| cell(item.into(), &column, row)).collect()),
        Err(faults) => Err(match faults.into_iter().next() {
            Some(Fault { row: Some(row), expected, got, .. }) => {
                let expected = expected.trim_end_matches(" or null");
                Misfit::new(expected, got).at(&at(row as usize))
            }
            Some(fault) => Misfit::new(fault.expected.trim_end_matches(" or null"), fault.got).at("[..]"),
            None => Misfit::new(DataType::from(item).name(), "other values"),
        }),
    }
}

fn items(data_type: DataType, column: &ArrayRef) -> Result<Value, Misfit> {
    check_items(data_type, column.len())?;
    let place = |i: usize| format!("[{i}]");
    match data_type {
        DataType::List(item) => Ok(Value::List(item, children(item, true, column, place)?.into())),
        _ => {
            let floats = Value::List(Scalar::Float, children(Scalar::Float, false, column, place)?.into());
            let wrong = || Misfit::new(data_type.name(), format!("{} numbers", column.len()));
            floats.widen(data_type).ok_or_else(wrong)
        }
    }
}

/// A map of columns of keys and of values.
fn pairs(item: Scalar, entries: &StructArray) -> Result<Value, Misfit> {
    check_items(DataType::Map(item), entries.len())?;
    let (keys, values) = (entries.column(0), entries.column(1));
    let keys = children(Scalar::Str, false, keys, |i| format!(" (key {i})"))?;
    let place = |i: usize| keys.get(i).map_or_else(String::new, |key| format!("[{key}]"));
    let values = children(item, true, values, place)?;
    let key = |key: &Value| match key {
        Value::Str(key) => key.clone(),
        _ => Arc::from(""),
    };
    Ok(Value::map(item, keys.iter().map(key).zip(values)))
}

/// A map of the columns of a struct, in which a null says that there is none: rows that have other keys bring them.
fn entries(item: Scalar, column: &StructArray, row: usize) -> Result<Value, Misfit> {
    let mut entries = Vec::new();
    for (field, values) in column.fields().iter().zip(column.columns()) {
        if values.is_null(row) {
            continue;
        }
        let value = children(item, true, &values.slice(row, 1), |_| format!("[{:?}]", field.name()))?;
        entries.extend(value.into_iter().map(|value| (Arc::from(field.name().as_str()), value)));
    }
    check_items(DataType::Map(item), entries.len())?;
    Ok(Value::map(item, entries))
}

fn text_of(column: &ArrayRef, row: usize) -> String {
    match column.data_type() {
        A::Utf8 => column.as_string::<i32>().value(row).to_owned(),
        A::LargeUtf8 => column.as_string::<i64>().value(row).to_owned(),
        A::Utf8View => column.as_string_view().value(row).to_owned(),
        _ => String::new(),
    }
}

/// What a row says, as JSON has it; `None` for a type of which JSON has no values.
pub(super) fn tree(column: &ArrayRef, row: usize) -> Option<Json> {
    let column = decode_dictionary(column).ok()?;
    if column.is_null(row) {
        return Some(Json::Null);
    }
    let fields = |column: &StructArray| {
        let entry = |(field, values): (&Arc<arrow::datatypes::Field>, &ArrayRef)| {
            Some((field.name().clone(), tree(values, row)?))
        };
        let entries = column.fields().iter().zip(column.columns()).map(entry).collect::<Option<_>>()?;
        Some(Json::object(entries))
    };
    Some(match column.data_type() {
        A::Null => Json::Null,
        A::Boolean => Json::Bool(column.as_boolean().value(row)),
        A::Utf8 | A::LargeUtf8 | A::Utf8View => Json::Str(text_of(&column, row)),
        A::UInt64 => {
            let v = column.as_primitive::<UInt64Type>().value(row);
            i64::try_from(v).map_or(Json::Float(v as f64), Json::Int)
        }
        t if t.is_integer() => {
            Json::Int(cast(&column.slice(row, 1), &A::Int64).ok()?.as_primitive::<Int64Type>().value(0))
        }
        t if t.is_floating() => {
            let float = cast(&column.slice(row, 1), &A::Float64).ok()?;
            Some(float.as_primitive::<Float64Type>().value(0)).filter(|v| v.is_finite()).map(Json::Float)?
        }
        A::List(_) | A::LargeList(_) | A::FixedSizeList(..) => {
            let items = items_of(&column, row).ok()?;
            Json::Array((0..items.len()).map(|i| tree(&items, i)).collect::<Option<_>>()?)
        }
        A::Struct(_) => fields(column.as_struct())?,
        A::Map(..) => {
            let entries = column.as_map().value(row);
            let (keys, values) = (entries.column(0), entries.column(1));
            let entry = |i| Some((text_of(keys, i), tree(values, i)?));
            Json::object((0..entries.len()).map(entry).collect::<Option<_>>()?)
        }
        A::Date32 | A::Date64 | A::Timestamp(..) | A::Decimal128(..) => {
            Json::Str(arrow::util::display::array_value_to_string(&column, row).ok()?)
        }
        _ => return None,
    })
}
