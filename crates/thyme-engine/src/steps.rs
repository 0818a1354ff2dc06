//! What a node does with the rows of its input, one operator after the other.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::BooleanArray;
use thyme_core::definition::operators::RowsDef;
use thyme_core::definition::{Assignment, Dataset, OperatorDef, Pipeline};
use thyme_core::expr::Compiled;
use thyme_core::schema::Role;
use thyme_core::{DataType, Error, Field, Result, Span};

use crate::dedup::Dedup;
use crate::feed::{Entry, Rights};
use crate::flow::{Flow, Projected};
use crate::join::{Join, Parts, columns_read};
use crate::node::{Node, NodeId};
use crate::residence::Residence;
use crate::union::Union;

/// One operator.
#[derive(Debug)]
pub(crate) enum Step {
    Filter(Compiled),
    Assign(Vec<(String, Compiled)>),
    /// Keeps some columns, under these names.
    Project(Vec<Projected>),
    /// Keeps rows that have a value in each of these columns.
    Keyed(Vec<Field>),
    Join(Box<Join>),
    Dedup(Box<Dedup>),
    Union(Union),
}

/// A dataset whose rows a pipeline takes.
pub(crate) struct Input<'a> {
    /// As the pipeline calls it.
    pub name: &'a str,
    pub dataset: &'a Dataset,
    pub id: u32,
}

/// What steps keep for themselves: what the catalog has of that, in the order of the operators.
pub(crate) struct Inner<'a> {
    /// For each join.
    pub joined: std::vec::IntoIter<Parts<'a>>,
    /// For each dedup: the number of the node that keeps its rows.
    pub deduped: std::vec::IntoIter<NodeId>,
}

/// The operators of a pipeline, and the columns that come out.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    list: Vec<Step>,
    pub columns: Vec<(String, DataType)>,
    pub timestamp: String,
}

impl Steps {
    /// Those of `pipeline` over the rows of its `inputs`; `read` names the columns that are needed in the end.
    pub fn compile<'i>(
        pipeline: &Pipeline,
        inputs: &[Input<'_>],
        mut inner: Inner<'i>,
        read: &BTreeSet<String>,
        residence: &Arc<Residence>,
    ) -> Result<Steps> {
        let mut compiling = Compiling { inputs, inner: &mut inner, residence };
        let input = inputs.first().ok_or_else(|| Error::internal("a pipeline has no input"))?;
        compiling.steps(input.dataset, &pipeline.operators, read)
    }

    /// The columns that operators further on need, and the event time where it may get another name.
    fn read_after(&self, operators: &[OperatorDef], read: &BTreeSet<String>) -> BTreeSet<String> {
        let mut read = columns_read(operators, read.clone());
        if operators.iter().any(|o| matches!(o, OperatorDef::Rows(_) | OperatorDef::Rename(_))) {
            read.insert(self.timestamp.clone());
        }
        read
    }

    fn assign(&mut self, assigned: &[Assignment]) -> Result<()> {
        let mut compiled = Vec::new();
        for a in assigned {
            compiled.push((a.name.clone(), Compiled::new(&a.expr, &self.columns)?));
        }
        for (name, expr) in &compiled {
            let data_type = expr.data_type().ok_or_else(|| {
                Error::invalid_definition(format!("the assigned column {name} is only ever null"))
            })?;
            match self.columns.iter_mut().find(|(n, _)| n == name) {
                Some(column) => column.1 = data_type,
                None => self.columns.push((name.clone(), data_type)),
            }
        }
        self.list.push(Step::Assign(compiled));
        Ok(())
    }

    /// An operator that says which columns stay.
    fn project(&mut self, operator: &OperatorDef) {
        let names = self.columns.iter().map(|(name, _)| name.as_str());
        let Some(names) = operator.names_after(names, &self.timestamp) else { return };
        let type_of = |from: &str| self.columns.iter().find(|(name, _)| name == from).map(|(_, t)| *t);
        let projected = names.into_iter().filter_map(|(name, from)| {
            let (is_time, data_type) = (from == self.timestamp, type_of(from)?);
            Some(Projected { name: name.to_owned(), from: from.to_owned(), data_type, is_time })
        });
        self.keep(projected.collect());
    }

    /// The rows of a derived dataset.
    fn rows(&mut self, rows: &RowsDef) -> Result<()> {
        let mut projected = Vec::new();
        for (field, from) in rows.columns(&self.timestamp) {
            if self.columns.iter().all(|(name, _)| name != from) {
                return Err(Error::invalid_definition(format!(
                    "there is no column {from} for {}",
                    field.name
                )));
            }
            projected.push(Projected {
                name: field.name.clone(),
                from: from.to_owned(),
                data_type: field.data_type,
                is_time: field.role == Role::Timestamp,
            });
        }
        self.keep(projected);
        let keys = rows.fields.iter().filter(|field| field.role == Role::Key).cloned();
        self.list.push(Step::Keyed(keys.collect()));
        Ok(())
    }

    fn keep(&mut self, projected: Vec<Projected>) {
        self.columns = projected.iter().map(|c| (c.name.clone(), c.data_type)).collect();
        if let Some(time) = projected.iter().find(|c| c.is_time) {
            self.timestamp.clone_from(&time.name);
        }
        self.list.push(Step::Project(projected));
    }

    /// The joins, in order; those of a union's branches come before what is behind it.
    pub fn joins(&self) -> Vec<&Join> {
        let mut found = Vec::new();
        self.each(&mut |step| {
            if let Step::Join(join) = step {
                found.push(join.as_ref());
            }
        });
        found
    }

    /// The dedups, in order.
    pub fn dedups(&self) -> Vec<&Dedup> {
        let mut found = Vec::new();
        self.each(&mut |step| {
            if let Step::Dedup(dedup) = step {
                found.push(dedup.as_ref());
            }
        });
        found
    }

    /// The datasets whose rows unions add.
    pub fn inputs(&self) -> Vec<u32> {
        let mut found = Vec::new();
        self.each(&mut |step| {
            if let Step::Union(union) = step {
                found.extend(union.inputs());
            }
        });
        found
    }

    fn each<'s>(&'s self, f: &mut dyn FnMut(&'s Step)) {
        for step in &self.list {
            if let Step::Union(union) = step {
                union.branches().for_each(|branch| branch.each(f));
            }
            f(step);
        }
    }

    /// The nodes in which they keep rows: those of joins first, then those of dedups.
    pub fn parts(&self) -> Vec<&Arc<Node>> {
        let left = self.joins().into_iter().map(|join| &join.left);
        left.chain(self.dedups().into_iter().map(|dedup| &dedup.kept)).collect()
    }

    /// How far before a row those may be that decide whether it counts; zero where that has no end.
    pub fn reach(&self) -> Span {
        let within = self.dedups().into_iter().map(|dedup| dedup.within().map_or(0, |within| within.0));
        Span(within.fold(0, i64::saturating_add))
    }

    /// What becomes of rows of the input, and of those that unions take of the record; `rights` are the record's rows as the indexes that joins read have them.
    pub fn run(&self, mut flow: Option<Flow>, entry: Entry<'_>, rights: &Rights) -> Result<Option<Flow>> {
        for step in &self.list {
            match (step, &mut flow) {
                (Step::Join(join), _) => {
                    let own = rights.iter().find(|(index, _)| index.id == join.right.id);
                    let rows = own.and_then(|(_, rows)| rows.as_ref());
                    flow = join.apply(flow.take().filter(|flow| flow.len() > 0), rows)?;
                }
                (Step::Union(union), _) => flow = union.apply(flow.take(), entry, rights)?,
                (Step::Dedup(dedup), _) => {
                    let rows = flow.take().filter(|flow| flow.len() > 0);
                    flow = rows.map(|flow| dedup.apply(flow)).transpose()?;
                }
                (Step::Filter(expr), Some(flow)) => {
                    flow.keep(&BooleanArray::new(expr.evaluate_mask(&flow.batch)?, None))?;
                }
                (Step::Assign(columns), Some(flow)) => flow.assign(columns)?,
                (Step::Project(columns), Some(flow)) => flow.project(columns)?,
                (Step::Keyed(keys), Some(flow)) => {
                    if let Some(keyed) = flow.with_values(keys)? {
                        flow.keep(&keyed)?;
                    }
                }
                (_, None) => {}
            }
        }
        Ok(flow)
    }
}

/// What compiling needs of those around.
pub(crate) struct Compiling<'c, 'i> {
    inputs: &'c [Input<'c>],
    inner: &'c mut Inner<'i>,
    residence: &'c Arc<Residence>,
}

impl Compiling<'_, '_> {
    /// Operators over the rows of `input`.
    fn steps(
        &mut self,
        input: &Dataset,
        operators: &[OperatorDef],
        read: &BTreeSet<String>,
    ) -> Result<Steps> {
        let columns = input.fields.fields.iter().map(|f| (f.name.clone(), f.data_type)).collect();
        let mut steps = Steps { list: Vec::new(), columns, timestamp: input.time_field().to_owned() };
        for (index, operator) in operators.iter().enumerate() {
            let after = &operators[index + 1..];
            match operator {
                OperatorDef::Join(def) => {
                    let parts =
                        self.inner.joined.next().ok_or_else(|| Error::internal("a join has no parts"))?;
                    let read = steps.read_after(after, read);
                    let join = Join::compile(def, parts, &steps.columns, &read, self.residence)?;
                    steps.columns.extend(join.columns());
                    steps.list.push(Step::Join(Box::new(join)));
                }
                OperatorDef::Dedup(def) => {
                    let kept =
                        self.inner.deduped.next().ok_or_else(|| Error::internal("a dedup has no number"))?;
                    let read = steps.read_after(after, read);
                    let columns = (steps.columns.as_slice(), &read);
                    let dedup = Dedup::compile(def, kept, columns, input.retention, self.residence)?;
                    steps.list.push(Step::Dedup(Box::new(dedup)));
                }
                OperatorDef::Union(def) => {
                    let read = steps.read_after(after, read);
                    let mut branches = Vec::with_capacity(def.others.len());
                    for branch in &def.others {
                        let of = self.inputs.iter().find(|input| input.name == branch.input);
                        let of = of.ok_or_else(|| Error::internal("a union has an input that is none"))?;
                        let taken = self.steps(of.dataset, &branch.operators, &read)?;
                        branches.push((of.id, of.dataset.time_field().to_owned(), taken));
                    }
                    let union = Union::new(&steps.columns, &steps.timestamp, branches)?;
                    steps.columns = union.columns();
                    steps.list.push(Step::Union(union));
                }
                OperatorDef::Filter { expr } => {
                    steps.list.push(Step::Filter(Compiled::new(expr, &steps.columns)?));
                }
                OperatorDef::Assign { columns } => steps.assign(columns)?,
                OperatorDef::Rows(rows) => steps.rows(rows)?,
                OperatorDef::Groupby { .. } | OperatorDef::Aggregate { .. } => {}
                OperatorDef::Select(_) | OperatorDef::Drop(_) | OperatorDef::Rename(_) => {
                    steps.project(operator);
                }
            }
        }
        Ok(steps)
    }
}
