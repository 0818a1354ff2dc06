//! How many rows of a push are duplicates: known once its record is applied, and told with its answer.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::done::Done;
use crate::push::Receipt;

/// Records that are remembered for pushes that are about to ask.
const RECORDS_MAX: usize = 1024;

/// Pushes that wait to be told, and the duplicates of the last records.
#[derive(Default)]
pub(crate) struct Tally(Mutex<State>);

#[derive(Default)]
struct State {
    /// The last record that was applied.
    applied: u64,
    /// How many rows a record has, and which are duplicates, ascending.
    recent: BTreeMap<u64, (u64, Vec<u32>)>,
    waiting: BTreeMap<u64, Vec<(Receipt, Done)>>,
    /// Nobody is to wait for the applier.
    is_away: bool,
}

impl State {
    /// Duplicates among the rows of a push, which come one after the other and end at its position; `None` if they
    /// are not known any more.
    fn count(&self, receipt: Receipt) -> Option<u64> {
        let (mut count, mut left) = (0, receipt.accepted);
        let mut end = u64::from(receipt.position.row()).saturating_add(1);
        for number in (1..=receipt.position.record()).rev() {
            if left == 0 {
                break;
            }
            let (rows, duplicates) = self.recent.get(&number)?;
            end = end.min(*rows);
            let first = end.saturating_sub(left);
            let own = duplicates.iter().filter(|row| (first..end).contains(&u64::from(**row)));
            (count, left, end) = (count + own.count() as u64, left - (end - first), u64::MAX);
        }
        Some(count)
    }

    fn release(&mut self, until: u64) -> Vec<(Receipt, Done)> {
        let later = self.waiting.split_off(&until.saturating_add(1));
        let now = std::mem::replace(&mut self.waiting, later);
        let counted = |(receipt, done)| (Receipt { duplicates: self.count(receipt), ..receipt }, done);
        now.into_values().flatten().map(counted).collect()
    }
}

fn answer(told: Vec<(Receipt, Done)>) {
    told.into_iter().for_each(|(receipt, done)| done.answer(Ok(receipt)));
}

impl Tally {
    /// Answers a push that is on durable storage as soon as its duplicates are known, or cannot be.
    pub fn answer(&self, receipt: Receipt, done: Done) {
        let mut state = self.0.lock();
        let record = receipt.position.record();
        state.waiting.entry(record).or_default().push((receipt, done));
        if state.is_away || record <= state.applied {
            let told = state.release(record);
            drop(state);
            answer(told);
        }
    }

    /// Notes the rows of a record.
    pub fn note(&self, record: u64, rows: usize, duplicates: impl Iterator<Item = u32>) {
        let mut state = self.0.lock();
        state.recent.insert(record, (rows as u64, duplicates.collect()));
        if state.recent.len() > RECORDS_MAX {
            state.recent.pop_first();
        }
    }

    /// Everything up to a record is noted.
    pub fn applied(&self, record: u64) {
        let mut state = self.0.lock();
        state.applied = record;
        if !state.waiting.is_empty() {
            let told = state.release(record);
            drop(state);
            answer(told);
        }
    }

    /// The applier has something else to do, for long or for good: nobody waits for it.
    pub fn away(&self) {
        let mut state = self.0.lock();
        state.is_away = true;
        let told = state.release(u64::MAX);
        drop(state);
        answer(told);
    }

    /// The applier goes on.
    pub fn back(&self) {
        self.0.lock().is_away = false;
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.away();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use thyme_core::Position;

    #[test]
    fn a_push_is_told_its_own_duplicates_once_they_are_known() {
        let tally = Tally::default();
        let told = Arc::new(Mutex::new(Vec::new()));
        let ask = |position, accepted| {
            let told = told.clone();
            let done = Done::new(move |receipt| told.lock().push(receipt.unwrap().duplicates));
            tally.answer(Receipt { position, accepted, skipped: 0, duplicates: None }, done);
        };
        // Two pushes of one record, the last of which stands for the whole of it, and one of three records.
        ask(Position::new(1, 1), 2);
        ask(Position::end_of(1), 3);
        ask(Position::end_of(4), 7);
        assert!(told.lock().is_empty());
        tally.note(1, 5, [0, 2, 4].into_iter());
        tally.applied(1);
        assert_eq!(*told.lock(), [Some(1), Some(2)]);
        tally.note(2, 3, [1].into_iter());
        tally.note(3, 3, [].into_iter());
        tally.note(4, 1, [0].into_iter());
        tally.applied(4);
        assert_eq!(told.lock()[2..], [Some(2)]);
        // Once it is applied, at once; what is not remembered is not told.
        ask(Position::end_of(3), 3);
        ask(Position::end_of(0), 0);
        ask(Position::end_of(5), 3);
        assert_eq!(told.lock()[3..], [Some(0), Some(0)]);
        tally.away();
        assert_eq!(told.lock()[5..], [None]);
    }
}
