//! What is to be committed once its nodes are filled.

use serde::{Deserialize, Serialize};
use thyme_core::{Error, Result};
use thyme_log::Disk;

use crate::erasure::{read, remove_durably, write_durably};
use crate::record::CommitRecord;

/// The file beside the log.
pub(crate) const FILE: &str = "commit.pending";
const NEW_FILE: &str = "commit.pending.new";

/// A commit that was accepted and is not live yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Intent {
    /// The commit that it stands on.
    pub base: String,
    /// The clock when it was accepted.
    pub since: i64,
    pub record: CommitRecord,
}

impl Intent {
    /// What was accepted and may not be live, if anything.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn load(disk: &dyn Disk) -> Result<Option<Intent>> {
        remove_durably(disk, NEW_FILE)?;
        let Some(bytes) = read(disk, FILE)? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|_| {
            Error::corrupt(format!(
                "{} cannot be read, so a commit that was being filled cannot go on; remove the file, start again and commit again",
                disk.path(FILE)
            ))
        })
    }

    /// Makes it durable.
    pub fn store(&self, disk: &dyn Disk) -> Result<()> {
        let bytes = serde_json::to_vec(self).map_err(|e| Error::internal(format!("commit: {e}")))?;
        write_durably(disk, NEW_FILE, FILE, &bytes)
    }

    /// It is live, or will never be.
    pub fn clear(disk: &dyn Disk) -> Result<()> {
        match disk.list() {
            Ok(names) if !names.iter().any(|name| name == FILE) => Ok(()),
            _ => {
                let failed = |io| Error::unavailable(format!("removing {}: {io}", disk.path(FILE)));
                disk.remove(FILE).and_then(|()| disk.sync_names()).map_err(failed)
            }
        }
    }
}
