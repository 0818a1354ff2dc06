//! Fingerprints: whether a file still is the one that was read, told from its content. Inode numbers
//! would not do: they change when a volume is restored or mounted elsewhere, and are given again.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use sha2::{Digest, Sha256};

/// How many bytes of a text file's start, and before the place reached, are remembered.
pub(super) const PRINT_BYTES: usize = 256;
/// The longest footer that is looked at.
const FOOTER_BYTES_MAX: u64 = 16 << 20;

/// The first 8 bytes of SHA-256.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    Sha256::digest(bytes).iter().take(8).fold(0, |acc, byte| acc << 8 | u64::from(*byte))
}

/// The fingerprint of a Parquet file: its size, its start, and its footer, which names every page.
pub(super) fn parquet(file: &mut File, size: u64) -> io::Result<u64> {
    let mut bytes = size.to_le_bytes().to_vec();
    file.seek(SeekFrom::Start(0))?;
    file.by_ref().take(PRINT_BYTES as u64).read_to_end(&mut bytes)?;
    let mut trailer = Vec::new();
    file.seek(SeekFrom::Start(size.saturating_sub(8)))?;
    file.by_ref().take(8).read_to_end(&mut trailer)?;
    let footer = match trailer.as_slice() {
        [a, b, c, d, b'P', b'A', b'R', b'1'] => 8 + u64::from(u32::from_le_bytes([*a, *b, *c, *d])),
        _ => PRINT_BYTES as u64,
    };
    let footer = footer.min(size).min(FOOTER_BYTES_MAX);
    file.seek(SeekFrom::Start(size - footer))?;
    file.by_ref().take(footer).read_to_end(&mut bytes)?;
    Ok(hash(&bytes))
}
