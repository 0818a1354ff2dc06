//! Pipelines over what other pipelines make, as one pipeline over raw datasets.

use super::document::{Dataset, Document, OperatorDef, Pipeline};
use super::operators::RowsDef;
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

/// `dataset` made of raw datasets alone: where its pipeline reads a derived one, that one's operators stand before its own.
/// A raw dataset is itself.
///
/// # Errors
/// A definition that validation should have refused.
pub fn inlined(document: &Document, dataset: &Dataset) -> Result<Dataset> {
    let mut flat = dataset.clone();
    let Some(pipeline) = flat.pipelines.first_mut() else { return Ok(flat) };
    if pipeline.gives_rows() {
        pipeline.operators.push(OperatorDef::Rows(RowsDef::of(dataset)));
    }
    for _ in 0..DEPTH_MAX {
        let Some(name) = pipeline.inputs.first() else { return Ok(flat) };
        let known = || document.datasets.iter().map(|d| d.name.as_str());
        let input = document.dataset(name).ok_or_else(|| Error::not_found("dataset", name, known()))?;
        let Some(before) = input.pipelines.first() else { return Ok(flat) };
        let mut operators = before.operators.clone();
        operators.push(OperatorDef::Rows(RowsDef::of(input)));
        operators.append(&mut pipeline.operators);
        (pipeline.inputs, pipeline.operators) = (before.inputs.clone(), operators);
    }
    Err(Error::internal(format!("{} is chained more than {DEPTH_MAX} deep", dataset.name)))
}
