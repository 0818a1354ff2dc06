//! What a plan means for timelines: the definitions alone do not say what these keep.

use std::sync::Arc;

use thyme_core::Result;
use thyme_core::definition::Document;
use thyme_core::definition::evolution::{Change, ChangeKind, Effect};

use super::{Engine, Planned};
use crate::catalog::{self, Catalog};
use crate::residence::Residence;

impl Engine {
    /// Says of each derived dataset and pipeline that a plan over `current` touches whether it is filled from the log, or
    /// answered by the timelines that there are; also of those that are filled since what they read is another.
    pub(super) fn with_effects(&self, current: &Arc<Catalog>, mut plan: Planned) -> Result<Planned> {
        if plan.next == current.document {
            return Ok(plan);
        }
        let (mut ids, nowhere) = (self.shared.ids(), Residence::nowhere());
        let (next, fresh) = catalog::derive(current, &mut ids, String::new(), plan.next.clone(), &nowhere)?;
        let is_filled = |dataset: &str| {
            let node = next.datasets.get(dataset).and_then(|live| live.node.as_ref());
            node.is_some_and(|node| fresh.iter().any(|fresh| fresh.id == node.id))
        };
        for change in &mut plan.changes {
            let differs = matches!(change.kind, ChangeKind::Added | ChangeKind::Changed);
            let Some((dataset, is_pipeline)) = subject(&plan.next, &change.subject).filter(|_| differs)
            else {
                continue;
            };
            // Of a dataset itself it is said where its definition does not know.
            if is_pipeline || change.effect == Effect::Backfill {
                change.effect = if is_filled(dataset) { Effect::Backfill } else { Effect::InPlace };
            }
        }
        for dataset in plan.next.datasets.iter().filter(|dataset| is_filled(&dataset.name)) {
            let Some(pipeline) = dataset.pipelines.first() else { continue };
            let subject = format!("{}.{}", dataset.name, pipeline.name);
            let names = [&dataset.name, &subject];
            if plan.changes.iter().any(|c| c.effect == Effect::Backfill && names.contains(&&c.subject)) {
                continue;
            }
            let detail = "what it reads is another".to_owned();
            let change = Change { kind: ChangeKind::Changed, subject, detail, effect: Effect::Backfill };
            match plan.changes.iter_mut().find(|known| known.subject == change.subject) {
                Some(known) => *known = change,
                None => plan.changes.push(change),
            }
        }
        Ok(plan)
    }
}

/// The derived dataset that the subject of a change is, or is a pipeline of.
fn subject<'d>(document: &'d Document, subject: &str) -> Option<(&'d str, bool)> {
    let (name, pipeline) = match subject.split_once('.') {
        Some((name, pipeline)) => (name, Some(pipeline)),
        None => (subject, None),
    };
    let dataset = document.datasets.iter().find(|d| d.name == name && d.is_derived())?;
    match pipeline {
        Some(pipeline) => {
            dataset.pipelines.iter().any(|p| p.name == pipeline).then_some((&dataset.name, true))
        }
        None => Some((&dataset.name, false)),
    }
}
