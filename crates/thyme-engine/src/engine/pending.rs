//! Commits whose new pipelines are filled first: beginning one, waiting for it, and giving it up.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use thyme_core::{Error, ErrorKind, Position, Result};

use super::{Engine, Planned, WAIT};
use crate::backfill::{Filler, Filling, Intent, PendingCommit, Stage};
use crate::committer::Job;
use crate::done::Done;
use crate::events::Severity;
use crate::record::{CommitNote, CommitRecord};

/// How often whoever waits for a commit looks whether it can still come.
const LOOK: Duration = Duration::from_millis(200);
/// Records that a step by hand fills while somebody waits for the end.
const RECORDS_A_STEP: usize = 64;

/// What became of a commit that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It is live from this position on.
    Live(Position),
    /// Its pipelines are being filled; until then it is pending under its id.
    Pending,
}

/// A backfill that does not go on.
pub(super) struct Held(Arc<Filling>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.release();
    }
}

impl Engine {
    /// The commit that is pending, if one is, and how far it is.
    pub fn pending_commit(&self) -> Option<PendingCommit> {
        self.shared.filling().map(|filling| filling.facts(&self.shared))
    }

    /// For tests: whether pending commits stay so.
    #[doc(hidden)]
    pub fn hold_backfills_for_test(&self, held: bool) {
        self.shared.backfills_held.store(held, Ordering::Release);
    }

    /// Has `told` called whenever a commit that was pending is live.
    pub fn on_live(&self, told: impl Fn() + Send + Sync + 'static) {
        *self.shared.on_live.lock() = Some(Arc::new(told));
    }

    /// Waits until a commit is live, no longer than `limit`; `None` when that is not enough.
    ///
    /// # Errors
    /// NotFound: no such commit is pending or live; why it could not be filled; Conflict: it was cancelled.
    pub fn wait_commit(&self, id: &str, limit: Duration) -> Result<Option<Position>> {
        if let Some(filling) = self.shared.filling().filter(|filling| filling.id() == id) {
            return self.wait_filled(&filling, limit);
        }
        let place = self.shared.commits.lock().iter().rev().find(|place| place.id == id).cloned();
        let place = place.ok_or_else(|| {
            let detail = format!("no commit {id} is pending or live; see the events for what became of it");
            Error::new(ErrorKind::NotFound, detail)
        })?;
        Ok(self.wait_applied(place.record, limit)?.then(|| Position::end_of(place.record)))
    }

    /// Gives up the commit that is pending; nothing of it is live. Gives its id.
    ///
    /// # Errors
    /// NotFound: none is pending. Conflict: it is going live.
    pub fn cancel_commit(&self) -> Result<String> {
        let _one_at_a_time = self.commit_lock.lock();
        let none = || Error::new(ErrorKind::NotFound, "no commit is pending, so there is nothing to cancel");
        let filling = self.shared.filling().ok_or_else(none)?;
        let id = filling.id().to_owned();
        {
            // Between two steps of whoever fills.
            let _still = filling.filler.lock();
            if !matches!(filling.stage(), Stage::Filling) {
                let detail = format!("commit {id} is going live at this moment and cannot be cancelled");
                return Err(Error::new(ErrorKind::Conflict, detail));
            }
            filling.set(Stage::Submitted);
        }
        let detail = format!("commit {id} was cancelled before it was live; nothing was committed");
        filling.fail(&self.shared, &Error::new(ErrorKind::Conflict, detail.clone()))?;
        self.shared.events.record(Severity::Info, "commit_cancelled", "engine", detail);
        Ok(id)
    }

    /// Writes a plan as a commit: at once if the log has nothing for its new nodes. Otherwise it is pending.
    pub(super) fn begin(&self, plan: &Planned, note: CommitNote) -> Result<(String, Begun)> {
        let catalog = self.catalog();
        let shared = &self.shared;
        let id = super::commits::commit_id(&catalog.commit, &plan.next)?;
        let record = CommitRecord { id: id.clone(), note, document: plan.next.clone() };
        let mut filler = Filler::new(shared, catalog.clone(), shared.ids(), &id, &plan.next)?;
        let needs_log = filler.needs_log(shared) && !filler.fresh.is_empty();
        let intent = Intent { base: catalog.commit.clone(), since: shared.env.now_us(), record };
        if needs_log {
            shared.disk.as_deref().map_or(Ok(()), |disk| intent.store(disk))?;
            let filling = Filling::new(intent, Some(filler.with_cores(shared, self.backfill_cores)));
            filling.note(shared.env.now_us(), (0, 0));
            *shared.filling.lock() = Some(filling.clone());
            self.drive(filling);
            return Ok((id, Begun::Pending));
        }
        let filling = Filling::new(intent, Some(filler));
        filling.set(Stage::Submitted);
        *shared.filling.lock() = Some(filling.clone());
        let asked = (Arc::downgrade(shared), filling.clone());
        let done = Done::new(move |written| {
            if let (Err(error), Some(shared)) = (written, asked.0.upgrade()) {
                // Who waits right below is told.
                let _ = asked.1.fail(&shared, &error);
            }
        });
        let record = Box::new(filling.intent.record.clone());
        self.jobs.send(Job::Commit { record, done });
        let position = self.wait_to_end(&filling)?;
        Ok((id, Begun::Live(position)))
    }

    /// Lets a thread move what is pending, unless somebody steps.
    pub(super) fn drive(&self, filling: Arc<Filling>) {
        if self.stepper.is_some() {
            return;
        }
        let (driver, shared) = (self.driver.clone(), self.shared.clone());
        #[expect(clippy::disallowed_methods, reason = "a backfill runs beside everything else")]
        let thread = std::thread::spawn(move || {
            driver.run(&filling);
            if let Stage::Ended(Ok(_)) = filling.stage() {
                let told = shared.on_live.lock().clone();
                drop(shared);
                told.into_iter().for_each(|told| told());
            }
        });
        let mut threads = self.threads.lock();
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread);
    }

    /// Takes up the commit that was pending when the engine stopped. Where nothing more is applied, or an erasure waits
    /// whose rows it would bring back, a later start does.
    pub(super) fn take_up(&self) -> Result<()> {
        match self.failure().is_none() && self.erasure_waits().is_none() {
            true => self.shared.take_up(),
            false => Ok(()),
        }
    }

    /// Refuses while a commit is pending. One that is going live is waited for.
    pub(super) fn nothing_is_pending(&self) -> Result<()> {
        let Some(filling) = self.shared.filling() else { return Ok(()) };
        if matches!(filling.stage(), Stage::Submitted) {
            // What becomes of it is told to whoever made it.
            let _ = self.wait_to_end(&filling);
            return Ok(());
        }
        let facts = filling.facts(&self.shared);
        let by = facts.note.author.as_ref().map(|author| format!(" by {author}")).unwrap_or_default();
        let detail = format!(
            "commit {}{by} is pending: its new pipelines are filled up to record {} of {}; wait for it, or give it up with `thyme commit --cancel`",
            facts.id, facts.record, facts.until
        );
        Err(Error::new(ErrorKind::Conflict, detail))
    }

    /// Drops what a pending commit has filled, which goes on with the beginning once this is dropped: rows that are
    /// erased meanwhile are in it. One that is going live is waited for.
    pub(super) fn hold_backfill(&self) -> Result<Option<Held>> {
        let Some(filling) = self.shared.filling() else { return Ok(None) };
        if matches!(filling.stage(), Stage::Submitted) {
            // What becomes of it is told to whoever made it.
            let _ = self.wait_to_end(&filling);
            return Ok(None);
        }
        let held = Held(filling.clone());
        filling.hold(&self.shared)?;
        Ok(Some(held))
    }

    /// The pending commit that would make the same of the same.
    pub(super) fn same_pending(&self, plan: &Planned) -> Option<Arc<Filling>> {
        self.shared.filling().filter(|filling| **filling.document() == plan.next)
    }

    pub(super) fn wait_to_end(&self, filling: &Arc<Filling>) -> Result<Position> {
        loop {
            if let Some(position) = self.wait_filled(filling, WAIT)? {
                return Ok(position);
            }
        }
    }

    fn wait_filled(&self, filling: &Arc<Filling>, limit: Duration) -> Result<Option<Position>> {
        let looks = limit.as_millis().div_ceil(LOOK.as_millis()).max(1);
        for _ in 0..looks {
            if let Some(stepper) = &self.stepper {
                // Whoever steps does all of it, or says why nothing moves.
                while stepper.fill(RECORDS_A_STEP) | stepper.finish() {}
            }
            match filling.wait(if self.stepper.is_some() { Duration::ZERO } else { LOOK.min(limit) }) {
                Stage::Ended(ended) => {
                    let record = ended?;
                    while !self.wait_applied(record, WAIT)? {}
                    return Ok(Some(Position::end_of(record)));
                }
                _ if self.shared.is_closing() => {
                    let id = filling.id();
                    let detail = format!("the server is stopping; commit {id} goes on with the next start");
                    return Err(Error::unavailable(detail));
                }
                stage => {
                    if let Some(reason) = self.shared.gate.failure() {
                        return Err(Error::unavailable(reason));
                    }
                    if self.stepper.is_some() && matches!(stage, Stage::Filling) {
                        return Err(Error::unavailable("the commit waits for what nobody does any more"));
                    }
                }
            }
        }
        Ok(None)
    }
}
