//! The store over any backend: its format, its checksums, and the numbers that show a lost batch.

use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use thyme_core::error::{Error, ErrorKind, Result};

use crate::StoredChunk;
use crate::backend::{Backend, Write};
use crate::batch::{CheckpointBatch, ChunkKey};
use crate::disk::DiskStore;
use crate::dump;
use crate::encoding::{self, FORMAT_VERSION, REBUILD};
use crate::failure::io_failed;
use crate::memory::MemoryStore;
use crate::tree_files::{self, Depth, FileFault};

/// How many serial numbers of checkpoints are kept, to notice one missing between two others.
const SERIALS_KEPT: u64 = 16_384;
/// Removals written at once when a node is dropped.
const REMOVALS_PER_BATCH: usize = 20_000;

/// How much memory a store on disk may take, about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes of blocks read from disk.
    pub cache: u64,
    /// Bytes of writes that are gathered before they become a file. Up to five times as much may be on
    /// its way to disk before writers have to wait.
    pub memtable: u64,
}

impl Default for Room {
    fn default() -> Self {
        Room { cache: 64 << 20, memtable: 64 << 20 }
    }
}

/// When a write is on durable storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Durability {
    /// When it returns.
    Synced,
    /// With the next one that is synced, or before.
    Soon,
}

/// Chunks and facts, written in atomic batches.
#[derive(Debug)]
pub struct Store {
    backend: Arc<dyn Backend>,
    /// The serial number of the last batch; held while one is written.
    serial: Mutex<u64>,
}

impl Store {
    /// Opens the store in `dir`, creating it if there is none.
    ///
    /// # Errors
    /// `Unavailable` when another process uses it, `Unsupported` when a later Thyme wrote it, `Corrupt`
    /// when its files are damaged. The store can always be rebuilt from the log: without its directory.
    pub fn open(dir: &Path, room: Room) -> Result<Store> {
        Self::over(Arc::new(DiskStore::open(dir, room)?))
    }

    /// Opens the store in `dir` as it is and changes nothing there: what opening it writes goes to a folder for
    /// temporary files, with links to what is large. Takes no lock: the caller sees to it that nobody writes.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_untouched(dir: &Path) -> Result<Store> {
        Self::over(Arc::new(DiskStore::open_untouched(dir)?))
    }

    /// What is wrong with the files of the store in `dir`. Changes nothing.
    ///
    /// # Errors
    /// `Unavailable` when they cannot be read.
    pub fn survey(dir: &Path, depth: Depth) -> Result<Vec<FileFault>> {
        tree_files::survey(dir, depth).map_err(|io| io_failed(&dir.display().to_string(), "reading", &io))
    }

    /// Writes all that is in the store, as of the time of the call, as one stream; gives how many entries.
    ///
    /// # Errors
    /// `Corrupt` when stored bytes are not what was written, `Unavailable` when `out` fails.
    pub fn export(&self, out: &mut dyn io::Write) -> Result<u64> {
        dump::write(self.backend.scan(&[]), out)
    }

    /// Makes a store in `dir` of what [`Store::export`] wrote; gives how many entries.
    ///
    /// # Errors
    /// `Corrupt` when it is not what was written, `Unsupported` when a later Thyme wrote it.
    pub fn import(dir: &Path, input: &mut dyn io::Read) -> Result<u64> {
        let backend = DiskStore::open(dir, Room::default())?;
        let count = dump::read(input, &mut |batch| backend.write(batch))?;
        backend.settle()?;
        drop(backend);
        // As any open: its format is known, and no checkpoint is missing.
        Store::open(dir, Room::default()).map(|_| count)
    }

    /// A store in memory, lost with the process.
    pub fn in_memory() -> Store {
        Store { backend: Arc::new(MemoryStore::default()), serial: Mutex::new(0) }
    }

    /// The store over `backend`: [`Store::open`] with another place for its bytes.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn over(backend: Arc<dyn Backend>) -> Result<Store> {
        let mut store = Store { backend, serial: Mutex::new(0) };
        store.check_format()?;
        store.serial = Mutex::new(store.last_serial()?);
        Ok(store)
    }

    fn check_format(&self) -> Result<()> {
        let key = encoding::format_key();
        let Some(sealed) = self.backend.get(&key)? else {
            return if self.backend.first(&[])?.is_none() {
                let value = encoding::seal_value(&key, &encoding::format_value());
                self.backend.write(vec![Write { key: key.into(), value: Some(value) }])
            } else {
                Err(Error::corrupt(format!(
                    "the store in {} has lost its format entry; {REBUILD}",
                    self.backend.place()
                )))
            };
        };
        match encoding::parse_format(&encoding::open_value(&key, &sealed)?) {
            Some(FORMAT_VERSION) => Ok(()),
            found => Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "the store in {} has format {}, this Thyme reads format {FORMAT_VERSION}; start it with the Thyme \
                     that wrote it, or {REBUILD}",
                    self.backend.place(),
                    found.map_or("unknown".to_owned(), |version| version.to_string()),
                ),
            )),
        }
    }

    /// The serial number of the last batch, once it is sure that none before it is missing.
    fn last_serial(&self) -> Result<u64> {
        let mut last = None;
        for pair in self.backend.scan(&encoding::serial_prefix()) {
            let (key, _) = pair?;
            let serial = encoding::parse_serial_key(&key);
            if serial.is_none() || last.is_some_and(|last: u64| serial != last.checked_add(1)) {
                return Err(Error::corrupt(format!(
                    "the store in {} has lost a checkpoint after number {}; {REBUILD}",
                    self.backend.place(),
                    last.unwrap_or_default(),
                )));
            }
            last = serial;
        }
        Ok(last.unwrap_or_default())
    }

    fn write(&self, mut writes: Vec<Write>, durability: Durability) -> Result<()> {
        let mut serial = self.serial.lock();
        let next = *serial + 1;
        let key = encoding::serial_key(next);
        let value = encoding::seal_value(&key, &[]);
        writes.push(Write { key: key.into(), value: Some(value) });
        if let Some(old) = next.checked_sub(SERIALS_KEPT) {
            writes.push(Write { key: encoding::serial_key(old).into(), value: None });
        }
        match durability {
            Durability::Synced => self.backend.write(writes)?,
            Durability::Soon => self.backend.write_soon(writes)?,
        }
        *serial = next;
        Ok(())
    }

    /// Writes the whole of `batch`, or nothing of it; it is on durable storage when this returns.
    ///
    /// # Errors
    /// `TooLarge` when a key or value in it cannot be stored: nothing was written. `StorageFull`: nothing of
    /// this batch will be seen before a restart; the store takes more once there is space. `Unavailable`: it
    /// takes no more until a restart.
    pub fn checkpoint(&self, batch: CheckpointBatch) -> Result<()> {
        self.take(batch, Durability::Synced)
    }

    /// As [`Store::checkpoint`], but on durable storage only when a later checkpoint is: a crash loses it
    /// together with all that was written after it, or not at all.
    ///
    /// # Errors
    /// As [`Store::checkpoint`].
    pub fn spill(&self, batch: CheckpointBatch) -> Result<()> {
        self.take(batch, Durability::Soon)
    }

    fn take(&self, batch: CheckpointBatch, durability: Durability) -> Result<()> {
        let writes = batch.into_writes()?;
        if writes.is_empty() { Ok(()) } else { self.write(writes, durability) }
    }

    /// The fact named `name`.
    pub fn meta(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let key = encoding::meta_key(name);
        self.backend.get(&key)?.map(|value| encoding::open_value(&key, &value)).transpose()
    }

    /// The row of a table under a key.
    pub fn row(&self, table: u8, row: &[u8]) -> Result<Option<Vec<u8>>> {
        let key = encoding::row_key(table, row);
        self.backend.get(&key)?.map(|value| encoding::open_value(&key, &value)).transpose()
    }

    /// The keys and values of all rows of a table, by ascending key, as of the time of the call.
    pub fn rows(&self, table: u8) -> impl Iterator<Item = Result<(Vec<u8>, Vec<u8>)>> + Send + use<> {
        let prefix = encoding::table_prefix(table);
        self.backend.scan(&prefix).map(move |pair| {
            let (key, value) = pair?;
            let value = encoding::open_value(&key, &value)?;
            Ok((key.get(prefix.len()..).unwrap_or_default().to_vec(), value))
        })
    }

    /// All chunks of `node`, one entity after the other, the chunks of an entity by ascending id.
    ///
    /// Entities come by (length of the key, key), those with keys of more than 60,000 bytes by length and hash. It sees the store as it is at the time of the call.
    pub fn chunks(&self, node: u32) -> impl Iterator<Item = Result<StoredChunk>> + Send + use<> {
        self.scan(&encoding::node_prefix(node))
    }

    /// The chunks of one entity of `node`, by ascending id, as of the time of the call.
    pub fn chunks_of(
        &self,
        node: u32,
        key: &[u8],
    ) -> impl Iterator<Item = Result<StoredChunk>> + Send + use<> {
        self.scan(&encoding::entity_prefix(node, key))
    }

    fn scan(&self, prefix: &[u8]) -> impl Iterator<Item = Result<StoredChunk>> + Send + use<> {
        self.backend.scan(prefix).map(|pair| {
            let (key, value) = pair?;
            let parsed = encoding::parse_chunk_key(&key)?;
            let (entity, value) = parsed.open(encoding::open_value(&key, &value)?)?;
            Ok((entity, parsed.chunk, value))
        })
    }

    /// The chunk at a place. Seldom reads anything when there is none.
    pub fn chunk(&self, key: ChunkKey<'_>) -> Result<Option<Vec<u8>>> {
        let key = encoding::chunk_key(key);
        let Some(value) = self.backend.get(&key)? else { return Ok(None) };
        let value = encoding::open_value(&key, &value)?;
        encoding::parse_chunk_key(&key)?.open(value).map(|(_, chunk)| Some(chunk))
    }

    /// Whether `node` has any chunks.
    pub fn has_node(&self, node: u32) -> Result<bool> {
        let prefix = encoding::node_prefix(node);
        Ok(self.backend.first(&prefix)?.is_some_and(|key| key.starts_with(&prefix)))
    }

    /// The nodes that have chunks, ascending.
    pub fn nodes(&self) -> Result<Vec<u32>> {
        let mut nodes = Vec::new();
        let mut from = Some(0);
        while let Some(node) = from {
            let first = self.backend.first(&encoding::node_prefix(node))?;
            let Some(key) = first.filter(|key| key.starts_with(&encoding::chunk_prefix())) else { break };
            let found = encoding::parse_chunk_key(&key)?.node;
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
        let mut writes = Vec::new();
        for pair in self.backend.scan(&encoding::node_prefix(node)) {
            let (key, _) = pair?;
            writes.push(Write { key, value: None });
            if writes.len() == REMOVALS_PER_BATCH {
                self.write(std::mem::take(&mut writes), Durability::Synced)?;
            }
        }
        if writes.is_empty() { Ok(()) } else { self.write(writes, Durability::Synced) }
    }

    /// Makes its files anew: what was removed or written over is in none of them when this returns. Takes as
    /// long as copying what it holds; reads go on meanwhile, checkpoints wait.
    ///
    /// # Errors
    /// `StorageFull` and `Unavailable`: the store is as it was.
    pub fn renew(&self) -> Result<()> {
        let _no_write = self.serial.lock();
        self.backend.renew()
    }

    /// Lets go of its files, whoever still holds it: from here on it can neither be read nor written.
    pub fn close(&self) {
        self.backend.close();
    }

    /// The bytes that the store takes, on disk or in memory.
    pub fn bytes(&self) -> u64 {
        self.backend.bytes()
    }
}
