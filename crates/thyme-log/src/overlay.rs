//! A directory that is looked at and never changed: what would be cut or removed only seems so.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::disk::{Disk, DiskFile};

/// A directory of the file system, read only. Cuts and removals are remembered and seen by whoever asks it
/// again, so that a log opens over it as it would over the directory itself, and can say what it would do.
///
/// It takes no lock: whoever makes one sees to it that nobody writes.
#[derive(Debug)]
pub struct UntouchedDir {
    dir: PathBuf,
    changes: Arc<Mutex<Changes>>,
}

#[derive(Debug, Default)]
struct Changes {
    removed: BTreeSet<String>,
    lengths: BTreeMap<String, u64>,
}

impl UntouchedDir {
    /// The directory `dir`, as it is.
    pub fn new(dir: &Path) -> Self {
        UntouchedDir { dir: dir.to_owned(), changes: Arc::default() }
    }
}

fn read_only() -> io::Error {
    io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "the directory is only looked at")
}

impl Disk for UntouchedDir {
    fn list(&self) -> io::Result<Vec<String>> {
        let changes = self.changes.lock();
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            names.extend(entry?.file_name().into_string());
        }
        names.retain(|name| !changes.removed.contains(name));
        Ok(names)
    }

    fn create(&self, _name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Err(read_only())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = File::open(self.dir.join(name))?;
        Ok(Arc::new(UntouchedFile { file, name: name.to_owned(), changes: Arc::clone(&self.changes) }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.changes.lock().removed.insert(name.to_owned());
        Ok(())
    }

    fn rename(&self, _from: &str, _to: &str) -> io::Result<()> {
        Err(read_only())
    }

    fn sync_names(&self) -> io::Result<()> {
        Ok(())
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }
}

#[derive(Debug)]
struct UntouchedFile {
    file: File,
    name: String,
    changes: Arc<Mutex<Changes>>,
}

impl DiskFile for UntouchedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let room = self.length()?.saturating_sub(offset).min(buffer.len() as u64) as usize;
        let mut done = 0;
        while done < room {
            let Some(rest) = buffer.get_mut(done..room) else { break };
            match self.file.read_at(rest, offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(io) if io.kind() == io::ErrorKind::Interrupted => {}
                Err(io) => return Err(io),
            }
        }
        Ok(done)
    }

    fn write_at(&self, _bytes: &[u8], _offset: u64) -> io::Result<()> {
        Err(read_only())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.changes.lock().lengths.insert(self.name.clone(), length);
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        let length = self.file.metadata()?.len();
        Ok(self.changes.lock().lengths.get(&self.name).map_or(length, |cut| length.min(*cut)))
    }
}
