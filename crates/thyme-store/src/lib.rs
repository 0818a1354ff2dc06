//! Timelines at rest: the chunks of every entity's timelines, and the facts that go with them.
//!
//! A [`Store`] is a cache of the log: what it lost, the log replays. What it must never do is to give
//! back something else than was written, or half a [`CheckpointBatch`]. It does not know pipelines: a
//! chunk is bytes under (node, entity key, chunk id), and a fact is bytes under a name. The LSM tree
//! inside stays inside.

mod batch;
mod disk;
mod encoding;
mod failure;
mod memory;

use std::path::Path;

use thyme_core::error::Result;

pub use batch::{CheckpointBatch, ChunkKey};

use disk::DiskStore;
use memory::MemoryStore;

/// A chunk as [`Store::chunks`] gives it: entity key, chunk id, bytes.
pub type StoredChunk = (Box<[u8]>, u32, Vec<u8>);

/// Chunks and facts, written in atomic batches.
#[derive(Debug)]
pub struct Store {
    place: Place,
}

#[derive(Debug)]
enum Place {
    Disk(DiskStore),
    Memory(MemoryStore),
}

impl Store {
    /// Opens the store in `dir`, creating it if there is none.
    ///
    /// # Errors
    /// `Unavailable` when another process uses it, `Unsupported` when a later Thyme wrote it, `Corrupt`
    /// when its files are damaged. The store can always be rebuilt from the log: without its directory.
    pub fn open(dir: &Path) -> Result<Store> {
        Ok(Store { place: Place::Disk(DiskStore::open(dir)?) })
    }

    /// A store in memory, lost with the process.
    pub fn in_memory() -> Store {
        Store { place: Place::Memory(MemoryStore::default()) }
    }

    /// Writes the whole of `batch`, or nothing of it; it is on durable storage when this returns.
    ///
    /// # Errors
    /// `TooLarge` when a key or value in it cannot be stored: nothing was written. `StorageFull` and
    /// `Unavailable`: nothing of this batch will be seen, and the store takes no more until a restart.
    pub fn checkpoint(&self, batch: CheckpointBatch) -> Result<()> {
        let writes = batch.into_writes()?;
        if writes.is_empty() {
            return Ok(());
        }
        match &self.place {
            Place::Disk(store) => store.write(writes),
            Place::Memory(store) => {
                store.write(writes);
                Ok(())
            }
        }
    }

    /// The fact named `name`.
    pub fn meta(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let key = encoding::meta_key(name);
        let stored = match &self.place {
            Place::Disk(store) => store.get(&key)?,
            Place::Memory(store) => store.get(&key),
        };
        stored.map(|value| encoding::open_value(&key, &value)).transpose()
    }

    /// All chunks of `node`, one entity after the other, the chunks of an entity by ascending id.
    ///
    /// Entities come by (length of the key, key). It sees the store as it is at the time of the call.
    pub fn chunks(&self, node: u32) -> impl Iterator<Item = Result<StoredChunk>> + Send + use<> {
        self.scan(encoding::node_prefix(node))
    }

    /// The chunks of one entity of `node`, by ascending id, as of the time of the call.
    pub fn chunks_of(
        &self,
        node: u32,
        key: &[u8],
    ) -> impl Iterator<Item = Result<StoredChunk>> + Send + use<> {
        self.scan(encoding::entity_prefix(node, key))
    }

    fn scan(&self, prefix: Vec<u8>) -> impl Iterator<Item = Result<StoredChunk>> + Send + use<> {
        let pairs: encoding::Pairs = match &self.place {
            Place::Disk(store) => store.scan(&prefix),
            Place::Memory(store) => store.scan(&prefix),
        };
        pairs.map(|pair| {
            let (key, value) = pair?;
            let (_, entity, chunk) = encoding::parse_chunk_key(&key)?;
            let entity = entity.into();
            Ok((entity, chunk, encoding::open_value(&key, &value)?))
        })
    }

    /// The nodes that have chunks, ascending.
    pub fn nodes(&self) -> Result<Vec<u32>> {
        let mut nodes = Vec::new();
        let mut from = Some(0);
        while let Some(node) = from {
            let start = encoding::node_prefix(node);
            let key = match &self.place {
                Place::Disk(store) => store.first_chunk_from(&start)?,
                Place::Memory(store) => store.first_chunk_from(&start),
            };
            let Some(key) = key else { break };
            let (found, _, _) = encoding::parse_chunk_key(&key)?;
            nodes.push(found);
            from = found.checked_add(1);
        }
        Ok(nodes)
    }

    /// Removes all chunks of `node`.
    ///
    /// Not one atomic write: after a crash some may be left and [`Store::nodes`] still lists the node;
    /// dropping it again finishes the work. So say first, in a checkpoint, that the node is gone.
    pub fn drop_node(&self, node: u32) -> Result<()> {
        let prefix = encoding::node_prefix(node);
        match &self.place {
            Place::Disk(store) => store.remove_prefix(&prefix),
            Place::Memory(store) => {
                store.remove_prefix(&prefix);
                Ok(())
            }
        }
    }

    /// The bytes that the store takes, on disk or in memory.
    pub fn bytes(&self) -> u64 {
        match &self.place {
            Place::Disk(store) => store.bytes(),
            Place::Memory(store) => store.bytes(),
        }
    }
}
