//! The faults of the tree below, as errors a caller can act on.

use std::io;
use std::path::Path;

use thyme_core::error::{Error, ErrorKind};

use crate::encoding::REBUILD;

/// The error for `fault`, met while doing `what` to the store in `dir`.
pub fn failed(dir: &Path, what: &str, fault: fjall::Error) -> Error {
    let dir = dir.display();
    match fault {
        fjall::Error::Locked => in_use(&dir.to_string()),
        fjall::Error::Io(io) | fjall::Error::Storage(fjall::LsmError::Io(io)) => {
            io_failed(&dir.to_string(), what, &io)
        }
        fjall::Error::Poisoned => Error::unavailable(format!(
            "the store in {dir} takes no more writes until a restart: an earlier write failed"
        )),
        fjall::Error::InvalidVersion(_) | fjall::Error::Storage(fjall::LsmError::InvalidVersion(_)) => {
            Error::new(
                ErrorKind::Unsupported,
                format!(
                    "the store in {dir} was written in another format; start it with the Thyme that wrote it, or {REBUILD}"
                ),
            )
        }
        fjall::Error::KeyspaceDeleted => {
            Error::internal(format!("{what} the store in {dir}: its keyspace is gone"))
        }
        other => {
            Error::corrupt(format!("{what} the store in {dir} met damaged files ({other:?}); {REBUILD}"))
        }
    }
}

/// The error for damage that is known by what it is.
pub fn damaged(dir: &Path, what: &str) -> Error {
    Error::corrupt(format!("the store in {} is damaged: {what}; {REBUILD}", dir.display()))
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
