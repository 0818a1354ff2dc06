//! The store on disk: one keyspace of an LSM tree.
//!
//! Facts and chunks share the keyspace on purpose. The tree below flushes and recovers each keyspace on
//! its own, so facts and chunks in two of them could come back from different checkpoints when the tail
//! of its journal is damaged. In one keyspace every state it recovers is a state that was written.

use std::fs::{self, File};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Readable};
use thyme_core::error::Result;

use crate::backend::{Backend, Bytes, Pairs, Write};
use crate::failure::{failed, in_use, io_failed};

/// Name of the one keyspace.
const KEYSPACE: &str = "thyme";
/// Memory for blocks read from disk.
const CACHE_BYTES: u64 = 64 << 20;

pub struct DiskStore {
    dir: PathBuf,
    keyspace: Keyspace,
    database: Database,
    _lock: File,
}

impl std::fmt::Debug for DiskStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiskStore").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl DiskStore {
    pub fn open(dir: &Path) -> Result<Self> {
        let lock = prepare(dir)?;
        let opening = |fault| failed(dir, "opening", fault);
        let database = Database::builder(dir).cache_size(CACHE_BYTES).open().map_err(opening)?;
        let keyspace = database.keyspace(KEYSPACE, KeyspaceCreateOptions::default).map_err(opening)?;
        Ok(DiskStore { dir: dir.to_owned(), keyspace, database, _lock: lock })
    }
}

impl Backend for DiskStore {
    fn write(&self, writes: Vec<Write>) -> Result<()> {
        // A batch made with a capacity has no durability of its own: without this line it would stay in
        // the process.
        let mut batch = OwnedWriteBatch::with_capacity(self.database.clone(), writes.len())
            .durability(Some(PersistMode::SyncData));
        for Write { key, value } in writes {
            match value {
                Some(value) => batch.insert(&self.keyspace, key, value),
                None => batch.remove(&self.keyspace, key),
            }
        }
        batch.commit().map_err(|fault| failed(&self.dir, "writing a checkpoint to", fault))
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.database.snapshot().get(&self.keyspace, key).map_err(|fault| failed(&self.dir, "reading", fault))
    }

    fn scan(&self, prefix: &[u8]) -> Pairs {
        let dir = self.dir.clone();
        // Through a snapshot: a scan of the keyspace itself would see half of a batch that is being applied.
        let pairs = self.database.snapshot().prefix(&self.keyspace, prefix);
        Box::new(pairs.map(move |guard| guard.into_inner().map_err(|fault| failed(&dir, "reading", fault))))
    }

    fn first(&self, start: &[u8]) -> Result<Option<Bytes>> {
        let range = (Bound::Included(start), Bound::Unbounded);
        let first = self.database.snapshot().range::<&[u8], _>(&self.keyspace, range).next();
        first.map(|guard| guard.key()).transpose().map_err(|fault| failed(&self.dir, "reading", fault))
    }

    fn bytes(&self) -> u64 {
        self.database.disk_space().unwrap_or_default()
    }

    fn place(&self) -> String {
        self.dir.display().to_string()
    }
}

/// Makes the directory, takes its lock, and clears what a crash in the middle of creating a store left.
fn prepare(dir: &Path) -> Result<File> {
    let shown = dir.display().to_string();
    let failed = |io: io::Error| io_failed(&shown, "opening", &io);
    fs::create_dir_all(dir).map_err(failed)?;
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(dir.join("store.lock"))
        .map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => return Err(in_use(&shown)),
        Err(fs::TryLockError::Error(io)) => return Err(failed(io)),
    }
    // The tree writes its version marker last. Before that there is nothing in it, and it would stumble
    // over its own first journal.
    let unmade = fs::metadata(dir.join("version")).map_or(true, |marker| marker.len() == 0);
    if unmade {
        for file in ["version", "0.jnl"] {
            match fs::remove_file(dir.join(file)) {
                Err(io) if io.kind() != io::ErrorKind::NotFound => return Err(failed(io)),
                _ => {}
            }
        }
    }
    Ok(lock)
}
