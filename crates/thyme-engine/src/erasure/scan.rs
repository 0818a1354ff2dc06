//! Finding an entity in the log, and what is left of its records without it.

use std::collections::{BTreeMap, HashSet};

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, not};
use thyme_core::Result;
use thyme_log::Log;

use super::Target;
use crate::base::Base;
use crate::catalog::{Catalog, Ids};
use crate::decode::columns::event_times;
use crate::event_ids::{self, Claims, Loss, LossFate};
use crate::idempotency::Mark;
use crate::node::Admitted;
use crate::record::EventsRecord;
use crate::remains::Left;
use crate::replay::Replay;

/// Goes through the log once and collects what an erasure takes out.
#[derive(Debug)]
pub(crate) struct Scan {
    replay: Replay,
    next: u64,
    /// The event ids of rows that go, by dataset.
    freed: HashSet<(u32, Box<[u8]>)>,
    /// By record number.
    pub found: BTreeMap<u64, Found>,
}

/// What an erasure takes out of a record.
#[derive(Debug)]
pub(crate) struct Found {
    pub dataset: u32,
    /// The rows that go.
    pub gone: RecordBatch,
    /// Their numbers in the record as it was accepted.
    pub rows: Vec<u32>,
    /// How many of them are late.
    pub late: u64,
    /// How many of them are duplicates.
    pub duplicates: u64,
    /// What becomes of the claims of event ids.
    pub losses: Vec<Loss>,
    /// The dead letters that go, by their numbers in the record as it was accepted.
    pub letters: Vec<u32>,
    /// Marks that are not what they were, and what becomes of them.
    pub marks: Vec<(Mark, Fate)>,
    /// The rows that stay; all of them when there is none that goes.
    stay: Option<BooleanArray>,
    /// Of those that stay, which are late, by index among them.
    late_left: Vec<u32>,
    /// The watermark that each of those was behind of.
    behind: Vec<i64>,
    /// Of those that stay, which are duplicates, by index among them.
    duplicates_left: Vec<u32>,
    watermark: Option<i64>,
    newest: Option<i64>,
}

impl Found {
    /// The record without what goes.
    ///
    /// # Errors
    /// Another record than the one that was looked at.
    pub fn apply(&self, mut events: EventsRecord, target: &Target) -> Result<EventsRecord> {
        let dataset = events.dataset;
        events.retain_letters(|letter| !target.owns(dataset, letter));
        for (mark, fate) in &self.marks {
            match fate {
                Fate::Gone => events.marks.retain(|m| m.key != mark.key),
                Fate::Blank => events.marks.iter_mut().filter(|m| m.key == mark.key).for_each(Mark::blank),
            }
        }
        if let Some(stay) = &self.stay {
            let rows = (0..stay.len()).filter(|row| stay.value(*row)).map(|row| events.row_number(row));
            events.remains.left = Some(Left {
                rows: rows.collect(),
                late: self.late_left.clone(),
                behind: self.behind.clone(),
                duplicates: self.duplicates_left.clone(),
                watermark: self.watermark,
                newest: self.newest,
            });
            events.batch = filter_record_batch(&events.batch, stay)?;
        }
        Ok(events)
    }
}

/// What becomes of an idempotency mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// All that it covered is gone; the same push again is a new one.
    Gone,
    /// The hash of the body goes, since somebody's data could be guessed from it.
    Blank,
}

impl Scan {
    /// From the record that `base` stands before.
    pub fn of(base: &Base, ids: Ids, catalog: &Catalog, target: &Target) -> Scan {
        let replay = Replay::of(base, ids, Claims::of_erasure(catalog, target));
        Scan { replay, next: base.first, freed: HashSet::new(), found: BTreeMap::new() }
    }

    /// Goes on up to record `until`.
    ///
    /// # Errors
    /// A log that cannot be read.
    pub fn advance(&mut self, log: &dyn Log, until: u64, target: &Target) -> Result<()> {
        for record in log.read(self.next)? {
            let record = record?;
            if record.number > until {
                break;
            }
            self.next = record.number + 1;
            let Some((events, admitted)) = self.replay.take(&record, &|id| target.concerns(id), &Ok)? else {
                continue;
            };
            let watermark = self.replay.watermark(&events);
            let first =
                record.number.saturating_sub(events.marks.iter().map(|m| m.accepted).max().unwrap_or(0));
            let before = self.found.range(first..).any(|(_, found)| found.dataset == events.dataset);
            let losses = self.losses(&events, &admitted, target)?;
            if let Some(found) = find(&events, &admitted, (watermark, losses), before, target)? {
                self.found.insert(record.number, found);
            }
        }
        Ok(())
    }

    /// What becomes of the claims of a record's rows: those of rows that go are free again, and a duplicate of one
    /// that stays is one for good. In the log it says so from here on.
    fn losses(&mut self, events: &EventsRecord, admitted: &Admitted, target: &Target) -> Result<Vec<Loss>> {
        let definition = self.replay.definition(events.dataset);
        let ids = definition.map(|d| Ok::<_, thyme_core::Error>((d, event_ids::ids(d, &events.batch)?)));
        let Some((definition, Some(ids))) = ids.transpose()? else { return Ok(Vec::new()) };
        let theirs = target.rows(events.dataset, &events.batch)?;
        let field = definition.fields.timestamp().map_or("", |f| f.name.as_str());
        let times = event_times(&events.batch, field)?;
        let loss = |row: usize, fate| Loss {
            id: ids.get(row).into(),
            time: times.value(row),
            row: events.row_number(row),
            fate,
        };
        let mut losses = Vec::new();
        for row in (0..events.batch.num_rows()).filter(|row| theirs.as_ref().is_some_and(|t| t.value(*row))) {
            self.freed.insert((events.dataset, ids.get(row).into()));
            let is_duplicate = is_among(&admitted.duplicates, row);
            losses.push(loss(row, if is_duplicate { LossFate::DuplicateGoes } else { LossFate::Goes }));
        }
        if theirs.is_none() && events.remains.left.is_some() {
            // It says so already.
            return Ok(losses);
        }
        for (row, of) in &admitted.duplicates {
            let row = *row as usize;
            let is_free = of.is_none() || self.freed.contains(&(events.dataset, ids.get(row).into()));
            if is_free && !theirs.as_ref().is_some_and(|theirs| theirs.value(row)) {
                losses.push(loss(row, LossFate::DuplicateStays));
            }
        }
        Ok(losses)
    }

    /// A record without what goes of it.
    ///
    /// # Errors
    /// As [`Found::apply`].
    pub fn without(&self, number: u64, events: EventsRecord, target: &Target) -> Result<EventsRecord> {
        match self.found.get(&number) {
            Some(found) => found.apply(events, target),
            None => Ok(events),
        }
    }

    /// The records that it changes.
    pub fn records(&self) -> u64 {
        self.found.len() as u64
    }
}

/// Whether a row is among duplicates, which are in order.
fn is_among<T>(duplicates: &[(u32, T)], row: usize) -> bool {
    duplicates.binary_search_by_key(&(row as u32), |(duplicate, _)| *duplicate).is_ok()
}

/// What goes of a record; `None` when nothing does. `before`: rows went of records that may hold the
/// beginning of a push which ends in this one.
fn find(
    events: &EventsRecord,
    admitted: &Admitted,
    (watermark, losses): (Option<i64>, Vec<Loss>),
    before: bool,
    target: &Target,
) -> Result<Option<Found>> {
    let dataset = events.dataset;
    let letters = events.dead_letters.iter().enumerate().filter(|(_, letter)| target.owns(dataset, letter));
    let letters: Vec<u32> = letters.map(|(index, _)| events.remains.number_of_letter(index)).collect();
    let theirs = target.rows(dataset, &events.batch)?;
    let count = events.batch.num_rows();
    let is_theirs = |row: usize| theirs.as_ref().is_some_and(|theirs| theirs.value(row));
    let is_out = |row: usize| admitted.kept.as_ref().is_some_and(|kept| !kept.value(row));
    let is_duplicate = |row: usize| is_among(&admitted.duplicates, row);
    let rows: Vec<u32> = (0..count).filter(|r| is_theirs(*r)).map(|r| events.row_number(r)).collect();
    let out = (0..count).filter(|row| is_theirs(*row) && is_out(*row)).count() as u64;
    let duplicates = admitted.duplicates.iter().filter(|(row, _)| is_theirs(*row as usize)).count() as u64;
    let marks = fates(events, &rows, !letters.is_empty(), before);
    if rows.is_empty() && letters.is_empty() && marks.is_empty() && losses.is_empty() {
        return Ok(None);
    }
    let mut found = Found {
        dataset,
        gone: events.batch.slice(0, 0),
        rows,
        late: out - duplicates,
        duplicates,
        losses,
        letters,
        marks,
        stay: None,
        late_left: Vec::new(),
        behind: Vec::new(),
        duplicates_left: Vec::new(),
        watermark,
        newest: admitted.newest,
    };
    if theirs.is_some() || found.losses.iter().any(|loss| loss.fate == LossFate::DuplicateStays) {
        let theirs = theirs.unwrap_or_else(|| BooleanArray::from(vec![false; count]));
        found.gone = filter_record_batch(&events.batch, &theirs)?;
        let mut left = 0;
        let mut watermarks = admitted.late.iter();
        for row in 0..count {
            let is_late = is_out(row) && !is_duplicate(row);
            let watermark = if is_late { watermarks.next() } else { None };
            if theirs.value(row) {
                continue;
            }
            if let Some(watermark) = watermark {
                found.late_left.push(left);
                found.behind.push(*watermark);
            } else if is_duplicate(row) {
                found.duplicates_left.push(left);
            }
            left += 1;
        }
        found.stay = Some(not(&theirs)?);
    }
    Ok(Some(found))
}

/// What becomes of a record's marks. Each covers the `accepted` rows up to its last; a push of several
/// records begins in an earlier one.
fn fates(events: &EventsRecord, rows: &[u32], letters: bool, before: bool) -> Vec<(Mark, Fate)> {
    let all = events.remains.left.is_none().then(|| events.batch.num_rows() as u64);
    let fate = |mark: &Mark| {
        let end = if mark.last_row == u32::MAX { None } else { Some(u64::from(mark.last_row) + 1) };
        // A record that lost rows before no longer says how many it had: its last push has no known end.
        let start = end.or(all).map(|end| end.saturating_sub(mark.accepted));
        let spans = end.or(all).is_some_and(|end| mark.accepted > end);
        let covered = |row: u64| start.is_none_or(|start| row >= start) && end.is_none_or(|end| row < end);
        let gone = rows.iter().filter(|row| covered(u64::from(**row))).count() as u64;
        if mark.accepted > 0 && gone == mark.accepted && mark.skipped == 0 && start.is_some() {
            return Some(Fate::Gone);
        }
        let touched = gone > 0 || (letters && mark.skipped > 0) || (spans && before);
        (touched && !mark.is_blank()).then_some(Fate::Blank)
    };
    events.marks.iter().filter_map(|mark| Some((mark.clone(), fate(mark)?))).collect()
}
