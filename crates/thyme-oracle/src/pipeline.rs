//! What a dataset's operators make of one event, and what its outputs are.

use std::collections::BTreeMap;

use thyme_core::aggregate::{Argument, Outcome};
use thyme_core::definition::{Dataset, How, JoinDef, OperatorDef};
use thyme_core::expr::Expr;
use thyme_core::schema::Role;
use thyme_core::{DataType, Error, EventTime, Field, Position, Result, Span, Value, Window};

use crate::aggregate::{Question, answer};
use crate::expression::{Columns, evaluate, holds};
use crate::shape::{missing_key, shaped};
use crate::window::{Row, visible};

/// A derived dataset and how it is made, or a raw one of which the latest row is wanted.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// The key fields.
    pub keys: Vec<String>,
    /// The operators before the aggregates that a row of the input meets.
    pub operators: Vec<OperatorDef>,
    /// The number of each of them: one that rows of several inputs meet has the same in all.
    pub numbers: Vec<usize>,
    /// The aggregates; none for a raw dataset.
    pub outputs: Vec<Output>,
    /// The fields that are neither key nor event time, where rows are wanted; none for aggregates.
    pub fields: Vec<String>,
    /// How far back the input reaches.
    pub retention: Option<Span>,
    /// The field that says of a raw dataset's row that nothing is there from then on.
    deleted: Option<String>,
    /// What the input calls the event time.
    time: String,
}

/// One aggregate of a derived dataset.
#[derive(Clone, Debug)]
pub struct Output {
    /// The field it makes.
    pub name: String,
    /// Its declared type.
    pub data_type: DataType,
    /// The aggregate.
    pub function: String,
    /// What else is said to it.
    pub parameters: BTreeMap<String, Argument>,
    /// Its column.
    pub of: Option<String>,
    /// Its further column.
    pub by: Option<String>,
    /// Its window; none means since the beginning.
    pub window: Option<Window>,
    /// Its own predicate.
    pub predicate: Option<Expr>,
    /// What it is over nothing.
    pub over_nothing: Value,
}

/// How long the vectors are that a field is of, if it is of vectors.
fn vector_of(of: Option<&String>, field: &Field, input: &Dataset) -> Option<u32> {
    let read = of.and_then(|of| input.fields.field(of)).map(|read| read.data_type);
    match (field.data_type, read) {
        (DataType::Vector(length), _) | (_, Some(DataType::Vector(length))) => Some(length),
        _ => None,
    }
}

/// The column that parameters name.
fn further(parameters: &BTreeMap<String, Argument>) -> Option<String> {
    match parameters.get("by").or_else(|| parameters.get("key_column"))? {
        Argument::Text(column) => Some(column.clone()),
        _ => None,
    }
}

/// What the operators did with an event.
#[derive(Clone, Debug)]
pub enum Fate {
    /// It is a row of the entity that its key columns name.
    Kept(Columns),
    /// A filter was not true for it, an inner join found no row, or it repeats another one: the index of the operator.
    Filtered(usize),
    /// The key column is null.
    NoKey(String),
}

impl Pipeline {
    /// The pipeline that makes `dataset` of rows of `input`, which is raw; they are one for a raw dataset. Unions are no
    /// operators here: a row goes on behind the one that it is added by.
    ///
    /// # Errors
    /// A definition that a commit would have refused.
    pub fn of(dataset: &Dataset, input: &Dataset) -> Result<Pipeline> {
        let mut pipeline = Pipeline {
            keys: dataset.fields.keys().map(|f| f.name.clone()).collect(),
            operators: Vec::new(),
            numbers: Vec::new(),
            outputs: Vec::new(),
            fields: Vec::new(),
            retention: input.retention,
            deleted: dataset.deleted.clone(),
            time: input.time_field().to_owned(),
        };
        let made = dataset.pipelines.first();
        let aggregates = |o: &OperatorDef| matches!(o, OperatorDef::Aggregate { .. });
        if !made.is_some_and(|made| made.operators.iter().any(aggregates)) {
            let values = dataset.fields.fields.iter().filter(|f| f.role == Role::Value);
            pipeline.fields = values.map(|f| f.name.clone()).collect();
        }
        let Some(definition) = made else { return Ok(pipeline) };
        let main = definition.inputs.first().is_some_and(|name| name == &input.name);
        for (number, operator) in met(&definition.operators, main, &input.name, &mut 0).0 {
            let OperatorDef::Aggregate { aggregates } = operator else {
                pipeline.operators.push(operator.clone());
                pipeline.numbers.push(number);
                continue;
            };
            for aggregate in aggregates {
                let field = dataset.fields.field(&aggregate.name).ok_or_else(|| {
                    Error::internal(format!("{} has no field {}", dataset.name, aggregate.name))
                })?;
                let length = vector_of(aggregate.of.as_ref(), field, input);
                let over_nothing = match (&aggregate.default, aggregate.function.as_str()) {
                    (Some(default), _) => default.value(field.data_type)?,
                    (None, "sum") if length.is_some() => {
                        let zeros = vec![0.0; length.unwrap_or_default() as usize];
                        Value::Vector(zeros.into()).widen(field.data_type).unwrap_or_default()
                    }
                    (None, "count" | "count_distinct" | "sum") => {
                        Value::Int(0).widen(field.data_type).unwrap_or_default()
                    }
                    (None, "first_k" | "last_k") => match field.data_type {
                        DataType::List(item) => Value::List(item, [].into()),
                        _ => Value::Null,
                    },
                    (None, _) => Value::Null,
                };
                pipeline.outputs.push(Output {
                    name: aggregate.name.clone(),
                    data_type: field.data_type,
                    function: aggregate.function.clone(),
                    parameters: aggregate.parameters.clone(),
                    of: aggregate.of.clone(),
                    by: further(&aggregate.parameters),
                    window: aggregate.window,
                    predicate: aggregate.predicate.clone(),
                    over_nothing,
                });
            }
        }
        Ok(pipeline)
    }

    /// Runs the operators of a pipeline without joins and dedups over one event's columns, in order.
    ///
    /// # Errors
    /// As [`evaluate`]; a join.
    pub fn derive(&self, event: &Columns) -> Result<Fate> {
        let no_rows =
            |join: &JoinDef| format!("the rows of {}, which is joined, were not given", join.dataset);
        self.derive_joined(event, &mut |join, _| Err(Error::internal(no_rows(join))))
    }

    /// [`Pipeline::derive_among`] of a pipeline without dedups.
    ///
    /// # Errors
    /// As [`evaluate`], and what `join` says.
    pub fn derive_joined(
        &self,
        event: &Columns,
        join: &mut dyn FnMut(&JoinDef, &mut Columns) -> Result<bool>,
    ) -> Result<Fate> {
        let alone = || Error::internal("the rows that a dedup compares were not given");
        self.derive_among(event, join, &mut |_, _| Err(alone()))
    }

    /// Whether an operator is a dedup.
    pub fn has_dedups(&self) -> bool {
        self.operators.iter().any(|operator| matches!(operator, OperatorDef::Dedup(_)))
    }

    /// Runs the operators over one event's columns, in order. `join` adds the columns of a join and says whether
    /// it found a row (see [`crate::join`]); `counts` says of the dedup of a number whether it leaves the row (see
    /// [`crate::dedup`]). Both depend on the position as of which the event is derived.
    ///
    /// # Errors
    /// As [`evaluate`], and what `join` and `counts` say.
    pub fn derive_among(
        &self,
        event: &Columns,
        join: &mut dyn FnMut(&JoinDef, &mut Columns) -> Result<bool>,
        counts: &mut dyn FnMut(usize, &Columns) -> Result<bool>,
    ) -> Result<Fate> {
        let (mut row, mut time) = (event.clone(), self.time.clone());
        for (index, operator) in self.operators.iter().enumerate() {
            if let Some(shaped) = shaped(operator, &row, &mut time)? {
                row = shaped;
                if let Some(key) = missing_key(operator, &row) {
                    return Ok(Fate::NoKey(key.to_owned()));
                }
                continue;
            }
            match operator {
                OperatorDef::Filter { expr } if !holds(expr, &row)? => return Ok(Fate::Filtered(index)),
                OperatorDef::Dedup(_) if !counts(self.numbers[index], &row)? => {
                    return Ok(Fate::Filtered(index));
                }
                OperatorDef::Join(def) if !join(def, &mut row)? && def.how == How::Inner => {
                    return Ok(Fate::Filtered(index));
                }
                OperatorDef::Assign { columns } => {
                    // All expressions see the columns as they were before.
                    let before = row.clone();
                    for assigned in columns {
                        row.set(assigned.name.as_str(), evaluate(&assigned.expr, &before)?);
                    }
                }
                _ => {}
            }
        }
        match self.keys.iter().find(|key| row.value(key).is_null()) {
            Some(key) => Ok(Fate::NoKey(key.clone())),
            None => Ok(Fate::Kept(row)),
        }
    }

    /// The entity that an event is about, whatever the filters say of it; null where it has no key.
    ///
    /// # Errors
    /// As [`Pipeline::derive_joined`].
    pub fn key_of(
        &self,
        event: &Columns,
        join: &mut dyn FnMut(&JoinDef, &mut Columns) -> Result<bool>,
    ) -> Result<Vec<Value>> {
        let (mut row, mut time) = (event.clone(), self.time.clone());
        for operator in &self.operators {
            if let Some(shaped) = shaped(operator, &row, &mut time)? {
                row = shaped;
                continue;
            }
            match operator {
                OperatorDef::Join(def) => {
                    join(def, &mut row)?;
                }
                OperatorDef::Assign { columns } => {
                    let before = row.clone();
                    for assigned in columns {
                        row.set(assigned.name.as_str(), evaluate(&assigned.expr, &before)?);
                    }
                }
                _ => {}
            }
        }
        Ok(self.key(&row))
    }

    /// The entity that a derived row belongs to.
    pub fn key(&self, row: &Columns) -> Vec<Value> {
        self.keys.iter().map(|key| row.value(key)).collect()
    }

    /// The derived row as its outputs see it: a value and a verdict for each, or the fields of a raw row.
    ///
    /// # Errors
    /// As [`evaluate`].
    pub fn row(&self, time: EventTime, position: Position, row: &Columns) -> Result<Row> {
        let mut made = Row { time, position, values: Vec::new(), predicates: Vec::new() };
        for output in &self.outputs {
            made.values.push(output.of.as_ref().map(|of| row.value(of)).unwrap_or_default());
            let predicate = output.predicate.as_ref().map(|p| holds(p, row)).transpose()?;
            made.predicates.push(predicate.unwrap_or(true));
        }
        made.values.extend(self.fields.iter().map(|field| row.value(field)));
        if self.outputs.iter().any(|output| output.by.is_some()) {
            let by = |output: &Output| output.by.as_ref().map(|by| row.value(by)).unwrap_or_default();
            made.values.extend(self.outputs.iter().map(by));
        }
        Ok(made)
    }

    /// The value of an output at `(T, S)` over the rows of one entity.
    ///
    /// # Errors
    /// As [`answer`].
    pub fn value(&self, index: usize, rows: &[Row], until: EventTime, at: Position) -> Result<Value> {
        let output = self
            .outputs
            .get(index)
            .ok_or_else(|| Error::internal(format!("a pipeline has no output {index}")))?;
        let question = Question {
            aggregate: &output.function,
            parameters: output.parameters.clone(),
            of: output.of.as_ref().map(|_| index),
            by: self.further_at(index),
            predicate: Some(index),
            until,
            at,
            window: output.window,
            retention: self.retention,
            gives: Some(output.data_type),
        };
        Ok(match answer(rows, &question)? {
            Outcome::Value(value) | Outcome::Cut(value, _) => {
                value.widen(output.data_type).unwrap_or_default()
            }
            Outcome::Nothing => output.over_nothing.clone().widen(output.data_type).unwrap_or_default(),
            Outcome::Overflow => Value::Null,
        })
    }

    /// Where a row has the value of the further column of an output, if that has one.
    pub fn further_at(&self, index: usize) -> Option<usize> {
        self.outputs.get(index)?.by.as_ref()?;
        Some(self.outputs.len() + self.fields.len() + index)
    }

    /// The latest row of a raw dataset at `(T, S)` over the rows of one entity.
    pub fn latest<'r>(&self, rows: &'r [Row], until: EventTime, at: Position) -> Option<&'r Row> {
        let latest = visible(rows, until, at, self.retention).pop()?;
        let deleted = self.fields.iter().position(|field| Some(field) == self.deleted.as_ref());
        let says = deleted.and_then(|column| latest.values.get(column));
        (says != Some(&Value::Bool(true))).then_some(latest)
    }
}

/// The operators that a row meets, with their numbers, and whether it comes in at all: from the beginning (`is_in`), or by
/// a union that adds rows of `input`. Operators are numbered so that one behind another has the greater number.
fn met<'o>(
    operators: &'o [OperatorDef],
    mut is_in: bool,
    input: &str,
    next: &mut usize,
) -> (Vec<(usize, &'o OperatorDef)>, bool) {
    let mut met_so_far = Vec::new();
    for operator in operators {
        let OperatorDef::Union(union) = operator else {
            if is_in {
                met_so_far.push((*next, operator));
            }
            *next += 1;
            continue;
        };
        for branch in &union.others {
            let (of_branch, came) = met(&branch.operators, branch.input == input, input, next);
            if came {
                (met_so_far, is_in) = (of_branch, true);
            }
        }
    }
    (met_so_far, is_in)
}
