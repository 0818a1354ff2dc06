//! Pipelines over what other pipelines make give what one pipeline with all their operators gives, bit for bit: live,
//! filled from the log, after a restart, after an erasure, and as the oracle computes them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rides;

use rides::{commit, field, is_verified, join, open, push, raw, values};
use serde_json::{Value as Json, json};
use thyme_core::{Position, Value};
use thyme_engine::Engine;
use thyme_testing::random::Random;

const SEEDS: u64 = 12;

fn made(name: &str, fields: &[Json], input: &str, operators: Json) -> Json {
    json!({"name": name, "fields": fields, "pipelines": [{"name": "p", "inputs": [input], "operators": operators}]})
}

fn above(column: &str, least: i64) -> Json {
    json!({"op": "filter", "expr": {"op": "gt", "args": [{"col": column}, {"lit": least, "type": "int"}]}})
}

fn doubled(name: &str, of: &str) -> Json {
    let twice = json!({"op": "mul", "args": [{"col": of}, {"lit": 2, "type": "int"}]});
    json!({"op": "assign", "columns": [{"name": name, "expr": twice}]})
}

fn stats(name: &str, input: &str, before: &[Json], of: &str) -> Json {
    let fields = [
        field("city", "str", "key"),
        field("n", "int", "value"),
        field("total", "float", "value"),
        field("last", "float", "value"),
        field("when", "datetime", "timestamp"),
    ];
    let mut operators = before.to_vec();
    operators.push(json!({"op": "groupby", "keys": ["city"]}));
    operators.push(json!({"op": "aggregate", "aggregates": [
        {"name": "n", "function": "count", "window": "20s"},
        {"name": "total", "function": "sum", "of": of},
        {"name": "last", "function": "last", "of": of, "window": "1m"}]}));
    made(name, &fields, input, Json::Array(operators))
}

/// One pipeline with all operators.
fn single(how: &str) -> Json {
    stats(
        "Single",
        "Ride",
        &[above("fare", 0), doubled("twice", "fare"), join(how), above("twice", 4)],
        "twice",
    )
}

/// The same in three, which join either the raw dataset or rows that are made of it.
fn chain(how: &str, joins_rows: bool) -> Vec<Json> {
    let place =
        [field("who", "str", "key"), field("town", "str", "value"), field("since", "datetime", "timestamp")];
    let renamed = json!({"op": "rename", "columns": [
        {"name": "who", "from": "driver"}, {"name": "town", "from": "city"}, {"name": "since", "from": "at"}]});
    let place = made("Place", &place, "Driver", json!([renamed]));
    let join_rows = json!({"op": "join", "dataset": "Place", "left_on": ["driver"], "right_on": ["who"], "how": how,
        "fields": [{"name": "city", "field": "town"}]});
    let join = if joins_rows { join_rows } else { join(how) };
    let paid = [
        field("driver", "str", "key"),
        field("amount", "float", "value"),
        field("when", "datetime", "timestamp"),
    ];
    let renamed = json!({"op": "rename", "columns": [
        {"name": "amount", "from": "twice"}, {"name": "when", "from": "at"}]});
    let paid = made("Paid", &paid, "Ride", json!([above("fare", 0), doubled("twice", "fare"), renamed]));
    let trip =
        [field("city", "str", "key"), field("at", "float", "value"), field("ended", "datetime", "timestamp")];
    let renamed = json!({"op": "rename", "columns": [{"name": "at", "from": "amount"}]});
    let selected = json!({"op": "select", "columns": ["city", "at"]});
    let trip = made("Trip", &trip, "Paid", json!([join, renamed, selected]));
    vec![place, paid, trip, stats("Chained", "Trip", &[above("at", 4)], "at")]
}

/// Some pushes of both datasets, in any order of their times.
fn history(engine: &Engine, random: &mut Random) -> Vec<Position> {
    let mut positions = Vec::new();
    for number in 0..12 {
        let text = |random: &mut Random, some: &[&str]| {
            if random.chance(12) { Json::Null } else { json!(random.pick(some)) }
        };
        let (dataset, count) = (if random.chance(60) { "Ride" } else { "Driver" }, 1 + random.below(6));
        let rows: Vec<Json> = (0..count)
            .map(|row| {
                let at = random.between(0, 60);
                let driver = text(random, &["a", "b", "c"]);
                match dataset {
                    "Ride" => {
                        let fare = if random.chance(10) { Json::Null } else { json!(random.between(-1, 9)) };
                        json!({"ride": number * 10 + row, "driver": driver, "fare": fare, "at": at})
                    }
                    _ => {
                        let driver = if driver.is_null() { json!("a") } else { driver };
                        json!({"driver": driver, "city": text(random, &["Oslo", "Bergen"]), "at": at})
                    }
                }
            })
            .collect();
        positions.push(push(engine, dataset, &rows));
    }
    positions
}

#[test]
fn a_chain_of_pipelines_is_one_pipeline() {
    for seed in 0..SEEDS {
        let mut random = Random::new(seed);
        let how = random.pick(&["left", "inner"]);
        let root = tempfile::tempdir().unwrap();
        let engine = open(root.path());
        let mut all = vec![single(how)];
        let (is_live, joins_rows) = (random.chance(50), random.chance(70));
        if is_live {
            all.extend(chain(how, joins_rows));
        }
        commit(&engine, &[raw(), all.clone()].concat());
        let mut positions = history(&engine, &mut random);
        if !is_live {
            all.extend(chain(how, joins_rows));
            commit(&engine, &[raw(), all.clone()].concat());
        }
        positions.extend(history(&engine, &mut random));
        let alike = |engine: &Engine, positions: &[Position], what: &str| {
            let of = |dataset: &str| values(engine, dataset, &["Oslo", "Bergen"], 7, positions);
            let (one, other) = (of("Single"), of("Chained"));
            assert_eq!(one, other, "seed {seed}, {what}");
            one
        };
        let before = alike(&engine, &positions, "live");
        assert!(before.iter().any(|row| row[0] != Value::Int(0)), "seed {seed}");
        is_verified(&engine, 60, seed, &format!("seed {seed}"));
        drop(engine);
        let engine = open(root.path());
        assert_eq!(alike(&engine, &positions, "restarted"), before, "seed {seed}");
        let live = engine.catalog().dataset("Driver").unwrap().clone();
        engine.erase(&live, &[vec![Value::Str("a".into())]]).unwrap();
        let after = push(&engine, "Ride", &[json!({"ride": 999, "driver": "b", "fare": 5, "at": 30})]);
        alike(&engine, &[after], "erased");
        is_verified(&engine, 60, seed, &format!("seed {seed}"));
    }
}
