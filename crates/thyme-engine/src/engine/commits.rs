//! Planning and committing definitions.

use sha2::{Digest, Sha256};
use thyme_core::definition::evolution::{self, Plan};
use thyme_core::definition::{Document, validate};
use thyme_core::error::Fault;
use thyme_core::{Error, ErrorKind, Position, Result};

use super::{Begun, Engine, WAIT};
use crate::catalog::Catalog;
use crate::record::CommitNote;

/// A validated commit before it is applied.
pub type Planned = Plan;

impl Engine {
    /// What a commit of `document` would change.
    ///
    /// # Errors
    /// InvalidDefinition with every fault; Conflict for a change of meaning without a version bump.
    pub fn plan(&self, document: &Document) -> Result<Planned> {
        let current = self.catalog();
        self.with_effects(&current, self.plan_over(&current, document)?)
    }

    /// What a commit of `document` over `catalog` would change.
    pub(super) fn plan_over(&self, catalog: &Catalog, document: &Document) -> Result<Planned> {
        let faults = validate::validate(document, &catalog.document);
        if !faults.is_empty() {
            return Err(refused_definitions(faults));
        }
        evolution::plan(&catalog.document, document, self.given()?.as_ref())
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
        let (plan, id, begun) = self.begin_commit(base, document, note, check)?;
        let position = self.wait_live(&id, begun)?;
        Ok((plan, id, position))
    }

    /// As [`Engine::commit_over`], but does not wait for new pipelines that have to be filled from the log: then it
    /// is pending, and nothing of it is live before all of it is. The same asked again is the one that is pending.
    ///
    /// # Errors
    /// As [`Engine::commit_over`]; Conflict while another is pending.
    pub fn begin_commit(
        &self,
        base: Option<&str>,
        document: &Document,
        note: CommitNote,
        check: impl FnOnce(&Planned) -> Result<()>,
    ) -> Result<(Planned, String, Begun)> {
        let _one_at_a_time = self.commit_lock.lock();
        self.nothing_is_being_erased()?;
        // Looked at first: what goes live meanwhile is not what this is planned over.
        let is_pending = self.shared.filling().is_some();
        let mut planned = self.plan(document);
        if is_pending {
            if let Ok(plan) = &planned
                && let Some(filling) = self.same_pending(plan)
            {
                return Ok((plan.clone(), filling.id().to_owned(), Begun::Pending));
            }
            self.nothing_is_pending()?;
            // One that was going live is by now.
            planned = self.plan(document);
        }
        let changes = |plan: &Planned| plan.next != self.catalog().document;
        if let Some(base) = base.filter(|_| planned.as_ref().map_or(true, changes)) {
            self.check_base(base)?;
        }
        let plan = planned?;
        check(&plan)?;
        self.write_commit(plan, note)
    }

    /// Makes the definitions of an earlier commit hold again, as a commit on top: see [`evolution::rollback`]. It may be
    /// pending, as one of [`Engine::begin_commit`].
    ///
    /// # Errors
    /// NotFound: no such commit. Conflict: what was ended since would come back, or a commit is pending. As
    /// [`Engine::commit`].
    pub fn rollback(
        &self,
        commit: &str,
        note: CommitNote,
        check: impl FnOnce(&Planned) -> Result<()>,
    ) -> Result<(Planned, String, Begun)> {
        let _one_at_a_time = self.commit_lock.lock();
        self.nothing_is_being_erased()?;
        self.nothing_is_pending()?;
        let earlier = self.committed(commit)?.document;
        let current = self.catalog();
        let plan = self.with_effects(
            &current,
            evolution::rollback(&current.document, &earlier, self.given()?.as_ref())?,
        )?;
        check(&plan)?;
        self.write_commit(plan, note)
    }

    /// Waits until a commit that was begun is live.
    ///
    /// # Errors
    /// As [`Engine::wait_commit`].
    pub fn wait_live(&self, id: &str, begun: Begun) -> Result<Position> {
        Ok(match (begun, self.shared.filling().filter(|filling| filling.id() == id)) {
            (Begun::Live(position), _) => position,
            (Begun::Pending, Some(filling)) => self.wait_to_end(&filling)?,
            (Begun::Pending, None) => loop {
                if let Some(position) = self.wait_commit(id, WAIT)? {
                    break position;
                }
            },
        })
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
        self.retire(note, |document| evolution::retire(document, featureset, name))
    }

    /// Retires a version of a derived dataset, as [`Engine::retire_name`] does a name.
    ///
    /// # Errors
    /// As [`evolution::retire_version`], or a log that cannot be written.
    pub fn retire_version(&self, name: &str, note: CommitNote) -> Result<(Planned, String, Position)> {
        self.retire(note, |document| evolution::retire_version(document, name))
    }

    fn retire(
        &self,
        note: CommitNote,
        plan: impl FnOnce(&Document) -> Result<Planned>,
    ) -> Result<(Planned, String, Position)> {
        let (plan, id, begun) = {
            let _one_at_a_time = self.commit_lock.lock();
            self.nothing_is_pending()?;
            let plan = plan(&self.catalog().document)?;
            self.write_commit(plan, note)?
        };
        let position = self.wait_live(&id, begun)?;
        Ok((plan, id, position))
    }

    /// Makes a plan true, unless it changes nothing.
    fn write_commit(&self, plan: Planned, note: CommitNote) -> Result<(Planned, String, Begun)> {
        let catalog = self.catalog();
        if !catalog.commit.is_empty() && plan.next == catalog.document {
            let position = Position::end_of(self.shared.gate.applied());
            return Ok((plan, catalog.commit.clone(), Begun::Live(position)));
        }
        self.refuse_poisoned("nothing was committed")?;
        let (id, begun) = self.begin(&plan, note)?;
        Ok((plan, id, begun))
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
    let bytes = serde_json::to_vec(&document.without_places())
        .map_err(|e| Error::internal(format!("commit: {e}")))?;
    let digest = Sha256::new().chain_update(parent).chain_update(bytes).finalize();
    Ok(digest.iter().take(6).map(|b| format!("{b:02x}")).collect())
}
