//! Keyed datasets: rows of one key that replace each other, and what ends a key.

use serde::{Deserialize, Serialize};

use super::document::Dataset;

/// What the rows of a raw dataset say about those before them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cdc {
    /// Each row replaces those of its key that are before it, in the order of event time and position.
    Upsert,
}

impl Dataset {
    /// Whether its rows replace each other.
    pub fn is_keyed(&self) -> bool {
        self.cdc.is_some()
    }
}
