//! What chunks lack of a layout that has grown since they were made.
//!
//! Nothing of it is needed for a right answer: reads judge rows and fold them where verdicts or summaries are missing.

use crate::bits::bit;
use crate::body::Body;
use crate::chunk::{Chunk, bit_area};
use crate::layout::Layout;
use crate::timeline::Timeline;
use thyme_core::aggregate::Mask;

impl Chunk {
    /// How many predicates it has the verdicts of. Rows of bits come last, so that more can follow.
    pub(crate) fn predicates(&self, layout: &Layout) -> usize {
        let (start, words) = bit_area(layout, self.capacity(), layout.columns.len());
        match words {
            0 => layout.predicates,
            _ => self.words.len().saturating_sub(start) / words,
        }
    }

    /// Whether there are predicates that it has no verdicts of.
    pub(crate) fn lacks_verdicts(&self, layout: &Layout) -> bool {
        let (start, words) = bit_area(layout, self.capacity(), layout.bit_rows());
        words > 0 && self.words.len() < start
    }

    /// Whether its verdicts of a predicate can be believed.
    pub(crate) fn has_verdicts(&self, layout: &Layout, predicate: usize) -> bool {
        layout.has_verdicts(predicate)
            && (!self.lacks_verdicts(layout) || predicate < self.predicates(layout))
    }

    /// The verdicts of a predicate on the rows `from..to`, made of their columns.
    pub(crate) fn judged(&self, layout: &Layout, predicate: usize, from: usize, to: usize) -> Mask {
        layout.judge(predicate).map_or_else(Mask::default, |judge| judge.verdicts(layout, self, from, to))
    }

    /// A predicate's verdict on a row.
    pub(crate) fn verdict(&self, layout: &Layout, predicate: usize, row: usize) -> bool {
        match self.has_verdicts(layout, predicate) {
            true => bit(self.verdicts(layout, predicate), row),
            false => bit(&self.judged(layout, predicate, row, row + 1), row),
        }
    }

    /// Makes the verdicts that it lacks.
    pub(crate) fn judge(&mut self, layout: &Layout) {
        let known = self.predicates(layout);
        let (end, _) = bit_area(layout, self.capacity(), layout.bit_rows());
        let mut words = std::mem::take(&mut self.words).into_vec();
        words.resize(end.max(words.len()), 0);
        self.words = words.into_boxed_slice();
        self.judge_from(layout, known);
    }

    /// Makes the verdicts of the predicates from `known` on, for which it has room.
    pub(crate) fn judge_from(&mut self, layout: &Layout, known: usize) {
        for predicate in known..layout.predicates {
            let mask = self.judged(layout, predicate, 0, self.len());
            let (start, words) = bit_area(layout, self.capacity(), layout.columns.len() + predicate);
            if let Some(bits) = self.words.get_mut(start..start + words) {
                bits.iter_mut().zip(&mask).for_each(|(word, judged)| *word = *judged);
            }
        }
    }
}

impl Timeline {
    /// Whether nothing is missing that [`Timeline::ripen`] makes.
    pub fn is_ripe(&self, layout: &Layout) -> bool {
        !self.tail().lacks_verdicts(layout) && self.body().is_none_or(|body| body.is_ripe(layout))
    }

    /// Makes the verdicts and summaries that chunks lack because the layout has grown, of `chunks` chunks at most. What
    /// is read does not change by it, nor what is stored.
    pub fn ripen(&mut self, layout: &Layout, chunks: usize) {
        if self.tail().lacks_verdicts(layout) {
            self.tail_mut().judge(layout);
        }
        self.body_mut().into_iter().for_each(|body: &mut Body| body.ripen(layout, chunks));
    }
}
