//! New nodes on their way to the present: filled from the log, record by record.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thyme_core::definition::Document;
use thyme_core::{Error, Position, Result};
use thyme_log::Record;
use thyme_store::{CheckpointBatch, Store};

use super::group::Group;
use super::{Cores, Turn};
use crate::budget::Budget;
use crate::catalog::{self, Catalog, Ids};
use crate::committer::rows_bytes;
use crate::engine::Shared;
use crate::event_ids::{self, Claims};
use crate::feed::{Incoming, feed};
use crate::node::{Node, NodeRows};
use crate::record::{CommitRecord, EventsRecord};
use crate::replay::Replay;
use crate::retention;
use crate::shard::{Shards, Task, Work};
use crate::state::STRIPES;

const META_SAVED: &str = "backfill";
/// Bytes of records after which others get a turn at what the filler holds.
const STEP_BYTES: u64 = 16 << 20;
/// Bytes of rows that are put into timelines together, about.
const GROUP_BYTES: usize = 16 << 20;
/// How many groups may be on their way to the timelines.
const GROUPS_AT_ONCE: usize = 3;
/// After so many bytes of records what is filled is saved, at least. A save takes as much of the processor as the fill
/// of what it writes, which after a crash would have to be done again.
const SAVE_BYTES: u64 = 256 << 20;
/// Above that after this part of all that was read, so that chunks are not written too often.
const SAVE_PART: u64 = 4;
/// What is not worth saving when the engine closes: a restart reads it again sooner.
const SAVE_BYTES_LEAST: u64 = 4 << 20;

/// Takes rows of erased entities out of a record that is read again.
pub(crate) type Edit<'a> = dyn Fn(u64, EventsRecord) -> Result<EventsRecord> + 'a;

/// How far the nodes in the store are.
#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    commit: String,
    record: u64,
    nodes: Vec<u32>,
    rows: u64,
}

/// Who puts rows into timelines.
pub(crate) enum Hands<'a> {
    /// Whoever fills, and threads of its own if it has some.
    Own,
    /// The engine's shards, which do nothing else.
    Shards(&'a Shards),
}

/// Threads that insert for the filler; gone with it.
struct Workers {
    shards: Option<Shards>,
    budget: Arc<Budget>,
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shards.take().into_iter().for_each(Shards::join);
    }
}

/// What a commit makes of the present definitions, and how far its new nodes are.
pub(crate) struct Filler {
    /// What it was derived from: it goes live over nothing else.
    base: Arc<Catalog>,
    pub catalog: Catalog,
    pub ids: Ids,
    pub fresh: Vec<Arc<Node>>,
    replay: Replay,
    /// The last record taken.
    done: u64,
    /// The rows of records up to this one are in the nodes already; they are read for the verdicts that follow.
    held: u64,
    /// Rows given to nodes.
    rows: u64,
    /// Bytes of records taken, and those since the last save.
    bytes: u64,
    unsaved: u64,
    workers: Workers,
}

impl Filler {
    /// Derives what `document` makes of `base`; its new nodes are empty.
    ///
    /// # Errors
    /// A definition that validation should have refused; a store that cannot be written.
    pub fn new(
        shared: &Shared,
        base: Arc<Catalog>,
        ids: Ids,
        commit: &str,
        document: &Document,
    ) -> Result<Filler> {
        forget_saved(&shared.store)?;
        let filler = Filler::derived(shared, base, ids, commit, document)?;
        for node in &filler.fresh {
            // What the store has under its number is of another life.
            node.state.begin_empty()?;
        }
        Ok(filler)
    }

    /// As [`Filler::new`], but with what the store has of the same nodes from before a restart, of records before
    /// `until`.
    pub fn resumed(
        shared: &Shared,
        base: Arc<Catalog>,
        ids: Ids,
        record: &CommitRecord,
        until: u64,
    ) -> Result<Filler> {
        let mut filler = Filler::derived(shared, base, ids, &record.id, &record.document)?;
        // Another commit's is left alone: a restart that meets this one again still comes to that.
        let of_this = load_saved(&shared.store)?.filter(|saved| saved.commit == record.id);
        let is_other = of_this.is_none();
        let saved = of_this.filter(|saved| {
            let nodes = filler.fresh.iter().map(|node| node.id.0);
            saved.record < until && nodes.eq(saved.nodes.iter().copied())
        });
        match saved {
            Some(saved) => {
                (filler.held, filler.rows) = (saved.record, saved.rows);
                filler.fresh.iter().try_for_each(|node| node.state.restore())?;
                // Retention may have taken rows since, if it was live before a crash.
                retention::restore(&shared.store, filler.fresh.iter())?;
            }
            None => {
                if !is_other {
                    forget_saved(&shared.store)?;
                }
                filler.fresh.iter().try_for_each(|node| node.state.begin_empty())?;
            }
        }
        Ok(filler)
    }

    fn derived(
        shared: &Shared,
        base: Arc<Catalog>,
        mut ids: Ids,
        commit: &str,
        document: &Document,
    ) -> Result<Filler> {
        let derive = |ids: &mut Ids| {
            let mut document = document.clone();
            document.retired_by(commit);
            catalog::derive(&base, ids, commit.to_owned(), document, &shared.residence)
        };
        let (mut catalog, mut fresh) = derive(&mut ids)?;
        let joining = fresh.iter().filter(|node| node.joins().next().is_some());
        if ids.forget_nodes(&retention::refilled_with(&catalog, joining)) {
            (catalog, fresh) = derive(&mut ids)?;
        }
        let log = shared.base.read();
        log.tell(fresh.iter());
        event_ids::begin(&catalog, &log, &fresh);
        event_ids::refuse_unknown(&catalog);
        let (replay, done) = (Replay::of(&log, ids.clone(), Claims::of(&catalog, &fresh)), log.first - 1);
        drop(log);
        let workers = Workers { shards: None, budget: shared.budget.another() };
        let (held, rows, bytes, unsaved) = (0, 0, 0, 0);
        Ok(Filler { base, catalog, ids, fresh, replay, done, held, rows, bytes, unsaved, workers })
    }

    /// Threads that insert beside whoever fills; none if it has one core.
    pub fn with_cores(mut self, shared: &Shared, cores: Cores) -> Filler {
        let more = cores.count.saturating_sub(1).min(STRIPES);
        self.workers.shards = (more > 0).then(|| (cores.start)(more, 0, &shared.gate));
        self
    }

    /// Whether the log has rows for its nodes in the records that are applied. If not it goes on behind them.
    pub fn needs_log(&mut self, shared: &Shared) -> bool {
        let applied = shared.gate.applied();
        let counters = shared.counters.lock();
        let has_rows =
            |id: &u32| counters.get(id).is_some_and(|c| c.newest.is_some() || c.events > 0 || c.erased > 0);
        let inputs = (0..self.ids.datasets.len() as u32).filter(|id| self.fresh.iter().any(|n| n.takes(*id)));
        if inputs.into_iter().any(|id| has_rows(&id)) {
            return true;
        }
        let claims = Claims::of(&self.catalog, &self.fresh);
        let replay = Replay::of(&shared.base.read(), self.ids.clone(), claims);
        self.replay = replay.under(self.base.document.datasets.clone());
        self.done = applied;
        false
    }

    /// Whether it may go live over `current`.
    pub fn is_over(&self, current: &Arc<Catalog>) -> bool {
        Arc::ptr_eq(&self.base, current)
    }

    /// The last record taken, and the rows given to nodes.
    pub fn reached(&self) -> (u64, u64) {
        (self.done, self.rows)
    }

    /// Takes some records before `until`, at most `most` of them, as `edit` leaves them; true when there is none left.
    ///
    /// # Errors
    /// A log that cannot be read, or nodes that cannot be written.
    pub fn advance(
        &mut self,
        shared: &Shared,
        (until, most): (u64, usize),
        edit: &Edit<'_>,
        hands: &Hands<'_>,
    ) -> Result<bool> {
        // Nothing is cut off the log while a commit is pending.
        let from = self.done + 1;
        if from >= until {
            return Ok(true);
        }
        let (mut group, mut read, mut turn) = (Group::default(), 0, Turn::default());
        let enough = GROUP_BYTES.min(self.workers.budget.limit() / GROUPS_AT_ONCE);
        for record in shared.log.read(from)?.take(most) {
            let record = record?;
            if record.number >= until {
                // A log that is a part of another has gaps.
                self.done = until - 1;
                break;
            }
            if group.bytes >= enough || read >= STEP_BYTES {
                break;
            }
            read += record.payload.len() as u64;
            let rows = self.rows;
            self.take(&record, edit, &mut group)?;
            self.done = record.number;
            turn.did((self.rows - rows) as usize);
        }
        (self.bytes, self.unsaved) = (self.bytes + read, self.unsaved + read);
        self.insert(group, hands)?;
        Ok(self.done + 1 >= until)
    }

    /// Adds to `group` what a record gives to the nodes.
    fn take(&mut self, record: &Record, edit: &Edit<'_>, group: &mut Group) -> Result<()> {
        let number = record.number;
        let wanted = |id| self.fresh.iter().any(|node| node.takes(id));
        let taken = self.replay.take(record, &wanted, &|events| edit(number, events))?;
        let Some((events, admitted)) = taken.filter(|_| number > self.held) else { return Ok(()) };
        let (dataset, batch) = (events.dataset, &events.batch);
        let incoming = Incoming { dataset, number, batch, admitted: &admitted };
        let work = feed(&self.catalog, Some(&self.fresh), incoming)?;
        self.rows += batch.num_rows() as u64;
        group.add(number, rows_bytes(batch), work)
    }

    /// Puts rows into their timelines, or has others do so.
    fn insert(&self, group: Group, hands: &Hands<'_>) -> Result<()> {
        let shards = match hands {
            Hands::Own => self.workers.shards.as_ref(),
            Hands::Shards(shards) => Some(*shards),
        };
        let (at, bytes, work) = (group.at, group.bytes, group.work());
        let Some(shards) = shards else {
            return insert(&work, at);
        };
        let tickets = Some(Arc::new(vec![self.workers.budget.take(bytes)]));
        match shards.dispatch(&Task { record: None, at, work, reached: None, tickets }) {
            true => Ok(()),
            false => Err(Error::internal("a shard failed during a backfill")),
        }
    }

    /// Everything that was taken is in the timelines.
    ///
    /// # Errors
    /// A part of them is not.
    pub fn settle(&self) -> Result<()> {
        if self.workers.shards.as_ref().is_some_and(|shards| !shards.barrier()) {
            return Err(Error::internal("a shard failed during a backfill"));
        }
        let poisoned = self.fresh.iter().flat_map(|node| node.state.poisoned()).next();
        poisoned.map_or(Ok(()), |p| Err(Error::internal(format!("{}: {}", p.dataset, p.reason))))
    }

    /// Whether it is time to save; when the engine closes sooner than on the way.
    pub fn is_save_due(&self, closing: bool) -> bool {
        let least = if closing { SAVE_BYTES_LEAST } else { SAVE_BYTES.max(self.bytes / SAVE_PART) };
        self.done > self.held && self.unsaved >= least
    }

    /// A save failed: it is tried again when the next is due.
    pub fn put_off_save(&mut self) {
        self.unsaved = 0;
    }

    /// Writes what is filled and how far it is, so that a restart goes on here.
    ///
    /// # Errors
    /// A store that cannot be written.
    pub fn save(&mut self, shared: &Shared, commit: &str) -> Result<()> {
        self.settle()?;
        for node in &self.fresh {
            let mut stripe = 0;
            while stripe < STRIPES {
                let next = shared.residence.save(&node.state, stripe)?;
                if next == stripe {
                    // Somebody else is writing, and nobody can wait here.
                    return Ok(());
                }
                stripe = next;
            }
        }
        let nodes = self.fresh.iter().map(|node| node.id.0).collect();
        let record = self.done.max(self.held);
        let saved = Saved { commit: commit.to_owned(), record, nodes, rows: self.rows };
        let bytes = serde_json::to_vec(&saved).map_err(|e| Error::internal(format!("backfill: {e}")))?;
        let mut batch = CheckpointBatch::new();
        batch.put_meta(META_SAVED, &bytes);
        shared.store.checkpoint(batch)?;
        self.unsaved = 0;
        Ok(())
    }

    /// Drops the new nodes, also from the store.
    ///
    /// # Errors
    /// A store that cannot be written: what is left there is dropped before its numbers are used again.
    pub fn abandon(self, shared: &Shared) -> Result<()> {
        let Filler { fresh, workers, .. } = self;
        drop(workers);
        forget_saved(&shared.store)?;
        fresh.iter().try_for_each(|node| shared.residence.retire_node(node.id.0))
    }
}

/// Puts rows into their timelines.
fn insert(work: &Work, at: Position) -> Result<()> {
    let mut turn = Turn::default();
    for same in work.chunk_by(|(one, _), (other, _)| Arc::ptr_eq(one, other)) {
        let Some((node, _)) = same.first() else { continue };
        let parts: Vec<&NodeRows> = same.iter().map(|(_, rows)| &**rows).collect();
        for index in 0..STRIPES {
            let rows = parts.iter().map(|rows| rows.of_stripe(index).len()).sum();
            if rows > 0 {
                node.state.insert(index, &parts, at)?;
                node.state.relieve();
                turn.did(rows);
            }
        }
    }
    Ok(())
}

fn load_saved(store: &Store) -> Result<Option<Saved>> {
    // What another Thyme wrote is filled again.
    Ok(store.meta(META_SAVED)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// From here on, durably, a fill begins at the beginning. Whoever drops what was saved does this first.
pub(crate) fn forget_saved(store: &Store) -> Result<()> {
    if store.meta(META_SAVED)?.is_none() {
        return Ok(());
    }
    let mut batch = CheckpointBatch::new();
    batch.remove_meta(META_SAVED);
    store.checkpoint(batch)
}
