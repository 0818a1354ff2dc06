//! Pipelines over derived datasets whose meaning changes.

use super::Draft;
use crate::definition::derivation::inlined;
use crate::definition::document::{Dataset, Document, OperatorDef, Pipeline};
use crate::definition::growth;
use crate::definition::naming::{unversioned, versioned};

/// Refuses a change of what a derived dataset's rows are while a pipeline of the same version goes on reading them:
/// what that one gives would change too.
pub(super) fn check(current: &Document, next: &Document, draft: &mut Draft) {
    for dataset in &next.datasets {
        let Some(before) = current.dataset(&dataset.name).filter(|d| d.version == dataset.version) else {
            continue;
        };
        let Some(is) = dataset.pipelines.first().filter(|_| reads_alike(before, dataset)) else { continue };
        if dataset.pipelines.iter().any(|pipeline| draft.refuses(dataset, pipeline)) {
            continue;
        }
        let (Ok(was), Ok(now)) = (inlined(current, before), inlined(next, dataset)) else { continue };
        if !is_same(&was, &now) {
            let inputs = dataset.pipelines.iter().flat_map(|pipeline| &pipeline.inputs);
            let inputs: Vec<&str> = inputs.map(String::as_str).collect();
            refuse(dataset, is, &inputs.join(", "), draft);
        } else if let Some(name) = joined_otherwise(&now, current, next) {
            refuse(dataset, is, &name, draft);
        }
    }
}

/// Whether the same pipelines, in the same versions, make both of the same datasets.
fn reads_alike(one: &Dataset, other: &Dataset) -> bool {
    let is_same = |(a, b): (&Pipeline, &Pipeline)| a.version == b.version && a.inputs == b.inputs;
    one.pipelines.len() == other.pipelines.len() && one.pipelines.iter().zip(&other.pipelines).all(is_same)
}

/// Whether two datasets, each made of raw ones, have the same rows. A column that one of them has more on its way is not
/// read by what the other does.
fn is_same(was: &Dataset, is: &Dataset) -> bool {
    let (Some(was), Some(is)) = (was.pipelines.first(), is.pipelines.first()) else { return true };
    let (was, is) = (common(was, is), common(is, was));
    growth::feeds_alike(&was, &is)
}

/// `pipeline` without the fields on its way that `other` does not have there, and without the versions of what it joins,
/// of which others say what they may be.
fn common(pipeline: &Pipeline, other: &Pipeline) -> Pipeline {
    let mut pipeline = pipeline.clone();
    leave_common(&mut pipeline.operators, &other.operators);
    pipeline
}

fn leave_common(operators: &mut [OperatorDef], others: &[OperatorDef]) {
    for (operator, other) in operators.iter_mut().zip(others) {
        match (operator, other) {
            (OperatorDef::Rows(rows), OperatorDef::Rows(other)) => {
                rows.fields.retain(|field| other.fields.iter().any(|known| known.name == field.name));
            }
            (OperatorDef::Union(union), OperatorDef::Union(other)) => {
                for (branch, other) in union.others.iter_mut().zip(&other.others) {
                    leave_common(&mut branch.operators, &other.operators);
                }
            }
            (OperatorDef::Join(join), _) => join.dataset = unversioned(&join.dataset).to_owned(),
            _ => {}
        }
    }
}

/// A derived dataset of the same version that is joined and whose rows are computed otherwise.
fn joined_otherwise(dataset: &Dataset, current: &Document, next: &Document) -> Option<String> {
    let joins = dataset.pipelines.iter().flat_map(|pipeline| pipeline.joins());
    let differs = |name: &str| {
        let (was, is) = (current.dataset(name)?, next.dataset(name)?);
        let (was, now) = (inlined(current, was).ok()?, inlined(next, is).ok()?);
        Some(was.version == now.version && !is_same(&was, &now))
    };
    joins.map(|join| &join.dataset).find(|name| differs(name) == Some(true)).cloned()
}

fn refuse(dataset: &Dataset, pipeline: &Pipeline, read: &str, draft: &mut Draft) {
    let subject = format!("{}.{}", dataset.name, pipeline.name);
    let fix = match dataset.name == unversioned(&dataset.name) {
        true => {
            format!("give {} @pipeline(version={}) in the same commit", pipeline.name, pipeline.version + 1)
        }
        false => format!(
            "it goes on answering, so give {read} a higher @dataset(version=), with which its rows of now go on too"
        ),
    };
    let message = format!(
        "{subject} reads {read}, whose rows are computed otherwise, so it changes what it computes: {fix}"
    );
    let place = if pipeline.at.file.is_empty() { &dataset.at } else { &pipeline.at };
    draft.conflict(
        place,
        &subject,
        format!("the rows of {read} as committed"),
        format!("other rows of {read}"),
        message,
    );
}

/// Lets versions that were superseded go on reading what they read: `old` is superseded now too.
pub(super) fn follow(next: &mut Document, old: &str, version: u32) {
    let name = versioned(old, version);
    let superseded = next.datasets.iter_mut().filter(|d| d.name != unversioned(&d.name));
    for pipeline in superseded.flat_map(|d| &mut d.pipelines) {
        let rename = |read: &mut String| {
            if read == old {
                read.clone_from(&name);
            }
        };
        pipeline.inputs.iter_mut().for_each(rename);
        pipeline.each_operator_mut(&mut |operator| match operator {
            OperatorDef::Join(join) => rename(&mut join.dataset),
            OperatorDef::Union(union) => union.others.iter_mut().for_each(|branch| rename(&mut branch.input)),
            _ => {}
        });
    }
}
