//! Rows on their way into timelines.

use arrow::array::{Array, AsArray, BinaryArray, BooleanArray, StringArray, UInt32Array};
use arrow::buffer::{BooleanBuffer, NullBuffer, ScalarBuffer};
use arrow::compute::take;
use arrow::datatypes::{Date32Type, Float64Type, Int64Type, TimestampMicrosecondType};
use thyme_core::value::encoded;
use thyme_core::{DataType, Error, Position, Result};

use crate::chunk::{Cell, Row};

/// The rows of one log record after the operators: what the timelines of one pipeline node take.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The event times.
    pub times: Vec<i64>,
    /// The positions, packed.
    pub positions: Vec<u64>,
    /// The columns of the layout.
    pub columns: Vec<BatchColumn>,
    /// The verdicts of each predicate; null is false already.
    pub predicates: Vec<BooleanBuffer>,
    /// What the rows do to the timeline, and when; none: each is added at its position.
    pub changes: Option<Changes>,
}

/// What each row of a batch does: it adds a version of an event's row, or ends the version before.
#[derive(Clone, Debug)]
pub struct Changes {
    /// The position of the change; the batch's positions are those of the events.
    pub at: Vec<u64>,
    /// Which rows end a version.
    pub ends: BooleanBuffer,
}

/// One column of a batch; it shares the buffers of the Arrow array it was made from.
#[derive(Clone, Debug)]
pub enum BatchColumn {
    /// int, datetime and date as `i64` bits, float as `f64` bits.
    Words {
        /// One word a row.
        values: ScalarBuffer<u64>,
        /// Which rows are not null.
        validity: Option<NullBuffer>,
    },
    /// bool.
    Bools(BooleanArray),
    /// str, and json as its text.
    Strings(StringArray),
    /// The canonical bytes of values of any other type.
    Bytes(BinaryArray),
}

impl BatchColumn {
    /// The column of `data_type` that an Arrow array of the matching type holds.
    ///
    /// # Errors
    /// An array of another type.
    pub fn new(data_type: DataType, array: &dyn Array) -> Result<BatchColumn> {
        let words = |buffer: arrow::buffer::Buffer| BatchColumn::Words {
            values: ScalarBuffer::new(buffer, 0, array.len()),
            validity: array.nulls().cloned(),
        };
        let column = match data_type {
            DataType::Int => array.as_primitive_opt::<Int64Type>().map(|a| words(a.values().inner().clone())),
            DataType::Float => {
                array.as_primitive_opt::<Float64Type>().map(|a| words(a.values().inner().clone()))
            }
            DataType::Datetime => array
                .as_primitive_opt::<TimestampMicrosecondType>()
                .map(|a| words(a.values().inner().clone())),
            DataType::Bool => array.as_boolean_opt().map(|a| BatchColumn::Bools(a.clone())),
            DataType::Str | DataType::Json => {
                array.as_string_opt::<i32>().map(|a| BatchColumn::Strings(a.clone()))
            }
            DataType::Date => array.as_primitive_opt::<Date32Type>().map(|a| BatchColumn::Words {
                values: a.values().iter().map(|day| i64::from(*day) as u64).collect(),
                validity: a.nulls().cloned(),
            }),
            DataType::Bytes => array.as_binary_opt::<i32>().map(|a| BatchColumn::Bytes(a.clone())),
            DataType::Decimal(_) | DataType::List(_) | DataType::Map(_) | DataType::Vector(_) => {
                let fits = *array.data_type() == data_type.arrow();
                fits.then(|| BatchColumn::Bytes(encoded(data_type, array)))
            }
        };
        column.ok_or_else(|| {
            Error::internal(format!(
                "a timeline's column of type {data_type} was given as {}",
                array.data_type()
            ))
        })
    }

    /// The values of some rows, in their order.
    ///
    /// # Errors
    /// More bytes of strings than a column can hold.
    fn take(&self, rows: &[u32]) -> Result<BatchColumn> {
        let indices = || UInt32Array::from(rows.to_vec());
        Ok(match self {
            BatchColumn::Words { values, validity } => BatchColumn::Words {
                values: rows.iter().map(|row| values[*row as usize]).collect(),
                validity: validity.as_ref().map(|v| NullBuffer::new(taken(v.inner(), rows))),
            },
            BatchColumn::Bools(array) => {
                BatchColumn::Bools(take(array, &indices(), None)?.as_boolean().clone())
            }
            BatchColumn::Strings(array) => {
                BatchColumn::Strings(take(array, &indices(), None)?.as_string().clone())
            }
            BatchColumn::Bytes(array) => {
                BatchColumn::Bytes(take(array, &indices(), None)?.as_binary().clone())
            }
        })
    }

    /// Whether two rows have the same value, bit for bit.
    pub fn is_same(&self, one: usize, other: usize) -> bool {
        self.cell(one) == self.cell(other)
    }

    fn cell(&self, row: usize) -> Option<Cell<'_>> {
        match self {
            BatchColumn::Words { values, validity } => {
                let word = *values.get(row)?;
                validity.as_ref().is_none_or(|v| v.is_valid(row)).then_some(Cell::Word(word))
            }
            BatchColumn::Bools(array) => {
                (row < array.len() && array.is_valid(row)).then(|| Cell::Word(u64::from(array.value(row))))
            }
            BatchColumn::Strings(array) => {
                (row < array.len() && array.is_valid(row)).then(|| Cell::Text(array.value(row).as_bytes()))
            }
            BatchColumn::Bytes(array) => {
                (row < array.len() && array.is_valid(row)).then(|| Cell::Text(array.value(row)))
            }
        }
    }
}

impl Batch {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Some of the rows, in their order.
    ///
    /// # Errors
    /// More bytes of strings than a column can hold.
    pub fn take(&self, rows: &[u32]) -> Result<Batch> {
        let words = |words: &[u64]| rows.iter().map(|row| words[*row as usize]).collect();
        Ok(Batch {
            times: rows.iter().map(|row| self.times[*row as usize]).collect(),
            positions: words(&self.positions),
            columns: self.columns.iter().map(|column| column.take(rows)).collect::<Result<_>>()?,
            predicates: self.predicates.iter().map(|bits| taken(bits, rows)).collect(),
            changes: self
                .changes
                .as_ref()
                .map(|changes| Changes { at: words(&changes.at), ends: taken(&changes.ends, rows) }),
        })
    }

    /// The position of `row`.
    pub fn position(&self, row: usize) -> Option<Position> {
        self.positions.get(row).map(|bits| Position::from_bits(*bits))
    }
}

/// The bits of some rows.
fn taken(bits: &BooleanBuffer, rows: &[u32]) -> BooleanBuffer {
    BooleanBuffer::collect_bool(rows.len(), |row| bits.value(rows[row] as usize))
}

/// One row of a batch.
#[derive(Clone, Copy)]
pub(crate) struct BatchRow<'a> {
    pub(crate) batch: &'a Batch,
    pub(crate) row: usize,
}

impl Row for BatchRow<'_> {
    fn cell(&self, column: usize) -> Option<Cell<'_>> {
        self.batch.columns.get(column)?.cell(self.row)
    }

    fn predicate(&self, predicate: usize) -> bool {
        self.batch.predicates.get(predicate).is_some_and(|bits| self.row < bits.len() && bits.value(self.row))
    }
}
