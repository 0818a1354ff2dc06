//! Who is in memory: entities come from the store when they are asked for, and those that were not used
//! for longest go back when there is no room.
//!
//! A hand goes round all stripes (second chance: an entity that was used since it came by last stays for
//! another turn). An entity goes whole: what changed of it is written first, in one atomic batch, and it
//! is dropped if it did not change meanwhile. Such a write need not be on durable storage, and may be newer than the
//! last checkpoint: rows carry their positions, and the log has every one of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};
use thyme_core::{Error, Result, SystemEnv};
use thyme_store::{CheckpointBatch, ChunkKey, Store};

use crate::events::EventLog;
use crate::health::{Poisoned, Ward};
use crate::retention;
use crate::state::{NodeState, STRIPES, hash_key};
use crate::stripe::Entity;
use crate::stuck::Stuck;

/// Bytes of chunks that are written at once, about.
const BATCH_BYTES: usize = 512 << 10;
/// Buckets that are looked at before readers of the stripe get their turn.
const BUCKETS_PER_HOLD: usize = 256;
/// When there is no room, this part of it is made free at once.
const FREED_PART: usize = 32;
/// A stored timeline takes about so much less than one in memory.
const STORED_PART: usize = 4;

#[derive(Debug)]
pub(crate) struct Residence {
    store: Arc<Store>,
    /// Bytes of timelines that stay in memory.
    limit: usize,
    /// Whether one may wait for another who is writing; not if there is one thread.
    waits: bool,
    resident: AtomicUsize,
    loads: AtomicU64,
    evictions: AtomicU64,
    warmed: AtomicU64,
    warming: AtomicBool,
    nodes: Mutex<Vec<Weak<NodeState>>>,
    /// Held by whoever takes the marks of what changed and writes it, until it is written: in between the
    /// store is out of date, and the marks do not say so.
    writer: Mutex<Hand>,
    stuck: Stuck,
    notes: Mutex<()>,
    ward: Ward,
}

/// Where the hand that looks for entities to drop is.
#[derive(Debug, Default)]
struct Hand {
    node: usize,
    stripe: usize,
    bucket: usize,
}

/// Entities on their way out, all of one stripe.
struct Leaving {
    state: Arc<NodeState>,
    stripe: usize,
    entities: Vec<Keyed>,
    /// Of these, those of which the store will have something that has nothing, or the other way round.
    turned: Vec<Keyed>,
    /// How many more the store has of them once they are written.
    more: i64,
}

/// An entity's key with its hash.
type Keyed = (u64, Box<[u8]>);

/// What an operator asks about memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryFacts {
    /// Bytes of timelines in memory.
    pub resident_bytes: u64,
    /// Bytes of timelines that may be in memory; `None` without a limit.
    pub limit_bytes: Option<u64>,
    /// Entities in memory, counted once for each dataset.
    pub resident_entities: u64,
    /// All entities, counted once for each dataset.
    pub entities: u64,
    /// Entities loaded from the store since the start.
    pub loads: u64,
    /// Entities dropped from memory since the start.
    pub evictions: u64,
    /// Why nothing can leave memory for now, so that it may grow over its limit.
    pub stuck: Option<String>,
}

impl Residence {
    pub fn new(store: Arc<Store>, limit: Option<usize>, waits: bool, ward: Ward) -> Arc<Self> {
        Arc::new(Residence {
            store,
            limit: limit.unwrap_or(usize::MAX),
            waits,
            resident: AtomicUsize::new(0),
            loads: AtomicU64::new(0),
            evictions: AtomicU64::new(0),
            warmed: AtomicU64::new(0),
            warming: AtomicBool::new(false),
            nodes: Mutex::default(),
            writer: Mutex::default(),
            stuck: Stuck::new(limit.unwrap_or(usize::MAX)),
            notes: Mutex::default(),
            ward,
        })
    }

    /// For nodes whose timelines nobody reads or writes.
    pub fn nowhere() -> Arc<Self> {
        let ward = Ward::new(Arc::new(EventLog::new(Arc::new(SystemEnv))), 1);
        Self::new(Arc::new(Store::in_memory()), None, false, ward)
    }

    pub fn ward(&self) -> &Ward {
        &self.ward
    }

    /// What of the state cannot be used until the next start.
    pub fn poisoned(&self) -> Vec<Poisoned> {
        match self.ward.is_empty() {
            true => Vec::new(),
            false => self.states().iter().flat_map(|state| state.poisoned()).collect(),
        }
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    pub fn register(&self, state: &Arc<NodeState>) {
        let mut nodes = self.nodes.lock();
        nodes.retain(|node| node.strong_count() > 0);
        nodes.push(Arc::downgrade(state));
    }

    /// The states of the nodes that somebody may still read.
    fn states(&self) -> Vec<Arc<NodeState>> {
        self.nodes.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// Whether somebody may still read a node.
    pub fn is_alive(&self, node: u32) -> bool {
        self.states().iter().any(|state| state.id() == node)
    }

    pub fn note_bytes(&self, before: usize, now: usize) {
        if now >= before {
            self.resident.fetch_add(now - before, Ordering::AcqRel);
        } else {
            self.resident.fetch_sub(before - now, Ordering::AcqRel);
        }
    }

    pub fn note_load(&self) {
        self.loads.fetch_add(1, Ordering::Relaxed);
    }

    pub fn note_warmed(&self) {
        self.warmed.fetch_add(1, Ordering::Relaxed);
    }

    fn over(&self) -> usize {
        self.resident.load(Ordering::Acquire).saturating_sub(self.limit)
    }

    /// Whether filling memory may go on with so many bytes: what is loaded must not push out anything.
    pub fn has_room_for(&self, bytes: usize) -> bool {
        self.resident.load(Ordering::Acquire).saturating_add(bytes) < self.limit - self.limit / 8
    }

    /// Whether a reader may keep what it loaded; makes room if nobody else is at it.
    pub fn admits(&self, bytes: usize) -> bool {
        let fits = || self.resident.load(Ordering::Acquire).saturating_add(bytes) <= self.limit;
        if bytes > self.limit {
            return false;
        }
        if !fits()
            && let Some(mut hand) = self.writer.try_lock()
            && !self.is_stuck()
        {
            let freed = self.evict(&mut hand, bytes);
            self.note_written(freed.map(|_| ()));
        }
        fits()
    }

    /// [`Residence::admits`], of bytes that were noted.
    pub fn keeps(&self, bytes: usize) -> bool {
        bytes <= self.limit && self.admits(0)
    }

    /// The most stored bytes of an entity that is loaded whole where its outline will do: with more it would not fit.
    pub fn longest(&self) -> usize {
        if self.limit == usize::MAX { usize::MAX } else { self.limit / STORED_PART }
    }

    /// Makes room if there is none. Waits for the disk, so no lock is held. While what changed cannot be written
    /// memory grows, which is said, until [`Residence::retry`] or a checkpoint gets through.
    pub fn relieve(&self) {
        if self.over() > 0 && !self.is_stuck() {
            self.make_room();
        }
    }

    /// [`Residence::relieve`], also after a write that failed.
    pub fn retry(&self) {
        if self.over() > 0 {
            self.make_room();
        }
    }

    fn make_room(&self) {
        while self.over() > 0 {
            let Some(mut hand) = self.writer() else { return };
            if self.over() == 0 {
                return;
            }
            let freed = self.evict(&mut hand, 0);
            let is_through = !matches!(freed, Ok(1..));
            self.note_written(freed.map(|_| ()));
            if is_through {
                // It cannot be written, or what is left was changed while it was on its way out, or there is nothing.
                return;
            }
        }
    }

    /// Why nothing can leave memory for now, if that is so.
    pub fn stuck(&self) -> Option<String> {
        self.stuck.reason()
    }

    fn is_stuck(&self) -> bool {
        self.stuck.is()
    }

    fn note_written(&self, written: Result<()>) {
        self.stuck.note(written, self.ward.events());
    }

    /// Why no more events are taken for now, if that is so: memory is full, and nothing can leave it.
    pub fn refusal(&self) -> Option<Error> {
        self.stuck.refusal(self.resident.load(Ordering::Acquire))
    }

    fn writer(&self) -> Option<MutexGuard<'_, Hand>> {
        if self.waits { Some(self.writer.lock()) } else { self.writer.try_lock() }
    }

    /// Writes and drops entities until `more` bytes and some on top are free, or one batch is full. Gives
    /// the bytes that are free now.
    fn evict(&self, hand: &mut Hand, more: usize) -> Result<usize> {
        let want = self.over() + more + self.limit / FREED_PART;
        let (mut batch, mut leaving) = (CheckpointBatch::new(), Vec::<Leaving>::new());
        let picked = self.pick(hand, want, &mut batch, &mut leaving);
        let mut more: Vec<(&Arc<NodeState>, i64)> = Vec::new();
        for l in leaving.iter().filter(|l| l.more != 0) {
            match more.iter_mut().find(|(state, _)| Arc::ptr_eq(state, &l.state)) {
                Some((_, count)) => *count += l.more,
                None => more.push((&l.state, l.more)),
            }
        }
        if let Err(error) = picked.and_then(|()| self.spill(batch, &more)) {
            leaving.iter().for_each(Leaving::take_back);
            return Err(error);
        }
        Ok(leaving.into_iter().map(|leaving| self.release(leaving)).sum())
    }

    /// Picks who leaves.
    ///
    /// # Errors
    /// A stripe was poisoned by it: the batch may hold half of an entity.
    fn pick(
        &self,
        hand: &mut Hand,
        want: usize,
        batch: &mut CheckpointBatch,
        leaving: &mut Vec<Leaving>,
    ) -> Result<()> {
        let (states, mut picked) = (self.states(), 0);
        // In the first turn all may have been used.
        let mut stripes = 2 * states.len() * STRIPES + 1;
        while picked < want && batch.bytes() < BATCH_BYTES && stripes > 0 {
            let Some(state) = states.get(hand.node) else {
                *hand = Hand::default();
                if states.is_empty() {
                    break;
                }
                continue;
            };
            if leaving.last().is_none_or(|l| l.stripe != hand.stripe || !Arc::ptr_eq(&l.state, state)) {
                let entities = Vec::new();
                let (state, stripe, turned) = (state.clone(), hand.stripe, Vec::new());
                leaving.push(Leaving { state, stripe, entities, turned, more: 0 });
            }
            if let Some(leaving) = leaving.last_mut() {
                picked += leaving.pick(&mut hand.bucket, want - picked, batch)?;
            }
            if hand.bucket == usize::MAX {
                stripes -= 1;
                hand.bucket = 0;
                hand.stripe += 1;
                if hand.stripe == STRIPES {
                    (hand.node, hand.stripe) = (hand.node + 1, 0);
                }
            }
        }
        Ok(())
    }

    /// Drops what is written, unless it changed meanwhile.
    fn release(&self, leaving: Leaving) -> usize {
        let has_outlines = || leaving.state.stripe(leaving.stripe).read().has_outlines();
        if leaving.entities.is_empty() && !has_outlines() {
            return 0;
        }
        let freed = leaving.state.change(leaving.stripe, format_args!("entities left memory"), |stripe| {
            let mut freed = stripe.drop_resting_outlines();
            for (hash, key) in &leaving.entities {
                let bytes = stripe.drop_clean(*hash, key);
                freed += bytes;
                self.evictions.fetch_add(u64::from(bytes > 0), Ordering::Relaxed);
            }
            stripe.shrink();
            stripe.settle(self);
            freed
        });
        // Nothing of a poisoned stripe is dropped.
        freed.unwrap_or(0)
    }

    /// Writes chunks, not yet on durable storage, and how many entities the nodes have now.
    fn spill(&self, mut batch: CheckpointBatch, more: &[(&Arc<NodeState>, i64)]) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        for (state, more) in more {
            batch
                .put_meta(&entities_of(state.id()), &state.stored().wrapping_add_signed(*more).to_le_bytes());
        }
        self.store.spill(batch)?;
        more.iter().for_each(|(state, more)| state.note_stored(*more));
        Ok(())
    }

    /// Writes chunks of an entity that stays in the store, not yet on durable storage.
    ///
    /// # Errors
    /// A store that cannot be written, or a node that was made anew.
    pub fn write_through(&self, state: &NodeState, batch: CheckpointBatch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let _writer = self.writer().ok_or_else(|| Error::unavailable("somebody else is writing"))?;
        state.still_stored()?;
        let written = self.store.spill(batch);
        self.note_written(written.clone());
        written
    }

    /// Writes what changed in the stripes of a node from `stripe` on, up to about one batch. Gives the stripe to
    /// go on with.
    ///
    /// # Errors
    /// A store that cannot be written, or a stripe of which not all can be used. Nothing is lost by it: what
    /// was not written is written next time.
    pub fn save(&self, state: &Arc<NodeState>, stripe: usize) -> Result<usize> {
        let Some(_writer) = self.writer() else { return Ok(stripe) };
        let (mut batch, mut taken, mut more) = (CheckpointBatch::new(), Vec::new(), 0);
        let mut saved = Ok(());
        while stripe + taken.len() < STRIPES && batch.bytes() < BATCH_BYTES && saved.is_ok() {
            let mut turned = Vec::new();
            saved = save_stripe(state, stripe + taken.len(), &mut batch, &mut turned).map(|m| more += m);
            taken.push(turned);
        }
        let wrote = !batch.is_empty();
        let more = (more != 0).then_some((state, more));
        if let Err(error) = saved.and_then(|()| self.spill(batch, more.as_slice())) {
            for (index, turned) in (stripe..).zip(&taken) {
                // A stripe that is poisoned is not written any more.
                let _ = state.change(index, format_args!("a write was taken back"), |stripe| {
                    stripe.take_all_back(turned);
                });
            }
            return Err(error);
        }
        if wrote {
            self.note_written(Ok(()));
        }
        Ok(stripe + taken.len())
    }

    /// Removes what the store has of a node, also if somebody may still read it.
    pub fn retire_node(&self, node: u32) -> Result<()> {
        {
            let _no_write = self.writer();
            let mut nodes = self.nodes.lock();
            let theirs = nodes.extract_if(.., |state| state.upgrade().is_none_or(|state| state.id() == node));
            theirs.filter_map(|state| state.upgrade()).for_each(|state| state.retire());
        }
        self.drop_node(node)
    }

    /// Removes what the store has of a node.
    pub fn drop_node(&self, node: u32) -> Result<()> {
        self.store.drop_node(node)?;
        let name = entities_of(node);
        if self.store.meta(&name)?.is_some() {
            let mut batch = CheckpointBatch::new();
            batch.remove_meta(&name);
            self.store.spill(batch)?;
        }
        let _noting = self.noting();
        retention::forget_note(&self.store, node)
    }

    /// Held by whoever changes what is noted of removed rows.
    pub fn noting(&self) -> MutexGuard<'_, ()> {
        self.notes.lock()
    }

    /// How many entities the store has of a node.
    pub fn stored_entities(&self, node: u32) -> Result<u64> {
        if let Some(bytes) = self.store.meta(&entities_of(node))? {
            let bytes = bytes.try_into().map_err(|_| {
                Error::corrupt(format!("the store's number of entities of node {node} cannot be read"))
            })?;
            return Ok(u64::from_le_bytes(bytes));
        }
        let (mut count, mut last) = (0, None);
        for chunk in self.store.chunks(node) {
            let (key, ..) = chunk?;
            if last.as_deref() != Some(&*key) {
                count += 1;
                last = Some(key);
            }
        }
        Ok(count)
    }

    /// Fills memory with what the store has of `nodes`, while there is room and until `stop` says so. Gives the
    /// errors of what cannot be read.
    pub fn warm(&self, nodes: &BTreeSet<u32>, stop: &dyn Fn() -> bool) -> Vec<Error> {
        self.warming.store(true, Ordering::Release);
        let states = self.states();
        let wanted = states.iter().filter(|state| nodes.contains(&state.id()));
        let errors = wanted.flat_map(|state| state.warm(stop)).collect();
        self.warming.store(false, Ordering::Release);
        errors
    }

    /// Bytes of timelines in memory.
    pub fn resident_bytes(&self) -> u64 {
        self.resident.load(Ordering::Acquire) as u64
    }

    pub fn facts(&self) -> MemoryFacts {
        let mut facts = MemoryFacts {
            resident_bytes: self.resident.load(Ordering::Acquire) as u64,
            limit_bytes: (self.limit != usize::MAX).then_some(self.limit as u64),
            loads: self.loads.load(Ordering::Relaxed),
            evictions: self.evictions.load(Ordering::Relaxed),
            stuck: self.stuck(),
            ..MemoryFacts::default()
        };
        for state in self.states() {
            let (entities, resident) = state.entities();
            facts.entities += entities;
            facts.resident_entities += resident;
        }
        facts
    }

    /// While memory is being filled: entities read so far, and how many there are.
    pub fn warming(&self) -> Option<(u64, u64)> {
        if !self.warming.load(Ordering::Acquire) {
            return None;
        }
        let stored = self.states().iter().map(|state| state.stored()).sum();
        Some((self.warmed.load(Ordering::Relaxed).min(stored), stored))
    }
}

impl Leaving {
    /// Picks entities of the stripe from `bucket` on, writes what changed of them, and gives their bytes;
    /// `bucket` is `usize::MAX` at the end of the stripe.
    ///
    /// # Errors
    /// The stripe was poisoned by it: the batch may hold half of an entity.
    fn pick(&mut self, bucket: &mut usize, want: usize, batch: &mut CheckpointBatch) -> Result<usize> {
        let state = self.state.clone();
        if state.stripe(self.stripe).read().health.poisoned().is_some() {
            *bucket = usize::MAX;
            return Ok(0);
        }
        state.change(self.stripe, format_args!("entities were picked to leave memory"), |stripe| {
            let buckets = stripe.buckets();
            let end = bucket.saturating_add(BUCKETS_PER_HOLD).min(buckets);
            let (mut picked, mut stored) = (0, 0);
            while *bucket < end && picked < want && batch.bytes() < BATCH_BYTES {
                let entity = stripe.bucket(*bucket);
                *bucket += 1;
                let Some(entity) = entity else { continue };
                if !entity.rests() {
                    continue;
                }
                self.entities.push((hash_key(&entity.key), entity.key.clone()));
                picked += entity.timeline.bytes();
                let more = put(&self.state, entity, batch);
                if more != 0 {
                    self.turned.push((hash_key(&entity.key), entity.key.clone()));
                }
                stored += more;
            }
            stripe.note_stored(stored);
            self.more += stored;
            if *bucket >= buckets {
                *bucket = usize::MAX;
            }
            picked
        })
    }

    /// Has what was picked written next time: it was not.
    fn take_back(&self) {
        // A stripe that is poisoned is not written any more.
        let _ = self.state.change(self.stripe, format_args!("a write was taken back"), |stripe| {
            stripe.take_back(&self.entities, &self.turned);
        });
    }
}

/// Puts what changed in a stripe; gives how many more entities the store has then. `turned` gets those of which it
/// will have something that has nothing, or the other way round.
///
/// # Errors
/// Not all of the stripe can be used.
fn save_stripe(
    state: &NodeState,
    index: usize,
    batch: &mut CheckpointBatch,
    turned: &mut Vec<Keyed>,
) -> Result<i64> {
    {
        let stripe = state.stripe(index).read();
        if let Some(reason) = stripe.health.any() {
            return Err(state.unusable(reason));
        }
        if !stripe.dirty {
            return Ok(0);
        }
    }
    state.change(index, format_args!("a checkpoint was written"), |stripe| {
        stripe.dirty = false;
        let mut stored = 0;
        for entity in stripe.iter_mut() {
            let more = put(state, entity, batch);
            if more != 0 {
                turned.push((hash_key(&entity.key), entity.key.clone()));
            }
            stored += more;
        }
        stripe.note_stored(stored);
        stored
    })
}

/// Puts what changed of an entity; gives how many more the store has for it.
fn put(state: &NodeState, entity: &mut Entity, batch: &mut CheckpointBatch) -> i64 {
    let before = batch.len();
    let Entity { key, timeline, stored, .. } = entity;
    timeline.dirty_chunks(&state.layout(), &mut |chunk, bytes| {
        let place = ChunkKey { node: state.id(), key, chunk };
        match bytes {
            [] => batch.remove_chunk(place),
            _ => batch.put_chunk(place, bytes),
        }
    });
    let had = *stored;
    if batch.len() > before {
        *stored = !timeline.is_empty();
    }
    i64::from(*stored) - i64::from(had)
}

/// The name of the fact that says how many entities a node has.
fn entities_of(node: u32) -> String {
    format!("entities.{node}")
}
