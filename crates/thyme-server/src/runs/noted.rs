//! What a handler notes of a query: what it had in hand anyway, moved and not copied.

use std::sync::Arc;

use parking_lot::Mutex;
use thyme_core::{EventTime, Position, Value};
use thyme_engine::{Catalog, Snapshot};
use thyme_query::{ColumnBuffer, Plan};

/// The most cells of an answer that are kept until they are written; of more only their number is known.
const CELLS_MAX: usize = 1 << 20;

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
    /// Empty for more rows than are kept.
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
}

/// One featureset's part of a query.
#[derive(Debug)]
pub(crate) struct Part {
    pub plan: Arc<Plan>,
    pub at: At,
    pub asked: Asked,
    /// The names and columns of the answer; empty if it is too large to be kept.
    pub names: Vec<String>,
    pub columns: Vec<ColumnBuffer>,
}

impl Part {
    /// How much it takes while it waits to be written, about.
    pub fn weight(&self) -> usize {
        256 + self.asked.rows * (self.columns.len() + 2) * 16
    }
}

/// What was noted of a request; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Noted(Arc<Mutex<Vec<Part>>>);

impl Noted {
    pub fn add(&self, mut part: Part) {
        if part.asked.rows * part.columns.len() > CELLS_MAX {
            (part.names, part.columns) = Default::default();
        }
        self.0.lock().push(part);
    }

    pub fn take(&self) -> Vec<Part> {
        std::mem::take(&mut *self.0.lock())
    }
}
