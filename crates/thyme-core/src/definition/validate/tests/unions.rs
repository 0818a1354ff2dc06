//! Unions and several pipelines of one dataset, and what is said about those that cannot be.

use serde_json::{Value as Json, json};

use super::{faults, good, parse};
use crate::definition::derivation::inlined;

/// A raw dataset with the fields of `Ride` that matter, under other names.
fn tour(fare: &str, time: &str, retention: Option<&str>) -> Json {
    let mut tour = json!({"name": "Tour", "fields": [
        {"name": "tour", "type": "int", "role": "key"},
        {"name": "driver", "type": "str"},
        {"name": fare, "type": "float"},
        {"name": time, "type": "datetime", "role": "timestamp"}]});
    if let Some(retention) = retention {
        tour["retention"] = retention.into();
    }
    tour
}

fn all(inputs: Json, operators: Json) -> Json {
    json!({"name": "All", "fields": [
        {"name": "driver", "type": "str", "role": "key"},
        {"name": "fare", "type": "float"},
        {"name": "when", "type": "datetime", "role": "timestamp"}],
        "pipelines": [{"name": "p", "inputs": inputs, "operators": operators}]})
}

fn union(others: Json) -> Json {
    json!([{"op": "union", "others": others}])
}

fn found(datasets: &[Json]) -> Vec<String> {
    let changes: Vec<_> = datasets.iter().map(|dataset| ("/datasets/-", dataset.clone())).collect();
    faults(&changes).into_iter().map(|fault| fault.message).collect()
}

#[test]
fn a_union_leaves_the_columns_that_all_inputs_have() {
    let renamed = json!({"op": "rename", "columns": [
        {"name": "fare", "from": "price"}, {"name": "at", "from": "began"}]});
    let both = union(json!([{"input": "Tour", "operators": [renamed]}]));
    let tours = tour("price", "began", None);
    assert_eq!(found(&[tours.clone(), all(json!(["Ride", "Tour"]), both.clone())]), Vec::<String>::new());
    // `seats` is a column of rides alone.
    let mut then = both.as_array().unwrap().clone();
    then.push(json!({"op": "drop", "columns": ["seats"]}));
    let found = found(&[tours, all(json!(["Ride", "Tour"]), json!(then))]);
    assert!(found.len() == 1 && found[0].contains("drops \"seats\""), "{found:?}");
}

#[test]
fn a_union_that_cannot_be_is_refused() {
    let plain = union(json!([{"input": "Tour"}]));
    let grouped = union(json!([{"input": "Tour", "operators": [{"op": "groupby", "keys": ["driver"]}]}]));
    let twice = union(json!([{"input": "Tour"}, {"input": "Tour"}]));
    let (ride_tour, same) = (json!(["Ride", "Tour"]), tour("fare", "at", None));
    let table = [
        (
            same.clone(),
            ride_tour.clone(),
            json!([]),
            "does nothing with Tour: add its rows to the others with .union",
        ),
        (same.clone(), json!(["Ride"]), plain.clone(), "adds rows of Tour, which is none of its inputs"),
        (same.clone(), ride_tour.clone(), twice, "adds the rows of Tour twice"),
        (same.clone(), ride_tour.clone(), union(json!([])), "does nothing with Tour"),
        (same.clone(), json!(["Ride"]), union(json!([])), "a union with nothing"),
        (
            same.clone(),
            ride_tour.clone(),
            grouped,
            "groups Tour before it is added to other rows; group after .union",
        ),
        (same.clone(), json!([]), json!([]), "has no input; name the datasets that it reads"),
        (same, json!(["Ride", "Tuor"]), plain.clone(), "reads the dataset Tuor, which is not there"),
        (
            tour("fare", "began", None),
            ride_tour.clone(),
            plain.clone(),
            "whose event time is called began, to others, where it is at",
        ),
        (
            tour("fare", "at", Some("30d")),
            ride_tour.clone(),
            plain.clone(),
            "Ride keeps its events for good, and Tour keeps its events for 30d; give both the same retention",
        ),
        (
            tour("seats", "at", None),
            ride_tour,
            plain,
            "adds rows of Tour, where seats is float, to others, where it is int",
        ),
    ];
    for (tour, inputs, operators, message) in table {
        let found = found(&[tour, all(inputs.clone(), operators.clone())]);
        assert!(found.iter().any(|fault| fault.contains(message)), "{inputs} {operators}: {found:?}");
    }
}

#[test]
fn no_event_comes_in_twice() {
    let paid = json!({"name": "Paid", "fields": [
        {"name": "driver", "type": "str", "role": "key"}, {"name": "fare", "type": "float"},
        {"name": "at", "type": "datetime", "role": "timestamp"}],
        "pipelines": [{"name": "p", "inputs": ["Ride"], "operators": []}]});
    let both = all(json!(["Ride", "Paid"]), union(json!([{"input": "Paid"}])));
    let message = "brings Ride and Paid together, and both are made of events of Ride";
    let faults = found(&[paid.clone(), both]);
    assert!(faults.len() == 1 && faults[0].contains(message), "{faults:?}");
    let mut several = all(json!(["Ride"]), json!([]));
    let second = json!({"name": "q", "inputs": ["Paid"], "operators": []});
    several["pipelines"].as_array_mut().unwrap().push(second);
    let faults = found(&[paid, several]);
    assert!(faults.len() == 1 && faults[0].contains(message), "{faults:?}");
}

#[test]
fn several_pipelines_of_one_dataset_all_end_in_rows() {
    let mut several = all(json!(["Ride"]), json!([]));
    let second = json!({"name": "q", "inputs": ["Tour"], "operators": []});
    several["pipelines"].as_array_mut().unwrap().push(second);
    assert_eq!(found(&[tour("fare", "began", None), several.clone()]), Vec::<String>::new());
    let mut document = good();
    let again = document["datasets"][1]["pipelines"][0].clone();
    document["datasets"][1]["pipelines"].as_array_mut().unwrap().push(again);
    let stats = document["datasets"][1].clone();
    let faults = faults(&[("/datasets/1", stats)]);
    let has = |message: &str| faults.iter().any(|fault| fault.message.contains(message));
    assert!(has("not all of them end in rows; split it into one dataset a pipeline"), "{faults:?}");
    assert!(has("two pipelines named"), "{faults:?}");
}

#[test]
fn what_several_inputs_make_is_made_of_raw_datasets_by_one_union() {
    let mut several = all(json!(["Ride"]), json!([]));
    let second = json!({"name": "q", "inputs": ["Tour"], "operators": []});
    several["pipelines"].as_array_mut().unwrap().push(second);
    let chained = json!({"name": "Chained", "fields": several["fields"], "pipelines": [
        {"name": "p", "inputs": ["All"], "operators": [{"op": "dedup", "by": ["driver"]}]}]});
    let mut document = good();
    document["datasets"].as_array_mut().unwrap().extend([tour("fare", "began", None), several, chained]);
    let document = parse(document);
    let made = inlined(&document, document.dataset("Chained").unwrap()).unwrap();
    assert_eq!(made.pipelines[0].inputs, ["Ride", "Tour"]);
    let rows = "rows(driver: str (key), fare: float | None, when: datetime (timestamp))";
    let shown: Vec<String> = made.pipelines[0].operators.iter().map(ToString::to_string).collect();
    assert_eq!(shown, [rows, &format!("union(Tour.{rows})"), "dedup(by=[\"driver\"])", rows]);
}
