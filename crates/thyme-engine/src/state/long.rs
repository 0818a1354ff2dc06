//! Rows for entities that are too long for memory: put into the outline and the chunks that they belong to, which go to
//! the store at once. So an outline never has what the store has not, and may be dropped at any time.

use thyme_core::{Position, Result};
use thyme_store::{CheckpointBatch, ChunkKey};
use thyme_timeline::{Batch, Lacking, Layout, Outline, Timeline};

use super::loading::Found;
use super::{NodeState, stripe_of};
use crate::outlines::{Held, Sketch};

/// Bytes of chunks with new rows that are written together, about.
const WRITTEN_BYTES: usize = 4 << 20;

/// The rows of an entity that is not in memory.
pub(super) struct Away<'r> {
    pub hash: u64,
    pub key: &'r [u8],
    /// In log order.
    pub rows: Vec<(&'r Batch, usize)>,
    /// Before the first of them.
    pub at: Position,
}

/// What became of the rows of an entity that was not in memory.
pub(super) enum Inserted {
    /// They are in the store.
    InStore,
    /// Nothing yet: the entity is to be in memory first, which the store has so, or not at all.
    NotYet(Option<Timeline>),
    /// Nothing yet: somebody else has loaded the entity.
    Returned,
}

impl NodeState {
    /// Loads an entity that rows came for, or puts them in where that would be too long for memory.
    ///
    /// # Errors
    /// A store that cannot be read, or a stripe that is poisoned.
    pub(super) fn insert_away(&self, layout: &Layout, away: &Away<'_>) -> Result<Inserted> {
        let Away { hash, key, at, .. } = *away;
        let index = stripe_of(hash);
        let known = self.stripe(index).read().outline(hash, key);
        let sketch = match known {
            Some(known) => known,
            None => match self.find(key, at, self.residence.longest())? {
                Found::Long(outline) => Sketch::new(outline, &self.residence),
                found => return Ok(Inserted::NotYet(found.whole())),
            },
        };
        let begun = self.change(index, format_args!("an outline began to change"), |stripe| {
            stripe.begin_change(hash, key, &sketch)
        })?;
        let Some(sketch) = begun else { return Ok(Inserted::Returned) };
        let written = self.guarded(key, || self.write_through(&mut sketch.hold(), layout, away));
        let is_in = matches!(written, Ok(true));
        self.change(index, format_args!("an outline has changed"), |stripe| {
            stripe.end_change(hash, key, is_in);
        })?;
        match is_in {
            true => Ok(Inserted::InStore),
            // What cannot be read in parts, or not be written, is tried whole; what was written of it is not there as of `at`.
            false => self.load(key, at).map(Inserted::NotYet),
        }
    }

    /// Puts rows into an outline and the store; false if it does not take them, and is not to be used any more.
    fn write_through(&self, outline: &mut Held<'_>, layout: &Layout, away: &Away<'_>) -> Result<bool> {
        if !away.rows.iter().all(|(batch, row)| outline.takes(layout, batch, *row, away.at)) {
            return Ok(false);
        }
        let mut filled = 0;
        for (batch, row) in &away.rows {
            if let Some(lacking) = outline.lacks_for(batch, *row) {
                if !self.fill_chunk(away.key, outline, layout, lacking)? {
                    return Ok(false);
                }
                filled = outline.filled_bytes();
            }
            outline.insert(layout, batch, *row);
            if filled > WRITTEN_BYTES {
                self.write(outline, layout, away.key)?;
                filled = 0;
            }
        }
        self.write(outline, layout, away.key)?;
        Ok(true)
    }

    /// Fills a chunk of an outline from the store; false if that has changed since the outline was made.
    pub(super) fn fill_chunk(
        &self,
        key: &[u8],
        outline: &mut Outline,
        layout: &Layout,
        lacking: Lacking,
    ) -> Result<bool> {
        let place = ChunkKey { node: self.node, key, chunk: lacking.id };
        let stored = self.residence.store().chunk(place)?;
        let is_same = stored.map(|bytes| outline.fill(layout, lacking, &bytes)).transpose()?;
        Ok(is_same == Some(true))
    }

    fn write(&self, outline: &mut Held<'_>, layout: &Layout, key: &[u8]) -> Result<()> {
        let mut batch = CheckpointBatch::new();
        outline.dirty_chunks(layout, &mut |chunk, bytes| {
            let place = ChunkKey { node: self.node, key, chunk };
            match bytes {
                [] => batch.remove_chunk(place),
                _ => batch.put_chunk(place, bytes),
            }
        });
        self.residence.write_through(self, batch)?;
        outline.trim();
        outline.note();
        Ok(())
    }
}
