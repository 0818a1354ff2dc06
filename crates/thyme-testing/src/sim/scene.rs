//! One life of an engine, and what may go on in it at any moment, also in the middle of a write.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use thyme_core::{EntityKey, ErrorKind, EventTime, Extent, Position, Result, Value, Window};
use thyme_engine::{CheckpointStep, Engine, Node, ReadAt, Receipt, Snapshot, Stepper};

use super::Trace;
use super::book::{Book, Served};
use crate::definitions::{INPUTS, Raw};
use crate::ledger::{Ledger, column, values};
use crate::random::Random;

/// Answers as they came: to what, and which.
pub type Answers = Arc<Mutex<Vec<(u64, Result<Receipt>)>>>;

pub struct Scene {
    pub engine: Engine,
    pub stepper: Stepper,
    pub shards: usize,
    /// Whether pipelines are filled by steps.
    pub fills: bool,
    pub book: Arc<Mutex<Book>>,
    pub random: Mutex<Random>,
    pub trace: Trace,
    pub answers: Answers,
    /// Whether a part of the state may be poisoned.
    pub is_hurt: AtomicBool,
    /// Whether the store cannot be read now.
    pub is_blind: AtomicBool,
}

impl Scene {
    fn below(&self, n: usize) -> usize {
        self.random.lock().below(n)
    }

    /// One part does its next thing, or somebody reads; what is in the middle of a step is left alone.
    pub fn move_something(&self) {
        if self.fills && self.below(4) == 0 {
            return self.note("fill", self.stepper.fill(1 + self.below(4)));
        }
        match self.below(10) {
            0..3 => self.note("apply", self.stepper.apply()),
            3..7 => {
                let shard = self.below(self.shards);
                self.note(&format!("shard {shard}"), self.stepper.shard(shard));
            }
            7..9 => self.step_checkpoint(1 + self.below(200)),
            _ => self.read_online(),
        }
    }

    fn note(&self, what: &str, took_place: bool) {
        if took_place {
            self.trace.note(what);
        }
    }

    /// Steps of a checkpoint; a stripe is one.
    pub fn step_checkpoint(&self, steps: usize) {
        for step in 0..steps {
            match self.stepper.checkpoint() {
                Ok(CheckpointStep::More) => {}
                Ok(done) => return self.trace.note(format!("checkpoint {done:?} after {step}")),
                Err(error) => return self.trace.note(format!("checkpoint failed: {error}")),
            }
        }
        self.trace.note(format!("checkpoint went {steps} steps"));
    }

    /// What its retention has passed goes; what is on its way is done meanwhile.
    pub fn remove_old(&self) {
        match self.engine.enforce_retention_to_the_edge() {
            Ok(rows) => self.note(&format!("{rows} rows were too old"), rows > 0),
            // What fails is what was made to fail; the rest is as refused as if it had gone.
            Err(error) => self.trace.note(format!("rows that are too old stay: {error}")),
        }
    }

    /// An online read, checked now and entered in the book.
    pub fn read_online(&self) {
        let Some(snapshot) = self.snapshot(ReadAt::default()).filter(|s| self.knows(s)) else { return };
        assert!(snapshot.online && snapshot.time <= snapshot.now);
        self.trace.note(format!("online read at T = {} {}", snapshot.time.0, snapshot.position));
        let served = Served { time: snapshot.time, position: snapshot.position };
        self.check(&snapshot, &[snapshot.time], 2);
        // An answer that the power cut, or whose bound a broken store did not take, is no promise.
        let bound = self.engine.events().list(1, |e| e.event_type == "online_bound_not_stored");
        if bound.is_empty() {
            self.book.lock().served.push(served);
        }
    }

    /// The state as known at some position.
    pub fn read_old(&self, rounds: usize) {
        for _ in 0..rounds {
            let applied = Position::end_of(self.engine.records().1);
            let (position, times) = {
                let (book, mut random) = (self.book.lock(), self.random.lock());
                let newest = random.chance(30);
                let of = |random: &mut Random| match book.ledgers.len() {
                    1 => &book.ledgers[0],
                    more => &book.ledgers[random.below(more)],
                };
                let position = if newest { applied } else { of(&mut random).random_position(&mut random) };
                let times = (0..3).map(|_| of(&mut random).random_time(&mut random)).collect();
                let times: Vec<EventTime> = times;
                (position.min(applied), times)
            };
            let snapshot = self.snapshot(ReadAt { position: Some(position), ..ReadAt::default() });
            let Some(snapshot) = snapshot.filter(|snapshot| self.knows(snapshot)) else { return };
            self.trace.note(format!("read at {position}"));
            self.check(&snapshot, &times, usize::MAX);
        }
    }

    fn snapshot(&self, at: ReadAt) -> Option<Snapshot> {
        match self.engine.snapshot(at) {
            Ok(snapshot) => Some(snapshot),
            Err(error) => panic!("a read of what is applied was refused: {error}"),
        }
    }

    /// Whether the book has all that a snapshot shows. A commit that waits for what it needs, and whoever removes what
    /// is too old, write and apply at once, and end with a write in whose middle somebody may read.
    fn knows(&self, snapshot: &Snapshot) -> bool {
        let book = self.book.lock();
        let (entered, (written, _)) = (book.stamps.len() as u64, self.engine.records());
        let commit = &snapshot.catalog.commit;
        let is_known = book.commits.contains_key(commit) || book.announced.contains_key(commit);
        written <= entered || (snapshot.position.record() <= entered && is_known)
    }

    /// What a read gave; nothing if it was refused, and there is a reason.
    pub fn answered<T>(&self, answer: Result<T>) -> Option<T> {
        let error = match answer {
            Ok(answer) => return Some(answer),
            Err(error) => error,
        };
        let is_known = match error.kind() {
            ErrorKind::Poisoned => self.is_hurt.load(Ordering::Relaxed) && !self.engine.poisoned().is_empty(),
            _ => self.is_blind.load(Ordering::Relaxed),
        };
        assert!(is_known, "a read was refused without a fault: {error}");
        self.trace.note(format!("a read is refused: {:?}", error.kind()));
        None
    }

    /// A read that needs what is gone must be refused so, unless a fault comes first.
    fn refused<T>(&self, answer: Result<T>) {
        match answer {
            Err(error) if error.kind() == ErrorKind::Gone => {}
            other => {
                let answered = self.answered(other).is_some();
                assert!(!answered, "a read of what was removed was answered");
            }
        }
    }

    /// Compares what up to `keys_max` keys of each dataset show with the oracle.
    fn check(&self, snapshot: &Snapshot, times: &[EventTime], keys_max: usize) {
        let book = self.book.lock();
        let definitions = book.definitions(&snapshot.catalog.commit);
        let position = snapshot.position;
        for ((input, ledger), raw) in INPUTS.iter().zip(&book.ledgers).zip(&definitions.raws) {
            if let Ok(live) = snapshot.catalog.dataset(input.name)
                && input.is_index
            {
                self.check_latest(snapshot, live.readable().unwrap(), (ledger, raw), times);
            }
        }
        let begins = INPUTS.iter().map(|input| snapshot.catalog.dataset(input.name).ok()?.rows_begin());
        let begins: Vec<_> = begins.collect();
        for derived in &definitions.derived {
            let node = snapshot.catalog.dataset(&derived.name).unwrap().readable().unwrap();
            let pipeline = derived.pipeline(&definitions.raws[0]);
            let all: Vec<usize> = (0..node.outputs.len()).collect();
            let mut begins = begins.clone();
            begins.first_mut().into_iter().for_each(|first| *first = node.begins());
            let entities = book.entities(definitions, derived, &begins, position);
            for (key, mut rows) in entities.into_iter().take(keys_max) {
                rows.retain(|row| is_after_begin(node, row.time));
                let encoded = EntityKey::encode(&key).unwrap().0;
                for time in times {
                    let kept =
                        |output: &usize| !needs_removed(node, node.outputs[*output].window.as_ref(), *time);
                    let kept: Vec<usize> = all.iter().copied().filter(kept).collect();
                    if kept.len() < all.len() {
                        self.refused(snapshot.outputs(node, &encoded, *time, &all));
                    }
                    let want = values(&pipeline, &rows, *time, position);
                    let want: Vec<Value> = kept.iter().map(|output| want[*output].clone()).collect();
                    let got = snapshot.outputs(node, &encoded, *time, &kept);
                    let Some(got) = self.answered(got) else { continue };
                    assert_eq!(got, want, "{} of {key:?} at {time:?} {position}", derived.name);
                }
            }
        }
    }

    /// Compares the latest rows of a raw dataset.
    fn check_latest(
        &self,
        snapshot: &Snapshot,
        node: &Node,
        (ledger, raw): (&Ledger, &Raw),
        times: &[EventTime],
    ) {
        let position = snapshot.position;
        for (time, key) in times.iter().flat_map(|t| ["a", "b", "", "unseen"].map(|k| (*t, k))) {
            let encoded = EntityKey::encode(&[Value::Str(key.into())]).unwrap();
            let got = snapshot.latest_row(node, &encoded.0, time);
            if needs_removed(node, None, time) {
                self.refused(got);
                continue;
            }
            let Some(got) = self.answered(got) else { continue };
            let got = got.map(|(t, columns)| (t.0, columns[1].clone()));
            let want = ledger.latest(raw, key, time, position);
            let want = want.filter(|event| is_after_begin(node, EventTime(event.at)));
            let want = want.map(|e| (e.at, column(&e.columns, "i")));
            assert_eq!(got, want, "the latest row of {key:?} at {time:?} {position}");
        }
    }
}

/// Whether a window reaches what retention may have removed.
fn needs_removed(node: &Node, window: Option<&Window>, time: EventTime) -> bool {
    let after = Extent::of(window, node.retention, time).after;
    // What reaches back without end begins where the log does.
    after.0 > i64::MIN && node.removed_until().is_some_and(|removed| after < removed)
}

/// Whether an event of `time` is in what a node begins with.
fn is_after_begin(node: &Node, time: EventTime) -> bool {
    node.begins().is_none_or(|begins| time > begins)
}
