//! The columns of one evaluation by slot, and what is known of them.

use thyme_core::definition::OnStale;
use thyme_core::{Error, ErrorKind, EventTime, Result, Value};

use crate::column::ColumnBuffer;
use crate::facts::{Detail, Facts, Status};
use crate::plan::{Aging, Plan};

/// The columns of a plan while it is evaluated.
pub(crate) struct Slots<'a> {
    plan: &'a Plan,
    times: &'a [EventTime],
    detail: Detail,
    pub columns: Vec<ColumnBuffer>,
    /// One a slot; none if nobody wants to know.
    pub facts: Vec<Facts>,
}

impl<'a> Slots<'a> {
    /// Nulls, a row for each of `times`.
    pub fn new(plan: &'a Plan, times: &'a [EventTime], detail: Detail) -> Self {
        let rows = times.len();
        let columns = plan.slots.iter().map(|(t, _)| ColumnBuffer::nulls(*t, rows)).collect();
        let is_tracked = detail == Detail::Facts || plan.max_ages.iter().any(Option::is_some);
        let facts = match is_tracked {
            false => Vec::new(),
            true => plan.versions.iter().map(|version| Facts::of(rows, *version)).collect(),
        };
        Slots { plan, times, detail, columns, facts }
    }

    /// Whether more has to be known than values.
    pub fn is_tracked(&self) -> bool {
        !self.facts.is_empty()
    }

    /// Whether a feature that fails is one of its facts, and refuses nothing.
    pub fn keeps_failures(&self) -> bool {
        self.detail == Detail::Facts
    }

    /// Completes what a read gave. `newest` has the newest event of each row.
    ///
    /// # Errors
    /// As [`Slots::settle`].
    pub fn settle_read(&mut self, slot: usize, newest: Option<&ColumnBuffer>) -> Result<()> {
        if let (Some(facts), Some(newest)) = (self.facts.get_mut(slot), newest) {
            for row in 0..newest.len() {
                match newest.get(row) {
                    Value::Datetime(time) => facts.newest[row] = Some(EventTime(time)),
                    _ => facts.status[row] = Status::Missing,
                }
            }
        }
        self.settle(slot)
    }

    /// Takes out what is too old, and puts the default in place of nulls.
    ///
    /// # Errors
    /// Stale: a value is too old whose feature says that the read is refused then.
    pub fn settle(&mut self, slot: usize) -> Result<()> {
        if let Some(Some(aging)) = self.plan.max_ages.get(slot) {
            self.take_out_stale(slot, aging)?;
        }
        let (column, default) = (&mut self.columns[slot], self.plan.slots[slot].1.as_ref());
        if let Some(facts) = self.facts.get_mut(slot) {
            let stands = if default.is_some() { Status::Default } else { Status::Missing };
            for row in 0..column.len() {
                // What has failed, or is to be null when it is stale, is not made good by a default.
                let is_settled = matches!(facts.status[row], Status::Error | Status::Stale);
                if column.is_null(row) && !is_settled {
                    facts.status[row] = stands;
                    column.set(row, default.cloned().unwrap_or_default());
                }
            }
        } else if let Some(default) = default {
            column.fill(default);
        }
        Ok(())
    }

    fn take_out_stale(&mut self, slot: usize, aging: &Aging) -> Result<()> {
        let (column, facts) = (&mut self.columns[slot], &mut self.facts[slot]);
        let default = self.plan.slots[slot].1.clone().unwrap_or_default();
        let mut refused = Vec::new();
        for (row, time) in self.times.iter().enumerate() {
            let is_stale = facts.age_us(row, *time).is_some_and(|age| age > aging.max_age.span.0);
            if !is_stale || facts.status[row] == Status::Error {
                continue;
            }
            facts.status[row] = Status::Stale;
            match aging.max_age.on_stale {
                OnStale::Null => column.set(row, Value::Null),
                OnStale::Default => column.set(row, default.clone()),
                OnStale::Error => {
                    column.set(row, Value::Null);
                    facts.fail(row, too_old(aging, facts.newest[row], *time));
                    refused.push(row);
                }
            }
        }
        match refused.as_slice() {
            [first, others @ ..] if self.detail == Detail::Values => {
                let why = facts.errors.get(first).cloned().unwrap_or_default();
                let of = match self.times.len() {
                    1 => String::new(),
                    rows => format!("row {first} of {rows} ({} others too): ", others.len()),
                };
                let detail = format!("{of}{why}; ask with meta=1 for what is not stale, or leave it out");
                Err(Error::new(ErrorKind::Stale, detail))
            }
            _ => Ok(()),
        }
    }

    /// The columns of the answer, and their facts if they were asked for.
    pub fn answer(self) -> (Vec<ColumnBuffer>, Vec<Facts>) {
        let of = |slot: usize| self.columns[slot].clone();
        let columns = self.plan.features.iter().map(|column| of(column.slot)).collect();
        let facts = match self.detail {
            Detail::Values => Vec::new(),
            Detail::Facts => {
                self.plan.features.iter().map(|column| self.facts[column.slot].clone()).collect()
            }
        };
        (columns, facts)
    }
}

fn too_old(aging: &Aging, newest: Option<EventTime>, time: EventTime) -> String {
    let newest = newest.map_or_else(String::new, |newest| newest.to_rfc3339());
    format!(
        "{} is stale: as of {} its newest event is of {newest}, and its max_age is {}",
        aging.feature,
        time.to_rfc3339(),
        aging.max_age.span
    )
}
