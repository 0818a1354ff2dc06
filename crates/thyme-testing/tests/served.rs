//! As served: a training set at the times of recorded online reads has the bits that were served, whatever
//! came later; the plain one has what is known now.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;

use tempfile::TempDir;
use thyme_core::{EntityKey, ErrorKind, EventTime, Position, Value};
use thyme_engine::{Clock, Engine, Options, ReadAt, Snapshot};
use thyme_query::{ColumnBuffer, Frame, Known, NoExtractors, Reader};
use thyme_testing::clock::HandClock;
use thyme_testing::definitions::{Derived, RAW, Raw, document};
use thyme_testing::ledger::{Event, Ledger, START_US, values};
use thyme_testing::random::Random;
use thyme_testing::{directory, seeds};

const HISTORIES: u64 = 48;
const OPERATIONS: usize = 24;
/// More than cores: most of the time a history waits for the disk.
const WORKERS: u64 = 12;

/// What an online read gave.
struct Served {
    dataset: usize,
    key: Vec<Value>,
    time: EventTime,
    position: Position,
    values: Vec<Value>,
}

struct History {
    random: Random,
    clock: HandClock,
    root: TempDir,
    /// `None`: in memory, without restarts and crashes.
    path: Option<PathBuf>,
    /// `None` only between two lives.
    reader: Option<Reader>,
    raw: Raw,
    derived: Vec<Derived>,
    /// How many of `derived` are committed.
    committed: usize,
    ledger: Ledger,
    served: Vec<Served>,
}

fn open(path: Option<&Path>, clock: &HandClock, shards: usize) -> Reader {
    let options = Options { path: path.map(Path::to_owned), shards, env: clock.env(), ..Options::default() };
    Reader::new(Arc::new(Engine::open(options).unwrap()), Arc::new(NoExtractors))
}

impl History {
    fn new(seed: u64) -> History {
        let mut random = Random::new(seed);
        // Events lie before and after this: some are early and become visible as the clock goes on. The
        // ledger takes all but the earliest to move watermarks.
        let clock = HandClock::at(START_US + 3_401_000_000);
        let root = tempfile::tempdir().unwrap();
        let path = random.chance(60).then(|| root.path().join("data"));
        let derived: Vec<Derived> = (0..3).map(|i| Derived::random(&mut random, i)).collect();
        let (raw, committed) = (Raw::random(&mut random), 1 + random.below(3));
        let reader = Some(open(path.as_deref(), &clock, 1 + random.below(4)));
        let (ledger, served) = (Ledger::default(), Vec::new());
        let history = History { random, clock, root, path, reader, raw, derived, committed, ledger, served };
        history.commit();
        history
    }

    fn engine(&self) -> &Arc<Engine> {
        self.reader.as_ref().unwrap().engine()
    }

    fn commit(&self) {
        let document = document(&self.raw, &self.derived[..self.committed]);
        self.engine().commit(&document, |_| Ok(())).unwrap();
    }

    /// Pushes that are being written while others read; `crash` leaves the engine in their middle.
    fn push(&mut self, crash: bool) {
        let (sender, receipts) = channel();
        let mut pushes = Vec::new();
        let catalog = self.engine().catalog();
        for _ in 0..1 + self.random.below(6) {
            let events: Vec<Event> =
                (0..1 + self.random.below(20)).map(|_| Event::random(&mut self.random)).collect();
            let lines: Vec<String> = events.iter().map(Event::json).collect();
            let live = catalog.dataset(RAW).unwrap();
            let push = self.engine().read_json(live, lines.iter().map(|l| l.as_bytes())).unwrap();
            let sender = sender.clone();
            self.engine().submit(push, move |receipt| sender.send(receipt).unwrap());
            pushes.push(events);
            if self.random.chance(50) {
                self.read(2);
            }
            if self.random.chance(30) {
                let us = self.random.between(-2_000, 2_000);
                self.clock.advance(us);
            }
        }
        let crashed = crash && self.crash();
        let last = if crashed { self.engine().records().0 } else { u64::MAX };
        drop(sender);
        for (events, receipt) in pushes.iter().zip(receipts.iter().map(|r| r.unwrap())) {
            if receipt.position.record() <= last {
                self.ledger.note(&self.raw, events, receipt.position);
            }
        }
    }

    /// Goes on from what the disk would hold after a crash, unless there is no disk.
    fn crash(&mut self) -> bool {
        let Some(path) = self.path.clone() else { return false };
        let image = self.root.path().join(format!("image{}", self.random.bits()));
        // The store first: it is never ahead of the log.
        directory::copy(&path.join("store"), &image.join("store")).unwrap();
        directory::copy(&path.join("log"), &image.join("log")).unwrap();
        self.sleep();
        let before = self.reader.replace(open(Some(&image), &self.clock, 1 + self.random.below(4)));
        self.path = Some(image);
        let last = self.engine().records().0;
        self.served.retain(|s| s.position.record() <= last);
        drop(before);
        true
    }

    fn restart(&mut self) {
        let Some(path) = self.path.clone() else { return };
        self.sleep();
        // Dropping an engine closes it; the directory is free once nobody holds it.
        self.reader = None;
        self.reader = Some(open(Some(&path), &self.clock, 1 + self.random.below(4)));
    }

    /// The machine's clock may also step back while no engine runs.
    fn sleep(&mut self) {
        let us = self.random.between(-3_000, 3_000);
        self.clock.advance(us);
    }

    fn read(&mut self, reads: usize) {
        for _ in 0..reads {
            let us = self.random.between(-500, 900);
            self.clock.advance(us);
            let snapshot = self.engine().snapshot(ReadAt::default()).unwrap();
            for dataset in 0..self.committed {
                let derived = &self.derived[dataset];
                let node = snapshot.catalog.dataset(&derived.name).unwrap().readable().unwrap();
                let all: Vec<usize> = (0..node.outputs.len()).collect();
                for key in self.ledger.keys(derived).into_iter().take(4) {
                    let encoded = EntityKey::encode(&key).unwrap();
                    let values = snapshot.outputs(node, &encoded.0, snapshot.time, &all).unwrap();
                    let (time, position) = (snapshot.time, snapshot.position);
                    self.served.push(Served { dataset, key, time, position, values });
                }
            }
        }
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0..9 => self.push(false),
            9..13 => self.read(3),
            13 => {
                let us = self.random.between(-20_000, 90_000_000);
                self.clock.advance(us);
            }
            14 => self.engine().checkpoint().unwrap(),
            15 => self.restart(),
            16..18 => self.push(true),
            18 if self.committed < self.derived.len() => {
                self.committed += 1;
                self.commit();
            }
            _ => {
                self.check();
            }
        }
    }

    /// Compares the training sets at the times of what was served, both with what was served and with the oracle.
    /// Says for how many rows late events changed what is known.
    fn check(&self) -> usize {
        let newest = Some(Position::end_of(self.engine().records().0));
        let snapshot = self.engine().snapshot(ReadAt { min_position: newest, ..ReadAt::default() }).unwrap();
        let mut differing = 0;
        for dataset in 0..self.committed {
            let derived = &self.derived[dataset];
            let served: Vec<&Served> = self.served.iter().filter(|s| s.dataset == dataset).collect();
            let pipeline = derived.pipeline(&self.raw);
            let then = self.set(&snapshot, derived, &served, Known::AsServed);
            let now = self.set(&snapshot, derived, &served, Known::Now);
            for (row, s) in served.iter().enumerate() {
                let of = |set: &[ColumnBuffer]| set.iter().map(|c| c.get(row)).collect::<Vec<_>>();
                let place = format!("{} {:?} served at {:?} {}", derived.name, s.key, s.time, s.position);
                assert_eq!(of(&then), s.values, "as served: {place}");
                let rows = self.ledger.rows_of(&pipeline, &s.key);
                let oracle = |at| values(&pipeline, &rows, s.time, at);
                assert_eq!(of(&then), oracle(s.position), "the oracle: {place}");
                assert_eq!(of(&now), oracle(snapshot.position), "plain: {place}");
                differing += usize::from(of(&then) != of(&now));
            }
        }
        differing
    }

    fn set(&self, at: &Snapshot, derived: &Derived, served: &[&Served], known: Known) -> Vec<ColumnBuffer> {
        let reader = self.reader.as_ref().unwrap();
        let plan = reader.plan(&at.catalog, &derived.featureset()).unwrap();
        let mut entity = Vec::new();
        for (name, data_type) in &plan.entity {
            let part = derived.keys.iter().position(|k| k == name).unwrap();
            let mut column = ColumnBuffer::nulls(*data_type, served.len());
            served.iter().enumerate().for_each(|(row, s)| column.set(row, s.key[part].clone()));
            entity.push(column);
        }
        let times: Vec<EventTime> = served.iter().map(|s| s.time).collect();
        let positions = reader.positions(&mut at.clone(), &times, known).unwrap();
        if let Some(positions) = &positions {
            let expected: Vec<Position> = served.iter().map(|s| s.position).collect();
            assert_eq!(positions, &expected, "S(T) is what was served at T");
        }
        let frame = Frame { entity, times, positions, inputs: Vec::new() };
        reader.evaluate(at.clone(), &plan, &frame).unwrap().columns
    }
}

fn run(seed: u64) -> usize {
    let mut history = History::new(seed);
    for _ in 0..OPERATIONS {
        history.step();
    }
    history.check()
}

#[test]
fn what_was_served_is_what_an_as_served_training_set_gives_bit_for_bit() {
    let differing: usize = seeds::each(HISTORIES, WORKERS, run).into_iter().sum();
    assert!(differing > 0, "no late event ever made a difference");
}

#[test]
fn a_time_before_the_log_knows_nothing_and_one_to_come_knows_everything() {
    let clock = HandClock::at(START_US);
    let reader = open(None, &clock, 2);
    let engine = reader.engine();
    let times = [i64::MIN, START_US - 1, START_US + 5, i64::MAX].map(EventTime);
    let positions = |engine: &Engine| {
        let snapshot = engine.snapshot(ReadAt::default()).unwrap();
        (engine.served_positions(&snapshot, &times).unwrap(), snapshot.position)
    };
    assert_eq!(positions(engine), (vec![Position::ZERO; 4], Position::ZERO));
    let raw = Raw::default();
    engine.commit(&document(&raw, &[]), |_| Ok(())).unwrap();
    let first = Position::end_of(1);
    assert_eq!(positions(engine), (vec![Position::ZERO, Position::ZERO, first, first], first));
    clock.advance(1_000_000);
    let catalog = engine.catalog();
    let event = Event::random(&mut Random::new(1)).json();
    let live = catalog.dataset(RAW).unwrap();
    let receipt = engine.push(engine.read_json(live, [event.as_bytes()].into_iter()).unwrap()).unwrap();
    let at = ReadAt { min_position: Some(receipt.position), ..ReadAt::default() };
    engine.snapshot(at).unwrap();
    let second = Position::end_of(2);
    assert_eq!(positions(engine), (vec![Position::ZERO, Position::ZERO, first, second], second));
    // As known at the first record, nothing has more than that.
    let at = ReadAt { position: Some(first), ..ReadAt::default() };
    let then = engine.snapshot(at).unwrap();
    let positions = engine.served_positions(&then, &times).unwrap();
    assert_eq!(positions, [Position::ZERO, Position::ZERO, first, first]);
}

#[test]
fn without_the_wall_clock_nothing_says_what_was_served() {
    let refused = |engine: &Engine| {
        let snapshot = engine.snapshot(ReadAt::default()).unwrap();
        engine.served_positions(&snapshot, &[]).unwrap_err()
    };
    let engine = Engine::open(Options { clock: Clock::Event(None), ..Options::default() }).unwrap();
    let error = refused(&engine);
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.detail().contains("event clock"), "{error}");
    let engine = Engine::open(Options::default()).unwrap();
    engine.set_now(Some(5));
    assert!(refused(&engine).detail().contains("fixed"));
    engine.set_now(None);
    let snapshot = engine.snapshot(ReadAt::default()).unwrap();
    engine.served_positions(&snapshot, &[]).unwrap();
}
