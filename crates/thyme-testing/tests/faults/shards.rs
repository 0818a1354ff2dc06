//! A shard that panics.

use thyme_core::{ErrorKind, Value};
use thyme_engine::{ReadAt, Severity};
use thyme_testing::sim::Reads;

use crate::world::{DRIVERS, World, document, driver, events, refusal, totals};

#[test]
fn entities_of_a_stripe_in_which_a_shard_panicked_are_refused_and_all_others_stay_fresh() {
    let mut world = World::new();
    let engine = world.open(3);
    engine.commit(&document(false), |_| Ok(())).unwrap();
    world.rides(&engine, 0..DRIVERS, 1);
    engine.checkpoint().unwrap();
    let checkpoint = engine.storage().2;
    engine.panic_for_test("ByDriver", &[Value::Str(driver(7).into())]).unwrap();
    world.rides(&engine, 0..DRIVERS, 2);
    let refused = world.refused(&engine);
    assert!(refused.contains(&driver(7)) && refused.len() < DRIVERS / 4, "{refused:?}");
    world.check(&engine, &refused);
    world.rides(&engine, 0..DRIVERS, 3);
    assert_eq!(world.refused(&engine), refused);
    world.check(&engine, &refused);

    let [poisoned] = &engine.poisoned()[..] else { unreachable!("{:?}", engine.poisoned()) };
    assert_eq!((poisoned.dataset.as_str(), &poisoned.entity), ("ByDriver", &None));
    let told =
        format!("shard {} panicked while rows of e3 were added (a test wanted this panic)", poisoned.shard);
    assert_eq!(poisoned.reason, told);
    let [(severity, message)] = &events(&engine, "shard_poisoned")[..] else { unreachable!() };
    assert!(*severity == Severity::Error && message.starts_with(&told), "{message}");
    assert_eq!(engine.failure(), None);
    // A list of entities would miss some.
    let snapshot = engine.snapshot(ReadAt::default()).unwrap();
    let node = snapshot.catalog.dataset("ByDriver").unwrap().readable().unwrap();
    assert_eq!(refusal(snapshot.entities(node, snapshot.time)).kind(), ErrorKind::Poisoned);
    let error = refusal(engine.commit(&document(true), |_| Ok(())));
    assert!(error.detail().contains("nothing was committed"), "{error}");
    // A checkpoint would say that the log is not needed any more.
    assert_eq!(refusal(engine.checkpoint()).kind(), ErrorKind::Poisoned);
    engine.close();
    assert_eq!(engine.storage().2, checkpoint);
    drop((snapshot, engine));

    let engine = world.open(2);
    assert_eq!((world.refused(&engine), engine.poisoned()), (vec![], vec![]));
    world.check(&engine, &[]);
    world.rides(&engine, 0..DRIVERS, 4);
    engine.checkpoint().unwrap();
    assert!(engine.storage().2 > checkpoint);
    drop(engine);
    world.check(&world.open(1), &[]);
}

#[test]
fn a_checkpoint_that_was_being_written_when_a_shard_panicked_does_not_count() {
    let mut world = World::new();
    let (engine, stepper) = world.open_stepped(4);
    engine.commit(&document(false), |_| Ok(())).unwrap();
    world.rides(&engine, 0..DRIVERS, 1);
    let before = engine.storage().2;
    // It is as of the record before the one in which the shard panics.
    stepper.checkpoint().unwrap();
    stepper.apply();
    stepper.checkpoint().unwrap();
    engine.panic_for_test("ByDriver", &[Value::Str(driver(3).into())]).unwrap();
    world.rides(&engine, 0..DRIVERS, 2);
    let made = loop {
        match stepper.checkpoint() {
            Ok(thyme_engine::CheckpointStep::More) => {}
            other => break other,
        }
    };
    assert_eq!(made.err().map(|e| e.kind()), Some(ErrorKind::Poisoned));
    assert_eq!(engine.storage().2, before);
    engine.close();
    drop((engine, stepper));
    let engine = world.open(3);
    world.check(&engine, &[]);
}

#[test]
fn an_entity_that_cannot_be_loaded_when_events_come_for_it_is_refused_alone() {
    for reads in [Reads::Fail, Reads::Panic] {
        let mut world = World::new();
        let engine = world.open(2);
        engine.commit(&document(false), |_| Ok(())).unwrap();
        world.rides(&engine, 0..DRIVERS, 1);
        drop(engine);
        // Nothing is in memory at first, and hardly anything later.
        let (engine, stepper) = world.open_small_stepped(2, 1);
        world.store.read_as(reads);
        let snapshot = engine.snapshot(ReadAt::default()).unwrap();
        let error = refusal(totals(&snapshot, "ByDriver", &driver(1)));
        assert!(error.detail().starts_with("ByDriver, entity \"d"), "{error}");
        assert_ne!(error.kind(), ErrorKind::Poisoned, "a read that fails costs nobody else anything");
        let odd = (0..DRIVERS).filter(|index| index % 2 == 1);
        world.rides(&engine, odd.clone(), 2);
        world.store.read_as(Reads::Fine);
        let lost: Vec<String> = world.refused(&engine);
        let mut expected: Vec<String> = odd.map(driver).collect();
        expected.sort();
        assert_eq!(lost, expected);
        world.check(&engine, &lost);
        assert!(engine.poisoned().iter().all(|p| p.entity.is_some() && p.dataset == "ByDriver"));
        assert_eq!(engine.poisoned().len(), lost.len());
        assert!(!events(&engine, "entity_unreadable").is_empty());
        assert_eq!(refusal(engine.checkpoint()).kind(), ErrorKind::Poisoned);
        world.rides(&engine, 0..DRIVERS, 3);
        world.check(&engine, &lost);
        drop((engine, stepper));
        let engine = world.open(3);
        world.check(&engine, &[]);
        assert_eq!(engine.poisoned(), vec![]);
    }
}

#[test]
fn an_engine_that_opens_over_a_store_that_stops_answering_refuses_what_it_could_not_load() {
    let mut world = World::new();
    let engine = world.open(2);
    engine.commit(&document(false), |_| Ok(())).unwrap();
    world.rides(&engine, 0..DRIVERS, 1);
    engine.checkpoint().unwrap();
    let (engine, stepper) = {
        drop(engine);
        world.open_stepped(2)
    };
    world.rides(&engine, 0..DRIVERS, 2);
    stepper.stop();
    drop((engine, stepper));
    let (mut partly, mut left) = (0, 0);
    loop {
        world.store.read_as_after(left, Reads::Fail);
        let opened = world.try_open_stepped(3);
        world.store.read_as(Reads::Fine);
        left += 1;
        let Ok((engine, stepper)) = opened else { continue };
        let refused = world.refused(&engine);
        world.check(&engine, &refused);
        stepper.stop();
        if refused.is_empty() {
            break;
        }
        partly += 1;
    }
    assert!(partly > 10, "of {left} runs {partly} opened with entities that could not be loaded");
}
