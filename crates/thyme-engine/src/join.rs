//! Joins: each left row with the right row that is latest at its own time.
//!
//! A join keeps the left rows by join key (its `left` node) and reads the rows of the other dataset from
//! their index (its `right` node, which all joins with that dataset share). The applier alone writes
//! both, before it looks anything up, so that what it finds as of a position is what the log says there.
//! A right row that arrives late takes over the left rows from its own time up to the next right row's: the
//! version that each of them had ends at the position of the right row, and another comes.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, BooleanArray, RecordBatch};
use arrow::datatypes::{Field as ArrowField, Schema as ArrowSchema};
use thyme_core::definition::{AggregateDef, Dataset, How, JoinDef, OperatorDef};
use thyme_core::expr::Expr;
use thyme_core::schema::Role;
use thyme_core::{DataType, Error, EventTime, Field, Position, Result, Span, Value};
use thyme_timeline::RowView;

use crate::flow::{Flow, Places, Versions};
use crate::gather::Gather;
use crate::keys::encode_keys;
use crate::node::{Node, NodeId, NodeRows};
use crate::residence::Residence;

/// What a join needs that the catalog keeps.
pub(crate) struct Parts<'a> {
    /// The number of the node that keeps the left rows.
    pub left: NodeId,
    /// The index of the joined dataset.
    pub right: Arc<Node>,
    pub dataset: &'a Dataset,
}

/// A compiled join and the left rows that it keeps.
#[derive(Debug)]
pub(crate) struct Join {
    pub left: Arc<Node>,
    pub right: Arc<Node>,
    fields: Vec<Joined>,
    keeps_unmatched: bool,
    /// How old a right row may be at the left row's time.
    within: Option<Span>,
}

/// A column that the join adds.
#[derive(Debug)]
struct Joined {
    name: String,
    data_type: DataType,
    from: From,
}

#[derive(Debug)]
enum From {
    /// A column of the index.
    Column(usize),
    /// The right row's event time.
    Time,
}

/// The right row that counted before, and since.
struct Replaced {
    before: Option<(i64, Vec<Value>)>,
    /// `None`: it is a delete.
    since: Option<Vec<Value>>,
    /// Up to where on the left, the time itself included.
    until: i64,
}

impl Join {
    /// The join that `def` says over `columns`, of which those that `read` names are needed later.
    pub fn compile(
        def: &JoinDef,
        parts: Parts<'_>,
        columns: &[(String, DataType)],
        read: &BTreeSet<String>,
        residence: &Arc<Residence>,
    ) -> Result<Join> {
        let Parts { left, right, dataset } = parts;
        let wrong = |what: &str| Error::invalid_definition(format!("the join with {}: {what}", def.dataset));
        let mut keys = Vec::new();
        for key in dataset.fields.keys() {
            let pair = def.right_on.iter().zip(&def.left_on).find(|(right, _)| **right == key.name);
            let (_, name) = pair.ok_or_else(|| wrong("a key field is not joined on"))?;
            keys.push(Field { name: name.clone(), optional: true, role: Role::Key, ..key.clone() });
        }
        let mut fields = Vec::new();
        for joined in &def.fields {
            let field = dataset.fields.field(&joined.field).ok_or_else(|| wrong("an unknown field"))?;
            let from = match field.role {
                Role::Timestamp => From::Time,
                _ => right
                    .columns
                    .iter()
                    .position(|c| c.name == field.name)
                    .map(From::Column)
                    .ok_or_else(|| wrong("a field that is not indexed"))?,
            };
            fields.push(Joined { name: joined.name.clone(), data_type: field.data_type, from });
        }
        let kept = columns.iter().filter(|(name, _)| read.contains(name));
        let kept = kept.map(|(name, data_type)| Field::new(name.clone(), *data_type, true, Role::Value));
        let what = format!("left of {}", def.dataset);
        let left = Arc::new(Node::keeping(left, what, keys, kept.collect(), residence));
        let within = match (def.within, right.retention) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Ok(Join { left, right, fields, keeps_unmatched: def.how == How::Left, within })
    }

    /// How old a right row may be at the left row's time.
    pub fn within(&self) -> Option<Span> {
        self.within
    }

    /// The names and types of the columns that it adds.
    pub fn columns(&self) -> impl Iterator<Item = (String, DataType)> + '_ {
        self.fields.iter().map(|f| (f.name.clone(), f.data_type))
    }

    /// What becomes of the left rows of a record, and of earlier ones because of its right rows, which are in
    /// the index already.
    pub fn apply(&self, flow: Option<Flow>, rights: Option<&NodeRows>) -> Result<Option<Flow>> {
        let joined = flow.map(|flow| self.of_left(flow)).transpose()?;
        let again = rights.map(|rights| self.of_right(rights)).transpose()?.flatten();
        Ok(match (joined, again) {
            (Some(joined), Some(again)) => Some(joined.merge(again)?),
            (joined, again) => joined.or(again),
        })
    }

    /// Keeps left rows, and finds the right row of each.
    fn of_left(&self, mut flow: Flow) -> Result<Flow> {
        let keyed = flow.with_values(&self.left.keys)?;
        let mut kept = flow.clone();
        if let Some(keyed) = &keyed {
            kept.keep(keyed)?;
        }
        if kept.len() > 0 {
            self.left.write(&self.left.rows(&kept)?)?;
        }
        let (count, places) = (flow.len(), flow.places()?);
        let keys = encode_keys(&self.left.keys, &flow.batch)?;
        let mut columns: Vec<Gather> = self.fields.iter().map(|f| Gather::new(f.data_type, count)).collect();
        let mut matched = Vec::with_capacity(count);
        for row in 0..count {
            let has_key = keyed.as_ref().is_none_or(|keyed| keyed.value(row));
            let found = has_key && self.find(keys.get(row), &places, row, &mut columns)?;
            if !found {
                columns.iter_mut().for_each(Gather::push_null);
            }
            matched.push(found);
        }
        let names = self.fields.iter().map(|f| f.name.as_str());
        flow.set(names.zip(columns.iter_mut().map(Gather::finish)))?;
        if !self.keeps_unmatched {
            flow.keep(&BooleanArray::from(matched))?;
        }
        Ok(flow)
    }

    /// Appends what the right row of a left row gives, if there is one.
    fn find(&self, key: &[u8], places: &Places, row: usize, columns: &mut [Gather]) -> Result<bool> {
        let (time, at) = (EventTime(places.times[row]), places.as_of(row));
        let found = self.right.state.with(key, |timeline| {
            let found = timeline.latest_row(&self.right.layout, self.after(time.0), time, at)?;
            self.fields.iter().zip(columns).for_each(|(field, column)| column.push(&field.value(&found)));
            Some(())
        })?;
        Ok(found.flatten().is_some())
    }

    fn after(&self, time: i64) -> EventTime {
        EventTime(self.within.map_or(i64::MIN, |within| time.saturating_sub(within.0)))
    }

    /// The left rows that the right rows of a record take over.
    fn of_right(&self, rights: &NodeRows) -> Result<Option<Flow>> {
        let mut again = Again::new(self);
        for row in 0..rights.len() {
            let (key, time) = (rights.key(row), rights.batch.times[row]);
            let at = Position::from_bits(rights.batch.positions[row]);
            let has_later = |left: &thyme_timeline::Timeline| left.newest().is_some_and(|t| t.0 >= time);
            if self.left.state.with(key, has_later)? != Some(true) {
                continue;
            }
            if let Some(replaced) = self.replaced(key, time, at)? {
                self.left.state.with(key, |left| {
                    let (after, until) = (EventTime(time.saturating_sub(1)), EventTime(replaced.until));
                    left.rows(&self.left.layout, after, until, at, &mut |left| {
                        // One that came at this very position has found its right row already.
                        if left.added() != at {
                            again.replace(&left, at, &replaced);
                        }
                    });
                })?;
            }
        }
        again.finish()
    }

    /// What the right row of `time` and `at` replaces.
    fn replaced(&self, key: &[u8], time: i64, at: Position) -> Result<Option<Replaced>> {
        let layout = &self.right.layout;
        let values = |row: &RowView<'_>| self.fields.iter().map(|field| field.value(row)).collect();
        let replaced = self.right.state.with(key, |timeline| {
            let latest = |at| timeline.latest_row(layout, EventTime(i64::MIN), EventTime(time), at);
            let before = latest(Position::from_bits(at.to_bits() - 1));
            let next = timeline.next_time(EventTime(time), at).map_or(i64::MAX, |next| next.0 - 1);
            let reach = self.within.map_or(i64::MAX, |within| time.saturating_add(within.0 - 1));
            Some(Replaced {
                before: before.map(|row| (row.time().0, values(&row))),
                since: latest(at).map(|row| values(&row)),
                until: next.min(reach),
            })
        })?;
        Ok(replaced.flatten())
    }
}

impl Joined {
    fn value(&self, row: &RowView<'_>) -> Value {
        match self.from {
            From::Column(index) => row.value(index),
            From::Time => Value::Datetime(row.time().0),
        }
    }
}

/// Left rows that are derived again: what they gave goes, what they give now comes.
struct Again<'a> {
    join: &'a Join,
    /// The columns of the left node, then the joined ones.
    columns: Vec<Gather>,
    versions: Versions,
}

impl<'a> Again<'a> {
    fn new(join: &'a Join) -> Self {
        let left = join.left.columns.iter().map(|f| f.data_type);
        let types = left.chain(join.fields.iter().map(|f| f.data_type));
        let columns = types.map(|data_type| Gather::new(data_type, 0)).collect();
        Again { join, columns, versions: Versions::default() }
    }

    fn replace(&mut self, left: &RowView<'_>, at: Position, replaced: &Replaced) {
        let oldest = self.join.after(left.time().0).0;
        let before = replaced.before.as_ref().filter(|(time, _)| *time > oldest || oldest == i64::MIN);
        let before = before.map(|(_, values)| values.as_slice());
        let nulls = vec![Value::Null; self.join.fields.len()];
        let unmatched = self.join.keeps_unmatched.then_some(nulls.as_slice());
        let (was, is) = (before.or(unmatched), replaced.since.as_deref().or(unmatched));
        if was == is {
            return;
        }
        if let Some(was) = was {
            self.push(left, at, true, was);
        }
        if let Some(is) = is {
            self.push(left, at, false, is);
        }
    }

    fn push(&mut self, left: &RowView<'_>, at: Position, ends: bool, joined: &[Value]) {
        let kept = (0..self.join.left.columns.len()).map(|column| left.value(column));
        let values = kept.chain(joined.iter().cloned());
        self.columns.iter_mut().zip(values).for_each(|(column, value)| column.push(&value));
        self.versions.times.push(left.time().0);
        self.versions.positions.push(left.position().to_bits());
        self.versions.at.push(at.to_bits());
        self.versions.ends.push(ends);
    }

    fn finish(mut self) -> Result<Option<Flow>> {
        if self.versions.at.is_empty() {
            return Ok(None);
        }
        let names = self.join.left.columns.iter().map(|f| &f.name);
        let names = names.chain(self.join.fields.iter().map(|f| &f.name));
        let columns: Vec<_> = self.columns.iter_mut().map(Gather::finish).collect();
        let fields = names.zip(&columns).map(|(name, c)| ArrowField::new(name, c.data_type().clone(), true));
        let schema = Arc::new(ArrowSchema::new(fields.collect::<Vec<_>>()));
        Ok(Some(Flow::of_changes(RecordBatch::try_new(schema, columns)?, self.versions)))
    }
}

/// The names of the columns that aggregates read.
pub(crate) fn columns_of(aggregates: &[AggregateDef]) -> impl Iterator<Item = String> + '_ {
    let predicates = aggregates.iter().filter_map(|a| a.predicate.as_ref());
    let columns = aggregates.iter().flat_map(AggregateDef::columns);
    columns.chain(predicates.flat_map(Expr::columns)).cloned()
}

/// The names of the columns that operators read, or that `read` names after them, as they are called before the operators.
pub(crate) fn columns_read(operators: &[OperatorDef], read: BTreeSet<String>) -> BTreeSet<String> {
    let mut read = read;
    for operator in operators.iter().rev() {
        match operator {
            OperatorDef::Filter { expr } => read.extend(expr.columns().into_iter().cloned()),
            OperatorDef::Assign { columns } => {
                read.extend(columns.iter().flat_map(|c| c.expr.columns()).cloned());
            }
            OperatorDef::Join(join) => read.extend(join.left_on.iter().cloned()),
            OperatorDef::Dedup(dedup) => read.extend(dedup.by.iter().cloned()),
            OperatorDef::Rename(rename) => {
                let renamed = rename.columns.iter().filter(|c| read.contains(&c.name));
                let from: Vec<String> = renamed.map(|c| c.from.clone()).collect();
                read.extend(from);
            }
            OperatorDef::Groupby { keys } => read.extend(keys.iter().cloned()),
            OperatorDef::Aggregate { aggregates } => {
                read.extend(columns_of(aggregates));
            }
            OperatorDef::Rows(rows) => {
                let keys = rows.fields.iter().filter(|field| field.role == Role::Key);
                read.extend(keys.map(|field| field.name.clone()));
            }
            OperatorDef::Select(_) | OperatorDef::Drop(_) | OperatorDef::Union(_) => {}
        }
    }
    read
}
