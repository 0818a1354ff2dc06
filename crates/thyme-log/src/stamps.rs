//! From a stamp to the last record at or before it.

use std::sync::Arc;

use thyme_core::error::Result;

use crate::disk::Disk;
use crate::segment::{Cursor, MARK_EVERY_BYTES, damaged};
use crate::segment_log::Durable;

/// Looks stamps up, and keeps the stamps of the stretch of log it last looked at: a training set asks for
/// a million of them, most of them next to one another.
#[derive(Debug, Default)]
pub(crate) struct Stamps {
    stretch: Option<Stretch>,
}

/// The stamps of consecutive records.
#[derive(Debug)]
struct Stretch {
    first: u64,
    stamps: Vec<i64>,
    /// The greatest stamp whose answer lies in this stretch.
    until: i64,
}

impl Stretch {
    fn last_at(&self, stamp: i64) -> Option<u64> {
        let covered = self.stamps.first().is_some_and(|first| *first <= stamp) && stamp <= self.until;
        covered.then(|| self.first + self.stamps.partition_point(|s| *s <= stamp) as u64 - 1)
    }
}

impl Stamps {
    /// The greatest record number whose stamp is at most `stamp`, which is before the last record's.
    pub fn last_at(&mut self, disk: &dyn Disk, durable: &Durable, stamp: i64) -> Result<Option<u64>> {
        if let Some(found) = self.stretch.as_ref().and_then(|stretch| stretch.last_at(stamp)) {
            return Ok(Some(found));
        }
        let count = durable.segments.partition_point(|segment| segment.header.base <= stamp);
        let Some(segment) = count.checked_sub(1).and_then(|at| durable.segments.get(at)) else {
            return Ok(None);
        };
        let (first, offset) = segment.nearest(|mark| mark.stamp <= stamp);
        let mut cursor = Cursor::open(disk, Arc::clone(segment), (first, offset), segment.end())?;
        let mut stretch = Stretch { first, stamps: Vec::new(), until: i64::MIN };
        let mut begun = offset;
        while let Some(view) = cursor.next_durable()? {
            let (header, at) = (view.header, view.offset);
            if at >= begun + MARK_EVERY_BYTES {
                if header.stamp > stamp {
                    stretch.until = header.stamp - 1;
                    break;
                }
                begun = at;
                stretch.first = header.number;
                stretch.stamps.clear();
            }
            stretch.stamps.push(header.stamp);
            stretch.until = header.stamp;
        }
        let (end, number) = (cursor.offset, cursor.number);
        let following = durable.segments.get(count);
        if end >= segment.end() && following.is_some_and(|following| following.header.first != number) {
            return Err(damaged(&disk.path(&segment.name), end, number, "is missing"));
        }
        let found = stretch.last_at(stamp);
        // Before the segment's first stamp, the answer is the last record of the segment before.
        self.stretch = Some(stretch);
        let before = segment.header.first - 1;
        Ok(found.or((before > 0).then_some(before)))
    }
}
