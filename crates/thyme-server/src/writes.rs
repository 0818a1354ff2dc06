//! The writing endpoints.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value as Json, json};
use thyme_core::error::Fault;
use thyme_core::{Error, ErrorKind, Result};
use thyme_engine::decode::json::lines;
use thyme_engine::{Idempotency, LiveDataset, Push, Receipt, Ticket, Violation};
use tokio::sync::oneshot;

use crate::app::Ready;
use crate::arrow_frames::{DECOMPRESSED_BYTES_MAX, declared};
use crate::arrow_io;
use crate::openapi::{self, shapes};
use crate::reads::parse;
use crate::request::{ARROW_STREAM, NDJSON, PARQUET, Reply, Request};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a JSON object with dataset and events")]
struct LogBody<'a> {
    dataset: String,
    #[serde(borrow)]
    events: Vec<&'a RawValue>,
}

/// [`LogBody`] as it is told.
#[derive(schemars::JsonSchema)]
#[schemars(rename = "LogBody", deny_unknown_fields)]
#[expect(dead_code, reason = "only its shape is used")]
pub(crate) struct LogShape {
    dataset: String,
    #[schemars(schema_with = "shapes::events")]
    events: Vec<()>,
}

/// The method and the path of pushes.
pub(crate) const LOG: (&str, &str) = ("POST", "/api/v1/log");

/// A push that was read: what it is for, what is wrong with rows that it skips, and how large its body was.
#[derive(Default)]
struct Received {
    dataset: Option<Arc<LiveDataset>>,
    faults: Vec<Fault>,
    /// The expectations that the rows do not meet.
    violations: Vec<Violation>,
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
        openapi::LOG.check(request)?;
        refuse_type(&request.content_type())?;
        let idempotency = idempotency(ready, request)?;
        if let Some(asked) = &idempotency
            && let Some(receipt) = ready.engine().answered(asked)?
        {
            if receipt.skipped > 0 {
                // It is the same body, so the same rows of it were skipped. It is no push of this dataset to be counted.
                self.faults = read(ready, request, &mut None).map(|push| push.faults).unwrap_or_default();
            }
            return Ok(Next::Answered(receipt));
        }
        let mut push = read(ready, request, &mut self.dataset)?;
        push.idempotency = idempotency;
        self.faults = push.faults.clone();
        self.violations = push.violations.clone();
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
        pushed.map(|receipt| received(receipt, &self.faults, &self.violations))
    }
}

fn received(receipt: Receipt, faults: &[Fault], violations: &[Violation]) -> Reply {
    let mut body = json!({
        "accepted": receipt.accepted,
        "position": receipt.position.to_string(),
        "skipped": receipt.skipped,
    });
    if let Some(duplicates) = receipt.duplicates {
        body["duplicates"] = duplicates.into();
    }
    if !faults.is_empty() {
        body["faults"] = faults.iter().map(crate::request::fault).collect();
    }
    if !violations.is_empty() {
        body["violations"] = violations.iter().map(violation).collect();
    }
    Reply::json(200, &body)
}

fn violation(violation: &Violation) -> Json {
    let Violation { expectation, tally, rows } = violation;
    json!({
        "expectation": expectation.kind.to_string(), "column": expectation.kind.column(), "mostly": expectation.mostly,
        "checked": tally.checked, "violated": tally.violated, "rows": rows,
    })
}

/// Refuses a body of a type that holds no rows.
fn refuse_type(content_type: &str) -> Result<()> {
    let taken = ["", "application/json", ARROW_STREAM, PARQUET].into_iter().chain(NDJSON);
    if taken.into_iter().any(|taken| taken == content_type) {
        return Ok(());
    }
    let detail = format!(
        "Content-Type {content_type} is not taken: send application/json, application/x-ndjson, {ARROW_STREAM} or {PARQUET}; nothing was stored"
    );
    Err(Error::new(ErrorKind::MediaType, detail))
}

/// The idempotency key of a push, scoped to its caller and dataset.
fn idempotency(ready: &Ready, request: &Request) -> Result<Option<Idempotency>> {
    let Some(key) = request.header("idempotency-key") else { return Ok(None) };
    let dataset = match request.param("dataset") {
        Some(name) => name.to_owned(),
        None => parse::<LogBody<'_>>(request)?.dataset,
    };
    let id = ready.engine().catalog().dataset(&dataset)?.id;
    Idempotency::new(request.caller.scope(), id, key, &request.body).map(Some)
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
