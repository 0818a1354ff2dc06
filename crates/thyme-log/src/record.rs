//! Segments and records, byte by byte (see `docs/formats.md`). All numbers are little-endian.

use crate::PAYLOAD_BYTES_MAX;

/// The version of what this file describes.
pub const FORMAT_VERSION: u32 = 1;
/// Bytes of a segment before its first record.
pub const SEGMENT_HEADER_BYTES: usize = 64;
/// Bytes of a record before its payload.
pub const RECORD_HEADER_BYTES: usize = 40;
/// Bytes of a record after its payload and the padding.
pub const TRAILER_BYTES: usize = 8;
/// Records begin at multiples of this.
pub const ALIGNMENT: usize = 8;

const SEGMENT_MAGIC: &[u8; 8] = b"THYMELOG";
const RECORD_TAG: u32 = u32::from_le_bytes(*b"TREC");
/// Ends every record, so that one can see that a batch was written to its end. Its last byte has several
/// bits, so that a write that stopped before it (a zero) is not taken for one flipped bit.
const TRAILER: u64 = u64::from_le_bytes(*b"\xa7end\x9dREC");
/// A trailer with no more wrong bits than one damaged byte makes still counts as written.
const TRAILER_BITS_WRONG_MAX: u32 = 8;

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The facts at the head of a segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Number of the first record in it.
    pub first: u64,
    /// Stamp of the record before that one; `i64::MIN` when there is none.
    pub base: i64,
    /// `first` of the segment before; 0 when there is none.
    pub previous: u64,
}

/// Why a segment header cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderFault {
    /// It is not what was written.
    Damaged,
    /// It is whole, and of this version.
    Version(u32),
}

impl SegmentHeader {
    pub fn encode_into(self, buffer: &mut Vec<u8>) {
        let start = buffer.len();
        buffer.extend_from_slice(SEGMENT_MAGIC);
        buffer.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        buffer.extend_from_slice(&(SEGMENT_HEADER_BYTES as u32).to_le_bytes());
        buffer.extend_from_slice(&self.first.to_le_bytes());
        buffer.extend_from_slice(&self.base.to_le_bytes());
        buffer.extend_from_slice(&self.previous.to_le_bytes());
        buffer.resize(start + SEGMENT_HEADER_BYTES - 4, 0);
        let sum = crc32c::crc32c(&buffer[start..]);
        buffer.extend_from_slice(&sum.to_le_bytes());
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderFault> {
        let parse = || {
            let body = bytes.get(..SEGMENT_HEADER_BYTES - 4)?;
            let whole = body.starts_with(SEGMENT_MAGIC)
                && u32_at(bytes, SEGMENT_HEADER_BYTES - 4) == Some(crc32c::crc32c(body));
            let header = SegmentHeader {
                first: u64_at(body, 16)?,
                base: u64_at(body, 24)? as i64,
                previous: u64_at(body, 32)?,
            };
            whole.then_some((u32_at(body, 8)?, header))
        };
        match parse() {
            Some((FORMAT_VERSION, header)) => Ok(header),
            Some((version, _)) => Err(HeaderFault::Version(version)),
            None => Err(HeaderFault::Damaged),
        }
    }
}

/// The facts at the head of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// Bytes of the payload.
    pub length: u32,
    /// The record's number.
    pub number: u64,
    /// Its stamp.
    pub stamp: i64,
    /// Number of the first record of the batch it was appended in.
    pub batch_first: u64,
    /// How many records that batch has.
    pub batch_count: u32,
}

impl RecordHeader {
    /// The header at the start of `bytes`, if it could be one; its checksum is another question.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..RECORD_HEADER_BYTES)?;
        if u32_at(bytes, 36)? != RECORD_TAG {
            return None;
        }
        let header = RecordHeader {
            length: u32_at(bytes, 4)?,
            number: u64_at(bytes, 8)?,
            stamp: u64_at(bytes, 16)? as i64,
            batch_first: u64_at(bytes, 24)?,
            batch_count: u32_at(bytes, 32)?,
        };
        let in_batch = header.number >= header.batch_first
            && header.number - header.batch_first < u64::from(header.batch_count);
        (in_batch && header.batch_first > 0 && header.length as usize <= PAYLOAD_BYTES_MAX).then_some(header)
    }

    /// Bytes of the whole record.
    pub fn record_bytes(&self) -> usize {
        record_bytes(self.length as usize)
    }

    /// Whether it is the last record of its batch.
    pub fn ends_batch(&self) -> bool {
        self.number - self.batch_first + 1 == u64::from(self.batch_count)
    }
}

/// Bytes of a record whose payload has `length` bytes.
pub fn record_bytes(length: usize) -> usize {
    RECORD_HEADER_BYTES + length.next_multiple_of(ALIGNMENT) + TRAILER_BYTES
}

/// Appends a record to `buffer`; `header.length` is the length of `payload`.
pub fn encode_record(header: RecordHeader, payload: &[u8], buffer: &mut Vec<u8>) {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; 4]);
    buffer.extend_from_slice(&header.length.to_le_bytes());
    buffer.extend_from_slice(&header.number.to_le_bytes());
    buffer.extend_from_slice(&header.stamp.to_le_bytes());
    buffer.extend_from_slice(&header.batch_first.to_le_bytes());
    buffer.extend_from_slice(&header.batch_count.to_le_bytes());
    buffer.extend_from_slice(&RECORD_TAG.to_le_bytes());
    buffer.extend_from_slice(payload);
    let sum = crc32c::crc32c(&buffer[start + 4..]);
    buffer[start..start + 4].copy_from_slice(&sum.to_le_bytes());
    buffer.resize(start + RECORD_HEADER_BYTES + payload.len().next_multiple_of(ALIGNMENT), 0);
    buffer.extend_from_slice(&TRAILER.to_le_bytes());
}

/// The payload of the record that `bytes` are, if every byte is what was written.
pub fn verified_payload(header: RecordHeader, bytes: &[u8]) -> Option<&[u8]> {
    let end = RECORD_HEADER_BYTES + header.length as usize;
    let padding = bytes.get(end..bytes.len().checked_sub(TRAILER_BYTES)?)?;
    let whole = bytes.len() == header.record_bytes()
        && u32_at(bytes, 0)? == crc32c::crc32c(bytes.get(4..end)?)
        && padding.iter().all(|byte| *byte == 0)
        && u64_at(bytes, bytes.len() - TRAILER_BYTES)? == TRAILER;
    if whole { bytes.get(RECORD_HEADER_BYTES..end) } else { None }
}

/// Whether `bytes` end as a record ends, give or take one damaged byte.
pub fn ends_like_a_record(bytes: &[u8]) -> bool {
    let stops_short = bytes.last().is_none_or(|byte| *byte == 0);
    !stops_short
        && bytes
            .len()
            .checked_sub(TRAILER_BYTES)
            .and_then(|at| u64_at(bytes, at))
            .is_some_and(|found| (found ^ TRAILER).count_ones() <= TRAILER_BITS_WRONG_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: RecordHeader =
        RecordHeader { length: 5, number: 12, stamp: -3, batch_first: 11, batch_count: 2 };

    #[test]
    fn a_record_round_trips_and_no_changed_byte_goes_unnoticed() {
        let mut bytes = Vec::new();
        encode_record(HEADER, b"hello", &mut bytes);
        assert_eq!(bytes.len(), record_bytes(5));
        assert_eq!(RecordHeader::decode(&bytes), Some(HEADER));
        assert_eq!(verified_payload(HEADER, &bytes), Some(&b"hello"[..]));
        assert!(HEADER.ends_batch() && ends_like_a_record(&bytes));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x40;
            let found = RecordHeader::decode(&damaged).and_then(|header| verified_payload(header, &damaged));
            assert_eq!(found, None, "byte {at}");
            assert!(ends_like_a_record(&damaged), "byte {at}");
        }
        assert!(!ends_like_a_record(&bytes[..bytes.len() - 1]));
    }

    #[test]
    fn a_segment_header_round_trips_and_a_later_version_is_told_from_damage() {
        let header = SegmentHeader { first: 7, base: i64::MIN, previous: 3 };
        let mut bytes = Vec::new();
        header.encode_into(&mut bytes);
        assert_eq!(bytes.len(), SEGMENT_HEADER_BYTES);
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(SegmentHeader::decode(&damaged), Err(HeaderFault::Damaged), "byte {at}");
            assert_eq!(SegmentHeader::decode(&bytes[..at]), Err(HeaderFault::Damaged));
        }
        bytes[8] = 2;
        let sum = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderFault::Version(2)));
    }
}
