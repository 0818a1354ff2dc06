//! Aggregates that come in place while retention takes old rows out and entities are erased: what a new aggregate is
//! made of is what is left, bit for bit what the oracle makes of it, or a refusal where rows are gone.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;

use thyme_core::definition::{AggregateDef, Document, growth};
use thyme_core::error::ErrorKind;
use thyme_core::{EntityKey, EventTime, Extent, Position, Span, Value};
use thyme_engine::{Begun, CommitNote, Engine, Memory, Options, Parts, ReadAt};
use thyme_log::DirDisk;
use thyme_store::{MemoryStore, Room};
use thyme_testing::clock::HandClock;
use thyme_testing::definitions::{Derived, Output, RAW, Raw, document};
use thyme_testing::ledger::{Event, Ledger, START_US};
use thyme_testing::random::Random;
use thyme_testing::seeds;

const HISTORIES: u64 = 24;
const OPERATIONS: usize = 40;
const WORKERS: u64 = 2;
/// Where events are about, before the clock.
const BEHIND_US: i64 = 5_000_000_000;
/// The clock goes no further: events are as far ahead of their stamps as they would be of that of the ledger.
const OFFSET_MAX_US: i64 = 40_000_000_000;

/// What a history came to.
#[derive(Default)]
struct Tally {
    in_place: usize,
    answered: usize,
    refused: usize,
    removed: u64,
    erased: u64,
}

struct History {
    random: Random,
    clock: HandClock,
    parts: Parts,
    memory: Option<Memory>,
    engine: Option<Engine>,
    raw: Raw,
    derived: Derived,
    kept: Vec<AggregateDef>,
    ledger: Ledger,
    offset_us: i64,
    made: usize,
    tally: Tally,
}

impl History {
    fn new(seed: u64, dir: &Path) -> History {
        let mut random = Random::new(seed);
        let retention = Span::parse(random.pick(&["30s", "20m", "1h"])).unwrap();
        let raw = Raw { retention: Some(retention), ..Raw::random(&mut random) };
        let derived = Derived::random(&mut random, 0);
        let room = Room { cache: 1 << 20, memtable: 1 << 20 };
        let memory = random.pick(&[None, Some(1), Some(40_000)]);
        let memory = memory.map(|bytes| Memory { total: 0, timelines: bytes, records: 1 << 20, store: room });
        let parts = Parts {
            log: Arc::new(DirDisk::open(dir).unwrap()),
            log_options: thyme_log::Options { segment_bytes: 1 << 14 },
            store: Arc::new(MemoryStore::default()),
        };
        let mut history = History {
            random,
            clock: HandClock::at(START_US + BEHIND_US),
            parts,
            memory,
            engine: None,
            made: derived.outputs.len(),
            raw,
            derived,
            kept: Vec::new(),
            ledger: Ledger::default(),
            offset_us: 0,
            tally: Tally::default(),
        };
        history.open();
        let first = history.document(&history.derived);
        history.engine().commit(&first, |_| Ok(())).unwrap();
        history.kept = growth::kept_for(&first.datasets[1].pipelines[0]);
        history
    }

    fn open(&mut self) {
        self.engine = None;
        let (parts, env) = (Some(self.parts.clone()), self.clock.env());
        let options = Options { parts, shards: 2, memory: self.memory, env, ..Options::default() };
        self.engine = Some(Engine::open(options).unwrap());
    }

    fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }

    fn document(&self, derived: &Derived) -> Document {
        let mut document = document(&self.raw, std::slice::from_ref(derived));
        document.featuresets.clear();
        document
    }

    fn push(&mut self) {
        let count = 1 + self.random.below(60);
        let mut events: Vec<Event> = (0..count).map(|_| Event::random(&mut self.random)).collect();
        for event in &mut events {
            event.at += self.offset_us;
            for (_, value) in event.columns.iter_mut().filter(|(name, _)| *name == "at") {
                *value = Value::Datetime(event.at);
            }
        }
        let lines: Vec<String> = events.iter().map(Event::json).collect();
        let engine = self.engine();
        let catalog = engine.catalog();
        let push = engine.read_json(catalog.dataset(RAW).unwrap(), lines.iter().map(|l| l.as_bytes()));
        let position = engine.push(push.unwrap()).unwrap().position;
        engine.snapshot(ReadAt { min_position: Some(position), ..ReadAt::default() }).unwrap();
        self.ledger.note(&self.raw, &events, position);
    }

    fn time_goes_by(&mut self) {
        let by = self.random.pick(&[30, 600, 2_400]) * 1_000_000;
        if self.offset_us + by <= OFFSET_MAX_US {
            self.offset_us += by;
            self.clock.advance(by);
        }
    }

    /// The pipeline with outputs more, fewer or others, for which its timelines have what it takes.
    fn changed(&mut self) -> Derived {
        let mut next = self.derived.clone();
        let random = &mut self.random;
        let known: Vec<_> = next.outputs.iter().filter_map(|output| output.of).collect();
        let wheres: Vec<_> = next.outputs.iter().filter_map(|output| output.predicate.clone()).collect();
        for _ in 0..1 + random.below(2) {
            let mut output = match known.is_empty() {
                true => next.outputs[0].clone(),
                false => Output::random(random, self.made, &known),
            };
            output.predicate = match wheres.is_empty() || random.chance(50) {
                true => None,
                false => Some(wheres[random.below(wheres.len())].clone()),
            };
            output.name = format!("a{}", self.made);
            self.made += 1;
            next.outputs.push(output);
        }
        if random.chance(40) && next.outputs.len() > 3 {
            next.version += 1;
            next.outputs.remove(random.below(next.outputs.len()));
        }
        next
    }

    fn change(&mut self) {
        let next = self.changed();
        let proposed = self.document(&next);
        let Some(kept) = growth::grown(&self.kept, &proposed.datasets[1].pipelines[0]) else { return };
        let begun = self.engine().begin_commit(None, &proposed, CommitNote::default(), |_| Ok(()));
        assert!(matches!(begun.unwrap().2, Begun::Live(_)), "it was to be live at once");
        (self.kept, self.derived) = (kept, next);
        self.tally.in_place += 1;
    }

    fn erase(&mut self) {
        let key = self.random.pick(&["a", "b", "é", "nobody"]);
        let catalog = self.engine().catalog();
        let entity = vec![Value::Str(key.into())];
        self.engine().erase(catalog.dataset(RAW).unwrap(), &[entity]).unwrap();
        self.tally.erased += self.ledger.erase(key) as u64;
    }

    /// Every output by itself, as a read and as a sweep: right, or refused because it reaches what is gone.
    fn check(&mut self, rounds: usize) {
        for _ in 0..rounds {
            let applied = Position::end_of(self.engine().records().1);
            let position = match self.random.chance(60) || self.ledger.is_empty() {
                true => applied,
                false => self.ledger.random_position(&mut self.random).min(applied),
            };
            let pipeline = self.derived.pipeline(&self.raw);
            let times: Vec<EventTime> = (0..4).map(|_| self.ledger.random_time(&mut self.random)).collect();
            let snapshot = self.engine().snapshot(ReadAt { position: Some(position), ..ReadAt::default() });
            let snapshot = snapshot.unwrap();
            let node = snapshot.catalog.dataset("D0").unwrap().readable().unwrap().clone();
            for key in self.ledger.keys(&self.derived) {
                let rows = self.ledger.rows_of(&pipeline, &key);
                let encoded = EntityKey::encode(&key).unwrap().0;
                for (time, (index, output)) in
                    times.iter().flat_map(|time| node.outputs.iter().enumerate().map(move |o| (*time, o)))
                {
                    let after = Extent::of(output.window.as_ref(), node.retention, time).after;
                    let gone = node.removed_until().is_some_and(|removed| after < removed);
                    let mut swept = Vec::new();
                    let mut sink = |_: usize, _: usize, value| swept.push(value);
                    let done = snapshot.sweep(&node, &encoded, &[time], &[index], &mut sink);
                    let got = match self.random.chance(50) {
                        true => snapshot.outputs(&node, &encoded, time, &[index]),
                        false => done.map(|()| swept),
                    };
                    let what = format!("{} of {key:?} at {time:?} as of {position}", output.name);
                    match got {
                        Ok(got) => {
                            assert!(!gone, "{what} was answered");
                            let expected = pipeline.value(index, &rows, time, position).unwrap();
                            assert_eq!(got, [expected], "{what}");
                            self.tally.answered += 1;
                        }
                        Err(error) => {
                            assert!(gone && error.kind() == ErrorKind::Gone, "{what}: {error}");
                            self.tally.refused += 1;
                        }
                    }
                }
            }
        }
    }

    fn operate(&mut self) {
        match self.random.below(20) {
            0..6 => self.push(),
            6..9 => self.time_goes_by(),
            9..13 => self.change(),
            13..15 => self.tally.removed += self.engine().enforce_retention_to_the_edge().unwrap(),
            15 => self.erase(),
            16 => self.engine().checkpoint().unwrap(),
            17 => self.open(),
            _ => self.check(1),
        }
    }
}

#[test]
fn aggregates_that_come_in_place_are_made_of_what_retention_and_erasures_leave() {
    let all = seeds::each(HISTORIES, WORKERS, |seed| {
        let dir = tempfile::tempdir().unwrap();
        let mut history = History::new(seed, dir.path());
        (0..OPERATIONS).for_each(|_| history.operate());
        history.check(2);
        history.open();
        history.change();
        history.check(2);
        history.tally
    });
    let sum = |of: fn(&Tally) -> u64| all.iter().map(of).sum::<u64>();
    let (in_place, answered) = (sum(|t| t.in_place as u64), sum(|t| t.answered as u64));
    let (refused, removed, erased) = (sum(|t| t.refused as u64), sum(|t| t.removed), sum(|t| t.erased));
    assert!(
        in_place > 60 && answered > 2_000 && refused > 500 && removed > 500 && erased > 100,
        "{in_place} in place, {answered} answered, {refused} refused, {removed} removed, {erased} erased"
    );
}
