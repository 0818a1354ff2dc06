//! The endpoints that show state.

use serde_json::{Value as Json, json};
use thyme_core::definition::{Document, Extractor};
use thyme_core::expectation::{Expectation, Tally};
use thyme_core::time::format_rfc3339;
use thyme_core::{EventTime, Result};
use thyme_engine::{Clock, Engine, Poisoned, ReadAt, Severity};
use thyme_query::Runs;
use thyme_query::plan::entity_of;

use crate::app::{App, Ready};
use crate::request::{Reply, Request};

/// `GET /health`: 200 when reads and writes work.
pub(crate) fn health(app: &App) -> Reply {
    if let Some(step) = app.starting() {
        let progress = json!({"doing": step.doing, "done": step.done, "total": step.total});
        return later(&json!({"status": "starting", "detail": step.to_string(), "progress": progress}));
    }
    match app.ready_now() {
        Ok(ready) => match ready.engine().failure() {
            None => Reply::json(200, &working(ready.engine())),
            Some(reason) => later(&json!({"status": "failed", "detail": reason})),
        },
        Err(error) => later(&json!({"status": "failed", "detail": error.detail()})),
    }
}

/// Reads and writes work, perhaps not for all entities.
fn working(engine: &Engine) -> Json {
    let poisoned = engine.poisoned();
    if let Some(first) = poisoned.first() {
        let detail = format!(
            "{} parts of the state answer 503 until a restart, which rebuilds them from the log; the first is of {}: {}",
            poisoned.len(),
            first.dataset,
            first.reason
        );
        return json!({"status": "degraded", "detail": detail});
    }
    if let Some(reason) = engine.erasure_waits() {
        return json!({"status": "degraded", "detail": reason});
    }
    match engine.memory_stuck() {
        Some(reason) => {
            let detail = format!("what is not used cannot leave memory, which grows: {reason}");
            json!({"status": "degraded", "detail": detail})
        }
        None => json!({"status": "ok"}),
    }
}

fn later(body: &Json) -> Reply {
    let mut reply = Reply::json(503, body);
    reply.headers.push(("retry-after", "1".into()));
    reply
}

/// An expectation and what came to it.
fn expectation((expectation, tally): &(Expectation, Tally)) -> Json {
    json!({
        "expectation": expectation.kind.to_string(), "mostly": expectation.mostly,
        "checked": tally.checked, "violated": tally.violated,
    })
}

/// `GET /api/v1/status`.
pub(crate) fn status(ready: &Ready, _: &Request) -> Result<Reply> {
    let engine = ready.engine();
    let snapshot = engine.snapshot(ReadAt::default())?;
    let catalog = &snapshot.catalog;
    let (written, applied) = engine.records();
    let datasets: Vec<Json> = catalog
        .datasets
        .values()
        .map(|live| {
            let counters = engine.counters(live);
            let pushes = (!live.is_derived()).then(|| ready.metrics.pushes(&live.definition.name));
            json!({
                "name": live.definition.name,
                "version": live.definition.version,
                "kind": if live.is_derived() { "derived" } else { "raw" },
                "events": counters.events,
                "late": counters.late,
                "duplicates": counters.duplicates,
                "refused": pushes.map(|p| p.refused),
                "skipped": pushes.map(|p| p.skipped_rows),
                "dead_letters": counters.dead_letters,
                "erased": counters.erased,
                "expectations": engine.expectations(live).iter().map(expectation).collect::<Vec<_>>(),
                "entities": live.node.as_ref().map(|n| n.entities()),
                "removed_until": engine.removed_until(live).map(EventTime::to_rfc3339),
                "history_from": engine.history_from(live).map(EventTime::to_rfc3339),
                "newest": counters.newest.map(format_rfc3339),
            })
        })
        .collect();
    let featuresets: Vec<Json> = catalog
        .document
        .featuresets
        .iter()
        .map(|f| json!({"name": f.name, "features": f.features.len(), "extractors": f.extractors.len()}))
        .collect();
    let sources: Vec<Json> = ready
        .sources
        .iter()
        .flat_map(|s| s.status())
        .map(|s| {
            json!({
                "dataset": s.dataset, "kind": s.kind, "path": s.path, "rows": s.rows,
                "dead_letters": s.dead_letters, "caught_up": s.caught_up, "error": s.error, "unfinished": s.unfinished,
            })
        })
        .collect();
    let (log_bytes, store_bytes, checkpoint) = engine.storage();
    let (log_first, log_from) = engine.log_start();
    let memory = engine.memory();
    let pushes = engine.push_budget().facts();
    let poisoned: Vec<Json> = engine.poisoned().iter().take(POISONED_SHOWN_MAX).map(poisoned).collect();
    Ok(Reply::json(
        200,
        &json!({
            "version": env!("CARGO_PKG_VERSION"),
            "ready": engine.failure().is_none(),
            "doing": engine.work(),
            "clock": match engine.clock() { Clock::Wall => "wall", Clock::Event(_) => "event" },
            "clock_datasets": match engine.clock() { Clock::Event(Some(names)) => json!(names), _ => Json::Null },
            "now": snapshot.time.to_rfc3339(),
            "position": format!("e{written}"),
            "applied": format!("e{applied}"),
            "commit": catalog.commit,
            "shards": engine.shards(),
            "poisoned": poisoned,
            "erasure_waits": engine.erasure_waits(),
            "datasets": datasets,
            "featuresets": featuresets,
            "sources": sources,
            "old_names": crate::names::status(ready),
            "backfill": crate::pending::shown(ready),
            "backup": engine.backup_under_way().map(|(done, total)| json!({"done": done, "total": total})),
            "verified": ready.verified.summary(),
            "memory": {
                "bytes_budget": engine.memory_budget(),
                "bytes_timelines_max": memory.limit_bytes,
                "bytes_timelines": memory.resident_bytes,
                "entities": memory.entities,
                "entities_in_memory": memory.resident_entities,
                "loads": memory.loads,
                "evictions": memory.evictions,
                "stuck": memory.stuck,
            },
            "pushes": {
                "bytes_in_flight": pushes.taken,
                "bytes_in_flight_max": pushes.limit,
                "waiting": pushes.waiting,
                "overloaded": ready.metrics.overloaded(),
            },
            "state": {
                "bytes_log": log_bytes,
                "log_first": format!("e{log_first}"),
                "log_from": log_from.map(EventTime::to_rfc3339),
                "log_kept_by": engine.log_kept_by().map(|(dataset, time, record)| {
                    json!({"dataset": dataset, "time": time.to_rfc3339(), "record": format!("e{record}")})
                }),
                "bytes_store": store_bytes,
                "checkpoint_position": format!("e{checkpoint}"),
            },
        }),
    ))
}

/// Parts of the state that the status lists.
const POISONED_SHOWN_MAX: usize = 100;

fn poisoned(part: &Poisoned) -> Json {
    json!({"dataset": part.dataset, "shard": part.shard, "entity": part.entity, "reason": part.reason})
}

/// The `limit` of a listing.
pub(crate) fn limit(request: &Request, default: usize) -> usize {
    request.param("limit").and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// `GET /api/v1/events`.
pub(crate) fn events(ready: &Ready, request: &Request) -> Result<Reply> {
    let severity = match request.param("severity") {
        Some("info") => Some(Severity::Info),
        Some("warning") => Some(Severity::Warning),
        Some("error") => Some(Severity::Error),
        _ => None,
    };
    let (event_type, subject) = (request.param("event_type"), request.param("subject"));
    let by = request.param("by");
    let found = ready.engine().events().list(limit(request, 100), |e| {
        by.is_none()
            && severity.is_none_or(|s| e.severity == s)
            && event_type.is_none_or(|t| e.event_type == t)
            && subject.is_none_or(|s| e.subject == s)
    });
    let mut events: Vec<(i64, Json)> = found
        .iter()
        .map(|e| {
            let shown = json!({
                "time": format_rfc3339(e.time_us),
                "severity": e.severity,
                "event_type": e.event_type,
                "subject": e.subject,
                "message": e.message,
                "by": null,
            });
            (e.time_us, shown)
        })
        .collect();
    let done = ready.actions.list(limit(request, 100), |a| {
        severity.is_none_or(|s| s == Severity::Info)
            && event_type.is_none_or(|t| a.event_type == t)
            && subject.is_none_or(|s| a.subject == s)
            && by.is_none_or(|b| a.by == b)
    });
    events.extend(done.iter().map(|action| (action.time, action.shown())));
    events.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
    let events: Vec<Json> = events.into_iter().take(limit(request, 100)).map(|(_, event)| event).collect();
    Ok(Reply::json(200, &json!({"events": events})))
}

/// Says of an extractor where it runs (`runs_in`), and if in CPython, why (`because`), or that it is `vectorized`.
pub(crate) fn say_how_it_runs(
    ready: &Ready,
    document: &Document,
    featureset: &str,
    extractor: &Extractor,
    shown: &mut Json,
) {
    if let Some(expr) = extractor.expression() {
        shown["runs_in"] = "Rust".into();
        shown["expr"] = expr.to_string().into();
        return;
    }
    let (place, because) = match ready.reader.runs(document, featureset, extractor) {
        Ok(Runs::Compiled(_) | Runs::Expression(_)) => ("Rust", None),
        Ok(Runs::Hosted(because)) => ("CPython", Some(because)),
        Ok(Runs::Vectorized) => ("CPython", None),
        Err(error) => ("CPython", Some(error.detail().to_owned())),
    };
    shown["runs_in"] = place.into();
    if extractor.vectorized {
        shown["vectorized"] = true.into();
    }
    if let Some(because) = because {
        shown["because"] = because.into();
    }
}

/// `GET /api/v1/featuresets`: the committed definitions.
pub(crate) fn featuresets(ready: &Ready, _: &Request) -> Result<Reply> {
    let catalog = ready.engine().catalog();
    let document = &catalog.document;
    let mut featuresets = Vec::new();
    for f in document.featuresets.iter().filter(|f| !f.features.is_empty()) {
        let entity = entity_of(document, f)?;
        let features: Vec<Json> = f
            .features
            .iter()
            .map(|feature| {
                let extractor = f.extractors.iter().find(|e| e.outputs.contains(&feature.name));
                let source = match (&feature.reference, extractor) {
                    (Some(r), _) => format!("{}.{}", r.dataset, r.field),
                    (_, Some(e)) if e.expression().is_some() => "expression".into(),
                    (_, Some(e)) => format!("extractor {}", e.name),
                    _ if feature.request => "request".into(),
                    _ => "entity".into(),
                };
                let max_age = f.max_age_of(feature);
                json!({
                    "max_age": max_age.map(|m| m.span), "on_stale": max_age.map(|m| m.on_stale),
                    "id": feature.id, "name": feature.name, "type": feature.data_type, "source": source,
                    "default": feature.default, "request": feature.request, "meta": feature.meta,
                    "former_names": feature.former_names,
                })
            })
            .collect();
        let extractors: Vec<Json> = f
            .extractors
            .iter()
            .map(|e| {
                let mut shown = json!({
                    "name": e.name, "version": e.version, "inputs": e.inputs, "outputs": e.outputs, "deps": e.deps,
                });
                say_how_it_runs(ready, document, &f.name, e, &mut shown);
                shown
            })
            .collect();
        featuresets.push(json!({
            "name": f.name,
            "entity": entity.iter().map(|(n, _)| n).collect::<Vec<_>>(),
            "entity_types": entity.iter().map(|(n, t)| (n.clone(), json!(t))).collect::<serde_json::Map<_, _>>(),
            "features": features,
            "extractors": extractors,
            "retired_ids": f.retired_ids,
            "retired_names": f.retired_names,
            "meta": f.meta,
        }));
    }
    let datasets: Vec<Json> = catalog
        .datasets
        .values()
        .map(|live| {
            let mut definition = json!(live.definition);
            definition["kind"] = if live.is_derived() { "derived" } else { "raw" }.into();
            definition
        })
        .collect();
    Ok(Reply::json(200, &json!({"commit": catalog.commit, "datasets": datasets, "featuresets": featuresets})))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::app::AppOptions;
    use thyme_query::NoExtractors;

    const DAY: i64 = 86_400;
    const START: i64 = 1_700_000_000;

    fn ask(app: &App, method: &str, target: &str, body: &Json) -> (u16, Json) {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        let reply = app.request(&Request::new(method, target, headers, body.to_string().into()));
        (reply.status, serde_json::from_slice(&reply.body).unwrap_or_default())
    }

    #[test]
    fn what_retention_has_removed_is_in_the_status_and_a_read_that_needs_it_gets_410() {
        let dir = tempfile::tempdir().unwrap();
        let app = App::opening();
        let clock = Clock::Event(None);
        let options = AppOptions { path: Some(dir.path().to_owned()), clock, ..AppOptions::default() };
        app.open(options, Arc::new(NoExtractors)).unwrap();
        let field = |name: &str, kind: &str, role: &str| json!({"name": name, "type": kind, "role": role});
        let fields =
            [field("k", "str", "key"), field("x", "int", "value"), field("at", "datetime", "timestamp")];
        let dataset = json!({"name": "Event", "index": true, "retention": "8d", "fields": fields});
        let commit = json!({"format": 1, "datasets": [dataset]});
        assert_eq!(ask(&app, "POST", "/api/v1/commit", &commit).0, 200);
        let events: Vec<Json> =
            (0..100).map(|day| json!({"k": "a", "x": day, "at": START + day * DAY})).collect();
        let (status, pushed) =
            ask(&app, "POST", "/api/v1/log", &json!({"dataset": "Event", "events": events}));
        assert_eq!(status, 200, "{pushed}");
        let read = |day: i64| {
            let position = pushed["position"].as_str().unwrap_or_default();
            let time = format_rfc3339((START + day * DAY) * 1_000_000);
            let query = format!("entity_type=Event&entity_id=a&timestamp={time}&min_position={position}");
            ask(&app, "GET", &format!("/features?{query}"), &Json::Null)
        };
        let shown =
            || ask(&app, "GET", "/api/v1/status", &Json::Null).1["datasets"][0]["removed_until"].clone();
        assert_eq!((read(10).0, shown()), (200, Json::Null));
        // Up to nine days before the newest event.
        assert_eq!(app.ready_now().unwrap().engine().enforce_retention().unwrap(), 91);
        let removed = format_rfc3339((START + 90 * DAY) * 1_000_000);
        assert_eq!(shown(), json!(removed));
        let (status, answer) = read(97);
        assert_eq!((status, &answer["error"]), (410, &json!("gone")), "{answer}");
        assert!(
            answer["detail"].as_str().unwrap().contains(&format!("those up to {removed} have been removed"))
        );
        assert_eq!((read(98).1["features"]["x"].clone(), read(99).0), (json!(98), 200));
        // The same through a lookup of now, whose window is always there.
        let (status, now) = ask(&app, "GET", "/features?entity_type=Event&entity_id=a", &Json::Null);
        assert_eq!((status, &now["features"]["x"]), (200, &json!(99)));
    }
}
