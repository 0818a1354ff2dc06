//! The entity of a featureset: what a query names to get its features.

use std::collections::{HashMap, HashSet};

use super::document::{Dataset, Feature, Featureset};
use crate::error::{Error, Result};
use crate::value::DataType;

/// The name and type of one part of an entity key.
pub type EntityField = (String, DataType);

/// The entity key of a featureset: its fields in the order in which features bear their names, then
/// the others in order of appearance.
///
/// The fields are the keys of the datasets that its features refer to, and the keys of its extractors'
/// datasets that a plain feature names. (An extractor may look rows up by keys that it computes, so
/// the other keys of its datasets count only where nothing else says what the entity is.) A featureset
/// without datasets has its plain features as the entity.
///
/// # Errors
/// Datasets, or a dataset and a feature, that disagree on the type of a field.
pub fn entity_fields<'a>(
    featureset: &Featureset,
    dataset: &impl Fn(&str) -> Option<&'a Dataset>,
) -> Result<Vec<EntityField>> {
    let referred =
        keys_of(featureset.features.iter().filter_map(|f| f.reference.as_ref()).map(|r| &r.dataset), dataset);
    let looked_up = keys_of(featureset.extractors.iter().flat_map(|e| &e.deps), dataset);

    let outputs: HashSet<&str> =
        featureset.extractors.iter().flat_map(|e| &e.outputs).map(String::as_str).collect();
    let (plain, given): (Vec<&Feature>, Vec<&Feature>) = featureset
        .features
        .iter()
        .partition(|f| f.reference.is_none() && !f.request && !outputs.contains(f.name.as_str()));
    let is_named = |key: &&Key| plain.iter().any(|f| f.name == key.name);
    let is_given = |key: &&Key| given.iter().any(|f| f.name == key.name);

    let mut keys: Vec<Key> = referred.iter().chain(looked_up.iter().filter(is_named)).cloned().collect();
    if keys.is_empty() {
        keys = looked_up.iter().filter(|k| !is_given(k)).cloned().collect();
    }
    if keys.is_empty() {
        return Ok(plain.iter().map(|f| (f.name.clone(), f.data_type)).collect());
    }
    check_types(featureset, &keys, &plain)?;

    let declared = |name: &str| featureset.features.iter().position(|f| f.name == name).unwrap_or(usize::MAX);
    let mut fields: Vec<EntityField> = Vec::new();
    for key in keys {
        if fields.iter().all(|(name, _)| *name != key.name) {
            fields.push((key.name, key.data_type));
        }
    }
    fields.sort_by_key(|(name, _)| declared(name));
    Ok(fields)
}

/// A key field of a dataset.
#[derive(Clone, Debug)]
struct Key {
    name: String,
    data_type: DataType,
    dataset: String,
}

/// The key fields of the datasets called `names`, each dataset once; unknown ones have none.
fn keys_of<'a, 'n>(
    names: impl Iterator<Item = &'n String>,
    dataset: &impl Fn(&str) -> Option<&'a Dataset>,
) -> Vec<Key> {
    let mut keys: Vec<Key> = Vec::new();
    let mut seen = HashSet::new();
    for found in names.filter(|name| seen.insert(*name)).filter_map(|name| dataset(name)) {
        keys.extend(found.fields.keys().map(|field| Key {
            name: field.name.clone(),
            data_type: field.data_type,
            dataset: found.name.clone(),
        }));
    }
    keys
}

fn check_types(featureset: &Featureset, keys: &[Key], plain: &[&Feature]) -> Result<()> {
    let mut first: HashMap<&str, &Key> = HashMap::new();
    for key in keys {
        let earlier = *first.entry(&key.name).or_insert(key);
        if earlier.data_type != key.data_type {
            return Err(Error::invalid_definition(format!(
                "featureset {} has no entity: its key {} is {} in {} and {} in {}; give both datasets the same type",
                featureset.name, key.name, earlier.data_type, earlier.dataset, key.data_type, key.dataset
            )));
        }
    }
    for feature in plain {
        if let Some(key) = first.get(feature.name.as_str())
            && key.data_type != feature.data_type
        {
            return Err(Error::invalid_definition(format!(
                "{}.{} is the entity key and declared {}, and the key {} of {} is {}; declare it {}",
                featureset.name,
                feature.name,
                feature.data_type,
                key.name,
                key.dataset,
                key.data_type,
                key.data_type
            )));
        }
    }
    Ok(())
}
