//! State that is bigger than memory: how much is in memory while it is written, updated and read, and how
//! long a restart takes. Prints JSON:
//! `cargo run --release -p thyme-testing --example state -- DIR MEMORY ENTITIES EVENTS_EACH TEXT_BYTES`.
//! A directory that has state already is only opened and read.
#![expect(clippy::disallowed_methods, reason = "it measures time")]
#![expect(clippy::unwrap_used, reason = "an example")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use serde_json::json;
use thyme_core::{EntityKey, EventTime, Position, Value};
use thyme_engine::{Engine, Memory, Options, ReadAt};
use thyme_testing::definitions::parse;
use thyme_testing::random::Random;

const START_US: i64 = 1_773_568_800_000_000;
const BATCH: usize = 20_000;

struct Sizes {
    entities: usize,
    events: usize,
    text: usize,
}

/// The most memory that the process had so far, and what it has now, in bytes.
fn memory() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().next().and_then(|kb| kb.parse::<u64>().ok()).unwrap_or_default() << 10
    };
    (of("VmHWM:"), of("VmRSS:"))
}

fn name(entity: usize) -> String {
    format!("driver-{entity:09}")
}

fn push(engine: &Engine, sizes: &Sizes, random: &mut Random, rows: &[(usize, i64)]) {
    let text = |random: &mut Random| -> String {
        (0..sizes.text.div_ceil(16)).map(|_| format!("{:016x}", random.bits())).collect()
    };
    let names: StringArray = rows.iter().map(|(entity, _)| Some(name(*entity))).collect();
    let fares: Float64Array = rows.iter().map(|_| Some(random.below(10_000) as f64 / 100.0)).collect();
    let notes: StringArray = rows.iter().map(|_| Some(text(random))).collect();
    let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|(_, at)| START_US + at));
    let columns: [(&str, ArrayRef); 4] = [
        ("driver", Arc::new(names)),
        ("fare", Arc::new(fares)),
        ("note", Arc::new(notes)),
        ("at", Arc::new(times)),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let catalog = engine.catalog();
    let live = catalog.dataset("Ride").unwrap();
    engine.push(engine.read_batches(live, &[batch]).unwrap()).unwrap();
}

fn commit(engine: &Engine) {
    let fields = json!([
        {"name": "driver", "type": "str", "role": "key"}, {"name": "fare", "type": "float"},
        {"name": "note", "type": "str"}, {"name": "at", "type": "datetime", "role": "timestamp"},
    ]);
    let aggregates = json!([
        {"name": "rides", "function": "count", "window": "7d"},
        {"name": "fares", "function": "sum", "of": "fare", "window": "7d"},
        {"name": "note", "function": "last", "of": "note"},
    ]);
    let document = parse(json!({"format": 1, "datasets": [
        {"name": "Ride", "fields": fields},
        {"name": "Stats", "fields": [
            {"name": "driver", "type": "str", "role": "key"}, {"name": "at", "type": "datetime", "role": "timestamp"},
            {"name": "rides", "type": "int"}, {"name": "fares", "type": "float"}, {"name": "note", "type": "str"},
        ], "pipelines": [{"name": "p", "version": 1, "inputs": ["Ride"], "operators": [
            {"op": "groupby", "keys": ["driver"]}, {"op": "aggregate", "aggregates": aggregates}]}]},
    ]}));
    engine.commit(&document, |_| Ok(())).unwrap();
}

fn await_applied(engine: &Engine) {
    let min_position = Some(Position::end_of(engine.records().0));
    while engine.snapshot(ReadAt { min_position, ..ReadAt::default() }).is_err() {}
}

/// Reads `count` entities; gives quantiles in microseconds.
fn read(
    engine: &Engine,
    sizes: &Sizes,
    count: usize,
    mut entity: impl FnMut() -> usize,
) -> serde_json::Value {
    let mut spent: Vec<Duration> = (0..count)
        .map(|_| {
            let key = EntityKey::encode(&[Value::Str(name(entity()).into())]).unwrap();
            let start = Instant::now();
            let snapshot = engine.snapshot(ReadAt::default()).unwrap();
            let node = snapshot.catalog.dataset("Stats").unwrap().readable().unwrap();
            let time = EventTime(START_US + 86_400_000_000);
            let values = snapshot.outputs(node, &key.0, time, &[0, 1]).unwrap();
            let spent = start.elapsed();
            assert!(matches!(values[0], Value::Int(n) if n >= sizes.events as i64), "{values:?}");
            spent
        })
        .collect();
    spent.sort_unstable();
    let us =
        |part: f64| (spent[((spent.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e7).round() / 10.0;
    json!({"p50_us": us(0.5), "p99_us": us(0.99), "max_us": us(1.0)})
}

fn fill(engine: &Engine, sizes: &Sizes) -> serde_json::Value {
    let mut random = Random::new(1);
    commit(engine);
    let start = Instant::now();
    let mut rows = Vec::with_capacity(BATCH);
    for entity in 0..sizes.entities {
        rows.extend((0..sizes.events).map(|event| (entity, event as i64 * 1_000_000)));
        if rows.len() >= BATCH || entity + 1 == sizes.entities {
            push(engine, sizes, &mut random, &rows);
            rows.clear();
        }
    }
    await_applied(engine);
    let filled = start.elapsed().as_secs_f64();
    let updates = sizes.entities / 20;
    let start = Instant::now();
    for _ in 0..updates.div_ceil(BATCH) {
        let row = |_| (random.below(sizes.entities), 3_600_000_000);
        let rows: Vec<_> = (0..BATCH.min(updates)).map(row).collect();
        push(engine, sizes, &mut random, &rows);
    }
    await_applied(engine);
    json!({
        "fill_events_per_s": (sizes.entities * sizes.events) as f64 / filled,
        "update_cold_events_per_s": updates as f64 / start.elapsed().as_secs_f64(),
    })
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize| arguments[index].parse::<usize>().unwrap();
    let path = PathBuf::from(&arguments[0]);
    let sizes = Sizes { entities: number(2), events: number(3), text: number(4) };
    let memory_given = Memory::parse(&arguments[1]).unwrap();
    let is_new = !path.join("log").exists();
    let start = Instant::now();
    let options = Options { path: Some(path), memory: Some(memory_given), ..Options::default() };
    let engine = Engine::open(options).unwrap();
    let opened = start.elapsed();
    let mut out =
        json!({"memory": memory_given.total, "open_s": opened.as_secs_f64(), "rss_open": memory().1});
    if is_new {
        out["write"] = fill(&engine, &sizes);
        out["rss_after_writes"] = json!(memory().1);
    } else {
        out["first_read"] = read(&engine, &sizes, 1, || sizes.entities / 2);
    }
    let mut random = Random::new(7);
    out["read_cold"] = read(&engine, &sizes, 20_000, || random.below(sizes.entities));
    let mut random = Random::new(8);
    let hot: Vec<usize> = (0..1_000).map(|_| random.below(sizes.entities)).collect();
    read(&engine, &sizes, hot.len(), || hot[random.below(hot.len())]);
    let mut random = Random::new(9);
    out["read_hot"] = read(&engine, &sizes, 100_000, || hot[random.below(hot.len())]);
    if !is_new {
        while engine.work().is_some() {
            std::thread::sleep(Duration::from_millis(20));
        }
        out["warm_s"] = json!(start.elapsed().as_secs_f64());
        out["read_any_when_warm"] = read(&engine, &sizes, 20_000, || random.below(sizes.entities));
    }
    let start = Instant::now();
    engine.checkpoint().unwrap();
    out["checkpoint_s"] = json!(start.elapsed().as_secs_f64());
    let facts = engine.memory();
    let (log, store, _) = engine.storage();
    out["timelines"] = json!({
        "bytes": facts.resident_bytes, "bytes_max": facts.limit_bytes, "entities": facts.entities,
        "entities_in_memory": facts.resident_entities, "loads": facts.loads, "evictions": facts.evictions,
    });
    (out["bytes_log"], out["bytes_store"]) = (json!(log), json!(store));
    engine.close();
    out["rss_max"] = json!(memory().0);
    out["rss_max_of_memory"] = json!((memory().0 as f64 / memory_given.total as f64 * 100.0).round() / 100.0);
    println!("{out}");
}
