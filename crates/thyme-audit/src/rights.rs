//! The rows that events are joined with, as the oracle takes them.

use std::collections::HashMap;
use std::ops::ControlFlow;

use thyme_core::definition::{Dataset, JoinDef};
use thyme_core::{EntityKey, Error, ErrorKind, EventTime, Position, Result, Value};
use thyme_engine::{Catalog, Engine, History};
use thyme_oracle::join::{Right, add, latest};
use thyme_oracle::{Columns, Verdict};

use crate::input::{Made, Streams, columns};

/// The admitted rows of the joined datasets up to `S`, by their keys. They are read before the events, since
/// a row that comes later may be the one that was true at an event's time.
#[derive(Debug)]
pub(crate) struct Rights {
    history: History,
    streams: Streams,
    datasets: Vec<Joined>,
    rows: usize,
}

#[derive(Debug)]
struct Joined {
    id: u32,
    definition: Dataset,
    begins: Option<EventTime>,
    rows: HashMap<EntityKey, Vec<Right>>,
}

/// The most joined rows that are held in memory.
const ROWS_MAX: usize = 2_000_000;

impl Rights {
    /// Those that `made` are joined with, to be read from where `history` begins.
    pub fn of<'m>(
        catalog: &Catalog,
        made: impl Iterator<Item = &'m Made>,
        history: &History,
    ) -> Result<Rights> {
        let (history, streams) = (history.clone(), Streams::at(history));
        let mut rights = Rights { history, streams, datasets: Vec::new(), rows: 0 };
        for join in made.flat_map(Made::joins) {
            let live = catalog.dataset(&join.dataset)?;
            if rights.datasets.iter().all(|joined| joined.id != live.id) {
                let (definition, begins) = (live.definition.clone(), live.rows_begin());
                rights.datasets.push(Joined { id: live.id, definition, begins, rows: HashMap::new() });
            }
        }
        Ok(rights)
    }

    /// Whether all of them up to `until` are there.
    pub fn is_read(&self, until: u64) -> bool {
        self.datasets.is_empty() || self.history.record() >= until
    }

    /// Bytes of log read.
    pub fn bytes(&self) -> u64 {
        self.history.bytes()
    }

    /// Reads on, by so many records and up to `until`.
    pub fn read(&mut self, engine: &Engine, records: u64, until: u64) -> Result<()> {
        let Rights { history, streams, datasets, rows } = self;
        let ids: Vec<u32> = datasets.iter().map(|joined| joined.id).collect();
        let next = until.min(history.record().saturating_add(records));
        engine.read_history(history, next, &|id| ids.contains(&id), &mut |record| {
            let Some(joined) = datasets.iter_mut().find(|joined| joined.id == record.dataset) else {
                return Ok(ControlFlow::Continue(()));
            };
            for (row, verdict) in streams.verdicts(&record)?.into_iter().enumerate() {
                let is_before = joined.begins.is_some_and(|begins| record.time(row) <= begins);
                if verdict != Verdict::Admitted || is_before {
                    continue;
                }
                let columns = columns(&record, row);
                let key: Vec<Value> =
                    joined.definition.fields.keys().map(|f| columns.value(&f.name)).collect();
                let right = Right { time: record.time(row), position: record.position(row), columns };
                joined.rows.entry(EntityKey::encode(&key)?).or_default().push(right);
                *rows += 1;
            }
            if *rows > ROWS_MAX {
                let detail = format!(
                    "the joined datasets have more than {ROWS_MAX} rows, too many to hold for an audit"
                );
                return Err(Error::new(ErrorKind::TooLarge, detail));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(())
    }

    /// Joins an event as known at `S`; whether a row was found.
    pub fn join(&self, join: &JoinDef, event: &mut Columns, time: EventTime, at: Position) -> Result<bool> {
        let joined = self.datasets.iter().find(|joined| joined.definition.name == join.dataset);
        let joined = joined.ok_or_else(|| Error::internal(format!("{} was not read", join.dataset)))?;
        let left = |name: &str| {
            let left = join.right_on.iter().zip(&join.left_on).find(|(right, _)| *right == name);
            left.map(|(_, left)| event.value(left)).unwrap_or_default()
        };
        let key: Vec<Value> = joined.definition.fields.keys().map(|f| left(&f.name)).collect();
        // A null key finds nothing.
        let rows =
            EntityKey::encode(&key).ok().and_then(|key| joined.rows.get(&key)).map_or(&[][..], Vec::as_slice);
        let found = latest(join, &joined.definition, rows, event, time, at);
        add(join, &joined.definition, found, event)?;
        Ok(found.is_some())
    }
}
