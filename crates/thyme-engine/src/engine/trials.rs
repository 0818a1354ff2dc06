//! Definitions tried out beside the engine.

use std::sync::Arc;

use thyme_core::definition::Document;
use thyme_core::{Position, Result};

use super::commits::commit_id;
use super::{Engine, Planned};
use crate::catalog;
use crate::residence::Residence;
use crate::retention::refilled_with;
use crate::snapshot::ReadAt;
use crate::trial::Trial;

impl Engine {
    /// What a commit of `document` would make, to be filled in memory for some entities, beside what is live.
    /// Nothing of it is ever written, and the engine does not notice.
    ///
    /// # Errors
    /// As [`Engine::plan`]; an erasure that is under way.
    pub fn try_out(&self, document: &Document) -> Result<(Planned, Trial)> {
        self.nothing_is_being_erased()?;
        // Whoever has pushed before asks about what was pushed.
        let written = Position::end_of(self.records().0);
        let live = self.snapshot(ReadAt { min_position: Some(written), ..ReadAt::default() })?.in_passing();
        let plan = self.with_effects(&live.catalog, self.plan_over(&live.catalog, document)?)?;
        let id = commit_id(&live.catalog.commit, &plan.next)?;
        let mut next = plan.next.clone();
        next.retired_by(&id);
        let residence = Residence::nowhere();
        let mut ids = self.shared.ids.lock().clone();
        let mut derive = || catalog::derive(&live.catalog, &mut ids, id.clone(), next.clone(), &residence);
        let (mut catalog, mut fresh) = derive()?;
        let joining = fresh.iter().filter(|node| node.joins().next().is_some());
        // What retention took from an index is missing to whoever joins it anew.
        let again = refilled_with(&catalog, joining);
        if ids.forget_nodes(&again) {
            (catalog, fresh) = catalog::derive(&live.catalog, &mut ids, id.clone(), next, &residence)?;
        }
        for node in &fresh {
            node.state.begin_empty()?;
        }
        let trial = Trial::new(self.shared.clone(), live, (Arc::new(catalog), ids), residence, &fresh);
        Ok((plan, trial))
    }
}
