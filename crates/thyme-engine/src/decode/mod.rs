//! From what callers send to columns of a dataset's schema, validated: JSON rows ([`json`]), Arrow
//! batches ([`columns`]), and texts such as CSV cells ([`text`]).

pub mod columns;
pub mod json;
mod nested;
mod rows;
pub mod text;

use arrow::array::RecordBatch;
use thyme_core::error::Fault;

pub use rows::{Cell, RowBuilder};

/// The most faults a refusal lists.
pub const FAULTS_MAX: usize = 100;
/// The most faults of one row that are told.
pub const ROW_FAULTS_MAX: usize = 20;

/// Rows that were read, and those that could not be.
#[derive(Debug)]
pub struct Decoded {
    /// The valid rows, canonical, in order.
    pub batch: RecordBatch,
    /// The invalid ones.
    pub rejected: Vec<Rejected>,
}

/// A row that could not be read.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// What is wrong with it, field by field, at most [`ROW_FAULTS_MAX`].
    pub faults: Vec<Fault>,
    /// Its bytes as they came.
    pub raw: Vec<u8>,
}

impl Rejected {
    /// What is wrong with it, without the row's number.
    pub fn reason(&self) -> String {
        reason(&self.faults)
    }
}

/// What is wrong with a row, without its number.
pub fn reason(faults: &[Fault]) -> String {
    faults.iter().map(|fault| fault.message.as_str()).collect::<Vec<_>>().join("; ")
}

/// The first faults of rows, as many as an answer lists.
pub(crate) fn listed(rejected: &[Rejected]) -> Vec<Fault> {
    rejected.iter().flat_map(|row| &row.faults).take(FAULTS_MAX).cloned().collect()
}

/// A fault of a row, with its sentence; who shows it alone adds the row's number.
pub(crate) fn row_fault(
    row: u64,
    subject: &str,
    expected: impl Into<String>,
    got: impl Into<String>,
) -> Fault {
    let (expected, got) = (expected.into(), got.into());
    Fault {
        row: Some(row),
        subject: subject.to_owned(),
        message: format!("{subject}: expected {expected}, got {got}"),
        expected,
        got,
        ..Fault::default()
    }
}

/// A fault's sentence with the row it is about.
pub fn with_row(fault: &Fault) -> String {
    match fault.row {
        Some(row) => format!("row {row}: {}", fault.message),
        None => fault.message.clone(),
    }
}

/// A value as an error shows it: at most 60 characters.
pub(crate) fn shown(text: &str) -> String {
    format!("\"{}\"", cut(text))
}

/// The first 60 characters of a text.
fn cut(text: &str) -> std::borrow::Cow<'_, str> {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &text[..end]).into(),
        None => text.into(),
    }
}
