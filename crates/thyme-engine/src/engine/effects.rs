//! What a plan means for timelines: the definitions alone do not say what these keep.

use std::sync::Arc;

use thyme_core::Result;
use thyme_core::definition::evolution::{ChangeKind, Effect};

use super::{Engine, Planned};
use crate::catalog::{self, Catalog};
use crate::residence::Residence;

impl Engine {
    /// Says of each pipeline that a plan over `current` touches whether it is filled from the log, or answered by the
    /// timelines that there are.
    pub(super) fn with_effects(&self, current: &Arc<Catalog>, mut plan: Planned) -> Result<Planned> {
        let pipelines = |subject: &str| {
            let (dataset, pipeline) = subject.split_once('.')?;
            let definition = plan.next.dataset(dataset)?;
            definition.pipelines.iter().any(|p| p.name == pipeline).then(|| dataset.to_owned())
        };
        let touched: Vec<Option<String>> = plan.changes.iter().map(|c| pipelines(&c.subject)).collect();
        if touched.iter().all(Option::is_none) {
            return Ok(plan);
        }
        let (mut ids, nowhere) = (self.shared.ids(), Residence::nowhere());
        let (next, fresh) = catalog::derive(current, &mut ids, String::new(), plan.next.clone(), &nowhere)?;
        for (change, dataset) in plan.changes.iter_mut().zip(touched) {
            let node = dataset.and_then(|name| next.datasets.get(&name)?.node.clone());
            let differs = matches!(change.kind, ChangeKind::Added | ChangeKind::Changed);
            if let Some(node) = node.filter(|_| differs) {
                let is_filled = fresh.iter().any(|fresh| fresh.id == node.id);
                change.effect = if is_filled { Effect::Backfill } else { Effect::InPlace };
            }
        }
        Ok(plan)
    }
}
