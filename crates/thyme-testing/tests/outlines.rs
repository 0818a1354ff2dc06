//! An entity that is too long for memory is loaded once, not with every read, and gives what it gives in memory.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use serde_json::json;
use thyme_core::definition::Document;
use thyme_core::{EntityKey, EventTime, Position, Value};
use thyme_engine::{Engine, Memory, Options, Parts, ReadAt};
use thyme_store::{Backend, MemoryStore, Room, Write};
use thyme_testing::clock::HandClock;
use thyme_testing::definitions::parse;
use thyme_testing::disk::FaultyDisk;
use thyme_testing::random::Random;

const BEGIN: i64 = 1_773_568_800;
const ROWS: i64 = 100_000;
/// Less than the long entity takes, and more than its outline.
const ROOM: usize = 1 << 20;

fn document() -> Document {
    let aggregates = json!([
        {"name": "n", "function": "count"},
        {"name": "hour", "function": "sum", "of": "amount", "window": "1h"},
        {"name": "last", "function": "last", "of": "amount", "window": "1d"},
    ]);
    let operators =
        json!([{"op": "groupby", "keys": ["who"]}, {"op": "aggregate", "aggregates": aggregates}]);
    parse(json!({"format": 1, "datasets": [
        {"name": "Paid", "index": true, "fields": [
            {"name": "who", "type": "str", "role": "key"}, {"name": "amount", "type": "float"},
            {"name": "at", "type": "datetime", "role": "timestamp"}]},
        {"name": "Sums", "fields": [
            {"name": "who", "type": "str", "role": "key"}, {"name": "at", "type": "datetime", "role": "timestamp"},
            {"name": "n", "type": "int"}, {"name": "hour", "type": "float", "optional": true},
            {"name": "last", "type": "float", "optional": true},
        ], "pipelines": [{"name": "p", "version": 1, "inputs": ["Paid"], "operators": operators}]},
    ]}))
}

fn parts() -> Parts {
    of(FaultyDisk::default(), Arc::default())
}

fn of(log: FaultyDisk, store: Arc<MemoryStore>) -> Parts {
    Parts { log: Arc::new(log), log_options: thyme_log::Options::default(), store }
}

/// The store as a crash leaves it: with all that was written, of whatever position.
fn copy(store: &MemoryStore) -> Arc<MemoryStore> {
    let copied = MemoryStore::default();
    let pairs = store.scan(&[]).map(|pair| pair.map(|(key, value)| Write { key, value: Some(value) }));
    copied.write(pairs.collect::<Result<_, _>>().unwrap()).unwrap();
    Arc::new(copied)
}

fn open(parts: &Parts, timelines: Option<usize>) -> Engine {
    let memory =
        timelines.map(|timelines| Memory { total: 0, timelines, records: 64 << 20, store: Room::default() });
    let env = HandClock::at((BEGIN + 10 * ROWS) * 1_000_000).env();
    let parts = Some(parts.clone());
    Engine::open(Options { parts, shards: 1, memory, env, ..Options::default() }).unwrap()
}

fn begin(timelines: Option<usize>) -> Engine {
    let engine = open(&parts(), timelines);
    engine.commit(&document(), |_| Ok(())).unwrap();
    engine
}

fn push(engine: &Engine, rows: impl Iterator<Item = (i64, f64)>) -> Position {
    let rows: Vec<String> =
        rows.map(|(at, amount)| json!({"who": "long", "amount": amount, "at": at}).to_string()).collect();
    let catalog = engine.catalog();
    let push = engine.read_json(catalog.dataset("Paid").unwrap(), rows.iter().map(|r| r.as_bytes())).unwrap();
    let position = engine.push(push).unwrap().position;
    engine.snapshot(ReadAt { min_position: Some(position), ..ReadAt::default() }).unwrap();
    position
}

/// What is read of the entity at a time, as known at a position.
fn read(engine: &Engine, second: i64, position: Option<Position>) -> String {
    let time = EventTime(second * 1_000_000);
    let snapshot = engine.snapshot(ReadAt { time: Some(time), position, ..ReadAt::default() }).unwrap();
    let key = EntityKey::encode(&[Value::Str("long".into())]).unwrap().0;
    let node = |name: &str| snapshot.catalog.dataset(name).unwrap().readable().unwrap().clone();
    let outputs = snapshot.outputs(&node("Sums"), &key, time, &[0, 1, 2]).unwrap();
    let row = snapshot.latest_row(&node("Paid"), &key, time).unwrap();
    let seen = snapshot.has_events(&node("Sums"), &key, time).unwrap();
    format!("{outputs:?} {row:?} {seen} {:?}", snapshot.newest_event(&node("Sums"), &key, time).unwrap())
}

#[test]
fn an_entity_too_long_for_memory_is_loaded_once_and_reads_as_it_does_in_memory() {
    let (small, large) = (begin(Some(ROOM)), begin(None));
    let both = [&small, &large];
    let mut positions = Vec::new();
    for part in 0..4 {
        let rows = || (part * ROWS / 4..(part + 1) * ROWS / 4).map(|i| (BEGIN + i, i as f64 / 7.0));
        positions.extend(both.map(|engine| push(engine, rows())));
    }
    let mut random = Random::new(11);
    let mut times = |count: usize| -> Vec<i64> {
        (0..count).map(|_| BEGIN + random.between(-10, ROWS + 10)).chain([BEGIN + 9 * ROWS]).collect()
    };
    let same = |times: &[i64], position: Option<Position>| {
        for time in times {
            assert_eq!(read(&small, *time, position), read(&large, *time, position), "{time} {position:?}");
        }
    };
    same(&times(1), None);
    assert!(small.memory().resident_bytes < ROOM as u64, "{:?}", small.memory());
    let loaded = small.memory().loads;
    same(&times(60), None);
    assert_eq!(small.memory().loads, loaded, "it was loaded again");
    assert!(small.memory().resident_bytes < ROOM as u64, "{:?}", small.memory());
    // As known earlier: chunks hold rows that came later.
    for position in &positions {
        same(&times(3), Some(*position));
    }
    // A row that comes late changes a chunk in the middle, and every later answer.
    let before = read(&small, BEGIN + 50_000, None);
    for engine in both {
        push(engine, [(BEGIN + 49_000, 1e9), (BEGIN + ROWS + 5, 3.0)].into_iter());
    }
    assert_ne!(read(&small, BEGIN + 50_000, None), before);
    same(&times(20), None);
    same(&[BEGIN + 50_000], positions.last().copied());
}

#[test]
fn a_start_that_fills_memory_keeps_the_outline_of_an_entity_too_long_for_it() {
    let parts = parts();
    let engine = open(&parts, None);
    engine.commit(&document(), |_| Ok(())).unwrap();
    push(&engine, (0..ROWS / 2).map(|i| (BEGIN + i, i as f64)));
    push(&engine, (ROWS / 2..ROWS).map(|i| (BEGIN + i, i as f64)));
    let times = [BEGIN + 7, BEGIN + ROWS / 3, BEGIN + 2 * ROWS];
    let expected: Vec<String> = times.iter().map(|time| read(&engine, *time, None)).collect();
    engine.close();
    drop(engine);
    let engine = open(&parts, Some(ROOM));
    // One of each dataset; CI has slow machines.
    let mut turns = 0_u64;
    while engine.memory().loads < 2 || engine.memory().resident_bytes == 0 {
        turns += 1;
        assert!(turns < 10_000_000, "{:?}", engine.memory());
        std::thread::yield_now();
    }
    let found: Vec<String> = times.iter().map(|time| read(&engine, *time, None)).collect();
    assert_eq!(found, expected);
    let memory = engine.memory();
    assert!(memory.loads <= 4 && memory.resident_bytes < ROOM as u64, "{memory:?}");
    let again: Vec<String> = times.iter().map(|time| read(&engine, *time, None)).collect();
    assert_eq!((again, engine.memory().loads), (expected, memory.loads));
}

#[test]
fn pushes_to_an_entity_too_long_for_memory_do_not_load_it_and_survive_a_crash() {
    let (disk, store) = (FaultyDisk::default(), Arc::new(MemoryStore::default()));
    let parts = Parts { log: Arc::new(disk.clone()), ..of(FaultyDisk::default(), store.clone()) };
    let (small, large) = (open(&parts, Some(ROOM)), begin(None));
    small.commit(&document(), |_| Ok(())).unwrap();
    for part in 0..4 {
        let rows = || (part * ROWS / 4..(part + 1) * ROWS / 4).map(|i| (BEGIN + i, i as f64 / 7.0));
        for engine in [&small, &large] {
            push(engine, rows());
        }
    }
    let mut random = Random::new(12);
    let mut positions = Vec::new();
    // Once for each dataset; the rows before were put in while it was shorter.
    for engine in [&small, &large] {
        push(engine, [(BEGIN + ROWS, 0.5)].into_iter());
    }
    let loads = small.memory().loads;
    let mut end = ROWS + 1;
    for round in 0..60 {
        let mut rows: Vec<(i64, f64)> = Vec::new();
        let most = if round % 20 == 7 { 600 } else { 4 };
        for _ in 0..1 + random.below(most) {
            let late = random.chance(40);
            let at = if late { random.between(0, ROWS) } else { end };
            end += i64::from(!late);
            rows.push((BEGIN + at, random.between(-1000, 1000) as f64 / 8.0));
        }
        positions.push([&small, &large].map(|engine| push(engine, rows.iter().copied()))[0]);
        let time = BEGIN + random.between(0, end + 10);
        assert_eq!(read(&small, time, None), read(&large, time, None), "{round} {time}");
        let memory = small.memory();
        assert!(memory.resident_bytes < ROOM as u64, "{memory:?}");
        if round == 20 {
            small.checkpoint().unwrap();
        }
    }
    assert_eq!(small.memory().loads, loads, "it was loaded again");
    let times: Vec<i64> = (0..20).map(|_| BEGIN + random.between(0, end + 10)).collect();
    let expected: Vec<String> = times.iter().map(|time| read(&large, *time, None)).collect();
    // The store has rows of two thirds of the pushes that its checkpoint does not know of.
    let crashed = of(disk.copy(), copy(&store));
    drop(small);
    let again = open(&crashed, Some(ROOM));
    let found: Vec<String> = times.iter().map(|time| read(&again, *time, None)).collect();
    assert_eq!(found, expected);
    push(&again, [(BEGIN + 3, 1.0), (BEGIN + end, 2.0)].into_iter());
    push(&large, [(BEGIN + 3, 1.0), (BEGIN + end, 2.0)].into_iter());
    for position in positions.iter().step_by(7) {
        let time = times[positions.len() % times.len()];
        assert_eq!(read(&again, time, Some(*position)), read(&large, time, Some(*position)), "{position}");
    }
    assert_eq!(read(&again, BEGIN + end + 5, None), read(&large, BEGIN + end + 5, None));
}
