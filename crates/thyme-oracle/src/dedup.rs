//! Which events a dedup leaves out: those that repeat one before them.

use std::collections::{BTreeMap, BTreeSet};

use thyme_core::definition::dedup::DedupDef;
use thyme_core::definition::{JoinDef, OperatorDef};
use thyme_core::{EventTime, Position, Result, Span, Value};

use crate::expression::Columns;
use crate::join::Right;
use crate::pipeline::Pipeline;
use crate::window::{contains, within};

/// Joins an event of a time; whether a row was found.
pub type Joining<'j> = &'j dyn Fn(&JoinDef, &mut Columns, EventTime) -> Result<bool>;

/// The events that the dedups of a pipeline leave out, as known at one position.
#[derive(Clone, Debug, Default)]
pub struct Repeats {
    /// By the number of the operator.
    left_out: BTreeMap<usize, BTreeSet<Position>>,
}

impl Repeats {
    /// Those among the events that are all that are known of a pipeline's inputs; each of those comes with the operators
    /// that its rows meet. A row repeats one that is before it, in the order of event time and position, by less than
    /// the dedup's span and the inputs' retention, and has the same values, none of them null.
    ///
    /// # Errors
    /// As [`Pipeline::derive_among`].
    pub fn among(inputs: &[(&Pipeline, &[Right])], join: Joining<'_>) -> Result<Repeats> {
        let mut dedups: BTreeMap<usize, (&DedupDef, Option<Span>)> = BTreeMap::new();
        for (pipeline, _) in inputs {
            for (operator, number) in pipeline.operators.iter().zip(&pipeline.numbers) {
                if let OperatorDef::Dedup(dedup) = operator {
                    dedups.insert(*number, (dedup, within(dedup.within, pipeline.retention)));
                }
            }
        }
        let mut repeats = Repeats::default();
        // One that is behind another has the greater number.
        for (number, (dedup, span)) in dedups {
            let mut came: BTreeMap<String, Vec<(EventTime, Position)>> = BTreeMap::new();
            for (pipeline, event) in inputs.iter().flat_map(|(p, events)| events.iter().map(move |e| (p, e)))
            {
                let Some(row) = repeats.reaching(pipeline, number, event, join)? else { continue };
                let values: Vec<Value> = dedup.by.iter().map(|name| row.value(name)).collect();
                if values.iter().all(|value| !value.is_null()) {
                    came.entry(format!("{values:?}")).or_default().push((event.time, event.position));
                }
            }
            let left_out = came.into_values().flat_map(|rows| repeating(rows, span)).collect();
            repeats.left_out.insert(number, left_out);
        }
        Ok(repeats)
    }

    /// None.
    pub const fn none() -> Repeats {
        Repeats { left_out: BTreeMap::new() }
    }

    /// Whether the dedup of this number leaves out the event at this position.
    pub fn has(&self, number: usize, position: Position) -> bool {
        self.left_out.get(&number).is_some_and(|left_out| left_out.contains(&position))
    }

    /// An event's row as it comes to the operator of this number, if it does.
    fn reaching(
        &self,
        pipeline: &Pipeline,
        number: usize,
        event: &Right,
        join: Joining<'_>,
    ) -> Result<Option<Columns>> {
        let mut came = None;
        pipeline.derive_among(
            &event.columns,
            &mut |def, columns| join(def, columns, event.time),
            &mut |at, row| {
                if at == number {
                    came = Some(row.clone());
                }
                Ok(at < number && !self.has(at, event.position))
            },
        )?;
        Ok(came)
    }
}

/// Those of rows with the same values that are behind another one, and near it.
fn repeating(mut rows: Vec<(EventTime, Position)>, span: Option<Span>) -> Vec<Position> {
    rows.sort();
    let pairs = rows.iter().zip(rows.iter().skip(1));
    let near = pairs.filter(|(before, row)| contains(before.0, row.0, span));
    near.map(|(_, row)| row.1).collect()
}
