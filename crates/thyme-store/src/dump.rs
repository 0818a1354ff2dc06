//! A store as one stream of bytes, for backups (see `docs/formats.md`).

use std::io::{Read, Write};

use thyme_core::error::{Error, ErrorKind, Result};

use crate::backend::{Pairs, Write as Entry};
use crate::encoding;

const MAGIC: &[u8; 8] = b"THYMEDMP";
const VERSION: u32 = 1;
/// Stands where the next key's length would, after the last entry.
const END: u32 = u32::MAX;
/// Entries are written back in batches of about this many bytes.
const BATCH_BYTES: usize = 4 << 20;

/// Writes entries to `out` and gives how many there are.
pub fn write(pairs: Pairs, out: &mut dyn Write) -> Result<u64> {
    let failed = |io| Error::unavailable(format!("writing the copy of the store: {io}"));
    let mut head = MAGIC.to_vec();
    head.extend_from_slice(&VERSION.to_le_bytes());
    out.write_all(&head).map_err(failed)?;
    let mut count = 0_u64;
    for pair in pairs {
        let (key, value) = pair?;
        encoding::open_value(&key, &value)?;
        let lengths = [key.len() as u32, value.len() as u32].map(u32::to_le_bytes).concat();
        for part in [&lengths[..], &key, &value] {
            out.write_all(part).map_err(failed)?;
        }
        count += 1;
    }
    let mut tail = END.to_le_bytes().to_vec();
    tail.extend_from_slice(&count.to_le_bytes());
    out.write_all(&tail).map_err(failed)?;
    Ok(count)
}

/// Reads what [`write`] wrote and hands it to `put` in batches, in the order of the keys.
pub fn read(input: &mut dyn Read, put: &mut dyn FnMut(Vec<Entry>) -> Result<()>) -> Result<u64> {
    let head: [u8; MAGIC.len() + 4] = take(input)?;
    let version =
        head.strip_prefix(MAGIC).and_then(|version| version.try_into().ok()).map(u32::from_le_bytes);
    match version {
        Some(VERSION) => {}
        Some(version) => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "the copy of the store has format {version}, this Thyme reads format {VERSION}; restore it with the \
                     Thyme that wrote it"
                ),
            ));
        }
        None => return Err(damaged()),
    }
    let (mut batch, mut bytes, mut count) = (Vec::new(), 0, 0_u64);
    loop {
        let length = u32::from_le_bytes(take(input)?);
        if length == END {
            break;
        }
        let value_length = u32::from_le_bytes(take(input)?);
        let (key, value) = (bytes_of(input, length)?, bytes_of(input, value_length)?);
        encoding::open_value(&key, &value)?;
        bytes += key.len() + value.len();
        batch.push(Entry { key: key.into(), value: Some(value.into()) });
        count += 1;
        if bytes >= BATCH_BYTES {
            put(std::mem::take(&mut batch))?;
            bytes = 0;
        }
    }
    if u64::from_le_bytes(take(input)?) != count {
        return Err(damaged());
    }
    if !batch.is_empty() {
        put(batch)?;
    }
    Ok(count)
}

fn damaged() -> Error {
    Error::corrupt("the copy of the store is damaged; use another backup")
}

fn take<const N: usize>(input: &mut dyn Read) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes).map_err(|_| damaged())?;
    Ok(bytes)
}

fn bytes_of(input: &mut dyn Read, length: u32) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input.take(u64::from(length)).read_to_end(&mut bytes).map_err(|_| damaged())?;
    if bytes.len() == length as usize { Ok(bytes) } else { Err(damaged()) }
}
