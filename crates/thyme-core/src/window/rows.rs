//! `Rows(10)`: the last rows, however long ago they were.

/// The most rows that such a window has.
pub const ROWS_MAX: u32 = 100_000;

/// The last `rows` rows up to T, in the order of (event time, position).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// How many; there are fewer while an entity has fewer.
    pub rows: u32,
}
