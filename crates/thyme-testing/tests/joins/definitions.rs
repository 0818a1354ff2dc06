//! Random definitions with joins: orders (the left side), people and places (the right sides), and pipelines that
//! group by something else than they join by.

use std::sync::Arc;

use serde_json::{Value as Json, json};
use thyme_core::definition::Document;
use thyme_core::{DataType, Value};
use thyme_oracle::Columns;
use thyme_oracle::expression::Typed;
use thyme_testing::definitions::parse;
use thyme_testing::ledger::START_US;
use thyme_testing::random::Random;

/// A raw dataset: its name, and its fields with their types; key fields first, the event time last.
pub struct Raw {
    pub name: &'static str,
    pub keys: usize,
    pub fields: &'static [(&'static str, DataType)],
}

pub const RAWS: [Raw; 3] = [
    Raw {
        name: "Order",
        keys: 1,
        fields: &[
            ("id", DataType::Int),
            ("a", DataType::Str),
            ("b", DataType::Str),
            ("n", DataType::Int),
            ("x", DataType::Float),
            ("at", DataType::Datetime),
        ],
    },
    Raw {
        name: "Person",
        keys: 1,
        fields: &[
            ("name", DataType::Str),
            ("city", DataType::Str),
            ("level", DataType::Int),
            ("y", DataType::Float),
            ("gone", DataType::Bool),
            ("since", DataType::Datetime),
        ],
    },
    Raw {
        name: "Place",
        keys: 2,
        fields: &[
            ("zone", DataType::Int),
            ("city", DataType::Str),
            ("c", DataType::Str),
            ("z", DataType::Int),
            ("gone", DataType::Bool),
            ("at", DataType::Datetime),
        ],
    },
];

/// One event of a raw dataset.
#[derive(Clone, Debug)]
pub struct Event {
    pub time: i64,
    pub values: Vec<Value>,
}

impl Raw {
    pub fn random(&self, random: &mut Random, id: i64) -> Event {
        let seconds = if random.chance(70) { random.between(0, 20) } else { random.between(0, 4000) };
        let time = START_US + seconds * 1_000_000 + random.pick(&[-1, 0, 0, 0, 1]);
        let mut values = Vec::new();
        for (index, (name, data_type)) in self.fields.iter().enumerate() {
            let value = match data_type {
                _ if index >= self.keys && *data_type != DataType::Datetime && random.chance(10) => {
                    Value::Null
                }
                DataType::Datetime => Value::Datetime(time),
                DataType::Int if *name == "id" => Value::Int(id),
                DataType::Int => Value::Int(random.between(0, 2)),
                DataType::Bool => Value::Bool(random.chance(30)),
                DataType::Float => Value::Float(random.between(-9, 9) as f64 * 0.1),
                _ => Value::Str(random.pick(&["p", "p", "q", "r", ""]).into()),
            };
            values.push(value);
        }
        Event { time, values }
    }

    pub fn json_row(&self, event: &Event) -> String {
        let cell = |((name, _), value): (&(&str, DataType), &Value)| {
            let json = match value {
                Value::Null => Json::Null,
                Value::Str(v) => json!(v.as_ref()),
                Value::Int(v) => json!(v),
                Value::Float(v) => json!(v),
                Value::Bool(v) => json!(v),
                Value::Datetime(v) => json!(thyme_core::time::format_rfc3339(*v)),
                other => json!(thyme_core::value::untyped(other, "", &mut |_, _| {})),
            };
            ((*name).to_owned(), json)
        };
        Json::Object(self.fields.iter().zip(&event.values).map(cell).collect()).to_string()
    }

    /// The columns as they are admitted.
    pub fn columns(&self, event: &Event) -> Columns {
        let mut columns = Columns::default();
        for ((name, data_type), value) in self.fields.iter().zip(&event.values) {
            let value = match value {
                Value::Float(v) => Value::Float(thyme_core::value::canonical(*v)),
                other => other.clone(),
            };
            columns.set(Arc::<str>::from(*name), Typed { value, data_type: Some(*data_type) });
        }
        columns
    }

    fn definition(&self, random: &mut Random) -> Json {
        let field = |(index, (name, data_type)): (usize, &(&str, DataType))| {
            let role = match index {
                _ if index < self.keys => "key",
                _ if *data_type == DataType::Datetime && index + 1 == self.fields.len() => "timestamp",
                _ => "value",
            };
            json!({"name": name, "type": data_type, "role": role, "optional": role == "value"})
        };
        let fields: Vec<Json> = self.fields.iter().enumerate().map(field).collect();
        let mut dataset = json!({"name": self.name, "fields": fields, "index": random.chance(30)});
        let says_deleted = self.fields.iter().any(|(name, _)| *name == "gone");
        if says_deleted && random.chance(60) {
            (dataset["index"], dataset["cdc"], dataset["deleted"]) =
                (true.into(), "upsert".into(), "gone".into());
        }
        if random.chance(30) {
            dataset["max_lateness"] = random.pick(&["5s", "1m", "1h"]).into();
        }
        if random.chance(25) {
            dataset["retention"] = random.pick(&["5s", "1m", "30m"]).into();
        }
        dataset
    }
}

fn column(name: &str) -> Json {
    json!({"col": name})
}

fn filter(random: &mut Random, columns: &[(String, DataType)]) -> Json {
    let (name, data_type) = random.pick(columns);
    let op = random.pick(&["le", "ge", "ne"]);
    let other = match data_type {
        DataType::Int => json!({"lit": 1, "type": "int"}),
        DataType::Float => json!({"lit": 0.2, "type": "float"}),
        DataType::Str => json!({"lit": "p", "type": "str"}),
        _ => column("at"),
    };
    let compared = json!({"op": op, "args": [column(&name), other]});
    match random.chance(50) {
        true => compared,
        false => json!({"op": "or", "args": [compared, {"op": "is_null", "args": [column(&name)]}]}),
    }
}

/// A dedup that `columns` allow.
fn dedup(random: &mut Random, columns: &[(String, DataType)]) -> Json {
    let is_key = |data_type| matches!(data_type, DataType::Str | DataType::Int | DataType::Datetime);
    let usable: Vec<&String> = columns.iter().filter(|(_, t)| is_key(*t)).map(|(name, _)| name).collect();
    let mut by = vec![random.pick(&usable)];
    let second = random.pick(&usable);
    if random.chance(40) && second != by[0] {
        by.push(second);
    }
    let mut dedup = json!({"op": "dedup", "by": by});
    if random.chance(75) {
        dedup["within"] = random.pick(&["1s", "3s", "10s", "30m"]).into();
    }
    dedup
}

/// A join that `columns` allow, with columns called `{prefix}_...`.
fn join(random: &mut Random, prefix: &str, columns: &mut Vec<(String, DataType)>) -> Json {
    let of_type = |wanted: DataType, columns: &[(String, DataType)]| -> Vec<String> {
        columns.iter().filter(|(_, t)| *t == wanted).map(|(name, _)| name.clone()).collect()
    };
    let texts = of_type(DataType::Str, columns);
    let ints: Vec<String> = of_type(DataType::Int, columns).into_iter().filter(|n| n != "id").collect();
    let (right, left_on, right_on): (&Raw, Vec<String>, Vec<&str>) = match random.chance(60) {
        true => (&RAWS[1], vec![random.pick(&texts)], vec!["name"]),
        false => (&RAWS[2], vec![random.pick(&texts), random.pick(&ints)], vec!["city", "zone"]),
    };
    let takeable = right.fields[right.keys..].iter().filter(|(name, _)| *name != "gone");
    let taken: Vec<&(&str, DataType)> = takeable.filter(|_| random.chance(40)).collect();
    let taken = if taken.is_empty() { vec![&right.fields[right.keys]] } else { taken };
    let fields: Vec<Json> =
        taken.iter().map(|(name, _)| json!({"name": format!("{prefix}_{name}"), "field": name})).collect();
    columns.extend(taken.iter().map(|(name, data_type)| (format!("{prefix}_{name}"), *data_type)));
    let mut join = json!({"op": "join", "dataset": right.name, "left_on": left_on, "right_on": right_on, "fields": fields});
    if random.chance(30) {
        join["how"] = "inner".into();
    }
    if random.chance(50) {
        join["within"] = random.pick(&["3s", "3s", "10s", "30m"]).into();
    }
    join
}

fn derived(random: &mut Random, number: usize) -> Json {
    let mut columns: Vec<(String, DataType)> =
        RAWS[0].fields.iter().map(|(name, t)| ((*name).to_owned(), *t)).collect();
    let mut operators = Vec::new();
    for round in 0..1 + random.below(3) {
        if random.chance(25) {
            operators.push(json!({"op": "filter", "expr": filter(random, &columns)}));
        }
        let dedups = random.chance(35);
        if dedups {
            operators.push(dedup(random, &columns));
        }
        if !dedups || random.chance(70) {
            operators.push(join(random, &format!("j{round}"), &mut columns));
        }
        if random.chance(30) {
            let ints: Vec<&(String, DataType)> =
                columns.iter().filter(|(name, t)| *t == DataType::Int && name != "id").collect();
            let (name, other) = (format!("s{round}"), random.pick(&ints).0.clone());
            let expr = json!({"op": "add", "args": [column(&other), {"lit": 1, "type": "int"}]});
            operators.push(json!({"op": "assign", "columns": [{"name": name, "expr": expr}]}));
            columns.push((name, DataType::Int));
        }
    }
    if random.chance(25) {
        operators.push(json!({"op": "filter", "expr": filter(random, &columns)}));
    }
    let groupable: Vec<(String, DataType)> = columns
        .iter()
        .filter(|(name, t)| name != "id" && matches!(t, DataType::Str | DataType::Int))
        .cloned()
        .collect();
    let mut keys = vec![random.pick(&groupable)];
    let second = random.pick(&groupable);
    if random.chance(40) && second != keys[0] {
        keys.push(second);
    }
    let mut fields: Vec<Json> =
        keys.iter().map(|(name, t)| json!({"name": name, "type": t, "role": "key"})).collect();
    fields.push(json!({"name": "time", "type": "datetime", "role": "timestamp"}));
    operators.push(json!({"op": "groupby", "keys": keys.iter().map(|(name, _)| name).collect::<Vec<_>>()}));
    let mut aggregates = vec![json!({"name": "a0", "function": "count"})];
    fields.push(json!({"name": "a0", "type": "int"}));
    for index in 1..2 + random.below(5) {
        let function = random.pick(&["sum", "min", "max", "first", "last", "last", "count"]);
        let allowed = |t: DataType| function != "sum" || matches!(t, DataType::Int | DataType::Float);
        let usable: Vec<&(String, DataType)> = columns.iter().filter(|(_, t)| allowed(*t)).collect();
        let (of, data_type) = random.pick(&usable).clone();
        let name = format!("a{index}");
        let mut aggregate = json!({"name": name, "function": function, "of": of});
        if random.chance(60) {
            aggregate["window"] = random.pick(&["1s", "5s", "1m", "1h"]).into();
        }
        if random.chance(40) {
            aggregate["where"] = filter(random, &columns);
        }
        let given = if function == "count" { DataType::Int } else { data_type };
        fields.push(json!({"name": name, "type": given, "optional": true}));
        aggregates.push(aggregate);
    }
    operators.push(json!({"op": "aggregate", "aggregates": aggregates}));
    let pipeline = json!({"name": "compute", "inputs": ["Order"], "operators": operators});
    json!({"name": format!("D{number}"), "fields": fields, "pipelines": [pipeline]})
}

/// The raw datasets, and `count` derived ones.
pub fn document(random: &mut Random, count: usize) -> Document {
    let mut datasets: Vec<Json> = RAWS.iter().map(|raw| raw.definition(random)).collect();
    datasets.extend((0..count).map(|number| derived(random, number)));
    parse(json!({"format": 1, "datasets": datasets}))
}
