//! An engine without threads: nothing happens that nobody asked for, and what was acknowledged is there
//! when another engine opens over the same parts.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use thyme_core::{EntityKey, EventTime, Position, Result, Value};
use thyme_engine::{CheckpointStep, Engine, Options, Parts, ReadAt, Receipt, Stepper};
use thyme_log::DirDisk;
use thyme_store::MemoryStore;
use thyme_testing::clock::HandClock;
use thyme_testing::definitions::{RAW, Raw, document};
use thyme_testing::ledger::{Event, START_US};

fn open(parts: &Parts, shards: usize) -> (Engine, Stepper) {
    let env = HandClock::at(START_US + 5_000_000).env();
    let options = Options { parts: Some(parts.clone()), shards, env, ..Options::default() };
    Engine::open_stepped(options).unwrap()
}

fn submit(engine: &Engine, fare: i64) -> Receiver<Result<Receipt>> {
    let columns = vec![
        ("k", Value::Str("a".into())),
        ("i", Value::Int(fare)),
        ("at", Value::Datetime(START_US + fare)),
    ];
    let line = Event { at: START_US + fare, columns }.json();
    let catalog = engine.catalog();
    let push = engine.read_json(catalog.dataset(RAW).unwrap(), std::iter::once(line.as_bytes())).unwrap();
    let (sender, answer) = channel();
    engine.submit(push, move |receipt| sender.send(receipt).unwrap());
    answer
}

fn latest(engine: &Engine) -> (EventTime, Position, Option<EventTime>) {
    let snapshot = engine.snapshot(ReadAt::default()).unwrap();
    let node = snapshot.catalog.dataset(RAW).unwrap().readable().unwrap();
    let key = EntityKey::encode(&[Value::Str("a".into())]).unwrap();
    let row = snapshot.latest_row(node, &key.0, snapshot.time).unwrap();
    (snapshot.time, snapshot.position, row.map(|(time, _)| time))
}

#[test]
fn every_part_moves_only_when_it_is_told_to_and_nothing_acknowledged_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let parts = Parts {
        log: Arc::new(DirDisk::open(dir.path()).unwrap()),
        log_options: thyme_log::Options { segment_bytes: 4096 },
        store: Arc::new(MemoryStore::default()),
    };
    let (engine, stepper) = open(&parts, 3);
    engine.commit(&document(&Raw::default(), &[]), |_| Ok(())).unwrap();
    let (first, second) = (submit(&engine, 1), submit(&engine, 2));
    assert_eq!(stepper.jobs(), 2);
    assert!(stepper.commit_group(1) && first.try_recv().unwrap().is_ok() && second.try_recv().is_err());
    let (time, position, seen) = latest(&engine);
    assert_eq!((position, seen), (Position::end_of(1), None), "written and not applied is not read");
    assert!(
        engine.snapshot(ReadAt { min_position: Some(Position::end_of(2)), ..ReadAt::default() }).is_err()
    );
    assert!(stepper.apply() && !stepper.apply());
    assert!(stepper.shard(0) && stepper.shard(1));
    assert_eq!(latest(&engine).1, Position::end_of(1), "one shard is not through");
    assert!(stepper.shard(2) && !stepper.shard(2));
    assert_eq!(latest(&engine).1, Position::end_of(2));
    assert_eq!(latest(&engine).2, Some(EventTime(START_US + 1)));
    assert!(latest(&engine).0 > time);
    while stepper.checkpoint().unwrap() != CheckpointStep::Done {
        stepper.apply();
    }
    assert_eq!(engine.storage().2, 2);
    assert!(stepper.commit_group(9) && second.try_recv().unwrap().is_ok());
    let third = submit(&engine, 3);
    // A crash: what was not written is not there, what was is.
    stepper.stop();
    assert!(third.try_recv().unwrap().is_err());
    drop((engine, stepper));
    let (engine, _stepper) = open(&parts, 1);
    assert_eq!((engine.records(), latest(&engine).2), ((3, 3), Some(EventTime(START_US + 2))));
}
