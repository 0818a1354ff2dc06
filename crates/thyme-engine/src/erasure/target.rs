//! Who is to be erased.

use std::collections::{HashMap, HashSet};

use arrow::array::{BooleanArray, RecordBatch};
use thyme_core::definition::Dataset;
use thyme_core::{EntityKey, Field, Result};

use super::letters;
use crate::catalog::Ids;
use crate::keys::encode_keys;
use crate::record::DeadLetter;

/// Entities of a dataset, in all of its versions that have the same key.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The erasure's own name.
    pub id: String,
    pub dataset: String,
    /// Encoded keys.
    pub keys: Vec<Box<[u8]>>,
    known: HashSet<Box<[u8]>, foldhash::fast::FixedState>,
    /// The key's fields in each version, by dataset id.
    versions: HashMap<u32, Vec<Field>>,
    texts: Vec<letters::KeyTexts>,
}

impl Target {
    /// The entities with these keys of the dataset that `definition` is a version of.
    pub fn new(id: String, definition: &Dataset, keys: Vec<Box<[u8]>>, ids: &Ids) -> Result<Target> {
        let same_key = |other: &Dataset| {
            let mine = definition.fields.keys().map(|f| (&f.name, f.data_type));
            other.name == definition.name && other.fields.keys().map(|f| (&f.name, f.data_type)).eq(mine)
        };
        let versions = ids.datasets.iter().enumerate().filter(|(_, other)| same_key(other));
        let versions = versions.map(|(id, other)| (id as u32, other.fields.keys().cloned().collect()));
        let texts = keys.iter().map(|key| Ok(letters::KeyTexts::of(&EntityKey::decode(key)?)));
        Ok(Target {
            id,
            dataset: definition.name.clone(),
            versions: versions.collect(),
            texts: texts.collect::<Result<_>>()?,
            known: keys.iter().cloned().collect(),
            keys,
        })
    }

    /// Whether a dataset id is one of its versions.
    pub fn concerns(&self, dataset: u32) -> bool {
        self.versions.contains_key(&dataset)
    }

    /// Which rows of a batch are theirs; `None` when none is.
    pub fn rows(&self, dataset: u32, batch: &RecordBatch) -> Result<Option<BooleanArray>> {
        let Some(fields) = self.versions.get(&dataset).filter(|_| batch.num_rows() > 0) else {
            return Ok(None);
        };
        let keys = encode_keys(fields, batch)?;
        let theirs: BooleanArray =
            (0..batch.num_rows()).map(|row| Some(self.known.contains(keys.get(row)))).collect();
        Ok((theirs.true_count() > 0).then_some(theirs))
    }

    /// Whether a dead letter is theirs.
    pub fn owns(&self, dataset: u32, letter: &DeadLetter) -> bool {
        let Some(fields) = self.versions.get(&dataset) else { return false };
        match letters::key_of(fields, &letter.raw) {
            Some(found) => self.texts.iter().any(|texts| texts.are(&found)),
            None => self.texts.iter().any(|texts| texts.are_in(letter)),
        }
    }
}
