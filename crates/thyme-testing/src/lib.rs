//! What Thyme is checked with and never ships.
//!
//! [`random`], [`expression`] and [`definitions`] make random histories; [`ledger`] says what every read of
//! them must give, which `thyme-oracle` computes; [`clock`] is a clock that a test moves by hand.

pub mod clock;
pub mod definitions;
pub mod expression;
pub mod ledger;
pub mod random;
