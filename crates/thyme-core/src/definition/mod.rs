//! Definitions: the document a commit carries, its validation, and what may change.

pub mod derivation;
pub mod document;
pub mod entity;
pub mod evolution;
pub mod growth;
pub mod validate;

pub mod naming;
mod native;
pub mod operators;
mod show;

pub use document::*;
