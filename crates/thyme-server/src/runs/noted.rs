//! What a handler notes of a query: what it had in hand anyway, moved and not copied.

use std::sync::Arc;

use parking_lot::Mutex;
use thyme_core::{DataType, EventTime, Position, Value};
use thyme_engine::{Catalog, LiveDataset, Snapshot};
use thyme_query::{ColumnBuffer, Plan};

/// The most cells of an answer that are kept until they are written; of more only their number is known.
const CELLS_MAX: usize = 1 << 20;
/// The most bytes, about, of all parts of a request until they are written, whatever their strings hold: so one run
/// is small beside what may wait, and its text, of at most six times as much, is small beside a block of the trail.
pub(super) const BYTES_MAX: usize = 6 << 20;

/// Where it was computed.
#[derive(Debug)]
pub(crate) struct At {
    pub time: EventTime,
    pub position: Position,
    pub catalog: Arc<Catalog>,
    pub is_online: bool,
}

impl At {
    pub fn of(snapshot: &Snapshot) -> At {
        At {
            time: snapshot.time,
            position: snapshot.position,
            catalog: snapshot.catalog.clone(),
            is_online: snapshot.online,
        }
    }
}

/// Whose features, and as of when.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub rows: usize,
    /// Empty for more rows than are kept, as all of the others are then.
    pub entities: Vec<Vec<Value>>,
    /// The times of the rows, if they have their own, and their positions.
    pub times: Vec<EventTime>,
    pub positions: Vec<Position>,
    pub inputs: Vec<(String, ColumnBuffer)>,
}

impl Asked {
    /// Rows of which more are asked for than are kept one by one.
    pub const ROWS_MAX: usize = 100;

    /// These entities; the inputs are copied if they are kept.
    pub fn of(entities: &[Vec<Value>], inputs: &[(String, ColumnBuffer)]) -> Asked {
        let rows = entities.len();
        match rows <= Asked::ROWS_MAX {
            true => Asked { rows, entities: entities.to_vec(), inputs: inputs.to_vec(), ..Asked::default() },
            false => Asked { rows, ..Asked::default() },
        }
    }

    /// Whether what was asked is here, row by row.
    pub fn is_kept(&self) -> bool {
        self.entities.len() == self.rows
    }

    fn bytes(&self) -> usize {
        let keys: usize = self.entities.iter().map(|key| size_of::<Vec<Value>>() + bytes_of(key)).sum();
        let inputs = self.inputs.iter().map(|(name, column)| INPUT + name.len() + column.bytes());
        keys + inputs.sum::<usize>()
            + size_of_val(self.times.as_slice())
            + size_of_val(self.positions.as_slice())
    }
}

/// What an input takes beside its name and its values.
const INPUT: usize = size_of::<(String, ColumnBuffer)>();

fn bytes_of(key: &[Value]) -> usize {
    key.iter().map(Value::bytes).sum()
}

/// What a query reads.
#[derive(Debug)]
pub(crate) enum Subject {
    Featureset(Arc<Plan>),
    /// A row of a dataset, looked up.
    Dataset(Arc<LiveDataset>),
}

impl Subject {
    /// The featureset's name, if it is one.
    pub fn featureset(&self) -> Option<&str> {
        match self {
            Subject::Featureset(plan) => Some(&plan.name),
            Subject::Dataset(_) => None,
        }
    }
}

/// One featureset's part of a query, or a dataset's row.
#[derive(Debug)]
pub(crate) struct Part {
    pub subject: Subject,
    pub at: At,
    pub asked: Asked,
    /// The names and columns of the answer; empty if it is too large to be kept.
    pub names: Vec<String>,
    pub columns: Vec<ColumnBuffer>,
    /// Whether a dataset has no row of the entity.
    pub is_missing: bool,
}

impl Part {
    /// A row that was looked up, whose fields are `row`.
    pub fn of_row(
        live: &Arc<LiveDataset>,
        snapshot: &Snapshot,
        key: Vec<Value>,
        row: &[(String, Value)],
        is_missing: bool,
    ) -> Part {
        let column = |(name, value): &(String, Value)| {
            let field = live.definition.fields.field(name);
            let data_type = field.map(|field| field.data_type).or(value.data_type());
            ColumnBuffer::repeat(data_type.unwrap_or(DataType::Int), value, 1)
        };
        Part {
            subject: Subject::Dataset(live.clone()),
            at: At::of(snapshot),
            asked: Asked { rows: 1, entities: vec![key], ..Asked::default() },
            names: row.iter().map(|(name, _)| name.clone()).collect(),
            columns: row.iter().map(column).collect(),
            is_missing,
        }
    }

    /// How much it takes while it waits to be written, about. What it shares with others counts, for it may be the
    /// last that has it.
    pub fn weight(&self) -> usize {
        let names: usize = self.names.iter().map(|name| size_of::<String>() + name.len()).sum();
        let columns: usize = self.columns.iter().map(|column| size_of_val(column) + column.bytes()).sum();
        let plan = match &self.subject {
            Subject::Featureset(plan) if plan.selected => plan.features.len() * FEATURE,
            _ => 0,
        };
        size_of::<Part>() + plan + self.asked.bytes() + names + columns
    }

    /// Without what takes room.
    fn lighten(&mut self) {
        (self.names, self.columns) = Default::default();
        self.asked = Asked { rows: self.asked.rows, ..Asked::default() };
    }
}

/// What a feature of a plan takes, about; a plan for certain features may be nobody else's.
const FEATURE: usize = 256;

/// What was noted of a request; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Noted(Arc<Mutex<Parts>>);

#[derive(Debug, Default)]
struct Parts {
    parts: Vec<Part>,
    bytes: usize,
}

impl Noted {
    pub fn add(&self, mut part: Part) {
        if part.asked.rows * part.columns.len() > CELLS_MAX {
            (part.names, part.columns) = Default::default();
        }
        let mut noted = self.0.lock();
        if noted.bytes + part.weight() > BYTES_MAX {
            part.lighten();
        }
        noted.bytes += part.weight();
        noted.parts.push(part);
    }

    pub fn take(&self) -> Vec<Part> {
        std::mem::take(&mut *self.0.lock()).parts
    }
}
