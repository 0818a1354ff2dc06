//! Pipelines over what other pipelines make, as one pipeline over raw datasets.

use super::document::{Dataset, Document, OperatorDef, Pipeline};
use super::operators::RowsDef;
use super::union::{BranchDef, UnionDef};
use crate::error::{Error, Result};

/// Pipelines are not chained deeper than this.
pub const DEPTH_MAX: usize = 64;

impl Pipeline {
    /// Whether it ends in rows rather than in aggregates.
    pub fn gives_rows(&self) -> bool {
        !self
            .operators
            .iter()
            .any(|o| matches!(o, OperatorDef::Aggregate { .. } | OperatorDef::Groupby { .. }))
    }
}

impl Dataset {
    /// Whether a pipeline makes its rows, rather than aggregates of them.
    pub fn has_derived_rows(&self) -> bool {
        self.is_derived() && self.pipelines.iter().all(Pipeline::gives_rows)
    }
}

/// `dataset` made of raw datasets alone, by one pipeline: where its pipelines read a derived one, that one's operators stand
/// before theirs. What several pipelines make, of it or of what it reads, is a union. A raw dataset is itself.
///
/// # Errors
/// A definition that validation should have refused.
pub fn inlined(document: &Document, dataset: &Dataset) -> Result<Dataset> {
    let mut flat = dataset.clone();
    flat.pipelines.truncate(1);
    let Some(pipeline) = flat.pipelines.first_mut() else { return Ok(flat) };
    let strand = strand_of(document, dataset, 0)?;
    (pipeline.inputs, pipeline.operators) = (Vec::new(), strand.operators);
    let mut inputs = vec![strand.input];
    for operator in pipeline.all_operators() {
        if let OperatorDef::Union(union) = operator {
            inputs.extend(union.others.iter().map(|branch| branch.input.clone()));
        }
    }
    pipeline.inputs = inputs;
    Ok(flat)
}

/// The rows or aggregates of a derived dataset, made of a raw one, and of others by unions.
fn strand_of(document: &Document, dataset: &Dataset, depth: usize) -> Result<BranchDef> {
    let mut strands = Vec::with_capacity(dataset.pipelines.len());
    for pipeline in &dataset.pipelines {
        let mut operators = pipeline.operators.clone();
        if pipeline.gives_rows() {
            operators.push(OperatorDef::Rows(RowsDef::of(dataset)));
        }
        let input = pipeline.inputs.first().map_or("", String::as_str);
        strands.push(made_of_raw(document, input, operators, depth)?);
    }
    let others = strands.split_off(strands.len().min(1));
    let first = strands.pop();
    let mut first =
        first.ok_or_else(|| Error::internal(format!("{} is made by no pipeline", dataset.name)))?;
    if !others.is_empty() {
        first.operators.push(OperatorDef::Union(UnionDef { others }));
    }
    Ok(first)
}

/// Operators over an input as operators over the raw dataset that it is made of.
fn made_of_raw(
    document: &Document,
    input: &str,
    mut operators: Vec<OperatorDef>,
    depth: usize,
) -> Result<BranchDef> {
    if depth > DEPTH_MAX {
        return Err(Error::internal(format!("{input} is chained more than {DEPTH_MAX} deep")));
    }
    for operator in &mut operators {
        let OperatorDef::Union(union) = operator else { continue };
        for branch in &mut union.others {
            *branch = made_of_raw(document, &branch.input, std::mem::take(&mut branch.operators), depth + 1)?;
        }
    }
    let known = || document.datasets.iter().map(|d| d.name.as_str());
    let dataset = document.dataset(input).ok_or_else(|| Error::not_found("dataset", input, known()))?;
    if dataset.pipelines.is_empty() {
        return Ok(BranchDef { input: input.to_owned(), operators });
    }
    let mut made = strand_of(document, dataset, depth + 1)?;
    made.operators.append(&mut operators);
    Ok(made)
}
