//! `/api/v1/jobs/offline`: beginning a job, adding to it, how far it is, its result, and its end.

use arrow::array::RecordBatch;
use serde_json::{Value as Json, json};
use thyme_core::{Error, Result};

use super::{Job, Part, erasures, runner};
use crate::app::Ready;
use crate::request::{ARROW_STREAM, OCTETS, PARQUET, Reply, Request};
use crate::{arrow_io, incomplete, reads};

/// Parameters that say something about the job and nothing about its rows.
const OWN: [&str; 4] = ["more", "min_position", "wait_ms", "position"];

/// `POST /api/v1/jobs/offline`: begins one with the first of its labels, or all of them.
pub(crate) fn create(ready: &Ready, request: &Request) -> Result<Reply> {
    request.caller.may_read(request.required("featureset")?)?;
    ready.jobs.files()?;
    let (part, empty) = match part_of(request)? {
        Ok(labels) => labels,
        Err(refused) => return Ok(refused),
    };
    let snapshot = reads::snapshot_of(ready, request, reads::param_read_at(request, None)?)?;
    let own = |name: &str| OWN.contains(&name);
    let mut query: Vec<_> = request.query.iter().filter(|(name, _)| !own(name)).cloned().collect();
    query.push(("position".to_owned(), snapshot.position.to_string()));
    let job = Job {
        id: String::new(),
        query,
        position: snapshot.position.to_string(),
        commit: snapshot.catalog.commit.clone(),
        columns: empty.schema().fields().iter().map(|field| field.name().clone()).collect(),
        since: 0,
        ended: None,
        erasures: erasures(ready.engine()),
        parts: vec![part],
        whole: !request.flag("more"),
        done: 0,
        bytes_out: 0,
        failure: None,
        damaged: false,
    };
    // What is wrong with anything but the rows is said at once.
    let probe = runner::request(&job, ARROW_STREAM, arrow_io::write_stream(&empty, &[])?);
    incomplete::answer(ready, &probe, &reads::offline)?;
    Ok(Reply::json(200, &ready.jobs.begin(job, &request.body)?.shown()))
}

/// `POST /api/v1/jobs/offline/part`: the next of its labels.
pub(crate) fn add(ready: &Ready, request: &Request) -> Result<Reply> {
    let id = &asked(ready, request)?.id;
    let (part, _) = match part_of(request)? {
        Ok(labels) => labels,
        Err(refused) => return Ok(refused),
    };
    let job = ready.jobs.add(id, number(request)?, part, !request.flag("more"), &request.body)?;
    Ok(Reply::json(200, &job.shown()))
}

/// `GET /api/v1/jobs/offline`: one of them, or all.
pub(crate) fn show(ready: &Ready, request: &Request) -> Result<Reply> {
    ready.jobs.forget_erased(ready.engine())?;
    let shown = match request.param("id") {
        Some(_) => asked(ready, request)?.shown(),
        None => json!({"jobs": visible(ready, request).map(|job| job.shown()).collect::<Vec<Json>>()}),
    };
    Ok(Reply::json(200, &shown))
}

/// `GET /api/v1/jobs/offline/result`: the answer to a part of its labels.
pub(crate) fn result(ready: &Ready, request: &Request) -> Result<Reply> {
    ready.jobs.forget_erased(ready.engine())?;
    Ok(Reply::arrow(ready.jobs.answer(&asked(ready, request)?.id, number(request)?)?))
}

/// `POST /api/v1/jobs/offline/cancel`: ends it and removes all of it.
pub(crate) fn cancel(ready: &Ready, request: &Request) -> Result<Reply> {
    let job = asked(ready, request)?;
    let id = &job.id;
    ready.jobs.cancel(id)?;
    let message = format!("a training set of {}, which was {}", job.featureset(), job.status());
    ready.actions.note(ready.engine(), &request.caller, "job_cancelled", id, message);
    Ok(Reply::json(200, &json!({"cancelled": id})))
}

/// The jobs that a caller may see, the oldest first.
pub(crate) fn visible(ready: &Ready, request: &Request) -> impl Iterator<Item = Job> {
    let may_see = |job: &Job| request.caller.may_read(job.featureset()).is_ok();
    ready.jobs.all().into_iter().filter(may_see)
}

/// The job that a request names, if its caller may read its featureset.
fn asked(ready: &Ready, request: &Request) -> Result<Job> {
    let job = ready.jobs.get(request.required("id")?)?;
    request.caller.may_read(job.featureset())?;
    Ok(job)
}

fn number(request: &Request) -> Result<usize> {
    let text = request.required("part")?;
    let wrong = || Error::invalid_data(format!("part: expected a number from 0, got \"{text}\""));
    text.parse().map_err(|_| wrong())
}

/// The labels of a request, and none of them with their columns; or the answer that they are neither of what it
/// takes.
fn part_of(request: &Request) -> Result<Result<(Part, RecordBatch), Reply>> {
    let content_type = match request.content_type() {
        any if any == OCTETS && request.body.starts_with(b"PAR1") => PARQUET.to_owned(),
        any if any == OCTETS => ARROW_STREAM.to_owned(),
        said => said,
    };
    let batches = match content_type.as_str() {
        ARROW_STREAM => arrow_io::read_stream(&request.body)?,
        PARQUET => arrow_io::read_parquet(request.body.clone())?,
        other => {
            let detail = format!(
                "labels of a job are an Arrow IPC stream or Parquet ({ARROW_STREAM}, {PARQUET}, or {OCTETS} for either), got Content-Type \"{other}\""
            );
            return Ok(Err(Reply::failure(415, "unsupported_media_type", &detail, &[])));
        }
    };
    let rows = batches.iter().map(|batch| batch.num_rows() as u64).sum();
    let schema = batches
        .first()
        .map(RecordBatch::schema)
        .ok_or_else(|| Error::invalid_data("labels have no columns"))?;
    let part = Part { rows, bytes: request.body.len() as u64, content_type };
    Ok(Ok((part, RecordBatch::new_empty(schema))))
}
