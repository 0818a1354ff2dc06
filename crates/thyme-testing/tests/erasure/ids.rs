//! Event ids and erasure: whose an id was stays true at every crash.

use std::sync::Arc;

use serde_json::json;
use thyme_core::definition::Document;
use thyme_core::{Position, Value};
use thyme_engine::{Engine, Parts};
use thyme_store::MemoryStore;
use thyme_testing::definitions::parse;

use super::{ERASED, erase, event, fuse, no_memory, open, parts, push, values};

const OTHER: &str = "user1";

/// Payments that a note names, and how many of them somebody has.
fn document() -> Document {
    let field = |name: &str, kind: &str, role: &str| json!({"name": name, "type": kind, "role": role});
    let raw = json!({"name": "Payment", "max_lateness": "10s", "event_id": "note", "fields": [
        field("user", "str", "key"), field("bank", "str", "value"), field("note", "str", "value"),
        field("amount", "float", "value"), field("at", "datetime", "timestamp"),
    ]});
    let counted = json!({"name": "ByUser", "fields": [
        field("user", "str", "key"), field("at", "datetime", "timestamp"), field("n", "int", "value"),
    ], "pipelines": [{"name": "compute", "version": 1, "inputs": ["Payment"], "operators": [
        {"op": "groupby", "keys": ["user"]},
        {"op": "aggregate", "aggregates": [{"name": "n", "function": "count"}]},
    ]}]});
    parse(json!({"format": 1, "featuresets": [], "datasets": [raw, counted]}))
}

/// Duplicates of somebody's event that would make everybody else late if they counted.
fn fill(engine: &Engine, is_saved: impl Fn(usize) -> bool) {
    engine.commit(&document(), |_| Ok(())).unwrap();
    let records = [
        vec![event(ERASED, "north", "a", 100), event(OTHER, "north", "b", 101)],
        vec![event(ERASED, "north", "a", 2_000)],
        vec![event(OTHER, "north", "a", 3_000), event(OTHER, "north", "c", 102)],
        vec![event(ERASED, "north", "b", 4_000), event(OTHER, "north", "d", 103)],
    ];
    for (index, rows) in records.iter().enumerate() {
        push(engine, "Payment", None, rows).unwrap();
        if is_saved(index) {
            engine.checkpoint().unwrap();
        }
    }
}

/// Of the other's events all count but the one that is a duplicate of one that is gone.
fn check(engine: &Engine, what: &str) {
    let catalog = engine.catalog();
    assert_eq!(engine.counters(catalog.dataset("Payment").unwrap()).late, 0, "{what}");
    let last = [Position::end_of(engine.records().0)];
    assert_eq!(values(engine, "ByUser", OTHER, &last)[4], [Value::Int(3)], "{what}");
}

/// The id of what is gone is free, and those of the others are not.
fn is_free(engine: &Engine, what: &str) {
    push(engine, "Payment", None, &[event("user2", "north", "a", 105), event("user2", "north", "b", 105)])
        .unwrap();
    let last = [Position::end_of(engine.records().0)];
    assert_eq!(values(engine, "ByUser", "user2", &last)[4], [Value::Int(1)], "{what}");
}

fn without_store(solid: &Parts) -> Engine {
    let Parts { log, log_options, .. } = solid.clone();
    open(&Parts { log, log_options, store: Arc::new(MemoryStore::default()) }, None).unwrap()
}

#[test]
fn duplicates_of_an_erased_event_move_no_watermark_however_often_the_erasure_is_begun() {
    let mut crashes = 0;
    let spilled = [0, 1, 2, 9].map(|saved| (saved, no_memory()));
    for (saved, memory) in spilled.into_iter().chain([(1, None)]) {
        for budget in 0.. {
            let what = format!("saved after record {saved}, memory {memory:?}, budget {budget}");
            let dir = tempfile::tempdir().unwrap();
            let solid = parts(dir.path());
            let (fused, fuse) = fuse::fused(&solid);
            let engine = open(&fused, memory).unwrap();
            fill(&engine, |index| index == saved);
            check(&engine, &what);
            fuse.set(budget);
            let is_done = erase(&engine, "Payment", &[ERASED]).is_ok();
            fuse.set(0);
            drop(engine);
            let engine = open(&solid, memory).unwrap();
            check(&engine, &what);
            let last = [Position::end_of(engine.records().0)];
            if values(&engine, "ByUser", ERASED, &last)[4] == [Value::Int(0)] {
                crashes += usize::from(!is_done);
                is_free(&engine, &what);
                drop(engine);
                let engine = open(&solid, memory).unwrap();
                check(&engine, &what);
                drop(engine);
                let engine = without_store(&solid);
                check(&engine, &what);
            }
            if is_done {
                break;
            }
        }
    }
    assert!(crashes > 50, "{crashes}");
}
