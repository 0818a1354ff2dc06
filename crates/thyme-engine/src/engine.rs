//! The engine as its users see it: open, push, commit, read.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use arrow::array::RecordBatch;
use crossbeam_channel::{Sender, bounded};
use parking_lot::{Mutex, RwLock};
use sha2::{Digest, Sha256};
use thyme_core::definition::evolution::{self, Plan};
use thyme_core::definition::{Document, OnError, validate};
use thyme_core::error::Fault;
use thyme_core::{Error, EventTime, Position, Result};
use thyme_log::{Log, MemoryLog, SegmentLog};
use thyme_store::Store;

use crate::applier::{Applier, Progress};
use crate::catalog::{self, Catalog, LiveDataset, PUSH_STREAM};
use crate::checkpoint::{self, Checkpointer};
use crate::committer::{Committer, Job};
use crate::decode::{self, Decoded, columns, json};
use crate::done::Done;
use crate::events::{EventLog, Severity};
use crate::gate::Gate;
use crate::idempotency::{Idempotency, Keys, Turn};
use crate::options::{Clock, Options};
use crate::push::{Push, Receipt, SourceBatch};
use crate::record::{CommitRecord, DeadLetter, Payload};
use crate::shard::Shards;
use crate::snapshot::{ReadAt, Snapshot};
use crate::state::DatasetCounters;

/// A validated commit before it is applied.
pub type Planned = Plan;

/// What every part of the engine shares.
pub(crate) struct Shared {
    pub log: Arc<dyn Log>,
    pub store: Store,
    pub gate: Arc<Gate>,
    pub clock: Clock,
    pub events: Arc<EventLog>,
    pub counters: Mutex<HashMap<u32, DatasetCounters>>,
    pub dead_letters: Mutex<HashMap<u32, Vec<u64>>>,
    pub keys: Keys,
    catalog: RwLock<Arc<Catalog>>,
    pub cursors: Mutex<BTreeMap<String, Vec<u8>>>,
    checkpointed: Mutex<u64>,
    work: Mutex<Option<String>>,
}

impl Shared {
    pub fn catalog(&self) -> Arc<Catalog> {
        self.catalog.read().clone()
    }

    pub fn set_catalog(&self, catalog: Catalog) {
        *self.catalog.write() = Arc::new(catalog);
    }

    pub fn note_checkpoint(&self, record: u64) {
        *self.checkpointed.lock() = record;
    }

    pub fn note_recovery(&self, record: u64, last: u64) {
        *self.work.lock() = Some(format!("recovering: record {record} of {last}"));
    }

    pub fn note_backfill(&self, record: u64, until: u64) {
        *self.work.lock() = (record < until).then(|| format!("backfilling: record {record} of {until}"));
    }
}

/// One engine over one data directory, or in memory. Dropping it closes it.
pub struct Engine {
    shared: Arc<Shared>,
    jobs: SyncSender<Job>,
    shards: usize,
    commit_lock: Mutex<()>,
    checkpointer: Mutex<Option<Arc<Checkpointer>>>,
    stop_checkpoints: Mutex<Option<Sender<()>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("applied", &self.shared.gate.applied()).finish_non_exhaustive()
    }
}

/// Pushes that may wait for the disk before a producer is told to wait.
const JOBS_WAITING_MAX: usize = 4096;
/// How long a read waits for `min_position`.
const WAIT: Duration = Duration::from_secs(10);

impl Engine {
    /// Opens an engine: restores the last checkpoint, replays the log after it, and is ready.
    ///
    /// # Errors
    /// A directory in use, damaged files, a newer format, or I/O.
    pub fn open(options: Options) -> Result<Engine> {
        let events = Arc::new(EventLog::new(options.env.clone()));
        let (log, store): (Arc<dyn Log>, Store) = match &options.path {
            None => (Arc::new(MemoryLog::default()), Store::in_memory()),
            Some(path) => {
                let (log, report) = SegmentLog::open(&path.join("log"), Default::default())?;
                if let Some(torn) = report.torn {
                    let message = format!(
                        "{} bytes of a write that was never acknowledged were cut from {} at {}",
                        torn.bytes, torn.file, torn.offset
                    );
                    events.record(Severity::Warning, "log_tail_cut", "log", message);
                }
                (Arc::new(log), Store::open(&path.join("store"))?)
            }
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let count = if options.shards == 0 { cores } else { options.shards }.clamp(1, crate::state::STRIPES);
        let mut progress = checkpoint::load_progress(&store)?.unwrap_or_else(Progress::start);
        let last = log.last().map_or(0, |(record, _)| record);
        if progress.record > last {
            return Err(Error::corrupt(format!(
                "the store is at record {}, the log ends at {last}: files of the log are missing from the data directory; restore them from a copy",
                progress.record
            )));
        }
        let gate = Arc::new(Gate::new(options.env.clone()));
        gate.restore(progress.record, progress.stamp, progress.event_now);
        let (catalog, nodes) = catalog::derive(
            &Catalog::empty(),
            &mut progress.ids,
            progress.commit.clone(),
            progress.document.clone(),
        )?;
        for node in &nodes {
            checkpoint::load_node(&store, node, Position::end_of(progress.record))?;
        }
        let shared = Arc::new(Shared {
            log: log.clone(),
            store,
            gate: gate.clone(),
            clock: options.clock,
            events: events.clone(),
            counters: Mutex::new(progress.counters.iter().map(|(k, v)| (*k, *v)).collect()),
            dead_letters: Mutex::new(progress.dead_letters.iter().map(|(k, v)| (*k, v.clone())).collect()),
            keys: Keys::default(),
            catalog: RwLock::new(Arc::new(catalog)),
            cursors: Mutex::new(progress.cursors.clone()),
            checkpointed: Mutex::new(progress.record),
            work: Mutex::new(None),
        });
        progress.remembered.iter().for_each(|known| shared.keys.remember(known.clone()));
        let record = progress.record;
        let shards = Shards::start(count, record, &gate, &events);
        let mut applier = Applier::new(shared.clone(), shards, progress);
        applier.recover()?;
        *shared.work.lock() = None;
        Ok(Self::start(shared, applier, count, record, options.path.is_some()))
    }

    #[expect(clippy::disallowed_methods, reason = "the engine's own threads start here")]
    fn start(
        shared: Arc<Shared>,
        applier: Applier,
        shards: usize,
        checkpointed: u64,
        durable: bool,
    ) -> Engine {
        // These channels drop what nobody will receive any more, and those who wait for it learn that;
        // crossbeam's keep it.
        let (messages, inbox) = sync_channel(64);
        let (jobs, queue) = sync_channel(JOBS_WAITING_MAX);
        let mut threads = vec![std::thread::spawn(move || applier.run(&inbox))];
        let committer =
            Committer { log: shared.log.clone(), gate: shared.gate.clone(), applier: messages.clone() };
        threads.push(std::thread::spawn(move || committer.run(&queue)));
        let (checkpointer, stop_checkpoints) = (Mutex::new(None), Mutex::new(None));
        if durable {
            let made = Arc::new(Checkpointer::new(shared.clone(), messages, checkpointed));
            let (stop, stopped) = bounded(0);
            let running = made.clone();
            threads.push(std::thread::spawn(move || running.run(&stopped)));
            *checkpointer.lock() = Some(made);
            *stop_checkpoints.lock() = Some(stop);
        }
        Engine {
            shared,
            jobs,
            shards,
            commit_lock: Mutex::new(()),
            checkpointer,
            stop_checkpoints,
            threads: Mutex::new(threads),
        }
    }

    /// What is committed now.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.shared.catalog()
    }

    /// The events so far.
    pub fn events(&self) -> &Arc<EventLog> {
        &self.shared.events
    }

    /// Reads rows of JSON text for `dataset`.
    ///
    /// # Errors
    /// InvalidData with all faults, unless the dataset says `on_error="skip"`.
    pub fn read_json<'a>(&self, dataset: &LiveDataset, rows: impl Iterator<Item = &'a [u8]>) -> Result<Push> {
        self.derived_takes_no_rows(dataset)?;
        let decoded = json::rows(&dataset.definition.fields, dataset.definition.extra, rows)?;
        self.accept(dataset, decoded)
    }

    /// Reads Arrow batches for `dataset`.
    ///
    /// # Errors
    /// InvalidData with all faults, unless the dataset says `on_error="skip"`.
    pub fn read_batches(&self, dataset: &LiveDataset, batches: &[RecordBatch]) -> Result<Push> {
        self.derived_takes_no_rows(dataset)?;
        let decoded = decode::columns::conform_all(&dataset.definition, batches)?;
        self.accept(dataset, decoded)
    }

    fn derived_takes_no_rows(&self, dataset: &LiveDataset) -> Result<()> {
        if !dataset.is_derived() {
            return Ok(());
        }
        let (name, pipeline) = (&dataset.definition.name, &dataset.definition.pipelines[0]);
        Err(Error::invalid_data(format!(
            "dataset {name} is made by its pipeline {}; push to {} instead",
            pipeline.name,
            pipeline.inputs.join(", ")
        )))
    }

    fn accept(&self, dataset: &LiveDataset, decoded: Decoded) -> Result<Push> {
        let Decoded { batch, rejected } = decoded;
        if !rejected.is_empty() && dataset.definition.on_error == OnError::Refuse {
            return Err(json::refusal(&dataset.definition.name, &rejected));
        }
        let times = dataset
            .definition
            .fields
            .timestamp()
            .map(|f| columns::event_times(&batch, &f.name))
            .transpose()?;
        debug_assert!(times.is_some_and(|t| t.len() == batch.num_rows()));
        Ok(Push {
            dataset: dataset.id,
            stream: Arc::from(PUSH_STREAM),
            cursor: None,
            idempotency: None,
            faults: rejected.iter().take(decode::FAULTS_MAX).map(|r| r.fault.clone()).collect(),
            dead_letters: rejected
                .into_iter()
                .map(|r| DeadLetter::new("push", r.fault.message, &r.raw))
                .collect(),
            batch,
        })
    }

    /// Rows that a connector read.
    pub fn read_source(&self, dataset: &LiveDataset, rows: SourceBatch) -> Push {
        Push {
            dataset: dataset.id,
            stream: rows.stream,
            cursor: Some(rows.cursor),
            dead_letters: rows.dead_letters,
            batch: rows.batch,
            idempotency: None,
            faults: Vec::new(),
        }
    }

    /// Logs a push; `done` is told once it is on durable storage, or why it is not.
    pub fn submit(&self, push: Push, done: impl FnOnce(Result<Receipt>) + Send + 'static) {
        let Some(asked) = push.idempotency.clone() else {
            return self.enqueue(push, Done::new(done));
        };
        if let Turn::First(done) =
            self.shared.keys.begin(&asked, self.shared.gate.last_stamp(), Done::new(done))
        {
            let shared = self.shared.clone();
            self.enqueue(
                push,
                Done::new(move |result| {
                    shared.keys.finish(&asked, shared.gate.last_stamp(), &result);
                    done.answer(result);
                }),
            );
        }
    }

    fn enqueue(&self, push: Push, done: Done) {
        let nothing = push.batch.num_rows() == 0 && push.dead_letters.is_empty() && push.cursor.is_none();
        if nothing && push.idempotency.is_none() {
            let record = self.shared.gate.applied();
            let position = if record == 0 { Position::ZERO } else { Position::end_of(record) };
            return done.answer(Ok(Receipt { position, accepted: 0, skipped: 0 }));
        }
        // What is not taken any more is dropped, which answers it.
        drop(self.jobs.send(Job::Events { push: Box::new(push), done }));
    }

    /// The answer that a push with this key had within the last 24 h.
    ///
    /// # Errors
    /// Conflict: the key was used with another body.
    pub fn answered(&self, asked: &Idempotency) -> Result<Option<Receipt>> {
        self.shared.keys.answered(asked, self.shared.gate.last_stamp())
    }

    /// Logs a push and waits until it is on durable storage.
    ///
    /// # Errors
    /// StorageFull or Unavailable: nothing was stored.
    pub fn push(&self, push: Push) -> Result<Receipt> {
        let (sender, receiver) = bounded(1);
        self.submit(push, move |result| {
            // The receiver waits right below.
            let _ = sender.send(result);
        });
        receiver.recv().map_err(|_| Error::unavailable("the server is stopping"))?
    }

    /// What a commit of `document` would change.
    ///
    /// # Errors
    /// InvalidDefinition with every fault; Conflict for a change of meaning without a version bump.
    pub fn plan(&self, document: &Document) -> Result<Planned> {
        let catalog = self.catalog();
        let faults = validate::validate(document, &catalog.document);
        if !faults.is_empty() {
            return Err(refused_definitions(faults));
        }
        evolution::plan(&catalog.document, document)
    }

    /// Commits definitions: all of them or none. `check` sees the plan before anything is written and may
    /// refuse it. Returns when every new pipeline is live over what the log holds.
    ///
    /// # Errors
    /// As [`Engine::plan`], what `check` says, or a log that cannot be written.
    pub fn commit(
        &self,
        document: &Document,
        check: impl FnOnce(&Planned) -> Result<()>,
    ) -> Result<(Planned, String, Position)> {
        let _one_at_a_time = self.commit_lock.lock();
        let plan = self.plan(document)?;
        check(&plan)?;
        let catalog = self.catalog();
        if !catalog.commit.is_empty() && plan.next == catalog.document {
            return Ok((plan, catalog.commit.clone(), Position::end_of(self.shared.gate.applied())));
        }
        let id = commit_id(&catalog.commit, &plan.next)?;
        let record = Box::new(CommitRecord { id: id.clone(), document: plan.next.clone() });
        let (sender, receiver) = bounded(1);
        let done = Done::new(move |result| {
            // The receiver waits right below.
            let _ = sender.send(result);
        });
        let stopping = || Error::unavailable("the server is stopping; nothing was committed");
        self.jobs.send(Job::Commit { record, done }).map_err(|_| stopping())?;
        let receipt = receiver.recv().map_err(|_| stopping())??;
        loop {
            match self.shared.gate.wait_applied(receipt.position.record(), WAIT) {
                Ok(true) => return Ok((plan, id, receipt.position)),
                Ok(false) => {}
                Err(reason) => return Err(Error::unavailable(reason)),
            }
        }
    }

    /// A view at one `(T, S)` under one commit.
    ///
    /// # Errors
    /// Unavailable when a position asked for is not applied in time.
    pub fn snapshot(&self, at: ReadAt) -> Result<Snapshot> {
        for position in [at.min_position, at.position].into_iter().flatten() {
            match self.shared.gate.wait_applied(position.record(), WAIT) {
                Ok(true) => {}
                Ok(false) => {
                    return Err(Error::unavailable(format!(
                        "position {position} is not applied after {} s; the newest is e{}",
                        WAIT.as_secs(),
                        self.shared.gate.applied()
                    )));
                }
                Err(reason) => return Err(Error::unavailable(reason)),
            }
        }
        if let Some(reason) = self.shared.gate.damage() {
            return Err(Error::unavailable(reason));
        }
        let (catalog, (now, newest)) = self.online();
        let time = at.time.unwrap_or(now);
        Ok(Snapshot {
            catalog,
            events: self.shared.events.clone(),
            time,
            position: at.position.unwrap_or(newest),
            now,
            online: at.time.is_none(),
        })
    }

    /// The catalog and the `(T, S)` of an online read under it. Nodes that a commit left out take no rows
    /// after it, so a catalog goes only with positions up to the commit that replaced it.
    fn online(&self) -> (Arc<Catalog>, (EventTime, Position)) {
        loop {
            let catalog = self.catalog();
            let online = self.shared.gate.online(self.shared.clock.now_source());
            if Arc::ptr_eq(&catalog, &self.catalog()) {
                return (catalog, online);
            }
        }
    }

    /// Fixes "now" for online reads, or frees it.
    pub fn set_now(&self, now_us: Option<i64>) {
        self.shared.gate.set_fixed_now(now_us);
    }

    /// Where a source stands: the cursor of its last applied batch.
    pub fn cursor(&self, stream: &str) -> Option<Vec<u8>> {
        self.shared.cursors.lock().get(stream).cloned()
    }

    /// The counters of a dataset.
    pub fn counters(&self, dataset: &LiveDataset) -> DatasetCounters {
        self.shared.counters.lock().get(&dataset.id).copied().unwrap_or_default()
    }

    /// The newest `limit` dead letters of a dataset, oldest first, with their records' positions.
    ///
    /// # Errors
    /// A log that cannot be read.
    pub fn dead_letters(&self, dataset: &LiveDataset, limit: usize) -> Result<Vec<(Position, DeadLetter)>> {
        let records = self.shared.dead_letters.lock().get(&dataset.id).cloned().unwrap_or_default();
        let mut found = Vec::new();
        for number in records.into_iter().rev() {
            if found.len() >= limit {
                break;
            }
            let Some(record) = self.shared.log.read(number)?.next().transpose()? else { continue };
            if let Payload::Events(events) =
                Payload::decode(&record.payload, &|_| Some(dataset.schema.clone()))?
            {
                let room = limit - found.len();
                found.extend(
                    events.dead_letters.into_iter().rev().take(room).map(|d| (Position::end_of(number), d)),
                );
            }
        }
        found.reverse();
        Ok(found)
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.shards
    }

    /// The last record written and the last one visible.
    pub fn records(&self) -> (u64, u64) {
        (self.shared.gate.last_record(), self.shared.gate.applied())
    }

    /// What "now" is made of.
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// Bytes of log and of state at rest, and the record of the last checkpoint.
    pub fn storage(&self) -> (u64, u64, u64) {
        (self.shared.log.bytes(), self.shared.store.bytes(), *self.shared.checkpointed.lock())
    }

    /// Why nothing more is applied, if that is so.
    pub fn failure(&self) -> Option<String> {
        self.shared.gate.failure()
    }

    /// What the engine is busy with, such as a backfill.
    pub fn work(&self) -> Option<String> {
        self.shared.work.lock().clone()
    }

    /// Makes a checkpoint now.
    ///
    /// # Errors
    /// A store that cannot be written.
    pub fn checkpoint(&self) -> Result<()> {
        let checkpointer = self.checkpointer.lock().clone();
        checkpointer.map_or(Ok(()), |c| c.checkpoint())
    }

    /// Finishes what was submitted, makes a checkpoint, and stops. Later pushes are refused.
    pub fn close(&self) {
        drop(self.stop_checkpoints.lock().take());
        let checkpointer = self.checkpointer.lock().take();
        if let Some(checkpointer) = checkpointer {
            let made = self.drain().and_then(|()| checkpointer.checkpoint());
            if let Err(error) = made {
                self.shared.events.record(Severity::Warning, "checkpoint_failed", "store", error.to_string());
            }
        }
        // Nobody is there to be told if the committer is gone already.
        let _ = self.jobs.send(Job::Stop);
        for thread in self.threads.lock().drain(..) {
            // A panic was reported where it happened.
            let _ = thread.join();
        }
        self.shared.gate.stop("the engine is closed");
    }

    fn drain(&self) -> Result<()> {
        let last = self.shared.gate.last_record();
        self.shared.gate.wait_applied(last, WAIT).map(|_| ()).map_err(Error::unavailable)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
    }
}

/// All faults of a refused document as one error.
pub(crate) fn refused_definitions(faults: Vec<Fault>) -> Error {
    let detail = match faults.as_slice() {
        [only] => only.message.clone(),
        several => format!("{} (and {} more faults)", several[0].message, several.len() - 1),
    };
    Error::invalid_definition(detail).with_faults(faults)
}

/// The id of a commit: the hash of what it stands on and of what it says.
fn commit_id(parent: &str, document: &Document) -> Result<String> {
    let bytes = serde_json::to_vec(document).map_err(|e| Error::internal(format!("commit: {e}")))?;
    let digest = Sha256::new().chain_update(parent).chain_update(bytes).finalize();
    Ok(digest.iter().take(6).map(|b| format!("{b:02x}")).collect())
}
