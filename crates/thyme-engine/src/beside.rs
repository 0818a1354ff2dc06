//! The small files that the engine keeps beside the log.

use std::io;

use sha2::{Digest, Sha256};
use thyme_core::{Error, ErrorKind, Result};
use thyme_log::Disk;

fn failed(what: &str, disk: &dyn Disk, name: &str, io: &io::Error) -> Error {
    let kind = match io.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            ErrorKind::StorageFull
        }
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("{what} {}: {io}", disk.path(name)))
}

/// The bytes of a small file; `None` when there is none of that name.
pub(crate) fn read(disk: &dyn Disk, name: &str) -> Result<Option<Vec<u8>>> {
    let file = match disk.open(name) {
        Ok(file) => file,
        Err(io) if io.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(io) => return Err(failed("opening", disk, name, &io)),
    };
    let reading = || {
        let mut bytes = vec![0; file.length()? as usize];
        let got = file.read_at(&mut bytes, 0)?;
        bytes.truncate(got);
        Ok(bytes)
    };
    reading().map(Some).map_err(|io| failed("reading", disk, name, &io))
}

/// The bytes of a file: magic, version, content, and the SHA-256 of these.
///
/// # Errors
/// That of `content`, which appends its part.
pub(crate) fn seal(
    magic: &[u8; 8],
    version: u32,
    content: impl FnOnce(&mut Vec<u8>) -> Result<()>,
) -> Result<Vec<u8>> {
    let mut bytes = magic.to_vec();
    bytes.extend_from_slice(&version.to_le_bytes());
    content(&mut bytes)?;
    let sum = Sha256::digest(&bytes);
    bytes.extend_from_slice(&sum);
    Ok(bytes)
}

/// Version and content of what [`seal`] made; `None` if it is not what was written.
pub(crate) fn unseal<'a>(magic: &[u8; 8], bytes: &'a [u8]) -> Option<(u32, &'a [u8])> {
    let (body, sum) = bytes.split_last_chunk::<32>()?;
    if Sha256::digest(body).as_slice() != sum {
        return None;
    }
    let (version, content) = body.strip_prefix(magic)?.split_first_chunk()?;
    Some((u32::from_le_bytes(*version), content))
}

/// Writes a file with `bytes`, whole or not at all.
pub(crate) fn write_durably(disk: &dyn Disk, new: &str, name: &str, bytes: &[u8]) -> Result<()> {
    let write = || {
        if disk.list()?.iter().any(|there| there == new) {
            disk.remove(new)?;
        }
        let file = disk.create(new)?;
        file.write_at(bytes, 0)?;
        file.sync()?;
        disk.rename(new, name)?;
        disk.sync_names()
    };
    write().map_err(|io| {
        // Half of it helps nobody, and what could not be written may be somebody's key. The next one removes it if this fails.
        let _ = disk.remove(new);
        failed("writing", disk, name, &io)
    })
}

/// Gives a file another name durably; no harm if there is none.
pub(crate) fn rename_durably(disk: &dyn Disk, from: &str, to: &str) -> Result<()> {
    let rename = || {
        if disk.list()?.iter().any(|there| there == from) {
            disk.rename(from, to)?;
        }
        disk.sync_names()
    };
    rename().map_err(|io| failed("removing", disk, from, &io))
}

/// Overwrites a file and removes it durably; no harm if there is none.
pub(crate) fn remove_durably(disk: &dyn Disk, name: &str) -> Result<()> {
    let remove = || {
        if !disk.list()?.iter().any(|there| there == name) {
            return Ok(());
        }
        let file = disk.open(name)?;
        file.write_at(&vec![0; file.length()? as usize], 0)?;
        file.sync()?;
        disk.remove(name)?;
        disk.sync_names()
    };
    remove().map_err(|io| failed("removing", disk, name, &io))
}
