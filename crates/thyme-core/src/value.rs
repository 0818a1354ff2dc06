//! Types and single values.

mod base64;
mod columns;
pub mod decimal;
pub mod encoding;
mod json;
mod json_text;
mod scalar;
mod typed;
mod widen;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

pub use base64::{from_base64, to_base64};
pub use columns::{canonical_value, cell, column, encoded};
pub use decimal::Unscaled;
pub use json::{JSON_DEPTH_MAX, Json};
pub use json_text::{JsonStep, find_json, parse_json};
pub use scalar::Scalar;
pub use typed::{Misfit, check_items, check_size, typed, untyped};

use crate::time::{date_text, parse_date};

/// The most digits of a decimal number.
pub const DECIMAL_DIGITS_MAX: u8 = 38;
/// The most numbers in a vector.
pub const VECTOR_LENGTH_MAX: u32 = 4_096;
/// The most items of a list, and entries of a map.
pub const ITEMS_MAX: usize = 10_000;
/// The most bytes of a value.
pub const VALUE_BYTES_MAX: usize = 1 << 20;

/// The type of a field, an expression or a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
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
    /// A day of the calendar, as days since the Unix epoch.
    Date,
    /// Bytes.
    Bytes,
    /// A decimal number of up to 38 digits, of which so many are after the point.
    Decimal(u8),
    /// Values of one type in their order; some may be null.
    List(Scalar),
    /// Values of one type by a text; some may be null.
    Map(Scalar),
    /// So many floats, none of them null.
    Vector(u32),
    /// Whatever JSON says, as its canonical text.
    Json,
}

impl DataType {
    /// Whether it is int, float, str, bool or datetime.
    pub const fn is_plain(self) -> bool {
        matches!(self, DataType::Int | DataType::Float | DataType::Str | DataType::Bool | DataType::Datetime)
    }

    /// Whether a value of this type may stand where `declared` is declared: itself, or int as float, also in a list, a
    /// map or a vector.
    pub fn fits(self, declared: DataType) -> bool {
        self == declared
            || matches!(
                (self, declared),
                (DataType::Int, DataType::Float)
                    | (DataType::List(Scalar::Int), DataType::List(Scalar::Float))
                    | (DataType::Map(Scalar::Int), DataType::Map(Scalar::Float))
                    | (DataType::Vector(_), DataType::List(Scalar::Float))
            )
    }

    /// Whether it has no parts: what a list or a map may hold.
    pub const fn scalar(self) -> Option<Scalar> {
        Some(match self {
            DataType::Int => Scalar::Int,
            DataType::Float => Scalar::Float,
            DataType::Str => Scalar::Str,
            DataType::Bool => Scalar::Bool,
            DataType::Datetime => Scalar::Datetime,
            DataType::Date => Scalar::Date,
            DataType::Bytes => Scalar::Bytes,
            DataType::Decimal(scale) => Scalar::Decimal(scale),
            DataType::List(_) | DataType::Map(_) | DataType::Vector(_) | DataType::Json => return None,
        })
    }

    /// Whether a timeline keeps a value of it in a 64-bit word, and not in its bytes (see [`encoding`]).
    pub const fn is_word(self) -> bool {
        matches!(self, DataType::Int | DataType::Float | DataType::Bool | DataType::Datetime | DataType::Date)
    }

    /// Whether its values name things, so that they may be (part of) a key.
    pub const fn is_key(self) -> bool {
        matches!(self, DataType::Int | DataType::Str | DataType::Bool | DataType::Datetime | DataType::Date)
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The entries of a map, by the bytes of their keys, each once.
pub type Entries = Arc<[(Arc<str>, Value)]>;

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
    /// A date: days since the Unix epoch.
    Date(i32),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// A decimal number: its scale, and its integer.
    Decimal(u8, Unscaled),
    /// A list of values of a type, or null.
    List(Scalar, Arc<[Value]>),
    /// A map to values of a type, or null.
    Map(Scalar, Entries),
    /// A vector.
    Vector(Arc<[f64]>),
    /// A canonical JSON text.
    Json(Arc<str>),
}

impl Value {
    /// A map of `entries` in any order; of a key that comes several times the last counts.
    pub fn map(item: Scalar, entries: impl IntoIterator<Item = (Arc<str>, Value)>) -> Value {
        let by_key: std::collections::BTreeMap<Arc<str>, Value> = entries.into_iter().collect();
        Value::Map(item, by_key.into_iter().collect())
    }

    /// The type, or `None` for null.
    pub fn data_type(&self) -> Option<DataType> {
        Some(match self {
            Value::Null => return None,
            Value::Int(_) => DataType::Int,
            Value::Float(_) => DataType::Float,
            Value::Str(_) => DataType::Str,
            Value::Bool(_) => DataType::Bool,
            Value::Datetime(_) => DataType::Datetime,
            Value::Date(_) => DataType::Date,
            Value::Bytes(_) => DataType::Bytes,
            Value::Decimal(scale, _) => DataType::Decimal(*scale),
            Value::List(item, _) => DataType::List(*item),
            Value::Map(item, _) => DataType::Map(*item),
            Value::Vector(v) => DataType::Vector(v.len() as u32),
            Value::Json(_) => DataType::Json,
        })
    }

    /// The bytes that it takes, those beside it among them, which it may share with others.
    pub fn bytes(&self) -> usize {
        let beside = match self {
            Value::Str(text) | Value::Json(text) => shared(text),
            Value::Bytes(v) => COUNTS + v.len(),
            Value::Vector(v) => COUNTS + size_of_val(v.as_ref()),
            Value::List(_, items) => COUNTS + items.iter().map(Value::bytes).sum::<usize>(),
            Value::Map(_, entries) => {
                let entry = |(key, value): &(Arc<str>, Value)| size_of_val(key) + shared(key) + value.bytes();
                COUNTS + entries.iter().map(entry).sum::<usize>()
            }
            _ => 0,
        };
        size_of::<Value>() + beside
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// The value where `declared` is declared: an int becomes a float (rounded to nearest, ties to
    /// even) if need be, also in a list or a map; a list of floats becomes a vector of its length, and what is in a
    /// list or a map JSON; `None` if it does not fit.
    pub fn widen(self, declared: DataType) -> Option<Value> {
        match (self, declared) {
            (Value::Null, _) => Some(Value::Null),
            (Value::Int(i), DataType::Float) => Some(Value::Float(i as f64)),
            (v, d) if v.data_type() == Some(d) => Some(v),
            (v, d) => widen::widened(v, d),
        }
    }
}

/// What stands before the bytes of something that is shared.
const COUNTS: usize = 2 * size_of::<usize>();

/// The bytes of a text that is shared: it begins with two counts.
pub const fn shared(text: &str) -> usize {
    COUNTS + text.len()
}

/// Equality of bits: NaN equals NaN. This is the equality of the contract.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Int(a), Value::Int(b)) | (Value::Datetime(a), Value::Datetime(b)) => a == b,
            (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
            (Value::Str(a), Value::Str(b)) | (Value::Json(a), Value::Json(b)) => a == b,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Date(a), Value::Date(b)) => a == b,
            (Value::Bytes(a), Value::Bytes(b)) => a == b,
            (Value::Decimal(s, a), Value::Decimal(t, b)) => s == t && a == b,
            (Value::List(s, a), Value::List(t, b)) => s == t && a == b,
            (Value::Map(s, a), Value::Map(t, b)) => s == t && a == b,
            (Value::Vector(a), Value::Vector(b)) => {
                a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| a.to_bits() == b.to_bits())
            }
            _ => false,
        }
    }
}

impl Eq for Value {}

/// Of the same bits as [`PartialEq`] compares.
impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self).hash(state);
        match self {
            Value::Null => {}
            Value::Int(v) | Value::Datetime(v) => v.hash(state),
            Value::Float(v) => v.to_bits().hash(state),
            Value::Str(v) | Value::Json(v) => v.hash(state),
            Value::Bool(v) => v.hash(state),
            Value::Date(v) => v.hash(state),
            Value::Bytes(v) => v.hash(state),
            Value::Decimal(scale, v) => (scale, v).hash(state),
            Value::List(item, v) => (item, v).hash(state),
            Value::Map(item, v) => (item, v).hash(state),
            Value::Vector(v) => v.iter().for_each(|v| v.to_bits().hash(state)),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Int(v) => write!(f, "{v}"),
            Value::Float(v) => write!(f, "{v:?}"),
            Value::Str(v) => write!(f, "\"{v}\""),
            Value::Bool(v) => write!(f, "{v}"),
            Value::Datetime(v) => f.write_str(&crate::time::format_rfc3339(*v)),
            Value::Date(v) => f.write_str(&date_text(*v)),
            Value::Bytes(v) => write!(f, "b\"{}\"", v.escape_ascii()),
            Value::Decimal(scale, v) => write!(f, "{}", decimal::ShownDecimal(v.get(), *scale)),
            Value::Json(v) => f.write_str(v),
            Value::List(_, items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if i > 0 { ", " } else { "" })?;
                }
                f.write_str("]")
            }
            Value::Map(_, entries) => {
                f.write_str("{")?;
                for (i, (key, value)) in entries.iter().enumerate() {
                    write!(f, "{}{key:?}: {value}", if i > 0 { ", " } else { "" })?;
                }
                f.write_str("}")
            }
            Value::Vector(items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    write!(f, "{}{item:?}", if i > 0 { ", " } else { "" })?;
                }
                f.write_str("]")
            }
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
pub(crate) mod tests {
    use super::*;

    /// A type of each kind, and of each kind within another.
    pub(crate) fn varied_types() -> Vec<DataType> {
        let scalars = [
            Scalar::Int,
            Scalar::Float,
            Scalar::Str,
            Scalar::Bool,
            Scalar::Datetime,
            Scalar::Date,
            Scalar::Bytes,
            Scalar::Decimal(2),
        ];
        let nested = [DataType::Vector(3), DataType::Json];
        let of = |make: fn(Scalar) -> DataType| scalars.into_iter().map(make);
        of(DataType::from).chain(of(DataType::List)).chain(of(DataType::Map)).chain(nested).collect()
    }

    /// Different values of a type, three at least.
    pub(crate) fn values_of(data_type: DataType) -> Vec<Value> {
        let with = |item: Scalar| {
            let mut items = values_of(item.into());
            items.push(Value::Null);
            items
        };
        match data_type {
            DataType::Int => [i64::MIN, -1, 0, 7, i64::MAX].map(Value::Int).to_vec(),
            DataType::Float => [0.0, -1.5, f64::INFINITY, NAN].map(Value::Float).to_vec(),
            DataType::Str => ["", "a", "é\0", "ab"].map(|v| Value::Str(v.into())).to_vec(),
            DataType::Json => ["{}", "[1]", "\"a\""].map(|v| Value::Json(v.into())).to_vec(),
            DataType::Bool => [false, true, false].map(Value::Bool).to_vec(),
            DataType::Datetime => [-1, 0, 1_773_568_800_000_000].map(Value::Datetime).to_vec(),
            DataType::Date => [-719_162, 0, 20_527].map(Value::Date).to_vec(),
            DataType::Bytes => [&b""[..], b"\xff\0", b"abc"].map(|v| Value::Bytes(v.into())).to_vec(),
            DataType::Decimal(scale) => {
                [0, -1, 12_345, 10i128.pow(38) - 1].map(|v| Value::Decimal(scale, Unscaled::new(v))).to_vec()
            }
            DataType::List(item) => {
                let items = with(item);
                (0..=items.len()).map(|n| Value::List(item, items[..n].into())).collect()
            }
            DataType::Map(item) => {
                let entries: Vec<_> =
                    with(item).into_iter().zip(0..).map(|(v, i)| (format!("k{i}").into(), v)).collect();
                (0..=entries.len()).map(|n| Value::map(item, entries[..n].to_vec())).collect()
            }
            DataType::Vector(n) => {
                [0.0, 1.5, NAN].map(|v| Value::Vector(vec![v; n as usize].into())).to_vec()
            }
        }
    }

    #[test]
    fn a_value_takes_three_words() {
        assert_eq!(size_of::<Value>(), 24);
    }

    #[test]
    fn canonical_floats_have_one_zero_and_one_nan() {
        assert_eq!(canonical(-0.0).to_bits(), 0.0f64.to_bits());
        assert_eq!(canonical(-f64::NAN).to_bits(), NAN.to_bits());
        assert_eq!(canonical(f64::from_bits(0x7ff0_0000_0000_0001)).to_bits(), NAN.to_bits());
        assert_eq!(canonical(-1.5), -1.5);
        assert_eq!(canonical(f64::NEG_INFINITY), f64::NEG_INFINITY);
    }
}
