//! The outlines of entities that are too long for memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use thyme_timeline::Outline;

/// Those of one stripe. They are few.
#[derive(Debug, Default)]
pub(crate) struct Outlines(Vec<Outlined>);

#[derive(Debug)]
struct Outlined {
    hash: u64,
    key: Box<[u8]>,
    bytes: usize,
    outline: Arc<Mutex<Outline>>,
    /// Whether it was read since the hand came by.
    used: AtomicBool,
}

impl Outlined {
    fn is_of(&self, hash: u64, key: &[u8]) -> bool {
        self.hash == hash && *self.key == *key
    }
}

impl Outlines {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The outline of an entity; keeps it for another turn of the hand.
    pub fn get(&self, hash: u64, key: &[u8]) -> Option<Arc<Mutex<Outline>>> {
        let found = self.0.iter().find(|it| it.is_of(hash, key))?;
        found.used.store(true, Ordering::Relaxed);
        Some(found.outline.clone())
    }

    /// Adds one of `bytes`, unless it is there; gives how many bytes more there are.
    pub fn put(&mut self, hash: u64, key: &[u8], outline: &Arc<Mutex<Outline>>, bytes: usize) -> usize {
        if self.0.iter().any(|it| it.is_of(hash, key)) {
            return 0;
        }
        let (key, outline, used) = (key.into(), outline.clone(), AtomicBool::new(true));
        self.0.push(Outlined { hash, key, bytes, outline, used });
        bytes
    }

    /// Removes that of an entity; gives how many bytes fewer there are.
    pub fn remove(&mut self, hash: u64, key: &[u8]) -> usize {
        self.drop_where(|it| it.is_of(hash, key))
    }

    /// Removes those that were not read since this was last called; gives how many bytes fewer there are.
    pub fn drop_resting(&mut self) -> usize {
        self.drop_where(|it| !std::mem::take(it.used.get_mut()))
    }

    fn drop_where(&mut self, goes: impl FnMut(&mut Outlined) -> bool) -> usize {
        self.0.extract_if(.., goes).map(|it| it.bytes).sum()
    }
}
