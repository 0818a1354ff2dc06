//! Which row of another dataset an event is joined with (contract, section 7).

use thyme_core::definition::{Dataset, JoinDef};
use thyme_core::{Error, EventTime, Position, Result, Value};

use crate::expression::{Columns, Typed};
use crate::window::{contains, within};

/// An admitted event of a joined dataset.
#[derive(Clone, Debug)]
pub struct Right {
    /// Its event time.
    pub time: EventTime,
    /// Its position.
    pub position: Position,
    /// Its columns.
    pub columns: Columns,
}

/// The right row of an event at `time`, as known at `S`: of those with its key and `t(right) <= t(left)` the one
/// with the greatest `(t, position)`, unless that is a delete. Retention is part of what is there at the event's own time.
pub fn latest<'r>(
    join: &JoinDef,
    dataset: &Dataset,
    rights: &'r [Right],
    event: &Columns,
    time: EventTime,
    at: Position,
) -> Option<&'r Right> {
    let names = || join.left_on.iter().zip(&join.right_on);
    if names().any(|(left, _)| event.value(left) == Value::Null) {
        return None;
    }
    rights
        .iter()
        .filter(|right| right.position <= at)
        .filter(|right| contains(right.time, time, within(join.within, dataset.retention)))
        .filter(|right| names().all(|(left, key)| event.value(left) == right.columns.value(key)))
        .max_by_key(|right| (right.time, right.position))
        .filter(|right| match &dataset.deleted {
            Some(deleted) => right.columns.value(deleted) != Value::Bool(true),
            None => true,
        })
}

/// Adds the columns of a join to an event's; nulls where it found no row.
///
/// # Errors
/// A join that a commit would have refused.
pub fn add(join: &JoinDef, dataset: &Dataset, found: Option<&Right>, event: &mut Columns) -> Result<()> {
    for joined in &join.fields {
        let field = dataset.fields.field(&joined.field).ok_or_else(|| {
            Error::internal(format!("{} has no field {}, which is joined", dataset.name, joined.field))
        })?;
        let value = found.map(|right| right.columns.value(&joined.field)).unwrap_or_default();
        event.set(joined.name.as_str(), Typed { value, data_type: Some(field.data_type) });
    }
    Ok(())
}
