//! The rows of one stripe by entity, so that whoever puts them into timelines looks each up once.

use hashbrown::HashTable;
use thyme_timeline::Batch;

use crate::rows::NodeRows;

/// So many entities are told apart without a table.
const FEW: usize = 8;

/// The rows that some records have for one stripe, by entity. Those of an entity stay in log order.
pub(crate) struct Runs<'r> {
    parts: &'r [&'r NodeRows],
    runs: Vec<Run>,
    rows: Vec<Place>,
}

/// The rows of one entity.
struct Run {
    hash: u64,
    first: Place,
    /// Where its rows end among all of them.
    end: u32,
}

/// A row of a part.
#[derive(Clone, Copy, Default)]
struct Place {
    part: u32,
    row: u32,
}

impl<'r> Runs<'r> {
    /// Of the records of `parts`, which are in log order.
    pub fn of(parts: &'r [&'r NodeRows], stripe: usize) -> Self {
        let mut runs = Runs { parts, runs: Vec::new(), rows: Vec::new() };
        let count = parts.iter().map(|part| part.of_stripe(stripe).len()).sum();
        let (mut table, mut whose) = (HashTable::<u32>::new(), Vec::with_capacity(count));
        for (index, part) in parts.iter().enumerate() {
            for row in part.of_stripe(stripe) {
                whose.push(runs.find(&mut table, Place { part: index as u32, row: *row }));
            }
        }
        // Until here `end` was how many rows there are.
        let (mut end, mut next) = (0, Vec::with_capacity(runs.runs.len()));
        for run in &mut runs.runs {
            next.push(end);
            end += run.end;
            run.end = end;
        }
        runs.rows = vec![Place::default(); count];
        let mut whose = whose.into_iter();
        for (index, part) in parts.iter().enumerate() {
            for (row, run) in part.of_stripe(stripe).iter().zip(&mut whose) {
                let place = &mut next[run as usize];
                runs.rows[*place as usize] = Place { part: index as u32, row: *row };
                *place += 1;
            }
        }
        runs
    }

    /// Counts a row to the run of its entity, and gives that.
    fn find(&mut self, table: &mut HashTable<u32>, place: Place) -> u32 {
        let (hash, key) = (self.hash(place), self.key_at(place));
        let is_its = |run: &Run| run.hash == hash && self.key_at(run.first) == key;
        let found = match self.runs.last() {
            // A hot entity's rows often follow each other.
            Some(last) if is_its(last) => Some(self.runs.len() as u32 - 1),
            _ if table.is_empty() => self.runs.iter().position(is_its).map(|run| run as u32),
            _ => table.find(hash, |run| is_its(&self.runs[*run as usize])).copied(),
        };
        if let Some(found) = found {
            self.runs[found as usize].end += 1;
            return found;
        }
        let new = self.runs.len() as u32;
        self.runs.push(Run { hash, first: place, end: 1 });
        let hash_of = |run: &u32| self.runs[*run as usize].hash;
        let (count, is_new_table) = (self.runs.len(), table.is_empty());
        if count > FEW {
            for run in if is_new_table { 0..count as u32 } else { new..count as u32 } {
                table.insert_unique(hash_of(&run), run, hash_of);
            }
        }
        new
    }

    fn hash(&self, place: Place) -> u64 {
        self.parts[place.part as usize].hashes[place.row as usize]
    }

    fn key_at(&self, place: Place) -> &'r [u8] {
        self.parts[place.part as usize].key(place.row as usize)
    }

    /// How many entities there are.
    pub fn len(&self) -> usize {
        self.runs.len()
    }

    /// The hash and the encoded key of an entity.
    pub fn entity(&self, run: usize) -> (u64, &'r [u8]) {
        let run = &self.runs[run];
        (run.hash, self.key_at(run.first))
    }

    /// The rows of an entity.
    pub fn rows(&self, run: usize) -> impl ExactSizeIterator<Item = (&'r Batch, usize)> + '_ {
        let start = run.checked_sub(1).map_or(0, |before| self.runs[before].end);
        let places = &self.rows[start as usize..self.runs[run].end as usize];
        places.iter().map(|place| (&self.parts[place.part as usize].batch, place.row as usize))
    }

    /// The record that brings the first of them.
    pub fn record(&self) -> u64 {
        self.rows.first().map_or(0, |place| self.parts[place.part as usize].record(place.row as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::STRIPES;
    use proptest::prelude::*;

    /// One row a key; the time says which row it is.
    fn part(keys: &[u16], first: i64) -> NodeRows {
        let encoded: Vec<[u8; 2]> = keys.iter().map(|key| key.to_be_bytes()).collect();
        let times = (first..).take(keys.len()).collect();
        let positions = (0..keys.len() as u64).collect();
        let batch = Batch { times, positions, ..Batch::default() };
        NodeRows::new(batch, encoded.iter().map(|key| &key[..]).collect())
    }

    proptest! {
        #[test]
        fn every_row_is_in_the_run_of_its_entity_once_and_in_log_order(
            keys in prop::collection::vec(prop::collection::vec(0u16..600, 0..900), 0..4),
            together in any::<bool>(),
        ) {
            let (mut parts, mut rows) = (Vec::new(), Vec::<u16>::new());
            for keys in &keys {
                let part = part(keys, rows.len() as i64);
                rows.extend(keys);
                parts.push(if together { part.together().unwrap() } else { part });
            }
            let parts: Vec<&NodeRows> = parts.iter().collect();
            let mut seen = Vec::new();
            for stripe in 0..STRIPES {
                let (runs, mut known) = (Runs::of(&parts, stripe), Vec::new());
                for run in 0..runs.len() {
                    let (_, key) = runs.entity(run);
                    known.push(key);
                    let times: Vec<i64> = runs.rows(run).map(|(batch, row)| batch.times[row]).collect();
                    prop_assert!(!times.is_empty() && times.is_sorted());
                    prop_assert!(times.iter().all(|time| rows[*time as usize].to_be_bytes() == key));
                    seen.extend(times);
                }
                let count = known.len();
                known.sort_unstable();
                known.dedup();
                prop_assert_eq!(known.len(), count, "an entity has one run");
            }
            seen.sort_unstable();
            prop_assert!(seen.into_iter().eq(0..rows.len() as i64));
        }
    }
}
