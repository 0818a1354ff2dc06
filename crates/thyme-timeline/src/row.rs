//! One row, as a reader sees it.

use thyme_core::aggregate::word_value;
use thyme_core::{EventTime, Position, Value};

use crate::bits::bit;
use crate::chunk::Chunk;
use crate::layout::Layout;

/// One row of a timeline.
#[derive(Clone, Copy, Debug)]
pub struct RowView<'a> {
    pub(crate) chunk: &'a Chunk,
    pub(crate) layout: &'a Layout,
    pub(crate) row: usize,
}

impl RowView<'_> {
    /// Its event time.
    pub fn time(&self) -> EventTime {
        EventTime(self.chunk.times().get(self.row).copied().unwrap_or_default())
    }

    /// Its position.
    pub fn position(&self) -> Position {
        Position::from_bits(self.chunk.positions().get(self.row).copied().unwrap_or_default())
    }

    /// The position at which it was added: its own, unless it is a later version.
    pub fn added(&self) -> Position {
        Position::from_bits(self.chunk.key(self.row).map_or(0, |(_, _, added)| added))
    }

    /// Its value in a column of the layout.
    pub fn value(&self, column: usize) -> Value {
        match (self.layout.columns.get(column), self.chunk.column(column).get(self.row)) {
            (Some(data_type), Some(word)) if bit(self.chunk.validity(self.layout, column), self.row) => {
                word_value(*data_type, *word, self.chunk.heap_bytes())
            }
            _ => Value::Null,
        }
    }

    /// Whether it says anything but that nothing is there.
    pub(crate) fn is_live(&self) -> bool {
        self.layout.deleted.is_none_or(|column| self.value(column) != Value::Bool(true))
    }

    /// A predicate's verdict on it.
    pub fn predicate(&self, predicate: usize) -> bool {
        predicate < self.layout.predicates && self.chunk.verdict(self.layout, predicate, self.row)
    }
}
