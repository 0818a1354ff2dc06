//! Making a store's files anew, so that what was removed is in none of them: the tree below keeps removed
//! and replaced entries in its tables and journals for as long as it likes.
//!
//! A copy is made beside the store and takes its place. A crash leaves the one or the other.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use thyme_core::error::Result;

use crate::backend::{Backend, Pairs, Write};
use crate::disk::DiskStore;
use crate::failure::io_failed;

/// A copy being made.
const HALF: &str = "half";
/// A whole copy.
const WHOLE: &str = "new";
/// What the copy replaces.
const OLD: &str = "old";
/// Bytes written at once.
const BATCH_BYTES: usize = 8 << 20;
/// How often the end of all scans is waited for; a minute in all.
pub const ATTEMPTS: u32 = 500;
/// How long scans that could begin are kept from it, in steps of [`STEP`].
const STEPS: u32 = 20;
const STEP: Duration = Duration::from_millis(1);
/// How long they are let in between.
const PAUSE: Duration = Duration::from_millis(100);

/// The directory beside the store's.
fn beside(dir: &Path, what: &str) -> PathBuf {
    let mut name = dir.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(what);
    dir.with_file_name(name)
}

fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(io) if io.kind() != io::ErrorKind::NotFound => Err(io),
        _ => Ok(()),
    }
}

fn sync_names(dir: &Path) -> io::Result<()> {
    let parent = match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent)?.sync_all()
}

fn renewing(dir: &Path) -> impl Fn(io::Error) -> thyme_core::Error {
    let shown = dir.display().to_string();
    move |io| io_failed(&shown, "renewing", &io)
}

/// Ends what a crash interrupted.
pub fn resume(dir: &Path) -> Result<()> {
    let (whole, old) = (beside(dir, WHOLE), beside(dir, OLD));
    let resume = || {
        if !dir.exists() && whole.exists() {
            fs::rename(&whole, dir)?;
            sync_names(dir)?;
        }
        for left in [beside(dir, HALF), whole, old] {
            remove(&left)?;
        }
        Ok(())
    };
    resume().map_err(renewing(dir))
}

/// Copies `pairs` into a store beside the one in `dir`.
pub fn copy(dir: &Path, pairs: Pairs) -> Result<()> {
    let (half, whole) = (beside(dir, HALF), beside(dir, WHOLE));
    remove(&half).and_then(|()| remove(&whole)).map_err(renewing(dir))?;
    {
        let tree = DiskStore::begin(&half)?;
        let (mut writes, mut bytes) = (Vec::new(), 0);
        for pair in pairs {
            let (key, value) = pair?;
            bytes += key.len() + value.len();
            writes.push(Write { key, value: Some(value) });
            if bytes >= BATCH_BYTES {
                tree.write(std::mem::take(&mut writes))?;
                bytes = 0;
            }
        }
        if !writes.is_empty() {
            tree.write(writes)?;
        }
    }
    fs::rename(&half, &whole).and_then(|()| sync_names(dir)).map_err(renewing(dir))
}

/// Puts the copy in the place of the store, whose files nobody has open.
pub fn swap(dir: &Path) -> Result<()> {
    let (whole, old) = (beside(dir, WHOLE), beside(dir, OLD));
    let swap = || {
        fs::rename(dir, &old)?;
        fs::rename(&whole, dir)?;
        sync_names(dir)?;
        remove(&old)?;
        sync_names(dir)
    };
    swap().map_err(renewing(dir))
}

/// Waits a moment until nobody scans any more; false when that takes longer.
pub fn is_alone_soon(scans: &Arc<()>) -> bool {
    (0..STEPS).any(|_| {
        let is_alone = Arc::strong_count(scans) == 1;
        if !is_alone {
            wait(STEP);
        }
        is_alone
    })
}

/// Gives others a turn.
pub fn pause() {
    wait(PAUSE);
}

fn wait(time: Duration) {
    Condvar::new().wait_for(&mut Mutex::new(()).lock(), time);
}
