//! The store in memory: for tests and notebooks.

use std::collections::BTreeMap;
use std::ops::Bound;

use parking_lot::RwLock;
use thyme_core::error::Result;

use crate::backend::{Backend, Bytes, Pairs, Write};

/// Entries in the order of their keys. Bytes are shared references, so a scan copies no values.
#[derive(Debug, Default)]
pub struct MemoryStore {
    entries: RwLock<BTreeMap<Bytes, Bytes>>,
}

impl Backend for MemoryStore {
    fn write(&self, writes: Vec<Write>) -> Result<()> {
        let mut entries = self.entries.write();
        for Write { key, value } in writes {
            match value {
                Some(value) => entries.insert(key, value),
                None => entries.remove(&key),
            };
        }
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.entries.read().get(key).cloned())
    }

    fn scan(&self, prefix: &[u8]) -> Pairs {
        let entries = self.entries.read();
        let found: Vec<_> = entries
            .range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, value)| Ok((key.clone(), value.clone())))
            .collect();
        Box::new(found.into_iter())
    }

    fn first(&self, start: &[u8]) -> Result<Option<Bytes>> {
        let entries = self.entries.read();
        let from = (Bound::Included(start), Bound::Unbounded);
        Ok(entries.range::<[u8], _>(from).next().map(|(key, _)| key.clone()))
    }

    fn bytes(&self) -> u64 {
        self.entries.read().iter().map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }

    fn place(&self) -> String {
        "memory".to_owned()
    }
}
