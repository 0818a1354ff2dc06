//! A store looked at without touching it.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// A folder elsewhere that stands for a store's: links to its tables, which the tree never changes in
/// place, and copies of everything else. What opens it writes here. Removed when dropped.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Stands for the store in `dir`.
    pub fn of(dir: &Path) -> io::Result<Self> {
        let scratch = Scratch { path: new_folder()? };
        copy(&fs::canonicalize(dir)?, &scratch.path)?;
        Ok(scratch)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is in the folder for temporary files.
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn new_folder() -> io::Result<PathBuf> {
    let mut number = 0_u32;
    loop {
        let path = std::env::temp_dir().join(format!("thyme-store-{}-{number}", std::process::id()));
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(io) if io.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(io) => return Err(io),
        }
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let is_tables = from.file_name().is_some_and(|name| name == "tables");
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir(&target)?;
            copy(&entry.path(), &target)?;
        } else if is_tables {
            symlink(entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
