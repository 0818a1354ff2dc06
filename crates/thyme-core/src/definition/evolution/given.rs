//! What earlier commits gave names and versions to. A name and a version mean one thing for good: the log's records
//! follow it, and whoever noted it down means that.

use std::collections::BTreeMap;

use super::dataset::{self, in_order_of};
use super::{Draft, difference, show_option};
use crate::definition::document::{
    Dataset, Document, Extractor, FeatureRef, Featureset, Form, OperatorDef, Pipeline, Place,
};
use crate::definition::naming::{unversioned, versioned};
use crate::definition::{growth, show};
use crate::error::Fault;
use crate::expr::Expr;
use crate::time::EventTime;

/// Every name and version that commits gave, each as it was committed last.
#[derive(Clone, Debug, Default)]
pub struct Given {
    datasets: BTreeMap<(String, u32), (Dataset, By)>,
    /// By dataset, its version, name and version.
    pipelines: BTreeMap<(String, u32, String, u32), (Dataset, By)>,
    /// By featureset, name and version.
    extractors: BTreeMap<(String, String, u32), (Said, By)>,
}

/// The commit that gave it first.
#[derive(Clone, Debug)]
struct By {
    commit: String,
    stamp: i64,
}

/// What an extractor says.
#[derive(Clone, Debug)]
struct Said {
    inputs: Vec<Taken>,
    outputs: Vec<Taken>,
    deps: Vec<String>,
    form: Form,
    vectorized: bool,
    code: String,
    /// With the places of its inputs for their names.
    expr: Option<Expr>,
}

/// A feature as an extractor takes or gives it.
#[derive(Clone, Debug)]
struct Taken {
    featureset: String,
    feature: String,
    id: Option<u32>,
}

impl Given {
    /// Learns what a commit gave; commits come in the order of the log.
    pub fn learn(&mut self, commit: &str, stamp: i64, document: &Document) {
        let by = By { commit: commit.to_owned(), stamp };
        for dataset in &document.datasets {
            let name = unversioned(&dataset.name).to_owned();
            for pipeline in &dataset.pipelines {
                let key = (name.clone(), dataset.version, pipeline.name.clone(), pipeline.version);
                let mut alone = Dataset { pipelines: vec![pipeline.clone()], ..dataset.clone() };
                if let Some((before, _)) = self.pipelines.get(&key) {
                    keep_outputs(before, &mut alone);
                }
                put(&mut self.pipelines, key, alone, &by);
            }
            put(&mut self.datasets, (name, dataset.version), dataset.clone(), &by);
        }
        for set in &document.featuresets {
            for extractor in &set.extractors {
                let key = (set.name.clone(), extractor.name.clone(), extractor.version);
                put(&mut self.extractors, key, Said::of(extractor, set, document), &by);
            }
        }
    }

    /// The fields that events of a raw dataset's version may have, if a commit gave it.
    pub(super) fn raw(&self, name: &str, version: u32) -> Option<&Dataset> {
        let (dataset, _) = self.datasets.get(&(name.to_owned(), version))?;
        Some(dataset).filter(|dataset| !dataset.is_derived())
    }

    /// Refuses a dataset that comes back otherwise than it was given. Fields of one that comes back have the order of
    /// before, by which its records are read.
    pub(super) fn dataset(&self, current: Option<&Dataset>, next: &mut Dataset, draft: &mut Draft) {
        let is_live = current.is_some_and(|current| current.version == next.version);
        let given = self.datasets.get(&(next.name.clone(), next.version));
        if let Some((given, by)) = given.filter(|_| !is_live) {
            if !given.is_derived() && !next.is_derived() {
                next.fields.fields = in_order_of(&given.fields.fields, &next.fields.fields, |f| &f.name);
            }
            let both_derived = given.is_derived() && next.is_derived();
            let meaning = if both_derived { Vec::new() } else { dataset::meaning(given, next) };
            if !meaning.is_empty() {
                let fields = |d: &Dataset| show::list(d.fields.fields.iter().map(show::field));
                let fix = format!("give it @dataset(version={})", self.free(&next.name, next.version));
                let what = versioned(&next.name, next.version);
                by.refuse(
                    draft,
                    &next.at,
                    (&next.name, &what),
                    (fields(given), fields(next)),
                    &meaning,
                    &fix,
                );
                return;
            }
        }
        let live = current.filter(|_| is_live);
        for pipeline in &next.pipelines {
            let same = |p: &&Pipeline| p.name == pipeline.name && p.version == pipeline.version;
            self.pipeline(live.and_then(|live| live.pipelines.iter().find(same)), next, pipeline, draft);
        }
    }

    /// Refuses a pipeline whose version was given to something else. Of one that is live the new aggregates are looked
    /// at: the others are compared with it.
    fn pipeline(&self, live: Option<&Pipeline>, dataset: &Dataset, pipeline: &Pipeline, draft: &mut Draft) {
        let (name, version) = (&dataset.name, dataset.version);
        let key = (name.clone(), version, pipeline.name.clone(), pipeline.version);
        let Some((given, by)) = self.pipelines.get(&key) else { return };
        let Some(was) = given.pipelines.first() else { return };
        let mut meaning = Vec::new();
        if live.is_none() && !growth::feeds_alike(was, pipeline) {
            meaning = dataset::operators(was, pipeline);
        }
        let is_new = |name: &str| live.is_none_or(|live| live.aggregates().all(|a| a.name != name));
        for is in pipeline.aggregates().filter(|a| is_new(&a.name)) {
            let Some(was) = was.aggregates().find(|a| a.name == is.name) else { continue };
            let types = |d: &Dataset| d.fields.field(&is.name).map(show::field);
            if was != is {
                meaning.push(format!("aggregate {}: {was} -> {is}", is.name));
            } else if types(given) != types(dataset) {
                meaning.extend(difference("field", &types(given), &types(dataset), show_option));
            }
        }
        if meaning.is_empty() {
            return;
        }
        let of_it =
            |(n, v, p, _): &&(String, u32, String, u32)| (n, v, p) == (name, &version, &pipeline.name);
        let free = self.pipelines.keys().filter(of_it).map(|key| key.3).max().unwrap_or(0) + 1;
        let fix = format!(
            "give {} @pipeline(version={free}), or {name} @dataset(version={})",
            pipeline.name,
            self.free(name, version)
        );
        let subject = format!("{name}.{}", pipeline.name);
        let what = format!("{} of {}", versioned(&subject, pipeline.version), versioned(name, version));
        let place = if pipeline.at.file.is_empty() { &dataset.at } else { &pipeline.at };
        let shown = (dataset::show_operators(was), dataset::show_operators(pipeline));
        by.refuse(draft, place, (&subject, &what), shown, &meaning, &fix);
    }

    /// The next version of a dataset that was never given.
    fn free(&self, name: &str, at_least: u32) -> u32 {
        let given = self.datasets.keys().filter(|(n, _)| n == name).map(|(_, version)| *version);
        given.max().unwrap_or(0).max(at_least).saturating_add(1)
    }

    /// Refuses extractors of a featureset that come back otherwise than they were given.
    pub(super) fn extractors(
        &self,
        current: Option<&Featureset>,
        set: &Featureset,
        next: &Document,
        draft: &mut Draft,
    ) {
        for extractor in &set.extractors {
            let same = |e: &Extractor| e.name == extractor.name && e.version == extractor.version;
            if current.is_some_and(|current| current.extractors.iter().any(same)) {
                continue;
            }
            let key = (set.name.clone(), extractor.name.clone(), extractor.version);
            let Some((was, by)) = self.extractors.get(&key) else { continue };
            let meaning = was.meaning(&Said::of(extractor, set, next), next);
            if meaning.is_empty() {
                continue;
            }
            let of_it = |(s, e, _): &&(String, String, u32)| (s, e) == (&set.name, &extractor.name);
            let free = self.extractors.keys().filter(of_it).map(|key| key.2).max().unwrap_or(0) + 1;
            let subject = format!("{}.{}", set.name, extractor.name);
            let what = versioned(&subject, extractor.version);
            let place = if extractor.at.file.is_empty() { &set.at } else { &extractor.at };
            let shown = (what.clone(), show::list(meaning.iter().cloned()));
            let fix = format!("give it {}", extractor.versioned_by(free));
            by.refuse(draft, place, (&subject, &what), shown, &meaning, &fix);
        }
    }

    /// What events of a raw dataset have stays with it in a rollback.
    ///
    /// # Errors
    /// The fault of one that was given otherwise since.
    pub(super) fn keep_fields(&self, dataset: &mut Dataset) -> Result<(), Fault> {
        let Some(given) = self.raw(&dataset.name, dataset.version) else { return Ok(()) };
        let grown = Dataset { fields: given.fields.clone(), ..dataset.clone() };
        let meaning = dataset::meaning(dataset, &grown);
        if !meaning.is_empty() {
            let what = versioned(&dataset.name, dataset.version);
            let message = format!(
                "{what} was given to another definition since: {}; commit the earlier definitions with @dataset(version={}) instead",
                show::list(meaning),
                self.free(&dataset.name, dataset.version)
            );
            return Err(Fault { subject: dataset.name.clone(), message, ..Fault::default() });
        }
        dataset.fields = grown.fields;
        Ok(())
    }
}

/// Outputs that a version of a pipeline had before a rollback stay what they were.
fn keep_outputs(before: &Dataset, now: &mut Dataset) {
    let fields = before.fields.fields.iter().filter(|f| now.fields.field(&f.name).is_none());
    let fields: Vec<_> = fields.cloned().collect();
    now.fields.fields.extend(fields);
    let outputs = before.pipelines.iter().flat_map(|pipeline| pipeline.aggregates());
    let last = now.pipelines.first_mut().and_then(|pipeline| pipeline.operators.last_mut());
    if let Some(OperatorDef::Aggregate { aggregates }) = last {
        for output in outputs {
            if aggregates.iter().all(|a| a.name != output.name) {
                aggregates.push(output.clone());
            }
        }
    }
}

fn put<K: Ord, V>(known: &mut BTreeMap<K, (V, By)>, key: K, value: V, by: &By) {
    match known.get_mut(&key) {
        Some(known) => known.0 = value,
        None => drop(known.insert(key, (value, by.clone()))),
    }
}

impl By {
    fn refuse(
        &self,
        draft: &mut Draft,
        place: &Place,
        (subject, what): (&str, &str),
        (was, is): (String, String),
        meaning: &[String],
        fix: &str,
    ) {
        let message = format!(
            "{what} was given already, by the commit {} at {}, and means something else now: {}; a name and a version are never given again: {fix}",
            self.commit,
            EventTime(self.stamp).to_rfc3339(),
            show::list(meaning.iter().cloned())
        );
        draft.conflict(place, subject, was, is, message);
    }
}

impl Said {
    fn of(extractor: &Extractor, set: &Featureset, document: &Document) -> Said {
        let own = |name: &String| Taken {
            featureset: set.name.clone(),
            feature: name.clone(),
            id: set.feature(name).and_then(|f| f.id),
        };
        let taken = |input: &FeatureRef| match input.featureset.as_ref().filter(|other| **other != set.name) {
            None => own(&input.feature),
            Some(other) => Taken {
                featureset: other.clone(),
                feature: input.feature.clone(),
                id: document.featureset(other).and_then(|set| set.feature(&input.feature)?.id),
            },
        };
        Said {
            inputs: extractor.inputs.iter().map(taken).collect(),
            outputs: extractor.outputs.iter().map(own).collect(),
            deps: extractor.deps.clone(),
            form: extractor.form,
            vectorized: extractor.vectorized,
            code: extractor.code.clone(),
            expr: extractor.without_names(),
        }
    }

    fn meaning(&self, is: &Said, next: &Document) -> Vec<String> {
        let mut found = Vec::new();
        for (what, was, is) in [("inputs", &self.inputs, &is.inputs), ("outputs", &self.outputs, &is.outputs)]
        {
            if was.len() != is.len() || !was.iter().zip(is).all(|(was, is)| was.is_still(is, next)) {
                let names = |taken: &[Taken]| show::list(taken.iter().map(|t| t.feature.clone()));
                found.push(format!("{what}: {} -> {}", names(was), names(is)));
            }
        }
        let named = |said: &Said| said.inputs.iter().map(|t| t.feature.clone()).collect::<Vec<_>>();
        if found.is_empty() && is.form == Form::Dict && named(self) != named(is) {
            found.push(format!(
                "names in its dict of inputs: {} -> {}",
                show::list(named(self)),
                show::list(named(is))
            ));
        }
        let deps = |said: &Said| show::list(said.deps.iter().cloned());
        found.extend(difference("deps", &deps(self), &deps(is), String::clone));
        found.extend(difference("form", &self.form, &is.form, |f| format!("{f:?}").to_lowercase()));
        found.extend(difference("vectorized", &self.vectorized, &is.vectorized, bool::to_string));
        if self.expr != is.expr {
            found.push("expression".to_owned());
        }
        if self.code != is.code {
            found.push("code".to_owned());
        }
        found
    }
}

impl Taken {
    /// The same feature, or the one of its name now that it is gone itself.
    fn is_still(&self, is: &Taken, next: &Document) -> bool {
        let is_gone = || {
            let set = next.featureset(&self.featureset);
            self.id.is_none_or(|id| set.is_none_or(|set| set.by_id(id).is_none()))
        };
        self.featureset == is.featureset
            && ((self.id.is_some() && self.id == is.id) || (self.feature == is.feature && is_gone()))
    }
}
