//! What is older than its retention leaves the timelines, and every read is answered as by an engine that keeps
//! everything, or refused because it reaches what is gone.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../erasure/fuse.rs"]
mod fuse;

mod cut;
mod directory;
mod needed;
mod world;

use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray, TimestampMicrosecondArray};
use thyme_core::EventTime;
use thyme_core::error::ErrorKind;
use thyme_engine::{Memory, ReadAt};
use thyme_query::{Detail, Known, Labels, NoExtractors, Reader};
use thyme_store::Room;

use world::{DAY, World, compare_reads, derived, joined, open};

#[test]
fn rows_leave_a_server_that_nobody_reads() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(dir.path(), None, 5);
    world.live(60);
    // Longer than any bound on the times of reads that was stored with the last one.
    world.clock.advance(DAY);
    assert!(world.engine.enforce_retention().unwrap() > 0);
}

fn run(memory: Option<Memory>, seed: u64) {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(dir.path(), memory, seed);
    let (mut answered, mut refused) = (0, 0);
    for round in 0..7 {
        world.live(10);
        world.removed += world.engine.enforce_retention().unwrap();
        if round % 2 == 0 {
            world.engine.checkpoint().unwrap();
        }
        if round % 3 == 2 {
            world.reopen();
        }
        if round < 3 || round == 6 {
            let counts = world.compare();
            (answered, refused) = (answered + counts.0, refused + counts.1);
        }
    }
    assert!(answered > 5_000 && refused > 2_000, "{answered} {refused}");
    // Three timelines of visits and two of plans.
    let pushed = 7 * 10 * 4 * 8 * 4;
    assert!(world.removed > pushed / 2, "{} of {pushed}", world.removed);
    let catalog = world.engine.catalog();
    let removed = |name: &str| world.engine.removed_until(catalog.dataset(name).unwrap());
    assert!(removed("Plan").is_some() && removed("Joined").is_some() && removed("Order").is_none());
    // Online reads are never refused.
    let now = world.engine.snapshot(ReadAt::default()).unwrap();
    let theirs = world.twin.snapshot(ReadAt::default()).unwrap();
    assert_eq!(compare_reads(&now, &theirs, "Joined", "u0", now.time.0), (7, 0));

    // Orders of any time are joined with plans that are gone: those are filled again.
    world.commit(&[derived("Ordered", "Order", "paid", &[joined()])]);
    let catalog = world.engine.catalog();
    for name in ["Plan", "Ordered", "Joined"] {
        assert_eq!(world.engine.removed_until(catalog.dataset(name).unwrap()), None, "{name}");
    }
    world.compare();
    world.live(2);
    world.engine.enforce_retention().unwrap();
    world.engine.checkpoint().unwrap();
    world.reopen();
    world.compare();
    let catalog = world.engine.catalog();
    // Somebody joins them without end now.
    assert_eq!(world.engine.removed_until(catalog.dataset("Plan").unwrap()), None);
    assert!(world.engine.removed_until(catalog.dataset("Joined").unwrap()).is_some());
}

#[test]
fn what_is_answered_is_what_an_engine_that_keeps_everything_answers() {
    run(None, 1);
}

#[test]
fn entities_that_rest_in_the_store_lose_their_old_rows_too() {
    let memory = Memory { total: 0, timelines: 6_000, records: 1 << 20, store: Room::default() };
    run(Some(memory), 2);
}

#[test]
fn a_crash_at_any_point_of_a_removal_leaves_answers_as_they_were_or_refused() {
    let mut told = 0;
    for budget in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let mut world = World::new(dir.path(), None, 3);
        let (fused, fuse) = fuse::fused(&world.parts);
        world.engine.close();
        world.engine = Arc::new(open(Some(&fused), &world.clock, None));
        world.live(20);
        world.engine.checkpoint().unwrap();
        fuse.set(budget);
        let done = world.engine.enforce_retention().is_ok();
        // A record, so that there is something to make a checkpoint of.
        fuse.set(i64::MAX);
        world.live(1);
        fuse.set(budget);
        let done = done && world.engine.checkpoint().is_ok();
        fuse.set(0);
        world.engine.close();
        world.engine = Arc::new(open(Some(&world.parts), &world.clock, None));
        let catalog = world.engine.catalog();
        told += usize::from(world.engine.removed_until(catalog.dataset("ByUser").unwrap()).is_some());
        world.compare();
        world.live(3);
        world.engine.enforce_retention().unwrap();
        let removed = world.engine.removed_until(catalog.dataset("ByUser").unwrap());
        assert!(removed.is_some(), "budget {budget}");
        world.compare();
        if done {
            assert!(told > 2, "{told} of {budget}");
            return;
        }
    }
}

#[test]
fn a_training_set_names_the_label_that_is_too_old_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(dir.path(), None, 4);
    world.live(40);
    assert!(world.engine.enforce_retention().unwrap() > 0);
    let reader = Reader::new(world.engine.clone(), Arc::new(NoExtractors));
    let ask = |days: &[i64]| {
        let times: Vec<i64> = days.iter().map(|days| world.now() - days * DAY).collect();
        let labels = RecordBatch::try_from_iter([
            ("user", Arc::new(StringArray::from(vec!["u1"; days.len()])) as arrow::array::ArrayRef),
            ("at", Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC")) as _),
        ])
        .unwrap();
        let snapshot = world.engine.snapshot(ReadAt::default())?;
        let plan = reader.plan(&snapshot.catalog, "Features")?;
        let shape = Labels { entity_columns: &[], timestamp_column: "at" };
        reader
            .offline(snapshot, &plan, &labels, shape, Known::Now, Detail::Values)
            .map(|set| set.batch.num_rows())
    };
    assert_eq!(ask(&[0, 1, 0]).unwrap(), 3);
    let error = ask(&[0, 20, 1, 30]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Gone);
    let at = |time: i64| EventTime(time).to_rfc3339();
    let catalog = world.engine.catalog();
    let removed = world.engine.removed_until(catalog.dataset("ByUser").unwrap()).unwrap().0;
    let label = world.now() - 20 * DAY;
    assert_eq!(
        error.detail(),
        format!(
            "row 1 of 4 (1 others too; leave them out): ByUser as of {} needs events after {}, and those up to {} have been removed \
             (retention=\"10d\"); ask for {} or later",
            at(label),
            at(label - 10 * DAY),
            at(removed),
            at(removed + 10 * DAY)
        )
    );
}
