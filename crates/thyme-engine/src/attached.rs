//! Rows of another engine's log, and a log in memory that is made of them.
//!
//! Rows travel as Arrow batches, one a record: the dataset's fields, and after them the columns of [`COLUMNS`]. In
//! the log that is made of them they keep their positions and stamps, and the verdicts on them are those that were
//! given ([`crate::remains`]), so that what is read of them is what the other engine gives at the same `(T, S)`.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    new_empty_array,
};
use arrow::datatypes::{DataType as Arrow, Field, Int64Type, Schema, TimestampMicrosecondType};
use arrow::ipc::reader::StreamReader;
use thyme_core::definition::Document;
use thyme_core::{DataType, Error, Result};
use thyme_log::{Log, Record, SparseLog};

use crate::base::Base;
use crate::decode::columns::event_times;
use crate::record::{CommitNote, CommitRecord, EventsRecord, Payload};
use crate::remains::{Left, Remains};

/// The columns after the fields; no field can be called so.
pub const COLUMNS: [&str; 7] = [
    "thyme:record",
    "thyme:row",
    "thyme:stamp",
    "thyme:stream",
    "thyme:late_behind",
    "thyme:duplicate",
    "thyme:watermark",
];

/// Rows of one record of a log.
#[derive(Clone, Debug)]
pub struct StoredRows {
    /// The record's number.
    pub number: u64,
    /// Its stamp.
    pub stamp: i64,
    /// The input stream.
    pub stream: String,
    /// The number of each row in the record.
    pub rows: Vec<u32>,
    /// For each late row the watermark that it is behind of.
    pub behind: Vec<Option<i64>>,
    /// Which rows are duplicates of an event that counts.
    pub duplicate: Vec<bool>,
    /// The stream's watermark after the record.
    pub watermark: Option<i64>,
    /// The rows in the dataset's schema.
    pub batch: RecordBatch,
}

impl StoredRows {
    /// The schema of [`StoredRows::to_batch`] for rows of this schema.
    pub fn schema(rows: &Schema) -> Arc<Schema> {
        let time = DataType::Datetime.arrow();
        let types =
            [Arrow::Int64, Arrow::Int64, time.clone(), Arrow::Utf8, time.clone(), Arrow::Boolean, time];
        let fields = rows.fields().iter().cloned();
        let more = COLUMNS.iter().zip(types).map(|(name, kind)| Arc::new(Field::new(*name, kind, true)));
        Arc::new(Schema::new(fields.chain(more).collect::<Vec<_>>()))
    }

    /// As a batch.
    ///
    /// # Errors
    /// Internal ones only.
    pub fn to_batch(&self) -> Result<RecordBatch> {
        let count = self.batch.num_rows();
        let times = |times: Vec<Option<i64>>| -> ArrayRef {
            Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"))
        };
        let mut columns = self.batch.columns().to_vec();
        columns.extend([
            Arc::new(Int64Array::from(vec![self.number as i64; count])) as ArrayRef,
            Arc::new(Int64Array::from_iter_values(self.rows.iter().map(|row| i64::from(*row)))),
            times(vec![Some(self.stamp); count]),
            Arc::new(StringArray::from(vec![self.stream.as_str(); count])),
            times(self.behind.clone()),
            Arc::new(BooleanArray::from(self.duplicate.clone())),
            times(vec![self.watermark; count]),
        ]);
        Ok(RecordBatch::try_new(Self::schema(self.batch.schema_ref()), columns)?)
    }

    /// From a batch of which the first `fields` columns are the dataset's.
    fn from_batch(batch: &RecordBatch, fields: usize) -> Result<StoredRows> {
        let column = |name: &str, kind: &Arrow| {
            batch.column_by_name(name).filter(|column| column.data_type() == kind).ok_or_else(|| {
                Error::invalid_data(format!(
                    "rows of a log have the column {name} of type {kind}; these do not"
                ))
            })
        };
        let time = DataType::Datetime.arrow();
        let [number, row, stamp, stream, behind, duplicate, watermark] = COLUMNS;
        let one = |name: &str| -> Result<Option<i64>> {
            let times = column(name, &time)?.as_primitive::<TimestampMicrosecondType>();
            Ok((!times.is_empty() && times.is_valid(0)).then(|| times.value(0)))
        };
        let numbers = column(number, &Arrow::Int64)?.as_primitive::<Int64Type>();
        let streams = column(stream, &Arrow::Utf8)?.as_string::<i32>();
        let late = column(behind, &time)?.as_primitive::<TimestampMicrosecondType>();
        if batch.num_rows() == 0 || numbers.values().iter().any(|n| *n != numbers.value(0) || *n < 1) {
            return Err(Error::invalid_data("rows of a log come in batches of one record each"));
        }
        let rows = column(row, &Arrow::Int64)?.as_primitive::<Int64Type>().values().iter();
        let rows: Option<Vec<u32>> = rows.map(|row| u32::try_from(*row).ok()).collect();
        let rows = rows.filter(|rows| rows.is_sorted_by(|a, b| a < b));
        Ok(StoredRows {
            number: numbers.value(0) as u64,
            stamp: one(stamp)?.ok_or_else(|| Error::invalid_data("rows of a log have a stamp"))?,
            stream: streams.value(0).to_owned(),
            rows: rows.ok_or_else(|| Error::invalid_data("rows of a log are numbered in ascending order"))?,
            behind: (0..late.len()).map(|row| late.is_valid(row).then(|| late.value(row))).collect(),
            duplicate: column(duplicate, &Arrow::Boolean)?
                .as_boolean()
                .iter()
                .map(|is| is == Some(true))
                .collect(),
            watermark: one(watermark)?,
            batch: batch.project(&(0..fields).collect::<Vec<_>>())?,
        })
    }
}

/// A log in memory that is made of rows of another, and what it begins with.
#[derive(Clone, Debug)]
pub struct AttachedLog {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) base: Base,
}

/// A log in the making.
#[derive(Debug)]
pub struct Attached {
    commit: String,
    document: Document,
    records: Vec<Record>,
    rows: u64,
    gone: BTreeMap<u32, i64>,
    log_from: Option<i64>,
}

impl Attached {
    /// The log of some datasets, under definitions that are committed elsewhere. They have no sources.
    pub fn new(commit: String, document: Document) -> Attached {
        Attached { commit, document, records: Vec::new(), rows: 0, gone: BTreeMap::new(), log_from: None }
    }

    /// There are rows of a dataset after this event time only. Reads that need others are refused, and what reaches
    /// back without end begins there, as over a log that was cut.
    ///
    /// # Errors
    /// NotFound: no such dataset.
    pub fn rows_begin(&mut self, dataset: &str, after: i64) -> Result<()> {
        let (id, _) = self.dataset(dataset)?;
        self.gone.insert(id, after);
        Ok(())
    }

    /// The other log's records of before this stamp are gone: what was known before is not known.
    pub fn log_begins(&mut self, stamp: i64) {
        self.log_from = Some(stamp);
    }

    /// How many rows it has.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    fn dataset(&self, name: &str) -> Result<(u32, &thyme_core::definition::Dataset)> {
        let known = || self.document.datasets.iter().map(|d| d.name.as_str());
        let found = self.document.datasets.iter().position(|d| d.name == name);
        // The first commit of a log gives ids in the order of its datasets.
        let found = found.and_then(|id| Some((id as u32, self.document.datasets.get(id)?)));
        found.ok_or_else(|| Error::not_found("dataset", name, known()))
    }

    /// Adds rows of a dataset: an Arrow IPC stream of batches as [`StoredRows::to_batch`] makes them.
    ///
    /// # Errors
    /// InvalidData: bytes that are none, or rows of another schema.
    pub fn add(&mut self, dataset: &str, stream: &[u8]) -> Result<()> {
        let (id, definition) = self.dataset(dataset)?;
        let (schema, timestamp) = (definition.fields.arrow(), definition.fields.timestamp());
        let timestamp = timestamp.map(|f| f.name.clone()).unwrap_or_default();
        let malformed = |e| Error::invalid_data(format!("the rows of {dataset} are no Arrow stream: {e}"));
        for batch in StreamReader::try_new(stream, None).map_err(malformed)? {
            let batch = batch.map_err(malformed)?;
            let same =
                |(a, b): (&Arc<Field>, &Arc<Field>)| a.name() == b.name() && a.data_type() == b.data_type();
            let fields = batch.schema_ref().fields();
            if fields.len() < schema.fields().len() || !schema.fields().iter().zip(fields).all(same) {
                return Err(Error::invalid_data(format!(
                    "the rows of {dataset} have other fields than its definition; was it changed meanwhile? attach again"
                )));
            }
            let stored = StoredRows::from_batch(&batch, schema.fields().len())?;
            let batch = RecordBatch::try_new(schema.clone(), stored.batch.columns().to_vec())?;
            self.rows += batch.num_rows() as u64;
            let (number, stamp) = (stored.number, stored.stamp);
            let payload = events(id, &timestamp, StoredRows { batch, ..stored })?;
            self.records.push(Record { number, stamp, payload });
        }
        Ok(())
    }

    /// The log up to record `until`, which was written at `stamp`.
    ///
    /// # Errors
    /// InvalidData: there is nothing that rows could be of.
    pub fn into_log(mut self, until: u64, stamp: i64) -> Result<AttachedLog> {
        let Some(first) = self.document.datasets.first() else {
            return Err(Error::invalid_data("there is no dataset to attach"));
        };
        if self.records.iter().all(|record| record.number < until) {
            // The log goes as far as the other, so that reads as of there need not wait.
            let schema = first.fields.arrow();
            let columns = schema.fields().iter().map(|field| new_empty_array(field.data_type())).collect();
            let batch = RecordBatch::try_new(schema, columns)?;
            let timestamp = first.fields.timestamp().map(|f| f.name.clone()).unwrap_or_default();
            let empty = StoredRows {
                number: until,
                stamp,
                stream: String::new(),
                rows: Vec::new(),
                behind: Vec::new(),
                duplicate: Vec::new(),
                watermark: None,
                batch,
            };
            self.records.push(Record { number: until, stamp, payload: events(0, &timestamp, empty)? });
        }
        self.records.sort_by_key(|record| record.number);
        let (number, stamp) = self.records.first().map_or((2, stamp), |first| (first.number, first.stamp));
        let commit = CommitRecord { id: self.commit, note: CommitNote::default(), document: self.document };
        let payload = Payload::Commit(Box::new(commit)).encode()?;
        // Rows come after the commit of their dataset, so there is a number before the first of them.
        let commit = Record { number: number.saturating_sub(1), stamp: stamp - 1, payload };
        let mut base = Base { gone: self.gone, ..Base::start() };
        if let Some(log_from) = self.log_from {
            base.first = commit.number;
            (base.progress.record, base.progress.stamp) = (commit.number.saturating_sub(1), log_from);
        }
        self.records.push(commit);
        Ok(AttachedLog { log: Arc::new(SparseLog::new(self.records)?), base })
    }
}

/// The payload of some rows of a record.
fn events(dataset: u32, timestamp: &str, stored: StoredRows) -> Result<Vec<u8>> {
    let times = event_times(&stored.batch, timestamp)?;
    let late = (0..).zip(&stored.behind);
    let (late, behind): (Vec<u32>, Vec<i64>) =
        late.filter_map(|(row, behind)| Some((row, (*behind)?))).unzip();
    let duplicates = (0..).zip(&stored.duplicate).filter_map(|(row, is)| is.then_some(row)).collect();
    let counts = stored.behind.iter().zip(&stored.duplicate).map(|(behind, is)| behind.is_none() && !is);
    let newest = counts.zip(times.values()).filter_map(|(counts, time)| counts.then_some(*time)).max();
    let left = Left { rows: stored.rows, late, behind, duplicates, watermark: stored.watermark, newest };
    let record = EventsRecord {
        dataset,
        stream: stored.stream,
        cursor: None,
        dead_letters: Vec::new(),
        marks: Vec::new(),
        remains: Remains { dropped: 0, left: Some(left), letters: Vec::new() },
        batch: stored.batch,
    };
    record.encode()
}
