//! Reading the log again: rows with the verdicts that they were given.

use std::collections::HashMap;

use arrow::array::{BooleanBufferBuilder, UInt32Array};
use thyme_core::definition::Dataset;
use thyme_core::{Error, Result};
use thyme_log::Record;

use crate::admission::{self, Limits, Watermark};
use crate::catalog::{self, Ids};
use crate::decode::columns::event_times;
use crate::node::Admitted;
use crate::record::{EventsRecord, Payload, peek_dataset};

/// Watermarks of every stream, moved by the rows alone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Admission {
    pub marks: HashMap<(u32, String), Watermark>,
}

impl Admission {
    /// The rows' verdicts.
    pub fn admit(&mut self, record: &EventsRecord, definition: &Dataset, stamp: i64) -> Result<Admitted> {
        let time_field = definition.fields.timestamp().map_or("", |f| f.name.as_str());
        let times = event_times(&record.batch, time_field)?;
        let mark = self.marks.entry((record.dataset, record.stream.clone())).or_default();
        let (mut late, mut behind): (Vec<usize>, Vec<i64>) = Default::default();
        let limits = catalog::limits(definition, &record.stream);
        verdicts(record, times.values(), stamp, limits, mark, |row, watermark| {
            late.push(row);
            behind.push(watermark);
        });
        let kept = (!late.is_empty()).then(|| {
            let mut kept = BooleanBufferBuilder::new(times.len());
            kept.append_n(times.len(), true);
            late.iter().for_each(|&row| kept.set_bit(row, false));
            kept.finish()
        });
        let newest = match (&record.remains.left, &kept) {
            (Some(left), _) => left.newest,
            (None, None) => times.values().iter().max().copied(),
            (None, Some(kept)) => kept.set_indices().map(|row| times.value(row)).max(),
        };
        let numbers: Option<UInt32Array> = record.row_numbers();
        Ok(Admitted { kept, numbers, late: behind, newest })
    }

    /// The watermark of a stream.
    pub fn watermark(&self, record: &EventsRecord) -> Option<i64> {
        self.marks.get(&(record.dataset, record.stream.clone())).and_then(|mark| mark.largest)
    }
}

/// Moves the watermark over a record and names its late rows, by index among those that are left, each with the
/// watermark that it is behind of.
pub(crate) fn verdicts(
    record: &EventsRecord,
    times: &[i64],
    stamp: i64,
    limits: Limits,
    mark: &mut Watermark,
    mut late: impl FnMut(usize, i64),
) {
    match &record.remains.left {
        // They were given when the record was whole.
        Some(left) => {
            left.late.iter().zip(&left.behind).for_each(|(row, behind)| late(*row as usize, *behind));
            mark.largest = left.watermark;
        }
        None => admission::admit(times, stamp, limits, mark, late),
    }
}

/// Gives the verdicts again from the log alone, under the limits that were committed at each position, so
/// they are the ones of the first time. It is to be given every record from the log's first on.
#[derive(Debug)]
pub(crate) struct Replay {
    ids: Ids,
    limits: HashMap<u32, Dataset>,
    admission: Admission,
}

impl Replay {
    /// From the log's first record, when `ids` are known.
    pub fn new(ids: Ids) -> Replay {
        Replay { ids, limits: HashMap::new(), admission: Admission::default() }
    }

    /// As if it had been given commits of these datasets, of which it was given no rows.
    pub fn under(mut self, datasets: Vec<Dataset>) -> Replay {
        self.learn(datasets);
        self
    }

    /// Takes the next record, and gives the rows and verdicts of one of the datasets that are `wanted`, as
    /// `edit` leaves it.
    pub fn take(
        &mut self,
        record: &Record,
        wanted: &dyn Fn(u32) -> bool,
        edit: &dyn Fn(EventsRecord) -> Result<EventsRecord>,
    ) -> Result<Option<(EventsRecord, Admitted)>> {
        if peek_dataset(&record.payload).is_some_and(|id| !wanted(id)) {
            return Ok(None);
        }
        match Payload::decode(&record.payload, &|id| self.ids.schema(id))? {
            Payload::Erase(_) => Ok(None),
            Payload::Commit(commit) => {
                self.learn(commit.document.datasets);
                Ok(None)
            }
            Payload::Events(events) => {
                let definition = self.limits.get(&events.dataset).ok_or_else(|| {
                    Error::corrupt(format!("record {} comes before its dataset's commit", record.number))
                })?;
                let events = edit(*events)?;
                let admitted = self.admission.admit(&events, definition, record.stamp)?;
                Ok(Some((events, admitted)))
            }
        }
    }

    fn learn(&mut self, datasets: Vec<Dataset>) {
        for d in datasets {
            let same = |k: &Dataset| k.name == d.name && k.version == d.version;
            if let Some(id) = self.ids.datasets.iter().position(same) {
                self.limits.insert(id as u32, d);
            }
        }
    }

    /// The watermark of a record's stream after it.
    pub fn watermark(&self, record: &EventsRecord) -> Option<i64> {
        self.admission.watermark(record)
    }
}
