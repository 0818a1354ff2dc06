//! A data directory that is being made, which is there whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use thyme_core::error::ErrorKind;
use thyme_core::{Error, Result};

use super::copying::failed;
use crate::directory::{LOCK_FILE, RESTORING_FILE, sync_names, write_whole};

const TEXT: &str = "A restore began here and is not complete; remove this directory and restore again.\n";

/// The folder in which a data directory is made. Dropped before [`Unfinished::finish`], it takes away what is in it.
///
/// It is made beside its place and renamed at the end. Only where that cannot be, because the place is an empty folder that
/// something is mounted on, is it made there; the file `RESTORING` then keeps everybody from using it.
pub(super) struct Unfinished {
    /// Where the files go.
    pub path: PathBuf,
    /// Where they will be.
    place: PathBuf,
    /// The folders above it that were made for it, innermost first.
    above: Vec<PathBuf>,
    /// Held so that no other restore takes it for left over.
    _lock: File,
    is_done: bool,
}

impl Unfinished {
    /// Begins a directory at `place`, which must not be there or be empty.
    ///
    /// # Errors
    /// `Conflict` when `place` holds anything, or another restore makes it; `StorageFull` and `Unavailable` when it cannot be
    /// written.
    pub fn begin(place: &Path) -> Result<Self> {
        let writing = |io| failed("writing to", place, &io);
        let place = std::path::absolute(place).map_err(writing)?;
        refuse_taken(&place)?;
        let (Some(parent), Some(name)) = (place.parent(), place.file_name()) else {
            return Err(Error::invalid_data(format!("{} cannot be a data directory", place.display())));
        };
        let above = parent.ancestors().take_while(|folder| !folder.exists()).map(Path::to_owned).collect();
        fs::create_dir_all(parent).map_err(writing)?;
        let mut beside = OsString::from(".");
        beside.push(name);
        beside.push(".restoring");
        let path =
            if is_mounted(&place, parent).map_err(writing)? { place.clone() } else { parent.join(beside) };
        fs::create_dir_all(&path).map_err(|io| failed("writing to", &path, &io))?;
        let lock = take(&path)?;
        if path != place {
            // What a restore left that was killed.
            empty(&path, &[LOCK_FILE]).map_err(|io| failed("clearing", &path, &io))?;
        }
        let begun = Unfinished { path, place, above, _lock: lock, is_done: false };
        write_whole(&begun.path, RESTORING_FILE, TEXT.as_bytes())
            .map_err(|io| failed("writing to", &begun.path, &io))?;
        Ok(begun)
    }

    /// Puts it in its place, durably.
    ///
    /// # Errors
    /// As [`Unfinished::begin`].
    pub fn finish(mut self) -> Result<()> {
        let writing = |io| failed("writing to", &self.place, &io);
        fs::remove_file(self.path.join(RESTORING_FILE))
            .and_then(|()| sync_names(&self.path))
            .map_err(writing)?;
        if self.path != self.place {
            // An empty folder in its place gives way to it; one that was filled meanwhile does not.
            fs::rename(&self.path, &self.place).map_err(writing)?;
        }
        self.is_done = true;
        match self.place.parent() {
            Some(parent) => sync_names(parent).map_err(writing),
            None => Ok(()),
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        // What cannot be removed stays marked.
        if self.path != self.place {
            let _ = fs::remove_dir_all(&self.path);
        } else if empty(&self.path, &[RESTORING_FILE]).is_ok() {
            let _ = fs::remove_file(self.path.join(RESTORING_FILE));
        }
        // Those that hold something else by now stay.
        let _ = self.above.iter().try_for_each(fs::remove_dir);
    }
}

fn refuse_taken(place: &Path) -> Result<()> {
    if fs::read_dir(place).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Error::new(
            ErrorKind::Conflict,
            format!("{} is not empty; a backup is restored into a new directory", place.display()),
        ));
    }
    Ok(())
}

/// Whether a folder is there that no other can take the place of.
fn is_mounted(place: &Path, parent: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(place) {
        Ok(found) => Ok(!found.is_dir() || found.dev() != fs::metadata(parent)?.dev()),
        Err(io) if io.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(io) => Err(io),
    }
}

/// Takes the lock of a folder.
fn take(path: &Path) -> Result<File> {
    let locking = |io| failed("locking", path, &io);
    let lock = File::create(path.join(LOCK_FILE)).map_err(locking)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => {
            let text = format!("another restore into {} is under way", path.display());
            Err(Error::new(ErrorKind::Conflict, text))
        }
        Err(TryLockError::Error(io)) => Err(locking(io)),
    }
}

/// Removes what is in a folder, but for `kept`.
fn empty(path: &Path, kept: &[&str]) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if kept.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::DataDirectory;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn what_is_not_finished_leaves_nothing_and_what_is_takes_its_place() {
        for (place, is_there) in [("a/b/data", false), ("data", true)] {
            let root = tempfile::tempdir().unwrap();
            let place = root.path().join(place);
            if is_there {
                fs::create_dir(&place).unwrap();
            }
            let before = names(root.path());
            let begun = Unfinished::begin(&place).unwrap();
            fs::write(begun.path.join("file"), "x").unwrap();
            assert!(!place.join("file").exists());
            let error = Unfinished::begin(&place).map(|_| ()).unwrap_err();
            assert!(error.detail().contains("another restore into"), "{error}");
            drop(begun);
            assert_eq!(names(root.path()), before);
            let begun = Unfinished::begin(&place).unwrap();
            fs::write(begun.path.join("file"), "x").unwrap();
            begun.finish().unwrap();
            assert_eq!(fs::read(place.join("file")).unwrap(), b"x");
            assert_eq!(names(place.parent().unwrap()), ["data"]);
            assert_eq!(Unfinished::begin(&place).map(|_| ()).unwrap_err().kind(), ErrorKind::Conflict);
        }
    }

    #[test]
    fn what_a_killed_restore_left_is_no_data_directory_and_is_cleared_by_the_next() {
        let root = tempfile::tempdir().unwrap();
        let place = root.path().join("data");
        let left = root.path().join(".data.restoring");
        fs::create_dir_all(left.join("log")).unwrap();
        fs::write(left.join(RESTORING_FILE), TEXT).unwrap();
        fs::write(left.join("log").join("half"), "x").unwrap();
        let error = DataDirectory::open(&left).unwrap_err();
        assert!(error.detail().contains("was interrupted"), "{error}");
        Unfinished::begin(&place).unwrap().finish().unwrap();
        assert_eq!((names(root.path()), names(&place)), (vec!["data".to_owned()], vec!["LOCK".to_owned()]));
    }

    #[test]
    fn where_nothing_can_take_the_place_of_the_folder_it_is_made_there_and_emptied_again() {
        let root = tempfile::tempdir().unwrap();
        let (real, place) = (root.path().join("real"), root.path().join("link"));
        fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &place).unwrap();
        let begun = Unfinished::begin(&place).unwrap();
        fs::write(begun.path.join("file"), "x").unwrap();
        assert!(DataDirectory::open(&place).unwrap_err().detail().contains("used by another"));
        drop(begun);
        assert!(names(&real).is_empty());
        let begun = Unfinished::begin(&place).unwrap();
        fs::write(begun.path.join("file"), "x").unwrap();
        begun.finish().unwrap();
        assert!(real.join("file").exists() && !real.join(RESTORING_FILE).exists());
    }
}
