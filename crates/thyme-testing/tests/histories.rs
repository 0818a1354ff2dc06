//! Random histories of an engine against the naive oracle: pushes, commits, checkpoints, restarts and
//! crashes in any order leave the values of the contract, bit for bit, at every `(T, S)`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use tempfile::TempDir;
use thyme_core::{EntityKey, EventTime, Position, Result, Value};
use thyme_engine::{Engine, Memory, Node, Options, ReadAt, Receipt, Snapshot};
use thyme_query::{ColumnBuffer, Frame, NoExtractors, Reader};
use thyme_store::Room;
use thyme_testing::clock::HandClock;
use thyme_testing::definitions::{Derived, RAW, Raw, document};
use thyme_testing::ledger::{Event, Ledger, START_US, values};
use thyme_testing::random::Random;
use thyme_testing::{directory, seeds};

const HISTORIES: u64 = 240;
const OPERATIONS: usize = 18;
/// More than cores: most of the time a history waits for the disk.
const WORKERS: u64 = 16;

/// What an online read gave when it was made.
struct Served {
    dataset: String,
    version: u32,
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
    /// Events a push has at most.
    push_max: usize,
    /// `Some`: so little that entities come and go all the time.
    memory: Option<Memory>,
}

/// Room for `bytes` of timelines.
fn room(bytes: usize) -> Memory {
    let store = Room { cache: 1 << 20, memtable: 1 << 20 };
    Memory { total: 0, timelines: bytes, records: 1 << 20, store }
}

fn open(path: Option<&Path>, clock: &HandClock, shards: usize, memory: Option<Memory>) -> Reader {
    let path = path.map(Path::to_owned);
    let options = Options { path, shards, memory, env: clock.env(), ..Options::default() };
    Reader::new(Arc::new(Engine::open(options).unwrap()), Arc::new(NoExtractors))
}

impl History {
    fn new(seed: u64) -> History {
        let mut random = Random::new(seed);
        let clock = HandClock::at(START_US + 5_000_000_000);
        let root = tempfile::tempdir().unwrap();
        let path = random.chance(60).then(|| root.path().join("data"));
        let count = 1 + random.below(3);
        let derived: Vec<Derived> = (0..count).map(|i| Derived::random(&mut random, i)).collect();
        let (raw, committed) = (Raw::random(&mut random), random.below(count + 1));
        let memory = random.chance(60).then(|| room(random.pick(&[1, 1, 20_000, 150_000])));
        let reader = Some(open(path.as_deref(), &clock, 1 + random.below(4), memory));
        let push_max = random.pick(&[4, 30, 30, 30, 300]);
        let (ledger, served) = (Ledger::default(), Vec::new());
        let history = History {
            random,
            clock,
            root,
            path,
            reader,
            raw,
            derived,
            committed,
            ledger,
            served,
            push_max,
            memory,
        };
        history.commit();
        history
    }

    fn reader(&self) -> &Reader {
        self.reader.as_ref().unwrap()
    }

    fn engine(&self) -> &Arc<Engine> {
        self.reader().engine()
    }

    fn live(&self) -> &[Derived] {
        &self.derived[..self.committed]
    }

    fn commit(&self) {
        let document = document(&self.raw, self.live());
        self.engine().commit(&document, |_| Ok(())).unwrap();
    }

    /// Sends pushes without waiting: the committer may join them into records.
    fn submit(&mut self) -> (Vec<Vec<Event>>, Receiver<Result<Receipt>>) {
        let (sender, receipts) = channel();
        let mut pushes = Vec::new();
        let catalog = self.engine().catalog();
        for _ in 0..1 + self.random.below(5) {
            let count = self.random.below(self.push_max + 1);
            let events: Vec<Event> = (0..count).map(|_| Event::random(&mut self.random)).collect();
            let lines: Vec<String> = events.iter().map(Event::json).collect();
            let live = catalog.dataset(RAW).unwrap();
            let push = self.engine().read_json(live, lines.iter().map(|l| l.as_bytes())).unwrap();
            let sender = sender.clone();
            self.engine().submit(push, move |receipt| sender.send(receipt).unwrap());
            // Nothing to store is answered at once, ahead of what waits.
            if !events.is_empty() {
                pushes.push(events);
            }
        }
        (pushes, receipts)
    }

    /// Waits for the answers; notes what is in records up to `last`.
    fn note(&mut self, pushes: Vec<Vec<Event>>, receipts: &Receiver<Result<Receipt>>, last: u64) {
        let answers = receipts.iter().map(|r| r.unwrap()).filter(|r| r.accepted > 0);
        for (events, receipt) in pushes.iter().zip(answers.collect::<Vec<_>>()) {
            assert_eq!(receipt.accepted, events.len() as u64);
            if receipt.position.record() <= last {
                self.ledger.note(&self.raw, events, receipt.position);
            }
        }
    }

    fn push(&mut self) {
        let (pushes, receipts) = self.submit();
        self.note(pushes, &receipts, u64::MAX);
    }

    /// Goes on from what the disk would hold after a crash while pushes are being written.
    fn crash(&mut self) {
        let Some(path) = self.path.clone() else { return };
        let (pushes, receipts) =
            if self.random.chance(60) { self.submit() } else { (Vec::new(), channel().1) };
        let image = self.root.path().join(format!("image{}", self.random.bits()));
        // The store first: it is never ahead of the log.
        directory::copy(&path.join("store"), &image.join("store")).unwrap();
        directory::copy(&path.join("log"), &image.join("log")).unwrap();
        let shards = 1 + self.random.below(4);
        let before = self.reader.replace(open(Some(&image), &self.clock, shards, self.memory));
        self.path = Some(image);
        let (last, applied) = self.engine().records();
        assert_eq!(last, applied, "an engine is open once everything is applied");
        self.note(pushes, &receipts, last);
        self.served.retain(|s| s.position.record() <= last);
        drop(before);
    }

    fn restart(&mut self) {
        if self.path.is_none() {
            return;
        }
        // Dropping an engine closes it; the directory is free once nobody holds it.
        self.reader = None;
        let shards = 1 + self.random.below(4);
        self.reader = Some(open(self.path.as_deref(), &self.clock, shards, self.memory));
    }

    /// Commits another pipeline, another version of one, or other settings of the raw dataset.
    fn evolve(&mut self) {
        match self.random.below(3) {
            0 if self.committed < self.derived.len() => self.committed += 1,
            1 if self.committed > 0 => {
                let index = self.random.below(self.committed);
                let mut changed = self.derived[index].clone();
                changed.version += 1;
                changed.redefine(&mut self.random);
                // Committed featuresets keep reading the fields they read.
                let names = |d: &Derived| d.outputs.iter().map(|o| (o.name.clone(), o.data_type())).collect();
                let (was, is): (BTreeMap<_, _>, BTreeMap<_, _>) =
                    (names(&self.derived[index]), names(&changed));
                if was.iter().all(|(name, kind)| is.get(name) == Some(kind)) {
                    self.derived[index] = changed;
                }
            }
            _ => {
                self.raw = Raw::random(&mut self.random);
                // `value(k, T, S)` is under one set of definitions.
                self.served.clear();
            }
        }
        self.commit();
    }

    fn read_online(&mut self) {
        let newest = Some(Position::end_of(self.engine().records().0)).filter(|p| p.record() > 0);
        let min_position = newest.filter(|_| self.random.chance(50));
        let snapshot = self.engine().snapshot(ReadAt { min_position, ..ReadAt::default() }).unwrap();
        assert!(min_position.is_none_or(|p| snapshot.position >= p));
        assert!(snapshot.online && snapshot.time <= snapshot.now);
        for derived in self.live().to_vec() {
            let node = snapshot.catalog.dataset(&derived.name).unwrap().readable().unwrap();
            for key in self.ledger.keys(&derived).into_iter().take(3) {
                let values = outputs(&snapshot, node, &key, snapshot.time);
                let (dataset, version) = (derived.name.clone(), derived.version);
                let (time, position) = (snapshot.time, snapshot.position);
                self.served.push(Served { dataset, version, key, time, position, values });
            }
        }
    }

    /// Erases an entity. Every other value, those served before included, stays what it was.
    fn erase(&mut self) {
        let key = self.random.pick(&["a", "b", "", "é", "unseen"]);
        let catalog = self.engine().catalog();
        let entity = vec![Value::Str(key.into())];
        let receipt = self.engine().erase(catalog.dataset(RAW).unwrap(), &[entity]).unwrap();
        assert_eq!(receipt.events, self.ledger.erase(key) as u64);
        let served = std::mem::take(&mut self.served);
        let unaffected = |s: &Served| {
            let derived = self.live().iter().find(|d| d.name == s.dataset && d.version == s.version);
            derived.is_some_and(|derived| {
                let pipeline = derived.pipeline(&self.raw);
                let rows = self.ledger.rows_of(&pipeline, &s.key);
                values(&pipeline, &rows, s.time, s.position) == s.values
            })
        };
        self.served = served.into_iter().filter(unaffected).collect();
    }

    fn step(&mut self) {
        match self.random.below(21) {
            20 => self.erase(),
            0..8 => self.push(),
            8..10 => self.read_online(),
            10..12 => self.engine().checkpoint().unwrap(),
            12 => {
                let us = self.random.between(-5_000, 900_000);
                self.clock.advance(us);
            }
            13..15 => self.evolve(),
            15 => self.restart(),
            16..18 => self.crash(),
            _ => self.check(2),
        }
    }

    fn check(&mut self, rounds: usize) {
        self.await_applied();
        for _ in 0..rounds {
            let newest = self.random.chance(30);
            let position = if newest { Position::MAX } else { self.ledger.random_position(&mut self.random) };
            let position = position.min(Position::end_of(self.engine().records().1));
            let times: Vec<EventTime> = (0..4).map(|_| self.ledger.random_time(&mut self.random)).collect();
            self.check_raw(position, &times);
            for index in 0..self.committed {
                self.check_derived(&self.derived[index].clone(), position, &times);
            }
        }
        for s in &self.served {
            let Some(derived) = self.live().iter().find(|d| d.name == s.dataset && d.version == s.version)
            else {
                continue;
            };
            let snapshot = self.at(s.position);
            let node = snapshot.catalog.dataset(&derived.name).unwrap().readable().unwrap();
            let again = outputs(&snapshot, node, &s.key, s.time);
            assert_eq!(again, s.values, "{} {:?} served at {:?} {}", s.dataset, s.key, s.time, s.position);
        }
    }

    fn await_applied(&self) {
        let (last, _) = self.engine().records();
        let min_position = Some(Position::end_of(last));
        self.engine().snapshot(ReadAt { min_position, ..ReadAt::default() }).unwrap();
        let catalog = self.engine().catalog();
        let counters = self.engine().counters(catalog.dataset(RAW).unwrap());
        let expected = (self.ledger.len() as u64, self.ledger.late().len() as u64);
        assert_eq!((counters.events, counters.late), expected, "every acknowledged row is there once");
    }

    fn at(&self, position: Position) -> Snapshot {
        self.engine().snapshot(ReadAt { position: Some(position), ..ReadAt::default() }).unwrap()
    }

    fn check_raw(&self, position: Position, times: &[EventTime]) {
        let snapshot = self.at(position);
        let node = snapshot.catalog.dataset(RAW).unwrap().readable().unwrap();
        for time in times {
            for key in ["a", "b", "", "unseen"] {
                let encoded = EntityKey::encode(&[Value::Str(key.into())]).unwrap();
                let got = snapshot.latest_row(node, &encoded.0, *time).unwrap();
                let want = self.ledger.latest(&self.raw, key, *time, position);
                let want = want.map(|e| (EventTime(e.at), canonical_values(e)));
                assert_eq!(got, want, "the latest row of {key:?} at {time:?} {position}");
            }
        }
    }

    fn check_derived(&mut self, derived: &Derived, position: Position, times: &[EventTime]) {
        let snapshot = self.at(position);
        let node = snapshot.catalog.dataset(&derived.name).unwrap().readable().unwrap().clone();
        let pipeline = derived.pipeline(&self.raw);
        let keys = self.ledger.keys(derived);
        let mut asked: Vec<(Vec<Value>, EventTime)> = Vec::new();
        let mut wanted = Vec::new();
        let mut seen: Vec<Box<[u8]>> = Vec::new();
        for key in keys {
            let rows = self.ledger.rows_of(&pipeline, &key);
            let kept = self.raw.retention.map_or(i64::MIN, |r| times[0].0 - r.0);
            let in_time = |t: i64| t <= times[0].0 && t > kept;
            if rows.iter().any(|r| r.position <= position && in_time(r.time.0)) {
                seen.push(EntityKey::encode(&key).unwrap().0);
            }
            for time in times {
                let want = values(&pipeline, &rows, *time, position);
                let got = outputs(&snapshot, &node, &key, *time);
                assert_eq!(got, want, "{derived:?} of {key:?} at {time:?} {position}");
                asked.push((key.clone(), *time));
                wanted.push(want);
            }
        }
        seen.sort_unstable();
        assert_eq!(snapshot.entities(&node, times[0]).unwrap(), seen, "the entities of {}", derived.name);
        let swept = self.sweep(snapshot, derived, &asked);
        for (row, want) in wanted.iter().enumerate() {
            let got: Vec<Value> = swept.iter().map(|column| column.get(row)).collect();
            assert_eq!(&got, want, "the sweep of {derived:?} for {:?} at {position}", asked[row]);
        }
    }

    fn sweep(
        &self,
        snapshot: Snapshot,
        derived: &Derived,
        asked: &[(Vec<Value>, EventTime)],
    ) -> Vec<ColumnBuffer> {
        let plan = self.reader().plan(&snapshot.catalog, &derived.featureset()).unwrap();
        let mut entity = Vec::new();
        for (name, data_type) in &plan.entity {
            let part = derived.keys.iter().position(|k| k == name).unwrap();
            let mut column = ColumnBuffer::nulls(*data_type, asked.len());
            asked.iter().enumerate().for_each(|(row, (key, _))| column.set(row, key[part].clone()));
            entity.push(column);
        }
        let frame = Frame {
            entity,
            times: asked.iter().map(|(_, t)| *t).collect(),
            positions: None,
            inputs: Vec::new(),
        };
        self.reader().evaluate(snapshot, &plan, &frame).unwrap().columns
    }
}

fn canonical_values(event: &Event) -> Vec<Value> {
    let of = |name: &&str| match thyme_testing::ledger::column(&event.columns, name) {
        Value::Float(v) => Value::Float(thyme_core::value::canonical(v)),
        other => other,
    };
    ["g", "i", "x", "s"].iter().map(of).collect()
}

fn outputs(snapshot: &Snapshot, node: &Node, key: &[Value], time: EventTime) -> Vec<Value> {
    let all: Vec<usize> = (0..node.outputs.len()).collect();
    snapshot.outputs(node, &EntityKey::encode(key).unwrap().0, time, &all).unwrap()
}

fn run(seed: u64) {
    let mut history = History::new(seed);
    for _ in 0..OPERATIONS {
        history.step();
    }
    history.committed = history.derived.len();
    history.commit();
    history.check(3);
}

#[test]
fn every_read_of_every_history_has_the_bits_of_the_oracle() {
    seeds::each(HISTORIES, WORKERS, run);
}
