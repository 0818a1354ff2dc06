//! Which events a dedup leaves out: those that repeat one before them.

use std::collections::{BTreeMap, BTreeSet};

use thyme_core::definition::{JoinDef, OperatorDef};
use thyme_core::{EventTime, Position, Result, Span, Value};

use crate::expression::Columns;
use crate::join::Right;
use crate::pipeline::{Fate, Pipeline};
use crate::window::{contains, within};

/// Joins an event of a time; whether a row was found.
pub type Joining<'j> = &'j dyn Fn(&JoinDef, &mut Columns, EventTime) -> Result<bool>;

/// The events that the dedups of a pipeline leave out, as known at one position.
#[derive(Clone, Debug, Default)]
pub struct Repeats {
    /// By the index of the operator.
    left_out: BTreeMap<usize, BTreeSet<Position>>,
}

impl Repeats {
    /// Those among `events`, which are all that are known of the pipeline's input. A row repeats one that is before it, in
    /// the order of event time and position, by less than the dedup's span and the input's retention, and has the same
    /// values, none of them null.
    ///
    /// # Errors
    /// As [`Pipeline::derive_among`].
    pub fn among(pipeline: &Pipeline, events: &[Right], join: Joining<'_>) -> Result<Repeats> {
        let mut repeats = Repeats::default();
        for (index, operator) in pipeline.operators.iter().enumerate() {
            let OperatorDef::Dedup(dedup) = operator else { continue };
            let span = within(dedup.within, pipeline.retention);
            let mut came: BTreeMap<String, Vec<(EventTime, Position)>> = BTreeMap::new();
            for event in events {
                let Some(row) = repeats.reaching(pipeline, index, event, join)? else { continue };
                let values: Vec<Value> = dedup.by.iter().map(|name| row.value(name)).collect();
                if values.iter().all(|value| !value.is_null()) {
                    came.entry(format!("{values:?}")).or_default().push((event.time, event.position));
                }
            }
            repeats
                .left_out
                .insert(index, came.into_values().flat_map(|rows| repeating(rows, span)).collect());
        }
        Ok(repeats)
    }

    /// None.
    pub const fn none() -> Repeats {
        Repeats { left_out: BTreeMap::new() }
    }

    /// Whether the dedup at this index leaves out the event at this position.
    pub fn has(&self, operator: usize, position: Position) -> bool {
        self.left_out.get(&operator).is_some_and(|left_out| left_out.contains(&position))
    }

    /// An event's row as it comes to the operator at this index, if it does.
    fn reaching(
        &self,
        pipeline: &Pipeline,
        index: usize,
        event: &Right,
        join: Joining<'_>,
    ) -> Result<Option<Columns>> {
        let mut came = None;
        let fate = pipeline.derive_among(
            &event.columns,
            &mut |def, columns| join(def, columns, event.time),
            &mut |at, row| {
                if at == index {
                    came = Some(row.clone());
                }
                Ok(at != index && !self.has(at, event.position))
            },
        )?;
        Ok(came.filter(|_| matches!(fate, Fate::Filtered(at) if at == index)))
    }
}

/// Those of rows with the same values that are behind another one, and near it.
fn repeating(mut rows: Vec<(EventTime, Position)>, span: Option<Span>) -> Vec<Position> {
    rows.sort();
    let pairs = rows.iter().zip(rows.iter().skip(1));
    let near = pairs.filter(|(before, row)| contains(before.0, row.0, span));
    near.map(|(_, row)| row.1).collect()
}
