//! Cells that come as text, such as CSV's.

use thyme_core::value::Json;
use thyme_core::{DataType, Field};

use super::rows::Cell;
use super::{cut, shown};

/// Reads the text of a cell as its field's type. An empty text is null where the field may be null, and nothing
/// where it has a default.
/// A text that cannot be read stays a text, so that the row's fault shows it.
pub fn cell(field: &Field, text: &str) -> Cell {
    if text.is_empty() && (field.optional || field.data_type != DataType::Str) {
        return if field.default.is_some() { Cell::Missing } else { Cell::Null };
    }
    let as_text = || Cell::Str(text.to_owned());
    match field.data_type {
        DataType::Str => as_text(),
        DataType::Int => text.trim().parse().map_or_else(|_| as_text(), Cell::Int),
        DataType::Float => match text.trim().parse::<f64>() {
            Ok(value) if value.is_finite() || !text.contains(|c: char| c.is_ascii_digit()) => {
                Cell::Float(value)
            }
            // Digits that come to more than any float are not infinity.
            Ok(_) => Cell::Other(format!("{}, which is outside float64", cut(text.trim()))),
            Err(_) => as_text(),
        },
        DataType::Bool => match text.trim() {
            "true" | "True" | "TRUE" | "1" => Cell::Bool(true),
            "false" | "False" | "FALSE" | "0" => Cell::Bool(false),
            _ => as_text(),
        },
        DataType::Datetime => match (text.trim().parse::<i64>(), text.trim().parse::<f64>()) {
            (Ok(seconds), _) => Cell::Int(seconds),
            (_, Ok(seconds)) => Cell::Float(seconds),
            _ => as_text(),
        },
        DataType::Date | DataType::Bytes | DataType::Decimal(_) => Cell::Str(text.trim().to_owned()),
        DataType::List(_) | DataType::Map(_) | DataType::Vector(_) | DataType::Json => {
            match serde_json::from_str(text) {
                Ok(json @ (Json::Array(_) | Json::Object(_))) => Cell::Nested(json),
                Ok(Json::Null) => Cell::Null,
                Ok(Json::Bool(v)) => Cell::Bool(v),
                Ok(Json::Int(v)) => Cell::Int(v),
                Ok(Json::Float(v)) => Cell::Float(v),
                Ok(Json::Str(v)) => Cell::Str(v),
                Err(error) => Cell::Other(format!("{}, which is not JSON ({error})", shown(text))),
            }
        }
    }
}
