//! Several inputs, and several pipelines of one dataset, from one commit to the next.

use serde_json::{Value as Json, json};

use crate::definition::Document;
use crate::definition::evolution::{ChangeKind, Given, plan};

fn fields(time: &str) -> Json {
    json!([{"name": "k", "type": "str", "role": "key"}, {"name": "n", "type": "int"},
        {"name": time, "type": "datetime", "role": "timestamp"}])
}

fn reading(name: &str, inputs: &[&str], operators: Json) -> Json {
    json!({"name": name, "inputs": inputs, "operators": operators})
}

/// `A` and `B` are raw, `C` is made by `pipelines`, and `D` is the union of `E`, of which only positive rows are left, and `A`.
fn document(version: u32, pipelines: &[Json], least: i64, (e, d): (u32, u32)) -> Document {
    let positive = json!([{"op": "filter", "expr":
        {"op": "gt", "args": [{"col": "n"}, {"lit": least, "type": "int"}]}}]);
    let union = json!([{"op": "union", "others": [{"input": "E"}]}]);
    serde_json::from_value(json!({"format": 1, "datasets": [
        {"name": "A", "fields": fields("at")},
        {"name": "B", "fields": fields("at")},
        {"name": "C", "version": version, "fields": fields("when"), "pipelines": pipelines},
        {"name": "E", "version": e, "fields": fields("at"), "pipelines": [reading("p", &["B"], positive)]},
        {"name": "D", "version": d, "fields": fields("at"), "pipelines": [reading("p", &["A", "E"], union)]},
    ]}))
    .unwrap()
}

#[test]
fn a_pipeline_that_comes_or_goes_is_another_version_of_the_rows() {
    let (one, other) = (reading("a", &["A"], json!([])), reading("b", &["B"], json!([])));
    let both = [one.clone(), other];
    let single = document(1, std::slice::from_ref(&one), 0, (1, 1));
    let several = document(1, &both, 0, (1, 1));
    for (was, is, says) in
        [(&single, &several, "pipeline b is added"), (&several, &single, "pipeline b is removed")]
    {
        let refused = plan(was, is, &Given::default()).unwrap_err().to_string();
        assert!(refused.contains(says) && refused.contains("give C version=2"), "{refused}");
    }
    assert!(plan(&single, &document(2, &both, 0, (1, 1)), &Given::default()).is_ok());
    let again = plan(&several, &several, &Given::default()).unwrap().changes;
    assert!(again.iter().all(|change| change.kind == ChangeKind::Unchanged), "{again:?}");
}

#[test]
fn a_union_follows_what_it_reads() {
    let one = [reading("a", &["A"], json!([]))];
    let was = document(1, &one, 0, (1, 1));
    let planned = |versions| plan(&was, &document(1, &one, 5, versions), &Given::default());
    let refused = planned((2, 1)).unwrap_err().to_string();
    assert!(refused.contains("D.p reads A, E, whose rows are computed otherwise"), "{refused}");
    let next = planned((2, 2)).unwrap().next;
    let before = &next.dataset("D@1").unwrap().pipelines[0];
    assert_eq!(before.inputs, ["A", "E@1"]);
    assert_eq!(before.operators[0].to_string(), "union(E@1)");
}
