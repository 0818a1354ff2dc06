//! What retention has removed, and removing it now.

use thyme_core::{EventTime, Result};

use super::{Engine, Shared};
use crate::catalog::LiveDataset;
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

    /// The same without any slack. For tests.
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

    /// The event time up to which rows of a dataset may have been removed, if any were: reads whose windows begin
    /// before it are refused.
    pub fn removed_until(&self, dataset: &LiveDataset) -> Option<EventTime> {
        dataset.node.as_ref().and_then(|node| node.removed_until())
    }
}
