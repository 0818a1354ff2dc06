//! What goes wrong in one part of an engine stays there, is told, and is right again after a restart.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod applier;
mod shards;
mod spill;
mod world;
