//! One answer is at one position, while writers, readers, commits and `close` run at once.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Scope, ScopedJoinHandle};

use serde_json::json;
use thyme_core::{EntityKey, EventTime, Position, Value};
use thyme_engine::{Clock, Engine, Memory, Options, ReadAt, Receipt, Snapshot};
use thyme_store::Room;
use thyme_testing::clock::HandClock;
use thyme_testing::definitions::parse;
use thyme_testing::random::Random;

/// Transfers between accounts: one event moves `amount` into `into`, counted by account, by bank and in
/// all. `version` and `window` make other nodes of the same meaning.
fn transfers(version: u32, retention: &str) -> thyme_core::definition::Document {
    let derived = |name: &str, key: &str, kind: &str| {
        let aggregates = json!([
            {"name": "n", "function": "count"},
            {"name": "total", "function": "sum", "of": "amount"},
        ]);
        let operators =
            json!([{"op": "groupby", "keys": [key]}, {"op": "aggregate", "aggregates": aggregates}]);
        json!({"name": name, "fields": [
            {"name": key, "type": kind, "role": "key"}, {"name": "at", "type": "datetime", "role": "timestamp"},
            {"name": "n", "type": "int"}, {"name": "total", "type": "int"},
        ], "pipelines": [{"name": "p", "version": version, "inputs": ["Transfer"], "operators": operators}]})
    };
    parse(json!({"format": 1, "datasets": [
        {"name": "Transfer", "retention": retention, "fields": [
            {"name": "account", "type": "str", "role": "key"}, {"name": "bank", "type": "int"},
            {"name": "amount", "type": "int"}, {"name": "at", "type": "datetime", "role": "timestamp"},
        ]},
        derived("ByAccount", "account", "str"),
        derived("ByBank", "bank", "int"),
    ]}))
}

fn push(engine: &Engine, rows: &[String]) -> thyme_core::Result<Receipt> {
    let catalog = engine.catalog();
    let live = catalog.dataset("Transfer")?;
    engine.push(engine.read_json(live, rows.iter().map(|r| r.as_bytes()))?)
}

fn row(account: &str, amount: i64) -> String {
    json!({"account": account, "bank": 7, "amount": amount, "at": 1_773_568_800}).to_string()
}

/// `(n, total)` of an entity.
fn read(snapshot: &Snapshot, dataset: &str, key: Value) -> (i64, i64) {
    let node = snapshot.catalog.dataset(dataset).unwrap().readable().unwrap();
    let key = EntityKey::encode(&[key]).unwrap();
    let time = EventTime(1_773_568_800_000_000);
    match snapshot.outputs(node, &key.0, time, &[0, 1]).unwrap().as_slice() {
        [Value::Int(n), Value::Int(total)] => (*n, *total),
        other => panic!("{other:?}"),
    }
}

fn account(snapshot: &Snapshot, name: &str) -> (i64, i64) {
    read(snapshot, "ByAccount", Value::Str(name.into()))
}

fn in_memory(clock: Clock, shards: usize) -> Engine {
    Engine::open(Options { shards, clock, ..Options::default() }).unwrap()
}

/// Moves one from `from` to `to` until told to stop, in pushes of a few transfers.
fn move_money<'s>(
    scope: &'s Scope<'s, '_>,
    engine: &'s Engine,
    stop: &'s AtomicBool,
    (from, to): (&'s str, &'s str),
    pushes_max: u64,
) -> ScopedJoinHandle<'s, u64> {
    scope.spawn(move || {
        let mut pushes = 0;
        while !stop.load(Ordering::Relaxed) && pushes < pushes_max {
            push(engine, &[row(from, -1), row(to, 1), row(from, -1), row(to, 1)]).unwrap();
            pushes += 1;
        }
        pushes
    })
}

#[test]
fn what_derives_from_one_event_agrees_in_every_answer_while_pipelines_are_replaced() {
    agrees_while_pipelines_are_replaced(in_memory(Clock::Wall, 4), 40, 2_000, u64::MAX);
}

#[test]
fn answers_agree_while_no_entity_stays_in_memory() {
    let store = Room { cache: 1 << 20, memtable: 1 << 20 };
    let memory = Some(Memory { total: 0, timelines: 1, records: 1 << 20, store });
    let engine = Engine::open(Options { shards: 4, memory, ..Options::default() }).unwrap();
    agrees_while_pipelines_are_replaced(engine, 3, 100, 40);
    let dir = tempfile::tempdir().unwrap();
    let path = Some(dir.path().join("data"));
    let options = Options { path, shards: 2, memory, ..Options::default() };
    agrees_while_pipelines_are_replaced(Engine::open(options.clone()).unwrap(), 3, 100, 40);
    let engine = Engine::open(options).unwrap();
    let snapshot = engine.snapshot(ReadAt::default()).unwrap();
    let sum = ["a", "b", "c"]
        .map(|name| account(&snapshot, name))
        .iter()
        .fold((0, 0), |s, a| (s.0 + a.0, s.1 + a.1));
    assert_eq!(sum, read(&snapshot, "ByBank", Value::Int(7)), "after a restart");
}

/// Commits `rounds` times and reads at least `reads_min` times while three writers make up to `pushes_max`
/// pushes each.
fn agrees_while_pipelines_are_replaced(engine: Engine, rounds: u32, reads_min: u64, pushes_max: u64) {
    engine.commit(&transfers(1, "7d"), |_| Ok(())).unwrap();
    let (stop, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut pushes = 0;
    std::thread::scope(|scope| {
        let writers =
            [("a", "b"), ("b", "c"), ("c", "a")].map(|m| move_money(scope, &engine, &stop, m, pushes_max));
        for _ in 0..3 {
            scope.spawn(|| {
                let mut last = Position::ZERO;
                while !stop.load(Ordering::Relaxed) {
                    let snapshot = engine.snapshot(ReadAt::default()).unwrap();
                    let accounts = ["a", "b", "c"].map(|name| account(&snapshot, name));
                    let bank = read(&snapshot, "ByBank", Value::Int(7));
                    let sum = accounts.iter().fold((0, 0), |sum, a| (sum.0 + a.0, sum.1 + a.1));
                    assert_eq!(sum, bank, "two datasets at {}", snapshot.position);
                    assert_eq!(bank.1, 0, "half a push at {}", snapshot.position);
                    assert!(snapshot.position >= last, "positions go back");
                    last = snapshot.position;
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // Each commit makes new nodes, which are filled from the log while the others go on; a retention
        // that comes back is what was there before.
        for round in 0..rounds {
            let retention = if round % 2 == 0 { "14d" } else { "7d" };
            engine.commit(&transfers(1 + round / 8, retention), |_| Ok(())).unwrap();
        }
        while reads.load(Ordering::Relaxed) < reads_min {
            std::thread::yield_now();
        }
        stop.store(true, Ordering::Relaxed);
        pushes = writers.into_iter().map(|w| w.join().unwrap()).sum::<u64>();
    });
    let (last, _) = engine.records();
    let min_position = Some(Position::end_of(last));
    let snapshot = engine.snapshot(ReadAt { min_position, ..ReadAt::default() }).unwrap();
    assert_eq!(read(&snapshot, "ByBank", Value::Int(7)), (4 * pushes as i64, 0), "each push is counted once");
}

#[test]
fn a_writer_reads_its_own_writes_at_once() {
    let engine = in_memory(Clock::Wall, 4);
    engine.commit(&transfers(1, "7d"), |_| Ok(())).unwrap();
    // First alone, where nothing that comes later could publish a record that was overlooked.
    let own_writes = |name: &str, rounds: i64| {
        for n in 1..=rounds {
            let receipt = push(&engine, &[row(name, 1)]).unwrap();
            let at = ReadAt { min_position: Some(receipt.position), ..ReadAt::default() };
            let snapshot = engine.snapshot(at).unwrap();
            assert!(snapshot.position >= receipt.position);
            assert_eq!(account(&snapshot, name), (n, n));
            let before = ReadAt { position: Some(receipt.position), ..ReadAt::default() };
            assert_eq!(account(&engine.snapshot(before).unwrap(), name), (n, n));
        }
    };
    own_writes("alone", 3_000);
    std::thread::scope(|scope| {
        for name in ["p", "q", "r", "s"] {
            scope.spawn({
                let own_writes = &own_writes;
                move || own_writes(name, 1_000)
            });
        }
    });
}

#[test]
fn an_online_time_names_one_state_even_when_the_clock_steps_back() {
    let clock = HandClock::at(1_773_568_800_000_000);
    let options = Options { shards: 2, env: clock.env(), ..Options::default() };
    let engine = Engine::open(options).unwrap();
    engine.commit(&transfers(1, "7d"), |_| Ok(())).unwrap();
    let stop = AtomicBool::new(false);
    let mut seen: Vec<(EventTime, Position)> = Vec::new();
    std::thread::scope(|scope| {
        let writer = move_money(scope, &engine, &stop, ("a", "b"), u64::MAX);
        let readers: Vec<_> = (0..3)
            .map(|reader| {
                let (engine, clock) = (&engine, clock.clone());
                scope.spawn(move || {
                    let mut random = Random::new(reader);
                    let mut seen = Vec::new();
                    // However slow the machine: until reads have met many writes.
                    while seen.len() < 4_000 || engine.records().1 < 100 {
                        clock.advance(random.between(-20, 25));
                        let snapshot = engine.snapshot(ReadAt::default()).unwrap();
                        seen.push((snapshot.time, snapshot.position));
                    }
                    seen
                })
            })
            .collect();
        let read: Vec<_> = readers.into_iter().map(ScopedJoinHandle::join).collect();
        stop.store(true, Ordering::Relaxed);
        read.into_iter().for_each(|r| seen.extend(r.unwrap()));
        assert!(writer.join().unwrap() > 0);
    });
    // The state at T is that of the greatest stamp up to T: one state a time, later times later states.
    seen.sort_unstable();
    for pair in seen.windows(2) {
        let ((t1, s1), (t2, s2)) = (pair[0], pair[1]);
        assert!(s1 <= s2, "{s1} was served at {t1:?} and {s2} at {t2:?}");
        assert!(t1 != t2 || s1 == s2, "{s1} and {s2} were both served at {t1:?}");
    }
}

#[test]
fn the_event_clock_is_the_largest_time_of_its_datasets_and_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let open = |clock: &str| {
        let clock = Clock::parse(clock).unwrap();
        Engine::open(Options { path: Some(dir.path().join("data")), shards: 2, clock, ..Options::default() })
            .unwrap()
    };
    let at = |account: &str, seconds: i64| {
        json!({"account": account, "bank": 7, "amount": 1, "at": seconds}).to_string()
    };
    let now = |engine: &Engine, receipt: Receipt| {
        let at = ReadAt { min_position: Some(receipt.position), ..ReadAt::default() };
        engine.snapshot(at).unwrap().time.0 / 1_000_000
    };
    {
        let engine = open("event=Transfer");
        engine.commit(&transfers(1, "7d"), |_| Ok(())).unwrap();
        assert_eq!(engine.snapshot(ReadAt::default()).unwrap().time, EventTime(0));
        let receipt = push(&engine, &[at("a", 100), at("b", 300), at("c", 200)]).unwrap();
        assert_eq!(now(&engine, receipt), 300);
        let receipt = push(&engine, &[at("a", 250)]).unwrap();
        assert_eq!(now(&engine, receipt), 300, "it does not go back");
        engine.checkpoint().unwrap();
        let receipt = push(&engine, &[at("a", 400)]).unwrap();
        assert_eq!(now(&engine, receipt), 400);
    }
    let time = |clock: &str| open(clock).snapshot(ReadAt::default()).unwrap().time.0 / 1_000_000;
    assert_eq!(time("event=Transfer"), 400);
    assert_eq!(time("event"), 400);
}

#[test]
fn what_close_lets_through_is_there_whole_and_the_rest_not_at_all() {
    for round in 0..6u64 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        let open =
            || Engine::open(Options { path: Some(path.clone()), shards: 2, ..Options::default() }).unwrap();
        let engine = open();
        engine.commit(&transfers(1, "7d"), |_| Ok(())).unwrap();
        let mut acknowledged: BTreeMap<String, i64> = BTreeMap::new();
        std::thread::scope(|scope| {
            let engine = &engine;
            let (first, started) = crossbeam_channel::bounded(64);
            let writers: Vec<_> = (0..4)
                .map(|writer| {
                    let first = first.clone();
                    scope.spawn(move || {
                        let name = format!("w{writer}");
                        let mut count = 0;
                        while push(engine, &[row(&name, 1), row(&name, 1), row(&name, 1)]).is_ok() {
                            count += 3;
                            // Only the first few are waited for.
                            let _ = first.try_send(());
                        }
                        (name, count)
                    })
                })
                .collect();
            let committer = scope.spawn(move || {
                let mut version = 1;
                while engine.commit(&transfers(version + 1, "7d"), |_| Ok(())).is_ok() {
                    version += 1;
                }
                version
            });
            (0..8 + 4 * round).for_each(|_| started.recv().unwrap());
            // Two at once: the second waits for the first.
            let closers = [scope.spawn(|| engine.close()), scope.spawn(|| engine.close())];
            closers.into_iter().for_each(|c| c.join().unwrap());
            acknowledged.extend(writers.into_iter().map(|w| w.join().unwrap()));
            assert!(committer.join().unwrap() >= 1);
        });
        drop(engine);
        let engine = open();
        let snapshot = engine.snapshot(ReadAt::default()).unwrap();
        for (name, count) in &acknowledged {
            assert_eq!(account(&snapshot, name), (*count, *count), "{name} in round {round}");
        }
        let all: i64 = acknowledged.values().sum();
        assert_eq!(read(&snapshot, "ByBank", Value::Int(7)), (all, all));
        assert!(Arc::ptr_eq(&snapshot.catalog, &engine.catalog()));
    }
}
