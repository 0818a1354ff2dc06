//! Joins in random histories: pushes to both sides in any order, commits, checkpoints, restarts on another number
//! of shards and crashes leave the values of the contract, bit for bit, at every `(T, S)`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod definitions;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use definitions::{Event, RAWS, document};
use tempfile::TempDir;
use thyme_core::definition::{Dataset, Document};
use thyme_core::{EntityKey, EventTime, Position, Value};
use thyme_engine::{Engine, Memory, Options, ReadAt, Snapshot};
use thyme_oracle::admission::Limits;
use thyme_oracle::join::Right;
use thyme_oracle::{Pipeline, Row, Stream, Verdict};
use thyme_store::Room;
use thyme_testing::clock::HandClock;
use thyme_testing::joined::derive;
use thyme_testing::ledger::START_US;
use thyme_testing::random::Random;
use thyme_testing::{directory, seeds};

const HISTORIES: u64 = 150;
const OPERATIONS: usize = 22;
/// More than cores: most of the time a history waits for the disk.
const WORKERS: u64 = 16;
const STAMP_US: i64 = START_US + 50_000 * 1_000_000;

/// The admitted rows of each raw dataset, by its index in [`RAWS`].
#[derive(Default)]
struct Ledger {
    rows: [Vec<Right>; 3],
    streams: [Stream; 3],
    positions: Vec<Position>,
    times: Vec<i64>,
    last: Option<(u64, u32)>,
}

/// The rows of the entities of a derived dataset.
type Entities = BTreeMap<Vec<u8>, Vec<Row>>;

impl Ledger {
    fn note(&mut self, raw: usize, definition: &Dataset, events: &[Event], receipt: Position) {
        let record = receipt.record();
        let first = self.last.filter(|(last, _)| *last == record).map_or(0, |(_, next)| next);
        for (row, event) in (first..).zip(events) {
            let (time, position) = (EventTime(event.time), Position::new(record, row));
            let verdict = self.streams[raw].verdict(time, STAMP_US, Limits::of(definition, "push"));
            self.positions.push(position);
            self.times.push(event.time);
            if verdict == Verdict::Admitted {
                self.rows[raw].push(Right { time, position, columns: RAWS[raw].columns(event) });
            }
        }
        self.last = Some((record, first + events.len() as u32));
    }

    /// Derives all events as known at `at`, one by one.
    fn derive(&self, document: &Document, pipeline: &Pipeline, at: Position) -> Entities {
        let rights = |name: &str| {
            let raw = RAWS.iter().position(|raw| raw.name == name).unwrap();
            self.rows[raw].as_slice()
        };
        let mut entities = Entities::new();
        derive((document, pipeline), &self.rows[0], &rights, at, &mut |key, row| {
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
    ledger: Ledger,
    next_id: i64,
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
        let mut random = Random::new(seed);
        let (clock, root) = (HandClock::at(STAMP_US), tempfile::tempdir().unwrap());
        let path = random.chance(60).then(|| root.path().join("data"));
        let count = 1 + random.below(3);
        let document = document(&mut random, count);
        let committed = random.below(count + 1);
        let engine = Some(open(path.as_deref(), &clock, 1 + random.below(4)));
        let ledger = Ledger::default();
        let history = History { random, clock, root, path, engine, document, committed, ledger, next_id: 0 };
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

    fn push(&mut self) {
        let raw = self.random.pick(&[0, 0, 1, 1, 2]);
        let most = if self.random.chance(90) { 8 } else { 60 };
        let count = 1 + self.random.below(most);
        let mut events = Vec::new();
        for _ in 0..count {
            self.next_id += 1;
            events.push(RAWS[raw].random(&mut self.random, self.next_id));
        }
        let lines: Vec<String> = events.iter().map(|event| RAWS[raw].json_row(event)).collect();
        let catalog = self.engine().catalog();
        let live = catalog.dataset(RAWS[raw].name).unwrap();
        let push = self.engine().read_json(live, lines.iter().map(|l| l.as_bytes())).unwrap();
        let receipt = self.engine().push(push).unwrap();
        self.ledger.note(raw, self.document.dataset(RAWS[raw].name).unwrap(), &events, receipt.position);
    }

    /// Goes on from what the disk holds now, or closes and opens again.
    fn restart(&mut self, crash: bool) {
        let Some(path) = self.path.clone() else { return };
        let shards = 1 + self.random.below(4);
        if !crash {
            self.engine = None;
            self.engine = Some(open(Some(&path), &self.clock, shards));
            return;
        }
        let image = self.root.path().join(format!("image{}", self.random.bits()));
        // The store first: it is never ahead of the log.
        directory::copy(&path.join("store"), &image.join("store")).unwrap();
        if self.random.chance(50) {
            // What the log has by then is more than what the checkpoint knows.
            self.push();
        }
        directory::copy(&path.join("log"), &image.join("log")).unwrap();
        self.engine = Some(open(Some(&image), &self.clock, shards));
        self.path = Some(image);
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0..12 => self.push(),
            12..14 => self.engine().checkpoint().unwrap(),
            14 if RAWS.len() + self.committed < self.document.datasets.len() => {
                self.committed += 1;
                self.commit();
            }
            14..16 => self.restart(false),
            16..18 => self.restart(true),
            _ => self.check(1),
        }
    }

    fn check(&mut self, rounds: usize) {
        for _ in 0..rounds {
            let newest = Position::end_of(self.engine().records().0);
            let position = match self.ledger.positions.is_empty() || self.random.chance(30) {
                true => newest,
                false => self.random.pick(&self.ledger.positions),
            };
            let time = match self.ledger.times.is_empty() {
                true => START_US,
                false => self.random.pick(&self.ledger.times),
            };
            let step = self.random.pick(&[0, 0, -1, 1_000_000, 5_000_000, 60_000_000, 7_200_000_000]);
            let snapshot =
                self.engine().snapshot(ReadAt { position: Some(position), ..ReadAt::default() }).unwrap();
            for number in 0..self.committed {
                self.check_derived(&snapshot, number, EventTime(time + step));
            }
        }
    }

    fn check_derived(&self, snapshot: &Snapshot, number: usize, time: EventTime) {
        let definition = &self.document.datasets[RAWS.len() + number];
        let pipeline = Pipeline::of(definition, &self.document.datasets[0]).unwrap();
        let entities = self.ledger.derive(&self.document, &pipeline, snapshot.position);
        let node = snapshot.catalog.dataset(&definition.name).unwrap().readable().unwrap();
        let all: Vec<usize> = (0..node.outputs.len()).collect();
        let kept = |row: &&Row| thyme_oracle::window::contains(row.time, time, pipeline.retention);
        let seen: BTreeSet<&[u8]> = entities
            .iter()
            .filter(|(_, rows)| rows.iter().any(|row| kept(&row)))
            .map(|(key, _)| key.as_slice())
            .collect();
        let found = snapshot.entities(node, time).unwrap();
        assert!(found.iter().map(|key| &**key).eq(seen), "the entities of {definition:?}");
        for (key, rows) in &entities {
            let wanted: Vec<Value> =
                all.iter().map(|index| pipeline.value(*index, rows, time, Position::MAX).unwrap()).collect();
            let what = || {
                format!("{definition:#?} of {:?} at {time:?} {}", EntityKey::decode(key), snapshot.position)
            };
            assert_eq!(snapshot.outputs(node, key, time, &all).unwrap(), wanted, "{}", what());
            let mut swept = vec![Value::Null; all.len()];
            let swept_all =
                snapshot.sweep(node, key, &[time], &all, &mut |_, output, value| swept[output] = value);
            swept_all.unwrap();
            assert_eq!(swept, wanted, "the sweep of {}", what());
        }
    }
}

fn run(seed: u64) {
    let mut history = History::new(seed);
    for _ in 0..OPERATIONS {
        history.step();
    }
    history.committed = history.document.datasets.len() - RAWS.len();
    history.commit();
    history.check(4);
}

#[test]
fn joined_values_have_the_bits_of_the_oracle_at_every_time_and_position() {
    seeds::each(HISTORIES, WORKERS, run);
}

/// The events of all sides in an order of their own, on so many shards, and what the pipelines give at last.
fn arrived(
    document: &Document,
    mut events: Vec<(usize, Event)>,
    shards: usize,
    seed: u64,
) -> Vec<Vec<Value>> {
    let mut random = Random::new(seed);
    for index in (1..events.len()).rev() {
        events.swap(index, random.below(index + 1));
    }
    if seed == 0 {
        // Sorted, what is joined first.
        events.sort_by_key(|(raw, event)| (event.time, std::cmp::Reverse(*raw)));
    }
    let engine = open(None, &HandClock::at(STAMP_US), shards);
    engine.commit(document, |_| Ok(())).unwrap();
    let catalog = engine.catalog();
    for (raw, event) in &events {
        let line = RAWS[*raw].json_row(event);
        let live = catalog.dataset(RAWS[*raw].name).unwrap();
        engine.push(engine.read_json(live, std::iter::once(line.as_bytes())).unwrap()).unwrap();
    }
    let min_position = Some(Position::end_of(engine.records().0));
    let snapshot = engine.snapshot(ReadAt { min_position, ..ReadAt::default() }).unwrap();
    let mut values = Vec::new();
    for definition in &document.datasets[RAWS.len()..] {
        let node = snapshot.catalog.dataset(&definition.name).unwrap().readable().unwrap();
        let all: Vec<usize> = (0..node.outputs.len()).collect();
        for time in [10, 20, 4000].map(|s| EventTime(START_US + s * 1_000_000)) {
            for key in snapshot.entities(node, time).unwrap() {
                values.push(snapshot.outputs(node, &key, time, &all).unwrap());
            }
        }
    }
    values
}

#[test]
fn the_order_of_arrival_and_the_number_of_shards_never_show() {
    for seed in 0..12 {
        let mut random = Random::new(1000 + seed);
        let mut document = document(&mut random, 3);
        document.datasets.iter_mut().for_each(|dataset| dataset.max_lateness = None);
        // Times are unique, so that no tie is the point.
        let events: Vec<(usize, Event)> = (0..120)
            .map(|number| {
                let raw = random.pick(&[0, 0, 1, 2]);
                let mut event = RAWS[raw].random(&mut random, number);
                event.time = event.time / 1000 * 1000 + number;
                let last = event.values.len() - 1;
                event.values[last] = Value::Datetime(event.time);
                (raw, event)
            })
            .collect();
        let sorted = arrived(&document, events.clone(), 1, 0);
        for shards in 1..4 {
            assert_eq!(arrived(&document, events.clone(), shards, shards as u64), sorted, "seed {seed}");
        }
    }
}
