//! Erasure: what an entity was is taken out of the log, of everything made of it, and of every file.
//!
//! The order makes a crash at any point harmless. A file beside the log says who is to be erased
//! ([`pending`]); a log record says it by keyed hash and gives the erasure its position; the applier takes the
//! rows out of the timelines when it meets that record; a checkpoint makes that durable; then the log's
//! segments and the store's files are written anew; then the file beside the log goes. While it is there, the
//! next start ends what was begun before it serves anybody, or, where it cannot, says so and leaves it to a later one.

mod ledger;
mod letters;
mod pending;
pub(crate) mod removal;
mod scan;
mod secret;
mod target;

pub(crate) use ledger::{Erased, Ledger};
pub(crate) use pending::Pending;
pub(crate) use scan::{Fate, Scan};
pub(crate) use secret::{Secret, hex, random};
pub(crate) use target::Target;

use parking_lot::Mutex;

/// The most entities of one request.
pub const ENTITIES_MAX: usize = 1_000;

/// An erasure under way.
#[derive(Debug)]
pub(crate) struct Erasing {
    /// Who.
    pub target: Target,
    /// What has been found in the log so far.
    pub scan: Mutex<Option<Scan>>,
}

/// What a start finds of an erasure that was begun and not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfinished {
    /// Nothing.
    Nothing,
    /// Its record, which is applied.
    At(u64),
    /// The records up to where it may be cannot all be applied.
    Unreached,
}

/// What an erasure did. It does not name whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErasureReceipt {
    /// Its position: what came before is erased.
    pub position: thyme_core::Position,
    /// Its stamp.
    pub time: thyme_core::EventTime,
    /// The dataset.
    pub dataset: String,
    /// The keyed hash of each entity asked for, in their order.
    pub entities: Vec<String>,
    /// Events removed.
    pub events: u64,
    /// Dead letters removed.
    pub dead_letters: u64,
    /// Log records that held any of it.
    pub records: u64,
    /// Datasets whose rows or values were made of these events.
    pub datasets: Vec<String>,
}
