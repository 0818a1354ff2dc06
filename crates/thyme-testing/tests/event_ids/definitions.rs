//! A dataset of rides whose events have ids, one of cards that it is joined with, and what is made of them.

use serde_json::{Value as Json, json};
use thyme_core::definition::Document;
use thyme_core::{DataType, Value};
use thyme_oracle::Columns;
use thyme_oracle::expression::Typed;
use thyme_testing::definitions::parse;
use thyme_testing::ledger::START_US;
use thyme_testing::random::Random;

/// The raw datasets, in the order of the document.
pub const RAWS: [&str; 2] = ["Ride", "Card"];

pub const TYPES: [&[(&str, DataType)]; 2] = [
    &[
        ("k", DataType::Str),
        ("ride", DataType::Str),
        ("g", DataType::Int),
        ("x", DataType::Float),
        ("at", DataType::Datetime),
    ],
    &[("k", DataType::Str), ("card", DataType::Int), ("level", DataType::Int), ("at", DataType::Datetime)],
];

/// One event.
#[derive(Clone, Debug)]
pub struct Event {
    pub raw: usize,
    pub time: i64,
    pub values: Vec<Value>,
}

impl Event {
    pub fn random(random: &mut Random, number: i64) -> Event {
        let raw = usize::from(random.chance(25));
        let seconds = if random.chance(70) { random.between(0, 20) } else { random.between(0, 4000) };
        let time = START_US + seconds * 1_000_000 + random.pick(&[-1, 0, 0, 0, 1]);
        let values = TYPES[raw].iter().map(|(name, data_type)| match (*name, data_type) {
            ("ride", _) => Value::Str(format!("ride-{number}").into()),
            ("card", _) => Value::Int(number),
            (_, DataType::Str) => Value::Str(random.pick(&["a", "a", "b", "é"]).into()),
            ("g", _) if random.chance(15) => Value::Null,
            (_, DataType::Int) => Value::Int(random.between(0, 2)),
            (_, DataType::Float) => Value::Float(random.between(-9, 9) as f64 * 0.1),
            _ => Value::Datetime(time),
        });
        Event { raw, time, values: values.collect() }
    }

    pub fn key(&self) -> &Value {
        &self.values[0]
    }

    pub fn id(&self) -> &Value {
        &self.values[1]
    }

    /// The same event, as another producer tells it.
    pub fn told_otherwise(&self, random: &mut Random) -> Event {
        let mut other = Event::random(random, 0);
        while other.raw != self.raw {
            other = Event::random(random, 0);
        }
        other.values[1] = self.values[1].clone();
        other
    }

    pub fn columns(&self) -> Columns {
        let mut columns = Columns::default();
        for ((name, data_type), value) in TYPES[self.raw].iter().zip(&self.values) {
            columns.set(*name, Typed { value: value.clone(), data_type: Some(*data_type) });
        }
        columns
    }

    pub fn json(&self) -> String {
        let cells = TYPES[self.raw].iter().zip(&self.values).map(|((name, _), value)| {
            let shown = match value {
                Value::Datetime(at) => json!(thyme_core::time::format_rfc3339(*at)),
                Value::Str(text) => json!(text),
                Value::Int(int) => json!(int),
                Value::Float(float) => json!(float),
                _ => Json::Null,
            };
            ((*name).to_owned(), shown)
        });
        Json::Object(cells.collect()).to_string()
    }
}

fn raw(random: &mut Random, raw: usize, retention: Option<&str>) -> Json {
    let optional = ["g"];
    let fields = TYPES[raw].iter().map(|(name, data_type)| {
        let role = match *name {
            "k" => "key",
            "at" => "timestamp",
            _ => "value",
        };
        json!({"name": name, "type": data_type.name(), "role": role, "optional": optional.contains(name)})
    });
    let mut dataset = json!({
        "name": RAWS[raw], "event_id": TYPES[raw][1].0, "index": random.chance(50),
        "fields": fields.collect::<Vec<_>>(),
        "source": {"kind": "file", "options": {"path": "history/*.parquet"}},
    });
    if random.chance(60) {
        dataset["max_lateness"] = random.pick(&["5s", "1m", "1h"]).into();
    }
    if random.chance(40) {
        dataset["source"]["max_lateness"] = random.pick(&["1s", "1h"]).into();
    }
    if let Some(retention) = retention {
        dataset["retention"] = retention.into();
    }
    dataset
}

fn derived(name: &str, key: (&str, &str), before: &[Json]) -> Json {
    let field = |name: &str, kind: &str| json!({"name": name, "type": kind});
    let mut operators = before.to_vec();
    operators.push(json!({"op": "groupby", "keys": [key.0]}));
    operators.push(json!({"op": "aggregate", "aggregates": [
        {"name": "n", "function": "count"},
        {"name": "n_5s", "function": "count", "window": "5s"},
        {"name": "x_1h", "function": "sum", "of": "x", "window": "1h"},
        {"name": "last", "function": "last", "of": "ride"},
    ]}));
    json!({"name": name, "fields": [
        {"name": key.0, "type": key.1, "role": "key"}, {"name": "at", "type": "datetime", "role": "timestamp"},
        field("n", "int"), field("n_5s", "int"), field("x_1h", "float"), field("last", "str"),
    ], "pipelines": [{"name": "compute", "inputs": ["Ride"], "operators": operators}]})
}

/// The datasets: the raw ones, then those that are made of them.
pub fn document(random: &mut Random, retention: Option<&str>) -> Document {
    let join = json!({"op": "join", "dataset": "Card", "left_on": ["k"], "right_on": ["k"],
        "how": random.pick(&["left", "inner"]), "fields": [{"name": "level", "field": "level"}]});
    let positive = json!({"op": "filter", "expr": {"op": "gt", "args": [{"col": "x"}, {"lit": -0.5}]}});
    let datasets = [
        raw(random, 0, retention),
        raw(random, 1, retention),
        derived("ByKey", ("k", "str"), &[]),
        derived("ByGroup", ("g", "int"), &[positive]),
        derived("ByLevel", ("level", "int"), &[join]),
    ];
    parse(json!({"format": 1, "featuresets": [], "datasets": datasets}))
}
