//! The log's oldest files go once no committed dataset needs them any more.
//!
//! A record is needed while an event in it may count for anybody: as long as it is not older than its dataset's
//! retention by more than the slack, nor than left events that may have been joined with it. Records of the last while
//! stay too, since they carry answers to idempotency keys and what reads of then have seen. What is left begins with a
//! [`Base`], which is durable before anything goes.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, RwLockWriteGuard};
use thyme_core::definition::Dataset;
use thyme_core::{Error, EventTime, Result};
use thyme_log::Disk;

use crate::base::{Base, Latest, Newest};
use crate::catalog::{Catalog, Ids};
use crate::engine::{CommitPlace, Shared};
use crate::event_ids::Claims;
use crate::events::Severity;
use crate::idempotency::WINDOW_US;
use crate::record::{CommitRecord, Payload};
use crate::retention::{Slack, bound};

/// Files of the log that go at one look: reading them takes a while.
const FILES_AT_ONCE: usize = 8;
/// How long a version that another has replaced is kept as it was, by stamps: so long the number can be taken back.
const REPLACED_US: i64 = 30 * 86_400_000_000;
/// The event of a cut that failed.
pub(crate) const CUT_FAILED: &str = "log_cut_failed";

/// What the event of a cut that failed says.
pub(crate) fn cut_failed(error: &Error) -> String {
    format!(
        "the log's oldest files, which no dataset needs, could not be removed: {error}; it is tried again every minute, and nothing can be erased or backed up before they are gone"
    )
}

/// Cuts the log. One at a time.
pub(crate) struct Cutter {
    shared: Arc<Shared>,
    /// Held while definitions change, and while an erasure is under way.
    commits: Arc<Mutex<()>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What the next records to go come to, so that they are read once however often somebody looks.
    next: Option<Next>,
    /// The same of those that could go and did not, since somebody was in the way.
    ready: Option<Next>,
    known: Known,
}

/// What the commits said.
#[derive(Default)]
struct Known {
    /// How many commits.
    commits: usize,
    /// Each dataset version as it was committed last, by id.
    definitions: BTreeMap<u32, Dataset>,
    /// The stamps of the commits that put a higher version in the place of one, by its id.
    replaced: BTreeMap<u32, i64>,
}

/// The records between what the log begins with and one of its cuts.
struct Next {
    base: Base,
    newest: Newest,
    /// Where it began, and how many erasures there had been.
    of: (u64, usize),
}

impl Next {
    fn join(&mut self, other: Next) {
        self.base = other.base;
        for (dataset, latest) in other.newest {
            let most = self.newest.entry(dataset).or_insert(latest);
            *most = (*most).max(latest);
        }
    }
}

impl Cutter {
    pub fn new(shared: Arc<Shared>, commits: Arc<Mutex<()>>) -> Cutter {
        Cutter { shared, commits, state: Mutex::default() }
    }

    /// Removes from the log's front what nobody needs, in whole files and some at a time; gives the bytes that are
    /// free. Not while an erasure, a backup or a backfill is under way, or somebody reads the log: then the next look
    /// does. An event says what failed.
    ///
    /// # Errors
    /// A log that cannot be read or cut.
    pub fn cut(&self, now: i64, slack: Slack) -> Result<u64> {
        let cut = self.look(now, slack);
        if let Err(error) = &cut
            && !self.shared.is_closing()
        {
            self.shared.events.record(Severity::Warning, CUT_FAILED, "log", cut_failed(error));
        }
        cut
    }

    fn look(&self, now: i64, slack: Slack) -> Result<u64> {
        let (shared, mut state) = (&self.shared, self.state.lock());
        // An erasure that ends after this is seen when it is counted again.
        let erasures = shared.ledger.since(0);
        let Some(disk) = shared.disk.as_ref().filter(|_| !shared.is_held()) else { return Ok(0) };
        if shared.base.try_write().is_none() {
            return Ok(0);
        }
        let look = Look { catalog: shared.catalog(), erasures, now, slack };
        let known = shared.base.read().clone();
        self.learn(&known, &mut state.known)?;
        let Some(found) = self.find(&known, &mut state, &look)? else {
            // What could not be removed the last time.
            return shared.log.cut(known.first);
        };
        let encoded = found.base.encode()?;
        let _no_commit = self.commits.lock();
        let is_same =
            Arc::ptr_eq(&look.catalog, &shared.catalog()) && look.erasures == shared.ledger.since(0);
        // Whoever began to read goes on first.
        let base = match shared.base.try_write().filter(|_| is_same && !shared.is_held()) {
            Some(base) => base,
            None => {
                state.ready = Some(found);
                return Ok(0);
            }
        };
        self.remove(disk.as_ref(), base, found.base, &encoded, &look)
    }

    /// Makes durable what goes comes to, and removes it.
    fn remove(
        &self,
        disk: &dyn Disk,
        mut known: RwLockWriteGuard<'_, Arc<Base>>,
        base: Base,
        encoded: &[u8],
        look: &Look,
    ) -> Result<u64> {
        let (shared, first) = (&self.shared, base.first);
        Base::store(disk, encoded)?;
        base.tell(look.catalog.nodes());
        base.trim(&mut shared.late.lock(), &mut shared.dead_letters.lock());
        *known = Arc::new(base);
        let bytes = shared.log.cut(first)?;
        drop(known);
        let message =
            format!("{bytes} bytes of the log were removed: no dataset needs the records before e{first}");
        shared.events.record(Severity::Info, "log_cut", "log", message);
        Ok(bytes)
    }

    /// What the log begins with once as many of its files are gone as may go now; `None` when none may.
    fn find(&self, known: &Base, state: &mut State, look: &Look) -> Result<Option<Next>> {
        let of = (known.first, look.erasures);
        if let Some(ready) = state.ready.take().filter(|ready| ready.of == of)
            && self.may_go(&ready, &state.known, look)?
        {
            return Ok(Some(ready));
        }
        let Some(mut found) = self.next(known, state, look)? else { return Ok(None) };
        for _ in 1..FILES_AT_ONCE {
            let Some(next) = self.next(&found.base, state, look)? else { break };
            found.join(next);
        }
        Ok(Some(found))
    }

    /// What the log begins with once the next of its files after `base` is gone too, if that may go.
    fn next(&self, base: &Base, state: &mut State, look: &Look) -> Result<Option<Next>> {
        let shared = &self.shared;
        let Some(until) = shared.log.cuts().into_iter().find(|cut| *cut > base.first) else {
            return Ok(None);
        };
        if until > shared.checkpointed().saturating_add(1)
            || !self.is_past(until, &state.known.definitions, look)?
        {
            return Ok(None);
        }
        let of = (base.first, look.erasures);
        let next = match state.next.take().filter(|next| next.of == of && next.base.first == until) {
            Some(next) => next,
            None => {
                let mut after = base.clone();
                let counts = |dataset: &str| shared.clock.counts(dataset);
                let stops = || shared.is_closing();
                // A duplicate moves no watermark here either.
                let claims = Claims::of(&look.catalog, &[]);
                let Some(newest) = after.advance(shared.log.as_ref(), until, &claims, &counts, &stops)?
                else {
                    return Ok(None);
                };
                if shared.is_held() || shared.ledger.since(0) != look.erasures {
                    // Records may have been rewritten while they were read.
                    return Ok(None);
                }
                Next { base: after, newest, of }
            }
        };
        if self.may_go(&next, &state.known, look)? {
            return Ok(Some(next));
        }
        state.next = Some(next);
        Ok(None)
    }

    /// Whether nobody needs what is between the log's beginning and `next`.
    fn may_go(&self, next: &Next, known: &Known, look: &Look) -> Result<bool> {
        if !self.is_past(next.base.first, &known.definitions, look)? {
            return Ok(false);
        }
        let last = self.shared.log.last().map_or(i64::MIN, |(_, stamp)| stamp);
        let needs = Needs { shared: &self.shared, look, known, last };
        let mut needed = next.newest.iter();
        let kept = needed.find(|(dataset, latest)| !needs.nothing_until(**dataset, EventTime(latest.time)));
        let kept_by = kept.and_then(|(dataset, Latest { time, record })| {
            Some((needs.definition(*dataset)?.name.clone(), EventTime(*time), *record))
        });
        *self.shared.kept_by.lock() = kept_by;
        Ok(kept.is_none())
    }

    /// Whether the records before `until` are of so long ago that nobody asks what was known then.
    fn is_past(&self, until: u64, definitions: &BTreeMap<u32, Dataset>, look: &Look) -> Result<bool> {
        let log = &self.shared.log;
        let (Some((_, last)), Some(first)) = (log.last(), log.read(until)?.next().transpose()?) else {
            return Ok(false);
        };
        let live = look.catalog.datasets.values().map(|live| &live.definition);
        let retention = definitions.values().chain(live).filter_map(|d| d.retention).map(|span| span.0);
        let keeps = match look.slack {
            Slack::Usual => retention.max().unwrap_or(0).max(WINDOW_US),
            Slack::None => 0,
        };
        Ok(first.stamp < last.saturating_sub(keeps))
    }

    /// Learns what the commits said since the last look.
    fn learn(&self, base: &Base, known: &mut Known) -> Result<()> {
        let commits = self.shared.commits.lock().clone();
        if known.commits == 0 {
            known.definitions.clone_from(&base.definitions);
        }
        let ids = self.shared.ids();
        for place in commits.iter().skip(known.commits) {
            match base.commit(place.record) {
                Some(old) => known.learn(old.stamp, &old.commit, &ids),
                None => {
                    let Some((stamp, commit)) = self.read(place)? else { continue };
                    known.learn(stamp, &commit, &ids);
                }
            }
        }
        known.commits = commits.len();
        Ok(())
    }

    fn read(&self, place: &CommitPlace) -> Result<Option<(i64, CommitRecord)>> {
        if place.record < self.shared.log.first() {
            return Ok(None);
        }
        let Some(record) = self.shared.log.read(place.record)?.next().transpose()? else { return Ok(None) };
        match Payload::decode(&record.payload, &|_| None)? {
            Payload::Commit(commit) => Ok(Some((record.stamp, *commit))),
            _ => Ok(None),
        }
    }
}

impl Known {
    fn learn(&mut self, stamp: i64, commit: &CommitRecord, ids: &Ids) {
        for dataset in &commit.document.datasets {
            let Some(id) = ids.of(dataset) else { continue };
            let replaces = |other: &Dataset| other.name == dataset.name && other.version < dataset.version;
            for (old, _) in self.definitions.iter().filter(|(_, other)| replaces(other)) {
                self.replaced.entry(*old).or_insert(stamp);
            }
            self.replaced.remove(&id);
            self.definitions.insert(id, dataset.clone());
        }
    }
}

/// What a look rests on.
struct Look {
    catalog: Arc<Catalog>,
    erasures: usize,
    now: i64,
    slack: Slack,
}

/// Up to where the events of datasets may still be needed.
struct Needs<'a> {
    shared: &'a Shared,
    look: &'a Look,
    known: &'a Known,
    /// The stamp of the log's last record.
    last: i64,
}

impl Needs<'_> {
    /// Whether nobody needs events of a dataset up to `time`.
    fn nothing_until(&self, dataset: u32, time: EventTime) -> bool {
        let readable = self.look.catalog.datasets.values().filter_map(|live| live.node.as_ref());
        let joins = readable.clone().flat_map(|node| node.joins().map(move |join| (node, join)));
        let of_left = joins.filter(|(_, join)| join.right.input == dataset).map(|(node, join)| {
            let bounds = node.inputs().map(|input| self.bound(input)).collect::<Option<Vec<_>>>()?;
            let (bound, within) = (bounds.into_iter().min()?, join.within()?);
            Some(EventTime(node.parts_until(bound).0.saturating_sub(within.0)))
        });
        let compared = readable.clone().filter(|node| node.is_fed_by(dataset) && !node.is_stateless());
        let compared = compared.map(|node| self.bound(dataset).map(|bound| node.parts_until(bound)));
        of_left
            .chain(compared)
            .chain([self.bound(dataset)])
            .all(|bound| bound.is_some_and(|bound| time <= bound))
    }

    /// As it is live. What the last commit left out is as it was committed last: it may be committed again.
    fn definition(&self, dataset: u32) -> Option<&Dataset> {
        let live = self.look.catalog.by_id(dataset).map(|live| &live.definition);
        live.or_else(|| self.known.definitions.get(&dataset))
    }

    /// `None`: of all times.
    fn bound(&self, dataset: u32) -> Option<EventTime> {
        // Who claimed an event id is known as long as the log is whole.
        let definition = self.definition(dataset).filter(|definition| definition.event_id.is_none())?;
        if self.is_replaced(dataset, definition) {
            return Some(EventTime(i64::MAX));
        }
        let newest = self.shared.settled.lock().get(&dataset).copied()?;
        // A clock that events move may be far ahead of them all.
        let now = self.look.now.min(self.last);
        Some(bound(now, newest, definition.retention?, self.look.slack))
    }

    /// Whether another version is in a version's place, for so long that nobody will take that back.
    fn is_replaced(&self, dataset: u32, definition: &Dataset) -> bool {
        let live = self.look.catalog.datasets.get(&definition.name);
        let keeps = match self.look.slack {
            Slack::Usual => REPLACED_US,
            Slack::None => 0,
        };
        live.is_some_and(|live| live.id != dataset && live.definition.version > definition.version)
            && self.known.replaced.get(&dataset).is_some_and(|at| *at < self.last.saturating_sub(keeps))
    }
}

impl Shared {
    /// Whether the log must stay as it is, for an erasure, a backup or a commit that is being filled.
    fn is_held(&self) -> bool {
        let is_backing_up = self.directory.as_ref().is_some_and(|data| data.backup.lock().is_some());
        is_backing_up || self.erasing().is_some() || self.filling().is_some()
    }

    /// Removes what a cut that failed left of the records before the base; `otherwise` says what is refused while
    /// that cannot be done. Commits wait meanwhile.
    pub(crate) fn end_cut(&self, otherwise: &str) -> Result<()> {
        let first = self.base.read().first;
        let ended = self.log.cut(first).map(|_| ());
        ended.map_err(|error| {
            let detail =
                format!("{otherwise}: files before the log's beginning could not be removed: {error}");
            Error::new(error.kind(), detail)
        })
    }

    /// The watermark of a stream of a dataset is this.
    pub(crate) fn settle(&self, dataset: u32, watermark: Option<i64>) {
        if let Some(watermark) = watermark {
            let mut settled = self.settled.lock();
            let newest = settled.entry(dataset).or_insert(watermark);
            *newest = (*newest).max(watermark);
        }
    }
}
