//! Small files that a door keeps in the data directory, beside the log: whole or not at all, and checksummed.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use thyme_core::error::ErrorKind;
use thyme_core::{Error, Result};
use thyme_log::{DirDisk, Disk, UntouchedDir};

use crate::beside::{read, seal, unseal, write_durably};
use crate::directory::{DataDirectory, LOG_FOLDER};
use crate::engine::Engine;

/// What such a file is.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Its name. One that begins with `access.` is for its owner alone.
    pub name: &'static str,
    /// Its name while it is being written.
    pub new: &'static str,
    /// How it begins.
    pub magic: &'static [u8; 8],
    /// The format that this Thyme writes; it reads earlier ones.
    pub version: u32,
    /// What it holds, for sentences.
    pub what: &'static str,
}

/// The API keys, hashed.
pub const KEYS: Kind = Kind {
    name: "access.keys",
    new: "access.keys.new",
    magic: b"THYMKEYS",
    version: 1,
    what: "the API keys",
};

/// Where such a file is.
enum Place {
    /// Nowhere: the engine is in memory.
    Memory(Mutex<Option<Vec<u8>>>),
    Disk(Arc<dyn Disk>),
    /// In a directory that no engine has, which is held meanwhile.
    Held(DirDisk, #[expect(dead_code, reason = "holds the directory")] DataDirectory),
}

/// A small file.
pub struct SealedFile {
    kind: Kind,
    place: Place,
}

impl fmt::Debug for SealedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SealedFile").field(&self.kind.name).finish()
    }
}

impl SealedFile {
    /// That of the data directory `data`, which no process may be using; makes a directory where there is none.
    ///
    /// # Errors
    /// Unavailable: it is in use.
    pub fn of_directory(kind: Kind, data: &Path) -> Result<SealedFile> {
        let held = DataDirectory::open(data)?;
        let disk = DirDisk::open(&data.join(LOG_FOLDER))?;
        Ok(SealedFile { kind, place: Place::Held(disk, held) })
    }

    /// What the file of `data` holds, also while a process uses the directory; writes nothing.
    ///
    /// # Errors
    /// As [`SealedFile::read`].
    pub fn peek(kind: Kind, data: &Path) -> Result<Option<Vec<u8>>> {
        let folder = data.join(LOG_FOLDER);
        if !folder.is_dir() {
            return Ok(None);
        }
        content(kind, &UntouchedDir::new(&folder))
    }

    /// What it holds; `None` if there is none.
    ///
    /// # Errors
    /// Corrupt: it is not what was written. Unsupported: a later Thyme wrote it. Unavailable: the disk.
    pub fn read(&self) -> Result<Option<Vec<u8>>> {
        match &self.place {
            Place::Memory(kept) => Ok(kept.lock().clone()),
            Place::Disk(disk) => content(self.kind, disk.as_ref()),
            Place::Held(disk, _) => content(self.kind, disk),
        }
    }

    /// Writes it, whole or not at all; durable once this returns.
    ///
    /// # Errors
    /// Unavailable: the disk.
    pub fn write(&self, content: &[u8]) -> Result<()> {
        let Kind { magic, version, new, name, .. } = self.kind;
        let sealed = || {
            seal(magic, version, |bytes| {
                bytes.extend_from_slice(content);
                Ok(())
            })
        };
        match &self.place {
            Place::Memory(kept) => {
                *kept.lock() = Some(content.to_vec());
                Ok(())
            }
            Place::Disk(disk) => write_durably(disk.as_ref(), new, name, &sealed()?),
            Place::Held(disk, _) => write_durably(disk, new, name, &sealed()?),
        }
    }
}

fn content(kind: Kind, disk: &dyn Disk) -> Result<Option<Vec<u8>>> {
    let Some(bytes) = read(disk, kind.name)? else { return Ok(None) };
    let path = disk.path(kind.name);
    let (version, content) = unseal(kind.magic, &bytes).ok_or_else(|| {
        Error::corrupt(format!("{path} is damaged, which holds {}; restore it from a backup", kind.what))
    })?;
    if version > kind.version {
        let detail = format!(
            "{path} has format {version}, this Thyme reads format {}; use the Thyme that wrote it, or a later one",
            kind.version
        );
        return Err(Error::new(ErrorKind::Unsupported, detail));
    }
    Ok(Some(content.to_vec()))
}

/// Whether the file of a log's folder is what was written, for the doctor.
pub(crate) fn check(kind: Kind, disk: &dyn Disk) -> Result<()> {
    content(kind, disk).map(drop)
}

impl Engine {
    /// A small file of this engine's data directory; in memory if it has none.
    pub fn sealed_file(&self, kind: Kind) -> SealedFile {
        let place = match self.disk() {
            Some(disk) => Place::Disk(disk),
            None => Place::Memory(Mutex::default()),
        };
        SealedFile { kind, place }
    }
}

/// 32 bytes that nobody can guess.
///
/// # Errors
/// Unavailable: the system gives none.
pub fn random_bytes() -> Result<[u8; 32]> {
    crate::erasure::random()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_is_never_read_and_a_directory_in_use_is_left_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(SealedFile::peek(KEYS, dir.path()).unwrap(), None);
        let file = SealedFile::of_directory(KEYS, dir.path()).unwrap();
        assert_eq!(file.read().unwrap(), None);
        file.write(b"first").unwrap();
        file.write(b"second").unwrap();
        assert_eq!(file.read().unwrap().unwrap(), b"second");
        let second = SealedFile::of_directory(KEYS, dir.path()).unwrap_err();
        assert!(second.detail().contains("is used by another thyme process"), "{second}");
        assert_eq!(SealedFile::peek(KEYS, dir.path()).unwrap().unwrap(), b"second");
        let path = dir.path().join(LOG_FOLDER).join(KEYS.name);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            assert!(file.read().unwrap_err().detail().contains("access.keys"), "byte {at}");
        }
        let later = seal(KEYS.magic, KEYS.version + 1, |_| Ok(())).unwrap();
        std::fs::write(&path, later).unwrap();
        assert_eq!(file.read().unwrap_err().kind(), ErrorKind::Unsupported);
    }
}
