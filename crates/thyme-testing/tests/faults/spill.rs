//! A disk that takes nothing while memory is full.

use thyme_core::ErrorKind;
use thyme_engine::Severity;

use crate::world::{DRIVERS, World, document, events, refusal};

/// Less than the timelines of a few drivers.
const ROOM: usize = 4096;

#[test]
fn while_the_disk_is_full_memory_grows_and_says_so_and_nothing_stops() {
    let mut world = World::new();
    let engine = world.open_small(3, ROOM);
    engine.commit(&document(false), |_| Ok(())).unwrap();
    world.rides(&engine, 0..DRIVERS, 1);
    let fits = engine.memory();
    assert!(fits.evictions > 0 && fits.stuck.is_none(), "{fits:?}");
    world.store.fill(true);
    for round in 2..8 {
        world.rides(&engine, 0..DRIVERS * 4, round);
        world.check(&engine, &[]);
    }
    let grown = engine.memory();
    assert!(grown.resident_entities > DRIVERS as u64, "{grown:?}");
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
    assert!(engine.memory().resident_entities < grown.resident_entities / 2, "{:?}", engine.memory());
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
