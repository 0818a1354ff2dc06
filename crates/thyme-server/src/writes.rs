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
use thyme_engine::{Idempotency, LiveDataset, Push, Receipt, Ticket};
use tokio::sync::oneshot;

use crate::app::Ready;
use crate::arrow_frames::{DECOMPRESSED_BYTES_MAX, declared};
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

/// The method and the path of pushes.
pub(crate) const LOG: (&str, &str) = ("POST", "/api/v1/log");

/// A push that was read: what it is for, what is wrong with rows that it skips, and how large its body was.
#[derive(Default)]
struct Received {
    dataset: Option<Arc<LiveDataset>>,
    faults: Vec<Fault>,
    body_bytes: u64,
}

/// What becomes of a push once its body is decoded.
enum Next {
    /// It was answered before.
    Answered(Receipt),
    Store(Box<Push>),
}

/// `POST /api/v1/log` in process: waits in the calling thread.
pub(crate) fn log(ready: &Ready, request: &Request) -> Result<Reply> {
    let mut received = Received::new(request);
    let pushed = received.decode(ready, request).and_then(|next| match next {
        Next::Answered(receipt) => Ok(receipt),
        Next::Store(push) => ready.engine().push(*push),
    });
    received.answer(ready, pushed)
}

/// A push on its way to the disk.
pub(crate) struct Begun {
    ready: Arc<Ready>,
    received: Received,
    answer: oneshot::Receiver<Result<Receipt>>,
}

/// `POST /api/v1/log`: decodes the body and hands its rows in, with the room that was taken for them.
pub(crate) fn begin(ready: Arc<Ready>, request: Request, ticket: Option<Ticket>) -> Begun {
    let mut received = Received::new(&request);
    let (sender, answer) = oneshot::channel();
    // Nobody is there to be told if the connection has ended.
    let tell = move |result| drop(sender.send(result));
    let next = received.decode(&ready, &request);
    drop(request);
    match next {
        Ok(Next::Store(push)) => ready.engine().submit(push.with_ticket(ticket), tell),
        Ok(Next::Answered(receipt)) => tell(Ok(receipt)),
        Err(error) => tell(Err(error)),
    }
    Begun { ready, received, answer }
}

impl Begun {
    /// The answer, once it is known.
    pub async fn end(self) -> Reply {
        let stopping = |_| Err(Error::unavailable("the server is stopping; nothing was stored"));
        let pushed = self.answer.await.unwrap_or_else(stopping);
        self.received.answer(&self.ready, pushed).unwrap_or_else(|error| Reply::error(&error))
    }
}

/// The bytes that the rows of a push take, as far as its body says so before it is decoded.
pub(crate) fn expanded(request: &Request) -> usize {
    let bytes = match request.content_type().as_str() {
        ARROW_STREAM => declared(&request.body),
        PARQUET => arrow_io::declared_parquet(&request.body),
        _ => 0,
    };
    // What is too large is refused when it is decoded.
    usize::try_from(bytes.min(DECOMPRESSED_BYTES_MAX)).unwrap_or(usize::MAX)
}

impl Received {
    fn new(request: &Request) -> Self {
        Received { body_bytes: request.body.len() as u64, ..Received::default() }
    }

    /// Reads the rows, unless they were answered before; notes the dataset as soon as it is known.
    fn decode(&mut self, ready: &Ready, request: &Request) -> Result<Next> {
        let idempotency = idempotency(ready, request)?;
        if let Some(asked) = &idempotency
            && let Some(receipt) = ready.engine().answered(asked)?
        {
            return Ok(Next::Answered(receipt));
        }
        let mut push = read(ready, request, &mut self.dataset)?;
        push.idempotency = idempotency;
        self.faults = push.faults.clone();
        Ok(Next::Store(Box::new(push)))
    }

    fn answer(&self, ready: &Ready, pushed: Result<Receipt>) -> Result<Reply> {
        // Only names that are committed become a label.
        if let Some(live) = &self.dataset {
            ready.metrics.push(&live.definition.name, |pushes| match &pushed {
                Ok(receipt) => {
                    pushes.accepted += 1;
                    pushes.bytes += self.body_bytes;
                    pushes.skipped_rows += receipt.skipped;
                }
                Err(error) => pushes.refused += u64::from(error.kind() == ErrorKind::InvalidData),
            });
        }
        pushed.map(|receipt| received(receipt, &self.faults))
    }
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
