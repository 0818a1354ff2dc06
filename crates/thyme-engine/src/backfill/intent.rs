//! What is to be committed once its nodes are filled.

use serde::{Deserialize, Serialize};
use thyme_core::{Error, Result};
use thyme_log::Disk;

use crate::beside::{read, remove_durably, seal, unseal, write_durably};
use crate::record::CommitRecord;

/// The file beside the log.
pub(crate) const FILE: &str = "commit.pending";
const NEW_FILE: &str = "commit.pending.new";
const MAGIC: &[u8; 8] = b"THYMPEND";
const FORMAT_VERSION: u32 = 1;

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
        Intent::decode(&bytes).map(Some).ok_or_else(|| {
            Error::corrupt(format!(
                "{} is damaged or of a later Thyme, so a commit that was being filled cannot go on; remove the file, start again and commit again",
                disk.path(FILE)
            ))
        })
    }

    fn decode(bytes: &[u8]) -> Option<Intent> {
        let (version, json) = unseal(MAGIC, bytes)?;
        (version == FORMAT_VERSION).then(|| serde_json::from_slice(json).ok())?
    }

    /// Makes it durable.
    pub fn store(&self, disk: &dyn Disk) -> Result<()> {
        let bytes = seal(MAGIC, FORMAT_VERSION, |bytes| {
            serde_json::to_writer(bytes, self).map_err(|e| Error::internal(format!("commit: {e}")))
        })?;
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
