//! Rows that their dataset's retention has passed leave the timelines, in memory and in the store.
//!
//! No online read needs them, and how far back others reach is said durably before anything goes: a node's
//! `removed_until` is the event time up to which rows may be gone, and a read whose window begins before it is
//! refused. What is above it is as if nothing had ever been removed, so what is answered does not change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;
use thyme_core::{Error, ErrorKind, EventTime, Position, Result, Span};
use thyme_store::{CheckpointBatch, Store};
use thyme_timeline::Timeline;

use crate::applier::Message;
use crate::catalog::{Catalog, LiveDataset};
use crate::cutting::Cutter;
use crate::engine::Shared;
use crate::event_ids;
use crate::events::Severity;
use crate::node::{Node, NodeId};
use crate::queue::Outbox;
use crate::stepper::Stepper;

/// The least by which an event is older than its retention before it goes.
const SLACK_MIN_US: i64 = 3_600_000_000;
/// Above that, this part of the retention.
const SLACK_PART: i64 = 8;
/// Rows go again once this part of the slack has passed since they went last.
const STEP_PART: i64 = 4;
/// How often the background looks.
const PERIOD: Duration = Duration::from_secs(60);
const META_REMOVED: &str = "removed";

/// By how much events are older than their retention before they go.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Slack {
    Usual,
    /// For tests: neither are records kept for what was known of late.
    None,
}

/// Up to where rows go: those that are older than the retention by more than the slack, which leaves labels and
/// replays of the last while all that they reach. The time is that of the newest event, so that data of long ago
/// is not old the moment it is loaded, and never later than the clock, so that a broken clock of some producer
/// removes nothing.
pub(crate) fn bound(now: i64, newest: i64, retention: Span, slack: Slack) -> EventTime {
    EventTime(now.min(newest).saturating_sub(retention.0).saturating_sub(slack.of(retention)))
}

/// Up to where rows go now; `None` while it is not yet worth the work.
fn due(
    now: i64,
    newest: i64,
    (retention, slack): (Span, Slack),
    removed: Option<EventTime>,
) -> Option<EventTime> {
    let until = bound(now, newest, retention, slack);
    let step = slack.of(retention) / STEP_PART;
    removed.is_none_or(|removed| until.0 >= removed.0.saturating_add(step)).then_some(until)
}

impl Slack {
    fn of(self, retention: Span) -> i64 {
        match self {
            Slack::Usual => (retention.0 / SLACK_PART).max(SLACK_MIN_US),
            Slack::None => 0,
        }
    }
}

/// Takes rows out of some timelines of a node; done where nobody else writes them.
pub(crate) struct Forget {
    pub node: Arc<Node>,
    keys: Vec<Box<[u8]>>,
    until: EventTime,
    pub reply: Sender<Result<u64>>,
}

impl Forget {
    /// Gives how many rows went.
    pub fn run(&self) -> Result<u64> {
        let mut rows = 0;
        let state = &self.node.state;
        let layout = state.layout();
        for key in &self.keys {
            let mut forget =
                |timeline: &mut Timeline| rows += timeline.forget_until(&layout, self.until) as u64;
            state.edit(key, Position::MAX, &mut forget)?;
            state.relieve();
        }
        Ok(rows)
    }
}

/// What has to be filled anew together with `first`. A join that is filled looks for all the rows of the index that it
/// joins, some of which may be gone; then the index is filled too, and with it everybody who joins it.
pub(crate) fn refilled_with<'a>(
    catalog: &'a Catalog,
    first: impl Iterator<Item = &'a Arc<Node>>,
) -> BTreeSet<NodeId> {
    let mut again = BTreeSet::new();
    let mut waiting: Vec<&Arc<Node>> = first.collect();
    while let Some(node) = waiting.pop() {
        for join in node.joins() {
            if join.right.removed_until().is_none() || !again.insert(join.right.id) {
                continue;
            }
            for other in joining(catalog, &join.right) {
                again.extend(other.parts().chain([other]).map(|node| node.id));
                waiting.push(other);
            }
        }
    }
    again
}

/// The nodes that join an index.
fn joining<'a>(catalog: &'a Catalog, index: &'a Node) -> impl Iterator<Item = &'a Arc<Node>> {
    let readable = catalog.datasets.values().filter_map(|live| live.node.as_ref());
    readable.filter(|node| node.joins().any(|join| join.right.id == index.id))
}

fn is_claims(live: &LiveDataset, node: &Node) -> bool {
    live.ids.as_ref().is_some_and(|ids| ids.id == node.id)
}

/// Up to where an index, or the claims of event ids, may lose rows because of those who join the dataset: what a left row that can still be read has
/// joined has to be found again when a right row comes late.
fn joins_allow(catalog: &Catalog, index: &Node) -> EventTime {
    if let Some(live) = catalog.datasets.values().find(|live| is_claims(live, index)) {
        // What is not known to be a duplicate any more must not be looked for, either.
        let joined = catalog.joined(live.id).map(|joined| joins_allow(catalog, joined));
        return joined.min().unwrap_or(EventTime(i64::MAX));
    }
    let mut allowed = EventTime(i64::MAX);
    for node in joining(catalog, index) {
        for join in node.joins().filter(|join| join.right.id == index.id) {
            let reach = node.removed_until().zip(join.within());
            let until = |removed| node.parts_until(removed).0;
            let needed = reach.map_or(i64::MIN, |(removed, within)| until(removed).saturating_sub(within.0));
            allowed = allowed.min(EventTime(needed));
        }
    }
    allowed
}

/// Takes up to which event times the nodes' rows may be gone from the store.
pub(crate) fn restore<'a>(store: &Store, nodes: impl Iterator<Item = &'a Arc<Node>>) -> Result<()> {
    let removed = noted(store)?;
    for node in nodes {
        removed.get(&node.id.0).into_iter().for_each(|time| node.remove_until(EventTime(*time)));
    }
    Ok(())
}

/// Up to which event times rows may be gone, by node.
fn noted(store: &Store) -> Result<BTreeMap<u32, i64>> {
    let Some(bytes) = store.meta(META_REMOVED)? else { return Ok(BTreeMap::new()) };
    serde_json::from_slice(&bytes)
        .map_err(|e| Error::corrupt(format!("the store's record of what was removed cannot be read: {e}")))
}

/// Says durably that rows of `node` up to `until` may be gone. Nodes that are not live are those of an earlier commit:
/// after a crash the last checkpoint may bring them back, with the rows that they have now.
fn note(store: &Store, catalog: &Catalog, node: &Node, until: EventTime) -> Result<()> {
    let live: BTreeSet<u32> = catalog.nodes().map(|node| node.id.0).collect();
    let mut removed = noted(store)?;
    removed.retain(|id, _| !live.contains(id));
    removed.extend(catalog.nodes().filter_map(|node| Some((node.id.0, node.removed_until()?.0))));
    removed.insert(node.id.0, until.0);
    store.checkpoint(note_of(&removed)?)
}

/// Forgets what was noted of a node of which the store has nothing any more. A crash may have undone the commit that
/// made it, and the same number is given again to one that has all rows.
pub(crate) fn forget_note(store: &Store, node: u32) -> Result<()> {
    let mut removed = noted(store)?;
    match removed.remove(&node) {
        // What is written of the node later is not durable before this is.
        Some(_) => store.spill(note_of(&removed)?),
        None => Ok(()),
    }
}

fn note_of(removed: &BTreeMap<u32, i64>) -> Result<CheckpointBatch> {
    let bytes = serde_json::to_vec(removed).map_err(|e| Error::internal(format!("retention: {e}")))?;
    let mut batch = CheckpointBatch::new();
    batch.put_meta(META_REMOVED, &bytes);
    Ok(batch)
}

/// Removes what is old, in the background.
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    applier: Outbox<Message>,
    /// Who does what the applier is asked, if it has no thread.
    stepper: Option<Stepper>,
    /// Held while definitions change.
    commits: Arc<Mutex<()>>,
    /// How far each node was swept since the start.
    swept: Mutex<BTreeMap<NodeId, EventTime>>,
    cutter: Cutter,
}

impl Keeper {
    pub fn new(
        shared: Arc<Shared>,
        applier: Outbox<Message>,
        stepper: Option<Stepper>,
        commits: Arc<Mutex<()>>,
    ) -> Keeper {
        let cutter = Cutter::new(shared.clone(), commits.clone());
        Keeper { shared, applier, stepper, commits, swept: Mutex::default(), cutter }
    }

    /// Looks every minute until `stop` is closed.
    pub fn run(&self, stop: &Receiver<()>) {
        while let Err(RecvTimeoutError::Timeout) = stop.recv_timeout(PERIOD) {
            match self.forget(Slack::Usual) {
                Ok(0) => {}
                Ok(rows) => {
                    let message = format!("{rows} rows that their retention had passed were removed");
                    self.shared.events.record(Severity::Info, "retention", "store", message);
                }
                Err(_) if self.shared.is_closing() => return,
                Err(error) => {
                    let message =
                        format!("rows that their retention has passed could not be removed: {error}");
                    self.shared.events.record(Severity::Warning, "retention_failed", "store", message);
                }
            }
            // It says itself what failed.
            let _ = self.cut(Slack::Usual);
        }
    }

    /// Removes what is old now from the timelines and the log; gives how many rows left the timelines.
    pub fn enforce(&self, slack: Slack) -> Result<u64> {
        let rows = self.forget(slack)?;
        self.cut(slack)?;
        Ok(rows)
    }

    fn cut(&self, slack: Slack) -> Result<u64> {
        self.cutter.cut(self.now(), slack)
    }

    /// Removes what is old now from the timelines. One at a time.
    fn forget(&self, slack: Slack) -> Result<u64> {
        let mut swept = self.swept.lock();
        let catalog = self.shared.catalog();
        swept.retain(|id, _| catalog.nodes().any(|node| node.id == *id));
        let now = self.now();
        // Pipelines before the indexes that they join: those keep what the others reach.
        let readable = catalog.datasets.values().filter_map(|live| live.node.as_ref());
        let (mut nodes, mut indexes): (Vec<_>, Vec<_>) = readable.partition(|node| !node.is_index());
        indexes.extend(catalog.datasets.values().filter_map(|live| live.joined.as_ref()));
        indexes.sort_by_key(|node| node.id);
        indexes.dedup_by_key(|node| node.id);
        nodes.extend(indexes);
        let (mut rows, mut failed) = (0, Ok(()));
        // What cannot be removed from one is removed from the others.
        for node in nodes {
            match self.enforce_on(node, node.retention, (now, slack), &mut swept) {
                Ok(gone) => rows += gone,
                Err(error) => failed = failed.and(Err(error)),
            }
        }
        if self.shared.erasing().is_none() {
            for live in catalog.datasets.values() {
                let Some(claims) = &live.ids else { continue };
                // They are no rows of anybody.
                let kept_for = event_ids::kept_for(&live.definition);
                failed = failed.and(self.enforce_on(claims, kept_for, (now, slack), &mut swept).map(|_| ()));
            }
        }
        failed.map(|()| rows)
    }

    /// The time of online reads, also where nobody reads.
    fn now(&self) -> i64 {
        self.shared.online().0.0
    }

    fn enforce_on(
        &self,
        node: &Arc<Node>,
        retention: Option<Span>,
        (now, slack): (i64, Slack),
        swept: &mut BTreeMap<NodeId, EventTime>,
    ) -> Result<u64> {
        let counters = self.shared.counters.lock();
        let of = |input: u32| counters.get(&input).and_then(|counters| counters.newest);
        // Of several inputs the one that is behind decides.
        let newest = node.inputs().filter_map(of).min();
        drop(counters);
        if let (Some(retention), Some(newest)) = (retention, newest)
            && let Some(until) =
                due(now, newest, (retention, slack), node.removed_until().max(swept.get(&node.id).copied()))
        {
            let until = until.min(self.allowed(node));
            let looked = node.removed_until().max(swept.get(&node.id).copied());
            if looked.is_none_or(|looked| looked < until) && !self.advance(node, until)? {
                // Nothing is that old. The next look is a step later.
                swept.insert(node.id, until);
            }
        }
        let mut rows = 0;
        let Some(until) = node.removed_until() else { return Ok(0) };
        let parts = node.parts().map(|part| (part, node.parts_until(until)));
        for (part, until) in parts.chain([(node, until)]) {
            if swept.get(&part.id).is_none_or(|swept| *swept < until) {
                // Those of which nothing was left the last time.
                part.state.drop_empty(true);
                rows += self.sweep(part, until)?;
                swept.insert(part.id, until);
            }
        }
        Ok(rows)
    }

    /// Up to where rows of a node may go at all. Ids are forgotten as the log says; their claims go once no start looks for
    /// them any more.
    fn allowed(&self, node: &Node) -> EventTime {
        let catalog = self.shared.catalog();
        let joins = joins_allow(&catalog, node);
        match catalog.datasets.values().find(|live| is_claims(live, node)) {
            Some(live) => {
                let known = self.shared.remembered.lock().get(&live.id).copied().unwrap_or_default();
                joins.min(EventTime(known.forgotten.unwrap_or(i64::MIN)))
            }
            None => joins,
        }
    }

    /// Moves a node's `removed_until` if there are rows to remove, and says whether; durable when this returns.
    fn advance(&self, node: &Arc<Node>, until: EventTime) -> Result<bool> {
        let mut some = false;
        let wanted = |timeline: &Timeline| timeline.has_forgettable(until);
        node.state.each_where(&wanted, &|error| self.leave(node, &error), &mut |_| {
            some = true;
            Ok(false)
        })?;
        if !some {
            return Ok(false);
        }
        // A commit that comes later sees that rows may be gone from what it joins.
        let _no_commit = self.commits.lock();
        let catalog = self.shared.catalog();
        // One that is being filled may join this, and reads all that is there.
        if self.shared.filling().is_some() {
            return Ok(false);
        }
        let is_live = catalog.nodes().any(|live| Arc::ptr_eq(&live.state, &node.state));
        if !is_live || self.allowed(node) < until {
            return Ok(false);
        }
        let _noting = self.shared.residence.noting();
        note(&self.shared.store, &catalog, node, until)?;
        node.remove_until(until);
        event_ids::refuse_unknown(&catalog);
        Ok(true)
    }

    /// Takes the rows of a node up to `until` out of its timelines, a few entities at a time.
    fn sweep(&self, node: &Arc<Node>, until: EventTime) -> Result<u64> {
        let mut rows = 0;
        let wanted = |timeline: &Timeline| timeline.has_forgettable(until);
        node.state.each_where(&wanted, &|error| self.leave(node, &error), &mut |keys| {
            rows += self.ask(node, keys, until)?;
            Ok(true)
        })?;
        Ok(rows)
    }

    /// An entity that cannot be read keeps its rows, and no other its own.
    fn leave(&self, node: &Node, error: &Error) -> Result<()> {
        if !matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Internal) {
            return Err(error.clone());
        }
        let message = format!("what its retention has passed could not be removed of one entity: {error}");
        self.shared.events.record(Severity::Error, "store_unreadable", node.state.name(), message);
        Ok(())
    }

    fn ask(&self, node: &Arc<Node>, keys: Vec<Box<[u8]>>, until: EventTime) -> Result<u64> {
        let stopping = || Error::unavailable("the engine is stopping");
        if self.shared.is_closing() {
            return Err(stopping());
        }
        let (reply, answer) = bounded(1);
        let forget = Forget { node: node.clone(), keys, until, reply };
        if !self.applier.send(Message::Forget(Box::new(forget))) {
            return Err(stopping());
        }
        if let Some(stepper) = &self.stepper {
            stepper.finish();
            return answer.try_recv().map_err(|_| stopping())?;
        }
        answer.recv().map_err(|_| stopping())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = SLACK_MIN_US;

    #[test]
    fn rows_go_by_the_newest_event_or_the_clock_whichever_is_earlier_and_in_steps() {
        let days = |days: i64| days * 24 * HOUR;
        let until = |now, newest, retention: i64, removed: Option<i64>| {
            due(now, newest, (Span(retention), Slack::Usual), removed.map(EventTime)).map(|time| time.0)
        };
        // An eighth of the retention stays on top of it, an hour at least.
        assert_eq!(until(days(100), days(100), days(8), None), Some(days(91)));
        assert_eq!(until(days(100), days(100), HOUR, None), Some(days(100) - 2 * HOUR));
        // Data of long ago, and events from the future.
        assert_eq!(until(days(1000), days(100), days(8), None), Some(days(91)));
        assert_eq!(until(days(100), days(1000), days(8), None), Some(days(91)));
        // Not again before a quarter of that has passed.
        assert_eq!(until(days(100), days(100), days(8), Some(days(91) - 6 * HOUR + 1)), None);
        assert_eq!(until(days(100), days(100), days(8), Some(days(91) - 6 * HOUR)), Some(days(91)));
        assert_eq!(until(i64::MIN, i64::MIN, days(8), None), Some(i64::MIN));
    }
}
