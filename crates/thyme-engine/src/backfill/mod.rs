//! Backfill: the new nodes of a commit are filled from the log beside the live ones, which nobody notices, and
//! the commit is written once they have caught up.
//!
//! A file beside the log says what is to be committed ([`intent`]), so that a restart goes on with it. The
//! [`filler`] reads the log through the replay that gives every row its verdict again, and writes nodes that nobody
//! reads; now and then it saves them with how far it is. When it is where the reads are, the commit record is
//! written ([`driver`]), and the applier, when it meets that record, adds the few records that are missing and swaps
//! catalog and nodes. So a commit is one record at one position, and a store that is lost is made again by filling
//! there.

use crate::shard::Start;

mod driver;
mod filler;
mod filling;
mod group;
mod intent;

pub(crate) use driver::{Driver, Moved};
pub(crate) use filler::{Edit, Filler, Hands, forget_saved};
pub use filling::PendingCommit;
pub(crate) use filling::{Filling, Stage};
pub(crate) use intent::{FILE as INTENT_FILE, Intent};

/// What new pipelines are filled with.
#[derive(Clone, Copy)]
pub(crate) struct Cores {
    /// How many threads: one reads, and puts rows into timelines if there is no other.
    pub count: usize,
    /// How the others begin.
    pub start: Start,
}

/// Rows that are put into timelines within a millisecond, about.
const ROWS_A_TURN: usize = 4096;

/// A turn on a core. After a millisecond of work a backfill lets whoever waits for the core go first: nobody waits for
/// it, and online reads that wait for a core are late.
#[derive(Default)]
pub(crate) struct Turn {
    rows: usize,
}

impl Turn {
    /// So many rows are done.
    pub fn did(&mut self, rows: usize) {
        self.rows += rows;
        if self.rows >= ROWS_A_TURN {
            self.rows = 0;
            std::thread::yield_now();
        }
    }
}
