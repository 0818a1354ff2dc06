//! The entities of a featureset, in the order of their keys, some at a time.

use std::sync::Arc;

use arrow::array::RecordBatch;
use thyme_core::key::encode_into;
use thyme_core::{DataType, EntityKey, Error, EventTime, Result, Value};
use thyme_engine::{Node, Snapshot};

use crate::column::ColumnBuffer;
use crate::plan::Plan;
use crate::reader::{Reader, to_batch};

/// Which entities of a featureset are asked for.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// Those that have an event which counts as of some time from here on.
    pub from: EventTime,
    /// After this one, as [`Population::next`] has it.
    pub after: Option<&'a [u8]>,
    /// At most so many.
    pub limit: usize,
}

/// Some of the entities of a featureset.
#[derive(Debug)]
pub struct Population {
    /// Their keys, a column each key field.
    pub keys: RecordBatch,
    /// The last of them, if there may be more.
    pub next: Option<Box<[u8]>>,
}

/// A node that has an entity's whole key, and for each part of that which part of the node's key it is.
type Keyed = (Arc<Node>, Vec<usize>);

impl Reader {
    /// Entities of a featureset: those with a row in a dataset that it reads by their whole key. They come by
    /// their key, field for field: numbers and times by value, text by its bytes.
    ///
    /// # Errors
    /// InvalidData: no dataset of it has the whole key. Gone: rows that decide it were removed.
    pub fn population(
        &self,
        snapshot: &Snapshot,
        featureset: &str,
        wanted: &Wanted<'_>,
    ) -> Result<Population> {
        let plan = self.plan(&snapshot.catalog, featureset)?;
        let mut first = First { limit: wanted.limit, after: wanted.after, kept: Vec::new(), full: false };
        for (node, parts) in keyed_by_all(snapshot, &plan)? {
            let mut failed = None;
            snapshot.each_entity(&node, wanted.from, &mut |key| {
                let ordered = EntityKey::decode(key).and_then(|values| ordered(&values, &parts));
                match ordered {
                    Ok(ordered) => first.add(ordered),
                    Err(error) => failed = Some(error),
                }
            })?;
            failed.map_or(Ok(()), Err)?;
        }
        let (kept, next) = first.finish();
        let mut columns: Vec<ColumnBuffer> =
            plan.entity.iter().map(|(_, kind)| ColumnBuffer::nulls(*kind, kept.len())).collect();
        for (row, key) in kept.iter().enumerate() {
            let mut rest = &**key;
            for (column, (_, kind)) in columns.iter_mut().zip(&plan.entity) {
                let (value, tail) = take(*kind, rest)?;
                column.set(row, value);
                rest = tail;
            }
        }
        let names = plan.entity.iter().map(|(name, _)| name.as_str());
        let keys = to_batch(names.zip(columns.iter().map(ColumnBuffer::to_arrow)))?;
        Ok(Population { keys, next })
    }
}

/// The nodes that a featureset reads by the whole of its entity's key: of the datasets that its features refer to,
/// and of those that its extractors look up whose keys are called so.
fn keyed_by_all(snapshot: &Snapshot, plan: &Plan) -> Result<Vec<Keyed>> {
    let mut found: Vec<Keyed> = Vec::new();
    for read in plan.reads.iter().filter(|read| read.key.len() == plan.entity.len()) {
        let place = |field| read.key.iter().position(|part| *part == field);
        if let Some(parts) = (0..plan.entity.len()).map(place).collect() {
            found.push((read.node.clone(), parts));
        }
    }
    let definition = snapshot.catalog.featureset(&plan.name)?;
    for dataset in definition.extractors.iter().flat_map(|extractor| &extractor.deps) {
        let live = snapshot.catalog.dataset(dataset)?;
        let keys: Vec<_> = live.definition.fields.keys().collect();
        let place = |(name, kind): &(String, DataType)| {
            keys.iter().position(|key| key.name == *name && key.data_type == *kind)
        };
        let parts: Option<Vec<usize>> = plan.entity.iter().map(place).collect();
        if let (Some(parts), Some(node)) = (parts.filter(|parts| parts.len() == keys.len()), &live.node)
            && found.iter().all(|(known, _)| known.id != node.id)
        {
            found.push((node.clone(), parts));
        }
    }
    if found.is_empty() {
        let names: Vec<&str> = plan.entity.iter().map(|(name, _)| name.as_str()).collect();
        return Err(Error::invalid_data(format!(
            "no dataset that {} reads has ({}) as its key, so nobody knows which entities there are; give rows with them",
            plan.name,
            names.join(", ")
        )));
    }
    Ok(found)
}

/// A key as bytes that are ordered as its values are.
type Ordered = Box<[u8]>;

/// The first keys of all that it is told of, in no more than twice their memory.
struct First<'a> {
    limit: usize,
    after: Option<&'a [u8]>,
    kept: Vec<Ordered>,
    /// Whether keys were left out, those after the last of `kept` as it was then.
    full: bool,
}

impl First<'_> {
    fn add(&mut self, key: Vec<u8>) {
        let behind = self.after.is_some_and(|after| *key <= *after);
        let beyond = self.full && self.kept.get(self.limit - 1).is_some_and(|last| *key >= **last);
        if behind || beyond {
            return;
        }
        self.kept.push(key.into_boxed_slice());
        if self.kept.len() >= self.limit.saturating_mul(2) {
            self.settle();
        }
    }

    fn settle(&mut self) {
        self.kept.sort_unstable();
        self.kept.dedup();
        self.full |= self.kept.len() > self.limit;
        self.kept.truncate(self.limit);
    }

    fn finish(mut self) -> (Vec<Ordered>, Option<Ordered>) {
        self.settle();
        let next = self.kept.last().filter(|_| self.full).cloned();
        (self.kept, next)
    }
}

/// Bytes of some parts of a key that are ordered as their values are.
fn ordered(values: &[Value], parts: &[usize]) -> Result<Vec<u8>> {
    let damaged = || Error::corrupt("an entity key has too few fields");
    let mut bytes = Vec::with_capacity(parts.len() * 12);
    for part in parts {
        match values.get(*part).ok_or_else(damaged)? {
            Value::Str(text) => {
                // A zero byte in a text is followed by another than the one that ends it.
                for byte in text.bytes() {
                    bytes.push(byte);
                    if byte == 0 {
                        bytes.push(u8::MAX);
                    }
                }
                bytes.extend([0, 0]);
            }
            Value::Int(v) | Value::Datetime(v) => bytes.extend((*v as u64 ^ SIGN).to_be_bytes()),
            Value::Float(v) => {
                let bits = v.to_bits();
                bytes.extend((if bits & SIGN == 0 { bits ^ SIGN } else { !bits }).to_be_bytes());
            }
            Value::Bool(v) => bytes.push(u8::from(*v)),
            Value::Date(v) => bytes.extend((i64::from(*v) as u64 ^ SIGN).to_be_bytes()),
            // No keys: this says so.
            other => encode_into(other, &mut bytes)?,
        }
    }
    Ok(bytes)
}

const SIGN: u64 = 1 << 63;

/// The first value in such bytes, and the rest of them.
fn take(kind: DataType, bytes: &[u8]) -> Result<(Value, &[u8])> {
    let damaged = || Error::internal("the ordered key of an entity is damaged");
    if kind == DataType::Str {
        let (mut text, mut rest) = (Vec::new(), bytes);
        loop {
            match rest {
                [0, 0, tail @ ..] => {
                    let text = String::from_utf8(text).map_err(|_| damaged())?;
                    return Ok((Value::Str(text.into()), tail));
                }
                [0, _, tail @ ..] => {
                    text.push(0);
                    rest = tail;
                }
                [byte, tail @ ..] => {
                    text.push(*byte);
                    rest = tail;
                }
                [] => return Err(damaged()),
            }
        }
    }
    if kind == DataType::Bool {
        let (byte, tail) = bytes.split_first().ok_or_else(damaged)?;
        return Ok((Value::Bool(*byte != 0), tail));
    }
    let (word, tail) = bytes.split_first_chunk::<8>().ok_or_else(damaged)?;
    let word = u64::from_be_bytes(*word);
    let value = match kind {
        DataType::Datetime => Value::Datetime((word ^ SIGN) as i64),
        DataType::Date => Value::Date((word ^ SIGN) as i64 as i32),
        DataType::Float => Value::Float(f64::from_bits(if word & SIGN == 0 { !word } else { word ^ SIGN })),
        _ => Value::Int((word ^ SIGN) as i64),
    };
    Ok((value, tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordered_bytes_are_ordered_as_the_values_and_give_them_again() {
        let texts = ["", "\0", "\0a", "a", "a\0", "ab", "b", "é", "\u{10ffff}"].map(|t| Value::Str(t.into()));
        let ints = [i64::MIN, -2, -1, 0, 1, i64::MAX].map(Value::Int);
        let floats = [f64::NEG_INFINITY, -1.5, -0.1, 0.0, 0.1, 1.5, f64::INFINITY].map(Value::Float);
        let bools = [false, true].map(Value::Bool);
        let kinds: [(DataType, &[Value]); 4] = [
            (DataType::Str, &texts),
            (DataType::Int, &ints),
            (DataType::Float, &floats),
            (DataType::Bool, &bools),
        ];
        for (kind, values) in kinds {
            for (other, others) in kinds {
                let pairs: Vec<Vec<u8>> = values
                    .iter()
                    .flat_map(|a| {
                        others.iter().map(move |b| ordered(&[b.clone(), a.clone()], &[1, 0]).unwrap())
                    })
                    .collect();
                assert!(pairs.is_sorted_by(|a, b| a < b), "{kind} {other}");
                for (bytes, index) in pairs.iter().zip(0..) {
                    let (a, rest) = take(kind, bytes).unwrap();
                    let (b, rest) = take(other, rest).unwrap();
                    assert_eq!((&a, &b), (&values[index / others.len()], &others[index % others.len()]));
                    assert!(rest.is_empty());
                }
            }
        }
    }

    #[test]
    fn the_first_keys_are_found_in_any_order_and_page_by_page() {
        let keys: Vec<Vec<u8>> = (0..100u32).map(|n| vec![(n * 37 % 100) as u8]).collect();
        for limit in [1, 7, 50, 99, 100, 101] {
            let (mut got, mut after) = (Vec::new(), None::<Ordered>);
            loop {
                let mut first = First { limit, after: after.as_deref(), kept: Vec::new(), full: false };
                keys.iter().chain(&keys).for_each(|key| first.add(key.clone()));
                let (kept, next) = first.finish();
                got.extend(kept.iter().map(|key| key[0]));
                after = next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(got, (0..100).collect::<Vec<u8>>(), "{limit}");
        }
    }
}
