//! Raw datasets of rides and drivers, and engines on disk that tests push their rows to.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use thyme_audit::{Options as Audit, verify};
use thyme_core::definition::Document;
use thyme_core::{EntityKey, EventTime, Position, Value};
use thyme_engine::{Engine, Options, ReadAt};
use thyme_query::{NoExtractors, Reader};

pub const SECOND: i64 = 1_000_000;

pub fn field(name: &str, data_type: &str, role: &str) -> Json {
    json!({"name": name, "type": data_type, "role": role, "optional": role == "value"})
}

/// `Ride` and `Driver`.
pub fn raw() -> Vec<Json> {
    let ride = [
        field("ride", "int", "key"),
        field("driver", "str", "value"),
        field("fare", "int", "value"),
        field("at", "datetime", "timestamp"),
    ];
    let driver =
        [field("driver", "str", "key"), field("city", "str", "value"), field("at", "datetime", "timestamp")];
    vec![json!({"name": "Ride", "fields": ride}), json!({"name": "Driver", "fields": driver})]
}

/// Adds the city of a row's driver.
pub fn join(how: &str) -> Json {
    json!({"op": "join", "dataset": "Driver", "left_on": ["driver"], "right_on": ["driver"], "how": how,
        "fields": [{"name": "city", "field": "city"}]})
}

pub fn commit(engine: &Engine, datasets: &[Json]) {
    let document: Document = serde_json::from_value(json!({"format": 1, "datasets": datasets})).unwrap();
    engine.commit(&document, |_| Ok(())).unwrap();
}

pub fn open(path: &Path) -> Arc<Engine> {
    Arc::new(Engine::open(Options { path: Some(path.to_owned()), shards: 2, ..Options::default() }).unwrap())
}

pub fn push(engine: &Engine, dataset: &str, rows: &[Json]) -> Position {
    let lines: Vec<String> = rows.iter().map(Json::to_string).collect();
    let live = engine.catalog().dataset(dataset).unwrap().clone();
    let push = engine.read_json(&live, lines.iter().map(|line| line.as_bytes())).unwrap();
    engine.push(push).unwrap().position
}

/// What a dataset gives for each of `keys` at each of `positions`, every `step` seconds of the first hundred: its
/// aggregates, or its row with the time of that.
pub fn values(
    engine: &Engine,
    dataset: &str,
    keys: &[&str],
    step: usize,
    positions: &[Position],
) -> Vec<Vec<Value>> {
    let mut found = Vec::new();
    for position in positions {
        for key in keys {
            for second in (0..100).step_by(step) {
                let time = EventTime(second * SECOND);
                let at = ReadAt { time: Some(time), position: Some(*position), ..ReadAt::default() };
                let snapshot = engine.snapshot(at).unwrap();
                let node = snapshot.catalog.dataset(dataset).unwrap().readable().unwrap().clone();
                let key = EntityKey::encode(&[Value::Str((*key).into())]).unwrap();
                let all: Vec<usize> = (0..node.outputs.len()).collect();
                found.push(match node.outputs.is_empty() {
                    false => snapshot.outputs(&node, &key.0, time, &all).unwrap(),
                    true => {
                        let row = snapshot.latest_row(&node, &key.0, time).unwrap();
                        row.map(|(at, row)| [vec![Value::Datetime(at.0)], row].concat()).unwrap_or_default()
                    }
                });
            }
        }
    }
    found
}

/// Some values are computed again, by the oracle, to the same bits.
pub fn is_verified(engine: &Arc<Engine>, samples: usize, seed: u64, what: &str) {
    let reader = Reader::new(engine.clone(), Arc::new(NoExtractors));
    let report = verify(&reader, Audit { reference: None, samples, seed }).unwrap();
    assert!(report.compared() > 0, "{what}");
    assert_eq!(report.different(), 0, "{what}: {:?}", report.differences);
}
