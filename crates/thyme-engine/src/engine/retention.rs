//! What retention has removed, and removing it now.

use std::collections::BTreeMap;
use std::sync::Arc;

use thyme_core::{EventTime, Result};

use super::{Engine, Planned, Shared};
use crate::catalog::{self, LiveDataset};
use crate::node::Node;
use crate::residence::Residence;
use crate::retention::Slack;

impl Shared {
    /// Whether what runs in the background should come to an end.
    pub fn is_closing(&self) -> bool {
        self.closing.load(std::sync::atomic::Ordering::Acquire)
    }
}

impl Engine {
    /// Removes rows that their retention has passed from the timelines, as the background does by itself; gives
    /// how many went. An engine in memory keeps everything.
    ///
    /// # Errors
    /// A store that cannot be read or written.
    pub fn enforce_retention(&self) -> Result<u64> {
        self.enforce_with(Slack::Usual)
    }

    /// The same without any slack, nor anything kept of the last day for its stamps alone. For tests.
    ///
    /// # Errors
    /// As [`Engine::enforce_retention`].
    #[doc(hidden)]
    pub fn enforce_retention_to_the_edge(&self) -> Result<u64> {
        self.enforce_with(Slack::None)
    }

    fn enforce_with(&self, slack: Slack) -> Result<u64> {
        let keeper = self.keeper.lock().clone();
        keeper.map_or(Ok(0), |keeper| keeper.enforce(slack))
    }

    /// The event time up to which rows of a dataset, or those that it joins, may have left the log: what is filled
    /// from it now begins there, or has joined nothing from before.
    pub fn history_from(&self, dataset: &LiveDataset) -> Option<EventTime> {
        let base = self.shared.base.read();
        match dataset.node.as_ref() {
            Some(node) => base.history(node),
            None => base.gone.get(&dataset.id).copied().map(EventTime),
        }
    }

    /// The event that kept the log's oldest file at the last look: of which dataset, its time, and the record it is in.
    pub fn log_kept_by(&self) -> Option<(String, EventTime, u64)> {
        self.shared.kept_by.lock().clone()
    }

    /// The log's first record, and the stamp of the one before if there was one: what was known before that is not
    /// known any more.
    pub fn log_start(&self) -> (u64, Option<EventTime>) {
        let base = self.shared.base.read();
        (base.first, (base.first > 1).then_some(EventTime(base.progress.stamp)))
    }

    /// Where the datasets begin that a commit of `planned` would fill from a log which does not go back to its
    /// beginning, or answer from timelines that were filled so, by name. Those that are whole are not in it.
    ///
    /// # Errors
    /// A definition that validation should have refused.
    pub fn filled_from(&self, planned: &Planned) -> Result<BTreeMap<String, EventTime>> {
        let base = self.shared.base.read().clone();
        if base.gone.is_empty() {
            return Ok(BTreeMap::new());
        }
        let (current, mut ids) = (self.catalog(), self.shared.ids());
        let nowhere = Residence::nowhere();
        let next = planned.next.clone();
        let (next, _) = catalog::derive(&current, &mut ids, String::new(), next, &nowhere)?;
        let is_new = |node: &Arc<Node>| !current.nodes().any(|known| Arc::ptr_eq(known, node));
        let begins = next.datasets.iter().filter_map(|(name, live)| {
            let nodes = live.node.iter().chain(&live.joined).filter(|node| is_new(node));
            Some((name.clone(), nodes.filter_map(|node| base.history(node)).max()?))
        });
        Ok(begins.collect())
    }

    /// The event time up to which rows of a dataset may have been removed, if any were: reads whose windows begin
    /// before it are refused.
    pub fn removed_until(&self, dataset: &LiveDataset) -> Option<EventTime> {
        dataset.node.as_ref().and_then(|node| node.removed_until())
    }
}
