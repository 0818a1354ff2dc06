//! What erasures took out of an events record, as far as the rest must know.
//!
//! The rows that are left keep their numbers, and the verdicts on them, and the watermark after them, stay what
//! the whole record made of them: positions and values of other entities do not change.

use arrow::array::UInt32Array;
use thyme_core::Result;

use crate::record::{DeadLetter, EventsRecord, Reader, damaged};

/// What a record says besides its rows once entities were erased.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Remains {
    /// Rows of erased entities that a source brought again, which were left out before this record was made.
    pub dropped: u64,
    /// Set when rows were taken out of it.
    pub left: Option<Left>,
    /// Set when dead letters were taken out of it and some are left: the number that each had among all.
    pub letters: Vec<u32>,
}

/// The rows that are left of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    /// The number that each had among all.
    pub rows: Vec<u32>,
    /// Which of those that are left are late, by index among them.
    pub late: Vec<u32>,
    /// The watermark that each of the late ones was behind of.
    pub behind: Vec<i64>,
    /// Which of those that are left are duplicates, by index among them.
    pub duplicates: Vec<u32>,
    /// The stream's watermark after the whole record.
    pub watermark: Option<i64>,
    /// The newest event time that was admitted of the whole record.
    pub newest: Option<i64>,
}

fn put_times(out: &mut Vec<u8>, time: Option<i64>) {
    out.push(u8::from(time.is_some()));
    out.extend_from_slice(&time.unwrap_or_default().to_le_bytes());
}

fn put_numbers(out: &mut Vec<u8>, numbers: &[u32]) {
    out.extend_from_slice(&(numbers.len() as u32).to_le_bytes());
    numbers.iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
}

fn time(reader: &mut Reader<'_>) -> Result<Option<i64>> {
    let there = reader.byte()?;
    let time = reader.u64()? as i64;
    match there {
        0 => Ok(None),
        1 => Ok(Some(time)),
        _ => Err(damaged()),
    }
}

fn numbers(reader: &mut Reader<'_>) -> Result<Vec<u32>> {
    (0..reader.u32()?).map(|_| reader.u32()).collect()
}

impl Left {
    fn decode(reader: &mut Reader<'_>) -> Result<Left> {
        let (rows, late) = (numbers(reader)?, numbers(reader)?);
        let behind = late.iter().map(|_| reader.u64().map(|time| time as i64)).collect::<Result<_>>()?;
        let (watermark, newest) = (time(reader)?, time(reader)?);
        Ok(Left { rows, late, behind, duplicates: Vec::new(), watermark, newest })
    }
}

impl Remains {
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.dropped.to_le_bytes());
        out.push(u8::from(self.left.is_some()));
        if let Some(left) = &self.left {
            put_numbers(out, &left.rows);
            put_numbers(out, &left.late);
            left.behind.iter().for_each(|watermark| out.extend_from_slice(&watermark.to_le_bytes()));
            put_times(out, left.watermark);
            put_times(out, left.newest);
        }
        put_numbers(out, &self.letters);
        if self.has_duplicates() {
            put_numbers(out, self.left.as_ref().map_or(&[], |left| &left.duplicates));
        }
    }

    /// Whether duplicates are left, which the payload format then says.
    pub fn has_duplicates(&self) -> bool {
        self.left.as_ref().is_some_and(|left| !left.duplicates.is_empty())
    }

    pub fn decode(reader: &mut Reader<'_>, has_duplicates: bool) -> Result<Remains> {
        let dropped = reader.u64()?;
        let mut left = match reader.byte()? {
            0 => None,
            1 => Some(Left::decode(reader)?),
            _ => return Err(damaged()),
        };
        let letters = numbers(reader)?;
        if has_duplicates {
            left.as_mut().ok_or_else(damaged)?.duplicates = numbers(reader)?;
        }
        Ok(Remains { dropped, left, letters })
    }

    /// The number that a row had in the record as it was accepted.
    pub fn number_of(&self, row: usize) -> u32 {
        match &self.left {
            Some(left) => left.rows.get(row).copied().unwrap_or(u32::MAX),
            None => row as u32,
        }
    }

    /// The number that a dead letter had in the record as it was accepted.
    pub fn number_of_letter(&self, index: usize) -> u32 {
        self.letters.get(index).copied().unwrap_or(index as u32)
    }

    /// Whether it can be what is left in `rows` rows and `letters` dead letters.
    pub fn fits(&self, rows: usize, letters: usize) -> bool {
        let numbered = self.letters.is_empty() || self.letters.len() == letters;
        let ascend = self.letters.is_sorted_by(|a, b| a < b);
        numbered
            && ascend
            && self.left.as_ref().is_none_or(|left| {
                left.rows.len() == rows
                    && left.rows.is_sorted_by(|a, b| a < b)
                    && left.behind.len() == left.late.len()
                    && left.late.is_sorted_by(|a, b| a < b)
                    && left.late.last().is_none_or(|late| (*late as usize) < rows)
                    && left.duplicates.is_sorted_by(|a, b| a < b)
                    && left.duplicates.last().is_none_or(|row| (*row as usize) < rows)
            })
    }
}

impl EventsRecord {
    /// The numbers of its rows in the record as it was accepted; `None` when they count from 0.
    pub fn row_numbers(&self) -> Option<UInt32Array> {
        self.remains.left.as_ref().map(|left| UInt32Array::from(left.rows.clone()))
    }

    /// The number that a row had in the record as it was accepted.
    pub fn row_number(&self, row: usize) -> u32 {
        self.remains.number_of(row)
    }

    /// Keeps some of its dead letters, and the number that each had in the record as it was accepted.
    pub fn retain_letters(&mut self, mut keep: impl FnMut(&DeadLetter) -> bool) {
        let (remains, before) = (&self.remains, self.dead_letters.len());
        let kept = self.dead_letters.iter().enumerate().filter(|(_, letter)| keep(letter));
        let (numbers, letters): (Vec<u32>, Vec<DeadLetter>) =
            kept.map(|(index, letter)| (remains.number_of_letter(index), letter.clone())).unzip();
        if letters.len() < before {
            (self.remains.letters, self.dead_letters) = (numbers, letters);
        }
    }
}
