//! Values in the order of their type.

use super::extreme::order_float;
use super::word_text;
use crate::value::{DataType, Unscaled, Value, encoding};

/// A value that stands by itself, in the order of its type: numbers and times by what they count, NaN after all other
/// floats, false before true, texts and bytes by their bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// A number.
    Number(i128),
    /// A text or bytes.
    Text(Box<[u8]>),
}

impl Rank {
    /// That of a value of a plain type, as a slice has it.
    pub(super) fn of(data_type: DataType, word: u64, heap: &[u8]) -> Rank {
        match data_type {
            DataType::Float => Rank::Number(order_float(word as i64).into()),
            DataType::Decimal(_) => {
                let integer = word_text(word, heap).try_into().map(i128::from_le_bytes);
                Rank::Number(integer.unwrap_or_default())
            }
            word_type if word_type.is_word() => Rank::Number((word as i64).into()),
            _ => Rank::Text(word_text(word, heap).into()),
        }
    }

    /// Whether it is the float that is no number.
    pub(super) fn is_nan(&self, data_type: DataType) -> bool {
        data_type == DataType::Float
            && *self > Rank::Number(order_float(f64::INFINITY.to_bits() as i64).into())
    }

    /// The value.
    pub(super) fn value(&self, data_type: DataType) -> Value {
        match (self, data_type) {
            (Rank::Number(n), DataType::Int) => Value::Int(*n as i64),
            (Rank::Number(n), DataType::Float) => Value::Float(f64::from_bits(order_float(*n as i64) as u64)),
            (Rank::Number(n), DataType::Bool) => Value::Bool(*n != 0),
            (Rank::Number(n), DataType::Datetime) => Value::Datetime(*n as i64),
            (Rank::Number(n), DataType::Date) => Value::Date(*n as i32),
            (Rank::Number(n), DataType::Decimal(scale)) => Value::Decimal(scale, Unscaled::new(*n)),
            (Rank::Text(bytes), data_type) => encoding::decode(data_type, bytes).unwrap_or_default(),
            (Rank::Number(_), _) => Value::Null,
        }
    }

    /// Bytes of memory outside the struct itself.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Rank::Number(_) => 0,
            Rank::Text(text) => text.len(),
        }
    }
}
