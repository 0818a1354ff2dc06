//! Positions: how much of the log counts.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// Bits of a [`Position`] that hold the row inside a record.
const ROW_BITS: u32 = 24;

/// The most rows one log record may hold.
pub const ROWS_PER_RECORD_MAX: usize = 1 << ROW_BITS;

/// A place in the log: (record, row in the record), ordered.
///
/// Packed into 64 bits, 40 for the record's number (from 1) and 24 for the row, because every entry
/// of every timeline carries one. `Position::ZERO` is before everything.
/// Users see the URL-safe text `e<record>` (the whole record) or `e<record>.<row>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(u64);

impl Position {
    /// Before the first record.
    pub const ZERO: Position = Position(0);
    /// After everything.
    pub const MAX: Position = Position(u64::MAX);

    /// The position of row `row` of record `record`.
    pub const fn new(record: u64, row: u32) -> Self {
        debug_assert!(record < 1 << (64 - ROW_BITS) && (row as usize) < ROWS_PER_RECORD_MAX);
        Position(record << ROW_BITS | row as u64)
    }

    /// The position that includes the whole of `record`.
    pub const fn end_of(record: u64) -> Self {
        Position(record << ROW_BITS | (ROWS_PER_RECORD_MAX as u64 - 1))
    }

    /// The record's number.
    pub const fn record(self) -> u64 {
        self.0 >> ROW_BITS
    }

    /// The row inside the record.
    pub const fn row(self) -> u32 {
        (self.0 & (ROWS_PER_RECORD_MAX as u64 - 1)) as u32
    }

    /// The packed form, as it stands in timelines and on disk.
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// The inverse of [`Position::to_bits`].
    pub const fn from_bits(bits: u64) -> Self {
        Position(bits)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.row() as usize == ROWS_PER_RECORD_MAX - 1 || self.0 == 0 {
            write!(f, "e{}", self.record())
        } else {
            write!(f, "e{}.{}", self.record(), self.row())
        }
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Position {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = || {
            Error::invalid_data(format!(
                "\"{text}\" is not a position: expected the text an earlier answer gave, such as \"e17\""
            ))
        };
        let body = text.strip_prefix('e').ok_or_else(bad)?;
        let digits = |s: &str| -> Result<u64, Error> {
            if s.is_empty() || s.len() > 15 || !s.bytes().all(|b| b.is_ascii_digit()) {
                return Err(bad());
            }
            s.parse().map_err(|_| bad())
        };
        let (record, row) = match body.split_once('.') {
            Some((record, row)) => (digits(record)?, Some(digits(row)?)),
            None => (digits(body)?, None),
        };
        if record >= 1 << (64 - ROW_BITS) || row.is_some_and(|r| r as usize >= ROWS_PER_RECORD_MAX) {
            return Err(bad());
        }
        Ok(match row {
            Some(row) => Position::new(record, row as u32),
            None if record == 0 => Position::ZERO,
            None => Position::end_of(record),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_record_then_row_and_text_round_trips() {
        let positions = [
            Position::ZERO,
            Position::new(1, 0),
            Position::new(1, 7),
            Position::end_of(1),
            Position::new(2, 0),
            Position::end_of(1 << 39),
        ];
        assert!(positions.windows(2).all(|w| w[0] < w[1]));
        for p in positions {
            assert_eq!(p.to_string().parse::<Position>().unwrap(), p);
        }
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for text in ["", "17", "e", "e-1", "e1.", "e1.x", "e99999999999999999999", "e1.16777216"] {
            assert!(
                text.parse::<Position>().unwrap_err().to_string().contains("is not a position"),
                "{text}"
            );
        }
    }
}
