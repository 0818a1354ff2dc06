//! What a connector is, and which there are.

use std::sync::Arc;

use arrow::array::RecordBatch;
use serde::Serialize;
use thyme_core::definition::Source;
use thyme_core::{Env, Error, Result};
use thyme_engine::{DeadLetter, EventLog, LiveDataset};

use crate::file::FileConnector;

/// Rows a batch is cut at: one log record.
pub(crate) const BATCH_ROWS: usize = 32 * 1024;

/// What a connector has read in all its life, restarts included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub rows: u64,
    pub dead_letters: u64,
}

/// A file that ends in the middle of a record: whoever writes it may be about to go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unfinished {
    /// The file.
    pub path: String,
    /// Bytes of the record that are there.
    pub bytes: u64,
}

/// One batch: rows, what could not be read, and where to go on after them.
#[derive(Debug)]
pub(crate) struct Read {
    pub batch: RecordBatch,
    pub dead_letters: Vec<DeadLetter>,
    pub cursor: Vec<u8>,
    pub totals: Totals,
}

/// What one step of a connector came to.
#[derive(Debug)]
pub(crate) enum Next {
    Read(Box<Read>),
    /// Nothing to store yet, but there is more: ask again.
    Again,
    /// All that the last look found is read.
    End,
}

/// How hard to look for what is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Cheap; may overlook for a second what has only just come into being.
    Usual,
    /// Finds everything that is there.
    Full,
}

/// Reads one source, from a cursor on. Not told whether its batches were stored: when one was not, the
/// runner opens another connector at the cursor of the last that was.
pub(crate) trait Connector: Send {
    /// Looks for what is there to read now.
    fn look(&mut self, effort: Effort);

    /// Reads on in what the last look found: a bounded amount of work, one batch at most.
    ///
    /// # Errors
    /// Internal ones; trouble with what is read is an [`Connector::error`] instead.
    fn next(&mut self) -> Result<Next>;

    /// Whether the last look found something that only time tells how to read.
    fn is_waiting(&self) -> bool;

    /// What of the last look ends in the middle of a record.
    fn unfinished(&self) -> Vec<Unfinished>;

    /// What is wrong now, although reading goes on.
    fn error(&self) -> Option<String>;

    /// The totals so far.
    fn totals(&self) -> Totals;
}

/// What a connector is opened with.
pub(crate) struct Opening<'a> {
    pub dataset: Arc<LiveDataset>,
    pub source: &'a Source,
    pub cursor: Option<&'a [u8]>,
    pub events: Arc<EventLog>,
    pub env: Arc<dyn Env>,
}

/// Opens the connector of a source: the registry.
///
/// # Errors
/// Options that the connector does not take, an unknown kind, or a cursor it cannot read.
pub(crate) fn open(opening: Opening<'_>) -> Result<Box<dyn Connector>> {
    match opening.source.kind.as_str() {
        "file" => Ok(Box::new(FileConnector::open(opening)?)),
        kind => Err(Error::invalid_definition(format!(
            "dataset {} has a source of the unknown kind \"{kind}\"; this version has \"file\"",
            opening.dataset.definition.name
        ))),
    }
}
