//! Answers to pushes with idempotency keys, as rows of the store.
//!
//! A checkpoint writes those that came since the last one, and takes out those that are older than 24 h of stamps.
//! What is to be taken out when is in rows of its own, in the order of time: nobody has to look at all answers.

use std::collections::HashSet;

use foldhash::fast::FixedState;
use thyme_core::{Error, Result};
use thyme_store::{CheckpointBatch, Store};

use crate::idempotency::{Hash, Remembered, WINDOW_US};

/// Answers by the hash of their key.
const ANSWERS: u8 = 0;
/// Hashes of keys, by the stamp of the last one in the row, the stamp of their checkpoint, and the row's number
/// in that.
const OLD: u8 = 1;

const HASH_BYTES: usize = 32;
const ANSWER_BYTES: usize = HASH_BYTES + 4 * 8;
/// Hashes of one row of [`OLD`].
const HASHES_PER_ROW: usize = 1024;
/// Rows of [`OLD`] that one checkpoint takes out at most.
const ROWS_REMOVED_MAX: usize = 256;

/// What a checkpoint does to the answer of a key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Change {
    pub key: Hash,
    /// `None`: it is forgotten.
    pub answer: Option<Remembered>,
}

/// The answer of a key.
pub(crate) fn load(store: &Store, key: &Hash) -> Result<Option<Remembered>> {
    store.row(ANSWERS, key)?.map(|row| decode(key, &row)).transpose()
}

/// Whether all answers in `store` can be read.
///
/// # Errors
/// Corrupt: one cannot.
pub(crate) fn check(store: &Store) -> Result<()> {
    for row in store.rows(ANSWERS) {
        let (key, row) = row?;
        decode(key.first_chunk::<HASH_BYTES>().unwrap_or(&[0; HASH_BYTES]), &row)?;
    }
    store.rows(OLD).try_for_each(|row| row.map(drop))
}

/// Puts `changes`, in their order, and the removal of what is too old at `stamp` into `batch`.
pub(crate) fn save(batch: &mut CheckpointBatch, store: &Store, changes: &[Change], stamp: i64) -> Result<()> {
    let before = stamp.saturating_sub(WINDOW_US);
    let is_old = |row: &Result<(Vec<u8>, Vec<u8>)>| {
        row.as_ref().map_or(true, |(key, _)| stamp_of(key).is_none_or(|stamp| stamp < before))
    };
    for row in store.rows(OLD).take(ROWS_REMOVED_MAX).take_while(is_old) {
        let (key, hashes) = row?;
        for hash in hashes.as_chunks::<HASH_BYTES>().0 {
            // A key that was used again has a later answer.
            if load(store, hash)?.is_some_and(|answer| answer.stamp < before) {
                batch.remove_row(ANSWERS, hash);
            }
        }
        batch.remove_row(OLD, &key);
    }
    for change in changes {
        match &change.answer {
            Some(answer) => batch.put_row(ANSWERS, &change.key, &encode(answer)),
            None => batch.remove_row(ANSWERS, &change.key),
        }
    }
    forget_traces(batch, store, changes)?;
    let new: Vec<&Remembered> = changes.iter().filter_map(|change| change.answer.as_ref()).collect();
    for (number, answers) in new.chunks(HASHES_PER_ROW).enumerate() {
        let last = answers.iter().map(|answer| answer.stamp).max().unwrap_or(stamp);
        let hashes: Vec<u8> = answers.iter().flat_map(|answer| answer.key).collect();
        batch.put_row(OLD, &old_key(last, stamp, number as u32), &hashes);
    }
    Ok(())
}

/// Takes what is erased out of the rows that say when it is old.
fn forget_traces(batch: &mut CheckpointBatch, store: &Store, changes: &[Change]) -> Result<()> {
    let gone: HashSet<Hash, FixedState> =
        changes.iter().filter(|c| c.answer.is_none()).map(|c| c.key).collect();
    if gone.is_empty() {
        return Ok(());
    }
    for row in store.rows(OLD) {
        let (key, hashes) = row?;
        let hashes = hashes.as_chunks::<HASH_BYTES>().0;
        let left: Vec<Hash> = hashes.iter().filter(|hash| !gone.contains(*hash)).copied().collect();
        if left.len() < hashes.len() {
            batch.put_row(OLD, &key, left.as_flattened());
        }
    }
    Ok(())
}

/// The hashes of keys in the rows that say when answers are old.
#[cfg(test)]
pub(crate) fn traces(store: &Store) -> Result<Vec<Hash>> {
    let rows: Vec<(Vec<u8>, Vec<u8>)> = store.rows(OLD).collect::<Result<_>>()?;
    Ok(rows.iter().flat_map(|(_, hashes)| hashes.as_chunks::<HASH_BYTES>().0.to_vec()).collect())
}

fn encode(answer: &Remembered) -> Vec<u8> {
    let mut row = answer.body.to_vec();
    for number in [answer.position, answer.accepted, answer.skipped, answer.stamp as u64] {
        row.extend_from_slice(&number.to_le_bytes());
    }
    row
}

fn decode(key: &Hash, row: &[u8]) -> Result<Remembered> {
    let read = || {
        let row: &[u8; ANSWER_BYTES] = row.try_into().ok()?;
        let (body, numbers) = row.split_first_chunk::<HASH_BYTES>()?;
        let [position, accepted, skipped, stamp] = *numbers.as_chunks::<8>().0 else { return None };
        let [position, accepted, skipped] = [position, accepted, skipped].map(u64::from_le_bytes);
        Some(Remembered {
            key: *key,
            body: *body,
            position,
            accepted,
            skipped,
            stamp: i64::from_le_bytes(stamp),
        })
    };
    read().ok_or_else(|| {
        Error::corrupt(format!(
            "the store's answer to an idempotency key has {} bytes, not {ANSWER_BYTES}",
            row.len()
        ))
    })
}

/// Sorts by stamp.
fn old_key(last: i64, checkpoint: i64, number: u32) -> Vec<u8> {
    let mut key = Vec::with_capacity(20);
    for stamp in [last, checkpoint] {
        key.extend_from_slice(&(stamp as u64 ^ (1 << 63)).to_be_bytes());
    }
    key.extend_from_slice(&number.to_be_bytes());
    key
}

fn stamp_of(key: &[u8]) -> Option<i64> {
    Some((u64::from_be_bytes(*key.first_chunk::<8>()?) ^ (1 << 63)) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(number: u8, stamp: i64) -> Remembered {
        let hash = [number; HASH_BYTES];
        Remembered { key: hash, body: [0xb0; HASH_BYTES], position: 1 << 40, accepted: 3, skipped: 1, stamp }
    }

    fn put(store: &Store, answers: &[Remembered], stamp: i64) {
        let changes: Vec<Change> =
            answers.iter().map(|a| Change { key: a.key, answer: Some(a.clone()) }).collect();
        checkpoint(store, &changes, stamp);
    }

    fn checkpoint(store: &Store, changes: &[Change], stamp: i64) {
        let mut batch = CheckpointBatch::default();
        save(&mut batch, store, changes, stamp).unwrap();
        store.checkpoint(batch).unwrap();
    }

    fn kept(store: &Store) -> Vec<u8> {
        store.rows(ANSWERS).map(|row| row.unwrap().0[0]).collect()
    }

    #[test]
    fn an_answer_is_kept_for_a_day_of_stamps_and_then_taken_out_with_its_trace() {
        let store = Store::in_memory();
        let first = [answer(1, -5), answer(2, 10)];
        put(&store, &first, 10);
        put(&store, &[answer(3, 500)], 500);
        for known in &first {
            assert_eq!(load(&store, &known.key).unwrap().as_ref(), Some(known));
        }
        // The row goes when its last answer is too old.
        checkpoint(&store, &[], 10 + WINDOW_US);
        assert_eq!(kept(&store), [1, 2, 3]);
        checkpoint(&store, &[], 11 + WINDOW_US);
        assert_eq!(kept(&store), [3]);
        checkpoint(&store, &[], 501 + WINDOW_US);
        assert_eq!(store.rows(ANSWERS).count() + store.rows(OLD).count(), 0);
    }

    #[test]
    fn a_key_that_was_used_again_keeps_its_later_answer() {
        let store = Store::in_memory();
        put(&store, &[answer(1, 0)], 0);
        let again = answer(1, 2 * WINDOW_US);
        put(&store, std::slice::from_ref(&again), 2 * WINDOW_US);
        checkpoint(&store, &[], 2 * WINDOW_US + 1);
        assert_eq!(load(&store, &again.key).unwrap(), Some(again.clone()));
        checkpoint(&store, &[Change { key: again.key, answer: None }], 2 * WINDOW_US + 2);
        assert_eq!(load(&store, &again.key).unwrap(), None);
    }

    #[test]
    fn many_answers_are_taken_out_in_several_checkpoints() {
        let store = Store::in_memory();
        let count = HASHES_PER_ROW * (ROWS_REMOVED_MAX + 1);
        let many: Vec<Remembered> = (0..count as u64)
            .map(|number| {
                let mut known = answer(0, 7);
                known.key[..8].copy_from_slice(&number.to_le_bytes());
                known
            })
            .collect();
        put(&store, &many, 7);
        checkpoint(&store, &[], 8 + WINDOW_US);
        assert_eq!(store.rows(ANSWERS).count(), HASHES_PER_ROW);
        checkpoint(&store, &[], 8 + WINDOW_US);
        assert_eq!(store.rows(ANSWERS).count(), 0);
    }
}
