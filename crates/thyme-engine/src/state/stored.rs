//! All that the store has of a node, an entity at a time.

use thyme_core::{Position, Result};
use thyme_store::StoredChunk;
use thyme_timeline::Timeline;

use super::NodeState;

/// So many chunks in a row that cannot be read are a store that cannot be read.
const UNREADABLE_MAX: usize = 16;

/// What a walk over the store comes to: an entity, or a fault that no entity can be named for.
pub(super) type Visit<'a> = dyn FnMut(Option<&[u8]>, Result<Timeline>) -> Result<bool> + 'a;

/// The chunks of the entity that a walk is at.
#[derive(Default)]
struct Gathered {
    chunks: Vec<StoredChunk>,
    bytes: usize,
    /// Whether one of them may be missing.
    is_broken: bool,
}

impl Gathered {
    fn is_of(&self, key: &[u8]) -> bool {
        self.chunks.first().is_some_and(|(of, ..)| **of == *key)
    }

    fn add(&mut self, chunk: StoredChunk, longest: usize) {
        self.bytes += chunk.2.len();
        self.chunks.push(chunk);
        if self.bytes > longest {
            // Only whose they are is wanted.
            self.chunks.truncate(1);
        }
    }
}

impl NodeState {
    /// Calls `f` with each entity that the store has, as of now, until it says false.
    pub fn each_stored(&self, f: &mut dyn FnMut(&[u8], Timeline) -> Result<bool>) -> Result<()> {
        let mut visit = |key: Option<&[u8]>, timeline| f(key.unwrap_or_default(), timeline?);
        self.each_stored_up_to(usize::MAX, &mut visit).map(|_| ())
    }

    /// Calls `f` with each entity of at most `longest` stored bytes, or with why it cannot be read, until it says false.
    /// Gives the keys of longer ones.
    ///
    /// # Errors
    /// What `f` says, and a store of which nothing can be read.
    pub(super) fn each_stored_up_to(&self, longest: usize, f: &mut Visit<'_>) -> Result<Vec<Box<[u8]>>> {
        let (mut at, mut longer, mut unreadable) = (Gathered::default(), Vec::new(), 0);
        for chunk in self.residence.store().chunks(self.node) {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) if unreadable == UNREADABLE_MAX => return Err(error),
                Err(error) => {
                    // It was of the entity before, or of the one after, or all there is of one between them.
                    at = Gathered { is_broken: true, ..Gathered::default() };
                    unreadable += 1;
                    if !f(None, Err(error))? {
                        return Ok(longer);
                    }
                    continue;
                }
            };
            unreadable = 0;
            let is_another = !at.chunks.is_empty() && !at.is_of(&chunk.0);
            if is_another && !self.give(std::mem::take(&mut at), longest, &mut longer, f)? {
                return Ok(longer);
            }
            at.add(chunk, longest);
        }
        self.still_stored()?;
        self.give(at, longest, &mut longer, f)?;
        Ok(longer)
    }

    fn give(
        &self,
        at: Gathered,
        longest: usize,
        longer: &mut Vec<Box<[u8]>>,
        f: &mut Visit<'_>,
    ) -> Result<bool> {
        match at.chunks.first() {
            Some((key, ..)) if !at.is_broken && at.bytes <= longest => {
                f(Some(key), self.guarded(key, || self.decode(&at.chunks, Position::MAX)))
            }
            Some((key, ..)) if !at.is_broken => {
                longer.push(key.clone());
                Ok(true)
            }
            _ => Ok(true),
        }
    }
}
