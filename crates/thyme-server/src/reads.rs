//! The reading endpoints.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};
use std::sync::Arc;
use std::time::Duration;
use thyme_core::{DataType, Error, EventTime, Position, Result, Value};
use thyme_engine::{ReadAt, Snapshot};
use thyme_query::{Answer, ColumnBuffer, Detail, Frame, Known, Labels, Plan, Wanted};

use crate::app::Ready;
use crate::arrow_io;
use crate::feature_meta;
use crate::json;
use crate::names;
use crate::openapi::{GET_FEATURES, refuse_all_but, shapes};
use crate::request::{ARROW_STREAM, PARQUET, Reply, Request};
use crate::runs::{Asked, At, Part, Subject};

/// The most rows of a JSON or batch request; Arrow bodies are bounded by their bytes.
const ROWS_MAX: usize = 1_000_000;

#[derive(Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a JSON object with featureset, entity_id and optionally features, inputs, timestamp, min_position, position, wait_ms, meta"
)]
pub(crate) struct FeaturesBody {
    featureset: String,
    #[schemars(schema_with = "shapes::entity")]
    entity_id: Json,
    #[schemars(schema_with = "shapes::features")]
    features: Option<Json>,
    #[serde(default)]
    inputs: Option<Map<String, Json>>,
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

#[derive(Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a JSON object with featureset, queries and optionally features, as_served, min_position, position, wait_ms, meta"
)]
pub(crate) struct OfflineBody {
    featureset: String,
    queries: Vec<OfflineQuery>,
    #[schemars(schema_with = "shapes::features")]
    features: Option<Json>,
    #[serde(default)]
    as_served: bool,
    #[schemars(schema_with = "shapes::optional_position")]
    min_position: Option<String>,
    #[schemars(schema_with = "shapes::optional_position")]
    position: Option<String>,
    #[schemars(range(max = 60_000))]
    wait_ms: Option<u64>,
    #[serde(default)]
    meta: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object with entity_id, timestamp and optionally inputs")]
pub(crate) struct OfflineQuery {
    #[schemars(schema_with = "shapes::entity")]
    entity_id: Json,
    #[schemars(schema_with = "shapes::time")]
    timestamp: Json,
    #[serde(default)]
    inputs: Map<String, Json>,
}

/// A request body as JSON of a known shape.
///
/// # Errors
/// InvalidData with what serde says.
pub(crate) fn parse<'a, T: Deserialize<'a>>(request: &'a Request) -> Result<T> {
    serde_json::from_slice(&request.body)
        .map_err(|e| Error::invalid_data(format!("{}: the body is not what is expected: {e}", request.path)))
}

/// The `(T, S)` that a request asks for, and how long it waits for it.
pub(crate) fn read_at(
    timestamp: Option<EventTime>,
    min_position: Option<&str>,
    position: Option<&str>,
    wait_ms: Option<u64>,
) -> Result<ReadAt> {
    let wait = wait_ms.map(Duration::from_millis);
    if wait.is_some_and(|wait| wait > ReadAt::WAIT_MAX) {
        return Err(Error::invalid_data(format!(
            "wait_ms: expected a number from 0 to {}, got {}; ask again instead of waiting longer",
            ReadAt::WAIT_MAX.as_millis(),
            wait_ms.unwrap_or_default()
        )));
    }
    Ok(ReadAt {
        time: timestamp,
        position: position.map(str::parse::<Position>).transpose()?,
        min_position: min_position.map(str::parse::<Position>).transpose()?,
        wait,
    })
}

/// The state that a request reads, waited for as long as whoever sent it is there.
pub(crate) fn snapshot_of(ready: &Ready, request: &Request, at: ReadAt) -> Result<Snapshot> {
    let (_, applied) = ready.engine().records();
    let awaited = at.min_position.max(at.position).filter(|position| position.record() > applied);
    let _place = awaited.map(|position| ready.waiting.enter(position)).transpose()?;
    ready.engine().snapshot_while(at, &|| !request.gone.is_set())
}

pub(crate) fn query_read_at(request: &Request) -> Result<ReadAt> {
    let text = match (request.param("timestamp"), request.param("ts")) {
        (Some(_), Some(_)) => {
            return Err(Error::invalid_data("timestamp is given twice, as timestamp and as ts"));
        }
        (one, other) => one.or(other),
    };
    let time = text.map(|t| json::text_time("timestamp", t)).transpose()?;
    param_read_at(request, time)
}

pub(crate) fn param_read_at(request: &Request, time: Option<EventTime>) -> Result<ReadAt> {
    let wait_ms = request.param("wait_ms").map(|text| {
        text.parse::<u64>().map_err(|_| {
            Error::invalid_data(format!("wait_ms: expected a number of milliseconds, got \"{text}\""))
        })
    });
    read_at(time, request.param("min_position"), request.param("position"), wait_ms.transpose()?)
}

/// Whether a `/features` request needs neither Python, as far as is known, nor a wait.
pub(crate) fn is_quick(ready: &Ready, request: &Request) -> bool {
    let (_, applied) = ready.engine().records();
    let waits = |text: &str| text.parse::<Position>().is_ok_and(|p| p.record() > applied);
    let catalog = ready.engine().catalog();
    let plain = |name: &str| ready.reader.plan(&catalog, name).is_ok_and(|plan| plan.is_hostless());
    if request.method == "GET" {
        let waiting = ["min_position", "position"].iter().any(|p| request.param(p).is_some_and(waits));
        return !waiting && request.param("featureset").is_none_or(plain);
    }
    // The body is parsed again by the handler; a typical one is a few hundred bytes.
    parse::<FeaturesBody>(request).is_ok_and(|body| {
        let waiting = [&body.min_position, &body.position].iter().any(|p| p.as_deref().is_some_and(waits));
        !waiting && plain(&body.featureset)
    })
}

/// `GET /features`: a featureset of an entity, or with `entity_type` a dataset's row.
pub(crate) fn get_features(ready: &Ready, request: &Request) -> Result<Reply> {
    let at = query_read_at(request)?;
    let Some(featureset) = request.param("featureset") else {
        return match request.param("entity_type") {
            Some(dataset) => lookup(ready, request, dataset, at),
            None => Err(Error::invalid_data(
                "give featureset=NAME, or entity_type=DATASET to look a dataset's row up",
            )),
        };
    };
    let snapshot = snapshot_of(ready, request, at)?;
    let wanted = names::wanted_param(request)?;
    let plan = plan_of(ready, request, &snapshot, featureset, wanted.as_deref())?;
    let entity = entity_param(request, &plan.entity)?;
    ready.old_names.note(request, &plan, std::iter::empty());
    let detail = feature_meta::detail(request, false);
    answer_one(ready, request, snapshot, &plan, entity, Vec::new(), detail)
}

/// The plan of a featureset, for callers who may read it: whatever answers features begins here.
pub(crate) fn plan_of(
    ready: &Ready,
    request: &Request,
    snapshot: &Snapshot,
    featureset: &str,
    wanted: Option<&[Wanted]>,
) -> Result<Arc<Plan>> {
    request.caller.may_read(featureset)?;
    ready.reader.plan_of(&snapshot.catalog, featureset, wanted)
}

/// The entity of a GET: `entity_id=`, or each key field by its own name.
pub(crate) fn entity_param(request: &Request, fields: &[(String, DataType)]) -> Result<Vec<Value>> {
    let known = GET_FEATURES.parameters.iter().map(|param| param.name);
    refuse_all_but(request, known.chain(fields.iter().map(|(name, _)| name.as_str())))?;
    let named: Vec<(&str, &str)> =
        fields.iter().filter_map(|(name, _)| request.param(name).map(|text| (name.as_str(), text))).collect();
    if let Some(text) = request.param("entity_id") {
        return match named.first() {
            None => json::text_entity(fields, text),
            Some((name, _)) => {
                Err(Error::invalid_data(format!("the key is given twice, as entity_id and as {name}")))
            }
        };
    }
    if named.is_empty() {
        let names = fields.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>().join(", ");
        return Err(Error::invalid_data(format!(
            "entity_id is missing: give entity_id=, or the key by name ({names})"
        )));
    }
    json::named_entity(fields, &named)
}

/// `POST /features`.
pub(crate) fn post_features(ready: &Ready, request: &Request) -> Result<Reply> {
    let body: FeaturesBody = parse(request)?;
    let time = body.timestamp.as_ref().map(|t| json::time("timestamp", t)).transpose()?;
    let at = read_at(time, body.min_position.as_deref(), body.position.as_deref(), body.wait_ms)?;
    let snapshot = snapshot_of(ready, request, at)?;
    let wanted = names::wanted(body.features.as_ref())?;
    let plan = plan_of(ready, request, &snapshot, &body.featureset, wanted.as_deref())?;
    let entity = json::entity(&plan.entity, &body.entity_id)?;
    let given = body.inputs.unwrap_or_default();
    ready.old_names.note(request, &plan, given.keys().map(String::as_str));
    let inputs = input_columns(&plan, 1, |_| &given)?;
    let detail = feature_meta::detail(request, body.meta);
    answer_one(ready, request, snapshot, &plan, entity, inputs, detail)
}

fn answer_one(
    ready: &Ready,
    request: &Request,
    snapshot: Snapshot,
    plan: &Arc<Plan>,
    entity: Vec<Value>,
    inputs: Vec<(String, ColumnBuffer)>,
    detail: Detail,
) -> Result<Reply> {
    let id = json::entity_json(&plan.entity, &entity);
    let entities = [entity];
    let asked = Asked::of(&entities, &inputs);
    let answer = ready.reader.query_with(snapshot, plan, &entities, inputs, detail)?;
    let (features, non_finite) = features_json(&answer, 0);
    let mut body = one(&plan.name, id, features.into(), non_finite, &answer.snapshot);
    add_notes(&mut body, plan, &answer, feature_meta::one(&answer));
    request.note(plan, asked, answer);
    Ok(Reply::json(200, &body))
}

fn one(
    entity_type: &str,
    id: Json,
    features: Json,
    non_finite: Map<String, Json>,
    snapshot: &Snapshot,
) -> Json {
    let mut body = json!({
        "entity_type": entity_type,
        "entity_id": id,
        "features": features,
        "mode": mode(snapshot),
        "as_of": json::as_of(snapshot),
    });
    if !non_finite.is_empty() {
        body["non_finite"] = non_finite.into();
    }
    if let Some(erased) = snapshot.erased() {
        body["warnings"] = json!([erased]);
    }
    body
}

/// Adds what is said of the names, of the values (`features`), and what the caller should know.
pub(crate) fn add_notes(body: &mut Json, plan: &Plan, answer: &Answer, features: Option<Json>) {
    if let Some(meta) = names::meta(plan, features) {
        body["meta"] = meta;
    }
    if !answer.warnings.is_empty() {
        body["warnings"] = json!(answer.warnings);
    }
}

pub(crate) fn mode(snapshot: &Snapshot) -> &'static str {
    if snapshot.online { "online" } else { "point_in_time" }
}

pub(crate) fn features_json(answer: &Answer, row: usize) -> (Map<String, Json>, Map<String, Json>) {
    let mut non_finite = Map::new();
    let features = answer
        .names
        .iter()
        .zip(&answer.columns)
        .map(|(name, column)| (name.clone(), json::to_json(name, &column.get(row), &mut non_finite)))
        .collect();
    (features, non_finite)
}

/// The request features of each row as columns.
pub(crate) fn input_columns<'a>(
    plan: &Plan,
    rows: usize,
    given: impl Fn(usize) -> &'a Map<String, Json>,
) -> Result<Vec<(String, ColumnBuffer)>> {
    let mut columns: Vec<(String, ColumnBuffer)> = Vec::new();
    for row in 0..rows {
        for (name, json) in given(row) {
            let index = match columns.iter().position(|(n, _)| n == name) {
                Some(index) => index,
                None => {
                    let request = plan.request(name);
                    // An unknown name is refused where the plan is run, with the names it takes.
                    let data_type = request.map_or(DataType::Int, |r| plan.data_type(r.slot));
                    columns.push((name.clone(), ColumnBuffer::nulls(data_type, rows)));
                    columns.len() - 1
                }
            };
            if plan.request(name).is_some() {
                let column = &mut columns[index].1;
                let subject =
                    if rows == 1 { format!("inputs.{name}") } else { format!("inputs[{row}].{name}") };
                let value = json::value(&subject, column.data_type(), json)?;
                column.set(row, value);
            }
        }
    }
    Ok(columns)
}

fn lookup(ready: &Ready, request: &Request, dataset: &str, at: ReadAt) -> Result<Reply> {
    request.caller.may_read_all(dataset)?;
    let snapshot = snapshot_of(ready, request, at)?;
    let live = snapshot.catalog.dataset(dataset)?.clone();
    let keys: Vec<(String, DataType)> =
        live.definition.fields.keys().map(|f| (f.name.clone(), f.data_type)).collect();
    let key = entity_param(request, &keys)?;
    let (row, present) = ready.reader.lookup(&snapshot, &live, &key)?;
    let mut non_finite = Map::new();
    let is_output = |name: &str| {
        live.definition.fields.field(name).is_some_and(|f| f.role == thyme_core::schema::Role::Value)
    };
    // What aggregates give is their outputs; a row is itself.
    let is_shown = |name: &str| live.has_rows() || is_output(name);
    let row: Vec<(String, Value)> = row.into_iter().filter(|(name, _)| is_shown(name)).collect();
    let features: Map<String, Json> =
        row.iter().map(|(name, value)| (name.clone(), json::to_json(name, value, &mut non_finite))).collect();
    let wants_values = request.param("missing") == Some("values");
    let features = match present || wants_values {
        true => Json::Object(features),
        false => Json::Null,
    };
    let mut body = one(dataset, json::entity_json(&keys, &key), features, non_finite, &snapshot);
    if feature_meta::detail(request, false) == Detail::Facts {
        let newest = ready.reader.newest(&snapshot, &live, &key)?;
        body["meta"]["row"] = feature_meta::row(newest, snapshot.time, live.definition.version);
    }
    request.noted.add(Part::of_row(&live, &snapshot, key, &row, !present));
    Ok(Reply::json(200, &body))
}

fn at_row(list: &str, row: usize, error: &Error) -> Error {
    Error::invalid_data(format!("{list}[{row}]: {}", error.detail()))
}

pub(crate) fn checked_rows(rows: usize) -> Result<usize> {
    if rows > ROWS_MAX {
        let detail = format!(
            "{rows} rows in one JSON request, at most {ROWS_MAX}; send an Arrow IPC stream to /features/offline"
        );
        return Err(Error::new(thyme_core::ErrorKind::TooLarge, detail));
    }
    Ok(rows)
}

/// What `add_notes` says, as schema metadata.
pub(crate) fn arrow_notes(
    plan: &Plan,
    warnings: &[String],
    features: Option<Json>,
) -> Vec<(&'static str, Json)> {
    let warnings = (!warnings.is_empty()).then(|| ("warnings", json!(warnings)));
    // Arrow has no JSON: its columns are texts, which this tells from others.
    let json: Vec<&str> = plan
        .features
        .iter()
        .filter(|column| plan.data_type(column.slot) == DataType::Json)
        .map(|column| column.name.as_str())
        .collect();
    let json = (!json.is_empty()).then(|| ("json", json!(json)));
    names::meta(plan, features).map(|meta| ("meta", meta)).into_iter().chain(warnings).chain(json).collect()
}

/// `POST /features/offline`: JSON queries, or labels as Arrow or Parquet.
pub(crate) fn offline(ready: &Ready, request: &Request) -> Result<Reply> {
    let content_type = request.content_type();
    if content_type != ARROW_STREAM && content_type != PARQUET {
        return offline_json(ready, request);
    }
    let at = param_read_at(request, None)?;
    let known = known(request.flag("as_served"));
    let batches = match content_type == PARQUET {
        true => arrow_io::read_parquet(request.body.clone())?,
        false => arrow_io::read_stream(&request.body)?,
    };
    let labels = arrow_io::join(&batches)?;
    drop(batches);
    let featureset = request.required("featureset")?;
    let timestamp_column = request.required("timestamp_column")?;
    let columns = request.list("entity_column");
    let wanted = names::wanted_param(request)?;
    let snapshot = snapshot_of(ready, request, at)?.in_passing();
    let plan = plan_of(ready, request, &snapshot, featureset, wanted.as_deref())?;
    ready.old_names.note(request, &plan, labels.schema_ref().fields().iter().map(|f| f.name().as_str()));
    let shape = Labels { entity_columns: &columns, timestamp_column };
    let detail = feature_meta::detail(request, false);
    let set = ready.reader.offline(snapshot, &plan, &labels, shape, known, detail)?;
    // A training set has a manifest; its run says that it was, and how large.
    request.noted.add(Part {
        subject: Subject::Featureset(plan.clone()),
        at: At { is_online: false, ..At::of(&set.snapshot) },
        asked: Asked { rows: labels.num_rows(), ..Asked::default() },
        names: Vec::new(),
        columns: Vec::new(),
        is_missing: false,
    });
    let mut as_of = json::as_of_until(&set.snapshot, set.latest);
    tell(known, &mut as_of);
    let mut metadata = vec![("as_of", as_of), ("mode", "point_in_time".into())];
    let versions = set.versions.iter().map(|(name, version)| (name.clone(), json!({"version": version})));
    let versions: Map<String, Json> = versions.collect();
    let features = (!versions.is_empty()).then(|| versions.into());
    metadata.extend(arrow_notes(&plan, &set.warnings, features));
    Ok(Reply::arrow(arrow_io::write_stream(&set.batch, &metadata)?))
}

fn known(as_served: bool) -> Known {
    if as_served { Known::AsServed } else { Known::Now }
}

fn tell(known: Known, as_of: &mut Json) {
    if known == Known::AsServed {
        as_of["as_served"] = true.into();
    }
}

fn offline_json(ready: &Ready, request: &Request) -> Result<Reply> {
    if let Some((name, _)) = request.query.iter().find(|(name, _)| name != "meta") {
        let detail = format!("the body is JSON and says everything; give {name} in it, not as a parameter");
        return Err(Error::invalid_data(detail));
    }
    let body: OfflineBody = parse(request)?;
    let at = read_at(None, body.min_position.as_deref(), body.position.as_deref(), body.wait_ms)?;
    let mut snapshot = snapshot_of(ready, request, at)?;
    let wanted = names::wanted(body.features.as_ref())?;
    let plan = plan_of(ready, request, &snapshot, &body.featureset, wanted.as_deref())?;
    let rows = checked_rows(body.queries.len())?;
    let mut entity: Vec<ColumnBuffer> =
        plan.entity.iter().map(|(_, t)| ColumnBuffer::nulls(*t, rows)).collect();
    let (mut times, mut keys) = (Vec::with_capacity(rows), Vec::new());
    for (row, query) in body.queries.iter().enumerate() {
        times.push(json::time("timestamp", &query.timestamp).map_err(|e| at_row("queries", row, &e))?);
        let key = json::entity(&plan.entity, &query.entity_id).map_err(|e| at_row("queries", row, &e))?;
        if rows <= Asked::ROWS_MAX {
            keys.push(key.clone());
        }
        key.into_iter().zip(&mut entity).for_each(|(value, column)| column.set(row, value));
    }
    let inputs = input_columns(&plan, rows, |row| &body.queries[row].inputs)?;
    ready.old_names.note(request, &plan, inputs.iter().map(|(name, _)| name.as_str()));
    let latest = times.iter().max().copied().unwrap_or(snapshot.time);
    let known = known(body.as_served);
    let positions = ready.reader.positions(&mut snapshot, &times, known)?;
    let frame = Frame { entity, times, positions, inputs };
    let detail = feature_meta::detail(request, body.meta);
    let answer = ready.reader.evaluate_with(snapshot, &plan, &frame, detail)?;
    let results: Vec<Json> = (0..rows)
        .map(|row| {
            let (features, non_finite) = features_json(&answer, row);
            let mut result = json!({"features": features});
            if let Some(positions) = &frame.positions {
                result["position"] = positions[row].to_string().into();
            }
            if !non_finite.is_empty() {
                result["non_finite"] = non_finite.into();
            }
            result
        })
        .collect();
    let mut as_of = json::as_of_until(&answer.snapshot, latest);
    tell(known, &mut as_of);
    let mut out = json!({"results": results, "as_of": as_of});
    add_notes(&mut out, &plan, &answer, feature_meta::many(&answer, &frame.times));
    let Frame { times, positions, inputs, .. } = frame;
    let asked = match rows <= Asked::ROWS_MAX {
        true => Asked { rows, entities: keys, times, positions: positions.unwrap_or_default(), inputs },
        false => Asked { rows, ..Asked::default() },
    };
    request.note(&plan, asked, answer);
    Ok(Reply::json(200, &out))
}

/// `GET /features/scan`.
pub(crate) fn scan(ready: &Ready, request: &Request) -> Result<Reply> {
    let (batch, snapshot) = ready.reader.scan(query_read_at(request)?, request.required("dataset")?)?;
    let mut metadata = vec![("as_of", json::as_of(&snapshot)), ("mode", mode(&snapshot).into())];
    metadata.extend(snapshot.erased().map(|erased| ("warnings", json!([erased]))));
    Ok(Reply::arrow(arrow_io::write_stream(&batch, &metadata)?))
}
