//! What is older than its retention leaves the timelines, and every read is answered as by an engine that keeps
//! everything, or refused because it reaches what is gone.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "erasure/fuse.rs"]
mod fuse;

use std::path::Path;
use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray, TimestampMicrosecondArray};
use serde_json::{Value as Json, json};
use thyme_core::definition::Document;
use thyme_core::error::ErrorKind;
use thyme_core::{EntityKey, Env, EventTime, Position, Result, Value};
use thyme_engine::{Engine, Memory, Node, Options, Parts, ReadAt, Snapshot};
use thyme_log::DirDisk;
use thyme_query::{Known, Labels, NoExtractors, Reader};
use thyme_store::{MemoryStore, Room};
use thyme_testing::clock::HandClock;
use thyme_testing::definitions::parse;
use thyme_testing::ledger::START_US;
use thyme_testing::random::Random;

const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;
const USERS: usize = 12;

fn field(name: &str, kind: &str, role: &str) -> Json {
    json!({"name": name, "type": kind, "role": role})
}

fn raw(name: &str, retention: Option<&str>) -> Json {
    let mut dataset = json!({"name": name, "index": true, "fields": [
        field("user", "str", "key"), field("amount", "float", "value"), field("at", "datetime", "timestamp"),
    ]});
    if let Some(retention) = retention {
        dataset["retention"] = retention.into();
    }
    dataset
}

fn derived(name: &str, input: &str, of: &str, before: &[Json]) -> Json {
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

/// Visits are kept for ten days and plans for five; orders forever.
fn document(more: &[Json]) -> Document {
    let mut datasets = vec![
        raw("Visit", Some("10d")),
        raw("Plan", Some("5d")),
        raw("Order", None),
        derived("ByUser", "Visit", "amount", &[]),
        derived("Joined", "Visit", "paid", &[joined()]),
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

fn joined() -> Json {
    json!({"op": "join", "dataset": "Plan", "left_on": ["user"], "right_on": ["user"],
        "fields": [{"name": "paid", "field": "amount"}]})
}

/// An engine that keeps everything, and one over durable parts that does not, which are told the same.
struct World {
    clock: HandClock,
    parts: Parts,
    memory: Option<Memory>,
    twin: Engine,
    engine: Arc<Engine>,
    random: Random,
    removed: u64,
}

fn parts(dir: &Path) -> Parts {
    Parts {
        log: Arc::new(DirDisk::open(dir).unwrap()),
        log_options: thyme_log::Options { segment_bytes: 20_000 },
        store: Arc::new(MemoryStore::default()),
    }
}

fn open(parts: Option<&Parts>, clock: &HandClock, memory: Option<Memory>) -> Engine {
    let env = clock.env();
    Engine::open(Options { parts: parts.cloned(), shards: 2, memory, env, ..Options::default() }).unwrap()
}

fn push(engine: &Engine, dataset: &str, rows: &[Json]) {
    let lines: Vec<String> = rows.iter().map(Json::to_string).collect();
    let catalog = engine.catalog();
    let live = catalog.dataset(dataset).unwrap();
    let receipt = engine.push(engine.read_json(live, lines.iter().map(|l| l.as_bytes())).unwrap()).unwrap();
    engine.snapshot(ReadAt { min_position: Some(receipt.position), ..ReadAt::default() }).unwrap();
}

impl World {
    fn new(dir: &Path, memory: Option<Memory>, seed: u64) -> World {
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
        };
        world.commit(&[]);
        world
    }

    fn commit(&mut self, more: &[Json]) {
        for engine in [&self.twin, &*self.engine] {
            engine.commit(&document(more), |_| Ok(())).unwrap();
        }
    }

    fn now(&self) -> i64 {
        self.clock.now_us()
    }

    /// A day of events every six hours; some come late, by up to forty days.
    fn live(&mut self, days: i64) {
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

    fn row(&mut self) -> Json {
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

    fn reopen(&mut self) {
        self.engine.close();
        self.engine = Arc::new(open(Some(&self.parts), &self.clock, self.memory));
    }

    /// Compares everything at many `(T, S)`; gives how many reads were answered, and how many refused.
    fn compare(&self) -> (usize, usize) {
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
fn compare_reads(ours: &Snapshot, theirs: &Snapshot, name: &str, user: &str, time: i64) -> (usize, usize) {
    let key = EntityKey::encode(&[Value::Str(user.into())]).unwrap().0;
    let node = |of: &Snapshot| of.catalog.dataset(name).unwrap().readable().unwrap().clone();
    let (mine, other, time) = (node(ours), node(theirs), EventTime(time));
    let mut counts = (0, 0);
    let mut check = |window: Option<i64>, got: Result<Vec<Value>>, expected: Vec<Value>| {
        let reach = window.into_iter().chain(mine.retention.map(|r| r.0)).min();
        let after = reach.map_or(i64::MIN, |reach| time.0 - reach);
        let gone = mine.removed_until().is_some_and(|removed| after < removed.0);
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
            let window = output.window.map(|w| w.0);
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
        reader.offline(snapshot, &plan, &labels, shape, Known::Now).map(|set| set.batch.num_rows())
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
