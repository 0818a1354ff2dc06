//! Several featuresets in one request are read at one `(T, S, C)`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use arrow::ipc::reader::StreamReader;
use serde_json::{Value as Json, json};
use thyme_query::NoExtractors;
use thyme_server::{App, AppOptions, Reply, Request};

const ARROW: &str = "application/vnd.apache.arrow.stream";

fn send(app: &App, target: &str, body: &Json, accept: &str) -> Reply {
    let headers = [("content-type", "application/json"), ("accept", accept)];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    app.request(&Request::new("POST", target, headers, body.to_string().into()))
}

fn post(app: &App, target: &str, body: &Json) -> (u16, Json) {
    let reply = send(app, target, body, "application/json");
    (reply.status, serde_json::from_slice(&reply.body).unwrap())
}

fn ok(app: &App, target: &str, body: &Json) -> Json {
    let (status, answer) = post(app, target, body);
    assert_eq!(status, 200, "{target} {body}: {answer}");
    answer
}

/// Two featuresets of two datasets, which count the same events by other keys.
fn open() -> App {
    let app = App::opening();
    app.open(AppOptions { shards: 2, ..AppOptions::default() }, Arc::new(NoExtractors)).unwrap();
    let field = |name: &str, kind: &str, role: &str| json!({"name": name, "type": kind, "role": role});
    let at = field("at", "datetime", "timestamp");
    let derived = |name: &str, key: &str| {
        json!({"name": name, "fields": [field(key, "str", "key"), at, field("n", "int", "value")],
            "pipelines": [{"name": "p", "inputs": ["Event"], "operators": [
                {"op": "groupby", "keys": [key]},
                {"op": "aggregate", "aggregates": [{"name": "n", "function": "count"}]}]}]})
    };
    let set = |name: &str, key: &str, dataset: &str| {
        json!({"name": name, "features": [
            {"id": 1, "name": key, "type": "str"},
            {"id": 2, "name": "n", "type": "int", "ref": {"dataset": dataset, "field": "n"}},
            {"id": 3, "name": "hour", "type": "int", "request": true, "default": 12}]})
    };
    let document = json!({"format": 1,
        "datasets": [
            {"name": "Event", "fields": [field("k", "str", "key"), field("zone", "str", "value"), at]},
            derived("ByKey", "k"), derived("ByZone", "zone")],
        "featuresets": [set("Keys", "k", "ByKey"), set("Zones", "zone", "ByZone")]});
    ok(&app, "/api/v1/commit", &document);
    app
}

fn push(app: &App, rows: usize) -> String {
    let events: Vec<Json> = (0..rows).map(|_| json!({"k": "a", "zone": "z", "at": 1_700_000_000})).collect();
    let pushed = ok(app, "/api/v1/log", &json!({"dataset": "Event", "events": events}));
    pushed["position"].as_str().unwrap().to_owned()
}

#[test]
fn all_queries_see_the_same_events_while_events_come_in() {
    let app = open();
    push(&app, 1);
    let done = AtomicBool::new(false);
    let queries = json!([
        {"featureset": "Keys", "entity_ids": ["a", "b"], "features": ["n"]},
        {"featureset": "Zones", "entity_ids": ["z"], "features": [2], "inputs": {"hour": 3}},
        {"featureset": "Keys", "entity_ids": ["a"], "features": ["n"]},
    ]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                push(&app, 3);
            }
        });
        let mut seen = Vec::new();
        for _ in 0..200 {
            let answer = ok(&app, "/features/multi", &json!({"queries": queries}));
            let count = |query: usize| answer["results"][query]["values"][0][0].as_i64().unwrap();
            assert_eq!((count(0), count(0)), (count(1), count(2)), "{answer}");
            assert_eq!(answer["results"][0]["values"][1], json!([0]));
            seen.push(count(0));
        }
        done.store(true, Ordering::Relaxed);
        assert!(seen.is_sorted());
    });
}

#[test]
fn each_result_is_what_a_batch_of_its_query_answers_at_that_position() {
    let app = open();
    let first = push(&app, 2);
    push(&app, 5);
    let query = json!({"featureset": "Keys", "entity_ids": ["a", "b"], "inputs": [{"hour": 1}, {}]});
    let other = json!({"featureset": "Zones", "entity_ids": []});
    for at in [json!({"position": first, "timestamp": 1_700_000_000}), json!({"timestamp": 1_700_000_001})] {
        let mut body = json!({"queries": [query, other], "meta": true});
        body.as_object_mut().unwrap().extend(at.as_object().unwrap().clone());
        let answer = ok(&app, "/api/v1/features/multi", &body);
        let mut alone = query.clone();
        alone.as_object_mut().unwrap().extend(at.as_object().unwrap().clone());
        alone["meta"] = true.into();
        alone["position"] = answer["as_of"]["position"].clone();
        let mut batch = ok(&app, "/features/batch", &alone);
        assert_eq!(answer["mode"], batch["mode"]);
        assert_eq!(answer["as_of"], batch["as_of"]);
        batch.as_object_mut().unwrap().retain(|name, _| name != "mode" && name != "as_of");
        batch["featureset"] = "Keys".into();
        assert_eq!(answer["results"][0], batch);
        assert_eq!(answer["results"][1]["values"], json!([]));
    }
}

#[test]
fn in_arrow_the_streams_of_the_queries_follow_each_other() {
    let app = open();
    let position = push(&app, 4);
    let body = json!({"min_position": position, "queries": [
        {"featureset": "Zones", "entity_ids": ["z", "y"]}, {"featureset": "Keys", "entity_ids": ["a"], "features": ["n"]}]});
    let reply = send(&app, "/features/multi", &body, ARROW);
    assert_eq!(reply.status, 200);
    let mut rest = reply.body.as_slice();
    let mut found = Vec::new();
    while !rest.is_empty() {
        let mut reader = StreamReader::try_new(&mut rest, None).unwrap();
        let batches: Vec<_> = reader.by_ref().collect::<Result<_, _>>().unwrap();
        let counts = batches[0].column_by_name("n").unwrap().as_primitive::<Int64Type>().values().to_vec();
        let metadata = reader.schema().metadata().clone();
        found.push((
            counts,
            metadata["featureset"].clone(),
            metadata["query"].clone(),
            metadata["as_of"].clone(),
        ));
    }
    let [zones, keys] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((&zones.0, &keys.0), (&vec![4, 0], &vec![4]));
    assert_eq!((zones.1.as_str(), keys.1.as_str(), keys.2.as_str()), ("\"Zones\"", "\"Keys\"", "1"));
    assert_eq!(zones.3, keys.3);
}

#[test]
fn one_query_that_is_wrong_refuses_all_and_says_which() {
    let app = open();
    let good = json!({"featureset": "Keys", "entity_ids": ["a"]});
    let cases = [
        (json!([good, {"featureset": "Nope", "entity_ids": ["a"]}]), 404, "queries[1]: "),
        (
            json!([good, {"featureset": "Zones", "entity_ids": [1]}]),
            400,
            "queries[1]: entity_id.zone: expected str",
        ),
        (json!([{"featureset": "Keys", "entity_ids": ["a"], "features": ["nope"]}]), 404, "queries[0]: "),
        (
            json!([{"featureset": "Keys", "entity_ids": ["a"], "inputs": [{}, {}]}]),
            400,
            "queries[0]: inputs: ",
        ),
        (json!([{"featureset": "Keys", "entity_ids": ["a"], "timestamp": 5}]), 400, "timestamp"),
        (json!([]), 400, "queries: expected 1 at least"),
        (Json::Array(vec![good.clone(); 101]), 413, "queries: 101 in one request, at most 100"),
    ];
    for (queries, status, says) in cases {
        let (got, answer) = post(&app, "/features/multi", &json!({"queries": queries}));
        let detail = answer["detail"].as_str().unwrap();
        assert!(got == status && detail.contains(says), "{got} {detail}, expected {status} {says}");
    }
    let many = Json::Array(vec!["a".into(); 600_000]);
    let query = json!({"featureset": "Keys", "entity_ids": many, "features": ["n"]});
    let (status, answer) = post(&app, "/features/multi", &json!({"queries": [query, query]}));
    assert!(status == 413 && answer["detail"].as_str().unwrap().contains("1200000 rows"), "{answer}");
}

#[test]
fn reads_that_wait_leave_threads_to_others() {
    let app = open();
    let waits = "/features?featureset=Keys&entity_id=a&min_position=e1000&wait_ms=60000";
    let get = |target: &str| app.request(&Request::new("GET", target, Vec::new(), Vec::new().into()));
    let refused = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..257 {
            // One of them finds no place; the others wait until the application closes.
            scope.spawn(|| {
                let reply = get(waits);
                let said = String::from_utf8_lossy(&reply.body).into_owned();
                assert_eq!(reply.status, 503, "{said}");
                refused.fetch_or(said.contains("256 other reads wait"), Ordering::Relaxed);
            });
        }
        while !refused.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        assert_eq!(get("/features?featureset=Keys&entity_id=a").status, 200);
        app.close();
    });
}
