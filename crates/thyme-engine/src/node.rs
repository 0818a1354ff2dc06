//! Nodes: a pipeline (or an index) compiled, with its timelines.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::UInt32Array;
use arrow::buffer::BooleanBuffer;
use thyme_core::aggregate::{self, Settings};
use thyme_core::definition::naming::unversioned;
use thyme_core::definition::{AggregateDef, Dataset, Pipeline, growth};
use thyme_core::expr::{Compiled, Expr};
use thyme_core::schema::Role;
use thyme_core::{DataType, Error, EventTime, Field, Position, Result, Span, Value, Window};
use thyme_timeline::{Batch, BatchColumn, Judge, Layout, Slot};

use crate::feed::{Entry, Incoming, Rights};
use crate::flow::{Flow, Places, column};
use crate::join::{Join, columns_of};
use crate::keys::encode_keys;
use crate::residence::Residence;
pub(crate) use crate::rows::NodeRows;
use crate::state::{NodeState, STRIPES};
use crate::steps::{Inner, Input, Steps};
use crate::trial::MaybePartial;

/// The input of a node that takes no rows of records.
const NO_DATASET: u32 = u32::MAX;

/// A node's number; its chunks are stored under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

/// One readable value of a node.
#[derive(Clone, Debug)]
pub struct Output {
    /// The field.
    pub name: String,
    /// Its declared type.
    pub data_type: DataType,
    /// The slot of the layout that computes it.
    pub slot: usize,
    /// Its window; `None` since the beginning.
    pub window: Option<Window>,
    /// What it is over nothing.
    pub over_nothing: Value,
}

/// A compiled pipeline or index and its state.
#[derive(Debug)]
pub struct Node {
    /// Its number.
    pub id: NodeId,
    /// The dataset it makes readable.
    pub dataset: String,
    /// The entity key's fields, in the order of the dataset.
    pub keys: Vec<Field>,
    /// The event time field of the dataset.
    pub timestamp: String,
    /// Aggregates of a pipeline; empty for an index.
    pub outputs: Vec<Output>,
    /// Columns of an index's rows; empty for a pipeline.
    pub columns: Vec<Field>,
    /// How far back the input reaches.
    pub retention: Option<Span>,
    /// The dataset that feeds it; others may, by unions.
    pub(crate) input: u32,
    pub(crate) layout: Layout,
    pub(crate) state: Arc<NodeState>,
    /// The event time up to which rows may have been removed.
    removed_until: Arc<AtomicI64>,
    input_timestamp: String,
    steps: Arc<Steps>,
    stored: Vec<String>,
    predicates: Vec<Compiled>,
    /// Set if it is only tried out, for some entities.
    pub(crate) partial: MaybePartial,
}

/// A record's rows with the verdicts on them.
#[derive(Default)]
pub(crate) struct Admitted {
    /// `None`: all of them.
    pub kept: Option<BooleanBuffer>,
    /// The rows' numbers in their record; `None`: they count from 0.
    pub numbers: Option<UInt32Array>,
    /// The watermark that each late row was behind of, in order.
    pub late: Vec<i64>,
    /// The duplicates, by index among the rows, each with the position of the row that counts, if it is known.
    pub duplicates: Vec<(u32, Option<Position>)>,
    pub newest: Option<i64>,
}

impl Node {
    /// What makes two nodes the same; `None` if the dataset has no timelines. `joined` are the datasets that its
    /// pipeline joins.
    pub(crate) fn signature(definition: &Dataset, inputs: &[Dataset], joined: &[&Dataset]) -> Option<String> {
        let meaning = match definition.pipelines.first() {
            None if !definition.index => return None,
            None => return Some(Node::index_signature(definition)),
            Some(pipeline) => serde_json::to_string(&without_places(pipeline)).ok()?,
        };
        Some(format!("{}{meaning}{}", made_of(definition, inputs), joining(joined)))
    }

    /// The signature that the node of a superseded version once had, which was another than while it was the newest.
    pub(crate) fn former_signature(definition: &Dataset, signature: &str) -> Option<String> {
        let (name, _) = definition.name.split_once('@')?;
        let named = |name: &str| format!("{name}@{} over ", definition.version);
        Some(format!("{}{}", named(&definition.name), signature.strip_prefix(&named(name))?))
    }

    /// What two pipelines have in common whose aggregates timelines may answer together; `None` for no pipeline.
    pub(crate) fn stem(definition: &Dataset, inputs: &[Dataset], joined: &[&Dataset]) -> Option<String> {
        let meaning = serde_json::to_string(&growth::bare(definition.pipelines.first()?)).ok()?;
        let mut keyed = definition.clone();
        keyed.fields.fields.retain(|field| field.role != Role::Value);
        Some(format!("{}{meaning}{}", made_of(&keyed, inputs), joining(joined)))
    }

    /// The signature of the index of a raw dataset.
    pub(crate) fn index_signature(definition: &Dataset) -> String {
        made_of(definition, std::slice::from_ref(definition))
    }

    fn empty(
        id: NodeId,
        definition: &Dataset,
        (input, input_id): (&Dataset, u32),
        residence: &Arc<Residence>,
    ) -> Node {
        let timestamp = |d: &Dataset| d.fields.timestamp().map(|f| f.name.clone()).unwrap_or_default();
        Node {
            id,
            dataset: definition.name.clone(),
            keys: definition.fields.keys().cloned().collect(),
            timestamp: timestamp(definition),
            outputs: Vec::new(),
            columns: Vec::new(),
            retention: input.retention,
            input: input_id,
            layout: Layout::default(),
            state: NodeState::new(residence, id.0, &definition.name, &Layout::default()),
            removed_until: Arc::new(AtomicI64::new(i64::MIN)),
            input_timestamp: timestamp(input),
            steps: Arc::default(),
            stored: Vec::new(),
            predicates: Vec::new(),
            partial: MaybePartial::new(),
        }
    }

    /// The index of a raw dataset.
    pub(crate) fn index(id: NodeId, definition: &Dataset, dataset: u32, residence: &Arc<Residence>) -> Node {
        let columns = values_of(definition);
        let mut node = Node::empty(id, definition, (definition, dataset), residence);
        let deleted = definition.deleted.as_ref();
        node.layout.deleted = deleted.and_then(|name| columns.iter().position(|c| c.name == *name));
        node.with_columns(columns, residence)
    }

    /// A node that keeps some columns by some key for a join of another node; no record feeds it.
    pub(crate) fn keeping(
        id: NodeId,
        what: String,
        keys: Vec<Field>,
        columns: Vec<Field>,
        residence: &Arc<Residence>,
    ) -> Node {
        let state = NodeState::new(residence, id.0, &what, &Layout::default());
        let node = Node {
            id,
            dataset: what,
            keys,
            timestamp: String::new(),
            outputs: Vec::new(),
            columns: Vec::new(),
            retention: None,
            input: NO_DATASET,
            layout: Layout::default(),
            state,
            removed_until: Arc::new(AtomicI64::new(i64::MIN)),
            input_timestamp: String::new(),
            steps: Arc::default(),
            stored: Vec::new(),
            predicates: Vec::new(),
            partial: MaybePartial::new(),
        };
        node.with_columns(columns, residence)
    }

    fn with_columns(mut self, columns: Vec<Field>, residence: &Arc<Residence>) -> Node {
        self.stored = columns.iter().map(|f| f.name.clone()).collect();
        self.layout.columns = columns.iter().map(|f| f.data_type).collect();
        self.columns = columns;
        self.state = NodeState::new(residence, self.id.0, &self.dataset, &self.layout);
        self
    }

    /// A pipeline; `kept` is what its timelines keep, if that is more than its aggregates ask for.
    pub(crate) fn compile(
        id: NodeId,
        definition: &Dataset,
        inputs: &[Input<'_>],
        inner: Inner<'_>,
        kept: &[AggregateDef],
        residence: &Arc<Residence>,
    ) -> Result<Node> {
        let input = inputs.first().ok_or_else(|| Error::internal("a pipeline has no input"))?;
        let mut node = Node::empty(id, definition, (input.dataset, input.id), residence);
        if let Some(pipeline) = definition.pipelines.first() {
            let mut read: BTreeSet<String> = node.keys.iter().map(|key| key.name.clone()).collect();
            read.extend(columns_of(kept));
            if pipeline.gives_rows() {
                let columns = values_of(definition);
                read.extend(columns.iter().map(|column| column.name.clone()));
                node = node.with_columns(columns, residence);
            }
            node.steps = Arc::new(Steps::compile(pipeline, inputs, inner, &read, residence)?);
            node.compile_aggregates(pipeline, kept, definition)?;
        }
        node.state = NodeState::new(residence, id.0, &definition.name, &node.layout);
        Ok(node)
    }

    /// This node with other aggregates, over the same timelines, which keep `kept`. What it has of them comes first in that.
    pub(crate) fn grown(
        &self,
        definition: &Dataset,
        kept: &[AggregateDef],
        residence: &Arc<Residence>,
    ) -> Result<Node> {
        let timestamp = definition.fields.timestamp().map(|f| f.name.clone()).unwrap_or_default();
        let mut node = Node {
            id: self.id,
            dataset: definition.name.clone(),
            keys: definition.fields.keys().cloned().collect(),
            timestamp,
            outputs: Vec::new(),
            columns: Vec::new(),
            retention: self.retention,
            input: self.input,
            layout: Layout::default(),
            state: self.state.clone(),
            removed_until: self.removed_until.clone(),
            input_timestamp: self.input_timestamp.clone(),
            steps: self.steps.clone(),
            stored: Vec::new(),
            predicates: Vec::new(),
            partial: MaybePartial::new(),
        };
        if self.is_index() {
            (node.columns, node.stored) = (self.columns.clone(), self.stored.clone());
            node.layout.columns.clone_from(&self.layout.columns);
            node.layout.deleted = self.layout.deleted;
        }
        if let Some(pipeline) = definition.pipelines.first() {
            node.compile_aggregates(pipeline, kept, definition)?;
        }
        if !self.state.is_in(residence) {
            // It is tried out beside what is live, which may grow otherwise.
            node.layout.shared = Some((self.layout.predicates, self.layout.slots.len()));
        }
        match node.layout.columns == self.layout.columns {
            true => Ok(node),
            false => Err(Error::internal(format!("{} lacks columns for its aggregates", definition.name))),
        }
    }

    /// Lays out what timelines keep, and then what the aggregates ask for.
    fn compile_aggregates(
        &mut self,
        pipeline: &Pipeline,
        kept: &[AggregateDef],
        definition: &Dataset,
    ) -> Result<()> {
        let (steps, mut predicates) = (self.steps.clone(), Vec::new());
        let columns = &steps.columns;
        for aggregate in kept {
            self.slot(aggregate, columns, &mut predicates)?;
        }
        for aggregate in pipeline.aggregates() {
            let slot = self.slot(aggregate, columns, &mut predicates)?;
            let output = self.output(aggregate, definition, slot)?;
            self.outputs.push(output);
        }
        self.layout.predicates = predicates.len();
        self.layout.judges = self.predicates.iter().map(|p| Judge::new(p, &self.stored)).collect();
        Ok(())
    }

    /// The slot of an aggregate.
    fn slot(
        &mut self,
        def: &AggregateDef,
        columns: &[(String, DataType)],
        predicates: &mut Vec<Expr>,
    ) -> Result<usize> {
        let subject = format!("{}.{}", self.dataset, def.name);
        let wrong = |what: &str| Error::invalid_definition(format!("{subject}: {what}"));
        let aggregate = aggregate::lookup(&def.function).ok_or_else(|| wrong("unknown aggregate"))?;
        let typed = |name: &String| {
            let found = columns.iter().find(|(n, _)| n == name).cloned();
            found.ok_or_else(|| wrong("unknown column"))
        };
        let of = def.of.as_ref().map(typed).transpose()?.map(|column| self.stored(column));
        let by = aggregate::further(aggregate, &def.parameters).map(|(_, name)| typed(name)).transpose()?;
        let by = by.map(|column| self.stored(column));
        let predicate = match &def.predicate {
            None => None,
            Some(expr) => Some(match predicates.iter().position(|p| p == expr) {
                Some(index) => index,
                None => {
                    self.predicates.push(Compiled::new(expr, columns)?);
                    predicates.push(expr.clone());
                    predicates.len() - 1
                }
            }),
        };
        let settings = Settings::of(aggregate, &def.parameters).map_err(|faults| {
            wrong(&faults.iter().map(|f| f.message.as_str()).collect::<Vec<_>>().join("; "))
        })?;
        let asked = Slot::new(aggregate, settings, of, predicate).by(by);
        let slot = self.layout.slots.iter().position(|slot| *slot == asked).unwrap_or_else(|| {
            self.layout.slots.push(asked);
            self.layout.slots.len() - 1
        });
        Ok(slot)
    }

    /// The place of a column in the layout, and its type.
    fn stored(&mut self, (name, data_type): (String, DataType)) -> (usize, DataType) {
        let found = self.stored.iter().position(|stored| *stored == name);
        let place = found.unwrap_or_else(|| {
            self.stored.push(name);
            self.layout.columns.push(data_type);
            self.stored.len() - 1
        });
        (place, data_type)
    }

    fn output(&self, def: &AggregateDef, definition: &Dataset, slot: usize) -> Result<Output> {
        let Slot { aggregate, call, .. } = &self.layout.slots[slot];
        let natural = aggregate.output_type(call)?;
        let declared = definition.fields.field(&def.name).map_or(natural, |f| f.data_type);
        let over_nothing = match &def.default {
            Some(literal) => literal.value(declared)?,
            None => aggregate.empty(natural),
        };
        Ok(Output {
            name: def.name.clone(),
            data_type: declared,
            slot,
            window: def.window,
            over_nothing: over_nothing.widen(declared).unwrap_or_default(),
        })
    }

    /// Whether rows of dataset `id` change its timelines.
    pub(crate) fn takes(&self, id: u32) -> bool {
        self.is_fed_by(id) || self.joins().any(|join| join.right.input == id)
    }

    /// Whether rows of dataset `id` are those that its operators begin with.
    pub(crate) fn is_fed_by(&self, id: u32) -> bool {
        self.inputs().any(|input| input == id)
    }

    /// The datasets whose rows its operators begin with.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = u32> {
        std::iter::once(self.input).chain(self.steps.inputs())
    }

    pub(crate) fn joins(&self) -> impl Iterator<Item = &Join> {
        self.steps.joins().into_iter()
    }

    /// The nodes in which its operators keep rows: joins the left ones, dedups those that they compare.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.steps.parts().into_iter()
    }

    /// Whether a row is derived from one event alone, and never again.
    pub(crate) fn is_stateless(&self) -> bool {
        self.parts().next().is_none()
    }

    /// Where it is whole behind, if its input is gone up to `gone`: each row that is read has all those with which it is
    /// compared. One without retention begins where its input does.
    pub(crate) fn whole_after(&self, gone: EventTime) -> EventTime {
        EventTime(gone.0.saturating_add(self.retention.map_or(0, |_| self.reach().0)))
    }

    /// How many dedups it has.
    pub(crate) fn dedups(&self) -> usize {
        self.steps.dedups().len()
    }

    /// How far before an event those may be that decide whether it counts.
    fn reach(&self) -> Span {
        self.steps.reach()
    }

    /// Up to which event time rows may be removed from its parts, if those up to `until` may be from it: others are
    /// still compared with them.
    pub(crate) fn parts_until(&self, until: EventTime) -> EventTime {
        EventTime(until.0.saturating_sub(self.reach().0))
    }

    /// Where it begins, if it reaches back without end and the log does not: nothing up to that time is in it.
    pub fn begins(&self) -> Option<EventTime> {
        self.removed_until().filter(|_| self.retention.is_none())
    }

    /// The event time up to which rows may have been removed, if any were.
    pub fn removed_until(&self) -> Option<EventTime> {
        let time = self.removed_until.load(Ordering::Acquire);
        (time > i64::MIN).then_some(EventTime(time))
    }

    /// Rows up to `time` may go from here on: what needs them is refused.
    pub(crate) fn remove_until(&self, time: EventTime) {
        self.removed_until.fetch_max(time.0, Ordering::AcqRel);
    }

    /// Runs the operators over a record's admitted rows; `None` when nothing is left. `rights` are those rows as
    /// the indexes that joins read have them.
    pub(crate) fn process(&self, incoming: Incoming<'_>, rights: &Rights) -> Result<Option<NodeRows>> {
        let entry = Entry { incoming, begins: self.begins() };
        let flow = entry.rows_of(self.input, &self.input_timestamp)?;
        let Some(mut flow) = self.steps.run(flow, entry, rights)? else { return Ok(None) };
        if let Some(keyed) = flow.with_values(&self.keys)? {
            flow.keep(&keyed)?;
        }
        if flow.len() == 0 {
            return Ok(None);
        }
        let rows = self.rows(&flow)?;
        let Some(changing) = rows.changing() else { return Ok(Some(rows)) };
        flow.keep(&changing)?;
        if flow.len() == 0 { Ok(None) } else { self.rows(&flow).map(Some) }
    }

    /// The rows of a flow with the columns that the node stores.
    pub(crate) fn rows(&self, flow: &Flow) -> Result<NodeRows> {
        let Places { times, positions, changes } = flow.places()?;
        let mut columns = Vec::with_capacity(self.stored.len());
        for (name, data_type) in self.stored.iter().zip(&self.layout.columns) {
            columns.push(BatchColumn::new(*data_type, column(&flow.batch, name)?)?);
        }
        let predicates =
            self.predicates.iter().map(|p| p.evaluate_mask(&flow.batch)).collect::<Result<Vec<_>>>()?;
        let keys = encode_keys(&self.keys, &flow.batch)?;
        Ok(NodeRows::new(Batch { times, positions, columns, predicates, changes }, keys))
    }

    /// Puts rows into the timelines at once. For nodes that the applier alone writes.
    ///
    /// # Errors
    /// As [`NodeState::insert`].
    pub(crate) fn write(&self, rows: &NodeRows) -> Result<()> {
        for index in (0..STRIPES).filter(|index| !rows.of_stripe(*index).is_empty()) {
            // What a crash left of later records is what the log brings again: rows, which do not change.
            self.state.insert(index, &[rows], Position::MAX)?;
            self.state.relieve();
        }
        Ok(())
    }
}

fn values_of(definition: &Dataset) -> Vec<Field> {
    definition.fields.fields.iter().filter(|f| f.role == Role::Value).cloned().collect()
}

fn joining(joined: &[&Dataset]) -> String {
    joined.iter().map(|d| format!(" joining {}", Node::index_signature(d))).collect()
}

/// Which definitions a node is made of. A version that a newer one has superseded is still what it was.
fn made_of(definition: &Dataset, inputs: &[Dataset]) -> String {
    let fields = |d: &Dataset| serde_json::to_string(&d.fields).unwrap_or_default();
    let name = unversioned(&definition.name);
    let mut made = format!("{name}@{} over ", definition.version);
    let own = fields(definition);
    for (index, input) in inputs.iter().enumerate() {
        let (and, own) = if index == 0 { ("", own.as_str()) } else { ("and ", "") };
        made += &format!(
            "{and}{}@{} retention {:?}: {own} {} ",
            input.name,
            input.version,
            input.retention,
            fields(input)
        );
    }
    made
}

fn without_places(pipeline: &Pipeline) -> Pipeline {
    let mut pipeline = pipeline.clone();
    pipeline.meta = Default::default();
    pipeline.forget_places();
    pipeline
}
