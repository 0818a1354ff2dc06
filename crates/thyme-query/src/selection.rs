//! Which features of a featureset are asked for, and by what.

use std::fmt;

use thyme_core::definition::{Feature, Featureset};
use thyme_core::{Error, Result};

/// One feature, as somebody asks for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Wanted {
    /// By its id.
    Id(u32),
    /// By its name, or by one that it had before.
    Name(String),
}

impl Wanted {
    /// The most features that one request may name.
    pub const MAX: usize = 10_000;

    /// Reads a name or an id: what begins with a digit is no name.
    ///
    /// # Errors
    /// InvalidData: neither.
    pub fn parse(text: &str) -> Result<Wanted> {
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            return text.parse().map(Wanted::Id).map_err(|_| {
                Error::invalid_data(format!("features: \"{text}\" is neither a feature's id nor a name"))
            });
        }
        if text.is_empty() {
            return Err(Error::invalid_data("features: expected names or ids, got an empty one"));
        }
        Ok(Wanted::Name(text.to_owned()))
    }

    /// The feature of `featureset`.
    pub(crate) fn of<'f>(&self, featureset: &'f Featureset) -> Result<&'f Feature> {
        match self {
            Wanted::Id(id) => featureset.numbered(*id),
            Wanted::Name(name) => featureset.named(name),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wanted::Id(id) => write!(f, "{id}"),
            Wanted::Name(name) => f.write_str(name),
        }
    }
}

/// One feature of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// What it is called in the answer: the name that it was asked by; by id, its name.
    pub name: String,
    /// The slot with its values.
    pub slot: usize,
    /// The feature's id.
    pub id: u32,
    /// The feature's name, if `name` is one that it had before.
    pub renamed: Option<String>,
}

/// The columns that answer a request: the features in the order asked; without a selection all of them in the
/// order declared, and after them the old names that still answer.
pub(crate) fn columns(featureset: &Featureset, wanted: Option<&[Wanted]>) -> Result<Vec<Column>> {
    let column = |feature: &Feature, name: &str| Column {
        name: name.to_owned(),
        slot: 0,
        id: feature.id.unwrap_or(0),
        renamed: (feature.name != name).then(|| feature.name.clone()),
    };
    let Some(wanted) = wanted else {
        let present = featureset.features.iter().map(|f| column(f, &f.name));
        return Ok(present.chain(featureset.former_names().map(|(name, f)| column(f, name))).collect());
    };
    if wanted.is_empty() || wanted.len() > Wanted::MAX {
        return Err(Error::invalid_data(format!(
            "features: expected 1 to {} names or ids, got {}; leave it out for all of them",
            Wanted::MAX,
            wanted.len()
        )));
    }
    let mut columns: Vec<Column> = Vec::with_capacity(wanted.len());
    let mut seen = std::collections::HashSet::new();
    for each in wanted {
        let feature = each.of(featureset)?;
        let name = match each {
            Wanted::Id(_) => &feature.name,
            Wanted::Name(name) => name,
        };
        if !seen.insert(name.clone()) {
            return Err(Error::invalid_data(format!(
                "features: {}.{name} is asked for twice",
                featureset.name
            )));
        }
        columns.push(column(feature, name));
    }
    Ok(columns)
}
