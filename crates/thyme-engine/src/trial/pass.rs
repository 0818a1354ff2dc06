//! One reading of the log for a trial.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Array, BooleanBufferBuilder};
use thyme_core::{EntityKey, Error, ErrorKind, EventTime, Position, Result, Value};

use super::{Fresh, Seen, Trial, Witness};
use crate::decode::columns::event_times;
use crate::event_ids::Claims;
use crate::feed::{Incoming, Rights, rights};
use crate::keys::encode_keys;
use crate::node::{Admitted, Node, NodeRows};
use crate::replay::Replay;

/// How far a reading may go.
pub struct Bounds<'a> {
    /// The most bytes of timelines.
    pub bytes_max: u64,
    /// Asked before every record; its error ends the reading.
    pub go_on: &'a dyn Fn(Progress) -> Result<()>,
}

/// How far a reading has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The record that is next.
    pub record: u64,
    /// The last one that is read.
    pub until: u64,
}

/// What a reading was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Rows that were decoded.
    pub events: u64,
    /// Microseconds that it took to read and decode them and to run the operators.
    pub reading_us: u64,
}

impl Trial {
    /// Reads the log once: fills the new nodes for what is wanted of them, and tells `sink` which entities the
    /// witnesses see, by the index of the witness.
    ///
    /// # Errors
    /// A log that cannot be read, an operator that fails, what the bounds say, more bytes than they allow.
    #[expect(clippy::disallowed_methods, reason = "measures; no value depends on it")]
    pub fn pass(
        &mut self,
        witnesses: &[Witness],
        bounds: &Bounds<'_>,
        sink: &mut dyn FnMut(usize, Seen<'_>),
    ) -> Result<Passed> {
        let begun = Instant::now();
        let written_before = self.writing_us();
        let claims = Claims::of(&self.live().catalog, &[]);
        let (shared, until) = (self.shared.clone(), self.position().record());
        let base = shared.base.read();
        base.tell(self.fresh.iter().map(|fresh| &fresh.node));
        let mut replay = Replay::of(&base, self.ids.clone(), claims);
        let due = self.fresh.iter().filter(|fresh| fresh.is_due());
        let nodes: Vec<Arc<Node>> = due.map(|fresh| fresh.node.clone()).collect();
        let is_seen = |id: u32| {
            witnesses.iter().any(|witness| match witness {
                Witness::Columns { dataset, .. } => *dataset == id,
                Witness::Rows { node, .. } => node.takes(id),
                Witness::Filled { .. } => false,
            })
        };
        let wanted = |id: u32| is_seen(id) || nodes.iter().any(|node| node.takes(id));
        let mut passed = Passed::default();
        for record in shared.log.read(base.first)? {
            let record = record?;
            if record.number > until {
                break;
            }
            (bounds.go_on)(Progress { record: record.number, until })?;
            let Some((events, admitted)) = replay.take(&record, &wanted, &Ok)? else { continue };
            passed.events += events.batch.num_rows() as u64;
            let incoming = Incoming {
                dataset: events.dataset,
                number: record.number,
                batch: &events.batch,
                admitted: &admitted,
            };
            for (index, witness) in witnesses.iter().enumerate() {
                see(witness, incoming, &mut |seen| sink(index, seen))?;
            }
            self.feed(incoming)?;
            self.check_bytes(bounds.bytes_max)?;
        }
        for fresh in &mut self.fresh {
            fresh.wanted.clear();
            fresh.done = true;
        }
        self.see_filled(witnesses, sink)?;
        let took = begun.elapsed().as_micros() as u64;
        passed.reading_us = took.saturating_sub(self.writing_us() - written_before);
        Ok(passed)
    }

    fn writing_us(&self) -> u64 {
        self.fresh.iter().map(|fresh| fresh.facts.writing_us).sum()
    }

    /// Gives a record's rows to the new nodes, as the applier does when it fills them.
    fn feed(&mut self, incoming: Incoming<'_>) -> Result<()> {
        let rights = rights(&self.catalog, incoming)?;
        let is_index = |fresh: &Fresh| rights.iter().any(|(index, _)| index.id == fresh.node.id);
        // What is joined comes before whoever looks it up.
        for fresh in self.fresh.iter_mut().filter(|fresh| is_index(fresh) && fresh.is_due()) {
            let rows = rights.iter().find(|(index, _)| index.id == fresh.node.id);
            if let Some(rows) = rows.and_then(|(_, rows)| rows.as_ref()) {
                fresh.facts.offered += rows.len() as u64;
                fresh.write(rows)?;
            }
        }
        let due = self.fresh.iter_mut().filter(|fresh| !is_index(fresh) && fresh.is_due());
        for fresh in due.filter(|fresh| fresh.node.takes(incoming.dataset)) {
            fresh.take(incoming, &rights)?;
        }
        Ok(())
    }

    fn check_bytes(&self, most: u64) -> Result<()> {
        let bytes = self.residence.resident_bytes();
        if bytes <= most {
            return Ok(());
        }
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        Err(Error::new(
            ErrorKind::TooLarge,
            format!(
                "the sample takes {} MiB of memory, expected at most {}; ask for a smaller sample",
                mib(bytes),
                mib(most)
            ),
        ))
    }

    /// What witnesses see once their node is filled.
    fn see_filled(&self, witnesses: &[Witness], sink: &mut dyn FnMut(usize, Seen<'_>)) -> Result<()> {
        for (index, witness) in witnesses.iter().enumerate() {
            let Witness::Filled { node, order } = witness else { continue };
            for key in node.state.keys_where(|timeline| !timeline.is_empty())? {
                let Some(ordered) = ordered(&key, order)? else { continue };
                node.state.glance(&key, |timeline| {
                    let (after, until) = (EventTime(i64::MIN), EventTime(i64::MAX));
                    timeline.rows(&node.layout, after, until, self.position(), &mut |row| {
                        let position = row.position().to_bits();
                        sink(index, Seen { key: &ordered, time: row.time(), position });
                    });
                })?;
            }
        }
        Ok(())
    }
}

impl Fresh {
    /// Runs the node's operators on the rows of the entities that it is to be filled for.
    fn take(&mut self, incoming: Incoming<'_>, rights: &Rights) -> Result<()> {
        let came = self.came.as_ref().filter(|_| !self.whole && self.node.is_fed_by(incoming.dataset));
        let mut narrowed = None;
        if let Some(came) = came {
            let admitted = self.narrowed(came, incoming)?;
            self.facts.offered += incoming.batch.num_rows() as u64;
            self.facts.taken += admitted.kept.as_ref().map_or(0, |kept| kept.count_set_bits()) as u64;
            narrowed = Some(admitted);
        }
        let is_counted = narrowed.is_some();
        let incoming = Incoming { admitted: narrowed.as_ref().unwrap_or(incoming.admitted), ..incoming };
        let Some(mut rows) = self.node.process(incoming, rights)? else { return Ok(()) };
        let offered = rows.len() as u64;
        if !self.whole {
            rows.retain(|key| self.wants(key));
        }
        if !is_counted {
            self.facts.offered += offered;
            self.facts.taken += rows.len() as u64;
        }
        self.insert(&rows)
    }

    fn write(&mut self, rows: &NodeRows) -> Result<()> {
        self.facts.taken += rows.len() as u64;
        self.insert(rows)
    }

    #[expect(clippy::disallowed_methods, reason = "measures; no value depends on it")]
    fn insert(&mut self, rows: &NodeRows) -> Result<()> {
        let begun = Instant::now();
        self.node.write(rows)?;
        self.facts.writing_us += begun.elapsed().as_micros() as u64;
        Ok(())
    }

    /// The verdicts with all rows of other entities left out.
    fn narrowed(&self, came: &[thyme_core::Field], incoming: Incoming<'_>) -> Result<Admitted> {
        let (keys, count) = (encode_keys(came, incoming.batch)?, incoming.batch.num_rows());
        let before = incoming.admitted.kept.as_ref();
        let mut kept = BooleanBufferBuilder::new(count);
        for row in 0..count {
            kept.append(before.is_none_or(|before| before.value(row)) && self.wants(keys.get(row)));
        }
        let numbers = incoming.admitted.numbers.clone();
        Ok(Admitted { kept: Some(kept.finish()), numbers, ..Admitted::default() })
    }
}

/// Tells which entities a witness sees in a record.
fn see(witness: &Witness, incoming: Incoming<'_>, sink: &mut dyn FnMut(Seen<'_>)) -> Result<()> {
    match witness {
        Witness::Columns { dataset, fields, timestamp } if *dataset == incoming.dataset => {
            let keys = encode_keys(fields, incoming.batch)?;
            let columns: Vec<_> =
                fields.iter().filter_map(|f| incoming.batch.column_by_name(&f.name)).collect();
            let times = event_times(incoming.batch, timestamp)?;
            for (row, time) in times.values().iter().enumerate() {
                let kept = incoming.admitted.kept.as_ref().is_none_or(|kept| kept.value(row));
                if kept && columns.iter().all(|column| column.is_valid(row)) {
                    let number = incoming.admitted.numbers.as_ref().map_or(row as u32, |n| n.value(row));
                    let position = Position::new(incoming.number, number).to_bits();
                    sink(Seen { key: keys.get(row), time: EventTime(*time), position });
                }
            }
        }
        Witness::Rows { node, order } if node.takes(incoming.dataset) => {
            let Some(rows) = node.process(incoming, &[])? else { return Ok(()) };
            let in_order = order.iter().enumerate().all(|(index, place)| index == *place);
            for row in 0..rows.len() {
                let (time, position) = (EventTime(rows.batch.times[row]), rows.batch.positions[row]);
                if in_order && order.len() == node.keys.len() {
                    sink(Seen { key: rows.key(row), time, position });
                } else if let Some(key) = ordered(rows.key(row), order)? {
                    sink(Seen { key: &key, time, position });
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// A node's key in the order of an entity.
fn ordered(key: &[u8], order: &[usize]) -> Result<Option<Vec<u8>>> {
    let parts = EntityKey::decode(key)?;
    let values: Option<Vec<Value>> = order.iter().map(|place| parts.get(*place).cloned()).collect();
    values.map(|values| EntityKey::encode(&values).map(|key| key.0.to_vec())).transpose()
}
