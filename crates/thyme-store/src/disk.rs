//! The store on disk: one keyspace of an LSM tree.
//!
//! Facts and chunks share the keyspace on purpose. The tree below flushes and recovers each keyspace on
//! its own, so facts and chunks in two of them could come back from different checkpoints when the tail
//! of its journal is damaged. In one keyspace every state it recovers is a state that was written.

use std::fs::{self, File};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Readable, Slice};
use parking_lot::Mutex;
use thyme_core::error::{Error, ErrorKind, Result};

use crate::encoding::{self, FORMAT_VERSION, Pairs, REBUILD, Write, chunk_prefix};
use crate::failure::{failed, in_use, io_failed};

/// Name of the one keyspace.
const KEYSPACE: &str = "thyme";
/// Memory for blocks read from disk.
const CACHE_BYTES: u64 = 64 << 20;
/// How many serial numbers of checkpoints are kept, to notice one missing between two others.
const SERIALS_KEPT: u64 = 16_384;
/// Removals written at once when a node is dropped.
const REMOVALS_PER_BATCH: usize = 20_000;

pub struct DiskStore {
    dir: PathBuf,
    keyspace: Keyspace,
    /// The serial number of the last checkpoint; held while one is written.
    serial: Mutex<u64>,
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
        let mut store =
            DiskStore { dir: dir.to_owned(), keyspace, serial: Mutex::new(0), database, _lock: lock };
        store.check_format()?;
        store.serial = Mutex::new(store.last_serial()?);
        Ok(store)
    }

    fn check_format(&self) -> Result<()> {
        let key = encoding::format_key();
        let Some(sealed) = self.get(&key)? else {
            return if self.keyspace.is_empty().map_err(|fault| failed(&self.dir, "opening", fault))? {
                let value = encoding::seal_value(&key, &encoding::format_value());
                self.commit(vec![Write { key: key.into(), value: Some(value) }])
            } else {
                Err(Error::corrupt(format!(
                    "the store in {} has lost its format entry; {REBUILD}",
                    self.dir.display()
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
                    self.dir.display(),
                    found.map_or("unknown".to_owned(), |version| version.to_string()),
                ),
            )),
        }
    }

    /// The serial number of the last checkpoint, once it is sure that none before it is missing.
    fn last_serial(&self) -> Result<u64> {
        let mut last = None;
        for pair in self.scan(&encoding::serial_prefix()) {
            let (key, _) = pair?;
            let serial = encoding::parse_serial_key(&key);
            if serial.is_none() || last.is_some_and(|last: u64| serial != last.checked_add(1)) {
                return Err(Error::corrupt(format!(
                    "the store in {} has lost a checkpoint after number {}; {REBUILD}",
                    self.dir.display(),
                    last.unwrap_or_default(),
                )));
            }
            last = serial;
        }
        Ok(last.unwrap_or_default())
    }

    pub fn write(&self, mut writes: Vec<Write>) -> Result<()> {
        let mut serial = self.serial.lock();
        let next = *serial + 1;
        let key = encoding::serial_key(next);
        let value = encoding::seal_value(&key, &[]);
        writes.push(Write { key: key.into(), value: Some(value) });
        if let Some(old) = next.checked_sub(SERIALS_KEPT) {
            writes.push(Write { key: encoding::serial_key(old).into(), value: None });
        }
        self.commit(writes)?;
        *serial = next;
        Ok(())
    }

    fn commit(&self, writes: Vec<Write>) -> Result<()> {
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

    pub fn get(&self, key: &[u8]) -> Result<Option<Slice>> {
        self.database.snapshot().get(&self.keyspace, key).map_err(|fault| failed(&self.dir, "reading", fault))
    }

    pub fn scan(&self, prefix: &[u8]) -> Pairs {
        let dir = self.dir.clone();
        // Through a snapshot: a scan of the keyspace itself would see half of a batch that is being applied.
        let pairs = self.database.snapshot().prefix(&self.keyspace, prefix);
        Box::new(pairs.map(move |guard| guard.into_inner().map_err(|fault| failed(&dir, "reading", fault))))
    }

    pub fn first_chunk_from(&self, start: &[u8]) -> Result<Option<Slice>> {
        let range = (Bound::Included(start), Bound::Unbounded);
        let first = self.database.snapshot().range::<&[u8], _>(&self.keyspace, range).next();
        let key = first.map(|guard| guard.key()).transpose();
        let key = key.map_err(|fault| failed(&self.dir, "reading", fault))?;
        Ok(key.filter(|key| key.starts_with(&chunk_prefix())))
    }

    pub fn remove_prefix(&self, prefix: &[u8]) -> Result<()> {
        let mut writes = Vec::new();
        for guard in self.database.snapshot().prefix(&self.keyspace, prefix) {
            let key = guard.key().map_err(|fault| failed(&self.dir, "reading", fault))?;
            writes.push(Write { key, value: None });
            if writes.len() == REMOVALS_PER_BATCH {
                self.write(std::mem::take(&mut writes))?;
            }
        }
        if writes.is_empty() { Ok(()) } else { self.write(writes) }
    }

    pub fn bytes(&self) -> u64 {
        self.database.disk_space().unwrap_or_default()
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
