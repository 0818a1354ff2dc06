//! The rows an aggregate is handed, and the masks that pick among them.

use std::sync::Arc;

use crate::value::{DataType, Value, encoding};

/// The most rows in a slice; a mask has one bit for each.
pub const SLICE_ROWS_MAX: usize = 256;

/// Which rows of a slice count: bit `i % 64` of word `i / 64` is row `i`.
pub type Mask = [u64; SLICE_ROWS_MAX / 64];

/// Up to [`SLICE_ROWS_MAX`] rows of one entity in (event time, position) order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Slice<'a> {
    /// The event times.
    pub times: &'a [i64],
    /// The positions, packed.
    pub positions: &'a [u64],
    /// The type of the `of` column; `None` for an aggregate without one.
    pub data_type: Option<DataType>,
    /// The `of` column: int, datetime and date as `i64` bits, float as `f64` bits, bool as 0 or 1, the canonical bytes of
    /// any other value (see [`encoding`]) as `offset << 32 | len` into `heap`. Empty for an aggregate without one.
    pub words: &'a [u64],
    /// The bytes of the values that are not words.
    pub heap: &'a [u8],
    /// For an aggregate that counts nulls: which rows have a value. Empty for any other.
    pub validity: &'a [u64],
    /// The further column ([`super::Call::by`]), as `words` are. Empty for an aggregate without one.
    pub by: &'a [u64],
}

impl Slice<'_> {
    /// The value of the `of` column in `row`, taken as not null.
    pub fn value(&self, row: usize) -> Value {
        match (self.data_type, self.words.get(row)) {
            (Some(data_type), Some(&word)) => word_value(data_type, word, self.heap),
            _ => Value::Null,
        }
    }

    /// Whether `row` has no value, where nulls count.
    pub(super) fn is_null(&self, row: usize) -> bool {
        self.validity.get(row / 64).is_some_and(|bits| bits >> (row % 64) & 1 == 0)
    }

    /// Calls `f` with the words of the picked rows, in order, next to each other.
    ///
    /// A window picks one run of rows unless a predicate, a null or a position makes holes; a run is
    /// passed as it stands.
    pub(super) fn with_picked<R>(&self, mask: &Mask, f: impl FnOnce(&[u64]) -> R) -> R {
        let (Some(first), Some(last)) = (mask_first(mask), mask_last(mask)) else { return f(&[]) };
        let count = mask_count(mask);
        match self.words.get(first..=last) {
            Some(run) if run.len() == count => f(run),
            // Clearing room for all rows would take longer than to pick a few.
            _ if count <= 32 => self.with_gathered::<32, R>(mask, f),
            _ => self.with_gathered::<SLICE_ROWS_MAX, R>(mask, f),
        }
    }

    fn with_gathered<const ROWS: usize, R>(&self, mask: &Mask, f: impl FnOnce(&[u64]) -> R) -> R {
        let mut picked = [0; ROWS];
        let mut count = 0;
        for (to, row) in picked.iter_mut().zip(mask_rows(mask)) {
            let Some(word) = self.words.get(row) else { break };
            *to = *word;
            count += 1;
        }
        f(picked.get(..count).unwrap_or_default())
    }
}

/// The bytes of the string that `word` (`offset << 32 | len`) names; none if it points outside.
pub fn word_text(word: u64, heap: &[u8]) -> &[u8] {
    let (offset, len) = ((word >> 32) as usize, (word & 0xffff_ffff) as usize);
    heap.get(offset..offset.saturating_add(len)).unwrap_or_default()
}

/// The value a 64-bit word stands for in a column of `data_type`.
pub fn word_value(data_type: DataType, word: u64, heap: &[u8]) -> Value {
    match data_type {
        DataType::Int => Value::Int(word as i64),
        DataType::Float => Value::Float(f64::from_bits(word)),
        DataType::Bool => Value::Bool(word != 0),
        DataType::Datetime => Value::Datetime(word as i64),
        DataType::Str => Value::Str(text_value(word_text(word, heap))),
        DataType::Date => Value::Date(word as i32),
        other => encoding::decode(other, word_text(word, heap)).unwrap_or_default(),
    }
}

/// Text for a value. Heaps hold UTF-8 only, so nothing is replaced.
pub(super) fn text_value(bytes: &[u8]) -> Arc<str> {
    String::from_utf8_lossy(bytes).into()
}

/// The mask of rows `from..to`.
#[inline]
pub fn mask_range(from: usize, to: usize) -> Mask {
    let mut mask = [0; SLICE_ROWS_MAX / 64];
    for (i, word) in mask.iter_mut().enumerate() {
        let low = from.saturating_sub(i * 64).min(64);
        let high = to.saturating_sub(i * 64).min(64);
        if low < high {
            *word = (u64::MAX >> (64 - (high - low))) << low;
        }
    }
    mask
}

/// How many rows are picked.
#[inline]
pub fn mask_count(mask: &Mask) -> usize {
    mask.iter().map(|w| w.count_ones() as usize).sum()
}

/// The first picked row.
#[inline]
pub fn mask_first(mask: &Mask) -> Option<usize> {
    mask.iter().enumerate().find(|(_, w)| **w != 0).map(|(i, w)| i * 64 + w.trailing_zeros() as usize)
}

/// The last picked row.
#[inline]
pub fn mask_last(mask: &Mask) -> Option<usize> {
    mask.iter()
        .enumerate()
        .rev()
        .find(|(_, w)| **w != 0)
        .map(|(i, w)| i * 64 + 63 - w.leading_zeros() as usize)
}

/// The picked rows, in order.
pub fn mask_rows(mask: &Mask) -> impl Iterator<Item = usize> + '_ {
    mask.iter().enumerate().flat_map(|(i, &word)| {
        let mut rest = word;
        std::iter::from_fn(move || {
            let bit = (rest != 0).then(|| rest.trailing_zeros() as usize)?;
            rest &= rest - 1;
            Some(i * 64 + bit)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_mask_has_exactly_its_rows() {
        for from in [0, 1, 63, 64, 65, 127, 128, 200, 255, 256] {
            for to in [0, 1, 63, 64, 65, 128, 129, 255, 256] {
                let rows: Vec<usize> = mask_rows(&mask_range(from, to)).collect();
                assert_eq!(rows, (from..to).collect::<Vec<_>>());
                assert_eq!(mask_count(&mask_range(from, to)), rows.len());
                assert_eq!(mask_first(&mask_range(from, to)), rows.first().copied());
                assert_eq!(mask_last(&mask_range(from, to)), rows.last().copied());
            }
        }
    }

    #[test]
    fn runs_and_holes_pick_the_same_words() {
        let words: Vec<u64> = (0..200).collect();
        let slice = Slice { data_type: Some(DataType::Int), words: &words, ..Slice::default() };
        assert_eq!(slice.with_picked(&mask_range(3, 150), <[u64]>::to_vec), (3..150).collect::<Vec<_>>());
        let holes = [0b1010_0000, 0, 1 << 63, 0];
        assert_eq!(slice.with_picked(&holes, <[u64]>::to_vec), [5, 7, 191]);
        assert_eq!(slice.with_picked(&[0; 4], <[u64]>::to_vec), [0u64; 0]);
        assert_eq!(slice.with_picked(&mask_range(190, 256), <[u64]>::to_vec), (190..200).collect::<Vec<_>>());
    }
}
