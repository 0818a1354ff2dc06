//! Idempotency keys: a push that is sent again is answered as it was the first time.
//!
//! A key is scoped to (caller, dataset) and remembered for 24 h of stamps, with a hash of the body, in the
//! very log record that holds the rows: so it is known after a crash exactly if the rows are. In memory are
//! only the answers since the last checkpoint; the others are rows of the store ([`crate::answers`]).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thyme_core::{Error, ErrorKind, Position, Result};
use thyme_store::Store;

use crate::answers::{self, Change};
use crate::done::Done;
use crate::erasure::Fate;
use crate::push::Receipt;

/// How long a key is remembered, in microseconds of stamps.
pub(crate) const WINDOW_US: i64 = 24 * 3_600_000_000;
/// The longest key, in bytes.
const KEY_BYTES_MAX: usize = 256;

/// A push's key and body, hashed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Idempotency {
    key: Hash,
    body: Hash,
}

pub(crate) type Hash = [u8; 32];

/// Answers that no checkpoint has yet, before pushes with keys have to wait for one.
const UNSAVED_MAX: usize = 1_000_000;
/// So many make a checkpoint sooner than its time.
pub(crate) const UNSAVED_SOON: usize = 100_000;

/// The hash of a body that an erasure made everybody forget.
const ANY_BODY: Hash = [0; 32];

/// A key in a log record: what it was for, and the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub key: Hash,
    pub body: Hash,
    /// The last row of the push in the record; `u32::MAX` when it has none.
    pub last_row: u32,
    pub accepted: u64,
    pub skipped: u64,
}

/// A key and its answer, as the engine remembers it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Remembered {
    pub key: Hash,
    pub body: Hash,
    pub position: u64,
    pub accepted: u64,
    pub skipped: u64,
    pub stamp: i64,
}

impl Idempotency {
    /// The key `key` of `caller` for a push of `body` to dataset `dataset`.
    ///
    /// # Errors
    /// InvalidData: an empty key, or one of more than 256 bytes.
    pub fn new(caller: &str, dataset: u32, key: &str, body: &[u8]) -> Result<Self> {
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Err(Error::invalid_data(format!(
                "Idempotency-Key: expected 1 to {KEY_BYTES_MAX} bytes, got {}",
                key.len()
            )));
        }
        let mut hash = Sha256::new();
        hash.update((caller.len() as u64).to_le_bytes());
        hash.update(caller);
        hash.update(dataset.to_le_bytes());
        hash.update(key);
        Ok(Idempotency { key: hash.finalize().into(), body: Sha256::digest(body).into() })
    }

    pub(crate) fn mark(&self, last_row: Option<u32>, accepted: u64, skipped: u64) -> Mark {
        Mark { key: self.key, body: self.body, last_row: last_row.unwrap_or(u32::MAX), accepted, skipped }
    }
}

impl Mark {
    /// As it is remembered once its record has number `record` and stamp `stamp`.
    pub fn remembered(&self, record: u64, stamp: i64) -> Remembered {
        let position = match self.last_row {
            u32::MAX => Position::end_of(record),
            row => Position::new(record, row),
        };
        let Mark { key, body, accepted, skipped, .. } = self.clone();
        Remembered { key, body, position: position.to_bits(), accepted, skipped, stamp }
    }
}

impl Mark {
    /// Forgets the body: a push with this key is answered as the first was, whatever it holds.
    pub fn blank(&mut self) {
        self.body = ANY_BODY;
    }

    pub fn is_blank(&self) -> bool {
        self.body == ANY_BODY
    }
}

impl Remembered {
    fn receipt(&self) -> Receipt {
        Receipt {
            position: Position::from_bits(self.position),
            accepted: self.accepted,
            skipped: self.skipped,
            duplicates: None,
        }
    }

    /// The record that has it.
    fn record(&self) -> u64 {
        Position::from_bits(self.position).record()
    }

    fn is_known_at(&self, stamp: i64) -> bool {
        self.stamp >= stamp.saturating_sub(WINDOW_US)
    }
}

enum Slot {
    /// The store is asked whether it knows the key; these wait for what it says, each with its body.
    Asking(Vec<(Hash, Done)>),
    /// Being written, or applied: these wait for its answer, which is told after that if events have ids.
    InFlight { body: Hash, waiters: Vec<Done>, applied: Option<Remembered> },
    /// Answered, and not in the store yet.
    Known(Remembered),
}

impl Slot {
    fn in_flight(body: Hash, waiters: Vec<Done>) -> Slot {
        Slot::InFlight { body, waiters, applied: None }
    }
}

/// A change that no checkpoint has yet.
struct Unsaved {
    record: u64,
    key: Hash,
    /// What an erasure did; otherwise the answer is in the key's slot.
    erased: Option<Box<Change>>,
}

#[derive(Default)]
struct State {
    slots: HashMap<Hash, Slot, foldhash::fast::FixedState>,
    /// By ascending record.
    unsaved: VecDeque<Unsaved>,
}

/// The keys in flight and those remembered.
pub(crate) struct Keys {
    store: Arc<Store>,
    state: Mutex<State>,
    /// Pushes answered as an earlier one, and pushes refused for another body, since the start.
    replays: AtomicU64,
    conflicts: AtomicU64,
}

/// What to do with a push that carries a key.
pub(crate) enum Turn {
    /// It is the first: write it, and tell [`Keys::finish`].
    First(Done),
    /// It has been answered, or will be with the first.
    Answered,
}

impl Keys {
    /// What was remembered in `store`.
    pub fn new(store: Arc<Store>) -> Self {
        Keys { store, state: Mutex::default(), replays: AtomicU64::new(0), conflicts: AtomicU64::new(0) }
    }

    /// Remembers an answer of a record that is applied, and forgets those that are too old then.
    pub fn remember(&self, known: Remembered) {
        let mut state = self.state.lock();
        let State { slots, unsaved } = &mut *state;
        while let Some(oldest) = unsaved.front().filter(|oldest| oldest.erased.is_none()) {
            match slots.get(&oldest.key) {
                Some(Slot::Known(old) | Slot::InFlight { applied: Some(old), .. })
                    if old.is_known_at(known.stamp) =>
                {
                    break;
                }
                Some(Slot::Known(_)) => drop(slots.remove(&oldest.key)),
                _ => {}
            }
            unsaved.pop_front();
        }
        let change = Unsaved { record: known.record(), key: known.key, erased: None };
        match slots.get_mut(&known.key) {
            Some(Slot::Asking(_)) => return,
            Some(Slot::InFlight { applied, .. }) => *applied = Some(known),
            _ => drop(slots.insert(known.key, Slot::Known(known))),
        }
        unsaved.push_back(change);
    }

    /// What a checkpoint as of `record` has to write, and how many changes it stands for.
    pub fn unsaved(&self, record: u64) -> (Vec<Change>, usize) {
        let state = self.state.lock();
        let count = state.unsaved.partition_point(|change| change.record <= record);
        let known = state.unsaved.iter().take(count).filter_map(|change| {
            if let Some(erased) = &change.erased {
                return Some(Change::clone(erased));
            }
            match state.slots.get(&change.key) {
                Some(Slot::Known(known) | Slot::InFlight { applied: Some(known), .. }) => {
                    Some(Change { key: change.key, answer: Some(known.clone()) })
                }
                _ => None,
            }
        });
        (known.collect(), count)
    }

    /// The store has the first `count` changes now, as [`Keys::unsaved`] gave them for `record`.
    pub fn saved(&self, record: u64, count: usize) {
        let mut state = self.state.lock();
        let State { slots, unsaved } = &mut *state;
        for change in unsaved.drain(..count.min(unsaved.len())) {
            if matches!(slots.get(&change.key), Some(Slot::Known(known)) if known.record() <= record) {
                slots.remove(&change.key);
            }
        }
        if slots.is_empty() {
            (*slots, *unsaved) = Default::default();
        }
    }

    /// Does to the answer of record `from` what the erasure of record `at` did to its mark: at once in memory,
    /// with the next checkpoint in the store.
    ///
    /// # Errors
    /// Corrupt: the store's answer cannot be read.
    pub fn erase(&self, at: u64, from: u64, mark: &Mark, fate: Fate) -> Result<()> {
        let is_it = |known: &Remembered| known.record() == from;
        let stored = answers::load(&self.store, &mark.key)?.filter(is_it);
        let mut state = self.state.lock();
        let State { slots, unsaved } = &mut *state;
        let in_memory = match slots.get_mut(&mark.key) {
            Some(Slot::Known(known)) if is_it(known) => Some(known),
            _ => None,
        };
        let Some(known) = in_memory.as_deref().cloned().or(stored) else { return Ok(()) };
        let blank = Remembered { body: ANY_BODY, ..known };
        let answer = match (fate, in_memory) {
            (Fate::Blank, in_memory) => {
                in_memory.into_iter().for_each(|known| known.body = ANY_BODY);
                Some(blank)
            }
            (Fate::Gone, Some(_)) => {
                slots.remove(&mark.key);
                None
            }
            (Fate::Gone, None) => None,
        };
        let erased = Some(Box::new(Change { key: mark.key, answer }));
        unsaved.push_back(Unsaved { record: at, key: mark.key, erased });
        Ok(())
    }

    /// How many answers no checkpoint has yet.
    pub fn unsaved_count(&self) -> usize {
        self.state.lock().unsaved.len()
    }

    /// The answer a key had, if it is known at `stamp`.
    ///
    /// # Errors
    /// Conflict: the key was used with another body. Corrupt: the store's answer cannot be read.
    pub fn answered(&self, asked: &Idempotency, stamp: i64) -> Result<Option<Receipt>> {
        let in_memory = match self.state.lock().slots.get(&asked.key) {
            Some(Slot::Known(known)) => Some(known.clone()),
            Some(_) => return Ok(None),
            None => None,
        };
        let known = match in_memory {
            Some(known) => Some(known),
            None => answers::load(&self.store, &asked.key)?,
        };
        known.filter(|known| known.is_known_at(stamp)).map(|known| self.twin(&known, &asked.body)).transpose()
    }

    /// Whose turn it is; a twin of one in flight waits for its answer.
    pub fn begin(&self, asked: &Idempotency, stamp: i64, done: Done) -> Turn {
        let mut state = self.state.lock();
        let full = state.unsaved.len() >= UNSAVED_MAX;
        let slot = state.slots.get_mut(&asked.key);
        match slot {
            Some(Slot::Asking(waiters)) => {
                waiters.push((asked.body, done));
                return Turn::Answered;
            }
            Some(Slot::InFlight { body, waiters, .. }) => {
                match self.check(body, &asked.body) {
                    Ok(()) => waiters.push(done),
                    Err(conflict) => {
                        drop(state);
                        done.answer(Err(conflict));
                    }
                }
                return Turn::Answered;
            }
            Some(Slot::Known(known)) if known.is_known_at(stamp) => {
                let answer = self.twin(known, &asked.body);
                drop(state);
                done.answer(answer);
                return Turn::Answered;
            }
            _ if full => {
                drop(state);
                done.answer(Err(too_many()));
                return Turn::Answered;
            }
            // Whatever the store has of it is older still.
            Some(Slot::Known(_)) => {
                state.slots.insert(asked.key, Slot::in_flight(asked.body, Vec::new()));
                return Turn::First(done);
            }
            None => {
                state.slots.insert(asked.key, Slot::Asking(Vec::new()));
            }
        }
        drop(state);
        let stored = answers::load(&self.store, &asked.key);
        self.told(asked, done, stored.map(|known| known.filter(|known| known.is_known_at(stamp))))
    }

    /// The store has said what it knows of a key that is asked for.
    fn told(&self, asked: &Idempotency, done: Done, stored: Result<Option<Remembered>>) -> Turn {
        let mut state = self.state.lock();
        let Some(Slot::Asking(waiters)) = state.slots.remove(&asked.key) else { return Turn::First(done) };
        let mut answers = Vec::new();
        let turn = match stored {
            Ok(None) => {
                let (twins, others): (Vec<_>, Vec<_>) =
                    waiters.into_iter().partition(|(body, _)| self.check(&asked.body, body).is_ok());
                let waiters = twins.into_iter().map(|(_, done)| done).collect();
                state.slots.insert(asked.key, Slot::in_flight(asked.body, waiters));
                answers.extend(others.into_iter().map(|(_, done)| (done, Err(conflict()))));
                Turn::First(done)
            }
            Ok(Some(known)) => {
                answers.push((done, self.twin(&known, &asked.body)));
                answers.extend(waiters.into_iter().map(|(body, done)| (done, self.twin(&known, &body))));
                Turn::Answered
            }
            Err(error) => {
                answers.push((done, Err(error.clone())));
                answers.extend(waiters.into_iter().map(|(_, done)| (done, Err(error.clone()))));
                Turn::Answered
            }
        };
        drop(state);
        answers.into_iter().for_each(|(done, answer)| done.answer(answer));
        turn
    }

    /// How many pushes were answered as an earlier one, and how many refused for another body.
    pub fn counts(&self) -> (u64, u64) {
        (self.replays.load(Ordering::Relaxed), self.conflicts.load(Ordering::Relaxed))
    }

    fn twin(&self, known: &Remembered, given: &Hash) -> Result<Receipt> {
        self.check(&known.body, given).map(|()| known.receipt())
    }

    fn check(&self, known: &Hash, given: &Hash) -> Result<()> {
        let checked = check_body(known, given);
        let count = if checked.is_ok() { &self.replays } else { &self.conflicts };
        count.fetch_add(1, Ordering::Relaxed);
        checked
    }

    /// The first is through: its twins get the same answer, and only success is remembered.
    pub fn finish(&self, asked: &Idempotency, stamp: i64, result: &Result<Receipt>) {
        let mut state = self.state.lock();
        let (waiters, applied) = match state.slots.remove(&asked.key) {
            Some(Slot::InFlight { waiters, applied, .. }) => (waiters, applied),
            _ => (Vec::new(), None),
        };
        let told = result.as_ref().ok().map(|receipt| Remembered {
            key: asked.key,
            body: asked.body,
            position: receipt.position.to_bits(),
            accepted: receipt.accepted,
            skipped: receipt.skipped,
            stamp,
        });
        if let Some(known) = applied.or(told) {
            state.slots.insert(asked.key, Slot::Known(known));
        }
        drop(state);
        for waiter in waiters {
            waiter.answer(result.clone());
        }
    }
}

/// Checks that a key is used with the body it was used with first.
fn check_body(known: &Hash, given: &Hash) -> Result<()> {
    match known == given || *known == ANY_BODY {
        true => Ok(()),
        false => Err(conflict()),
    }
}

fn conflict() -> Error {
    Error::new(
        ErrorKind::Conflict,
        "this Idempotency-Key was used with another body within the last 24 h; use a new key for new events",
    )
}

fn too_many() -> Error {
    Error::new(
        ErrorKind::Overloaded,
        format!(
            "{UNSAVED_MAX} answers to pushes with an Idempotency-Key are in memory and in no checkpoint, which is the limit; \
             nothing of this one was stored: send it again later"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;
    use thyme_store::CheckpointBatch;

    fn counting(hits: &Arc<AtomicU32>) -> Done {
        let hits = hits.clone();
        Done::new(move |result| {
            result.unwrap();
            hits.fetch_add(1, Ordering::Relaxed);
        })
    }

    #[test]
    fn a_twin_waits_for_the_first_and_later_ones_are_answered_at_once() {
        let keys = Keys::new(Arc::new(Store::in_memory()));
        let asked = Idempotency::new("", 1, "k", b"body").unwrap();
        let hits = Arc::new(AtomicU32::new(0));
        let Turn::First(done) = keys.begin(&asked, 0, counting(&hits)) else { panic!("it is the first") };
        assert!(matches!(keys.begin(&asked, 0, counting(&hits)), Turn::Answered));
        assert_eq!(hits.load(Ordering::Relaxed), 0, "the twin waits");
        let answer = Ok(Receipt { position: Position::new(3, 1), accepted: 2, skipped: 0, duplicates: None });
        keys.finish(&asked, 10, &answer);
        done.answer(answer);
        assert_eq!(hits.load(Ordering::Relaxed), 2);
        assert_eq!(keys.answered(&asked, 10).unwrap().unwrap().accepted, 2);
        let other = Idempotency::new("", 1, "k", b"another").unwrap();
        assert_eq!(keys.answered(&other, 10).unwrap_err().kind(), ErrorKind::Conflict);
        assert!(keys.answered(&asked, 11 + WINDOW_US).unwrap().is_none(), "24 h later it is forgotten");
    }

    #[test]
    fn a_failure_is_not_remembered() {
        let keys = Keys::new(Arc::new(Store::in_memory()));
        let asked = Idempotency::new("", 1, "k", b"body").unwrap();
        let Turn::First(_) = keys.begin(&asked, 0, Done::new(|_| {})) else { panic!("it is the first") };
        keys.finish(&asked, 0, &Err(Error::unavailable("full")));
        assert!(matches!(keys.begin(&asked, 0, Done::new(|_| {})), Turn::First(_)));
    }

    #[test]
    fn keys_of_other_callers_and_datasets_are_other_keys() {
        let of = |caller, dataset| Idempotency::new(caller, dataset, "k", b"").unwrap();
        assert_ne!(of("a", 1), of("b", 1));
        assert_ne!(of("a", 1), of("a", 2));
        assert!(Idempotency::new("", 1, "", b"").is_err());
    }

    fn checkpoint(keys: &Keys, record: u64) {
        let (changes, count) = keys.unsaved(record);
        let mut batch = CheckpointBatch::default();
        answers::save(&mut batch, &keys.store, &changes, record as i64).unwrap();
        keys.store.checkpoint(batch).unwrap();
        keys.saved(record, count);
    }

    #[test]
    fn what_a_checkpoint_has_is_answered_from_the_store() {
        let keys = Keys::new(Arc::new(Store::in_memory()));
        let asked = |key: &str, body: &str| Idempotency::new("", 1, key, body.as_bytes()).unwrap();
        for (record, key) in [(3, "a"), (4, "b")] {
            keys.remember(asked(key, "body").mark(Some(1), 2, 0).remembered(record, 10));
        }
        checkpoint(&keys, 3);
        assert_eq!((keys.unsaved_count(), keys.state.lock().slots.len()), (1, 1));
        for key in ["a", "b"] {
            assert_eq!(keys.answered(&asked(key, "body"), 10).unwrap().unwrap().accepted, 2);
            assert_eq!(keys.answered(&asked(key, "other"), 10).unwrap_err().kind(), ErrorKind::Conflict);
            let hits = Arc::new(AtomicU32::new(0));
            assert!(matches!(keys.begin(&asked(key, "body"), 10, counting(&hits)), Turn::Answered));
            assert_eq!(hits.load(Ordering::Relaxed), 1);
            assert!(matches!(
                keys.begin(&asked(key, "body"), 11 + WINDOW_US, Done::new(|_| {})),
                Turn::First(_)
            ));
            keys.finish(&asked(key, "body"), 0, &Err(Error::unavailable("full")));
        }
        let keys = Keys::new(keys.store.clone());
        assert!(keys.answered(&asked("a", "body"), 10).unwrap().is_some(), "it outlives the process");
        assert!(keys.answered(&asked("b", "body"), 10).unwrap().is_none(), "the log has this one");
    }

    #[test]
    fn an_answer_that_is_told_once_its_record_is_applied_is_saved_too() {
        let keys = Keys::new(Arc::new(Store::in_memory()));
        let asked = ["a", "b"].map(|key| Idempotency::new("", 1, key, b"body").unwrap());
        for asked in &asked {
            assert!(matches!(keys.begin(asked, 0, Done::new(|_| {})), Turn::First(_)));
        }
        // One record has both.
        asked.iter().for_each(|asked| keys.remember(asked.mark(None, 2, 0).remembered(3, 10)));
        let position = Position::end_of(3);
        let answer = Ok(Receipt { position, accepted: 2, skipped: 0, duplicates: Some(1) });
        asked.iter().for_each(|asked| keys.finish(asked, 11, &answer));
        checkpoint(&keys, 3);
        assert_eq!((keys.unsaved_count(), keys.state.lock().slots.len()), (0, 0));
        let keys = Keys::new(keys.store.clone());
        assert!(asked.iter().all(|asked| keys.answered(asked, 10).unwrap().is_some()));
    }

    #[test]
    fn a_checkpoint_that_failed_leaves_its_answers_for_the_next() {
        let keys = Keys::new(Arc::new(Store::in_memory()));
        let asked = Idempotency::new("", 1, "k", b"body").unwrap();
        keys.remember(asked.mark(None, 0, 1).remembered(3, 10));
        let (changes, _) = keys.unsaved(3);
        assert_eq!(keys.unsaved(3).0, changes);
        assert!(keys.answered(&asked, 10).unwrap().is_some());
        checkpoint(&keys, 5);
        assert_eq!(keys.state.lock().slots.len(), 0);
        assert!(keys.answered(&asked, 10).unwrap().is_some());
    }

    #[test]
    fn an_erasure_takes_an_answer_or_its_body_out_of_memory_and_of_the_store() {
        for is_saved in [false, true] {
            let keys = Keys::new(Arc::new(Store::in_memory()));
            let asked = |key: &str, body: &str| Idempotency::new("", 1, key, body.as_bytes()).unwrap();
            let mark = |key: &str| asked(key, "body").mark(Some(1), 2, 0);
            ["a", "b", "c"].iter().for_each(|key| keys.remember(mark(key).remembered(3, 10)));
            if is_saved {
                checkpoint(&keys, 3);
            }
            keys.erase(9, 3, &mark("a"), Fate::Gone).unwrap();
            keys.erase(9, 3, &mark("b"), Fate::Blank).unwrap();
            keys.erase(9, 2, &mark("c"), Fate::Gone).unwrap();
            checkpoint(&keys, 9);
            assert_eq!(keys.state.lock().slots.len(), 0);
            assert!(keys.answered(&asked("a", "body"), 10).unwrap().is_none());
            assert!(keys.answered(&asked("b", "other"), 10).unwrap().is_some(), "any body will do");
            assert!(keys.answered(&asked("c", "body"), 10).unwrap().is_some(), "another record's");
            let traces = answers::traces(&keys.store).unwrap();
            assert!(!traces.contains(&mark("a").key), "nothing is left of the key");
            assert!(traces.contains(&mark("b").key) && traces.contains(&mark("c").key));
        }
    }
}
