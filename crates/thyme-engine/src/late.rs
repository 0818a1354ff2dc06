//! Late events and duplicates, found again in the log: the verdicts are given once more, under the limits that were
//! committed at each position.

use std::collections::VecDeque;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use thyme_core::definition::Dataset;
use thyme_core::{ErrorKind, EventTime, Position, Result, Span};
use thyme_log::Log;

use crate::catalog::{LiveDataset, limits};
use crate::decode::columns::event_times;
use crate::event_ids::known_from;
use crate::left_out::LateRange;
use crate::node::Admitted;
use crate::record::EventsRecord;
use crate::replay::Replay;

/// Why an event of the log does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It was too late.
    Late {
        /// The watermark of its stream that it was behind of.
        watermark: i64,
        /// How far behind it an event might have been.
        max_lateness: Span,
    },
    /// Its event was there already.
    Duplicate {
        /// The one that counts, unless that was erased since.
        of: Option<Position>,
    },
}

/// An event that is in the log and does not count.
#[derive(Clone, Debug)]
pub struct LeftOutEvent {
    /// Where it is in the log.
    pub position: Position,
    /// The server's clock when it came.
    pub stamp: i64,
    /// The input stream: `push`, or a source's name.
    pub stream: String,
    /// Its event time.
    pub time: i64,
    /// Why it does not count.
    pub why: Why,
    /// Rows in the dataset's schema, this one among them.
    pub batch: RecordBatch,
    /// Which of them it is.
    pub row: usize,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Late events.
    Late,
    /// Duplicates of events that came before.
    Duplicates,
}

impl Wanted {
    fn is(self, why: Why) -> bool {
        matches!((self, why), (Wanted::Late, Why::Late { .. }) | (Wanted::Duplicates, Why::Duplicate { .. }))
    }
}

/// Which of them are asked for: the newest `limit` before `before` that came at `since` or later.
#[derive(Clone, Copy, Debug)]
pub struct LeftOutQuery {
    /// Of this kind.
    pub wanted: Wanted,
    /// Only those before this position.
    pub before: Position,
    /// Only those whose records' stamps are not less.
    pub since: i64,
    /// No more than these.
    pub limit: usize,
}

/// What is known before a record: of the dataset and of the streams that bring it.
pub(crate) type Before<'a> = dyn FnMut(&LateRange) -> Result<Replay> + 'a;

/// The events of a dataset that do not count for one reason, newest first. Reads the ranges that have some and keeps no more than
/// `query.limit` of them. Of events that are older than what is known of ids it names those duplicates that are sure.
pub(crate) fn list(
    log: &dyn Log,
    dataset: &LiveDataset,
    ranges: &[LateRange],
    query: &LeftOutQuery,
    before: &mut Before<'_>,
) -> Result<Vec<LeftOutEvent>> {
    let mut found = Vec::new();
    let oldest = match log.last_at(query.since.saturating_sub(1)) {
        // All that the log still has is of later.
        Err(error) if error.kind() == ErrorKind::Gone => 0,
        before => before?.map_or(0, |before| before + 1),
    };
    let wanted = ranges.iter().rev().filter(|r| r.first <= query.before.record() && r.last >= oldest);
    for range in wanted {
        let room = query.limit.saturating_sub(found.len());
        if room == 0 {
            break;
        }
        let walk = Walk { log, dataset, range, query: LeftOutQuery { limit: room, ..*query } };
        found.extend(walk.run(before(range)?)?.into_iter().rev());
    }
    Ok(found)
}

struct Walk<'a> {
    log: &'a dyn Log,
    dataset: &'a LiveDataset,
    range: &'a LateRange,
    query: LeftOutQuery,
}

impl Walk<'_> {
    /// The newest such events of the range, oldest first.
    fn run(&self, mut replay: Replay) -> Result<VecDeque<LeftOutEvent>> {
        let mut found = VecDeque::new();
        for record in self.log.read(self.range.first)? {
            let record = record?;
            if record.number > self.range.last.min(self.query.before.record()) {
                break;
            }
            let Some((events, admitted)) = replay.take(&record, &|id| id == self.dataset.id, &Ok)? else {
                continue;
            };
            if let Some(definition) = replay.definition(self.dataset.id) {
                let rows = self.left_out(&events, &admitted, definition)?;
                self.keep((record.number, record.stamp), &events, &rows, &mut found)?;
            }
        }
        Ok(found)
    }

    fn keep(
        &self,
        (number, stamp): (u64, i64),
        events: &EventsRecord,
        rows: &[Row],
        found: &mut VecDeque<LeftOutEvent>,
    ) -> Result<()> {
        let position = |row: &Row| Position::new(number, events.row_number(row.row as usize));
        let rows: Vec<&Row> = rows.iter().filter(|row| position(row) < self.query.before).collect();
        if rows.is_empty() || stamp < self.query.since {
            return Ok(());
        }
        let newest = &rows[rows.len().saturating_sub(self.query.limit)..];
        // Their own columns: a page must not keep whole records.
        let indices = UInt32Array::from_iter_values(newest.iter().map(|row| row.row));
        let batch = take_record_batch(&events.batch, &indices)?;
        for (row, left_out) in newest.iter().enumerate() {
            if found.len() == self.query.limit {
                found.pop_front();
            }
            found.push_back(LeftOutEvent {
                position: position(left_out),
                stamp,
                stream: events.stream.clone(),
                time: left_out.time,
                why: left_out.why,
                batch: batch.clone(),
                row,
            });
        }
        Ok(())
    }

    /// The rows of a record that are asked for.
    fn left_out(&self, events: &EventsRecord, admitted: &Admitted, definition: &Dataset) -> Result<Vec<Row>> {
        let Some(kept) = &admitted.kept else { return Ok(Vec::new()) };
        let times = event_times(&events.batch, definition.time_field())?;
        let max_lateness = limits(definition, &events.stream).max_lateness.unwrap_or(Span(0));
        let mut late = admitted.late.iter();
        let mut duplicates = admitted.duplicates.iter().peekable();
        // Asked after the verdicts were given: claims go after it is said.
        let known = known_from(self.dataset).unwrap_or(EventTime(i64::MIN));
        let mut found = Vec::new();
        for row in (!kept).set_indices() {
            let why = match duplicates.next_if(|(duplicate, _)| *duplicate as usize == row) {
                Some((_, of)) => Some(Why::Duplicate { of: *of }),
                None => late.next().map(|watermark| Why::Late { watermark: *watermark, max_lateness }),
            };
            let time = times.value(row);
            // Where the row's own claim may be gone, another event's says nothing: it may have been forgotten by then.
            let may_count = matches!(why, Some(Why::Duplicate { of: Some(_) })) && time <= known.0;
            let why = why.filter(|why| self.query.wanted.is(*why) && !may_count);
            found.extend(why.map(|why| Row { row: row as u32, time, why }));
        }
        Ok(found)
    }
}

struct Row {
    /// By index among the rows that are left.
    row: u32,
    time: i64,
    why: Why,
}
