//! From a stamp to the last record at or before it.

use std::sync::Arc;

use thyme_core::error::{Error, ErrorKind, Result};

use crate::disk::Disk;
use crate::record::SEGMENT_HEADER_BYTES;
use crate::segment::{Cursor, Segment, damaged};
use crate::segment_log::Durable;

/// Stamps between two places where a search can begin.
const BLOCK_STAMPS: usize = 64;
/// What is kept of segments besides the one looked at: two to four bytes a record.
const BYTES_KEPT_MAX: usize = 64 << 20;

/// Looks stamps up: a training set asks for a million of them. A segment is read once, and its stamps are kept.
#[derive(Debug, Default)]
pub(crate) struct Stamps {
    /// The one used last is at the end.
    known: Vec<Packed>,
}

/// The stamps of a segment's records, each as its distance from the one before.
#[derive(Debug)]
struct Packed {
    /// The segment's first record.
    first: u64,
    /// Distances in LEB128, but for the first stamp of each block.
    bytes: Vec<u8>,
    /// The first stamp of each block, and where in `bytes` its distances begin.
    blocks: Vec<(i64, u32)>,
    count: usize,
    last: i64,
    /// Where in the file the next record begins.
    offset: u64,
}

impl Packed {
    fn new(first: u64) -> Self {
        let offset = SEGMENT_HEADER_BYTES as u64;
        Packed { first, bytes: Vec::new(), blocks: Vec::new(), count: 0, last: i64::MIN, offset }
    }

    fn push(&mut self, stamp: i64) {
        if self.count.is_multiple_of(BLOCK_STAMPS) {
            self.blocks.push((stamp, self.bytes.len() as u32));
        } else {
            let mut distance = stamp.abs_diff(self.last);
            while distance >= 0x80 {
                self.bytes.push(distance as u8 | 0x80);
                distance >>= 7;
            }
            self.bytes.push(distance as u8);
        }
        self.count += 1;
        self.last = stamp;
    }

    /// How many stamps are at most `stamp`.
    fn count_until(&self, stamp: i64) -> usize {
        let Some(block) = self.blocks.partition_point(|(first, _)| *first <= stamp).checked_sub(1) else {
            return 0;
        };
        let Some((mut at, begin)) = self.blocks.get(block).copied() else { return 0 };
        let distances = self.bytes.get(begin as usize..).unwrap_or_default();
        let mut count = block * BLOCK_STAMPS + 1;
        let in_block = (self.count - block * BLOCK_STAMPS).min(BLOCK_STAMPS) - 1;
        let (mut done, mut distance, mut shift) = (0, 0u64, 0);
        for byte in distances {
            if done == in_block {
                break;
            }
            distance |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                at = at.wrapping_add_unsigned(distance);
                if at > stamp {
                    break;
                }
                (done, distance, shift) = (done + 1, 0, 0);
                count += 1;
            }
        }
        count
    }

    /// Reads on, up to what is durable.
    fn read(&mut self, disk: &dyn Disk, segment: &Arc<Segment>) -> Result<()> {
        let next = (self.first + self.count as u64, self.offset);
        let mut cursor = Cursor::open(disk, Arc::clone(segment), next, segment.end())?;
        while let Some(view) = cursor.next_durable()? {
            self.push(view.header.stamp);
        }
        self.offset = cursor.offset;
        Ok(())
    }

    fn size(&self) -> usize {
        self.bytes.capacity() + self.blocks.capacity() * size_of::<(i64, u32)>()
    }
}

impl Stamps {
    /// The greatest record number whose stamp is at most `stamp`, which is before the last record's.
    pub fn last_at(&mut self, disk: &dyn Disk, durable: &Durable, stamp: i64) -> Result<Option<u64>> {
        let count = durable.segments.partition_point(|segment| segment.header.base <= stamp);
        let Some(segment) = count.checked_sub(1).and_then(|at| durable.segments.get(at)) else {
            return before_the_log(durable);
        };
        let first = segment.header.first;
        let mut packed = match self.known.iter().position(|known| known.first == first) {
            Some(index) => self.known.remove(index),
            None => Packed::new(first),
        };
        if packed.last <= stamp && packed.offset < segment.end() {
            packed.read(disk, segment)?;
        }
        let (end, number) = (packed.offset, packed.first + packed.count as u64);
        let following = durable.segments.get(count);
        if end >= segment.end() && following.is_some_and(|following| following.header.first != number) {
            return Err(damaged(&disk.path(&segment.name), end, number, "is missing"));
        }
        // Before the segment's first stamp, the answer is the last record of the segment before.
        let found = first + packed.count_until(stamp) as u64 - 1;
        self.keep(packed);
        Ok((found > 0).then_some(found))
    }

    fn keep(&mut self, packed: Packed) {
        self.known.push(packed);
        let mut bytes: usize = self.known.iter().map(Packed::size).sum();
        while bytes > BYTES_KEPT_MAX && self.known.len() > 1 {
            bytes -= self.known.remove(0).size();
        }
    }
}

/// Nothing, unless records have been removed from the front of the log: which of them it was is not known any more.
fn before_the_log(durable: &Durable) -> Result<Option<u64>> {
    match durable.segments.first() {
        Some(kept) if kept.header.first > 1 => Err(Error::new(
            ErrorKind::Gone,
            format!(
                "the log before record {} has been removed, and with it what was known then",
                kept.header.first
            ),
        )),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_stamps_answer_like_a_list() {
        let distances = [1, 2, 127, 128, 129, 16_383, 16_384, 1 << 40, 1, 1, i64::MAX / 4];
        for count in [0, 1, 2, 63, 64, 65, 128, 129, 400] {
            let (mut packed, mut stamps, mut stamp) = (Packed::new(1), Vec::new(), i64::MIN / 2);
            for index in 0..count {
                packed.push(stamp);
                stamps.push(stamp);
                let distance = distances[(index * 7 + index / 5) % distances.len()];
                stamp += if index < 3 { distance } else { distance.min(1 << 50) };
            }
            let around = stamps.iter().flat_map(|s| [s - 1, *s, s + 1]).chain([i64::MIN, i64::MAX]);
            for asked in around {
                let expected = stamps.partition_point(|s| *s <= asked);
                assert_eq!(packed.count_until(asked), expected, "{asked} among {count}");
            }
        }
    }
}
