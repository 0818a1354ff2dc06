//! Rows of several records on their way into timelines together, so that each timeline is looked up once for all of
//! them, while it is in the processor's cache.

use std::sync::Arc;

use thyme_core::{Position, Result};

use crate::shard::Work;

/// Fewer rows than these are as soon looked up where they are.
const TOGETHER_FROM: usize = 1024;

/// What some records in a row give to nodes.
#[derive(Default)]
pub(super) struct Group {
    /// Before the first of the records. What a crash left of it and later ones is dropped: they are taken again.
    pub at: Position,
    /// Bytes of memory that its rows take, about.
    pub bytes: usize,
    work: Work,
}

impl Group {
    /// Adds what record `number`, whose rows take `bytes`, gives to nodes.
    pub fn add(&mut self, number: u64, bytes: usize, work: Work) -> Result<()> {
        if self.work.is_empty() {
            self.at = Position::end_of(number.saturating_sub(1));
        }
        self.bytes += bytes;
        for (node, mut rows) in work {
            if rows.len() >= TOGETHER_FROM {
                rows = Arc::new(rows.together()?);
            }
            self.bytes += rows.bytes();
            self.work.push((node, rows));
        }
        Ok(())
    }

    /// What there is to do, by node, in log order for each.
    pub fn work(mut self) -> Work {
        self.work.sort_by_key(|(node, _)| node.id);
        self.work
    }
}
