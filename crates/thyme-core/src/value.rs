//! Types and single values.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The type of a field, an expression or a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataType {
    /// Signed 64 bits.
    Int,
    /// IEEE 754 binary64.
    Float,
    /// UTF-8 text.
    Str,
    /// True or false.
    Bool,
    /// Microseconds since the Unix epoch, UTC.
    Datetime,
}

impl DataType {
    /// The name users write in Python.
    pub const fn name(self) -> &'static str {
        match self {
            DataType::Int => "int",
            DataType::Float => "float",
            DataType::Str => "str",
            DataType::Bool => "bool",
            DataType::Datetime => "datetime",
        }
    }

    /// The Arrow type of a column of this type.
    pub fn arrow(self) -> arrow::datatypes::DataType {
        use arrow::datatypes::{DataType as A, TimeUnit};
        match self {
            DataType::Int => A::Int64,
            DataType::Float => A::Float64,
            DataType::Str => A::Utf8,
            DataType::Bool => A::Boolean,
            DataType::Datetime => A::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        }
    }

    /// Whether a value of this type may stand where `declared` is declared: itself, or int as float.
    pub fn fits(self, declared: DataType) -> bool {
        self == declared || (self == DataType::Int && declared == DataType::Float)
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One value. Floats are canonical: no `-0.0`, one NaN (see [`canonical`]).
#[derive(Clone, Debug, Default)]
pub enum Value {
    /// Absent.
    #[default]
    Null,
    /// An int.
    Int(i64),
    /// A float.
    Float(f64),
    /// A string.
    Str(Arc<str>),
    /// A bool.
    Bool(bool),
    /// A datetime: microseconds since the Unix epoch, UTC.
    Datetime(i64),
}

impl Value {
    /// The type, or `None` for null.
    pub fn data_type(&self) -> Option<DataType> {
        Some(match self {
            Value::Null => return None,
            Value::Int(_) => DataType::Int,
            Value::Float(_) => DataType::Float,
            Value::Str(_) => DataType::Str,
            Value::Bool(_) => DataType::Bool,
            Value::Datetime(_) => DataType::Datetime,
        })
    }

    /// The bytes that it takes, those beside it among them, which it may share with others.
    pub fn bytes(&self) -> usize {
        let beside = match self {
            Value::Str(text) => shared(text),
            _ => 0,
        };
        size_of::<Value>() + beside
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// The value where `declared` is declared: an int becomes a float (rounded to nearest, ties to
    /// even) if need be; `None` if it does not fit.
    pub fn widen(self, declared: DataType) -> Option<Value> {
        match (self, declared) {
            (Value::Null, _) => Some(Value::Null),
            (Value::Int(i), DataType::Float) => Some(Value::Float(i as f64)),
            (v, d) if v.data_type() == Some(d) => Some(v),
            _ => None,
        }
    }
}

/// The bytes of a text that is shared: it begins with two counts.
pub const fn shared(text: &str) -> usize {
    2 * size_of::<usize>() + text.len()
}

/// Equality of bits: NaN equals NaN. This is the equality of the contract.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Int(a), Value::Int(b)) | (Value::Datetime(a), Value::Datetime(b)) => a == b,
            (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
            (Value::Str(a), Value::Str(b)) => a == b,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Value {}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Int(v) => write!(f, "{v}"),
            Value::Float(v) => write!(f, "{v:?}"),
            Value::Str(v) => write!(f, "\"{v}\""),
            Value::Bool(v) => write!(f, "{v}"),
            Value::Datetime(v) => f.write_str(&crate::time::format_rfc3339(*v)),
        }
    }
}

/// The one NaN.
pub const NAN: f64 = f64::from_bits(0x7ff8_0000_0000_0000);

/// The one bit pattern a float is admitted with: `-0.0` becomes `+0.0`, every NaN the quiet one.
#[inline]
pub fn canonical(v: f64) -> f64 {
    if v.is_nan() { NAN } else { v + 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_floats_have_one_zero_and_one_nan() {
        assert_eq!(canonical(-0.0).to_bits(), 0.0f64.to_bits());
        assert_eq!(canonical(-f64::NAN).to_bits(), NAN.to_bits());
        assert_eq!(canonical(f64::from_bits(0x7ff0_0000_0000_0001)).to_bits(), NAN.to_bits());
        assert_eq!(canonical(-1.5), -1.5);
        assert_eq!(canonical(f64::NEG_INFINITY), f64::NEG_INFINITY);
    }
}
