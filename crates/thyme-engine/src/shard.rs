//! Shards: one thread each, owner of the timelines of its keys, applying rows in log order.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, bounded};
use parking_lot::Mutex;
use thyme_core::Position;

use crate::backfill::Turn;
use crate::budget::Tickets;
use crate::gate::Gate;
use crate::node::{Node, NodeRows};
use crate::queue::Hand;
use crate::state::STRIPES;

/// Rows and the nodes that they are for.
pub(crate) type Work = Vec<(Arc<Node>, Arc<NodeRows>)>;

/// What a shard does for one record, or for some of a backfill.
#[derive(Clone)]
pub(crate) struct Task {
    /// The record that is applied once this is done; `None` for a backfill.
    pub record: Option<u64>,
    /// What the store has of later positions is from before a crash.
    pub at: Position,
    /// What a node gets of several records stands together, in log order.
    pub work: Work,
    /// Signalled when everything before is done.
    pub reached: Option<Sender<()>>,
    /// The room that the record takes until all shards are through.
    pub tickets: Option<Tickets>,
}

impl Task {
    /// What a record gives to nodes.
    pub fn of(record: u64, work: Work) -> Task {
        let at = Position::end_of(record.saturating_sub(1));
        Task { record: Some(record), at, work, reached: None, tickets: None }
    }
}

/// Tasks a shard may be behind before the applier waits for it.
const QUEUE_TASKS_MAX: usize = 64;

/// The shards, each with its queue: driven by threads of their own, or by whoever steps.
pub(crate) enum Shards {
    Threads { senders: Vec<SyncSender<Task>>, threads: Vec<JoinHandle<()>> },
    Hand(Arc<HandShards>),
}

/// How so many shards begin that are at this record.
pub(crate) type Start = fn(usize, u64, &Arc<Gate>) -> Shards;

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
    fn workers(count: usize, from_record: u64, gate: &Arc<Gate>) -> Vec<Worker> {
        let progress = Arc::new(Progress {
            applied: (0..count).map(|_| AtomicU64::new(from_record)).collect(),
            gate: gate.clone(),
        });
        let worker = |shard| Worker { shard, count, progress: progress.clone() };
        (0..count).map(worker).collect()
    }

    /// Shards on threads of their own.
    pub fn start(count: usize, from_record: u64, gate: &Arc<Gate>) -> Self {
        let (mut senders, mut threads) = (Vec::new(), Vec::new());
        for worker in Self::workers(count, from_record, gate) {
            // A shard that fails drops what it has not done, with the barrier's sender in it.
            let (sender, receiver) = sync_channel(QUEUE_TASKS_MAX);
            #[expect(clippy::disallowed_methods, reason = "the shards are the engine's own threads")]
            threads.push(std::thread::spawn(move || worker.run(&receiver)));
            senders.push(sender);
        }
        Shards::Threads { senders, threads }
    }

    /// Shards that work when they are told to.
    pub fn by_hand(count: usize, from_record: u64, gate: &Arc<Gate>) -> Self {
        let workers = Self::workers(count, from_record, gate).into_iter();
        let desks =
            workers.map(|worker| Desk { worker: Mutex::new(worker), tasks: Hand::default() }).collect();
        Shards::Hand(Arc::new(HandShards { desks }))
    }

    /// Hands a task to every shard; each does the rows of its own stripes.
    /// False when a shard is gone.
    pub fn dispatch(&self, task: &Task) -> bool {
        match self {
            Shards::Threads { senders, .. } => senders.iter().all(|s| s.send(task.clone()).is_ok()),
            Shards::Hand(shards) => shards.desks.iter().all(|desk| desk.take(task.clone())),
        }
    }

    /// Waits until everything dispatched so far is done; false when a shard is gone.
    pub fn barrier(&self) -> bool {
        match self {
            Shards::Threads { senders, .. } => {
                let (reached, done) = bounded(senders.len());
                let (at, work) = (Position::MAX, Vec::new());
                let task = Task { record: None, at, work, reached: Some(reached), tickets: None };
                self.dispatch(&task) && {
                    drop(task);
                    (0..senders.len()).all(|_| done.recv().is_ok())
                }
            }
            Shards::Hand(shards) => shards.desks.iter().all(Desk::finish),
        }
    }

    /// Lets the shards finish what they have and ends them.
    pub fn join(self) {
        match self {
            Shards::Threads { senders, threads } => {
                drop(senders);
                for thread in threads {
                    // A panic was reported where it happened.
                    let _ = thread.join();
                }
            }
            Shards::Hand(shards) => {
                // A panic was reported where it happened.
                let _ = shards.desks.iter().all(Desk::finish);
            }
        }
    }
}

/// Shards without threads.
#[derive(Default)]
pub(crate) struct HandShards {
    desks: Vec<Desk>,
}

struct Desk {
    worker: Mutex<Worker>,
    tasks: Hand<Task>,
}

impl Desk {
    /// Puts a task behind the others; one that has too many does its oldest first.
    fn take(&self, task: Task) -> bool {
        while self.tasks.len() >= QUEUE_TASKS_MAX && self.step() {}
        self.tasks.push(task)
    }

    /// Does one task; false when there is none, or inside such a step.
    fn step(&self) -> bool {
        let Some(worker) = self.worker.try_lock() else { return false };
        let Some(task) = self.tasks.pop() else { return false };
        worker.step(&task);
        true
    }

    /// Does everything; false when the shard is gone.
    fn finish(&self) -> bool {
        while self.step() {}
        !self.tasks.is_closed()
    }
}

impl HandShards {
    pub fn count(&self) -> usize {
        self.desks.len()
    }

    /// Tasks that wait for shard `index`.
    pub fn waiting(&self, index: usize) -> usize {
        self.desks.get(index).map_or(0, |desk| desk.tasks.len())
    }

    /// Lets shard `index` do one task; false when it has none.
    pub fn step(&self, index: usize) -> bool {
        self.desks.get(index).is_some_and(Desk::step)
    }
}

/// One shard: does the rows of its own stripes.
struct Worker {
    shard: usize,
    count: usize,
    progress: Arc<Progress>,
}

impl Worker {
    fn run(self, tasks: &Receiver<Task>) {
        while let Ok(task) = tasks.recv() {
            self.step(&task);
        }
    }

    /// Does one task. What goes wrong with some rows is their stripe's or their entity's, which tells it to
    /// whoever reads it; the record is published for all others.
    fn step(&self, task: &Task) {
        for same in task.work.chunk_by(|(one, _), (other, _)| Arc::ptr_eq(one, other)) {
            let Some((node, _)) = same.first() else { continue };
            let parts: Vec<&NodeRows> = same.iter().map(|(_, rows)| &**rows).collect();
            self.apply(node, &parts, task);
        }
        if let Some(record) = task.record {
            self.progress.done(self.shard, record);
        }
        if let Some(reached) = &task.reached {
            let _ = reached.send(());
        }
    }

    fn apply(&self, node: &Node, parts: &[&NodeRows], task: &Task) {
        let mut turn = Turn::default();
        for index in (self.shard..STRIPES).step_by(self.count) {
            let rows = parts.iter().map(|rows| rows.of_stripe(index).len()).sum();
            if rows == 0 {
                continue;
            }
            let inserted = catch_unwind(AssertUnwindSafe(|| node.state.insert(index, parts, task.at)));
            if let Err(panic) = inserted {
                node.state.poison_stripe(index, format_args!("rows were added"), &*panic);
            }
            node.state.relieve();
            if task.record.is_none() {
                turn.did(rows);
            }
        }
    }
}
