//! What makes a pending commit move: a step at a time, by a thread of its own or by whoever steps the engine.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use thyme_core::{Error, ErrorKind, Result};

use super::{Cores, Filler, Filling, Hands, Intent, Stage};
use crate::committer::Job;
use crate::done::Done;
use crate::engine::Shared;
use crate::events::Severity;
use crate::health::said;
use crate::queue::Outbox;

/// Records of a step at most; large ones end it sooner.
const RECORDS_A_STEP: usize = 4096;
/// Records that the applier may add itself when the commit goes live.
const RECORDS_LEFT: u64 = 4;
/// When records wait for the applier they come first, so long.
const YIELD: Duration = Duration::from_millis(1);
/// After a step that failed over what may pass, the next is tried so much later.
const RETRY: Duration = Duration::from_secs(1);
/// How often is looked whether it may go on.
const POLL: Duration = Duration::from_millis(5);

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    /// No commit is pending.
    Idle,
    /// There is more to do.
    More,
    /// It has to wait for somebody.
    Waits,
    /// It has to wait for the disk.
    Troubled,
}

/// Moves the pending commit of an engine.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    jobs: Outbox<Job>,
    /// Held while definitions change.
    commits: Arc<Mutex<()>>,
    cores: Cores,
    /// Whether one may wait for another.
    waits: bool,
}

impl Driver {
    pub fn new(
        shared: Arc<Shared>,
        jobs: Outbox<Job>,
        commits: Arc<Mutex<()>>,
        cores: Cores,
        waits: bool,
    ) -> Driver {
        Driver { shared, jobs, commits, cores, waits }
    }

    /// Moves `filling` until it has ended or the engine closes, of which a restart makes the best.
    pub fn run(&self, filling: &Arc<Filling>) {
        loop {
            let pause = match filling.stage() {
                Stage::Ended(_) => return,
                // What is on its way to the log is the applier's.
                Stage::Submitted if self.shared.is_closing() => return,
                _ if self.shared.is_closing() => return self.leave(filling),
                Stage::Submitted => POLL,
                Stage::Filling => match self.attempt(filling, RECORDS_A_STEP) {
                    Moved::Idle => return,
                    Moved::Waits => POLL,
                    Moved::Troubled => RETRY,
                    Moved::More if self.is_behind() => YIELD,
                    Moved::More => continue,
                },
            };
            filling.wait(pause);
        }
    }

    /// Whether records wait to be applied.
    fn is_behind(&self) -> bool {
        let gate = &self.shared.gate;
        gate.last_record() > gate.applied() + RECORDS_LEFT
    }

    /// Saves what is filled before the engine goes.
    fn leave(&self, filling: &Filling) {
        let mut filler = filling.filler.lock();
        if let Some(filler) = filler.as_mut()
            && filler.is_save_due(true)
        {
            // Without it the next start begins where it was saved before.
            let _ = filler.save(&self.shared, filling.id());
        }
        *filler = None;
    }

    /// One step by hand, of at most `records` records.
    pub fn step(&self, records: usize) -> Moved {
        match self.shared.filling() {
            Some(filling) => self.attempt(&filling, records),
            None => Moved::Idle,
        }
    }

    /// Saves what is filled, as is done by itself now and then.
    pub fn save(&self) -> Result<bool> {
        let Some(filling) = self.shared.filling() else { return Ok(false) };
        let mut filler = filling.filler.lock();
        filler.as_mut().map_or(Ok(()), |filler| filler.save(&self.shared, filling.id()))?;
        Ok(filler.is_some())
    }

    fn attempt(&self, filling: &Arc<Filling>, records: usize) -> Moved {
        let stepped = catch_unwind(AssertUnwindSafe(|| self.advance(filling, records)))
            .unwrap_or_else(|panic| Err(Error::internal(format!("it panicked: {}", said(&*panic)))));
        let (shared, id) = (&self.shared, filling.id());
        let error = match stepped {
            Ok(moved) => return moved,
            Err(error) => error,
        };
        let detail = format!("the new pipelines of commit {id} could not be filled: {error}");
        if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::Unavailable) {
            if filling.trouble() && !shared.is_closing() {
                let detail = format!("{detail}; it is pending, and tried again every second");
                shared.events.record(Severity::Warning, "backfill_waits", "engine", detail);
            }
            return Moved::Troubled;
        }
        let detail = format!("{detail}; nothing of it is live");
        shared.events.record(Severity::Error, "backfill_failed", "engine", detail.clone());
        // What failed is told to whoever waits, and by the event.
        let _ = filling.fail(shared, &Error::new(error.kind(), detail));
        Moved::Idle
    }

    fn advance(&self, filling: &Arc<Filling>, records: usize) -> Result<Moved> {
        let shared = &self.shared;
        {
            let mut slot = filling.filler.lock();
            match filling.stage() {
                Stage::Ended(_) => return Ok(Moved::Idle),
                Stage::Submitted => return Ok(Moved::Waits),
                Stage::Filling if filling.is_held() || shared.erasing().is_some() => {
                    return Ok(Moved::Waits);
                }
                Stage::Filling if shared.backfills_held.load(Ordering::Acquire) => return Ok(Moved::Waits),
                Stage::Filling => {}
            }
            if filling.was_refused() || shared.residence.refusal().is_some() {
                return Ok(Moved::Troubled);
            }
            let filler = match &mut *slot {
                Some(filler) => filler,
                none => none.insert(self.begin(filling)?),
            };
            let applied = shared.gate.applied();
            let caught_up =
                filler.advance(shared, (applied + 1, records), &|_, events| Ok(events), &Hands::Own)?;
            filling.note(shared.env.now_us(), filler.reached());
            if filling.untroubled() {
                let detail = format!("commit {} goes on being filled", filling.id());
                shared.events.record(Severity::Info, "backfill_goes_on", "engine", detail);
            }
            let is_near = caught_up || filler.reached().0 + RECORDS_LEFT >= shared.gate.last_record();
            if filler.is_save_due(false) {
                if let Err(error) = filler.save(shared, filling.id()) {
                    let message = format!("how far a backfill is could not be saved ({error}); it goes on");
                    shared.events.record(Severity::Warning, "backfill_unsaved", "store", message);
                    filler.put_off_save();
                }
                // Meanwhile there was more to take.
                return Ok(Moved::More);
            }
            if !is_near {
                return Ok(Moved::More);
            }
            filler.settle()?;
        }
        Ok(if self.submit(filling) { Moved::More } else { Moved::Waits })
    }

    fn begin(&self, filling: &Filling) -> Result<Filler> {
        let (shared, record) = (&self.shared, &filling.intent.record);
        let ids = shared.ids();
        let until = shared.gate.applied() + 1;
        let filler = Filler::resumed(shared, shared.catalog(), ids, record, until)?;
        Ok(filler.with_cores(shared, self.cores))
    }

    /// Writes the commit record, unless somebody came in between. Says whether it is on its way.
    fn submit(&self, filling: &Arc<Filling>) -> bool {
        let Some(_no_other) = self.commits() else { return false };
        {
            let slot = filling.filler.lock();
            if slot.is_none() || !matches!(filling.stage(), Stage::Filling) {
                return false;
            }
            filling.set(Stage::Submitted);
        }
        let (shared, asked) = (Arc::downgrade(&self.shared), filling.clone());
        let done = Done::new(move |written| {
            let (Err(error), Some(shared)) = (written, shared.upgrade()) else { return };
            match error.kind() {
                // Nothing was written, and there may be space again.
                ErrorKind::StorageFull => asked.refuse(),
                // It may be in the log all the same.
                ErrorKind::Unavailable => asked.leave_to_restart(&shared, &error),
                // Whoever waits is told.
                _ => drop(asked.fail(&shared, &error)),
            }
        });
        let record = Box::new(filling.intent.record.clone());
        self.jobs.send(Job::Commit { record, done })
    }

    fn commits(&self) -> Option<MutexGuard<'_, ()>> {
        if self.waits { Some(self.commits.lock()) } else { self.commits.try_lock() }
    }
}

impl Shared {
    /// Takes up the commit that was pending when the engine stopped.
    pub fn take_up(&self) -> Result<()> {
        let Some(disk) = self.disk.as_deref() else { return Ok(()) };
        let Some(intent) = Intent::load(disk)? else { return Ok(()) };
        let id = &intent.record.id;
        let is_live = self.commits.lock().iter().any(|place| place.id == *id);
        let current = self.catalog().commit.clone();
        if !is_live && current != intent.base {
            let message = format!(
                "commit {id} was pending over {}, and {current} is live now: it is dropped; commit it again",
                intent.base
            );
            self.events.record(Severity::Warning, "commit_dropped", "engine", message);
        }
        if is_live || current != intent.base {
            return Intent::clear(disk);
        }
        *self.filling.lock() = Some(Filling::new(intent, None));
        Ok(())
    }
}
