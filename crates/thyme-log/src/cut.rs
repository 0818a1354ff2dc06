//! Where the log begins once its oldest segments are gone.

use thyme_core::error::{Error, Result};

use crate::disk::Disk;
use crate::record::FORMAT_VERSION;
use crate::segment::io_failed;

/// The file that says so; there is none before the first cut.
pub const FILE: &str = "cut";
const NEW_FILE: &str = "cut.rewrite";
const MAGIC: &[u8; 8] = b"THYMECUT";
const BYTES: usize = 32;

/// The first record that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Its number.
    pub first: u64,
    /// The stamp of the record before it.
    pub base: i64,
}

impl Cut {
    /// Of a log that was never cut.
    pub const NONE: Cut = Cut { first: 1, base: i64::MIN };

    fn encode(self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.first.to_le_bytes());
        bytes.extend_from_slice(&self.base.to_le_bytes());
        let sum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Cut> {
        let (body, sum) = bytes.split_last_chunk::<4>()?;
        let rest = body.strip_prefix(MAGIC)?.strip_prefix(&FORMAT_VERSION.to_le_bytes())?;
        let (first, base) = rest.split_first_chunk::<8>()?;
        let cut = Cut { first: u64::from_le_bytes(*first), base: i64::from_le_bytes(base.try_into().ok()?) };
        (bytes.len() == BYTES && u32::from_le_bytes(*sum) == crc32c::crc32c(body)).then_some(cut)
    }
}

/// Where the log begins, as the files called `names` say.
pub fn find(disk: &dyn Disk, names: &[String]) -> Result<Cut> {
    if !names.iter().any(|name| name == FILE) {
        return Ok(Cut::NONE);
    }
    let path = disk.path(FILE);
    let mut bytes = [0; BYTES + 1];
    let read = disk.open(FILE).and_then(|file| file.read_at(&mut bytes, 0));
    let got = read.map_err(|io| io_failed("reading", &path, &io))?;
    Cut::decode(bytes.get(..got).unwrap_or_default()).ok_or_else(|| {
        Error::corrupt(format!(
            "the file {path}, which says where the log begins, is damaged or of a later version; restore it from a backup"
        ))
    })
}

/// Says durably where the log begins.
pub fn mark(disk: &dyn Disk, cut: Cut) -> Result<()> {
    let write = || {
        if disk.list()?.iter().any(|name| name == NEW_FILE) {
            disk.remove(NEW_FILE)?;
        }
        let file = disk.create(NEW_FILE)?;
        file.write_at(&cut.encode(), 0)?;
        file.sync()?;
        disk.rename(NEW_FILE, FILE)?;
        disk.sync_names()
    };
    write().map_err(|io| io_failed("writing", &disk.path(FILE), &io))
}

/// Removes segments before the cut; the names of those that are not durably gone stay.
pub fn remove(disk: &dyn Disk, names: &mut Vec<String>) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    for name in names.iter() {
        match disk.remove(name) {
            Err(io) if io.kind() != std::io::ErrorKind::NotFound => {
                return Err(io_failed("removing", &disk.path(name), &io));
            }
            _ => {}
        }
    }
    disk.sync_names().map_err(|io| io_failed("syncing", &disk.path("."), &io))?;
    names.clear();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_round_trips_and_no_changed_byte_goes_unnoticed() {
        let cut = Cut { first: 77, base: -5 };
        let bytes = cut.encode();
        assert_eq!(Cut::decode(&bytes), Some(cut));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(Cut::decode(&damaged), None);
            assert_eq!(Cut::decode(&bytes[..at]), None);
        }
    }
}
