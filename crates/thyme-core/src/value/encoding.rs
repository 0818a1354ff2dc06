//! The canonical bytes of values that do not fit a word: the same value, the same bytes.
//!
//! A text and a JSON text are their UTF-8, bytes themselves, a decimal its integer in 16 bytes, a vector its floats in 8
//! bytes each. A list is its number of items in 4 bytes and the items: one byte that says whether one is there, and if
//! so, its value: 8 bytes of an int, a float or a datetime, 4 of a date, 1 of a bool, 16 of a decimal, and of a text or
//! of bytes 4 with their length before them. A map is its number of entries in 4 bytes, and for each, by the bytes of
//! their keys, the length of the key in 4, the key, and the value as an item. All numbers are little-endian.

use std::sync::Arc;

use super::{DataType, Scalar, Unscaled, Value};

/// Appends the bytes of a value; a null and one that fits a word have none.
pub fn encode(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Str(v) | Value::Json(v) => out.extend_from_slice(v.as_bytes()),
        Value::Bytes(v) => out.extend_from_slice(v),
        Value::Decimal(_, v) => out.extend_from_slice(&v.get().to_le_bytes()),
        Value::Vector(v) => v.iter().for_each(|v| out.extend_from_slice(&v.to_bits().to_le_bytes())),
        Value::List(_, items) => {
            out.extend_from_slice(&(items.len() as u32).to_le_bytes());
            items.iter().for_each(|item| encode_item(item, out));
        }
        Value::Map(_, entries) => {
            out.extend_from_slice(&(entries.len() as u32).to_le_bytes());
            for (key, value) in entries.iter() {
                put_bytes(key.as_bytes(), out);
                encode_item(value, out);
            }
        }
        Value::Null
        | Value::Int(_)
        | Value::Float(_)
        | Value::Bool(_)
        | Value::Datetime(_)
        | Value::Date(_) => {}
    }
}

fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn encode_item(item: &Value, out: &mut Vec<u8>) {
    out.push(u8::from(!item.is_null()));
    match item {
        Value::Int(v) | Value::Datetime(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::Float(v) => out.extend_from_slice(&v.to_bits().to_le_bytes()),
        Value::Date(v) => out.extend_from_slice(&v.to_le_bytes()),
        Value::Bool(v) => out.push(u8::from(*v)),
        Value::Str(v) => put_bytes(v.as_bytes(), out),
        Value::Bytes(v) => put_bytes(v, out),
        other => encode(other, out),
    }
}

/// The value of `data_type` that such bytes stand for; `None` for bytes that [`encode`] did not make, and for a type
/// whose values fit a word.
pub fn decode(data_type: DataType, bytes: &[u8]) -> Option<Value> {
    let text = |bytes| Some(Arc::from(std::str::from_utf8(bytes).ok()?));
    Some(match data_type {
        DataType::Str => Value::Str(text(bytes)?),
        DataType::Json => Value::Json(text(bytes)?),
        DataType::Bytes => Value::Bytes(bytes.into()),
        DataType::Decimal(scale) => {
            Value::Decimal(scale, Unscaled::new(i128::from_le_bytes(bytes.try_into().ok()?)))
        }
        DataType::Vector(length) => {
            let (words, rest) = bytes.as_chunks::<8>();
            if !rest.is_empty() || words.len() != length as usize {
                return None;
            }
            Value::Vector(words.iter().map(|word| f64::from_bits(u64::from_le_bytes(*word))).collect())
        }
        DataType::List(item) => {
            let mut input = Input(bytes);
            let count = input.count()?;
            let items: Arc<[Value]> = (0..count).map(|_| input.item(item)).collect::<Option<_>>()?;
            input.0.is_empty().then_some(Value::List(item, items))?
        }
        DataType::Map(item) => {
            let mut input = Input(bytes);
            let count = input.count()?;
            let mut entry = || {
                let key = std::str::from_utf8(input.bytes()?).ok()?;
                Some((Arc::from(key), input.item(item)?))
            };
            let entries: super::Entries = (0..count).map(|_| entry()).collect::<Option<_>>()?;
            let in_order = entries.is_sorted_by(|a, b| a.0 < b.0);
            (input.0.is_empty() && in_order).then_some(Value::Map(item, entries))?
        }
        DataType::Int | DataType::Float | DataType::Bool | DataType::Datetime | DataType::Date => {
            return None;
        }
    })
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = u32::from_le_bytes(self.take()?) as usize;
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    /// How many items follow; each takes a byte at least, so that a damaged number takes no memory.
    fn count(&mut self) -> Option<usize> {
        let count = u32::from_le_bytes(self.take()?) as usize;
        (count <= self.0.len()).then_some(count)
    }

    fn item(&mut self, item: Scalar) -> Option<Value> {
        match self.take::<1>()? {
            [0] => return Some(Value::Null),
            [1] => {}
            _ => return None,
        }
        Some(match item {
            Scalar::Int => Value::Int(i64::from_le_bytes(self.take()?)),
            Scalar::Datetime => Value::Datetime(i64::from_le_bytes(self.take()?)),
            Scalar::Float => Value::Float(f64::from_bits(u64::from_le_bytes(self.take()?))),
            Scalar::Date => Value::Date(i32::from_le_bytes(self.take()?)),
            Scalar::Bool => match self.take()? {
                [bit @ (0 | 1)] => Value::Bool(bit == 1),
                _ => return None,
            },
            Scalar::Str => Value::Str(std::str::from_utf8(self.bytes()?).ok()?.into()),
            Scalar::Bytes => Value::Bytes(self.bytes()?.into()),
            Scalar::Decimal(scale) => Value::Decimal(scale, Unscaled::new(i128::from_le_bytes(self.take()?))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{values_of, varied_types};
    use super::*;

    #[test]
    fn values_survive_their_bytes_and_different_ones_differ() {
        for data_type in varied_types().into_iter().filter(|t| !t.is_word()) {
            let mut seen: Vec<Vec<u8>> = Vec::new();
            for value in values_of(data_type) {
                let mut bytes = Vec::new();
                encode(&value, &mut bytes);
                assert_eq!(decode(data_type, &bytes).as_ref(), Some(&value), "{data_type}");
                assert!(!seen.contains(&bytes), "{data_type} {value}");
                if !matches!(data_type, DataType::Str | DataType::Bytes | DataType::Json) {
                    assert_eq!(decode(data_type, &[&bytes[..], &[0]].concat()), None, "{data_type}");
                    let short = bytes.len().saturating_sub(1);
                    assert!(bytes.is_empty() || decode(data_type, &bytes[..short]).is_none(), "{data_type}");
                }
                seen.push(bytes);
            }
        }
        assert_eq!(decode(DataType::List(Scalar::Int), &[0xff; 8]), None);
    }
}
