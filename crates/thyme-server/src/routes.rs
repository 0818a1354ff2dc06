//! The table of endpoints.

use std::panic::{AssertUnwindSafe, catch_unwind};

use thyme_core::{Error, Result};

use crate::access::{Caller, Needs};
use crate::app::{App, Ready};
use crate::openapi::Operation;
use crate::request::{Reply, Request};
use crate::{
    access, audit, backups, batch, commits, erasure, incomplete, jobs, left_out, metrics, multi, names,
    openapi, pending, population, reads, rows, runs, state, writes,
};

type Handler = fn(&Ready, &Request) -> Result<Reply>;

/// One endpoint.
pub struct Route {
    /// The method.
    pub method: &'static str,
    /// The path.
    pub path: &'static str,
    /// Whether it answers within microseconds without waiting for anything: such requests are answered
    /// on the thread that read them.
    pub quick: bool,
    /// What it needs of its caller.
    pub(crate) needs: Needs,
    handler: Handler,
    /// What it takes and gives.
    pub(crate) operation: &'static Operation,
}

const fn route(
    method: &'static str,
    path: &'static str,
    needs: Needs,
    handler: Handler,
    operation: &'static Operation,
) -> Route {
    Route { method, path, quick: false, needs, handler, operation }
}

impl Route {
    /// Whether a path is its own; a part in braces is any.
    pub(crate) fn is_at(&self, path: &str) -> bool {
        if self.path == path || !self.path.contains('{') {
            return self.path == path;
        }
        let (mut own, mut given) = (self.path.split('/'), path.split('/'));
        loop {
            match (own.next(), given.next()) {
                (None, None) => return true,
                (Some(own), Some(given)) if own == given || (own.starts_with('{') && !given.is_empty()) => {}
                _ => return false,
            }
        }
    }
}

/// Every endpoint but `/health` and `/metrics`, which also answer while the server opens.
pub const ROUTES: &[Route] = &[
    Route {
        quick: true,
        ..route("GET", "/features", Needs::READ_FEATURES, reads::get_features, &openapi::GET_FEATURES)
    },
    Route {
        quick: true,
        ..route("POST", "/features", Needs::READ_FEATURES, reads::post_features, &openapi::POST_FEATURES)
    },
    route("POST", "/features/batch", Needs::READ_FEATURES, batch::batch, &openapi::BATCH),
    route("POST", "/features/multi", Needs::READ_FEATURES, multi::multi, &openapi::MULTI),
    route("POST", "/api/v1/features/multi", Needs::READ_FEATURES, multi::multi, &openapi::MULTI),
    route("POST", "/features/offline", Needs::READ_FEATURES, reads::offline, &openapi::OFFLINE),
    route("GET", "/features/scan", Needs::READ_ALL, reads::scan, &openapi::SCAN),
    route("POST", "/api/v1/commit", Needs::COMMIT, commits::commit, &openapi::COMMIT),
    route("POST", "/api/v1/commit/cancel", Needs::COMMIT, pending::cancel, &openapi::CANCEL),
    route("POST", "/api/v1/plan", Needs::COMMIT, commits::plan, &openapi::PLAN),
    route("POST", "/api/v1/rollback", Needs::COMMIT, commits::rollback, &openapi::ROLLBACK),
    route("GET", "/api/v1/history", Needs::READ_ALL, commits::history, &openapi::HISTORY),
    route("GET", "/api/v1/diff", Needs::READ_ALL, commits::diff, &openapi::DIFF),
    route("POST", "/api/v1/retire", Needs::COMMIT, names::retire, &openapi::RETIRE),
    route("POST", "/api/v1/log", Needs::WRITE, writes::log, &openapi::LOG),
    route("POST", "/api/v1/backup", Needs::ADMIN, backups::backup, &openapi::BACKUP),
    route("POST", "/api/v1/erase", Needs::ADMIN, erasure::erase, &openapi::ERASE),
    route("GET", "/api/v1/status", Needs::ANY_KEY, state::status, &openapi::STATUS),
    route("GET", "/api/v1/jobs", Needs::ANY_KEY, pending::jobs, &openapi::JOBS),
    route("POST", "/api/v1/jobs/offline", Needs::READ_FEATURES, jobs::create, &openapi::JOB_BEGIN),
    route("GET", "/api/v1/jobs/offline", Needs::READ_FEATURES, jobs::show, &openapi::JOB_SHOW),
    route("POST", "/api/v1/jobs/offline/part", Needs::READ_FEATURES, jobs::add, &openapi::JOB_PART),
    route("GET", "/api/v1/jobs/offline/result", Needs::READ_FEATURES, jobs::result, &openapi::JOB_RESULT),
    route("POST", "/api/v1/jobs/offline/cancel", Needs::READ_FEATURES, jobs::cancel, &openapi::JOB_CANCEL),
    route("GET", "/api/v1/events", Needs::READ_ALL, state::events, &openapi::EVENTS),
    route("GET", "/api/v1/late", Needs::READ_ALL, left_out::late, &openapi::LATE),
    route("GET", "/api/v1/duplicates", Needs::READ_ALL, left_out::duplicates, &openapi::DUPLICATES),
    route("GET", "/api/v1/dead-letters", Needs::READ_ALL, left_out::dead_letters, &openapi::DEAD_LETTERS),
    route("POST", "/api/v1/dead-letters/replay", Needs::WRITE, left_out::replay, &openapi::REPLAY),
    route("GET", "/api/v1/featuresets", Needs::ANY_KEY, state::featuresets, &openapi::FEATURESETS),
    route("POST", "/api/v1/verify", Needs::READ_FEATURES, audit::verify, &openapi::VERIFY),
    route("GET", "/api/v1/explain", Needs::READ_FEATURES, audit::explain, &openapi::EXPLAIN),
    route("GET", "/api/v1/rows", Needs::READ_ALL, rows::rows, &openapi::ROWS),
    route("GET", "/api/v1/entities", Needs::READ_FEATURES, population::entities, &openapi::ENTITIES),
    route("GET", "/api/v1/query-runs", Needs::READ_FEATURES, runs::list, &openapi::QUERY_RUNS),
    route("GET", "/api/v1/query-runs/{id}", Needs::READ_FEATURES, runs::show, &openapi::QUERY_RUN),
    route("POST", "/api/v1/query-runs/{id}/replay", Needs::READ_FEATURES, runs::replay, &openapi::REPLAY_RUN),
    route("GET", "/query-runs", Needs::READ_FEATURES, runs::list, &openapi::QUERY_RUNS),
    route("GET", "/query-runs/{id}", Needs::READ_FEATURES, runs::show, &openapi::QUERY_RUN),
    route("POST", "/query-runs/{id}/replay", Needs::READ_FEATURES, runs::replay, &openapi::REPLAY_RUN),
    route("GET", "/api/v1/keys", Needs::ADMIN, access::list, &openapi::KEYS),
    route("POST", "/api/v1/keys", Needs::ADMIN, access::create, &openapi::CREATE_KEY),
    route("POST", "/api/v1/keys/revoke", Needs::ADMIN, access::revoke, &openapi::REVOKE_KEY),
    route("GET", "/openapi.json", Needs::ANY_KEY, openapi::openapi, &openapi::DESCRIPTION),
];

/// Answers a request.
pub(crate) fn dispatch(app: &App, request: &Request) -> Reply {
    // A panic is a bug of ours; it must not take a connection, let alone the process, with it.
    catch_unwind(AssertUnwindSafe(|| answer(app, request))).unwrap_or_else(|_| {
        Reply::error(&Error::internal("the request failed inside the server; see its log"))
    })
}

fn answer(app: &App, request: &Request) -> Reply {
    if request.path == "/health" {
        return state::health(app);
    }
    if request.path == "/metrics" {
        return metrics::answer(app);
    }
    let mut allowed = Vec::new();
    for route in ROUTES.iter().filter(|r| r.is_at(&request.path)) {
        if route.method == request.method {
            let handled = app.ready_now().and_then(|ready| {
                request.caller.may(route.needs, &endpoint(route))?;
                route.operation.check(request)?;
                incomplete::answer(&ready, request, &route.handler)
            });
            return handled.unwrap_or_else(|error| Reply::error(&error));
        }
        allowed.push(route.method);
    }
    if allowed.is_empty() {
        let near = thyme_core::error::nearest(&request.path, ROUTES.iter().map(|r| r.path));
        let hint = if near.is_empty() {
            "see docs/http.md".to_owned()
        } else {
            format!("did you mean {}?", near.join(", "))
        };
        return Reply::failure(
            404,
            "not_found",
            &format!("there is no endpoint {}; {hint}", request.path),
            &[],
        );
    }
    let detail = format!("{} takes {}, got {}", request.path, allowed.join(" or "), request.method);
    let mut reply = Reply::failure(405, "method_not_allowed", &detail, &[]);
    reply.headers.push(("allow", allowed.join(", ")));
    reply
}

fn endpoint(route: &Route) -> String {
    format!("{} {}", route.method, route.path)
}

/// Refuses a caller whose key has not the role that an endpoint needs, before its body is read.
///
/// # Errors
/// Forbidden, naming the role.
pub(crate) fn permit(caller: &Caller, method: &str, path: &str) -> Result<()> {
    let found = ROUTES.iter().find(|r| r.method == method && r.is_at(path));
    found.map_or(Ok(()), |route| caller.may(route.needs, &endpoint(route)))
}

/// Whether a request may be answered on the thread that read it.
pub(crate) fn is_quick(app: &App, request: &Request) -> bool {
    let found = ROUTES.iter().find(|r| r.method == request.method && r.is_at(&request.path));
    match found {
        Some(route) if route.quick => app.ready_now().is_ok_and(|ready| reads::is_quick(&ready, request)),
        Some(_) => false,
        None => true,
    }
}
