//! What a compressed Arrow IPC stream says it decompresses to, before anybody takes it at its word.
//!
//! The reader allocates the length that stands before each compressed buffer. A few damaged bytes there
//! would otherwise end the process, which no `catch_unwind` helps against.

use arrow::ipc::{RecordBatch, root_as_message};
use thyme_core::{Error, ErrorKind, Result};

/// The most bytes that one body may decompress to.
pub(crate) const DECOMPRESSED_BYTES_MAX: u64 = 1 << 30;
const CONTINUATION: u32 = u32::MAX;
const PREFIX_BYTES: usize = 8;

/// Refuses a stream that decompresses to too much. What is not a stream at all is left to the reader.
///
/// # Errors
/// TooLarge.
pub(crate) fn check_lengths(body: &[u8]) -> Result<()> {
    check_size("the Arrow IPC stream", declared(body))
}

/// Refuses a body that decompresses to too much.
///
/// # Errors
/// TooLarge.
pub(crate) fn check_size(what: &str, bytes: u64) -> Result<()> {
    if bytes <= DECOMPRESSED_BYTES_MAX {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::TooLarge,
        format!(
            "{what} decompresses to {bytes} bytes or more; the limit is {DECOMPRESSED_BYTES_MAX}: send it in parts"
        ),
    ))
}

/// What a stream says that it decompresses to.
pub(crate) fn declared(stream: &[u8]) -> u64 {
    let (mut rest, mut total) = (stream, 0u64);
    while let Some((bytes, next)) = message(rest) {
        total = total.saturating_add(bytes);
        rest = next;
    }
    total
}

/// What the first message decompresses to, and what comes after it; `None` where the reader stops too.
fn message(stream: &[u8]) -> Option<(u64, &[u8])> {
    let (mut length, mut rest) = word(stream)?;
    if length == CONTINUATION {
        (length, rest) = word(rest)?;
    }
    let (metadata, rest) = rest.split_at_checked(usize::try_from(length).ok().filter(|l| *l > 0)?)?;
    let message = root_as_message(metadata).ok()?;
    let (body, rest) = rest.split_at_checked(usize::try_from(message.bodyLength()).ok()?)?;
    let dictionary = message.header_as_dictionary_batch().and_then(|d| d.data());
    let batch = message.header_as_record_batch().or(dictionary);
    Some((batch.map_or(0, |batch| decompressed(&batch, body)), rest))
}

fn decompressed(batch: &RecordBatch<'_>, body: &[u8]) -> u64 {
    if batch.compression().is_none() {
        return 0;
    }
    let lengths = batch.buffers().into_iter().flatten().filter_map(|buffer| {
        let start = usize::try_from(buffer.offset()).ok().filter(|_| buffer.length() > 0)?;
        let prefix = body.get(start..)?.first_chunk::<PREFIX_BYTES>()?;
        // A negative length stands for a buffer that is not compressed.
        u64::try_from(i64::from_le_bytes(*prefix)).ok()
    });
    lengths.fold(0, u64::saturating_add)
}

fn word(bytes: &[u8]) -> Option<(u32, &[u8])> {
    bytes.split_first_chunk::<4>().map(|(word, rest)| (u32::from_le_bytes(*word), rest))
}
