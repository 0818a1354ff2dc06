//! What was left out: late events and dead letters, and how letters become rows after all.

use arrow::array::RecordBatch;
use thyme_core::definition::Dataset;
use thyme_core::{Error, Position, Result};
use thyme_log::Log;

use super::{CommitPlace, Engine, WAIT};
use crate::base::Base;
use crate::catalog::{LiveDataset, PUSH_STREAM};
use crate::event_ids::Claims;
use crate::expectations;
use crate::late::{self, LeftOutEvent, LeftOutQuery};
use crate::left_out::{LateRange, Replayed};
use crate::push::{SourceBatch, StoredLetter};
use crate::record::{DeadLetter, EventsRecord, Payload, peek_dataset};
use crate::replay;

/// Letters that are read again together: one log record has the rows they become.
const REPLAY_LETTERS: usize = 4096;
const REPLAY_BYTES: usize = 8 << 20;
/// Letters that still cannot be read of which a replay tells the reason.
const REPLAY_REASONS_MAX: usize = 100;

/// A dead letter where it is in the log.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Its record, and its place among the record's letters.
    pub position: Position,
    /// What it was, and why it could not become a row.
    pub letter: DeadLetter,
    /// Whether a replay has made it a row since.
    pub replayed: bool,
}

/// What letters came to when they were read again.
#[derive(Debug)]
pub struct Reread {
    /// The rows, in the dataset's schema.
    pub batch: RecordBatch,
    /// Of each letter, why it is still none; as many as there are rows have no reason.
    pub reasons: Vec<Option<String>>,
}

/// What a replay came to.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    /// Letters that became rows.
    pub replayed: u64,
    /// Letters that would have brought back who was erased, and are left out for it.
    pub erased: u64,
    /// Letters that could not, those that were cut among them.
    pub failed: u64,
    /// Letters of which only the first bytes are kept.
    pub cut: u64,
    /// Where the rows are; nothing if there are none.
    pub position: Option<Position>,
    /// Why some could not be read: position, origin, reason of now.
    pub reasons: Vec<(Position, String, String)>,
}

/// What was committed before a record.
struct Earlier<'a> {
    log: &'a dyn Log,
    base: &'a Base,
    places: Vec<CommitPlace>,
    /// What was said last, and how many commits there were before that.
    known: Option<(usize, Dataset)>,
}

impl Earlier<'_> {
    /// A dataset as it was committed last before record `number`.
    fn definition(&mut self, dataset: &LiveDataset, number: u64) -> Result<Dataset> {
        let count = self.places.partition_point(|place| place.record < number);
        if let Some((_, known)) = self.known.as_ref().filter(|(of, _)| *of == count) {
            return Ok(known.clone());
        }
        let found = self.find(&dataset.definition, count)?;
        let found = found.or_else(|| self.base.definitions.get(&dataset.id).cloned());
        // A dataset that was not committed by then has no rows before its commit says what it is.
        let found = found.unwrap_or_else(|| dataset.definition.clone());
        self.known = Some((count, found.clone()));
        Ok(found)
    }

    fn find(&self, dataset: &Dataset, count: usize) -> Result<Option<Dataset>> {
        for place in self.places.iter().take(count).rev().take_while(|p| p.record >= self.base.first) {
            let Some(record) = self.log.read(place.record)?.next().transpose()? else { continue };
            let Payload::Commit(commit) = Payload::decode(&record.payload, &|_| None)? else { continue };
            let is_it = |d: &Dataset| d.name == dataset.name && d.version == dataset.version;
            if let Some(found) = commit.document.datasets.into_iter().find(is_it) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

/// The dead letters of a record.
struct RecordLetters {
    number: u64,
    is_pushed: bool,
    /// Each with its place among all that the record was accepted with.
    letters: Vec<(u32, DeadLetter)>,
}

impl Engine {
    /// Late events of a dataset, or duplicates, newest first.
    ///
    /// # Errors
    /// A log that cannot be read.
    pub fn left_out(&self, dataset: &LiveDataset, query: &LeftOutQuery) -> Result<Vec<LeftOutEvent>> {
        let base = self.shared.base.read();
        let ranges = self.shared.late.lock().get(&dataset.id).cloned().unwrap_or_default();
        let (log, ids) = (self.shared.log.as_ref(), self.shared.ids());
        let mut earlier =
            Earlier { log, base: &base, places: self.shared.commits.lock().clone(), known: None };
        let mut before = |range: &LateRange| {
            let definition = earlier.definition(dataset, range.first)?;
            let claims = dataset.ids.as_ref().map(Claims::again);
            Ok(replay::Replay::of_one(ids.clone(), (dataset.id, definition), &range.watermarks, claims))
        };
        late::list(log, dataset, ranges.ranges(), query, &mut before)
    }

    /// The newest `limit` dead letters of a dataset before `before`, newest first; those that were
    /// replayed only if `all`.
    ///
    /// # Errors
    /// A log that cannot be read.
    pub fn dead_letters(
        &self,
        dataset: &LiveDataset,
        before: Position,
        limit: usize,
        all: bool,
    ) -> Result<Vec<Letter>> {
        let replayed = self.replayed(dataset)?;
        let _base = self.shared.base.read();
        let records = self.shared.dead_letters.lock().get(&dataset.id).cloned().unwrap_or_default();
        let mut found = Vec::new();
        for [first, last] in records.ranges().iter().rev() {
            for number in (*first..=(*last).min(before.record())).rev() {
                for (index, letter) in self.letters_of(dataset, number)?.letters.into_iter().rev() {
                    if found.len() >= limit {
                        return Ok(found);
                    }
                    let (position, is_done) = (Position::new(number, index), replayed.has(number, index));
                    if position < before && (all || !is_done) {
                        found.push(Letter { position, letter, replayed: is_done });
                    }
                }
            }
        }
        Ok(found)
    }

    /// How many dead letters of a dataset have become rows since.
    ///
    /// # Errors
    /// A cursor that cannot be read.
    pub fn letters_replayed(&self, dataset: &LiveDataset) -> Result<u64> {
        self.replayed(dataset).map(|r| r.letters)
    }

    /// Reads the dead letters of a dataset again, oldest first, and logs those that `read` makes rows of.
    /// Which ones were is durable together with the rows, so each becomes a row once, whenever it is
    /// interrupted and however often it is run.
    ///
    /// # Errors
    /// What `read` says; a log that cannot be read or written. What was replayed until then stays so.
    pub fn replay_dead_letters(
        &self,
        dataset: &LiveDataset,
        mut read: impl FnMut(&[&DeadLetter]) -> Result<Reread>,
    ) -> Result<Replay> {
        let _one_at_a_time = self.replay_lock.lock();
        self.nothing_is_being_erased()?;
        // No letter leaves the log meanwhile.
        let _base = self.shared.base.read();
        // The state is a cursor, which is known once its record is applied.
        self.wait_for(self.shared.gate.last_record())?;
        let mut state = self.replayed(dataset)?;
        let records = self.shared.dead_letters.lock().get(&dataset.id).cloned().unwrap_or_default();
        let mut replay = Replay::default();
        let mut group: Vec<RecordLetters> = Vec::new();
        let (mut letters, mut bytes) = (0, 0);
        for number in records.ranges().iter().flat_map(|[first, last]| *first..=*last) {
            let of_record = self.letters_of(dataset, number)?;
            if of_record.letters.iter().all(|(index, _)| state.has(number, *index)) {
                continue;
            }
            letters += of_record.letters.len();
            bytes += of_record.letters.iter().map(|(_, l)| l.raw.len()).sum::<usize>();
            group.push(of_record);
            if letters >= REPLAY_LETTERS || bytes >= REPLAY_BYTES {
                self.replay_group(dataset, &mut state, &group, &mut replay, &mut read)?;
                group.clear();
                (letters, bytes) = (0, 0);
            }
        }
        self.replay_group(dataset, &mut state, &group, &mut replay, &mut read)?;
        Ok(replay)
    }

    fn replay_group(
        &self,
        dataset: &LiveDataset,
        state: &mut Replayed,
        group: &[RecordLetters],
        replay: &mut Replay,
        read: &mut impl FnMut(&[&DeadLetter]) -> Result<Reread>,
    ) -> Result<()> {
        let all = group.iter().flat_map(|of| {
            let stored = StoredLetter { record: of.number, is_pushed: of.is_pushed };
            of.letters.iter().map(move |(index, letter)| (stored, *index, letter))
        });
        let waiting: Vec<(StoredLetter, u32, &DeadLetter)> =
            all.filter(|(stored, index, _)| !state.has(stored.record, *index)).collect();
        let whole: Vec<&DeadLetter> = waiting.iter().map(|(_, _, l)| *l).filter(|l| !l.is_cut()).collect();
        let Reread { batch, reasons } = still_kept_out(dataset, read(&whole)?)?;
        let mut reasons = reasons.into_iter();
        let (mut next, mut failed, mut rows_from) = (state.clone(), Vec::new(), Vec::new());
        for (stored, index, letter) in waiting {
            let reason = match letter.is_cut() {
                true => {
                    replay.cut += 1;
                    let most = DeadLetter::RAW_MAX;
                    Some(format!("only its first {most} bytes are kept, so it cannot be read again"))
                }
                false => reasons.next().flatten(),
            };
            let Some(reason) = reason else {
                rows_from.push(stored);
                continue;
            };
            let position = Position::new(stored.record, index);
            failed.push(position);
            replay.failed += 1;
            if replay.reasons.len() < REPLAY_REASONS_MAX {
                replay.reasons.push((position, letter.origin.clone(), reason));
            }
        }
        for RecordLetters { number, .. } in group {
            let of_record = failed.iter().filter(|p| p.record() == *number);
            next.set(*number, &of_record.map(|p| p.row()).collect::<Vec<_>>());
        }
        let rows = batch.num_rows() as u64;
        if rows == 0 {
            // Not worth a record, but the next one must say that these still wait.
            *state = next;
            return Ok(());
        }
        next.letters += rows;
        let cursor = next.encode()?;
        let stream = Replayed::stream(&dataset.definition).into();
        let mut push =
            self.read_source(dataset, SourceBatch { stream, cursor, dead_letters: Vec::new(), batch })?;
        push.letters = Some(rows_from);
        let receipt = self.push(push)?;
        *state = next;
        replay.replayed += receipt.accepted;
        replay.erased += rows - receipt.accepted;
        replay.position = Some(receipt.position);
        self.wait_for(receipt.position.record())
    }

    fn wait_for(&self, record: u64) -> Result<()> {
        match self.wait_applied(record, WAIT)? {
            true => Ok(()),
            false => Err(Error::unavailable(format!("record {record} is not applied yet; run it again"))),
        }
    }

    fn replayed(&self, dataset: &LiveDataset) -> Result<Replayed> {
        let cursor = self.cursor(&Replayed::stream(&dataset.definition));
        cursor.map_or_else(|| Ok(Replayed::default()), |cursor| Replayed::decode(&cursor))
    }

    /// The dead letters of a record, if it is one of the dataset's.
    fn letters_of(&self, dataset: &LiveDataset, number: u64) -> Result<RecordLetters> {
        let none = RecordLetters { number, is_pushed: false, letters: Vec::new() };
        let Some(record) = self.shared.log.read(number)?.next().transpose()? else { return Ok(none) };
        if peek_dataset(&record.payload) != Some(dataset.id) {
            return Ok(none);
        }
        match Payload::decode(&record.payload, &|_| Some(dataset.schema.clone()))? {
            Payload::Events(events) => {
                let EventsRecord { stream, remains, dead_letters, .. } = *events;
                let letters = dead_letters.into_iter().enumerate();
                let letters = letters.map(|(at, letter)| (remains.number_of_letter(at), letter)).collect();
                Ok(RecordLetters { number, is_pushed: stream == PUSH_STREAM, letters })
            }
            Payload::Commit(_) | Payload::Erase(_) => Ok(none),
        }
    }
}

/// Rows that break an expectation which keeps them out stay letters.
fn still_kept_out(dataset: &LiveDataset, reread: Reread) -> Result<Reread> {
    let Some((batch, out)) = expectations::kept_out(dataset, &reread.batch)? else { return Ok(reread) };
    let mut reasons = reread.reasons;
    for (row, reason) in reasons.iter_mut().filter(|reason| reason.is_none()).enumerate() {
        *reason = out.get(&(row as u32)).cloned();
    }
    Ok(Reread { batch, reasons })
}
