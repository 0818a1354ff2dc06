//! How far an engine is on its way to being open.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use thyme_core::{Error, Result};
use thyme_log::Log;

use crate::applier::Progress;
use crate::base::Base;
use crate::cutting::{CUT_FAILED, cut_failed};
use crate::events::{EventLog, Severity};

/// Refuses a store that is of another log than this, which begins with `base`.
pub(crate) fn check_joint(progress: &Progress, base: &Base, log: &dyn Log) -> Result<()> {
    let (at, last) = (progress.record, log.last().map_or(0, |(record, _)| record));
    if at > last {
        return Err(Error::corrupt(format!(
            "the store is at record {at}, the log ends at {last}: files of the log are missing from the data directory; restore them from a copy"
        )));
    }
    if at + 1 < base.first {
        return Err(Error::corrupt(format!(
            "the store is at record {at}, the log begins with {}: it is an older store; set it aside with `thyme doctor --fix-store`, and the next start makes it anew",
            base.first
        )));
    }
    Ok(())
}

/// Removes what a cut that was interrupted left of the records before `base`. While that fails nothing is erased.
pub(crate) fn end_cut(base: &Base, log: &dyn Log, events: &EventLog) {
    if let Err(error) = log.cut(base.first) {
        events.record(Severity::Warning, CUT_FAILED, "log", cut_failed(&error));
    }
}

/// What is being done and how much of it; shared by who opens an engine and who asks.
#[derive(Clone, Debug, Default)]
pub struct Starting(Arc<Mutex<Step>>);

/// One step of a start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// What is done: "reading the log", ...
    pub doing: &'static str,
    /// How much of it is.
    pub done: u64,
    /// How much there is in all; 0 if nobody knows.
    pub total: u64,
}

impl Starting {
    /// Where it is now.
    pub fn step(&self) -> Step {
        *self.0.lock()
    }

    /// It is here now.
    pub(crate) fn note(&self, doing: &'static str, done: u64, total: u64) {
        *self.0.lock() = Step { doing, done, total };
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let doing = if self.doing.is_empty() { "beginning" } else { self.doing };
        match self.total {
            0 => f.write_str(doing),
            total => {
                let percent = u128::from(self.done) * 100 / u128::from(total);
                write!(f, "{doing}: {} of {total}, {percent} %", self.done)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_says_what_is_done_and_how_much_of_it() {
        let starting = Starting::default();
        assert_eq!(starting.step().to_string(), "beginning");
        starting.note("opening the log", 0, 0);
        assert_eq!(starting.step().to_string(), "opening the log");
        starting.note("replaying records of the log", 120, 4000);
        assert_eq!(starting.step().to_string(), "replaying records of the log: 120 of 4000, 3 %");
    }
}
