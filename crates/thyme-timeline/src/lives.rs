//! The lives of a chunk's rows: from which position on each is visible, and up to which.

use thyme_core::aggregate::Mask;

use crate::bits::insert_bit;

/// Where a life ends that has not ended.
pub(crate) const FOREVER: u64 = u64::MAX;

/// When each row of a chunk came and went. A chunk whose rows all came at their own positions and are
/// all still there has none.
#[derive(Debug, Default)]
pub(crate) struct Lives {
    added: Vec<u64>,
    removed: Vec<u64>,
    /// One bit a row: whether it is still there. What a read of the present needs.
    open: Mask,
}

impl Lives {
    /// Those of rows that came at `positions` and are still there.
    pub(crate) fn of(positions: &[u64]) -> Lives {
        let mut lives = Lives::default();
        positions.iter().enumerate().for_each(|(row, position)| lives.insert(row, *position, FOREVER));
        lives
    }

    pub(crate) fn added(&self, row: usize) -> Option<u64> {
        self.added.get(row).copied()
    }

    pub(crate) fn removed(&self, row: usize) -> u64 {
        self.removed.get(row).copied().unwrap_or(FOREVER)
    }

    pub(crate) fn insert(&mut self, row: usize, added: u64, removed: u64) {
        let row = row.min(self.added.len());
        self.added.insert(row, added);
        self.removed.insert(row, removed);
        insert_bit(&mut self.open, row, removed == FOREVER);
    }

    /// Ends a life at `at`.
    pub(crate) fn end(&mut self, row: usize, at: u64) {
        self.removed.iter_mut().skip(row).take(1).for_each(|removed| *removed = at);
        if let Some(word) = self.open.get_mut(row / 64) {
            *word &= !(1 << (row % 64));
        }
    }

    /// Whether a row is visible at `at`: `added <= at < removed`.
    pub(crate) fn is_visible(&self, row: usize, at: u64) -> bool {
        let removed = self.removed(row);
        self.added(row).is_some_and(|added| added <= at) && (at < removed || removed == FOREVER)
    }

    /// Takes the rows out of `mask` that are not visible at `at`; `max` is the last position at which any of them came or went.
    pub(crate) fn keep_visible(&self, mask: &mut Mask, at: u64, max: u64) {
        if at >= max {
            mask.iter_mut().zip(&self.open).for_each(|(word, open)| *word &= open);
            return;
        }
        for (index, word) in mask.iter_mut().enumerate() {
            let mut rest = *word;
            while rest != 0 {
                let bit = rest.trailing_zeros() as usize;
                if !self.is_visible(index * 64 + bit, at) {
                    *word &= !(1 << bit);
                }
                rest &= rest - 1;
            }
        }
    }

    /// Bytes of memory, itself included.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Lives>() + (self.added.capacity() + self.removed.capacity()) * size_of::<u64>()
    }
}
