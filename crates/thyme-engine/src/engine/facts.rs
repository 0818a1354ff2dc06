//! What an operator asks an engine.

use std::sync::Arc;
use thyme_core::expectation::{Expectation, Tally};

use thyme_log::Disk;

use super::Engine;
use crate::catalog::LiveDataset;
use crate::health::Poisoned;
use crate::options::Clock;
use crate::residence::MemoryFacts;
use crate::state::DatasetCounters;

impl Engine {
    /// Where the log is, if it is on a disk.
    pub(crate) fn disk(&self) -> Option<Arc<dyn Disk>> {
        self.shared.disk.clone()
    }

    /// Where a source stands: the cursor of its last applied batch.
    pub fn cursor(&self, stream: &str) -> Option<Vec<u8>> {
        self.shared.cursors.lock().get(stream).cloned()
    }

    /// The counters of a dataset.
    pub fn counters(&self, dataset: &LiveDataset) -> DatasetCounters {
        self.shared.counters.lock().get(&dataset.id).copied().unwrap_or_default()
    }

    /// What came to each expectation of a dataset, in their order.
    pub fn expectations(&self, dataset: &LiveDataset) -> Vec<(Expectation, Tally)> {
        let all = self.shared.expectations.lock();
        let of = all.get(&dataset.id);
        let tally =
            |expectation: &Expectation| of.and_then(|of| of.get(&expectation.kind.to_string())).copied();
        let expectations = dataset.definition.expectations.iter();
        expectations
            .map(|expectation| (expectation.clone(), tally(expectation).unwrap_or_default()))
            .collect()
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.shards
    }

    /// The last record written and the last one visible.
    pub fn records(&self) -> (u64, u64) {
        // Not the last one stamped: it may yet turn out that there is no room for it.
        (self.shared.log.last().map_or(0, |(record, _)| record), self.shared.gate.applied())
    }

    /// What "now" is made of.
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// Bytes of log and of state at rest, and the record of the last checkpoint.
    pub fn storage(&self) -> (u64, u64, u64) {
        (self.shared.log.bytes(), self.shared.store.bytes(), self.shared.checkpointed.lock().0)
    }

    /// Microseconds since the last checkpoint, or since the engine was opened.
    pub fn checkpoint_age_us(&self) -> i64 {
        let (_, made) = *self.shared.checkpointed.lock();
        self.shared.env.now_us().saturating_sub(made).max(0)
    }

    /// Pushes answered as the first with their idempotency key was, and pushes refused because the key was
    /// used with another body, since the start.
    pub fn idempotency_counts(&self) -> (u64, u64) {
        self.shared.keys.counts()
    }

    /// The memory that the engine was told to get along with, if it was.
    pub fn memory_budget(&self) -> Option<u64> {
        self.memory.map(|memory| memory.total)
    }

    /// Why what is not used cannot leave memory for now, if that is so: then memory grows over its limit.
    pub fn memory_stuck(&self) -> Option<String> {
        self.shared.residence.stuck()
    }

    /// What is in memory and what is not.
    pub fn memory(&self) -> MemoryFacts {
        self.shared.residence.facts()
    }

    /// Why nothing more is written or applied, if that is so.
    pub fn failure(&self) -> Option<String> {
        self.shared.gate.failure().or_else(|| self.shared.log.failure())
    }

    /// What of the state cannot be used until the next start, if anything: reads of it are refused, everything
    /// else goes on.
    pub fn poisoned(&self) -> Vec<Poisoned> {
        self.shared.residence.poisoned()
    }

    /// What the engine is busy with, such as a backfill.
    pub fn work(&self) -> Option<String> {
        let backfill = || self.pending_commit().map(|pending| pending.to_string());
        self.shared.work.lock().clone().or_else(backfill).or_else(|| {
            let (done, all) = self.shared.residence.warming()?;
            Some(format!("filling memory: {done} of {all} entities"))
        })
    }
}
