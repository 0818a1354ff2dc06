//! Earlier definitions again, as a commit on top.

use super::featureset::names_of_removed;
use super::{Change, ChangeKind, Effect, Given, Plan, diff};
use crate::definition::document::{Dataset, Document, Feature, Featureset};
use crate::error::{Error, ErrorKind, Fault, Result};

/// Plans to make the definitions of an earlier commit hold again over the present ones. Versions may go back. What was
/// removed or retired since stays so: a feature's id is never given again, and an ended name does not come back. What
/// was added since is served no more, except for fields of raw datasets, which their events have.
///
/// # Errors
/// Conflict with one fault for each feature and name that was ended since, and for each version of a raw dataset that
/// was given to another definition.
pub fn rollback(current: &Document, earlier: &Document, given: &Given) -> Result<Plan> {
    let mut next = earlier.clone();
    let mut faults = Vec::new();
    for dataset in &mut next.datasets {
        let now = current.datasets.iter().find(|d| d.name == dataset.name && d.version == dataset.version);
        now.into_iter().for_each(|now| keep_fields(dataset, now));
        faults.extend(given.keep_fields(dataset).err());
    }
    for set in &mut next.featuresets {
        if let Some(now) = current.featureset(&set.name) {
            keep_ended(set, now, &mut faults);
        }
    }
    // One that came since is gone, and its ids with it: it stays as the place where they are known.
    let added = current.featuresets.iter().filter(|set| earlier.featureset(&set.name).is_none());
    next.featuresets.extend(added.map(|set| {
        let mut emptied = Featureset { features: Vec::new(), extractors: Vec::new(), ..set.clone() };
        retire_ids(&mut emptied, set);
        emptied
    }));
    let Some(first) = faults.first() else {
        let mut changes = diff(current, &next);
        changes.extend(kept(earlier, &next));
        return Ok(Plan { next, changes });
    };
    let detail = format!("{} ({} in all)", first.message, faults.len());
    Err(Error::new(ErrorKind::Conflict, detail).with_faults(faults))
}

/// Fields that stay although the earlier commit did not have them.
fn kept(earlier: &Document, next: &Document) -> Vec<Change> {
    let mut found = Vec::new();
    for dataset in &next.datasets {
        let before = earlier.datasets.iter().find(|d| d.name == dataset.name);
        for field in before.into_iter().flat_map(|before| {
            dataset.fields.fields.iter().filter(|field| before.fields.field(&field.name).is_none())
        }) {
            let detail = "it stays: events have it; a new version of the dataset ends it".to_owned();
            let (kind, effect) = (ChangeKind::Unchanged, Effect::None);
            found.push(Change { kind, subject: format!("{}.{}", dataset.name, field.name), detail, effect });
        }
    }
    found
}

/// Events that were written with a field have it.
fn keep_fields(dataset: &mut Dataset, now: &Dataset) {
    if !now.is_derived() {
        dataset.fields = now.fields.clone();
    }
}

/// What was ended since stays ended.
fn keep_ended(set: &mut Featureset, now: &Featureset, faults: &mut Vec<Fault>) {
    let mut fault = |subject: String, message: String| {
        faults.push(Fault { subject, message, ..Fault::default() });
    };
    let ended = |feature: &&Feature| feature.id.is_some_and(|id| now.retired_ids.contains(&id));
    for feature in set.features.iter().filter(ended) {
        let (name, id) = (&feature.name, feature.id.unwrap_or_default());
        let subject = format!("{}.{name}", set.name);
        let message = format!(
            "{subject} has the id {id}, which was removed since, and ids are never given again; commit the earlier definitions with a new id for it instead"
        );
        fault(subject, message);
    }
    // Of a feature that is removed it was said above.
    let retired = now.retired_names.iter().filter(|name| !now.retired_ids.contains(&name.id));
    for retired in retired.filter(|name| !set.retired_names.contains(name)) {
        let is_back = |f: &&Feature| f.name == retired.name || f.former_names.contains(&retired.name);
        if let Some(feature) = set.features.iter().find(is_back)
            && feature.id == Some(retired.id)
        {
            let subject = format!("{}.{}", set.name, retired.name);
            let message = format!(
                "{subject} was retired at commit {} and does not come back; commit the earlier definitions with the present name instead",
                retired.commit
            );
            fault(subject, message);
        }
    }
    keep_names(set, now);
    let known = set.retired_names.clone();
    set.retired_names.extend(now.retired_names.iter().filter(|name| !known.contains(name)).cloned());
    set.retired_names.extend(names_of_removed(now, set));
    retire_ids(set, now);
}

/// Names that features had in between go on answering.
fn keep_names(set: &mut Featureset, now: &Featureset) {
    let taken: Vec<String> = set.features.iter().map(|f| f.name.clone()).collect();
    for feature in &mut set.features {
        let Some(since) = feature.id.and_then(|id| now.by_id(id)) else { continue };
        for name in since.former_names.iter().chain([&since.name]) {
            if !taken.contains(name) && !feature.former_names.contains(name) {
                feature.former_names.push(name.clone());
            }
        }
    }
}

/// The ids that `set` does not have any more.
fn retire_ids(set: &mut Featureset, now: &Featureset) {
    let gone = now.features.iter().filter_map(|f| f.id).filter(|id| set.by_id(*id).is_none());
    let mut ids: Vec<u32> =
        gone.chain(now.retired_ids.iter().copied()).chain(set.retired_ids.clone()).collect();
    ids.sort_unstable();
    ids.dedup();
    set.retired_ids = ids;
}
