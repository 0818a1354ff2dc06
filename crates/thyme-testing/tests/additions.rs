//! Fields that a raw dataset gets while it has events: rows of before read as null or the default, whichever way
//! they come, and bit for bit as if the field had been there from the beginning and those rows had left it out.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use serde_json::{Value as Json, json};
use thyme_core::definition::Document;
use thyme_core::{EntityKey, EventTime, Value};
use thyme_engine::{Engine, Options, ReadAt};

const NOW: i64 = 1_000_000_000;

fn parse(json: Json) -> Document {
    serde_json::from_value(json).unwrap()
}

/// `R` with `more` fields, indexed, and the pipelines of `derived`.
fn document(more: &[Json], derived: Vec<Json>) -> Document {
    let mut fields = vec![
        json!({"name": "k", "type": "str", "role": "key"}),
        json!({"name": "at", "type": "datetime", "role": "timestamp"}),
        json!({"name": "x", "type": "int"}),
    ];
    fields.extend(more.iter().cloned());
    let mut datasets = vec![json!({"name": "R", "index": true, "fields": fields})];
    datasets.extend(derived);
    parse(json!({"format": 1, "datasets": datasets}))
}

fn added() -> Vec<Json> {
    vec![
        json!({"name": "tip", "type": "float", "optional": true}),
        json!({"name": "kind", "type": "str", "default": "plain"}),
        json!({"name": "fee", "type": "int", "default": 2}),
    ]
}

/// A dataset called `name` of some aggregates over `R`.
fn stats(name: &str, outputs: &[(&str, &str, Option<&str>, &str)]) -> Json {
    let mut fields = vec![
        json!({"name": "k", "type": "str", "role": "key"}),
        json!({"name": "at", "type": "datetime", "role": "timestamp"}),
    ];
    let types = outputs.iter().map(|(output, _, _, kind)| json!({"name": output, "type": kind}));
    fields.extend(types);
    let aggregates: Vec<Json> = outputs
        .iter()
        .map(|(output, function, of, _)| json!({"name": output, "function": function, "of": of}))
        .collect();
    let operators = json!([{"op": "groupby", "keys": ["k"]}, {"op": "aggregate", "aggregates": aggregates}]);
    json!({"name": name, "fields": fields, "pipelines": [{"name": "p", "inputs": ["R"], "operators": operators}]})
}

fn plain() -> Json {
    stats("Plain", &[("n", "count", None, "int"), ("xs", "sum", Some("x"), "int")])
}

fn extended() -> Json {
    stats(
        "Extended",
        &[
            ("tips", "count", Some("tip"), "int"),
            ("fees", "sum", Some("fee"), "int"),
            ("first_kind", "first", Some("kind"), "str"),
            ("last_kind", "last", Some("kind"), "str"),
        ],
    )
}

fn open(path: &Path) -> Engine {
    Engine::open(Options { path: Some(path.to_owned()), shards: 2, ..Options::default() }).unwrap()
}

fn commit(engine: &Engine, document: &Document) {
    engine.commit(document, |_| Ok(())).unwrap();
}

fn push(engine: &Engine, rows: &[Json]) {
    let lines: Vec<String> = rows.iter().map(Json::to_string).collect();
    let live = engine.catalog().dataset("R").unwrap().clone();
    let push = engine.read_json(&live, lines.iter().map(|l| l.as_bytes())).unwrap();
    let min_position = Some(engine.push(push).unwrap().position);
    // Whoever reads next sees it.
    engine.snapshot(ReadAt { min_position, ..ReadAt::default() }).unwrap();
}

/// The outputs of a derived dataset, and the row of the index, for the entity `a`.
fn seen(engine: &Engine, dataset: &str) -> Vec<Value> {
    let at = ReadAt { time: Some(EventTime(NOW)), ..ReadAt::default() };
    let snapshot = engine.snapshot(at).unwrap();
    let live = snapshot.catalog.dataset(dataset).unwrap();
    let node = live.readable().unwrap();
    let key = EntityKey::encode(&[Value::Str("a".into())]).unwrap();
    if node.is_index() {
        return snapshot.latest_row(node, &key.0, EventTime(NOW)).unwrap().unwrap().1;
    }
    let all: Vec<usize> = (0..node.outputs.len()).collect();
    snapshot.outputs(node, &key.0, EventTime(NOW), &all).unwrap()
}

fn texts(values: &[Value]) -> Vec<String> {
    values.iter().map(|value| value.to_string().replace('"', "")).collect()
}

#[test]
fn rows_of_before_read_as_null_or_the_default_in_all_that_is_made_of_them() {
    let root = tempfile::tempdir().unwrap();
    let engine = open(root.path());
    commit(&engine, &document(&[], vec![plain()]));
    let before = engine.catalog().dataset("Plain").unwrap().node.as_ref().unwrap().id;
    push(&engine, &[json!({"k": "a", "at": 1, "x": 1}), json!({"k": "a", "at": 2, "x": 2})]);

    commit(&engine, &document(&added(), vec![plain()]));
    assert_eq!(texts(&seen(&engine, "R")), ["2", "null", "plain", "2"]);
    // What does not read the new fields goes on as it was, with what it has.
    assert_eq!(engine.catalog().dataset("Plain").unwrap().node.as_ref().unwrap().id, before);
    push(&engine, &[json!({"k": "a", "at": 3, "x": 4, "tip": 0.5, "kind": "late", "fee": 40})]);
    push(&engine, &[json!({"k": "a", "at": 4, "x": 8, "tip": null})]);
    commit(&engine, &document(&added(), vec![plain(), extended()]));
    let check = |engine: &Engine| {
        assert_eq!(texts(&seen(engine, "Plain")), ["4", "15"]);
        assert_eq!(texts(&seen(engine, "Extended")), ["1", "46", "plain", "plain"]);
        assert_eq!(texts(&seen(engine, "R")), ["8", "null", "plain", "2"]);
    };
    check(&engine);
    engine.checkpoint().unwrap();
    push(&engine, &[json!({"k": "b", "at": 5, "x": 1})]);
    drop(engine);
    let again = open(root.path());
    check(&again);
    // Without the store everything comes from the log.
    drop(again);
    std::fs::remove_dir_all(root.path().join("store")).unwrap();
    check(&open(root.path()));
}

#[test]
fn a_push_that_was_read_before_the_commit_is_written_after_it() {
    let root = tempfile::tempdir().unwrap();
    let engine = open(root.path());
    commit(&engine, &document(&[], vec![plain()]));
    let old = engine.catalog().dataset("R").unwrap().clone();
    let read = |x: i64| {
        engine
            .read_json(&old, [json!({"k": "a", "at": x, "x": x}).to_string().as_bytes()].into_iter())
            .unwrap()
    };
    let (first, second) = (read(1), read(2));
    commit(&engine, &document(&added(), vec![plain(), extended()]));
    // Pushes that arrive together share a record where they can; these cannot.
    let (sender, receipts) = std::sync::mpsc::channel();
    let new = engine.catalog().dataset("R").unwrap().clone();
    let third =
        engine.read_json(&new, [&br#"{"k": "a", "at": 3, "x": 3, "fee": 10}"#[..]].into_iter()).unwrap();
    for push in [first, third, second] {
        let sender = sender.clone();
        engine.submit(push, move |receipt| sender.send(receipt).unwrap());
    }
    drop(sender);
    assert!(receipts.iter().all(|receipt| receipt.is_ok()));
    let check = |engine: &Engine| {
        assert_eq!(texts(&seen(engine, "Plain")), ["3", "6"]);
        assert_eq!(texts(&seen(engine, "Extended")), ["0", "14", "plain", "plain"]);
    };
    engine.checkpoint().unwrap();
    check(&engine);
    drop(engine);
    std::fs::remove_dir_all(root.path().join("store")).unwrap();
    check(&open(root.path()));
}

#[test]
fn a_second_addition_stands_behind_the_first() {
    let root = tempfile::tempdir().unwrap();
    let engine = open(root.path());
    commit(&engine, &document(&[], vec![]));
    for (count, x) in [(1, 10), (2, 20), (3, 30)] {
        push(&engine, &[json!({"k": "a", "at": x, "x": x})]);
        // Declared in any order, they are kept in the order in which they came.
        let mut fields = added()[..count].to_vec();
        fields.reverse();
        commit(&engine, &document(&fields, vec![]));
    }
    let names: Vec<_> = engine
        .catalog()
        .dataset("R")
        .unwrap()
        .definition
        .fields
        .fields
        .iter()
        .map(|f| f.name.clone())
        .collect();
    assert_eq!(names, ["k", "at", "x", "tip", "kind", "fee"]);
    push(&engine, &[json!({"k": "a", "at": 40, "x": 40, "kind": "new"})]);
    assert_eq!(texts(&seen(&engine, "R")), ["40", "null", "new", "2"]);
}
