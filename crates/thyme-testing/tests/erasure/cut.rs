//! Who is erased after their events left the log.

use std::sync::Arc;

use serde_json::json;
use thyme_core::{EntityKey, Value};
use thyme_engine::{Engine, Options, ReadAt};
use thyme_testing::clock::HandClock;
use thyme_testing::definitions::parse;
use thyme_testing::ledger::START_US;

use super::{ERASED, ERASED_NOTE, KEPT, document, erase, event, fuse, in_store, no_trace, parts, push};

const DAY_S: i64 = 86_400;

/// Payments and others are kept for ten days. Those of who is erased are a month older than the last.
fn grow(engine: &Engine, clock: &HandClock) {
    let mut definitions = serde_json::to_value(document()).unwrap();
    for dataset in definitions["datasets"].as_array_mut().unwrap() {
        if dataset["name"] == "Payment" || dataset["name"] == "Other" {
            dataset["retention"] = json!("10d");
            dataset["max_lateness"] = json!(null);
        }
    }
    engine.commit(&parse(definitions), |_| Ok(())).unwrap();
    let add = |user: &str, note: &str, day: i64, rows: i64| {
        let rows: Vec<_> = (0..rows).map(|row| event(user, "north", note, day * DAY_S + row)).collect();
        push(engine, "Payment", None, &rows).unwrap();
    };
    push(engine, "Other", None, &[event(KEPT, "north", "other", 3)]).unwrap();
    add(ERASED, ERASED_NOTE, 0, 5);
    add(KEPT, KEPT, 0, 60);
    for day in 30..34 {
        clock.advance(if day == 30 { 30 * DAY_S * 1_000_000 } else { DAY_S * 1_000_000 });
        add(KEPT, KEPT, day, 100);
        push(engine, "Other", None, &[event(KEPT, "north", "other", day * DAY_S)]).unwrap();
    }
}

#[test]
fn an_entity_whose_events_have_left_the_log_is_erased_from_what_still_rests_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let (parts, clock) = (parts(dir.path()), HandClock::at(START_US));
    let open = || {
        let parts = Some(parts.clone());
        Arc::new(Engine::open(Options { parts, shards: 2, env: clock.env(), ..Options::default() }).unwrap())
    };
    let engine = open();
    grow(&engine, &clock);
    engine.checkpoint().unwrap();
    engine.enforce_retention().unwrap();
    assert!(engine.log_start().0 > 3, "{:?}", engine.log_start());
    // The bank's chunk is not made anew for a few rows.
    push(&engine, "Other", None, &[event(KEPT, "north", "other", 34 * DAY_S)]).unwrap();
    engine.checkpoint().unwrap();
    assert!(in_store(parts.store.as_ref(), ERASED_NOTE));
    let now = |engine: &Engine| {
        let snapshot = engine.snapshot(ReadAt::default()).unwrap();
        let values = [("ByBank", "north"), ("ByUser", KEPT), ("ByUser", ERASED)].map(|(dataset, key)| {
            let node = snapshot.catalog.dataset(dataset).unwrap().readable().unwrap().clone();
            let key = EntityKey::encode(&[Value::Str(key.into())]).unwrap();
            snapshot.outputs(&node, &key.0, snapshot.time, &[0, 1, 2]).unwrap()
        });
        values.to_vec()
    };
    let before = now(&engine);

    let receipt = erase(&engine, "Payment", &[ERASED]).unwrap();
    assert_eq!((receipt.events, receipt.records), (0, 0));
    no_trace(dir.path(), parts.store.as_ref());
    assert_eq!(now(&engine), before);
    drop(engine);
    let engine = open();
    assert_eq!(now(&engine), before);
    no_trace(dir.path(), parts.store.as_ref());
}

#[test]
fn an_erasure_after_a_cut_that_stopped_anywhere_leaves_nothing_in_the_files_that_were_to_go() {
    let mut failed = 0;
    for budget in 0.. {
        let mut done = false;
        for restarts in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let (solid, clock) = (parts(dir.path()), HandClock::at(START_US));
            let (fused, fuse) = fuse::fused(&solid);
            let open = |parts: &thyme_engine::Parts| {
                let options = Options { parts: Some(parts.clone()), env: clock.env(), ..Options::default() };
                Engine::open(Options { shards: 2, ..options }).unwrap()
            };
            let mut engine = open(&fused);
            grow(&engine, &clock);
            // Nothing is cut before there is a checkpoint; after that nothing else is to be removed.
            engine.enforce_retention().unwrap();
            engine.checkpoint().unwrap();
            fuse.set(budget);
            done = engine.enforce_retention().is_ok();
            let told = engine.events().list(100, |event| event.event_type == "log_cut_failed").len();
            assert_eq!(told, usize::from(!done), "budget {budget}");
            fuse.set(if restarts { 0 } else { i64::MAX });
            failed += told;
            if restarts {
                engine.close();
                engine = open(&solid);
            }
            erase(&engine, "Payment", &[ERASED]).unwrap();
            no_trace(dir.path(), solid.store.as_ref());
        }
        if done {
            assert!(failed > 10, "{failed} of {budget}");
            return;
        }
    }
}
