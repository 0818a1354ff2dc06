//! The small files that the engine keeps beside the log.

use std::io;

use thyme_core::{Error, Result};
use thyme_log::Disk;

fn failed(what: &str, disk: &dyn Disk, name: &str, io: &io::Error) -> Error {
    Error::unavailable(format!("{what} {}: {io}", disk.path(name)))
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
    write().map_err(|io| failed("writing", disk, name, &io))
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
