//! The rows that events are joined with, as the oracle takes them.

use std::collections::HashMap;
use std::ops::ControlFlow;

use thyme_core::definition::{Dataset, JoinDef};
use thyme_core::{EntityKey, Error, ErrorKind, EventTime, Position, Result, Value};
use thyme_engine::{Catalog, Engine, History, HistoryRecord};
use thyme_oracle::join::{Right, add, latest};
use thyme_oracle::{Columns, Fate, Verdict};

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
    name: String,
    /// How its rows are made of those of a raw dataset; of itself if it is one.
    made: Made,
    definition: Dataset,
    begins: Option<EventTime>,
    rows: HashMap<EntityKey, Vec<Right>>,
}

/// The most joined rows that are held in memory.
const ROWS_MAX: usize = 2_000_000;

impl Joined {
    /// Takes a row of the raw dataset; gives how many it makes.
    fn take(&mut self, record: &HistoryRecord, row: usize) -> Result<usize> {
        let (time, position) = (record.time(row), record.position(row));
        if self.begins.is_some_and(|begins| time <= begins) {
            return Ok(0);
        }
        let Fate::Kept(columns) = self.made.pipeline.derive(&columns(record, row))? else { return Ok(0) };
        let key = EntityKey::encode(&self.made.pipeline.key(&columns))?;
        self.rows.entry(key).or_default().push(Right { time, position, columns });
        Ok(1)
    }
}

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
            if rights.datasets.iter().all(|joined| joined.name != join.dataset) {
                let (made, begins) = (Made::of(catalog, live)?, live.rows_begin());
                // What retention leaves of its rows is what that of the raw dataset does.
                let definition = Dataset { retention: made.pipeline.retention, ..live.definition.clone() };
                let name = join.dataset.clone();
                rights.datasets.push(Joined { name, made, definition, begins, rows: HashMap::new() });
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
        let ids: Vec<u32> =
            datasets.iter().flat_map(|joined| joined.made.inputs().map(|(id, _)| id)).collect();
        let next = until.min(history.record().saturating_add(records));
        engine.read_history(history, next, &|id| ids.contains(&id), &mut |record| {
            for (row, verdict) in streams.verdicts(&record)?.into_iter().enumerate() {
                if verdict != Verdict::Admitted {
                    continue;
                }
                for joined in datasets.iter_mut().filter(|j| j.made.of_input(record.dataset).is_some()) {
                    *rows += joined.take(&record, row)?;
                }
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
        let joined = self.datasets.iter().find(|joined| joined.name == join.dataset);
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
