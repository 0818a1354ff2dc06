//! How many threads fill a pipeline shows in no result.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value as Json, json};
use thyme_core::definition::Document;
use thyme_core::{EntityKey, EventTime, Position, Value};
use thyme_engine::{Begun, CommitNote, Engine, Memory, Options, ReadAt};
use thyme_store::Room;
use thyme_testing::definitions::parse;
use thyme_testing::ledger::START_US;
use thyme_testing::random::Random;

const PUSHES: usize = 60;
const ROWS: usize = 600;
const PEOPLE: usize = 700;
const LIMIT: Duration = Duration::from_secs(120);

/// A dataset with late rows, and pipelines of these names over it.
fn document(derived: &[&str]) -> Document {
    let field = |name: &str, kind: &str, role: &str| json!({"name": name, "type": kind, "role": role, "optional": role == "value"});
    let fields = vec![
        field("k", "str", "key"),
        field("x", "float", "value"),
        field("s", "str", "value"),
        field("at", "datetime", "timestamp"),
    ];
    let outputs = [
        ("n", "count", "int", Json::Null, "1h"),
        ("sum", "sum", "float", json!("x"), "20m"),
        ("most", "max", "float", json!("x"), "6h"),
        ("last", "last", "str", json!("s"), "6h"),
        ("first", "first", "str", json!("s"), "1h"),
    ];
    let aggregates: Vec<Json> = outputs
        .iter()
        .map(|(name, function, _, of, window)| {
            json!({"name": name, "function": function, "of": of, "window": window})
        })
        .collect();
    let mut datasets = vec![json!({"name": "Event", "fields": fields, "max_lateness": "5m"})];
    for name in derived {
        let mut fields = vec![field("k", "str", "key"), field("at", "datetime", "timestamp")];
        fields.extend(outputs.iter().map(|(name, _, kind, ..)| field(name, kind, "value")));
        datasets.push(json!({"name": name, "fields": fields, "pipelines": [{
            "name": "compute", "version": 1, "inputs": ["Event"], "operators": [
                {"op": "filter", "expr": {"op": "ne", "args": [{"col": "s"}, {"lit": "out"}]}},
                {"op": "groupby", "keys": ["k"]},
                {"op": "aggregate", "aggregates": aggregates},
            ],
        }]}));
    }
    parse(json!({"format": 1, "datasets": datasets, "featuresets": []}))
}

/// Some of a few people most of the time, so that records have many rows of one and few of others.
fn lines(random: &mut Random, push: usize) -> Vec<String> {
    let line = |random: &mut Random| {
        let person = random.below(PEOPLE).min(random.below(PEOPLE)).min(random.below(PEOPLE));
        let seconds = push as i64 * 60 + random.between(-600, 30);
        let at = thyme_core::time::format_rfc3339(START_US + seconds * 1_000_000);
        let x = random.between(-1000, 1000) as f64 * random.pick(&[0.1, 1e-9, 1e12]);
        let s = random.pick(&["", "a", "é", "out", "a longer one"]);
        format!("{{\"k\":\"{person}\",\"x\":{x},\"s\":\"{s}\",\"at\":\"{at}\"}}")
    };
    (0..ROWS).map(|_| line(random)).collect()
}

fn push_all(engine: &Engine) {
    let mut random = Random::new(23);
    for number in 0..PUSHES {
        let lines = lines(&mut random, number);
        let catalog = engine.catalog();
        let live = catalog.dataset("Event").unwrap();
        let push = engine.read_json(live, lines.iter().map(|line| line.as_bytes())).unwrap();
        engine.push(push).unwrap();
    }
}

/// Every output of everybody at some times, as of now.
fn read(engine: &Engine, dataset: &str) -> Vec<Vec<Value>> {
    let position = Some(Position::end_of(engine.records().0));
    let snapshot = engine.snapshot(ReadAt { position, ..ReadAt::default() }).unwrap();
    let node = snapshot.catalog.dataset(dataset).unwrap().readable().unwrap().clone();
    let all: Vec<usize> = (0..node.outputs.len()).collect();
    let mut answers = Vec::new();
    for person in 0..PEOPLE {
        let key = EntityKey::encode(&[Value::Str(person.to_string().into())]).unwrap().0;
        for minutes in [0, 17, 40, 61, 400] {
            let time = EventTime(START_US + minutes * 60_000_000);
            answers.push(snapshot.outputs(&node, &key, time, &all).unwrap());
        }
    }
    answers
}

fn options(path: &Path, backfill_cores: usize, memory: Option<usize>) -> Options {
    let store = Room { cache: 1 << 20, memtable: 1 << 20 };
    let memory = memory.map(|timelines| Memory { total: 0, timelines, records: 1 << 20, store });
    Options { path: Some(path.into()), backfill_cores, memory, ..Options::default() }
}

#[test]
fn any_number_of_cores_fills_the_bits_of_a_pipeline_that_was_live_from_the_start() {
    let mut all = Vec::new();
    for (cores, memory) in [(1, None), (2, None), (3, Some(300_000)), (8, Some(1))] {
        let directory = tempfile::tempdir().unwrap();
        let open = |cores| Engine::open(options(directory.path(), cores, memory)).unwrap();
        let engine = open(cores);
        engine.commit(&document(&["Live"]), |_| Ok(())).unwrap();
        push_all(&engine);
        engine.commit(&document(&["Live", "Filled"]), |_| Ok(())).unwrap();
        let answers = read(&engine, "Live");
        assert!(read(&engine, "Filled") == answers, "with {cores} cores");
        drop(engine);
        assert!(read(&open(1), "Filled") == answers, "with {cores} cores, after a restart");
        all.push(answers);
    }
    assert!(all.iter().all(|answers| *answers == all[0]));
    let counts = |n: i64| all[0].iter().filter(|outputs| outputs[0] == Value::Int(n)).count();
    assert!(counts(0) > 0 && counts(1) > 0 && counts(0) < all[0].len() / 2, "most have something to say");
}

#[test]
fn a_fill_goes_on_with_another_number_of_cores() {
    for (before, after) in [(1, 3), (3, 1), (4, 2)] {
        let directory = tempfile::tempdir().unwrap();
        let (engine, stepper) = Engine::open_stepped(options(directory.path(), before, None)).unwrap();
        engine.commit(&document(&["Live"]), |_| Ok(())).unwrap();
        push_all(&engine);
        stepper.finish();
        let document = document(&["Live", "Filled"]);
        let (_, id, begun) = engine.begin_commit(None, &document, CommitNote::default(), |_| Ok(())).unwrap();
        assert_eq!(begun, Begun::Pending);
        while engine.pending_commit().unwrap().record < PUSHES as u64 / 2 {
            assert!(stepper.fill(7));
        }
        assert!(stepper.save_fill().unwrap());
        assert!(stepper.fill(7));
        drop((engine, stepper));
        let engine = Engine::open(options(directory.path(), after, None)).unwrap();
        assert!(engine.wait_commit(&id, LIMIT).unwrap().is_some());
        assert!(read(&engine, "Filled") == read(&engine, "Live"), "with {before}, then {after}");
    }
}
