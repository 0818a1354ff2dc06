//! What a backup says of itself. Written last: a folder without it is no backup.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thyme_core::error::ErrorKind;
use thyme_core::{Error, Result};

use crate::directory::{hex, write_whole};

/// Its file.
pub(crate) const FILE: &str = "MANIFEST.json";
/// The format of a backup.
pub(crate) const FORMAT_VERSION: u32 = 1;
/// The path that stands for the store: its file is a dump, not a file of the data directory.
pub(crate) const STORE_DUMP: &str = "store.dump";

/// A backup, as its manifest has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// The format of the backup.
    pub format: u32,
    /// The version of the Thyme that made it.
    pub thyme: String,
    /// When it was made.
    pub made: String,
    /// The format of the data directory in it.
    pub data_format: u32,
    /// The position it holds the log up to.
    pub position: String,
    /// The same, as a record number; 0 for an empty log.
    pub record: u64,
    /// That record's stamp.
    pub stamp: Option<i64>,
    /// The commit in effect.
    pub commit: String,
    /// The record that the store in it is as of, if it has one.
    pub checkpoint: Option<u64>,
    /// Its files.
    pub files: Vec<StoredFile>,
}

/// One file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredFile {
    /// Its place in a data directory.
    pub path: String,
    /// Its place in the backup.
    pub stored: String,
    pub bytes: u64,
    pub sha256: String,
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    manifest: Manifest,
    /// Of the compact JSON of the manifest.
    sha256: String,
}

/// What every format of a manifest has.
#[derive(Deserialize)]
struct Outline {
    manifest: FormatOnly,
}

#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

impl Manifest {
    /// The bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Writes it into the backup's folder, durable and whole or not at all.
    pub fn write(&self, directory: &Path) -> Result<()> {
        let sealed = Sealed { manifest: self.clone(), sha256: self.seal()? };
        let mut bytes =
            serde_json::to_vec_pretty(&sealed).map_err(|e| Error::internal(format!("manifest: {e}")))?;
        bytes.push(b'\n');
        write_whole(directory, FILE, &bytes)
            .map_err(|io| Error::unavailable(format!("writing {}: {io}", directory.join(FILE).display())))
    }

    /// The manifest of the backup in `directory`; `None` when there is none.
    ///
    /// # Errors
    /// `Unsupported` for a later format, `Corrupt` when it is not what was written.
    pub fn read(directory: &Path) -> Result<Option<Manifest>> {
        let path = directory.join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(io) if io.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(io) => return Err(Error::unavailable(format!("reading {}: {io}", path.display()))),
        };
        let damaged = || Error::corrupt(format!("{} is damaged; use another backup", path.display()));
        let outline: Outline = serde_json::from_slice(&bytes).map_err(|_| damaged())?;
        if outline.manifest.format > FORMAT_VERSION {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "the backup in {} has format {}, this Thyme reads format {FORMAT_VERSION}; use the Thyme that made it, \
                     or a later one",
                    directory.display(),
                    outline.manifest.format
                ),
            ));
        }
        let sealed: Sealed = serde_json::from_slice(&bytes).map_err(|_| damaged())?;
        if sealed.sha256 != sealed.manifest.seal()? {
            return Err(damaged());
        }
        Ok(Some(sealed.manifest))
    }

    fn seal(&self) -> Result<String> {
        let bytes = serde_json::to_vec(self).map_err(|e| Error::internal(format!("manifest: {e}")))?;
        Ok(hex(&Sha256::digest(bytes)))
    }
}
