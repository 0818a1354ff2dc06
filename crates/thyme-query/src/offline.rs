//! Training sets: a frame of labels with their own times.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Field as ArrowField, FieldRef, Schema as ArrowSchema, TimestampMicrosecondType};
use thyme_core::error::nearest;
use thyme_core::schema::Role;
use thyme_core::{DataType, Error, EventTime, Field, Position, Result};
use thyme_engine::Snapshot;
use thyme_engine::decode::columns::conform_column;

use crate::column::ColumnBuffer;
use crate::evaluate::Frame;
use crate::facts::Detail;
use crate::plan::Plan;
use crate::reader::Reader;
use crate::selection::Column;

/// Which events each row of a training set counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Known {
    /// All there are, late-arriving ones too: the best that is known of the past.
    #[default]
    Now,
    /// What an online read at the row's time saw.
    AsServed,
}

/// A training set.
#[derive(Debug)]
pub struct Offline {
    /// The caller's columns, then the features.
    pub batch: RecordBatch,
    /// The latest of the labels' times.
    pub latest: EventTime,
    /// What it was read at.
    pub snapshot: Snapshot,
    /// What the caller should know about the values.
    pub warnings: Vec<String>,
    /// By feature, the version of what gives it its value, if facts were asked for.
    pub versions: Vec<(String, Option<u32>)>,
}

/// Which columns of the labels say what.
#[derive(Clone, Copy, Debug)]
pub struct Labels<'a> {
    /// The entity's key, in its order; none: the columns named like it.
    pub entity_columns: &'a [String],
    /// The times.
    pub timestamp_column: &'a str,
}

impl Reader {
    /// The caller's columns in their order, then the features by bare name; a feature that is an entity
    /// column appears once. Each row's features are as of its own time.
    ///
    /// # Errors
    /// InvalidData: a missing, null or wrongly typed entity, time or input column, or a column with the name of
    /// a feature that Thyme computes.
    pub fn offline(
        &self,
        mut snapshot: Snapshot,
        plan: &Plan,
        labels: &RecordBatch,
        shape: Labels<'_>,
        known: Known,
        detail: Detail,
    ) -> Result<Offline> {
        let columns = entity_columns_of(plan, labels, shape.entity_columns)?;
        refuse_clashes(plan, labels, &columns, shape.timestamp_column)?;
        let mut frame = frame(plan, labels, &columns, shape.timestamp_column)?;
        frame.positions = self.positions(&mut snapshot, &frame.times, known)?;
        let answer = self.evaluate_with(snapshot, plan, &frame, detail)?;
        let mut fields: Vec<FieldRef> = labels.schema_ref().fields().iter().cloned().collect();
        let mut arrays = labels.columns().to_vec();
        for (name, column) in answer.names.iter().zip(&answer.columns) {
            if labels.column_by_name(name).is_none() {
                let array = column.to_arrow();
                fields.push(Arc::new(ArrowField::new(name, array.data_type().clone(), true)));
                arrays.push(array);
            }
        }
        for (name, facts) in answer.names.iter().zip(&answer.facts) {
            for (name, array) in facts.columns(name, &frame.times) {
                if labels.column_by_name(&name).is_some() {
                    return Err(Error::invalid_data(format!(
                        "the labels have a column called \"{name}\", which the answer has too, with meta; rename the column"
                    )));
                }
                fields.push(Arc::new(ArrowField::new(name, array.data_type().clone(), true)));
                arrays.push(array);
            }
        }
        Ok(Offline {
            batch: RecordBatch::try_new(Arc::new(ArrowSchema::new(fields)), arrays)?,
            latest: frame.times.iter().max().copied().unwrap_or(answer.snapshot.time),
            snapshot: answer.snapshot,
            warnings: answer.warnings,
            versions: answer.names.into_iter().zip(answer.facts.iter().map(|facts| facts.version)).collect(),
        })
    }

    /// The position of each row of a training set, if they have their own; then the snapshot says what was
    /// erased since the earliest.
    ///
    /// # Errors
    /// As [`thyme_engine::Engine::served_positions`].
    pub fn positions(
        &self,
        snapshot: &mut Snapshot,
        times: &[EventTime],
        known: Known,
    ) -> Result<Option<Vec<Position>>> {
        if known == Known::Now {
            return Ok(None);
        }
        let positions = self.engine().served_positions(snapshot, times)?;
        let earliest = positions.iter().min().and_then(|earliest| self.engine().erasures_since(*earliest));
        snapshot.erasures = earliest.or(snapshot.erasures);
        Ok(Some(positions))
    }
}

/// The column of each entity field: named by the caller in order, or called like the field.
fn entity_columns_of(plan: &Plan, labels: &RecordBatch, given: &[String]) -> Result<Vec<String>> {
    let names: Vec<&str> = plan.entity.iter().map(|(n, _)| n.as_str()).collect();
    if !given.is_empty() && given.len() != names.len() {
        return Err(Error::invalid_data(format!(
            "the entity of {} is ({}), got {} entity columns: {}",
            plan.name,
            names.join(", "),
            given.len(),
            given.join(", ")
        )));
    }
    let by_name = given.iter().all(|g| names.contains(&g.as_str()));
    let columns: Vec<String> = match given {
        [] => names.iter().map(|n| (*n).to_owned()).collect(),
        _ if by_name => names.iter().map(|n| (*n).to_owned()).collect(),
        _ => given.to_vec(),
    };
    for column in &columns {
        find(labels, column, "entity")?;
    }
    Ok(columns)
}

fn find<'l>(labels: &'l RecordBatch, name: &str, what: &str) -> Result<&'l arrow::array::ArrayRef> {
    labels.column_by_name(name).ok_or_else(|| {
        let schema = labels.schema_ref();
        let known: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        let near = nearest(name, known.iter().copied());
        let hint =
            if near.is_empty() { known.join(", ") } else { format!("did you mean {}?", near.join(", ")) };
        Error::invalid_data(format!("the labels have no {what} column \"{name}\" ({hint})"))
    })
}

/// A feature that Thyme computes must not have the name of a column of the caller's: one would hide the other.
fn refuse_clashes(
    plan: &Plan,
    labels: &RecordBatch,
    entity_columns: &[String],
    timestamp_column: &str,
) -> Result<()> {
    let given = |slot: usize| plan.requests.iter().any(|r| r.slot == slot);
    // Nobody asked for the old names of all features: a column of the caller's hides them.
    let asked = plan.features.iter().filter(|column| plan.selected || column.renamed.is_none());
    for Column { name, slot, .. } in asked {
        let entity_field = plan.entity_slots.iter().find(|(s, _)| s == slot).map(|(_, field)| *field);
        let own_column = entity_field.is_some_and(|field| entity_columns[field] == *name);
        if labels.column_by_name(name).is_some() && !own_column && !given(*slot) {
            let what = if name == timestamp_column { "the timestamp column" } else { "a column" };
            return Err(Error::invalid_data(format!(
                "the labels have {what} called \"{name}\", which is also a feature of {}; rename the column",
                plan.name
            )));
        }
    }
    Ok(())
}

fn frame(
    plan: &Plan,
    labels: &RecordBatch,
    entity_columns: &[String],
    timestamp_column: &str,
) -> Result<Frame> {
    let time_field = field(timestamp_column, DataType::Datetime, false);
    let times = convert(&time_field, find(labels, timestamp_column, "timestamp")?)?;
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let mut entity = Vec::new();
    for ((_, data_type), column) in plan.entity.iter().zip(entity_columns) {
        let values = convert(&field(column, *data_type, false), find(labels, column, "entity")?)?;
        entity.push(ColumnBuffer::from_arrow(*data_type, &values)?);
    }
    let mut inputs = Vec::new();
    for request in &plan.requests {
        // Among the columns of a frame that has both, the present name is what is meant.
        let names = [&request.name].into_iter().chain(&request.former_names);
        let given = names.filter_map(|name| Some((name, labels.column_by_name(name)?))).next();
        if let Some((name, column)) = given {
            let data_type = plan.data_type(request.slot);
            let values = convert(&field(name, data_type, true), column)?;
            inputs.push((name.clone(), ColumnBuffer::from_arrow(data_type, &values)?));
        }
    }
    debug_assert_eq!(times.null_count(), 0);
    let times = times.values().iter().map(|t| EventTime(*t)).collect();
    Ok(Frame { entity, times, positions: None, inputs })
}

fn field(name: &str, data_type: DataType, optional: bool) -> Field {
    Field::new(name, data_type, optional, Role::Value)
}

fn convert(field: &Field, column: &arrow::array::ArrayRef) -> Result<arrow::array::ArrayRef> {
    conform_column(field, column, 0).map_err(|faults| {
        let detail = faults.first().map_or_else(String::new, thyme_engine::decode::with_row);
        Error::invalid_data(format!("labels: {detail}")).with_faults(faults)
    })
}
