//! What Thyme is checked with and never ships.
//!
//! [`oracle`] is the contract computed the slow way; [`random`], [`expression`], [`definitions`] and
//! [`ledger`] make random histories and say what every read of them must give; [`clock`] is a clock
//! that a test moves by hand.

pub mod clock;
pub mod definitions;
pub mod expression;
pub mod ledger;
pub mod oracle;
pub mod random;
