//! The writing endpoints.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value as Json, json};
use thyme_core::definition::Document;
use thyme_core::error::Fault;
use thyme_core::{Error, ErrorKind, Result};
use thyme_engine::decode::json::lines;
use thyme_engine::{Idempotency, LiveDataset, Push, Receipt};

use crate::app::Ready;
use crate::arrow_io;
use crate::reads::parse;
use crate::request::{ARROW_STREAM, NDJSON, PARQUET, Reply, Request};

/// How long a commit waits for new sources to read what is there.
const SOURCES_WAIT: Duration = Duration::from_secs(3600);

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a JSON object with dataset and events")]
struct LogBody<'a> {
    dataset: String,
    #[serde(borrow)]
    events: Vec<&'a RawValue>,
}

/// `POST /api/v1/commit`.
pub(crate) fn commit(ready: &Ready, request: &Request) -> Result<Reply> {
    if let Some(refused) = refuse_other_than_json(request, "a commit") {
        return Ok(refused);
    }
    let document: Document = serde_json::from_slice(&request.body)
        .map_err(|e| Error::invalid_definition(format!("the definitions cannot be read: {e}")))?;
    let engine = ready.engine();
    if request.flag("dry_run") {
        let plan = engine.plan(&document)?;
        ready.reader.check_extractors(&plan.next)?;
        let id = engine.catalog().commit.clone();
        return Ok(Reply::json(200, &answer(&document, &plan, &id, None)));
    }
    let (plan, id, position) = engine.commit(&document, |plan| ready.reader.check_extractors(&plan.next))?;
    if let Some(sources) = &ready.sources {
        sources.refresh();
        if request.flag("wait_sources") && !sources.wait_caught_up(SOURCES_WAIT)? {
            return Err(Error::unavailable(
                "the definitions are committed; their sources are still reading after an hour",
            ));
        }
    }
    Ok(Reply::json(200, &answer(&document, &plan, &id, Some(position))))
}

/// A page in someone's browser can post a text to this machine, but not JSON without being asked first.
pub(crate) fn refuse_other_than_json(request: &Request, what: &str) -> Option<Reply> {
    let detail = format!("{what} is sent with Content-Type: application/json");
    (request.content_type() != "application/json")
        .then(|| Reply::failure(415, "unsupported_media_type", &detail, &[]))
}

/// What a commit changes.
pub(crate) fn changes(plan: &thyme_engine::Planned) -> Json {
    let changes = plan.changes.iter();
    changes.map(|c| json!({"kind": c.kind, "subject": c.subject, "detail": c.detail})).collect()
}

fn answer(
    document: &Document,
    plan: &thyme_engine::Planned,
    id: &str,
    position: Option<thyme_core::Position>,
) -> Json {
    json!({
        "commit": id,
        "changes": changes(plan),
        "counts": {
            "datasets": document.datasets.len(),
            "pipelines": document.datasets.iter().map(|d| d.pipelines.len()).sum::<usize>(),
            "featuresets": document.featuresets.len(),
            "features": document.featuresets.iter().map(|f| f.features.len()).sum::<usize>(),
            "extractors": document.featuresets.iter().map(|f| f.extractors.len()).sum::<usize>(),
        },
        "position": position.map(|p| p.to_string()),
    })
}

/// `POST /api/v1/log`.
pub(crate) fn log(ready: &Ready, request: &Request) -> Result<Reply> {
    let mut dataset = None;
    let pushed = push(ready, request, &mut dataset);
    // Only names that are committed become a label.
    if let Some(live) = &dataset {
        ready.metrics.push(&live.definition.name, |pushes| match &pushed {
            Ok((receipt, _)) => {
                pushes.accepted += 1;
                pushes.bytes += request.body.len() as u64;
                pushes.skipped_rows += receipt.skipped;
            }
            Err(error) => pushes.refused += u64::from(error.kind() == ErrorKind::InvalidData),
        });
    }
    pushed.map(|(receipt, faults)| received(receipt, &faults))
}

/// Stores a push, unless it was answered before; notes which dataset it is for as soon as that is known.
fn push(
    ready: &Ready,
    request: &Request,
    dataset: &mut Option<Arc<LiveDataset>>,
) -> Result<(Receipt, Vec<Fault>)> {
    let idempotency = idempotency(ready, request)?;
    if let Some(receipt) =
        idempotency.as_ref().map(|asked| ready.engine().answered(asked)).transpose()?.flatten()
    {
        return Ok((receipt, Vec::new()));
    }
    let mut push = read(ready, request, dataset)?;
    push.idempotency = idempotency;
    let faults = push.faults.clone();
    let receipt = ready.engine().push(push)?;
    Ok((receipt, faults))
}

fn received(receipt: Receipt, faults: &[Fault]) -> Reply {
    let mut body = json!({
        "accepted": receipt.accepted,
        "position": receipt.position.to_string(),
        "skipped": receipt.skipped,
    });
    if !faults.is_empty() {
        body["faults"] = faults.iter().map(crate::request::fault).collect();
    }
    Reply::json(200, &body)
}

/// The idempotency key of a push, scoped to its caller and dataset.
fn idempotency(ready: &Ready, request: &Request) -> Result<Option<Idempotency>> {
    let Some(key) = request.header("idempotency-key") else { return Ok(None) };
    let dataset = match request.param("dataset") {
        Some(name) => name.to_owned(),
        None => parse::<LogBody<'_>>(request)?.dataset,
    };
    let id = ready.engine().catalog().dataset(&dataset)?.id;
    let caller = request.header("authorization").unwrap_or("");
    Idempotency::new(caller, id, key, &request.body).map(Some)
}

fn read(ready: &Ready, request: &Request, dataset: &mut Option<Arc<LiveDataset>>) -> Result<Push> {
    let engine = ready.engine();
    let catalog = engine.catalog();
    let mut find = |name: &str| -> Result<Arc<LiveDataset>> {
        let live = catalog.dataset(name)?.clone();
        *dataset = Some(live.clone());
        Ok(live)
    };
    let content_type = request.content_type();
    if NDJSON.contains(&content_type.as_str()) {
        let live = find(request.required("dataset")?)?;
        return engine.read_json(&live, lines(&request.body));
    }
    if content_type == ARROW_STREAM {
        let live = find(request.required("dataset")?)?;
        return engine.read_batches(&live, &arrow_io::read_stream(&request.body)?);
    }
    if content_type == PARQUET {
        let live = find(request.required("dataset")?)?;
        return engine.read_batches(&live, &arrow_io::read_parquet(request.body.clone())?);
    }
    if !matches!(content_type.as_str(), "" | "application/json") {
        return Err(Error::invalid_data(format!(
            "Content-Type {content_type} is not taken: send application/json, application/x-ndjson or {ARROW_STREAM}"
        )));
    }
    let body: LogBody<'_> = parse(request)?;
    if let Some(other) = request.param("dataset").filter(|d| *d != body.dataset) {
        return Err(Error::invalid_data(format!(
            "the body is for dataset {}, the parameter says {other}",
            body.dataset
        )));
    }
    let live = find(&body.dataset)?;
    engine.read_json(&live, body.events.iter().map(|e| e.get().as_bytes()))
}
