//! What Thyme is checked with and never ships.
//!
//! [`random`], [`expression`], [`definitions`] and [`joined`] make random histories; [`ledger`] says what every read of
//! them must give, which `thyme-oracle` computes; [`clock`] is a clock that a test moves by hand; [`disk`] is a disk that fails, and [`sim`]
//! runs whole engines on such disks, as a [`plant`] does for one test; [`directory`] copies a real one as a crash leaves it, and [`seeds`] runs a test for many seeds.

pub mod clock;
pub mod definitions;
pub mod directory;
pub mod disk;
pub mod expression;
pub mod joined;
pub mod ledger;
pub mod plant;
pub mod random;
pub mod seeds;
pub mod sim;
