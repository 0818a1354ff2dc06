//! The engine as its users see it: open, push, commit, read.

mod backups;
mod commit_history;
mod commits;
mod effects;
mod erase;
mod facts;
mod history;
mod kept;
mod left_out;
mod pending;
mod reads;
mod retention;
mod rows;
mod served;
mod simulated;
mod trials;
mod writes;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::{Mutex, RwLock};
use thyme_core::definition::evolution::Given;
use thyme_core::{Env, Error, EventTime, Result};
use thyme_log::{DirDisk, Disk, Log, MemoryLog, SegmentLog};
use thyme_store::{Room, Store};

use crate::applier::Applier;
use crate::backfill::{Cores, Driver, Filling};
use crate::base::Base;
use crate::budget::Budget;
use crate::catalog::{self, Catalog, Ids};
use crate::checkpoint::{self, Checkpointer};
use crate::committer::{Committer, Job};
use crate::directory::DataDirectory;
use crate::erasure::{Erasing, Ledger, Pending, Unfinished};
use crate::event_ids::{self, KnownIds};
use crate::events::{EventLog, Severity};
use crate::expectations::Tallies;
use crate::gate::Gate;
use crate::health::Ward;
use crate::idempotency::Keys;
use crate::lease;
use crate::left_out::{LateRanges, RecordSet};
use crate::memory::Memory;
use crate::options::{Clock, Options};
use crate::push::Receipt;
use crate::queue::Outbox;
use crate::residence::Residence;
use crate::retention::{self as keeping, Keeper};
use crate::shard::{Shards, Start};
use crate::starting::{self, Starting};
use crate::state::DatasetCounters;
use crate::stepper::Stepper;
use crate::tally::Tally;

pub(crate) use commit_history::CommitPlace;
pub use commit_history::Committed;
pub use commits::Planned;
pub use history::{History, HistoryRecord};
use kept::Keeping;
pub use kept::Kept;
pub use left_out::{Letter, Replay, Reread};
pub use pending::Begun;
pub use rows::{RowsPage, RowsPlace, RowsQuery};
pub use simulated::Logged;
pub use writes::{PATIENCE, overloaded};

/// Told that a commit is live.
pub(crate) type OnLive = dyn Fn() + Send + Sync;

/// What every part of the engine shares.
pub(crate) struct Shared {
    pub log: Arc<dyn Log>,
    pub store: Arc<Store>,
    pub residence: Arc<Residence>,
    /// What pushes and records take from where they come in until they are applied.
    pub budget: Arc<Budget>,
    pub gate: Arc<Gate>,
    pub clock: Clock,
    pub events: Arc<EventLog>,
    pub env: Arc<dyn Env>,
    pub counters: Mutex<HashMap<u32, DatasetCounters>>,
    pub dead_letters: Mutex<BTreeMap<u32, RecordSet>>,
    pub late: Mutex<BTreeMap<u32, LateRanges>>,
    /// What came to each expectation.
    pub expectations: Mutex<Tallies>,
    pub keys: Keys,
    pub tally: Tally,
    catalog: RwLock<Arc<Catalog>>,
    pub cursors: Mutex<BTreeMap<String, Vec<u8>>>,
    pub commits: Mutex<Vec<CommitPlace>>,
    /// What so many of them gave names and versions to.
    given: Mutex<(usize, Arc<Given>)>,
    /// The record of the last checkpoint, and when it was made (or the engine opened).
    checkpointed: Mutex<(u64, i64)>,
    /// Which event ids a start would know, by dataset id: claims that may yet be looked for do not go.
    pub remembered: Mutex<BTreeMap<u32, KnownIds>>,
    work: Mutex<Option<String>>,
    pub starting: Starting,
    /// Held for as long as the engine lives; `None` when it is not over a directory.
    pub directory: Option<DataDirectory>,
    /// Held while the lease of online times is extended.
    pub lease: Mutex<()>,
    /// Whether what runs in the background should come to an end.
    closing: AtomicBool,
    /// Where the log is, if it is on a disk.
    pub disk: Option<Arc<dyn Disk>>,
    pub ledger: Arc<Ledger>,
    erasing: Mutex<Option<Arc<Erasing>>>,
    /// The commit whose nodes are being filled.
    pub filling: Mutex<Option<Arc<Filling>>>,
    /// For tests: nothing is filled.
    pub backfills_held: AtomicBool,
    /// Told when a commit that was pending is live.
    pub on_live: Mutex<Option<Arc<OnLive>>>,
    /// Why an erasure that was accepted is not complete, if that is so.
    erasure_waits: Mutex<Option<String>>,
    ids: Mutex<Ids>,
    /// What the log begins with. Nothing is cut off it while somebody reads this.
    pub base: RwLock<Arc<Base>>,
    /// By dataset id: the newest event that is not far ahead of its record, which is the largest watermark.
    pub settled: Mutex<HashMap<u32, i64>>,
    /// The event that keeps the log's oldest file: its dataset, time and record.
    pub kept_by: Mutex<Option<(String, EventTime, u64)>>,
    /// What doors have kept in the store.
    pub keeping: Keeping,
}

impl Shared {
    /// The erasure that is under way.
    pub fn erasing(&self) -> Option<Arc<Erasing>> {
        self.erasing.lock().clone()
    }

    /// The ids given up to the commit that is live.
    pub fn ids(&self) -> Ids {
        self.ids.lock().clone()
    }

    /// The record of the last checkpoint.
    pub fn checkpointed(&self) -> u64 {
        self.checkpointed.lock().0
    }

    /// Learns the ids that a commit gave.
    pub fn learn(&self, ids: &Ids) {
        *self.ids.lock() = ids.clone();
        self.ledger.learn(ids);
    }

    pub fn catalog(&self) -> Arc<Catalog> {
        self.catalog.read().clone()
    }

    pub fn set_catalog(&self, catalog: Catalog) {
        *self.catalog.write() = Arc::new(catalog);
    }

    pub fn note_checkpoint(&self, record: u64) {
        *self.checkpointed.lock() = (record, self.env.now_us());
    }

    /// Fills memory with what the store has, as far as there is room.
    fn warm(&self) {
        // What the store has of a node that is being filled may be of another life.
        let live = self.catalog().nodes().map(|node| node.id.0).collect();
        let errors = self.residence.warm(&live, &|| self.closing.load(Ordering::Acquire));
        if !errors.is_empty() {
            let said: Vec<String> = errors.iter().map(ToString::to_string).collect();
            let message = format!("memory could not be filled with all of it: {}", said.join("; "));
            self.events.record(Severity::Error, "store_unreadable", "store", message);
        }
    }

    pub fn note_backfill(&self, record: u64, until: u64) {
        self.starting.note("filling pipelines from the log", record, until);
        *self.work.lock() = (record < until).then(|| format!("backfilling: record {record} of {until}"));
    }
}

/// An engine on its way to being driven.
struct Opened {
    shared: Arc<Shared>,
    applier: Applier,
    shards: usize,
    memory: Option<Memory>,
    checkpointed: u64,
    checkpoint_every: Duration,
    durable: bool,
    /// The record of an erasure that was begun and is to be ended before anybody is served.
    unfinished: Unfinished,
    backfill_cores: Cores,
}

/// The log, the disk it is on, and the store.
type Parts = (Arc<dyn Log>, Option<Arc<dyn Disk>>, Store);

/// The log and the store that `options` name.
fn open_parts(options: &Options, events: &EventLog) -> Result<Parts> {
    let (disk, log_options): (Arc<dyn Disk>, _) = match (&options.parts, &options.path) {
        (None, None) => {
            let log = options
                .attached
                .as_ref()
                .map_or_else(|| Arc::new(MemoryLog::default()) as Arc<dyn Log>, |it| it.log.clone());
            return Ok((log, None, Store::in_memory()));
        }
        (Some(parts), _) => (parts.log.clone(), parts.log_options),
        (None, Some(path)) => (Arc::new(DirDisk::open(&path.join("log"))?), options.log),
    };
    options.starting.note("opening the log", 0, 0);
    let (log, report) = SegmentLog::open_on(disk.clone(), log_options)?;
    options.starting.note("opening the store", 0, 0);
    let room = options.memory().map_or_else(Room::default, |memory| memory.store);
    let store = match (&options.parts, &options.path) {
        (Some(parts), _) => Store::over(parts.store.clone())?,
        (None, Some(path)) => Store::open(&path.join("store"), room)?,
        (None, None) => Store::in_memory(),
    };
    if let Some(torn) = report.torn {
        let message = format!(
            "{} bytes of a write that was never acknowledged were cut from {} at {}",
            torn.bytes, torn.file, torn.offset
        );
        events.record(Severity::Warning, "log_tail_cut", "log", message);
    }
    Ok((Arc::new(log), Some(disk), store))
}

/// One engine over one data directory, or in memory. Dropping it closes it.
pub struct Engine {
    shared: Arc<Shared>,
    jobs: Outbox<Job>,
    shards: usize,
    memory: Option<Memory>,
    commit_lock: Arc<Mutex<()>>,
    keeper: Mutex<Option<Arc<Keeper>>>,
    replay_lock: Mutex<()>,
    driver: Arc<Driver>,
    backfill_cores: Cores,
    checkpointer: Mutex<Option<Arc<Checkpointer>>>,
    stop_checkpoints: Mutex<Option<Sender<()>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// `None` when threads do the work.
    stepper: Option<Stepper>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("applied", &self.shared.gate.applied()).finish_non_exhaustive()
    }
}

/// Pushes that may wait for the disk before a producer is told to wait.
const JOBS_WAITING_MAX: usize = 4096;
/// How long `close` waits for what was submitted, and `commit` between two looks.
const WAIT: Duration = Duration::from_secs(10);

impl Engine {
    /// Opens an engine: restores the last checkpoint, replays the log after it, and is ready.
    ///
    /// # Errors
    /// A directory in use, damaged files, a newer format, or I/O.
    pub fn open(options: Options) -> Result<Engine> {
        let opened = Self::opened(options, Shards::start, true)?;
        let unfinished = opened.unfinished;
        let engine = Self::start(opened);
        engine.end_erasure(unfinished);
        engine.take_up()?;
        engine.shared.filling().into_iter().for_each(|filling| engine.drive(filling));
        Ok(engine)
    }

    /// As [`Engine::open`], but without threads: nothing happens unless the [`Stepper`] is told so. What
    /// waits in a threaded engine never waits in this one: a commit or a push that wants its answer first
    /// steps everything, and a read that is not possible yet is refused at once.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn open_stepped(options: Options) -> Result<(Engine, Stepper)> {
        let Opened {
            shared, applier, shards, memory, checkpointed, durable, unfinished, backfill_cores, ..
        } = Self::opened(options, Shards::by_hand, false)?;
        let commit_lock = Arc::new(Mutex::new(()));
        // Whoever steps is one thread.
        let driver = |jobs| Driver::new(shared.clone(), jobs, commit_lock.clone(), backfill_cores, false);
        let (stepper, jobs, checkpointer, driver) =
            Stepper::new(&shared, applier, checkpointed, durable, driver);
        let keeper = durable.then(|| {
            Keeper::new(shared.clone(), stepper.to_applier(), Some(stepper.clone()), commit_lock.clone())
        });
        let engine = Engine {
            shared,
            jobs: Outbox::Hand(jobs),
            shards,
            memory,
            commit_lock,
            keeper: Mutex::new(keeper.map(Arc::new)),
            replay_lock: Mutex::new(()),
            driver,
            backfill_cores,
            checkpointer: Mutex::new(checkpointer),
            stop_checkpoints: Mutex::new(None),
            threads: Mutex::default(),
            stepper: Some(stepper.clone()),
        };
        engine.end_erasure(unfinished);
        engine.take_up()?;
        Ok((engine, stepper))
    }

    fn opened(options: Options, shards: Start, waits: bool) -> Result<Opened> {
        let path = options.path.as_deref().filter(|_| options.parts.is_none());
        let directory = path.map(DataDirectory::open).transpose()?;
        let events = Arc::new(EventLog::new(options.env.clone()));
        let (log, disk, store) = open_parts(&options, &events)?;
        let (memory, store) = (options.memory(), Arc::new(store));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let count = if options.shards == 0 { cores } else { options.shards }.clamp(1, crate::state::STRIPES);
        let ward = Ward::new(events.clone(), count);
        let residence = Residence::new(store.clone(), memory.map(|m| m.timelines), waits, ward);
        let base = match &disk {
            Some(disk) => Base::load(disk.as_ref(), log.as_ref())?,
            None => options.attached.as_ref().map_or_else(Base::start, |it| it.base.clone()),
        };
        // Without a store what the log holds is filled in over what it begins with.
        let stored = checkpoint::load_progress(&store)?;
        let is_stored = stored.is_some();
        let mut progress = stored.unwrap_or_else(|| base.progress.clone());
        starting::check_joint(&progress, &base, log.as_ref())?;
        starting::end_cut(&base, log.as_ref(), &events);
        for (dataset, counters) in progress.counters.iter().filter(|(_, c)| c.late > 0) {
            let anywhere = || LateRanges::anywhere(progress.record, counters.late);
            progress.late.entry(*dataset).or_insert_with(anywhere);
        }
        base.trim(&mut progress.late, &mut progress.dead_letters);
        let gate = Arc::new(Gate::new(options.env.clone()));
        gate.restore(progress.record, progress.stamp, progress.event_now);
        let durable = options.path.is_some() || options.parts.is_some();
        if durable {
            gate.restore_lease(lease::load(&store)?);
        }
        let (catalog, nodes) = catalog::derive(
            &Catalog::empty(),
            &mut progress.ids,
            progress.commit.clone(),
            progress.document.clone(),
            &residence,
        )?;
        for (done, node) in (0..).zip(&nodes) {
            options.starting.note("restoring timelines", done, nodes.len() as u64);
            if is_stored { node.state.restore()? } else { node.state.begin_empty()? }
        }
        keeping::restore(&store, nodes.iter())?;
        base.tell(nodes.iter());
        event_ids::refuse_unknown(&catalog);
        event_ids::remember(&catalog, &mut progress);
        let pending = disk.as_deref().map(Pending::load).transpose()?.flatten();
        let ledger = Arc::new(Ledger::open(disk.as_deref(), &progress.ids, &progress.erased)?);
        let commits = match progress.commits.is_empty() && !progress.commit.is_empty() {
            true => commit_history::find(&base, log.as_ref(), progress.record)?,
            false => std::mem::take(&mut progress.commits),
        };
        let shared = Arc::new(Shared {
            disk,
            ledger,
            erasing: Mutex::new(None),
            filling: Mutex::new(None),
            backfills_held: AtomicBool::new(false),
            on_live: Mutex::new(None),
            erasure_waits: Mutex::new(None),
            ids: Mutex::new(progress.ids.clone()),
            base: RwLock::new(Arc::new(base)),
            settled: Mutex::default(),
            kept_by: Mutex::default(),
            keeping: Keeping::default(),
            log: log.clone(),
            keys: Keys::new(store.clone()),
            tally: Tally::default(),
            store,
            residence,
            // Whoever steps cannot wait for a shard.
            budget: Budget::new(if waits {
                memory.unwrap_or_else(Memory::of_machine).records
            } else {
                usize::MAX
            }),
            gate: gate.clone(),
            clock: options.clock,
            events: events.clone(),
            counters: Mutex::new(progress.counters.iter().map(|(k, v)| (*k, *v)).collect()),
            dead_letters: Mutex::new(std::mem::take(&mut progress.dead_letters)),
            late: Mutex::new(std::mem::take(&mut progress.late)),
            expectations: Mutex::new(std::mem::take(&mut progress.expectations)),
            catalog: RwLock::new(Arc::new(catalog)),
            cursors: Mutex::new(progress.cursors.clone()),
            commits: Mutex::new(commits),
            given: Mutex::default(),
            checkpointed: Mutex::new((progress.record, options.env.now_us())),
            remembered: Mutex::new(progress.known_ids.clone()),
            env: options.env,
            work: Mutex::new(None),
            starting: options.starting,
            directory,
            lease: Mutex::new(()),
            closing: AtomicBool::new(false),
        });
        std::mem::take(&mut progress.remembered).into_iter().for_each(|known| shared.keys.remember(known));
        let record = progress.record;
        let mut applier = Applier::new(shared.clone(), shards(count, record, &gate), progress);
        applier.recover(pending.as_ref())?;
        let unfinished = applier.unfinished(pending.as_ref())?;
        *shared.work.lock() = None;
        let checkpoint_every = options.checkpoint_every;
        let backfill_cores = match options.backfill_cores {
            // Whoever steps is one thread.
            0 if !waits => 1,
            // They serve as well meanwhile.
            0 => (cores / 2).max(1),
            count => count,
        };
        let checkpointed = record;
        Ok(Opened {
            shared,
            applier,
            shards: count,
            memory,
            checkpointed,
            checkpoint_every,
            durable,
            unfinished,
            backfill_cores: Cores { count: backfill_cores, start: shards },
        })
    }

    #[expect(clippy::disallowed_methods, reason = "the engine's own threads start here")]
    fn start(opened: Opened) -> Engine {
        let Opened { shared, applier, shards, memory, checkpointed, checkpoint_every, durable, .. } = opened;
        let backfill_cores = opened.backfill_cores;
        // These channels drop what nobody will receive any more, and those who wait for it learn that;
        // crossbeam's keep it.
        let (messages, inbox) = sync_channel(64);
        let messages = Outbox::Thread(messages);
        let (jobs, queue) = sync_channel(JOBS_WAITING_MAX);
        let mut threads = vec![std::thread::spawn(move || applier.run(&inbox))];
        let committer = Committer::new(&shared, messages.clone());
        threads.push(std::thread::spawn(move || committer.run(&queue)));
        let (checkpointer, stop_checkpoints) = (Mutex::new(None), Mutex::new(None));
        let (commit_lock, mut keeper) = (Arc::new(Mutex::new(())), None);
        let jobs = Outbox::Thread(jobs);
        let driver = Driver::new(shared.clone(), jobs.clone(), commit_lock.clone(), backfill_cores, true);
        if durable {
            let warming = shared.clone();
            threads.push(std::thread::spawn(move || warming.warm()));
            let (stop, stopped) = bounded(0);
            let keeping = Arc::new(Keeper::new(shared.clone(), messages.clone(), None, commit_lock.clone()));
            keeper = Some(keeping.clone());
            let until = stopped.clone();
            threads.push(std::thread::spawn(move || keeping.run(&until)));
            let made = Arc::new(Checkpointer::new(shared.clone(), messages, checkpointed));
            let running = made.clone();
            threads.push(std::thread::spawn(move || running.run(checkpoint_every, &stopped)));
            *checkpointer.lock() = Some(made);
            *stop_checkpoints.lock() = Some(stop);
        }
        Engine {
            shared,
            jobs,
            shards,
            memory,
            commit_lock,
            keeper: Mutex::new(keeper),
            replay_lock: Mutex::new(()),
            driver: Arc::new(driver),
            backfill_cores,
            checkpointer,
            stop_checkpoints,
            threads: Mutex::new(threads),
            stepper: None,
        }
    }

    /// The end of a wait for `receiver`. Without threads it is the caller who makes it come true.
    fn answer(&self, receiver: &Receiver<Result<Receipt>>, stopping: &str) -> Result<Receipt> {
        if let Some(stepper) = &self.stepper {
            stepper.finish();
            return receiver.try_recv().map_err(|_| Error::unavailable(stopping))?;
        }
        receiver.recv().map_err(|_| Error::unavailable(stopping))?
    }

    /// Waits until `record` is applied; false when that takes too long.
    fn wait_applied(&self, record: u64, limit: Duration) -> Result<bool> {
        let limit = if self.stepper.is_some() { Duration::ZERO } else { limit };
        self.shared.gate.wait_applied(record, limit).map_err(Error::unavailable)
    }

    /// What is committed now.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.shared.catalog()
    }

    /// The events so far.
    pub fn events(&self) -> &Arc<EventLog> {
        &self.shared.events
    }

    /// Makes a checkpoint now.
    ///
    /// # Errors
    /// A store that cannot be written.
    pub fn checkpoint(&self) -> Result<()> {
        if let Some(stepper) = &self.stepper {
            return stepper.checkpoint_now();
        }
        let checkpointer = self.checkpointer.lock().clone();
        checkpointer.map_or(Ok(()), |c| c.checkpoint())
    }

    /// Finishes what was submitted, makes a checkpoint, and stops. Later pushes are refused.
    pub fn close(&self) {
        drop(self.stop_checkpoints.lock().take());
        if self.checkpointer.lock().is_some() {
            let made = self.drain().and_then(|()| self.checkpoint()).and_then(|()| self.shared.end_lease());
            let made = self.shared.keeping.save(&self.shared.store).and(made);
            *self.checkpointer.lock() = None;
            if let Err(error) = made {
                self.shared.events.record(Severity::Warning, "checkpoint_failed", "store", error.to_string());
            }
        }
        self.shared.closing.store(true, Ordering::Release);
        *self.keeper.lock() = None;
        if let Some(stepper) = &self.stepper {
            stepper.stop();
        } else {
            // Nobody is there to be told if the committer is gone already.
            self.jobs.send(Job::Stop);
        }
        let threads = std::mem::take(&mut *self.threads.lock());
        let this = std::thread::current().id();
        // Who was told of a commit may be the last who holds the engine.
        for thread in threads.into_iter().filter(|thread| thread.thread().id() != this) {
            // A panic was reported where it happened.
            let _ = thread.join();
        }
        self.shared.gate.stop("the engine is closed");
        // Whoever still holds a snapshot must not keep the next from opening it.
        self.shared.store.close();
    }

    fn drain(&self) -> Result<()> {
        if let Some(stepper) = &self.stepper {
            stepper.finish();
        }
        let last = self.shared.gate.last_record();
        self.wait_applied(last, WAIT).map(|_| ())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
    }
}
