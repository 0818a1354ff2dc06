//! The timelines of one node, striped so that a reader never waits for more than a few inserts.

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use std::hash::BuildHasher;
use thyme_timeline::Timeline;

/// Stripes a node. A shard owns those whose index is its own modulo the number of shards, so that
/// the number of shards never shows.
pub(crate) const STRIPES: usize = 128;

/// What an operator of Thyme asks about a dataset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetCounters {
    /// Rows accepted into the log.
    pub events: u64,
    /// Of these, late ones.
    pub late: u64,
    /// Records that could not become rows.
    pub dead_letters: u64,
    /// The newest event time admitted.
    pub newest: Option<i64>,
}

#[derive(Debug)]
pub(crate) struct Entity {
    pub key: Box<[u8]>,
    pub timeline: Timeline,
}

#[derive(Debug, Default)]
pub(crate) struct Stripe {
    pub table: HashTable<Entity>,
    /// Whether anything changed since the last checkpoint.
    pub dirty: bool,
}

impl Stripe {
    pub fn timeline(&self, hash: u64, key: &[u8]) -> Option<&Timeline> {
        self.table.find(hash, |e| *e.key == *key).map(|e| &e.timeline)
    }

    pub fn timeline_mut(&mut self, hash: u64, key: &[u8]) -> &mut Timeline {
        let entry = self.table.entry(hash, |e| *e.key == *key, |e| hash_key(&e.key));
        let entity = entry.or_insert_with(|| Entity { key: key.into(), timeline: Timeline::new() });
        &mut entity.into_mut().timeline
    }
}

#[derive(Debug)]
pub(crate) struct NodeState {
    stripes: Box<[RwLock<Stripe>]>,
}

impl NodeState {
    pub fn new() -> Self {
        NodeState { stripes: (0..STRIPES).map(|_| RwLock::default()).collect() }
    }

    pub fn stripe(&self, index: usize) -> &RwLock<Stripe> {
        &self.stripes[index % STRIPES]
    }

    pub fn stripes(&self) -> &[RwLock<Stripe>] {
        &self.stripes
    }

    /// Runs `read` on the timeline of a key, if it has one.
    pub fn with<R>(&self, key: &[u8], read: impl FnOnce(&Timeline) -> R) -> Option<R> {
        let hash = hash_key(key);
        let stripe = self.stripe(stripe_of(hash)).read();
        stripe.timeline(hash, key).map(read)
    }

    pub fn entities(&self) -> u64 {
        self.stripes.iter().map(|s| s.read().table.len() as u64).sum()
    }
}

/// The hash of an encoded key. Never stored: restarts may use another.
pub(crate) fn hash_key(key: &[u8]) -> u64 {
    FixedState::with_seed(0x7468_796d_6531_3031).hash_one(key)
}

/// The stripe of a hash: from bits that the table inside the stripe does not use.
pub(crate) fn stripe_of(hash: u64) -> usize {
    (hash >> 40) as usize % STRIPES
}

impl crate::node::Node {
    /// See [`crate::Engine::damage_for_test`].
    pub(crate) fn damage_for_test(&self, key: &[u8]) {
        let hash = hash_key(key);
        *self.state.stripe(stripe_of(hash)).write().timeline_mut(hash, key) = Timeline::new();
    }
}
