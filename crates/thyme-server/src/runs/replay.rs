//! A query computed again at the `(T, S)` of its run, and compared bit for bit.

use serde_json::{Value as Json, json};
use thyme_core::{DataType, Error, ErrorKind, EventTime, Position, Result, Value};
use thyme_engine::{Catalog, ReadAt, Snapshot};
use thyme_query::{ColumnBuffer, Detail, Frame, Plan, Wanted};

use super::text::{Kept, KeptPart, cell, key_of, rows_of, sum_of};
use crate::app::Ready;
use crate::json;

/// The most differences that one answer shows.
const SHOWN_MAX: usize = 100;

/// Why a query cannot be computed again, or not to the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// Events, or what was recorded, were erased since.
    Erasure,
    /// Retention has removed events that it needs.
    Retention,
    /// The definitions are others now.
    Commit,
    /// An extractor fails now, or gives something else for the same.
    Extractor,
    /// Less was recorded than it takes.
    TooLarge,
    /// Not now.
    Unavailable,
    /// None of these: a fault of Thyme.
    Unknown,
}

impl Reason {
    fn word(self) -> &'static str {
        match self {
            Reason::Erasure => "erasure",
            Reason::Retention => "retention",
            Reason::Commit => "commit",
            Reason::Extractor => "extractor",
            Reason::TooLarge => "too_large",
            Reason::Unavailable => "unavailable",
            Reason::Unknown => "unknown",
        }
    }
}

/// What one part came to.
struct Outcome {
    is_same: bool,
    prevented: Option<(Reason, String)>,
    differences: Vec<Json>,
    different: u64,
}

impl Outcome {
    fn prevented(reason: Reason, detail: impl Into<String>) -> Outcome {
        Outcome {
            is_same: false,
            prevented: Some((reason, detail.into())),
            differences: Vec::new(),
            different: 0,
        }
    }
}

/// The answer to a replay.
pub(super) fn replayed(ready: &Ready, run: &Kept) -> Json {
    let now = ready.engine().catalog().commit.clone();
    let (mut is_same, mut queries) = (true, Vec::new());
    for part in &run.queries {
        let outcome = computed(ready, part)
            .unwrap_or_else(|error| Outcome::prevented(reason_of(&error), error.detail()));
        is_same &= outcome.is_same;
        queries.push(json!({
            "featureset": part.featureset,
            "dataset": part.dataset,
            "as_of": part.as_of,
            "identical": outcome.is_same,
            "prevented": outcome.prevented.map(|(reason, detail)| json!({"reason": reason.word(), "detail": detail})),
            "different": outcome.different,
            "differences": outcome.differences,
        }));
    }
    json!({"id": run.id, "identical": is_same, "commit": now, "queries": queries})
}

fn reason_of(error: &Error) -> Reason {
    match error.kind() {
        ErrorKind::Gone => Reason::Retention,
        ErrorKind::NotFound | ErrorKind::InvalidData | ErrorKind::Unsupported => Reason::Commit,
        ErrorKind::Extractor => Reason::Extractor,
        ErrorKind::Stale => Reason::Commit,
        ErrorKind::Unavailable | ErrorKind::Poisoned | ErrorKind::Overloaded => Reason::Unavailable,
        _ => Reason::Unknown,
    }
}

fn corrupt() -> Error {
    Error::corrupt("the query run cannot be read")
}

/// The inverse of what a run keeps of a value.
fn value(data_type: DataType, cell: &Json) -> Result<Value> {
    let plain = cell.as_array().and_then(|list| list.first()).unwrap_or(cell);
    json::value("recorded", data_type, plain)
}

fn column(data_type: DataType, cells: &[Json]) -> Result<ColumnBuffer> {
    let mut column = ColumnBuffer::nulls(data_type, cells.len());
    for (row, cell) in cells.iter().enumerate() {
        column.set(row, value(data_type, cell)?);
    }
    Ok(column)
}

/// What a run was asked, as the evaluator takes it.
fn frame(part: &KeptPart, plan: &Plan, at: EventTime) -> Result<Frame> {
    let entities = part.entities.as_ref().ok_or_else(corrupt)?;
    let mut entity: Vec<ColumnBuffer> =
        plan.entity.iter().map(|(_, t)| ColumnBuffer::nulls(*t, entities.len())).collect();
    for (row, key) in entities.iter().enumerate() {
        json::entity(&plan.entity, key)?
            .into_iter()
            .zip(&mut entity)
            .for_each(|(v, column)| column.set(row, v));
    }
    let inputs = part.inputs.iter().map(|(name, cells)| {
        let request = plan.request(name);
        let data_type = request.map_or(DataType::Int, |r| plan.data_type(r.slot));
        Ok((name.clone(), column(data_type, cells.as_array().ok_or_else(corrupt)?)?))
    });
    let times = match part.times.is_empty() {
        true => vec![at; entities.len()],
        false => part.times.iter().map(|text| json::text_time("time", text)).collect::<Result<_>>()?,
    };
    let positions = part.positions.iter().map(|text| text.parse::<Position>()).collect::<Result<Vec<_>>>()?;
    let positions = (!positions.is_empty()).then_some(positions);
    Ok(Frame { entity, times, positions, inputs: inputs.collect::<Result<_>>()? })
}

fn computed(ready: &Ready, part: &KeptPart) -> Result<Outcome> {
    if part.erased > 0 {
        let detail =
            format!("{} of what was asked and answered was erased since, and is in no run", part.erased);
        return Ok(Outcome::prevented(Reason::Erasure, detail));
    }
    let (Some(recorded), Some(_)) = (&part.values, &part.entities) else {
        let detail = format!("it had {} rows, and a run keeps those of small answers alone", part.rows);
        return Ok(Outcome::prevented(Reason::TooLarge, detail));
    };
    let time = json::text_time("time", &part.as_of.time)?;
    let position: Position = part.as_of.position.parse()?;
    let snapshot = ready.engine().snapshot(ReadAt {
        time: Some(time),
        position: Some(position),
        ..ReadAt::default()
    })?;
    let Some(featureset) = &part.featureset else { return looked_up(ready, part, recorded, &snapshot) };
    // Names that a feature had before may stand beside its present one.
    let wanted: Vec<Wanted> = part
        .features
        .iter()
        .zip(&part.ids)
        .map(|(name, id)| match part.deprecated.contains(name) {
            true => Wanted::Name(name.clone()),
            false => Wanted::Id(*id),
        })
        .collect();
    let plan = ready.reader.plan_of(&snapshot.catalog, featureset, Some(&wanted))?;
    let frame = frame(part, &plan, time)?;
    let catalog = snapshot.catalog.clone();
    let erased = snapshot.erased();
    let answer = ready.reader.evaluate_with(snapshot, &plan, &frame, Detail::Values)?;
    let rows: Vec<Json> = rows_of(&answer.columns, frame.times.len()).collect();
    let mut outcome = compared(part, recorded, &rows);
    outcome.is_same &= part.sha256.as_ref().is_none_or(|sum| *sum == sum_of(rows.iter().cloned()));
    if !outcome.is_same {
        outcome.prevented = Some(cause(part, plan.is_hostless(), &catalog, erased));
    }
    Ok(outcome)
}

/// A dataset's row, looked up again.
fn looked_up(ready: &Ready, part: &KeptPart, recorded: &[Json], snapshot: &Snapshot) -> Result<Outcome> {
    let live = snapshot.catalog.dataset(part.name())?.clone();
    let asked = part.entities.iter().flatten().next().ok_or_else(corrupt)?;
    let key = json::entity(&key_of(&live), asked)?;
    let (row, is_present) = ready.reader.lookup(snapshot, &live, &key)?;
    let cells: Vec<Json> = part
        .features
        .iter()
        .map(|name| row.iter().find(|(own, _)| own == name).map_or(Json::Null, |(_, value)| cell(value)))
        .collect();
    let mut outcome = compared(part, recorded, &[cells.into()]);
    outcome.is_same &= is_present != part.missing;
    if !outcome.is_same {
        outcome.prevented = Some(cause(part, true, &snapshot.catalog, snapshot.erased()));
    }
    Ok(outcome)
}

/// What differs, feature by feature.
fn compared(part: &KeptPart, recorded: &[Json], rows: &[Json]) -> Outcome {
    let (mut differences, mut different) = (Vec::new(), 0);
    let entities = part.entities.iter().flatten();
    for ((entity, before), after) in entities.zip(recorded).zip(rows) {
        for (index, feature) in part.features.iter().enumerate() {
            let (before, after) = (before.get(index), after.get(index));
            if before != after {
                different += 1;
                if differences.len() < SHOWN_MAX {
                    differences.push(
                        json!({"entity_id": entity, "feature": feature, "recorded": before, "now": after}),
                    );
                }
            }
        }
    }
    let is_same = different == 0 && recorded.len() == rows.len();
    Outcome { is_same, prevented: None, differences, different }
}

/// Why a value is another one: the first of what can be.
fn cause(part: &KeptPart, is_hostless: bool, catalog: &Catalog, erased: Option<String>) -> (Reason, String) {
    if let Some(erased) = erased {
        return (Reason::Erasure, erased);
    }
    if catalog.commit != part.as_of.commit {
        let detail = format!(
            "the definitions were those of commit {}, and are those of {} now; `thyme diff {0} {1}` shows what changed",
            part.as_of.commit, catalog.commit
        );
        return (Reason::Commit, detail);
    }
    if !is_hostless {
        let detail = "an extractor gives something else for the same inputs: it depends on more than them, on a clock or a random number or state of its own".to_owned();
        return (Reason::Extractor, detail);
    }
    (
        Reason::Unknown,
        format!("a value is not what it was at the same (T, S); run `thyme verify {}`", part.name()),
    )
}
