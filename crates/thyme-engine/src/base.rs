//! What the log's first record stands on, once the records before it are gone.
//!
//! A file beside the log says what those records came to, but for timelines: the progress as of the last of them,
//! the definitions in force, the commits, and of each dataset the event time up to which rows went with them. Whoever
//! reads the log from its beginning begins with it: a backfill, an audit, an erasure, and an engine whose store is lost.
//! It is durable before anything goes, and what goes is above it as if it had never been there.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thyme_core::definition::Dataset;
use thyme_core::time::format_rfc3339;
use thyme_core::{Error, EventTime, Result};
use thyme_log::{Disk, Log, Record};

use crate::applier::Progress;
use crate::beside::{read, seal, unseal, write_durably};
use crate::decode::columns::event_times;
use crate::engine::CommitPlace;
use crate::erasure::Erased;
use crate::event_ids::Claims;
use crate::left_out::{LateRanges, RecordSet};
use crate::node::Node;
use crate::record::{CommitRecord, EventsRecord, Payload};
use crate::replay::Admission;

/// The file; there is none before the first cut.
pub(crate) const FILE: &str = "base";
/// Found at open, a file of this kind of name is removed.
const NEW_FILE: &str = "base.rewrite";
const MAGIC: &[u8; 8] = b"THYMBASE";
const FORMAT_VERSION: u32 = 1;

/// What the records before `first` came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Base {
    /// The first record that is kept.
    pub first: u64,
    /// The stamp of that record, by which it is known of which log this is the base; an earlier Thyme did not write it.
    #[serde(default)]
    pub stamp: Option<i64>,
    /// By dataset id: the event time up to which rows may be gone.
    pub gone: BTreeMap<u32, i64>,
    /// Each dataset version as it was last committed, by id.
    pub definitions: BTreeMap<u32, Dataset>,
    /// As of the record before `first`. Where late rows and dead letters are is not in it: they are gone.
    pub progress: Progress,
    /// The commits, oldest first. One of many megabytes is not copied with each base.
    #[serde(with = "shared_commits")]
    pub commits: Vec<Arc<OldCommit>>,
}

/// A commit whose record is gone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct OldCommit {
    pub record: u64,
    pub stamp: i64,
    pub commit: CommitRecord,
}

/// What there is of each dataset in some records, by id.
pub(crate) type Newest = BTreeMap<u32, Latest>;

/// The newest event of a dataset in some records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Latest {
    /// The least time where there is no row.
    pub time: i64,
    pub record: u64,
}

mod shared_commits {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::OldCommit;

    pub fn serialize<S: Serializer>(commits: &[Arc<OldCommit>], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(commits.iter().map(AsRef::as_ref))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Arc<OldCommit>>, D::Error> {
        Ok(Vec::<OldCommit>::deserialize(from)?.into_iter().map(Arc::new).collect())
    }
}

impl Base {
    /// Of a log that was never cut.
    pub fn start() -> Base {
        Base {
            first: 1,
            stamp: None,
            gone: BTreeMap::new(),
            definitions: BTreeMap::new(),
            progress: Progress::start(),
            commits: Vec::new(),
        }
    }

    /// That of `log`, whose disk is `disk`.
    ///
    /// # Errors
    /// Corrupt: it is damaged, or not that of this log; Unsupported: a later Thyme wrote it.
    pub fn load(disk: &dyn Disk, log: &dyn Log) -> Result<Base> {
        let path = disk.path(FILE);
        let (first, last) = (log.first(), log.last().map_or(0, |(number, _)| number));
        let base = match read(disk, FILE)? {
            Some(bytes) => Base::decode(&bytes, &path)?,
            None if first == 1 => return Ok(Base::start()),
            None => {
                return Err(Error::corrupt(format!(
                    "the log begins with record {first}, and {path}, which says what came before, is missing; restore it from a backup"
                )));
            }
        };
        if base.first < first || base.first > last + 1 {
            return Err(Error::corrupt(format!(
                "{path} is of a log that begins with record {}, and this one has the records {first} to {last}; restore both from one backup",
                base.first
            )));
        }
        base.check_is_of(log, &path)?;
        Ok(base)
    }

    /// Refuses the base of another log, as far as the records around it tell.
    fn check_is_of(&self, log: &dyn Log, path: &str) -> Result<()> {
        // A cut that was interrupted left the record before it, too.
        let before = (self.first.saturating_sub(1), Some(self.progress.stamp));
        for (number, expected) in [before, (self.first, self.stamp)] {
            let Some(expected) = expected.filter(|_| number >= log.first()) else { continue };
            let Some(found) = log.read(number)?.next().transpose()?.filter(|r| r.number == number) else {
                continue;
            };
            if found.stamp != expected {
                return Err(Error::corrupt(format!(
                    "{path} is of another log: by it the record {number} was written at {}, and this log has one of {}; restore both from one backup",
                    format_rfc3339(expected),
                    format_rfc3339(found.stamp)
                )));
            }
        }
        Ok(())
    }

    fn decode(bytes: &[u8], path: &str) -> Result<Base> {
        let damaged = || {
            Error::corrupt(format!(
                "{path}, which says what the log's removed records came to, is damaged; restore it from a backup"
            ))
        };
        let (version, json) = unseal(MAGIC, bytes).ok_or_else(damaged)?;
        match version {
            FORMAT_VERSION => serde_json::from_slice(json).map_err(|_| damaged()),
            version => Err(Error::new(
                thyme_core::ErrorKind::Unsupported,
                format!(
                    "{path} has format {version}, this Thyme reads format {FORMAT_VERSION}; start it with the Thyme that wrote it, or a later one"
                ),
            )),
        }
    }

    /// The bytes of its file.
    ///
    /// # Errors
    /// What cannot be written as JSON.
    pub fn encode(&self) -> Result<Vec<u8>> {
        seal(MAGIC, FORMAT_VERSION, |bytes| {
            serde_json::to_writer(bytes, self).map_err(|e| Error::internal(format!("base: {e}")))
        })
    }

    /// Makes an encoded one durable, in the place of the one before.
    ///
    /// # Errors
    /// A disk that cannot be written.
    pub fn store(disk: &dyn Disk, encoded: &[u8]) -> Result<()> {
        write_durably(disk, NEW_FILE, FILE, encoded)
    }

    /// Goes on to record `until`, which is then the first that is kept, and gives what was in between; `None` once
    /// `stops` says so. Events of the datasets that `counts` move the event clock.
    ///
    /// # Errors
    /// A log that cannot be read, or that ends before.
    pub fn advance(
        &mut self,
        log: &dyn Log,
        until: u64,
        claims: &HashMap<u32, Claims>,
        counts: &dyn Fn(&str) -> bool,
        stops: &dyn Fn() -> bool,
    ) -> Result<Option<Newest>> {
        let mut admission = Admission::of(&self.progress);
        let mut newest = Newest::new();
        for record in log.read(self.first)? {
            let record = record?;
            if record.number >= until {
                self.stamp = Some(record.stamp);
                break;
            }
            if stops() {
                return Ok(None);
            }
            self.take(&record, (&mut admission, claims), &mut newest, counts)?;
            self.progress.record = record.number;
            self.progress.stamp = record.stamp;
            (self.first, self.stamp) = (record.number + 1, None);
        }
        if self.first != until {
            return Err(Error::internal(format!("the log ends before record {until}")));
        }
        self.progress.watermarks = admission.watermarks();
        self.progress.known_ids = admission.known_ids();
        for (dataset, latest) in newest.iter().filter(|(_, latest)| latest.time > i64::MIN) {
            let gone = self.gone.entry(*dataset).or_insert(latest.time);
            *gone = (*gone).max(latest.time);
        }
        Ok(Some(newest))
    }

    fn take(
        &mut self,
        record: &Record,
        (admission, claims): (&mut Admission, &HashMap<u32, Claims>),
        newest: &mut Newest,
        counts: &dyn Fn(&str) -> bool,
    ) -> Result<()> {
        let (number, stamp) = (record.number, record.stamp);
        let progress = &mut self.progress;
        match Payload::decode(&record.payload, &|id| progress.ids.schema(id))? {
            Payload::Events(events) => {
                let definition = self.definitions.get(&events.dataset).ok_or_else(|| {
                    Error::corrupt(format!("record {number} comes before its dataset's commit"))
                })?;
                let times = event_times(&events.batch, definition.time_field())?;
                let time = times.values().iter().copied().fold(i64::MIN, i64::max);
                let most = newest.entry(events.dataset).or_insert(Latest { time, record: number });
                *most = (*most).max(Latest { time, record: number });
                let admitted = {
                    let claims = claims.get(&events.dataset);
                    admission.admit((number, &events), definition, stamp, claims)?
                };
                if counts(&definition.name) {
                    progress.event_now = progress.event_now.max(admitted.newest);
                }
                progress.count(&events, &admitted);
                Self::move_cursor(progress, &events);
            }
            Payload::Commit(commit) => {
                progress.ids.learn(&commit.document);
                let of = |definition: &Dataset| progress.ids.of(definition);
                let known = commit.document.datasets.iter().filter_map(|d| Some((of(d)?, d.clone())));
                self.definitions.extend(known);
                progress.commits.push(CommitPlace { id: commit.id.clone(), record: number });
                progress.commit.clone_from(&commit.id);
                progress.document.clone_from(&commit.document);
                progress.document.retired_by(&commit.id);
                self.commits.push(Arc::new(OldCommit { record: number, stamp, commit: *commit }));
            }
            Payload::Erase(erase) => {
                progress.erased.push(Erased::new(number, stamp, &erase));
                progress.forget_replayed(&erase)?;
            }
        }
        Ok(())
    }

    fn move_cursor(progress: &mut Progress, events: &EventsRecord) {
        if let Some(cursor) = &events.cursor {
            progress.cursors.insert(events.stream.clone(), cursor.clone());
        }
    }

    /// The event time up to which rows that `node` takes may be gone with the log, if any may: what it is filled
    /// with begins after it.
    pub fn begins(&self, node: &Node) -> Option<EventTime> {
        let own = node.inputs().filter_map(|input| self.gone.get(&input).copied());
        let joined = node.joins().filter_map(|join| {
            let gone = self.gone.get(&join.right.input)?;
            Some(gone.saturating_add(join.within()?.0))
        });
        joined.chain(own).max().map(|gone| node.whole_after(EventTime(gone)))
    }

    /// The event time up to which events may be gone that `node` is made of, however old a row may be that it joins:
    /// rows above it that joined one of those have nulls instead.
    pub fn history(&self, node: &Node) -> Option<EventTime> {
        let joined = node.joins().filter(|join| join.within().is_none());
        let joined = joined.filter_map(|join| self.gone.get(&join.right.input).copied().map(EventTime));
        joined.chain(self.begins(node)).max()
    }

    /// Tells nodes what they can be filled with.
    pub fn tell<'a>(&self, nodes: impl Iterator<Item = &'a Arc<Node>>) {
        for node in nodes {
            self.begins(node).into_iter().for_each(|time| node.remove_until(time));
        }
    }

    /// Forgets where late rows and dead letters are that are gone.
    pub fn trim(&self, late: &mut BTreeMap<u32, LateRanges>, letters: &mut BTreeMap<u32, RecordSet>) {
        letters.values_mut().for_each(|set| set.forget_before(self.first));
        for (dataset, ranges) in late {
            ranges.forget_before(self.first, || {
                let of = self.progress.watermarks.iter().filter(|(id, ..)| id == dataset);
                of.map(|(_, stream, mark)| (stream.clone(), mark.largest)).collect()
            });
        }
    }

    /// A commit whose record is gone.
    pub fn commit(&self, record: u64) -> Option<&OldCommit> {
        self.commits.iter().find(|old| old.record == record).map(AsRef::as_ref)
    }
}
