//! Events with ids that come by several streams, again and again: each is counted once, whichever copy came first,
//! whatever happened between, and every value has the bits of a single pass over distinct events.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod definitions;
mod forgotten;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use definitions::{Event, RAWS, document};
use tempfile::TempDir;
use thyme_core::definition::Document;
use thyme_core::{EntityKey, ErrorKind, EventTime, Position, Value};
use thyme_engine::{
    Engine, LeftOutEvent, LeftOutQuery, Memory, Options, ReadAt, Snapshot, SourceBatch, Wanted, Why,
};
use thyme_oracle::admission::Limits;
use thyme_oracle::join::Right;
use thyme_oracle::{EventIds, Pipeline, Row, Stream, Verdict};
use thyme_store::Room;
use thyme_testing::clock::HandClock;
use thyme_testing::joined::derive;
use thyme_testing::ledger::START_US;
use thyme_testing::random::Random;
use thyme_testing::{directory, seeds};

const HISTORIES: u64 = 120;
const OPERATIONS: usize = 26;
/// More than cores: most of the time a history waits for the disk.
const WORKERS: u64 = 16;
const STAMP_US: i64 = START_US + 50_000 * 1_000_000;
const STREAMS: [&str; 3] = ["push", "source:history", "source:live"];

/// A row of the log.
#[derive(Clone, Debug)]
struct Logged {
    position: Position,
    event: Event,
    verdict: Verdict,
}

/// What the log holds, with the verdicts of the naive rule.
#[derive(Default)]
struct Ledger {
    rows: Vec<Logged>,
    ids: [EventIds; 2],
    streams: BTreeMap<(usize, &'static str), Stream>,
}

impl Ledger {
    /// Notes what a stream brought; gives how many were duplicates.
    fn note(&mut self, document: &Document, stream: &'static str, events: &[Event], record: u64) -> u64 {
        let mut duplicates = 0;
        for (row, event) in (0..).zip(events) {
            let definition = document.dataset(RAWS[event.raw]).unwrap();
            let marks = self.streams.entry((event.raw, stream)).or_default();
            let limits = (Limits::of(definition, stream), definition.retention);
            let named = (EventTime(event.time), event.id());
            let verdict = marks.verdict_by_id(named, STAMP_US, limits, &mut self.ids[event.raw]).unwrap();
            duplicates += u64::from(verdict == Verdict::Duplicate);
            self.rows.push(Logged { position: Position::new(record, row), event: event.clone(), verdict });
        }
        duplicates
    }

    /// An entity goes, and the ids of its events are free; verdicts on others stay.
    fn erase(&mut self, raw: usize, key: &Value, document: &Document) {
        self.rows.retain(|row| row.event.raw != raw || row.event.key() != key);
        self.ids[raw].free();
        let retention = document.dataset(RAWS[raw]).unwrap().retention;
        for row in self.rows.iter().filter(|r| r.event.raw == raw && r.verdict == Verdict::Admitted) {
            self.ids[raw].has(row.event.id(), EventTime(row.event.time), retention).unwrap();
        }
    }

    fn rights(&self, raw: usize) -> Vec<Right> {
        let counted = self.rows.iter().filter(|r| r.event.raw == raw && r.verdict == Verdict::Admitted);
        let right = |row: &Logged| Right {
            time: EventTime(row.event.time),
            position: row.position,
            columns: row.event.columns(),
        };
        counted.map(right).collect()
    }

    /// The rows of all entities as known at `at`.
    fn derive(&self, document: &Document, pipeline: &Pipeline, at: Position) -> BTreeMap<Vec<u8>, Vec<Row>> {
        let (lefts, cards) = (self.rights(0), self.rights(1));
        let mut entities = BTreeMap::<Vec<u8>, Vec<Row>>::new();
        derive((document, pipeline), &lefts, &|_| &cards, at, &mut |key, row| {
            let key = EntityKey::encode(&key).unwrap().0.to_vec();
            entities.entry(key).or_default().push(row);
        });
        entities
    }
}

struct History {
    random: Random,
    clock: HandClock,
    root: TempDir,
    path: Option<PathBuf>,
    engine: Option<Engine>,
    document: Document,
    /// How many of the derived datasets are committed.
    committed: usize,
    pool: Vec<Event>,
    ledger: Ledger,
    /// Rows may have been removed.
    forgets: bool,
    erased: Vec<(usize, Value)>,
}

fn open(path: Option<&Path>, clock: &HandClock, shards: usize) -> Engine {
    // Every other engine keeps no entity in memory.
    let store = Room { cache: 1 << 20, memtable: 1 << 20 };
    let tiny = Memory { total: 0, timelines: 1, records: 1 << 20, store };
    let memory = shards.is_multiple_of(2).then_some(tiny);
    let path = path.map(Path::to_owned);
    Engine::open(Options { path, shards, memory, env: clock.env(), ..Options::default() }).unwrap()
}

impl History {
    fn new(seed: u64) -> History {
        let mut random = Random::new(seed * 1_000_003);
        let (clock, root) = (HandClock::at(STAMP_US), tempfile::tempdir().unwrap());
        let path = random.chance(70).then(|| root.path().join("data"));
        let retention = random.chance(30).then(|| random.pick(&["10m", "30m"]));
        let document = document(&mut random, retention);
        let engine = Some(open(path.as_deref(), &clock, 1 + random.below(4)));
        let forgets = retention.is_some() && path.is_some();
        let committed = random.below(4);
        let history = History {
            random,
            clock,
            root,
            path,
            engine,
            document,
            committed,
            pool: Vec::new(),
            ledger: Ledger::default(),
            forgets,
            erased: Vec::new(),
        };
        history.commit();
        history
    }

    fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }

    fn commit(&self) {
        let mut document = self.document.clone();
        document.datasets.truncate(RAWS.len() + self.committed);
        self.engine().commit(&document, |_| Ok(())).unwrap();
    }

    /// An event that is new, or comes again: as it was, or told otherwise.
    fn event(&mut self) -> Event {
        if self.pool.is_empty() || self.random.chance(45) {
            let event = Event::random(&mut self.random, self.pool.len() as i64);
            self.pool.push(event.clone());
            return event;
        }
        let event = self.random.pick(&self.pool);
        match self.random.chance(15) {
            true => event.told_otherwise(&mut self.random),
            false => event,
        }
    }

    fn deliver(&mut self) {
        let stream = self.random.pick(&STREAMS);
        let raw = usize::from(self.random.chance(30));
        let most = if self.random.chance(90) { 8 } else { 60 };
        let count = 1 + self.random.below(most);
        let mut events = Vec::new();
        while events.len() < count {
            let event = self.event();
            let gone = (event.raw, event.key().clone());
            // What sources bring of who was erased is left out before it is a row.
            if event.raw == raw && (stream == "push" || !self.erased.contains(&gone)) {
                events.push(event);
            }
        }
        let lines: Vec<String> = events.iter().map(Event::json).collect();
        let engine = self.engine();
        let catalog = engine.catalog();
        let live = catalog.dataset(RAWS[raw]).unwrap();
        let mut push = engine.read_json(live, lines.iter().map(|l| l.as_bytes())).unwrap();
        if stream != "push" {
            let (batch, cursor) = (push.batch().clone(), stream.as_bytes().to_vec());
            push = engine
                .read_source(
                    live,
                    SourceBatch { stream: stream.into(), cursor, dead_letters: Vec::new(), batch },
                )
                .unwrap();
        }
        let receipt = engine.push(push).unwrap();
        assert_eq!(receipt.accepted, events.len() as u64);
        let duplicates = self.ledger.note(&self.document, stream, &events, receipt.position.record());
        let told = (stream == "push").then_some(duplicates);
        assert_eq!(receipt.duplicates, told, "{events:?}");
    }

    /// Goes on from what the disk holds now, or closes and opens again.
    fn restart(&mut self, crash: bool) {
        let Some(path) = self.path.clone() else { return };
        let shards = 1 + self.random.below(4);
        if !crash {
            self.engine = None;
            if self.random.chance(20) {
                // All there is is the log.
                std::fs::remove_dir_all(path.join("store")).unwrap();
            }
            self.engine = Some(open(Some(&path), &self.clock, shards));
            return;
        }
        let image = self.root.path().join(format!("image{}", self.random.bits()));
        // The store first: it is never ahead of the log.
        directory::copy(&path.join("store"), &image.join("store")).unwrap();
        if self.random.chance(50) {
            // What the log has by then is more than what the checkpoint knows.
            self.deliver();
        }
        directory::copy(&path.join("log"), &image.join("log")).unwrap();
        self.engine = Some(open(Some(&image), &self.clock, shards));
        self.path = Some(image);
    }

    fn erase(&mut self) {
        let (raw, key) = (self.random.below(2), Value::Str(self.random.pick(&["a", "b", "é"]).into()));
        let engine = self.engine();
        engine.erase(engine.catalog().dataset(RAWS[raw]).unwrap(), &[vec![key.clone()]]).unwrap();
        self.ledger.erase(raw, &key, &self.document);
        self.erased.push((raw, key));
    }

    fn step(&mut self) {
        match self.random.below(24) {
            0..13 => self.deliver(),
            13..15 => self.engine().checkpoint().unwrap(),
            15 if RAWS.len() + self.committed < self.document.datasets.len() => {
                self.committed += 1;
                self.commit();
            }
            15..17 => self.restart(false),
            17..19 => self.restart(true),
            19 if self.random.chance(40) => self.erase(),
            20 if self.forgets => drop(self.engine().enforce_retention_to_the_edge().unwrap()),
            _ => self.check(1),
        }
    }

    fn check(&mut self, rounds: usize) {
        self.check_left_out();
        for _ in 0..rounds {
            let newest = Position::end_of(self.engine().records().0);
            let (position, time) = match self.ledger.rows.is_empty() {
                true => (newest, START_US),
                false => {
                    let row = self.random.pick(&self.ledger.rows);
                    let position = if self.random.chance(40) { newest } else { row.position };
                    (position, self.random.pick(&self.ledger.rows).event.time)
                }
            };
            let step = self.random.pick(&[0, 0, -1, 1_000_000, 5_000_000, 60_000_000, 7_200_000_000]);
            let snapshot =
                self.engine().snapshot(ReadAt { position: Some(position), ..ReadAt::default() }).unwrap();
            for number in 0..self.committed {
                self.check_derived(&snapshot, number, EventTime(time + step));
            }
        }
    }

    /// The counters, and the lists of late events and duplicates.
    fn check_left_out(&mut self) {
        let engine = self.engine();
        let min_position = Some(Position::end_of(engine.records().0));
        let catalog = engine.snapshot(ReadAt { min_position, ..ReadAt::default() }).unwrap().catalog;
        for (raw, name) in RAWS.iter().enumerate() {
            let live = catalog.dataset(name).unwrap();
            let rows = || self.ledger.rows.iter().filter(|row| row.event.raw == raw);
            let is_duplicate = |row: &&Logged| row.verdict == Verdict::Duplicate;
            let is_late = |row: &&Logged| matches!(row.verdict, Verdict::Late { .. });
            let counters = engine.counters(live);
            let (late, duplicates) = (rows().filter(is_late), rows().filter(is_duplicate));
            let (late, duplicates): (Vec<_>, Vec<_>) = (late.collect(), duplicates.collect());
            let told = (counters.events, counters.late, counters.duplicates);
            let known = engine.whole_after(live).map_or(i64::MIN, |time| time.0);
            let is_known =
                |position: &Position| rows().any(|r| r.position == *position && r.event.time > known);
            let retention = self.document.dataset(name).unwrap().retention.map_or(i64::MAX, |r| r.0);
            // A store that was made anew did not see what an erasure took, nor does it count it.
            assert_eq!(told, (rows().count() as u64, late.len() as u64, duplicates.len() as u64), "{name}");
            let list = |wanted| {
                let query =
                    LeftOutQuery { wanted, before: Position::MAX, since: i64::MIN, limit: usize::MAX };
                engine.left_out(live, &query).unwrap().into_iter().rev().collect::<Vec<_>>()
            };
            let known_of = |mut listed: Vec<LeftOutEvent>| {
                listed.retain(|event| is_known(&event.position));
                listed
            };
            let places = |rows: &[&Logged]| -> Vec<Position> {
                rows.iter().map(|row| row.position).filter(is_known).collect()
            };
            let found: Vec<Position> = known_of(list(Wanted::Late)).iter().map(|e| e.position).collect();
            assert_eq!(found, places(&late));
            let found = list(Wanted::Duplicates);
            // Some of those whose ids are given back are not told any more, but none that counts is.
            for event in &found {
                let is_one = duplicates.iter().any(|row| row.position == event.position);
                assert!(is_one, "{event:?} is no duplicate, known after {known}");
            }
            let found = known_of(found);
            assert_eq!(found.iter().map(|e| e.position).collect::<Vec<_>>(), places(&duplicates));
            for event in found.iter().filter(|_| self.erased.is_empty()) {
                let Why::Duplicate { of } = event.why else { unreachable!("{event:?}") };
                let row = duplicates.iter().find(|row| row.position == event.position).unwrap();
                let counts = |other: &&Logged| {
                    other.verdict == Verdict::Admitted
                        && other.event.id() == row.event.id()
                        && other.position < row.position
                        && other.event.time.abs_diff(row.event.time) < retention.unsigned_abs()
                };
                let wanted = rows().filter(counts).max_by_key(|row| (row.event.time, row.position));
                let is_kept = wanted.is_some_and(|row| row.event.time > known);
                assert_eq!(of, wanted.filter(|_| is_kept).map(|row| row.position), "{row:?}");
            }
        }
    }

    fn check_derived(&self, snapshot: &Snapshot, number: usize, time: EventTime) {
        let definition = &self.document.datasets[RAWS.len() + number];
        let pipeline = Pipeline::of(definition, &self.document.datasets[0]).unwrap();
        let entities = self.ledger.derive(&self.document, &pipeline, snapshot.position);
        let node = snapshot.catalog.dataset(&definition.name).unwrap().readable().unwrap();
        let all: Vec<usize> = (0..node.outputs.len()).collect();
        for (key, rows) in &entities {
            let wanted: Vec<Value> =
                all.iter().map(|index| pipeline.value(*index, rows, time, Position::MAX).unwrap()).collect();
            let what = || {
                format!(
                    "{} of {:?} at {time:?} {}",
                    definition.name,
                    EntityKey::decode(key),
                    snapshot.position
                )
            };
            match snapshot.outputs(node, key, time, &all) {
                Err(error) if error.kind() == ErrorKind::Gone && self.forgets => continue,
                outputs => assert_eq!(outputs.unwrap(), wanted, "{}", what()),
            }
            let mut swept = vec![Value::Null; all.len()];
            let swept_all =
                snapshot.sweep(node, key, &[time], &all, &mut |_, output, value| swept[output] = value);
            swept_all.unwrap();
            assert_eq!(swept, wanted, "the sweep of {}", what());
        }
    }
}

fn run(seed: u64) -> u64 {
    let mut history = History::new(seed);
    for _ in 0..OPERATIONS {
        history.step();
    }
    history.committed = history.document.datasets.len() - RAWS.len();
    history.commit();
    history.check(4);
    history.ledger.rows.iter().filter(|row| row.verdict == Verdict::Duplicate).count() as u64
}

#[test]
fn every_event_counts_once_however_often_and_by_whichever_stream_it_comes() {
    let duplicates: u64 = seeds::each(HISTORIES, WORKERS, run).into_iter().sum();
    assert!(duplicates > 20 * HISTORIES || std::env::var("THYME_SEED").is_ok(), "{duplicates}");
}
