//! Shards: one thread each, owner of the timelines of its keys, applying rows in log order.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, bounded};

use crate::events::{EventLog, Severity};
use crate::gate::Gate;
use crate::node::{Node, NodeRows};
use crate::state::STRIPES;

/// What a shard does for one record.
#[derive(Clone)]
pub(crate) struct Task {
    /// The record that is applied once this is done; `None` for a backfill.
    pub record: Option<u64>,
    pub work: Vec<(Arc<Node>, Arc<NodeRows>)>,
    /// Signalled when everything before is done.
    pub reached: Option<Sender<()>>,
}

/// Tasks a shard may be behind before the applier waits for it.
const QUEUE_TASKS_MAX: usize = 64;

/// The shard threads and what they have done.
pub(crate) struct Shards {
    senders: Vec<SyncSender<Task>>,
    threads: Vec<JoinHandle<()>>,
}

struct Progress {
    applied: Vec<AtomicU64>,
    gate: Arc<Gate>,
}

impl Progress {
    fn done(&self, shard: usize, record: u64) {
        // In one order for all shards: otherwise two that finish together may each miss the other's
        // store, and nobody publishes the record.
        self.applied[shard].store(record, Ordering::SeqCst);
        let everywhere = self.applied.iter().map(|a| a.load(Ordering::SeqCst)).min().unwrap_or(record);
        self.gate.publish(everywhere);
    }
}

impl Shards {
    pub fn start(count: usize, from_record: u64, gate: &Arc<Gate>, events: &Arc<EventLog>) -> Self {
        let progress = Arc::new(Progress {
            applied: (0..count).map(|_| AtomicU64::new(from_record)).collect(),
            gate: gate.clone(),
        });
        let (mut senders, mut threads) = (Vec::new(), Vec::new());
        for shard in 0..count {
            // A shard that fails drops what it has not done, with the barrier's sender in it.
            let (sender, receiver) = sync_channel(QUEUE_TASKS_MAX);
            let (progress, events) = (progress.clone(), events.clone());
            #[expect(clippy::disallowed_methods, reason = "the shards are the engine's own threads")]
            threads.push(std::thread::spawn(move || run(shard, count, &receiver, &progress, &events)));
            senders.push(sender);
        }
        Shards { senders, threads }
    }

    /// Hands a task to every shard; each does the rows of its own stripes.
    /// False when a shard is gone.
    pub fn dispatch(&self, task: &Task) -> bool {
        self.senders.iter().all(|s| s.send(task.clone()).is_ok())
    }

    /// Waits until everything dispatched so far is done; false when a shard is gone.
    pub fn barrier(&self) -> bool {
        let (reached, done) = bounded(self.senders.len());
        let task = Task { record: None, work: Vec::new(), reached: Some(reached) };
        self.dispatch(&task) && {
            drop(task);
            (0..self.senders.len()).all(|_| done.recv().is_ok())
        }
    }

    /// Lets the shards finish what they have and ends them.
    pub fn join(self) {
        drop(self.senders);
        for thread in self.threads {
            // A panic was reported where it happened.
            let _ = thread.join();
        }
    }
}

fn run(shard: usize, count: usize, tasks: &Receiver<Task>, progress: &Progress, events: &EventLog) {
    while let Ok(task) = tasks.recv() {
        let applied = catch_unwind(AssertUnwindSafe(|| {
            for (node, rows) in &task.work {
                apply(shard, count, node, rows);
            }
        }));
        if applied.is_err() {
            // What this shard holds can no longer be trusted: nothing after it is published.
            let reason =
                format!("shard {shard} failed and stopped; restart the server to rebuild it from the log");
            events.record(Severity::Error, "shard_poisoned", &format!("shard {shard}"), reason.clone());
            progress.gate.poison(&reason);
            return;
        }
        if let Some(record) = task.record {
            progress.done(shard, record);
        }
        if let Some(reached) = &task.reached {
            let _ = reached.send(());
        }
    }
}

fn apply(shard: usize, count: usize, node: &Node, rows: &NodeRows) {
    for index in (shard..STRIPES).step_by(count) {
        let order = rows.of_stripe(index);
        if order.is_empty() {
            continue;
        }
        let mut stripe = node.state.stripe(index).write();
        stripe.dirty = true;
        for &row in order {
            let row = row as usize;
            let timeline = stripe.timeline_mut(rows.hashes[row], rows.key(row));
            timeline.insert(&node.layout, &rows.batch, row);
            timeline.seal(&node.layout);
        }
    }
}
