//! Commits as tables: what is changed in the proposal, and what comes of it.

mod chains;
mod features;
mod given;
mod joins;
mod rollback;
mod rules;
mod unions;
mod versions;

use serde_json::{Value as Json, json};

use super::{ChangeKind, Given, Plan};
use crate::definition::Document;
use crate::error::{Error, ErrorKind};

/// Nothing was ever committed but what is.
fn plan(current: &Document, proposed: &Document) -> Result<Plan, Error> {
    super::plan(current, proposed, &Given::default())
}

fn rollback(current: &Document, earlier: &Document) -> Result<Plan, Error> {
    super::rollback(current, earlier, &Given::default())
}

fn base() -> Json {
    json!({
        "format": 1,
        "datasets": [
            {"name": "Ride", "index": true, "fields": [
                {"name": "driver", "type": "str", "role": "key"},
                {"name": "city", "type": "str", "role": "key"},
                {"name": "fare", "type": "float"},
                {"name": "seats", "type": "int"},
                {"name": "at", "type": "datetime", "role": "timestamp"}],
             "source": {"kind": "file", "options": {"path": "a.csv"}}},
            {"name": "Stats", "fields": [
                {"name": "driver", "type": "str", "role": "key"},
                {"name": "at", "type": "datetime", "role": "timestamp"},
                {"name": "rides", "type": "int"},
                {"name": "fare", "type": "float"}],
             "pipelines": [{"name": "compute", "inputs": ["Ride"], "operators": [
                {"op": "filter", "expr": {"op": "gt", "args": [{"col": "fare"}, {"lit": 0}]}},
                {"op": "groupby", "keys": ["driver"]},
                {"op": "aggregate", "aggregates": [
                    {"name": "rides", "function": "count", "window": "1h"},
                    {"name": "fare", "function": "sum", "of": "fare", "window": "7d"}]}]}]}
        ],
        "featuresets": [
            {"name": "F", "features": [
                {"id": 1, "name": "driver", "type": "str"},
                {"id": 2, "name": "rides", "type": "int", "ref": {"dataset": "Stats", "field": "rides"}},
                {"id": 3, "name": "hour", "type": "int", "request": true},
                {"id": 4, "name": "score", "type": "float"}],
             "extractors": [{"name": "scored", "inputs": [{"feature": "rides"}, {"feature": "hour"}], "outputs": ["score"],
                             "form": "positional", "code": "a"}]}
        ]
    })
}

fn parse(json: Json) -> Document {
    serde_json::from_value(json).unwrap()
}

fn committed() -> Document {
    plan(&parse(json!({"format": 1})), &parse(base())).unwrap().next
}

/// The base with the value at each pointer set; null removes, `-` appends.
fn changed(changes: &[(&str, Json)]) -> Document {
    let mut document = base();
    for (pointer, value) in changes {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        match document.pointer_mut(parent).unwrap() {
            Json::Array(items) if key == "-" => items.push(value.clone()),
            Json::Array(items) if value.is_null() => drop(items.remove(key.parse().unwrap())),
            Json::Array(items) => items[key.parse::<usize>().unwrap()] = value.clone(),
            Json::Object(members) if value.is_null() => drop(members.remove(key)),
            Json::Object(members) => drop(members.insert(key.to_owned(), value.clone())),
            other => panic!("{pointer} leads into {other}"),
        }
    }
    parse(document)
}

fn planned(changes: &[(&str, Json)]) -> Result<Plan, Error> {
    plan(&committed(), &changed(changes))
}

/// The changes that change something, as `kind subject: detail`.
fn shown(plan: &Plan) -> Vec<String> {
    let changes = plan.changes.iter().filter(|c| c.kind != ChangeKind::Unchanged);
    changes.map(|c| format!("{:?} {}: {}", c.kind, c.subject, c.detail)).collect()
}

const FILTER: &str = "/datasets/1/pipelines/0/operators/0/expr/args/1/lit";
const AGGREGATES: &str = "/datasets/1/pipelines/0/operators/2/aggregates";

#[test]
fn the_first_commit_adds_everything() {
    let plan = plan(&parse(json!({"format": 1})), &parse(base())).unwrap();
    assert_eq!(plan.next, parse(base()));
    assert_eq!(plan.count(ChangeKind::Added), plan.changes.len());
    let subjects: Vec<_> = plan.changes.iter().map(|c| c.subject.as_str()).collect();
    assert_eq!(
        subjects,
        ["Ride", "Stats", "Stats.compute", "F", "F.driver", "F.rides", "F.hour", "F.score", "F.scored"]
    );
}

#[test]
fn the_same_again_changes_nothing() {
    let again = planned(&[]).unwrap();
    assert_eq!(again.next, committed());
    assert_eq!(again.count(ChangeKind::Unchanged), again.changes.len());
    let elsewhere = planned(&[
        ("/datasets/1/at", json!({"file": "b.py", "line": 9})),
        ("/datasets/1/pipelines/0/operators/2/aggregates/0/at", json!({"file": "b.py", "line": 12})),
        ("/featuresets/0/features/0/at", json!({"file": "b.py", "line": 20})),
    ]);
    let elsewhere = elsewhere.unwrap();
    assert_eq!(shown(&elsewhere), [""; 0]);
    assert_eq!(elsewhere.next, committed(), "a place is no part of what a definition says");
    let written = |document: &Document| serde_json::to_string(document).unwrap();
    assert_ne!(written(&elsewhere.next), written(&committed()));
    assert_eq!(written(&elsewhere.next.without_places()), written(&committed().without_places()));
}

#[test]
fn what_is_not_mentioned_stays() {
    let new = json!({"format": 1, "datasets": [{"name": "New", "fields": base()["datasets"][0]["fields"]}]});
    let plan = plan(&committed(), &parse(new)).unwrap();
    assert_eq!(shown(&plan), ["Added New: version 1"]);
    assert_eq!(plan.next.datasets.len(), 3);
    assert_eq!(plan.next.featuresets, committed().featuresets);
}

#[test]
fn what_tunes_or_describes_applies_in_place() {
    let cases = [
        ("/datasets/0/max_lateness", json!("1h"), vec!["Changed Ride: max_lateness: none -> 1h"]),
        ("/datasets/0/max_future_skew", json!("2h"), vec!["Changed Ride: max_future_skew: none -> 2h"]),
        ("/datasets/0/retention", json!("30d"), vec!["Changed Ride: retention: none -> 30d"]),
        ("/datasets/0/extra", json!("ignore"), vec!["Changed Ride: extra: forbid -> ignore"]),
        ("/datasets/0/on_error", json!("skip"), vec!["Changed Ride: on_error: refuse -> skip"]),
        (
            "/datasets/0/fields/-",
            json!({"name": "tip", "type": "float", "optional": true}),
            vec!["Changed Ride: field tip: float | None is added; events of before have null"],
        ),
        (
            "/datasets/0/fields/-",
            json!({"name": "tip", "type": "float", "default": 0.5}),
            vec!["Changed Ride: field tip: float = 0.5 is added; events of before have 0.5"],
        ),
        (
            "/datasets/0/fields/2/optional",
            json!(true),
            vec!["Changed Ride: field fare: float -> fare: float | None"],
        ),
        ("/datasets/0/source/options/path", json!("secret"), vec!["Changed Ride: source options path"]),
        (
            "/datasets/0/source/max_lateness",
            json!("5m"),
            vec!["Changed Ride: source max_lateness: none -> 5m"],
        ),
        ("/datasets/0/source", json!(null), vec!["Changed Ride: source file is removed"]),
        ("/datasets/0/meta", json!({"owner": "a@b"}), vec!["Changed Ride: metadata"]),
        ("/datasets/1/index", json!(true), vec!["Changed Stats: index: off -> on"]),
        ("/datasets/1/pipelines/0/meta", json!({"owner": "a@b"}), vec!["Changed Stats.compute: metadata"]),
        (
            "/datasets/1/pipelines/0/name",
            json!("derive"),
            vec!["Changed Stats.derive: name: compute -> derive"],
        ),
        ("/featuresets/0/meta", json!({"owner": "a@b"}), vec!["Changed F: metadata"]),
        (
            "/featuresets/0/features/2/default",
            json!(12),
            vec!["Changed F: 1 of its members", "Changed F.hour: default: none -> 12"],
        ),
        (
            "/featuresets/0/features/2/optional",
            json!(true),
            vec!["Changed F: 1 of its members", "Changed F.hour: optional: false -> true"],
        ),
        (
            "/featuresets/0/features/2/meta",
            json!({"owner": "x"}),
            vec!["Changed F: 1 of its members", "Changed F.hour: metadata"],
        ),
    ];
    for (pointer, value, expected) in cases {
        let plan = planned(&[(pointer, value)]).unwrap();
        assert_eq!(shown(&plan), expected, "{pointer}");
        assert_ne!(plan.next, committed(), "{pointer}");
    }
}

#[test]
fn an_order_that_says_nothing_changes_nothing() {
    let mut fields = base()["datasets"][0]["fields"].as_array().unwrap().clone();
    fields.swap(2, 4);
    let mut aggregates = base().pointer(AGGREGATES).unwrap().as_array().unwrap().clone();
    aggregates.reverse();
    let plan = planned(&[("/datasets/0/fields", json!(fields)), (AGGREGATES, json!(aggregates))]).unwrap();
    assert_eq!(plan.next, committed());
    fields.swap(0, 1);
    let keys = planned(&[("/datasets/0/fields", json!(fields)), ("/datasets/0/version", json!(2))]).unwrap();
    assert_eq!(
        shown(&keys),
        [
            "Changed Ride: version: 1 -> 2; it starts without the events of version 1, which stay in the log; order of the key fields: driver, city -> city, driver"
        ]
    );
}

#[test]
fn a_change_of_meaning_is_refused_with_the_difference_and_the_fix() {
    let cases = [
        (
            "/datasets/0/fields/2/type",
            json!("int"),
            "Ride",
            "Ride changes what it means without a new version: field fare: float -> fare: int; give Ride version=2",
        ),
        ("/datasets/0/fields/2", json!(null), "Ride", "field fare: float is removed; give Ride version=2"),
        (
            "/datasets/0/fields/-",
            json!({"name": "tip", "type": "float"}),
            "Ride",
            "field tip: float is added; give Ride version=2",
        ),
        (
            "/datasets/0/fields/2/default",
            json!(1.5),
            "Ride",
            "field fare: float -> fare: float = 1.5; give Ride version=2",
        ),
        ("/datasets/0/fields/1/role", json!("value"), "Ride", "field city: str (key) -> city: str"),
        ("/datasets/0/index", json!(false), "Ride", "index: on -> off; give Ride version=2"),
        (
            "/datasets/1/pipelines",
            json!(null),
            "Stats",
            "made by: a pipeline -> events; give Stats version=2",
        ),
        (
            "/datasets/1/fields/2/type",
            json!("float"),
            "Stats",
            "field rides: int -> rides: float; give Stats version=2, or its pipeline a higher version",
        ),
        (
            FILTER,
            json!(1),
            "Stats.compute",
            "filter(col(\"fare\") > 0) -> filter(col(\"fare\") > 1); give Stats version=2, or compute @pipeline(version=2)",
        ),
        ("/datasets/1/pipelines/0/inputs", json!(["Other"]), "Stats.compute", "inputs: Ride -> Other"),
        (
            "/datasets/1/pipelines/0/operators/0",
            json!(null),
            "Stats.compute",
            "operators: filter(col(\"fare\") > 0), groupby(\"driver\"), aggregate(",
        ),
        (
            "/datasets/1/pipelines/0/operators/2/aggregates/0/window",
            json!("2h"),
            "Stats.compute",
            "aggregate rides: Count(window=\"1h\") -> Count(window=\"2h\")",
        ),
        (
            "/datasets/1/pipelines/0/operators/2/aggregates/1/default",
            json!(1),
            "Stats.compute",
            "Sum(of=\"fare\", window=\"1w\") -> Sum(of=\"fare\", window=\"1w\", default=1)",
        ),
        (
            "/featuresets/0/features/1/type",
            json!("float"),
            "F.rides",
            "F.rides has the id 2 and changes what the id means: type: int -> float; a new meaning needs a new id",
        ),
        (
            "/featuresets/0/features/1/ref/field",
            json!("fare"),
            "F.rides",
            "value: ref=Stats.rides -> ref=Stats.fare",
        ),
        ("/featuresets/0/features/2/request", json!(false), "F.hour", "value: request=True -> the entity"),
        (
            "/featuresets/0/extractors/0/code",
            json!("b"),
            "F.scored",
            "F.scored changes what it computes without a new version: code; bump @extractor(version=2)",
        ),
        ("/featuresets/0/extractors/0/form", json!("dict"), "F.scored", "form: positional -> dict"),
        ("/featuresets/0/extractors/0/deps", json!(["Ride"]), "F.scored", "deps: nothing -> Ride"),
        (
            "/featuresets/0/extractors/0/inputs",
            json!([{"feature": "hour"}]),
            "F.scored",
            "inputs: rides, hour -> hour",
        ),
        (
            "/featuresets/0/extractors/0/name",
            json!("again"),
            "F.score",
            "F.score is given by the extractor again instead of scored without a new version; bump again: @extractor(version=2)",
        ),
        (
            "/featuresets/0/extractors/0/version",
            json!(0),
            "F.scored",
            "committed in version 1 and proposed in version 0; versions only grow",
        ),
        (
            "/datasets/0/version",
            json!(0),
            "Ride",
            "Ride is committed in version 1 and proposed in version 0; versions only grow",
        ),
        (
            "/datasets/1/pipelines/0/version",
            json!(0),
            "Stats.compute",
            "committed in version 1 and proposed in version 0",
        ),
    ];
    for (pointer, value, subject, message) in cases {
        let error = planned(&[(pointer, value)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{pointer}");
        assert_eq!(error.faults().len(), 1, "{pointer}: {:#?}", error.faults());
        assert_eq!(error.faults()[0].subject, subject, "{pointer}");
        assert!(error.detail().contains(message), "{pointer}: {error}");
    }
}

#[test]
fn conflicts_come_all_at_once() {
    let error = planned(&[
        (FILTER, json!(1)),
        ("/datasets/0/fields/2/type", json!("int")),
        ("/featuresets/0/extractors/0/code", json!("b")),
    ])
    .unwrap_err();
    assert_eq!(
        error.faults().iter().map(|f| f.subject.as_str()).collect::<Vec<_>>(),
        ["Ride", "Stats.compute", "F.scored"]
    );
    assert!(error.detail().ends_with("into a dataset of its own (and 2 more conflicts)"), "{error}");
}
