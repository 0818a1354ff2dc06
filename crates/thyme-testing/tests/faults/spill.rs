//! A disk that takes nothing while memory is full.

use serde_json::json;
use thyme_core::ErrorKind;
use thyme_engine::Severity;

use crate::world::{DRIVERS, World, at, document, driver, events, push, refusal, visible};

/// Less than the timelines of a few drivers.
const ROOM: usize = 4096;

#[test]
fn while_the_disk_is_full_pushes_are_refused_once_memory_is_and_reads_go_on() {
    let mut world = World::new();
    let engine = world.open_small(3, ROOM);
    engine.commit(&document(false), |_| Ok(())).unwrap();
    world.rides(&engine, 0..DRIVERS, 1);
    let fits = engine.memory();
    assert!(fits.evictions > 0 && fits.stuck.is_none(), "{fits:?}");
    world.store.fill(true);
    // The first that finds the store full makes it known.
    let mut taken = 0;
    let error = loop {
        let row = json!({"driver": driver(0), "fare": 2, "at": at(2)});
        match push(&engine, "Ride", &[row]) {
            Ok(receipt) => visible(&engine, receipt.position),
            Err(error) => break error,
        }
        taken += 1;
        assert!(taken < 10_000, "nothing was ever refused: {:?}", engine.memory());
    };
    let expected = world.expected.get_mut(&driver(0)).unwrap();
    *expected = (expected.0 + taken, expected.1 + 2 * taken);
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert!(error.detail().contains("cannot be written to the store: no space is left"), "{error}");
    assert!(error.detail().contains("nothing of it was stored"), "{error}");
    world.check(&engine, &[]);
    let grown = engine.memory();
    let again = push(&engine, "Ride", &[json!({"driver": driver(1), "fare": 2, "at": at(2)})]);
    assert_eq!(refusal(again).kind(), ErrorKind::StorageFull);
    assert_eq!(engine.memory().resident_bytes, grown.resident_bytes, "it grows no more");
    assert_eq!(grown.stuck.as_deref(), Some("no space is left for the store"));
    assert_eq!((engine.failure(), engine.poisoned()), (None, vec![]));
    let [(severity, message)] = &events(&engine, "memory_stuck")[..] else { unreachable!() };
    assert!(*severity == Severity::Error && message.contains("4096 bytes"), "{message}");
    assert_eq!(refusal(engine.checkpoint()).kind(), ErrorKind::StorageFull);

    world.store.fill(false);
    engine.checkpoint().unwrap();
    assert_eq!(engine.memory().stuck, None);
    assert_eq!(events(&engine, "memory_relieved").len(), 1);
    world.rides(&engine, 0..DRIVERS, 9);
    world.check(&engine, &[]);
    engine.checkpoint().unwrap();
    drop(engine);
    world.check(&world.open(2), &[]);
}

#[test]
fn what_a_full_disk_did_not_take_is_written_by_the_next_checkpoint() {
    let mut world = World::new();
    let (engine, stepper) = world.open_stepped(2);
    engine.commit(&document(true), |_| Ok(())).unwrap();
    world.rides(&engine, 0..DRIVERS, 1);
    engine.checkpoint().unwrap();
    world.rides(&engine, 0..DRIVERS, 2);
    world.store.fill(true);
    assert_eq!(refusal(engine.checkpoint()).kind(), ErrorKind::StorageFull);
    world.store.fill(false);
    engine.checkpoint().unwrap();
    let entities = engine.memory().entities;
    stepper.stop();
    drop((engine, stepper));
    let engine = world.open(3);
    assert_eq!(engine.storage().2, engine.records().0, "nothing was left to replay");
    world.check(&engine, &[]);
    assert_eq!(engine.memory().entities, entities);
}
