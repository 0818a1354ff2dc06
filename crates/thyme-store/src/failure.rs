//! The faults of the tree below, as errors a caller can act on.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use thyme_core::error::{Error, ErrorKind};

use crate::encoding::WHAT_IT_MEANS;
use crate::tree_files;

/// The bytes of tables that are read to find out which one is damaged. Who waits for an answer waits for that too.
const SEARCHED_BYTES_MAX: u64 = 1 << 30;

/// Where a store is, and which of its files is damaged, once something was.
#[derive(Debug)]
pub struct Place {
    dir: PathBuf,
    /// The search is done once: every read of what is damaged fails, and the file stays the same.
    damaged: OnceLock<String>,
}

impl Place {
    pub fn new(dir: &Path) -> Self {
        Place { dir: dir.to_owned(), damaged: OnceLock::new() }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The error for `fault`, met while doing `what` to the store.
    pub fn failed(&self, what: &str, fault: fjall::Error) -> Error {
        let dir = self.dir.display();
        match fault {
            fjall::Error::Locked => in_use(&dir.to_string()),
            fjall::Error::Io(io) | fjall::Error::Storage(fjall::LsmError::Io(io))
                if io.kind() != io::ErrorKind::UnexpectedEof =>
            {
                io_failed(&dir.to_string(), what, &io)
            }
            fjall::Error::Poisoned => Error::unavailable(format!(
                "the store in {dir} takes no more writes until a restart: an earlier write failed"
            )),
            fjall::Error::InvalidVersion(_) | fjall::Error::Storage(fjall::LsmError::InvalidVersion(_)) => {
                Error::new(
                    ErrorKind::Unsupported,
                    format!(
                        "the store in {dir} was written in another format; start it with the Thyme that wrote it, or {}",
                        cure(&self.dir)
                    ),
                )
            }
            fjall::Error::KeyspaceDeleted => {
                Error::internal(format!("{what} the store in {dir}: its keyspace is gone"))
            }
            _ => self.damaged(what),
        }
    }

    /// The error for damage that was met while doing `what`.
    pub fn damaged(&self, what: &str) -> Error {
        let found =
            self.damaged.get_or_init(|| match tree_files::damaged_table(&self.dir, SEARCHED_BYTES_MAX) {
                Ok(Some(fault)) => format!("{} {}", fault.path.display(), fault.flaw),
                _ => "one of its files is not what was written".to_owned(),
            });
        damaged(&self.dir, &format!("{found} (met when {what} it)"))
    }
}

/// The error for damage that is known by what it is.
pub fn damaged(dir: &Path, what: &str) -> Error {
    Error::corrupt(format!(
        "the store in {} is damaged: {what}; {WHAT_IT_MEANS}; {}",
        dir.display(),
        cure(dir)
    ))
}

/// What helps against damage of the store in `dir`.
pub fn cure(dir: &Path) -> String {
    let data = match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    format!(
        "stop the server and run `thyme doctor --data {} --fix-store`: the next start rebuilds the store from the log; or restore a backup",
        data.display()
    )
}

/// The error when another process holds the store.
pub fn in_use(dir: &str) -> Error {
    Error::unavailable(format!("the store in {dir} is used by another thyme process; stop that one first"))
}

/// The error for a fault of the file system.
pub fn io_failed(dir: &str, what: &str, io: &io::Error) -> Error {
    let kind = match io.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::StorageFull,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("{what} the store in {dir}: {io}"))
}
