//! Late events and duplicates, found again in the log: the verdicts are given once more, under the limits that were
//! committed at each position.

use std::collections::{HashMap, VecDeque};

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use thyme_core::definition::Dataset;
use thyme_core::{ErrorKind, Position, Result, Span};
use thyme_log::Log;

use crate::admission::{LeftOut, Limits, Watermark};
use crate::catalog::LiveDataset;
use crate::decode::columns::event_times;
use crate::event_ids::{Claims, Rows};
use crate::left_out::{LateRange, StreamLimits};
use crate::record::{EventsRecord, Payload, peek_dataset};
use crate::replay::verdicts;

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
    fn is(self, why: LeftOut) -> bool {
        matches!((self, why), (Wanted::Late, LeftOut::Late(_)) | (Wanted::Duplicates, LeftOut::Duplicate(_)))
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

/// The events of a dataset that do not count for one reason, newest first. Reads the ranges that have some and keeps no more than
/// `query.limit` of them.
pub(crate) fn list(
    log: &dyn Log,
    dataset: &LiveDataset,
    ranges: &[LateRange],
    query: &LeftOutQuery,
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
        let claims = dataset.ids.as_ref().map(Claims::again);
        let walk = Walk { log, dataset, range, claims, query: LeftOutQuery { limit: room, ..*query } };
        found.extend(walk.run()?.into_iter().rev());
    }
    Ok(found)
}

struct Walk<'a> {
    log: &'a dyn Log,
    dataset: &'a LiveDataset,
    range: &'a LateRange,
    claims: Option<Claims>,
    query: LeftOutQuery,
}

impl Walk<'_> {
    /// The newest such events of the range, oldest first.
    fn run(&self) -> Result<VecDeque<LeftOutEvent>> {
        let range = self.range;
        let mut limits = range.limits.clone();
        let mut definition = self.dataset.definition.clone();
        let mut marks: HashMap<String, Watermark> =
            range.watermarks.iter().map(|(s, w)| (s.clone(), Watermark { largest: *w })).collect();
        let mut found = VecDeque::new();
        for record in self.log.read(range.first)? {
            let record = record?;
            if record.number > range.last.min(self.query.before.record()) {
                break;
            }
            if peek_dataset(&record.payload).is_some_and(|id| id != self.dataset.id) {
                continue;
            }
            match Payload::decode(&record.payload, &|_| Some(self.dataset.schema.clone()))? {
                Payload::Erase(_) => {}
                Payload::Commit(commit) => {
                    let mine = |d: &&thyme_core::definition::Dataset| {
                        let own = &self.dataset.definition;
                        d.name == own.name && d.version == own.version
                    };
                    if let Some(committed) = commit.document.datasets.iter().find(mine) {
                        limits = StreamLimits::of(committed);
                        definition = committed.clone();
                    }
                }
                Payload::Events(events) => {
                    let limits = limits.for_stream(&events.stream);
                    let mark = marks.entry(events.stream.clone()).or_default();
                    let limits = (&definition, record.stamp, limits);
                    let rows = self.left_out(record.number, &events, limits, mark)?;
                    self.keep(record.number, record.stamp, &events, &rows, &mut found)?;
                }
            }
        }
        Ok(found)
    }

    fn keep(
        &self,
        number: u64,
        stamp: i64,
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

    /// The rows of a record that are asked for; moves the watermark.
    fn left_out(
        &self,
        number: u64,
        events: &EventsRecord,
        limits: (&Dataset, i64, Limits),
        mark: &mut Watermark,
    ) -> Result<Vec<Row>> {
        let field = self.dataset.definition.fields.timestamp().map_or("", |f| f.name.as_str());
        let times = event_times(&events.batch, field)?;
        let mut found: Vec<Row> = Vec::new();
        let max_lateness = limits.2.max_lateness.unwrap_or(Span(0));
        let rows = Rows { number, record: events, times: times.values() };
        verdicts(rows, limits, mark, self.claims.as_ref(), |row, left_out| {
            if self.query.wanted.is(left_out) {
                let why = match left_out {
                    LeftOut::Late(watermark) => Why::Late { watermark, max_lateness },
                    LeftOut::Duplicate(of) => Why::Duplicate { of },
                };
                found.push(Row { row: row as u32, time: times.value(row), why });
            }
        })?;
        Ok(found)
    }
}

struct Row {
    /// By index among the rows that are left.
    row: u32,
    time: i64,
    why: Why,
}
