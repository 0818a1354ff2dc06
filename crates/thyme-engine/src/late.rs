//! Late events, found again in the log: the verdicts are given once more, from the log alone, under the
//! limits that were committed at each position.

use std::collections::{HashMap, VecDeque};

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use thyme_core::{Position, Result, Span};
use thyme_log::Log;

use crate::admission::{Limits, Watermark};
use crate::catalog::LiveDataset;
use crate::decode::columns::event_times;
use crate::left_out::{LateRange, StreamLimits};
use crate::record::{EventsRecord, Payload, peek_dataset};
use crate::replay::verdicts;

/// An event that was too late to count.
#[derive(Clone, Debug)]
pub struct LateEvent {
    /// Where it is in the log.
    pub position: Position,
    /// The server's clock when it came.
    pub stamp: i64,
    /// The input stream: `push`, or a source's name.
    pub stream: String,
    /// Its event time.
    pub time: i64,
    /// The watermark of its stream that it was behind of.
    pub watermark: i64,
    /// How far behind it an event might have been.
    pub max_lateness: Span,
    /// Rows in the dataset's schema, this one among them.
    pub batch: RecordBatch,
    /// Which of them it is.
    pub row: usize,
}

/// Which late events are asked for: the newest `limit` before `before` that came at `since` or later.
#[derive(Clone, Copy, Debug)]
pub struct LateQuery {
    /// Only those before this position.
    pub before: Position,
    /// Only those whose records' stamps are not less.
    pub since: i64,
    /// No more than these.
    pub limit: usize,
}

/// The late events of a dataset, newest first. Reads the ranges that have some and keeps no more than
/// `query.limit` of them.
pub(crate) fn list(
    log: &dyn Log,
    dataset: &LiveDataset,
    ranges: &[LateRange],
    query: &LateQuery,
) -> Result<Vec<LateEvent>> {
    let mut found = Vec::new();
    let oldest = log.last_at(query.since.saturating_sub(1))?.map_or(0, |before| before + 1);
    let wanted = ranges.iter().rev().filter(|r| r.first <= query.before.record() && r.last >= oldest);
    for range in wanted {
        let room = query.limit.saturating_sub(found.len());
        if room == 0 {
            break;
        }
        let walk = Walk { log, dataset, range, query: LateQuery { limit: room, ..*query } };
        found.extend(walk.run()?.into_iter().rev());
    }
    Ok(found)
}

struct Walk<'a> {
    log: &'a dyn Log,
    dataset: &'a LiveDataset,
    range: &'a LateRange,
    query: LateQuery,
}

impl Walk<'_> {
    /// The newest late events of the range, oldest first.
    fn run(&self) -> Result<VecDeque<LateEvent>> {
        let range = self.range;
        let mut limits = range.limits;
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
                    if let Some(definition) = commit.document.datasets.iter().find(mine) {
                        limits = StreamLimits::of(definition);
                    }
                }
                Payload::Events(events) => {
                    let limits = limits.for_stream(&events.stream);
                    let mark = marks.entry(events.stream.clone()).or_default();
                    let rows = late_rows(self.dataset, &events, record.stamp, limits, mark)?;
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
        rows: &[Late],
        found: &mut VecDeque<LateEvent>,
    ) -> Result<()> {
        let position = |late: &Late| Position::new(number, events.row_number(late.row as usize));
        let rows: Vec<&Late> = rows.iter().filter(|l| position(l) < self.query.before).collect();
        if rows.is_empty() || stamp < self.query.since {
            return Ok(());
        }
        let newest = &rows[rows.len().saturating_sub(self.query.limit)..];
        // Their own columns: a page must not keep whole records.
        let indices = UInt32Array::from_iter_values(newest.iter().map(|l| l.row));
        let batch = take_record_batch(&events.batch, &indices)?;
        for (row, late) in newest.iter().enumerate() {
            if found.len() == self.query.limit {
                found.pop_front();
            }
            found.push_back(LateEvent {
                position: position(late),
                stamp,
                stream: events.stream.clone(),
                time: late.time,
                watermark: late.watermark,
                max_lateness: late.max_lateness,
                batch: batch.clone(),
                row,
            });
        }
        Ok(())
    }
}

struct Late {
    /// By index among the rows that are left.
    row: u32,
    time: i64,
    watermark: i64,
    max_lateness: Span,
}

/// The late rows of a record; moves the watermark.
fn late_rows(
    dataset: &LiveDataset,
    events: &EventsRecord,
    stamp: i64,
    limits: Limits,
    mark: &mut Watermark,
) -> Result<Vec<Late>> {
    let field = dataset.definition.fields.timestamp().map_or("", |f| f.name.as_str());
    let times = event_times(&events.batch, field)?;
    let mut late: Vec<(u32, i64)> = Vec::new();
    verdicts(events, times.values(), stamp, limits, mark, |row, watermark| {
        late.push((row as u32, watermark))
    });
    // Without a limit nothing was late.
    let Some(max_lateness) = limits.max_lateness else { return Ok(Vec::new()) };
    let late = late.into_iter().filter_map(|(row, watermark)| {
        let time = *times.values().get(row as usize)?;
        Some(Late { row, time, watermark, max_lateness })
    });
    Ok(late.collect())
}
