//! What keeps a data directory trustworthy: backups, restores, and the doctor.

mod backup;
mod copying;
mod doctor;
mod examination;
mod manifest;
mod restore;
mod unfinished;

pub use backup::{Backup, backup_directory};
pub use doctor::{examine, set_store_aside};
pub use examination::{Examination, Finding, Health};
pub use restore::{Restored, restore};

pub(crate) use backup::{Source, backup};

/// Told of bytes done and bytes in all, now and then.
pub type Watch<'a> = &'a (dyn Fn(u64, u64) + Sync);
