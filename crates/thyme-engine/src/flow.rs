//! Rows on their way through the operators of a node.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{and, cast, concat, filter, filter_record_batch, is_not_null, take};
use arrow::datatypes::{Field as ArrowField, Schema as ArrowSchema};
use thyme_core::expr::Compiled;
use thyme_core::{DataType, Error, Field, Position, Result};
use thyme_timeline::Changes;

use crate::decode::columns::event_times;

/// Rows after some of a node's operators.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    pub batch: RecordBatch,
    /// Which of the origin's rows are left; `None`: all of them.
    rows: Option<UInt32Array>,
    origin: Arc<Origin>,
}

/// A column that stays.
#[derive(Clone, Debug)]
pub(crate) struct Projected {
    pub name: String,
    /// What it was called.
    pub from: String,
    pub data_type: DataType,
    /// Whether it is the event time.
    pub is_time: bool,
}

/// What the rows are, by their number before any was dropped.
#[derive(Debug)]
enum Origin {
    /// Those of a log record, with their event times in this column.
    Record(u64, String),
    Changes(Versions),
}

/// Versions of events' rows that come and go; in the order of `at`.
#[derive(Debug, Default)]
pub(crate) struct Versions {
    pub times: Vec<i64>,
    /// Of the events, packed.
    pub positions: Vec<u64>,
    /// Where the version comes or goes, packed.
    pub at: Vec<u64>,
    /// Whether it goes.
    pub ends: Vec<bool>,
}

/// What a timeline needs to know of the rows of a flow besides their columns.
pub(crate) struct Places {
    pub times: Vec<i64>,
    pub positions: Vec<u64>,
    /// `None`: each row is added at its position.
    pub changes: Option<Changes>,
}

impl Places {
    /// The position as of which a row is to be derived: for one that goes, what it was before.
    pub fn as_of(&self, row: usize) -> Position {
        Position::from_bits(match &self.changes {
            None => self.positions[row],
            Some(changes) => changes.at[row] - u64::from(changes.ends.value(row)),
        })
    }
}

impl Flow {
    /// The rows of a log record; `numbers` are theirs in it, if they do not count from 0.
    pub fn of_record(batch: RecordBatch, number: u64, numbers: Option<UInt32Array>, timestamp: &str) -> Flow {
        Flow { batch, rows: numbers, origin: Arc::new(Origin::Record(number, timestamp.to_owned())) }
    }

    /// Versions that come and go.
    pub fn of_changes(batch: RecordBatch, versions: Versions) -> Flow {
        Flow { batch, rows: None, origin: Arc::new(Origin::Changes(versions)) }
    }

    pub fn len(&self) -> usize {
        self.batch.num_rows()
    }

    /// The times and positions of the rows.
    pub fn places(&self) -> Result<Places> {
        let count = self.len();
        let number = |row: usize| self.rows.as_ref().map_or(row, |rows| rows.value(row) as usize);
        Ok(match &*self.origin {
            Origin::Record(record, timestamp) => Places {
                times: event_times(&self.batch, timestamp)?.values().to_vec(),
                positions: (0..count)
                    .map(|row| Position::new(*record, number(row) as u32).to_bits())
                    .collect(),
                changes: None,
            },
            Origin::Changes(versions) => Places {
                times: (0..count).map(|row| versions.times[number(row)]).collect(),
                positions: (0..count).map(|row| versions.positions[number(row)]).collect(),
                changes: Some(Changes {
                    at: (0..count).map(|row| versions.at[number(row)]).collect(),
                    ends: BooleanBuffer::collect_bool(count, |row| versions.ends[number(row)]),
                }),
            },
        })
    }

    /// Drops the rows where `mask` is not true.
    pub fn keep(&mut self, mask: &BooleanArray) -> Result<()> {
        if mask.true_count() == self.len() {
            return Ok(());
        }
        let numbers = match self.rows.take() {
            Some(numbers) => numbers,
            None => UInt32Array::from_iter_values(0..self.len() as u32),
        };
        self.rows = Some(filter(&numbers, mask)?.as_primitive().clone());
        self.batch = filter_record_batch(&self.batch, mask)?;
        Ok(())
    }

    /// Which rows have a value in all of these columns; `None`: all rows.
    pub fn with_values(&self, fields: &[Field]) -> Result<Option<BooleanArray>> {
        let mut all: Option<BooleanArray> = None;
        for field in fields {
            let column = column(&self.batch, &field.name)?;
            if column.null_count() > 0 {
                let present = is_not_null(column)?;
                all = Some(match all {
                    Some(others) => and(&others, &present)?,
                    None => present,
                });
            }
        }
        Ok(all)
    }

    /// Adds or replaces columns by expressions over those there are.
    pub fn assign(&mut self, assigned: &[(String, Compiled)]) -> Result<()> {
        let values =
            assigned.iter().map(|(_, expr)| expr.evaluate(&self.batch)).collect::<Result<Vec<_>>>()?;
        let names = assigned.iter().map(|(name, _)| name.as_str());
        self.set(names.zip(values))
    }

    /// Keeps only these columns, each under a new name and in a type; one that is not there is read by nothing after.
    pub fn project(&mut self, columns: &[Projected]) -> Result<()> {
        if let Origin::Record(number, timestamp) = &*self.origin
            && let Some(renamed) = columns.iter().find(|c| c.from == *timestamp && c.is_time)
        {
            self.origin = Arc::new(Origin::Record(*number, renamed.name.clone()));
        }
        let mut fields = Vec::with_capacity(columns.len());
        let mut kept = Vec::with_capacity(columns.len());
        for column in columns {
            let Some(values) = self.batch.column_by_name(&column.from) else { continue };
            let wanted = column.data_type.arrow();
            let values = if *values.data_type() == wanted { values.clone() } else { cast(values, &wanted)? };
            fields.push(ArrowField::new(&column.name, wanted, true));
            kept.push(values);
        }
        let count = RecordBatchOptions::new().with_row_count(Some(self.len()));
        self.batch = RecordBatch::try_new_with_options(Arc::new(ArrowSchema::new(fields)), kept, &count)?;
        Ok(())
    }

    /// Adds or replaces columns.
    pub fn set<'n>(&mut self, assigned: impl Iterator<Item = (&'n str, ArrayRef)>) -> Result<()> {
        let mut fields: Vec<Arc<ArrowField>> = self.batch.schema_ref().fields().iter().cloned().collect();
        let mut columns = self.batch.columns().to_vec();
        for (name, value) in assigned {
            let field = Arc::new(ArrowField::new(name, value.data_type().clone(), true));
            match fields.iter().position(|f| f.name() == name) {
                Some(index) => {
                    fields[index] = field;
                    columns[index] = value;
                }
                None => {
                    fields.push(field);
                    columns.push(value);
                }
            }
        }
        self.batch = RecordBatch::try_new(Arc::new(ArrowSchema::new(fields)), columns)?;
        Ok(())
    }

    /// Both flows' changes in the order of their positions, with the columns that both have.
    pub fn merge(self, other: Flow) -> Result<Flow> {
        let mut versions = Versions::default();
        for places in [self.places()?, other.places()?] {
            let rows = places.times.len();
            match places.changes {
                Some(changes) => {
                    versions.at.extend(&changes.at);
                    versions.ends.extend(changes.ends.iter());
                }
                None => {
                    versions.at.extend(&places.positions);
                    versions.ends.extend(std::iter::repeat_n(false, rows));
                }
            }
            versions.times.extend(places.times);
            versions.positions.extend(places.positions);
        }
        let mut order: Vec<u32> = (0..versions.at.len() as u32).collect();
        order.sort_by_key(|row| versions.at[*row as usize]);
        let picked = UInt32Array::from(order);
        let schema = other.batch.schema();
        let mut columns = Vec::with_capacity(schema.fields().len());
        for field in schema.fields() {
            // One that either is without is read by nothing after.
            let Some(own) = self.batch.column_by_name(field.name()) else { continue };
            let parts = [own, column(&other.batch, field.name())?];
            let both = concat(&parts.map(|part| part.as_ref()))?;
            columns.push(take(&both, &picked, None)?);
        }
        let sorted = |row: &u32| *row as usize;
        let order = picked.values();
        let versions = Versions {
            times: order.iter().map(|row| versions.times[sorted(row)]).collect(),
            positions: order.iter().map(|row| versions.positions[sorted(row)]).collect(),
            at: order.iter().map(|row| versions.at[sorted(row)]).collect(),
            ends: order.iter().map(|row| versions.ends[sorted(row)]).collect(),
        };
        let kept = schema.fields().iter().filter(|field| self.batch.column_by_name(field.name()).is_some());
        let schema = Arc::new(ArrowSchema::new(kept.cloned().collect::<Vec<_>>()));
        Ok(Flow::of_changes(RecordBatch::try_new(schema, columns)?, versions))
    }
}

pub(crate) fn column<'b>(batch: &'b RecordBatch, name: &str) -> Result<&'b ArrayRef> {
    batch.column_by_name(name).ok_or_else(|| Error::internal(format!("a batch has no column {name}")))
}
