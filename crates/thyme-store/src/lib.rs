//! Timelines at rest: the chunks of every entity's timelines, and the facts that go with them.
//!
//! A [`Store`] is a cache of the log: what it lost, the log replays. What it must never do is to give
//! back something else than was written, or half a [`CheckpointBatch`]. It does not know pipelines: a
//! chunk is bytes under (node, entity key, chunk id), and a fact is bytes under a name. The LSM tree
//! inside stays inside.

mod backend;
mod batch;
mod disk;
mod dump;
mod encoding;
mod failure;
mod memory;
mod renewal;
mod scratch;
mod store;
mod tree_files;

pub use backend::{Backend, Bytes, Pairs, Write};
pub use batch::{CheckpointBatch, ChunkKey};
pub use memory::MemoryStore;
pub use store::{Room, Store};
pub use tree_files::{Depth, FileFault};

/// A chunk as [`Store::chunks`] gives it: entity key, chunk id, bytes.
pub type StoredChunk = (Box<[u8]>, u32, Vec<u8>);
