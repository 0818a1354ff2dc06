//! Rows on their way into the log.

use std::sync::Arc;

use arrow::array::RecordBatch;
use thyme_core::Position;
use thyme_core::error::Fault;

use crate::budget::Ticket;
use crate::expectations::Violation;
use crate::idempotency::Idempotency;
use crate::record::DeadLetter;

/// The answer to a push or a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// A read with this as `min_position` sees it.
    pub position: Position,
    /// Rows accepted.
    pub accepted: u64,
    /// Rows that went to the dead letters instead.
    pub skipped: u64,
    /// Of the accepted, how many are duplicates of earlier events; `None` if events have no ids, or nobody knows yet.
    pub duplicates: Option<u64>,
}

/// Rows of a dataset, valid and ready to be logged.
#[derive(Debug)]
pub struct Push {
    pub(crate) dataset: u32,
    pub(crate) stream: Arc<str>,
    pub(crate) cursor: Option<Vec<u8>>,
    pub(crate) dead_letters: Vec<DeadLetter>,
    pub(crate) batch: RecordBatch,
    /// The room that it takes until it is applied.
    pub(crate) ticket: Option<Ticket>,
    /// Where its rows were dead letters, if that is what they were.
    pub(crate) letters: Option<Vec<StoredLetter>>,
    /// Makes it count once however often it is sent.
    pub idempotency: Option<Idempotency>,
    /// What is wrong with the rows that were skipped.
    pub faults: Vec<Fault>,
    /// The expectations that its rows do not meet.
    pub violations: Vec<Violation>,
}

impl Push {
    /// Its rows, in the dataset's schema.
    pub fn batch(&self) -> &RecordBatch {
        &self.batch
    }

    /// Takes the room that was taken for it before it was read.
    #[must_use]
    pub fn with_ticket(self, ticket: Option<Ticket>) -> Push {
        Push { ticket, ..self }
    }
}

/// Where a row was a dead letter before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoredLetter {
    /// The record that has it.
    pub record: u64,
    /// Whether a client pushed it.
    pub is_pushed: bool,
}

/// What a connector read: rows, what could not be read, and where it goes on.
#[derive(Debug)]
pub struct SourceBatch {
    /// The source's name, unique and stable: its stream.
    pub stream: Arc<str>,
    /// The connector's own bookmark.
    pub cursor: Vec<u8>,
    /// Unreadable records.
    pub dead_letters: Vec<DeadLetter>,
    /// The rows, in the dataset's schema.
    pub batch: RecordBatch,
}
