//! Constants: from their JSON form to values.

use super::ast::LiteralValue;
use crate::error::{Error, Result};
use crate::time::parse_timestamp;
use crate::value::{DataType, Json, Misfit, Value, canonical, typed};

impl LiteralValue {
    /// The type it has when nothing declares one; `None` for null.
    pub fn natural_type(&self) -> Option<DataType> {
        match self {
            LiteralValue::Null => None,
            LiteralValue::Bool(_) => Some(DataType::Bool),
            LiteralValue::Int(_) => Some(DataType::Int),
            LiteralValue::Float(_) => Some(DataType::Float),
            LiteralValue::Str(_) => Some(DataType::Str),
            LiteralValue::Nested(_) => Some(DataType::Json),
        }
    }

    /// The value where `declared` is declared: an int may stand for a float, the texts `NaN`,
    /// `Infinity` and `-Infinity` for floats, an ISO 8601 text for a datetime, and for the other types what JSON events say; null fits everywhere.
    ///
    /// # Errors
    /// A constant of another type, and a text that is not a time.
    pub fn value(&self, declared: DataType) -> Result<Value> {
        Ok(match (self, declared) {
            (LiteralValue::Null, _) => Value::Null,
            (LiteralValue::Bool(v), DataType::Bool) => Value::Bool(*v),
            (LiteralValue::Int(v), DataType::Int) => Value::Int(*v),
            (LiteralValue::Int(v), DataType::Float) => Value::Float(*v as f64),
            (LiteralValue::Float(v), DataType::Float) => Value::Float(canonical(*v)),
            (LiteralValue::Str(v), DataType::Float) => Value::Float(self.non_finite(v)?),
            (LiteralValue::Str(v), DataType::Str) => Value::Str(v.as_str().into()),
            (LiteralValue::Str(v), DataType::Datetime) => {
                let time = parse_timestamp(v).map_err(|e| Error::invalid_definition(e.detail()))?;
                Value::Datetime(time.0)
            }
            (
                literal,
                DataType::Int | DataType::Float | DataType::Str | DataType::Bool | DataType::Datetime,
            ) => {
                return Err(literal.misfit(declared));
            }
            (literal, declared) => typed(declared, &literal.as_json()).map_err(|misfit| {
                let Misfit { path, expected, got } = misfit;
                let place = if path.is_empty() { String::new() } else { format!("{path}: ") };
                Error::invalid_definition(format!("{place}expected {expected}, got {got}"))
            })?,
        })
    }

    fn as_json(&self) -> Json {
        match self {
            LiteralValue::Null => Json::Null,
            LiteralValue::Bool(v) => Json::Bool(*v),
            LiteralValue::Int(v) => Json::Int(*v),
            LiteralValue::Float(v) => Json::Float(*v),
            LiteralValue::Str(v) => Json::Str(v.clone()),
            LiteralValue::Nested(v) => v.clone(),
        }
    }

    fn non_finite(&self, text: &str) -> Result<f64> {
        match text {
            "NaN" => Ok(crate::value::NAN),
            "Infinity" => Ok(f64::INFINITY),
            "-Infinity" => Ok(f64::NEG_INFINITY),
            _ => Err(self.misfit(DataType::Float)),
        }
    }

    fn misfit(&self, declared: DataType) -> Error {
        let natural = self.natural_type().map_or("null", DataType::name);
        Error::invalid_definition(format!("{self} is of type {natural} where {declared} is declared"))
    }
}
