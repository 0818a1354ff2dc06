//! Union: the rows of several inputs as those of one.

use serde::{Deserialize, Serialize};

use super::dedup::DedupDef;
use super::document::{JoinDef, OperatorDef, Pipeline, Place};

/// Adds the rows of other inputs. Left are the columns that all of them have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnionDef {
    /// Where the other rows come from.
    pub others: Vec<BranchDef>,
}

/// Rows of another input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BranchDef {
    /// The input's name, one of the pipeline's inputs.
    pub input: String,
    /// What is done with its rows before they are added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operators: Vec<OperatorDef>,
}

impl Pipeline {
    /// All operators, those of a union's branches before the union itself: none is before what it stands behind.
    pub fn all_operators(&self) -> Vec<&OperatorDef> {
        let mut found = Vec::new();
        each(&self.operators, &mut found);
        found
    }

    /// Calls `f` with each of [`Pipeline::all_operators`].
    pub fn each_operator_mut(&mut self, f: &mut dyn FnMut(&mut OperatorDef)) {
        each_mut(&mut self.operators, f);
    }

    /// Forgets where its parts stand.
    pub fn forget_places(&mut self) {
        self.at = Place::default();
        self.each_operator_mut(&mut |operator| match operator {
            OperatorDef::Join(join) => join.at = Place::default(),
            OperatorDef::Aggregate { aggregates } => {
                aggregates.iter_mut().for_each(|a| a.at = Place::default());
            }
            _ => {}
        });
    }

    /// The joins, in order.
    pub fn joins(&self) -> impl Iterator<Item = &JoinDef> {
        self.all_operators().into_iter().filter_map(|operator| match operator {
            OperatorDef::Join(join) => Some(join),
            _ => None,
        })
    }

    /// The dedups, in order.
    pub fn dedups(&self) -> impl Iterator<Item = &DedupDef> {
        self.all_operators().into_iter().filter_map(|operator| match operator {
            OperatorDef::Dedup(dedup) => Some(dedup),
            _ => None,
        })
    }

    /// Whether it has more than one input.
    pub fn has_unions(&self) -> bool {
        self.operators.iter().any(|operator| matches!(operator, OperatorDef::Union(_)))
    }

    /// The names of all datasets it reads: the inputs and what they are joined with.
    pub fn reads(&self) -> impl Iterator<Item = &str> {
        self.inputs.iter().chain(self.joins().map(|join| &join.dataset)).map(String::as_str)
    }
}

fn each<'o>(operators: &'o [OperatorDef], found: &mut Vec<&'o OperatorDef>) {
    for operator in operators {
        if let OperatorDef::Union(union) = operator {
            union.others.iter().for_each(|branch| each(&branch.operators, found));
        }
        found.push(operator);
    }
}

fn each_mut(operators: &mut [OperatorDef], f: &mut dyn FnMut(&mut OperatorDef)) {
    for operator in operators {
        if let OperatorDef::Union(union) = operator {
            union.others.iter_mut().for_each(|branch| each_mut(&mut branch.operators, f));
        }
        f(operator);
    }
}
