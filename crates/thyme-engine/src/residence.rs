//! Who is in memory: entities come from the store when they are asked for, and those that were not used
//! for longest go back when there is no room.
//!
//! A hand goes round all stripes (second chance: an entity that was used since it came by last stays for
//! another turn). An entity goes whole: what changed of it is written first, in one atomic batch, and it
//! is dropped if it did not change meanwhile. Such a write need not be on durable storage, and may be newer than the
//! last checkpoint: rows carry their positions, and the log has every one of them.

use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};
use thyme_core::{Error, Result};
use thyme_store::{CheckpointBatch, ChunkKey, ENTITY_KEY_BYTES_MAX, Store};

use crate::state::{NodeState, STRIPES, hash_key};
use crate::stripe::Entity;

/// Bytes of chunks that are written at once, about.
const BATCH_BYTES: usize = 512 << 10;
/// Buckets that are looked at before readers of the stripe get their turn.
const BUCKETS_PER_HOLD: usize = 256;
/// When there is no room, this part of it is made free at once.
const FREED_PART: usize = 32;

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
    /// Why marks of what changed are lost: a write failed after they were taken.
    lost: Mutex<Option<String>>,
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
    entities: Vec<(u64, Box<[u8]>)>,
    /// How many more the store has of them once they are written.
    more: i64,
}

/// What an operator asks about memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
}

impl Residence {
    pub fn new(store: Arc<Store>, limit: Option<usize>, waits: bool) -> Arc<Self> {
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
            lost: Mutex::default(),
        })
    }

    /// For nodes whose timelines nobody reads or writes.
    pub fn nowhere() -> Arc<Self> {
        Self::new(Arc::new(Store::in_memory()), None, false)
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

    /// Whether filling memory may go on: what is loaded must not push out anything.
    pub fn has_room(&self) -> bool {
        self.resident.load(Ordering::Acquire) < self.limit - self.limit / 8
    }

    /// Whether a reader may keep what it loaded; makes room if nobody else is at it.
    pub fn admits(&self, bytes: usize) -> bool {
        let fits = || self.resident.load(Ordering::Acquire).saturating_add(bytes) <= self.limit;
        if bytes > self.limit / 2 {
            return false;
        }
        if !fits()
            && let Some(mut hand) = self.writer.try_lock()
            && self.lost.lock().is_none()
        {
            // A write that fails is told by the shard that needs room and finds none.
            let _ = self.evict(&mut hand, bytes);
        }
        fits()
    }

    /// Makes room if there is none. Waits for the disk, so no lock is held.
    ///
    /// # Errors
    /// A store that cannot be written.
    pub fn relieve(&self) -> Result<()> {
        while self.over() > 0 {
            let Some(mut hand) = self.writer() else { return Ok(()) };
            if let Some(reason) = &*self.lost.lock() {
                return Err(Error::unavailable(format!(
                    "memory is full and what changed cannot be written: {reason}"
                )));
            }
            if self.over() > 0 && self.evict(&mut hand, 0)? == 0 {
                // What is left was written while it was on its way out, or there is nothing.
                return Ok(());
            }
        }
        Ok(())
    }

    fn writer(&self) -> Option<MutexGuard<'_, Hand>> {
        if self.waits { Some(self.writer.lock()) } else { self.writer.try_lock() }
    }

    /// Writes and drops entities until `more` bytes and some on top are free, or one batch is full. Gives
    /// the bytes that are free now.
    fn evict(&self, hand: &mut Hand, more: usize) -> Result<usize> {
        let want = self.over() + more + self.limit / FREED_PART;
        let states = self.states();
        let (mut batch, mut leaving, mut picked) = (CheckpointBatch::new(), Vec::<Leaving>::new(), 0);
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
                leaving.push(Leaving { state: state.clone(), stripe: hand.stripe, entities, more: 0 });
            }
            if let Some(leaving) = leaving.last_mut() {
                picked += leaving.pick(&mut hand.bucket, want - picked, &mut batch);
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
        let mut more: Vec<(&Arc<NodeState>, i64)> = Vec::new();
        for l in leaving.iter().filter(|l| l.more != 0) {
            match more.iter_mut().find(|(state, _)| Arc::ptr_eq(state, &l.state)) {
                Some((_, count)) => *count += l.more,
                None => more.push((&l.state, l.more)),
            }
        }
        self.spill(batch, &more)?;
        Ok(leaving.into_iter().map(|leaving| self.release(leaving)).sum())
    }

    /// Drops what is written, unless it changed meanwhile.
    fn release(&self, leaving: Leaving) -> usize {
        if leaving.entities.is_empty() {
            return 0;
        }
        let mut stripe = leaving.state.stripe(leaving.stripe).write();
        let mut freed = 0;
        for (hash, key) in &leaving.entities {
            let bytes = stripe.drop_clean(*hash, key);
            freed += bytes;
            self.evictions.fetch_add(u64::from(bytes > 0), Ordering::Relaxed);
        }
        stripe.shrink();
        stripe.settle(self);
        freed
    }

    /// Writes chunks, not yet on durable storage, and how many entities the nodes have now.
    fn spill(&self, mut batch: CheckpointBatch, more: &[(&Arc<NodeState>, i64)]) -> Result<()> {
        for (state, more) in more {
            batch
                .put_meta(&entities_of(state.id()), &state.stored().wrapping_add_signed(*more).to_le_bytes());
        }
        if let Err(error) = self.store.spill(batch) {
            self.lost.lock().get_or_insert_with(|| error.to_string());
            return Err(error);
        }
        more.iter().for_each(|(state, more)| state.note_stored(*more));
        Ok(())
    }

    /// Writes what changed in the stripes of a node from `stripe` on, or everything that is in memory,
    /// up to about one batch. Gives the stripe to go on with.
    ///
    /// # Errors
    /// A store that cannot be written. Then the next checkpoint must write everything.
    pub fn save(&self, state: &Arc<NodeState>, stripe: usize, everything: bool) -> Result<usize> {
        let Some(_writer) = self.writer() else { return Ok(stripe) };
        let (mut batch, mut more, mut index) = (CheckpointBatch::new(), 0, stripe);
        while index < STRIPES && batch.bytes() < BATCH_BYTES {
            let lock = state.stripe(index);
            index += 1;
            if !everything && !lock.read().dirty {
                continue;
            }
            let mut stripe = lock.write();
            stripe.dirty = false;
            let mut stored = 0;
            for entity in stripe.iter_mut() {
                if everything {
                    entity.timeline.mark_dirty();
                }
                stored += put(state, entity, &mut batch);
            }
            stripe.note_stored(stored);
            more += stored;
        }
        if !batch.is_empty() {
            let more = (more != 0).then_some((state, more));
            self.spill(batch, more.as_slice())?;
        }
        Ok(index)
    }

    /// Whether marks of what changed are lost, so that everything in memory has to be written.
    pub fn has_lost_marks(&self) -> bool {
        self.lost.lock().is_some()
    }

    /// Everything in memory was written.
    pub fn found_marks(&self) {
        *self.lost.lock() = None;
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
        Ok(())
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

    /// Fills memory with what the store has, while there is room and until `stop` says so. Gives the
    /// errors of nodes that cannot be read.
    pub fn warm(&self, stop: &dyn Fn() -> bool) -> Vec<Error> {
        self.warming.store(true, Ordering::Release);
        let errors = self.states().iter().filter_map(|state| state.warm(stop).err()).collect();
        self.warming.store(false, Ordering::Release);
        errors
    }

    pub fn facts(&self) -> MemoryFacts {
        let mut facts = MemoryFacts {
            resident_bytes: self.resident.load(Ordering::Acquire) as u64,
            limit_bytes: (self.limit != usize::MAX).then_some(self.limit as u64),
            loads: self.loads.load(Ordering::Relaxed),
            evictions: self.evictions.load(Ordering::Relaxed),
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
    fn pick(&mut self, bucket: &mut usize, want: usize, batch: &mut CheckpointBatch) -> usize {
        let mut stripe = self.state.stripe(self.stripe).write();
        let buckets = stripe.buckets();
        let end = bucket.saturating_add(BUCKETS_PER_HOLD).min(buckets);
        let (mut picked, mut stored) = (0, 0);
        while *bucket < end && picked < want && batch.bytes() < BATCH_BYTES {
            let entity = stripe.bucket(*bucket);
            *bucket += 1;
            let Some(entity) = entity else { continue };
            if !entity.rests() || entity.key.len() > ENTITY_KEY_BYTES_MAX {
                continue;
            }
            picked += entity.timeline.bytes();
            stored += put(&self.state, entity, batch);
            self.entities.push((hash_key(&entity.key), entity.key.clone()));
        }
        stripe.note_stored(stored);
        self.more += stored;
        if *bucket >= buckets {
            *bucket = usize::MAX;
        }
        picked
    }
}

/// Puts what changed of an entity; gives how many more the store has for it.
fn put(state: &NodeState, entity: &mut Entity, batch: &mut CheckpointBatch) -> i64 {
    let before = batch.len();
    let Entity { key, timeline, stored, .. } = entity;
    timeline.dirty_chunks(state.layout(), &mut |chunk, bytes| {
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
