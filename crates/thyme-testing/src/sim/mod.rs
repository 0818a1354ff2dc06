//! A whole engine in one thread, on a disk and a store that fail: same seed, same run.
//!
//! [`history`] does what clients, sources, operators and the power company do; [`scene`] is what goes on
//! inside one life of the engine, also in the middle of a write; [`book`] says what must be true.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what only tests use fails by panicking")]

mod book;
mod history;
mod scene;
mod store;

use std::fmt::Display;
use std::hash::{DefaultHasher, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::Mutex;

pub use store::{Reads, SimStore};

/// What happened, line by line. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Trace(Arc<Mutex<Vec<String>>>);

impl Trace {
    /// Adds a line.
    pub fn note(&self, line: impl Display) {
        self.0.lock().push(line.to_string());
    }

    /// The lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().clone()
    }

    /// A number that two runs share only if they did the same.
    pub fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.lock().iter().for_each(|line| hasher.write(line.as_bytes()));
        hasher.finish()
    }
}

/// How a history went.
#[derive(Debug)]
pub struct Outcome {
    /// What happened.
    pub trace: Trace,
    /// What was wrong, if anything was.
    pub fault: Option<String>,
}

/// Runs the history of `seed`.
pub fn run(seed: u64) -> Outcome {
    let trace = Trace::default();
    let ran = catch_unwind(AssertUnwindSafe(|| history::History::new(seed, trace.clone()).run()));
    let fault = ran.err().map(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default()
    });
    Outcome { trace, fault }
}
