//! Union: the rows of several inputs, each after operators of its own, as those of one.
//!
//! A record has rows of one input, so there is nothing to bring into order: positions are that of the log. Only where a
//! branch joins, rows that are derived again may come together with others, each at the position of what changed it.

use thyme_core::{DataType, Error, Result};

use crate::feed::{Entry, Rights};
use crate::flow::{Flow, Projected};
use crate::steps::Steps;

/// A compiled union.
#[derive(Debug)]
pub(crate) struct Union {
    branches: Vec<Branch>,
    /// The columns that all have.
    common: Vec<Projected>,
}

#[derive(Debug)]
struct Branch {
    input: u32,
    /// What that calls the event time.
    timestamp: String,
    steps: Steps,
}

impl Union {
    /// The union of rows that have `columns` with others: for each of those the dataset, what it calls the event time, and
    /// what is done with its rows.
    pub fn new(
        columns: &[(String, DataType)],
        timestamp: &str,
        others: Vec<(u32, String, Steps)>,
    ) -> Result<Union> {
        if others.iter().any(|(.., steps)| steps.timestamp != timestamp) {
            return Err(Error::invalid_definition("a union of rows whose event times have several names"));
        }
        let has = |steps: &Steps, column: &(String, DataType)| steps.columns.contains(column);
        let common = columns.iter().filter(|column| others.iter().all(|(.., steps)| has(steps, column)));
        let projected = |(name, data_type): &(String, DataType)| Projected {
            name: name.clone(),
            from: name.clone(),
            data_type: *data_type,
            is_time: name == timestamp,
        };
        let common = common.map(projected).collect();
        let branches =
            others.into_iter().map(|(input, timestamp, steps)| Branch { input, timestamp, steps }).collect();
        Ok(Union { branches, common })
    }

    /// The columns that come out.
    pub fn columns(&self) -> Vec<(String, DataType)> {
        self.common.iter().map(|column| (column.name.clone(), column.data_type)).collect()
    }

    /// What is done with the rows of each other input.
    pub fn branches(&self) -> impl Iterator<Item = &Steps> {
        self.branches.iter().map(|branch| &branch.steps)
    }

    /// The other inputs.
    pub fn inputs(&self) -> impl Iterator<Item = u32> {
        self.branches.iter().map(|branch| branch.input)
    }

    /// The rows that are there already, and those of the other inputs that the record has.
    pub fn apply(&self, flow: Option<Flow>, entry: Entry<'_>, rights: &Rights) -> Result<Option<Flow>> {
        let mut all = self.projected(flow)?;
        for branch in &self.branches {
            let rows = entry.rows_of(branch.input, &branch.timestamp)?;
            let came = self.projected(branch.steps.run(rows, entry, rights)?)?;
            all = match (all, came) {
                (Some(all), Some(came)) => Some(all.merge(came)?),
                (all, came) => all.or(came),
            };
        }
        Ok(all)
    }

    fn projected(&self, flow: Option<Flow>) -> Result<Option<Flow>> {
        let Some(mut flow) = flow.filter(|flow| flow.len() > 0) else { return Ok(None) };
        flow.project(&self.common)?;
        Ok(Some(flow))
    }
}
