//! What Thyme is checked with and never ships.

pub mod oracle;
