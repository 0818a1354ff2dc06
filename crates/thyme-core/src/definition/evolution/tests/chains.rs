//! Pipelines over derived datasets that change.

use serde_json::{Value as Json, json};

use super::parse;
use crate::definition::document::Document;
use crate::definition::evolution::{Given, plan, retire_version};

/// `B` of rows over `A`, and `C` of rows over `B`.
fn chain(above: i64, b: (u32, u32), c: (u32, u32)) -> Document {
    let fields = json!([
        {"name": "k", "type": "str", "role": "key"},
        {"name": "x", "type": "int"},
        {"name": "at", "type": "datetime", "role": "timestamp"}]);
    let filter =
        json!({"op": "filter", "expr": {"op": "gt", "args": [{"col": "x"}, {"lit": above, "type": "int"}]}});
    let made = |name: &str, (version, pipeline): (u32, u32), input: &str, operators: Json| {
        json!({"name": name, "version": version, "fields": fields, "pipelines": [
            {"name": "p", "version": pipeline, "inputs": [input], "operators": operators}]})
    };
    parse(json!({"format": 1, "datasets": [
        {"name": "A", "fields": fields},
        made("B", b, "A", json!([filter])),
        made("C", c, "B", json!([]))]}))
}

#[test]
fn a_pipeline_over_rows_that_are_computed_otherwise_needs_a_version() {
    let was = chain(0, (1, 1), (1, 1));
    let planned = |is: &Document| plan(&was, is, &Given::default());
    assert!(planned(&was).is_ok());
    for b in [(1, 2), (2, 1)] {
        let refused = planned(&chain(5, b, (1, 1))).unwrap_err().to_string();
        assert!(refused.contains("C.p reads B, whose rows are computed otherwise"), "{refused}");
        assert!(refused.contains("@pipeline(version=2)"), "{refused}");
        assert!(planned(&chain(5, b, (1, 2))).is_ok(), "{b:?}");
    }
    // What goes on answering goes on reading the rows of before, if these go on.
    assert!(planned(&chain(5, (2, 1), (2, 1))).is_ok());
    let refused = planned(&chain(5, (1, 2), (2, 1))).unwrap_err().to_string();
    assert!(
        refused.contains("C@1.p reads B") && refused.contains("give B a higher @dataset(version=)"),
        "{refused}"
    );
    // The same rows under another version change nothing.
    assert!(planned(&chain(0, (1, 2), (1, 1))).is_ok());
}

#[test]
fn a_pipeline_that_joins_rows_which_are_computed_otherwise_needs_a_version() {
    let joined = |above: i64, b: (u32, u32), c: (u32, u32)| {
        let mut document = chain(above, b, c);
        let join = json!({"op": "join", "dataset": "B", "left_on": ["k"], "right_on": ["k"],
            "fields": [{"name": "y", "field": "x"}]});
        let pipeline = &mut document.datasets[2].pipelines[0];
        pipeline.inputs = vec!["A".into()];
        pipeline.operators = serde_json::from_value(json!([join, {"op": "drop", "columns": ["y"]}])).unwrap();
        document
    };
    let was = joined(0, (1, 1), (1, 1));
    let planned = |is: &Document| plan(&was, is, &Given::default());
    let refused = planned(&joined(5, (1, 2), (1, 1))).unwrap_err().to_string();
    assert!(refused.contains("C.p reads B, whose rows are computed otherwise"), "{refused}");
    assert!(planned(&joined(5, (2, 1), (1, 1))).is_err());
    assert!(planned(&joined(5, (1, 2), (1, 2))).is_ok());
    let next = planned(&joined(5, (2, 1), (2, 1))).unwrap().next;
    let reads: Vec<&str> = next.dataset("C@1").unwrap().pipelines[0].reads().collect();
    assert_eq!(reads, ["A", "B@1"]);
}

#[test]
fn a_superseded_version_goes_on_reading_what_it_read() {
    let was = chain(0, (1, 1), (1, 1));
    let next = plan(&was, &chain(5, (2, 1), (2, 1)), &Given::default()).unwrap().next;
    let reads = |name: &str| next.dataset(name).unwrap().pipelines[0].inputs.clone();
    assert_eq!((reads("C"), reads("C@1")), (vec!["B".to_owned()], vec!["B@1".to_owned()]));
    let refused = retire_version(&next, "B@1").unwrap_err().to_string();
    assert!(refused.contains("C@1.p reads it"), "{refused}");
    let next = retire_version(&next, "C@1").unwrap().next;
    assert!(retire_version(&next, "B@1").is_ok());
    // A version that was superseded before what it reads.
    let later = plan(&was, &chain(0, (1, 1), (2, 1)), &Given::default()).unwrap().next;
    assert_eq!(later.dataset("C@1").unwrap().pipelines[0].inputs, ["B"]);
    let later = plan(&later, &chain(5, (2, 1), (3, 1)), &Given::default()).unwrap().next;
    for name in ["C@1", "C@2"] {
        assert_eq!(later.dataset(name).unwrap().pipelines[0].inputs, ["B@1"], "{name}");
    }
}
