//! Definitions: the document a commit carries, its validation, and what may change.

pub mod dedup;
pub mod derivation;
pub mod document;
pub mod entity;
pub mod evolution;
pub mod growth;
pub mod keyed;
pub mod naming;
pub mod operators;
pub mod union;
pub mod validate;

mod meta;
mod native;
mod show;

pub use document::*;
