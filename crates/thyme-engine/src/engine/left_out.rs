//! What was left out: late events and dead letters, and how letters become rows after all.

use arrow::array::RecordBatch;
use thyme_core::{Error, Position, Result};

use super::{Engine, WAIT};
use crate::catalog::LiveDataset;
use crate::late::{self, LateEvent, LateQuery};
use crate::left_out::Replayed;
use crate::push::SourceBatch;
use crate::record::{DeadLetter, Payload, peek_dataset};

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
    /// Letters that could not, those that were cut among them.
    pub failed: u64,
    /// Letters of which only the first bytes are kept.
    pub cut: u64,
    /// Where the rows are; nothing if there are none.
    pub position: Option<Position>,
    /// Why some could not be read: position, origin, reason of now.
    pub reasons: Vec<(Position, String, String)>,
}

impl Engine {
    /// Late events of a dataset, newest first.
    ///
    /// # Errors
    /// A log that cannot be read.
    pub fn late_events(&self, dataset: &LiveDataset, query: &LateQuery) -> Result<Vec<LateEvent>> {
        let ranges = self.shared.late.lock().get(&dataset.id).cloned().unwrap_or_default();
        late::list(self.shared.log.as_ref(), dataset, ranges.ranges(), query)
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
        let records = self.shared.dead_letters.lock().get(&dataset.id).cloned().unwrap_or_default();
        let mut found = Vec::new();
        for [first, last] in records.ranges().iter().rev() {
            for number in (*first..=(*last).min(before.record())).rev() {
                for (index, letter) in self.letters_of(dataset, number)?.into_iter().enumerate().rev() {
                    if found.len() >= limit {
                        return Ok(found);
                    }
                    let (position, is_done) =
                        (Position::new(number, index as u32), replayed.has(number, index as u32));
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
        // The state is a cursor, which is known once its record is applied.
        self.wait_for(self.shared.gate.last_record())?;
        let mut state = self.replayed(dataset)?;
        let records = self.shared.dead_letters.lock().get(&dataset.id).cloned().unwrap_or_default();
        let mut replay = Replay::default();
        let mut group: Vec<(u64, Vec<DeadLetter>)> = Vec::new();
        let (mut letters, mut bytes) = (0, 0);
        for number in records.ranges().iter().flat_map(|[first, last]| *first..=*last) {
            let of_record = self.letters_of(dataset, number)?;
            if !(0..of_record.len()).any(|index| !state.has(number, index as u32)) {
                continue;
            }
            letters += of_record.len();
            bytes += of_record.iter().map(|l| l.raw.len()).sum::<usize>();
            group.push((number, of_record));
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
        group: &[(u64, Vec<DeadLetter>)],
        replay: &mut Replay,
        read: &mut impl FnMut(&[&DeadLetter]) -> Result<Reread>,
    ) -> Result<()> {
        let waiting: Vec<(Position, &DeadLetter)> = group
            .iter()
            .flat_map(|(number, letters)| {
                letters
                    .iter()
                    .enumerate()
                    .map(|(index, letter)| (Position::new(*number, index as u32), letter))
            })
            .filter(|(position, _)| !state.has(position.record(), position.row()))
            .collect();
        let whole: Vec<&DeadLetter> = waiting.iter().map(|(_, l)| *l).filter(|l| !l.is_cut()).collect();
        let Reread { batch, reasons } = read(&whole)?;
        let mut reasons = reasons.into_iter();
        let (mut next, mut failed) = (state.clone(), Vec::new());
        for (position, letter) in waiting {
            let reason = match letter.is_cut() {
                true => {
                    replay.cut += 1;
                    let most = DeadLetter::RAW_MAX;
                    Some(format!("only its first {most} bytes are kept, so it cannot be read again"))
                }
                false => reasons.next().flatten(),
            };
            let Some(reason) = reason else { continue };
            failed.push(position);
            replay.failed += 1;
            if replay.reasons.len() < REPLAY_REASONS_MAX {
                replay.reasons.push((position, letter.origin.clone(), reason));
            }
        }
        for (number, _) in group {
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
        let cursor = serde_json::to_vec(&next).map_err(|e| Error::internal(format!("replay: {e}")))?;
        let stream = replay_stream(dataset).into();
        let push = self.read_source(dataset, SourceBatch { stream, cursor, dead_letters: Vec::new(), batch });
        let receipt = self.push(push)?;
        *state = next;
        replay.replayed += rows;
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
        let Some(cursor) = self.cursor(&replay_stream(dataset)) else { return Ok(Replayed::default()) };
        serde_json::from_slice(&cursor)
            .map_err(|e| Error::corrupt(format!("which dead letters were replayed cannot be read: {e}")))
    }

    /// The dead letters of a record, if it is one of the dataset's.
    fn letters_of(&self, dataset: &LiveDataset, number: u64) -> Result<Vec<DeadLetter>> {
        let Some(record) = self.shared.log.read(number)?.next().transpose()? else { return Ok(Vec::new()) };
        if peek_dataset(&record.payload) != Some(dataset.id) {
            return Ok(Vec::new());
        }
        match Payload::decode(&record.payload, &|_| Some(dataset.schema.clone()))? {
            Payload::Events(events) => Ok(events.dead_letters),
            Payload::Commit(_) => Ok(Vec::new()),
        }
    }
}

/// The input stream of a dataset's replayed letters, with a watermark of its own like each source's.
fn replay_stream(dataset: &LiveDataset) -> String {
    format!("dead-letters:{}@{}", dataset.definition.name, dataset.definition.version)
}
