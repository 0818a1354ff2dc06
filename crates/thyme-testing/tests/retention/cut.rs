//! The log's oldest files go, and nothing that can be asked is answered otherwise.

use std::sync::Arc;

use serde_json::json;
use thyme_core::error::ErrorKind;
use thyme_core::{EntityKey, EventTime, Position, Value};
use thyme_engine::{
    CommitNote, DeadLetter, Engine, LeftOutQuery, Memory, Options, Parts, ReadAt, SourceBatch, Wanted,
};
use thyme_store::{MemoryStore, Room};

use crate::fuse;
use crate::world::{DAY, HOUR, Terms, USERS, World, derived, joined, open};

const TERMS: Terms = Terms { orders: Some("8d"), lateness: Some("2d") };

impl World {
    fn first(&self) -> u64 {
        self.engine.log_start().0
    }

    /// As a start without a store: everything is made from what is left of the log.
    fn lose_store(&mut self) {
        self.engine.close();
        self.parts.store = Arc::new(MemoryStore::default());
        self.engine = Arc::new(open(Some(&self.parts), &self.clock, self.memory));
    }

    pub fn cut(&mut self) {
        self.engine.checkpoint().unwrap();
        self.engine.enforce_retention().unwrap();
    }

    /// What is not a value: late rows, counters, commits.
    fn compare_facts(&self) {
        let first = self.first();
        for (name, live) in &self.engine.catalog().datasets {
            let twin = self.twin.catalog();
            let other = twin.dataset(name).unwrap();
            assert_eq!(live.id, other.id, "{name}");
            assert_eq!(self.engine.counters(live), self.twin.counters(other), "{name}");
            let query = LeftOutQuery {
                wanted: Wanted::Late,
                before: Position::MAX,
                since: i64::MIN,
                limit: usize::MAX,
            };
            let late = |engine: &Engine, live| {
                let events = engine.left_out(live, &query).unwrap().into_iter();
                let kept = events.filter(|event| event.position.record() >= first);
                kept.map(|e| (e.position, e.time, e.why)).collect::<Vec<_>>()
            };
            assert_eq!(late(&self.engine, live), late(&self.twin, other), "{name}");
        }
        let commits = |engine: &Engine| {
            let mut found = Vec::new();
            let next =
                engine.history(100, None, &mut |c| found.push((c.id, c.parent, c.position, c.document)));
            assert_eq!(next.unwrap(), None);
            found
        };
        assert_eq!(commits(&self.engine), commits(&self.twin));
    }
}

fn run(memory: Option<Memory>, seed: u64) {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::under(TERMS, dir.path(), memory, seed);
    let (mut answered, mut refused, mut firsts) = (0, 0, Vec::new());
    let by_order = derived("ByOrder", "Order", "amount", &[]);
    let ordered = derived("Ordered", "Order", "paid", &[joined()]);
    for round in 0..6 {
        world.live(10);
        match round {
            2 => world.commit(std::slice::from_ref(&by_order)),
            4 => world.commit(&[by_order.clone(), ordered.clone()]),
            _ => {}
        }
        world.cut();
        firsts.push(world.first());
        match round {
            1 | 4 => world.lose_store(),
            3 => world.reopen(),
            _ => {}
        }
        if round > 0 {
            let counts = world.compare();
            (answered, refused) = (answered + counts.0, refused + counts.1);
            world.compare_facts();
        }
        // Online reads are never refused.
        let now = world.engine.snapshot(ReadAt::default()).unwrap();
        let theirs = world.twin.snapshot(ReadAt::default()).unwrap();
        for name in now.catalog.datasets.keys().filter(|name| *name != "Plan") {
            let counts = crate::compare_reads(&now, &theirs, name, "u0", now.time.0);
            assert_eq!(counts.1, 0, "{name} in round {round}");
        }
    }
    assert!(answered > 5_000 && refused > 2_000, "{answered} {refused}");
    assert!(firsts.is_sorted() && firsts[1] > 1 && firsts[5] > firsts[2], "{firsts:?}");
    // A store is a cache: without it everything is there again, before and after the next cut.
    world.lose_store();
    world.compare();
    world.compare_facts();
    world.live(12);
    world.cut();
    assert!(world.first() > firsts[5]);
    world.lose_store();
    world.compare();
    world.compare_facts();
}

#[test]
fn a_log_that_was_cut_answers_as_one_that_keeps_everything() {
    run(None, 11);
}

#[test]
fn a_log_that_was_cut_answers_for_entities_at_rest_too() {
    run(Some(Memory { total: 0, timelines: 6_000, records: 1 << 20, store: Room::default() }), 12);
}

#[test]
fn a_crash_at_any_write_of_a_cut_leaves_a_log_that_opens_and_answers_the_same() {
    let mut cuts = 0;
    for budget in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let mut world = World::under(TERMS, dir.path(), None, 13);
        world.live(14);
        let (fused, fuse) = fuse::fused(&world.parts);
        world.engine.close();
        world.engine = Arc::new(open(Some(&fused), &world.clock, None));
        // What leaves the timelines does so first; then the fuse burns in the cut alone.
        world.live(1);
        world.engine.checkpoint().unwrap();
        let before = world.first();
        while world.engine.enforce_retention().unwrap() > 0 {}
        let early = world.first();
        world.live(12);
        world.engine.checkpoint().unwrap();
        fuse.set(budget);
        let done = world.engine.enforce_retention().is_ok();
        fuse.set(0);
        world.engine.close();
        world.engine = Arc::new(open(Some(&world.parts), &world.clock, None));
        cuts += usize::from(world.first() > early);
        if budget % 3 == 0 {
            world.lose_store();
        }
        world.compare_facts();
        if budget % 5 == 0 || done {
            world.compare();
        }
        world.cut();
        assert!(world.first() > before, "budget {budget}");
        world.compare_facts();
        if done {
            assert!(cuts > 2, "{cuts} of {budget}");
            return;
        }
    }
}

#[test]
fn a_dataset_without_retention_keeps_the_log_from_its_first_record_on() {
    let dir = tempfile::tempdir().unwrap();
    let terms = Terms { orders: None, lateness: None };
    let mut world = World::under(terms, dir.path(), None, 14);
    world.live(60);
    world.cut();
    assert_eq!(world.first(), 1);
    // The same once it has one, and no joined dataset goes sooner than those that join it.
    world.terms = TERMS;
    world.commit(&[]);
    world.cut();
    assert!(world.first() > 1);
    world.compare();
    world.compare_facts();
}

#[test]
fn a_dataset_that_reaches_back_without_end_after_a_cut_begins_where_the_log_does_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::under(TERMS, dir.path(), None, 15);
    world.commit(&[derived("ByOrder", "Order", "amount", &[])]);
    world.live(40);
    world.cut();
    assert!(world.first() > 1);
    world.terms = Terms { orders: None, ..TERMS };
    let next = crate::world::document(world.terms, &[]);
    let planned = world.engine.plan(&next).unwrap();
    let filled = world.engine.filled_from(&planned).unwrap();
    let begins = filled["ByOrder"];
    assert_eq!(filled.keys().collect::<Vec<_>>(), ["ByOrder", "Order"]);
    world.commit(&[]);
    for round in 0..3 {
        let catalog = world.engine.catalog();
        let live = catalog.dataset("ByOrder").unwrap();
        assert_eq!(world.engine.history_from(live), Some(begins));
        let (ours, theirs) = (
            world.engine.snapshot(ReadAt::default()).unwrap(),
            world.twin.snapshot(ReadAt::default()).unwrap(),
        );
        let twin = world.twin.catalog();
        let other = twin.dataset("ByOrder").unwrap().readable().unwrap().clone();
        for user in 0..USERS {
            let key = EntityKey::encode(&[Value::Str(format!("u{user}").into())]).unwrap().0;
            for age in [0, 3, 11] {
                let time = EventTime(world.now() - age * DAY);
                let all = theirs.outputs(&other, &key, time, &[0, 2]).unwrap();
                let before = theirs.outputs(&other, &key, begins, &[0]).unwrap();
                let (Value::Int(all_n), Value::Int(before_n)) = (&all[0], &before[0]) else {
                    panic!("counts")
                };
                let counted = if time <= begins { 0 } else { all_n - before_n };
                let last = if counted > 0 { all[1].clone() } else { Value::Null };
                let mine = ours.outputs(live.readable().unwrap(), &key, time, &[0, 2]).unwrap();
                assert_eq!(mine, [Value::Int(counted), last], "u{user} {age} in round {round}");
                // A window with an end is refused where it reaches further.
                let window = ours.outputs(live.readable().unwrap(), &key, time, &[1]);
                match time.0 - 2 * DAY < begins.0 {
                    true => assert_eq!(window.unwrap_err().kind(), ErrorKind::Gone),
                    false => {
                        assert_eq!(window.unwrap(), theirs.outputs(&other, &key, time, &[1]).unwrap());
                    }
                }
            }
        }
        match round {
            0 => world.lose_store(),
            _ => {
                world.live(15);
                world.cut();
            }
        }
    }
}

#[test]
fn what_commits_gave_is_known_after_a_rollback_a_cut_and_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::under(TERMS, dir.path(), None, 17);
    let extra = |name: &str| {
        json!({"name": "Extra", "fields": [
            {"name": "user", "type": "str", "role": "key"}, {"name": name, "type": "int"},
            {"name": "at", "type": "datetime", "role": "timestamp"}]})
    };
    let by_order = |of: &str| derived("ByOrder", "Order", of, &[]);
    let first = world.engine.catalog().commit.clone();
    world.commit(&[by_order("amount"), extra("a")]);
    let given = world.engine.catalog().commit.clone();
    for engine in [&world.engine, &world.twin] {
        let (_, id, begun) = engine.rollback(&first, CommitNote::default(), |_| Ok(())).unwrap();
        engine.wait_live(&id, begun).unwrap();
    }
    let other = [crate::world::document(TERMS, &[extra("b")]), {
        let mut sums = by_order("amount");
        sums["pipelines"][0]["operators"][1]["aggregates"][1]["window"] = json!("3d");
        crate::world::document(TERMS, &[sums])
    }];
    let same = crate::world::document(TERMS, &[by_order("amount"), extra("a")]);
    let check = |engine: &Engine| {
        for other in &other {
            let planned = engine.plan(other).unwrap_err();
            let committed = engine.commit(other, |_| Ok(())).unwrap_err();
            for error in [planned, committed] {
                assert_eq!(error.kind(), ErrorKind::Conflict);
                let expected = format!("was given already, by the commit {given} at ");
                assert!(error.detail().contains(&expected), "{error}");
                assert!(error.detail().ends_with("@dataset(version=2)"), "{error}");
            }
        }
        assert!(engine.plan(&same).is_ok());
    };
    check(&world.engine);
    world.reopen();
    check(&world.engine);
    world.live(40);
    world.cut();
    assert!(world.first() > world.engine.committed(&given).unwrap().position.record());
    check(&world.engine);
    world.lose_store();
    check(&world.engine);
    world.commit(&[by_order("amount"), extra("a")]);
}

#[test]
fn a_base_that_is_damaged_or_missing_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::under(TERMS, dir.path(), None, 16);
    world.live(40);
    world.cut();
    world.engine.close();
    let path = dir.path().join("base");
    let whole = std::fs::read(&path).unwrap();
    let refused = |parts: &Parts| {
        let options = Options { parts: Some(parts.clone()), env: world.clock.env(), ..Options::default() };
        let error = Engine::open(options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.detail().contains("base") && error.detail().contains("restore"), "{error}");
        error.detail().to_owned()
    };
    for at in (0..whole.len()).step_by(whole.len() / 40) {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        std::fs::write(&path, &bytes).unwrap();
        assert!(refused(&world.parts).contains("is damaged"), "byte {at}");
    }
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert!(refused(&world.parts).contains("is damaged"));
    std::fs::remove_file(&path).unwrap();
    assert!(refused(&world.parts).contains("is missing"));
    std::fs::write(&path, &whole).unwrap();
    world.engine = Arc::new(open(Some(&world.parts), &world.clock, None));
    world.compare_facts();
}

#[test]
fn the_base_of_another_log_is_refused_before_anything_is_removed() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut worlds = [0, 1].map(|one| World::under(TERMS, dirs[one].path(), None, 16));
    // The same history, a microsecond later.
    worlds[1].clock.advance(1);
    for world in &mut worlds {
        world.live(40);
    }
    let base = |one: usize| dirs[one].path().join("base");
    let open = |world: &World| {
        Engine::open(Options {
            parts: Some(world.parts.clone()),
            env: world.clock.env(),
            ..Options::default()
        })
    };
    worlds[0].cut();
    let first = worlds[1].first();
    worlds.iter().for_each(|world| world.engine.close());
    for is_cut in [false, true] {
        if is_cut {
            worlds[1].engine = Arc::new(open(&worlds[1]).unwrap());
            worlds[1].cut();
            assert!(worlds[1].first() > first);
            worlds[1].engine.close();
        }
        let own = std::fs::read(base(1)).ok();
        std::fs::copy(base(0), base(1)).unwrap();
        let error = open(&worlds[1]).unwrap_err();
        assert!(
            error.kind() == ErrorKind::Corrupt && error.detail().contains("is of another log"),
            "{error}"
        );
        match own {
            Some(own) => std::fs::write(base(1), own).unwrap(),
            None => std::fs::remove_file(base(1)).unwrap(),
        }
    }
    worlds[1].engine = Arc::new(open(&worlds[1]).unwrap());
    worlds[1].compare_facts();
}

#[test]
fn answers_to_keys_of_the_last_day_outlive_a_cut_and_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::under(TERMS, dir.path(), None, 17);
    world.live(40);
    let at = thyme_core::time::format_rfc3339(world.now());
    let line = json!({"user": "u1", "amount": 1.5, "at": at}).to_string();
    let pushed = |engine: &Engine| {
        let catalog = engine.catalog();
        let live = catalog.dataset("Visit").unwrap();
        let mut push = engine.read_json(live, [line.as_bytes()].into_iter()).unwrap();
        push.idempotency =
            Some(thyme_engine::Idempotency::new("caller", live.id, "once", line.as_bytes()).unwrap());
        engine.push(push).unwrap()
    };
    let first = pushed(&world.engine);
    let second = pushed(&world.twin);
    assert_eq!(first, second);
    world.cut();
    world.clock.advance(23 * HOUR);
    world.engine.checkpoint().unwrap();
    assert!(world.first() > 1);
    world.lose_store();
    assert_eq!(pushed(&world.engine), first);
    world.compare_facts();
}

#[test]
fn what_was_known_before_the_log_begins_is_refused_with_the_time_from_which_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::under(TERMS, dir.path(), None, 18);
    world.live(40);
    world.cut();
    let (_, start) = world.engine.log_start();
    let start = start.unwrap();
    let snapshot = world.engine.snapshot(ReadAt::default()).unwrap();
    let error = world.engine.served_positions(&snapshot, &[EventTime(start.0 - 1)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Gone);
    assert!(error.detail().contains(&start.to_rfc3339()), "{error}");
    let times = [start, EventTime(start.0 + DAY), snapshot.time];
    let theirs = world.twin.snapshot(ReadAt::default()).unwrap();
    assert_eq!(
        world.engine.served_positions(&snapshot, &times).unwrap(),
        world.twin.served_positions(&theirs, &times).unwrap()
    );
}

/// A batch of a source: an event, a letter, and how far the source is.
fn read_source(engine: &Engine, number: u64, at: i64) {
    let catalog = engine.catalog();
    let live = catalog.dataset("Plan").unwrap();
    let line = json!({"user": "u1", "amount": 0.5, "at": thyme_core::time::format_rfc3339(at)}).to_string();
    let batch = engine.read_json(live, [line.as_bytes()].into_iter()).unwrap().batch().clone();
    let letter = DeadLetter::new(format!("file:{number}"), "not a plan", b"{");
    let cursor = number.to_le_bytes().to_vec();
    let of = SourceBatch { stream: "plans".into(), cursor, dead_letters: vec![letter], batch };
    let receipt = engine.push(engine.read_source(live, of).unwrap()).unwrap();
    engine.snapshot(ReadAt { min_position: Some(receipt.position), ..ReadAt::default() }).unwrap();
}

#[test]
fn cursors_outlive_a_cut_and_letters_that_left_with_the_log_are_not_listed() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::under(TERMS, dir.path(), None, 19);
    let letters = |engine: &Engine, first: u64| {
        let catalog = engine.catalog();
        let found = engine.dead_letters(catalog.dataset("Plan").unwrap(), Position::MAX, 100, true).unwrap();
        let found = found.into_iter().filter(|letter| letter.position.record() >= first);
        found.map(|letter| (letter.position, letter.letter)).collect::<Vec<_>>()
    };
    for number in 0..20 {
        world.live(3);
        for engine in [&world.twin, &*world.engine] {
            read_source(engine, number, world.now());
        }
        world.cut();
        if number % 6 == 5 {
            world.lose_store();
        }
        assert_eq!(world.engine.cursor("plans"), Some(number.to_le_bytes().to_vec()));
        assert_eq!(letters(&world.engine, 0), letters(&world.twin, world.first()));
    }
    world.engine.close();
    // A source that has read nothing since goes on where it was.
    world.engine = Arc::new(open(Some(&world.parts), &world.clock, None));
    for _ in 0..40 {
        world.live(1);
    }
    world.cut();
    world.lose_store();
    assert_eq!(world.engine.cursor("plans"), Some(19_u64.to_le_bytes().to_vec()));
    assert_eq!(letters(&world.engine, 0), letters(&world.twin, world.first()));
    assert!(letters(&world.engine, 0).len() < 20);
    world.compare_facts();
}
