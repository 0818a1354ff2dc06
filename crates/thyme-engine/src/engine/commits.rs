//! Planning and committing definitions.

use crossbeam_channel::bounded;
use sha2::{Digest, Sha256};
use thyme_core::definition::evolution::{self, Plan};
use thyme_core::definition::{Document, validate};
use thyme_core::error::Fault;
use thyme_core::{Error, ErrorKind, Position, Result};

use super::{Engine, WAIT};
use crate::committer::Job;
use crate::done::Done;
use crate::record::{CommitNote, CommitRecord};

/// A validated commit before it is applied.
pub type Planned = Plan;

impl Engine {
    /// What a commit of `document` would change.
    ///
    /// # Errors
    /// InvalidDefinition with every fault; Conflict for a change of meaning without a version bump.
    pub fn plan(&self, document: &Document) -> Result<Planned> {
        let catalog = self.catalog();
        let faults = validate::validate(document, &catalog.document);
        if !faults.is_empty() {
            return Err(refused_definitions(faults));
        }
        evolution::plan(&catalog.document, document)
    }

    /// Commits definitions: all of them or none. `check` sees the plan before anything is written and may
    /// refuse it. Returns when every new pipeline is live over what the log holds.
    ///
    /// # Errors
    /// As [`Engine::plan`], what `check` says, a part of the state that is poisoned, or a log that cannot be
    /// written.
    pub fn commit(
        &self,
        document: &Document,
        check: impl FnOnce(&Planned) -> Result<()>,
    ) -> Result<(Planned, String, Position)> {
        self.commit_over(None, document, CommitNote::default(), check)
    }

    /// As [`Engine::commit`], with a note, and only over the commit `base` that it was planned against (empty:
    /// over nothing), if one is given. What changes nothing needs none.
    ///
    /// # Errors
    /// As [`Engine::commit`]; Conflict with what changed since if another commit came first.
    pub fn commit_over(
        &self,
        base: Option<&str>,
        document: &Document,
        note: CommitNote,
        check: impl FnOnce(&Planned) -> Result<()>,
    ) -> Result<(Planned, String, Position)> {
        let _one_at_a_time = self.commit_lock.lock();
        self.nothing_is_being_erased()?;
        let planned = self.plan(document);
        let changes = |plan: &Planned| plan.next != self.catalog().document;
        if let Some(base) = base.filter(|_| planned.as_ref().map_or(true, changes)) {
            self.check_base(base)?;
        }
        let plan = planned?;
        check(&plan)?;
        self.write_commit(plan, note)
    }

    /// Retires an old name of a feature, as a commit: from then on it answers no more.
    ///
    /// # Errors
    /// As [`evolution::retire`], or a log that cannot be written.
    pub fn retire_name(
        &self,
        featureset: &str,
        name: &str,
        note: CommitNote,
    ) -> Result<(Planned, String, Position)> {
        let _one_at_a_time = self.commit_lock.lock();
        let plan = evolution::retire(&self.catalog().document, featureset, name)?;
        self.write_commit(plan, note)
    }

    /// Retires a version of a derived dataset, as [`Engine::retire_name`] does a name.
    ///
    /// # Errors
    /// As [`evolution::retire_version`], or a log that cannot be written.
    pub fn retire_version(&self, name: &str, note: CommitNote) -> Result<(Planned, String, Position)> {
        let _one_at_a_time = self.commit_lock.lock();
        let plan = evolution::retire_version(&self.catalog().document, name)?;
        self.write_commit(plan, note)
    }

    /// Makes a plan true, unless it changes nothing.
    fn write_commit(&self, plan: Planned, note: CommitNote) -> Result<(Planned, String, Position)> {
        let catalog = self.catalog();
        if !catalog.commit.is_empty() && plan.next == catalog.document {
            return Ok((plan, catalog.commit.clone(), Position::end_of(self.shared.gate.applied())));
        }
        self.refuse_poisoned("nothing was committed")?;
        if plan.next.datasets != catalog.document.datasets {
            self.verify_log()?;
        }
        let id = commit_id(&catalog.commit, &plan.next)?;
        let record = Box::new(CommitRecord { id: id.clone(), note, document: plan.next.clone() });
        let (sender, receiver) = bounded(1);
        let done = Done::new(move |result| {
            // The receiver waits right below.
            let _ = sender.send(result);
        });
        self.jobs.send(Job::Commit { record, done });
        let receipt = self.answer(&receiver, "the server is stopping; nothing was committed")?;
        while !self.wait_applied(receipt.position.record(), WAIT)? {}
        Ok((plan, id, receipt.position))
    }
}

impl Engine {
    /// A commit may have to read what cannot be used, such as an index that it joins; an erasure has to change it.
    pub(super) fn refuse_poisoned(&self, what_became: &str) -> Result<()> {
        self.poisoned().first().map_or(Ok(()), |poisoned| {
            Err(Error::new(
                ErrorKind::Poisoned,
                format!(
                    "{}: {}; {what_became}: restart the server, which rebuilds it from the log, and try again",
                    poisoned.dataset, poisoned.reason
                ),
            ))
        })
    }

    /// Reads the whole log before a commit that may have to be filled from it is written: once it is, every
    /// start has to fill it again.
    fn verify_log(&self) -> Result<()> {
        let (log, mut first) = (&self.shared.log, None);
        log.with_files(&mut |all| {
            first = all.files.first().map(|file| file.first);
            Ok(())
        })?;
        // A log without files is in memory.
        first.map_or(Ok(()), |first| log.read(first)?.try_for_each(|record| record.map(|_| ())))
    }
}

/// All faults of a refused document as one error.
fn refused_definitions(faults: Vec<Fault>) -> Error {
    let detail = match faults.as_slice() {
        [only] => only.message.clone(),
        several => format!("{} (and {} more faults)", several[0].message, several.len() - 1),
    };
    Error::invalid_definition(detail).with_faults(faults)
}

/// The id of a commit: the hash of what it stands on and of what it says.
pub(super) fn commit_id(parent: &str, document: &Document) -> Result<String> {
    let bytes = serde_json::to_vec(document).map_err(|e| Error::internal(format!("commit: {e}")))?;
    let digest = Sha256::new().chain_update(parent).chain_update(bytes).finalize();
    Ok(digest.iter().take(6).map(|b| format!("{b:02x}")).collect())
}
