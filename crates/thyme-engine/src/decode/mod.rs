//! From what callers send to columns of a dataset's schema, validated: JSON rows ([`json`]), Arrow
//! batches ([`columns`]), and texts such as CSV cells ([`text`]).

pub mod columns;
pub mod json;
mod rows;
pub mod text;

use arrow::array::RecordBatch;
use thyme_core::error::Fault;

pub use rows::{Cell, RowBuilder};

/// The most faults a refusal lists.
pub const FAULTS_MAX: usize = 100;

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
    /// What is wrong with it.
    pub fault: Fault,
    /// Its bytes as they came.
    pub raw: Vec<u8>,
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
    match text.char_indices().nth(60) {
        Some((cut, _)) => format!("\"{}...\"", &text[..cut]),
        None => format!("\"{text}\""),
    }
}
