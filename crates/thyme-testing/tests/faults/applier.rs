//! A record that cannot be applied.

use serde_json::json;
use thyme_core::{Error, ErrorKind, Position, Value};
use thyme_engine::{Engine, ReadAt, Severity};
use thyme_log::{Log, NewRecord, SegmentLog};

use crate::world::{
    DRIVERS, NOW_US, World, another_document, at, document, events, push, refusal, submit, totals,
};

fn lives_in(engine: &Engine, name: &str, city: &str) -> thyme_core::Result<Position> {
    let row = json!({"driver": name, "city": city, "at": at(0)});
    push(engine, "Driver", &[row]).map(|receipt| receipt.position)
}

/// Nothing is taken and everything up to `applied` is read.
fn stands_still(world: &World, engine: &Engine, applied: u64) {
    let reason = engine.failure().unwrap();
    let record = applied + 1;
    assert!(reason.starts_with(&format!("record e{record} could not be applied: ")), "{reason}");
    assert!(reason.contains("thyme doctor"), "{reason}");
    let error = refusal(lives_in(engine, "anybody", "anywhere"));
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.detail() == format!("{reason}; nothing was stored"), "{error}");
    let error = refusal(engine.commit(&another_document(), |_| Ok(())));
    let says_why = |error: &Error| error.detail().starts_with(&reason) || error.kind() == ErrorKind::Poisoned;
    assert!(says_why(&error), "{error}");
    assert_eq!(events(engine, "apply_failed"), vec![(Severity::Error, reason.clone())]);
    assert_eq!(engine.records().1, applied);
    world.check(engine, &[]);
    let snapshot = engine.snapshot(ReadAt::default()).unwrap();
    assert_eq!(snapshot.position, Position::end_of(applied));
    let later = ReadAt { min_position: Some(Position::end_of(record)), ..ReadAt::default() };
    assert_eq!(refusal(engine.snapshot(later)).detail(), reason);
    let error = refusal(engine.checkpoint());
    assert!(says_why(&error), "{error}");
}

#[test]
fn a_panic_over_what_joins_read_stops_at_the_record_before_it() {
    let mut world = World::new();
    let engine = world.open(3);
    engine.commit(&document(true), |_| Ok(())).unwrap();
    lives_in(&engine, "d1", "Oslo").unwrap();
    let position = world.rides(&engine, 0..DRIVERS, 1);
    let written = engine.storage().2;
    engine.panic_for_test("Driver", &[Value::Str("d1".into())]).unwrap();
    // It is in the log, and counts after the restart.
    let moved = lives_in(&engine, "d1", "Rome").unwrap();
    let waited = ReadAt { min_position: Some(moved), ..ReadAt::default() };
    assert!(refusal(engine.snapshot(waited)).detail().contains("a test wanted this panic"));
    stands_still(&world, &engine, position.record());
    let snapshot = engine.snapshot(ReadAt::default()).unwrap();
    assert_eq!(totals(&snapshot, "ByCity", "Oslo").unwrap(), (1, 1));
    drop(snapshot);
    engine.close();
    assert_eq!(engine.storage().2, written);
    drop(engine);

    let engine = world.open(2);
    assert_eq!(engine.failure(), None);
    world.rides(&engine, 1..2, 2);
    let snapshot = engine.snapshot(ReadAt::default()).unwrap();
    assert_eq!(totals(&snapshot, "ByCity", "Rome").unwrap(), (2, 3));
    assert_eq!(totals(&snapshot, "ByCity", "Oslo").unwrap(), (0, 0));
}

#[test]
fn a_backfill_that_cannot_be_done_stops_before_its_commit_and_a_restart_does_it() {
    let mut world = World::new();
    let (engine, stepper) = world.open_stepped(3);
    engine.commit(&document(false), |_| Ok(())).unwrap();
    lives_in(&engine, "d1", "Oslo").unwrap();
    let position = world.rides(&engine, 0..DRIVERS, 1);
    // The index is poisoned after the commit was planned, and the join reads it.
    engine.panic_for_test("Driver", &[Value::Str("d1".into())]).unwrap();
    submit(&engine, "Driver", &[json!({"driver": "d1", "city": "Rome", "at": at(0)})]);
    engine.submit_commit(&document(true), |_| ()).unwrap();
    stepper.finish();
    stands_still(&world, &engine, position.record() + 1);
    assert!(engine.catalog().dataset("ByCity").is_err());
    engine.close();
    drop((engine, stepper));
    let engine = world.open(1);
    let snapshot = engine.snapshot(ReadAt::default()).unwrap();
    assert_eq!(totals(&snapshot, "ByCity", "Rome").unwrap(), (1, 1));
}

#[test]
fn a_record_that_cannot_be_applied_does_not_keep_the_engine_from_opening() {
    let mut world = World::new();
    let engine = world.open(2);
    engine.commit(&document(true), |_| Ok(())).unwrap();
    let position = world.rides(&engine, 0..DRIVERS, 1);
    engine.checkpoint().unwrap();
    drop(engine);
    let (log, _) = SegmentLog::open_on(std::sync::Arc::new(world.log.clone()), Default::default()).unwrap();
    let stamp = NOW_US + 1_000_000;
    let nonsense = [b"\xffnonsense".as_slice(), b"more"];
    for (payload, stamp) in nonsense.iter().zip(stamp..) {
        log.append(&[NewRecord { stamp, payload }]).unwrap();
    }
    drop(log);
    world.clock.advance(3_600_000_000);
    for shards in [1, 3] {
        let engine = world.open(shards);
        stands_still(&world, &engine, position.record());
        assert_eq!(engine.records(), (position.record() + 2, position.record()));
        // A record that is written and not applied: no read is at its time or later (contract, section 1).
        assert_eq!(engine.snapshot(ReadAt::default()).unwrap().time.0, stamp - 1);
        engine.close();
    }
    let (engine, stepper) = world.open_stepped(2);
    stands_still(&world, &engine, position.record());
    assert!(!stepper.finish());
}
