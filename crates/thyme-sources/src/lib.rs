//! Sources: connectors that feed datasets from outside, each exactly once.
//!
//! [`Sources`] runs one thread for each source of the committed datasets ([`runner`]). A thread asks its
//! connector ([`connector`]) for rows and hands them to the engine together with the connector's bookmark,
//! so that both become durable in one log record; after a restart the connector goes on from the bookmark
//! of the last record. [`file`] reads JSONL, CSV and Parquet files.

mod connector;
mod file;
mod runner;
mod sources;

pub use connector::Unfinished;
pub use file::reread;

pub use sources::{SourceStatus, Sources};
