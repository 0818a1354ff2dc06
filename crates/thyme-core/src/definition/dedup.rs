//! Dedup: rows that repeat another one are left out.

use serde::{Deserialize, Serialize};

use crate::time::Span;

/// Keeps a row unless another one with the same values in some columns is before it, near enough.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DedupDef {
    /// The columns in which a row repeats another one. One with a null in any of them repeats none.
    pub by: Vec<String>,
    /// A row repeats one before it if less than this lies between their event times; none means however much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Span>,
}
