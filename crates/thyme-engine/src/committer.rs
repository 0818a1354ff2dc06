//! Group commit: pushes that arrive while one fsync runs share the next.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use thyme_core::position::ROWS_PER_RECORD_MAX;
use thyme_core::{Error, Position, Result};
use thyme_log::{Log, NewRecord};

use crate::applier::{Applied, Message};
use crate::budget::Ticket;
use crate::done::Done;
use crate::engine::Shared;
use crate::erasure::{Erased, Ledger};
use crate::gate::Gate;
use crate::health::said;
use crate::idempotency::Idempotency;
use crate::push::{Push, Receipt};
use crate::queue::Outbox;
use crate::record::{CommitRecord, DeadLetter, EraseRecord, EventsRecord, Payload};
use crate::remains::Remains;

/// Rows a record is cut at: large enough to amortise, small enough to be visible soon.
pub(crate) const RECORD_ROWS: usize = 32 * 1024;
/// Bytes of rows a record is cut at: far below what the log refuses, so that nobody's push is refused for
/// what it was joined with.
const RECORD_BYTES: usize = 16 << 20;
/// Rows and bytes that one group commit takes, before its last push.
const GROUP_ROWS_MAX: usize = 8 * RECORD_ROWS;
const GROUP_BYTES_MAX: usize = 8 * RECORD_BYTES;

const _: () = assert!(RECORD_ROWS < ROWS_PER_RECORD_MAX);

pub(crate) enum Job {
    Events {
        push: Box<Push>,
        done: Done,
    },
    Commit {
        record: Box<CommitRecord>,
        done: Done,
    },
    Erase {
        record: Box<EraseRecord>,
        done: Done,
    },
    /// Ends the committer once everything before is durable.
    Stop,
}

impl Job {
    fn rows(&self) -> usize {
        match self {
            Job::Events { push, .. } => push.batch.num_rows(),
            _ => 0,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Job::Events { push, .. } => push_bytes(push),
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
    pub applier: Outbox<Message>,
    pub ledger: Arc<Ledger>,
}

impl Committer {
    /// Of an engine, whose applier listens at `applier`.
    pub fn new(shared: &Shared, applier: Outbox<Message>) -> Self {
        let (log, gate, ledger) = (shared.log.clone(), shared.gate.clone(), shared.ledger.clone());
        Committer { log, gate, applier, ledger }
    }

    /// Runs until [`Job::Stop`] or until nobody can send any more.
    pub fn run(self, jobs: &Receiver<Job>) {
        while let Ok(first) = jobs.recv() {
            let group = gather(first, || jobs.try_recv().ok());
            let stop = group.iter().any(|j| matches!(j, Job::Stop));
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.commit(group))) {
                self.gate.stop(&format!(
                    "what writes the log panicked ({}); restart the server: what was acknowledged is in the log",
                    said(&*panic)
                ));
            }
            if stop {
                return;
            }
        }
    }

    /// Makes one group durable and hands it on.
    pub fn commit(&self, group: Vec<Job>) {
        if let Some(reason) = self.gate.failure() {
            // What nobody applies must not be promised.
            return refuse(group, &Error::unavailable(format!("{reason}; nothing was stored")));
        }
        let mut records: Vec<Applied> = Vec::new();
        let mut pending = Vec::new();
        let mut merger = Merger::default();
        for job in group {
            match job {
                Job::Stop => {}
                Job::Commit { record, done } => {
                    merger.flush(&self.gate, &mut records, &mut pending);
                    let (number, stamp) = self.gate.stamp();
                    records.push(Applied { number, stamp, payload: Payload::Commit(record), tickets: None });
                    pending.push(Pending { done, record: number, last_row: None, accepted: 0, skipped: 0 });
                }
                Job::Erase { record, done } => {
                    merger.flush(&self.gate, &mut records, &mut pending);
                    let (number, stamp) = self.gate.stamp();
                    // From here on, so that nothing a source read before is written after.
                    if let Err(error) = self.ledger.add(&Erased::new(number, stamp, &record)) {
                        self.gate.unstamp(number);
                        done.answer(Err(error));
                        continue;
                    }
                    records.push(Applied { number, stamp, payload: Payload::Erase(record), tickets: None });
                    pending.push(Pending { done, record: number, last_row: None, accepted: 0, skipped: 0 });
                }
                Job::Events { mut push, done } => {
                    let dropped = match self.ledger.screen(&mut push) {
                        Ok(dropped) => dropped,
                        Err(error) => {
                            done.answer(Err(error));
                            continue;
                        }
                    };
                    if !merger.takes(&push) {
                        merger.flush(&self.gate, &mut records, &mut pending);
                    }
                    merger.push(*push, dropped, done);
                }
            }
        }
        merger.flush(&self.gate, &mut records, &mut pending);
        if records.is_empty() {
            return;
        }
        match self.write(&records) {
            Ok(()) => {
                for p in pending {
                    let position =
                        p.last_row.map_or(Position::end_of(p.record), |row| Position::new(p.record, row));
                    p.done.answer(Ok(Receipt {
                        position,
                        accepted: p.accepted,
                        skipped: p.skipped,
                        duplicates: None,
                    }));
                }
                for record in records {
                    // The applier only goes away with the engine; what is durable is replayed then.
                    self.applier.send(Message::Record(Box::new(record)));
                }
            }
            Err(error) => {
                if self.log.is_unsure() {
                    self.gate.bound(records[0].number);
                }
                self.gate.unstamp(records[0].number);
                for p in pending {
                    p.done.answer(Err(error.clone()));
                }
            }
        }
    }

    fn write(&self, records: &[Applied]) -> Result<()> {
        let payloads: Vec<Vec<u8>> = records.iter().map(|r| r.payload.encode()).collect::<Result<_>>()?;
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

/// The jobs of one group commit: `first` and what `more` gives, up to what a group takes.
pub(crate) fn gather(first: Job, mut more: impl FnMut() -> Option<Job>) -> Vec<Job> {
    let (mut rows, mut bytes) = (first.rows(), first.bytes());
    let mut group = vec![first];
    while rows < GROUP_ROWS_MAX
        && bytes < GROUP_BYTES_MAX
        && let Some(job) = more()
    {
        rows += job.rows();
        bytes += job.bytes();
        group.push(job);
    }
    group
}

fn refuse(group: Vec<Job>, error: &Error) {
    for job in group {
        match job {
            Job::Events { done, .. } | Job::Commit { done, .. } | Job::Erase { done, .. } => {
                done.answer(Err(error.clone()))
            }
            Job::Stop => {}
        }
    }
}

/// About the bytes a push takes in a record.
pub(crate) fn push_bytes(push: &Push) -> usize {
    let dead = push.dead_letters.iter().map(|d| d.origin.len() + d.reason.len() + d.raw.len() + 12);
    rows_bytes(&push.batch) + dead.sum::<usize>()
}

pub(crate) fn rows_bytes(batch: &RecordBatch) -> usize {
    let columns =
        batch.columns().iter().map(|c| c.to_data().get_slice_memory_size().unwrap_or(usize::MAX / 4096));
    columns.sum()
}

/// Where the rows of a batch are cut into records: the end of each.
fn cuts(batch: &RecordBatch) -> Vec<usize> {
    let (mut start, mut ends) = (0, Vec::new());
    loop {
        let mut rows = (batch.num_rows() - start).min(RECORD_ROWS);
        while rows > 1 && rows_bytes(&batch.slice(start, rows)) > RECORD_BYTES {
            rows /= 2;
        }
        start += rows;
        ends.push(start);
        if start >= batch.num_rows() {
            return ends;
        }
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
    /// Rows of erased entities that were left out.
    dropped: u64,
    batches: Vec<RecordBatch>,
    rows: usize,
    bytes: usize,
    jobs: Vec<Joined>,
    tickets: Vec<Ticket>,
}

/// One push of a record.
struct Joined {
    done: Done,
    accepted: u64,
    skipped: u64,
    idempotency: Option<Idempotency>,
}

impl Merger {
    fn takes(&self, push: &Push) -> bool {
        self.open.as_ref().is_some_and(|o| {
            o.dataset == push.dataset
                && o.stream == push.stream
                // A commit may have added fields between two pushes.
                && o.batches.first().is_none_or(|b| b.num_columns() == push.batch.num_columns())
                && o.cursor.is_none()
                && o.rows + push.batch.num_rows() <= RECORD_ROWS
                && o.bytes + push_bytes(push) <= RECORD_BYTES
        })
    }

    fn push(&mut self, mut push: Push, dropped: u64, done: Done) {
        let open = self.open.get_or_insert_with(|| Open {
            dataset: push.dataset,
            stream: push.stream.clone(),
            cursor: None,
            dead_letters: Vec::new(),
            dropped: 0,
            batches: Vec::new(),
            rows: 0,
            bytes: 0,
            jobs: Vec::new(),
            tickets: Vec::new(),
        });
        open.rows += push.batch.num_rows();
        open.bytes += push_bytes(&push);
        open.dropped += dropped;
        open.jobs.push(Joined {
            done,
            accepted: push.batch.num_rows() as u64,
            skipped: push.dead_letters.len() as u64,
            idempotency: push.idempotency,
        });
        open.dead_letters.append(&mut push.dead_letters);
        open.tickets.extend(push.ticket);
        open.batches.push(push.batch);
        open.cursor = push.cursor;
    }

    /// Makes records of what is open. A push that is too much for one record becomes several, all in
    /// one append, so it is there whole or not at all; cursor and dead letters ride on the last.
    fn flush(&mut self, gate: &Gate, records: &mut Vec<Applied>, pending: &mut Vec<Pending>) {
        let Some(open) = self.open.take() else { return };
        let first_new = records.len();
        let joined = match open.batches.as_slice() {
            [only] => Ok(only.clone()),
            several => concat_batches(&several[0].schema(), several),
        };
        let joined = match joined.map_err(Error::from) {
            Ok(batch) => batch,
            Err(error) => return open.jobs.into_iter().for_each(|job| job.done.answer(Err(error.clone()))),
        };
        // Pushes that were joined fit into one record, which their marks ride on.
        let ends = if open.jobs.len() == 1 { cuts(&joined) } else { vec![joined.num_rows()] };
        // Given back when the last of the records is through.
        let tickets = Arc::new(open.tickets);
        let mut start = 0;
        for &end in &ends {
            let (number, stamp) = gate.stamp();
            let payload = Payload::Events(Box::new(EventsRecord {
                dataset: open.dataset,
                stream: open.stream.to_string(),
                cursor: None,
                dead_letters: Vec::new(),
                marks: Vec::new(),
                remains: Remains::default(),
                batch: joined.slice(start, end - start),
            }));
            records.push(Applied { number, stamp, payload, tickets: Some(tickets.clone()) });
            start = end;
        }
        let first = records[first_new].number;
        let (mut end, mut marks) = (0, Vec::new());
        for Joined { done, accepted, skipped, idempotency } in open.jobs {
            end += accepted as usize;
            let last = end.saturating_sub(1);
            let index = ends.partition_point(|e| *e <= last).min(ends.len() - 1);
            let row = last - index.checked_sub(1).map_or(0, |before| ends[before]);
            let record = first + index as u64;
            // The last push of a record stands for the whole of it.
            let last_row = (accepted > 0 && end < joined.num_rows()).then_some(row as u32);
            marks.extend(idempotency.map(|i| i.mark(last_row, accepted, skipped)));
            pending.push(Pending { done, record, last_row, accepted, skipped });
        }
        if let Some(Applied { payload: Payload::Events(last), .. }) = records.last_mut() {
            last.cursor = open.cursor;
            last.dead_letters = open.dead_letters;
            last.marks = marks;
            last.remains.dropped = open.dropped;
        }
    }
}

#[cfg(test)]
mod tests;
