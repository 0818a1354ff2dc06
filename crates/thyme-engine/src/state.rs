//! The timelines of one node, striped so that a reader never waits for more than a few inserts. Entities
//! that memory has no room for rest in the store.

mod loading;
mod long;
mod stored;
#[cfg(test)]
mod tests;
mod warming;

use std::collections::HashSet;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use foldhash::fast::FixedState;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use thyme_core::{Error, Position, Result};
use thyme_timeline::{Layout, Timeline};

use crate::health::{Ward, shown};
use crate::node::NodeRows;
use crate::residence::Residence;
use crate::runs::Runs;
use crate::stripe::{Loaded, Stripe};
pub(crate) use loading::Looks;
use long::{Away, Inserted};

/// Stripes a node. A shard owns those whose index is its own modulo the number of shards, so that
/// the number of shards never shows.
pub(crate) const STRIPES: usize = 128;
/// Entities that are loaded between two holds of the lock, at most.
const MISSING_MAX: usize = 32;
/// Keys that [`NodeState::each_where`] gives at once, at most.
const KEYS_AT_ONCE: usize = 64;

/// Chunks whose summaries are made while the stripe is held.
const CHUNKS_RIPENED_AT_ONCE: usize = 64;

/// What an operator of Thyme asks about a dataset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetCounters {
    /// Rows accepted into the log.
    pub events: u64,
    /// Of these, late ones.
    pub late: u64,
    /// Of these, duplicates of earlier ones.
    #[serde(default)]
    pub duplicates: u64,
    /// Records that could not become rows.
    pub dead_letters: u64,
    /// Rows of erased entities that a source brought again and were left out.
    #[serde(default)]
    pub erased: u64,
    /// The newest event time admitted.
    pub newest: Option<i64>,
}

/// Whether what a read loads stays in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// As a read of one entity does: it is likely to be asked for again.
    Hot,
    /// As a scan does: it must not push out what is.
    Passing,
}

#[derive(Debug)]
pub(crate) struct NodeState {
    node: u32,
    dataset: String,
    /// It only ever grows.
    layout: RwLock<Arc<Layout>>,
    /// Whether it has grown since the timelines were made or loaded.
    has_grown: AtomicBool,
    stripes: Box<[RwLock<Stripe>]>,
    residence: Arc<Residence>,
    /// Entities that the store has.
    stored: AtomicU64,
    /// Whether the store has nothing of it any more, though somebody may still read it.
    retired: AtomicBool,
    /// Categories beyond the limits of maps that were read.
    categories_dropped: AtomicU64,
}

impl Drop for NodeState {
    fn drop(&mut self) {
        for stripe in &mut self.stripes {
            self.residence.note_bytes(stripe.get_mut().settled(), 0);
        }
    }
}

impl NodeState {
    /// The state of a node, which knows nothing yet of what the store has of it.
    pub fn new(residence: &Arc<Residence>, node: u32, dataset: &str, layout: &Layout) -> Arc<Self> {
        let state = Arc::new(NodeState {
            node,
            dataset: dataset.to_owned(),
            layout: RwLock::new(Arc::new(layout.clone())),
            has_grown: AtomicBool::new(false),
            stripes: (0..STRIPES).map(|_| RwLock::default()).collect(),
            residence: residence.clone(),
            stored: AtomicU64::new(0),
            retired: AtomicBool::new(false),
            categories_dropped: AtomicU64::new(0),
        });
        residence.register(&state);
        state
    }

    /// A map that was read left out so many categories.
    pub fn note_dropped(&self, categories: u64) {
        self.categories_dropped.fetch_add(categories, Ordering::Relaxed);
    }

    /// How many categories maps have left out.
    pub fn dropped(&self) -> u64 {
        self.categories_dropped.load(Ordering::Relaxed)
    }

    /// Takes up what the store has of the node.
    pub fn restore(&self) -> Result<()> {
        if self.residence.store().has_node(self.node)? {
            self.stored.store(self.residence.stored_entities(self.node)?, Ordering::Release);
            return Ok(());
        }
        self.become_complete();
        Ok(())
    }

    /// Begins without anything: what the store has under the node's number is of another life.
    pub fn begin_empty(&self) -> Result<()> {
        self.residence.drop_node(self.node)?;
        self.become_complete();
        Ok(())
    }

    fn become_complete(&self) {
        self.stripes.iter().for_each(|stripe| stripe.write().complete = true);
    }

    /// Bytes of its timelines in memory.
    pub fn bytes(&self) -> usize {
        self.stripes.iter().map(|stripe| stripe.read().noted()).sum()
    }

    pub fn id(&self) -> u32 {
        self.node
    }

    /// The dataset, or what else it keeps.
    pub fn name(&self) -> &str {
        &self.dataset
    }

    /// Where failures are told.
    pub fn ward(&self) -> &Ward {
        self.residence.ward()
    }

    pub fn layout(&self) -> Arc<Layout> {
        self.layout.read().clone()
    }

    /// Takes a layout that its own is the beginning of. Only while no shard writes.
    pub fn grow(&self, layout: &Layout) {
        let mut own = self.layout.write();
        if (own.predicates, own.slots.len()) != (layout.predicates, layout.slots.len()) {
            *own = Arc::new(layout.clone());
            self.has_grown.store(true, Ordering::Release);
        }
    }

    /// Whether it is one of those that `residence` keeps.
    pub fn is_in(&self, residence: &Arc<Residence>) -> bool {
        Arc::ptr_eq(&self.residence, residence)
    }

    /// Makes what a timeline lacks of a layout that has grown, so that the next read is as fast as any.
    fn ripen(&self, key: &[u8], hash: u64) {
        let layout = self.layout();
        let mut is_ripe = false;
        while !is_ripe {
            // What was read is right, whatever becomes of the stripe.
            let ripened = self.change(stripe_of(hash), format_args!("summaries were made"), |stripe| {
                let ripe = stripe.edit(hash, key, |timeline| {
                    timeline.ripen(&layout, CHUNKS_RIPENED_AT_ONCE);
                    timeline.is_ripe(&layout)
                });
                stripe.settle(&self.residence);
                ripe.unwrap_or(true)
            });
            is_ripe = ripened.unwrap_or(true);
        }
    }

    pub fn stripe(&self, index: usize) -> &RwLock<Stripe> {
        &self.stripes[index % STRIPES]
    }

    /// Runs `read` on the timeline of a key, if it has one. What had to be loaded for it stays in memory.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub fn with<R>(&self, key: &[u8], read: impl FnOnce(&Timeline) -> R) -> Result<Option<R>> {
        self.read(key, Keep::Hot, None, read)
    }

    /// [`NodeState::with`], but what had to be loaded does not stay.
    ///
    /// # Errors
    /// As [`NodeState::with`].
    pub fn glance<R>(&self, key: &[u8], read: impl FnOnce(&Timeline) -> R) -> Result<Option<R>> {
        self.read(key, Keep::Passing, None, read)
    }

    /// [`NodeState::with`] or [`NodeState::glance`]; of an entity that is too long for memory only what `looks` says is
    /// loaded.
    ///
    /// # Errors
    /// As [`NodeState::with`].
    pub fn read<R>(
        &self,
        key: &[u8],
        keep: Keep,
        looks: Option<&Looks<'_>>,
        read: impl FnOnce(&Timeline) -> R,
    ) -> Result<Option<R>> {
        let hash = hash_key(key);
        let lock = self.stripe(stripe_of(hash));
        let away = {
            let stripe = lock.read();
            if let Some(reason) = stripe.health.refusal(key) {
                return Err(self.refused(key, reason));
            }
            if let Some(entity) = stripe.get(hash, key) {
                if keep == Keep::Hot {
                    entity.touch();
                }
                let answer = read(&entity.timeline);
                let is_ripe =
                    !self.has_grown.load(Ordering::Acquire) || entity.timeline.is_ripe(&self.layout.read());
                drop(stripe);
                if !is_ripe {
                    self.ripen(key, hash);
                }
                return Ok(Some(answer));
            }
            if stripe.complete {
                return Ok(None);
            }
            (looks.and_then(|_| stripe.outline(hash, key)), stripe.drops)
        };
        self.read_stored(key, away, keep, looks, read)
    }

    /// Inserts the rows of one stripe, of one record or of some in log order. Only the shard that owns the stripe
    /// does, so what it loads is never out of date. `at` is before the first of the records: what a crash left in the
    /// store of this or later ones is dropped, since the log brings it again.
    ///
    /// # Errors
    /// Some rows are not in: their stripe, or their entity, is given up until the next start, and says so
    /// to whoever reads it.
    pub fn insert(&self, index: usize, parts: &[&NodeRows], at: Position) -> Result<()> {
        let (runs, layout) = (Runs::of(parts, index), self.layout());
        let mut failed = Ok(());
        let insert = |which: &mut dyn Iterator<Item = usize>, loaded: Vec<Loaded>| {
            self.change(index, format_args!("rows of e{} were added", runs.record()), |stripe| {
                loaded.into_iter().for_each(|loaded| stripe.place(loaded, true));
                let missing = stripe.insert(&layout, &runs, which);
                stripe.health.go_off();
                stripe.settle(&self.residence);
                missing
            })
        };
        let mut missing = insert(&mut (0..runs.len()), Vec::new())?;
        while !missing.is_empty() {
            let mut still_missing = Vec::new();
            for some in missing.chunks(MISSING_MAX) {
                let (mut loaded, mut rest) = (Vec::with_capacity(some.len()), Vec::with_capacity(some.len()));
                for run in some {
                    let (hash, key) = runs.entity(*run);
                    let away = Away { hash, key, rows: runs.rows(*run).collect(), at };
                    let timeline = match self.insert_away(&layout, &away) {
                        Ok(Inserted::InStore) => continue,
                        Ok(Inserted::NotYet(timeline)) => Some(timeline),
                        // It may be gone again by the time that the lock is held.
                        Ok(Inserted::Returned) => None,
                        Err(error) => {
                            self.give_up(index, key.into(), &error);
                            failed = Err(error);
                            continue;
                        }
                    };
                    loaded.extend(timeline.map(|timeline| Loaded { hash, key: key.into(), timeline }));
                    rest.push(*run);
                }
                still_missing.extend(insert(&mut rest.into_iter(), loaded)?);
            }
            missing = still_missing;
        }
        failed
    }

    /// Lets `edit` change the timeline of a key, if there is one. Only while no shard changes it. `at` is
    /// as for [`NodeState::insert`].
    ///
    /// # Errors
    /// A store that cannot be read, a stripe that is poisoned, or an entity that is given up.
    pub fn edit(&self, key: &[u8], at: Position, edit: &mut dyn FnMut(&mut Timeline)) -> Result<()> {
        let hash = hash_key(key);
        let mut timeline = None;
        loop {
            let drops = self.change(stripe_of(hash), format_args!("rows were taken out"), |stripe| {
                if let Some((timeline, drops)) = timeline.take()
                    // Otherwise it may have been changed, written and dropped since it was read.
                    && stripe.drops == drops
                {
                    stripe.place(Loaded { hash, key: key.into(), timeline: Some(timeline) }, true);
                }
                if let Some(reason) = stripe.health.refusal(key) {
                    return Err(self.refused(key, reason));
                }
                let is_done = stripe.edit(hash, key, &mut *edit).is_some() || stripe.complete;
                stripe.settle(&self.residence);
                Ok((!is_done).then_some(stripe.drops))
            })?;
            let Some(drops) = drops? else { return Ok(()) };
            match self.load(key, at)? {
                Some(loaded) => timeline = Some((loaded, drops)),
                None => return Ok(()),
            }
        }
    }

    /// Drops entities without rows, once what they were is in the store no more; without a store, if not
    /// `is_durable`, at once.
    pub fn drop_empty(&self, is_durable: bool) {
        for index in 0..STRIPES {
            // Of a poisoned stripe nothing is dropped.
            let _ = self.change(index, format_args!("entities without rows were dropped"), |stripe| {
                stripe.drop_empty(is_durable);
                stripe.settle(&self.residence);
            });
        }
    }

    /// Makes room if memory is full.
    pub fn relieve(&self) {
        self.residence.relieve();
    }

    /// Whether what is not in memory can be read.
    pub fn still_stored(&self) -> Result<()> {
        match self.retired.load(Ordering::Acquire) {
            false => Ok(()),
            true => Err(Error::unavailable(format!(
                "{}: what this query reads was made anew because of an erasure; ask again",
                self.dataset
            ))),
        }
    }

    /// From here on the store has nothing of the node any more.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    /// The error with what it is about.
    fn named(&self, key: &[u8], error: &Error) -> Error {
        Error::new(error.kind(), format!("{}, entity {}: {}", self.dataset, shown(key), error.detail()))
    }

    /// The keys of the entities whose timelines `wanted` says yes to, in no order.
    ///
    /// # Errors
    /// A store that cannot be read, or an entity that is given up.
    pub fn keys_where(&self, wanted: impl Fn(&Timeline) -> bool) -> Result<Vec<Box<[u8]>>> {
        let mut keys = HashSet::new();
        self.visit_where(&wanted, &mut |key| {
            keys.insert(Box::from(key));
        })?;
        Ok(keys.into_iter().collect())
    }

    /// Calls `f` with the key of each entity whose timeline `wanted` says yes to, in no order; with one, it may be,
    /// twice.
    ///
    /// # Errors
    /// As [`NodeState::keys_where`].
    pub fn visit_where(&self, wanted: &dyn Fn(&Timeline) -> bool, f: &mut dyn FnMut(&[u8])) -> Result<()> {
        // While all of them are in memory, nobody has to know which were.
        let mut whole = self.stripes.iter().all(|stripe| stripe.read().complete);
        loop {
            let (mut seen, mut complete) = (HashSet::new(), true);
            // Memory first: what is not here now is in the store by now.
            for stripe in &self.stripes {
                let stripe = stripe.read();
                if let Some(reason) = stripe.health.any() {
                    return Err(self.unusable(reason));
                }
                complete &= stripe.complete;
                for entity in stripe.iter() {
                    if wanted(&entity.timeline) {
                        f(&entity.key);
                    }
                    if !whole {
                        seen.insert(entity.key.clone());
                    }
                }
            }
            if complete {
                return Ok(());
            }
            if !std::mem::take(&mut whole) {
                return self.each_stored(&mut |key, timeline| {
                    if !seen.contains(key) && wanted(&timeline) {
                        f(key);
                    }
                    Ok(true)
                });
            }
        }
    }

    /// Calls `f` with the keys of the entities whose timelines `wanted` says yes to, some at a time, until it says
    /// false. Entities that come meanwhile may be left out, and those of stripes that are not sound are. One that cannot
    /// be read is left out where `unreadable` says so.
    ///
    /// # Errors
    /// A store that cannot be read, or what `f` or `unreadable` says.
    pub fn each_where(
        &self,
        wanted: &dyn Fn(&Timeline) -> bool,
        unreadable: &dyn Fn(Error) -> Result<()>,
        f: &mut dyn FnMut(Vec<Box<[u8]>>) -> Result<bool>,
    ) -> Result<()> {
        let mut complete = true;
        for stripe in &self.stripes {
            let keys: Vec<Box<[u8]>> = {
                let stripe = stripe.read();
                complete &= stripe.complete;
                let usable = stripe.health.any().is_none();
                stripe.iter().filter(|e| usable && wanted(&e.timeline)).map(|e| e.key.clone()).collect()
            };
            for some in keys.chunks(KEYS_AT_ONCE) {
                if !f(some.to_vec())? {
                    return Ok(());
                }
            }
        }
        if complete {
            return Ok(());
        }
        let (mut keys, mut goes_on) = (Vec::new(), true);
        self.each_stored_up_to(usize::MAX, &mut |key, timeline| {
            let (key, timeline) = match (key, timeline) {
                (Some(key), Ok(timeline)) => (key, timeline),
                (_, timeline) => return timeline.map(|_| ()).or_else(unreadable).map(|()| true),
            };
            let hash = hash_key(key);
            let wants = {
                let stripe = self.stripe(stripe_of(hash)).read();
                // What is in memory by now is newer than what is read here.
                let resident = stripe.get(hash, key).map(|e| wanted(&e.timeline));
                stripe.health.any().is_none() && resident.unwrap_or_else(|| wanted(&timeline))
            };
            if wants {
                keys.push(key.into());
            }
            if keys.len() >= KEYS_AT_ONCE {
                goes_on = f(std::mem::take(&mut keys))?;
            }
            Ok(goes_on)
        })?;
        if goes_on && !keys.is_empty() {
            f(keys)?;
        }
        Ok(())
    }

    /// How many entities there are, and how many of them are in memory.
    pub fn entities(&self) -> (u64, u64) {
        let counts = self.stripes.iter().map(|stripe| stripe.read().counts());
        let (resident, unstored) = counts.fold((0, 0), |a, b| (a.0 + b.0 as u64, a.1 + b.1 as u64));
        (self.stored.load(Ordering::Acquire) + unstored, resident)
    }

    /// Entities that the store has.
    pub fn stored(&self) -> u64 {
        self.stored.load(Ordering::Acquire)
    }

    /// Notes that the store has `more` entities.
    pub fn note_stored(&self, more: i64) {
        // In two's complement adding wraps to taking away.
        self.stored.fetch_add(more as u64, Ordering::AcqRel);
    }
}

/// The hash of an encoded key. Never stored: restarts may use another.
pub(crate) fn hash_key(key: &[u8]) -> u64 {
    FixedState::with_seed(0x7468_796d_6531_3031).hash_one(key)
}

/// The stripe of a hash: from bits that the table inside the stripe does not use.
pub(crate) fn stripe_of(hash: u64) -> usize {
    (hash >> 40) as usize % STRIPES
}

impl crate::node::Node {
    /// See [`crate::Engine::damage_for_test`].
    pub(crate) fn damage_for_test(&self, key: &[u8]) {
        let hash = hash_key(key);
        let mut stripe = self.state.stripe(stripe_of(hash)).write();
        stripe.place(Loaded { hash, key: key.into(), timeline: None }, true);
        stripe.edit(hash, key, |timeline| *timeline = Timeline::new());
        stripe.settle(&self.state.residence);
    }
}
