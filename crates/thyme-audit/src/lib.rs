//! The audit: numbers as they are served, derived again from the log by the naive oracle.
//!
//! [`verify`] picks entities, times and positions, reads them as everybody does, computes them again from the
//! log ([`pass`]) and compares the bits. [`explain`] names the events behind one value, and those that were left
//! out and why. Nothing here trusts the state: the log alone says what is true.

mod choice;
mod compared;
pub mod explain;
mod input;
pub mod pass;
mod rights;
mod sample;
pub mod verify;

pub use explain::{Asked, Explained, Explanation, Origin, Reason, Subject, explain};
pub use verify::{Checked, Difference, Options, Report, Round, verify};
