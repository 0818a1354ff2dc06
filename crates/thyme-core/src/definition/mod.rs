//! Definitions: the document a commit carries, its validation, and what may change.

pub mod document;
pub mod entity;
pub mod evolution;
pub mod growth;
pub mod validate;

pub mod naming;
mod show;

pub use document::*;
