//! Who is being erased, until it is done: the only place that names them.

use serde::{Deserialize, Serialize};
use thyme_core::{Error, Result};
use thyme_log::Disk;

use super::Target;
use super::secret::{hex, unhex};
use crate::beside::{read, remove_durably, rename_durably, write_durably};
use crate::catalog::Ids;

/// The file beside the log.
const FILE: &str = "erase.pending";
const NEW_FILE: &str = "erase.pending.new";

/// An erasure that has begun.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Pending {
    pub id: String,
    dataset: String,
    version: u32,
    /// Encoded keys, hexadecimal.
    keys: Vec<String>,
}

impl Pending {
    /// Of a target, with the version of the dataset that it was asked for.
    pub fn of(target: &Target, version: u32) -> Pending {
        let keys = target.keys.iter().map(|key| hex(key)).collect();
        Pending { id: target.id.clone(), dataset: target.dataset.clone(), version, keys }
    }

    /// What was begun and not ended, if anything was.
    pub fn load(disk: &dyn Disk) -> Result<Option<Pending>> {
        remove_durably(disk, NEW_FILE)?;
        let Some(bytes) = read(disk, FILE)? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|_| {
            Error::corrupt(format!(
                "{} cannot be read, so an erasure that began cannot be ended; restore it from a backup, or remove it and erase again",
                disk.path(FILE)
            ))
        })
    }

    /// Whom it is about, once the definitions are known.
    pub fn target(&self, ids: &Ids) -> Result<Target> {
        let named =
            |d: &&thyme_core::definition::Dataset| d.name == self.dataset && d.version == self.version;
        let definition = ids.datasets.iter().find(named).ok_or_else(|| {
            Error::corrupt(format!(
                "an erasure names version {} of {}, which no commit made",
                self.version, self.dataset
            ))
        })?;
        let keys = self.keys.iter().map(|key| unhex(key).map(Vec::into_boxed_slice)).collect::<Option<_>>();
        let keys = keys.ok_or_else(|| Error::corrupt("the file of an erasure that began holds no keys"))?;
        Target::new(self.id.clone(), definition, keys, ids)
    }

    /// Makes it durable.
    pub fn store(&self, disk: &dyn Disk) -> Result<()> {
        let bytes = serde_json::to_vec(self).map_err(|e| Error::internal(format!("erasure: {e}")))?;
        write_durably(disk, NEW_FILE, FILE, &bytes)
    }

    /// It is done, or was never begun.
    pub fn clear(disk: &dyn Disk) -> Result<()> {
        // Under the other name nobody takes it for an erasure that began, however much of it is left.
        rename_durably(disk, FILE, NEW_FILE)?;
        remove_durably(disk, NEW_FILE)
    }
}
