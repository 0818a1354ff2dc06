//! From what JSON says to values of a type, and back.

use std::sync::Arc;

use super::base64::{from_base64, to_base64};
use super::decimal::{DecimalFault, ShownDecimal, float_as_decimal, parse_decimal, rescaled};
use super::json::{JSON_DEPTH_MAX, Json, quote};
use super::{
    DataType, ITEMS_MAX, NAN, Scalar, Unscaled, VALUE_BYTES_MAX, Value, canonical, date_text, parse_date,
};
use crate::time;

/// Why something is no value of a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Where in the value: `[3]`, `["a"]`, or nothing for the whole of it.
    pub path: String,
    /// What is expected there.
    pub expected: String,
    /// What came.
    pub got: String,
}

impl Misfit {
    /// Of the whole value.
    pub fn new(expected: impl Into<String>, got: impl Into<String>) -> Misfit {
        Misfit { path: String::new(), expected: expected.into(), got: got.into() }
    }

    /// The same, of a value that is at `path` of another.
    #[must_use]
    pub fn at(mut self, path: &str) -> Misfit {
        self.path.insert_str(0, path);
        self
    }
}

/// What `json` is as a value of `data_type`; null is null.
///
/// # Errors
/// What does not fit, and where: the first.
pub fn typed(data_type: DataType, json: &Json) -> Result<Value, Misfit> {
    if *json == Json::Null {
        return Ok(Value::Null);
    }
    let value = match data_type {
        DataType::List(item) => Value::List(item, list(item, json, data_type)?),
        DataType::Map(item) => Value::Map(item, map(item, json, data_type)?),
        DataType::Vector(length) => Value::Vector(vector(length, json)?),
        DataType::Json => nested(json)?,
        DataType::Int => scalar(Scalar::Int, json)?,
        DataType::Float => scalar(Scalar::Float, json)?,
        DataType::Str => scalar(Scalar::Str, json)?,
        DataType::Bool => scalar(Scalar::Bool, json)?,
        DataType::Datetime => scalar(Scalar::Datetime, json)?,
        DataType::Date => scalar(Scalar::Date, json)?,
        DataType::Bytes => scalar(Scalar::Bytes, json)?,
        DataType::Decimal(scale) => scalar(Scalar::Decimal(scale), json)?,
    };
    check_size(data_type, &value)?;
    Ok(value)
}

/// Whether a value is not longer than one may be.
///
/// # Errors
/// More than a million bytes.
pub fn check_size(data_type: DataType, value: &Value) -> Result<(), Misfit> {
    match content_bytes(value) {
        0..=VALUE_BYTES_MAX => Ok(()),
        bytes => Err(Misfit::new(
            format!("{data_type} of at most {VALUE_BYTES_MAX} bytes"),
            format!("{bytes} bytes"),
        )),
    }
}

/// The bytes of what a value says, a number counted as 8 of them.
fn content_bytes(value: &Value) -> usize {
    match value {
        Value::Str(v) | Value::Json(v) => v.len(),
        Value::Bytes(v) => v.len(),
        Value::List(_, items) => items.iter().map(content_bytes).sum(),
        Value::Map(_, entries) => entries.iter().map(|(k, v)| k.len() + content_bytes(v)).sum(),
        _ => 8,
    }
}

fn list(item: Scalar, json: &Json, data_type: DataType) -> Result<Arc<[Value]>, Misfit> {
    let Json::Array(items) = json else { return Err(Misfit::new(data_type.name(), json.describe())) };
    check_items(data_type, items.len())?;
    let value = |(i, json): (usize, &Json)| nullable(item, json).map_err(|e| e.at(&format!("[{i}]")));
    items.iter().enumerate().map(value).collect()
}

fn map(item: Scalar, json: &Json, data_type: DataType) -> Result<super::Entries, Misfit> {
    let Json::Object(entries) = json else { return Err(Misfit::new(data_type.name(), json.describe())) };
    check_items(data_type, entries.len())?;
    let entry = |(key, json): &(String, Json)| match nullable(item, json) {
        Ok(value) => Ok((Arc::from(key.as_str()), value)),
        Err(misfit) => Err(misfit.at(&member(key))),
    };
    entries.iter().map(entry).collect()
}

/// The place of an entry in its map, with the key as JSON has it: clients read it.
fn member(key: &str) -> String {
    let mut place = String::from("[");
    quote(key, &mut place);
    place + "]"
}

/// Whether a list or a map is not longer than one may be.
///
/// # Errors
/// More than 10,000 items.
pub fn check_items(data_type: DataType, items: usize) -> Result<(), Misfit> {
    match items {
        0..=ITEMS_MAX => Ok(()),
        _ => Err(Misfit::new(format!("{data_type} of at most {ITEMS_MAX} items"), format!("{items} items"))),
    }
}

fn vector(length: u32, json: &Json) -> Result<Arc<[f64]>, Misfit> {
    let expected = || DataType::Vector(length).name();
    let Json::Array(items) = json else { return Err(Misfit::new(expected(), json.describe())) };
    if items.len() != length as usize {
        return Err(Misfit::new(expected(), format!("{} numbers", items.len())));
    }
    let float = |(i, json): (usize, &Json)| match scalar(Scalar::Float, json) {
        Ok(Value::Float(v)) => Ok(v),
        Ok(_) => Err(Misfit::new("float", "null").at(&format!("[{i}]"))),
        Err(misfit) => Err(misfit.at(&format!("[{i}]"))),
    };
    items.iter().enumerate().map(float).collect()
}

fn nested(json: &Json) -> Result<Value, Misfit> {
    match json.depth() {
        0..=JSON_DEPTH_MAX => Ok(Value::Json(json.canonical_text())),
        depth => {
            Err(Misfit::new(format!("json of at most {JSON_DEPTH_MAX} levels"), format!("{depth} levels")))
        }
    }
}

fn nullable(item: Scalar, json: &Json) -> Result<Value, Misfit> {
    if *json == Json::Null { Ok(Value::Null) } else { scalar(item, json) }
}

fn scalar(item: Scalar, json: &Json) -> Result<Value, Misfit> {
    let wrong = || Misfit::new(DataType::from(item).name(), json.describe());
    let timed = |t: crate::Result<time::EventTime>| match t {
        Ok(t) => Ok(Value::Datetime(t.0)),
        Err(e) => Err(Misfit::new(format!("datetime ({})", e.detail()), json.describe())),
    };
    Ok(match (item, json) {
        (Scalar::Int, Json::Int(v)) => Value::Int(*v),
        (Scalar::Float, Json::Int(v)) => Value::Float(*v as f64),
        (Scalar::Float, Json::Float(v)) => Value::Float(canonical(*v)),
        (Scalar::Float, Json::Str(text)) => Value::Float(non_finite(text).ok_or_else(wrong)?),
        (Scalar::Str, Json::Str(text)) => Value::Str(text.as_str().into()),
        (Scalar::Bool, Json::Bool(v)) => Value::Bool(*v),
        (Scalar::Datetime, Json::Str(text)) => match time::parse_timestamp(text) {
            Ok(t) => Value::Datetime(t.0),
            Err(_) => {
                return Err(Misfit::new("datetime (ISO 8601, or seconds since the epoch)", json.describe()));
            }
        },
        (Scalar::Datetime, Json::Int(v)) => timed(time::from_epoch_seconds(*v))?,
        (Scalar::Datetime, Json::Float(v)) => timed(time::from_epoch_seconds_f64(*v))?,
        (Scalar::Date, Json::Str(text)) => match parse_date(text) {
            Some(days) => Value::Date(days),
            None => return Err(Misfit::new("date (such as \"2026-03-15\")", json.describe())),
        },
        (Scalar::Bytes, Json::Str(text)) => match from_base64(text) {
            Some(bytes) => Value::Bytes(bytes.into()),
            None => return Err(Misfit::new("bytes (as base64)", json.describe())),
        },
        (Scalar::Decimal(scale), json) => {
            let read = match json {
                Json::Int(v) => rescaled(i128::from(*v), 0, scale).ok_or(DecimalFault::TooLong),
                Json::Float(v) => float_as_decimal(*v, scale),
                Json::Str(text) => parse_decimal(text, scale),
                _ => return Err(wrong()),
            };
            match read {
                Ok(unscaled) => Value::Decimal(scale, Unscaled::new(unscaled)),
                Err(fault) => {
                    let got = format!("{}, {}", json.describe(), fault.describe(scale));
                    return Err(Misfit::new(DataType::Decimal(scale).name(), got));
                }
            }
        }
        _ => return Err(wrong()),
    })
}

/// The floats that JSON has no number for.
fn non_finite(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

/// A value as JSON has it, but for one of type json, which is its own text: a datetime and a date as ISO 8601, a decimal
/// as its digits, bytes as base64. A float that is not finite is null, and told with where it is.
pub fn untyped(value: &Value, path: &str, not_finite: &mut dyn FnMut(&str, f64)) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(v) => Json::Bool(*v),
        Value::Int(v) => Json::Int(*v),
        Value::Float(v) if v.is_finite() => Json::Float(*v),
        Value::Float(v) => {
            not_finite(path, *v);
            Json::Null
        }
        Value::Str(v) | Value::Json(v) => Json::Str(v.as_ref().to_owned()),
        Value::Datetime(v) => Json::Str(time::format_rfc3339(*v)),
        Value::Date(v) => Json::Str(date_text(*v)),
        Value::Bytes(v) => Json::Str(to_base64(v)),
        Value::Decimal(scale, v) => Json::Str(ShownDecimal(v.get(), *scale).to_string()),
        Value::List(_, items) => {
            let item = |(i, v): (usize, &Value)| untyped(v, &format!("{path}[{i}]"), not_finite);
            Json::Array(items.iter().enumerate().map(item).collect())
        }
        Value::Map(_, entries) => Json::Object(
            entries
                .iter()
                .map(|(k, v)| {
                    (k.as_ref().to_owned(), untyped(v, &format!("{path}{}", member(k)), not_finite))
                })
                .collect(),
        ),
        Value::Vector(items) => {
            let item =
                |(i, v): (usize, &f64)| untyped(&Value::Float(*v), &format!("{path}[{i}]"), not_finite);
            Json::Array(items.iter().enumerate().map(item).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(data_type: &str, json: &str) -> Result<Value, String> {
        let json = serde_json::from_str(json).unwrap();
        typed(DataType::named(data_type).unwrap(), &json)
            .map_err(|m| format!("{}: expected {}, got {}", m.path, m.expected, m.got))
    }

    #[test]
    fn what_came_is_read_and_shown_again() {
        for (data_type, json) in [
            ("int", "7"),
            ("float", "0.5"),
            ("date", "\"2026-03-15\""),
            ("bytes", "\"Zm9v\""),
            ("decimal(2)", "\"-12.30\""),
            ("list[int]", "[1,null,3]"),
            ("list[datetime]", "[\"2026-03-15T10:00:00Z\"]"),
            ("dict[str, float]", "{\"a\":0.5,\"b\":null}"),
            ("vector[2]", "[1.0,-2.5]"),
        ] {
            let value = read(data_type, json).unwrap();
            assert_eq!(value.data_type(), DataType::named(data_type));
            let shown = untyped(&value, "", &mut |_, _| unreachable!());
            assert_eq!(shown.canonical_text().as_ref(), json);
        }
        let nested = read("json", "{\"b\":[1],\"a\":{}}").unwrap();
        assert_eq!(nested, Value::Json("{\"a\":{},\"b\":[1]}".into()));
    }

    #[test]
    fn a_misfit_says_where_it_is() {
        let deep = format!("{}{}", "[".repeat(33), "]".repeat(33));
        let long = format!("[{}]", vec!["0"; 10_001].join(","));
        for (data_type, json, told) in [
            ("list[int]", "[1,\"x\"]", "[1]: expected int, got str \"x\""),
            ("list[int]", "{}", ": expected list[int], got an object"),
            ("list[int]", &long, ": expected list[int] of at most 10000 items, got 10001 items"),
            (
                "dict[str, date]",
                "{\"a b\":\"soon\"}",
                "[\"a b\"]: expected date (such as \"2026-03-15\"), got str \"soon\"",
            ),
            (
                "dict[str, int]",
                "{\"e\u{301}\\u0001\":true}",
                "[\"e\u{301}\\u0001\"]: expected int, got bool true",
            ),
            ("dict[str, int]", "[1]", ": expected dict[str, int], got an array of 1"),
            ("vector[3]", "[1,2]", ": expected vector[3], got 2 numbers"),
            ("vector[1]", "[null]", "[0]: expected float, got null"),
            (
                "decimal(1)",
                "0.25",
                ": expected decimal(1), got float 0.25, which has more than 1 digits after the point",
            ),
            (
                "decimal(2)",
                "100000000000000000001",
                ": expected decimal(2), got float 1e20, of which a float keeps 15 digits; send it as a text",
            ),
            ("bytes", "\"?\"", ": expected bytes (as base64), got str \"?\""),
            ("json", &deep, ": expected json of at most 32 levels, got 33 levels"),
            ("bool", "1", ": expected bool, got int 1"),
        ] {
            assert_eq!(read(data_type, json).unwrap_err(), told);
        }
    }
}
