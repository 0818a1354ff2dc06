//! Which features a commit touches: those that are new or say something else, and all that follow from them.

use std::collections::HashMap;

use thyme_core::definition::{AggregateDef, Document, Extractor, Feature, FeatureRef, Featureset, growth};
use thyme_core::{DataType, Result};
use thyme_engine::trial::Trial;

/// How a commit touches a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// Its id was never used.
    Added,
    /// It says something else, or what it reads does.
    Changed,
    /// It is made of features or lookups that are touched.
    Downstream,
}

impl Touch {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Touch::Added => "added",
            Touch::Changed => "changed",
            Touch::Downstream => "downstream",
        }
    }
}

/// A feature that a commit touches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touched {
    /// Its featureset.
    pub featureset: String,
    /// Its name after the commit.
    pub feature: String,
    /// Its id.
    pub id: u32,
    /// Its type after the commit.
    pub data_type: DataType,
    /// Its name and type before, if it was there.
    pub before: Option<(String, DataType)>,
    /// How.
    pub touch: Touch,
    /// Why, in words.
    pub because: String,
    /// Its place among the touched ones.
    pub place: usize,
}

/// The features that the commit touches, in the order of the definitions.
///
/// # Errors
/// A definition that validation should have refused.
pub fn touched(trial: &Trial) -> Result<Vec<Touched>> {
    let (was, is) = (&trial.live().catalog.document, &trial.catalog().document);
    let mut finder = Finder { trial, was, is, known: HashMap::new() };
    let mut all = Vec::new();
    for featureset in &is.featuresets {
        // What a caller gives, the key included, has no value of its own.
        let made =
            |feature: &&Feature| feature.reference.is_some() || featureset.giver(&feature.name).is_some();
        for feature in featureset.features.iter().filter(|f| !f.request).filter(made) {
            let Some((touch, because)) = finder.touch(featureset, feature, 0) else { continue };
            let before = before(was, &featureset.name, feature).map(|f| (f.name.clone(), f.data_type));
            all.push(Touched {
                featureset: featureset.name.clone(),
                feature: feature.name.clone(),
                id: feature.id.unwrap_or(0),
                data_type: feature.data_type,
                before,
                touch,
                because,
                place: all.len(),
            });
        }
    }
    Ok(all)
}

/// What a feature was, by its id.
fn before<'a>(was: &'a Document, featureset: &str, feature: &Feature) -> Option<&'a Feature> {
    was.featureset(featureset)?.features.iter().find(|f| f.id == feature.id)
}

struct Finder<'a> {
    trial: &'a Trial,
    was: &'a Document,
    is: &'a Document,
    known: HashMap<(&'a str, &'a str), Option<(Touch, String)>>,
}

/// Deeper than extractors may be nested.
const DEPTH_MAX: usize = 256;

impl<'a> Finder<'a> {
    fn touch(&mut self, set: &'a Featureset, feature: &'a Feature, depth: usize) -> Option<(Touch, String)> {
        let key = (set.name.as_str(), feature.name.as_str());
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        if depth > DEPTH_MAX {
            return None;
        }
        let found = self.find(set, feature, depth);
        self.known.insert(key, found.clone());
        found
    }

    fn find(&mut self, set: &'a Featureset, feature: &'a Feature, depth: usize) -> Option<(Touch, String)> {
        let Some(old) = before(self.was, &set.name, feature) else {
            return Some((Touch::Added, "it is new".into()));
        };
        let says = (&old.reference, &old.default, old.data_type, old.request);
        if says != (&feature.reference, &feature.default, feature.data_type, feature.request) {
            return Some((Touch::Changed, "it says something else".into()));
        }
        if self.was.featureset(&set.name).and_then(|was| was.max_age_of(old)) != set.max_age_of(feature) {
            return Some((Touch::Changed, "its values may be of another age".into()));
        }
        if let Some(reference) = &feature.reference {
            let (dataset, field) = (&reference.dataset, &reference.field);
            if self.is_filled(dataset) {
                return Some((Touch::Changed, format!("{dataset} is filled anew")));
            }
            let differs = self.computes_otherwise(dataset, |output| output == field);
            return differs.then(|| (Touch::Changed, format!("{dataset}.{field} is computed otherwise")));
        }
        let extractor = set.giver(&feature.name)?;
        let old_set = self.was.featureset(&set.name)?;
        if old_set.giver(&old.name).is_none_or(|old| !is_same(old, extractor)) {
            return Some((Touch::Changed, format!("the extractor {} says something else", extractor.name)));
        }
        for FeatureRef { featureset: other, feature: input } in &extractor.inputs {
            let of = match other {
                None => set,
                Some(name) => self.is.featureset(name)?,
            };
            let taken = of.feature(input)?;
            if self.touch(of, taken, depth + 1).is_some() {
                return Some((Touch::Downstream, format!("{} takes {}.{input}", extractor.name, of.name)));
            }
        }
        let differs = |dataset: &str| self.is_filled(dataset) || self.computes_otherwise(dataset, |_| true);
        let looked_up = extractor.deps.iter().find(|dataset| differs(dataset))?;
        Some((Touch::Downstream, format!("{} looks up {looked_up}", extractor.name)))
    }

    /// Whether outputs that were there are of other aggregates now, over the same timelines.
    fn computes_otherwise(&self, dataset: &str, is_meant: impl Fn(&str) -> bool) -> bool {
        let of = |document: &'a Document| document.dataset(dataset)?.pipelines.first();
        let (Some(was), Some(is)) = (of(self.was), of(self.is)) else { return false };
        let meaning = |a: &AggregateDef| (growth::kept(a), a.window, a.default.clone());
        let meant = was.aggregates().filter(|aggregate| is_meant(&aggregate.name));
        meant.into_iter().any(|old| {
            is.aggregates().find(|new| new.name == old.name).is_some_and(|new| meaning(new) != meaning(old))
        })
    }

    /// Whether a dataset has another node after the commit than before.
    fn is_filled(&self, dataset: &str) -> bool {
        let node = self.trial.catalog().dataset(dataset).ok().and_then(|live| live.node.as_ref());
        let old = self.trial.live().catalog.dataset(dataset).ok().and_then(|live| live.node.as_ref());
        node.map(|node| node.id) != old.map(|node| node.id)
    }
}

/// Whether two extractors give the same, but for what they take.
fn is_same(old: &Extractor, new: &Extractor) -> bool {
    let says = |e: &Extractor| (e.code.clone(), e.expr.clone(), e.deps.clone(), e.form, e.version);
    says(old) == says(new) && old.outputs.len() == new.outputs.len() && old.inputs.len() == new.inputs.len()
}
