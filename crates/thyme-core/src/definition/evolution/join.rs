//! Joins with a dataset that gets a new version.

use super::Draft;
use crate::definition::document::{Dataset, Document, Pipeline};

/// Refuses a new version of a dataset that a pipeline of the same version goes on joining: what the pipeline
/// gives would change, since the new version starts without the rows of the old one.
pub(super) fn check(current: &Document, next: &Document, draft: &mut Draft) {
    for dataset in &next.datasets {
        let Some(before) = current.dataset(&dataset.name).filter(|d| d.version == dataset.version) else {
            continue;
        };
        for pipeline in &dataset.pipelines {
            let same = |p: &&Pipeline| p.version == pipeline.version;
            if before.pipelines.iter().any(|p| same(&p)) {
                refuse_bumped(dataset, pipeline, current, next, draft);
            }
        }
    }
}

fn refuse_bumped(
    dataset: &Dataset,
    pipeline: &Pipeline,
    current: &Document,
    next: &Document,
    draft: &mut Draft,
) {
    let version = |document: &Document, name: &str| document.dataset(name).map(|d| d.version);
    for join in pipeline.joins() {
        let (Some(was), Some(is)) = (version(current, &join.dataset), version(next, &join.dataset)) else {
            continue;
        };
        if was == is {
            continue;
        }
        let (subject, name) = (format!("{}.{}", dataset.name, pipeline.name), &join.dataset);
        let place = [&join.at, &pipeline.at].into_iter().find(|at| !at.file.is_empty());
        let message = format!(
            "{subject} joins {name}, whose version {is} starts without the rows of version {was}, so it changes what it computes: give {} @pipeline(version={}) in the same commit",
            pipeline.name,
            pipeline.version + 1
        );
        let place = place.unwrap_or(&dataset.at);
        draft.conflict(
            place,
            &subject,
            format!("{name} version {was}"),
            format!("{name} version {is}"),
            message,
        );
    }
}
