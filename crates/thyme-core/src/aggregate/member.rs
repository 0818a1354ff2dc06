//! Values as members of a set.

use super::{Mask, Slice, mask_rows, word_text};
/// A value; two are equal if their bits are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Member {
    Word(u64),
    Text(Box<[u8]>),
}

impl Member {
    /// The bytes that it is hashed by.
    pub(super) fn with_bytes<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            Member::Word(word) => f(&word.to_le_bytes()),
            Member::Text(text) => f(text),
        }
    }

    /// Bytes of memory outside the struct itself.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Member::Word(_) => 0,
            Member::Text(text) => text.len(),
        }
    }
}

/// The values of the picked rows, in order.
pub(super) fn members<'a>(slice: &'a Slice<'_>, mask: &'a Mask) -> impl Iterator<Item = Member> + 'a {
    let is_text = slice.data_type.is_some_and(|data_type| !data_type.is_word());
    mask_rows(mask).filter_map(move |row| {
        let word = *slice.words.get(row)?;
        Some(if is_text { Member::Text(word_text(word, slice.heap).into()) } else { Member::Word(word) })
    })
}
