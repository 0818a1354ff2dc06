//! The engine: one log, shards that are deterministic state machines over it, and the snapshots that
//! readers take.
//!
//! An accepted push becomes a log record ([`committer`]), the record is admitted and run through the
//! operators of every node it feeds ([`applier`]), its rows go to the shards that own their keys
//! ([`shard`]), and the record's position is published by the [`gate`]. [`snapshot`] reads
//! `value(k, T, S)`; [`checkpoint`] makes restarts short; the log alone would do. [`residence`] keeps the
//! timelines that are used in memory and the others in the store.

mod additions;
pub mod admission;
mod answers;
mod applier;
pub mod attached;
mod backfill;
mod base;
mod beside;
mod budget;
mod catalog;
mod checkpoint;
mod committer;
mod cutting;
pub mod decode;
mod dedup;
mod directory;
mod done;
mod engine;
mod erasure;
mod event_ids;
mod events;
mod expectations;
mod feed;
mod flow;
mod gate;
mod gather;
mod health;
mod idempotency;
mod join;
mod keys;
mod late;
mod lease;
mod left_out;
pub mod maintenance;
mod memory;
mod node;
mod options;
mod outlines;
mod push;
mod queue;
mod record;
mod remains;
mod replay;
mod residence;
mod retention;
mod rows;
mod runs;
mod sealed;
mod shard;
mod snapshot;
mod starting;
mod state;
mod stepper;
mod steps;
mod stripe;
mod stuck;
mod tally;
pub mod trial;
mod union;

pub use backfill::PendingCommit;
pub use budget::{Budget, BudgetFacts, LINE_MAX, Place, Ticket};
pub use catalog::{Catalog, LiveDataset};
pub use directory::{JOBS_FOLDER, QUERY_RUNS_FOLDER};
pub use engine::{
    Begun, Committed, Engine, History, HistoryRecord, Kept, Letter, Logged, PATIENCE, Planned, Replay,
    Reread, RowsPage, RowsPlace, RowsQuery, overloaded,
};
pub use erasure::{ENTITIES_MAX, ErasureReceipt};
pub use events::{Event, EventLog, Severity};
pub use expectations::Violation;
pub use health::Poisoned;
pub use idempotency::Idempotency;
pub use late::{LeftOutEvent, LeftOutQuery, Wanted, Why};
pub use memory::{MEMORY_MIN, Memory};
pub use node::{Node, NodeId, Output};
pub use options::{Clock, Options, Parts};
pub use push::{Push, Receipt, SourceBatch};
pub use record::{CommitNote, DeadLetter};
pub use residence::MemoryFacts;
pub use sealed::{KEYS, Kind, SealedFile, random_bytes};
pub use snapshot::{ReadAt, Snapshot};
pub use starting::{Starting, Step};
pub use state::DatasetCounters;
pub use stepper::{CheckpointStep, Stepper};
