//! Checkpoints: changed chunks in batches, and then the position they are as of.
//!
//! The encoding runs beside the shards, stripe by stripe. A chunk may therefore hold rows that are newer
//! than the checkpoint's position; they carry their positions, so a restore drops them and the log
//! brings them back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use parking_lot::Mutex;
use thyme_core::{Error, ErrorKind, Result};
use thyme_store::CheckpointBatch;

use crate::answers;
use crate::applier::{Message, Progress};
use crate::catalog::Catalog;
use crate::engine::Shared;
use crate::events::Severity;
use crate::health::said;
use crate::idempotency::UNSAVED_SOON;
use crate::node::Node;
use crate::queue::Outbox;
use crate::residence::Residence;
use crate::state::STRIPES;

const META_PROGRESS: &str = "progress";
const POLL: Duration = Duration::from_millis(500);
/// After so much log a checkpoint is made sooner than its time.
const LOG_BYTES_BETWEEN: u64 = 64 << 20;

/// How long a checkpoint waits for the shards.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Checkpointer {
    shared: Arc<Shared>,
    applier: Outbox<Message>,
    state: Mutex<State>,
}

struct State {
    /// The record of the last checkpoint, and the log's size at it.
    last: (u64, u64),
    stage: Stage,
}

/// How far a checkpoint is. `bytes` is the log's size when it began.
enum Stage {
    Idle,
    Asked { bytes: u64, answer: Receiver<Progress> },
    Waiting { bytes: u64, progress: Box<Progress> },
    Saving { bytes: u64, saving: Box<Saving> },
}

/// What one step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stepped {
    /// The checkpoint is made, or there was nothing to write.
    Done,
    /// There is more to do.
    More,
    /// The applier has not answered yet.
    AwaitsApplier,
    /// The shards are not as far yet.
    AwaitsShards,
}

/// What is being written, stripe by stripe; the progress comes last.
struct Saving {
    progress: Box<Progress>,
    catalog: Arc<Catalog>,
    nodes: Vec<Arc<Node>>,
    node: usize,
    stripe: usize,
}

impl Checkpointer {
    pub fn new(shared: Arc<Shared>, applier: Outbox<Message>, record: u64) -> Self {
        let last = (record, shared.log.bytes());
        let state = State { last, stage: Stage::Idle };
        Checkpointer { shared, applier, state: Mutex::new(state) }
    }

    /// Checkpoints in the background, `every` so often, until `stop` is closed.
    pub fn run(&self, every: Duration, stop: &Receiver<()>) {
        let (mut waited, mut is_told) = (Duration::ZERO, false);
        let poll = POLL.min(every);
        while let Err(RecvTimeoutError::Timeout) = stop.recv_timeout(poll) {
            waited += poll;
            self.shared.extend_lease(false);
            self.shared.residence.retry();
            let grown = self.shared.log.bytes().saturating_sub(self.state.lock().last.1);
            let many = self.shared.keys.unsaved_count() >= UNSAVED_SOON;
            if waited >= every || grown >= LOG_BYTES_BETWEEN || many {
                waited = Duration::ZERO;
                if let Err(error) = self.shared.keeping.save(&self.shared.store) {
                    self.tell(&error);
                }
                let made = catch_unwind(AssertUnwindSafe(|| self.checkpoint()))
                    .unwrap_or_else(|panic| Err(Error::internal(format!("it panicked: {}", said(&*panic)))));
                if let Err(error) = made {
                    // What only a restart helps against is told once.
                    let is_final =
                        error.kind() == ErrorKind::Poisoned || self.shared.gate.failure().is_some();
                    if !(is_final && is_told) {
                        self.tell(&error);
                    }
                    is_told = is_final;
                }
            }
        }
    }

    fn tell(&self, error: &Error) {
        let message = format!(
            "no checkpoint could be made ({error}); nothing is lost, the next start reads more of the log"
        );
        self.shared.events.record(Severity::Error, "checkpoint_failed", "store", message);
    }

    /// Makes a checkpoint if anything was applied since the last.
    pub fn checkpoint(&self) -> Result<()> {
        let mut state = self.state.lock();
        loop {
            match self.advance(&mut state, PATIENCE)? {
                Stepped::Done => return Ok(()),
                Stepped::More | Stepped::AwaitsApplier => {}
                Stepped::AwaitsShards => {
                    state.stage = Stage::Idle;
                    return Err(Error::unavailable("the shards are more than a minute behind"));
                }
            }
        }
    }

    /// One step of a checkpoint, the first if none is being made; `None` inside a step of the same.
    pub fn step(&self) -> Option<Result<Stepped>> {
        let mut state = self.state.try_lock()?;
        Some(self.advance(&mut state, Duration::ZERO))
    }

    /// Does the next thing, waiting for others no longer than `patience`. After an error the next
    /// checkpoint begins anew.
    fn advance(&self, state: &mut State, patience: Duration) -> Result<Stepped> {
        let gone = || {
            let failure = self.shared.gate.failure();
            Error::unavailable(failure.unwrap_or_else(|| "the engine is stopping".to_owned()))
        };
        match std::mem::replace(&mut state.stage, Stage::Idle) {
            Stage::Idle => {
                if let Some(poisoned) = self.shared.residence.poisoned().first() {
                    return Err(Error::new(
                        ErrorKind::Poisoned,
                        format!(
                            "{}: {}; the next start reads the log from the last checkpoint on",
                            poisoned.dataset, poisoned.reason
                        ),
                    ));
                }
                let bytes = self.shared.log.bytes();
                let (reply, answer) = bounded(1);
                if !self.applier.send(Message::Progress(reply)) {
                    return Err(gone());
                }
                state.stage = Stage::Asked { bytes, answer };
            }
            Stage::Asked { bytes, answer } => match answer.recv_timeout(patience) {
                Ok(progress) if progress.record == state.last.0 => return Ok(Stepped::Done),
                Ok(progress) => state.stage = Stage::Waiting { bytes, progress: Box::new(progress) },
                Err(RecvTimeoutError::Disconnected) => return Err(gone()),
                Err(RecvTimeoutError::Timeout) => {
                    state.stage = Stage::Asked { bytes, answer };
                    return Ok(Stepped::AwaitsApplier);
                }
            },
            Stage::Waiting { bytes, progress } => {
                if !self.shared.gate.wait_applied(progress.record, patience).map_err(Error::unavailable)? {
                    state.stage = Stage::Waiting { bytes, progress };
                    return Ok(Stepped::AwaitsShards);
                }
                let catalog = self.shared.catalog();
                // Something was put in the place of nodes that the progress knows: it would be written instead of them,
                // and they would be gone while a restart still begins with them.
                if catalog.commit != progress.commit || self.shared.ids().nodes != progress.ids.nodes {
                    return Ok(Stepped::More);
                }
                let saving = Box::new(Saving::new(progress, catalog));
                state.stage = Stage::Saving { bytes, saving };
            }
            Stage::Saving { bytes, mut saving } => {
                if saving.next(&self.shared.residence)? {
                    state.stage = Stage::Saving { bytes, saving };
                    return Ok(Stepped::More);
                }
                let record = saving.progress.record;
                self.write(*saving)?;
                state.last = (record, bytes);
                self.shared.note_checkpoint(record);
                return Ok(Stepped::Done);
            }
        }
        Ok(Stepped::More)
    }

    fn write(&self, saving: Saving) -> Result<()> {
        let Saving { progress, catalog, .. } = saving;
        let mut batch = CheckpointBatch::default();
        let meta = serde_json::to_vec(&progress).map_err(|e| Error::internal(format!("checkpoint: {e}")))?;
        batch.put_meta(META_PROGRESS, &meta);
        let (answers, count) = self.shared.keys.unsaved(progress.record);
        answers::save(&mut batch, &self.shared.store, &answers, progress.stamp)?;
        // The chunks are on durable storage once this is: it comes after them.
        self.shared.store.checkpoint(batch)?;
        self.shared.keys.saved(progress.record, count);
        self.shared.remembered.lock().clone_from(&progress.known_ids);
        let residence = &self.shared.residence;
        let live: Vec<u32> = catalog.nodes().map(|n| n.id.0).collect();
        for node in self.shared.store.nodes()? {
            let gone = !live.contains(&node) && !progress_knows_later(&progress, node);
            // Who began to read it before may still have to load from it.
            if gone && !residence.is_alive(node) {
                residence.drop_node(node)?;
            }
        }
        Ok(())
    }
}

impl Saving {
    fn new(progress: Box<Progress>, catalog: Arc<Catalog>) -> Self {
        let nodes = catalog.nodes().cloned().collect();
        Saving { progress, catalog, nodes, node: 0, stripe: 0 }
    }

    /// Writes some stripes; false when there is none left.
    fn next(&mut self, residence: &Residence) -> Result<bool> {
        let Some(node) = self.nodes.get(self.node) else { return Ok(false) };
        self.stripe = residence.save(&node.state, self.stripe)?;
        if self.stripe == STRIPES {
            (self.node, self.stripe) = (self.node + 1, 0);
        }
        Ok(true)
    }
}

/// Whether a node was made after the progress was taken, by a commit applied meanwhile.
fn progress_knows_later(progress: &Progress, node: u32) -> bool {
    node as usize >= progress.ids.nodes.len()
}

/// The progress of the last checkpoint, if there is one.
pub(crate) fn load_progress(shared_store: &thyme_store::Store) -> Result<Option<Progress>> {
    shared_store
        .meta(META_PROGRESS)?
        .map(|bytes| {
            serde_json::from_slice(&bytes)
                .map_err(|e| Error::corrupt(format!("the store's progress cannot be read: {e}")))
        })
        .transpose()
}
