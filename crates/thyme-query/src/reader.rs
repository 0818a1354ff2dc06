//! What the doors call: online and batch reads, lookups, scans, training sets.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Field as ArrowField, Schema as ArrowSchema};
use parking_lot::RwLock;
use thyme_core::definition::{Document, Extractor, Form};
use thyme_core::{EntityKey, Error, EventTime, Extent, Result, Value};
use thyme_engine::{Catalog, Clock, Engine, LiveDataset, ReadAt, Snapshot};

use crate::column::ColumnBuffer;
use crate::evaluate::{Frame, evaluate_with};
use crate::extractor::{self, ExtractorHost, Runs};
use crate::facts::{Detail, Facts};
use crate::plan::{Plan, Source};
use crate::selection::Wanted;

/// Reads of one engine.
#[derive(Debug)]
pub struct Reader {
    engine: Arc<Engine>,
    host: Arc<dyn ExtractorHost>,
    plans: RwLock<Plans>,
}

#[derive(Debug, Default)]
struct Plans {
    /// What they were made over. An erasure, or a retention that has begun anew, has other nodes under the same commit.
    catalog: Option<Arc<Catalog>>,
    /// Of whole featuresets.
    by_name: HashMap<String, Arc<Plan>>,
    /// Of some features of one.
    selected: HashMap<String, HashMap<Vec<Wanted>, Arc<Plan>>>,
}

/// Plans of selections that are kept; they are what callers choose to ask for.
const SELECTIONS_KEPT_MAX: usize = 1_000;

impl Plans {
    fn are_of(&self, catalog: &Arc<Catalog>) -> bool {
        self.catalog.as_ref().is_some_and(|known| Arc::ptr_eq(known, catalog))
    }

    fn get(&self, featureset: &str, wanted: Option<&[Wanted]>) -> Option<&Arc<Plan>> {
        match wanted {
            None => self.by_name.get(featureset),
            Some(wanted) => self.selected.get(featureset)?.get(wanted),
        }
    }

    fn keep(&mut self, featureset: &str, wanted: Option<&[Wanted]>, plan: Arc<Plan>) {
        let Some(wanted) = wanted else {
            self.by_name.insert(featureset.to_owned(), plan);
            return;
        };
        if self.selected.values().map(HashMap::len).sum::<usize>() >= SELECTIONS_KEPT_MAX {
            self.selected.clear();
        }
        self.selected.entry(featureset.to_owned()).or_default().insert(wanted.to_vec(), plan);
    }
}

/// Features of some entities at one `(T, S, C)`.
#[derive(Debug)]
pub struct Answer {
    /// Feature names, in declaration order.
    pub names: Vec<String>,
    /// A column a feature, rows as asked.
    pub columns: Vec<ColumnBuffer>,
    /// What it was read at.
    pub snapshot: Snapshot,
    /// What the caller should know about the values.
    pub warnings: Vec<String>,
    /// What is known of each feature, if it was asked for.
    pub facts: Vec<Facts>,
}

impl Reader {
    /// Reads `engine`, with extractors run by `host`.
    pub fn new(engine: Arc<Engine>, host: Arc<dyn ExtractorHost>) -> Self {
        Reader { engine, host, plans: RwLock::default() }
    }

    /// The engine.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// What runs extractors.
    pub(crate) fn host(&self) -> &dyn ExtractorHost {
        &*self.host
    }

    /// The plan of a whole featureset under `catalog`.
    ///
    /// # Errors
    /// NotFound with the near names.
    pub fn plan(&self, catalog: &Arc<Catalog>, featureset: &str) -> Result<Arc<Plan>> {
        self.plan_of(catalog, featureset, None)
    }

    /// The plan of some features of a featureset; `None` is all of them.
    ///
    /// # Errors
    /// NotFound with the near names, or what became of a name or an id.
    pub fn plan_of(
        &self,
        catalog: &Arc<Catalog>,
        featureset: &str,
        wanted: Option<&[Wanted]>,
    ) -> Result<Arc<Plan>> {
        {
            let plans = self.plans.read();
            if plans.are_of(catalog)
                && let Some(plan) = plans.get(featureset, wanted)
            {
                return Ok(plan.clone());
            }
        }
        let plan = Arc::new(Plan::new(catalog, featureset, wanted, &*self.host)?);
        let mut plans = self.plans.write();
        if !plans.are_of(catalog) {
            *plans = Plans { catalog: Some(catalog.clone()), ..Plans::default() };
        }
        plans.keep(featureset, wanted, plan.clone());
        Ok(plan)
    }

    /// Loads every extractor of a document that is about to be committed.
    ///
    /// # Errors
    /// InvalidDefinition, naming what cannot be resolved.
    pub fn check_extractors(&self, document: &Document) -> Result<()> {
        let mut faults = Vec::new();
        for featureset in &document.featuresets {
            // Validation has compiled expressions already.
            for extractor in featureset.extractors.iter().filter(|e| e.form != Form::Expression) {
                if let Err(error) = self.host.load(&featureset.name, extractor, &document.datasets) {
                    faults.push(thyme_core::error::Fault {
                        subject: format!("{}.{}", featureset.name, extractor.name),
                        message: error.detail().to_owned(),
                        file: Some(extractor.at.file.clone()),
                        line: Some(extractor.at.line),
                        ..Default::default()
                    });
                }
            }
        }
        match faults.first() {
            None => Ok(()),
            Some(first) => Err(Error::invalid_definition(first.message.clone()).with_faults(faults)),
        }
    }

    /// How an extractor of a document runs.
    ///
    /// # Errors
    /// InvalidDefinition: it cannot be loaded.
    pub fn runs(&self, document: &Document, featureset: &str, extractor: &Extractor) -> Result<Runs> {
        Ok(self.host.runs(self.host.load(featureset, extractor, &document.datasets)?))
    }

    /// The features of some entities, all at one time. `entities` are rows of the entity's fields in the
    /// plan's order; `inputs` are request features, a column each.
    ///
    /// # Errors
    /// As [`evaluate_with`]; Unavailable for a position that is not applied in time.
    pub fn query(
        &self,
        snapshot: Snapshot,
        plan: &Plan,
        entities: &[Vec<Value>],
        inputs: Vec<(String, ColumnBuffer)>,
    ) -> Result<Answer> {
        self.query_with(snapshot, plan, entities, inputs, Detail::Values)
    }

    /// [`Reader::query`], with what is known of each feature if it is asked for.
    ///
    /// # Errors
    /// As [`Reader::query`].
    pub fn query_with(
        &self,
        snapshot: Snapshot,
        plan: &Plan,
        entities: &[Vec<Value>],
        inputs: Vec<(String, ColumnBuffer)>,
        detail: Detail,
    ) -> Result<Answer> {
        let rows = entities.len();
        let mut entity: Vec<ColumnBuffer> =
            plan.entity.iter().map(|(_, t)| ColumnBuffer::nulls(*t, rows)).collect();
        for (row, values) in entities.iter().enumerate() {
            for (column, value) in entity.iter_mut().zip(values) {
                column.set(row, value.clone());
            }
        }
        let frame = Frame { entity, times: vec![snapshot.time; rows], positions: None, inputs };
        let stale = self.stale(&snapshot, plan, &frame)?;
        let mut answer = self.evaluate_with(snapshot, plan, &frame, detail)?;
        answer.warnings.extend(stale);
        Ok(answer)
    }

    /// A warning if every window of an online answer is empty only because all its events are old: most
    /// likely old data on a wall clock.
    fn stale(&self, snapshot: &Snapshot, plan: &Plan, frame: &Frame) -> Result<Option<String>> {
        if !snapshot.online || *self.engine.clock() != Clock::Wall {
            return Ok(None);
        }
        let mut newest = None;
        for read in plan.reads.iter().filter(|r| !r.node.is_index()) {
            let windows = read.targets.iter().filter_map(|(source, _)| match source {
                Source::Value(output) => Some(read.node.outputs[*output].window),
                _ => None,
            });
            let begins = windows.map(|window| Extent::of(window.as_ref(), None, snapshot.time).after);
            // Nothing windowed is asked of this one, or something that reaches back to the beginning.
            let Some(begin) = begins.min().filter(|begin| begin.0 > i64::MIN) else { return Ok(None) };
            for row in 0..frame.times.len() {
                let parts: Vec<Value> = read.key.iter().map(|&field| frame.entity[field].get(row)).collect();
                let Ok(key) = EntityKey::encode(&parts) else { return Ok(None) };
                let event = match snapshot.newest_event(&read.node, &key.0, snapshot.time)? {
                    Some(event) if event <= begin => event,
                    _ => return Ok(None),
                };
                newest = newest.max(Some(event));
            }
        }
        Ok(newest.map(|event| {
            format!(
                "all windows are empty: the newest event is of {}, now is {}; for old data use the event clock (clock=\"event\") or ask for a time with at=",
                event.to_rfc3339(),
                snapshot.time.to_rfc3339()
            )
        }))
    }

    /// The features of a frame.
    ///
    /// # Errors
    /// As [`evaluate`](crate::evaluate::evaluate).
    pub fn evaluate(&self, snapshot: Snapshot, plan: &Plan, frame: &Frame) -> Result<Answer> {
        self.evaluate_with(snapshot, plan, frame, Detail::Values)
    }

    /// [`Reader::evaluate`], with what is known of each feature if it is asked for.
    ///
    /// # Errors
    /// As [`evaluate_with`].
    pub fn evaluate_with(
        &self,
        snapshot: Snapshot,
        plan: &Plan,
        frame: &Frame,
        detail: Detail,
    ) -> Result<Answer> {
        let (columns, facts) = evaluate_with(plan, &snapshot, &*self.host, frame, detail)?;
        let names = plan.features.iter().map(|column| column.name.clone()).collect();
        let asked = plan.renamed().filter(|_| plan.selected);
        let renamed = asked.map(|(column, now)| renamed(&plan.name, &column.name, now));
        let warnings = renamed.chain(snapshot.erased()).collect();
        Ok(Answer { names, columns, snapshot, warnings, facts })
    }

    /// The row of a dataset for one entity, every field in the dataset's order, and whether it has any event.
    ///
    /// # Errors
    /// InvalidData: a key that does not fit, a dataset without index.
    pub fn lookup(
        &self,
        snapshot: &Snapshot,
        dataset: &LiveDataset,
        key: &[Value],
    ) -> Result<(Vec<(String, Value)>, bool)> {
        let row = extractor::row(snapshot, dataset, key, snapshot.time)?;
        Ok((row, extractor::has_events(snapshot, dataset, key, snapshot.time)?))
    }

    /// The event time of the newest event behind a dataset's row for one entity.
    ///
    /// # Errors
    /// As [`Reader::lookup`].
    pub fn newest(
        &self,
        snapshot: &Snapshot,
        dataset: &LiveDataset,
        key: &[Value],
    ) -> Result<Option<EventTime>> {
        let mut newest = None;
        let at = [(snapshot.time, snapshot.position)];
        let key = EntityKey::encode(key)?;
        snapshot.newest_events(dataset.readable()?, &key.0, &at, &mut |_, time| newest = Some(time))?;
        Ok(newest)
    }

    /// Every entity of a dataset that has an event, with its row: key fields first, then the others.
    ///
    /// # Errors
    /// InvalidData: a raw dataset without index.
    pub fn scan(&self, at: ReadAt, dataset: &str) -> Result<(RecordBatch, Snapshot)> {
        let snapshot = self.engine.snapshot(at)?.in_passing();
        let live = snapshot.catalog.dataset(dataset)?.clone();
        let node = live.readable()?;
        let keys = snapshot.entities(node, snapshot.time)?;
        let fields = shown_fields(&live);
        let mut columns: Vec<ColumnBuffer> =
            fields.iter().map(|f| ColumnBuffer::nulls(f.data_type, keys.len())).collect();
        for (row, key) in keys.iter().enumerate() {
            let values = extractor::row(&snapshot, &live, &EntityKey::decode(key)?, snapshot.time)?;
            for (field, column) in fields.iter().zip(&mut columns) {
                if let Some((_, value)) = values.iter().find(|(name, _)| *name == field.name) {
                    column.set(row, value.clone());
                }
            }
        }
        let names = fields.iter().map(|f| f.name.as_str());
        Ok((to_batch(names.zip(columns.iter().map(ColumnBuffer::to_arrow)))?, snapshot))
    }
}

/// What somebody who asks by an old name should know.
fn renamed(featureset: &str, name: &str, now: &str) -> String {
    format!("{featureset}.{name} was renamed to {now}; the old name answers until it is retired")
}

/// The fields a scan shows: the keys, then the rest; of aggregates the event time is the read's own.
fn shown_fields(live: &LiveDataset) -> Vec<thyme_core::Field> {
    use thyme_core::schema::Role;
    let fields = &live.definition.fields.fields;
    let keys = fields.iter().filter(|f| f.role == Role::Key);
    let rest =
        fields.iter().filter(|f| f.role == Role::Value || (f.role == Role::Timestamp && live.has_rows()));
    keys.chain(rest).cloned().collect()
}

/// A batch of named, nullable columns.
pub(crate) fn to_batch<'a>(columns: impl Iterator<Item = (&'a str, ArrayRef)>) -> Result<RecordBatch> {
    let (mut fields, mut arrays) = (Vec::new(), Vec::new());
    for (name, array) in columns {
        fields.push(ArrowField::new(name, array.data_type().clone(), true));
        arrays.push(array);
    }
    Ok(RecordBatch::try_new(Arc::new(ArrowSchema::new(fields)), arrays)?)
}

impl Answer {
    /// As a batch, a column a feature.
    ///
    /// # Errors
    /// Internal ones only.
    pub fn to_batch(&self) -> Result<RecordBatch> {
        to_batch(self.names.iter().map(String::as_str).zip(self.columns.iter().map(ColumnBuffer::to_arrow)))
    }
}
