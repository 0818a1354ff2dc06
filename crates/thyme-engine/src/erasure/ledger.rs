//! Who was erased, by keyed hash, so that a source that is read again does not bring them back.

use std::collections::HashMap;

use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use foldhash::fast::FixedState;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use thyme_core::definition::Dataset;
use thyme_core::key::{EntityKey, encode_into};
use thyme_core::{Error, Field, Result};
use thyme_log::Disk;

use super::letters;
use super::secret::{Secret, unhex};
use crate::catalog::{Ids, PUSH_STREAM};
use crate::decode::columns::event_times;
use crate::keys::encode_keys;
use crate::push::Push;
use crate::record::{DeadLetter, EraseRecord};

/// An erasure of the past; part of the checkpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Erased {
    pub id: String,
    pub dataset: String,
    /// Keyed hashes, hexadecimal.
    pub entities: Vec<String>,
    pub record: u64,
    pub stamp: i64,
}

impl Erased {
    /// The erasure that record `record` with stamp `stamp` is.
    pub fn new(record: u64, stamp: i64, erase: &EraseRecord) -> Erased {
        let EraseRecord { id, dataset, entities, .. } = erase.clone();
        Erased { id, dataset, entities, record, stamp }
    }
}

/// The last erasure of an entity.
#[derive(Clone, Copy, Debug)]
struct Until {
    record: u64,
    stamp: i64,
}

type Hashes = HashMap<[u8; 32], Until, FixedState>;

/// What a stream's rows are held against.
#[derive(Debug, Default)]
struct Known {
    /// The key's fields and the event time's name of each dataset id, with the dataset's name.
    datasets: HashMap<u32, (String, Vec<Field>, String)>,
    /// By dataset name: up to where an entity is erased.
    erased: HashMap<String, Hashes>,
    records: Vec<u64>,
}

/// The erasures so far, as whoever writes the log sees them.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    secret: RwLock<Option<Secret>>,
    known: RwLock<Known>,
}

impl Ledger {
    /// Of an engine with this progress, whose secret is beside the log.
    ///
    /// # Errors
    /// A secret that cannot be read.
    pub fn open(disk: Option<&dyn Disk>, ids: &Ids, erased: &[Erased]) -> Result<Ledger> {
        let ledger = Ledger::default();
        *ledger.secret.write() = disk.map(Secret::load).transpose()?.flatten();
        ledger.learn(ids);
        for erased in erased {
            ledger.add(erased)?;
        }
        Ok(ledger)
    }

    /// The secret; makes one if there is none.
    pub fn secret(&self, disk: Option<&dyn Disk>) -> Result<Secret> {
        let mut secret = self.secret.write();
        if secret.is_none() {
            *secret = Some(Secret::create(disk)?);
        }
        secret.clone().ok_or_else(|| Error::internal("there is no secret for erasures"))
    }

    /// Learns what datasets there are.
    pub fn learn(&self, ids: &Ids) {
        let of = |d: &Dataset| {
            let time = d.fields.timestamp().map(|f| f.name.clone()).unwrap_or_default();
            (d.name.clone(), d.fields.keys().cloned().collect(), time)
        };
        let datasets = ids.datasets.iter().enumerate().map(|(id, d)| (id as u32, of(d)));
        self.known.write().datasets = datasets.collect();
    }

    /// Remembers an erasure.
    ///
    /// # Errors
    /// The secret is lost: erased entities could not be told from others.
    pub fn add(&self, erased: &Erased) -> Result<()> {
        if self.secret.read().is_none() {
            return Err(Error::corrupt(
                "entities have been erased, but the file erase.key beside the log is missing, without which a source could bring them back; restore it from a backup",
            ));
        }
        let hashes = erased.entities.iter().filter_map(|hash| <[u8; 32]>::try_from(unhex(hash)?).ok());
        let mut known = self.known.write();
        let of = known.erased.entry(erased.dataset.clone()).or_default();
        hashes.for_each(|hash| {
            let Erased { record, stamp, .. } = *erased;
            let until = of.entry(hash).or_insert(Until { record, stamp });
            *until = Until { record: record.max(until.record), stamp: stamp.max(until.stamp) };
        });
        if !known.records.contains(&erased.record) {
            known.records.push(erased.record);
        }
        Ok(())
    }

    /// How many erasures there have been after `record`.
    pub fn since(&self, record: u64) -> usize {
        self.known.read().records.iter().filter(|erasure| **erasure > record).count()
    }

    /// Takes out of a source's rows those of erased entities up to their erasures. What is pushed is new,
    /// also if it was a dead letter first, unless that was before the erasure. Gives how many were left out.
    ///
    /// # Errors
    /// Rows that are not of their dataset.
    pub fn screen(&self, push: &mut Push) -> Result<u64> {
        if *push.stream == *PUSH_STREAM {
            return Ok(0);
        }
        let known = self.known.read();
        let Some((name, fields, time)) = known.datasets.get(&push.dataset) else { return Ok(0) };
        let (Some(erased), Some(secret)) = (known.erased.get(name), self.secret.read().clone()) else {
            return Ok(0);
        };
        let keys = encode_keys(fields, &push.batch)?;
        let times = event_times(&push.batch, time)?;
        let new = |row: usize| {
            let until = erased.get(&secret.hash(name, keys.get(row)));
            until.is_none_or(|until| {
                let letter = push.letters.as_ref().and_then(|letters| letters.get(row));
                let is_later = times.value(row) > until.stamp;
                letter.map_or(is_later, |l| l.record > until.record && (l.is_pushed || is_later))
            })
        };
        let new: BooleanArray = (0..push.batch.num_rows()).map(|row| Some(new(row))).collect();
        let dropped = push.batch.num_rows() - new.true_count();
        if dropped > 0 {
            push.batch = filter_record_batch(&push.batch, &new)?;
        }
        let letters = push.dead_letters.len();
        push.dead_letters.retain(|letter| {
            !keys_in(fields, letter).iter().any(|key| erased.contains_key(&secret.hash(name, &key.0)))
        });
        Ok((dropped + letters - push.dead_letters.len()) as u64)
    }
}

/// The keys that a dead letter may be about: the one it names, or each of its words.
fn keys_in(fields: &[Field], letter: &DeadLetter) -> Vec<EntityKey> {
    let encode = |parts: &[&str]| {
        let mut bytes = Vec::new();
        for (field, part) in fields.iter().zip(parts) {
            encode_into(&letters::parsed(field.data_type, part)?, &mut bytes).ok()?;
        }
        (fields.len() == parts.len()).then(|| EntityKey(bytes.into()))
    };
    if let Some(parts) = letters::key_of(fields, &letter.raw) {
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        return encode(&parts).into_iter().collect();
    }
    let text = String::from_utf8_lossy(&letter.raw);
    let between = |c: char| c.is_whitespace() || ",;|\"'`{}[]()<>=".contains(c);
    let words = text.split(between).flat_map(|word| [word, word.trim_matches(':')]);
    words.filter(|word| !word.is_empty()).filter_map(|word| encode(&[word])).collect()
}
