//! Random joins of [`crate::definitions::RAW`] with the other raw datasets, and what pipelines with them must give.

use serde_json::{Value as Json, json};
use thyme_core::definition::{Document, JoinDef};
use thyme_core::{DataType, EventTime, Position, Value};
use thyme_oracle::dedup::Repeats;
use thyme_oracle::join::{Right, add, latest};
use thyme_oracle::{Columns, Fate, Pipeline, Row};

use crate::definitions::{COLUMNS, Derived, INPUTS, Output, Step};
use crate::expression::{Predicate, Sum};
use crate::ledger::Ledger;
use crate::random::Random;

type Column = (&'static str, DataType);

/// What the joins of a pipeline, in order, call their columns, and which fields those are.
const JOINED: [[(Column, &str); 5]; 2] = [
    [
        (("j0_g", DataType::Int), "g"),
        (("j0_i", DataType::Int), "i"),
        (("j0_x", DataType::Float), "x"),
        (("j0_s", DataType::Str), "s"),
        (("j0_at", DataType::Datetime), "at"),
    ],
    [
        (("j1_g", DataType::Int), "g"),
        (("j1_i", DataType::Int), "i"),
        (("j1_x", DataType::Float), "x"),
        (("j1_s", DataType::Str), "s"),
        (("j1_at", DataType::Datetime), "at"),
    ],
];
/// What pipelines with so many joins are grouped by.
const ONE_JOIN: [&[&str]; 6] = [&["k"], &["j0_s"], &["j0_s"], &["j0_g"], &["j0_g", "s"], &["k", "j0_i"]];
const TWO_JOINS: [&[&str]; 5] = [&["j1_s"], &["j1_s", "j0_g"], &["j0_s"], &["j1_g"], &["k"]];

/// One join.
#[derive(Clone, Debug)]
pub struct Join {
    /// The other dataset, by its index in [`INPUTS`].
    pub right: usize,
    /// The columns that its keys are looked for in.
    pub left_on: Vec<&'static str>,
    /// The columns that it brings, and the fields that they are.
    pub fields: Vec<(Column, &'static str)>,
    /// Whether events that find no row are dropped.
    pub is_inner: bool,
    /// How old a row may be.
    pub within: Option<&'static str>,
}

impl Join {
    /// A random one, the `number`th of its pipeline, over these columns.
    fn random(random: &mut Random, number: usize, columns: &[Column]) -> Join {
        let of = |wanted: DataType| -> Vec<&'static str> {
            columns.iter().filter(|(_, t)| *t == wanted).map(|(name, _)| *name).collect()
        };
        let (texts, ints) = (of(DataType::Str), of(DataType::Int));
        let right = 1 + random.below(2);
        let mut left_on = vec![if random.chance(50) { "k" } else { random.pick(&texts) }];
        if right == 2 {
            left_on.push(if random.chance(50) { "g" } else { random.pick(&ints) });
        }
        let keys = INPUTS[right].keys;
        // A key field is known already. What pipelines are grouped by is always brought.
        let brought =
            JOINED[number].map(|(column, field)| (column, if keys.contains(&field) { "i" } else { field }));
        let is_groupable = |data_type| matches!(data_type, DataType::Int | DataType::Str);
        let fields =
            brought.into_iter().filter(|((_, t), _)| is_groupable(*t) || random.chance(50)).collect();
        Join {
            right,
            left_on,
            fields,
            is_inner: random.chance(30),
            within: random.pick(&[None, None, Some("2s"), Some("10s"), Some("1h")]),
        }
    }

    pub(crate) fn json(&self) -> Json {
        let input = &INPUTS[self.right];
        let field = |((name, _), field): &(Column, &str)| json!({"name": name, "field": field});
        let fields: Vec<Json> = self.fields.iter().map(field).collect();
        let mut json = json!({
            "op": "join", "dataset": input.name, "left_on": self.left_on, "right_on": input.keys, "fields": fields,
        });
        if self.is_inner {
            json["how"] = "inner".into();
        }
        if let Some(within) = self.within {
            json["within"] = within.into();
        }
        json
    }
}

impl Derived {
    /// A random one with joins and dedups, called `D{number}`.
    pub fn joining(random: &mut Random, number: usize) -> Derived {
        let (name, outputs) = (format!("D{number}"), Vec::new());
        let mut derived = Derived { name, version: 1, keys: &["k"], steps: Vec::new(), outputs };
        derived.redefine_joining(random);
        derived
    }

    /// Gives it other joins, operators and outputs.
    pub fn redefine_joining(&mut self, random: &mut Random) {
        let mut columns: Vec<Column> = COLUMNS.to_vec();
        columns.extend([("k", DataType::Str), ("g", DataType::Int)]);
        self.steps.clear();
        let joins = 1 + random.below(2);
        for (number, made) in ["y", "z"].into_iter().enumerate().take(joins) {
            if random.chance(25) {
                self.steps.push(Step::Filter(Predicate::over(random, &columns)));
            }
            if random.chance(30) {
                let by = random.pick(&[&["k"][..], &["i"], &["s", "k"], &["at"], &["i", "g"]]);
                let within = random.pick(&[None, Some("2s"), Some("10s"), Some("1h")]);
                self.steps.push(Step::Dedup(by.to_vec(), within));
            }
            let join = Join::random(random, number, &columns);
            columns.extend(join.fields.iter().map(|(column, _)| *column));
            let ints: Vec<Column> =
                join.fields.iter().map(|(column, _)| *column).filter(|c| c.1 == DataType::Int).collect();
            self.steps.push(Step::Join(join));
            if random.chance(30) {
                let (of, by) = (random.pick(&ints).0, Value::Int(random.pick(&[3, -1, 1 << 40])));
                self.steps.push(Step::Assign(Sum { name: made, of, op: random.pick(&["add", "mul"]), by }));
                columns.push((made, DataType::Int));
            }
        }
        if random.chance(25) {
            self.steps.push(Step::Filter(Predicate::over(random, &columns)));
        }
        self.keys = if joins == 1 { random.pick(&ONE_JOIN) } else { random.pick(&TWO_JOINS) };
        let count = 2 + random.below(5);
        self.outputs = (0..count).map(|index| Output::random(random, index, &columns)).collect();
        for output in &mut self.outputs {
            output.predicate = random.chance(35).then(|| Predicate::over(random, &columns));
        }
    }

    /// Whether it joins anything.
    pub fn has_joins(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Join(_)))
    }
}

/// The entities of a derived dataset as known at a position, with their rows. `ledgers` and the first datasets of
/// `document` are those of [`INPUTS`]; each begins after what `begins` has for it, if anything: the first where the derived one does.
///
/// # Panics
/// When the oracle cannot compute them.
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
pub fn entities(
    ledgers: &[Ledger],
    document: &Document,
    pipeline: &Pipeline,
    begins: &[Option<EventTime>],
    at: Position,
) -> Vec<(Vec<Value>, Vec<Row>)> {
    let mut admitted: Vec<Vec<Right>> = ledgers.iter().map(|ledger| ledger.admitted().collect()).collect();
    for (rights, begins) in admitted.iter_mut().zip(begins) {
        rights.retain(|right| begins.is_none_or(|begins| right.time > begins));
    }
    let rights = |name: &str| {
        let right = INPUTS.iter().position(|input| input.name == name).unwrap();
        admitted[right].as_slice()
    };
    let mut entities: Vec<(Vec<Value>, Vec<Row>)> = Vec::new();
    derive((document, pipeline), &admitted[0], &rights, at, &mut |key, row| match entities
        .iter_mut()
        .find(|(known, _)| *known == key)
    {
        Some((_, rows)) => rows.push(row),
        None => entities.push((key, vec![row])),
    });
    entities
}

/// Runs the left rows that are known at `at` through a pipeline with joins and dedups, one by one, and gives the keys and rows
/// that come out; `rights` has the rows of each joined dataset, by its name.
///
/// # Panics
/// When the oracle cannot compute them.
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
pub fn derive<'a>(
    (document, pipeline): (&Document, &Pipeline),
    lefts: &[Right],
    rights: &dyn Fn(&str) -> &'a [Right],
    at: Position,
    give: &mut dyn FnMut(Vec<Value>, Row),
) {
    let join = |join: &JoinDef, columns: &mut Columns, time: EventTime| {
        let dataset = document.dataset(&join.dataset).unwrap();
        let found = latest(join, dataset, rights(&join.dataset), columns, time, at);
        add(join, dataset, found, columns)?;
        Ok(found.is_some())
    };
    let known: Vec<Right> = lefts.iter().filter(|event| event.position <= at).cloned().collect();
    let repeats = Repeats::among(&[(pipeline, &known)], &join).unwrap();
    for event in &known {
        let fate = pipeline.derive_among(
            &event.columns,
            &mut |def, columns| join(def, columns, event.time),
            &mut |operator, _| Ok(!repeats.has(operator, event.position)),
        );
        if let Fate::Kept(columns) = fate.unwrap() {
            give(pipeline.key(&columns), pipeline.row(event.time, event.position, &columns).unwrap());
        }
    }
}
