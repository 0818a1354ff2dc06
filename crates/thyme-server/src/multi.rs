//! `POST /features/multi`: features of several featuresets and their entities, all at one `(T, S, C)`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use thyme_core::{Error, ErrorKind, Result};
use thyme_engine::Snapshot;
use thyme_query::Detail;

use crate::app::Ready;
use crate::batch::Asked;
use crate::openapi::shapes;
use crate::reads::{checked_rows, mode, parse, read_at, snapshot_of};
use crate::request::{Reply, Request};
use crate::{feature_meta, incomplete, json};

/// The most queries of one request.
const QUERIES_MAX: usize = 100;

#[derive(Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a JSON object with queries and optionally timestamp, min_position, position, wait_ms, meta"
)]
pub(crate) struct MultiBody {
    #[schemars(length(min = 1))]
    queries: Vec<MultiQuery>,
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

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a JSON object with featureset, entity_ids and optionally features, inputs"
)]
pub(crate) struct MultiQuery {
    featureset: String,
    #[schemars(schema_with = "shapes::entities")]
    entity_ids: Vec<Json>,
    #[schemars(schema_with = "shapes::features")]
    #[serde(skip_serializing_if = "Option::is_none")]
    features: Option<Json>,
    #[serde(default)]
    #[schemars(schema_with = "shapes::inputs")]
    inputs: Json,
}

/// `POST /features/multi`.
pub(crate) fn multi(ready: &Ready, request: &Request) -> Result<Reply> {
    let body: MultiBody = parse(request)?;
    check_size(&body.queries)?;
    let time = body.timestamp.as_ref().map(|t| json::time("timestamp", t)).transpose()?;
    let at = read_at(time, body.min_position.as_deref(), body.position.as_deref(), body.wait_ms)?;
    let snapshot = snapshot_of(ready, request, at)?;
    let multi = Multi { ready, request, snapshot, detail: feature_meta::detail(request, body.meta) };
    let queries = body.queries.iter().enumerate();
    if request.accepts_arrow() {
        let mut streams = Vec::new();
        for (index, query) in queries {
            request.still_wanted()?;
            streams.append(&mut multi.arrow(index, query).map_err(|error| of_query(index, &error))?);
        }
        return Ok(Reply::arrow(streams));
    }
    let mut results = Vec::with_capacity(body.queries.len());
    for (index, query) in queries {
        request.still_wanted()?;
        let mut result = multi.json(query).map_err(|error| of_query(index, &error))?;
        result["featureset"] = query.featureset.as_str().into();
        results.push(result);
    }
    let out = json!({
        "results": results, "mode": mode(&multi.snapshot), "as_of": json::as_of(&multi.snapshot),
    });
    Ok(Reply::json(200, &out))
}

fn check_size(queries: &[MultiQuery]) -> Result<()> {
    if queries.is_empty() {
        return Err(Error::invalid_data("queries: expected 1 at least, got none"));
    }
    if queries.len() > QUERIES_MAX {
        let detail = format!(
            "queries: {} in one request, at most {QUERIES_MAX}; ask for all entities of a featureset in one query, or send several requests",
            queries.len()
        );
        return Err(Error::new(ErrorKind::TooLarge, detail));
    }
    checked_rows(queries.iter().map(|query| query.entity_ids.len()).sum()).map(drop)
}

fn of_query(index: usize, error: &Error) -> Error {
    Error::new(error.kind(), format!("queries[{index}]: {}", error.detail()))
        .with_faults(error.faults().to_vec())
}

struct Multi<'a> {
    ready: &'a Ready,
    request: &'a Request,
    /// What all queries are answered at.
    snapshot: Snapshot,
    detail: Detail,
}

impl Multi<'_> {
    fn asked<'q>(&self, query: &'q MultiQuery) -> Asked<'q> {
        Asked {
            featureset: &query.featureset,
            entity_ids: &query.entity_ids,
            features: query.features.as_ref(),
            inputs: &query.inputs,
            detail: self.detail,
        }
    }

    fn json(&self, query: &MultiQuery) -> Result<Json> {
        let Some(reply) = self.while_pending(query, &[])? else {
            let answered = self.asked(query).answer(self.ready, self.request, self.snapshot.clone())?;
            let out = answered.json();
            answered.note(self.request);
            return Ok(out);
        };
        let mut result: Json = serde_json::from_slice(&reply.body)
            .map_err(|e| Error::internal(format!("an answer of our own cannot be read: {e}")))?;
        for same in ["mode", "as_of"] {
            result.as_object_mut().and_then(|result| result.remove(same));
        }
        Ok(result)
    }

    fn arrow(&self, index: usize, query: &MultiQuery) -> Result<Vec<u8>> {
        let more = [("query", index.into()), ("featureset", query.featureset.as_str().into())];
        match self.while_pending(query, &more)? {
            Some(reply) => Ok(reply.body),
            None => {
                let answered = self.asked(query).answer(self.ready, self.request, self.snapshot.clone())?;
                let out = answered.arrow(&more)?;
                answered.note(self.request);
                Ok(out)
            }
        }
    }

    /// The answer to one query while a commit is pending, of which it may ask something: as a batch has it.
    fn while_pending(&self, query: &MultiQuery, more: &[(&'static str, Json)]) -> Result<Option<Reply>> {
        if self.ready.engine().pending_commit().is_none() {
            return Ok(None);
        }
        let mut body = json!(query);
        body["timestamp"] = self.snapshot.time.to_rfc3339().into();
        body["position"] = self.snapshot.position.to_string().into();
        body["meta"] = (self.detail == Detail::Facts).into();
        let alone = Request {
            method: "POST".to_owned(),
            path: "/features/batch".to_owned(),
            query: Vec::new(),
            headers: self.request.headers.clone(),
            body: body.to_string().into(),
            gone: self.request.gone.clone(),
            caller: self.request.caller.clone(),
            noted: self.request.noted.clone(),
        };
        let handler = |ready: &Ready, request: &Request| {
            // What of it is live may be less than was asked for.
            let live: Live = parse(request)?;
            let asked = Asked { features: live.features.as_ref(), ..self.asked(query) };
            let answered = asked.answer(ready, self.request, self.snapshot.clone())?;
            if request.accepts_arrow() {
                let out = answered.arrow(more)?;
                answered.note(self.request);
                return Ok(Reply::arrow(out));
            }
            let mut out = answered.json();
            answered.note(self.request);
            out["as_of"] = json::as_of(&self.snapshot);
            Ok(Reply::json(200, &out))
        };
        incomplete::answer(self.ready, &alone, &handler).map(Some)
    }
}

#[derive(Deserialize)]
struct Live {
    features: Option<Json>,
}
