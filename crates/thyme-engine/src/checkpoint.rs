//! Checkpoints: changed chunks and the position they are as of, in one atomic batch.
//!
//! The encoding runs beside the shards, stripe by stripe. A chunk may therefore hold rows that are newer
//! than the checkpoint's position; they carry their positions, so a restore drops them and the log
//! brings them back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use parking_lot::Mutex;
use thyme_core::{Error, Position, Result};
use thyme_store::{CheckpointBatch, ChunkKey};
use thyme_timeline::Timeline;

use crate::applier::{Message, Progress};
use crate::engine::Shared;
use crate::events::Severity;
use crate::node::Node;
use crate::state::{hash_key, stripe_of};

const META_PROGRESS: &str = "progress";
/// A checkpoint is made this often if anything changed, and sooner after [`LOG_BYTES_BETWEEN`].
const PERIOD: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(500);
const LOG_BYTES_BETWEEN: u64 = 64 << 20;

pub(crate) struct Checkpointer {
    shared: Arc<Shared>,
    applier: SyncSender<Message>,
    /// The record of the last checkpoint, and the log's size at it.
    last: Mutex<(u64, u64)>,
    /// A failed write lost the marks of what had changed: the next one writes everything.
    everything: AtomicBool,
}

impl Checkpointer {
    pub fn new(shared: Arc<Shared>, applier: SyncSender<Message>, record: u64) -> Self {
        let bytes = shared.log.bytes();
        Checkpointer {
            shared,
            applier,
            last: Mutex::new((record, bytes)),
            everything: AtomicBool::new(false),
        }
    }

    /// Checkpoints in the background until `stop` is closed.
    pub fn run(&self, stop: &Receiver<()>) {
        let mut waited = Duration::ZERO;
        while let Err(RecvTimeoutError::Timeout) = stop.recv_timeout(POLL) {
            waited += POLL;
            let grown = self.shared.log.bytes().saturating_sub(self.last.lock().1);
            if waited >= PERIOD || grown >= LOG_BYTES_BETWEEN {
                waited = Duration::ZERO;
                if let Err(error) = self.checkpoint() {
                    let message = format!(
                        "no checkpoint could be made ({error}); nothing is lost, the next start reads more of the log"
                    );
                    self.shared.events.record(Severity::Error, "checkpoint_failed", "store", message);
                }
            }
        }
    }

    /// Makes a checkpoint if anything was applied since the last.
    pub fn checkpoint(&self) -> Result<()> {
        let mut last = self.last.lock();
        let bytes = self.shared.log.bytes();
        let (reply, answer) = bounded(1);
        let gone = |_| Error::unavailable("the engine is stopping");
        self.applier.send(Message::Progress(reply)).map_err(|_| gone(()))?;
        let progress = answer.recv().map_err(|_| gone(()))?;
        if progress.record == last.0 {
            return Ok(());
        }
        match self.shared.gate.wait_applied(progress.record, Duration::from_secs(60)) {
            Ok(true) => {}
            Ok(false) => return Err(Error::unavailable("the shards are more than a minute behind")),
            Err(reason) => return Err(Error::unavailable(reason)),
        }
        let everything = self.everything.swap(true, Ordering::AcqRel);
        self.write(&progress, everything)?;
        self.everything.store(false, Ordering::Release);
        *last = (progress.record, bytes);
        self.shared.note_checkpoint(progress.record);
        Ok(())
    }

    fn write(&self, progress: &Progress, everything: bool) -> Result<()> {
        let catalog = self.shared.catalog();
        let mut batch = CheckpointBatch::default();
        for node in catalog.nodes() {
            collect(node, everything, &mut batch);
        }
        let meta = serde_json::to_vec(progress).map_err(|e| Error::internal(format!("checkpoint: {e}")))?;
        batch.put_meta(META_PROGRESS, &meta);
        self.shared.store.checkpoint(batch)?;
        let live: Vec<u32> = catalog.nodes().map(|n| n.id.0).collect();
        for node in self.shared.store.nodes()? {
            if !live.contains(&node) && !progress_knows_later(progress, node) {
                self.shared.store.drop_node(node)?;
            }
        }
        Ok(())
    }
}

/// Whether a node was made after the progress was taken, by a commit applied meanwhile.
fn progress_knows_later(progress: &Progress, node: u32) -> bool {
    node as usize >= progress.ids.nodes.len()
}

fn collect(node: &Node, everything: bool, batch: &mut CheckpointBatch) {
    for stripe in node.state.stripes() {
        if !everything && !stripe.read().dirty {
            continue;
        }
        let mut stripe = stripe.write();
        stripe.dirty = false;
        for entity in stripe.table.iter_mut() {
            if everything {
                entity.timeline.mark_dirty();
            }
            let key = &entity.key;
            entity.timeline.dirty_chunks(&node.layout, &mut |chunk, bytes| {
                let place = ChunkKey { node: node.id.0, key, chunk };
                match bytes {
                    [] => batch.remove_chunk(place),
                    _ => batch.put_chunk(place, bytes),
                }
            });
        }
    }
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

/// Fills a node's timelines from its chunks, leaving out what is newer than `at`.
pub(crate) fn load_node(store: &thyme_store::Store, node: &Node, at: Position) -> Result<()> {
    let mut key: Option<Box<[u8]>> = None;
    let mut chunks: Vec<(u32, Vec<u8>)> = Vec::new();
    for chunk in store.chunks(node.id.0) {
        let (next, id, bytes) = chunk?;
        if key.as_deref() != Some(&*next) {
            if let Some(key) = key.replace(next) {
                place(node, key, &chunks, at)?;
            }
            chunks.clear();
        }
        chunks.push((id, bytes));
    }
    match key {
        Some(key) => place(node, key, &chunks, at),
        None => Ok(()),
    }
}

fn place(node: &Node, key: Box<[u8]>, chunks: &[(u32, Vec<u8>)], at: Position) -> Result<()> {
    let timeline =
        Timeline::from_chunks(&node.layout, chunks.iter().map(|(id, bytes)| (*id, bytes.as_slice())), at)?;
    let hash = hash_key(&key);
    let mut stripe = node.state.stripe(stripe_of(hash)).write();
    *stripe.timeline_mut(hash, &key) = timeline;
    Ok(())
}
