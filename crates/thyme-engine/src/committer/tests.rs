//! Groups that cannot be written, and pushes that are too much for one record.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc::sync_channel;

use arrow::array::{Int64Array, StringArray};
use thyme_core::{Env, ErrorKind};
use thyme_log::{MemoryLog, Records};

use super::*;
use crate::gate::NowSource;

#[derive(Debug, Default)]
struct FlakyLog {
    inner: MemoryLog,
    is_full: AtomicBool,
}

impl Log for FlakyLog {
    fn append(&self, records: &[NewRecord<'_>]) -> Result<u64> {
        match self.is_full.load(Ordering::SeqCst) {
            true => Err(Error::new(ErrorKind::StorageFull, "no space is left")),
            false => self.inner.append(records),
        }
    }

    fn last(&self) -> Option<(u64, i64)> {
        self.inner.last()
    }

    fn read(&self, from: u64) -> Result<Records<'_>> {
        self.inner.read(from)
    }

    fn last_at(&self, stamp: i64) -> Result<Option<u64>> {
        self.inner.last_at(stamp)
    }

    fn bytes(&self) -> u64 {
        self.inner.bytes()
    }

    fn first(&self) -> u64 {
        self.inner.first()
    }

    fn rewrite(&self, until: u64, edit: &mut thyme_log::Edit<'_>) -> Result<u64> {
        self.inner.rewrite(until, edit)
    }

    fn cut(&self, before: u64) -> Result<u64> {
        self.inner.cut(before)
    }

    fn cuts(&self) -> Vec<u64> {
        self.inner.cuts()
    }
}

#[derive(Debug)]
struct Ticking(AtomicI64);

impl Env for Ticking {
    fn now_us(&self) -> i64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

struct Desk {
    committer: Committer,
    log: Arc<FlakyLog>,
    gate: Arc<Gate>,
    applied: Receiver<Message>,
}

fn desk() -> Desk {
    let (log, gate) =
        (Arc::new(FlakyLog::default()), Arc::new(Gate::new(Arc::new(Ticking(AtomicI64::new(100))))));
    let (applier, applied) = sync_channel(1024);
    let applier = Outbox::Thread(applier);
    let committer = Committer { log: log.clone(), gate: gate.clone(), applier, ledger: Arc::default() };
    Desk { committer, log, gate, applied }
}

/// Rows of `bytes` bytes of text each.
fn push(rows: usize, bytes: usize) -> Push {
    let texts = StringArray::from_iter_values(std::iter::repeat_n("x".repeat(bytes), rows));
    let numbers = Int64Array::from_iter_values(0..rows as i64);
    let batch = RecordBatch::try_from_iter([
        ("s", Arc::new(texts) as arrow::array::ArrayRef),
        ("n", Arc::new(numbers) as arrow::array::ArrayRef),
    ]);
    Push {
        dataset: 0,
        stream: "push".into(),
        cursor: None,
        dead_letters: Vec::new(),
        batch: batch.unwrap(),
        ticket: None,
        letters: None,
        idempotency: None,
        faults: Vec::new(),
        violations: Vec::new(),
    }
}

impl Desk {
    /// Commits pushes as one group and gives their answers.
    fn commit(&self, pushes: Vec<Push>) -> Vec<Result<Receipt>> {
        let (sender, answers) = sync_channel(pushes.len());
        let job = |push| {
            let sender = sender.clone();
            Job::Events { push: Box::new(push), done: Done::new(move |answer| sender.send(answer).unwrap()) }
        };
        self.committer.commit(pushes.into_iter().map(job).collect());
        drop(sender);
        answers.iter().collect()
    }

    /// Rows of the records that were handed on, and publishes them.
    fn apply(&self) -> Vec<usize> {
        let mut rows = Vec::new();
        while let Ok(Message::Record(record)) = self.applied.try_recv() {
            if let Payload::Events(events) = &record.payload {
                rows.push(events.batch.num_rows());
            }
            self.gate.publish(record.number);
        }
        rows
    }
}

#[test]
fn a_group_that_cannot_be_written_leaves_no_trace_for_readers_or_for_what_comes_after() {
    let desk = desk();
    assert_eq!(desk.commit(vec![push(3, 1)])[0].as_ref().unwrap().position, Position::end_of(1));
    assert_eq!(desk.apply(), [3]);
    let (mut time, position) = desk.gate.online(NowSource::Wall).unwrap();
    desk.log.is_full.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        let answers = desk.commit(vec![push(1, 1), push(2, 1)]);
        assert!(answers.iter().all(|a| a.as_ref().unwrap_err().kind() == ErrorKind::StorageFull));
        let (later, same) = desk.gate.online(NowSource::Wall).unwrap();
        assert!(later > time, "nothing is pending that time would have to wait for");
        assert_eq!(same, position);
        time = later;
    }
    assert_eq!(desk.apply(), [0; 0]);
    desk.log.is_full.store(false, Ordering::SeqCst);
    let answers = desk.commit(vec![push(1, 1), push(2, 1)]);
    let positions: Vec<Position> = answers.into_iter().map(|a| a.unwrap().position).collect();
    assert_eq!(positions, [Position::new(2, 0), Position::end_of(2)]);
    let (number, stamp) = desk.log.last().unwrap();
    assert_eq!(number, 2);
    assert!(stamp > time.0, "a stamp is above every time that was given out");
    assert_eq!(desk.apply(), [3]);
}

#[test]
fn pushes_are_joined_only_as_far_as_a_record_goes() {
    let desk = desk();
    let third = RECORD_BYTES / 3;
    let answers = desk.commit(vec![push(1, third), push(1, third), push(1, third), push(1, 1)]);
    let positions: Vec<Position> = answers.into_iter().map(|a| a.unwrap().position).collect();
    let (first, second) = (Position::end_of(1), Position::end_of(2));
    assert_eq!(positions, [Position::new(1, 0), first, Position::new(2, 0), second]);
    assert_eq!(desk.apply(), [2, 2]);
}

#[test]
fn a_push_of_large_rows_becomes_several_records_in_one_write() {
    let desk = desk();
    let answers = desk.commit(vec![push(40, 1 << 20), push(1, 1)]);
    let positions: Vec<Position> = answers.into_iter().map(|a| a.unwrap().position).collect();
    let records = desk.apply();
    assert_eq!(records.iter().sum::<usize>(), 41);
    assert!(records.len() > 3 && records.iter().all(|rows| *rows <= 16), "{records:?}");
    assert_eq!(positions[0], Position::end_of(records.len() as u64 - 1));
    assert_eq!(positions[1], Position::end_of(records.len() as u64));
}

#[test]
fn nothing_is_promised_once_nothing_is_applied() {
    let desk = desk();
    desk.gate.stop("record 7 could not be applied");
    let error = desk.commit(vec![push(1, 1)])[0].clone().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.detail(), "record 7 could not be applied; nothing was stored");
    assert!(desk.log.last().is_none());
}

#[test]
fn whoever_waits_for_a_job_that_is_dropped_is_told() {
    let (sender, answers) = sync_channel(1);
    drop(Job::Events { push: Box::new(push(1, 1)), done: Done::new(move |a| sender.send(a).unwrap()) });
    assert_eq!(answers.recv().unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
}
