//! Reads of what the pending commit brings and is not live: answered with nulls that say so, beside the rest as it is.
//!
//! A request is split into what is live, which is asked of the endpoint itself, and what is not, which is put into
//! its answer. Nulls would be poison in a training set: there it is refused with how far the fill is.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use serde_json::{Map, Value as Json, json};
use thyme_core::definition::{Document, Featureset};
use thyme_core::time::format_rfc3339;
use thyme_core::{DataType, Error, Result};
use thyme_engine::{Catalog, PendingCommit, ReadAt};
use thyme_query::plan::entity_of;
use thyme_query::{ColumnBuffer, Detail, Wanted};

use crate::app::Ready;
use crate::request::{ARROW_STREAM, Reply, Request};
use crate::{arrow_io, batch, feature_meta, json, names, reads};

type Handler<'h> = &'h dyn Fn(&Ready, &Request) -> Result<Reply>;

/// Whatever goes live while a request is split is asked again.
const TRIES: usize = 3;
/// What an answer says that has nulls for what is not live.
const INCOMPLETE: &str = "INCOMPLETE";

/// Answers a request, with what is only pending as incomplete.
pub(crate) fn answer(ready: &Ready, request: &Request, handler: Handler<'_>) -> Result<Reply> {
    if !request.path.starts_with("/features") {
        return handler(ready, request);
    }
    for _ in 0..TRIES {
        let catalog = ready.engine().catalog();
        let Some(pending) = ready.engine().pending_commit() else { break };
        // What cannot be understood is refused by the endpoint.
        let Some(asked) = Asked::of(request) else { break };
        match &asked {
            Asked::Featureset { name, .. } => request.caller.may_read(name)?,
            Asked::Dataset(name) => request.caller.may_read_all(name)?,
        }
        let Some(split) = Split::of(&asked, &catalog, &pending.document) else { break };
        if request.path == "/features/offline" || request.path == "/features/scan" {
            match split.is_asked {
                true => return Err(refused(&split, &pending)),
                false => break,
            }
        }
        let detail = asked.detail(request);
        let read = Read { ready, request, pending: &pending, catalog: &catalog, detail };
        if let Some(reply) = read.answer(&asked, &split, handler)? {
            return Ok(reply);
        }
    }
    handler(ready, request)
}

/// What a request asks for.
enum Asked {
    Featureset { name: String, wanted: Option<Vec<Wanted>>, body: Option<Json> },
    Dataset(String),
}

impl Asked {
    fn of(request: &Request) -> Option<Asked> {
        if request.path == "/features/scan" {
            return request.param("dataset").map(|name| Asked::Dataset(name.to_owned()));
        }
        let is_frame = [ARROW_STREAM, crate::request::PARQUET].contains(&request.content_type().as_str());
        if request.method == "GET" || is_frame {
            return match (request.param("featureset"), request.param("entity_type")) {
                (Some(name), _) => {
                    let wanted = names::wanted_param(request).ok()?;
                    Some(Asked::Featureset { name: name.to_owned(), wanted, body: None })
                }
                (None, entity_type) => entity_type.map(|name| Asked::Dataset(name.to_owned())),
            };
        }
        let body: Json = serde_json::from_slice(&request.body).ok()?;
        let wanted = names::wanted(body.get("features")).ok()?;
        let name = body.get("featureset")?.as_str()?.to_owned();
        Some(Asked::Featureset { name, wanted, body: Some(body) })
    }

    fn detail(&self, request: &Request) -> Detail {
        let in_body = match self {
            Asked::Featureset { body: Some(body), .. } => body.get("meta") == Some(&Json::Bool(true)),
            _ => false,
        };
        feature_meta::detail(request, in_body)
    }
}

/// A feature that is not live.
struct Missing {
    id: Option<u32>,
    name: String,
    data_type: DataType,
}

/// What of a request is live and what is not.
struct Split<'p> {
    /// What the answer is about, if nothing of it is live.
    featureset: Option<&'p Featureset>,
    /// The features asked for that are live; `None`: all of them.
    present: Option<Vec<Wanted>>,
    /// Each feature of the answer in its order: one that is not live, or the next of those that are.
    order: Vec<Option<usize>>,
    missing: Vec<Missing>,
    /// Whether any of it was asked for by name or id.
    is_asked: bool,
}

impl<'p> Split<'p> {
    /// `None` when everything is live, or nothing of it will be.
    fn of(asked: &Asked, catalog: &Catalog, document: &'p Document) -> Option<Split<'p>> {
        let (name, wanted) = match asked {
            Asked::Featureset { name, wanted, .. } => (name, wanted),
            Asked::Dataset(name) => {
                let is_pending = catalog.dataset(name).is_err() && document.dataset(name).is_some();
                let (present, order, missing) = (None, Vec::new(), Vec::new());
                return is_pending.then_some(Split {
                    featureset: None,
                    present,
                    order,
                    missing,
                    is_asked: true,
                });
            }
        };
        let next = document.featuresets.iter().find(|set| set.name == *name)?;
        let live = catalog.document.featuresets.iter().find(|set| set.name == *name);
        let missing = |feature: &thyme_core::definition::Feature| Missing {
            id: feature.id,
            name: feature.name.clone(),
            data_type: feature.data_type,
        };
        let mut split = Split {
            featureset: Some(next),
            present: None,
            order: Vec::new(),
            missing: Vec::new(),
            is_asked: true,
        };
        match wanted {
            None => {
                let known =
                    |id: Option<u32>| live.is_some_and(|live| id.is_some_and(|id| live.by_id(id).is_some()));
                split.missing = next.features.iter().filter(|f| !known(f.id)).map(missing).collect();
                split.is_asked = live.is_none();
                if live.is_none() {
                    split.present = Some(Vec::new());
                }
            }
            Some(wanted) => {
                let mut present = Vec::new();
                for one in wanted {
                    let find = |set: &'p Featureset| match one {
                        Wanted::Id(id) => set.by_id(*id),
                        Wanted::Name(name) => set.feature(name),
                    };
                    let is_live = live.is_some_and(|live| match one {
                        Wanted::Id(id) => live.by_id(*id).is_some(),
                        Wanted::Name(name) => live.feature(name).is_some(),
                    });
                    match find(next).filter(|_| !is_live) {
                        Some(feature) => {
                            split.order.push(Some(split.missing.len()));
                            split.missing.push(missing(feature));
                        }
                        None => {
                            split.order.push(None);
                            present.push(one.clone());
                        }
                    }
                }
                split.present = Some(present);
            }
        }
        (!split.missing.is_empty()).then_some(split)
    }

    /// Puts what is missing between what is there, in the order that was asked for.
    fn weave<T>(&self, present: Vec<T>, mut missing: impl FnMut(&Missing) -> T) -> Vec<T> {
        let mut present = present.into_iter();
        if self.order.is_empty() {
            return present.chain(self.missing.iter().map(missing)).collect();
        }
        let woven: Vec<T> = self
            .order
            .iter()
            .filter_map(|place| match place {
                Some(index) => self.missing.get(*index).map(&mut missing),
                None => present.next(),
            })
            .collect();
        woven.into_iter().chain(present).collect()
    }
}

fn refused(split: &Split<'_>, pending: &PendingCommit) -> Error {
    let names: Vec<&str> = split.missing.iter().map(|feature| feature.name.as_str()).collect();
    let what = if names.is_empty() { "the dataset".to_owned() } else { names.join(", ") };
    Error::unavailable(format!(
        "{what}: not live yet, and nulls would be wrong here; {pending}; ask again once it is live, or leave it out"
    ))
}

/// What `meta.incomplete` says of one feature.
fn facts(pending: &PendingCommit) -> Json {
    json!({
        "since": format_rfc3339(pending.since),
        "progress": pending.progress(),
        "until": pending.live_at.map(format_rfc3339),
        "commit": pending.id,
    })
}

/// One request while a commit is pending.
struct Read<'a> {
    ready: &'a Ready,
    request: &'a Request,
    pending: &'a PendingCommit,
    catalog: &'a Arc<Catalog>,
    detail: Detail,
}

impl Read<'_> {
    /// `None`: something went live meanwhile.
    fn answer(&self, asked: &Asked, split: &Split<'_>, handler: Handler<'_>) -> Result<Option<Reply>> {
        let Asked::Featureset { body, .. } = asked else { return self.of_dataset(asked) };
        if split.present.as_ref().is_some_and(Vec::is_empty) {
            return self.of_nothing(body.as_ref(), split);
        }
        let narrowed = self.narrowed(body.as_ref(), split);
        let reply = handler(self.ready, narrowed.as_ref().unwrap_or(self.request))?;
        match reply.headers.iter().any(|(_, value)| value == ARROW_STREAM) {
            true => self.patch_arrow(&reply, split),
            false => self.patch_json(reply, split),
        }
    }

    /// The request for what is live alone.
    fn narrowed(&self, body: Option<&Json>, split: &Split<'_>) -> Option<Request> {
        let present = split.present.as_ref()?;
        let Request { method, path, query, headers, body: bytes, gone, caller, noted } = self.request;
        let mut narrowed = Request {
            method: method.clone(),
            path: path.clone(),
            query: query.clone(),
            headers: headers.clone(),
            body: bytes.clone(),
            gone: gone.clone(),
            caller: caller.clone(),
            noted: noted.clone(),
        };
        match body {
            Some(body) => {
                let mut body = body.clone();
                body["features"] = present
                    .iter()
                    .map(|one| match one {
                        Wanted::Id(id) => json!(id),
                        Wanted::Name(name) => json!(name),
                    })
                    .collect();
                narrowed.body = body.to_string().into();
            }
            None => {
                narrowed.query.retain(|(name, _)| name != "features");
                let list = present.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
                narrowed.query.push(("features".to_owned(), list));
            }
        }
        Some(narrowed)
    }

    fn is_as_split(&self, as_of: &Json) -> bool {
        as_of["commit"] == self.catalog.commit.as_str()
    }

    /// Adds to what an answer says of the names in it; `features` is what it says of the values of one of them.
    fn mark(&self, meta: &mut Json, split: &Split<'_>, features: &Json) {
        if !meta.is_object() {
            *meta = json!({});
        }
        for missing in &split.missing {
            meta["incomplete"][&missing.name] = facts(self.pending);
            if self.detail == Detail::Facts {
                meta["features"][&missing.name] = features.clone();
            }
            if meta.get("ids").is_some() || split.present.as_ref().is_some_and(Vec::is_empty) {
                meta["ids"][&missing.name] = json!(missing.id);
            }
        }
    }

    fn patch_json(&self, reply: Reply, split: &Split<'_>) -> Result<Option<Reply>> {
        if reply.status != 200 {
            return Ok(Some(reply));
        }
        let mut body: Json = serde_json::from_slice(&reply.body)
            .map_err(|e| Error::internal(format!("an answer of our own cannot be read: {e}")))?;
        if !self.is_as_split(&body["as_of"]) {
            return Ok(None);
        }
        let rows = body["values"].as_array().map(Vec::len);
        match body["features"].take() {
            Json::Object(features) => {
                let present: Vec<(String, Json)> = features.into_iter().collect();
                let woven = split.weave(present, |missing| (missing.name.clone(), Json::Null));
                body["features"] = woven.into_iter().collect::<Map<_, _>>().into();
            }
            Json::Array(features) => {
                body["features"] = split.weave(features, |missing| json!(missing.name)).into();
                for row in body["values"].as_array_mut().into_iter().flatten() {
                    if let Json::Array(values) = row.take() {
                        *row = split.weave(values, |_| Json::Null).into();
                    }
                }
            }
            other => body["features"] = other,
        }
        self.mark(&mut body["meta"], split, &feature_meta::incomplete(rows));
        body["status"] = INCOMPLETE.into();
        Ok(Some(Reply::json(200, &body)))
    }

    fn patch_arrow(&self, reply: &Reply, split: &Split<'_>) -> Result<Option<Reply>> {
        let batch = arrow_io::join(&arrow_io::read_stream(&reply.body)?)?;
        let schema = batch.schema();
        let read = |name: &str| schema.metadata().get(name).and_then(|text| serde_json::from_str(text).ok());
        if !self.is_as_split(&read("as_of").unwrap_or_default()) {
            return Ok(None);
        }
        let columns: Vec<(String, ArrayRef)> =
            schema.fields().iter().map(|f| f.name().clone()).zip(batch.columns().iter().cloned()).collect();
        let rows = batch.num_rows();
        let (id, features) = columns.split_at(1.min(columns.len()));
        let (facts, features): (Vec<_>, Vec<_>) =
            features.iter().cloned().partition(|(name, _)| name.contains('.'));
        let woven = split.weave(features, |missing| null_column(missing, rows));
        let columns = id.iter().cloned().chain(woven).chain(facts).chain(self.fact_columns(split, rows));
        let columns = columns.collect();
        let mut meta = read("meta").unwrap_or_default();
        self.mark(&mut meta, split, &json!({"version": null}));
        let mut metadata: Vec<(&str, Json)> = vec![("meta", meta), ("status", INCOMPLETE.into())];
        metadata
            .extend(["as_of", "mode", "warnings"].into_iter().filter_map(|name| Some((name, read(name)?))));
        written(columns, &metadata).map(Some)
    }

    /// What is known of the values that are not live, if it is asked for.
    fn fact_columns(&self, split: &Split<'_>, rows: usize) -> Vec<(String, ArrayRef)> {
        match self.detail {
            Detail::Values => Vec::new(),
            Detail::Facts => {
                let facts = feature_meta::facts_of_incomplete(rows);
                split.missing.iter().flat_map(|missing| facts.columns(&missing.name, &[])).collect()
            }
        }
    }

    /// A dataset of which nothing is live: no row is known.
    fn of_dataset(&self, asked: &Asked) -> Result<Option<Reply>> {
        let Asked::Dataset(name) = asked else { return Ok(None) };
        let snapshot = reads::snapshot_of(self.ready, self.request, reads::query_read_at(self.request)?)?;
        if snapshot.catalog.commit != self.catalog.commit {
            return Ok(None);
        }
        let id = self.request.param("entity_id").map_or(Json::Null, Json::from);
        let mut body = json!({
            "entity_type": name, "entity_id": id, "features": null, "mode": mode(snapshot.online),
            "as_of": json::as_of(&snapshot), "status": INCOMPLETE,
        });
        body["meta"]["incomplete"][name.as_str()] = facts(self.pending);
        Ok(Some(Reply::json(200, &body)))
    }

    /// Nothing that is asked for is live: nulls for each entity.
    fn of_nothing(&self, body: Option<&Json>, split: &Split<'_>) -> Result<Option<Reply>> {
        let Some(featureset) = split.featureset else { return Ok(None) };
        let at = match body {
            Some(body) => body_read_at(body)?,
            None => reads::query_read_at(self.request)?,
        };
        let snapshot = reads::snapshot_of(self.ready, self.request, at)?;
        if snapshot.catalog.commit != self.catalog.commit {
            return Ok(None);
        }
        let fields = entity_of(&self.pending.document, featureset)?;
        let (as_of, mode) = (json::as_of(&snapshot), mode(snapshot.online));
        let mut meta = Json::Null;
        let Some(ids) = body.and_then(|body| body.get("entity_ids")).and_then(Json::as_array) else {
            self.mark(&mut meta, split, &feature_meta::incomplete(None));
            let entity = match body {
                Some(body) => json::entity(&fields, body.get("entity_id").unwrap_or(&Json::Null))?,
                None => reads::entity_param(self.request, &fields)?,
            };
            let features: Map<String, Json> =
                split.weave(Vec::new(), |missing| (missing.name.clone(), Json::Null)).into_iter().collect();
            let id = json::entity_json(&fields, &entity);
            let body = json!({
                "entity_type": featureset.name, "entity_id": id, "features": features, "mode": mode,
                "as_of": as_of, "meta": meta, "status": INCOMPLETE,
            });
            return Ok(Some(Reply::json(200, &body)));
        };
        let entities = ids.iter().map(|id| json::entity(&fields, id)).collect::<Result<Vec<_>>>()?;
        if self.request.accepts_arrow() {
            self.mark(&mut meta, split, &json!({"version": null}));
            let mut columns =
                vec![("entity_id".to_owned(), batch::entity_ids(&fields, &entities).to_arrow())];
            columns.extend(split.weave(Vec::new(), |missing| null_column(missing, entities.len())));
            columns.extend(self.fact_columns(split, entities.len()));
            let metadata =
                [("as_of", as_of), ("mode", mode.into()), ("meta", meta), ("status", INCOMPLETE.into())];
            return written(columns, &metadata).map(Some);
        }
        self.mark(&mut meta, split, &feature_meta::incomplete(Some(entities.len())));
        let names = split.weave(Vec::new(), |missing| missing.name.clone());
        let values = vec![vec![Json::Null; names.len()]; entities.len()];
        let body = json!({
            "features": names, "values": values, "mode": mode, "as_of": as_of, "meta": meta, "status": INCOMPLETE,
        });
        Ok(Some(Reply::json(200, &body)))
    }
}

/// The `(T, S)` of a body.
fn body_read_at(body: &Json) -> Result<ReadAt> {
    let text = |name: &str| body.get(name).and_then(Json::as_str);
    let time = body.get("timestamp").filter(|time| !time.is_null());
    let time = time.map(|time| json::time("timestamp", time)).transpose()?;
    reads::read_at(time, text("min_position"), text("position"), body.get("wait_ms").and_then(Json::as_u64))
}

fn mode(online: bool) -> &'static str {
    if online { "online" } else { "point_in_time" }
}

fn null_column(missing: &Missing, rows: usize) -> (String, ArrayRef) {
    (missing.name.clone(), ColumnBuffer::nulls(missing.data_type, rows).to_arrow())
}

fn written(columns: Vec<(String, ArrayRef)>, metadata: &[(&str, Json)]) -> Result<Reply> {
    let field = |(name, column): &(String, ArrayRef)| {
        arrow::datatypes::Field::new(name.clone(), column.data_type().clone(), true)
    };
    let schema = arrow::datatypes::Schema::new(columns.iter().map(field).collect::<Vec<_>>());
    let arrays = columns.into_iter().map(|(_, column)| column).collect();
    let batch = RecordBatch::try_new(Arc::new(schema), arrays)?;
    Ok(Reply::arrow(arrow_io::write_stream(&batch, metadata)?))
}

#[cfg(test)]
mod tests;
