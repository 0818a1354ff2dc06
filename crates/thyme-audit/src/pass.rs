//! One reading of the log for everything that an audit looks at.

use std::ops::ControlFlow;

use thyme_core::{EntityKey, Position, Result, Value};
use thyme_engine::{Catalog, Engine, History, HistoryRecord};
use thyme_oracle::dedup::Repeats;
use thyme_oracle::{Columns, Fate, Row, Verdict};

use crate::compared::Compared;
use crate::input::{Made, Streams, columns};
use crate::rights::Rights;
use crate::sample::{Entity, Sample};

/// A dataset and the entities of it that are looked at.
#[derive(Debug)]
pub(crate) struct Target {
    pub dataset: String,
    pub made: Made,
    pub sample: Sample,
}

impl Target {
    /// The entity of a row and the row as its outputs see it, if it is one that is looked at.
    fn take(
        &mut self,
        record: &HistoryRecord,
        row: usize,
        made: &mut Option<Columns>,
        (rights, repeats, at): (&Rights, &Repeats, Position),
    ) -> Result<()> {
        let Some(pipeline) = self.made.of_input(record.dataset) else { return Ok(()) };
        if self.made.key_as_it_came {
            let key: Vec<Value> = pipeline.keys.iter().map(|key| record.value(key, row)).collect();
            // A row without a key is of no entity.
            let Ok(key) = EntityKey::encode(&key) else { return Ok(()) };
            if !self.sample.wants(&key.0) {
                return Ok(());
            }
        }
        let event = made.get_or_insert_with(|| columns(record, row));
        let time = record.time(row);
        let fate = pipeline.derive_among(
            event,
            &mut |join, event| rights.join(join, event, time, at),
            &mut |operator, _| Ok(!repeats.has(operator, record.position(row))),
        )?;
        if let Fate::Kept(derived) = fate {
            let key = EntityKey::encode(&pipeline.key(&derived))?;
            if self.sample.wants(&key.0) {
                let row = pipeline.row(time, record.position(row), &derived)?;
                self.sample.add(&key.0, row);
            }
        }
        Ok(())
    }
}

/// A reading that may rest between two records.
#[derive(Debug)]
pub struct Pass {
    history: History,
    streams: Streams,
    targets: Vec<Target>,
    rights: Rights,
    compared: Compared,
    rows: u64,
    until: Position,
}

impl Pass {
    /// A reading from `history` up to `until` for `datasets`, each with at most so many entities.
    ///
    /// # Errors
    /// A dataset that is not committed.
    pub(crate) fn new(
        catalog: &Catalog,
        datasets: &[&str],
        seed: u64,
        entities_max: usize,
        (history, until): (History, Position),
    ) -> Result<Pass> {
        let mut targets = Vec::new();
        for name in datasets {
            targets.push(Target {
                dataset: (*name).to_owned(),
                made: Made::of(catalog, catalog.dataset(name)?)?,
                sample: Sample::new(seed, entities_max),
            });
        }
        let rights = Rights::of(catalog, targets.iter().map(|t| &t.made), &history)?;
        let compared = Compared::of(targets.iter().map(|t| &t.made), &history, until);
        let streams = Streams::at(&history);
        Ok(Pass { history, streams, targets, rights, compared, rows: 0, until })
    }

    /// Reads on by at most so many records. True when all is read.
    ///
    /// # Errors
    /// A log that cannot be read; more joined rows than fit in memory.
    pub fn advance(&mut self, engine: &Engine, records: u64) -> Result<bool> {
        let until = self.until.record();
        if !self.rights.is_read(until) {
            self.rights.read(engine, records, until)?;
            return Ok(false);
        }
        let Pass { history, streams, targets, rights, compared, rows, until } = self;
        if !compared.is_read() {
            let made: Vec<&Made> = targets.iter().map(|t| &t.made).collect();
            compared.read(engine, &made, rights, records)?;
            return Ok(false);
        }
        let inputs: Vec<u32> = targets.iter().flat_map(|t| t.made.inputs().map(|(id, _)| id)).collect();
        let next = until.record().min(history.record().saturating_add(records));
        engine.read_history(history, next, &|id| inputs.contains(&id), &mut |record| {
            for (row, verdict) in streams.verdicts(&record)?.into_iter().enumerate() {
                if verdict != Verdict::Admitted {
                    continue;
                }
                let mut made = None;
                let time = record.time(row);
                let of = |made: &Made| made.of_input(record.dataset).is_some() && !made.is_before(time);
                for (index, target) in targets.iter_mut().enumerate().filter(|(_, t)| of(&t.made)) {
                    target.take(&record, row, &mut made, (rights, compared.repeats(index), *until))?;
                }
            }
            *rows += record.rows() as u64;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(history.record() >= until.record())
    }

    /// `S`: what it reads up to.
    pub fn until(&self) -> Position {
        self.until
    }

    /// Bytes of log read.
    pub fn bytes(&self) -> u64 {
        self.history.bytes() + self.rights.bytes() + self.compared.bytes()
    }

    /// Rows read.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    pub(crate) fn target(&self, dataset: &str) -> Option<&Target> {
        self.targets.iter().find(|t| t.dataset == dataset)
    }

    pub(crate) fn too_large(&self) -> usize {
        self.targets.iter().map(|t| t.sample.too_large()).sum()
    }
}

impl Target {
    pub fn entities(&self) -> impl Iterator<Item = &Entity> {
        self.sample.entities()
    }

    /// Whether an earlier position would need other rows: a joined row may have come after the event, or one that it
    /// repeats.
    pub fn is_as_known_then(&self) -> bool {
        self.made.joins().next().is_some() || self.made.has_dedups()
    }

    pub fn rows_of(&self, key: &[Value]) -> Option<&[Row]> {
        EntityKey::encode(key).ok().and_then(|key| self.sample.rows_of(&key.0))
    }
}
