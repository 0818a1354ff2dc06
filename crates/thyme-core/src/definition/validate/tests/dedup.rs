//! Dedups in a good pipeline, and what is said about those that are not.

use serde_json::{Value as Json, json};

use super::{changed, faults, parse};

const DEDUP: &str = "/datasets/1/pipelines/0/operators/0";

fn found(dedup: Json) -> Vec<String> {
    faults(&[(DEDUP, dedup)]).into_iter().map(|fault| fault.message).collect()
}

#[test]
fn a_dedup_is_by_columns_whose_values_can_be_told_apart() {
    assert_eq!(found(json!({"op": "dedup", "by": ["driver", "at"], "within": "1h"})), Vec::<String>::new());
    assert_eq!(found(json!({"op": "dedup", "by": ["driver"]})), Vec::<String>::new());
    let table = [
        (json!([]), "dedups by no column; name those in which a row repeats another one"),
        (json!(["drivr"]), "no column named \"drivr\"; did you mean driver?"),
        (json!(["driver", "driver"]), "two dedup columns named driver"),
        (json!(["fare"]), "dedups by fare, of type float"),
    ];
    for (by, says) in table {
        let found = found(json!({"op": "dedup", "by": by}));
        assert!(found.len() == 1 && found[0].contains(says), "{by}: {found:?}");
    }
}

#[test]
fn a_dedup_reads_as_it_was_written() {
    let dedup = json!({"op": "dedup", "by": ["driver", "at"], "within": "24h"});
    let document = parse(changed(&[(DEDUP, dedup)]));
    let operator = &document.datasets[1].pipelines[0].operators[0];
    assert_eq!(operator.to_string(), "dedup(by=[\"driver\", \"at\"], within=\"1d\")");
    assert_eq!(
        serde_json::to_value(operator).unwrap(),
        json!({"op": "dedup", "by": ["driver", "at"], "within": "1d"})
    );
}

#[test]
fn rows_that_a_dedup_has_seen_are_not_joined() {
    let once = json!({"name": "Once", "fields": [
        {"name": "driver", "type": "str", "role": "key"}, {"name": "fare", "type": "float"},
        {"name": "at", "type": "datetime", "role": "timestamp"}],
        "pipelines": [{"name": "p", "inputs": ["Ride"], "operators": [{"op": "dedup", "by": ["driver"]}]}]});
    let join = json!({"op": "join", "dataset": "Once", "left_on": ["driver"], "right_on": ["driver"],
        "fields": [{"name": "first", "field": "fare"}]});
    let found = faults(&[("/datasets/-", once), (DEDUP, join)]);
    assert!(
        found.len() == 1 && found[0].message.contains("Once on the way to it dedups; this version joins"),
        "{found:?}"
    );
}
