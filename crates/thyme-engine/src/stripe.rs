//! Some of a node's timelines, behind one lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use thyme_timeline::{Layout, Timeline};

use crate::health::Health;
use crate::outlines::{Outlines, Sketch};
use crate::residence::Residence;
use crate::runs::Runs;
use crate::state::hash_key;

/// Bytes that the allocator adds to an entity: it, its key and its rows are blocks of their own.
const ALLOCATOR_BYTES: usize = 32;

#[derive(Debug)]
pub(crate) struct Entity {
    pub key: Box<[u8]>,
    pub timeline: Timeline,
    /// Whether the store has chunks of it.
    pub stored: bool,
    /// Whether it was read or changed since the hand came by.
    used: AtomicBool,
}

impl Entity {
    /// With the timeline that the store has of it, if it has one.
    fn new(key: Box<[u8]>, timeline: Option<Timeline>, hot: bool) -> Entity {
        let stored = timeline.is_some();
        Entity { key, timeline: timeline.unwrap_or_default(), stored, used: AtomicBool::new(hot) }
    }

    fn bytes(&self) -> usize {
        size_of::<Entity>() - size_of::<Timeline>() + self.timeline.bytes() + self.key.len() + ALLOCATOR_BYTES
    }

    /// Keeps it in memory for another turn of the hand.
    pub fn touch(&self) {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it was used since the last time this was asked.
    pub fn rests(&mut self) -> bool {
        !std::mem::take(self.used.get_mut())
    }
}

/// An entity that was looked up in the store, which may not have it.
pub(crate) struct Loaded {
    pub hash: u64,
    pub key: Box<[u8]>,
    pub timeline: Option<Timeline>,
}

#[derive(Debug, Default)]
pub(crate) struct Stripe {
    /// Boxed: a table has up to twice the room that it needs, and twice that while it grows.
    table: HashTable<Box<Entity>>,
    pub health: Health,
    /// Those of entities that are not here, which tell the residence of their bytes themselves. The store has all that
    /// they have, so they are dropped without a word.
    outlines: Outlines,
    /// Whether anything changed since the last checkpoint.
    pub dirty: bool,
    /// Whether every entity of the stripe is here, so that nothing has to be asked of the store.
    pub complete: bool,
    /// How many entities were dropped so far. What was read from the store without the lock is still
    /// what the store has as long as this did not move.
    pub drops: u64,
    /// Entities that the store does not have.
    unstored: usize,
    /// Bytes behind the entities of the table.
    bytes: usize,
    /// What the residence was told.
    settled: usize,
}

impl Stripe {
    pub fn get(&self, hash: u64, key: &[u8]) -> Option<&Entity> {
        self.table.find(hash, |e| *e.key == *key).map(Box::as_ref)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Entity> {
        self.table.iter().map(Box::as_ref)
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entity> {
        self.table.iter_mut().map(Box::as_mut)
    }

    /// Entities that are here, and those of them that the store does not have.
    pub fn counts(&self) -> (usize, usize) {
        (self.table.len(), self.unstored)
    }

    /// The entity in a bucket of the table; the number of buckets only changes when entities come and go.
    pub fn bucket(&mut self, index: usize) -> Option<&mut Entity> {
        self.table.get_bucket_mut(index).map(Box::as_mut)
    }

    pub fn buckets(&self) -> usize {
        self.table.num_buckets()
    }

    /// Notes that the store will have `more` of the entities that are here.
    pub fn note_stored(&mut self, more: i64) {
        self.unstored = self.unstored.saturating_add_signed(-more as isize);
    }

    /// Adds an entity, unless it is here. `hot` keeps it for a turn of the hand.
    pub fn place(&mut self, loaded: Loaded, hot: bool) {
        let Loaded { hash, key, timeline } = loaded;
        if self.get(hash, &key).is_some() || self.health.refusal(&key).is_some() {
            return;
        }
        if self.outlines.is_changing(hash, &key) {
            // It was loaded before that.
            return;
        }
        self.drop_outline(hash, &key);
        let entity = Entity::new(key, timeline, hot);
        self.bytes += entity.bytes();
        self.unstored += usize::from(!entity.stored);
        // What was loaded as of an earlier position is not what the store has.
        self.dirty |= entity.timeline.is_dirty();
        self.table.insert_unique(hash, Box::new(entity), |e| hash_key(&e.key));
    }

    /// The outline of an entity that is not here.
    pub fn outline(&self, hash: u64, key: &[u8]) -> Option<Arc<Sketch>> {
        self.outlines.get(hash, key)
    }

    /// Adds the outline of an entity, unless all of it is here.
    pub fn place_outline(&mut self, hash: u64, key: &[u8], outline: &Arc<Sketch>) {
        if self.get(hash, key).is_none() && self.health.refusal(key).is_none() {
            self.outlines.put(hash, key, outline);
        }
    }

    /// From here on the store has more and more of rows that are put into the outline of an entity; gives that outline.
    /// `None` if all of the entity is here.
    pub fn begin_change(&mut self, hash: u64, key: &[u8], outline: &Arc<Sketch>) -> Option<Arc<Sketch>> {
        if self.get(hash, key).is_some() {
            return None;
        }
        // What somebody has read of it is not what the store has any more.
        self.drops += 1;
        Some(self.outlines.begin_change(hash, key, outline))
    }

    /// What began is done; the outline is dropped unless it is as the store is.
    pub fn end_change(&mut self, hash: u64, key: &[u8], keep: bool) {
        self.drops += 1;
        self.outlines.end_change(hash, key);
        if !keep {
            self.drop_outline(hash, key);
        }
    }

    /// Drops the outline of an entity, if nobody is changing it: it is not what the store has any more.
    pub fn drop_outline(&mut self, hash: u64, key: &[u8]) {
        self.outlines.remove(hash, key);
    }

    /// Whether there are any outlines.
    pub fn has_outlines(&self) -> bool {
        !self.outlines.is_empty()
    }

    /// Drops outlines that were not read since this was last called; gives the bytes that are free now.
    pub fn drop_resting_outlines(&mut self) -> usize {
        self.outlines.drop_resting()
    }

    /// Lets `edit` change the timeline of an entity, if it is here.
    pub fn edit<R>(&mut self, hash: u64, key: &[u8], edit: impl FnOnce(&mut Timeline) -> R) -> Option<R> {
        let entity = self.table.find_mut(hash, |e| *e.key == *key)?;
        let before = entity.timeline.bytes();
        let edited = edit(&mut entity.timeline);
        self.bytes = self.bytes + entity.timeline.bytes() - before;
        self.dirty |= entity.timeline.is_dirty();
        Some(edited)
    }

    /// Drops entities without rows of which the store has nothing, either, or that it is not asked about.
    pub fn drop_empty(&mut self, has_store: bool) {
        let Stripe { table, bytes, unstored, .. } = self;
        let before = table.len();
        table.retain(|entity| {
            let goes =
                entity.timeline.is_empty() && !entity.stored && !(has_store && entity.timeline.is_dirty());
            if goes {
                *bytes -= entity.bytes();
                *unstored -= 1;
            }
            !goes
        });
        // What somebody has read before of one is not to come back.
        self.drops += (before - self.table.len()) as u64;
    }

    /// Has entities written whole next time: what was taken of them was not stored. Of those in `turned` it was
    /// noted whether the store has them.
    pub fn take_back(&mut self, taken: &[(u64, Box<[u8]>)], turned: &[(u64, Box<[u8]>)]) {
        for (hash, key) in taken {
            if let Some(entity) = self.table.find_mut(*hash, |e| e.key == *key) {
                entity.timeline.mark_dirty();
            }
        }
        self.dirty = true;
        self.turn_back(turned);
    }

    /// [`Stripe::take_back`] of all entities.
    pub fn take_all_back(&mut self, turned: &[(u64, Box<[u8]>)]) {
        self.table.iter_mut().for_each(|entity| entity.timeline.mark_dirty());
        self.dirty = true;
        self.turn_back(turned);
    }

    fn turn_back(&mut self, turned: &[(u64, Box<[u8]>)]) {
        for (hash, key) in turned {
            if let Some(entity) = self.table.find_mut(*hash, |e| e.key == *key) {
                entity.stored = !entity.stored;
                let more = if entity.stored { 1 } else { -1 };
                self.note_stored(more);
            }
        }
    }

    /// Inserts the rows of those entities of `which` that are here, or of which the store has nothing; gives the others.
    pub fn insert(
        &mut self,
        layout: &Layout,
        runs: &Runs<'_>,
        which: impl Iterator<Item = usize>,
    ) -> Vec<usize> {
        self.dirty = true;
        let Stripe { table, health, complete, unstored, bytes, .. } = self;
        let mut missing = Vec::new();
        for run in which {
            let (hash, key) = runs.entity(run);
            if health.refusal(key).is_some() {
                continue;
            }
            let (entity, before) = match table.entry(hash, |e| *e.key == *key, |e| hash_key(&e.key)) {
                Entry::Occupied(found) => {
                    let entity = found.into_mut();
                    let before = entity.timeline.bytes();
                    (entity, before)
                }
                Entry::Vacant(place) if *complete => {
                    let entity = Box::new(Entity::new(key.into(), None, true));
                    *unstored += 1;
                    *bytes += entity.bytes();
                    let before = entity.timeline.bytes();
                    (place.insert(entity).into_mut(), before)
                }
                Entry::Vacant(_) => {
                    missing.push(run);
                    continue;
                }
            };
            // Its summaries are made once for all of its rows.
            entity.timeline.insert_all(layout, runs.rows(run));
            entity.timeline.seal(layout);
            entity.touch();
            *bytes = *bytes + entity.timeline.bytes() - before;
        }
        missing
    }

    /// Drops an entity that was written and did not change since; gives the bytes that are free now.
    pub fn drop_clean(&mut self, hash: u64, key: &[u8]) -> usize {
        let Ok(found) = self.table.find_entry(hash, |e| *e.key == *key) else { return 0 };
        if found.get().timeline.is_dirty() {
            return 0;
        }
        self.unstored -= usize::from(!found.get().stored);
        let (entity, _) = found.remove();
        let bytes = entity.bytes();
        self.bytes -= bytes;
        self.complete = false;
        self.drops += 1;
        bytes
    }

    /// Gives room back that the table no longer needs.
    pub fn shrink(&mut self) {
        if self.table.capacity() > 64 && self.table.len() < self.table.capacity() / 4 {
            self.table.shrink_to(self.table.len() * 2, |e| hash_key(&e.key));
        }
    }

    /// Tells the residence how many bytes there are now. Called before the lock is given up.
    pub fn settle(&mut self, residence: &Residence) {
        let bytes = self.bytes + self.table.allocation_size();
        residence.note_bytes(self.settled, bytes);
        self.settled = bytes;
    }

    /// What [`Stripe::settle`] said last.
    pub fn settled(&self) -> usize {
        self.settled
    }

    /// Bytes of memory, counted anew.
    #[cfg(test)]
    pub fn counted(&self) -> usize {
        let entities: usize = self.iter().map(Entity::bytes).sum();
        entities + self.table.allocation_size() + self.outlines.counted()
    }

    /// What the residence knows of it.
    pub fn noted(&self) -> usize {
        self.settled + self.outlines.bytes()
    }
}
