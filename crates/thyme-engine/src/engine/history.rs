//! The log as an auditor reads it: every row with its position, in log order, under the limits of its time.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::RecordBatch;
use thyme_core::definition::Dataset;
use thyme_core::schema::missing;
use thyme_core::value::cell;
use thyme_core::{DataType, Error, ErrorKind, EventTime, Position, Result, Value};

use super::Engine;
use crate::admission::Watermark;
use crate::applier::Progress;
use crate::base::Base;
use crate::decode::columns::event_times;
use crate::record::{DeadLetter, Payload, peek_dataset};
use crate::remains::{Left, Remains};

/// How far a reading of the log has come, and the definitions committed up to there. It keeps no file open
/// and no row, so a reading may rest between two calls of [`Engine::read_history`].
#[derive(Clone, Debug)]
pub struct History {
    /// The last record read.
    record: u64,
    /// What each stream had seen where it began, by dataset id and name.
    watermarks: Vec<(u32, String, Option<EventTime>)>,
    /// By dataset id: the definition that its records follow, and the one that holds now.
    datasets: Vec<(Arc<Dataset>, Arc<Dataset>)>,
    bytes: u64,
}

impl History {
    /// From the log's first record.
    fn begin(base: &Base) -> History {
        let Progress { record, ids, watermarks, .. } = &base.progress;
        let now = |(id, first): (usize, &Dataset)| {
            let now = base.definitions.get(&(id as u32)).unwrap_or(first);
            (Arc::new(first.clone()), Arc::new(now.clone()))
        };
        let seen = |(dataset, stream, mark): &(u32, String, Watermark)| {
            (*dataset, stream.clone(), mark.largest.map(EventTime))
        };
        History {
            record: *record,
            watermarks: watermarks.iter().map(seen).collect(),
            datasets: ids.datasets.iter().enumerate().map(now).collect(),
            bytes: 0,
        }
    }

    /// The largest event time that each stream had seen where the reading began, by dataset id and name: none at
    /// the log's very beginning, some where its oldest records are gone.
    pub fn watermarks(&self) -> &[(u32, String, Option<EventTime>)] {
        &self.watermarks
    }

    /// The last record read.
    pub fn record(&self) -> u64 {
        self.record
    }

    /// Bytes of payload read so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes a commit: a dataset version gets its id with its first commit, in the order of the document.
    fn commit(&mut self, datasets: Vec<Dataset>) {
        for definition in datasets {
            let definition = Arc::new(definition);
            let same = |d: &Arc<Dataset>| d.name == definition.name && d.version == definition.version;
            match self.datasets.iter_mut().find(|(first, _)| same(first)) {
                Some((_, now)) => *now = definition,
                None => self.datasets.push((definition.clone(), definition)),
            }
        }
    }
}

/// What was said of the rows of a record before an erasure.
#[derive(Clone, Debug)]
pub struct Given {
    /// The late ones, by index among the rows that are left, with the watermark that each was behind of.
    pub late: HashMap<u32, i64>,
    /// The duplicates, by index among the rows that are left.
    pub duplicates: HashSet<u32>,
    /// The stream's watermark after the record.
    pub watermark: Option<i64>,
    /// The newest event time of the whole record that counts.
    pub newest: Option<i64>,
}

/// The rows of one log record, as they were accepted; nothing has been decided about them.
#[derive(Debug)]
pub struct HistoryRecord {
    /// The record's number.
    pub number: u64,
    /// The record's stamp.
    pub stamp: i64,
    /// The id of the dataset, as in [`crate::LiveDataset`].
    pub dataset: u32,
    /// The dataset as it was committed when the record was written.
    pub definition: Arc<Dataset>,
    /// The input stream: `push`, or a source's name.
    pub stream: String,
    /// The records beside the rows that could not become rows.
    pub dead_letters: Vec<DeadLetter>,
    batch: RecordBatch,
    times: Vec<i64>,
    remains: Remains,
}

impl HistoryRecord {
    /// How many rows it has.
    pub fn rows(&self) -> usize {
        self.times.len()
    }

    /// The position of a row.
    pub fn position(&self, row: usize) -> Position {
        Position::new(self.number, self.remains.number_of(row))
    }

    /// What was said of its rows when it was whole: set once an erasure took something out that what is left no
    /// longer tells.
    pub fn verdicts_given(&self) -> Option<Given> {
        let late = |left: &Left| left.late.iter().copied().zip(left.behind.iter().copied()).collect();
        let duplicates = |left: &Left| left.duplicates.iter().copied().collect();
        let given = |left: &Left| Given {
            late: late(left),
            duplicates: duplicates(left),
            watermark: left.watermark,
            newest: left.newest,
        };
        self.remains.left.as_ref().map(given)
    }

    /// The id of the event of a row, if the dataset's have one.
    pub fn event_id(&self, row: usize) -> Option<Value> {
        self.definition.event_id.as_ref().map(|field| self.value(field, row))
    }

    /// The event time of a row.
    pub fn time(&self, row: usize) -> EventTime {
        EventTime(self.times.get(row).copied().unwrap_or_default())
    }

    /// The value of a field in a row; null when there is no such field.
    pub fn value(&self, field: &str, row: usize) -> Value {
        let Some(column) = self.batch.column_by_name(field) else { return Value::Null };
        // JSON is text to Arrow.
        let declared = self.definition.fields.field(field).map(|field| field.data_type);
        let declared = declared.filter(|data_type| data_type.arrow() == *column.data_type());
        declared
            .or_else(|| DataType::of_arrow(column.data_type()))
            .map_or(Value::Null, |data_type| cell(data_type, column, row))
    }

    /// The names and types of the fields, in order: those of now, where the dataset got new ones since.
    pub fn fields(&self) -> impl Iterator<Item = (&str, DataType)> {
        let columns = self.batch.schema_ref().fields().iter();
        columns.filter_map(|column| Some((column.name().as_str(), missing(column)?.0)))
    }
}

impl Engine {
    /// A reading of the log from its first record.
    pub fn history_start(&self) -> History {
        History::begin(&self.shared.base.read())
    }

    /// Goes on reading the log up to record `until`, and gives the records of the datasets that are `wanted`
    /// to `sink`, one after the other, until it breaks. True when `until` is reached.
    ///
    /// One record is in memory at a time. Writes and reads go on meanwhile.
    ///
    /// # Errors
    /// A log that cannot be read, or what `sink` says. Gone: records that it was still to read left the log.
    pub fn read_history(
        &self,
        history: &mut History,
        until: u64,
        wanted: &dyn Fn(u32) -> bool,
        sink: &mut dyn FnMut(HistoryRecord) -> Result<ControlFlow<()>>,
    ) -> Result<bool> {
        let (catalog, base) = (self.catalog(), self.shared.base.read());
        if history.record + 1 < base.first {
            let detail = format!("the log was cut at record {} while it was read; ask again", base.first);
            return Err(Error::new(ErrorKind::Gone, detail));
        }
        for record in self.shared.log.read(history.record + 1)? {
            let record = record?;
            if record.number > until {
                break;
            }
            history.record = record.number;
            history.bytes += record.payload.len() as u64;
            if peek_dataset(&record.payload).is_some_and(|id| !wanted(id)) {
                continue;
            }
            // The rows of before a field was added have what they are missing, as the fields of now say it.
            let datasets = &history.datasets;
            let now = |id: u32| datasets.get(id as usize).map(|(_, now)| now.fields.arrow());
            let schema = |id: u32| catalog.by_id(id).map(|live| live.schema.clone()).or_else(|| now(id));
            match Payload::decode(&record.payload, &schema)? {
                Payload::Erase(_) => {}
                Payload::Commit(commit) => history.commit(commit.document.datasets),
                Payload::Events(events) => {
                    let (_, definition) = history.datasets.get(events.dataset as usize).ok_or_else(|| {
                        Error::corrupt(format!("record {} comes before its dataset's commit", record.number))
                    })?;
                    let times = event_times(&events.batch, definition.time_field())?.values().to_vec();
                    let read = HistoryRecord {
                        number: record.number,
                        stamp: record.stamp,
                        dataset: events.dataset,
                        definition: definition.clone(),
                        stream: events.stream,
                        dead_letters: events.dead_letters,
                        batch: events.batch,
                        times,
                        remains: events.remains,
                    };
                    if sink(read)?.is_break() {
                        return Ok(history.record >= until);
                    }
                }
            }
        }
        Ok(history.record >= until)
    }

    /// Makes the state forget what it knows of one entity of a dataset, in memory alone: the damage that an
    /// audit has to find. For tests.
    ///
    /// # Errors
    /// A dataset that cannot be read, or a key with a null.
    #[doc(hidden)]
    pub fn damage_for_test(&self, dataset: &str, key: &[Value]) -> Result<()> {
        let catalog = self.catalog();
        let node = catalog.dataset(dataset)?.readable()?;
        let key = thyme_core::EntityKey::encode(key)?;
        node.damage_for_test(&key.0);
        Ok(())
    }

    /// Makes whoever inserts rows into the stripe of an entity next panic in the middle of it. For tests.
    ///
    /// # Errors
    /// As [`Engine::damage_for_test`].
    #[doc(hidden)]
    pub fn panic_for_test(&self, dataset: &str, key: &[Value]) -> Result<()> {
        let catalog = self.catalog();
        let node = catalog.dataset(dataset)?.readable()?;
        let encoded = thyme_core::EntityKey::encode(key)?;
        node.parts().chain([node]).for_each(|node| node.state.arm(&encoded.0));
        Ok(())
    }
}
