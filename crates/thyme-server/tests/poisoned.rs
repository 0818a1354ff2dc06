//! A part of the state that cannot be used answers 503 and says so everywhere; the rest answers as always.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use serde_json::{Value as Json, json};
use thyme_core::definition::{Dataset, Extractor};
use thyme_core::{EventTime, Result, Value};
use thyme_query::{ColumnBuffer, ExtractorHost, LookupContext};
use thyme_server::{App, AppOptions, Reply, Request};

const TEN: i64 = 1_773_568_800;

/// Looks the entity's row up, and makes do without when that fails.
#[derive(Debug)]
struct Careless;

impl ExtractorHost for Careless {
    fn load(&self, _: &str, _: &Extractor, _: &[Dataset]) -> Result<u64> {
        Ok(1)
    }

    fn call(
        &self,
        _: u64,
        times: &[EventTime],
        inputs: &[&ColumnBuffer],
        context: &LookupContext,
    ) -> Result<Vec<Vec<Value>>> {
        let found = |row: usize| {
            let key = [("k".to_owned(), inputs[0].get(row))];
            context.lookup(row, "ByK", times[row], &key).map_or(0, |fields| fields.len() as i64)
        };
        Ok(vec![(0..times.len()).map(|row| Value::Int(found(row))).collect()])
    }
}

fn open() -> App {
    let app = App::opening();
    app.open(AppOptions { shards: 4, ..AppOptions::default() }, Arc::new(Careless)).unwrap();
    let raw = json!({"name": "Event", "index": true, "fields": [
        {"name": "k", "type": "str", "role": "key"}, {"name": "x", "type": "int"},
        {"name": "at", "type": "datetime", "role": "timestamp"},
    ]});
    let operators = json!([
        {"op": "groupby", "keys": ["k"]},
        {"op": "aggregate", "aggregates": [{"name": "total", "function": "sum", "of": "x"}]},
    ]);
    let derived = json!({"name": "ByK", "fields": [
        {"name": "k", "type": "str", "role": "key"}, {"name": "at", "type": "datetime", "role": "timestamp"},
        {"name": "total", "type": "int"},
    ], "pipelines": [{"name": "p", "version": 1, "inputs": ["Event"], "operators": operators}]});
    let total = json!({"id": 1, "name": "total", "type": "int", "ref": {"dataset": "ByK", "field": "total"}});
    let key = json!({"id": 1, "name": "k", "type": "str"});
    let x = json!({"id": 3, "name": "x", "type": "int", "ref": {"dataset": "Event", "field": "x"}});
    let looked_up = json!({"id": 2, "name": "fields", "type": "int"});
    let extractor = json!({"name": "look", "inputs": [{"feature": "k"}],
        "outputs": ["fields"], "deps": ["ByK"], "form": "positional", "code": ""});
    let last = json!({"id": 1, "name": "x", "type": "int", "ref": {"dataset": "Event", "field": "x"}});
    ok(&post(
        &app,
        "/api/v1/commit",
        &json!({"format": 1, "datasets": [raw, derived], "featuresets": [
            {"name": "Totals", "features": [total]},
            {"name": "Careful", "features": [key, looked_up, x], "extractors": [extractor]},
            {"name": "Latest", "features": [last]},
        ]}),
    ));
    app
}

fn ask(app: &App, method: &str, target: &str, body: &Json) -> Reply {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    app.request(&Request::new(method, target, headers, body.to_string().into()))
}

fn get(app: &App, target: &str) -> Reply {
    ask(app, "GET", target, &Json::Null)
}

fn post(app: &App, target: &str, body: &Json) -> Reply {
    ask(app, "POST", target, body)
}

fn json_of(reply: &Reply) -> Json {
    serde_json::from_slice(&reply.body).unwrap()
}

fn ok(reply: &Reply) -> Json {
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    json_of(reply)
}

fn poisoned(reply: &Reply) -> String {
    let answer = json_of(reply);
    assert_eq!((reply.status, &answer["error"]), (503, &json!("poisoned")), "{answer}");
    assert!(reply.headers.iter().all(|(name, _)| *name != "retry-after"), "only a restart helps");
    answer["detail"].as_str().unwrap().to_owned()
}

fn push(app: &App, x: i64) {
    let event = |i: i64| json!({"k": format!("k{i}"), "x": x, "at": TEN + x});
    let events: Vec<Json> = (0..40).map(event).collect();
    let body = json!({"dataset": "Event", "events": events});
    let position = ok(&post(app, "/api/v1/log", &body))["position"].as_str().unwrap().to_owned();
    ok(&get(app, &format!("/features?entity_type=Event&entity_id=k0&min_position={position}")));
}

#[test]
fn reads_of_a_poisoned_entity_are_refused_through_http_and_no_others() {
    let app = open();
    push(&app, 1);
    assert_eq!(ok(&get(&app, "/health")), json!({"status": "ok"}));
    app.panic_for_test("ByK", "k3").unwrap();
    push(&app, 2);
    push(&app, 3);

    let told = poisoned(&get(&app, "/features?featureset=Totals&entity_id=k3"));
    let shard = told.split("shard ").nth(1).unwrap().split(' ').next().unwrap();
    let reason = format!("shard {shard} panicked while rows of e3 were added (a test wanted this panic)");
    assert_eq!(
        told,
        format!("ByK, entity \"k3\": {reason}; restart the server: it rebuilds this from the log")
    );
    let of = |k: &str| json!({"entity_id": k, "timestamp": "2026-03-15T11:00:00Z"});
    let offline = |queries: &[Json]| {
        post(&app, "/features/offline", &json!({"featureset": "Totals", "queries": queries}))
    };
    assert_eq!(poisoned(&offline(&[of("k1"), of("k3")])), told, "never a part of a training set");
    poisoned(&post(&app, "/features/batch", &json!({"featureset": "Totals", "entity_ids": ["k1", "k3"]})));
    poisoned(&get(&app, "/features?entity_type=ByK&entity_id=k3"));
    let extracted = get(&app, "/features?featureset=Careful&entity_id=k3");
    assert_eq!(poisoned(&extracted), told, "an extractor cannot make do without it");

    let others =
        (0..40).filter(|i| get(&app, &format!("/features?featureset=Totals&entity_id=k{i}")).status == 200);
    let others: Vec<i64> = others.collect();
    assert!(others.len() > 30 && !others.contains(&3), "{others:?}");
    for i in others {
        let answer = ok(&get(&app, &format!("/features?featureset=Totals&entity_id=k{i}")));
        assert_eq!(answer["features"], json!({"total": 6}));
        ok(&offline(&[of(&format!("k{i}"))]));
        assert_eq!(
            ok(&get(&app, &format!("/features?featureset=Careful&entity_id=k{i}")))["features"]["fields"],
            3
        );
    }
    // Another dataset has timelines of its own.
    assert_eq!(ok(&get(&app, "/features?featureset=Latest&entity_id=k3"))["features"], json!({"x": 3}));

    let health = ok(&get(&app, "/health"));
    assert_eq!(health["status"], "degraded");
    assert!(health["detail"].as_str().unwrap().ends_with(&format!("ByK: {reason}")), "{health}");
    let status = ok(&get(&app, "/api/v1/status"));
    let number: u64 = shard.parse().unwrap();
    let part = json!({"dataset": "ByK", "shard": number, "entity": null, "reason": reason});
    assert_eq!((&status["ready"], &status["poisoned"]), (&json!(true), &json!([part])));
    let metrics = String::from_utf8(get(&app, "/metrics").body).unwrap();
    for other in 0..4 {
        let line = format!("thyme_shard_poisoned{{shard=\"{other}\"}} {}\n", u8::from(other == number));
        assert!(metrics.contains(&line), "{metrics}");
    }
    let events = ok(&get(&app, "/api/v1/events?event_type=shard_poisoned&severity=error"));
    assert_eq!(events["events"].as_array().unwrap().len(), 1);
    assert!(events["events"][0]["message"].as_str().unwrap().starts_with(&reason));
}
