//! Entity keys: one or several values as one comparable string of bytes.

use crate::error::{Error, Result};
use crate::value::{DataType, Value, canonical};

/// An entity key, encoded: for each key field in declaration order a tag byte and the value.
///
/// `int`, `datetime`, `date` and `float` are 8 bytes big-endian (float as canonical bits), `bool` one byte,
/// `str` its length as u32 big-endian and its bytes. The encoding is injective and part of the
/// formats on disk. Keys are never null.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntityKey(pub Box<[u8]>);

impl EntityKey {
    /// Encodes the values of the key fields, in declaration order.
    ///
    /// # Errors
    /// A null among them.
    pub fn encode(values: &[Value]) -> Result<EntityKey> {
        let mut bytes = Vec::with_capacity(values.len() * 13);
        for value in values {
            encode_into(value, &mut bytes)?;
        }
        Ok(EntityKey(bytes.into_boxed_slice()))
    }

    /// The values again.
    ///
    /// # Errors
    /// Bytes that [`EntityKey::encode`] did not make.
    pub fn decode(bytes: &[u8]) -> Result<Vec<Value>> {
        let corrupt = || Error::corrupt("an entity key is damaged");
        let mut rest = bytes;
        let mut values = Vec::new();
        while let Some((&tag, tail)) = rest.split_first() {
            let (value, tail) = match tag {
                b's' => {
                    let (len, tail) = tail.split_first_chunk::<4>().ok_or_else(corrupt)?;
                    let (text, tail) =
                        tail.split_at_checked(u32::from_be_bytes(*len) as usize).ok_or_else(corrupt)?;
                    (Value::Str(std::str::from_utf8(text).map_err(|_| corrupt())?.into()), tail)
                }
                b'b' => {
                    let (&b, tail) = tail.split_first().ok_or_else(corrupt)?;
                    (Value::Bool(b != 0), tail)
                }
                b'i' | b't' | b'f' | b'd' => {
                    let (word, tail) = tail.split_first_chunk::<8>().ok_or_else(corrupt)?;
                    let word = u64::from_be_bytes(*word);
                    let value = match tag {
                        b'i' => Value::Int(word as i64),
                        b't' => Value::Datetime(word as i64),
                        b'd' => Value::Date(i32::try_from(word as i64).map_err(|_| corrupt())?),
                        _ => Value::Float(f64::from_bits(word)),
                    };
                    (value, tail)
                }
                _ => return Err(corrupt()),
            };
            values.push(value);
            rest = tail;
        }
        Ok(values)
    }
}

/// Appends one key value's encoding.
///
/// # Errors
/// A null.
pub fn encode_into(value: &Value, bytes: &mut Vec<u8>) -> Result<()> {
    match value {
        Value::Null => return Err(Error::invalid_data("a key is never null")),
        Value::Int(v) => put_word(b'i', *v as u64, bytes),
        Value::Datetime(v) => put_word(b't', *v as u64, bytes),
        Value::Float(v) => put_word(b'f', canonical(*v).to_bits(), bytes),
        Value::Bool(v) => bytes.extend_from_slice(&[b'b', u8::from(*v)]),
        Value::Str(v) => put_str(v, bytes),
        Value::Date(v) => put_word(b'd', i64::from(*v) as u64, bytes),
        Value::Bytes(_)
        | Value::Decimal(..)
        | Value::List(..)
        | Value::Map(..)
        | Value::Vector(_)
        | Value::Json(_) => {
            return Err(Error::invalid_data("a key is an int, a str, a bool, a datetime or a date"));
        }
    }
    Ok(())
}

/// Appends an 8-byte value of the type with tag `tag` (see [`tag_of`]).
#[inline]
pub fn put_word(tag: u8, word: u64, bytes: &mut Vec<u8>) {
    bytes.push(tag);
    bytes.extend_from_slice(&word.to_be_bytes());
}

/// Appends a string value.
#[inline]
pub fn put_str(text: &str, bytes: &mut Vec<u8>) {
    bytes.push(b's');
    bytes.extend_from_slice(&(text.len() as u32).to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

/// The tag byte of a type; those of types that are no keys tell columns of a chunk apart.
pub const fn tag_of(data_type: DataType) -> u8 {
    match data_type {
        DataType::Int => b'i',
        DataType::Float => b'f',
        DataType::Str => b's',
        DataType::Bool => b'b',
        DataType::Datetime => b't',
        DataType::Date => b'd',
        DataType::Bytes => b'y',
        DataType::Decimal(_) => b'n',
        DataType::List(_) => b'l',
        DataType::Map(_) => b'm',
        DataType::Vector(_) => b'v',
        DataType::Json => b'j',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_round_trip_and_differ() {
        let keys = [
            vec![Value::Str("a".into()), Value::Str("bc".into())],
            vec![Value::Str("ab".into()), Value::Str("c".into())],
            vec![Value::Int(1)],
            vec![Value::Datetime(1)],
            vec![Value::Date(-1)],
            vec![Value::Float(1.0)],
            vec![Value::Bool(true)],
            vec![Value::Str("".into())],
        ];
        let encoded: std::collections::HashSet<_> =
            keys.iter().map(|k| EntityKey::encode(k).unwrap()).collect();
        assert_eq!(encoded.len(), keys.len());
        for k in &keys {
            assert_eq!(&EntityKey::decode(&EntityKey::encode(k).unwrap().0).unwrap(), k);
        }
        assert!(EntityKey::encode(&[Value::Null]).is_err());
        assert!(EntityKey::encode(&[Value::Json("{}".into())]).is_err());
        assert!(EntityKey::decode(b"s\0\0\0\x05a").is_err());
    }
}
