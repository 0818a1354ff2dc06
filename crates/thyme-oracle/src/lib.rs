//! The contract, computed the slow way: one row at a time, over plain values.
//!
//! Every number that Thyme gives can be derived again by what is here, and a reader can hold each file
//! against its section of the contract. It takes definitions and values from `thyme-core` and shares no
//! logic with what it checks: no batches, no masks, no summaries, no order but the one the contract
//! names, and no cleverness.
//!
//! An event goes through [`admission`] (is it late, is it there already?), then through the operators of a [`pipeline`]
//! ([`expression`], [`functions`], [`number`], [`join`], [`dedup`]) and becomes a [`Row`] of one entity; [`window`] picks the rows
//! that count at `(T, S)` (by a [`calendar`], if it has one), and [`aggregate`] says what they come to, with
//! [`statistic`], [`collection`] and [`exact`] fractions.

pub mod admission;
pub mod aggregate;
pub mod calendar;
pub mod collection;
mod decimals;
pub mod dedup;
pub mod exact;
pub mod expression;
pub mod functions;
pub mod join;
mod nested;
pub mod number;
pub mod pipeline;
mod shape;
pub mod statistic;
pub mod window;

pub use admission::{EventIds, Stream, Verdict};
pub use aggregate::{Question, answer};
pub use expression::{Columns, evaluate};
pub use pipeline::{Fate, Output, Pipeline};
pub use window::{Row, visible};
