//! The end of an old name.

use super::{Change, ChangeKind, Draft, Effect, Plan};
use crate::definition::document::{Document, Featureset, Pipeline, RetiredName};
use crate::error::{Error, ErrorKind, Result};

/// Plans the retirement of `name`, a former name of a feature: from then on it answers no more. Of a name that
/// is retired already it is a plan that changes nothing.
///
/// # Errors
/// NotFound: no such featureset or name. Conflict: it is the feature's present name, or an extractor takes the
/// feature by it.
pub fn retire(current: &Document, featureset: &str, name: &str) -> Result<Plan> {
    let known = current.featuresets.iter();
    let index = known
        .clone()
        .position(|f| f.name == featureset)
        .ok_or_else(|| Error::not_found("featureset", featureset, known.map(|f| f.name.as_str())))?;
    let mut next = current.clone();
    let set = &mut next.featuresets[index];
    let subject = format!("{featureset}.{name}");
    if let Some(present) = set.features.iter().find(|f| f.name == name) {
        let id = present.id.unwrap_or(0);
        return Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "{subject} is the present name of the feature with the id {id}; only names that it had before are retired: to end the feature, remove it from the class and commit"
            ),
        ));
    }
    let Some(feature) = set.features.iter_mut().find(|f| f.former_names.iter().any(|n| n == name)) else {
        return match set.retired_name(name) {
            Some(retired) => {
                let detail = format!("retired already, at commit {}", retired.commit);
                let change = Change { kind: ChangeKind::Unchanged, subject, detail, effect: Effect::None };
                Ok(Plan { next, changes: vec![change] })
            }
            None => Err(unknown(set, name)),
        };
    };
    feature.former_names.retain(|n| n != name);
    let (id, now) = (feature.id.unwrap_or(0), feature.name.clone());
    set.retired_names.push(RetiredName { name: name.to_owned(), id, commit: String::new() });
    refuse_in_use(current, featureset, name, &now)?;
    let detail = format!("retired; the feature with the id {id} answers as {now}");
    let change = Change { kind: ChangeKind::Removed, subject, detail, effect: Effect::Ends };
    Ok(Plan { next, changes: vec![change] })
}

/// Notes the names that are retired in `is` and not in `was`.
pub(super) fn compare(was: Option<&Featureset>, is: &Featureset, draft: &mut Draft) {
    let before = was.map_or(&[][..], |set| set.retired_names.as_slice());
    let of_features = is.retired_names.iter().filter(|name| is.by_id(name.id).is_some());
    for retired in of_features.filter(|name| !before.contains(name)) {
        let detail = format!("retired; it was a name of the feature with the id {}", retired.id);
        draft.change(ChangeKind::Removed, format!("{}.{}", is.name, retired.name), detail);
    }
}

/// Plans the retirement of a version of a derived dataset that a newer one has superseded.
///
/// # Errors
/// NotFound: there is no such version. Conflict: it is the present one, or a feature, a pipeline or an extractor
/// reads it.
pub fn retire_version(current: &Document, name: &str) -> Result<Plan> {
    let mut next = current.clone();
    let Some(index) = next.datasets.iter().position(|d| d.name == name) else {
        let present = current.dataset(name).map(|d| {
            Error::new(
                ErrorKind::Conflict,
                format!(
                    "{name} is the present version of {}; only versions that a newer one follows are retired",
                    d.name
                ),
            )
        });
        let known = || current.datasets.iter().map(|d| d.name.as_str());
        return Err(present.unwrap_or_else(|| Error::not_found("version", name, known())));
    };
    next.datasets.remove(index);
    let features = current.featuresets.iter().flat_map(|set| {
        let refs = set.features.iter().filter(|f| f.reference.as_ref().is_some_and(|r| r.dataset == name));
        let looking = set.extractors.iter().filter(|e| e.deps.iter().any(|d| d == name)).map(|e| &e.name);
        refs.map(|f| &f.name).chain(looking).map(|member| format!("{}.{member}", set.name))
    });
    let reads = |p: &&Pipeline| p.reads().any(|read| read == name);
    let pipelines = current.datasets.iter().flat_map(|d| {
        d.pipelines.iter().filter(reads).map(|pipeline| format!("{}.{}", d.name, pipeline.name))
    });
    let readers: Vec<String> = features.chain(pipelines).collect();
    if let [first, ..] = readers.as_slice() {
        return Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "{name} cannot be retired: {first} reads it ({} in all); commit it with another version first",
                readers.len()
            ),
        ));
    }
    let change = Change {
        kind: ChangeKind::Removed,
        subject: name.to_owned(),
        detail: "retired; its events stay in the log".to_owned(),
        effect: Effect::Ends,
    };
    Ok(Plan { next, changes: vec![change] })
}

fn unknown(set: &Featureset, name: &str) -> Error {
    let old: Vec<&str> = set.former_names().map(|(name, _)| name).collect();
    let detail = match old.as_slice() {
        [] => format!("{}.{name}: no feature of {} has an old name", set.name, set.name),
        old => format!("{}.{name} is no old name of a feature; old names are {}", set.name, old.join(", ")),
    };
    Error::new(ErrorKind::NotFound, detail)
}

/// An extractor that takes the feature by the old name would find nothing.
fn refuse_in_use(current: &Document, featureset: &str, name: &str, now: &str) -> Result<()> {
    for set in &current.featuresets {
        for extractor in &set.extractors {
            let taken = |i: &&crate::definition::FeatureRef| {
                i.featureset.as_deref().unwrap_or(&set.name) == featureset && i.feature == name
            };
            if extractor.inputs.iter().any(|input| taken(&input)) {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!(
                        "{featureset}.{name} cannot be retired: the extractor {}.{} takes the feature by this name; commit it with {now} first",
                        set.name, extractor.name
                    ),
                ));
            }
        }
    }
    Ok(())
}

impl Document {
    /// Fills in which commit retired the names that say nothing yet: this one.
    pub fn retired_by(&mut self, commit: &str) {
        let names = self.featuresets.iter_mut().flat_map(|f| &mut f.retired_names);
        names.filter(|n| n.commit.is_empty()).for_each(|n| n.commit = commit.to_owned());
    }
}
