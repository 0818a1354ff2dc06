//! The log's oldest files go once no committed dataset needs them any more.
//!
//! A record is needed while an event in it may count for anybody: as long as it is not older than its dataset's
//! retention by more than the slack, nor than left events that may have been joined with it. Records of the last while
//! stay too, since they carry answers to idempotency keys and what reads of then have seen. What is left begins with a
//! [`Base`], which is durable before anything goes.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use thyme_core::definition::Dataset;
use thyme_core::{EventTime, Result};

use crate::base::{Base, Newest};
use crate::catalog::Catalog;
use crate::engine::Shared;
use crate::events::Severity;
use crate::idempotency::WINDOW_US;
use crate::record::Payload;
use crate::retention::{Slack, bound};

/// Files of the log that go at one look: reading them takes a while.
const FILES_AT_ONCE: usize = 8;

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
    /// Each dataset version as it is committed last, by id, and of which commits.
    definitions: (usize, BTreeMap<u32, Dataset>),
}

/// The records between what the log begins with and one of its cuts.
struct Next {
    base: Base,
    newest: Newest,
    /// Where it began, and how many erasures there had been.
    of: (u64, usize),
}

impl Cutter {
    pub fn new(shared: Arc<Shared>, commits: Arc<Mutex<()>>) -> Cutter {
        Cutter { shared, commits, state: Mutex::default() }
    }

    /// Removes from the log's front what nobody needs, in whole files and some at a time; gives the bytes that are
    /// free. Not while an erasure, a backup or a backfill is under way, or somebody reads the log: then the next look
    /// does.
    ///
    /// # Errors
    /// A log that cannot be read or cut.
    pub fn cut(&self, now: i64, slack: Slack) -> Result<u64> {
        let (shared, mut state) = (&self.shared, self.state.lock());
        let Some(disk) = shared.disk.as_ref().filter(|_| !shared.is_held()) else { return Ok(0) };
        let look = Look { catalog: shared.catalog(), erasures: shared.ledger.since(0), now, slack };
        let mut base = shared.base.read().clone();
        let began = base.first;
        self.learn(&base, &mut state)?;
        for _ in 0..FILES_AT_ONCE {
            let Some(next) = self.next(&base, &mut state, &look)? else { break };
            base = Arc::new(next);
        }
        if base.first == began && shared.log.first() >= base.first {
            return Ok(0);
        }
        let _no_commit = self.commits.lock();
        let is_same =
            Arc::ptr_eq(&look.catalog, &shared.catalog()) && look.erasures == shared.ledger.since(0);
        if !is_same || shared.is_held() {
            return Ok(0);
        }
        // Whoever began to read goes on first.
        let Some(mut known) = shared.base.try_write() else { return Ok(0) };
        if base.first > began {
            base.store(disk.as_ref())?;
        }
        base.tell(look.catalog.nodes());
        base.trim(&mut shared.late.lock(), &mut shared.dead_letters.lock());
        *known = base.clone();
        let bytes = shared.log.cut(base.first)?;
        drop(known);
        let message = format!(
            "{bytes} bytes of the log were removed: no dataset needs the records before e{}",
            base.first
        );
        shared.events.record(Severity::Info, "log_cut", "log", message);
        Ok(bytes)
    }

    /// What the log begins with once the next of its files after `base` is gone too, if that may go.
    fn next(&self, base: &Base, state: &mut State, look: &Look) -> Result<Option<Base>> {
        let shared = &self.shared;
        let Some(until) = shared.log.cuts().into_iter().find(|cut| *cut > base.first) else {
            return Ok(None);
        };
        if until > shared.checkpointed().saturating_add(1)
            || !self.is_past(until, &state.definitions.1, look.slack)?
        {
            return Ok(None);
        }
        let of = (base.first, look.erasures);
        let next = match state.next.take().filter(|next| next.of == of && next.base.first == until) {
            Some(next) => next,
            None => {
                let mut after = base.clone();
                let counts = |dataset: &str| shared.clock.counts(dataset);
                let newest = after.advance(shared.log.as_ref(), until, &counts)?;
                Next { base: after, newest, of }
            }
        };
        let needs = Needs { shared, look, definitions: &state.definitions.1 };
        if next.newest.iter().all(|(dataset, time)| needs.nothing_until(*dataset, EventTime(*time))) {
            return Ok(Some(next.base));
        }
        state.next = Some(next);
        Ok(None)
    }

    /// Whether the records before `until` are of so long ago that nobody asks what was known then.
    fn is_past(&self, until: u64, definitions: &BTreeMap<u32, Dataset>, slack: Slack) -> Result<bool> {
        let log = &self.shared.log;
        let (Some((_, last)), Some(first)) = (log.last(), log.read(until)?.next().transpose()?) else {
            return Ok(false);
        };
        let retention = definitions.values().filter_map(|d| d.retention).map(|span| span.0).max();
        let keeps = match slack {
            Slack::Usual => retention.unwrap_or(0).max(WINDOW_US),
            Slack::None => 0,
        };
        Ok(first.stamp < last.saturating_sub(keeps))
    }

    /// Learns the definitions of the commits since the last look.
    fn learn(&self, base: &Base, state: &mut State) -> Result<()> {
        let commits = self.shared.commits.lock().clone();
        let (known, definitions) = &mut state.definitions;
        if *known == 0 {
            definitions.clone_from(&base.definitions);
        }
        let ids = self.shared.ids();
        for place in commits.iter().skip(*known).filter(|place| place.record >= base.first) {
            let Some(record) = self.shared.log.read(place.record)?.next().transpose()? else { continue };
            if let Payload::Commit(commit) = Payload::decode(&record.payload, &|_| None)? {
                let datasets = commit.document.datasets.into_iter();
                definitions.extend(datasets.filter_map(|dataset| Some((ids.of(&dataset)?, dataset))));
            }
        }
        *known = commits.len();
        Ok(())
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
    definitions: &'a BTreeMap<u32, Dataset>,
}

impl Needs<'_> {
    /// Whether nobody needs events of a dataset up to `time`.
    fn nothing_until(&self, dataset: u32, time: EventTime) -> bool {
        let readable = self.look.catalog.datasets.values().filter_map(|live| live.node.as_ref());
        let joins = readable.flat_map(|node| node.joins().map(move |join| (node, join)));
        let of_left = joins.filter(|(_, join)| join.right.input == dataset).map(|(node, join)| {
            let (bound, within) = (self.bound(node.input)?, join.within()?);
            Some(EventTime(bound.0.saturating_sub(within.0)))
        });
        of_left.chain([self.bound(dataset)]).all(|bound| bound.is_some_and(|bound| time <= bound))
    }

    /// `None`: of all times.
    fn bound(&self, dataset: u32) -> Option<EventTime> {
        // Who claimed an event id is known as long as the log is whole.
        let definition = self.definitions.get(&dataset).filter(|definition| definition.event_id.is_none())?;
        let retention = definition.retention?;
        // A version that another has replaced gets no more events, and nobody can read those that it has.
        let newest = match self.look.catalog.by_id(dataset) {
            Some(_) => self.shared.counters.lock().get(&dataset).and_then(|c| c.newest)?,
            None => self.look.now,
        };
        Some(bound(self.look.now, newest, retention, self.look.slack))
    }
}

impl Shared {
    /// Whether the log must stay as it is, for an erasure, a backup or a commit that is being filled.
    fn is_held(&self) -> bool {
        let is_backing_up = self.directory.as_ref().is_some_and(|data| data.backup.lock().is_some());
        is_backing_up || self.erasing().is_some() || self.filling().is_some()
    }
}
