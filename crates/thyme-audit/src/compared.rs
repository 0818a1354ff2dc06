//! The events that dedups compare, as the oracle takes them.

use std::ops::ControlFlow;

use thyme_core::{Error, ErrorKind, Position, Result};
use thyme_engine::{Engine, History};
use thyme_oracle::dedup::Repeats;
use thyme_oracle::join::Right;
use thyme_oracle::{Pipeline, Verdict};

use crate::input::{Made, Streams, columns};
use crate::rights::Rights;

/// The most events that are held in memory.
const ROWS_MAX: usize = 2_000_000;

/// For each of some datasets, the events that its dedups leave out as known at `S`. All events are read for that before
/// any of them is judged, since one that comes later may be before it.
#[derive(Debug)]
pub(crate) struct Compared {
    history: History,
    streams: Streams,
    all: Vec<One>,
    until: Position,
    is_read: bool,
}

#[derive(Debug)]
struct One {
    /// By input.
    events: Vec<(u32, Vec<Right>)>,
    repeats: Repeats,
}

impl Compared {
    /// Those of `made`, to be read from where `history` begins up to `until`.
    pub fn of<'m>(made: impl Iterator<Item = &'m Made>, history: &History, until: Position) -> Compared {
        let (mut is_read, mut all) = (true, Vec::new());
        for made in made {
            is_read &= !made.has_dedups();
            let events = made.inputs().map(|(id, _)| (id, Vec::new())).collect();
            all.push(One { events, repeats: Repeats::none() });
        }
        Compared { history: history.clone(), streams: Streams::at(history), all, until, is_read }
    }

    /// Whether all of them are there.
    pub fn is_read(&self) -> bool {
        self.is_read
    }

    /// Bytes of log read.
    pub fn bytes(&self) -> u64 {
        self.history.bytes()
    }

    /// Reads on, by so many records; `made` are those that it was made of, and `rights` what they join.
    pub fn read(&mut self, engine: &Engine, made: &[&Made], rights: &Rights, records: u64) -> Result<()> {
        let Compared { history, streams, all, until, is_read } = self;
        let is_meant = |id: u32| made.iter().any(|made| made.has_dedups() && made.of_input(id).is_some());
        let next = until.record().min(history.record().saturating_add(records));
        engine.read_history(history, next, &is_meant, &mut |record| {
            for (row, verdict) in streams.verdicts(&record)?.into_iter().enumerate() {
                let (time, position) = (record.time(row), record.position(row));
                if verdict != Verdict::Admitted || position > *until {
                    continue;
                }
                for (one, made) in all.iter_mut().zip(made) {
                    let mut of_input = one.events.iter_mut().filter(|(id, _)| *id == record.dataset);
                    if let Some((_, events)) = of_input.next()
                        && made.has_dedups()
                        && !made.is_before(time)
                    {
                        events.push(Right { time, position, columns: columns(&record, row) });
                    }
                }
            }
            if all.iter().flat_map(|one| &one.events).map(|(_, events)| events.len()).sum::<usize>()
                > ROWS_MAX
            {
                let detail = format!(
                    "more than {ROWS_MAX} events are compared by a dedup, too many to hold for an audit"
                );
                return Err(Error::new(ErrorKind::TooLarge, detail));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if history.record() < until.record() {
            return Ok(());
        }
        for (one, made) in all.iter_mut().zip(made).filter(|(_, made)| made.has_dedups()) {
            let events = std::mem::take(&mut one.events);
            let join = |def: &_, event: &mut _, time| rights.join(def, event, time, *until);
            let mut inputs: Vec<(&Pipeline, &[Right])> = Vec::new();
            for (id, events) in &events {
                inputs.extend(made.of_input(*id).map(|pipeline| (pipeline, events.as_slice())));
            }
            one.repeats = Repeats::among(&inputs, &join)?;
        }
        *is_read = true;
        Ok(())
    }

    /// Those that the dedups of the dataset of this index leave out.
    pub fn repeats(&self, index: usize) -> &Repeats {
        const NONE: &Repeats = &Repeats::none();
        self.all.get(index).map_or(NONE, |one| &one.repeats)
    }
}
