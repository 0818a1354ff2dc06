//! Which files a path or glob names, and what of them changed.

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

use thyme_core::{Error, Result};

use crate::connector::Effort;

/// Usual looks that go by before the directories are read again.
const LOOKS_BETWEEN_LISTINGS: u32 = 5;

/// What the file system says of a file; while it stays the same, so does the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    /// Device and inode.
    file: (u64, u64),
    pub size: u64,
    pub modified_us: i64,
}

impl Stat {
    fn of(metadata: &Metadata) -> Stat {
        let since = metadata.modified().ok().and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
        Stat {
            file: identity(metadata),
            size: metadata.len(),
            modified_us: since.map_or(0, |since| since.as_micros() as i64),
        }
    }
}

#[cfg(unix)]
fn identity(metadata: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> (u64, u64) {
    (0, 0)
}

/// A file that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Relative to [`Listing::shown`]'s fixed part.
    pub name: String,
    pub path: PathBuf,
    pub stat: Stat,
}

/// The files of a path or glob.
#[derive(Debug)]
pub(super) struct Listing {
    path: String,
    /// The directories before the first one with a `*`, `?` or `[`.
    base: String,
    has_wildcards: bool,
    known: Vec<(String, PathBuf)>,
    looks: u32,
}

impl Listing {
    /// # Errors
    /// A malformed glob.
    pub fn new(path: &str) -> Result<Listing> {
        let wildcard = path.find(['*', '?', '[']);
        if wildcard.is_some() {
            glob::Pattern::new(path).map_err(|e| {
                Error::invalid_definition(format!("the path \"{path}\" is not a glob: {}", e.msg))
            })?;
        }
        let fixed = &path[..wildcard.unwrap_or(path.len())];
        let base = fixed.rfind('/').map_or("", |slash| &path[..=slash]).to_owned();
        Ok(Listing {
            path: path.to_owned(),
            base,
            has_wildcards: wildcard.is_some(),
            known: Vec::new(),
            looks: 0,
        })
    }

    /// The files that are there now, by name.
    pub fn look(&mut self, effort: Effort) -> Vec<Found> {
        if self.looks == 0 || effort == Effort::Full {
            self.looks = LOOKS_BETWEEN_LISTINGS;
            self.list();
        }
        self.looks -= 1;
        let found = self.known.iter().filter_map(|(name, path)| {
            let metadata = fs::metadata(path).ok().filter(Metadata::is_file)?;
            Some(Found { name: name.clone(), path: path.clone(), stat: Stat::of(&metadata) })
        });
        found.collect()
    }

    fn list(&mut self) {
        let itself = PathBuf::from(&self.path);
        let paths = match glob::glob(&self.path) {
            // A file may have a name that looks like a glob.
            Ok(paths) if self.has_wildcards && !itself.is_file() => {
                paths.filter_map(|path| path.ok()).collect()
            }
            _ => vec![itself],
        };
        self.known = paths.into_iter().map(|path| (self.name(&path), path)).collect();
        self.known.sort();
    }

    fn name(&self, path: &Path) -> String {
        let text = path.to_string_lossy();
        text.strip_prefix(&self.base).unwrap_or(&text).to_owned()
    }

    /// A file's name as people know it.
    pub fn shown(&self, name: &str) -> String {
        format!("{}{name}", self.base)
    }

    /// The sentence for when there is no file.
    pub fn nothing(&self) -> String {
        let path = Path::new(&self.path);
        if path.is_dir() {
            let hint = path.join("*.parquet");
            return format!("\"{}\" is a directory; give a glob such as \"{}\"", self.path, hint.display());
        }
        let place = match std::env::current_dir() {
            Ok(here) if path.is_relative() => format!(" in {}", here.display()),
            _ => String::new(),
        };
        format!("no file matches \"{}\"{place}; it is read as soon as there is one", self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_relative_to_the_fixed_part_and_sorted() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b/2.csv", "a/9.csv", "a/1.csv", "a/x.txt", "a[1].csv"] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        let names = |pattern: &str| -> Vec<String> {
            let mut listing = Listing::new(&format!("{}/{pattern}", dir.path().display())).unwrap();
            let found = listing.look(Effort::Full);
            for f in &found {
                assert_eq!(listing.shown(&f.name), f.path.display().to_string());
            }
            found.into_iter().map(|f| f.name).collect()
        };
        assert_eq!(names("*/*.csv"), ["a/1.csv", "a/9.csv", "b/2.csv"]);
        assert_eq!(names("a/1.csv"), ["1.csv"]);
        assert_eq!(names("a[1].csv"), ["a[1].csv"], "a name that looks like a glob");
        assert_eq!(names("*"), ["a[1].csv"], "directories are no files");
        assert!(names("none/*").is_empty());
        assert!(Listing::new("a/***").is_err());
    }
}
