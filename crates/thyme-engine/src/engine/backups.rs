//! Backing up while serving.

use std::path::Path;

use thyme_core::error::ErrorKind;
use thyme_core::{Error, Result};

use super::Engine;
use crate::events::Severity;
use crate::maintenance::{self, Backup, Source};

impl Engine {
    /// Backs up everything into `directory` on this machine. Pushes and reads go on; what is accepted
    /// meanwhile may or may not be in it.
    ///
    /// # Errors
    /// `Conflict` when `directory` holds something else or another backup is being made, `Unavailable` when an
    /// erasure could not be ended, `Unsupported` for an
    /// engine in memory, `Corrupt` when the log is damaged, `StorageFull` and `Unavailable` for the disk.
    pub fn backup(&self, directory: &Path) -> Result<Backup> {
        let shared = &self.shared;
        let Some(data) = &shared.directory else {
            return Err(Error::new(ErrorKind::Unsupported, "an engine in memory has nothing to back up"));
        };
        let _ended = {
            // Not in the middle of an erasure: the store would be of before it and the log of after it.
            let _no_erasure = self.commit_lock.lock();
            self.nothing_is_being_erased()?;
            shared.end_cut("nothing was backed up")?;
            if data.backup.lock().replace((0, 0)).is_some() {
                return Err(Error::new(ErrorKind::Conflict, "a backup is being made already; wait for it"));
            }
            Ended(self)
        };
        // A fresh store makes the restored server start sooner; if none can be written, the last one will do.
        let _ = self.checkpoint();
        let base = shared.base.read().clone();
        let made = maintenance::backup(
            &Source {
                data: &data.path,
                log: shared.log.as_ref(),
                base: &base,
                store: Some(&shared.store),
                commit: shared.catalog().commit.clone(),
                now_us: shared.events.now_us(),
            },
            directory,
            &|done, total| *data.backup.lock() = Some((done, total)),
        );
        let (severity, message) = match &made {
            Ok(made) => (
                Severity::Info,
                format!("backed up to {} in {}, {} bytes", made.position, directory.display(), made.bytes),
            ),
            Err(error) => {
                (Severity::Error, format!("no backup was made in {}: {error}", directory.display()))
            }
        };
        shared.events.record(severity, "backup", "engine", message);
        made
    }

    /// Bytes read and in all of the backup that is being made.
    pub fn backup_under_way(&self) -> Option<(u64, u64)> {
        self.shared.directory.as_ref().and_then(|data| *data.backup.lock())
    }
}

/// Says that no backup is being made any more, however it ended.
struct Ended<'a>(&'a Engine);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        if let Some(data) = &self.0.shared.directory {
            *data.backup.lock() = None;
        }
    }
}
