//! What a segment log needs of a directory, and the real one.

use std::fmt::Debug;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thyme_core::error::{Error, Result};

/// A flat directory of files.
///
/// A created or removed name is durable after [`Disk::sync_names`], written bytes and a changed length
/// after [`DiskFile::sync`]; until then a power cut may keep any part of them.
pub trait Disk: Send + Sync + Debug {
    /// The names of its files, in no order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Creates the file `name`, which must not exist, for reading and writing; one whose name begins with
    /// `erase.` for nobody but its owner.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens the existing file `name` for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Removes the file `name`.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Gives the file `from` the name `to`; a file of that name is gone, but whoever opened it reads on. A
    /// power cut leaves either of the two under the name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Makes creations, removals and new names durable.
    fn sync_names(&self) -> io::Result<()>;
    /// Where the file `name` is, for messages.
    fn path(&self, name: &str) -> String;
}

/// One file of a [`Disk`].
pub trait DiskFile: Send + Sync + Debug {
    /// Reads at `offset` and gives how many bytes it read: fewer than asked for only at the file's end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes` at `offset`. After a failure any part of them may be written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes what was written durable, and as much of the length as is needed to read it.
    fn sync(&self) -> io::Result<()>;
    /// Cuts or extends the file (with zeros).
    fn set_length(&self, length: u64) -> io::Result<()>;
    /// The file's length.
    fn length(&self) -> io::Result<u64>;
}

/// A directory of the file system, locked against other processes for as long as this lives.
#[derive(Debug)]
pub struct DirDisk {
    dir: PathBuf,
    _lock: File,
}

impl DirDisk {
    /// Opens `dir`, creating it if need be, and locks it.
    ///
    /// # Errors
    /// `Unavailable` when another process holds it or the file system refuses.
    pub fn open(dir: &Path) -> Result<Self> {
        let failed = |what: &str, io: io::Error| {
            Error::unavailable(format!("{what} the log's directory {}: {io}", dir.display()))
        };
        create_durably(dir).map_err(|io| failed("creating", io))?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(dir.join("lock"))
            .map_err(|io| failed("locking", io))?;
        match lock.try_lock() {
            Ok(()) => Ok(DirDisk { dir: dir.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Error::unavailable(format!(
                "the log in {} is used by another thyme process; stop that one first or choose another data directory",
                dir.display()
            ))),
            Err(TryLockError::Error(io)) => Err(failed("locking", io)),
        }
    }
}

/// Creates `dir` and its parents so that a power cut does not take them away again.
fn create_durably(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    create_durably(parent)?;
    match fs::create_dir(dir) {
        Err(io) if io.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    File::open(parent)?.sync_all()
}

impl Disk for DirDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let is_private = ["erase.", "access."].iter().any(|prefix| name.starts_with(prefix));
        let mode = if is_private { 0o600 } else { 0o666 };
        let mut options = File::options();
        let file = options.read(true).write(true).create_new(true).mode(mode).open(self.dir.join(name))?;
        Ok(Arc::new(DirFile(file)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = File::options().read(true).write(true).open(self.dir.join(name))?;
        Ok(Arc::new(DirFile(file)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.dir.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.dir.join(from), self.dir.join(to))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }
}

#[derive(Debug)]
struct DirFile(File);

impl DiskFile for DirFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.0.read_at(&mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(io) if io.kind() == io::ErrorKind::Interrupted => {}
                Err(io) => return Err(io),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}
