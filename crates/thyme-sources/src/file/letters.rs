//! Dead letters, read again under the definition of now.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;

use thyme_core::Result;
use thyme_core::definition::Dataset;
use thyme_engine::{DeadLetter, LiveDataset, Reread};

use super::Format;
use super::csv::{self, Layout};
use super::gather::Gather;
use super::text::{LINE_BYTES_MAX, Part, Tail};

/// What a Parquet file begins with.
const PARQUET_MAGIC: &[u8] = b"PAR1";

/// Reads dead letters of a dataset again: of pushes and JSONL files as JSON, of CSV files under the header
/// that the file has now, of Parquet files as the JSON object that was kept of the row.
///
/// # Errors
/// Internal ones only; what is wrong with a letter is in its reason.
pub fn reread(dataset: &LiveDataset, letters: &[&DeadLetter]) -> Result<Reread> {
    let mut reading = Reading {
        definition: &dataset.definition,
        gather: Gather::new(&dataset.definition),
        layouts: HashMap::new(),
    };
    let reasons = letters.iter().map(|letter| reading.letter(letter).err()).collect();
    let (batch, _) = reading.gather.finish()?;
    Ok(Reread { batch, reasons })
}

struct Reading<'d> {
    definition: &'d Dataset,
    gather: Gather<'d>,
    /// By file: the columns that its header names, or why that is not known.
    layouts: HashMap<String, Result<Layout, String>>,
}

impl Reading<'_> {
    fn letter(&mut self, letter: &DeadLetter) -> Result<(), String> {
        if letter.raw.starts_with(PARQUET_MAGIC) {
            return Err("it is a whole Parquet file, which is read when the file changes".into());
        }
        let file = letter.origin.rsplit_once(':').map(|(file, _)| file);
        match file.filter(|file| self.is_csv(file)) {
            Some(file) => self.csv(file, &letter.raw),
            None => match std::str::from_utf8(&letter.raw) {
                Err(_) => Err("the record is not valid UTF-8".into()),
                Ok(text) => self.gather.json(text.trim().as_bytes()),
            },
        }
    }

    fn is_csv(&self, file: &str) -> bool {
        let mut named = self.definition.all_sources().filter_map(|s| s.options.get("format"));
        let named = named.find_map(|format| Format::named(format));
        // With several sources the file's name tells more than a format that may be another's.
        match self.definition.sources.is_empty() {
            true => named.or_else(|| Format::of_file(file)) == Some(Format::Csv),
            false => Format::of_file(file).or(named) == Some(Format::Csv),
        }
    }

    fn csv(&mut self, file: &str, raw: &[u8]) -> Result<(), String> {
        let definition = self.definition;
        let layout = self.layouts.entry(file.to_owned()).or_insert_with(|| header(file, definition));
        csv::single(layout.as_ref().map_err(String::clone)?, raw, &mut self.gather)
    }
}

/// The columns that the header of a CSV file names.
fn header(file: &str, dataset: &Dataset) -> Result<Layout, String> {
    let gone = |why: &dyn std::fmt::Display| {
        format!("the header of {file}, which names its columns, cannot be read: {why}")
    };
    let mut bytes = Vec::new();
    let opened = File::open(file).and_then(|f| f.take(LINE_BYTES_MAX as u64).read_to_end(&mut bytes));
    opened.map_err(|e| gone(&e))?;
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes);
    let part = Part { name: file, bytes, tail: Tail::Settled, lines: 0 };
    match csv::header(&part, dataset)? {
        Some(header) => Ok(header.layout),
        None => Err(gone(&"it is empty")),
    }
}
