//! How far an engine is on its way to being open.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

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
