//! A typed column that is filled in any order.

mod words;

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, StringBuilder,
    TimestampMicrosecondArray,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use thyme_core::value::shared;
use thyme_core::value::{cell, column as column_of};
use thyme_core::{DataType, Error, Result, Value};

/// Values of one type, all null at first.
#[derive(Clone, Debug)]
pub struct ColumnBuffer {
    data_type: DataType,
    values: Values,
}

#[derive(Clone, Debug)]
enum Values {
    Words {
        words: Vec<u64>,
        valid: Vec<bool>,
    },
    Texts(Vec<Option<Arc<str>>>),
    /// Of a type whose values are neither words nor texts.
    Others(Vec<Value>),
}

/// Whether values of a type are kept as words or texts.
fn is_plain(data_type: DataType) -> bool {
    matches!(data_type, DataType::Int | DataType::Float | DataType::Str | DataType::Bool | DataType::Datetime)
}

impl ColumnBuffer {
    /// `rows` nulls.
    pub fn nulls(data_type: DataType, rows: usize) -> Self {
        let values = match data_type {
            DataType::Str => Values::Texts(vec![None; rows]),
            other if !is_plain(other) => Values::Others(vec![Value::Null; rows]),
            _ => Values::Words { words: vec![0; rows], valid: vec![false; rows] },
        };
        ColumnBuffer { data_type, values }
    }

    /// The same value in each of `rows` rows.
    pub fn repeat(data_type: DataType, value: &Value, rows: usize) -> Self {
        let mut column = Self::nulls(data_type, rows);
        if !value.is_null() {
            (0..rows).for_each(|row| column.set(row, value.clone()));
        }
        column
    }

    /// A conformed Arrow column.
    ///
    /// # Errors
    /// Internal: an Arrow type that is not `data_type`'s.
    pub fn from_arrow(data_type: DataType, array: &ArrayRef) -> Result<Self> {
        if *array.data_type() != data_type.arrow() {
            return Err(Error::internal(format!("a column is {}, expected {data_type}", array.data_type())));
        }
        let valid = (0..array.len()).map(|row| array.is_valid(row)).collect();
        let words = match data_type {
            DataType::Str => {
                let texts = array.as_string::<i32>().iter().map(|t| t.map(Arc::from)).collect();
                return Ok(ColumnBuffer { data_type, values: Values::Texts(texts) });
            }
            DataType::Int => array.as_primitive::<Int64Type>().values().iter().map(|v| *v as u64).collect(),
            DataType::Datetime => {
                array.as_primitive::<TimestampMicrosecondType>().values().iter().map(|v| *v as u64).collect()
            }
            DataType::Float => {
                array.as_primitive::<Float64Type>().values().iter().map(|v| v.to_bits()).collect()
            }
            DataType::Bool => array.as_boolean().values().iter().map(u64::from).collect(),
            other => {
                let values = (0..array.len()).map(|row| cell(other, array, row)).collect();
                return Ok(ColumnBuffer { data_type, values: Values::Others(values) });
            }
        };
        Ok(ColumnBuffer { data_type, values: Values::Words { words, valid } })
    }

    /// Its type.
    pub fn data_type(&self) -> DataType {
        self.data_type
    }

    /// Rows.
    pub fn len(&self) -> usize {
        match &self.values {
            Values::Words { words, .. } => words.len(),
            Values::Texts(texts) => texts.len(),
            Values::Others(values) => values.len(),
        }
    }

    /// The bytes that its values take, texts that it shares with others among them.
    pub fn bytes(&self) -> usize {
        match &self.values {
            Values::Words { words, valid } => size_of_val(words.as_slice()) + valid.len(),
            Values::Texts(texts) => {
                size_of_val(texts.as_slice()) + texts.iter().flatten().map(|text| shared(text)).sum::<usize>()
            }
            Values::Others(values) => values.iter().map(Value::bytes).sum(),
        }
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts a value of the column's type (an int widens to float) or null. Other types become null; the
    /// callers check types where they can be wrong.
    pub fn set(&mut self, row: usize, value: Value) {
        match (&mut self.values, value) {
            (Values::Texts(texts), Value::Str(text)) => texts[row] = Some(text),
            (Values::Texts(texts), _) => texts[row] = None,
            (Values::Others(values), value) => {
                values[row] = value.widen(self.data_type).unwrap_or_default();
            }
            (Values::Words { words, valid }, value) => {
                let word = match (value, self.data_type) {
                    (Value::Int(v), DataType::Float) => Some((v as f64).to_bits()),
                    (Value::Int(v), DataType::Int) | (Value::Datetime(v), DataType::Datetime) => {
                        Some(v as u64)
                    }
                    (Value::Float(v), DataType::Float) => Some(v.to_bits()),
                    (Value::Bool(v), DataType::Bool) => Some(u64::from(v)),
                    _ => None,
                };
                valid[row] = word.is_some();
                words[row] = word.unwrap_or(0);
            }
        }
    }

    /// The value of a row.
    pub fn get(&self, row: usize) -> Value {
        match &self.values {
            Values::Texts(texts) => texts[row].clone().map_or(Value::Null, Value::Str),
            Values::Others(values) => values[row].clone(),
            Values::Words { words, valid } if valid[row] => match self.data_type {
                DataType::Int => Value::Int(words[row] as i64),
                DataType::Datetime => Value::Datetime(words[row] as i64),
                DataType::Float => Value::Float(f64::from_bits(words[row])),
                DataType::Bool => Value::Bool(words[row] != 0),
                _ => Value::Null,
            },
            Values::Words { .. } => Value::Null,
        }
    }

    /// Whether a row is null.
    pub fn is_null(&self, row: usize) -> bool {
        match &self.values {
            Values::Texts(texts) => texts[row].is_none(),
            Values::Others(values) => values[row].is_null(),
            Values::Words { valid, .. } => !valid[row],
        }
    }

    /// Replaces nulls.
    pub fn fill(&mut self, value: &Value) {
        for row in 0..self.len() {
            if self.is_null(row) {
                self.set(row, value.clone());
            }
        }
    }

    /// Some of its rows.
    pub fn pick(&self, rows: &[u32]) -> ColumnBuffer {
        let values = match &self.values {
            Values::Words { words, valid } => Values::Words {
                words: rows.iter().map(|&row| words[row as usize]).collect(),
                valid: rows.iter().map(|&row| valid[row as usize]).collect(),
            },
            Values::Texts(texts) => {
                Values::Texts(rows.iter().map(|&row| texts[row as usize].clone()).collect())
            }
            Values::Others(values) => {
                Values::Others(rows.iter().map(|&row| values[row as usize].clone()).collect())
            }
        };
        ColumnBuffer { data_type: self.data_type, values }
    }

    /// Copies the rows of `part` to the rows named by `rows`.
    pub fn scatter(&mut self, part: ColumnBuffer, rows: &[u32]) {
        match (&mut self.values, part.values) {
            (Values::Words { words, valid }, Values::Words { words: from, valid: present }) => {
                for (i, &row) in rows.iter().enumerate() {
                    words[row as usize] = from[i];
                    valid[row as usize] = present[i];
                }
            }
            (Values::Texts(texts), Values::Texts(from)) => {
                for (text, &row) in from.into_iter().zip(rows) {
                    texts[row as usize] = text;
                }
            }
            (Values::Others(values), Values::Others(from)) => {
                for (value, &row) in from.into_iter().zip(rows) {
                    values[row as usize] = value;
                }
            }
            _ => {}
        }
    }

    /// As Arrow.
    pub fn to_arrow(&self) -> ArrayRef {
        match &self.values {
            Values::Others(values) => column_of(self.data_type, values),
            Values::Texts(texts) => {
                let bytes = texts.iter().flatten().map(|t| t.len()).sum();
                let mut builder = StringBuilder::with_capacity(texts.len(), bytes);
                texts.iter().for_each(|t| builder.append_option(t.as_deref()));
                Arc::new(builder.finish())
            }
            Values::Words { words, valid } => {
                let nulls = valid.contains(&false).then(|| NullBuffer::from(valid.as_slice()));
                let ints = || words.iter().map(|w| *w as i64).collect::<Vec<_>>();
                match self.data_type {
                    DataType::Float => {
                        let floats: Vec<f64> = words.iter().map(|w| f64::from_bits(*w)).collect();
                        Arc::new(Float64Array::new(floats.into(), nulls))
                    }
                    DataType::Bool => {
                        let bits = BooleanBuffer::collect_bool(words.len(), |row| words[row] != 0);
                        Arc::new(BooleanArray::new(bits, nulls))
                    }
                    DataType::Datetime => {
                        Arc::new(TimestampMicrosecondArray::new(ints().into(), nulls).with_timezone("UTC"))
                    }
                    _ => Arc::new(Int64Array::new(ints().into(), nulls)),
                }
            }
        }
    }
}
