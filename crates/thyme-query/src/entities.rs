//! The entity keys of a frame's rows for one read, encoded and grouped.

use std::ops::Range;

use thyme_core::key::encode_into;
use thyme_core::{EventTime, Value};

use crate::column::ColumnBuffer;

/// The encoded key of each row; empty where a part is null.
pub(crate) struct RowKeys {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl RowKeys {
    pub fn encode(parts: &[&ColumnBuffer], rows: usize) -> Self {
        let mut keys = RowKeys { bytes: Vec::with_capacity(rows * 16), ends: Vec::with_capacity(rows) };
        for row in 0..rows {
            let start = keys.bytes.len();
            for part in parts {
                let value = part.get(row);
                if matches!(value, Value::Null) || encode_into(&value, &mut keys.bytes).is_err() {
                    keys.bytes.truncate(start);
                    break;
                }
            }
            keys.ends.push(keys.bytes.len());
        }
        keys
    }

    pub fn get(&self, row: usize) -> &[u8] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.bytes[start..self.ends[row]]
    }
}

/// Rows sorted by (key, time), so that each entity's rows follow each other in ascending time.
pub(crate) struct Grouped {
    pub order: Vec<u32>,
    /// Ranges of `order`, one an entity.
    pub groups: Vec<Range<usize>>,
}

impl Grouped {
    pub fn new(keys: &RowKeys, times: &[EventTime]) -> Self {
        let mut sorted: Vec<(u64, i64, u32)> =
            times.iter().enumerate().map(|(row, t)| (hash(keys.get(row)), t.0, row as u32)).collect();
        sorted.sort_unstable();
        let order: Vec<u32> = sorted.into_iter().map(|(_, _, row)| row).collect();
        // Two keys with one hash interleave; that only makes more groups.
        let mut groups = Vec::new();
        let mut start = 0;
        for i in 1..=order.len() {
            if i == order.len() || keys.get(order[i] as usize) != keys.get(order[start] as usize) {
                groups.push(start..i);
                start = i;
            }
        }
        Grouped { order, groups }
    }

    /// The groups cut into at most `parts` runs of about the same number of rows.
    pub fn split(&self, parts: usize) -> Vec<&[Range<usize>]> {
        let target = self.order.len().div_ceil(parts.max(1)).max(1);
        let (mut runs, mut start, mut rows) = (Vec::new(), 0, 0);
        for (i, group) in self.groups.iter().enumerate() {
            rows += group.len();
            if rows >= target {
                runs.push(&self.groups[start..=i]);
                (start, rows) = (i + 1, 0);
            }
        }
        if start < self.groups.len() {
            runs.push(&self.groups[start..]);
        }
        runs
    }
}

/// FNV-1a, 64 bits: only groups rows, never stored.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}
