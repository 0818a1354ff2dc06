//! Lists, maps, vectors and JSON: what is in them, and whether two of them are the same.

use thyme_core::value::{Json, typed};
use thyme_core::{DataType, Error, Result, Value};

/// The value of `data_type` that a JSON text says.
pub(crate) fn read(text: &str, data_type: DataType) -> Result<Value> {
    let json: Json = serde_json::from_str(text).map_err(|e| Error::internal(e.to_string()))?;
    typed(data_type, &json).map_err(|misfit| Error::internal(format!("{misfit:?}")))
}

/// The items of a list or a vector; `None` of anything else.
pub(crate) fn items(value: &Value) -> Option<Vec<Value>> {
    match value {
        Value::List(_, items) => Some(items.to_vec()),
        Value::Vector(floats) => Some(floats.iter().map(|v| Value::Float(*v)).collect()),
        _ => None,
    }
}

/// A list or a map as one of `to`: with floats for its ints, if those are wanted.
pub(crate) fn items_as(value: Value, to: DataType) -> Value {
    let (DataType::List(item) | DataType::Map(item)) = to else { return value };
    let wide = |v: &Value| match (v, DataType::from(item)) {
        (Value::Int(v), DataType::Float) => Value::Float(*v as f64),
        (other, _) => other.clone(),
    };
    match &value {
        Value::Map(_, entries) => {
            Value::Map(item, entries.iter().map(|(k, v)| (k.clone(), wide(v))).collect())
        }
        other => match items(other) {
            Some(items) => Value::List(item, items.iter().map(wide).collect()),
            None => value,
        },
    }
}

/// Whether two values of several parts have the same bits, part by part; `None` if neither is such a value.
pub(crate) fn same(a: &Value, b: &Value) -> Result<Option<bool>> {
    let parts = |v: &Value| matches!(v, Value::List(..) | Value::Map(..) | Value::Vector(_) | Value::Json(_));
    if a.is_null() || b.is_null() || !(parts(a) || parts(b)) {
        return Ok(None);
    }
    let (a, b) = match (a, b) {
        (Value::Json(_), Value::Json(_)) => (a.clone(), b.clone()),
        (Value::Json(text), other) => (read(text, type_of(other)?)?, other.clone()),
        (other, Value::Json(text)) => (other.clone(), read(text, type_of(other)?)?),
        _ => (a.clone(), b.clone()),
    };
    Ok(Some(match (&a, &b) {
        (Value::Json(a), Value::Json(b)) => a == b,
        (Value::Map(_, a), Value::Map(_, b)) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| a.0 == b.0 && same_part(&a.1, &b.1))
        }
        _ => match (items(&a), items(&b)) {
            (Some(a), Some(b)) => a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| same_part(a, b)),
            _ => return Err(Error::internal(format!("{a} was compared with {b}"))),
        },
    }))
}

fn same_part(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Int(i), Value::Float(f)) | (Value::Float(f), Value::Int(i)) => {
            (*i as f64).to_bits() == f.to_bits()
        }
        (a, b) => a == b,
    }
}

fn type_of(value: &Value) -> Result<DataType> {
    value.data_type().ok_or_else(|| Error::internal("null has no type"))
}
