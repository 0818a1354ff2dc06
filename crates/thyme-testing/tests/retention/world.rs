//! An engine that removes what is old, and a twin that keeps everything.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use thyme_core::definition::Document;
use thyme_core::error::ErrorKind;
use thyme_core::{EntityKey, Env, EventTime, Extent, Position, Result, Value, Window};
use thyme_engine::{Engine, Memory, Node, Options, Parts, ReadAt, Snapshot};
use thyme_log::DirDisk;
use thyme_store::MemoryStore;
use thyme_testing::clock::HandClock;
use thyme_testing::definitions::parse;
use thyme_testing::ledger::START_US;
use thyme_testing::random::Random;

pub const HOUR: i64 = 3_600_000_000;
pub const DAY: i64 = 24 * HOUR;
pub const USERS: usize = 12;

pub fn field(name: &str, kind: &str, role: &str) -> Json {
    json!({"name": name, "type": kind, "role": role})
}

pub fn raw(name: &str, retention: Option<&str>) -> Json {
    let mut dataset = json!({"name": name, "index": true, "fields": [
        field("user", "str", "key"), field("amount", "float", "value"), field("at", "datetime", "timestamp"),
    ]});
    if let Some(retention) = retention {
        dataset["retention"] = retention.into();
    }
    dataset
}

pub fn derived(name: &str, input: &str, of: &str, before: &[Json]) -> Json {
    let mut operators = before.to_vec();
    operators.push(json!({"op": "groupby", "keys": ["user"]}));
    operators.push(json!({"op": "aggregate", "aggregates": [
        {"name": "n", "function": "count"},
        {"name": "total", "function": "sum", "of": of, "window": "2d"},
        {"name": "last", "function": "last", "of": of},
    ]}));
    json!({"name": name, "fields": [
        field("user", "str", "key"), field("at", "datetime", "timestamp"), field("n", "int", "value"),
        field("total", "float", "value"), field("last", "float", "value"),
    ], "pipelines": [{"name": "compute", "version": 1, "inputs": [input], "operators": operators}]})
}

/// How long orders are kept, and how far behind a visit may be.
#[derive(Clone, Copy, Default)]
pub struct Terms {
    pub orders: Option<&'static str>,
    pub lateness: Option<&'static str>,
}

/// Visits are kept for ten days and plans for five; orders forever, or as `terms` say.
pub fn document(terms: Terms, more: &[Json]) -> Document {
    let mut visits = raw("Visit", Some("10d"));
    if let Some(lateness) = terms.lateness {
        visits["max_lateness"] = lateness.into();
    }
    let mut datasets = vec![
        visits,
        raw("Plan", Some("5d")),
        raw("Order", terms.orders),
        derived("ByUser", "Visit", "amount", &[]),
        derived("Joined", "Visit", "paid", &[joined()]),
        derived("Once", "Visit", "amount", &[once("12h"), joined(), once("2h")]),
    ];
    datasets.extend(more.iter().cloned());
    let ids = json!({"id": 1, "name": "user", "type": "str"});
    let feature = |id: u32, name: &str| {
        json!({"id": id, "name": name, "type": if name == "n" { "int" } else { "float" },
            "ref": {"dataset": "ByUser", "field": name}})
    };
    let features = [ids, feature(2, "n"), feature(3, "total")];
    let featureset = json!({"name": "Features", "features": features, "extractors": []});
    parse(json!({"format": 1, "datasets": datasets, "featuresets": [featureset]}))
}

pub fn joined() -> Json {
    json!({"op": "join", "dataset": "Plan", "left_on": ["user"], "right_on": ["user"],
        "fields": [{"name": "paid", "field": "amount"}]})
}

pub fn once(within: &str) -> Json {
    json!({"op": "dedup", "by": ["user"], "within": within})
}

/// An engine that keeps everything, and one over durable parts that does not, which are told the same.
pub struct World {
    pub clock: HandClock,
    pub parts: Parts,
    pub memory: Option<Memory>,
    pub twin: Engine,
    pub engine: Arc<Engine>,
    pub random: Random,
    pub removed: u64,
    pub terms: Terms,
}

pub fn parts(dir: &Path) -> Parts {
    Parts {
        log: Arc::new(DirDisk::open(dir).unwrap()),
        log_options: thyme_log::Options { segment_bytes: 20_000 },
        store: Arc::new(MemoryStore::default()),
    }
}

pub fn open(parts: Option<&Parts>, clock: &HandClock, memory: Option<Memory>) -> Engine {
    let env = clock.env();
    Engine::open(Options { parts: parts.cloned(), shards: 2, memory, env, ..Options::default() }).unwrap()
}

pub fn push(engine: &Engine, dataset: &str, rows: &[Json]) {
    let lines: Vec<String> = rows.iter().map(Json::to_string).collect();
    let catalog = engine.catalog();
    let live = catalog.dataset(dataset).unwrap();
    let receipt = engine.push(engine.read_json(live, lines.iter().map(|l| l.as_bytes())).unwrap()).unwrap();
    engine.snapshot(ReadAt { min_position: Some(receipt.position), ..ReadAt::default() }).unwrap();
}

impl World {
    pub fn new(dir: &Path, memory: Option<Memory>, seed: u64) -> World {
        World::under(Terms::default(), dir, memory, seed)
    }

    pub fn under(terms: Terms, dir: &Path, memory: Option<Memory>, seed: u64) -> World {
        let (clock, parts) = (HandClock::at(START_US), parts(dir));
        let (twin, engine) = (open(None, &clock, None), open(Some(&parts), &clock, memory));
        let mut world = World {
            clock,
            parts,
            memory,
            twin,
            engine: Arc::new(engine),
            random: Random::new(seed),
            removed: 0,
            terms,
        };
        world.commit(&[]);
        world
    }

    pub fn commit(&mut self, more: &[Json]) {
        for engine in [&self.twin, &*self.engine] {
            engine.commit(&document(self.terms, more), |_| Ok(())).unwrap();
        }
    }

    pub fn now(&self) -> i64 {
        self.clock.now_us()
    }

    /// A day of events every six hours; some come late, by up to forty days.
    pub fn live(&mut self, days: i64) {
        for _ in 0..days * 4 {
            self.clock.advance(DAY / 4);
            for dataset in ["Visit", "Plan", "Order"] {
                let rows: Vec<Json> = (0..8).map(|_| self.row()).collect();
                for engine in [&self.twin, &*self.engine] {
                    push(engine, dataset, &rows);
                }
            }
        }
    }

    pub fn row(&mut self) -> Json {
        let behind = match self.random.below(20) {
            0 => 40 * DAY,
            1 | 2 => 12 * DAY,
            _ => DAY / 4,
        };
        let at = self.now() - self.random.below(behind as usize / 1_000) as i64 * 1_000;
        // Some users have most of the events.
        let user = self.random.below(USERS).min(self.random.below(USERS));
        let amount = self.random.below(1_000) as f64 * 0.1;
        json!({"user": format!("u{user}"), "amount": amount, "at": thyme_core::time::format_rfc3339(at)})
    }

    pub fn reopen(&mut self) {
        self.engine.close();
        self.engine = Arc::new(open(Some(&self.parts), &self.clock, self.memory));
    }

    /// Compares everything at many `(T, S)`; gives how many reads were answered, and how many refused.
    pub fn compare(&self) -> (usize, usize) {
        let mut counts = (0, 0);
        let last = self.engine.records().1;
        for position in [last, last * 3 / 4, last / 2].map(Position::end_of) {
            let at = ReadAt { position: Some(position), ..ReadAt::default() };
            let (ours, theirs) = (self.engine.snapshot(at).unwrap(), self.twin.snapshot(at).unwrap());
            let names: Vec<String> = ours.catalog.datasets.keys().cloned().collect();
            for name in &names {
                let mut time = START_US - DAY;
                while time < self.now() + DAY {
                    for user in 0..USERS {
                        let answers = compare_reads(&ours, &theirs, name, &format!("u{user}"), time);
                        counts = (counts.0 + answers.0, counts.1 + answers.1);
                    }
                    time += 53 * HOUR;
                }
            }
        }
        counts
    }
}

/// Each read of one entity: those of outputs alone, of all that its window can be, or of the latest row.
pub fn compare_reads(
    ours: &Snapshot,
    theirs: &Snapshot,
    name: &str,
    user: &str,
    time: i64,
) -> (usize, usize) {
    let key = EntityKey::encode(&[Value::Str(user.into())]).unwrap().0;
    let node = |of: &Snapshot| of.catalog.dataset(name).unwrap().readable().unwrap().clone();
    let (mine, other, time) = (node(ours), node(theirs), EventTime(time));
    let mut counts = (0, 0);
    let mut check = |window: Option<Window>, got: Result<Vec<Value>>, expected: Vec<Value>| {
        let after = Extent::of(window.as_ref(), mine.retention, time).after;
        let gone = mine.removed_until().is_some_and(|removed| after < removed);
        match got {
            Ok(values) => {
                assert!(!gone, "{name} {user} at {time:?} was answered");
                assert_eq!(values, expected, "{name} {user} at {time:?} as of {}", ours.position);
                counts.0 += 1;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Gone, "{error}");
                assert!(gone, "{name} {user} at {time:?} was refused: {error}");
                counts.1 += 1;
            }
        }
    };
    if mine.is_index() {
        let row = |of: &Snapshot, node: &Node| {
            of.latest_row(node, &key, time).map(|row| {
                row.map(|(at, row)| [vec![Value::Datetime(at.0)], row].concat()).unwrap_or_default()
            })
        };
        check(None, row(ours, &mine), row(theirs, &other).unwrap());
    } else {
        for (index, output) in mine.outputs.iter().enumerate() {
            let window = output.window;
            let read = |of: &Snapshot, node: &Node| of.outputs(node, &key, time, &[index]);
            let expected = read(theirs, &other).unwrap();
            check(window, read(ours, &mine), expected.clone());
            let mut swept = Vec::new();
            let done = ours.sweep(&mine, &key, &[time], &[index], &mut |_, _, value| swept.push(value));
            check(window, done.map(|()| swept), expected);
        }
        let seen = |of: &Snapshot, node: &Node| of.has_events(node, &key, time).map(|s| vec![Value::Bool(s)]);
        check(None, seen(ours, &mine), seen(theirs, &other).unwrap());
    }
    counts
}
