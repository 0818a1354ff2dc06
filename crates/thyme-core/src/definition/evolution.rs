//! What a commit changes: from what is committed and what is proposed to what will be there.
//!
//! A proposal upserts: what it does not mention stays. What only describes or tunes is changed in
//! place; a change of meaning needs a higher version or a new feature id, and is refused without.

mod dataset;
mod derived;
mod featureset;
mod given;
mod join;
mod retire;
mod rollback;

pub use given::Given;
pub use retire::{retire, retire_version};
pub use rollback::rollback;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use super::document::{Dataset, Document, FORMAT, Meta, Pipeline, Place};
use super::naming::{unversioned, versioned};
use crate::error::{Error, ErrorKind, Fault, Result};

/// What will be there after a commit, and how it differs from what is.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// All definitions after the commit, with all feature ids given.
    pub next: Document,
    /// One for each definition the proposal mentions, and for each member of it.
    pub changes: Vec<Change>,
}

impl Plan {
    /// How many of the changes are of this kind.
    pub fn count(&self, kind: ChangeKind) -> usize {
        self.changes.iter().filter(|c| c.kind == kind).count()
    }
}

/// What happens to one definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What.
    pub kind: ChangeKind,
    /// To which: `Ride`, `DriverStats.compute`, `DriverFeatures.score`.
    pub subject: String,
    /// How, in words; empty if there is nothing to add.
    pub detail: String,
    /// What it means for what is served.
    pub effect: Effect,
}

/// What a change means for what is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Nothing changes.
    None,
    /// It applies at once; what is served goes on as it was.
    InPlace,
    /// It is filled from the log before the commit answers; what else is served goes on meanwhile.
    Backfill,
    /// It is not answered any more.
    Ends,
}

/// The kinds of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It stays and differs.
    Changed,
    /// A member of a featureset or a dataset is no longer there.
    Removed,
    /// It is the same.
    Unchanged,
}

impl ChangeKind {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            ChangeKind::Added => "added",
            ChangeKind::Changed => "changed",
            ChangeKind::Removed => "removed",
            ChangeKind::Unchanged => "unchanged",
        }
    }
}

/// Plans the commit of `proposed` over `current`, after the commits that `given` knows. Both are valid.
///
/// # Errors
/// A Conflict with one fault for each change of meaning that lacks a version bump or a new feature
/// id, for each version that goes back or was given to something else, and for each reuse of a retired id.
pub fn plan(current: &Document, proposed: &Document, given: &Given) -> Result<Plan> {
    let mut plan = Draft::default();
    let mut next = current.clone();
    next.format = FORMAT;

    let mut superseded = Vec::new();
    let mut at: HashMap<&str, usize> = positions(current.datasets.iter().map(|d| d.name.as_str()));
    for dataset in &proposed.datasets {
        let index = *at.entry(&dataset.name).or_insert(next.datasets.len());
        let mut merged = dataset::merge(current.datasets.get(index), dataset, &mut plan);
        given.dataset(current.datasets.get(index), &mut merged, &mut plan);
        let before = current.datasets.get(index).filter(|d| d.is_derived() && d.version < merged.version);
        superseded.extend(before.cloned());
        put(&mut next.datasets, index, merged);
    }
    let names: Vec<(String, u32)> = superseded.iter().map(|old| (old.name.clone(), old.version)).collect();
    for old in superseded {
        next.datasets.push(supersede(old, &mut plan));
    }
    names.iter().for_each(|(name, version)| derived::follow(&mut next, name, *version));
    derived::check(current, &next, &mut plan);
    join::check(current, &next, &mut plan);
    let mut at: HashMap<&str, usize> = positions(current.featuresets.iter().map(|f| f.name.as_str()));
    for featureset in &proposed.featuresets {
        let index = *at.entry(&featureset.name).or_insert(next.featuresets.len());
        let sets = featureset::Sets { current, proposed };
        let merged = featureset::merge(current.featuresets.get(index), featureset, sets, &mut plan);
        put(&mut next.featuresets, index, merged);
    }
    for featureset in &proposed.featuresets {
        if let Some(merged) = next.featureset(&featureset.name) {
            given.extractors(current.featureset(&featureset.name), merged, &next, &mut plan);
        }
    }
    plan.finish(next)
}

/// What is different in `is` from `was`, two states of the same definitions, whether or not one could be
/// committed over the other.
pub fn diff(was: &Document, is: &Document) -> Vec<Change> {
    let mut draft = Draft { compares: true, ..Draft::default() };
    let named = |document: &'_ Document, name: &str| document.datasets.iter().any(|d| d.name == name);
    for dataset in &is.datasets {
        let before = was.datasets.iter().find(|d| d.name == dataset.name);
        match before.is_none() && dataset.name != unversioned(&dataset.name) {
            true => drop(supersede(
                Dataset { name: unversioned(&dataset.name).to_owned(), ..dataset.clone() },
                &mut draft,
            )),
            false => drop(dataset::merge(before, dataset, &mut draft)),
        }
    }
    let sets = featureset::Sets { current: was, proposed: is };
    for featureset in &is.featuresets {
        featureset::merge(was.featureset(&featureset.name), featureset, sets, &mut draft);
        retire::compare(was.featureset(&featureset.name), featureset, &mut draft);
    }
    let gone = was.datasets.iter().filter(|d| !named(is, &d.name)).map(|d| &d.name);
    let sets = was.featuresets.iter().filter(|f| is.featureset(&f.name).is_none()).map(|f| &f.name);
    for name in gone.chain(sets) {
        draft.change(ChangeKind::Removed, name, "");
    }
    let refused = draft.conflicts.into_iter().map(|fault| Change {
        kind: ChangeKind::Changed,
        subject: fault.subject,
        detail: format!("{} -> {}", fault.expected, fault.got),
        effect: Effect::InPlace,
    });
    let mut changes: Vec<Change> =
        draft.changes.into_iter().filter(|c| c.kind != ChangeKind::Unchanged).collect();
    let known: HashSet<String> = changes.iter().map(|c| c.subject.clone()).collect();
    // What has no other words is said by what would be refused.
    changes.extend(refused.filter(|c| !known.contains(&c.subject)));
    changes
}

/// The version of a derived dataset before a new one: it goes on answering by its name and version, until it is
/// retired.
fn supersede(old: Dataset, draft: &mut Draft) -> Dataset {
    let name = versioned(&old.name, old.version);
    draft.change(ChangeKind::Added, &name, format!("{} goes on answering until it is retired", old.name));
    Dataset { name, ..old }
}

fn positions<'a>(names: impl Iterator<Item = &'a str>) -> HashMap<&'a str, usize> {
    names.enumerate().map(|(i, name)| (name, i)).collect()
}

fn put<T>(list: &mut Vec<T>, index: usize, item: T) {
    match list.get_mut(index) {
        Some(old) => *old = item,
        None => list.push(item),
    }
}

/// The changes and conflicts found so far.
#[derive(Default)]
struct Draft {
    /// Whether two states are compared, either of which may be the later one.
    compares: bool,
    changes: Vec<Change>,
    conflicts: Vec<Fault>,
}

impl Draft {
    fn change(&mut self, kind: ChangeKind, subject: impl Into<String>, detail: impl Into<String>) {
        let effect = match kind {
            ChangeKind::Unchanged => Effect::None,
            ChangeKind::Added | ChangeKind::Changed => Effect::InPlace,
            ChangeKind::Removed => Effect::Ends,
        };
        self.changes.push(Change { kind, subject: subject.into(), detail: detail.into(), effect });
    }

    /// What was noted last is filled from the log.
    fn filled(&mut self) {
        if let Some(last) = self.changes.last_mut().filter(|c| c.effect == Effect::InPlace) {
            last.effect = Effect::Backfill;
        }
    }

    /// Changed in these ways, or not at all.
    fn changed(&mut self, subject: impl Into<String>, details: &[String]) {
        let kind = if details.is_empty() { ChangeKind::Unchanged } else { ChangeKind::Changed };
        self.change(kind, subject, details.join("; "));
    }

    /// Whether something is refused of a pipeline already, or of its dataset.
    fn refuses(&self, dataset: &Dataset, pipeline: &Pipeline) -> bool {
        let own = format!("{}.{}", dataset.name, pipeline.name);
        self.conflicts.iter().any(|fault| fault.subject == own || fault.subject == dataset.name)
    }

    /// A conflict: `was` is committed, `is` proposed.
    fn conflict(&mut self, place: &Place, subject: &str, was: String, is: String, message: String) {
        self.conflicts.push(Fault {
            row: None,
            subject: subject.to_owned(),
            expected: was,
            got: is,
            message,
            file: (!place.file.is_empty()).then(|| place.file.clone()),
            line: (place.line > 0).then_some(place.line),
        });
    }

    fn finish(self, next: Document) -> Result<Plan> {
        let Some(first) = self.conflicts.first() else {
            return Ok(Plan { next, changes: self.changes });
        };
        let more = match self.conflicts.len() - 1 {
            0 => String::new(),
            1 => " (and one more conflict)".to_owned(),
            n => format!(" (and {n} more conflicts)"),
        };
        let detail = format!("{}{more}", first.message);
        Err(Error::new(ErrorKind::Conflict, detail).with_faults(self.conflicts))
    }
}

/// `what: was -> is`, if they differ.
fn difference<T: PartialEq>(what: &str, was: &T, is: &T, show: impl Fn(&T) -> String) -> Option<String> {
    (was != is).then(|| format!("{what}: {} -> {}", show(was), show(is)))
}

fn show_option<T: ToString>(value: &Option<T>) -> String {
    value.as_ref().map_or_else(|| "none".to_owned(), T::to_string)
}

/// `metadata`, if the catalog keywords differ.
fn metadata(was: &Meta, is: &Meta) -> Option<String> {
    (was != is).then(|| "metadata".to_owned())
}
