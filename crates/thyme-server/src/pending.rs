//! The commit that is pending while its new pipelines are filled: how far it is, and giving it up.

use serde::Deserialize;
use serde_json::{Value as Json, json};
use thyme_core::time::format_rfc3339;
use thyme_core::{Error, ErrorKind, Result};
use thyme_engine::PendingCommit;

use crate::app::Ready;
use crate::commits::refuse_other_than_json;
use crate::exposition::{Exposition, Kind::Gauge};
use crate::request::{Reply, Request};

/// The commit that is pending, as status and jobs show it; null when none is.
pub(crate) fn shown(ready: &Ready) -> Json {
    ready.engine().pending_commit().map_or(Json::Null, |pending| one(&pending))
}

fn one(pending: &PendingCommit) -> Json {
    json!({
        "commit": pending.id,
        "author": pending.note.author,
        "message": pending.note.message,
        "since": format_rfc3339(pending.since),
        "record": pending.record,
        "of": pending.until,
        "progress": pending.progress(),
        "rows": pending.rows,
        "rows_per_second": pending.rows_per_second.round(),
        "seconds_left": pending.seconds_left.map(f64::ceil),
        "waits_for": pending.waits_for,
    })
}

/// `GET /api/v1/jobs`: what runs in the background.
pub(crate) fn jobs(ready: &Ready, request: &Request) -> Result<Reply> {
    let backfill = ready.engine().pending_commit().map(|pending| {
        let mut job = one(&pending);
        job["kind"] = "backfill".into();
        job
    });
    let backup = ready.engine().backup_under_way();
    let backup = backup.map(|(done, total)| json!({"kind": "backup", "done": done, "total": total}));
    let under_way = crate::jobs::visible(ready, request).filter(|job| job.ended.is_none());
    let offline = under_way.map(|job| {
        let mut job = job.shown();
        job["kind"] = "offline".into();
        job
    });
    let jobs: Vec<Json> = backfill.into_iter().chain(backup).chain(offline).collect();
    Ok(Reply::json(200, &json!({"jobs": jobs})))
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object with nothing in it, or with commit")]
pub(crate) struct CancelBody {
    /// Only if it is this one.
    commit: Option<String>,
}

/// `POST /api/v1/commit/cancel`.
pub(crate) fn cancel(ready: &Ready, request: &Request) -> Result<Reply> {
    if let Some(refused) = refuse_other_than_json(request, "a cancellation") {
        return Ok(refused);
    }
    let body: CancelBody = crate::reads::parse(request)?;
    let pending = ready.engine().pending_commit().map(|pending| pending.id);
    if let (Some(asked), Some(pending)) = (&body.commit, &pending)
        && asked != pending
    {
        let detail =
            format!("commit: expected {pending}, which is pending, got {asked}; nothing was cancelled");
        return Err(Error::new(ErrorKind::Conflict, detail));
    }
    let id = ready.engine().cancel_commit()?;
    Ok(Reply::json(200, &json!({"cancelled": id})))
}

/// How far a backfill is, while one runs.
pub(crate) fn expose(ready: &Ready, out: &mut Exposition) {
    let pending = ready.engine().pending_commit();
    let help =
        "How much of the log the pipelines of the pending commit have, from 0 to 1; 1 when none is pending.";
    let progress = pending.as_ref().map_or(1.0, PendingCommit::progress);
    out.single("thyme_backfill_progress", Gauge, help, progress);
    let help = "Rows a second that new pipelines are filled with.";
    let pace = pending.as_ref().map_or(0.0, |pending| pending.rows_per_second);
    out.single("thyme_backfill_rows_per_second", Gauge, help, pace);
}
