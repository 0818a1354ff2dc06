//! Group commit: pushes that arrive while one fsync runs share the next.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use crossbeam_channel::{Receiver, Sender};
use thyme_core::position::ROWS_PER_RECORD_MAX;
use thyme_core::{Error, Position, Result};
use thyme_log::{Log, NewRecord};

use crate::applier::{Applied, Message};
use crate::engine::Receipt;
use crate::gate::Gate;
use crate::record::{CommitRecord, DeadLetter, EventsRecord, Payload};

/// Rows a record is cut at: large enough to amortise, small enough to be visible soon.
pub(crate) const RECORD_ROWS: usize = 32 * 1024;
/// Rows that one group commit takes at most.
const GROUP_ROWS_MAX: usize = 8 * RECORD_ROWS;

const _: () = assert!(RECORD_ROWS < ROWS_PER_RECORD_MAX);

/// Told when the job is durable, or why it is not.
pub(crate) type Done = Box<dyn FnOnce(Result<Receipt>) + Send>;

pub(crate) enum Job {
    Events { dataset: u32, stream: Arc<str>, cursor: Option<Vec<u8>>, dead_letters: Vec<DeadLetter>, batch: RecordBatch, done: Done },
    Commit { record: Box<CommitRecord>, done: Done },
    /// Ends the committer once everything before is durable.
    Stop,
}

impl Job {
    fn rows(&self) -> usize {
        match self {
            Job::Events { batch, .. } => batch.num_rows(),
            _ => 0,
        }
    }
}

/// A job's answer, once the group is durable: the last row's place.
struct Pending {
    done: Done,
    record: u64,
    last_row: Option<u32>,
    accepted: u64,
    skipped: u64,
}

pub(crate) struct Committer {
    pub log: Arc<dyn Log>,
    pub gate: Arc<Gate>,
    pub applier: Sender<Message>,
}

impl Committer {
    /// Runs until [`Job::Stop`] or until nobody can send any more.
    pub fn run(self, jobs: &Receiver<Job>) {
        while let Ok(first) = jobs.recv() {
            let mut rows = first.rows();
            let mut group = vec![first];
            while rows < GROUP_ROWS_MAX
                && let Ok(job) = jobs.try_recv()
            {
                rows += job.rows();
                group.push(job);
            }
            let stop = group.iter().any(|j| matches!(j, Job::Stop));
            self.commit(group);
            if stop {
                return;
            }
        }
    }

    fn commit(&self, group: Vec<Job>) {
        let mut records: Vec<Applied> = Vec::new();
        let mut pending = Vec::new();
        let mut merger = Merger::default();
        for job in group {
            match job {
                Job::Stop => {}
                Job::Commit { record, done } => {
                    merger.flush(&self.gate, &mut records, &mut pending);
                    let (number, stamp) = self.gate.stamp();
                    records.push(Applied { number, stamp, payload: Payload::Commit(record) });
                    pending.push(Pending { done, record: number, last_row: None, accepted: 0, skipped: 0 });
                }
                Job::Events { dataset, stream, cursor, dead_letters, batch, done } => {
                    if !merger.takes(dataset, &stream, batch.num_rows()) {
                        merger.flush(&self.gate, &mut records, &mut pending);
                    }
                    merger.push(dataset, stream, cursor, dead_letters, batch, done);
                }
            }
        }
        merger.flush(&self.gate, &mut records, &mut pending);
        if records.is_empty() {
            return;
        }
        match self.write(&records) {
            Ok(()) => {
                for record in records {
                    // The applier only goes away with the engine; what is durable is replayed then.
                    let _ = self.applier.send(Message::Record(Box::new(record)));
                }
                for p in pending {
                    let position = p.last_row.map_or(Position::end_of(p.record), |row| Position::new(p.record, row));
                    (p.done)(Ok(Receipt { position, accepted: p.accepted, skipped: p.skipped }));
                }
            }
            Err(error) => {
                self.gate.unstamp(records[0].number);
                for p in pending {
                    (p.done)(Err(error.clone()));
                }
            }
        }
    }

    fn write(&self, records: &[Applied]) -> Result<()> {
        let payloads: Vec<Vec<u8>> = records
            .iter()
            .map(|r| match &r.payload {
                Payload::Events(events) => events.encode(),
                Payload::Commit(commit) => commit.encode(),
            })
            .collect::<Result<_>>()?;
        let new: Vec<NewRecord<'_>> =
            records.iter().zip(&payloads).map(|(r, payload)| NewRecord { stamp: r.stamp, payload }).collect();
        let last = self.log.append(&new)?;
        let expected = records[records.len() - 1].number;
        if last != expected {
            return Err(Error::internal(format!("the log gave record {last} where {expected} was expected")));
        }
        Ok(())
    }
}

/// Joins pushes of one stream that follow each other into records of up to [`RECORD_ROWS`] rows.
#[derive(Default)]
struct Merger {
    open: Option<Open>,
}

struct Open {
    dataset: u32,
    stream: Arc<str>,
    cursor: Option<Vec<u8>>,
    dead_letters: Vec<DeadLetter>,
    batches: Vec<RecordBatch>,
    rows: usize,
    jobs: Vec<(Done, u64, u64)>,
}

impl Merger {
    fn takes(&self, dataset: u32, stream: &Arc<str>, rows: usize) -> bool {
        self.open.as_ref().is_some_and(|o| {
            o.dataset == dataset && o.stream == *stream && o.cursor.is_none() && o.rows + rows <= RECORD_ROWS
        })
    }

    fn push(
        &mut self,
        dataset: u32,
        stream: Arc<str>,
        cursor: Option<Vec<u8>>,
        mut dead_letters: Vec<DeadLetter>,
        batch: RecordBatch,
        done: Done,
    ) {
        let open = self.open.get_or_insert_with(|| Open {
            dataset,
            stream,
            cursor: None,
            dead_letters: Vec::new(),
            batches: Vec::new(),
            rows: 0,
            jobs: Vec::new(),
        });
        open.rows += batch.num_rows();
        open.jobs.push((done, batch.num_rows() as u64, dead_letters.len() as u64));
        open.dead_letters.append(&mut dead_letters);
        open.batches.push(batch);
        open.cursor = cursor;
    }

    /// Makes records of what is open. A push of more than [`RECORD_ROWS`] rows becomes several, all in
    /// one append, so it is there whole or not at all; cursor and dead letters ride on the last.
    fn flush(&mut self, gate: &Gate, records: &mut Vec<Applied>, pending: &mut Vec<Pending>) {
        let Some(open) = self.open.take() else { return };
        let first_new = records.len();
        let joined = match open.batches.as_slice() {
            [only] => Ok(only.clone()),
            several => concat_batches(&several[0].schema(), several),
        };
        let joined = match joined {
            Ok(batch) => batch,
            Err(error) => {
                for (done, ..) in open.jobs {
                    done(Err(Error::from(arrow::error::ArrowError::ComputeError(error.to_string()))));
                }
                return;
            }
        };
        let mut start = 0;
        loop {
            let rows = (joined.num_rows() - start).min(RECORD_ROWS);
            let (number, stamp) = gate.stamp();
            let payload = Payload::Events(Box::new(EventsRecord {
                dataset: open.dataset,
                stream: open.stream.to_string(),
                cursor: None,
                dead_letters: Vec::new(),
                batch: joined.slice(start, rows),
            }));
            records.push(Applied { number, stamp, payload });
            start += rows;
            if start >= joined.num_rows() {
                break;
            }
        }
        if let Some(Applied { payload: Payload::Events(last), .. }) = records.last_mut() {
            last.cursor = open.cursor;
            last.dead_letters = open.dead_letters;
        }
        let first = records[first_new].number;
        let mut end = 0u64;
        for (done, accepted, skipped) in open.jobs {
            end += accepted;
            let last = end.saturating_sub(1);
            let (record, row) = (first + last / RECORD_ROWS as u64, (last % RECORD_ROWS as u64) as u32);
            pending.push(Pending { done, record, last_row: (accepted > 0).then_some(row), accepted, skipped });
        }
    }
}
