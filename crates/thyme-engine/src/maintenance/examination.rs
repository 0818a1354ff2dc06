//! What the doctor found.

use serde::Serialize;
use thyme_core::Error;

/// How things stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// As it was written.
    Intact,
    /// Nothing is lost; somebody should look.
    Attention,
    /// Something is not what was written.
    Damaged,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub health: Health,
    /// `directory`, `log`, `store`, `disk`, `clock` or `backup`; of a server `audit`, `runs` or `jobs`.
    pub part: &'static str,
    /// What is so.
    pub what: String,
    /// What to do; empty when there is nothing to do.
    pub action: String,
}

/// All that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Examination {
    /// In the order in which they were found.
    pub findings: Vec<Finding>,
}

impl Examination {
    /// The worst of it.
    pub fn health(&self) -> Health {
        self.findings.iter().map(|finding| finding.health).max().unwrap_or(Health::Intact)
    }

    /// Adds what is as it was written.
    pub fn intact(&mut self, part: &'static str, what: impl Into<String>) {
        self.add(Health::Intact, part, what, "");
    }

    /// Adds what somebody should look at.
    pub fn attention(&mut self, part: &'static str, what: impl Into<String>, action: impl Into<String>) {
        self.add(Health::Attention, part, what, action);
    }

    /// Adds what is not what was written.
    pub fn damaged(&mut self, part: &'static str, what: impl Into<String>, action: impl Into<String>) {
        self.add(Health::Damaged, part, what, action);
    }

    fn add(
        &mut self,
        health: Health,
        part: &'static str,
        what: impl Into<String>,
        action: impl Into<String>,
    ) {
        self.findings.push(Finding { health, part, what: what.into(), action: action.into() });
    }

    /// Damage, by the error that told of it: its sentence ends with what to do.
    pub fn error(&mut self, part: &'static str, error: &Error) {
        let (what, action) = error.detail().split_once("; ").unwrap_or((error.detail(), ""));
        self.damaged(part, what, action);
    }
}
