//! Restoring: every file verified, and no data directory before all of it is there.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use thyme_core::error::ErrorKind;
use thyme_core::{Error, Position, Result};
use thyme_log::{Log, SegmentLog, UntouchedDir};
use thyme_store::Store;

use super::Watch;
use super::copying::{Meter, Sum, below, create_like, failed, pour};
use super::manifest::{self, Manifest, STORE_DUMP, StoredFile};
use super::unfinished::Unfinished;
use crate::base::Base;
use crate::directory::{self, FORMAT_FILE, LOG_FOLDER, STORE_FOLDER, sync_names};

/// What a restore came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The position that everything is there up to.
    pub position: Position,
    /// The record that the store is as of; the log is read from there at the first start.
    pub checkpoint: Option<u64>,
    /// The bytes of the files restored.
    pub bytes: u64,
    /// When the backup was made.
    pub made: String,
}

/// Makes a data directory `data`, which must not be there or be empty, of the backup in `directory`.
///
/// # Errors
/// `NotFound` when there is no whole backup, `Unsupported` for a later format, `Corrupt` for a missing or
/// changed file, `Conflict` when `data` holds anything. Nothing is left of what was begun.
pub fn restore(directory: &Path, data: &Path, watch: Watch<'_>) -> Result<Restored> {
    let manifest = manifest_of(directory)?;
    for file in &manifest.files {
        check_there(directory, file)?;
        below(data, &file.path)?;
    }
    let target = Unfinished::begin(data)?;
    let made = target.path.as_path();
    let writing = |io| failed("writing to", made, &io);
    fs::create_dir_all(made.join(LOG_FOLDER)).map_err(writing)?;
    let mut meter = Meter::new(watch, manifest.bytes());
    for file in &manifest.files {
        match file.path.as_str() {
            STORE_DUMP => restore_store(directory, file, made, &mut meter)?,
            _ => restore_file(directory, file, made, &mut meter)?,
        }
    }
    if !made.join(FORMAT_FILE).exists() {
        directory::mark(made).map_err(writing)?;
    }
    check_log(made, &manifest)?;
    sync_names(&made.join(LOG_FOLDER)).and_then(|()| sync_names(made)).map_err(writing)?;
    target.finish()?;
    let position = if manifest.record == 0 { Position::ZERO } else { Position::end_of(manifest.record) };
    Ok(Restored { position, checkpoint: manifest.checkpoint, bytes: manifest.bytes(), made: manifest.made })
}

/// The manifest of a whole backup.
pub(crate) fn manifest_of(directory: &Path) -> Result<Manifest> {
    let manifest = Manifest::read(directory)?.ok_or_else(|| {
        Error::new(
            ErrorKind::NotFound,
            format!(
                "{} holds no complete backup: it has no {}, which a backup writes last",
                directory.display(),
                manifest::FILE
            ),
        )
    })?;
    if manifest.data_format > directory::FORMAT_VERSION {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "the backup in {} is of a data directory of format {}, this Thyme reads format {}; use Thyme {} or later",
                directory.display(),
                manifest.data_format,
                directory::FORMAT_VERSION,
                manifest.thyme
            ),
        ));
    }
    Ok(manifest)
}

/// Checks that a file is there, with its length.
pub(crate) fn check_there(directory: &Path, file: &StoredFile) -> Result<()> {
    let path = below(directory, &file.stored)?;
    let length = fs::metadata(&path).map(|meta| meta.len());
    match length {
        Ok(length) if length == file.bytes => Ok(()),
        Ok(length) => Err(Error::corrupt(format!(
            "{} has {length} bytes, the manifest says {}; use another backup",
            path.display(),
            file.bytes
        ))),
        Err(io) => Err(Error::corrupt(format!("{} is missing ({io}); use another backup", path.display()))),
    }
}

/// The error for a file whose bytes are not those that were stored.
pub(crate) fn check_sum(path: &Path, file: &StoredFile, sum: &Sum) -> Result<()> {
    if sum.bytes == file.bytes && sum.sha256 == file.sha256 {
        return Ok(());
    }
    Err(Error::corrupt(format!(
        "{} does not match its checksum in the manifest; use another backup",
        path.display()
    )))
}

fn restore_file(directory: &Path, file: &StoredFile, data: &Path, meter: &mut Meter<'_>) -> Result<()> {
    let (from, to) = (below(directory, &file.stored)?, below(data, &file.path)?);
    let writing = |io| failed("writing", &to, &io);
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(writing)?;
    }
    let mut target = create_like(&from, &to).map_err(writing)?;
    let sum = pour(&from, file.bytes, Some(&mut target), meter).map_err(writing)?;
    check_sum(&from, file, &sum)?;
    target.sync_all().map_err(writing)
}

fn restore_store(directory: &Path, file: &StoredFile, data: &Path, meter: &mut Meter<'_>) -> Result<()> {
    let from = below(directory, &file.stored)?;
    let sum = pour(&from, file.bytes, None, meter).map_err(|io| failed("reading", &from, &io))?;
    check_sum(&from, file, &sum)?;
    let opened = File::open(&from).map_err(|io| failed("reading", &from, &io))?;
    Store::import(&data.join(STORE_FOLDER), &mut BufReader::with_capacity(1 << 20, opened)).map(|_| ())
}

/// The restored log ends where the manifest says.
fn check_log(data: &Path, manifest: &Manifest) -> Result<()> {
    let folder = data.join(LOG_FOLDER);
    let disk = Arc::new(UntouchedDir::new(&folder));
    let (log, _) = SegmentLog::open_on(disk.clone(), Default::default())?;
    Base::load(disk.as_ref(), &log)?;
    let (record, stamp) = log.last().unzip();
    if (record.unwrap_or_default(), stamp) == (manifest.record, manifest.stamp) {
        return Ok(());
    }
    Err(Error::corrupt(format!(
        "the restored log ends at record {}, the manifest says {}; use another backup",
        record.unwrap_or_default(),
        manifest.record
    )))
}
