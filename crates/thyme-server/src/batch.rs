//! Features of many entities: `POST /features/batch`, and one query of a `POST /features/multi`.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Field, Schema};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};
use thyme_core::{DataType, Error, Result, Value};
use thyme_engine::Snapshot;
use thyme_query::{Answer, ColumnBuffer, Detail, Plan};

use crate::app::Ready;
use crate::openapi::shapes;
use crate::reads::{
    add_notes, arrow_notes, checked_rows, input_columns, mode, parse, plan_of, read_at, snapshot_of,
};
use crate::request::{Reply, Request};
use crate::{arrow_io, feature_meta, json, names, runs};

#[derive(Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a JSON object with featureset, entity_ids and optionally features, inputs, timestamp, min_position, position, wait_ms, meta"
)]
pub(crate) struct BatchBody {
    featureset: String,
    #[schemars(schema_with = "shapes::entities")]
    entity_ids: Vec<Json>,
    #[schemars(schema_with = "shapes::features")]
    features: Option<Json>,
    #[serde(default)]
    #[schemars(schema_with = "shapes::inputs")]
    inputs: Json,
    #[schemars(schema_with = "shapes::optional_time")]
    timestamp: Option<Json>,
    #[schemars(schema_with = "shapes::optional_position")]
    min_position: Option<String>,
    #[schemars(schema_with = "shapes::optional_position")]
    position: Option<String>,
    #[schemars(range(max = 60_000))]
    wait_ms: Option<u64>,
    #[serde(default)]
    meta: bool,
}

/// What is asked of one featureset.
pub(crate) struct Asked<'a> {
    pub featureset: &'a str,
    pub entity_ids: &'a [Json],
    pub features: Option<&'a Json>,
    pub inputs: &'a Json,
    pub detail: Detail,
}

/// The answer to it.
pub(crate) struct Answered {
    plan: Arc<Plan>,
    entities: Vec<Vec<Value>>,
    run: runs::Asked,
    pub answer: Answer,
}

/// `POST /features/batch`.
pub(crate) fn batch(ready: &Ready, request: &Request) -> Result<Reply> {
    let body: BatchBody = parse(request)?;
    let time = body.timestamp.as_ref().map(|t| json::time("timestamp", t)).transpose()?;
    let at = read_at(time, body.min_position.as_deref(), body.position.as_deref(), body.wait_ms)?;
    let asked = Asked {
        featureset: &body.featureset,
        entity_ids: &body.entity_ids,
        features: body.features.as_ref(),
        inputs: &body.inputs,
        detail: feature_meta::detail(request, body.meta),
    };
    let snapshot = snapshot_of(ready, request, at)?;
    let answered = asked.answer(ready, request, snapshot)?;
    if request.accepts_arrow() {
        let out = answered.arrow(&[])?;
        answered.note(request);
        return Ok(Reply::arrow(out));
    }
    let mut out = answered.json();
    out["mode"] = mode(&answered.answer.snapshot).into();
    out["as_of"] = json::as_of(&answered.answer.snapshot);
    answered.note(request);
    Ok(Reply::json(200, &out))
}

impl Asked<'_> {
    /// The features of its entities at `snapshot`.
    pub fn answer(&self, ready: &Ready, request: &Request, snapshot: Snapshot) -> Result<Answered> {
        let wanted = names::wanted(self.features)?;
        let plan = plan_of(ready, request, &snapshot, self.featureset, wanted.as_deref())?;
        let rows = checked_rows(self.entity_ids.len())?;
        let entities =
            self.entity_ids.iter().map(|id| json::entity(&plan.entity, id)).collect::<Result<Vec<_>>>()?;
        let per_row = rows_of_inputs(self.inputs, rows)?;
        let inputs = input_columns(&plan, rows, |row| per_row[if per_row.len() == 1 { 0 } else { row }])?;
        ready.old_names.note(request, &plan, inputs.iter().map(|(name, _)| name.as_str()));
        let run = runs::Asked::of(&entities, &inputs);
        let answer = ready.reader.query_with(snapshot, &plan, &entities, inputs, self.detail)?;
        Ok(Answered { plan, entities, run, answer })
    }
}

impl Answered {
    /// Notes it for the request's query run, once it is rendered.
    pub fn note(self, request: &Request) {
        request.note(&self.plan, self.run, self.answer);
    }

    /// Everything but at which `(T, S, C)` it is.
    pub fn json(&self) -> Json {
        let rows = self.entities.len();
        let mut bad = Vec::new();
        let values: Vec<Json> = (0..rows)
            .map(|row| {
                let mut non_finite = Map::new();
                let columns = self.answer.names.iter().zip(&self.answer.columns);
                let of = |(name, column): (&String, &ColumnBuffer)| {
                    json::to_json(name, &column.get(row), &mut non_finite)
                };
                let values: Vec<Json> = columns.map(of).collect();
                bad.push(non_finite);
                values.into()
            })
            .collect();
        let mut out = json!({"features": self.answer.names, "values": values});
        if bad.iter().any(|b| !b.is_empty()) {
            out["non_finite"] = bad.into_iter().map(Json::Object).collect();
        }
        let times = vec![self.answer.snapshot.time; rows];
        add_notes(&mut out, &self.plan, &self.answer, feature_meta::many(&self.answer, &times));
        out
    }

    /// An IPC stream, with more metadata if there is any.
    pub fn arrow(&self, more: &[(&'static str, Json)]) -> Result<Vec<u8>> {
        let (plan, answer) = (&self.plan, &self.answer);
        let ids = entity_ids(&plan.entity, &self.entities);
        let mut columns: Vec<(String, ArrayRef)> = vec![("entity_id".to_owned(), ids.to_arrow())];
        columns.extend(answer.names.iter().cloned().zip(answer.columns.iter().map(ColumnBuffer::to_arrow)));
        let times = vec![answer.snapshot.time; self.entities.len()];
        let facts = answer.names.iter().zip(&answer.facts);
        columns.extend(facts.flat_map(|(name, facts)| facts.columns(name, &times)));
        let fields: Vec<_> =
            columns.iter().map(|(n, a)| Field::new(n, a.data_type().clone(), true)).collect();
        let arrays = columns.into_iter().map(|(_, a)| a).collect();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?;
        let mut metadata =
            vec![("as_of", json::as_of(&answer.snapshot)), ("mode", mode(&answer.snapshot).into())];
        metadata.extend(arrow_notes(plan, &answer.warnings, feature_meta::versions(answer)));
        metadata.extend(more.iter().cloned());
        arrow_io::write_stream(&batch, &metadata)
    }
}

/// One object for all rows, or one a row.
fn rows_of_inputs(inputs: &Json, rows: usize) -> Result<Vec<&Map<String, Json>>> {
    static NONE: LazyLock<Map<String, Json>> = LazyLock::new(Map::new);
    match inputs {
        Json::Null => Ok(vec![&NONE]),
        Json::Object(all) => Ok(vec![all]),
        Json::Array(each) if each.len() == rows => each
            .iter()
            .enumerate()
            .map(|(row, json)| {
                json.as_object().ok_or_else(|| {
                    Error::invalid_data(format!(
                        "inputs[{row}]: expected an object, got {}",
                        json::shown(json)
                    ))
                })
            })
            .collect(),
        Json::Array(each) => Err(Error::invalid_data(format!(
            "inputs: expected one object a row ({rows}), got {}",
            each.len()
        ))),
        other => Err(Error::invalid_data(format!(
            "inputs: expected an object or a list of them, got {}",
            json::shown(other)
        ))),
    }
}

/// The column that names the entities of a batch.
pub(crate) fn entity_ids(fields: &[(String, DataType)], entities: &[Vec<Value>]) -> ColumnBuffer {
    match fields {
        [(_, data_type)] => {
            let mut ids = ColumnBuffer::nulls(*data_type, entities.len());
            entities.iter().enumerate().for_each(|(row, e)| ids.set(row, e[0].clone()));
            ids
        }
        fields => {
            let mut ids = ColumnBuffer::nulls(DataType::Str, entities.len());
            for (row, entity) in entities.iter().enumerate() {
                ids.set(row, Value::Str(json::entity_json(fields, entity).to_string().into()));
            }
            ids
        }
    }
}
