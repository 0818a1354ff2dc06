//! Which rows count at `(T, S)` (contract, section 1).

use thyme_core::{EventTime, Position, Span, Value};

/// One admitted event of one entity, after the operators.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its event time.
    pub time: EventTime,
    /// Its position.
    pub position: Position,
    /// Its value in each column.
    pub values: Vec<Value>,
    /// The verdict of each predicate.
    pub predicates: Vec<bool>,
}

/// Whether `T - w < t <= T`; no window means since the beginning.
pub fn contains(time: EventTime, until: EventTime, window: Option<Span>) -> bool {
    time <= until && window.is_none_or(|w| i128::from(time.0) > i128::from(until.0) - i128::from(w.0))
}

/// The shorter of a window and a retention, where there are any.
pub fn within(window: Option<Span>, retention: Option<Span>) -> Option<Span> {
    match (window, retention) {
        (Some(window), Some(retention)) => Some(window.min(retention)),
        (window, retention) => window.or(retention),
    }
}

/// The rows with `T - w < t <= T` at positions up to `S`, in the order of (t, position).
pub fn visible(rows: &[Row], until: EventTime, at: Position, window: Option<Span>) -> Vec<&Row> {
    let mut rows: Vec<&Row> =
        rows.iter().filter(|row| row.position <= at && contains(row.time, until, window)).collect();
    rows.sort_by_key(|row| (row.time, row.position));
    rows
}
