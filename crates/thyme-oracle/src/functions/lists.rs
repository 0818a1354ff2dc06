//! What lists, maps and vectors are asked.

use std::cmp::Ordering;

use num_bigint::BigInt;
use thyme_core::value::{ITEMS_MAX, NAN, Scalar, Unscaled};
use thyme_core::{DataType, Result, Value};

use super::{TEXT_BYTES_MAX, Typed, compared_values, misuse};
use crate::nested::items;
use crate::number::exact_sum;

/// How many parts a value has.
pub(super) fn size(value: &Value) -> Result<Value> {
    let count = match value {
        Value::Null => return Ok(Value::Null),
        Value::Map(_, entries) => entries.len(),
        Value::Bytes(bytes) => bytes.len(),
        other => match items(other) {
            Some(items) => items.len(),
            None => return Err(misuse("len", std::slice::from_ref(other))),
        },
    };
    Ok(Value::Int(count as i64))
}

/// Whether a map has a key, or an item of a list equals a value: unknown if only an item that is null might.
pub(super) fn has(value: &Value, wanted: &Value) -> Result<Value> {
    if value.is_null() || wanted.is_null() {
        return Ok(Value::Null);
    }
    if let (Value::Map(_, entries), Value::Str(key)) = (value, wanted) {
        return Ok(Value::Bool(entries.iter().any(|(k, _)| k == key)));
    }
    let mut answer = Value::Bool(false);
    for item in items(value).ok_or_else(|| misuse("contains", std::slice::from_ref(value)))? {
        match compared_values("eq", item, wanted.clone())? {
            Value::Bool(true) => return Ok(Value::Bool(true)),
            Value::Null => answer = Value::Null,
            _ => {}
        }
    }
    Ok(answer)
}

/// What is at a place of a list, or under a key of a map.
pub(super) fn part(of: &Typed, place: &Value) -> Result<Typed> {
    let data_type = match of.data_type {
        Some(DataType::List(item) | DataType::Map(item)) => Some(item.into()),
        Some(DataType::Vector(_)) => Some(DataType::Float),
        other => other,
    };
    let value = match (&of.value, place) {
        (Value::Null, _) | (_, Value::Null) => Value::Null,
        (Value::Map(_, entries), Value::Str(key)) => {
            entries.iter().find(|(k, _)| k == key).map(|(_, v)| v.clone()).unwrap_or_default()
        }
        (list, Value::Int(place)) => {
            let mut items = items(list).ok_or_else(|| misuse("get", std::slice::from_ref(list)))?;
            let mut steps = i128::from(*place);
            if steps < 0 {
                items.reverse();
                steps = -steps - 1;
            }
            usize::try_from(steps).ok().and_then(|steps| items.into_iter().nth(steps)).unwrap_or_default()
        }
        (other, _) => return Err(misuse("get", std::slice::from_ref(other))),
    };
    Ok(Typed { value, data_type })
}

/// The sum, the least or the greatest of the items that are not null.
pub(super) fn reduced(name: &str, of: &Typed) -> Result<Typed> {
    let item = match of.data_type {
        Some(DataType::List(item)) => item,
        Some(DataType::Vector(_)) => Scalar::Float,
        _ => return Ok(Typed { value: Value::Null, data_type: of.data_type }),
    };
    let known = items(&of.value).map(|items| items.into_iter().filter(|v| !v.is_null()).collect::<Vec<_>>());
    let value = match known {
        None => Value::Null,
        Some(known) if name == "sum" => added(item, &known),
        Some(known) => known
            .into_iter()
            .reduce(|a, b| match order(&a, &b) {
                None => Value::Float(NAN),
                Some(Ordering::Greater) if name == "min" => b,
                Some(Ordering::Less) if name == "max" => b,
                _ => a,
            })
            .unwrap_or_default(),
    };
    Ok(Typed { value, data_type: Some(item.into()) })
}

fn added(item: Scalar, values: &[Value]) -> Value {
    if item == Scalar::Float {
        let floats: Vec<f64> =
            values.iter().filter_map(|v| if let Value::Float(v) = v { Some(*v) } else { None }).collect();
        return Value::Float(exact_sum(&floats));
    }
    let whole = |v: &Value| match v {
        Value::Int(v) => BigInt::from(*v),
        Value::Decimal(_, v) => BigInt::from(v.get()),
        _ => BigInt::ZERO,
    };
    let sum: BigInt = values.iter().map(whole).sum();
    match item {
        Scalar::Decimal(scale) if sum.magnitude() < &num_bigint::BigUint::from(10u8).pow(38) => {
            i128::try_from(sum).map_or(Value::Null, |sum| Value::Decimal(scale, Unscaled::new(sum)))
        }
        Scalar::Int => i64::try_from(sum).map_or(Value::Null, Value::Int),
        _ => Value::Null,
    }
}

/// `None` beside NaN.
fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::Int(a), Value::Int(b)) | (Value::Datetime(a), Value::Datetime(b)) => Some(a.cmp(b)),
        (Value::Date(a), Value::Date(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Str(a), Value::Str(b)) => Some(a.chars().cmp(b.chars())),
        (Value::Decimal(_, a), Value::Decimal(_, b)) => Some(a.get().cmp(&b.get())),
        _ => Some(Ordering::Equal),
    }
}

/// The parts of a text, found one after the other.
pub(super) fn split(args: &[Value]) -> Result<Value> {
    let [Value::Str(text), Value::Str(separator)] = args else { return Ok(Value::Null) };
    if separator.is_empty() {
        return Ok(Value::Null);
    }
    let (mut parts, mut rest) = (Vec::new(), &**text);
    while let Some(at) = rest.find(&**separator) {
        parts.push(Value::Str(rest[..at].into()));
        rest = &rest[at + separator.len()..];
    }
    parts.push(Value::Str(rest.into()));
    Ok(if parts.len() > ITEMS_MAX { Value::Null } else { Value::List(Scalar::Str, parts.into()) })
}

/// The texts of a list put together.
pub(super) fn join(args: &[Value]) -> Result<Value> {
    let [Value::List(_, items), Value::Str(separator)] = args else { return Ok(Value::Null) };
    let texts: Vec<&str> =
        items.iter().filter_map(|v| if let Value::Str(t) = v { Some(&**t) } else { None }).collect();
    let joined = texts.join(separator);
    Ok(if joined.len() > TEXT_BYTES_MAX { Value::Null } else { Value::Str(joined.into()) })
}
