//! What Thyme is checked with and never ships.
//!
//! [`random`], [`expression`] and [`definitions`] make random histories; [`ledger`] says what every read of
//! them must give, which `thyme-oracle` computes; [`clock`] is a clock that a test moves by hand; [`disk`] is a disk that fails, and [`sim`] runs whole engines on such disks.

pub mod clock;
pub mod definitions;
pub mod disk;
pub mod expression;
pub mod ledger;
pub mod random;
pub mod sim;
