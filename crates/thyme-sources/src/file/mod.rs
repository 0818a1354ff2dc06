//! The file connector: JSONL, CSV and Parquet files of a path or a glob, each row once.
//!
//! A look ([`listing`]) finds the files that changed; each is read on from where the [`cursor`] stands:
//! [`text`] reads windows of JSONL ([`jsonl`]) and CSV ([`csv`]) files, [`parquet`] batches of Parquet
//! files. Rows are gathered into batches across files ([`gather`]). Whether a file is still the one that
//! was read is told from its content ([`print`]).
//!
//! The rules, as users see them:
//!
//! - JSONL and CSV files are followed as they grow. A file that was cut, or whose content before the place
//!   reached is another, counts as a new file and is read from its start; an event says so. The same bytes
//!   under another inode (a restored copy) are the same file. A Parquet file is read once its footer is there; one
//!   that was overwritten by another is a new file, too.
//! - A last line without a newline: JSON is taken when it is a whole object, CSV when the file has not
//!   changed for 2 s. A newline that comes later makes no row. Until then the status lists it.
//! - A record that cannot be read is a dead letter with the origin `path:line` (of Parquet: `path:row`,
//!   both from 1). What does not end within 16 MiB is one, too; reading goes on at the next line.
//! - A quoted CSV field that is not well formed and runs over several lines gives up its first line only.
//! - A header or schema that does not fit the dataset makes an error in the status and an event, and the
//!   file is passed over until it changes. A Parquet file that cannot be read and has not changed for 5 s
//!   also becomes a dead letter.

mod csv;
mod cursor;
mod gather;
mod jsonl;
mod letters;
mod listing;
mod parquet;
mod print;
#[cfg(test)]
mod tests;
mod text;

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, Read as _};
use std::sync::Arc;

use thyme_core::{Env, Error, Result};
use thyme_engine::{DeadLetter, EventLog, LiveDataset, Severity};

use crate::connector::{Connector, Effort, Next, Opening, Read, Totals, Unfinished};
pub use letters::reread;

use cursor::{Cursor, ParquetPlace};
use gather::Gather;
use listing::{Found, Listing, Stat};
use parquet::{OpenParquet, Trouble};
use text::{Known, Reading, Tail};

/// How long a CSV file must not have changed for its last line to be taken without a newline.
const CSV_SETTLED_US: i64 = 2_000_000;
/// How long a Parquet file must not have changed to be damaged rather than incomplete.
const PARQUET_SETTLED_US: i64 = 5_000_000;
/// A file last written this long ago has not to be watched first.
const OLD_US: i64 = 60_000_000;
/// Files looked into for one batch.
const FILES_PER_STEP: usize = 200;

/// Files with an unfinished last line that the status lists.
const UNFINISHED_MAX: usize = 20;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Jsonl,
    Csv,
    Parquet,
}

impl Format {
    fn named(name: &str) -> Option<Format> {
        match name {
            "jsonl" | "ndjson" => Some(Format::Jsonl),
            "csv" => Some(Format::Csv),
            "parquet" => Some(Format::Parquet),
            _ => None,
        }
    }

    fn of_file(name: &str) -> Option<Format> {
        name.rsplit_once('.').and_then(|(_, extension)| Format::named(&extension.to_ascii_lowercase()))
    }
}

/// What one step into a file came to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Look {
    /// There is more to read.
    More,
    /// All that is there is read.
    End,
    /// Time will tell how to read what is left.
    Waiting,
    /// It is not the file that was read before.
    Replaced,
    /// It cannot be read until it changes.
    Refused(String),
}

/// A file as of the last looks.
#[derive(Debug)]
struct Watched {
    stat: Stat,
    /// When it was first seen with this stat.
    since_us: i64,
    /// Whether it need not be read before it changes.
    is_read: bool,
    known: Known,
    /// A Parquet file's fingerprint, once it was taken.
    print: Option<u64>,
}

/// The file connector.
pub(crate) struct FileConnector {
    dataset: Arc<LiveDataset>,
    format: Option<Format>,
    listing: Listing,
    cursor: Cursor,
    watched: BTreeMap<String, Watched>,
    /// What of the last look is not read yet.
    todo: VecDeque<Found>,
    waiting: bool,
    errors: BTreeMap<String, String>,
    open: Option<OpenParquet>,
    buffer: Vec<u8>,
    events: Arc<EventLog>,
    env: Arc<dyn Env>,
}

impl FileConnector {
    /// # Errors
    /// Options that are missing or malformed, or a cursor that cannot be read.
    pub fn open(opening: Opening<'_>) -> Result<FileConnector> {
        let Opening { dataset, source, cursor, events, env } = opening;
        let name = &dataset.definition.name;
        let path = source
            .options
            .get("path")
            .filter(|path| !path.is_empty())
            .ok_or_else(|| Error::invalid_definition(format!("the file source of {name} has no path")))?;
        let format = match source.options.get("format") {
            None => None,
            Some(text) => Some(Format::named(text).ok_or_else(|| {
                Error::invalid_definition(format!(
                    "the file source of {name} has the format \"{text}\": expected \"jsonl\", \"csv\" or \"parquet\""
                ))
            })?),
        };
        Ok(FileConnector {
            format,
            listing: Listing::new(path)?,
            cursor: cursor.map(Cursor::decode).transpose()?.unwrap_or_default(),
            watched: BTreeMap::new(),
            todo: VecDeque::new(),
            waiting: false,
            errors: BTreeMap::new(),
            open: None,
            buffer: Vec::new(),
            dataset,
            events,
            env,
        })
    }

    fn step(&mut self, found: &Found, gather: &mut Gather<'_>) -> io::Result<Look> {
        match self.format.or_else(|| Format::of_file(&found.name)) {
            None => Ok(Look::Refused(
                "its name does not tell the format; name it .jsonl, .csv or .parquet, or give FileSource a format".into(),
            )),
            Some(Format::Parquet) => self.step_parquet(found, gather),
            Some(format) => self.step_text(found, format, gather),
        }
    }

    fn step_text(&mut self, found: &Found, format: Format, gather: &mut Gather<'_>) -> io::Result<Look> {
        let end = if self.is_settled(found, CSV_SETTLED_US) { Tail::Settled } else { Tail::Growing };
        let Some(watched) = self.watched.get_mut(&found.name) else { return Ok(Look::End) };
        let mut place = self.cursor.text.get(&found.name).cloned().unwrap_or_default();
        let mut reading = Reading {
            name: &self.listing.shown(&found.name),
            path: &found.path,
            format,
            end,
            place: &mut place,
            known: &mut watched.known,
            buffer: &mut self.buffer,
        };
        let look = reading.step(gather)?;
        if place.offset > 0 {
            self.cursor.text.insert(found.name.clone(), place);
        }
        Ok(look)
    }

    fn step_parquet(&mut self, found: &Found, gather: &mut Gather<'_>) -> io::Result<Look> {
        if self.open.as_ref().is_none_or(|open| open.name != found.name)
            && let Some(look) = self.open_parquet(found, gather)?
        {
            return Ok(look);
        }
        let Some(open) = &mut self.open else { return Ok(Look::End) };
        let outcome = open.step(&self.listing.shown(&found.name), gather);
        let (print, rows) = (open.print, open.row);
        if rows > 0 {
            self.cursor.parquet.insert(found.name.clone(), ParquetPlace { print, rows });
        }
        match outcome {
            Ok(true) => Ok(Look::More),
            Ok(false) => {
                self.open = None;
                self.finished(found, print);
                Ok(Look::End)
            }
            Err(trouble) => {
                self.open = None;
                self.trouble(found, trouble, print, rows, gather)
            }
        }
    }

    /// Opens the Parquet file at the row reached; a look if there is nothing to read from it.
    fn open_parquet(&mut self, found: &Found, gather: &mut Gather<'_>) -> io::Result<Option<Look>> {
        self.open = None;
        let mut file = File::open(&found.path)?;
        let Some(watched) = self.watched.get_mut(&found.name) else { return Ok(Some(Look::End)) };
        let print = match watched.print {
            Some(print) => print,
            None => print::parquet(&mut file, found.stat.size)?,
        };
        watched.print = Some(print);
        let done = self.cursor.done.get(&found.name);
        let place = self.cursor.parquet.get(&found.name);
        if done.or(place.map(|place| &place.print)).is_some_and(|was| *was != print) {
            return Ok(Some(Look::Replaced));
        }
        if done.is_some() {
            return Ok(Some(Look::End));
        }
        let row = place.map_or(0, |place| place.rows);
        match OpenParquet::open(file, &found.name, print, row, &self.dataset.definition) {
            Ok(open) => {
                self.open = Some(open);
                Ok(None)
            }
            Err(trouble) => self.trouble(found, trouble, print, row, gather).map(Some),
        }
    }

    /// A Parquet file that cannot be read on from `row`: maybe it is still being written.
    fn trouble(
        &mut self,
        found: &Found,
        trouble: Trouble,
        print: u64,
        row: u64,
        gather: &mut Gather<'_>,
    ) -> io::Result<Look> {
        let what = match trouble {
            Trouble::Misfit(sentence) => return Ok(Look::Refused(sentence)),
            Trouble::Unreadable(what) => what,
        };
        if !self.is_settled(found, PARQUET_SETTLED_US) {
            return Ok(Look::Waiting);
        }
        let sentence = match row {
            0 => format!("it is not a readable Parquet file: {what}"),
            row => format!("it cannot be read after row {row}: {what}"),
        };
        let mut raw = Vec::new();
        File::open(&found.path)?.take(DeadLetter::RAW_MAX as u64).read_to_end(&mut raw)?;
        gather.reject(format!("{}:{}", self.listing.shown(&found.name), row + 1), sentence.clone(), &raw);
        self.finished(found, print);
        Ok(Look::Refused(sentence))
    }

    fn finished(&mut self, found: &Found, print: u64) {
        self.cursor.parquet.remove(&found.name);
        self.cursor.done.insert(found.name.clone(), print);
    }

    fn is_settled(&self, found: &Found, limit_us: i64) -> bool {
        let now = self.env.now_us();
        now.saturating_sub(found.stat.modified_us) >= OLD_US
            || self.watched.get(&found.name).is_some_and(|w| now.saturating_sub(w.since_us) >= limit_us)
    }

    /// Draws the conclusions of a step; true if the file is to be read on now.
    fn conclude(&mut self, found: &Found, look: io::Result<Look>) -> bool {
        let (name, shown) = (&found.name, self.listing.shown(&found.name));
        let Some(watched) = self.watched.get_mut(name) else { return false };
        match look {
            Ok(Look::More) => return true,
            Ok(Look::End) => {
                watched.is_read = true;
                self.errors.remove(name);
            }
            Ok(Look::Waiting) => self.waiting = true,
            Ok(Look::Replaced) => {
                self.cursor.forget(name);
                watched.known = Known::default();
                let message = format!(
                    "{shown}, which dataset {} reads, was cut or replaced; it is read again from its start, as a new file",
                    self.dataset.definition.name
                );
                self.events.record(Severity::Warning, "source_file_replaced", &shown, message);
                return true;
            }
            Ok(Look::Refused(problem)) => {
                watched.is_read = true;
                let sentence = format!("{shown} is passed over until it changes: {problem}");
                self.events.record(Severity::Warning, "source_file_refused", &shown, sentence.clone());
                self.errors.insert(name.clone(), sentence);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.errors.remove(name);
            }
            Err(error) => {
                self.errors
                    .insert(name.clone(), format!("{shown} cannot be read: {error}; it is tried again"));
            }
        }
        false
    }
}

impl Connector for FileConnector {
    fn look(&mut self, effort: Effort) {
        let now = self.env.now_us();
        let found = self.listing.look(effort);
        let is_there = |name: &str| found.binary_search_by(|f| f.name.as_str().cmp(name)).is_ok();
        self.watched.retain(|name, _| is_there(name));
        self.errors.retain(|name, _| is_there(name));
        self.cursor.prune(is_there);
        self.todo.clear();
        self.waiting = false;
        for file in found {
            let fresh =
                |known| Watched { stat: file.stat, since_us: now, is_read: false, known, print: None };
            let watched = self.watched.entry(file.name.clone()).or_insert_with(|| fresh(Known::default()));
            if watched.stat != file.stat {
                // The columns of a CSV stay known unless its start turns out to be another.
                let layout = watched.known.layout.take();
                *watched = fresh(Known { layout, ..Known::default() });
                if self.open.as_ref().is_some_and(|open| open.name == file.name) {
                    self.open = None;
                }
            }
            // A clock that was set back must not make a file wait.
            watched.since_us = watched.since_us.min(now);
            if !watched.is_read {
                self.todo.push_back(file);
            }
        }
    }

    fn next(&mut self) -> Result<Next> {
        let dataset = self.dataset.clone();
        let mut gather = Gather::new(&dataset.definition);
        for _ in 0..FILES_PER_STEP {
            let Some(found) = self.todo.pop_front() else { break };
            let look = self.step(&found, &mut gather);
            if self.conclude(&found, look) {
                self.todo.push_front(found);
            }
            if gather.is_full() {
                break;
            }
        }
        if gather.is_empty() {
            return Ok(if self.todo.is_empty() { Next::End } else { Next::Again });
        }
        let (batch, dead_letters) = gather.finish()?;
        self.cursor.rows += batch.num_rows() as u64;
        self.cursor.dead += dead_letters.len() as u64;
        let cursor = self.cursor.encode()?;
        Ok(Next::Read(Box::new(Read { batch, dead_letters, cursor, totals: self.totals() })))
    }

    fn is_waiting(&self) -> bool {
        self.waiting
    }

    fn unfinished(&self) -> Vec<Unfinished> {
        let unfinished = self.watched.iter().filter(|(_, watched)| watched.known.unfinished > 0);
        let named = unfinished.map(|(name, watched)| Unfinished {
            path: self.listing.shown(name),
            bytes: watched.known.unfinished as u64,
        });
        named.take(UNFINISHED_MAX).collect()
    }

    fn error(&self) -> Option<String> {
        if self.watched.is_empty() {
            return Some(self.listing.nothing());
        }
        let first = self.errors.values().next()?;
        Some(match self.errors.len() {
            1 => first.clone(),
            n => format!("{first} (and {} more files)", n - 1),
        })
    }

    fn totals(&self) -> Totals {
        Totals { rows: self.cursor.rows, dead_letters: self.cursor.dead }
    }
}
