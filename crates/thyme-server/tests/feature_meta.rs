//! What a read with `meta` says of each value, compared with the naive rule at every `(T, S)`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use serde_json::{Value as Json, json};
use thyme_query::NoExtractors;
use thyme_server::{App, AppOptions, Request};
use thyme_testing::random::Random;

const TEN: i64 = 1_773_568_800;
const KEYS: [&str; 3] = ["a", "b", "nobody"];

fn ask(app: &App, method: &str, target: &str, body: &Json) -> Json {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    let reply = app.request(&Request::new(method, target, headers, body.to_string().into()));
    let answer: Json = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(reply.status, 200, "{method} {target} {body}: {answer}");
    answer
}

fn document() -> Json {
    let field = |name: &str, kind: &str, role: &str| json!({"name": name, "type": kind, "role": role});
    let (key, at) = (field("k", "str", "key"), field("at", "datetime", "timestamp"));
    let aggregate =
        |name: &str, function: &str| json!({"name": name, "function": function, "of": "x", "window": "10m"});
    let value = |dataset: &str, field: &str| json!({"dataset": dataset, "field": field});
    json!({"format": 1,
    "datasets": [
        {"name": "Event", "index": true, "fields": [key, field("x", "int", "value"), at]},
        {"name": "Positive", "version": 3, "fields": [key, at, field("c", "int", "value"), field("m", "int", "value")],
         "pipelines": [{"name": "p", "inputs": ["Event"], "operators": [
            {"op": "filter", "expr": {"op": "gt", "args": [{"col": "x"}, {"lit": 0, "type": "int"}]}},
            {"op": "groupby", "keys": ["k"]},
            {"op": "aggregate", "aggregates": [aggregate("c", "count"), aggregate("m", "max")]}]}]},
    ],
    "featuresets": [{"name": "F", "features": [
        {"id": 1, "name": "k", "type": "str"},
        {"id": 2, "name": "c", "type": "int", "ref": value("Positive", "c")},
        {"id": 3, "name": "m", "type": "int", "ref": value("Positive", "m")},
        {"id": 4, "name": "md", "type": "int", "ref": value("Positive", "m"), "default": -1},
        {"id": 5, "name": "x", "type": "int", "ref": value("Event", "x")},
        {"id": 8, "name": "aged", "type": "int", "ref": value("Positive", "c"), "max_age": "5m", "default": -3},
        {"id": 9, "name": "stands", "type": "int", "ref": value("Event", "x"), "max_age": "5m", "default": -4, "on_stale": "default"},
        {"id": 6, "name": "hour", "type": "int", "request": true, "default": 12},
        {"id": 7, "name": "note", "type": "str", "request": true, "optional": true},
    ]}]})
}

struct Event {
    key: &'static str,
    x: i64,
    time: i64,
    record: usize,
}

struct History {
    app: App,
    events: Vec<Event>,
    /// The position of each push.
    positions: Vec<String>,
}

fn history(seed: u64) -> History {
    let app = App::opening();
    app.open(AppOptions { shards: 2, ..AppOptions::default() }, Arc::new(NoExtractors)).unwrap();
    ask(&app, "POST", "/api/v1/commit", &document());
    let mut random = Random::new(seed);
    let (mut events, mut positions) = (Vec::new(), Vec::new());
    for record in 0..12 {
        let pushed: Vec<Event> = (0..5)
            .map(|_| Event {
                key: KEYS[random.below(2)],
                x: random.below(5) as i64 - 2,
                time: TEN + random.below(3_600) as i64,
                record,
            })
            .collect();
        let rows: Vec<Json> = pushed.iter().map(|e| json!({"k": e.key, "x": e.x, "at": e.time})).collect();
        let answer = ask(&app, "POST", "/api/v1/log", &json!({"dataset": "Event", "events": rows}));
        positions.push(answer["position"].as_str().unwrap().to_owned());
        events.extend(pushed);
    }
    // Reads that name no position see all of it.
    let all = positions.last().unwrap();
    ask(&app, "GET", &format!("/features?featureset=F&entity_id=a&min_position={all}"), &Json::Null);
    History { app, events, positions }
}

impl History {
    /// The time of the newest event of an entity that counts at `(T, S)`.
    fn newest(&self, key: &str, time: i64, record: usize, filtered: bool) -> Option<i64> {
        let counts =
            |e: &&Event| e.key == key && e.time <= time && e.record <= record && (!filtered || e.x > 0);
        self.events.iter().filter(counts).map(|e| e.time).max()
    }
}

fn check(said: &Json, value: &Json, newest: Option<i64>, time: i64, what: &str) {
    match newest {
        None => {
            assert_eq!((&said["newest"], &said["age_s"]), (&Json::Null, &Json::Null), "{what}");
            assert_eq!(said["status"], "MISSING", "{what}");
        }
        Some(newest) => {
            let shown = thyme_core::time::format_rfc3339(newest * 1_000_000);
            assert_eq!(
                (&said["newest"], &said["age_s"]),
                (&json!(shown), &json!((time - newest) as f64)),
                "{what}"
            );
            assert_eq!(said["status"], if value.is_null() { "MISSING" } else { "OK" }, "{what}");
        }
    }
}

#[test]
fn the_newest_event_and_the_age_are_those_of_the_naive_rule_at_every_time_and_position() {
    let mut stale = 0;
    for seed in 0..4 {
        let history = history(seed);
        let mut random = Random::new(seed ^ 77);
        for _ in 0..60 {
            let record = random.below(12);
            let time = TEN - 60 + random.below(4_000) as i64;
            let position = &history.positions[record];
            let key = KEYS[random.below(3)];
            let target =
                format!("/features?featureset=F&entity_id={key}&timestamp={time}&position={position}&meta=1");
            let answer = ask(&history.app, "GET", &target, &Json::Null);
            let (meta, features) = (&answer["meta"]["features"], &answer["features"]);
            for (name, filtered) in [("c", true), ("m", true), ("x", false)] {
                let newest = history.newest(key, time, record, filtered);
                check(&meta[name], &features[name], newest, time, &format!("{name} of {target}"));
            }
            assert_eq!((&meta["c"]["version"], &meta["x"]["version"]), (&json!(3), &json!(1)));
            for (name, of, filtered, instead) in
                [("aged", "c", true, Json::Null), ("stands", "x", false, json!(-4))]
            {
                let newest = history.newest(key, time, record, filtered);
                let is_stale = newest.is_some_and(|newest| time - newest > 300);
                let fresh =
                    if name == "stands" && features[of].is_null() { json!(-4) } else { features[of].clone() };
                assert_eq!(
                    features[name],
                    if is_stale { instead } else { fresh },
                    "{name} of {target}: {answer}"
                );
                assert_eq!(meta[name]["status"] == "STALE", is_stale, "{name} of {target}: {answer}");
                stale += usize::from(is_stale);
            }
            let stands = if features["m"].is_null() { "DEFAULT" } else { "OK" };
            assert_eq!(meta["md"]["status"], stands, "{target}: {answer}");
        }
    }
    assert!((50..400).contains(&stale), "{stale} of 480 values were stale");
}

#[test]
fn batches_and_training_sets_say_of_each_row_what_a_read_of_it_says() {
    let history = history(9);
    let at = |row: usize| TEN + 300 * row as i64;
    let body = json!({"featureset": "F", "entity_ids": KEYS, "timestamp": at(6), "meta": true});
    let batch = ask(&history.app, "POST", "/features/batch", &body);
    let by_parameter = ask(
        &history.app,
        "POST",
        "/features/batch?meta=1",
        &json!({"featureset": "F", "entity_ids": KEYS, "timestamp": at(6)}),
    );
    assert_eq!(batch["meta"], by_parameter["meta"]);
    let queries: Vec<Json> =
        (0..12).map(|row| json!({"entity_id": KEYS[row % 3], "timestamp": at(row)})).collect();
    let offline = ask(
        &history.app,
        "POST",
        "/features/offline",
        &json!({"featureset": "F", "queries": queries, "meta": true}),
    );
    for row in 0..12 {
        let target =
            format!("/features?featureset=F&entity_id={}&timestamp={}&meta=1", KEYS[row % 3], at(row));
        let one = ask(&history.app, "GET", &target, &Json::Null);
        assert_eq!(offline["results"][row]["features"], one["features"], "row {row}");
        for (name, said) in one["meta"]["features"].as_object().unwrap() {
            for part in ["status", "newest", "age_s"] {
                assert_eq!(
                    offline["meta"]["features"][name][part][row], said[part],
                    "{name}.{part} of row {row}"
                );
                if row == 6 {
                    assert_eq!(batch["meta"]["features"][name][part][0], said[part], "{name}.{part}");
                }
            }
        }
    }
}

#[test]
fn what_the_caller_gave_and_what_stands_for_it_is_told_apart() {
    let history = history(1);
    let body = json!({"featureset": "F", "entity_id": "a", "inputs": {"hour": 3}, "meta": true});
    let given = ask(&history.app, "POST", "/features", &body);
    let meta = &given["meta"]["features"];
    let status = |meta: &Json, name: &str| meta[name]["status"].as_str().unwrap().to_owned();
    assert_eq!(
        (status(meta, "hour"), status(meta, "note"), status(meta, "k")),
        ("OK".into(), "MISSING".into(), "OK".into())
    );
    assert_eq!((&meta["hour"]["newest"], &meta["hour"]["version"]), (&Json::Null, &Json::Null));
    let left_out =
        ask(&history.app, "POST", "/features", &json!({"featureset": "F", "entity_id": "a", "meta": true}));
    assert_eq!(status(&left_out["meta"]["features"], "hour"), "DEFAULT");
    let plain = ask(&history.app, "POST", "/features", &json!({"featureset": "F", "entity_id": "a"}));
    assert_eq!(plain["meta"], Json::Null);
    let row = ask(&history.app, "GET", "/features?entity_type=Positive&entity_id=nobody&meta=1", &Json::Null);
    assert_eq!(row["meta"]["row"], json!({"status": "MISSING", "newest": null, "age_s": null, "version": 3}));
}

#[test]
fn a_feature_that_refuses_to_be_stale_refuses_the_read_or_says_so_alone() {
    let app = App::opening();
    app.open(AppOptions::default(), Arc::new(NoExtractors)).unwrap();
    let mut definitions = document();
    definitions["featuresets"][0]["max_age"] = "10m".into();
    definitions["featuresets"][0]["on_stale"] = "error".into();
    ask(&app, "POST", "/api/v1/commit", &definitions);
    let events = json!([{"k": "a", "x": 1, "at": TEN}, {"k": "b", "x": 1, "at": TEN + 900}]);
    let pushed = ask(&app, "POST", "/api/v1/log", &json!({"dataset": "Event", "events": events}));
    let position = pushed["position"].as_str().unwrap();
    let mut body = json!({
        "featureset": "F", "entity_ids": ["a", "b", "nobody"], "features": ["c", "x"], "timestamp": TEN + 901,
        "min_position": position,
    });
    let json = vec![("content-type".to_owned(), "application/json".to_owned())];
    let refused = app.request(&Request::new("POST", "/features/batch", json, body.to_string().into()));
    let error: Json = serde_json::from_slice(&refused.body).unwrap();
    assert_eq!((refused.status, &error["error"]), (422, &json!("stale")), "{error}");
    let detail = error["detail"].as_str().unwrap();
    assert!(
        detail.contains("row 0 of 3") && detail.contains("F.c") && detail.contains("max_age is 10m"),
        "{detail}"
    );
    body["meta"] = true.into();
    let batch = ask(&app, "POST", "/features/batch", &body);
    assert_eq!(batch["values"], json!([[null, null], [1, 1], [0, null]]));
    let said = &batch["meta"]["features"]["c"];
    assert_eq!(said["status"], json!(["ERROR", "OK", "MISSING"]));
    assert_eq!((&said["age_s"][0], &said["error"][1]), (&json!(901.0), &Json::Null));
    // What a verification recomputes has the same nulls.
    let verified = ask(&app, "POST", "/api/v1/verify", &json!({"reference": "F"}));
    assert_eq!(verified["different"], 0, "{verified}");
    assert!(verified["checked"].as_u64().unwrap() > 50, "{verified}");
    // Another age is no other meaning.
    definitions["featuresets"][0]["max_age"] = "1h".into();
    let changed = ask(&app, "POST", "/api/v1/commit", &definitions);
    let change = changed["changes"].as_array().unwrap().iter().find(|c| c["subject"] == "F").unwrap();
    assert_eq!((&change["detail"], &change["effect"]), (&json!("max_age: 10m -> 1h"), &json!("in_place")));
    body["meta"] = false.into();
    assert_eq!(ask(&app, "POST", "/features/batch", &body)["values"], json!([[0, 1], [1, 1], [0, null]]));
}
