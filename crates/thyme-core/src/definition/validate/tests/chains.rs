//! Pipelines that end in rows, pipelines over those, and operators that say which columns there are.

use serde_json::{Value as Json, json};

use super::{empty, faults, good, parse};
use crate::definition::derivation::DEPTH_MAX;
use crate::definition::validate::validate;

/// A dataset of rows with the key and the event time of `Ride`, made of `input`.
fn rows(name: &str, input: &str, operators: Json) -> Json {
    json!({"name": name, "fields": [
        {"name": "driver", "type": "str", "role": "key"},
        {"name": "fare", "type": "float"},
        {"name": "when", "type": "datetime", "role": "timestamp"}],
        "pipelines": [{"name": "p", "inputs": [input], "operators": operators}]})
}

fn found(datasets: &[Json]) -> Vec<String> {
    let changes: Vec<_> = datasets.iter().map(|dataset| ("/datasets/-", dataset.clone())).collect();
    faults(&changes).into_iter().map(|fault| fault.message).collect()
}

#[test]
fn a_pipeline_that_ends_in_rows_gives_the_fields_of_its_dataset() {
    assert_eq!(found(&[rows("Paid", "Ride", json!([]))]), Vec::<String>::new());
    let one = |name: &str, value: i64| json!({"name": name, "expr": {"lit": value, "type": "int"}});
    let table = [
        (json!([{"op": "select", "columns": ["driver"]}]), "there is no column fare"),
        (json!([{"op": "select", "columns": []}]), "selects no column"),
        (json!([{"op": "select", "columns": ["driver", "driver"]}]), "two selected columns named driver"),
        (json!([{"op": "drop", "columns": ["fares"]}]), "drops \"fares\""),
        (json!([{"op": "drop", "columns": ["at"]}]), "drops at, the event time"),
        (json!([{"op": "rename", "columns": [{"name": "when", "from": "fare"}]}]), "is not the event time"),
        (json!([{"op": "rename", "columns": [{"name": "fare", "from": "driver"}]}]), "a column fare already"),
        (json!([{"op": "rename", "columns": [{"name": "a b", "from": "driver"}]}]), "is not a column name"),
        (json!([{"op": "assign", "columns": [one("extra", 1)]}]), "the column extra has no field"),
        (
            json!([{"op": "assign", "columns": [one("driver", 1)]}]),
            "driver is declared str, and the column is int",
        ),
        (json!([{"op": "groupby", "keys": ["driver"]}]), "or rows, without groupby and aggregate"),
    ];
    for (operators, message) in table {
        let found = found(&[rows("Paid", "Ride", operators.clone())]);
        assert!(found.iter().any(|fault| fault.contains(message)), "{operators}: {found:?}");
    }
    // The event time may be called otherwise, and columns of the input that are no fields are left out.
    let renamed = json!([{"op": "rename", "columns": [{"name": "when", "from": "at"}]}]);
    assert_eq!(found(&[rows("Paid", "Ride", renamed)]), Vec::<String>::new());
    let widened = json!([{"op": "assign", "columns": [one("fare", 1)]}]);
    assert_eq!(found(&[rows("Paid", "Ride", widened)]), Vec::<String>::new());
}

#[test]
fn a_group_key_is_not_taken_away() {
    let renamed = json!({"op": "rename", "columns": [{"name": "who", "from": "driver"}]});
    let mut document = good();
    let operators =
        document.pointer_mut("/datasets/1/pipelines/0/operators").unwrap().as_array_mut().unwrap();
    let last = operators.len() - 1;
    operators.insert(last, renamed);
    let found = validate(&parse(document), &empty());
    assert!(found[0].message.contains("takes driver away after grouping by it"), "{found:?}");
}

#[test]
fn rows_that_come_of_one_raw_dataset_are_joined() {
    let join = |name: &str| {
        json!([{"op": "join", "dataset": name, "left_on": ["driver"], "right_on": ["driver"],
            "fields": [{"name": "amount", "field": "fare"}]}, {"op": "drop", "columns": ["amount"]}])
    };
    let paid = rows("Paid", "Ride", json!([]));
    assert_eq!(found(&[paid.clone(), rows("B", "Ride", join("Paid"))]), Vec::<String>::new());
    let chain =
        [paid, rows("B", "Ride", join("Paid")), rows("C", "B", json!([])), rows("D", "Ride", join("C"))];
    let faults = found(&chain);
    assert!(
        faults[0].contains("D.p joins C, and B on the way to it joins another dataset itself"),
        "{faults:?}"
    );
    let circle = found(&[rows("A", "B", json!([])), rows("B", "Ride", join("A"))]);
    assert!(circle.iter().any(|fault| fault.contains("made of itself: A -> B -> A")), "{circle:?}");
}

#[test]
fn a_dataset_that_is_made_of_itself_is_refused_with_the_path() {
    let circle = [rows("A", "C", json!([])), rows("B", "A", json!([])), rows("C", "B", json!([]))];
    let faults = found(&circle);
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].contains("the dataset A is made of itself: A -> C -> B -> A"), "{faults:?}");
    let over_aggregates = found(&[rows("A", "DriverStats", json!([]))]);
    assert!(over_aggregates[0].contains("whose pipeline ends in aggregates"), "{over_aggregates:?}");
}

#[test]
fn chains_are_bounded() {
    let name = |number: usize| if number == 0 { "Ride".to_owned() } else { format!("D{number}") };
    let rename = json!([{"op": "rename", "columns": [{"name": "at", "from": "when"}]}]);
    let made = |number: usize| {
        let operators = if number == 1 { json!([]) } else { rename.clone() };
        rows(&name(number), &name(number - 1), operators)
    };
    let chain: Vec<Json> = (1..=DEPTH_MAX).map(made).collect();
    assert_eq!(found(&chain), Vec::<String>::new());
    let longer: Vec<Json> = (1..=DEPTH_MAX + 2).map(made).collect();
    let faults = found(&longer);
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(
        faults[0].contains(&format!("D{} is made by more than {DEPTH_MAX}", DEPTH_MAX + 1)),
        "{faults:?}"
    );
}

#[test]
fn no_document_says_what_only_stands_between_pipelines() {
    let written: Result<crate::definition::OperatorDef, _> =
        serde_json::from_value(json!({"op": "rows", "fields": []}));
    assert!(written.is_err_and(|error| error.to_string().contains("unknown variant `rows`")));
}
