//! Reading records in order across segments.

use std::sync::Arc;

use thyme_core::error::{Error, Result};

use crate::Record;
use crate::disk::Disk;
use crate::segment::{Cursor, Segment, damaged};
use crate::segment_log::Durable;

/// The records from one number on, up to what was durable when it was made.
#[derive(Debug)]
pub(crate) struct Reader {
    disk: Arc<dyn Disk>,
    segments: Arc<Vec<Arc<Segment>>>,
    /// Which segment is being read.
    at: usize,
    cursor: Option<Cursor>,
    next: u64,
    last: u64,
}

impl Reader {
    pub fn new(disk: Arc<dyn Disk>, durable: Durable, from: u64) -> Self {
        let next = from.max(1);
        let at = durable.segments.partition_point(|segment| segment.header.first <= next).saturating_sub(1);
        let last = durable.last.map_or(0, |(number, _)| number);
        Reader { disk, segments: durable.segments, at, cursor: None, next, last }
    }

    fn find_next(&mut self) -> Result<Record> {
        loop {
            let Some(segment) = self.segments.get(self.at) else {
                return Err(Error::internal(format!("the log has no segment for its record {}", self.next)));
            };
            let cursor = match &mut self.cursor {
                Some(cursor) => cursor,
                none => {
                    let next = self.next;
                    none.insert(Cursor::near(self.disk.as_ref(), segment, |mark| mark.number <= next)?)
                }
            };
            while let Some(view) = cursor.next_durable()? {
                if view.header.number == self.next {
                    let (number, stamp) = (view.header.number, view.header.stamp);
                    return Ok(Record { number, stamp, payload: view.payload.to_vec() });
                }
            }
            let (offset, number) = (cursor.offset, cursor.number);
            match self.segments.get(self.at + 1) {
                Some(following) if following.header.first == number => {}
                _ => return Err(damaged(&self.disk.path(&segment.name), offset, number, "is missing")),
            }
            self.at += 1;
            self.cursor = None;
        }
    }
}

impl Iterator for Reader {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next > self.last {
            return None;
        }
        let found = self.find_next();
        self.next = if found.is_ok() { self.next + 1 } else { u64::MAX };
        Some(found)
    }
}
