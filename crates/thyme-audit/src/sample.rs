//! The entities of a dataset that an audit looks at, chosen while the log goes by.

use std::collections::{BTreeMap, HashSet};

use thyme_oracle::Row;

use crate::choice::rank;

/// The entities of lowest rank, with all of their rows.
///
/// A rank is a hash of the key, so this is a fair choice. An entity that is in it was in it from its first row
/// on: the limit only ever falls. So no second reading is needed, and the state is not asked which
/// entities there are: one that it has lost is found.
#[derive(Debug)]
pub(crate) struct Sample {
    seed: u64,
    entities_max: usize,
    kept: BTreeMap<u64, Entity>,
    rows: usize,
    /// The lowest rank that was turned away.
    bound: Option<u64>,
    /// Entities with more rows than fit.
    too_large: HashSet<Box<[u8]>>,
}

#[derive(Debug)]
pub(crate) struct Entity {
    pub key: Box<[u8]>,
    pub rows: Vec<Row>,
}

/// The most rows that a sample holds in memory; past it, its largest entity is left out.
const ROWS_MAX: usize = 2_000_000;

impl Sample {
    pub fn new(seed: u64, entities_max: usize) -> Sample {
        Sample {
            seed,
            entities_max: entities_max.max(1),
            kept: BTreeMap::new(),
            rows: 0,
            bound: None,
            too_large: HashSet::new(),
        }
    }

    /// Whether a row of this entity has to be kept.
    pub fn wants(&mut self, key: &[u8]) -> bool {
        let rank = rank(self.seed, key);
        if self.kept.len() >= self.entities_max
            && self.kept.last_key_value().is_some_and(|(last, _)| rank > *last)
        {
            self.turn_away(rank);
            return false;
        }
        match self.kept.get(&rank) {
            Some(entity) => *entity.key == *key,
            None => !self.too_large.contains(key),
        }
    }

    fn turn_away(&mut self, rank: u64) {
        self.bound = Some(self.bound.map_or(rank, |bound| bound.min(rank)));
    }

    /// Keeps a row of an entity that is wanted.
    pub fn add(&mut self, key: &[u8], row: Row) {
        let rank = rank(self.seed, key);
        let entity = self.kept.entry(rank).or_insert_with(|| Entity { key: key.into(), rows: Vec::new() });
        entity.rows.push(row);
        self.rows += 1;
        if self.kept.len() > self.entities_max
            && let Some((rank, entity)) = self.kept.pop_last()
        {
            self.rows -= entity.rows.len();
            self.turn_away(rank);
        }
        if self.rows > ROWS_MAX
            && let Some(rank) = self.kept.iter().max_by_key(|(_, e)| e.rows.len()).map(|(rank, _)| *rank)
            && let Some(entity) = self.kept.remove(&rank)
        {
            self.rows -= entity.rows.len();
            self.too_large.insert(entity.key);
        }
    }

    /// The entities, in the order of their ranks.
    pub fn entities(&self) -> impl Iterator<Item = &Entity> {
        self.kept.values()
    }

    /// All rows of an entity, if they are known: it is in the sample, or it would be if it had any.
    pub fn rows_of(&self, key: &[u8]) -> Option<&[Row]> {
        let rank = rank(self.seed, key);
        match self.kept.get(&rank) {
            Some(entity) => (*entity.key == *key).then_some(&entity.rows),
            None if self.too_large.contains(key) => None,
            None => self.bound.is_none_or(|bound| rank < bound).then_some(&[]),
        }
    }

    /// How many entities have more rows than fit.
    pub fn too_large(&self) -> usize {
        self.too_large.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use thyme_core::{EventTime, Position};

    #[test]
    fn an_entity_of_the_sample_has_all_of_its_rows_and_others_are_not_guessed() {
        let mut sample = Sample::new(7, 5);
        let key = |i: u32| format!("k{i}").into_bytes();
        for n in 0..1000u32 {
            let key = key(n % 50);
            if sample.wants(&key) {
                let (time, position) = (EventTime(i64::from(n)), Position::new(u64::from(n) + 1, 0));
                sample.add(&key, Row { time, position, values: vec![], predicates: vec![] });
            }
        }
        assert_eq!(sample.entities().count(), 5);
        let mut lowest: Vec<u64> = (0..50).map(|i| rank(7, &key(i))).collect();
        lowest.sort_unstable();
        for i in 0..50 {
            let expected = (rank(7, &key(i)) <= lowest[4]).then_some(20);
            assert_eq!(sample.rows_of(&key(i)).map(<[Row]>::len), expected, "{i}");
        }
        // One that never came is known to have no rows only below what was turned away.
        let absent = |i: u32| (rank(7, &key(i)), sample.rows_of(&key(i)).map(<[Row]>::len));
        assert!((50..2000).map(absent).all(|(rank, rows)| rows == (rank < lowest[5]).then_some(0)));
    }
}
