//! What a push is answered: every fault of every row, the same when it is sent again, and what it may be sent as; and
//! which of the rows that it skipped an explanation shows.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use thyme_query::NoExtractors;
use thyme_server::{App, AppOptions, Request};

fn open(path: Option<&Path>) -> App {
    let app = App::opening();
    let options = AppOptions { path: path.map(Path::to_owned), shards: 2, ..AppOptions::default() };
    app.open(options, Arc::new(NoExtractors)).unwrap();
    app
}

fn commit(app: &App, on_error: &str) {
    let fields = json!([
        {"name": "k", "type": "str", "role": "key"}, {"name": "n", "type": "int", "role": "key"},
        {"name": "x", "type": "float"}, {"name": "tag", "type": "str"},
        {"name": "at", "type": "datetime", "role": "timestamp"},
    ]);
    let grouped = |name: &str, operators: Json| {
        json!({"name": name, "fields": [
            {"name": "tag", "type": "str", "role": "key"},
            {"name": "at", "type": "datetime", "role": "timestamp"}, {"name": "c", "type": "int"},
        ], "pipelines": [{"name": "p", "inputs": ["Sale"], "operators": operators}]})
    };
    let count = json!({"op": "aggregate", "aggregates": [{"name": "c", "function": "count"}]});
    let groupby = json!({"op": "groupby", "keys": ["tag"]});
    let upper = json!({"op": "assign", "columns": [{"name": "tag", "type": "str", "expr": {"col": "k"}}]});
    let document = json!({"format": 1, "datasets": [
        {"name": "Sale", "index": true, "on_error": on_error, "fields": fields},
        grouped("ByTag", json!([groupby, count])),
        grouped("ByMade", json!([upper, groupby, count])),
    ], "featuresets": []});
    let (status, answer) = send(app, "/api/v1/commit", "application/json", &[], &document.to_string());
    assert_eq!(status, 200, "{answer}");
}

fn send(app: &App, target: &str, content_type: &str, headers: &[(&str, &str)], body: &str) -> (u16, Json) {
    let mut all = vec![("content-type".to_owned(), content_type.to_owned())];
    all.extend(headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let reply = app.request(&Request::new("POST", target, all, body.to_owned().into()));
    (reply.status, serde_json::from_slice(&reply.body).unwrap())
}

fn get(app: &App, target: &str) -> Json {
    let reply = app.request(&Request::new("GET", target, Vec::new(), Default::default()));
    assert_eq!(reply.status, 200, "{target}: {}", String::from_utf8_lossy(&reply.body));
    serde_json::from_slice(&reply.body).unwrap()
}

const LOG: &str = "/api/v1/log";
const GOOD: &str = r#"{"k":"a","n":1,"x":1.5,"tag":"t","at":1773568800}"#;
/// Number too large for its type, a text that is none, and no time.
const BAD: &str = r#"{"k":"a","n":1,"x":1e400,"tag":7}"#;

fn faults(answer: &Json) -> Vec<(u64, &str, &str)> {
    let text = |fault: &'_ Json, name: &str| fault[name].as_str().map(str::len).is_some();
    let all = answer["faults"].as_array().unwrap();
    assert!(all.iter().all(|fault| text(fault, "message") && text(fault, "expected")));
    all.iter()
        .map(|f| (f["row"].as_u64().unwrap(), f["field"].as_str().unwrap(), f["got"].as_str().unwrap()))
        .collect()
}

#[test]
fn a_refusal_names_every_faulty_field_of_every_row() {
    let app = open(None);
    commit(&app, "refuse");
    let expected = [
        (1, "x", "1e400, which is outside float64"),
        (1, "tag", "int 7"),
        (1, "at", "nothing (the field is missing)"),
        (2, "y", "an unknown field"),
        (2, "n", "str \"one\""),
        (2, "x", "bool true"),
    ];
    let third = r#"{"k":"a","n":"one","x":true,"tag":"t","at":1773568800,"y":0}"#;
    let events = format!("[{GOOD},{BAD},{third}]");
    let lines = format!("{GOOD}\n{BAD}\n{third}\n");
    for (target, content_type, body) in [
        (LOG, "application/json", format!("{{\"dataset\":\"Sale\",\"events\":{events}}}")),
        ("/api/v1/log?dataset=Sale", "application/x-ndjson", lines),
    ] {
        let (status, answer) = send(&app, target, content_type, &[], &body);
        assert_eq!((status, faults(&answer)), (400, expected.to_vec()));
        assert_eq!(
            answer["detail"],
            "dataset Sale: row 1: x: expected float, got 1e400, which is outside float64 \
             (and 2 more faults of this row and 1 more invalid row); nothing was stored"
        );
    }
}

#[test]
fn a_push_that_is_sent_again_is_answered_with_the_faults_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let body = format!("{GOOD}\n{BAD}\n");
    let push = |app: &App| {
        let key = [("idempotency-key", "once")];
        send(app, "/api/v1/log?dataset=Sale", "application/x-ndjson", &key, &body)
    };
    let app = open(Some(dir.path()));
    commit(&app, "skip");
    let first = push(&app);
    assert_eq!((first.0, &first.1["skipped"], faults(&first.1).len()), (200, &json!(1), 3));
    assert_eq!(push(&app), first);
    drop(app);
    let app = open(Some(dir.path()));
    assert_eq!(push(&app), first);
    let letters = get(&app, "/api/v1/dead-letters?dataset=Sale");
    assert_eq!(letters["count"], 1);
    let reason = letters["dead_letters"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("x: ") && reason.contains("tag: ") && reason.contains("at: "), "{reason}");
}

#[test]
fn rows_of_a_type_that_is_not_taken_are_refused_with_415() {
    let app = open(None);
    commit(&app, "refuse");
    let body = format!("{{\"dataset\":\"Sale\",\"events\":[{GOOD}]}}");
    for content_type in ["text/csv", "application/xml", "application/x-www-form-urlencoded"] {
        for headers in [&[][..], &[("idempotency-key", "a")]] {
            let (status, answer) = send(&app, LOG, content_type, headers, &body);
            assert_eq!((status, &answer["error"]), (415, &json!("unsupported_media_type")));
            let detail = answer["detail"].as_str().unwrap();
            assert!(detail.contains(content_type) && detail.contains("send application/json"), "{detail}");
        }
    }
    let (status, answer) = send(&app, LOG, "", &[], &body);
    assert_eq!((status, &answer["accepted"]), (200, &json!(1)));
}

#[test]
fn an_explanation_lists_the_dead_letters_that_name_the_entity_and_counts_those_that_name_nobody() {
    let app = open(None);
    commit(&app, "skip");
    let lines = [
        GOOD,
        BAD,
        r#"{"k":"a","n":"1","x":"much","tag":"t","at":1773568800}"#,
        r#"{"k":"b","n":1,"x":"much","tag":"t","at":1773568800}"#,
        r#"{"k":"a","n":1,"tag":"t","at":"soon"}"#,
        "no JSON",
    ];
    let target = "/api/v1/log?dataset=Sale";
    let (status, answer) = send(&app, target, "application/x-ndjson", &[], &lines.join("\n"));
    assert_eq!((status, &answer["accepted"], &answer["skipped"]), (200, &json!(1), &json!(5)));
    let position = answer["position"].as_str().unwrap();
    let explain = |more: &str| {
        get(&app, &format!("/api/v1/explain?timestamp=1773568900&min_position={position}&{more}"))
    };
    let counts = |explained: &Json| {
        [
            &explained["dead_letters"]["total"],
            &explained["dead_letters_of_unknown_entity"],
            &explained["dead_letters_of_dataset"],
        ]
        .map(|count| count.as_u64().unwrap())
    };
    // An int that comes as a text is none, so whose the third is cannot be told.
    let row = explain("dataset=Sale&field=x&entity_id=k%3Da,n%3D1");
    assert_eq!((counts(&row), &row["events_of_entity"]), ([2, 2, 5], &json!(1)));
    let shown = row["dead_letters"]["shown"].as_array().unwrap();
    let reasons: Vec<&str> = shown.iter().map(|letter| letter["reason"].as_str().unwrap()).collect();
    assert!(reasons[0].contains("soon") && reasons[1].contains("1e400"), "{reasons:?}");
    assert_eq!(shown[0]["origin"], "push");
    assert_eq!(counts(&explain("dataset=Sale&field=x&entity_id=k%3Db,n%3D1")), [1, 2, 5]);
    assert_eq!(counts(&explain("dataset=ByTag&field=c&entity_id=t")), [3, 2, 5]);
    // The pipeline makes this key itself.
    assert_eq!(counts(&explain("dataset=ByMade&field=c&entity_id=a")), [0, 5, 5]);
    let before = explain("dataset=Sale&field=x&entity_id=k%3Da,n%3D1&position=e1");
    assert_eq!(counts(&before), [0, 0, 0]);
}
