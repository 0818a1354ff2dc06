//! Columns of scalars as the words that they are kept in, for those who work on many rows at once.

use thyme_core::DataType;

use super::{ColumnBuffer, Values};

impl ColumnBuffer {
    /// The words of its rows and which of them are not null; none of a column that is not kept in words. Of a float
    /// a word is its bits, of a bool 0 or 1, of anything else the number.
    pub(crate) fn words(&self) -> Option<(&[u64], &[bool])> {
        match &self.values {
            Values::Words { words, valid } => Some((words, valid)),
            _ => None,
        }
    }

    /// Puts words of the column's own type to `rows`, less `first` each; `valid` says which are not null, if any is.
    pub(crate) fn set_words(&mut self, rows: &[u32], first: usize, words: &[u64], valid: Option<&[bool]>) {
        let Values::Words { words: kept, valid: known } = &mut self.values else { return };
        for (at, (&row, &word)) in rows.iter().zip(words).enumerate() {
            let is_valid = valid.is_none_or(|valid| valid[at]);
            let row = row as usize - first;
            known[row] = is_valid;
            kept[row] = if is_valid { word } else { 0 };
        }
    }

    /// Adds the rows of a column of the same type.
    pub(crate) fn append(&mut self, other: ColumnBuffer) {
        match (&mut self.values, other.values) {
            (Values::Words { words, valid }, Values::Words { words: more, valid: present }) => {
                words.extend(more);
                valid.extend(present);
            }
            (Values::Texts(texts), Values::Texts(more)) => texts.extend(more),
            (Values::Others(values), Values::Others(more)) => values.extend(more),
            _ => {}
        }
    }

    /// Whether it can hold a value of `data_type`: an int widens to float.
    pub(crate) fn takes(&self, data_type: Option<DataType>) -> bool {
        match data_type {
            None => true,
            Some(DataType::Int) if self.data_type == DataType::Float => true,
            Some(other) => other == self.data_type,
        }
    }
}
