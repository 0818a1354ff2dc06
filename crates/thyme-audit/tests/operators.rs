//! Pipelines of several inputs, and with operators that derive rows again, give one thing, bit for bit: live, filled from the log, after a restart, after
//! an erasure, and as the oracle computes them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rides;

use std::sync::Arc;

use rides::{SECOND, commit, field, is_verified, join, open, push, raw, values};
use serde_json::{Value as Json, json};
use thyme_audit::{Asked, Origin, Subject, explain};
use thyme_core::{EventTime, Position, Value};
use thyme_engine::{Engine, ReadAt};
use thyme_query::{NoExtractors, Reader};
use thyme_testing::random::Random;

const SEEDS: u64 = 6;

/// Rides, their drivers, and tours, which have other columns.
fn inputs() -> Vec<Json> {
    let tour = [
        field("tour", "int", "key"),
        field("driver", "str", "value"),
        field("price", "int", "value"),
        field("began", "datetime", "timestamp"),
        field("guide", "str", "value"),
    ];
    [raw(), vec![json!({"name": "Tour", "fields": tour})]].concat()
}

fn dedup(by: &[&str], within: Option<&str>) -> Json {
    match within {
        Some(within) => json!({"op": "dedup", "by": by, "within": within}),
        None => json!({"op": "dedup", "by": by}),
    }
}

fn renamed(columns: &[(&str, &str)]) -> Json {
    let columns = columns.iter().map(|(from, name)| json!({"name": name, "from": from}));
    json!({"op": "rename", "columns": columns.collect::<Vec<_>>()})
}

/// Tours with the columns of rides, after `before`.
fn with_tours(before: &[Json]) -> Json {
    let mut operators = before.to_vec();
    operators.push(renamed(&[("price", "fare"), ("began", "at")]));
    json!({"op": "union", "others": [{"input": "Tour", "operators": operators}]})
}

/// What is tried: the key that the rows are grouped by, and the operators before that.
fn pipelines() -> Vec<(&'static str, &'static str, Vec<Json>)> {
    let paid =
        json!({"op": "filter", "expr": {"op": "gt", "args": [{"col": "fare"}, {"lit": 2, "type": "int"}]}});
    vec![
        ("Near", "driver", vec![dedup(&["driver"], Some("7s"))]),
        ("Ever", "driver", vec![dedup(&["fare", "driver"], None)]),
        ("Of", "driver", vec![paid, dedup(&["fare"], Some("30s")), dedup(&["driver"], Some("5s"))]),
        ("Joined", "city", vec![join("left"), dedup(&["city"], Some("9s"))]),
        ("All", "driver", vec![with_tours(&[])]),
        (
            "AllNear",
            "driver",
            vec![dedup(&["fare"], None), with_tours(&[join("left")]), dedup(&["driver"], Some("4s"))],
        ),
        ("AllJoined", "city", vec![join("inner"), with_tours(&[join("left"), dedup(&["city"], Some("6s"))])]),
        (
            "AllThenJoined",
            "city",
            vec![
                with_tours(&[dedup(&["guide"], Some("9s"))]),
                join("left"),
                dedup(&["city", "fare"], Some("20s")),
            ],
        ),
        ("Inner", "city", vec![dedup(&["fare"], Some("20s")), join("inner"), dedup(&["city", "fare"], None)]),
    ]
}

/// A dataset of aggregates, and one of the rows before them.
fn made((name, key, before): &(&str, &str, Vec<Json>), suffix: &str) -> [Json; 2] {
    let fields = [
        field(key, "str", "key"),
        field("n", "int", "value"),
        field("total", "int", "value"),
        field("first", "int", "value"),
        field("when", "datetime", "timestamp"),
    ];
    let rows =
        [field(key, "str", "key"), field("fare", "int", "value"), field("at", "datetime", "timestamp")];
    let kept = json!({"op": "select", "columns": [key, "fare"]});
    let mut rows_of = before.clone();
    rows_of.push(kept);
    let mut operators = before.clone();
    operators.push(json!({"op": "groupby", "keys": [key]}));
    operators.push(json!({"op": "aggregate", "aggregates": [
        {"name": "n", "function": "count", "window": "20s"},
        {"name": "total", "function": "sum", "of": "fare"},
        {"name": "first", "function": "first", "of": "fare", "window": "1m"}]}));
    let dataset = |name: String, fields: &[Json], operators: &[Json]| {
        let has_tours = operators.iter().any(|operator| operator["op"] == "union");
        let inputs = if has_tours { json!(["Ride", "Tour"]) } else { json!(["Ride"]) };
        let pipeline = json!({"name": "p", "inputs": inputs, "operators": operators});
        json!({"name": name, "fields": fields, "pipelines": [pipeline]})
    };
    [
        dataset(format!("{name}{suffix}"), &fields, &operators),
        dataset(format!("{name}Row{suffix}"), &rows, &rows_of),
    ]
}

/// The rows of two pipelines, one of which reads what another makes, and aggregates of them.
fn chained(suffix: &str) -> Vec<Json> {
    let fields = [
        field("driver", "str", "key"),
        field("fare", "int", "value"),
        field("when", "datetime", "timestamp"),
    ];
    let tour = [renamed(&[("price", "fare")]), dedup(&["driver"], Some("3s"))];
    let ride = json!({"name": "rides", "inputs": ["Ride"], "operators": [dedup(&["ride"], None)]});
    let once = format!("OnceTour{suffix}");
    let tours = json!({"name": "tours", "inputs": [once], "operators": []});
    let both = format!("Both{suffix}");
    let stats = [
        field("driver", "str", "key"),
        field("n", "int", "value"),
        field("total", "int", "value"),
        field("at", "datetime", "timestamp"),
    ];
    let operators = json!([dedup(&["driver", "fare"], Some("9s")), {"op": "groupby", "keys": ["driver"]},
        {"op": "aggregate", "aggregates": [
            {"name": "n", "function": "count"}, {"name": "total", "function": "sum", "of": "fare", "window": "30s"}]}]);
    vec![
        json!({"name": once, "fields": fields, "pipelines": [
            {"name": "p", "inputs": ["Tour"], "operators": tour}]}),
        json!({"name": both, "fields": fields, "pipelines": [ride, tours]}),
        json!({"name": format!("BothStats{suffix}"), "fields": stats, "pipelines": [
            {"name": "p", "inputs": [both], "operators": operators}]}),
    ]
}

fn commit_all(engine: &Engine, suffixes: &[&str]) {
    let mut datasets = inputs();
    for suffix in suffixes {
        datasets.extend(pipelines().iter().flat_map(|pipeline| made(pipeline, suffix)));
        datasets.extend(chained(suffix));
    }
    commit(engine, &datasets);
}

/// Some pushes of all datasets, in any order of their times.
fn history(engine: &Engine, random: &mut Random) -> Vec<Position> {
    let mut positions = Vec::new();
    for number in 0..12 {
        let dataset = random.pick(&["Ride", "Ride", "Ride", "Tour", "Tour", "Driver"]);
        let count = 1 + random.below(9);
        let rows: Vec<Json> = (0..count)
            .map(|row| {
                let at = random.between(0, 60);
                let driver = random.pick(&["a", "b", "c"]);
                match dataset {
                    "Driver" => {
                        let city =
                            if random.chance(15) { Json::Null } else { json!(random.pick(&["Oslo", "Bergen"])) };
                        json!({"driver": driver, "city": city, "at": at})
                    }
                    "Tour" => {
                        let guide = random.pick(&["g", "h"]);
                        let price = random.between(1, 5);
                        json!({"tour": number * 10 + row, "driver": driver, "price": price, "guide": guide, "began": at})
                    }
                    _ => {
                        let fare = if random.chance(10) { Json::Null } else { json!(random.between(1, 5)) };
                        let driver = if random.chance(10) { Json::Null } else { json!(driver) };
                        json!({"ride": number * 10 + row, "driver": driver, "fare": fare, "at": at})
                    }
                }
            })
            .collect();
        positions.push(push(engine, dataset, &rows));
    }
    positions
}

fn run(seed: u64) {
    let mut random = Random::new(seed);
    let root = tempfile::tempdir().unwrap();
    let engine = open(root.path());
    commit_all(&engine, &["Live"]);
    let mut positions = history(&engine, &mut random);
    commit_all(&engine, &["Live", "Filled"]);
    positions.extend(history(&engine, &mut random));
    let alike = |engine: &Engine, positions: &[Position], what: &str| {
        let mut all = Vec::new();
        let made = pipelines().into_iter().flat_map(|(name, ..)| [(name, ""), (name, "Row")]);
        for (name, kind) in made.chain([("Both", ""), ("Both", "Stats")]) {
            let of = |suffix: &str| {
                let dataset = format!("{name}{kind}{suffix}");
                values(engine, &dataset, &["a", "b", "c", "Oslo", "Bergen"], 13, positions)
            };
            let (live, filled) = (of("Live"), of("Filled"));
            assert_eq!(live, filled, "seed {seed}, {name}{kind}, {what}");
            let is_some = |row: &&Vec<Value>| !row.is_empty() && row[0] != Value::Int(0);
            assert!(live.iter().any(|row| is_some(&row)), "seed {seed}, {name}{kind}, {what}");
            all.push(live);
        }
        all
    };
    let before = alike(&engine, &positions, "live");
    is_verified(&engine, 30, 7, &format!("seed {seed}"));
    drop(engine);
    let engine = open(root.path());
    assert_eq!(alike(&engine, &positions, "restarted"), before, "seed {seed}");
    for (dataset, key) in
        [("Driver", Value::Str("a".into())), ("Ride", Value::Int(1)), ("Tour", Value::Int(2))]
    {
        let live = engine.catalog().dataset(dataset).unwrap().clone();
        engine.erase(&live, &[vec![key]]).unwrap();
    }
    let after = push(&engine, "Ride", &[json!({"ride": 999, "driver": "b", "fare": 5, "at": 30})]);
    alike(&engine, &[after], "erased");
    is_verified(&engine, 30, 7, &format!("seed {seed}, erased"));
}

#[test]
fn rows_that_are_derived_again_are_the_same_however_they_came() {
    (0..SEEDS).for_each(run);
}

#[test]
fn an_explanation_says_which_event_is_repeated() {
    let root = tempfile::tempdir().unwrap();
    let engine = open(root.path());
    commit_all(&engine, &["Live"]);
    let ride = |ride: i64, at: i64| json!({"ride": ride, "driver": "a", "fare": 1, "at": at});
    let pushed = push(&engine, "Ride", &[ride(1, 10), ride(2, 13), ride(3, 5)]);
    let reader = Reader::new(engine.clone(), Arc::new(NoExtractors));
    let subject = Subject::Field { dataset: "NearLive".into(), field: "total".into() };
    let (time, min_position) = (Some(EventTime(60 * SECOND)), Some(pushed));
    let at = ReadAt { time, min_position, ..ReadAt::default() };
    let asked = Asked { subject, at, inputs: Vec::new(), limit: 9 };
    let explained = explain(&reader, asked, &|_| Ok(vec![Value::Str("a".into())])).unwrap();
    let Origin::Field(field) = &explained.explanation.origin else { unreachable!("it is a field") };
    assert!(field.is_same() && field.counted.total == 1, "{field:?}");
    assert_eq!(field.operators[..1], ["dedup(by=[\"driver\"], within=\"7s\")"]);
    let left_out: Vec<_> = field.left_out.values().flat_map(|group| &group.shown).collect();
    let says = |why: &str| why == "dedup(by=[\"driver\"], within=\"7s\") has one before it that it repeats";
    assert!(
        left_out.len() == 2 && left_out.iter().all(|e| e.why.as_deref().is_some_and(says)),
        "{left_out:?}"
    );
}
