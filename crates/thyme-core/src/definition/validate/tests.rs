//! Faults as tables: what is changed in a good document, and what is said about it.

mod chains;
mod dedup;
mod featureset;
mod joins;
mod keyed;
mod known;
mod unions;

use serde_json::{Value as Json, json};

use super::validate;
use crate::definition::Document;
use crate::error::Fault;

fn good() -> Json {
    json!({
        "format": 1,
        "datasets": [
            {"name": "Ride", "index": true, "at": {"file": "rides.py", "line": 5}, "fields": [
                {"name": "driver", "type": "str", "role": "key"},
                {"name": "fare", "type": "float"},
                {"name": "tip", "type": "float", "optional": true},
                {"name": "seats", "type": "int"},
                {"name": "at", "type": "datetime", "role": "timestamp"}]},
            {"name": "DriverStats", "at": {"file": "rides.py", "line": 15}, "fields": [
                {"name": "driver", "type": "str", "role": "key"},
                {"name": "at", "type": "datetime", "role": "timestamp"},
                {"name": "rides_1h", "type": "int"},
                {"name": "fare_7d", "type": "float"}],
             "pipelines": [{"name": "compute", "inputs": ["Ride"], "at": {"file": "rides.py", "line": 20}, "operators": [
                {"op": "filter", "expr": {"op": "gt", "args": [{"col": "fare"}, {"lit": 0, "type": "int"}]}},
                {"op": "assign", "columns": [{"name": "total", "expr": {"op": "add", "args": [{"col": "fare"}, {"col": "tip"}]}}]},
                {"op": "groupby", "keys": ["driver"]},
                {"op": "aggregate", "aggregates": [
                    {"name": "rides_1h", "function": "count", "window": "1h"},
                    {"name": "fare_7d", "function": "sum", "of": "total", "window": "7d", "default": 0,
                     "where": {"op": "lt", "args": [{"col": "fare"}, {"lit": 500}]}, "at": {"file": "rides.py", "line": 24}}]}]}]}
        ],
        "featuresets": [
            {"name": "DriverFeatures", "at": {"file": "rides.py", "line": 30}, "features": [
                {"id": 1, "name": "driver", "type": "str"},
                {"id": 2, "name": "rides_1h", "type": "int", "ref": {"dataset": "DriverStats", "field": "rides_1h"}},
                {"id": 3, "name": "hour", "type": "int", "request": true, "default": 12},
                {"id": 4, "name": "score", "type": "float", "at": {"file": "rides.py", "line": 34}}],
             "extractors": [{"name": "scored", "inputs": [{"feature": "rides_1h"}, {"feature": "hour"}], "outputs": ["score"],
                             "deps": ["Ride"], "form": "positional", "code": "..."}]},
            {"name": "Other", "features": [
                {"name": "driver", "type": "str"},
                {"name": "bonus", "type": "float"}],
             "extractors": [{"name": "give", "inputs": [{"featureset": "DriverFeatures", "feature": "score"}],
                             "outputs": ["bonus"], "form": "dict", "code": "..."}]}
        ]
    })
}

fn parse(json: Json) -> Document {
    serde_json::from_value(json).unwrap()
}

fn empty() -> Document {
    parse(json!({"format": 1}))
}

/// Sets the value at each pointer; `-` as the last part appends.
fn changed(changes: &[(&str, Json)]) -> Json {
    let mut document = good();
    for (pointer, value) in changes {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        match document.pointer_mut(parent).unwrap() {
            Json::Array(items) if key == "-" => items.push(value.clone()),
            Json::Array(items) => items[key.parse::<usize>().unwrap()] = value.clone(),
            Json::Object(members) => drop(members.insert(key.to_owned(), value.clone())),
            other => panic!("{pointer} leads into {other}"),
        }
    }
    document
}

fn faults(changes: &[(&str, Json)]) -> Vec<Fault> {
    validate(&parse(changed(changes)), &empty())
}

/// One change gives one fault with this subject and this in its message.
fn check(table: &[(&str, Json, &str, &str)]) {
    for (pointer, value, subject, message) in table {
        let faults = faults(&[(pointer, value.clone())]);
        assert_eq!(faults.len(), 1, "{pointer} = {value}: {faults:#?}");
        assert_eq!(faults[0].subject, *subject, "{pointer}");
        assert!(faults[0].message.contains(message), "{pointer}: {}", faults[0].message);
    }
}

#[test]
fn a_good_document_has_no_faults() {
    assert_eq!(validate(&parse(good()), &empty()), []);
}

#[test]
fn datasets() {
    let ride = "/datasets/0";
    check(&[
        ("/format", json!(2), "document", "format 2, and this server reads format 1"),
        ("/datasets/0/version", json!(0), "Ride", "versions count from 1"),
        ("/datasets/0/fields/3/name", json!("class"), "Ride.class", "\"class\" is not a field name"),
        ("/datasets/0/fields/3/name", json!("2nd"), "Ride.2nd", "Python identifier"),
        ("/datasets/0/fields/3/name", json!("driver"), "Ride.driver", "two fields named driver"),
        (
            "/datasets/0/fields/0/optional",
            json!(true),
            "Ride.driver",
            "is a key and Optional, and a key is never null; declare it driver: str",
        ),
        ("/datasets/0/fields/4/optional", json!(true), "Ride.at", "every event has a time"),
        (
            "/datasets/0/fields/4/type",
            json!("int"),
            "Ride.at",
            "is the event time and of type int; declare it datetime",
        ),
        ("/datasets/0/fields/4/role", json!("value"), "Ride", "no event time"),
        ("/datasets/0/event_id", json!("ride"), "Ride", "the event id ride, which is none of its fields"),
        (
            "/datasets/0/event_id",
            json!("fare"),
            "Ride.fare",
            "the event id and of type float; declare it str or int",
        ),
        ("/datasets/1/event_id", json!("driver"), "DriverStats", "only events have ids"),
        (
            "/datasets/0/fields/-",
            json!({"name": "b", "type": "datetime", "role": "timestamp"}),
            "Ride",
            "2 event times (at, b)",
        ),
        (
            "/datasets/0/fields/-",
            json!({"name": "k", "type": "float", "role": "key"}),
            "Ride.k",
            "key of type float",
        ),
        (
            "/datasets/0/source",
            json!({"kind": "fil", "options": {"path": "x"}}),
            "Ride",
            "unknown kind \"fil\"; this version has file",
        ),
        ("/datasets/0/source", json!({"kind": "file"}), "Ride", "has no path"),
        (
            "/datasets/0/source",
            json!({"kind": "file", "options": {"path": "x", "format": "xml"}}),
            "Ride",
            "expected one of jsonl, csv, parquet",
        ),
        (
            "/datasets/1/source",
            json!({"kind": "file", "options": {"path": "x"}}),
            "DriverStats",
            "a pipeline and a source",
        ),
        (
            "/datasets/-",
            json!({"name": "Ride", "index": true, "fields": good().pointer(&format!("{ride}/fields")).unwrap()}),
            "Ride",
            "two definitions are named Ride",
        ),
        (
            "/datasets/-",
            json!({"name": "a".repeat(129), "fields": good().pointer(&format!("{ride}/fields")).unwrap()}),
            &"a".repeat(128),
            "129 characters, more than the 128",
        ),
    ]);
    let no_key = faults(&[("/datasets/0/fields/0/role", json!("value"))]);
    assert!(no_key[0].message.contains("Ride has no key"), "{no_key:?}");
    assert_eq!((no_key[0].file.as_deref(), no_key[0].line), (Some("rides.py"), Some(5)));
    let many: Vec<Json> = (0..2001).map(|i| json!({"name": format!("f{i}"), "type": "int"})).collect();
    let wide = json!({"name": "Wide", "fields": many});
    assert!(faults(&[("/datasets/-", wide)])[0].message.contains("2001 fields, more than the 2000"));
}

#[test]
fn pipelines() {
    let ops = "/datasets/1/pipelines/0/operators";
    let at = |rest: &str| format!("{ops}{rest}");
    check(&[
        (
            "/datasets/1/pipelines/0/inputs",
            json!(["Rid"]),
            "DriverStats.compute",
            "reads the dataset Rid, which is not there; did you mean Ride?",
        ),
        (
            "/datasets/1/pipelines/0/inputs",
            json!(["DriverStats"]),
            "DriverStats.compute",
            "the dataset that it makes itself",
        ),
        (
            "/datasets/1/pipelines/0/inputs",
            json!(["Ride", "Ride"]),
            "DriverStats.compute.Ride",
            "two inputs named Ride",
        ),
        (&at(""), json!([]), "DriverStats.compute", "there is no column rides_1h"),
        (
            &at("/0"),
            json!({"op": "groupby", "keys": ["driver"]}),
            "DriverStats.compute",
            "are groupby, assign, groupby, aggregate: expected",
        ),
        (
            &at("/0/expr/args/0"),
            json!({"col": "fair"}),
            "DriverStats.compute",
            "no column named \"fair\"; did you mean fare?",
        ),
        (
            &at("/0/expr/op"),
            json!("add"),
            "DriverStats.compute",
            "the filter of DriverStats.compute, col(\"fare\") + 0, is float: expected a bool",
        ),
        (
            &at("/1/columns/0/name"),
            json!("at"),
            "DriverStats.compute.at",
            "the event time, which no operator may replace",
        ),
        (&at("/1/columns/0/expr"), json!({"lit": null}), "DriverStats.compute.total", "has no type"),
        (
            &at("/1/columns/0/expr"),
            json!({"op": "add", "args": [{"col": "fare"}, {"col": "driver"}]}),
            "DriverStats.compute.total",
            "\"+\" cannot take float and str",
        ),
        (
            &at("/3/aggregates/0/of"),
            json!("fair"),
            "DriverStats.compute.rides_1h",
            "aggregates \"fair\": no column named \"fair\"; did you mean fare?",
        ),
        (
            &at("/3/aggregates/0/function"),
            json!("coutn"),
            "DriverStats.compute.rides_1h",
            "unknown aggregate \"coutn\"; did you mean count?",
        ),
        (
            &at("/3/aggregates/0/function"),
            json!("mode"),
            "DriverStats.compute.rides_1h",
            "unknown aggregate \"mode\"; this version has count, sum",
        ),
        (
            &at("/3/aggregates/0/function"),
            json!("max"),
            "DriverStats.compute.rides_1h",
            "DriverStats.compute.rides_1h is wrong",
        ),
        (
            &at("/3/aggregates/1/of"),
            json!("driver"),
            "DriverStats.compute.fare_7d",
            "sum is not defined on a field of type str",
        ),
        (
            &at("/3/aggregates/1/where"),
            json!({"col": "fare"}),
            "DriverStats.compute.fare_7d",
            "the where of DriverStats.compute.fare_7d, col(\"fare\"), is float",
        ),
        (
            &at("/3/aggregates/1/default"),
            json!("none"),
            "DriverStats.compute.fare_7d",
            "does not fit its type float",
        ),
    ]);
    let several = faults(&[(&at("/2/keys"), json!(["driver", "fare", "drivr"]))]);
    let messages: Vec<_> = several.iter().map(|f| f.message.as_str()).collect();
    assert!(
        messages[0].contains("groups by fare, of type float") && messages[1].contains("did you mean driver?"),
        "{messages:?}"
    );
    let named = faults(&[(&at("/3/aggregates/1/name"), json!("rides_1h"))]);
    assert!(named[0].message.contains("two aggregates named rides_1h"));
    assert_eq!(named[0].line, Some(24));
}

#[test]
fn a_pipeline_that_gives_other_fields_shows_both_sides() {
    let cases = [
        (
            vec![("/datasets/1/fields/2/type", json!("str"))],
            "rides_1h is declared str, and its aggregate gives int",
        ),
        (
            vec![("/datasets/1/fields/0/type", json!("int"))],
            "the key driver is declared int, and the grouped column is str",
        ),
        (vec![("/datasets/1/fields/-", json!({"name": "extra", "type": "int"}))], "extra has no aggregate"),
        (
            vec![("/datasets/1/fields/-", json!({"name": "seats", "type": "int", "role": "key"}))],
            "the key seats is not grouped by",
        ),
        (
            vec![("/datasets/1/pipelines/0/operators/2/keys", json!(["driver", "seats"]))],
            "the grouped seats is not a key field",
        ),
        (
            vec![(
                "/datasets/1/pipelines/0/operators/3/aggregates/-",
                json!({"name": "n", "function": "count"}),
            )],
            "the aggregate n has no plain field",
        ),
    ];
    for (changes, problem) in cases {
        let faults: Vec<_> =
            faults(&changes).into_iter().filter(|f| f.subject == "DriverStats.compute").collect();
        assert_eq!(faults.len(), 1, "{problem}");
        assert!(faults[0].message.contains(problem), "{}", faults[0].message);
    }
    let shown = &faults(&[("/datasets/1/fields/-", json!({"name": "extra", "type": "int"}))])[0].message;
    assert!(shown.ends_with(
        "Declared: [driver: str (key), rides_1h: int, fare_7d: float, extra: int]; given: [driver: str (key), rides_1h: int, fare_7d: float]"
    ), "{shown}");
    // An int output may stand for a float.
    assert_eq!(
        faults(&[
            ("/datasets/1/fields/2/type", json!("float")),
            ("/featuresets/0/features/1/type", json!("float"))
        ]),
        []
    );
}

#[test]
fn faults_come_all_at_once_and_not_without_end() {
    let found = faults(&[
        ("/datasets/0/fields/0/optional", json!(true)),
        ("/datasets/1/pipelines/0/operators/3/aggregates/0/function", json!("coutn")),
        ("/featuresets/0/features/2/default", json!(1.5)),
    ]);
    assert_eq!(
        found.iter().map(|f| f.subject.as_str()).collect::<Vec<_>>(),
        ["Ride.driver", "DriverStats.compute.rides_1h", "DriverFeatures.hour"]
    );
    let many: Vec<Json> = (0..1000).map(|i| json!({"name": format!("{i}"), "type": "int"})).collect();
    assert_eq!(faults(&[("/datasets/-", json!({"name": "Bad", "fields": many}))]).len(), super::FAULTS_MAX);
}

#[test]
fn a_document_of_too_many_items_is_refused_at_once() {
    let deep = (0..100_000).fold(crate::expr::Expr::Column { col: "a".into() }, |e, _| {
        crate::expr::Expr::Call { op: crate::expr::Operator::Neg.into(), args: vec![e] }
    });
    let mut document = parse(good());
    let operators = &mut document.datasets[1].pipelines[0].operators;
    operators[0] = crate::definition::OperatorDef::Filter { expr: deep };
    let found = validate(&document, &empty());
    assert!(found.len() == 1 && found[0].message.contains("more than the 100000 of one commit"), "{found:?}");
    // Dropping so deep a tree recurses; no JSON reader makes one.
    std::mem::forget(document);
}
