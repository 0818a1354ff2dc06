//! `/api/v1/query-runs`.

use std::ops::ControlFlow;

use serde_json::{Value as Json, json};
use thyme_core::{Error, ErrorKind, EventTime, Result};

use super::replay::replayed;
use super::text::{Kept, number_of};
use crate::app::Ready;
use crate::damage;
use crate::json::text_time;
use crate::request::{Reply, Request};
use crate::state::limit;

const LIMIT_DEFAULT: usize = 50;
/// The most runs that one request looks at; `next` goes on from there.
const LOOKED_AT_MAX: usize = 200_000;

/// What a list is narrowed to.
struct Filter<'a> {
    featureset: Option<&'a str>,
    dataset: Option<&'a str>,
    caller: Option<&'a str>,
    entity: Option<&'a str>,
    since: Option<EventTime>,
    until: Option<EventTime>,
}

impl Filter<'_> {
    fn of(request: &Request) -> Result<Filter<'_>> {
        let time = |name: &str| request.param(name).map(|text| text_time(name, text)).transpose();
        Ok(Filter {
            featureset: request.param("featureset"),
            dataset: request.param("dataset"),
            caller: request.param("caller"),
            entity: request.param("entity_id"),
            since: time("since")?,
            until: time("until")?,
        })
    }

    /// Whether a run of this time and all before it are too old.
    fn is_past(&self, time: EventTime) -> bool {
        self.since.is_some_and(|since| time < since)
    }

    fn keeps(&self, run: &Kept, time: EventTime) -> bool {
        let of = |name: &str| run.queries.iter().any(|part| part.featureset.as_deref() == Some(name));
        let from = |name: &str| run.queries.iter().any(|part| part.dataset.as_deref() == Some(name));
        let has = |text: &str| {
            run.queries.iter().flat_map(|part| part.entities.iter().flatten()).any(|entity| is(entity, text))
        };
        // `key 3f9a01c2`, or its id alone.
        let asked = |caller: &str| run.caller == caller || run.caller.strip_prefix("key ") == Some(caller);
        self.until.is_none_or(|until| time <= until)
            && self.featureset.is_none_or(of)
            && self.dataset.is_none_or(from)
            && self.caller.is_none_or(asked)
            && self.entity.is_none_or(has)
    }
}

/// Whether an entity is what somebody writes: the plain value, or `k1=v1,k2=v2`.
fn is(entity: &Json, text: &str) -> bool {
    let plain = |value: &Json, text: &str| match value {
        Json::String(own) => own == text,
        other => serde_json::from_str::<Json>(text).is_ok_and(|given| given == *other),
    };
    match entity {
        Json::Object(fields) => {
            let mut parts = text.split(',').filter_map(|part| part.split_once('='));
            text.split(',').count() == fields.len()
                && parts.all(|(name, text)| fields.get(name).is_some_and(|value| plain(value, text)))
        }
        value => plain(value, text),
    }
}

/// Whether the caller may read everything that a run is about.
fn may_see(request: &Request, run: &Kept) -> bool {
    run.queries.iter().all(|part| part.may_be_seen(&request.caller).is_ok())
}

/// `GET /api/v1/query-runs`, newest first.
pub(crate) fn list(ready: &Ready, request: &Request) -> Result<Reply> {
    let filter = Filter::of(request)?;
    let most = limit(request, LIMIT_DEFAULT);
    let before = match request.param("before") {
        None => u64::MAX,
        Some(id) => number_of(id).ok_or_else(|| {
            Error::invalid_data(format!("before: expected `next` of an earlier answer, got \"{id}\""))
        })?,
    };
    let (mut runs, mut looked_at, mut next) = (Vec::new(), 0, None);
    ready.runs.scan(before, &mut |run| {
        let time = text_time("time", &run.time).unwrap_or(EventTime(0));
        if filter.is_past(time) {
            next = None;
            return ControlFlow::Break(());
        }
        if runs.len() == most || looked_at == LOOKED_AT_MAX {
            return ControlFlow::Break(());
        }
        looked_at += 1;
        next = Some(run.id.clone());
        if filter.keeps(&run, time) && may_see(request, &run) {
            runs.push(json!(run));
        }
        ControlFlow::Continue(())
    })?;
    damage::tell(ready.engine(), &ready.actions, &ready.runs);
    let is_more = runs.len() == most || looked_at == LOOKED_AT_MAX;
    Ok(Reply::json(200, &json!({"query_runs": runs, "next": next.filter(|_| is_more)})))
}

/// The run in the path.
fn found(ready: &Ready, request: &Request) -> Result<Kept> {
    let id = request.path.split('/').skip_while(|part| *part != "query-runs").nth(1).unwrap_or("");
    let run = number_of(id).map(|number| ready.runs.find(number)).transpose();
    damage::tell(ready.engine(), &ready.actions, &ready.runs);
    let run = run?.flatten();
    let run = run.ok_or_else(|| {
        let detail = format!(
            "there is no query run \"{}\": it never was, was dropped under load, or has made room for newer ones",
            id.chars().take(40).collect::<String>()
        );
        Error::new(ErrorKind::NotFound, detail)
    })?;
    run.queries.iter().try_for_each(|part| part.may_be_seen(&request.caller))?;
    Ok(run)
}

/// `GET /api/v1/query-runs/{id}`.
pub(crate) fn show(ready: &Ready, request: &Request) -> Result<Reply> {
    Ok(Reply::json(200, &json!(found(ready, request)?)))
}

/// `POST /api/v1/query-runs/{id}/replay`.
pub(crate) fn replay(ready: &Ready, request: &Request) -> Result<Reply> {
    Ok(Reply::json(200, &replayed(ready, &found(ready, request)?)))
}
