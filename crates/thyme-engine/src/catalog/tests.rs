use serde_json::json;
use thyme_core::definition::evolution::{self, Given};

use super::*;

/// Counts of rides, in this version.
fn document(version: u32) -> Document {
    let field = |name: &str, kind: &str, role: &str| json!({"name": name, "type": kind, "role": role});
    let limit = json!({"op": "gt", "args": [{"col": "fare"}, {"lit": version}]});
    serde_json::from_value(json!({"format": 1, "datasets": [
        {"name": "Ride", "fields": [field("k", "str", "key"), field("fare", "int", "value"), field("at", "datetime", "timestamp")]},
        {"name": "Stats", "version": version, "fields": [
            field("k", "str", "key"), field("n", "int", "value"), field("at", "datetime", "timestamp")],
         "pipelines": [{"name": "p", "inputs": ["Ride"], "operators": [
            {"op": "filter", "expr": limit},
            {"op": "groupby", "keys": ["k"]},
            {"op": "aggregate", "aggregates": [{"name": "n", "function": "count"}]}]}]},
    ]}))
    .unwrap()
}

fn derived(current: &Catalog, ids: &mut Ids, document: Document) -> (Catalog, Vec<NodeId>) {
    let (catalog, fresh) = derive(current, ids, "c".to_owned(), document, &Residence::nowhere()).unwrap();
    (catalog, fresh.iter().map(|node| node.id).collect())
}

fn node(catalog: &Catalog, dataset: &str) -> NodeId {
    catalog.datasets[dataset].node.as_ref().unwrap().id
}

#[test]
fn a_superseded_version_keeps_its_timelines_also_if_they_were_named_otherwise_once() {
    let mut ids = Ids::default();
    let (first, _) = derived(&Catalog::empty(), &mut ids, document(1));
    let next = evolution::plan(&first.document, &document(2), &Given::default()).unwrap().next;
    let (second, fresh) = derived(&first, &mut ids, next.clone());
    assert_eq!(node(&second, "Stats@1"), node(&first, "Stats"));
    assert_eq!(second.datasets["Stats@1"].node.as_ref().unwrap().dataset, "Stats@1");
    assert_eq!(fresh, [node(&second, "Stats")]);
    // A directory of before has a name of its own for it; a start begins with nothing but the numbers.
    let named = ids.nodes.iter_mut().find(|name| name.starts_with("Stats@1 over ")).unwrap();
    *named = named.replacen("Stats@1 over ", "Stats@1@1 over ", 1);
    let (opened, _) = derived(&Catalog::empty(), &mut ids, next);
    assert_eq!(node(&opened, "Stats@1"), node(&first, "Stats"));
    assert_eq!(node(&opened, "Stats"), node(&second, "Stats"));
    // Back to it, it is the newest again, and nothing is filled.
    let (back, fresh) = derived(&opened, &mut ids, first.document.clone());
    assert_eq!((node(&back, "Stats"), fresh), (node(&first, "Stats"), vec![]));
    assert_eq!(back.datasets["Stats"].node.as_ref().unwrap().dataset, "Stats");
}
