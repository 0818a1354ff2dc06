//! What one checkpoint writes.

use thyme_core::error::{Error, ErrorKind, Result};

use crate::backend::Write;
use crate::encoding::{self, ENTITY_KEY_BYTES_MAX, META_NAME_BYTES_MAX, VALUE_BYTES_MAX};

/// The place of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkKey<'a> {
    /// The pipeline node whose timeline it is part of.
    pub node: u32,
    /// The bytes of the entity key.
    pub key: &'a [u8],
    /// The chunk's id inside the entity's timeline.
    pub chunk: u32,
}

/// Writes that become visible and durable together.
///
/// A later write to the same place replaces an earlier one. Something that cannot be stored (a key or a
/// value above its limit) is remembered and makes [`Store::checkpoint`](crate::Store::checkpoint)
/// refuse the whole batch.
#[derive(Debug, Default)]
pub struct CheckpointBatch {
    writes: Vec<Write>,
    bytes: usize,
    refusal: Option<Error>,
}

impl CheckpointBatch {
    /// An empty batch.
    pub fn new() -> Self {
        CheckpointBatch::default()
    }

    /// Writes a chunk.
    pub fn put_chunk(&mut self, key: ChunkKey<'_>, value: &[u8]) {
        if self.admits("an entity key", key.key.len(), ENTITY_KEY_BYTES_MAX)
            && self.admits("a timeline chunk", value.len(), VALUE_BYTES_MAX)
        {
            self.put(encoding::chunk_key(key), &encoding::chunk_value(key.key, value));
        }
    }

    /// Removes a chunk; no harm if there is none.
    pub fn remove_chunk(&mut self, key: ChunkKey<'_>) {
        if self.admits("an entity key", key.key.len(), ENTITY_KEY_BYTES_MAX) {
            self.remove(encoding::chunk_key(key));
        }
    }

    /// Writes the fact named `name`.
    pub fn put_meta(&mut self, name: &str, value: &[u8]) {
        if self.admits("the name of a fact", name.len(), META_NAME_BYTES_MAX)
            && self.admits("a fact", value.len(), VALUE_BYTES_MAX)
        {
            self.put(encoding::meta_key(name), value);
        }
    }

    /// Removes the fact named `name`; no harm if there is none.
    pub fn remove_meta(&mut self, name: &str) {
        if self.admits("the name of a fact", name.len(), META_NAME_BYTES_MAX) {
            self.remove(encoding::meta_key(name));
        }
    }

    /// Writes a row of a table.
    pub fn put_row(&mut self, table: u8, row: &[u8], value: &[u8]) {
        if self.admits("the key of a row", row.len(), META_NAME_BYTES_MAX)
            && self.admits("a row", value.len(), VALUE_BYTES_MAX)
        {
            self.put(encoding::row_key(table, row), value);
        }
    }

    /// Removes a row of a table; no harm if there is none.
    pub fn remove_row(&mut self, table: u8, row: &[u8]) {
        if self.admits("the key of a row", row.len(), META_NAME_BYTES_MAX) {
            self.remove(encoding::row_key(table, row));
        }
    }

    /// The number of writes in it.
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// Whether there is nothing to write. One that will be refused is not empty: its writer has to learn of it.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.refusal.is_none()
    }

    /// The bytes of keys and values in it.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn put(&mut self, key: Vec<u8>, value: &[u8]) {
        let sealed = encoding::seal_value(&key, value);
        self.bytes += key.len() + sealed.len();
        self.writes.push(Write { key: key.into(), value: Some(sealed) });
    }

    fn remove(&mut self, key: Vec<u8>) {
        self.bytes += key.len();
        self.writes.push(Write { key: key.into(), value: None });
    }

    fn admits(&mut self, what: &str, got: usize, most: usize) -> bool {
        if got > most && self.refusal.is_none() {
            self.refusal = Some(Error::new(
                ErrorKind::TooLarge,
                format!("{what} of {got} bytes cannot be stored: the limit is {most} bytes"),
            ));
        }
        got <= most
    }

    /// Its writes by ascending key, one for each place.
    pub(crate) fn into_writes(mut self) -> Result<Vec<Write>> {
        if let Some(refusal) = self.refusal {
            return Err(refusal);
        }
        // The tree gives all writes of a batch the same version, so two of them to one place would leave
        // it open which of them holds. The sort is stable: reversed, the latest comes first.
        self.writes.reverse();
        self.writes.sort_by(|a, b| a.key.cmp(&b.key));
        self.writes.dedup_by(|later, earlier| later.key == earlier.key);
        Ok(self.writes)
    }
}
