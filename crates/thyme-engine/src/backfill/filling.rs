//! A commit that waits for its nodes, as everybody sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use thyme_core::definition::Document;
use thyme_core::{Error, Result};

use super::filler::forget_saved;
use super::{Filler, Intent};
use crate::catalog::Catalog;
use crate::engine::Shared;
use crate::record::CommitNote;

/// A commit that was accepted and goes live once its pipelines have caught up.
#[derive(Clone, Debug)]
pub struct PendingCommit {
    /// Its id.
    pub id: String,
    /// Who made it and why.
    pub note: CommitNote,
    /// All definitions as they will be.
    pub document: Arc<Document>,
    /// When it was accepted, in microseconds.
    pub since: i64,
    /// The last record that its pipelines have.
    pub record: u64,
    /// The last record there is for them now.
    pub until: u64,
    /// Rows read for them.
    pub rows: u64,
    /// Rows a second, since the fill began or was taken up again.
    pub rows_per_second: f64,
    /// Seconds left at that pace; `None` while nobody can say.
    pub seconds_left: Option<f64>,
    /// When it will be live at that pace, in microseconds.
    pub live_at: Option<i64>,
    /// Why nothing moves for now, if that is so.
    pub waits_for: Option<&'static str>,
}

impl PendingCommit {
    /// How much of it is done, from 0 to 1.
    pub fn progress(&self) -> f64 {
        if self.until == 0 { 1.0 } else { (self.record as f64 / self.until as f64).min(1.0) }
    }
}

impl std::fmt::Display for PendingCommit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let percent = (self.progress() * 100.0).floor();
        write!(f, "backfilling commit {}: record {} of {}, {percent} %", self.id, self.record, self.until)?;
        if let Some(left) = self.seconds_left {
            write!(f, ", about {} s left", left.ceil())?;
        }
        self.waits_for.map_or(Ok(()), |why| write!(f, ", waits for {why}"))
    }
}

/// How far it is.
#[derive(Clone, Debug)]
pub(crate) enum Stage {
    Filling,
    /// The commit record is on its way to the log, or to the applier.
    Submitted,
    /// It is live from the end of this record on, or will never be.
    Ended(Result<u64>),
}

/// The commit that is pending.
pub(crate) struct Filling {
    pub intent: Intent,
    document: Arc<Document>,
    /// What fills it; `None` before it began, and while it must not go on.
    pub filler: Mutex<Option<Filler>>,
    stage: Mutex<Stage>,
    changed: Condvar,
    /// Whether it must not go on.
    held: AtomicBool,
    /// Whether the last step failed over what may pass, and was told.
    troubled: AtomicBool,
    /// Whether the log had no space for the commit record.
    refused: AtomicBool,
    record: AtomicU64,
    rows: AtomicU64,
    /// The clock and what was done when it was taken up, for the pace.
    began: Mutex<Option<(i64, u64, u64)>>,
}

impl Filling {
    pub fn new(intent: Intent, filler: Option<Filler>) -> Arc<Filling> {
        Arc::new(Filling {
            document: Arc::new(intent.record.document.clone()),
            intent,
            filler: Mutex::new(filler),
            stage: Mutex::new(Stage::Filling),
            changed: Condvar::new(),
            held: AtomicBool::new(false),
            troubled: AtomicBool::new(false),
            refused: AtomicBool::new(false),
            record: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            began: Mutex::new(None),
        })
    }

    pub fn id(&self) -> &str {
        &self.intent.record.id
    }

    pub fn document(&self) -> &Arc<Document> {
        &self.document
    }

    pub fn stage(&self) -> Stage {
        self.stage.lock().clone()
    }

    pub fn set(&self, stage: Stage) {
        *self.stage.lock() = stage;
        self.changed.notify_all();
    }

    /// Waits for another stage, no longer than `limit`.
    pub fn wait(&self, limit: Duration) -> Stage {
        let mut stage = self.stage.lock();
        if !matches!(*stage, Stage::Ended(_)) {
            self.changed.wait_for(&mut stage, limit);
        }
        stage.clone()
    }

    /// Its filler, if it may go live over `current`. It is the caller's then.
    pub fn take_over(&self, current: &Arc<Catalog>) -> Option<Filler> {
        self.filler.lock().take_if(|filler| filler.is_over(current))
    }

    /// Stops it and drops what is filled; it begins again after [`Filling::release`].
    pub fn hold(&self, shared: &Shared) -> Result<()> {
        self.held.store(true, Ordering::Release);
        let filler = self.filler.lock().take();
        self.began.lock().take();
        drop_filled(filler, shared)
    }

    /// A step failed over what may pass, such as a full disk: it begins again where it was saved. True when the
    /// step before had not.
    pub fn trouble(&self) -> bool {
        *self.filler.lock() = None;
        !self.troubled.swap(true, Ordering::AcqRel)
    }

    /// The log had no space for the commit record: it is written again later.
    pub fn refuse(&self) {
        self.refused.store(true, Ordering::Release);
        self.set(Stage::Filling);
    }

    /// Whether [`Filling::refuse`] was called since the last look.
    pub fn was_refused(&self) -> bool {
        self.refused.swap(false, Ordering::AcqRel)
    }

    /// A step was done; true when the one before had failed.
    pub fn untroubled(&self) -> bool {
        self.troubled.swap(false, Ordering::AcqRel)
    }

    pub fn release(&self) {
        self.held.store(false, Ordering::Release);
    }

    pub fn is_held(&self) -> bool {
        self.held.load(Ordering::Acquire)
    }

    /// Notes how far the filler is.
    pub fn note(&self, now: i64, (record, rows): (u64, u64)) {
        self.began.lock().get_or_insert((now, record, rows));
        self.record.store(record, Ordering::Release);
        self.rows.store(rows, Ordering::Release);
    }

    pub fn facts(&self, shared: &Shared) -> PendingCommit {
        let (record, rows) = (self.record.load(Ordering::Acquire), self.rows.load(Ordering::Acquire));
        let until = shared.gate.applied();
        let (now, began) = (shared.env.now_us(), *self.began.lock());
        let mut pace = (0.0, None);
        if let Some((since, first_record, first_rows)) = began.filter(|(since, ..)| now > *since) {
            let seconds = (now - since) as f64 / 1e6;
            let records = record.saturating_sub(first_record) as f64 / seconds;
            let left = (records > 0.0).then(|| until.saturating_sub(record) as f64 / records);
            pace = (rows.saturating_sub(first_rows) as f64 / seconds, left);
        }
        let erasing = self.is_held() || shared.erasing().is_some();
        PendingCommit {
            id: self.id().to_owned(),
            note: self.intent.record.note.clone(),
            document: self.document.clone(),
            since: self.intent.since,
            record,
            until,
            rows,
            rows_per_second: pace.0,
            seconds_left: pace.1,
            live_at: pace.1.map(|left| now.saturating_add((left * 1e6) as i64)),
            waits_for: match (erasing, self.troubled.load(Ordering::Acquire)) {
                (true, _) => Some("an erasure"),
                (false, true) => Some("the disk; see the events"),
                (false, false) => None,
            },
        }
    }

    /// It will never be live: drops all of it.
    ///
    /// # Errors
    /// It is not gone, and may come back with the next start.
    pub fn fail(self: &Arc<Self>, shared: &Shared, error: &Error) -> Result<()> {
        let filler = self.filler.lock().take();
        // A file that stays would bring it back.
        let cleared = shared.disk.as_deref().map_or(Ok(()), Intent::clear);
        let cleared = cleared.and(drop_filled(filler, shared));
        shared.end_filling(self);
        self.set(Stage::Ended(Err(cleared.clone().err().unwrap_or_else(|| error.clone()))));
        cleared
    }

    /// Nothing of it is live for now, and nothing is written any more: the next start goes on with it, or finds
    /// that it is live.
    pub fn leave_to_restart(self: &Arc<Self>, shared: &Shared, error: &Error) {
        *self.filler.lock() = None;
        shared.end_filling(self);
        self.set(Stage::Ended(Err(error.clone())));
    }
}

/// Drops what was filled, also what was saved of it and nobody has begun with yet.
fn drop_filled(filler: Option<Filler>, shared: &Shared) -> Result<()> {
    match filler {
        Some(filler) => filler.abandon(shared),
        None => forget_saved(&shared.store),
    }
}

impl Shared {
    /// The commit that is pending.
    pub fn filling(&self) -> Option<Arc<Filling>> {
        self.filling.lock().clone()
    }

    /// No commit is pending any more, if it was this one.
    pub fn end_filling(&self, filling: &Arc<Filling>) {
        self.filling.lock().take_if(|pending| Arc::ptr_eq(pending, filling));
    }
}
