//! The commits that there were. The log has each of them whole; what is in memory is where.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thyme_core::definition::Document;
use thyme_core::definition::evolution::{self, Change, Given};
use thyme_core::error::Fault;
use thyme_core::{Error, ErrorKind, Position, Result};
use thyme_log::Log;

use super::Engine;
use crate::base::Base;
use crate::record::{CommitNote, CommitRecord, Payload, is_commit};

/// Where a commit is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CommitPlace {
    pub id: String,
    pub record: u64,
}

/// A commit as it is in the log.
#[derive(Clone, Debug)]
pub struct Committed {
    /// Its id: the hash of what it stands on and of what it says.
    pub id: String,
    /// The commit it stands on; empty for the first.
    pub parent: String,
    /// Its position.
    pub position: Position,
    /// When it was written.
    pub stamp: i64,
    /// Who made it and why, and the texts it was made of.
    pub note: CommitNote,
    /// All definitions after it.
    pub document: Document,
}

/// What a commit is asked for by, beside its id: the newest one.
const LATEST: &str = "latest";
/// The fewest characters of an id that name a commit.
const PREFIX_MIN: usize = 4;

/// The commits that the log has up to record `last`: what a directory from before they were noted has to find.
pub(crate) fn find(base: &Base, log: &dyn Log, last: u64) -> Result<Vec<CommitPlace>> {
    let mut found = base.progress.commits.clone();
    for record in log.read(base.first)? {
        let record = record?;
        if record.number > last {
            break;
        }
        if is_commit(&record.payload)
            && let Payload::Commit(commit) = Payload::decode(&record.payload, &|_| None)?
        {
            found.push(CommitPlace { id: commit.id, record: record.number });
        }
    }
    Ok(found)
}

impl Engine {
    /// How many commits there were.
    pub fn commits(&self) -> usize {
        self.shared.commits.lock().len()
    }

    /// The commits, newest first: at most `limit`, those before the commit `before`. One is read at a time.
    ///
    /// # Errors
    /// NotFound: there is no such commit; a log that cannot be read.
    pub fn history(
        &self,
        limit: usize,
        before: Option<&str>,
        sink: &mut dyn FnMut(Committed),
    ) -> Result<Option<String>> {
        let end = match before {
            None => self.commits(),
            Some(reference) => self.place_of(reference)?.0,
        };
        let start = end.saturating_sub(limit);
        let places = self.shared.commits.lock().get(start..end).map(<[_]>::to_vec).unwrap_or_default();
        for (index, place) in places.iter().enumerate().rev() {
            sink(self.read_commit(place, start + index)?);
        }
        Ok(places.first().filter(|_| start > 0).map(|place| place.id.clone()))
    }

    /// One commit, by its id, the beginning of it, or `latest`.
    ///
    /// # Errors
    /// NotFound; a log that cannot be read.
    pub fn committed(&self, reference: &str) -> Result<Committed> {
        let (index, place) = self.place_of(reference)?;
        self.read_commit(&place, index)
    }

    /// What is different in `to` from `from`; an empty one is nothing at all.
    ///
    /// # Errors
    /// As [`Engine::committed`].
    pub fn diff(&self, from: &str, to: &str) -> Result<Vec<Change>> {
        let nothing =
            Document { format: thyme_core::definition::FORMAT, datasets: vec![], featuresets: vec![] };
        let at = |commit: &str| match commit {
            "" => Ok(nothing.clone()),
            commit => self.committed(commit).map(|committed| committed.document),
        };
        Ok(evolution::diff(&at(from)?, &at(to)?))
    }

    /// Refuses a commit that was planned against another than the present one.
    pub(super) fn check_base(&self, base: &str) -> Result<()> {
        let current = self.catalog().commit.clone();
        if base == current || (base.len() >= PREFIX_MIN && current.starts_with(base)) {
            return Ok(());
        }
        let shown = |id: &str| if id.is_empty() { "nothing".to_owned() } else { id.to_owned() };
        if current.is_empty() {
            let detail = format!(
                "this was planned against {base}, and nothing is committed here; is it the right server?"
            );
            return Err(Error::new(ErrorKind::Conflict, detail));
        }
        if !base.is_empty()
            && let Err(error) = self.place_of(base)
        {
            let detail = format!("base: {}; plan again", error.detail());
            return Err(Error::new(ErrorKind::Conflict, detail));
        }
        let newest = self.committed(&current)?;
        let by = newest.note.author.map(|author| format!(" by {author}")).unwrap_or_default();
        let detail = format!(
            "this was planned against {}, and {current} was committed since{by}; see what it changed with `thyme diff {} {current}`, and plan again",
            shown(base),
            if base.is_empty() { "none" } else { base }
        );
        let faults = self.diff(base, &current).unwrap_or_default().into_iter().map(|change| Fault {
            message: format!("{} {}: {}", change.kind.word(), change.subject, change.detail),
            subject: change.subject,
            ..Fault::default()
        });
        Err(Error::new(ErrorKind::Conflict, detail).with_faults(faults.collect()))
    }

    /// Which of the commits, and where it is.
    fn place_of(&self, reference: &str) -> Result<(usize, CommitPlace)> {
        let commits = self.shared.commits.lock();
        let is_it = |place: &CommitPlace| match reference {
            LATEST => true,
            _ => reference.len() >= PREFIX_MIN && place.id.starts_with(reference),
        };
        let mut found = commits.iter().enumerate().rev().filter(|(_, place)| is_it(place));
        let newest = found.next().map(|(index, place)| (index, place.clone()));
        let exact = |place: &CommitPlace| place.id == reference || reference == LATEST;
        match (newest, found.next()) {
            (Some((_, place)), Some((_, other))) if !exact(&place) => Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "{reference} begins several commits, such as {} and {}; give more of it",
                    place.id, other.id
                ),
            )),
            (Some(found), _) => Ok(found),
            (None, _) => {
                let detail = match commits.last() {
                    _ if reference.len() < PREFIX_MIN => format!(
                        "expected the id of a commit, or its first {PREFIX_MIN} characters or more, got {reference:?} (thyme history lists the commits)"
                    ),
                    None => "nothing is committed yet".to_owned(),
                    Some(last) => format!(
                        "there is no commit {reference}; the newest of {} is {} (thyme history lists them)",
                        commits.len(),
                        last.id
                    ),
                };
                Err(Error::new(ErrorKind::NotFound, detail))
            }
        }
    }

    /// The stamp and what the log had of a commit; the base has it, if its record is gone.
    fn commit_record(&self, place: &CommitPlace) -> Result<(i64, CommitRecord)> {
        let gone = || {
            let detail = format!("the record {} of the commit {} is not in the log", place.record, place.id);
            Error::new(ErrorKind::Gone, detail)
        };
        let base = self.shared.base.read();
        if let Some(old) = base.commit(place.record) {
            return Ok((old.stamp, old.commit.clone()));
        }
        if place.record < base.first {
            return Err(gone());
        }
        let record = self.shared.log.read(place.record)?.next().ok_or_else(gone)??;
        match Payload::decode(&record.payload, &|_| None)? {
            Payload::Commit(commit) => Ok((record.stamp, *commit)),
            _ => Err(gone()),
        }
    }

    /// What all commits that there were gave names and versions to. Those that are new since it was asked last are read.
    pub(super) fn given(&self) -> Result<Arc<Given>> {
        let mut known = self.shared.given.lock();
        let (read, given) = &mut *known;
        let places = self.shared.commits.lock().get(*read..).map(<[_]>::to_vec).unwrap_or_default();
        for place in places {
            match self.commit_record(&place) {
                Ok((stamp, commit)) => Arc::make_mut(given).learn(&commit.id, stamp, &commit.document),
                // An earlier Thyme did not keep the commits of records that it cut.
                Err(error) if error.kind() == ErrorKind::Gone => {}
                Err(error) => return Err(error),
            }
            *read += 1;
        }
        Ok(given.clone())
    }

    fn read_commit(&self, place: &CommitPlace, index: usize) -> Result<Committed> {
        let (stamp, commit) = self.commit_record(place)?;
        let CommitRecord { id, note, mut document } = commit;
        document.retired_by(&id);
        let before = index.checked_sub(1).and_then(|i| self.shared.commits.lock().get(i).cloned());
        Ok(Committed {
            id,
            parent: before.map(|place| place.id).unwrap_or_default(),
            position: Position::end_of(place.record),
            stamp,
            note,
            document,
        })
    }
}
