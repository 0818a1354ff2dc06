//! Idempotency keys: a push that is sent again is answered as it was the first time.
//!
//! A key is scoped to (caller, dataset) and remembered for 24 h of stamps, with a hash of the body, in the
//! very log record that holds the rows: so it is known after a crash exactly if the rows are.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thyme_core::{Error, ErrorKind, Position, Result};

use crate::done::Done;
use crate::erasure::Fate;
use crate::push::Receipt;

/// How long a key is remembered, in microseconds of stamps.
const WINDOW_US: i64 = 24 * 3_600_000_000;
/// The longest key, in bytes.
const KEY_BYTES_MAX: usize = 256;

/// A push's key and body, hashed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Idempotency {
    key: Hash,
    body: Hash,
}

type Hash = [u8; 32];

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
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Remembered {
    key: Hash,
    body: Hash,
    position: u64,
    accepted: u64,
    skipped: u64,
    stamp: i64,
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

/// Does to what is remembered what an erasure did to a mark in record `record`.
pub(crate) fn erase(
    remembered: &mut VecDeque<Remembered>,
    keys: &Keys,
    record: u64,
    mark: &Mark,
    fate: Fate,
) {
    let is_it = |r: &Remembered| r.key == mark.key && Position::from_bits(r.position).record() == record;
    let mut slots = keys.slots.lock();
    let slot = slots.get_mut(&mark.key);
    match (fate, slot) {
        (Fate::Gone, Some(Slot::Known(known))) if is_it(known) => {
            slots.remove(&mark.key);
        }
        (Fate::Blank, Some(Slot::Known(known))) if is_it(known) => known.body = ANY_BODY,
        _ => {}
    }
    match fate {
        Fate::Gone => remembered.retain(|r| !is_it(r)),
        Fate::Blank => remembered.iter_mut().filter(|r| is_it(r)).for_each(|r| r.body = ANY_BODY),
    }
}

impl Remembered {
    fn receipt(&self) -> Receipt {
        Receipt {
            position: Position::from_bits(self.position),
            accepted: self.accepted,
            skipped: self.skipped,
        }
    }
}

/// Takes out what is older than the window at `stamp`; the oldest stand first.
pub(crate) fn forget(remembered: &mut VecDeque<Remembered>, stamp: i64) -> Vec<Remembered> {
    let recent = remembered.partition_point(|r| r.stamp < stamp.saturating_sub(WINDOW_US));
    remembered.drain(..recent).collect()
}

enum Slot {
    /// Being written; these wait for its answer.
    InFlight {
        body: Hash,
        waiters: Vec<Done>,
    },
    Known(Remembered),
}

/// The keys in flight and those remembered.
#[derive(Default)]
pub(crate) struct Keys {
    slots: Mutex<HashMap<Hash, Slot, foldhash::fast::FixedState>>,
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
    /// Remembers an answer.
    pub fn remember(&self, known: Remembered) {
        let mut slots = self.slots.lock();
        if !matches!(slots.get(&known.key), Some(Slot::InFlight { .. })) {
            slots.insert(known.key, Slot::Known(known));
        }
    }

    /// Forgets answers, unless their keys have been used again since.
    pub fn forget(&self, gone: &[Remembered]) {
        let mut slots = self.slots.lock();
        for old in gone {
            if matches!(slots.get(&old.key), Some(Slot::Known(k)) if k.stamp <= old.stamp) {
                slots.remove(&old.key);
            }
        }
    }

    /// The answer a key had, if it is known at `stamp`.
    ///
    /// # Errors
    /// Conflict: the key was used with another body.
    pub fn answered(&self, asked: &Idempotency, stamp: i64) -> Result<Option<Receipt>> {
        match self.slots.lock().get(&asked.key) {
            Some(Slot::Known(known)) if known.stamp >= stamp.saturating_sub(WINDOW_US) => {
                self.twin(&known.body, &asked.body)?;
                Ok(Some(known.receipt()))
            }
            _ => Ok(None),
        }
    }

    /// Whose turn it is; a twin of one in flight waits for its answer.
    pub fn begin(&self, asked: &Idempotency, stamp: i64, done: Done) -> Turn {
        match self.answered(asked, stamp) {
            Ok(None) => {}
            Ok(Some(receipt)) => {
                done.answer(Ok(receipt));
                return Turn::Answered;
            }
            Err(conflict) => {
                done.answer(Err(conflict));
                return Turn::Answered;
            }
        }
        let mut slots = self.slots.lock();
        match slots.get_mut(&asked.key) {
            Some(Slot::InFlight { body, waiters }) => match self.twin(body, &asked.body) {
                Ok(()) => waiters.push(done),
                Err(conflict) => {
                    drop(slots);
                    done.answer(Err(conflict));
                }
            },
            Some(Slot::Known(known)) if known.stamp >= stamp.saturating_sub(WINDOW_US) => {
                // The first finished between the two looks.
                let answer = self.twin(&known.body, &asked.body).map(|()| known.receipt());
                drop(slots);
                done.answer(answer);
            }
            _ => {
                slots.insert(asked.key, Slot::InFlight { body: asked.body, waiters: Vec::new() });
                return Turn::First(done);
            }
        }
        Turn::Answered
    }

    /// How many pushes were answered as an earlier one, and how many refused for another body.
    pub fn counts(&self) -> (u64, u64) {
        (self.replays.load(Ordering::Relaxed), self.conflicts.load(Ordering::Relaxed))
    }

    fn twin(&self, known: &Hash, given: &Hash) -> Result<()> {
        let checked = check_body(known, given);
        let count = if checked.is_ok() { &self.replays } else { &self.conflicts };
        count.fetch_add(1, Ordering::Relaxed);
        checked
    }

    /// The first is through: its twins get the same answer, and only success is remembered.
    pub fn finish(&self, asked: &Idempotency, stamp: i64, result: &Result<Receipt>) {
        let mut slots = self.slots.lock();
        let waiters = match slots.remove(&asked.key) {
            Some(Slot::InFlight { waiters, .. }) => waiters,
            _ => Vec::new(),
        };
        if let Ok(receipt) = result {
            let known = Remembered {
                key: asked.key,
                body: asked.body,
                position: receipt.position.to_bits(),
                accepted: receipt.accepted,
                skipped: receipt.skipped,
                stamp,
            };
            slots.insert(asked.key, Slot::Known(known));
        }
        drop(slots);
        for waiter in waiters {
            waiter.answer(result.clone());
        }
    }
}

/// Checks that a key is used with the body it was used with first.
fn check_body(known: &Hash, given: &Hash) -> Result<()> {
    match known == given || *known == ANY_BODY {
        true => Ok(()),
        false => Err(Error::new(
            ErrorKind::Conflict,
            "this Idempotency-Key was used with another body within the last 24 h; use a new key for new events",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;

    fn counting(hits: &Arc<AtomicU32>) -> Done {
        let hits = hits.clone();
        Done::new(move |result| {
            result.unwrap();
            hits.fetch_add(1, Ordering::Relaxed);
        })
    }

    #[test]
    fn a_twin_waits_for_the_first_and_later_ones_are_answered_at_once() {
        let keys = Keys::default();
        let asked = Idempotency::new("", 1, "k", b"body").unwrap();
        let hits = Arc::new(AtomicU32::new(0));
        let Turn::First(done) = keys.begin(&asked, 0, counting(&hits)) else { panic!("it is the first") };
        assert!(matches!(keys.begin(&asked, 0, counting(&hits)), Turn::Answered));
        assert_eq!(hits.load(Ordering::Relaxed), 0, "the twin waits");
        let answer = Ok(Receipt { position: Position::new(3, 1), accepted: 2, skipped: 0 });
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
        let keys = Keys::default();
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
}
