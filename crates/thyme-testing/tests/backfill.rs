//! A commit whose pipelines are filled from the log while the engine goes on: with pushes, reads, checkpoints and
//! power cuts at any write in between, every answer has the bits of the oracle under the commit that it names.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "backfill/cores.rs"]
mod cores;

use serde_json::json;
use thyme_core::definition::Document;
use thyme_core::{ErrorKind, EventTime, Position, Value};
use thyme_engine::{Begun, CommitNote, Snapshot};
use thyme_testing::definitions::{Derived, RAW, Raw, document, parse};
use thyme_testing::ledger::{Event, Ledger, START_US, values};
use thyme_testing::plant::{Plant, outputs};
use thyme_testing::random::Random;
use thyme_testing::seeds;
use thyme_testing::sim::SimStore;

const HISTORIES: u64 = 64;
const OPERATIONS: usize = 60;
const WORKERS: u64 = 4;

/// Definitions in their order, and the events that were pushed.
struct History {
    plant: Plant,
    raw: Raw,
    stages: Vec<Vec<Derived>>,
    /// Which of the stages is live as far as is known.
    live: usize,
    ledger: Ledger,
}

impl History {
    fn new(seed: u64) -> History {
        let mut plant = Plant::new(seed);
        let random = &mut plant.random;
        let raw = Raw { max_lateness: Raw::random(random).max_lateness, retention: None, has_ids: false };
        let mut derived: Vec<Derived> = (0..3).map(|i| Derived::random(random, i)).collect();
        let mut stages = vec![derived[..1].to_vec(), derived[..2].to_vec(), derived.clone()];
        // Another version, and one that is gone.
        let names =
            |d: &Derived| d.outputs.iter().map(|o| (o.name.clone(), o.data_type())).collect::<Vec<_>>();
        let mut changed = derived[0].clone();
        changed.version = 2;
        changed.redefine(random);
        if names(&changed).starts_with(&names(&derived[0])) {
            derived[0] = changed;
            stages.push(derived);
        }
        plant.engine().commit(&document(&raw, &stages[0]), |_| Ok(())).unwrap();
        History { plant, raw, stages, live: 0, ledger: Ledger::default() }
    }

    fn document(&self, stage: usize) -> Document {
        document(&self.raw, &self.stages[stage])
    }

    fn push(&mut self) {
        let count = 1 + self.plant.random.below(20);
        let events: Vec<Event> = (0..count).map(|_| Event::random(&mut self.plant.random)).collect();
        let lines: Vec<String> = events.iter().map(Event::json).collect();
        let position = self.plant.push(RAW, &lines);
        self.ledger.note(&self.raw, &events, position);
    }

    /// Which stage the live definitions are: only ever the one that was, or the next.
    fn stage(&mut self) -> usize {
        let live = self.plant.engine().catalog();
        let is = |stage: usize| {
            let document = self.document(stage);
            document.datasets == live.document.datasets
        };
        let stage = (self.live..self.stages.len()).find(|stage| is(*stage)).unwrap();
        assert!(stage <= self.live + 1, "stage {stage} is live after {}", self.live);
        self.live = stage;
        stage
    }

    fn begin(&mut self) {
        let next = (self.stage() + 1).min(self.stages.len() - 1);
        let begun =
            self.plant.engine().begin_commit(None, &self.document(next), CommitNote::default(), |_| Ok(()));
        match begun {
            Ok((_, _, Begun::Live(_))) => assert_eq!(self.stage(), next),
            Ok((_, id, Begun::Pending)) => {
                let pending = self.plant.engine().pending_commit().unwrap();
                assert_eq!(pending.id, id);
                if next + 1 < self.stages.len() {
                    let other = self.document(next + 1);
                    match self.plant.engine().commit(&other, |_| Ok(())) {
                        Err(refused) => {
                            let is_conflict = refused.kind() == ErrorKind::Conflict;
                            assert!(is_conflict || self.plant.power.is_off(), "{refused}");
                        }
                        // The one before was on its way into the log.
                        Ok(_) => {
                            self.live = next;
                            assert_eq!(self.stage(), next + 1);
                        }
                    }
                }
            }
            Err(error) => assert!(self.plant.power.is_off(), "{error}"),
        }
    }

    fn check(&mut self, rounds: usize) {
        let stage = self.stage();
        for _ in 0..rounds {
            let applied = Position::end_of(self.plant.engine().records().1);
            let position = match self.plant.random.chance(50) {
                true => applied,
                false => self.ledger.random_position(&mut self.plant.random).min(applied),
            };
            let snapshot = self.plant.at(Some(position));
            let time = self.ledger.random_time(&mut self.plant.random);
            assert_eq!(snapshot.catalog.datasets.len(), 1 + self.stages[stage].len());
            for derived in &self.stages[stage] {
                let node = snapshot.catalog.dataset(&derived.name).unwrap().readable().unwrap();
                let pipeline = derived.pipeline(&self.raw);
                for key in self.ledger.keys(derived) {
                    let rows = self.ledger.rows_of(&pipeline, &key);
                    let want = values(&pipeline, &rows, time, position);
                    let got = outputs(&snapshot, node, &key, time);
                    assert_eq!(got, want, "{derived:?} of {key:?} at {time:?} {position}");
                }
            }
        }
    }

    fn operate(&mut self) {
        match self.plant.random.below(20) {
            0..4 => self.push(),
            4..6 => self.begin(),
            6..16 => self.plant.step(),
            16 => self.check(1),
            17 => self.plant.crash(),
            18 => {
                self.plant.power.off_after(self.plant.random.below(4) as u64);
                self.begin();
                self.plant.open();
            }
            _ => {
                if self.plant.random.chance(20) {
                    _ = self.plant.engine().cancel_commit();
                }
            }
        }
    }

    fn end(&mut self) {
        while self.plant.stepper().finish() | self.plant.stepper().fill(7) {}
        self.check(2);
        while self.stage() + 1 < self.stages.len() {
            let next = self.document(self.live + 1);
            self.plant.engine().commit(&next, |_| Ok(())).unwrap();
            self.check(3);
        }
        // Nothing of it was in memory alone, nor in the store alone.
        self.plant.open();
        self.check(3);
        self.plant.store = SimStore::default();
        self.plant.open();
        self.check(3);
    }
}

#[test]
fn every_answer_while_pipelines_are_filled_has_the_bits_of_the_oracle() {
    let live = seeds::each(HISTORIES, WORKERS, |seed| {
        let mut history = History::new(seed);
        (0..OPERATIONS).for_each(|_| history.operate());
        let before = history.live;
        history.end();
        before
    });
    assert!(
        live.iter().filter(|stage| **stage > 0).count() > live.len() / 4,
        "hardly any was filled by steps"
    );
}

/// A plant with one pipeline, so many records of events, and a commit that adds another, pending.
fn pending(seed: u64, records: usize) -> (History, String) {
    let mut history = History::new(seed);
    (0..records).for_each(|_| history.push());
    history.plant.stepper().finish();
    let (_, id, begun) = history
        .plant
        .engine()
        .begin_commit(None, &history.document(1), CommitNote::default(), |_| Ok(()))
        .unwrap();
    assert_eq!(begun, Begun::Pending);
    (history, id)
}

#[test]
fn a_fill_goes_on_after_a_restart_where_it_was_saved() {
    let (mut history, id) = pending(3, 40);
    while history.plant.engine().pending_commit().unwrap().record < 30 {
        assert!(history.plant.stepper().fill(5));
    }
    assert!(history.plant.stepper().save_fill().unwrap());
    assert!(history.plant.stepper().fill(5));
    let rows = history.plant.engine().pending_commit().unwrap().rows;
    history.plant.open();
    let again = history.plant.engine().pending_commit().unwrap();
    assert_eq!((again.id, again.since), (id.clone(), START_US + 5_000_000_000));
    // The first step reads the verdicts of what is saved again, and none of its rows.
    assert!(history.plant.stepper().fill(1));
    let resumed = history.plant.engine().pending_commit().unwrap();
    assert!(resumed.rows > 0 && resumed.rows < rows, "{resumed:?}");
    assert_eq!(history.stage(), 0);
    assert!(history.plant.engine().wait_commit(&id, std::time::Duration::ZERO).unwrap().is_some());
    assert_eq!((history.stage(), history.plant.engine().pending_commit().is_none()), (1, true));
    history.check(6);
    assert!(!history.plant.disk.names().iter().any(|name| name.starts_with("commit.pending")));
}

#[test]
fn what_is_saved_counts_when_the_commit_is_in_the_log_and_in_no_checkpoint() {
    let (mut history, id) = pending(5, 30);
    while history.plant.stepper().fill(9) {}
    assert!(history.plant.stepper().save_fill().unwrap());
    assert!(history.plant.engine().wait_commit(&id, std::time::Duration::ZERO).unwrap().is_some());
    history.push();
    history.plant.open();
    assert_eq!(history.stage(), 1);
    history.check(6);
}

#[test]
fn a_cancelled_commit_leaves_nothing_and_the_same_may_be_made_again() {
    let (mut history, id) = pending(7, 20);
    assert!(history.plant.stepper().fill(10) && history.plant.stepper().save_fill().unwrap());
    assert_eq!(history.plant.engine().cancel_commit().unwrap(), id);
    assert_eq!(history.plant.engine().cancel_commit().unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(
        history.plant.engine().wait_commit(&id, std::time::Duration::ZERO).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    history.plant.open();
    assert!(history.plant.engine().pending_commit().is_none());
    history.check(2);
    let (_, again, _) = history.plant.engine().commit(&history.document(1), |_| Ok(())).unwrap();
    assert_eq!(again, id, "the same over the same");
    history.check(4);
}

#[test]
fn a_commit_without_anything_to_fill_is_one_record_and_live_at_once() {
    let mut history = History::new(11);
    let begun =
        history.plant.engine().begin_commit(None, &history.document(1), CommitNote::default(), |_| Ok(()));
    assert_eq!(begun.unwrap().2, Begun::Live(Position::end_of(2)));
    assert_eq!(history.stage(), 1);
    history.push();
    history.plant.stepper().finish();
    history.check(2);
}

#[test]
fn an_erasure_makes_a_fill_begin_anew_and_nothing_of_who_is_erased_comes_back() {
    for is_cut in [false, true] {
        let (mut history, id) = pending(13, 30);
        assert!(history.plant.stepper().fill(20) && history.plant.stepper().save_fill().unwrap());
        let before = history.plant.engine().pending_commit().unwrap().rows;
        let catalog = history.plant.engine().catalog();
        let entity = vec![Value::Str("a".into())];
        let receipt = history.plant.engine().erase(catalog.dataset(RAW).unwrap(), &[entity]).unwrap();
        assert_eq!(receipt.events, history.ledger.erase("a") as u64);
        if is_cut {
            history.plant.open();
        }
        assert!(before > 0 && history.plant.stepper().fill(1));
        assert!(history.plant.engine().pending_commit().unwrap().rows < before);
        history.check(3);
        assert!(history.plant.engine().wait_commit(&id, std::time::Duration::ZERO).unwrap().is_some());
        assert_eq!(history.stage(), 1);
        history.check(6);
        history.plant.store = SimStore::default();
        history.plant.open();
        history.check(6);
    }
}

#[test]
fn an_erasure_before_a_saved_fill_is_taken_up_again_leaves_nothing_of_it_to_go_on_with() {
    let (mut history, id) = pending(17, 30);
    assert!(history.plant.stepper().fill(25) && history.plant.stepper().save_fill().unwrap());
    history.plant.open();
    let catalog = history.plant.engine().catalog();
    let entity = vec![Value::Str("a".into())];
    let receipt = history.plant.engine().erase(catalog.dataset(RAW).unwrap(), &[entity]).unwrap();
    assert_eq!(receipt.events, history.ledger.erase("a") as u64);
    assert!(history.plant.engine().wait_commit(&id, std::time::Duration::ZERO).unwrap().is_some());
    assert_eq!(history.stage(), 1);
    history.check(6);
}

#[test]
fn a_disk_that_is_full_holds_a_pending_commit_up_and_loses_nothing() {
    let (mut history, id) = pending(19, 30);
    assert!(history.plant.stepper().fill(20));
    history.plant.disk.limit(Some(history.plant.disk.used()));
    let wait = |history: &History| history.plant.engine().wait_commit(&id, std::time::Duration::ZERO);
    assert_eq!(wait(&history).unwrap_err().kind(), ErrorKind::Unavailable);
    let pending = history.plant.engine().pending_commit().unwrap();
    assert_eq!((pending.id.as_str(), history.stage()), (id.as_str(), 0));
    history.plant.disk.limit(None);
    assert!(wait(&history).unwrap().is_some());
    assert_eq!(history.stage(), 1);
    history.check(6);
}

fn joined(with_join: bool, with_index: bool) -> Document {
    let field = |name: &str, kind: &str, role: &str| json!({"name": name, "type": kind, "role": role, "optional": role == "value"});
    let left = json!({"name": "Ride", "fields": [field("k", "str", "key"), field("d", "str", "value"), field("fare", "int", "value"), field("at", "datetime", "timestamp")]});
    let right = json!({"name": "Driver", "index": with_index, "fields": [field("d", "str", "key"), field("city", "str", "value"), field("at", "datetime", "timestamp")]});
    let operators = json!([
        {"op": "join", "dataset": "Driver", "left_on": ["d"], "right_on": ["d"], "how": "left", "fields": [{"field": "city", "name": "city"}]},
        {"op": "groupby", "keys": ["k"]},
        {"op": "aggregate", "aggregates": [
            {"name": "last_city", "function": "last", "of": "city"},
            {"name": "in_x", "function": "sum", "of": "fare", "where": {"op": "eq", "args": [{"col": "city"}, {"lit": "x"}]}},
        ]},
    ]);
    let derived = json!({"name": "Cities", "fields": [
        {"name": "k", "type": "str", "role": "key"}, {"name": "at", "type": "datetime", "role": "timestamp"},
        {"name": "last_city", "type": "str", "optional": true}, {"name": "in_x", "type": "int", "optional": true},
    ], "pipelines": [{"name": "compute", "version": 1, "inputs": ["Ride"], "operators": operators}]});
    let datasets = if with_join { vec![left, right, derived] } else { vec![left, right] };
    parse(json!({"format": 1, "datasets": datasets, "featuresets": []}))
}

/// Rides and drivers, right rows late and early.
fn rows(random: &mut Random) -> (&'static str, String) {
    let at = thyme_core::time::format_rfc3339(START_US + random.between(0, 40) * 1_000_000);
    let driver = random.pick(&["p", "q", "r"]);
    match random.chance(60) {
        true => (
            "Ride",
            format!(
                "{{\"k\":\"{}\",\"d\":\"{driver}\",\"fare\":{},\"at\":\"{at}\"}}",
                random.pick(&["a", "b"]),
                random.below(9)
            ),
        ),
        false => (
            "Driver",
            format!("{{\"d\":\"{driver}\",\"city\":\"{}\",\"at\":\"{at}\"}}", random.pick(&["x", "y"])),
        ),
    }
}

#[test]
fn a_join_that_was_filled_beside_answers_as_one_that_was_live_from_the_start() {
    seeds::each(30, WORKERS, |seed| {
        let (mut filled, always) = (Plant::new(seed), Plant::new(seed));
        let with_index = seed % 2 == 0;
        filled.engine().commit(&joined(false, with_index), |_| Ok(())).unwrap();
        always.engine().commit(&joined(true, with_index), |_| Ok(())).unwrap();
        let mut random = Random::new(!seed);
        let mut is_begun = false;
        for operation in 0..120 {
            let (dataset, line) = rows(&mut random);
            let position = filled.push(dataset, std::slice::from_ref(&line));
            assert_eq!(always.push(dataset, &[line]).row(), position.row());
            (0..filled.random.below(4)).for_each(|_| filled.step());
            if operation == 40 {
                filled.stepper().finish();
                filled
                    .engine()
                    .begin_commit(None, &joined(true, with_index), CommitNote::default(), |_| Ok(()))
                    .unwrap();
                is_begun = true;
            }
            if is_begun && operation % 17 == 3 {
                filled.crash();
            }
        }
        while filled.stepper().finish() | filled.stepper().fill(2) {}
        always.stepper().finish();
        let (one, other) = (filled.at(None), always.at(None));
        for seconds in [0, 3, 9, 17, 30, 41] {
            let time = EventTime(START_US + seconds * 1_000_000);
            for key in ["a", "b", "c"] {
                let read = |snapshot: &Snapshot| {
                    let node = snapshot.catalog.dataset("Cities").unwrap().readable().unwrap().clone();
                    outputs(snapshot, &node, &[Value::Str(key.into())], time)
                };
                assert_eq!(read(&one), read(&other), "{key} at {seconds} of seed {seed}");
            }
        }
    });
}
