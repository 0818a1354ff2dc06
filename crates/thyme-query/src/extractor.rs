//! Extractors as queries see them: someone else runs the code.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use parking_lot::Mutex;
use thyme_core::definition::{Dataset, Extractor};
use thyme_core::{DataType, EntityKey, Error, ErrorKind, EventTime, Position, Result, Value};
use thyme_engine::{LiveDataset, Snapshot};

use crate::column::ColumnBuffer;
use crate::compiled::Program;
use crate::native::Expression;

/// How a loaded extractor runs.
#[derive(Clone, Debug)]
pub enum Runs {
    /// In Rust, with Python's semantics.
    Compiled(Arc<Program>),
    /// By the host that loaded it, and why.
    Hosted(String),
    /// By the host that loaded it, many rows in a call, as it is declared.
    Vectorized,
    /// By columns: it is an expression, and nothing is loaded.
    Expression(Arc<Expression>),
}

/// Runs extractors. In the Python distribution this is CPython.
pub trait ExtractorHost: Send + Sync + Debug {
    /// Makes an extractor ready: loads its code and resolves every name it uses.
    ///
    /// # Errors
    /// InvalidDefinition, naming what cannot be resolved.
    fn load(&self, featureset: &str, extractor: &Extractor, datasets: &[Dataset]) -> Result<u64>;

    /// How a loaded extractor runs.
    fn runs(&self, handle: u64) -> Runs {
        let _ = handle;
        Runs::Hosted("its host runs all extractors itself".into())
    }

    /// Runs a loaded extractor over rows; the outputs' columns in declared order, unchecked.
    ///
    /// # Errors
    /// Extractor, naming the extractor, what it raised, and where.
    fn call(
        &self,
        handle: u64,
        times: &[EventTime],
        inputs: &[&ColumnBuffer],
        context: &LookupContext,
    ) -> Result<Vec<Vec<Value>>>;

    /// Runs a vectorized extractor over all rows at once; a column for each output in declared order, of whatever
    /// types it gave.
    ///
    /// # Errors
    /// Extractor, as [`ExtractorHost::call`].
    fn call_vectorized(
        &self,
        handle: u64,
        times: &[EventTime],
        inputs: &[&ColumnBuffer],
        context: &LookupContext,
    ) -> Result<Vec<ColumnBuffer>> {
        let _ = (times, inputs, context);
        Err(Error::internal(format!("the host of extractor {handle} runs them row by row")))
    }
}

/// A host without any language: featuresets with extractors cannot be committed.
#[derive(Debug, Default, Clone, Copy)]
pub struct NoExtractors;

impl ExtractorHost for NoExtractors {
    fn load(&self, featureset: &str, extractor: &Extractor, _: &[Dataset]) -> Result<u64> {
        let detail = format!(
            "{featureset}.{} is a Python extractor, and this process hosts no Python",
            extractor.name
        );
        Err(Error::new(ErrorKind::Unsupported, detail))
    }

    fn call(
        &self,
        _: u64,
        _: &[EventTime],
        _: &[&ColumnBuffer],
        _: &LookupContext,
    ) -> Result<Vec<Vec<Value>>> {
        Err(Error::internal("no extractor was ever loaded"))
    }
}

/// What `Dataset.lookup` reads inside an extractor: the query's own snapshot.
#[derive(Clone, Debug)]
pub struct LookupContext {
    snapshot: Snapshot,
    positions: Option<Vec<Position>>,
    /// Which rows those of a call are; `None`: all of them.
    rows: Option<Arc<[u32]>>,
    /// The newest event of what each row looked up, if somebody wants to know.
    newest: Option<Arc<Mutex<HashMap<usize, EventTime>>>>,
    /// The first failure that is none of the extractor's. It may have caught it, and answered with less.
    failure: Arc<Mutex<Option<Error>>>,
}

impl LookupContext {
    /// Lookups at `snapshot`, as known at a position of each row's own if there are `positions`.
    pub fn new(snapshot: Snapshot, positions: Option<Vec<Position>>) -> Self {
        LookupContext { snapshot, positions, rows: None, newest: None, failure: Arc::default() }
    }

    /// The same lookups for one call, which are noted.
    pub(crate) fn tracing(&self) -> LookupContext {
        LookupContext { newest: Some(Arc::default()), ..self.clone() }
    }

    /// The same lookups, noted in the same place, for a call of some of the rows.
    pub(crate) fn of_rows(&self, rows: &[u32]) -> LookupContext {
        let rows = rows.iter().map(|&row| self.row(row as usize) as u32).collect();
        LookupContext { rows: Some(rows), ..self.clone() }
    }

    /// Which row a row of the call is.
    fn row(&self, of_call: usize) -> usize {
        self.rows.as_ref().and_then(|rows| rows.get(of_call)).map_or(of_call, |&row| row as usize)
    }

    /// The fields of a dataset, in the order in which [`LookupContext::lookup`] gives them.
    ///
    /// # Errors
    /// NotFound for the dataset.
    pub fn fields(&self, dataset: &str) -> Result<Vec<(String, DataType)>> {
        let live = self.snapshot.catalog.dataset(dataset)?;
        Ok(live.definition.fields.fields.iter().map(|f| (f.name.clone(), f.data_type)).collect())
    }

    /// The newest event of what was looked up, by row; rows that found none are not in it.
    pub(crate) fn newest(&self) -> HashMap<usize, EventTime> {
        self.newest.as_ref().map(|newest| newest.lock().clone()).unwrap_or_default()
    }

    /// The row of `dataset` as of `time`: every field by name. An entity without events has the values of
    /// an empty window; a raw dataset's has nulls. `for_row` is the row of the call that looks it up.
    ///
    /// # Errors
    /// NotFound for the dataset; InvalidData for a key that does not fit or a dataset without index.
    pub fn lookup(
        &self,
        for_row: usize,
        dataset: &str,
        time: EventTime,
        key: &[(String, Value)],
    ) -> Result<Vec<(String, Value)>> {
        let for_row = self.row(for_row);
        let live = self.snapshot.catalog.dataset(dataset)?;
        let values = key_values(live, key)?;
        let position = self.positions.as_ref().and_then(|each| each.get(for_row));
        let found = match position {
            Some(&position) => row(&self.snapshot.as_known_at(position), live, &values, time),
            None => row(&self.snapshot, live, &values, time),
        };
        let found = found.and_then(|found| {
            let position = position.copied().unwrap_or(self.snapshot.position).min(self.snapshot.position);
            self.note_newest(for_row, live, &values, (time, position)).map(|()| found)
        });
        if let Err(error) = &found
            && !is_of_the_caller(error.kind())
        {
            self.failure.lock().get_or_insert_with(|| error.clone());
        }
        found
    }

    fn note_newest(
        &self,
        for_row: usize,
        live: &LiveDataset,
        key: &[Value],
        at: (EventTime, Position),
    ) -> Result<()> {
        let Some(newest) = &self.newest else { return Ok(()) };
        let key = EntityKey::encode(key)?;
        self.snapshot.newest_events(live.readable()?, &key.0, &[at], &mut |_, time| {
            let mut newest = newest.lock();
            let known = newest.entry(for_row).or_insert(time);
            *known = time.max(*known);
        })
    }

    /// Tells operators that an extractor has failed.
    pub(crate) fn note_failed(&self, extractor: &str, why: String) {
        self.snapshot.note_failed_extractor(extractor, why);
    }

    /// Why a lookup failed for which the extractor is not to blame.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.failure.lock().clone()
    }
}

/// Whether other arguments would have helped.
fn is_of_the_caller(kind: ErrorKind) -> bool {
    use ErrorKind::{InvalidData, InvalidDefinition, NotFound, Unsupported};
    matches!(kind, InvalidData | InvalidDefinition | NotFound | Unsupported)
}

/// The key values of a dataset in its own order, from named ones.
///
/// # Errors
/// InvalidData: a missing, unknown, null or wrongly typed key field.
pub fn key_values(live: &LiveDataset, key: &[(String, Value)]) -> Result<Vec<Value>> {
    let fields: Vec<_> = live.definition.fields.keys().collect();
    let names = || fields.iter().map(|f| f.name.as_str()).collect::<Vec<_>>().join(", ");
    let name = &live.definition.name;
    if let Some((unknown, _)) = key.iter().find(|(n, _)| fields.iter().all(|f| f.name != *n)) {
        return Err(Error::invalid_data(format!(
            "{name} has no key field {unknown}; its key is {}",
            names()
        )));
    }
    let mut values = Vec::with_capacity(fields.len());
    for field in &fields {
        let given = key.iter().find(|(n, _)| *n == field.name).map(|(_, v)| v.clone());
        let value = given.ok_or_else(|| {
            Error::invalid_data(format!("the key of {name} is {}; {} is missing", names(), field.name))
        })?;
        let shown = value.to_string();
        match value.widen(field.data_type) {
            Some(value) if !value.is_null() => values.push(value),
            _ => {
                return Err(Error::invalid_data(format!(
                    "{name}.{}: expected a key of type {}, got {shown}",
                    field.name, field.data_type
                )));
            }
        }
    }
    Ok(values)
}

/// Whether an entity has any event that counts as of `time`.
///
/// # Errors
/// InvalidData: a raw dataset without index.
pub fn has_events(snapshot: &Snapshot, live: &LiveDataset, key: &[Value], time: EventTime) -> Result<bool> {
    snapshot.has_events(live.readable()?, &EntityKey::encode(key)?.0, time)
}

/// Every field of a dataset's row for one entity, in the dataset's order.
///
/// # Errors
/// InvalidData: a raw dataset without index.
pub fn row(
    snapshot: &Snapshot,
    live: &LiveDataset,
    key: &[Value],
    time: EventTime,
) -> Result<Vec<(String, Value)>> {
    let node = live.readable()?;
    let encoded = EntityKey::encode(key)?;
    let (at, values): (Value, Vec<(&str, Value)>) = if node.is_index() {
        match snapshot.latest_row(node, &encoded.0, time)? {
            Some((at, values)) => {
                let named = node.columns.iter().map(|f| f.name.as_str()).zip(values).collect();
                (Value::Datetime(at.0), named)
            }
            None => (Value::Null, Vec::new()),
        }
    } else {
        let wanted: Vec<usize> = (0..node.outputs.len()).collect();
        let values = snapshot.outputs(node, &encoded.0, time, &wanted)?;
        let named = node.outputs.iter().map(|o| o.name.as_str()).zip(values).collect();
        (Value::Datetime(time.0), named)
    };
    let mut keys = key.iter();
    let fields = live.definition.fields.fields.iter().map(|field| {
        let value = match field.role {
            thyme_core::schema::Role::Key => keys.next().cloned().unwrap_or_default(),
            thyme_core::schema::Role::Timestamp => at.clone(),
            thyme_core::schema::Role::Value => {
                values.iter().find(|(n, _)| *n == field.name).map(|(_, v)| v.clone()).unwrap_or_default()
            }
        };
        (field.name.clone(), value)
    });
    Ok(fields.collect())
}
