//! An engine on disks that fail, what was pushed to it, and what it must say.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use thyme_core::definition::Document;
use thyme_core::{EntityKey, Error, ErrorKind, EventTime, Position, Result, Value};
use thyme_engine::{Engine, Memory, Options, Parts, Push, ReadAt, Receipt, Severity, Snapshot, Stepper};
use thyme_store::Room;
use thyme_testing::clock::HandClock;
use thyme_testing::definitions::parse;
use thyme_testing::disk::FaultyDisk;
use thyme_testing::sim::SimStore;

pub const NOW_US: i64 = 1_773_568_800_000_000;
/// So many that every shard has some, and no two of the first few share a stripe.
pub const DRIVERS: usize = 60;

pub fn driver(index: usize) -> String {
    format!("d{index}")
}

fn raw(name: &str, fields: &[(&str, &str)], index: bool) -> Json {
    let mut all = vec![json!({"name": "driver", "type": "str", "role": "key"})];
    all.extend(fields.iter().map(|(name, kind)| json!({"name": name, "type": kind})));
    all.push(json!({"name": "at", "type": "datetime", "role": "timestamp"}));
    json!({"name": name, "index": index, "fields": all})
}

fn derived(name: &str, key: (&str, &str), before: &[Json]) -> Json {
    let aggregates = json!([
        {"name": "rides", "function": "count"}, {"name": "fares", "function": "sum", "of": "fare"},
    ]);
    let mut operators = before.to_vec();
    operators.push(json!({"op": "groupby", "keys": [key.0]}));
    operators.push(json!({"op": "aggregate", "aggregates": aggregates}));
    json!({"name": name, "fields": [
        {"name": key.0, "type": key.1, "role": "key"}, {"name": "at", "type": "datetime", "role": "timestamp"},
        {"name": "rides", "type": "int"}, {"name": "fares", "type": "int", "optional": true},
    ], "pipelines": [{"name": "p", "version": 1, "inputs": ["Ride"], "operators": operators}]})
}

/// Rides, drivers with a city, rides by driver, and, if `joined`, rides by the driver's city.
pub fn document(joined: bool) -> Document {
    let join = json!({"op": "join", "dataset": "Driver", "left_on": ["driver"], "right_on": ["driver"],
        "fields": [{"name": "city", "field": "city"}]});
    let mut datasets = vec![
        raw("Ride", &[("fare", "int")], false),
        raw("Driver", &[("city", "str")], true),
        derived("ByDriver", ("driver", "str"), &[]),
    ];
    if joined {
        datasets.push(derived("ByCity", ("city", "str"), &[join]));
    }
    parse(json!({"format": 1, "datasets": datasets}))
}

/// One that none of the others includes.
pub fn another_document() -> Document {
    parse(json!({"format": 1, "datasets": [raw("Other", &[("city", "str")], false)]}))
}

/// The disks that outlive engines.
#[derive(Default)]
pub struct World {
    pub log: FaultyDisk,
    pub store: SimStore,
    pub clock: HandClock,
    /// By driver: rides and fares.
    pub expected: BTreeMap<String, (i64, i64)>,
}

impl World {
    pub fn new() -> World {
        World { clock: HandClock::at(NOW_US), ..World::default() }
    }

    fn options(&self, shards: usize, timelines: Option<usize>) -> Options {
        let parts = Parts {
            log: Arc::new(self.log.clone()),
            log_options: thyme_log::Options::default(),
            store: Arc::new(self.store.clone()),
        };
        let store = Room { cache: 1 << 20, memtable: 1 << 20 };
        let memory = timelines.map(|timelines| Memory { total: 0, timelines, records: 1 << 20, store });
        Options { parts: Some(parts), memory, shards, env: self.clock.env(), ..Options::default() }
    }

    pub fn open(&self, shards: usize) -> Engine {
        Engine::open(self.options(shards, None)).unwrap()
    }

    /// With room for so many bytes of timelines.
    pub fn open_small(&self, shards: usize, timelines: usize) -> Engine {
        Engine::open(self.options(shards, Some(timelines))).unwrap()
    }

    pub fn open_stepped(&self, shards: usize) -> (Engine, Stepper) {
        self.try_open_stepped(shards).unwrap()
    }

    pub fn try_open_stepped(&self, shards: usize) -> Result<(Engine, Stepper)> {
        Engine::open_stepped(self.options(shards, None))
    }

    pub fn open_small_stepped(&self, shards: usize, timelines: usize) -> (Engine, Stepper) {
        Engine::open_stepped(self.options(shards, Some(timelines))).unwrap()
    }

    /// One ride of each driver in `drivers`, visible when this returns.
    pub fn rides(&mut self, engine: &Engine, drivers: impl Iterator<Item = usize>, fare: i64) -> Position {
        let names: Vec<String> = drivers.map(driver).collect();
        for name in &names {
            let expected = self.expected.entry(name.clone()).or_default();
            *expected = (expected.0 + 1, expected.1 + fare);
        }
        let rows = names.iter().map(|name| json!({"driver": name, "fare": fare, "at": at(fare)}));
        let receipt = push(engine, "Ride", &rows.collect::<Vec<_>>()).unwrap();
        visible(engine, receipt.position);
        receipt.position
    }

    /// Every driver but those in `except` has what was pushed.
    pub fn check(&self, engine: &Engine, except: &[String]) {
        let snapshot = engine.snapshot(ReadAt::default()).unwrap();
        for (name, expected) in self.expected.iter().filter(|(name, _)| !except.contains(name)) {
            assert_eq!(totals(&snapshot, "ByDriver", name).unwrap(), *expected, "{name}");
        }
    }

    /// The drivers that cannot be read, each refused in the right words.
    pub fn refused(&self, engine: &Engine) -> Vec<String> {
        let snapshot = engine.snapshot(ReadAt::default()).unwrap();
        let mut refused = Vec::new();
        for name in self.expected.keys() {
            if let Err(error) = totals(&snapshot, "ByDriver", name) {
                assert_eq!(error.kind(), ErrorKind::Poisoned, "{error}");
                assert!(error.detail().starts_with(&format!("ByDriver, entity \"{name}\": ")), "{error}");
                assert!(error.detail().contains("restart the server"), "{error}");
                refused.push(name.clone());
            }
        }
        refused
    }
}

pub fn at(seconds: i64) -> String {
    thyme_core::time::format_rfc3339(NOW_US - 3_600_000_000 + seconds * 1_000_000)
}

fn read_rows(engine: &Engine, dataset: &str, rows: &[Json]) -> Push {
    let lines: Vec<String> = rows.iter().map(ToString::to_string).collect();
    let catalog = engine.catalog();
    engine.read_json(catalog.dataset(dataset).unwrap(), lines.iter().map(|l| l.as_bytes())).unwrap()
}

pub fn push(engine: &Engine, dataset: &str, rows: &[Json]) -> Result<Receipt> {
    engine.push(read_rows(engine, dataset, rows))
}

/// Hands rows in without waiting for anything.
pub fn submit(engine: &Engine, dataset: &str, rows: &[Json]) {
    engine.submit(read_rows(engine, dataset, rows), |_| ());
}

pub fn visible(engine: &Engine, position: Position) {
    engine.snapshot(ReadAt { min_position: Some(position), ..ReadAt::default() }).unwrap();
}

pub fn encoded(key: &str) -> EntityKey {
    EntityKey::encode(&[Value::Str(key.into())]).unwrap()
}

/// `(rides, fares)` of an entity.
pub fn totals(snapshot: &Snapshot, dataset: &str, key: &str) -> Result<(i64, i64)> {
    let node = snapshot.catalog.dataset(dataset)?.readable()?;
    let values = snapshot.outputs(node, &encoded(key).0, EventTime(NOW_US), &[0, 1])?;
    let int = |value: &Value| if let Value::Int(int) = value { *int } else { i64::MIN };
    Ok((int(&values[0]), int(&values[1])))
}

/// The messages of the events of a type, oldest first.
pub fn events(engine: &Engine, kind: &str) -> Vec<(Severity, String)> {
    let found = engine.events().list(usize::MAX, |e| e.event_type == kind);
    found.into_iter().rev().map(|e| (e.severity, e.message)).collect()
}

pub fn refusal<T>(result: Result<T>) -> Error {
    result.err().unwrap()
}
