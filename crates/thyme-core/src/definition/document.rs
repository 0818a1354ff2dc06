//! The definition document: what the Python decorators write and a commit stores.
//! Described for other writers in `docs/definitions.md`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::dedup::DedupDef;
use super::keyed::Cdc;
pub use super::meta::Meta;
use super::operators::{DropDef, RenameDef, RowsDef, SelectDef};
use super::union::UnionDef;
use crate::aggregate::Argument;
use crate::expectation::{Expectation, OnViolation};
use crate::expr::{Expr, ast::LiteralValue};
use crate::schema::Schema;
use crate::time::Span;
use crate::value::DataType;
use crate::window::Window;

/// The format number this build writes and reads.
pub const FORMAT: u32 = 1;

/// A set of definitions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// [`FORMAT`].
    pub format: u32,
    /// The datasets, raw and derived.
    #[serde(default)]
    pub datasets: Vec<Dataset>,
    /// The featuresets.
    #[serde(default)]
    pub featuresets: Vec<Featureset>,
}

/// Where in the user's Python something stands: for messages alone. It is no part of what a definition says, so
/// definitions that differ in places are equal.
#[derive(Clone, Debug, Default, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
}

impl PartialEq for Place {
    fn eq(&self, _: &Place) -> bool {
        true
    }
}

/// A dataset: a schema, and what feeds it (pushes, a source, or pipelines).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dataset {
    /// The class's name.
    pub name: String,
    /// Its version, from 1.
    #[serde(default = "one")]
    pub version: u32,
    /// Whether `lookup` of a raw dataset gives its latest row.
    #[serde(default)]
    pub index: bool,
    /// The fields.
    pub fields: Schema,
    /// How far behind its stream an event may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_lateness: Option<Span>,
    /// How far ahead of its record's stamp an event may be and still move the stream's largest time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_future_skew: Option<Span>,
    /// How far back the dataset reaches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Span>,
    /// The field that names an event: an event with the id of an earlier one is a duplicate of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// Whether its rows replace each other; none: they do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cdc: Option<Cdc>,
    /// The field whose truth says that nothing of the row's key is there from then on; of rows that replace each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<String>,
    /// What happens to fields the schema does not know.
    #[serde(default)]
    pub extra: Extra,
    /// What happens to a push with an invalid row.
    #[serde(default)]
    pub on_error: OnError,
    /// What its rows should be like; for a raw dataset.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expectations: Vec<Expectation>,
    /// What happens to rows that are not.
    #[serde(default, skip_serializing_if = "OnViolation::is_observe")]
    pub on_violation: OnViolation,
    /// The connector that feeds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// The connectors that feed it, if there are several; then `source` is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Source>,
    /// The pipelines that derive it; none for a raw dataset.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pipelines: Vec<Pipeline>,
    /// Catalog keywords.
    #[serde(default)]
    pub meta: Meta,
    /// Where it is defined.
    #[serde(default)]
    pub at: Place,
}

impl Dataset {
    /// All connectors that feed it.
    pub fn all_sources(&self) -> impl Iterator<Item = &Source> {
        self.source.iter().chain(&self.sources)
    }

    /// The name of the input stream of one of its sources.
    pub fn stream_of(&self, source: &Source) -> String {
        format!("source:{}@{}:{}", self.name, self.version, source.path())
    }

    /// The source that an input stream is of; the first, if it is of none of them.
    pub fn source_of(&self, stream: &str) -> Option<&Source> {
        let mut named = self.all_sources().filter(|source| self.stream_of(source) == stream);
        named.next().or_else(|| self.all_sources().next())
    }
}

impl Source {
    /// What it reads.
    pub fn path(&self) -> &str {
        self.options.get("path").map_or("", String::as_str)
    }
}

/// What happens to unknown fields of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Extra {
    /// The row is invalid.
    #[default]
    Forbid,
    /// They are left out.
    Ignore,
}

/// What happens to a push with invalid rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// The whole push is refused.
    #[default]
    Refuse,
    /// The invalid rows go to the dead letters, the others are taken.
    Skip,
}

/// A connector and its settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Which connector: `"file"`.
    pub kind: String,
    /// Its settings, as the connector reads them: for `"file"`: `path` (a path or a glob) and
    /// optionally `format` (`jsonl`, `csv`, `parquet`).
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// Overrides the dataset's `max_lateness` for this stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_lateness: Option<Span>,
    /// Overrides the dataset's `max_future_skew` for this stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_future_skew: Option<Span>,
    /// Catalog keywords.
    #[serde(default)]
    pub meta: Meta,
}

/// A pipeline: operators over input datasets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pipeline {
    /// The method's name.
    pub name: String,
    /// Its version, from 1.
    #[serde(default = "one")]
    pub version: u32,
    /// The input datasets' names.
    pub inputs: Vec<String>,
    /// The operators, in the order they are applied; a valid pipeline ends with group and aggregate.
    pub operators: Vec<OperatorDef>,
    /// Catalog keywords.
    #[serde(default)]
    pub meta: Meta,
    /// Where it is defined.
    #[serde(default)]
    pub at: Place,
}

/// One operator of a pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum OperatorDef {
    /// Keeps the rows where the expression is true; null is false.
    Filter {
        /// A bool expression.
        expr: Expr,
    },
    /// Adds or replaces columns; all expressions see the columns as they were before.
    Assign {
        /// The columns.
        columns: Vec<Assignment>,
    },
    /// Joins each row with the row of another dataset that is latest at its own time.
    Join(JoinDef),
    /// Leaves out rows that repeat another one.
    Dedup(DedupDef),
    /// Adds the rows of other inputs.
    Union(UnionDef),
    /// Keeps some columns.
    Select(SelectDef),
    /// Takes columns away.
    Drop(DropDef),
    /// Calls columns otherwise.
    Rename(RenameDef),
    /// Ends in the rows of a derived dataset.
    #[serde(skip_deserializing)]
    Rows(RowsDef),
    /// The entity key of what follows.
    Groupby {
        /// Column names.
        keys: Vec<String>,
    },
    /// The outputs.
    Aggregate {
        /// One an output field.
        aggregates: Vec<AggregateDef>,
    },
}

/// One column of an assign.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    /// The column's name.
    pub name: String,
    /// Its value.
    pub expr: Expr,
}

/// A join: each left row gets columns of the right row with the same key that is latest at its own time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinDef {
    /// The right dataset.
    pub dataset: String,
    /// The left columns that are joined on, in the order of `right_on`.
    pub left_on: Vec<String>,
    /// The key fields of the right dataset.
    pub right_on: Vec<String>,
    /// The right fields that are taken.
    pub fields: Vec<JoinedField>,
    /// What becomes of left rows that find none.
    #[serde(default, skip_serializing_if = "How::is_left")]
    pub how: How,
    /// How old a right row may be at the left row's time; none means any age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Span>,
    /// Where it is defined.
    #[serde(default)]
    pub at: Place,
}

/// A field that a join takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinedField {
    /// The column that it becomes.
    pub name: String,
    /// The field of the right dataset.
    pub field: String,
}

/// What becomes of left rows that find no right row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// They stay; the joined columns are null.
    #[default]
    Left,
    /// They are dropped.
    Inner,
}

impl How {
    fn is_left(&self) -> bool {
        *self == How::Left
    }
}

/// One aggregate of a pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AggregateDef {
    /// The output field.
    pub name: String,
    /// Which aggregate, by its registered name in lower case: `count`, `sum`, ...
    pub function: String,
    /// The aggregated column; only `count` may go without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// The window; none means since the beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// Only rows where this is true count; null is false.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub predicate: Option<Expr>,
    /// What it gives over nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<LiteralValue>,
    /// What else is said to it, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, Argument>,
    /// Where it is defined.
    #[serde(default)]
    pub at: Place,
}

/// A featureset: features of one entity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Featureset {
    /// The class's name.
    pub name: String,
    /// The features, in declaration order.
    pub features: Vec<Feature>,
    /// The extractors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extractors: Vec<Extractor>,
    /// How old the newest event behind a value may be, for features that do not say so themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Span>,
    /// What is answered instead of a value that is older, for features that do not say so themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_stale: Option<OnStale>,
    /// Catalog keywords.
    #[serde(default)]
    pub meta: Meta,
    /// The ids of removed features, ascending: never given again. Kept by commits; ignored in a proposal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retired_ids: Vec<u32>,
    /// Former names that no longer answer, in the order of their retirement. Kept by commits, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retired_names: Vec<RetiredName>,
    /// Where it is defined.
    #[serde(default)]
    pub at: Place,
}

/// A name that a feature had and that answers no more: it was retired on purpose, or the feature was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetiredName {
    /// The name.
    pub name: String,
    /// The feature's id.
    pub id: u32,
    /// The commit that retired it. Empty in that commit itself, whose id is not known before it is written.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub commit: String,
}

/// One feature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Feature {
    /// Its id inside the featureset; absent until the first commit assigns it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u32>,
    /// Its name, a label.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub data_type: DataType,
    /// Whether null is documented.
    #[serde(default)]
    pub optional: bool,
    /// The dataset field it reads.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<FieldRef>,
    /// What stands for null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<LiteralValue>,
    /// Whether the caller gives it with each query.
    #[serde(default)]
    pub request: bool,
    /// How old the newest event behind its value may be; absent for what the featureset says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Span>,
    /// What is answered instead of a value that is older; absent for what the featureset says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_stale: Option<OnStale>,
    /// Earlier names, which keep answering. Kept by commits; ignored in a proposal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former_names: Vec<String>,
    /// Catalog keywords.
    #[serde(default)]
    pub meta: Meta,
    /// Where it is defined.
    #[serde(default)]
    pub at: Place,
}

/// What is answered instead of a value whose newest event is too old.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnStale {
    /// Null.
    #[default]
    Null,
    /// The feature's default.
    Default,
    /// Nothing: the read is refused.
    Error,
}

impl OnStale {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            OnStale::Null => "null",
            OnStale::Default => "default",
            OnStale::Error => "error",
        }
    }
}

/// How old the newest event behind a value may be, and what is answered instead of one that is older.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxAge {
    /// How old: a value is stale when `T` minus the time of its newest event is more than this.
    pub span: Span,
    /// What is answered instead.
    pub on_stale: OnStale,
}

/// A field of a dataset, as a feature refers to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldRef {
    /// The dataset.
    pub dataset: String,
    /// The field.
    pub field: String,
}

/// A feature of some featureset, as an extractor takes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FeatureRef {
    /// Another featureset; absent for the extractor's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub featureset: Option<String>,
    /// The feature's name.
    pub feature: String,
}

/// An extractor: Python, or an expression, from features to features.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Extractor {
    /// The method's name.
    pub name: String,
    /// Its version, from 1.
    #[serde(default = "one")]
    pub version: u32,
    /// The features it takes, in order.
    pub inputs: Vec<FeatureRef>,
    /// The features it gives, in order.
    pub outputs: Vec<String>,
    /// The datasets it looks rows up in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deps: Vec<String>,
    /// How it is called.
    pub form: Form,
    /// Whether it takes and gives columns, many rows in a call.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub vectorized: bool,
    /// Its code, with what it needs to travel; only the extractor host reads it.
    #[serde(default)]
    pub code: String,
    /// What it is, if its form is an expression: over its inputs by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expr: Option<Expr>,
    /// Where it is defined.
    #[serde(default)]
    pub at: Place,
}

/// How an extractor takes its inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// One dict of inputs by name.
    Dict,
    /// One argument an input.
    Positional,
    /// Not called: it is an expression.
    Expression,
}

impl Document {
    /// What it says, without where it stands.
    pub fn without_places(&self) -> Document {
        let mut bare = self.clone();
        for dataset in &mut bare.datasets {
            dataset.at = Place::default();
            for pipeline in &mut dataset.pipelines {
                pipeline.at = Place::default();
                pipeline.forget_places();
            }
        }
        for set in &mut bare.featuresets {
            set.at = Place::default();
            set.features.iter_mut().for_each(|f| f.at = Place::default());
            set.extractors.iter_mut().for_each(|e| e.at = Place::default());
        }
        bare
    }

    /// The featureset called `name`.
    pub fn featureset(&self, name: &str) -> Option<&Featureset> {
        self.featuresets.iter().find(|f| f.name == name)
    }
}

impl Pipeline {
    /// Its aggregates.
    pub fn aggregates(&self) -> impl Iterator<Item = &AggregateDef> {
        self.operators.iter().flat_map(|operator| match operator {
            OperatorDef::Aggregate { aggregates } => aggregates.as_slice(),
            _ => &[],
        })
    }
}

impl Dataset {
    /// Whether pipelines make it; other datasets are raw.
    pub fn is_derived(&self) -> bool {
        !self.pipelines.is_empty()
    }

    /// Whether its rows can be looked up: a derived dataset, or one with an index.
    pub fn is_readable(&self) -> bool {
        self.index || self.is_derived()
    }

    /// The name of the field that holds the event time.
    pub fn time_field(&self) -> &str {
        self.fields.timestamp().map_or("", |field| field.name.as_str())
    }
}

impl Featureset {
    /// How old the values of a feature may be, and what is answered instead. What the featureset says is of the
    /// features that Thyme computes.
    pub fn max_age_of(&self, feature: &Feature) -> Option<MaxAge> {
        let is_computed = feature.reference.is_some() || self.giver(&feature.name).is_some();
        let span = feature.max_age.or(self.max_age.filter(|_| is_computed))?;
        Some(MaxAge { span, on_stale: feature.on_stale.or(self.on_stale).unwrap_or_default() })
    }

    /// The extractor that gives the feature called `name` now.
    pub fn giver(&self, name: &str) -> Option<&Extractor> {
        self.extractors.iter().find(|e| e.outputs.iter().any(|o| o == name))
    }
}

fn one() -> u32 {
    1
}
