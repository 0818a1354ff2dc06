//! The store on disk: one keyspace of an LSM tree.
//!
//! Facts and chunks share the keyspace on purpose. The tree below flushes and recovers each keyspace on
//! its own, so facts and chunks in two of them could come back from different checkpoints when the tail
//! of its journal is damaged. In one keyspace every state it recovers is a state that was written.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fjall::compaction::Leveled;
use fjall::config::PartitioningPolicy;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Readable};
use parking_lot::{Mutex, RwLock, RwLockWriteGuard};
use thyme_core::error::{Error, ErrorKind, Result};

use crate::backend::{Backend, Bytes, Pairs, Write};
use crate::failure::{Place, damaged, in_use, io_failed};
use crate::renewal;
use crate::scratch::Scratch;
use crate::store::Room;
use crate::tree_files::{self, Depth};

/// Name of the one keyspace.
const KEYSPACE: &str = "thyme";
/// What a write takes in memory besides its key and value.
const WRITE_BYTES: u64 = 64;
/// Threads that write and merge files. One of the tree's threads is kept for writing files, and asks without a pause
/// whether there is something to write while as many merges wait as there are other threads: one is merging, one is free.
const WORKERS: usize = 3;
/// Bytes of a table. The first level has four times as much, which every few files of new writes are merged into.
const TABLE_BYTES: u64 = 16 << 20;
/// What is written to see whether there is space again.
const PROBE_BYTES: usize = 1 << 20;

pub struct DiskStore {
    place: Arc<Place>,
    room: Room,
    /// Where the tree's files are, if not there.
    folder: PathBuf,
    /// `None` while it is being opened again.
    tree: RwLock<Option<Tree>>,
    /// Held while something is written.
    writes: Mutex<Writes>,
    /// Held by every scan: files are not taken away from under it.
    scans: Arc<()>,
    lock: Mutex<File>,
    /// Goes last: the tree still writes while it closes.
    _scratch: Option<Scratch>,
}

struct Tree {
    keyspace: Keyspace,
    database: Database,
    /// Bytes of writes that are gathered before they become a file, and how many there are.
    memtable: (u64, AtomicU64),
}

/// Whether writes are taken. After any that failed the tree itself takes no more.
#[derive(Debug)]
enum Writes {
    Good,
    /// There was no space; once there is, the tree is opened again.
    Full,
    /// A sync failed, and nobody knows what is on the disk.
    Lost,
    /// It is somebody else's from now on.
    Closed,
}

impl std::fmt::Debug for DiskStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiskStore").field("dir", &self.place.dir()).finish_non_exhaustive()
    }
}

impl Tree {
    /// Opens what is in `folder`, and speaks of it as the store at `place`.
    fn open(folder: &Path, place: &Place, room: Room) -> Result<Self> {
        let dir = place.dir();
        refuse_damage(dir)?;
        clear_unmade(folder).map_err(|io| io_failed(&dir.display().to_string(), "opening", &io))?;
        // What it cannot make sense of, the tree may say with a panic.
        let open = || Database::builder(folder).cache_size(room.cache).worker_threads(WORKERS).open();
        let opened = catch_unwind(AssertUnwindSafe(open)).map_err(|_| place.damaged("opening"))?;
        let opening = |fault| place.failed("opening", fault);
        let database = opened.map_err(opening)?;
        let keyspace = database.keyspace(KEYSPACE, options).map_err(opening)?;
        Ok(Tree { keyspace, database, memtable: (room.memtable, AtomicU64::new(0)) })
    }

    fn write(&self, writes: Vec<Write>, mode: PersistMode) -> fjall::Result<()> {
        // A batch made with a capacity has no durability of its own: without this line it would stay in
        // the process.
        let mut batch =
            OwnedWriteBatch::with_capacity(self.database.clone(), writes.len()).durability(Some(mode));
        let mut bytes = 0;
        for Write { key, value } in writes {
            bytes += WRITE_BYTES + (key.len() + value.as_ref().map_or(0, |value| value.len())) as u64;
            match value {
                Some(value) => batch.insert(&self.keyspace, key, value),
                None => batch.remove(&self.keyspace, key),
            }
        }
        batch.commit()?;
        // The tree keeps the limit that it was made with, whatever the memory is today.
        if self.memtable.1.fetch_add(bytes, Ordering::AcqRel) + bytes >= self.memtable.0 {
            self.memtable.1.store(0, Ordering::Release);
            self.keyspace.rotate_memtable()?;
        }
        Ok(())
    }
}

/// How a new tree is laid out; one that is there stays as it was made.
fn options() -> KeyspaceCreateOptions {
    // In a state many times the cache, a look must not read a whole table's index and filter into it.
    KeyspaceCreateOptions::default()
        .index_block_partitioning_policy(PartitioningPolicy::new([false, true]))
        .filter_block_partitioning_policy(PartitioningPolicy::new([false, true]))
        .compaction_strategy(Arc::new(Leveled::default().with_table_target_size(TABLE_BYTES)))
}

impl DiskStore {
    pub fn open(dir: &Path, room: Room) -> Result<Self> {
        renewal::resume(dir)?;
        Self::open_in(dir, dir, room, None)
    }

    /// Opens one that is being made.
    pub fn begin(dir: &Path) -> Result<Self> {
        Self::open_in(dir, dir, Room::default(), None)
    }

    /// Opens it in a folder that stands for it.
    pub fn open_untouched(dir: &Path) -> Result<Self> {
        let shown = dir.display().to_string();
        let scratch = Scratch::of(dir).map_err(|io| io_failed(&shown, "copying the small files of", &io))?;
        let folder = scratch.path().to_owned();
        Self::open_in(&folder, dir, Room::default(), Some(scratch))
    }

    fn open_in(folder: &Path, dir: &Path, room: Room, scratch: Option<Scratch>) -> Result<Self> {
        let lock = take_lock(folder)?;
        let place = Arc::new(Place::new(dir));
        let tree = RwLock::new(Some(Tree::open(folder, &place, room)?));
        let (folder, writes) = (folder.to_owned(), Mutex::new(Writes::Good));
        let (lock, scans) = (Mutex::new(lock), Arc::new(()));
        Ok(DiskStore { place, room, folder, tree, writes, scans, lock, _scratch: scratch })
    }

    /// Moves what is written from the journal into tables, whose files carry checksums.
    pub fn settle(&self) -> Result<()> {
        let settled = |tree: &Tree| {
            let writing = |fault| self.place.failed("writing tables of", fault);
            tree.keyspace.rotate_memtable_and_wait().map_err(writing)
        };
        self.with(settled)
    }

    fn with<T>(&self, read: impl FnOnce(&Tree) -> Result<T>) -> Result<T> {
        match &*self.tree.read() {
            Some(tree) => read(tree),
            None => Err(Error::unavailable(format!(
                "the store in {} is closed, or being opened again after its disk was full",
                self.place.dir().display()
            ))),
        }
    }

    /// Opens the tree again, so that it takes writes. It is left alone while there is no space: it can still be read.
    fn reopen(&self) -> Result<()> {
        self.probe().map_err(|io| io_failed(&self.place.dir().display().to_string(), "writing to", &io))?;
        let mut tree = self.tree.write();
        // It holds a lock on its files until it is gone.
        drop(tree.take());
        *tree = Some(Tree::open(&self.folder, &self.place, self.room)?);
        Ok(())
    }

    /// The tree when nobody scans it. Who wants to begin meanwhile is let in between two attempts.
    fn alone(&self) -> Result<RwLockWriteGuard<'_, Option<Tree>>> {
        for _ in 0..renewal::ATTEMPTS {
            let tree = self.tree.write();
            if renewal::is_alone_soon(&self.scans) {
                return Ok(tree);
            }
            drop(tree);
            renewal::pause();
        }
        Err(Error::unavailable(format!(
            "the store in {} is being read for longer than a minute",
            self.place.dir().display()
        )))
    }

    fn closed(&self) -> Error {
        Error::unavailable(format!("the store in {} is closed", self.place.dir().display()))
    }

    fn probe(&self) -> io::Result<()> {
        let path = self.folder.join("probe");
        let written = File::create(&path).and_then(|mut file| {
            file.write_all(&vec![0; PROBE_BYTES])?;
            file.sync_all()
        });
        fs::remove_file(&path)?;
        written
    }
}

impl DiskStore {
    fn commit(&self, writes: Vec<Write>, mode: PersistMode) -> Result<()> {
        let mut state = self.writes.lock();
        match *state {
            Writes::Good => {}
            Writes::Full => {
                self.reopen()?;
                *state = Writes::Good;
            }
            Writes::Closed => return Err(self.closed()),
            Writes::Lost => return Err(self.place.failed("writing to", fjall::Error::Poisoned)),
        }
        self.with(|tree| {
            tree.write(writes, mode).map_err(|fault| {
                // What the tree does by itself may also find no space, which is seen at the next write.
                let by_itself = matches!(fault, fjall::Error::Poisoned);
                let error = self.place.failed("writing a checkpoint to", fault);
                *state = match error.kind() {
                    ErrorKind::StorageFull => Writes::Full,
                    _ if by_itself => Writes::Full,
                    _ => Writes::Lost,
                };
                error
            })
        })
    }
}

impl Backend for DiskStore {
    fn write(&self, writes: Vec<Write>) -> Result<()> {
        self.commit(writes, PersistMode::SyncData)
    }

    fn write_soon(&self, writes: Vec<Write>) -> Result<()> {
        self.commit(writes, PersistMode::Buffer)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        let reading = |fault| self.place.failed("reading", fault);
        self.with(|tree| tree.database.snapshot().get(&tree.keyspace, key).map_err(reading))
    }

    fn scan(&self, prefix: &[u8]) -> Pairs {
        let place = Arc::clone(&self.place);
        // Through a snapshot: a scan of the keyspace itself would see half of a batch that is being applied.
        match self.with(|tree| Ok(tree.database.snapshot().prefix(&tree.keyspace, prefix))) {
            Ok(pairs) => {
                let read = move |guard: fjall::Guard| {
                    guard.into_inner().map_err(|fault| place.failed("reading", fault))
                };
                Box::new(Held { pairs: pairs.map(read), _scan: Arc::clone(&self.scans) })
            }
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    }

    fn first(&self, start: &[u8]) -> Result<Option<Bytes>> {
        let range = (Bound::Included(start), Bound::Unbounded);
        let reading = |fault| self.place.failed("reading", fault);
        self.with(|tree| {
            let first = tree.database.snapshot().range::<&[u8], _>(&tree.keyspace, range).next();
            first.map(|guard| guard.key()).transpose().map_err(reading)
        })
    }

    fn bytes(&self) -> u64 {
        self.with(|tree| Ok(tree.database.disk_space().unwrap_or_default())).unwrap_or_default()
    }

    fn renew(&self) -> Result<()> {
        let writes = self.writes.lock();
        match *writes {
            Writes::Good => {}
            Writes::Closed => return Err(self.closed()),
            Writes::Full | Writes::Lost => {
                return Err(self.place.failed("renewing", fjall::Error::Poisoned));
            }
        }
        renewal::copy(self.place.dir(), self.scan(&[]))?;
        let mut tree = self.alone()?;
        // It holds a lock on its files until it is gone.
        drop(tree.take());
        let swapped = renewal::swap(self.place.dir());
        if swapped.is_ok() {
            // The one it has is on the files that went.
            *self.lock.lock() = take_lock(self.place.dir())?;
        }
        *tree = Some(Tree::open(&self.folder, &self.place, self.room)?);
        swapped
    }

    fn close(&self) {
        *self.writes.lock() = Writes::Closed;
        self.tree.write().take();
        // If it fails, the lock goes with the process.
        let _ = self.lock.lock().unlock();
    }

    fn place(&self) -> String {
        self.place.dir().display().to_string()
    }
}

/// A scan. The order of the fields is that in which they are dropped.
struct Held<I> {
    pairs: I,
    _scan: Arc<()>,
}

impl<I: Iterator> Iterator for Held<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        self.pairs.next()
    }
}

/// Refuses a store whose files are not what was written, naming the first of them.
fn refuse_damage(dir: &Path) -> Result<()> {
    let shown = dir.display().to_string();
    let faults = tree_files::survey(dir, Depth::Lists).map_err(|io| io_failed(&shown, "opening", &io))?;
    match faults.first() {
        None => Ok(()),
        Some(fault) => Err(damaged(dir, &format!("{} {}", fault.path.display(), fault.flaw))),
    }
}

/// Makes the directory and takes its lock.
fn take_lock(dir: &Path) -> Result<File> {
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
        Ok(()) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => Err(in_use(&shown)),
        Err(fs::TryLockError::Error(io)) => Err(failed(io)),
    }
}

/// Clears what a crash in the middle of creating a store left. The tree writes its version marker before
/// anything of ours; without it there is nothing in the tree, and it would stumble over its own first journal.
fn clear_unmade(dir: &Path) -> io::Result<()> {
    if fs::metadata(dir.join("version")).is_ok_and(|marker| marker.len() > 0) {
        return Ok(());
    }
    for file in ["version", "0.jnl"] {
        match fs::remove_file(dir.join(file)) {
            Err(io) if io.kind() != io::ErrorKind::NotFound => return Err(io),
            _ => {}
        }
    }
    Ok(())
}
