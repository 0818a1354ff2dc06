//! The data directory: its marker, which says that it is one and of which format, and its lock.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use thyme_core::error::ErrorKind;
use thyme_core::{Error, Result};

/// The format of a data directory as a whole: which files and folders there are.
pub const FORMAT_VERSION: u32 = 1;
/// The marker. A directory from before there was one has format 1 too.
pub(crate) const FORMAT_FILE: &str = "FORMAT";
pub(crate) const LOCK_FILE: &str = "LOCK";
/// Stands in a directory that is being restored; what is in there is not whole.
pub(crate) const RESTORING_FILE: &str = "RESTORING";
/// What a folder of backups has, complete or not.
pub(crate) const BACKUP_LOCK_FILE: &str = "backup.lock";
pub(crate) const LOG_FOLDER: &str = "log";
pub(crate) const STORE_FOLDER: &str = "store";
/// What a server was asked; it changes all the time, and no backup has it.
pub const QUERY_RUNS_FOLDER: &str = "query-runs";
/// Labels and answers of training sets that a server computes: backups leave them out.
pub const JOBS_FOLDER: &str = "jobs";

/// A data directory that this process holds.
#[derive(Debug)]
pub(crate) struct DataDirectory {
    /// Where it is.
    pub path: PathBuf,
    /// Bytes read and in all, of the backup that is being made.
    pub backup: Mutex<Option<(u64, u64)>>,
    _lock: File,
}

impl DataDirectory {
    /// Takes `path` as a data directory, making it one if there is none.
    ///
    /// # Errors
    /// `Unavailable` when another process holds it, `Unsupported` when a later Thyme wrote it, `Corrupt` when
    /// its marker is damaged or a restore into it was interrupted.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |io: io::Error| {
            Error::unavailable(format!("opening the data directory {}: {io}", path.display()))
        };
        fs::create_dir_all(path).map_err(failed)?;
        if path.join(BACKUP_LOCK_FILE).exists() {
            let shown = path.display();
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "{shown} is a backup; make a data directory of it: thyme restore {shown} --data NEW_DIR"
                ),
            ));
        }
        let lock = Self::lock(path, true)?;
        refuse_unfinished(path)?;
        if format_of(path)?.is_none() {
            mark(path).map_err(failed)?;
        }
        Ok(lock)
    }

    /// Locks what is there, without writing a byte.
    ///
    /// # Errors
    /// `Unavailable` when another process holds it.
    pub fn look(path: &Path) -> Result<Vec<Self>> {
        let mut held = Vec::new();
        let older = [path.join(LOG_FOLDER).join("lock"), path.join(STORE_FOLDER).join("store.lock")];
        if path.join(LOCK_FILE).exists() {
            held.push(Self::lock(path, false)?);
        }
        for file in older.iter().filter(|file| file.exists()) {
            held.push(Self::lock_file(path, file, false)?);
        }
        Ok(held)
    }

    fn held(path: &Path, lock: File) -> Self {
        DataDirectory { path: path.to_owned(), backup: Mutex::new(None), _lock: lock }
    }

    fn lock(path: &Path, write: bool) -> Result<Self> {
        Self::lock_file(path, &path.join(LOCK_FILE), write)
    }

    fn lock_file(path: &Path, file: &Path, write: bool) -> Result<Self> {
        let shown = path.display();
        let failed = |io: io::Error| Error::unavailable(format!("locking the data directory {shown}: {io}"));
        let opened = if write {
            File::options().create(true).truncate(false).read(true).write(true).open(file)
        } else {
            File::open(file)
        };
        let mut lock = opened.map_err(failed)?;
        match lock.try_lock() {
            Ok(()) if write => {
                let pid = format!("{}\n", std::process::id());
                lock.set_len(0).and_then(|()| lock.write_all(pid.as_bytes())).map_err(failed)?;
                Ok(Self::held(path, lock))
            }
            Ok(()) => Ok(Self::held(path, lock)),
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Who holds it may not have said yet.
                let _ = lock.seek(SeekFrom::Start(0)).and_then(|_| lock.read_to_string(&mut holder));
                let process = match holder.trim() {
                    "" => String::new(),
                    own if own == std::process::id().to_string() => " (this one)".to_owned(),
                    other => format!(" (process {other})"),
                };
                Err(Error::unavailable(format!(
                    "the data directory {shown} is used by another thyme process{process}; stop that one first or choose \
                     another data directory"
                )))
            }
            Err(TryLockError::Error(io)) => Err(failed(io)),
        }
    }
}

/// The format that the marker names; `None` when there is no marker.
///
/// # Errors
/// `Unsupported` for a later one, `Corrupt` for a damaged one.
pub(crate) fn format_of(path: &Path) -> Result<Option<u32>> {
    let file = path.join(FORMAT_FILE);
    let text = match fs::read(&file) {
        Ok(bytes) => bytes,
        Err(io) if io.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(io) => return Err(Error::unavailable(format!("reading {}: {io}", file.display()))),
    };
    let text = String::from_utf8_lossy(&text);
    let version = text.strip_prefix("thyme data ").and_then(|rest| rest.split(' ').next()?.parse().ok());
    match version {
        Some(version) if text != marker(version) => Err(damaged_marker(&file)),
        Some(FORMAT_VERSION) => Ok(Some(FORMAT_VERSION)),
        Some(version) => Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "the data directory {} has format {version}, this Thyme reads format {FORMAT_VERSION}; start it with the \
                 Thyme that wrote it, or a later one",
                path.display()
            ),
        )),
        None => Err(damaged_marker(&file)),
    }
}

fn damaged_marker(file: &Path) -> Error {
    Error::corrupt(format!(
        "{} is damaged; the log and the store say their own formats, so it may be removed: the next start writes it anew",
        file.display()
    ))
}

/// Refuses a directory that a restore was interrupted in.
pub(crate) fn refuse_unfinished(path: &Path) -> Result<()> {
    if !path.join(RESTORING_FILE).exists() {
        return Ok(());
    }
    Err(Error::corrupt(format!(
        "a restore into {} was interrupted, so it is not whole; remove it and restore again",
        path.display()
    )))
}

/// Writes the marker.
pub(crate) fn mark(path: &Path) -> io::Result<()> {
    write_whole(path, FORMAT_FILE, marker(FORMAT_VERSION).as_bytes())
}

fn marker(version: u32) -> String {
    let said = format!("thyme data {version}");
    format!("{said} {}\n", &hex(&Sha256::digest(&said))[..8])
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes the file `name` in `dir`, durable and whole or not at all.
pub(crate) fn write_whole(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let unfinished: PathBuf = dir.join(format!("{name}.new"));
    let mut file = File::create(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, dir.join(name))?;
    sync_names(dir)
}

/// Makes the names in `dir` durable.
pub(crate) fn sync_names(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_of_a_later_format_is_refused_and_a_damaged_marker_is_named() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(format_of(dir.path()).unwrap(), None);
        drop(DataDirectory::open(dir.path()).unwrap());
        assert_eq!(format_of(dir.path()).unwrap(), Some(1));
        let file = dir.path().join(FORMAT_FILE);
        let whole = fs::read(&file).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&file, &bytes).unwrap();
            let error = DataDirectory::open(dir.path()).unwrap_err();
            assert_eq!((error.kind(), error.detail().contains("FORMAT")), (ErrorKind::Corrupt, true), "{at}");
        }
        fs::write(&file, marker(2)).unwrap();
        let error = DataDirectory::open(dir.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.detail().contains("has format 2, this Thyme reads format 1"), "{error}");
    }

    #[test]
    fn a_second_one_is_told_who_holds_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let held = DataDirectory::open(dir.path()).unwrap();
        for refused in
            [DataDirectory::open(dir.path()).map(|_| ()), DataDirectory::look(dir.path()).map(|_| ())]
        {
            let error = refused.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert!(error.detail().contains("is used by another thyme process (this one)"), "{error}");
        }
        drop(held);
        assert_eq!(DataDirectory::look(dir.path()).unwrap().len(), 1);
    }
}
