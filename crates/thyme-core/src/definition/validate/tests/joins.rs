//! Joins in a good pipeline, and what is said about those that are not.

use serde_json::{Value as Json, json};

use super::{changed, empty, faults, good, parse};
use crate::definition::validate::validate;

const JOIN: &str = "/datasets/1/pipelines/0/operators/0";

fn driver() -> Json {
    json!({"name": "Driver", "fields": [
        {"name": "bank", "type": "int", "role": "key"},
        {"name": "name", "type": "str", "role": "key"},
        {"name": "city", "type": "str", "optional": true},
        {"name": "fare", "type": "float"},
        {"name": "at", "type": "datetime", "role": "timestamp"}]})
}

fn join() -> Json {
    json!({"op": "join", "dataset": "Driver", "left_on": ["driver", "seats"], "right_on": ["name", "bank"],
        "fields": [{"name": "city", "field": "city"}, {"name": "since", "field": "at"}],
        "at": {"file": "rides.py", "line": 21}})
}

/// The good document with the join in place of its filter, and one thing in the join changed.
fn with(part: &str, value: Json) -> Vec<(String, Json)> {
    let mut join = join();
    if !part.is_empty() {
        join[part] = value;
    }
    vec![("/datasets/-".into(), driver()), (JOIN.into(), join)]
}

fn found(changes: &[(String, Json)]) -> Vec<(String, String, Option<u32>)> {
    let changes: Vec<(&str, Json)> = changes.iter().map(|(at, value)| (at.as_str(), value.clone())).collect();
    faults(&changes).into_iter().map(|f| (f.subject, f.message, f.line)).collect()
}

#[test]
fn a_join_on_the_whole_key_gives_columns_to_all_that_follows() {
    assert_eq!(found(&with("", Json::Null)), []);
    let mut changes = with("how", json!("inner"));
    let filter = json!({"op": "filter", "expr": {"op": "and", "args": [
        {"op": "eq", "args": [{"col": "city"}, {"lit": "Oslo", "type": "str"}]},
        {"op": "le", "args": [{"col": "since"}, {"col": "at"}]}]}});
    changes.push(("/datasets/1/pipelines/0/operators/1".into(), filter));
    let aggregates = "/datasets/1/pipelines/0/operators/3/aggregates";
    changes.push((format!("{aggregates}/0/of"), json!("city")));
    changes.push((format!("{aggregates}/1/of"), json!("fare")));
    assert_eq!(found(&changes), []);
}

#[test]
fn a_join_that_cannot_be_is_refused_at_its_own_line() {
    let fields = |name: &str, field: &str| json!([{"name": name, "field": field}]);
    let table = [
        ("dataset", json!("Drivr"), "joins the dataset Drivr, which is not there; did you mean Driver?"),
        ("dataset", json!("Ride"), "joins Ride with itself"),
        ("dataset", json!("DriverStats"), "joins DriverStats, whose pipeline ends in aggregates"),
        ("right_on", json!(["name", "city"]), "on name, city, and its key is bank, name"),
        ("right_on", json!(["name"]), "on name, and its key is bank, name"),
        ("left_on", json!(["driver"]), "one column for each"),
        ("left_on", json!(["drivr", "seats"]), "no column named \"drivr\"; did you mean driver?"),
        ("left_on", json!(["driver", "fare"]), "on fare, which is float, and Driver.bank is int"),
        ("fields", json!([]), "takes none of its fields"),
        (
            "fields",
            fields("city", "cty"),
            "the field \"cty\" of Driver, which has none of that name; did you mean city",
        ),
        ("fields", fields("x", "bank"), "takes bank of Driver, which is part of its key"),
        (
            "fields",
            fields("fare", "fare"),
            "there is a column fare already; give it another name, as fields={\"driver_fare\": \"fare\"}",
        ),
        ("fields", fields("class", "city"), "\"class\" is not a column name"),
        (
            "fields",
            json!([{"name": "c", "field": "city"}, {"name": "c", "field": "fare"}]),
            "two joined fields named c",
        ),
    ];
    for (part, value, says) in table {
        let found = found(&with(part, value.clone()));
        assert_eq!(found.len(), 1, "{part} = {value}: {found:#?}");
        let (subject, message, line) = &found[0];
        assert!(message.contains(says), "{part} = {value}: {message}");
        assert!(subject.starts_with("DriverStats.compute"), "{subject}");
        assert_eq!(*line, Some(21));
    }
}

#[test]
fn a_joined_dataset_that_is_replaced_is_checked_with_those_that_join_it() {
    let both: Vec<(String, Json)> = with("", Json::Null);
    let both: Vec<(&str, Json)> = both.iter().map(|(at, value)| (at.as_str(), value.clone())).collect();
    let known = parse(changed(&both));
    let mut without = driver();
    without["fields"].as_array_mut().unwrap().remove(2);
    let found = validate(&parse(json!({"format": 1, "datasets": [without]})), &known);
    assert!(found.len() == 1 && found[0].message.contains("the field \"city\" of Driver"), "{found:?}");
    let mut derived = driver();
    derived["pipelines"] = good()["datasets"][1]["pipelines"].clone();
    let found = validate(&parse(json!({"format": 1, "datasets": [derived]})), &known);
    assert!(found.iter().any(|f| f.message.contains("whose pipeline ends in aggregates")), "{found:?}");
    assert_ne!(validate(&parse(json!({"format": 1, "datasets": [known.datasets[1]]})), &empty()), []);
}

#[test]
fn a_join_reads_as_it_was_written() {
    let document = parse(changed(&[(JOIN, join())]));
    let pipeline = &document.datasets[1].pipelines[0];
    assert_eq!(
        pipeline.operators[0].to_string(),
        "join(Driver, left_on=[\"driver\", \"seats\"], right_on=[\"name\", \"bank\"], fields=[\"city\", \"at\" as \"since\"])"
    );
    assert_eq!(pipeline.reads().collect::<Vec<_>>(), ["Ride", "Driver"]);
    let again = serde_json::to_value(&pipeline.operators[0]).unwrap();
    assert_eq!(again, join());
}
