//! Whether a document makes sense, alone and with what is committed: every fault at once.

mod cycles;
mod dataset;
mod featureset;
mod keyed;
mod names;
mod native;
mod outputs;
mod pipeline;
mod pipeline_cycles;
mod scope;

#[cfg(test)]
mod tests;

use super::document::{Document, FORMAT, OperatorDef, Place};
use super::union::BranchDef;
use crate::error::Fault;
use crate::expr::Expr;
use scope::Scope;

/// The most datasets, fields, operators, expressions, features and so on in one document.
pub const ITEMS_MAX: usize = 100_000;

/// The most faults reported at once.
pub const FAULTS_MAX: usize = 200;

pub use dataset::{FIELDS_MAX, SOURCE_KINDS};
pub use featureset::FEATURES_MAX;
pub use names::NAME_CHARS_MAX;

/// Finds everything that is wrong with `document`, where `known` is already committed: the document
/// may refer to it, and replaces what has the same name. Committed definitions that use something
/// the document replaces are checked again. An empty answer means that it may be planned.
pub fn validate(document: &Document, known: &Document) -> Vec<Fault> {
    let mut faults = Faults::default();
    let nowhere = Place::default();
    if document.format != FORMAT {
        faults.add(
            &nowhere,
            "document",
            format!("format {FORMAT}"),
            format!("format {}", document.format),
            format!(
                "the definitions are written in format {}, and this server reads format {FORMAT}; use the same version of thyme on both sides",
                document.format
            ),
        );
        return faults.list;
    }
    let items = items(document);
    if items > ITEMS_MAX {
        faults.add(
            &nowhere,
            "document",
            format!("at most {ITEMS_MAX} items"),
            items.to_string(),
            format!("the definitions have {items} items, more than the {ITEMS_MAX} of one commit; commit them in several steps"),
        );
        return faults.list;
    }
    let scope = Scope::new(document, known);
    names::check_top_level(document, known, &mut faults);
    for dataset in document.datasets.iter().chain(scope.affected_datasets()) {
        dataset::check(dataset, &scope, &mut faults);
    }
    for featureset in document.featuresets.iter().chain(scope.affected_featuresets()) {
        featureset::check(featureset, &scope, &mut faults);
    }
    pipeline_cycles::check(document, &scope, &mut faults);
    cycles::check(document, &scope, &mut faults);
    faults.list
}

/// The faults found so far.
#[derive(Debug, Default)]
struct Faults {
    list: Vec<Fault>,
}

impl Faults {
    /// Adds one; after [`FAULTS_MAX`] they are no longer kept.
    fn add(
        &mut self,
        place: &Place,
        subject: impl Into<String>,
        expected: impl Into<String>,
        got: impl Into<String>,
        message: impl Into<String>,
    ) {
        if self.list.len() >= FAULTS_MAX {
            return;
        }
        self.list.push(Fault {
            row: None,
            subject: subject.into(),
            expected: expected.into(),
            got: got.into(),
            message: message.into(),
            file: (!place.file.is_empty()).then(|| place.file.clone()),
            line: (place.line > 0).then_some(place.line),
        });
    }
}

/// The more precise place, where the document has it.
fn place<'a>(own: &'a Place, outer: &'a Place) -> &'a Place {
    if own.file.is_empty() { outer } else { own }
}

/// How many things a document defines.
fn items(document: &Document) -> usize {
    let datasets = document.datasets.iter().map(|d| {
        let operators = d.pipelines.iter().flat_map(|p| &p.operators).map(operator_items);
        1 + d.fields.fields.len() + d.pipelines.len() + operators.sum::<usize>()
    });
    let featuresets = document.featuresets.iter().map(|f| {
        let extractors = f.extractors.iter().map(|e| {
            1 + e.inputs.len() + e.outputs.len() + e.deps.len() + e.expr.as_ref().map_or(0, expression_items)
        });
        1 + f.features.len() + extractors.sum::<usize>()
    });
    datasets.sum::<usize>() + featuresets.sum::<usize>()
}

fn operator_items(operator: &OperatorDef) -> usize {
    match operator {
        OperatorDef::Filter { expr } => 1 + expression_items(expr),
        OperatorDef::Assign { columns } => {
            1 + columns.iter().map(|c| 1 + expression_items(&c.expr)).sum::<usize>()
        }
        OperatorDef::Join(join) => 1 + join.left_on.len() + join.right_on.len() + join.fields.len(),
        OperatorDef::Dedup(dedup) => 1 + dedup.by.len(),
        OperatorDef::Union(union) => {
            let items = |branch: &BranchDef| 1 + branch.operators.iter().map(operator_items).sum::<usize>();
            1 + union.others.iter().map(items).sum::<usize>()
        }
        OperatorDef::Select(select) => 1 + select.columns.len(),
        OperatorDef::Drop(drop) => 1 + drop.columns.len(),
        OperatorDef::Rename(rename) => 1 + rename.columns.len(),
        OperatorDef::Rows(rows) => 1 + rows.fields.len(),
        OperatorDef::Groupby { keys } => 1 + keys.len(),
        OperatorDef::Aggregate { aggregates } => {
            1 + aggregates.iter().map(|a| 1 + a.predicate.as_ref().map_or(0, expression_items)).sum::<usize>()
        }
    }
}

/// Without recursion: the depth is not checked yet.
fn expression_items(expr: &Expr) -> usize {
    let mut items = 0;
    let mut stack = vec![expr];
    while let Some(expr) = stack.pop() {
        items += 1;
        if let Expr::Call { args, .. } = expr {
            stack.extend(args);
        }
    }
    items
}
