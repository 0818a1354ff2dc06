//! Commits: planned, made, listed and compared.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value as Json, json};
use thyme_core::definition::Document;
use thyme_core::definition::evolution::{Change, ChangeKind};
use thyme_core::time::format_rfc3339;
use thyme_core::{Error, ErrorKind, EventTime, Position, Result};
use thyme_engine::{Begun, CommitNote, Committed, Planned};

use crate::actions;
use crate::app::Ready;
use crate::malformed;
use crate::pending;
use crate::previews::Values;
use crate::request::{Reply, Request};
use crate::state::limit;

/// How long a commit waits for new sources to read what is there.
const SOURCES_WAIT: Duration = Duration::from_secs(3600);
/// The most characters of an author and of a message, and bytes of source, that a commit carries.
pub(crate) const AUTHOR_MAX: usize = 200;
pub(crate) const MESSAGE_MAX: usize = 10_000;
const SOURCE_BYTES_MAX: usize = 4 << 20;
/// The base of a commit over nothing.
const NOTHING: &str = "none";

/// What a commit says beside the definitions.
#[derive(Default, Deserialize)]
struct Beside {
    #[serde(default)]
    source: BTreeMap<String, String>,
    /// Whether the answer waits until new pipelines are filled; it does unless told otherwise.
    wait: Option<bool>,
}

/// A page in someone's browser can post a text to this machine, but not JSON without being asked first.
pub(crate) fn refuse_other_than_json(request: &Request, what: &str) -> Option<Reply> {
    let detail = format!("{what} is sent with Content-Type: application/json");
    (request.content_type() != "application/json")
        .then(|| Reply::failure(415, "unsupported_media_type", &detail, &[]))
}

fn document(request: &Request) -> Result<Document> {
    malformed::read(&request.body, "the definitions", ErrorKind::InvalidDefinition)
}

fn beside(request: &Request) -> Result<Beside> {
    malformed::read(&request.body, "what is sent beside the definitions", ErrorKind::InvalidData)
}

/// Who commits and why, from the parameters; the source from the body.
pub(crate) fn note(request: &Request) -> Result<CommitNote> {
    let text = |name: &str| request.param(name).filter(|text| !text.is_empty()).map(str::to_owned);
    let source = beside(request)?.source;
    let bytes = source.iter().map(|(name, text)| name.len() + text.len()).sum::<usize>();
    if bytes > SOURCE_BYTES_MAX {
        return Err(Error::invalid_data(format!(
            "source: expected at most {SOURCE_BYTES_MAX} bytes of files, got {bytes}; leave it out"
        )));
    }
    Ok(CommitNote { author: text("author"), message: text("message"), source })
}

/// `POST /api/v1/commit`.
pub(crate) fn commit(ready: &Ready, request: &Request) -> Result<Reply> {
    if let Some(refused) = refuse_other_than_json(request, "a commit") {
        return Ok(refused);
    }
    if request.flag("dry_run") {
        return plan(ready, request);
    }
    let (document, note) = (document(request)?, note(request)?);
    let base = request.param("base").map(|base| if base == NOTHING { "" } else { base });
    let mut begins = BTreeMap::new();
    let check = |plan: &Planned| {
        begins = ready.engine().filled_from(plan)?;
        ready.reader.check_extractors(&plan.next)
    };
    let before = ready.engine().catalog().commit.clone();
    let (plan, id, position) = match waits(request) {
        true => ready.engine().commit_over(base, &document, note, check)?,
        false => match ready.engine().begin_commit(base, &document, note, check)? {
            (plan, id, Begun::Live(position)) => (plan, id, position),
            (plan, id, Begun::Pending) => {
                actions::committed(ready, request, "commit", &id, &plan);
                let mut body = answer(&document, &plan, None, &begins);
                body["changed"] = true.into();
                body["commit"] = id.into();
                body["pending"] = pending::shown(ready);
                return Ok(Reply::json(202, &body));
            }
        },
    };
    if id != before {
        actions::committed(ready, request, "commit", &id, &plan);
    }
    if let Some(sources) = &ready.sources {
        sources.refresh();
        if request.flag("wait_sources") && !sources.wait_caught_up(SOURCES_WAIT)? {
            return Err(Error::unavailable(
                "the definitions are committed; their sources are still reading after an hour",
            ));
        }
    }
    let mut body = answer(&document, &plan, Some(position), &begins);
    body["changed"] = (id != before).into();
    body["commit"] = id.into();
    Ok(Reply::json(200, &body))
}

fn waits(request: &Request) -> bool {
    let beside = || serde_json::from_slice::<Beside>(&request.body).unwrap_or_default().wait;
    let param =
        request.param("wait").map(|text| !matches!(text.to_ascii_lowercase().as_str(), "0" | "false"));
    param.or_else(beside).unwrap_or(true)
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object with commit, such as {\"commit\": \"9f86d081884c\"}")]
pub(crate) struct RollbackBody {
    /// The commit whose definitions hold again: its id, or the beginning of it.
    commit: String,
    /// False: does not wait until new pipelines are filled.
    wait: Option<bool>,
}

/// `POST /api/v1/rollback`.
pub(crate) fn rollback(ready: &Ready, request: &Request) -> Result<Reply> {
    if let Some(refused) = refuse_other_than_json(request, "a rollback") {
        return Ok(refused);
    }
    let body: RollbackBody = crate::reads::parse(request)?;
    let (engine, before) = (ready.engine(), ready.engine().catalog().commit.clone());
    let mut begins = BTreeMap::new();
    let check = |plan: &Planned| {
        begins = engine.filled_from(plan)?;
        ready.reader.check_extractors(&plan.next)
    };
    let (plan, id, begun) = engine.rollback(&body.commit, note(request)?, check)?;
    if id != before {
        actions::committed(ready, request, "rollback", &id, &plan);
    }
    let waits = body.wait.unwrap_or(true);
    let position = match begun {
        Begun::Pending if !waits => None,
        begun => Some(engine.wait_live(&id, begun)?),
    };
    if position.is_some() {
        ready.sources.iter().for_each(|sources| sources.refresh());
    }
    let mut out = answer(&plan.next, &plan, position, &begins);
    out["changed"] = (id != before).into();
    out["commit"] = id.into();
    if position.is_none() {
        out["pending"] = pending::shown(ready);
    }
    Ok(Reply::json(if position.is_some() { 200 } else { 202 }, &out))
}

/// `POST /api/v1/plan`; with `values` also what becomes of them.
pub(crate) fn plan(ready: &Ready, request: &Request) -> Result<Reply> {
    let document = document(request)?;
    beside(request)?;
    let values = Values::of(request, &document)?;
    let (plan, mut trial) = match values {
        Some(_) => ready.engine().try_out(&document).map(|(plan, trial)| (plan, Some(trial)))?,
        None => (ready.engine().plan(&document)?, None),
    };
    ready.reader.check_extractors(&plan.next)?;
    let catalog =
        trial.as_ref().map_or_else(|| ready.engine().catalog(), |trial| trial.live().catalog.clone());
    let mut body = answer(&document, &plan, None, &ready.engine().filled_from(&plan)?);
    if let (Some(values), Some(trial)) = (values, trial.as_mut()) {
        values.put(ready, request, trial, &mut body)?;
    }
    body["changed"] = (plan.next != catalog.document || catalog.commit.is_empty()).into();
    body["commit"] = catalog.commit.as_str().into();
    body["base"] = base_of(&catalog.commit).into();
    Ok(Reply::json(200, &body))
}

fn base_of(commit: &str) -> &str {
    if commit.is_empty() { NOTHING } else { commit }
}

/// Changes as an answer has them.
pub(crate) fn changes(changes: &[Change]) -> Json {
    let one =
        |c: &Change| json!({"kind": c.kind, "subject": c.subject, "detail": c.detail, "effect": c.effect});
    changes.iter().map(one).collect()
}

/// `begins` has the datasets that the log does not fill from their beginning.
fn answer(
    document: &Document,
    plan: &Planned,
    position: Option<Position>,
    begins: &BTreeMap<String, EventTime>,
) -> Json {
    let begins: BTreeMap<&str, String> =
        begins.iter().map(|(name, time)| (name.as_str(), time.to_rfc3339())).collect();
    json!({
        "changes": changes(&plan.changes),
        "counts": counts(document),
        "position": position.map(|p| p.to_string()),
        "history_from": begins,
    })
}

fn counts(document: &Document) -> Json {
    json!({
        "datasets": document.datasets.len(),
        "pipelines": document.datasets.iter().map(|d| d.pipelines.len()).sum::<usize>(),
        "featuresets": document.featuresets.len(),
        "features": document.featuresets.iter().map(|f| f.features.len()).sum::<usize>(),
        "extractors": document.featuresets.iter().map(|f| f.extractors.len()).sum::<usize>(),
    })
}

fn listed(commit: &Committed) -> Json {
    json!({
        "commit": commit.id,
        "parent": commit.parent,
        "time": format_rfc3339(commit.stamp),
        "position": commit.position.to_string(),
        "author": commit.note.author,
        "message": commit.note.message,
        "counts": counts(&commit.document),
    })
}

/// `GET /api/v1/history`: the commits, newest first; with `commit=` one of them, whole.
pub(crate) fn history(ready: &Ready, request: &Request) -> Result<Reply> {
    if let Some(reference) = request.param("commit") {
        let commit = ready.engine().committed(reference)?;
        let mut body = listed(&commit);
        body["source"] = json!(commit.note.source);
        body["definitions"] = json!(commit.document);
        return Ok(Reply::json(200, &body));
    }
    let mut commits = Vec::new();
    let limit = limit(request, 50);
    let mut list = |commit: Committed| commits.push(listed(&commit));
    let next = ready.engine().history(limit, request.param("before"), &mut list)?;
    let count = ready.engine().commits();
    Ok(Reply::json(200, &json!({"count": count, "commits": commits, "next": next})))
}

/// `GET /api/v1/diff`: what one commit has otherwise than another.
pub(crate) fn diff(ready: &Ready, request: &Request) -> Result<Reply> {
    let engine = ready.engine();
    let (to, before) = match request.param("to").unwrap_or("latest") {
        NOTHING => (String::new(), String::new()),
        reference => engine.committed(reference).map(|to| (to.id, to.parent))?,
    };
    let from = match request.param("from") {
        Some(NOTHING) => String::new(),
        Some(reference) => engine.committed(reference)?.id,
        None => before,
    };
    let found = engine.diff(&from, &to)?;
    let count = |kind: ChangeKind| found.iter().filter(|c| c.kind == kind).count();
    Ok(Reply::json(
        200,
        &json!({
            "from": base_of(&from),
            "to": base_of(&to),
            "changes": changes(&found),
            "counts": {
                "added": count(ChangeKind::Added),
                "changed": count(ChangeKind::Changed),
                "removed": count(ChangeKind::Removed),
            },
        }),
    ))
}
