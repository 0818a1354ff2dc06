//! The hand that turns an engine without threads: whoever holds a [`Stepper`] decides which part of the
//! engine does its next thing, and nothing happens otherwise. Same steps, same run.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use thyme_core::{Error, Result};

use crate::applier::{Applier, Message};
use crate::backfill::{Driver, Moved};
use crate::checkpoint::{Checkpointer, Stepped};
use crate::committer::{Committer, Job, gather};
use crate::engine::Shared;
use crate::queue::{Hand, Outbox};
use crate::shard::HandShards;

/// Steps the parts of one engine. A part never steps inside its own step (a disk may call back), so every
/// step says whether it took place.
#[derive(Clone)]
pub struct Stepper {
    parts: Arc<Parts>,
}

struct Parts {
    shared: Arc<Shared>,
    jobs: Hand<Job>,
    committer: Mutex<Committer>,
    messages: Hand<Message>,
    applier: Mutex<Option<Applier>>,
    shards: Arc<HandShards>,
    checkpointer: Option<Arc<Checkpointer>>,
    driver: Arc<Driver>,
}

/// What a step of a checkpoint came to.
#[derive(Clone, Debug, PartialEq)]
pub enum CheckpointStep {
    /// The checkpoint is made, or there was nothing to write.
    Done,
    /// There is more to do.
    More,
    /// It has to wait for the applier or the shards, or this is a call from inside its own step.
    Waits,
}

impl fmt::Debug for Stepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stepper").field("jobs", &self.jobs()).field("messages", &self.messages()).finish()
    }
}

impl Stepper {
    /// The stepper of an engine, where its jobs are handed in, its checkpointer if it is durable, and what moves
    /// its pending commits.
    pub(crate) fn new(
        shared: &Arc<Shared>,
        applier: Applier,
        checkpointed: u64,
        durable: bool,
        driver: impl FnOnce(Outbox<Job>) -> Driver,
    ) -> (Stepper, Hand<Job>, Option<Arc<Checkpointer>>, Arc<Driver>) {
        let (jobs, messages) = (Hand::default(), Hand::default());
        let to_applier = Outbox::Hand(messages.clone());
        let committer = Committer::new(shared, to_applier.clone());
        let checkpointer =
            durable.then(|| Arc::new(Checkpointer::new(shared.clone(), to_applier, checkpointed)));
        let driver = Arc::new(driver(Outbox::Hand(jobs.clone())));
        let parts = Parts {
            driver: driver.clone(),
            shared: shared.clone(),
            jobs: jobs.clone(),
            committer: Mutex::new(committer),
            messages,
            shards: applier.hand_shards(),
            applier: Mutex::new(Some(applier)),
            checkpointer: checkpointer.clone(),
        };
        (Stepper { parts: Arc::new(parts) }, jobs, checkpointer, driver)
    }

    /// Where questions to the applier are handed in.
    pub(crate) fn to_applier(&self) -> Outbox<Message> {
        Outbox::Hand(self.parts.messages.clone())
    }

    /// Pushes and commits that wait to be written.
    pub fn jobs(&self) -> usize {
        self.parts.jobs.len()
    }

    /// Records that wait to be applied, and questions of checkpoints between them.
    pub fn messages(&self) -> usize {
        self.parts.messages.len()
    }

    /// Tasks that wait for shard `index`.
    pub fn tasks(&self, index: usize) -> usize {
        self.parts.shards.waiting(index)
    }

    /// Writes up to `jobs` jobs as one group. False when none waits, or inside such a step.
    pub fn commit_group(&self, jobs: usize) -> bool {
        let Some(committer) = self.parts.committer.try_lock() else { return false };
        let Some(first) = self.parts.jobs.pop() else { return false };
        let mut left = jobs.saturating_sub(1);
        let group = gather(first, || {
            left = left.checked_sub(1)?;
            self.parts.jobs.pop()
        });
        committer.commit(group);
        true
    }

    /// Lets the applier take one message. False when none waits, or inside such a step, or while the log is cut:
    /// it may have to read it.
    pub fn apply(&self) -> bool {
        if self.parts.shared.base.is_locked_exclusive() {
            return false;
        }
        let Some(mut applier) = self.parts.applier.try_lock() else { return false };
        let Some(running) = applier.as_mut() else { return false };
        let Some(message) = self.parts.messages.pop() else { return false };
        if !running.step(message) {
            // As its thread does: what comes after is not taken any more.
            self.parts.messages.close();
            if let Some(ended) = applier.take() {
                ended.end();
            }
        }
        true
    }

    /// Lets shard `index` do one task. False when it has none.
    pub fn shard(&self, index: usize) -> bool {
        self.parts.shards.step(index)
    }

    /// Fills the nodes of the pending commit from up to `records` records, or hands the commit in once they have
    /// caught up. False when no commit is pending, or it waits.
    pub fn fill(&self, records: usize) -> bool {
        self.parts.driver.step(records) == Moved::More
    }

    /// Saves what is filled, as happens by itself now and then. False when nothing is.
    ///
    /// # Errors
    /// A store that cannot be written.
    pub fn save_fill(&self) -> Result<bool> {
        self.parts.driver.save()
    }

    /// One step of a checkpoint; begins one if none is being made.
    ///
    /// # Errors
    /// The checkpoint failed: a store that cannot be written, or an engine that has stopped.
    pub fn checkpoint(&self) -> Result<CheckpointStep> {
        let step = self.parts.checkpointer.as_ref().and_then(|c| c.step());
        Ok(match step.transpose()? {
            Some(Stepped::Done) => CheckpointStep::Done,
            Some(Stepped::More) => CheckpointStep::More,
            Some(Stepped::AwaitsApplier | Stepped::AwaitsShards) | None => CheckpointStep::Waits,
        })
    }

    /// Makes a checkpoint, stepping whatever it waits for.
    pub(crate) fn checkpoint_now(&self) -> Result<()> {
        if self.parts.checkpointer.is_none() {
            return Ok(());
        }
        loop {
            match self.checkpoint()? {
                CheckpointStep::Done => return Ok(()),
                CheckpointStep::More => {}
                CheckpointStep::Waits => {
                    if !self.finish() {
                        return Err(Error::unavailable("a checkpoint waits for what nobody does any more"));
                    }
                }
            }
        }
    }

    /// Writes and applies everything that waits; false when nothing did.
    pub fn finish(&self) -> bool {
        let mut any = false;
        loop {
            let mut moved = self.commit_group(usize::MAX) | self.apply();
            for index in 0..self.parts.shards.count() {
                moved |= self.shard(index);
            }
            if !moved {
                return any;
            }
            any = true;
        }
    }

    /// Drops what waits, as a crash does: nothing more is written, applied or answered but with a refusal.
    pub fn stop(&self) {
        self.parts.jobs.close();
        self.parts.messages.close();
    }
}
