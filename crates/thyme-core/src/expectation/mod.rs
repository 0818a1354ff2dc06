//! Expectations: what a dataset's rows should be like. They change no value; what does not meet them is counted, told,
//! and, where the dataset says so, kept out.
//!
//! A rule of rows judges each row by itself ([`Rule::broken`]). A rule of the stream ([`Rule::stream`]) judges rows by
//! those that came before.

mod rows;
mod stream;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::expr::LiteralValue;
use crate::time::Span;
use crate::value::DataType;

pub use rows::{PATTERN_BYTES_MAX, Rule};
pub use stream::{BUCKETS_MAX, StreamRule, VALUES_MAX};

/// One rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Expectation {
    /// What it expects.
    #[serde(flatten)]
    pub kind: Kind,
    /// The share of what is judged that must meet it, above 0 and at most 1.
    #[serde(default = "all")]
    pub mostly: f64,
}

fn all() -> f64 {
    1.0
}

/// What may be expected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "expect", rename_all = "snake_case")]
pub enum Kind {
    /// Values of a column are between two bounds, both included; one of them may be left out. Nulls are not judged.
    Between {
        /// The column.
        column: String,
        /// The least value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min: Option<LiteralValue>,
        /// The greatest value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max: Option<LiteralValue>,
    },
    /// Values of a column are not null.
    NotNull {
        /// The column.
        column: String,
    },
    /// Values of a column are among these. Nulls are not judged.
    InSet {
        /// The column.
        column: String,
        /// The values.
        values: Vec<LiteralValue>,
    },
    /// Values of a column say one of this type: texts that can be read as it, floats that are whole. Nulls are not judged.
    OfType {
        /// The column.
        column: String,
        /// The type.
        #[serde(rename = "type")]
        data_type: DataType,
    },
    /// Texts of a column have a match of this pattern somewhere. Nulls are not judged.
    Matches {
        /// The column.
        column: String,
        /// The pattern, in the syntax of the `regex` crate: matched in linear time.
        regex: String,
    },
    /// No value of a column comes twice within this long of event time. Nulls are not judged.
    UniqueWithin {
        /// The column.
        column: String,
        /// How far two rows with one value must be apart.
        within: Span,
    },
    /// In each stretch of event time of this length, from the epoch on, there are as many rows.
    RowsPer {
        /// The length.
        every: Span,
        /// The least number of rows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min: Option<u64>,
        /// The greatest number of rows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max: Option<u64>,
    },
}

impl Kind {
    /// The column that it judges, if it judges one.
    pub fn column(&self) -> Option<&str> {
        match self {
            Kind::Between { column, .. }
            | Kind::NotNull { column }
            | Kind::InSet { column, .. }
            | Kind::OfType { column, .. }
            | Kind::Matches { column, .. }
            | Kind::UniqueWithin { column, .. } => Some(column),
            Kind::RowsPer { .. } => None,
        }
    }

    /// Whether it judges each row by itself, so that single rows can be kept out by it.
    pub fn is_of_rows(&self) -> bool {
        !matches!(self, Kind::UniqueWithin { .. } | Kind::RowsPer { .. })
    }
}

/// What happens to rows that break a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnViolation {
    /// They are counted and told.
    #[default]
    Observe,
    /// They go to the dead letters as well.
    Quarantine,
}

impl OnViolation {
    /// Whether it is the default.
    pub fn is_observe(&self) -> bool {
        *self == OnViolation::Observe
    }
}

/// How it reads, and what it is known by: `fare between 0 and 500`.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Between { column, min, max } => {
                write!(f, "{column}")?;
                match (min, max) {
                    (Some(min), Some(max)) => write!(f, " between {min} and {max}"),
                    (Some(min), None) => write!(f, " at least {min}"),
                    (None, Some(max)) => write!(f, " at most {max}"),
                    (None, None) => write!(f, " between nothing"),
                }
            }
            Kind::NotNull { column } => write!(f, "{column} not null"),
            Kind::InSet { column, values } => {
                const SHOWN: usize = 5;
                let shown: Vec<String> = values.iter().take(SHOWN).map(ToString::to_string).collect();
                let more =
                    if values.len() > SHOWN { format!(", ... ({})", values.len()) } else { String::new() };
                write!(f, "{column} in {{{}{more}}}", shown.join(", "))
            }
            Kind::OfType { column, data_type } => write!(f, "{column} of type {data_type}"),
            Kind::Matches { column, regex } => write!(f, "{column} matches /{regex}/"),
            Kind::UniqueWithin { column, within } => write!(f, "{column} unique within {within}"),
            Kind::RowsPer { every, min, max } => {
                write!(f, "rows per {every}")?;
                match (min, max) {
                    (Some(min), Some(max)) => write!(f, " between {min} and {max}"),
                    (Some(min), None) => write!(f, " at least {min}"),
                    (None, Some(max)) => write!(f, " at most {max}"),
                    (None, None) => write!(f, " between nothing"),
                }
            }
        }
    }
}

/// How much was judged by a rule, and how much of it broke it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Rows, or stretches of time.
    pub checked: u64,
    /// Of these, those that broke it.
    pub violated: u64,
}

impl Tally {
    /// Adds another.
    pub fn add(&mut self, other: Tally) {
        self.checked += other.checked;
        self.violated += other.violated;
    }

    /// Whether less than `mostly` of it met the rule.
    pub fn is_violated(self, mostly: f64) -> bool {
        self.violated > 0 && ((self.checked - self.violated) as f64) < mostly * self.checked as f64
    }
}

#[cfg(test)]
mod tests;
