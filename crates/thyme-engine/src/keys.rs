//! The keys of a batch, encoded into one buffer.

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{Date32Type, Float64Type, Int64Type, TimestampMicrosecondType};
use thyme_core::key::{put_str, put_word, tag_of};
use thyme_core::{DataType, Error, Field, Result};

/// Encoded keys, one a row (see [`thyme_core::EntityKey`]).
pub(crate) struct Keys {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Keys {
    /// The key of a row.
    pub fn get(&self, row: usize) -> &[u8] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.bytes[start as usize..self.ends[row] as usize]
    }

    /// Bytes of all keys.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The keys of some rows.
    pub fn pick(&self, rows: &[u32]) -> Keys {
        let mut keys =
            Keys { bytes: Vec::with_capacity(self.bytes.len()), ends: Vec::with_capacity(rows.len()) };
        keys.extend(rows.iter().map(|row| self.get(*row as usize)));
        keys
    }
}

impl<'k> FromIterator<&'k [u8]> for Keys {
    fn from_iter<T: IntoIterator<Item = &'k [u8]>>(encoded: T) -> Keys {
        let mut keys = Keys { bytes: Vec::new(), ends: Vec::new() };
        keys.extend(encoded);
        keys
    }
}

impl<'k> Extend<&'k [u8]> for Keys {
    fn extend<T: IntoIterator<Item = &'k [u8]>>(&mut self, encoded: T) {
        for key in encoded {
            self.bytes.extend_from_slice(key);
            self.ends.push(self.bytes.len() as u32);
        }
    }
}

/// Encodes the key columns of a batch; none of them has a null.
pub(crate) fn encode_keys(fields: &[Field], batch: &RecordBatch) -> Result<Keys> {
    let columns: Vec<(DataType, &ArrayRef)> = fields
        .iter()
        .map(|f| match batch.column_by_name(&f.name) {
            Some(column) => Ok((f.data_type, column)),
            None => Err(Error::internal(format!("a batch has no key column {}", f.name))),
        })
        .collect::<Result<_>>()?;
    let rows = batch.num_rows();
    let mut keys = Keys { bytes: Vec::with_capacity(rows * 16), ends: Vec::with_capacity(rows) };
    if let [(DataType::Str, column)] = columns.as_slice() {
        let texts = column.as_string::<i32>();
        for row in 0..rows {
            put_str(texts.value(row), &mut keys.bytes);
            keys.ends.push(keys.bytes.len() as u32);
        }
    } else {
        for row in 0..rows {
            for (data_type, column) in &columns {
                put(*data_type, column, row, &mut keys.bytes);
            }
            keys.ends.push(keys.bytes.len() as u32);
        }
    }
    if keys.bytes.len() > u32::MAX as usize {
        return Err(Error::invalid_data("the keys of one push are larger than 4 GiB; push in smaller parts"));
    }
    Ok(keys)
}

fn put(data_type: DataType, column: &ArrayRef, row: usize, bytes: &mut Vec<u8>) {
    let tag = tag_of(data_type);
    match data_type {
        DataType::Str => put_str(column.as_string::<i32>().value(row), bytes),
        DataType::Bool => bytes.extend_from_slice(&[tag, u8::from(column.as_boolean().value(row))]),
        DataType::Int => put_word(tag, column.as_primitive::<Int64Type>().value(row) as u64, bytes),
        DataType::Float => put_word(tag, column.as_primitive::<Float64Type>().value(row).to_bits(), bytes),
        DataType::Datetime => {
            put_word(tag, column.as_primitive::<TimestampMicrosecondType>().value(row) as u64, bytes)
        }
        DataType::Date => {
            let day = column.as_primitive::<Date32Type>().value(row);
            put_word(tag, i64::from(day) as u64, bytes);
        }
        // A valid definition has no key of such a type.
        DataType::Bytes
        | DataType::Decimal(_)
        | DataType::List(_)
        | DataType::Map(_)
        | DataType::Vector(_)
        | DataType::Json => {}
    }
}
