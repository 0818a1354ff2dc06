//! What the store has of an entity: all of it, or for one that is too long for memory its outline, and then the few
//! chunks that a read looks into.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use thyme_core::{Error, Position, Result};
use thyme_store::{ChunkKey, StoredChunk};
use thyme_timeline::{Layout, Look, Outline, Timeline};

use super::{Keep, NodeState, hash_key, stripe_of};
use crate::health::said;
use crate::outlines::Sketch;
use crate::stripe::Loaded;

/// What a read looks at, for an entity of which only the outline is in memory.
pub(crate) struct Looks<'a> {
    /// The layout that it reads under.
    pub layout: &'a Layout,
    /// All that it looks at.
    pub all: &'a dyn Fn() -> Vec<Look>,
}

/// What the store has of an entity.
pub(super) enum Found {
    Nothing,
    Whole(Timeline),
    Long(Outline),
}

impl Found {
    /// All of it, if that was loaded.
    pub(super) fn whole(self) -> Option<Timeline> {
        match self {
            Found::Whole(timeline) => Some(timeline),
            Found::Nothing | Found::Long(_) => None,
        }
    }
}

/// Whether an outline has what a read looks at.
enum Filled {
    All,
    /// It would take much, or nobody can say.
    TooMuch,
    /// The entity, or what is asked of it, has changed since it was made.
    Outdated,
}

impl NodeState {
    /// Reads an entity that is not in memory; `outline` is what memory has of it, as of `drops`.
    pub(super) fn read_stored<R>(
        &self,
        key: &[u8],
        (outline, drops): (Option<Arc<Sketch>>, u64),
        keep: Keep,
        looks: Option<&Looks<'_>>,
        read: impl FnOnce(&Timeline) -> R,
    ) -> Result<Option<R>> {
        let longest =
            if looks.is_some() && outline.is_none() { self.residence.longest() } else { usize::MAX };
        let is_known = outline.is_some();
        let outline = match outline {
            Some(outline) => outline,
            None => match self.find(key, Position::MAX, longest)? {
                Found::Nothing => return Ok(None),
                Found::Whole(timeline) => return Ok(Some(self.read_whole(key, timeline, drops, keep, read))),
                Found::Long(outline) => Sketch::new(outline, &self.residence),
            },
        };
        let mut held = outline.hold();
        let filled = looks.map_or(Ok(Filled::TooMuch), |looks| self.fill(key, &mut held, looks))?;
        if matches!(filled, Filled::All) {
            held.note();
            let answer = read(held.timeline());
            drop(held);
            let fits = || self.residence.keeps(outline.bytes());
            match is_known {
                true if !fits() => outline.hold().empty(),
                false if keep == Keep::Hot && fits() => self.keep_outline(key, &outline, drops),
                _ => {}
            }
            return Ok(Some(answer));
        }
        drop(held);
        if is_known && matches!(filled, Filled::Outdated) {
            let hash = hash_key(key);
            let _ = self.change(stripe_of(hash), format_args!("an outline was dropped"), |stripe| {
                stripe.drop_outline(hash, key);
            });
        }
        let whole = self.load(key, Position::MAX)?;
        Ok(whole.map(|timeline| self.read_whole(key, timeline, drops, keep, read)))
    }

    /// Keeps an outline that a read has made.
    fn keep_outline(&self, key: &[u8], outline: &Arc<Sketch>, drops: u64) {
        let hash = hash_key(key);
        // The answer is right, whatever becomes of the stripe.
        let _ = self.change(stripe_of(hash), format_args!("an outline was made"), |stripe| {
            // Otherwise it may have been changed, written and dropped since it was read.
            if stripe.drops == drops {
                stripe.place_outline(hash, key, outline);
            }
        });
    }

    /// Reads what was loaded, and keeps it if there is room.
    fn read_whole<R>(
        &self,
        key: &[u8],
        timeline: Timeline,
        drops: u64,
        keep: Keep,
        read: impl FnOnce(&Timeline) -> R,
    ) -> R {
        let hash = hash_key(key);
        let answer = read(&timeline);
        if keep == Keep::Hot && self.residence.admits(timeline.bytes()) {
            // The answer is right, whatever becomes of the stripe.
            let _ = self.change(stripe_of(hash), format_args!("an entity was loaded"), |stripe| {
                // Otherwise it may have been changed, written and dropped since it was read.
                if stripe.drops == drops {
                    stripe.place(Loaded { hash, key: key.into(), timeline: Some(timeline) }, true);
                    stripe.settle(&self.residence);
                }
            });
        }
        answer
    }

    /// Fills the chunks of an outline that a read looks into.
    fn fill(&self, key: &[u8], outline: &mut Outline, looks: &Looks<'_>) -> Result<Filled> {
        let layout = self.layout();
        if !outline.is_of(&layout) {
            return Ok(Filled::Outdated);
        }
        let Some(lacking) = outline.lacks(looks.layout, &(looks.all)()) else { return Ok(Filled::TooMuch) };
        let filled = self.guarded(key, || {
            for chunk in lacking {
                if !self.fill_chunk(key, outline, &layout, chunk)? {
                    return Ok(Filled::Outdated);
                }
            }
            Ok(Filled::All)
        });
        // What is not there may have been removed meanwhile.
        self.still_stored().and(filled)
    }

    /// Makes the outline of an entity that is too long for memory, as the first read of it would. Of one that has none,
    /// nothing is loaded.
    pub(super) fn outline(&self, key: &[u8]) -> Result<()> {
        let drops = self.stripe(stripe_of(hash_key(key))).read().drops;
        let outline = self.guarded(key, || {
            self.residence.note_load();
            let stored = self.residence.store().chunks_of(self.node, key);
            Outline::of(&self.layout(), stored.map(|chunk| chunk.map(|(_, id, bytes)| (id, bytes))))
        });
        // What is not there may have been removed meanwhile.
        if let Some(outline) = self.still_stored().and(outline)? {
            let outline = Sketch::new(outline, &self.residence);
            if self.residence.keeps(outline.bytes()) {
                self.keep_outline(key, &outline, drops);
            }
        }
        Ok(())
    }

    /// The timeline that the store has of a key.
    pub(super) fn load(&self, key: &[u8], at: Position) -> Result<Option<Timeline>> {
        self.find(key, at, usize::MAX).map(Found::whole)
    }

    /// What the store has of a key; of more than `longest` bytes the outline, if it has one.
    pub(super) fn find(&self, key: &[u8], at: Position, longest: usize) -> Result<Found> {
        let store = self.residence.store();
        let load = || {
            // One look tells whether there is anything, and mostly gives all there is.
            let Some(first) = store.chunk(ChunkKey { node: self.node, key, chunk: 0 })? else {
                return Ok(Found::Nothing);
            };
            self.residence.note_load();
            if Timeline::is_whole(&first) {
                return Timeline::from_chunks(&self.layout(), [(0, &*first)].into_iter(), at)
                    .map(Found::Whole);
            }
            let (mut stored, mut chunks, mut bytes) = (store.chunks_of(self.node, key), Vec::new(), 0);
            while bytes <= longest {
                let Some(chunk) = stored.next().transpose()? else {
                    return self.decode(&chunks, at).map(Found::Whole);
                };
                bytes += chunk.2.len();
                chunks.push(chunk);
            }
            let all = chunks.into_iter().map(Ok).chain(stored);
            let all = all.map(|chunk| chunk.map(|(_, id, bytes)| (id, bytes)));
            if let Some(outline) = Outline::of(&self.layout(), all)? {
                return Ok(Found::Long(outline));
            }
            let chunks = store.chunks_of(self.node, key).collect::<Result<Vec<_>>>()?;
            self.decode(&chunks, at).map(Found::Whole)
        };
        let found = self.guarded(key, load);
        // What is not there may have been removed meanwhile.
        self.still_stored().and(found)
    }

    /// What `load` finds of an entity, or an error that names it, also if it panics.
    pub(super) fn guarded<R>(&self, key: &[u8], load: impl FnOnce() -> Result<R>) -> Result<R> {
        let found = catch_unwind(AssertUnwindSafe(load))
            .unwrap_or_else(|panic| Err(Error::internal(format!("loading it panicked: {}", said(&*panic)))));
        found.map_err(|error| self.named(key, &error))
    }

    pub(super) fn decode(&self, chunks: &[StoredChunk], at: Position) -> Result<Timeline> {
        let chunks = chunks.iter().map(|(_, id, bytes)| (*id, bytes.as_slice()));
        Timeline::from_chunks(&self.layout(), chunks, at)
    }
}
