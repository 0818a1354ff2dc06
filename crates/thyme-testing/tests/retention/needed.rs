//! What the log is kept for: what somebody may still commit, ask for, or wait for.

use serde_json::json;
use thyme_core::EventTime;
use thyme_core::definition::Document;
use thyme_engine::Engine;

use crate::world::{DAY, Terms, World, derived, document, joined, push, raw};

const TERMS: Terms = Terms { orders: Some("8d"), lateness: None };

fn both(world: &World, document: &Document) {
    for engine in [&world.twin, &*world.engine] {
        engine.commit(document, |_| Ok(())).unwrap();
    }
}

/// Days of everything but orders.
fn without_orders(world: &mut World, days: i64) {
    for _ in 0..days {
        world.clock.advance(DAY);
        for dataset in ["Visit", "Plan"] {
            let rows: Vec<_> = (0..24).map(|_| world.row()).collect();
            for engine in [&world.twin, &*world.engine] {
                push(engine, dataset, &rows);
            }
        }
    }
    world.cut();
}

fn first(engine: &Engine) -> u64 {
    engine.log_start().0
}

#[test]
fn what_a_commit_leaves_out_by_mistake_is_there_when_it_is_committed_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::under(TERMS, dir.path(), None, 31);
    world.live(10);
    without_orders(&mut world, 30);
    assert_eq!(first(&world.engine), 1);
    let mut less = document(TERMS, &[]);
    less.datasets.retain(|dataset| dataset.name != "Order");
    both(&world, &less);
    without_orders(&mut world, 40);
    assert_eq!(first(&world.engine), 1);
    world.commit(&[derived("ByOrder", "Order", "amount", &[])]);
    assert!(world.compare().0 > 1_000);
    let catalog = world.engine.catalog();
    let live = catalog.dataset("ByOrder").unwrap();
    assert_eq!((world.engine.history_from(live), world.engine.removed_until(live)), (None, None));
}

#[test]
fn a_version_that_was_replaced_keeps_the_log_for_a_month_more_whatever_its_retention() {
    for orders in [None, Some("8d")] {
        let dir = tempfile::tempdir().unwrap();
        let terms = Terms { orders, lateness: None };
        let mut world = World::under(terms, dir.path(), None, 32);
        world.live(10);
        without_orders(&mut world, 30);
        assert_eq!(first(&world.engine), 1);
        let mut next = document(TERMS, &[]);
        next.datasets.iter_mut().filter(|d| d.name == "Order").for_each(|order| order.version = 2);
        both(&world, &next);
        without_orders(&mut world, 28);
        assert_eq!(first(&world.engine), 1, "{orders:?}");
        without_orders(&mut world, 4);
        assert!(first(&world.engine) > 1, "{orders:?}");
        world.reopen();
        without_orders(&mut world, 4);
        world.compare();
    }
}

#[test]
fn one_event_of_a_broken_clock_does_not_make_the_others_old() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::under(TERMS, dir.path(), None, 33);
    world.live(10);
    let far = json!({"user": "u1", "amount": 1.0, "at": "2100-01-01T00:00:00Z"});
    for engine in [&world.twin, &*world.engine] {
        push(engine, "Order", std::slice::from_ref(&far));
    }
    without_orders(&mut world, 40);
    assert_eq!(first(&world.engine), 1);
    world.reopen();
    without_orders(&mut world, 1);
    assert_eq!(first(&world.engine), 1);
}

#[test]
fn what_keeps_the_log_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::under(TERMS, dir.path(), None, 34);
    let far = json!({"user": "u1", "amount": 1.0, "at": "2100-01-01T00:00:00Z"});
    let record = world.engine.records().0 + 1;
    for engine in [&world.twin, &*world.engine] {
        push(engine, "Order", std::slice::from_ref(&far));
    }
    assert_eq!(world.engine.log_kept_by(), None);
    world.live(40);
    world.cut();
    assert_eq!(first(&world.engine), 1);
    let time = EventTime(4_102_444_800_000_000);
    assert_eq!(world.engine.log_kept_by(), Some(("Order".to_owned(), time, record)));
}

#[test]
fn what_joins_rows_of_any_age_says_from_when_on_they_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::under(TERMS, dir.path(), None, 35);
    world.live(40);
    world.cut();
    assert!(first(&world.engine) > 1);
    // The left dataset is new: nothing of it is gone.
    let mut next = document(TERMS, &[raw("Call", None), derived("Called", "Call", "paid", &[joined()])]);
    next.datasets.iter_mut().filter(|d| d.name == "Plan").for_each(|plan| plan.retention = None);
    let planned = world.engine.plan(&next).unwrap();
    let filled = world.engine.filled_from(&planned).unwrap();
    assert_eq!(filled.get("Called"), filled.get("Plan"));
    assert!(filled.contains_key("Plan"));
    both(&world, &next);
    let catalog = world.engine.catalog();
    let called = catalog.dataset("Called").unwrap();
    assert_eq!(world.engine.history_from(called), filled.get("Called").copied());
    assert_eq!(world.engine.removed_until(called), None);
}
