//! Copying files durably, with their checksums.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use thyme_core::error::ErrorKind;
use thyme_core::{Error, Result};

use super::Watch;
use crate::directory::hex;

const WINDOW_BYTES: usize = 1 << 20;

/// How far a long copy is.
pub(crate) struct Meter<'a> {
    watch: Watch<'a>,
    done: u64,
    total: u64,
}

impl<'a> Meter<'a> {
    pub fn new(watch: Watch<'a>, total: u64) -> Self {
        Meter { watch, done: 0, total }
    }

    pub fn add(&mut self, bytes: u64) {
        self.done += bytes;
        (self.watch)(self.done, self.total.max(self.done));
    }
}

/// The length and the SHA-256 of what went through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sum {
    pub bytes: u64,
    pub sha256: String,
}

/// Reads the first `limit` bytes of `from`, and writes them to `to` if there is one. Gives their sum.
pub(crate) fn pour(
    from: &Path,
    limit: u64,
    mut to: Option<&mut dyn Write>,
    meter: &mut Meter<'_>,
) -> io::Result<Sum> {
    let mut source = File::open(from)?.take(limit);
    let (mut hash, mut bytes, mut window) = (Sha256::new(), 0, vec![0; WINDOW_BYTES]);
    loop {
        let got = match source.read(&mut window) {
            Ok(0) => break,
            Ok(got) => got,
            Err(io) if io.kind() == io::ErrorKind::Interrupted => continue,
            Err(io) => return Err(io),
        };
        let part = window.get(..got).unwrap_or_default();
        hash.update(part);
        if let Some(to) = &mut to {
            to.write_all(part)?;
        }
        bytes += got as u64;
        meter.add(got as u64);
    }
    Ok(Sum { bytes, sha256: hex(&hash.finalize()) })
}

/// Makes the file `to` for what is in `from`: nobody may read it who may not read that.
pub(crate) fn create_like(from: &Path, to: &Path) -> io::Result<File> {
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(to)?;
    file.set_permissions(fs::metadata(from)?.permissions())?;
    Ok(file)
}

/// A writer that sums what goes through it.
pub(crate) struct Summing<W> {
    inner: W,
    hash: Sha256,
    bytes: u64,
}

impl<W: Write> Summing<W> {
    pub fn new(inner: W) -> Self {
        Summing { inner, hash: Sha256::new(), bytes: 0 }
    }

    pub fn finish(mut self) -> io::Result<(W, Sum)> {
        self.inner.flush()?;
        Ok((self.inner, Sum { bytes: self.bytes, sha256: hex(&self.hash.finalize()) }))
    }
}

impl<W: Write> Write for Summing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hash.update(bytes.get(..count).unwrap_or_default());
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// The files below `dir`, relative to it, in order; `leave` names those to leave out, by their path.
pub(crate) fn files_below(dir: &Path, leave: &dyn Fn(&str) -> bool) -> io::Result<Vec<String>> {
    fn walk(root: &Path, at: &Path, leave: &dyn Fn(&str) -> bool, found: &mut Vec<String>) -> io::Result<()> {
        for entry in fs::read_dir(at)? {
            let path = entry?.path();
            let Ok(below) = path.strip_prefix(root) else { continue };
            let Some(name) = below.to_str() else { continue };
            if leave(name) {
                continue;
            }
            if path.is_dir() { walk(root, &path, leave, found)? } else { found.push(name.to_owned()) }
        }
        Ok(())
    }
    let mut found = Vec::new();
    walk(dir, dir, leave, &mut found)?;
    found.sort();
    Ok(found)
}

/// The path of a manifest below `root`, unless it leads out of it.
pub(crate) fn below(root: &Path, path: &str) -> Result<PathBuf> {
    let inside = Path::new(path).components().all(|part| matches!(part, std::path::Component::Normal(_)));
    if inside && !path.is_empty() {
        Ok(root.join(path))
    } else {
        Err(Error::corrupt(format!("the manifest names the file \"{path}\", which is outside of the backup")))
    }
}

/// The error for a fault of the file system.
pub(crate) fn failed(doing: &str, path: &Path, io: &io::Error) -> Error {
    let kind = match io.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            ErrorKind::StorageFull
        }
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("{doing} {}: {io}", path.display()))
}
