//! Random definitions: a raw dataset, others that are joined with it ([`crate::joined`]), and pipelines over it.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use thyme_core::aggregate::{Argument, Call, Settings, all, further, lookup, sample_arguments};
use thyme_core::definition::Document;
use thyme_core::{DataType, Span, Value, Window};
use thyme_oracle::Pipeline;
use thyme_oracle::admission::Limits;

use crate::expression::{Predicate, Sum};
use crate::joined::Join;
use crate::random::Random;

/// The raw dataset that pipelines take.
pub const RAW: &str = "Event";
/// A raw dataset. The rows of all of them have the columns of [`crate::ledger::Event`].
#[derive(Debug)]
pub struct Input {
    /// Its name.
    pub name: &'static str,
    /// Its key fields.
    pub keys: &'static [&'static str],
    /// Whether it can be looked up.
    pub is_index: bool,
}

/// The raw datasets: [`RAW`], and those that are joined with it.
pub const INPUTS: [Input; 3] = [
    Input { name: RAW, keys: &["k"], is_index: true },
    Input { name: "Person", keys: &["k"], is_index: true },
    Input { name: "Place", keys: &["k", "g"], is_index: false },
];
const KEY_SETS: [&[&str]; 4] = [&["k"], &["k", "g"], &["g"], &["g", "k"]];
/// The columns that can be aggregated, before assigns.
pub(crate) const COLUMNS: [(&str, DataType); 4] =
    [("i", DataType::Int), ("x", DataType::Float), ("s", DataType::Str), ("at", DataType::Datetime)];
/// Most outputs are one of these, so that they meet in one pipeline.
const USUAL: [&str; 8] = ["count", "sum", "sum", "avg", "min", "max", "first", "last"];
/// The windows that outputs have, as documents write them: those of one kind have one chance together.
const WINDOWS: [&[&str]; 8] = [
    &["null"],
    &[r#""1s""#, r#""2s""#, r#""5s""#, r#""1m""#, r#""1h""#, r#""1d""#],
    &[r#""2s""#, r#""5s""#, r#""1m""#, r#""1h""#],
    &[
        r#"{"kind": "forever", "offset": "2s"}"#,
        r#"{"kind": "sliding", "span": "5s", "offset": "5s"}"#,
        r#"{"kind": "sliding", "span": "1m", "offset": "1s"}"#,
        r#"{"kind": "tumbling", "every": "1m", "offset": "30s"}"#,
    ],
    &[
        r#"{"kind": "tumbling", "every": "5s"}"#,
        r#"{"kind": "tumbling", "every": "5s", "lookback": 2}"#,
        r#"{"kind": "tumbling", "every": "1m", "tz": "Asia/Kolkata", "lookback": 1}"#,
        r#"{"kind": "tumbling", "every": "1h", "tz": "Europe/London"}"#,
        r#"{"kind": "tumbling", "every": "1d", "tz": "Europe/London"}"#,
        r#"{"kind": "tumbling", "every": "1d", "tz": "America/New_York", "lookback": 1}"#,
        r#"{"kind": "tumbling", "every": "1w"}"#,
        r#"{"kind": "tumbling", "every": "1mo", "tz": "Australia/Lord_Howe"}"#,
    ],
    &[
        r#"{"kind": "session", "gap": "1s"}"#,
        r#"{"kind": "session", "gap": "2s", "offset": "5s"}"#,
        r#"{"kind": "session", "gap": "30s"}"#,
        r#"{"kind": "session", "gap": "1h"}"#,
    ],
    &[
        r#"{"kind": "rows", "rows": 1}"#,
        r#"{"kind": "rows", "rows": 3}"#,
        r#"{"kind": "rows", "rows": 20, "offset": "2s"}"#,
    ],
    &[
        r#"{"kind": "hopping", "span": "10s", "hop": "2s"}"#,
        r#"{"kind": "hopping", "span": "1m", "hop": "5s", "lookback": 1}"#,
        r#"{"kind": "hopping", "span": "1d", "hop": "1h", "tz": "Asia/Kolkata"}"#,
        r#"{"kind": "hopping", "span": "3d", "hop": "1d", "tz": "Europe/London"}"#,
    ],
];

/// A raw dataset's settings, which commits change in place.
#[derive(Clone, Debug, Default)]
pub struct Raw {
    /// How late an event may be.
    pub max_lateness: Option<Span>,
    /// How far back it reaches.
    pub retention: Option<Span>,
    /// Whether its events have ids, in the field `e`. No commit changes that.
    pub has_ids: bool,
}

/// One output of a pipeline.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its field.
    pub name: String,
    /// The aggregate.
    pub function: &'static str,
    /// Its column.
    pub of: Option<(&'static str, DataType)>,
    /// What else is said to the aggregate.
    pub parameters: BTreeMap<String, Argument>,
    /// The type of what it gives.
    data_type: DataType,
    /// Its window.
    pub window: Option<Window>,
    /// Its own predicate.
    pub predicate: Option<Predicate>,
    /// What it is over nothing, if it says so.
    pub default: Option<Value>,
}

/// A derived dataset with one pipeline.
#[derive(Clone, Debug)]
pub struct Derived {
    /// Its name.
    pub name: String,
    /// The version of its pipeline.
    pub version: u32,
    /// What it is grouped by: `k`, `g`, both, or columns that it joined.
    pub keys: &'static [&'static str],
    /// Filters, joins and assigns, in order.
    pub steps: Vec<Step>,
    /// The outputs.
    pub outputs: Vec<Output>,
}

/// An operator before the grouping.
#[derive(Clone, Debug)]
pub enum Step {
    /// Keeps rows.
    Filter(Predicate),
    /// Makes a column.
    Assign(Sum),
    /// Brings columns of another dataset.
    Join(Join),
    /// Leaves out repetitions: the columns, and how near they are.
    Dedup(Vec<&'static str>, Option<&'static str>),
}

#[expect(clippy::expect_used, reason = "they are written here")]
fn window(random: &mut Random) -> Option<Window> {
    let kind = random.pick(&WINDOWS);
    serde_json::from_str(random.pick(kind)).expect("a window")
}

fn span(random: &mut Random, texts: &[Option<&str>]) -> Option<Span> {
    random.pick(texts).and_then(|text| Span::parse(text).ok())
}

impl Raw {
    /// Random settings.
    pub fn random(random: &mut Random) -> Raw {
        let mut max_lateness = None;
        if random.chance(40) {
            max_lateness = span(random, &[Some("1s"), Some("30s"), Some("1h")]);
        }
        let retention = span(random, &[None, None, None, Some("30s"), Some("1h")]);
        Raw { max_lateness, retention, has_ids: false }
    }

    /// Its limits, as the oracle takes them.
    pub fn limits(&self) -> Limits {
        Limits { max_lateness: self.max_lateness, max_future_skew: Span(3_600_000_000) }
    }

    fn json(&self, input: &Input) -> Json {
        let field = |name: &str, kind: &str, role: &str| json!({"name": name, "type": kind, "role": role, "optional": role == "value"});
        let g = if input.keys.contains(&"g") { "key" } else { "value" };
        let mut dataset = json!({"name": input.name, "index": input.is_index, "fields": [
            field("k", "str", "key"), field("g", "int", g), field("i", "int", "value"),
            field("x", "float", "value"), field("s", "str", "value"), field("at", "datetime", "timestamp"),
        ]});
        if self.has_ids
            && let Some(fields) = dataset["fields"].as_array_mut()
        {
            fields.push(json!({"name": "e", "type": "str", "role": "value"}));
            dataset["event_id"] = "e".into();
        }
        if let Some(lateness) = self.max_lateness {
            dataset["max_lateness"] = lateness.to_string().into();
        }
        if let Some(retention) = self.retention {
            dataset["retention"] = retention.to_string().into();
        }
        dataset
    }
}

impl Output {
    /// A random one, called `a{index}`, of one of these columns.
    pub fn random(random: &mut Random, index: usize, columns: &[(&'static str, DataType)]) -> Output {
        let (aggregate, call, of, parameters, window) = loop {
            let aggregate = match lookup(random.pick(&USUAL)) {
                Some(usual) if random.chance(60) => usual,
                _ => random.pick(all()),
            };
            let arguments = sample_arguments(aggregate);
            let mut parameters = arguments.get(random.below(arguments.len())).cloned().unwrap_or_default();
            let by = further(aggregate, &parameters).map(|(parameter, _)| (parameter, random.pick(columns)));
            if let Some((parameter, (name, _))) = by {
                parameters.insert(parameter.to_owned(), Argument::Text(name.to_owned()));
            }
            let of = (aggregate.needs_of() || random.chance(50)).then(|| random.pick(columns));
            let window = window(random);
            let Ok(settings) = Settings::of(aggregate, &parameters) else { continue };
            let by = by.map(|(_, (_, data_type))| data_type);
            let call = Call { of: of.map(|(_, data_type)| data_type), by, settings };
            if window.is_some_and(|window| window.has_length()) || !aggregate.needs_window() {
                break (aggregate, call, of, parameters, window);
            }
        };
        let Ok(data_type) = aggregate.output_type(&call) else {
            return Output::random(random, index, columns);
        };
        let mut output = Output {
            name: format!("a{index}"),
            function: aggregate.name(),
            of,
            parameters,
            data_type,
            window,
            predicate: random.chance(35).then(|| Predicate::random(random, 1)),
            default: None,
        };
        if random.chance(20) {
            output.default = match output.data_type() {
                DataType::Int => Some(Value::Int(-99)),
                DataType::Float => Some(Value::Float(0.25)),
                DataType::Str => Some(Value::Str("none".into())),
                _ => None,
            };
        }
        output
    }

    /// The type of what it gives.
    pub fn data_type(&self) -> DataType {
        self.data_type
    }

    fn json(&self) -> Json {
        let mut json = json!({"name": self.name, "function": self.function});
        if let Some((of, _)) = self.of {
            json["of"] = of.into();
        }
        if !self.parameters.is_empty() {
            json["parameters"] = json!(self.parameters);
        }
        if let Some(window) = self.window {
            json["window"] = json!(window);
        }
        if let Some(predicate) = &self.predicate {
            json["where"] = predicate.json();
        }
        json["default"] = match &self.default {
            Some(Value::Int(v)) => json!(v),
            Some(Value::Float(v)) => json!(v),
            Some(Value::Str(v)) => json!(v.as_ref()),
            _ => return json,
        };
        json
    }
}

impl Derived {
    /// A random one, called `D{number}`.
    pub fn random(random: &mut Random, number: usize) -> Derived {
        let mut derived = Derived {
            name: format!("D{number}"),
            version: 1,
            keys: random.pick(&KEY_SETS),
            steps: Vec::new(),
            outputs: Vec::new(),
        };
        derived.redefine(random);
        derived
    }

    /// Gives it other operators and outputs.
    pub fn redefine(&mut self, random: &mut Random) {
        let mut columns = COLUMNS.to_vec();
        self.steps.clear();
        for made in ["y", "j"] {
            if random.chance(35) {
                self.steps.push(Step::Filter(Predicate::random(random, 1)));
            }
            if random.chance(35) {
                let op = random.pick(&["add", "mul"]);
                let (of, by, data_type) = if made == "y" {
                    ("x", Value::Float(random.pick(&[0.1, -2.0, 1e300])), DataType::Float)
                } else {
                    ("i", Value::Int(random.pick(&[3, -1, 1 << 40])), DataType::Int)
                };
                self.steps.push(Step::Assign(Sum { name: made, of, op, by }));
                columns.push((made, data_type));
            }
        }
        let count = 2 + random.below(5);
        self.outputs = (0..count).map(|index| Output::random(random, index, &columns)).collect();
    }

    /// What the oracle makes of it over a raw dataset.
    ///
    /// # Panics
    /// When it is not a definition.
    #[expect(clippy::panic, reason = "tests write their documents themselves")]
    pub fn pipeline(&self, raw: &Raw) -> Pipeline {
        let document = document(raw, std::slice::from_ref(self));
        match document.datasets.as_slice() {
            [input, dataset] => {
                Pipeline::of(dataset, input).unwrap_or_else(|e| panic!("not a pipeline: {e}"))
            }
            _ => panic!("a document of two datasets has {}", document.datasets.len()),
        }
    }

    fn json(&self) -> Json {
        let kind =
            |name: &str| if matches!(name.as_bytes().last(), Some(b'k' | b's')) { "str" } else { "int" };
        let mut fields: Vec<Json> =
            self.keys.iter().map(|key| json!({"name": key, "type": kind(key), "role": "key"})).collect();
        fields.push(json!({"name": "at", "type": "datetime", "role": "timestamp"}));
        fields.extend(
            self.outputs.iter().map(|o| json!({"name": o.name, "type": o.data_type(), "optional": true})),
        );
        let mut operators: Vec<Json> = Vec::new();
        for step in &self.steps {
            operators.push(match step {
                Step::Filter(predicate) => json!({"op": "filter", "expr": predicate.json()}),
                Step::Assign(sum) => json!({"op": "assign", "columns": [sum.json()]}),
                Step::Join(join) => join.json(),
                Step::Dedup(by, None) => json!({"op": "dedup", "by": by}),
                Step::Dedup(by, Some(within)) => json!({"op": "dedup", "by": by, "within": within}),
            });
        }
        operators.push(json!({"op": "groupby", "keys": self.keys}));
        let aggregates: Vec<Json> = self.outputs.iter().map(Output::json).collect();
        operators.push(json!({"op": "aggregate", "aggregates": aggregates}));
        let pipeline = json!({
            "name": "compute", "version": self.version, "inputs": [RAW], "operators": operators,
        });
        json!({"name": self.name, "fields": fields, "pipelines": [pipeline]})
    }

    /// The featureset of all outputs, called `F_` and the dataset's name and version: a feature keeps its
    /// meaning, so another version has another featureset.
    pub fn featureset(&self) -> String {
        format!("F_{}_{}", self.name, self.version)
    }

    fn featureset_json(&self) -> Json {
        let features: Vec<Json> = self
            .outputs
            .iter()
            .enumerate()
            .map(|(i, o)| {
                json!({"id": i + 1, "name": o.name, "type": o.data_type(), "optional": true,
                    "ref": {"dataset": self.name, "field": o.name}})
            })
            .collect();
        json!({"name": self.featureset(), "features": features})
    }
}

/// The document of all of it.
///
/// # Panics
/// When it is not one.
pub fn document(raw: &Raw, derived: &[Derived]) -> Document {
    document_of(std::slice::from_ref(raw), derived)
}

/// [`document`] of more than one raw dataset; `raws` are the settings of the first of [`INPUTS`].
///
/// # Panics
/// When it is not one.
pub fn document_of(raws: &[Raw], derived: &[Derived]) -> Document {
    let raws = INPUTS.iter().zip(raws).map(|(input, raw)| raw.json(input));
    let datasets: Vec<Json> = raws.chain(derived.iter().map(Derived::json)).collect();
    let featuresets: Vec<Json> = derived.iter().map(Derived::featureset_json).collect();
    parse(json!({"format": 1, "datasets": datasets, "featuresets": featuresets}))
}

/// A document written as JSON.
///
/// # Panics
/// When it is not one.
#[expect(clippy::panic, reason = "tests write their documents themselves")]
pub fn parse(json: Json) -> Document {
    serde_json::from_value(json).unwrap_or_else(|e| panic!("not a document: {e}"))
}
