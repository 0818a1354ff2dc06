//! What the names and the ids of features ask for: the feature is its id, and names come and go.

use super::document::{Dataset, Document, Feature, Featureset, RetiredName};
use crate::error::{Error, ErrorKind, Result};

/// What a version of a dataset is asked for by: `Stats@1`.
pub fn versioned(name: &str, version: u32) -> String {
    format!("{name}@{version}")
}

/// The name of a dataset without a version.
pub fn unversioned(name: &str) -> &str {
    name.split_once('@').map_or(name, |(name, _)| name)
}

impl Dataset {
    /// Whether `name` asks for it: its own, or `Stats@2` while that is its version.
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || versioned(&self.name, self.version) == name
    }
}

impl Document {
    /// The dataset called `name`; `Stats@2` is also what is called `Stats` while that is its version.
    pub fn dataset(&self, name: &str) -> Option<&Dataset> {
        let named = |name: &str| self.datasets.iter().find(|d| d.name == name);
        named(name).or_else(|| named(unversioned(name)).filter(|d| versioned(&d.name, d.version) == name))
    }
}

impl Featureset {
    /// The feature called `name`, or the one that was called so before a rename and still answers.
    pub fn feature(&self, name: &str) -> Option<&Feature> {
        let formerly = |f: &&Feature| f.former_names.iter().any(|n| n == name);
        self.features.iter().find(|f| f.name == name).or_else(|| self.features.iter().find(formerly))
    }

    /// The feature with this id.
    pub fn by_id(&self, id: u32) -> Option<&Feature> {
        self.features.iter().find(|f| f.id == Some(id))
    }

    /// [`Featureset::feature`], or why there is none.
    ///
    /// # Errors
    /// NotFound: a retired name with what became of it, or the names that come near.
    pub fn named(&self, name: &str) -> Result<&Feature> {
        self.feature(name).ok_or_else(|| match self.retired_name(name) {
            Some(retired) => self.was_retired(retired),
            None => Error::not_found("feature", name, self.features.iter().map(|f| f.name.as_str())),
        })
    }

    /// [`Featureset::by_id`], or why there is none.
    ///
    /// # Errors
    /// NotFound: whether there ever was one, and the ids that there are.
    pub fn numbered(&self, id: u32) -> Result<&Feature> {
        self.by_id(id).ok_or_else(|| {
            let detail = match self.retired_ids.contains(&id) {
                true => format!(
                    "{} has no feature with the id {id} any more: it was removed, and ids are never reused",
                    self.name
                ),
                false => {
                    let known = self.features.iter().filter_map(|f| Some(format!("{} {}", f.id?, f.name)));
                    let known = known.take(40).collect::<Vec<_>>().join(", ");
                    format!("{} has no feature with the id {id}; it has {known}", self.name)
                }
            };
            Error::new(ErrorKind::NotFound, detail)
        })
    }

    /// What became of `name`, if it was retired and was not given to another feature since.
    pub fn retired_name(&self, name: &str) -> Option<&RetiredName> {
        self.retired_names.iter().rev().find(|retired| retired.name == name)
    }

    /// The former names that still answer, each with its feature.
    pub fn former_names(&self) -> impl Iterator<Item = (&str, &Feature)> {
        self.features.iter().flat_map(|f| f.former_names.iter().map(move |name| (name.as_str(), f)))
    }

    fn was_retired(&self, RetiredName { name, id, commit }: &RetiredName) -> Error {
        let said =
            |how: &str| if commit.is_empty() { String::new() } else { format!(" {how} commit {commit}") };
        let (at, at_or_since) = (said("at"), said("since"));
        let detail = match self.by_id(*id) {
            Some(now) => format!(
                "{}.{name} was renamed to {}, and the old name was retired{at}; ask for {}, or for the id {id}",
                self.name, now.name, now.name
            ),
            None => format!(
                "{}.{name} was a name of the feature with the id {id}, which is removed: the name answers no more{at_or_since}; ids are never reused",
                self.name
            ),
        };
        Error::new(ErrorKind::NotFound, detail)
    }
}
