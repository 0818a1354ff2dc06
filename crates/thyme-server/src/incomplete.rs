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
use thyme_query::{ColumnBuffer, Wanted};

use crate::app::Ready;
use crate::request::{ARROW_STREAM, Reply, Request};
use crate::{arrow_io, json, names, reads};

type Handler = fn(&Ready, &Request) -> Result<Reply>;

/// Whatever goes live while a request is split is asked again.
const TRIES: usize = 3;
/// What an answer says that has nulls for what is not live.
const INCOMPLETE: &str = "INCOMPLETE";

/// Answers a request, with what is only pending as incomplete.
pub(crate) fn answer(ready: &Ready, request: &Request, handler: Handler) -> Result<Reply> {
    if !request.path.starts_with("/features") {
        return handler(ready, request);
    }
    for _ in 0..TRIES {
        let catalog = ready.engine().catalog();
        let Some(pending) = ready.engine().pending_commit() else { break };
        // What cannot be understood is refused by the endpoint.
        let Some(asked) = Asked::of(request) else { break };
        let Some(split) = Split::of(&asked, &catalog, &pending.document) else { break };
        if request.path == "/features/offline" || request.path == "/features/scan" {
            match split.is_asked {
                true => return Err(refused(&split, &pending)),
                false => break,
            }
        }
        let read = Read { ready, request, pending: &pending, catalog: &catalog };
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
}

impl Read<'_> {
    /// `None`: something went live meanwhile.
    fn answer(&self, asked: &Asked, split: &Split<'_>, handler: Handler) -> Result<Option<Reply>> {
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
        let Request { method, path, query, headers, body: bytes, gone } = self.request;
        let mut narrowed = Request {
            method: method.clone(),
            path: path.clone(),
            query: query.clone(),
            headers: headers.clone(),
            body: bytes.clone(),
            gone: gone.clone(),
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

    /// Adds to what an answer says of the names in it.
    fn mark(&self, meta: &mut Json, split: &Split<'_>) {
        if !meta.is_object() {
            *meta = json!({});
        }
        for missing in &split.missing {
            meta["incomplete"][&missing.name] = facts(self.pending);
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
        self.mark(&mut body["meta"], split);
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
        let woven = split.weave(features.to_vec(), |missing| null_column(missing, rows));
        let columns = id.iter().cloned().chain(woven).collect();
        let mut meta = read("meta").unwrap_or_default();
        self.mark(&mut meta, split);
        let mut metadata: Vec<(&str, Json)> = vec![("meta", meta), ("status", INCOMPLETE.into())];
        metadata
            .extend(["as_of", "mode", "warnings"].into_iter().filter_map(|name| Some((name, read(name)?))));
        written(columns, &metadata).map(Some)
    }

    /// A dataset of which nothing is live: no row is known.
    fn of_dataset(&self, asked: &Asked) -> Result<Option<Reply>> {
        let Asked::Dataset(name) = asked else { return Ok(None) };
        let snapshot = self.ready.engine().snapshot(reads::query_read_at(self.request)?)?;
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
        let snapshot = self.ready.engine().snapshot(at)?;
        if snapshot.catalog.commit != self.catalog.commit {
            return Ok(None);
        }
        let fields = entity_of(&self.pending.document, featureset)?;
        let (as_of, mode) = (json::as_of(&snapshot), mode(snapshot.online));
        let mut meta = Json::Null;
        self.mark(&mut meta, split);
        let Some(ids) = body.and_then(|body| body.get("entity_ids")).and_then(Json::as_array) else {
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
            let mut columns =
                vec![("entity_id".to_owned(), reads::entity_ids(&fields, &entities).to_arrow())];
            columns.extend(split.weave(Vec::new(), |missing| null_column(missing, entities.len())));
            let metadata =
                [("as_of", as_of), ("mode", mode.into()), ("meta", meta), ("status", INCOMPLETE.into())];
            return written(columns, &metadata).map(Some);
        }
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
mod tests {
    use super::*;
    use thyme_query::NoExtractors;

    use crate::app::{App, AppOptions};

    fn ask(app: &App, method: &str, target: &str, body: &Json) -> Reply {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        app.request(&Request::new(method, target, headers, body.to_string().into()))
    }

    fn get(app: &App, target: &str) -> Json {
        let reply = ask(app, "GET", target, &Json::Null);
        let body: Json = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(reply.status, 200, "{target}: {body}");
        body
    }

    fn post(app: &App, target: &str, body: &Json) -> (u16, Json) {
        let reply = ask(app, "POST", target, body);
        (reply.status, serde_json::from_slice(&reply.body).unwrap_or_default())
    }

    fn derived(name: &str, output: &str, function: &str, of: Option<&str>) -> Json {
        let mut aggregate = json!({"name": output, "function": function});
        aggregate["of"] = of.map_or(Json::Null, Json::from);
        let field = |name: &str, kind: &str, role: &str| json!({"name": name, "type": kind, "role": role});
        json!({
            "name": name,
            "fields": [field("k", "str", "key"), field("at", "datetime", "timestamp"), field(output, "int", "value")],
            "pipelines": [{"name": "p", "inputs": ["Event"], "operators": [
                {"op": "groupby", "keys": ["k"]}, {"op": "aggregate", "aggregates": [aggregate]}]}],
        })
    }

    fn document(is_more: bool) -> Json {
        let field = |name: &str, kind: &str, role: &str| json!({"name": name, "type": kind, "role": role});
        let event = json!({"name": "Event", "fields": [
            field("k", "str", "key"), field("x", "int", "value"), field("at", "datetime", "timestamp")]});
        let feature = |id: u32, name: &str, dataset: &str| json!({"id": id, "name": name, "type": "int", "ref": {"dataset": dataset, "field": name}});
        let entity = json!({"id": 1, "name": "k", "type": "str"});
        let mut datasets = vec![event, derived("Counts", "c", "count", None)];
        let mut features = vec![entity.clone(), feature(2, "c", "Counts")];
        let mut sets = Vec::new();
        if is_more {
            datasets.push(derived("Sums", "s", "sum", Some("x")));
            features.push(feature(3, "s", "Sums"));
            sets.push(json!({"name": "G", "features": [entity, feature(2, "s", "Sums")]}));
        }
        sets.insert(0, json!({"name": "F", "features": features}));
        json!({"format": 1, "datasets": datasets, "featuresets": sets})
    }

    fn filling() -> (App, String, String) {
        let app = App::opening();
        app.open(AppOptions::default(), Arc::new(NoExtractors)).unwrap();
        let (status, first) = post(&app, "/api/v1/commit", &document(false));
        assert_eq!(status, 200, "{first}");
        let events: Vec<Json> =
            [2, 3].iter().map(|x| json!({"k": "a", "x": x, "at": 1_700_000_000 + x})).collect();
        let (status, pushed) = post(&app, "/api/v1/log", &json!({"dataset": "Event", "events": events}));
        assert_eq!(status, 200, "{pushed}");
        app.ready_now().unwrap().engine().hold_backfills_for_test(true);
        let position = pushed["position"].as_str().unwrap();
        get(&app, &format!("/features?featureset=F&entity_id=a&min_position={position}"));
        let (status, begun) = post(&app, "/api/v1/commit?wait=false", &document(true));
        assert_eq!((status, &begun["position"]), (202, &Json::Null), "{begun}");
        let text = |answer: &Json| answer["commit"].as_str().unwrap().to_owned();
        (app, text(&first), text(&begun))
    }

    #[test]
    fn what_is_not_live_is_null_and_says_so_beside_what_is() {
        let (app, first, second) = filling();
        let all = get(&app, "/features?featureset=F&entity_id=a");
        assert_eq!(all["features"], json!({"k": "a", "c": 2, "s": null}));
        assert_eq!((&all["status"], &all["as_of"]["commit"]), (&json!("INCOMPLETE"), &json!(first)));
        let incomplete = &all["meta"]["incomplete"];
        assert_eq!(incomplete.as_object().unwrap().len(), 1);
        assert_eq!((&incomplete["s"]["commit"], &incomplete["s"]["progress"]), (&json!(second), &json!(0.0)));
        assert!(incomplete["s"]["since"].is_string());
        let one = get(&app, "/features?featureset=F&entity_id=a&features=3,c");
        assert_eq!((&one["features"], &one["meta"]["ids"]["s"]), (&json!({"s": null, "c": 2}), &json!(3)));
        assert_eq!(
            get(&app, "/features?featureset=F&entity_id=a&features=s")["features"],
            json!({"s": null})
        );
        let untouched = get(&app, "/features?featureset=F&entity_id=a&features=c");
        assert_eq!((&untouched["features"], &untouched["status"]), (&json!({"c": 2}), &Json::Null));
        assert_eq!(
            get(&app, "/features?featureset=G&entity_id=a")["features"],
            json!({"k": null, "s": null})
        );
        let row = get(&app, "/features?entity_type=Sums&entity_id=a");
        assert_eq!((&row["features"], row["meta"]["incomplete"]["Sums"].is_object()), (&Json::Null, true));
        let body = json!({"featureset": "F", "entity_ids": ["a", "b"], "features": ["s", "c"]});
        let (status, batch) = post(&app, "/features/batch", &body);
        assert_eq!((status, &batch["features"]), (200, &json!(["s", "c"])), "{batch}");
        assert_eq!(
            (&batch["values"], &batch["status"]),
            (&json!([[null, 2], [null, 0]]), &json!("INCOMPLETE"))
        );
        assert_eq!(
            ask(&app, "GET", "/features?featureset=F&entity_id=a&features=zz", &Json::Null).status,
            404
        );
        assert_eq!(ask(&app, "GET", "/features?featureset=H&entity_id=a", &Json::Null).status, 404);
    }

    #[test]
    fn a_batch_in_arrow_has_null_columns_in_their_places() {
        let (app, ..) = filling();
        for (featureset, features, names) in [
            ("F", json!(["s", "c"]), vec!["entity_id", "s", "c"]),
            ("G", json!(["s"]), vec!["entity_id", "s"]),
        ] {
            let body = json!({"featureset": featureset, "entity_ids": ["a", "b"], "features": features});
            let headers = vec![
                ("content-type".to_owned(), "application/json".to_owned()),
                ("accept".to_owned(), ARROW_STREAM.to_owned()),
            ];
            let reply =
                app.request(&Request::new("POST", "/features/batch", headers, body.to_string().into()));
            assert_eq!(reply.status, 200);
            let batch = arrow_io::join(&arrow_io::read_stream(&reply.body).unwrap()).unwrap();
            let schema = batch.schema();
            assert_eq!(schema.fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>(), names);
            assert_eq!(batch.column(1).null_count(), 2);
            assert_eq!(schema.metadata()["status"], "\"INCOMPLETE\"");
            let meta: Json = serde_json::from_str(&schema.metadata()["meta"]).unwrap();
            assert_eq!(meta["incomplete"]["s"]["progress"], json!(0.0));
        }
    }

    #[test]
    fn training_sets_are_refused_and_all_of_it_is_there_once_it_is_live() {
        let (app, _, second) = filling();
        let queries = json!([{"entity_id": "a", "timestamp": 1_700_000_009}]);
        let mut body = json!({"featureset": "F", "queries": queries, "features": ["c", "s"]});
        let reply = ask(&app, "POST", "/features/offline", &body);
        let error: Json = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(reply.status, 503, "{error}");
        assert!(reply.headers.iter().any(|(name, _)| *name == "retry-after"));
        let detail = error["detail"].as_str().unwrap();
        assert!(detail.starts_with("s: not live yet") && detail.contains(&second), "{detail}");
        body.as_object_mut().unwrap().remove("features");
        let (status, all) = post(&app, "/features/offline", &body);
        assert_eq!((status, &all["results"][0]["features"]), (200, &json!({"k": "a", "c": 2})), "{all}");
        assert_eq!(ask(&app, "GET", "/features/scan?dataset=Sums", &Json::Null).status, 503);
        let other = json!({"format": 1, "datasets": [derived("Largest", "m", "max", Some("x"))]});
        let (status, refused) = post(&app, "/api/v1/commit", &other);
        assert_eq!((status, refused["detail"].as_str().unwrap().contains(&second)), (409, true), "{refused}");
        assert_eq!(get(&app, "/api/v1/status")["backfill"]["commit"], json!(second));
        app.ready_now().unwrap().engine().hold_backfills_for_test(false);
        // The same again waits for the one that is pending.
        let (status, live) = post(&app, "/api/v1/commit", &document(true));
        assert_eq!((status, &live["commit"]), (200, &json!(second)), "{live}");
        let all = get(&app, "/features?featureset=F&entity_id=a");
        assert_eq!((&all["features"], &all["status"]), (&json!({"k": "a", "c": 2, "s": 5}), &Json::Null));
        assert_eq!(get(&app, "/features?featureset=G&entity_id=a")["features"], json!({"k": "a", "s": 5}));
        assert_eq!(get(&app, "/api/v1/status")["backfill"], Json::Null);
    }

    #[test]
    fn a_cancelled_commit_leaves_no_trace_in_answers() {
        let (app, first, second) = filling();
        let (status, _) = post(&app, "/api/v1/commit/cancel", &json!({"commit": first}));
        assert_eq!(status, 409);
        let (status, cancelled) = post(&app, "/api/v1/commit/cancel", &json!({}));
        assert_eq!((status, &cancelled["cancelled"]), (200, &json!(second)));
        let all = get(&app, "/features?featureset=F&entity_id=a");
        assert_eq!((&all["features"], &all["status"]), (&json!({"k": "a", "c": 2}), &Json::Null));
        assert_eq!(ask(&app, "GET", "/features?featureset=G&entity_id=a", &Json::Null).status, 404);
        assert_eq!(post(&app, "/api/v1/commit/cancel", &json!({})).0, 404);
    }
}
