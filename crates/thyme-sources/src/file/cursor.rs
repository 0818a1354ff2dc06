//! The bookmark of a file source: what has been read of which file. JSON; it is in every log record of the
//! source, so it is kept short: names are relative to the glob's fixed part, and a Parquet file that is
//! read to its end is one number.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thyme_core::{Error, Result};

use super::print::{PRINT_BYTES, hash};

const VERSION: u8 = 1;
/// Files that are gone are remembered, in case they come back, as long as they are not more than this.
const GONE_MAX: usize = 1000;

/// Where a file source stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    v: u8,
    /// Rows read, ever.
    pub rows: u64,
    /// Dead letters, ever.
    pub dead: u64,
    /// JSONL and CSV files, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub text: BTreeMap<String, TextPlace>,
    /// Parquet files that are being read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parquet: BTreeMap<String, ParquetPlace>,
    /// Parquet files read to their end, and their fingerprints.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub done: BTreeMap<String, u64>,
}

/// How far a text file is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TextPlace {
    /// Bytes taken.
    #[serde(rename = "o")]
    pub offset: u64,
    /// Lines ended within these.
    #[serde(rename = "l")]
    pub lines: u64,
    /// The hash of the first [`PRINT_BYTES`] bytes taken, or of as many as are taken.
    #[serde(rename = "h")]
    head: u64,
    /// The hash of the last [`PRINT_BYTES`] bytes taken, or of as many as are taken.
    #[serde(rename = "t")]
    tail: u64,
    /// Whether the offset is inside a line that is too long and passed over.
    #[serde(rename = "s", default, skip_serializing_if = "std::ops::Not::not")]
    pub skipping: bool,
}

/// How far a Parquet file is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ParquetPlace {
    #[serde(rename = "p")]
    pub print: u64,
    /// Rows taken, dead letters included.
    #[serde(rename = "o")]
    pub rows: u64,
}

impl TextPlace {
    /// How many bytes before the offset have to be there for a continuation.
    pub fn look_back(&self) -> usize {
        self.offset.min(PRINT_BYTES as u64) as usize
    }

    /// Whether a file that starts with `head` may be the one that was read.
    pub fn starts_with(&self, head: &[u8]) -> bool {
        head.get(..self.look_back()).is_some_and(|head| self.offset == 0 || hash(head) == self.head)
    }

    /// Whether `before`, the bytes before the offset, are those that were read.
    pub fn continues(&self, before: &[u8]) -> bool {
        before.len() == self.look_back() && (self.offset == 0 || hash(before) == self.tail)
    }

    /// Moves on by `taken` bytes. `window` is the file's bytes from [`TextPlace::look_back`] before the
    /// offset on.
    pub fn advance(&mut self, window: &[u8], taken: usize, lines: u64) {
        if taken == 0 {
            return;
        }
        let end = self.look_back() + taken;
        let window = &window[..end.min(window.len())];
        if self.offset < PRINT_BYTES as u64 {
            self.head = hash(&window[..window.len().min(PRINT_BYTES)]);
        }
        self.tail = hash(&window[window.len().saturating_sub(PRINT_BYTES)..]);
        self.offset += taken as u64;
        self.lines += lines;
    }
}

impl Default for Cursor {
    fn default() -> Self {
        let (text, parquet, done) = Default::default();
        Cursor { v: VERSION, rows: 0, dead: 0, text, parquet, done }
    }
}

impl Cursor {
    /// Reads the bytes of a cursor.
    ///
    /// # Errors
    /// Corrupt: starting over instead would count every row twice.
    pub fn decode(bytes: &[u8]) -> Result<Cursor> {
        match serde_json::from_slice::<Cursor>(bytes) {
            Ok(cursor) if cursor.v == VERSION => Ok(cursor),
            Ok(cursor) => Err(Error::corrupt(format!(
                "the place that was reached is in format {}; this build reads {VERSION}",
                cursor.v
            ))),
            Err(e) => Err(Error::corrupt(format!("the place that was reached cannot be read: {e}"))),
        }
    }

    /// Its bytes.
    ///
    /// # Errors
    /// Internal ones only.
    pub fn encode(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|e| Error::internal(format!("file cursor: {e}")))
    }

    /// Forgets a file: it is read from its start next time. True if it was known.
    pub fn forget(&mut self, name: &str) -> bool {
        let text = self.text.remove(name).is_some();
        let parquet = self.parquet.remove(name).is_some();
        self.done.remove(name).is_some() || text || parquet
    }

    /// Forgets files that are gone, those first in the order of names, once there are very many of them.
    /// Nothing is forgotten while no file at all is there: that is a missing volume.
    pub fn prune(&mut self, is_there: impl Fn(&str) -> bool) {
        let known = || self.text.keys().chain(self.parquet.keys()).chain(self.done.keys());
        let total = known().count();
        if total <= GONE_MAX {
            return;
        }
        let mut gone: Vec<String> = known().filter(|name| !is_there(name)).cloned().collect();
        if gone.len() <= GONE_MAX || gone.len() == total {
            return;
        }
        gone.sort();
        gone.truncate(gone.len() - GONE_MAX);
        for name in gone {
            self.forget(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_knows_its_own_continuation() {
        let file: Vec<u8> = (0..2000u32).map(|i| (i * i % 251) as u8).collect();
        let mut place = TextPlace::default();
        for (taken, lines) in [(0, 0), (10, 1), (300, 5), (1, 0), (700, 9)] {
            let start = place.offset as usize - place.look_back();
            assert!(place.starts_with(&file) && place.continues(&file[start..place.offset as usize]));
            place.advance(&file[start..], taken, lines);
        }
        assert_eq!((place.offset, place.lines), (1011, 15));
        assert!(!place.starts_with(&file[1..]) && !place.starts_with(&file[..255]));
        assert!(!place.continues(&file[756..1012]) && !place.continues(&file[800..1011]));
    }

    #[test]
    fn cursors_round_trip_and_finished_files_are_short() {
        let mut cursor = Cursor { rows: 7, ..Cursor::default() };
        cursor.text.insert("a.csv".into(), TextPlace { offset: 3, skipping: true, ..TextPlace::default() });
        cursor.parquet.insert("b.parquet".into(), ParquetPlace { print: u64::MAX, rows: 9 });
        let small = cursor.encode().unwrap().len();
        for i in 0..500 {
            cursor.done.insert(format!("part-{i:05}.parquet"), u64::MAX - i);
        }
        let bytes = cursor.encode().unwrap();
        assert!(bytes.len() < small + 500 * 48, "{}", bytes.len());
        assert_eq!(Cursor::decode(&bytes).unwrap(), cursor);
        assert!(Cursor::decode(br#"{"v":2,"rows":0,"dead":0}"#).is_err() && Cursor::decode(b"{").is_err());
    }

    #[test]
    fn very_many_files_that_are_gone_are_forgotten_oldest_first() {
        let mut cursor = Cursor::default();
        for i in 0..GONE_MAX + 50 {
            cursor.done.insert(format!("{i:05}"), 0);
        }
        cursor.prune(|_| false);
        assert_eq!(cursor.done.len(), GONE_MAX + 50, "a missing volume");
        cursor.prune(|name| name == "00000");
        assert_eq!(cursor.done.len(), GONE_MAX + 1);
        assert!(cursor.done.contains_key("00000") && !cursor.done.contains_key("00001"));
    }
}
