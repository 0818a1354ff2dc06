//! An audit of a log whose oldest records are gone: what can be asked is compared, and what cannot is said.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use serde_json::{Value as Json, json};
use thyme_audit::{Asked, Options, Origin, Subject, explain, verify};
use thyme_core::Value;
use thyme_engine::{Engine, ReadAt};
use thyme_query::{NoExtractors, Reader};
use thyme_testing::clock::HandClock;
use thyme_testing::definitions::parse;
use thyme_testing::ledger::START_US;
use thyme_testing::random::Random;

const HOUR: i64 = 3_600_000_000;

fn definitions(retention: Option<&str>) -> Json {
    let field = |name: &str, kind: &str, role: &str| json!({"name": name, "type": kind, "role": role});
    let raw = |name: &str, retention: Option<&str>| {
        json!({"name": name, "index": true, "max_lateness": "5h", "retention": retention, "fields": [
            field("k", "str", "key"), field("x", "int", "value"), field("at", "datetime", "timestamp"),
        ]})
    };
    let derived = |name: &str, before: &[Json], of: &str| {
        let mut operators = before.to_vec();
        operators.push(json!({"op": "groupby", "keys": ["k"]}));
        operators.push(json!({"op": "aggregate", "aggregates": [
            {"name": "n", "function": "count"},
            {"name": "total", "function": "sum", "of": of, "window": "1d"},
        ]}));
        json!({"name": name, "fields": [
            field("k", "str", "key"), field("at", "datetime", "timestamp"), field("n", "int", "value"),
            field("total", "int", "value"),
        ], "pipelines": [{"name": "compute", "version": 1, "inputs": ["Event"], "operators": operators}]})
    };
    let join = json!({"op": "join", "dataset": "Plan", "left_on": ["k"], "right_on": ["k"],
        "fields": [{"name": "y", "field": "x"}]});
    json!({"format": 1, "featuresets": [], "datasets": [
        raw("Event", retention), raw("Plan", Some("3d")), derived("Plain", &[], "x"),
        derived("Joined", &[join], "y"),
    ]})
}

fn push(engine: &Engine, dataset: &str, rows: &[Json]) {
    let lines: Vec<String> = rows.iter().map(Json::to_string).collect();
    let catalog = engine.catalog();
    let live = catalog.dataset(dataset).unwrap();
    let push = engine.read_json(live, lines.iter().map(|line| line.as_bytes())).unwrap();
    let at = engine.push(push).unwrap().position;
    engine.snapshot(ReadAt { min_position: Some(at), ..ReadAt::default() }).unwrap();
}

fn live(engine: &Engine, clock: &HandClock, random: &mut Random, days: i64) {
    use thyme_core::Env;
    for _ in 0..days * 4 {
        clock.advance(6 * HOUR);
        for dataset in ["Event", "Plan"] {
            let mut row = || {
                let at = clock.now_us() - random.below(9 * 3_600) as i64 * 1_000_000;
                let (k, x) = (random.below(5), random.below(100));
                json!({"k": format!("k{k}"), "x": x, "at": thyme_core::time::format_rfc3339(at)})
            };
            let rows: Vec<Json> = (0..6).map(|_| row()).collect();
            push(engine, dataset, &rows);
        }
    }
}

#[test]
fn what_is_left_of_a_cut_log_says_what_is_served_and_what_it_cannot_say() {
    let (dir, clock, mut random) = (tempfile::tempdir().unwrap(), HandClock::at(START_US), Random::new(5));
    let mut options =
        thyme_engine::Options { path: Some(dir.path().to_owned()), shards: 2, ..Default::default() };
    options.env = clock.env();
    options.log.segment_bytes = 8_000;
    let engine = Arc::new(Engine::open(options).unwrap());
    engine.commit(&parse(definitions(Some("4d"))), |_| Ok(())).unwrap();
    let reader = Reader::new(engine.clone(), Arc::new(NoExtractors));
    let all = |seed: u64| verify(&reader, Options { reference: None, samples: 80, seed }).unwrap();
    for round in 0..3 {
        live(&engine, &clock, &mut random, 8);
        engine.checkpoint().unwrap();
        engine.enforce_retention().unwrap();
        let report = all(round);
        assert_eq!(report.differences, []);
        assert!(report.compared() > 100, "{report:?}");
    }
    assert!(engine.log_start().0 > 1);
    // Late rows of just after the cut are late again, and rows of before it are in nothing that reaches back
    // without end.
    engine.commit(&parse(definitions(None)), |_| Ok(())).unwrap();
    live(&engine, &clock, &mut random, 2);
    for seed in 3..6 {
        assert_eq!(all(seed).differences, []);
    }
    let subject = Subject::Field { dataset: "Plain".into(), field: "n".into() };
    let asked = Asked { subject, at: ReadAt::default(), limit: 3, inputs: Vec::new() };
    let explained = explain(&reader, asked, &|_| Ok(vec![Value::Str("k1".into())])).unwrap();
    let Origin::Field(field) = &explained.explanation.origin else { panic!("a field") };
    assert!(field.is_same() && field.counted.total > 0);
    let catalog = engine.catalog();
    let begins = engine.history_from(catalog.dataset("Plain").unwrap()).unwrap().to_rfc3339();
    let notes = explained.explanation.notes.join("\n");
    assert!(notes.contains(&begins), "{notes}");
}
