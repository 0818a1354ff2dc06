//! What a document can refer to: itself, and what is committed under other names.

use std::collections::{HashMap, HashSet};

use crate::definition::document::{Dataset, Document, Feature, FeatureRef, Featureset, OperatorDef};
use crate::definition::naming::{unversioned, versioned};
use crate::error::nearest;
use crate::value::DataType;

/// Every dataset and featureset that will be there after the commit.
pub(super) struct Scope<'a> {
    datasets: HashMap<&'a str, &'a Dataset>,
    featuresets: HashMap<&'a str, Indexed<'a>>,
    known: &'a Document,
    replaced: HashSet<&'a str>,
}

/// A featureset with its features and extractors by name.
pub(super) struct Indexed<'a> {
    pub(super) featureset: &'a Featureset,
    features: HashMap<&'a str, &'a Feature>,
    /// By the feature's name, the index of the extractor that gives it.
    givers: HashMap<&'a str, usize>,
}

impl<'a> Indexed<'a> {
    fn new(featureset: &'a Featureset) -> Self {
        let formerly = |f: &'a Feature| f.former_names.iter().map(move |name| (name.as_str(), f));
        let by_name = featureset.features.iter().flat_map(formerly);
        let by_name = by_name.chain(featureset.features.iter().map(|f| (f.name.as_str(), f)));
        let outputs = |(i, e): (usize, &'a crate::definition::Extractor)| {
            e.outputs.iter().map(move |o| (o.as_str(), i))
        };
        Indexed {
            featureset,
            features: by_name.collect(),
            givers: featureset.extractors.iter().enumerate().flat_map(outputs).collect(),
        }
    }

    /// The feature called `name`, now or before a rename.
    pub(super) fn feature(&self, name: &str) -> Option<&'a Feature> {
        self.features.get(name).copied()
    }

    /// The index of the extractor that gives the feature called `name`.
    pub(super) fn giver(&self, name: &str) -> Option<usize> {
        self.givers.get(name).copied()
    }

    /// Lets the names that `before` knew features by stand for those of the same id.
    fn keep_names(&mut self, before: &'a Featureset) {
        let by_id: HashMap<u32, &Feature> =
            self.featureset.features.iter().filter_map(|f| Some((f.id?, f))).collect();
        for old in &before.features {
            if let Some(now) = old.id.and_then(|id| by_id.get(&id)) {
                for name in old.former_names.iter().chain([&old.name]) {
                    self.features.entry(name).or_insert(now);
                }
            }
        }
    }
}

impl<'a> Scope<'a> {
    pub(super) fn new(document: &'a Document, known: &'a Document) -> Self {
        let mut featuresets: HashMap<&str, Indexed<'_>> =
            known.featuresets.iter().map(|f| (f.name.as_str(), Indexed::new(f))).collect();
        for featureset in &document.featuresets {
            let before = featuresets.insert(&featureset.name, Indexed::new(featureset));
            if let (Some(before), Some(now)) = (before, featuresets.get_mut(featureset.name.as_str())) {
                now.keep_names(before.featureset);
            }
        }
        let datasets =
            known.datasets.iter().chain(&document.datasets).map(|d| (d.name.as_str(), d)).collect();
        let names = document.datasets.iter().map(|d| d.name.as_str());
        let replaced = names.chain(document.featuresets.iter().map(|f| f.name.as_str())).collect();
        Scope { datasets, featuresets, known, replaced }
    }

    pub(super) fn dataset(&self, name: &str) -> Option<&'a Dataset> {
        let named = |name: &str| self.datasets.get(name).copied();
        let present = || named(unversioned(name)).filter(|d| versioned(&d.name, d.version) == name);
        // The version before goes on when the document brings a newer one.
        let before = || self.known.dataset(name).filter(|d| d.is_derived());
        named(name).or_else(present).or_else(before)
    }

    pub(super) fn featureset(&self, name: &str) -> Option<&Indexed<'a>> {
        self.featuresets.get(name)
    }

    /// `; did you mean ...?`, or what to do where no dataset has a similar name.
    pub(super) fn near_datasets(&self, name: &str) -> String {
        hint(name, self.datasets.keys().copied(), "commit it together with this")
    }

    /// As [`Scope::near_datasets`].
    pub(super) fn near_featuresets(&self, name: &str) -> String {
        hint(name, self.featuresets.keys().copied(), "commit it together with this")
    }

    /// The committed datasets that stay and read one that the document replaces.
    pub(super) fn affected_datasets(&self) -> impl Iterator<Item = &'a Dataset> {
        // A superseded version goes on reading the versions of its time.
        let keeps = |d: &Dataset, input: &str| {
            d.name != unversioned(&d.name) && self.known.dataset(input).is_some_and(|i| i.is_derived())
        };
        self.known.datasets.iter().filter(move |d| {
            let mut inputs = d.pipelines.iter().flat_map(|p| p.reads());
            !self.is_replaced(&d.name) && inputs.any(|i| self.is_replaced(i) && !keeps(d, i))
        })
    }

    /// The committed featuresets that stay and use something that the document replaces.
    pub(super) fn affected_featuresets(&self) -> impl Iterator<Item = &'a Featureset> {
        self.known.featuresets.iter().filter(|f| {
            let mut references = f.features.iter().filter_map(|f| f.reference.as_ref());
            let mut deps = f.extractors.iter().flat_map(|e| &e.deps);
            let mut inputs =
                f.extractors.iter().flat_map(|e| &e.inputs).filter_map(|i| i.featureset.as_ref());
            !self.is_replaced(&f.name)
                && (references.any(|r| self.is_replaced(&r.dataset))
                    || deps.any(|d| self.is_replaced(d))
                    || inputs.any(|i| self.is_replaced(i)))
        })
    }

    fn is_replaced(&self, name: &str) -> bool {
        self.replaced.contains(name)
    }

    /// The featureset and the feature that `input`, taken in the featureset called `own`, names.
    pub(super) fn resolve(&self, own: &str, input: &FeatureRef) -> Option<(&Indexed<'a>, &'a Feature)> {
        let indexed = self.featureset(input.featureset.as_deref().unwrap_or(own))?;
        Some((indexed, indexed.feature(&input.feature)?))
    }
}

/// `did you mean ...?`, or `otherwise`.
pub(super) fn hint<'a>(name: &str, known: impl IntoIterator<Item = &'a str>, otherwise: &str) -> String {
    match nearest(name, known).as_slice() {
        [] => otherwise.to_owned(),
        near => format!("did you mean {}?", near.join(", ")),
    }
}

/// The columns that a pipeline's operators see, as they change from one to the next.
pub(super) struct Columns {
    pub(super) list: Vec<(String, DataType)>,
    pub(super) timestamp: Option<String>,
}

impl Columns {
    pub(super) fn of(dataset: &Dataset) -> Self {
        Columns {
            list: dataset.fields.fields.iter().map(|f| (f.name.clone(), f.data_type)).collect(),
            timestamp: dataset.fields.timestamp().map(|f| f.name.clone()),
        }
    }

    pub(super) fn data_type(&self, name: &str) -> Option<DataType> {
        self.list.iter().find(|(n, _)| n == name).map(|(_, t)| *t)
    }

    pub(super) fn set(&mut self, name: &str, data_type: DataType) {
        match self.list.iter_mut().find(|(n, _)| n == name) {
            Some(column) => column.1 = data_type,
            None => self.list.push((name.to_owned(), data_type)),
        }
    }
}

/// Whether the operators have neither groupby nor aggregate, or one groupby and then one aggregate.
pub(super) fn is_well_formed(operators: &[OperatorDef]) -> bool {
    let ends = |o: &OperatorDef| matches!(o, OperatorDef::Groupby { .. } | OperatorDef::Aggregate { .. });
    if !operators.iter().any(ends) {
        return true;
    }
    let [first @ .., OperatorDef::Aggregate { .. }] = operators else { return false };
    let groups = first.iter().filter(|o| matches!(o, OperatorDef::Groupby { .. })).count();
    groups == 1 && first.iter().all(|o| !matches!(o, OperatorDef::Aggregate { .. }))
}
