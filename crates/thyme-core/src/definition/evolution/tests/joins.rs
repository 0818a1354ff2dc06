//! A join is part of what a pipeline means, and so is the version of what it joins.

use serde_json::{Value as Json, json};

use super::{base, parse, plan, shown};
use crate::definition::Document;

/// The base with a dataset `Tax` that `Stats` joins; the values at the pointers set.
fn joined(changes: &[(&str, Json)]) -> Document {
    let mut document = base();
    let tax = json!({"name": "Tax", "fields": [
        {"name": "city", "type": "str", "role": "key"}, {"name": "rate", "type": "float"},
        {"name": "low", "type": "float"}, {"name": "at", "type": "datetime", "role": "timestamp"}]});
    let join = json!({"op": "join", "dataset": "Tax", "left_on": ["city"], "right_on": ["city"],
        "fields": [{"name": "rate", "field": "rate"}], "within": "1d", "at": {"file": "a.py", "line": 7}});
    document["datasets"].as_array_mut().unwrap().push(tax);
    document["datasets"][1]["pipelines"][0]["operators"].as_array_mut().unwrap().insert(1, join);
    for (pointer, value) in changes {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        document.pointer_mut(parent).unwrap()[key] = value.clone();
    }
    parse(document)
}

const JOIN: &str = "/datasets/1/pipelines/0/operators/1";

#[test]
fn a_join_is_not_changed_without_a_version() {
    let committed = plan(&parse(json!({"format": 1})), &joined(&[])).unwrap().next;
    let at = |rest: &str| format!("{JOIN}/{rest}");
    let elsewhere = joined(&[(&at("at"), json!({"file": "b.py", "line": 70}))]);
    assert_eq!(shown(&plan(&committed, &elsewhere).unwrap()), [""; 0]);
    let table = [
        (at("within"), json!("2d"), "within=\"2d\")"),
        (at("how"), json!("inner"), "how=\"inner\""),
        (at("fields"), json!([{"name": "rate", "field": "low"}]), "fields=[\"low\" as \"rate\"]"),
    ];
    for (pointer, value, says) in table {
        let refused = plan(&committed, &joined(&[(&pointer, value.clone())])).unwrap_err().to_string();
        assert!(refused.contains("changes what it computes without a new version"), "{refused}");
        assert!(refused.contains(says), "{refused}");
        let bumped = joined(&[(&pointer, value), ("/datasets/1/pipelines/0/version", json!(2))]);
        let shown = shown(&plan(&committed, &bumped).unwrap());
        assert!(shown.len() == 1 && shown[0].contains(says), "{shown:?}");
    }
}

#[test]
fn a_joined_dataset_gets_a_new_version_only_together_with_the_pipeline() {
    let committed = plan(&parse(json!({"format": 1})), &joined(&[])).unwrap().next;
    let bumped = ("/datasets/2/version", json!(2));
    let refused = plan(&committed, &joined(std::slice::from_ref(&bumped))).unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("Stats.compute joins Tax, whose version 2 starts without the rows of version 1")
            && refused.to_string().contains("give compute @pipeline(version=2) in the same commit"),
        "{refused}"
    );
    assert_eq!((refused.faults()[0].file.as_deref(), refused.faults()[0].line), (Some("a.py"), Some(7)));
    // Also where the pipeline is not mentioned.
    let mut alone = joined(std::slice::from_ref(&bumped));
    alone.datasets.retain(|d| d.name == "Tax");
    alone.featuresets.clear();
    assert!(plan(&committed, &alone).is_err());
    let both = joined(&[bumped, ("/datasets/1/pipelines/0/version", json!(2))]);
    let shown = shown(&plan(&committed, &both).unwrap());
    assert!(shown[0].starts_with("Changed Stats.compute: version: 1 -> 2"), "{shown:?}");
}
