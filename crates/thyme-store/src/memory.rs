//! The store in memory: for tests and notebooks.

use std::collections::BTreeMap;
use std::ops::Bound;

use fjall::Slice;
use parking_lot::RwLock;

use crate::encoding::{Pairs, Write, chunk_prefix};

/// Entries in the order of their keys. A slice is a shared reference, so a scan copies no values.
#[derive(Debug, Default)]
pub struct MemoryStore {
    entries: RwLock<BTreeMap<Slice, Slice>>,
}

impl MemoryStore {
    pub fn write(&self, writes: Vec<Write>) {
        let mut entries = self.entries.write();
        for Write { key, value } in writes {
            match value {
                Some(value) => entries.insert(key, value),
                None => entries.remove(&key),
            };
        }
    }

    pub fn get(&self, key: &[u8]) -> Option<Slice> {
        self.entries.read().get(key).cloned()
    }

    pub fn scan(&self, prefix: &[u8]) -> Pairs {
        let entries = self.entries.read();
        let found: Vec<_> = entries
            .range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, value)| Ok((key.clone(), value.clone())))
            .collect();
        Box::new(found.into_iter())
    }

    pub fn first_chunk_from(&self, start: &[u8]) -> Option<Slice> {
        let entries = self.entries.read();
        let (key, _) = entries.range::<[u8], _>((Bound::Included(start), Bound::Unbounded)).next()?;
        key.starts_with(&chunk_prefix()).then(|| key.clone())
    }

    pub fn remove_prefix(&self, prefix: &[u8]) {
        self.entries.write().retain(|key, _| !key.starts_with(prefix));
    }

    pub fn bytes(&self) -> u64 {
        self.entries.read().iter().map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }
}
