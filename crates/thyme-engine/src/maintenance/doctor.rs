//! The doctor: reads a data directory, or a backup, byte by byte, says what is wrong and what to do.
//!
//! It changes nothing. What a start would cut or rebuild is only told.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thyme_core::error::ErrorKind;
use thyme_core::time::format_rfc3339;
use thyme_core::{Error, Position, Result};
use thyme_log::{Log, SegmentLog, TornTail, UntouchedDir};
use thyme_store::{Depth, Store};
use thyme_timeline::{Layout, Timeline};

use super::Watch;
use super::copying::{Meter, below, files_below, pour};
use super::examination::{Examination, Health};
use super::manifest;
use super::restore::{check_sum, check_there, manifest_of};
use crate::answers;
use crate::applier::Progress;
use crate::base::Base;
use crate::catalog::{self, Catalog};
use crate::checkpoint;
use crate::directory::{self, BACKUP_LOCK_FILE, DataDirectory, LOG_FOLDER, STORE_FOLDER};
use crate::erasure::Secret;
use crate::node::Node;
use crate::record::Payload;
use crate::residence::Residence;
use crate::sealed;

/// Damaged chunks that are told one by one.
const CHUNKS_TOLD_MAX: usize = 20;
/// Less free space than this, or than a twentieth of the disk, is worth a word.
const FREE_BYTES_LOW: u64 = 1 << 30;
/// A stamp this far ahead of the clock is worth a word.
const CLOCK_BEHIND_US: i64 = 5_000_000;
const SET_ASIDE: &str = "store.damaged";

/// Examines the data directory `data`, or the backup in it. `deep` also decodes every record and every chunk.
///
/// # Errors
/// `NotFound` when there is neither, `Unavailable` when a process uses it or it cannot be read.
pub fn examine(data: &Path, deep: bool, now_us: i64, watch: Watch<'_>) -> Result<Examination> {
    let mut found = Examination::default();
    if data.join(manifest::FILE).exists() || data.join(BACKUP_LOCK_FILE).exists() {
        examine_backup(data, watch, &mut found);
        return Ok(found);
    }
    if !data.join(LOG_FOLDER).is_dir() && !data.join(directory::FORMAT_FILE).exists() {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("{} is neither a data directory nor a backup", data.display()),
        ));
    }
    let _held = DataDirectory::look(data)?;
    for checked in [directory::refuse_unfinished(data), directory::format_of(data).map(|_| ())] {
        if let Err(error) = checked {
            found.error("directory", &error);
            if error.kind() == ErrorKind::Unsupported {
                return Ok(found);
            }
        }
    }
    let (log, torn) = examine_log(data, deep, now_us, watch, &mut found)?.unzip();
    let stored = examine_store(data, deep, log.as_ref(), &mut found);
    if let Some(log) = &log {
        examine_end(log, torn.flatten().as_ref(), stored, &mut found);
    }
    examine_disk(data, &mut found);
    Ok(found)
}

/// Gives a damaged store another name, so that the next start rebuilds it from the log. Gives that name.
///
/// # Errors
/// `Conflict` when the log is damaged, for then the store may hold what the log has lost; `NotFound` when there
/// is no store.
pub fn set_store_aside(data: &Path) -> Result<PathBuf> {
    let _held = DataDirectory::look(data)?;
    let mut found = Examination::default();
    let (log, torn) = examine_log(data, false, i64::MAX, &|_, _| {}, &mut found)?.unzip();
    let store = data.join(STORE_FOLDER);
    if let Some(log) = &log {
        // What of it can still be read may tell that the log has lost its end.
        let opened = store.is_dir().then(|| Store::open_untouched(&store).ok()).flatten();
        let progress = opened.and_then(|store| checkpoint::load_progress(&store).ok().flatten());
        examine_end(log, torn.flatten().as_ref(), progress.map(|progress| progress.record), &mut found);
    }
    if found.health() == Health::Damaged || log.is_none() {
        return Err(Error::new(
            ErrorKind::Conflict,
            format!("the log in {} is damaged; the store is left as it is: restore a backup", data.display()),
        ));
    }
    if !store.exists() {
        return Err(Error::new(ErrorKind::NotFound, format!("{} is not there", store.display())));
    }
    let aside = (1..).map(|number| data.join(format!("{SET_ASIDE}-{number}"))).find(|path| !path.exists());
    let aside = aside.ok_or_else(|| Error::internal("no name is free"))?;
    fs::rename(&store, &aside)
        .and_then(|()| directory::sync_names(data))
        .map_err(|io| Error::unavailable(format!("renaming {}: {io}", store.display())))?;
    Ok(aside)
}

/// The log, if it can be opened, and what is there of a write after its end.
fn examine_log(
    data: &Path,
    deep: bool,
    now_us: i64,
    watch: Watch<'_>,
    found: &mut Examination,
) -> Result<Option<(SegmentLog, Option<TornTail>)>> {
    let folder = data.join(LOG_FOLDER);
    if !folder.is_dir() {
        found.damaged(
            "log",
            format!("{} is missing", folder.display()),
            "restore a backup into a new directory",
        );
        return Ok(None);
    }
    let disk = Arc::new(UntouchedDir::new(&folder));
    let opened = SegmentLog::open_on(disk.clone(), Default::default());
    let (log, report) = match opened {
        Ok(opened) => opened,
        Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported) => {
            found.error("log", &error);
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let before = found.findings.len();
    let base = Base::load(disk.as_ref(), &log);
    if let Err(error) = &base {
        found.error("log", error);
    }
    if let Err(error) = Secret::load(disk.as_ref()) {
        found.error("log", &error);
    }
    if let Err(error) = sealed::check(sealed::KEYS, disk.as_ref()) {
        found.error("log", &error);
    }
    let count = read_log(&log, base.as_ref().ok(), deep, watch, found)?;
    if found.findings.len() == before {
        let last = log.last();
        found.intact(
            "log",
            format!(
                "{count} records in {} bytes match their checksums{}{}; the last is {}",
                log.bytes(),
                if deep { " and decode" } else { "" },
                match log.first() {
                    1 => String::new(),
                    first => format!(", and so does what those before e{first} came to"),
                },
                last.map_or("none".to_owned(), |(record, stamp)| format!(
                    "e{record} of {}",
                    format_rfc3339(stamp)
                )),
            ),
        );
    }
    if let Some((record, stamp)) = log.last()
        && stamp.saturating_sub(now_us) > CLOCK_BEHIND_US
    {
        found.attention(
            "clock",
            format!(
                "record e{record} was written at {}, which is {} s ahead of this machine's clock",
                format_rfc3339(stamp),
                (stamp - now_us) / 1_000_000
            ),
            "set the clock; until it has passed that time, now stands still there for every reader",
        );
    }
    Ok(Some((log, report.torn)))
}

/// Whether the log goes as far as what is known of it, which a store of record `stored` knows something of.
fn examine_end(log: &SegmentLog, torn: Option<&TornTail>, stored: Option<u64>, found: &mut Examination) {
    let last = log.last().map_or(0, |(record, _)| record);
    let half = torn.map(|torn| {
        format!(
            "{} ends with {} bytes of a record that is not whole, from byte {}",
            torn.file, torn.bytes, torn.offset
        )
    });
    let restore = "restore the missing files, or the whole directory, from a backup";
    match (half, stored.filter(|stored| *stored > last)) {
        (Some(half), Some(stored)) => {
            let what = format!(
                "{half}: it was acknowledged, for the store is at record {stored}, and the last whole record is {last}"
            );
            found.damaged("log", what, restore);
        }
        (None, Some(stored)) => {
            let what = format!(
                "it ends at record {last}, but the store is at record {stored}: files of the log, or the end of one, are missing"
            );
            found.damaged("log", what, restore);
        }
        (Some(half), None) => found.attention(
            "log",
            format!("{half}, as a crash leaves it in the middle of a write that was never acknowledged"),
            "nothing, unless something else than a crash cut the file: the next start removes those bytes",
        ),
        (None, None) => {}
    }
}

/// Reads every record of every file; a damaged file does not hide the next. Gives how many there are.
fn read_log(
    log: &SegmentLog,
    base: Option<&Base>,
    deep: bool,
    watch: Watch<'_>,
    found: &mut Examination,
) -> Result<u64> {
    let (mut files, mut count) = (Vec::new(), 0);
    log.with_files(&mut |all| {
        files.clone_from(&all.files);
        Ok(())
    })?;
    let mut meter = Meter::new(watch, log.bytes());
    let mut decoder = base.filter(|_| deep).map(Decoder::new).transpose()?;
    for (index, file) in files.iter().enumerate() {
        let until = files.get(index + 1).map_or(u64::MAX, |next| next.first);
        for record in log.read(file.first)? {
            let record = match record {
                Ok(record) if record.number >= until => break,
                Ok(record) => record,
                Err(error) => {
                    found.error("log", &error);
                    decoder = None;
                    break;
                }
            };
            count += 1;
            if let Some(decoder) = &mut decoder
                && let Err(error) = decoder.decode(&record.payload)
            {
                let what = format!("record {} in {} cannot be decoded: {error}", record.number, file.name);
                found.damaged(
                    "log",
                    what,
                    "it was written by another Thyme, or this is a fault of Thyme: report it",
                );
            }
            if record.number + 1 == until {
                break;
            }
        }
        meter.add(file.bytes);
    }
    Ok(count)
}

/// Decodes payloads in the order of the log; commits say what the rows of later ones look like.
struct Decoder {
    catalog: Catalog,
    progress: Progress,
}

impl Decoder {
    /// From the record that `base` stands before.
    fn new(base: &Base) -> Result<Self> {
        let mut progress = base.progress.clone();
        let (commit, document) = (progress.commit.clone(), progress.document.clone());
        let nowhere = Residence::nowhere();
        let (catalog, _) = catalog::derive(&Catalog::empty(), &mut progress.ids, commit, document, &nowhere)?;
        Ok(Decoder { catalog, progress })
    }

    fn decode(&mut self, payload: &[u8]) -> Result<()> {
        if let Payload::Commit(commit) = Payload::decode(payload, &|id| self.progress.ids.schema(id))? {
            let (catalog, _) = catalog::derive(
                &self.catalog,
                &mut self.progress.ids,
                commit.id,
                commit.document,
                &Residence::nowhere(),
            )?;
            self.catalog = catalog;
        }
        Ok(())
    }
}

/// Examines the store; gives the record that it is as of, as far as it can be read.
fn examine_store(data: &Path, deep: bool, log: Option<&SegmentLog>, found: &mut Examination) -> Option<u64> {
    let folder = data.join(STORE_FOLDER);
    let last = log.and_then(Log::last).map_or(0, |(record, _)| record);
    let count = log.map_or(0, |log| last + 1 - log.first());
    if !folder.is_dir() {
        found.intact(
            "store",
            format!("there is none; the next start makes it from {count} records of the log"),
        );
        return None;
    }
    let rebuild = format!(
        "run `thyme doctor --data {} --fix-store`: it moves the store aside, and the next start rebuilds it from {count} records of the log",
        data.display()
    );
    let damaged_before = found.findings.len();
    match Store::survey(&folder, Depth::Tables) {
        Ok(faults) => {
            for fault in faults {
                found.damaged("store", format!("{} {}", fault.path.display(), fault.flaw), &rebuild);
            }
        }
        Err(error) => found.damaged("store", error.detail(), &rebuild),
    }
    if found.findings.len() > damaged_before {
        return None;
    }
    let read = Store::open_untouched(&folder).and_then(|store| {
        look_for_secret(data, &store, found)?;
        read_store(&store, deep, (last, count), &rebuild, found)
    });
    read.unwrap_or_else(|error| {
        let what = error.detail().split_once("; ").map_or(error.detail(), |(what, _)| what);
        match error.kind() {
            ErrorKind::Corrupt => found.damaged("store", what, &rebuild),
            _ => found.damaged("store", error.detail(), ""),
        }
        None
    })
}

/// Whether the secret is there if anybody has been erased.
fn look_for_secret(data: &Path, store: &Store, found: &mut Examination) -> Result<()> {
    let erased = checkpoint::load_progress(store)?.is_some_and(|progress| !progress.erased.is_empty());
    let file = data.join(LOG_FOLDER).join(Secret::FILE);
    if erased && !file.exists() {
        found.damaged(
            "log",
            format!(
                "entities have been erased, but {} is missing: no server starts without it",
                file.display()
            ),
            "restore it from a backup",
        );
    }
    Ok(())
}

fn read_store(
    store: &Store,
    deep: bool,
    (last, count): (u64, u64),
    rebuild: &str,
    found: &mut Examination,
) -> Result<Option<u64>> {
    let (progress, nodes) = (checkpoint::load_progress(store)?, store.nodes()?);
    let Some(progress) = progress else {
        match nodes.as_slice() {
            [] => {
                found.intact("store", format!("it is empty; the next start reads {count} records of the log"))
            }
            _ => found.attention(
                "store",
                "it has timelines and no position: it ended before its first checkpoint",
                format!("nothing: the next start reads all {count} records of the log"),
            ),
        }
        return Ok(None);
    };
    if progress.record > last {
        // The log has lost its end: what that means for it is told there.
        return Ok(Some(progress.record));
    }
    if progress.record + count < last {
        let what = format!(
            "it is at record {}, and the log begins with {}: it is an older store",
            progress.record,
            last + 1 - count
        );
        found.damaged("store", what, rebuild);
        return Ok(Some(progress.record));
    }
    let mut ids = progress.ids.clone();
    let (catalog, _) = catalog::derive(
        &Catalog::empty(),
        &mut ids,
        progress.commit.clone(),
        progress.document.clone(),
        &Residence::nowhere(),
    )?;
    let mut check =
        ChunkCheck { deep, at: Position::end_of(progress.record), rebuild, ..ChunkCheck::default() };
    for node in nodes {
        check.node(store, node, catalog.nodes().find(|live| live.id.0 == node), found);
    }
    if let Err(error) = answers::check(store) {
        check.damaged += 1;
        found.damaged("store", error.to_string(), rebuild);
    }
    let ChunkCheck { chunks, entities, damaged, .. } = check;
    if damaged > CHUNKS_TOLD_MAX {
        found.damaged("store", format!("{} more chunks are damaged", damaged - CHUNKS_TOLD_MAX), rebuild);
    }
    if damaged == 0 {
        found.intact(
            "store",
            format!(
                "{chunks} chunks of {entities} timelines match their checksums{}; as of e{}, {} records before the log's end",
                if deep { " and decode" } else { "" },
                progress.record,
                last - progress.record
            ),
        );
    }
    Ok(Some(progress.record))
}

/// Reads the chunks of nodes, and counts them.
#[derive(Default)]
struct ChunkCheck<'a> {
    /// Whether chunks are decoded too.
    deep: bool,
    at: Position,
    rebuild: &'a str,
    chunks: u64,
    entities: u64,
    damaged: usize,
}

impl ChunkCheck<'_> {
    fn node(&mut self, store: &Store, node: u32, live: Option<&Arc<Node>>, found: &mut Examination) {
        let layout = live.filter(|_| self.deep).map(|live| &live.layout);
        let (mut entity, mut parts) = (None, Vec::new());
        for chunk in store.chunks(node) {
            match chunk {
                Ok((key, id, bytes)) => {
                    self.chunks += 1;
                    if entity.as_ref() != Some(&key) {
                        self.entities += 1;
                        self.decode(node, layout, std::mem::take(&mut parts), found);
                        entity = Some(key);
                    }
                    if layout.is_some() {
                        parts.push((id, bytes));
                    }
                }
                Err(error) => self.tell(node, &error, found),
            }
        }
        self.decode(node, layout, parts, found);
        if live.is_none() {
            let what =
                format!("chunks of node {node}, which no pipeline has any more: they are removed in time");
            found.intact("store", what);
        }
    }

    /// Decodes the chunks of one timeline.
    fn decode(
        &mut self,
        node: u32,
        layout: Option<&Layout>,
        parts: Vec<(u32, Vec<u8>)>,
        found: &mut Examination,
    ) {
        let Some(layout) = layout else { return };
        let chunks = parts.iter().map(|(id, bytes)| (*id, bytes.as_slice()));
        if let Err(error) = Timeline::from_chunks(layout, chunks, self.at) {
            self.tell(node, &error, found);
        }
    }

    fn tell(&mut self, node: u32, error: &Error, found: &mut Examination) {
        self.damaged += 1;
        if self.damaged <= CHUNKS_TOLD_MAX {
            let what = error.detail().split_once("; ").map_or(error.detail(), |(what, _)| what);
            found.damaged("store", format!("node {node}: {what}"), self.rebuild);
        }
    }
}

fn examine_disk(data: &Path, found: &mut Examination) {
    let aside: BTreeSet<String> = fs::read_dir(data)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with(SET_ASIDE))
        .collect();
    for name in aside {
        found.attention(
            "directory",
            format!("{} was set aside", data.join(name).display()),
            "remove it once the server has started and answers",
        );
    }
    let Ok(disk) = rustix::fs::statvfs(data) else { return };
    let (free, total) = (disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize);
    let mib = free >> 20;
    if free < FREE_BYTES_LOW.max(total / 20) {
        found.attention(
            "disk",
            format!("{mib} MiB are free, {} % of the disk", free * 100 / total.max(1)),
            "free some: a full disk refuses pushes (507) and makes no checkpoints",
        );
    } else {
        found.intact("disk", format!("{mib} MiB are free"));
    }
}

fn examine_backup(directory: &Path, watch: Watch<'_>, found: &mut Examination) {
    let manifest = match manifest_of(directory) {
        Ok(manifest) => manifest,
        Err(error) => return found.error("backup", &error),
    };
    let mut meter = Meter::new(watch, manifest.bytes());
    for file in &manifest.files {
        let checked = check_there(directory, file).and_then(|()| {
            let path = below(directory, &file.stored)?;
            let sum = pour(&path, u64::MAX, None, &mut meter);
            let sum = sum.map_err(|io| Error::corrupt(format!("reading {}: {io}", path.display())))?;
            check_sum(&path, file, &sum)
        });
        if let Err(error) = checked {
            found.error("backup", &error);
        }
    }
    let kept: BTreeSet<&str> = manifest.files.iter().map(|file| file.stored.as_str()).collect();
    let leave = |name: &str| kept.contains(name) || [manifest::FILE, BACKUP_LOCK_FILE].contains(&name);
    for name in files_below(directory, &leave).unwrap_or_default() {
        let path = directory.join(name);
        found.attention(
            "backup",
            format!("{} is no part of it", path.display()),
            "a later backup removes it",
        );
    }
    if found.health() < Health::Damaged {
        found.intact(
            "backup",
            format!(
                "{} files of {} bytes match their checksums; up to {}, made {}",
                manifest.files.len(),
                manifest.bytes(),
                manifest.position,
                manifest.made
            ),
        );
    }
}
