//! A push that is sent again is answered as it was the first time: from memory, from the store, and from the
//! log after a crash; for 24 hours.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::mpsc::channel;

use thyme_core::{ErrorKind, Result, Value};
use thyme_engine::{Engine, Idempotency, Options, Parts, Receipt, Stepper};
use thyme_log::DirDisk;
use thyme_store::{MemoryStore, Store};
use thyme_testing::clock::HandClock;
use thyme_testing::definitions::{RAW, Raw, document};
use thyme_testing::ledger::{Event, START_US};

const HOUR_US: i64 = 3_600_000_000;
/// The store's table of answers (`docs/formats.md`).
const ANSWERS: u8 = 0;

struct Server {
    engine: Engine,
    stepper: Stepper,
}

impl Server {
    fn open(parts: &Parts, clock: &HandClock) -> Server {
        let options =
            Options { parts: Some(parts.clone()), shards: 2, env: clock.env(), ..Options::default() };
        let (engine, stepper) = Engine::open_stepped(options).unwrap();
        Server { engine, stepper }
    }

    fn push(&self, key: &str, fare: i64) -> Result<Receipt> {
        let columns = vec![
            ("k", Value::Str("a".into())),
            ("i", Value::Int(fare)),
            ("at", Value::Datetime(START_US + fare)),
        ];
        let line = Event { at: START_US + fare, columns }.json();
        let catalog = self.engine.catalog();
        let live = catalog.dataset(RAW).unwrap();
        let mut push = self.engine.read_json(live, std::iter::once(line.as_bytes())).unwrap();
        push.idempotency = Some(Idempotency::new("caller", live.id, key, line.as_bytes()).unwrap());
        let (sender, answer) = channel();
        self.engine.submit(push, move |receipt| sender.send(receipt).unwrap());
        self.stepper.finish();
        answer.try_recv().unwrap()
    }

    fn events(&self) -> u64 {
        self.engine.counters(self.engine.catalog().dataset(RAW).unwrap()).events
    }

    fn checkpoint(&self) {
        self.engine.checkpoint().unwrap();
    }

    fn crash(self) {
        self.stepper.stop();
    }
}

fn parts(dir: &tempfile::TempDir) -> Parts {
    Parts {
        log: Arc::new(DirDisk::open(dir.path()).unwrap()),
        log_options: thyme_log::Options::default(),
        store: Arc::new(MemoryStore::default()),
    }
}

fn stored_answers(parts: &Parts) -> usize {
    Store::over(parts.store.clone()).unwrap().rows(ANSWERS).count()
}

#[test]
fn a_push_is_answered_as_the_first_was_across_checkpoints_and_crashes() {
    let dir = tempfile::tempdir().unwrap();
    let (parts, clock) = (parts(&dir), HandClock::at(START_US + HOUR_US));
    let server = Server::open(&parts, &clock);
    server.engine.commit(&document(&Raw::default(), &[]), |_| Ok(())).unwrap();
    let mut first = Vec::new();
    for fare in 0..30 {
        first.push(server.push(&format!("key {fare}"), fare).unwrap());
        if fare % 8 == 7 {
            server.checkpoint();
        }
    }
    assert_eq!(stored_answers(&parts), 24, "a checkpoint writes what came since the last");
    let check = |server: &Server| {
        for (fare, receipt) in (0..).zip(&first) {
            assert_eq!(server.push(&format!("key {fare}"), fare).unwrap(), *receipt);
            let other = server.push(&format!("key {fare}"), fare + 1000).unwrap_err();
            assert_eq!(other.kind(), ErrorKind::Conflict);
        }
        assert_eq!(server.events(), 30);
    };
    check(&server);
    server.crash();
    let server = Server::open(&parts, &clock);
    check(&server);
    server.checkpoint();
    server.crash();
    check(&Server::open(&parts, &clock));
    assert_eq!(stored_answers(&parts), 30);
}

#[test]
fn a_key_is_free_again_after_a_day_and_its_answer_leaves_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let (parts, clock) = (parts(&dir), HandClock::at(START_US + HOUR_US));
    let server = Server::open(&parts, &clock);
    server.engine.commit(&document(&Raw::default(), &[]), |_| Ok(())).unwrap();
    let first = server.push("morning", 1).unwrap();
    server.checkpoint();
    clock.advance(23 * HOUR_US);
    assert_eq!(server.push("next", 2).unwrap().accepted, 1);
    server.checkpoint();
    assert_eq!(server.push("morning", 1).unwrap(), first);
    assert_eq!(stored_answers(&parts), 2);
    clock.advance(2 * HOUR_US);
    assert_eq!(server.push("late", 3).unwrap().accepted, 1);
    server.checkpoint();
    assert_eq!(stored_answers(&parts), 2, "that of the morning is gone");
    assert_ne!(server.push("morning", 1).unwrap(), first);
    assert_eq!(server.events(), 4);
    // A store that is rebuilt from the log forgets the same.
    server.crash();
    let parts = Parts { store: Arc::new(MemoryStore::default()), ..parts };
    let server = Server::open(&parts, &clock);
    server.push("next", 2).unwrap();
    assert_eq!(server.events(), 4);
    clock.advance(30 * HOUR_US);
    // The day is one of stamps: it ends with a record, not by itself.
    server.push("next", 2).unwrap();
    assert_eq!(server.events(), 4);
    server.push("later", 5).unwrap();
    server.push("next", 2).unwrap();
    server.checkpoint();
    assert_eq!((server.events(), stored_answers(&parts)), (6, 2));
}
