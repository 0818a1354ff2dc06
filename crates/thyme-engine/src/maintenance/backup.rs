//! Backups: the log up to one position, the store as a stream, and a manifest that makes it one.
//!
//! Files in a backup are named after what is in them and never changed. A backup into a folder that has
//! one writes only what is not there; the earlier one stays whole until the new manifest takes its place.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::BufWriter;
use std::path::Path;
use std::sync::Arc;

use thyme_core::time::format_rfc3339;
use thyme_core::{Env, Error, Position, Result};
use thyme_log::{Log, LogFile, LogFiles, SegmentLog, UntouchedDir};
use thyme_store::Store;

use super::Watch;
use super::copying::{Meter, Sum, Summing, below, create_like, failed, files_below, pour};
use super::manifest::{self, Manifest, STORE_DUMP, StoredFile};
use crate::backfill::INTENT_FILE;
use crate::base::Base;
use crate::checkpoint;
use crate::directory::{
    self, BACKUP_LOCK_FILE, DataDirectory, JOBS_FOLDER, LOCK_FILE, LOG_FOLDER, QUERY_RUNS_FOLDER,
    RESTORING_FILE, STORE_FOLDER, sync_names,
};

/// Stands in a folder from the beginning of a backup until its manifest is there.
const INCOMPLETE_FILE: &str = "INCOMPLETE";

/// What a backup came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// The position it holds everything up to.
    pub position: Position,
    /// Its files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The bytes that were written, without those that were there from an earlier backup.
    pub bytes_written: u64,
    /// The record that the store in it is as of.
    pub checkpoint: Option<u64>,
}

/// What is backed up.
pub(crate) struct Source<'a> {
    /// The data directory.
    pub data: &'a Path,
    pub log: &'a dyn Log,
    pub base: &'a Base,
    /// `None` leaves the store out: the log alone gives everything back.
    pub store: Option<&'a Store>,
    pub commit: String,
    pub now_us: i64,
}

/// Backs up the data directory `data`, which no process may be using, without changing it.
///
/// # Errors
/// `Unavailable` when it is in use, `Corrupt` when the log is damaged, `Conflict` when `directory` holds
/// something else. A damaged store is left out.
pub fn backup_directory(data: &Path, directory: &Path, env: &dyn Env, watch: Watch<'_>) -> Result<Backup> {
    if !data.join(LOG_FOLDER).is_dir() {
        return Err(Error::new(
            thyme_core::error::ErrorKind::NotFound,
            format!("{} is no data directory: it has no folder {LOG_FOLDER}", data.display()),
        ));
    }
    let _held = DataDirectory::look(data)?;
    directory::refuse_unfinished(data)?;
    directory::format_of(data)?;
    let disk = Arc::new(UntouchedDir::new(&data.join(LOG_FOLDER)));
    let (log, _) = SegmentLog::open_on(disk.clone(), Default::default())?;
    let base = Base::load(disk.as_ref(), &log)?;
    let store = Store::open_untouched(&data.join(STORE_FOLDER)).ok();
    let progress = match &store {
        Some(store) => checkpoint::load_progress(store)?,
        None => None,
    };
    let commit = progress.map(|progress| progress.commit).unwrap_or_default();
    let source = Source { data, log: &log, base: &base, store: store.as_ref(), commit, now_us: env.now_us() };
    backup(&source, directory, watch)
}

/// Backs `source` up into `directory`.
pub(crate) fn backup(source: &Source<'_>, directory: &Path, watch: Watch<'_>) -> Result<Backup> {
    let mut target = Target::open(source, directory)?;
    // The store comes first, so that the log goes at least as far.
    let checkpoint = target.put_store(source)?;
    let mut last = None;
    source.log.with_files(&mut |log| {
        last = log.last;
        target.put_log(source, log, watch)
    })?;
    if checkpoint.is_some_and(|record| record > last.map_or(0, |(record, _)| record)) {
        return Err(Error::corrupt(format!(
            "the store is at record {}, beyond the end of the log; nothing was backed up",
            checkpoint.unwrap_or_default()
        )));
    }
    target.put_others(source)?;
    let record = last.map_or(0, |(record, _)| record);
    let position = if record == 0 { Position::ZERO } else { Position::end_of(record) };
    let manifest = Manifest {
        format: manifest::FORMAT_VERSION,
        thyme: env!("CARGO_PKG_VERSION").to_owned(),
        made: format_rfc3339(source.now_us),
        data_format: directory::FORMAT_VERSION,
        position: position.to_string(),
        record,
        stamp: last.map(|(_, stamp)| stamp),
        commit: source.commit.clone(),
        checkpoint,
        files: std::mem::take(&mut target.files),
    };
    target.finish(&manifest)?;
    Ok(Backup {
        position,
        files: manifest.files.len() as u64,
        bytes: manifest.bytes(),
        bytes_written: target.bytes_written,
        checkpoint,
    })
}

/// The folder that a backup is made in.
struct Target<'a> {
    directory: &'a Path,
    files: Vec<StoredFile>,
    bytes_written: u64,
    _lock: File,
}

impl<'a> Target<'a> {
    fn open(source: &Source<'_>, directory: &'a Path) -> Result<Self> {
        let shown = directory.display();
        let writing = |io| failed("writing to", directory, &io);
        let (data, target) =
            (fs::canonicalize(source.data), std::path::absolute(directory).map_err(writing)?);
        if data.is_ok_and(|data| target.starts_with(data)) {
            return Err(Error::invalid_data(format!(
                "{shown} is inside the data directory; a backup belongs on another disk"
            )));
        }
        let foreign = Error::new(
            thyme_core::error::ErrorKind::Conflict,
            format!(
                "{shown} is not empty and holds no backup; choose an empty directory or one with a backup"
            ),
        );
        let earlier = match fs::read_dir(directory) {
            Err(_) => None,
            Ok(mut entries) => {
                let earlier = Manifest::read(directory)?;
                if earlier.is_none() && !directory.join(INCOMPLETE_FILE).exists() && entries.next().is_some()
                {
                    return Err(foreign);
                }
                earlier
            }
        };
        if let Some(earlier) = &earlier {
            refuse_another_log(source, earlier, directory)?;
        }
        fs::create_dir_all(directory.join(LOG_FOLDER)).map_err(writing)?;
        let lock = File::create(directory.join(BACKUP_LOCK_FILE)).map_err(writing)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let text = format!("another backup into {shown} is under way");
                return Err(Error::new(thyme_core::error::ErrorKind::Conflict, text));
            }
            Err(TryLockError::Error(io)) => return Err(writing(io)),
        }
        if earlier.is_none() {
            let text = "A backup began here and is not complete before MANIFEST.json is there.\n";
            directory::write_whole(directory, INCOMPLETE_FILE, text.as_bytes()).map_err(writing)?;
        }
        Ok(Target { directory, files: Vec::new(), bytes_written: 0, _lock: lock })
    }

    fn put_store(&mut self, source: &Source<'_>) -> Result<Option<u64>> {
        let Some(store) = source.store else { return Ok(None) };
        let Some(progress) = checkpoint::load_progress(store)? else { return Ok(None) };
        let unfinished = self.directory.join("store.dump.unfinished");
        let writing = |io| failed("writing", &unfinished, &io);
        let file = File::create(&unfinished).map_err(writing)?;
        let mut out = Summing::new(BufWriter::with_capacity(1 << 20, file));
        store.export(&mut out)?;
        let (out, sum) = out.finish().map_err(writing)?;
        out.get_ref().sync_all().map_err(writing)?;
        self.bytes_written += sum.bytes;
        let stored = format!("store-{}-{}.dump", progress.record, &sum.sha256[..16]);
        fs::rename(&unfinished, self.directory.join(&stored)).map_err(writing)?;
        self.add(STORE_DUMP, stored, sum);
        Ok(Some(progress.record))
    }

    fn put_log(&mut self, source: &Source<'_>, log: &LogFiles, watch: Watch<'_>) -> Result<()> {
        let mut meter = Meter::new(watch, log.files.iter().map(|file| file.bytes).sum());
        for (index, file) in log.files.iter().enumerate() {
            let next = log.files.get(index + 1).map(|next| next.first);
            self.put_segment(source, file, next.or(log.last.map(|(last, _)| last + 1)), &mut meter)?;
        }
        // Small files that say where the log begins.
        let known: BTreeSet<&str> = log.files.iter().map(|file| file.name.as_str()).collect();
        let folder = source.data.join(LOG_FOLDER);
        let leave = |name: &str| {
            let is_segment = known.contains(name) || name.ends_with(".log") || name.ends_with(".rewrite");
            // A backup holds what is committed.
            is_segment || name == "lock" || name.starts_with(INTENT_FILE)
        };
        let names = files_below(&folder, &leave).map_err(|io| failed("listing", &folder, &io))?;
        names.iter().try_for_each(|name| self.put_file(source.data, &format!("{LOG_FOLDER}/{name}")))
    }

    /// One file of the log, verified record by record before it is copied.
    fn put_segment(
        &mut self,
        source: &Source<'_>,
        file: &LogFile,
        until: Option<u64>,
        meter: &mut Meter<'_>,
    ) -> Result<()> {
        let path = format!("{LOG_FOLDER}/{}", file.name);
        let from = source.data.join(&path);
        let sum = pour(&from, file.bytes, None, meter).map_err(|io| failed("reading", &from, &io))?;
        let stem = file.name.trim_end_matches(".log");
        let stored = format!("{LOG_FOLDER}/{stem}-{}.log", &sum.sha256[..16]);
        if !self.is_there(&stored, &sum) {
            for record in source.log.read(file.first)? {
                if record?.number + 1 == until.unwrap_or_default() {
                    break;
                }
            }
            self.copy(&from, &stored, &sum)?;
        }
        self.add(&path, stored, sum);
        Ok(())
    }

    /// The rest of the data directory: its marker, and what other parts of Thyme keep beside log and store.
    fn put_others(&mut self, source: &Source<'_>) -> Result<()> {
        let leave = |name: &str| {
            let top = name.split('/').next().unwrap_or_default();
            [LOG_FOLDER, LOCK_FILE, RESTORING_FILE, QUERY_RUNS_FOLDER, JOBS_FOLDER].contains(&top)
                || top.starts_with(STORE_FOLDER)
                || top.ends_with(".new")
        };
        let names = files_below(source.data, &leave).map_err(|io| failed("listing", source.data, &io))?;
        names.iter().try_for_each(|name| self.put_file(source.data, name))
    }

    fn put_file(&mut self, data: &Path, path: &str) -> Result<()> {
        let from = data.join(path);
        let mut meter = Meter::new(&|_, _| {}, 0);
        let sum = pour(&from, u64::MAX, None, &mut meter).map_err(|io| failed("reading", &from, &io))?;
        let stored = format!("{path}-{}", &sum.sha256[..16]);
        if !self.is_there(&stored, &sum) {
            self.copy(&from, &stored, &sum)?;
        }
        self.add(path, stored, sum);
        Ok(())
    }

    /// Whether an earlier backup left this file here, whole.
    fn is_there(&self, stored: &str, sum: &Sum) -> bool {
        let path = self.directory.join(stored);
        let long_enough = fs::metadata(&path).is_ok_and(|meta| meta.len() == sum.bytes);
        long_enough
            && pour(&path, u64::MAX, None, &mut Meter::new(&|_, _| {}, 0)).is_ok_and(|found| found == *sum)
    }

    fn copy(&mut self, from: &Path, stored: &str, sum: &Sum) -> Result<()> {
        let to = self.directory.join(stored);
        let unfinished = self.directory.join(format!("{stored}.unfinished"));
        let writing = |io| failed("writing", &to, &io);
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).map_err(writing)?;
        }
        let mut file = create_like(from, &unfinished).map_err(writing)?;
        let mut meter = Meter::new(&|_, _| {}, 0);
        let copied = pour(from, sum.bytes, Some(&mut file), &mut meter).map_err(writing)?;
        if copied != *sum {
            return Err(Error::unavailable(format!(
                "{} changed while it was copied; run the backup again",
                from.display()
            )));
        }
        file.sync_all().map_err(writing)?;
        fs::rename(&unfinished, &to).map_err(writing)?;
        self.bytes_written += sum.bytes;
        Ok(())
    }

    fn add(&mut self, path: &str, stored: String, sum: Sum) {
        self.files.push(StoredFile { path: path.to_owned(), stored, bytes: sum.bytes, sha256: sum.sha256 });
    }

    /// Makes everything durable, then the manifest; then removes what it does not name.
    fn finish(&mut self, manifest: &Manifest) -> Result<()> {
        let syncing = |io| failed("syncing", self.directory, &io);
        let mut folders: BTreeSet<_> = BTreeSet::from([self.directory.to_owned()]);
        for file in &manifest.files {
            folders.extend(below(self.directory, &file.stored)?.parent().map(Path::to_owned));
        }
        folders.iter().try_for_each(|folder| sync_names(folder)).map_err(syncing)?;
        manifest.write(self.directory)?;
        let kept: BTreeSet<&str> = manifest.files.iter().map(|file| file.stored.as_str()).collect();
        let leave = |name: &str| kept.contains(name) || name == manifest::FILE || name == BACKUP_LOCK_FILE;
        let stale = files_below(self.directory, &leave).map_err(syncing)?;
        for name in stale {
            let path = self.directory.join(name);
            fs::remove_file(&path).map_err(|io| failed("removing", &path, &io))?;
        }
        sync_names(self.directory).map_err(syncing)
    }
}

/// A folder with a backup takes only later ones of the same log.
fn refuse_another_log(source: &Source<'_>, earlier: &Manifest, directory: &Path) -> Result<()> {
    let Some(stamp) = earlier.stamp else { return Ok(()) };
    let (log, gone) = (source.log, &source.base.progress);
    let last = log.last().map_or(0, |(last, _)| last);
    let same = match earlier.record < log.first().saturating_sub(1) {
        // Its end left the log since; what is known of then is what was committed.
        true => {
            let before = gone.commits.iter().rev().find(|commit| commit.record <= earlier.record);
            stamp < gone.stamp && before.is_none_or(|commit| commit.id == earlier.commit)
        }
        false => earlier.record <= last && log.last_at(stamp)? == Some(earlier.record),
    };
    if same {
        return Ok(());
    }
    Err(Error::new(
        thyme_core::error::ErrorKind::Conflict,
        format!(
            "{} holds a backup of another log, up to {}; choose another directory",
            directory.display(),
            earlier.position
        ),
    ))
}
