//! Nodes: a pipeline (or an index) compiled, with its timelines.

use std::fmt;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{and, filter, filter_record_batch};
use arrow::datatypes::{Field as ArrowField, Schema as ArrowSchema};
use std::sync::Arc;
use thyme_core::aggregate;
use thyme_core::definition::{AggregateDef, Dataset, OperatorDef, Pipeline, Place};
use thyme_core::expr::{Compiled, Expr};
use thyme_core::schema::Role;
use thyme_core::{DataType, Error, Field, Position, Result, Span, Value};
use thyme_timeline::{Batch, BatchColumn, Layout, Slot};

use crate::decode::columns::event_times;
use crate::keys::{Keys, encode_keys};
use crate::state::{NodeState, STRIPES, stripe_of};

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
    pub window: Option<Span>,
    /// What it is over nothing.
    pub over_nothing: Value,
}

/// What a node does with the rows of its input.
#[derive(Debug)]
enum Step {
    Filter(Compiled),
    Assign(Vec<(String, Compiled)>),
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
    pub(crate) input: u32,
    pub(crate) layout: Layout,
    pub(crate) state: NodeState,
    input_timestamp: String,
    steps: Vec<Step>,
    stored: Vec<String>,
    predicates: Vec<Compiled>,
}

/// A record's rows with the verdicts on them.
pub(crate) struct Admitted {
    /// `None`: all of them.
    pub kept: Option<BooleanBuffer>,
    pub late: u64,
    pub newest: Option<i64>,
}

/// The rows of one record for one node, grouped by stripe.
pub(crate) struct NodeRows {
    pub batch: Batch,
    pub hashes: Vec<u64>,
    keys: Keys,
    order: Vec<u32>,
    starts: [u32; STRIPES + 1],
}

impl fmt::Debug for NodeRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeRows").field("rows", &self.order.len()).finish()
    }
}

impl NodeRows {
    /// The rows of a stripe, in log order.
    pub fn of_stripe(&self, stripe: usize) -> &[u32] {
        &self.order[self.starts[stripe] as usize..self.starts[stripe + 1] as usize]
    }

    /// The encoded key of a row.
    pub fn key(&self, row: usize) -> &[u8] {
        self.keys.get(row)
    }
}

impl Node {
    /// What makes two nodes the same; `None` if the dataset has no timelines.
    pub(crate) fn signature(definition: &Dataset, input: &Dataset) -> Option<String> {
        let meaning = match definition.pipelines.first() {
            None if !definition.index => return None,
            None => String::new(),
            Some(pipeline) => serde_json::to_string(&without_places(pipeline)).ok()?,
        };
        let fields = |d: &Dataset| serde_json::to_string(&d.fields).unwrap_or_default();
        let (own, of) = (fields(definition), fields(input));
        Some(format!(
            "{}@{} over {}@{} retention {:?}: {own} {of} {meaning}",
            definition.name, definition.version, input.name, input.version, input.retention
        ))
    }

    pub(crate) fn compile(id: NodeId, definition: &Dataset, input: &Dataset, input_id: u32) -> Result<Node> {
        let timestamp = |d: &Dataset| d.fields.timestamp().map(|f| f.name.clone()).unwrap_or_default();
        let mut node = Node {
            id,
            dataset: definition.name.clone(),
            keys: definition.fields.keys().cloned().collect(),
            timestamp: timestamp(definition),
            outputs: Vec::new(),
            columns: Vec::new(),
            retention: input.retention,
            input: input_id,
            layout: Layout { columns: Vec::new(), predicates: 0, slots: Vec::new() },
            state: NodeState::new(),
            input_timestamp: timestamp(input),
            steps: Vec::new(),
            stored: Vec::new(),
            predicates: Vec::new(),
        };
        match definition.pipelines.first() {
            None => {
                node.columns =
                    definition.fields.fields.iter().filter(|f| f.role == Role::Value).cloned().collect();
                node.stored = node.columns.iter().map(|f| f.name.clone()).collect();
                node.layout.columns = node.columns.iter().map(|f| f.data_type).collect();
            }
            Some(pipeline) => node.compile_pipeline(pipeline, definition, input)?,
        }
        Ok(node)
    }

    fn compile_pipeline(&mut self, pipeline: &Pipeline, definition: &Dataset, input: &Dataset) -> Result<()> {
        let mut columns: Vec<(String, DataType)> =
            input.fields.fields.iter().map(|f| (f.name.clone(), f.data_type)).collect();
        for operator in &pipeline.operators {
            match operator {
                OperatorDef::Filter { expr } => self.steps.push(Step::Filter(Compiled::new(expr, &columns)?)),
                OperatorDef::Assign { columns: assigned } => {
                    let mut compiled = Vec::new();
                    for a in assigned {
                        compiled.push((a.name.clone(), Compiled::new(&a.expr, &columns)?));
                    }
                    for (name, expr) in &compiled {
                        let data_type = expr.data_type().ok_or_else(|| {
                            Error::invalid_definition(format!(
                                "{}: the column {name} is only ever null",
                                self.dataset
                            ))
                        })?;
                        match columns.iter_mut().find(|(n, _)| n == name) {
                            Some(column) => column.1 = data_type,
                            None => columns.push((name.clone(), data_type)),
                        }
                    }
                    self.steps.push(Step::Assign(compiled));
                }
                OperatorDef::Groupby { .. } => {}
                OperatorDef::Aggregate { aggregates } => {
                    let mut predicates = Vec::new();
                    for aggregate in aggregates {
                        self.compile_aggregate(aggregate, definition, &columns, &mut predicates)?;
                    }
                    self.layout.predicates = predicates.len();
                }
            }
        }
        Ok(())
    }

    fn compile_aggregate(
        &mut self,
        def: &AggregateDef,
        definition: &Dataset,
        columns: &[(String, DataType)],
        predicates: &mut Vec<Expr>,
    ) -> Result<()> {
        let wrong = |what: &str| Error::invalid_definition(format!("{}.{}: {what}", self.dataset, def.name));
        let aggregate = aggregate::lookup(&def.function).ok_or_else(|| wrong("unknown aggregate"))?;
        let of_type = match &def.of {
            None => None,
            Some(name) => {
                Some(columns.iter().find(|(n, _)| n == name).ok_or_else(|| wrong("unknown column"))?.1)
            }
        };
        let of = def.of.as_ref().zip(of_type).map(|(name, data_type)| {
            self.stored.iter().position(|s| s == name).unwrap_or_else(|| {
                self.stored.push(name.clone());
                self.layout.columns.push(data_type);
                self.stored.len() - 1
            })
        });
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
        let same =
            |s: &Slot| s.aggregate.name() == aggregate.name() && s.of == of && s.predicate == predicate;
        let slot = self.layout.slots.iter().position(same).unwrap_or_else(|| {
            self.layout.slots.push(Slot { aggregate, of, predicate });
            self.layout.slots.len() - 1
        });
        let natural = aggregate.output_type(of_type)?;
        let declared = definition.fields.field(&def.name).map_or(natural, |f| f.data_type);
        let over_nothing = match &def.default {
            Some(literal) => literal.value(declared)?,
            None => aggregate.empty(natural),
        };
        self.outputs.push(Output {
            name: def.name.clone(),
            data_type: declared,
            slot,
            window: def.window,
            over_nothing: over_nothing.widen(declared).unwrap_or_default(),
        });
        Ok(())
    }

    /// Runs the stateless operators over a record's admitted rows; `None` when nothing is left.
    pub(crate) fn process(
        &self,
        batch: &RecordBatch,
        record: u64,
        admitted: &Admitted,
    ) -> Result<Option<NodeRows>> {
        let mut batch = batch.clone();
        // Row numbers in the record, once rows have been dropped.
        let mut rows: Option<UInt32Array> = None;
        if let Some(kept) = &admitted.kept {
            keep(&BooleanArray::new(kept.clone(), None), &mut batch, &mut rows)?;
        }
        for step in &self.steps {
            match step {
                Step::Filter(expr) => {
                    keep(&BooleanArray::new(expr.evaluate_mask(&batch)?, None), &mut batch, &mut rows)?
                }
                Step::Assign(columns) => batch = assign(&batch, columns)?,
            }
        }
        let mut has_key: Option<BooleanArray> = None;
        for key in &self.keys {
            let column = column(&batch, &key.name)?;
            if column.null_count() > 0 {
                let present = arrow::compute::is_not_null(column)?;
                has_key = Some(match has_key {
                    Some(others) => and(&others, &present)?,
                    None => present,
                });
            }
        }
        if let Some(present) = has_key {
            keep(&present, &mut batch, &mut rows)?;
        }
        if batch.num_rows() == 0 {
            return Ok(None);
        }
        self.rows(&batch, record, rows.as_ref()).map(Some)
    }

    fn rows(&self, batch: &RecordBatch, record: u64, rows: Option<&UInt32Array>) -> Result<NodeRows> {
        let count = batch.num_rows();
        let times = event_times(batch, &self.input_timestamp)?.values().to_vec();
        let positions = match rows {
            None => (0..count as u32).map(|row| Position::new(record, row).to_bits()).collect(),
            Some(rows) => rows.values().iter().map(|&row| Position::new(record, row).to_bits()).collect(),
        };
        let mut columns = Vec::with_capacity(self.stored.len());
        for (name, data_type) in self.stored.iter().zip(&self.layout.columns) {
            columns.push(BatchColumn::new(*data_type, column(batch, name)?)?);
        }
        let predicates =
            self.predicates.iter().map(|p| p.evaluate_mask(batch)).collect::<Result<Vec<_>>>()?;
        let keys = encode_keys(&self.keys, batch)?;
        let hashes: Vec<u64> = (0..count).map(|row| crate::state::hash_key(keys.get(row))).collect();
        let (order, starts) = by_stripe(&hashes);
        Ok(NodeRows {
            batch: Batch { times, positions, columns, predicates, changes: None },
            hashes,
            keys,
            order,
            starts,
        })
    }
}

fn column<'b>(batch: &'b RecordBatch, name: &str) -> Result<&'b ArrayRef> {
    batch.column_by_name(name).ok_or_else(|| Error::internal(format!("a batch has no column {name}")))
}

/// Drops the rows where `mask` is not true.
fn keep(mask: &BooleanArray, batch: &mut RecordBatch, rows: &mut Option<UInt32Array>) -> Result<()> {
    if mask.true_count() == batch.num_rows() {
        return Ok(());
    }
    let numbers = match rows.take() {
        Some(numbers) => numbers,
        None => UInt32Array::from_iter_values(0..batch.num_rows() as u32),
    };
    *rows = Some(filter(&numbers, mask)?.as_primitive().clone());
    *batch = filter_record_batch(batch, mask)?;
    Ok(())
}

fn assign(batch: &RecordBatch, assigned: &[(String, Compiled)]) -> Result<RecordBatch> {
    let values = assigned.iter().map(|(_, expr)| expr.evaluate(batch)).collect::<Result<Vec<_>>>()?;
    let mut fields: Vec<Arc<ArrowField>> = batch.schema_ref().fields().iter().cloned().collect();
    let mut columns = batch.columns().to_vec();
    for ((name, _), value) in assigned.iter().zip(values) {
        let field = Arc::new(ArrowField::new(name, value.data_type().clone(), true));
        match fields.iter().position(|f| f.name() == name) {
            Some(index) => {
                fields[index] = field;
                columns[index] = value;
            }
            None => {
                fields.push(field);
                columns.push(value);
            }
        }
    }
    Ok(RecordBatch::try_new(Arc::new(ArrowSchema::new(fields)), columns)?)
}

/// Row numbers grouped by stripe, in row order inside a stripe, and where each stripe starts.
fn by_stripe(hashes: &[u64]) -> (Vec<u32>, [u32; STRIPES + 1]) {
    let mut starts = [0u32; STRIPES + 1];
    for &hash in hashes {
        starts[stripe_of(hash) + 1] += 1;
    }
    for stripe in 0..STRIPES {
        starts[stripe + 1] += starts[stripe];
    }
    let mut next = starts;
    let mut order = vec![0u32; hashes.len()];
    for (row, &hash) in hashes.iter().enumerate() {
        let slot = &mut next[stripe_of(hash)];
        order[*slot as usize] = row as u32;
        *slot += 1;
    }
    (order, starts)
}

fn without_places(pipeline: &Pipeline) -> Pipeline {
    let mut pipeline = pipeline.clone();
    pipeline.at = Place::default();
    pipeline.meta = Default::default();
    for operator in &mut pipeline.operators {
        if let OperatorDef::Aggregate { aggregates } = operator {
            aggregates.iter_mut().for_each(|a| a.at = Place::default());
        }
    }
    pipeline
}
