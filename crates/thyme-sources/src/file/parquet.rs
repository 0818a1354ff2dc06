//! Parquet files: a batch at a time, from a row on.

use std::any::Any;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use thyme_core::Result;
use thyme_core::definition::Dataset;
use thyme_engine::decode::columns::{conform, shown_row};
use thyme_engine::decode::reason;

use super::gather::Gather;
use crate::connector::BATCH_ROWS;

/// Uncompressed bytes that one decoded batch should stay below.
const BATCH_BYTES: usize = 16 << 20;

/// Why a file cannot be read on.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It is damaged, or not complete yet.
    Unreadable(String),
    /// Its columns do not fit the dataset.
    Misfit(String),
}

/// A Parquet file that is being read.
pub(super) struct OpenParquet {
    pub name: String,
    /// The fingerprint it had when it was opened.
    pub print: u64,
    reader: ParquetRecordBatchReader,
    /// Decoded and not taken yet.
    pending: Option<RecordBatch>,
    /// Rows taken.
    pub row: u64,
}

impl OpenParquet {
    /// Opens a file at row `row`.
    pub fn open(file: File, name: &str, print: u64, row: u64, dataset: &Dataset) -> Result<Self, Trouble> {
        let reader = guarded(|| open_reader(file, row, dataset))??;
        Ok(OpenParquet { name: name.to_owned(), print, reader, pending: None, row })
    }

    /// Takes rows until `into` is full (true) or the file is at its end (false).
    pub fn step(&mut self, shown: &str, into: &mut Gather<'_>) -> Result<bool, Trouble> {
        while !into.is_full() {
            let batch = match self.pending.take() {
                Some(batch) => batch,
                None => match guarded(|| self.reader.next())? {
                    None => return Ok(false),
                    Some(Err(e)) => return Err(Trouble::Unreadable(e.to_string())),
                    Some(Ok(batch)) => batch,
                },
            };
            let taken =
                take(&batch, shown, self.row, into).map_err(|e| Trouble::Unreadable(e.to_string()))?;
            self.row += taken as u64;
            if taken < batch.num_rows() {
                self.pending = Some(batch.slice(taken, batch.num_rows() - taken));
            }
        }
        Ok(true)
    }
}

fn open_reader(file: File, row: u64, dataset: &Dataset) -> Result<ParquetRecordBatchReader, Trouble> {
    let unreadable = |e: parquet::errors::ParquetError| Trouble::Unreadable(e.to_string());
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(unreadable)?;
    let schema = builder.schema().clone();
    conform(&dataset.fields, dataset.extra, &RecordBatch::new_empty(schema.clone()), 0).map_err(|e| {
        let messages: Vec<&str> = e.faults().iter().map(|f| f.message.as_str()).collect();
        Trouble::Misfit(format!("it does not fit dataset {}: {}", dataset.name, messages.join("; ")))
    })?;
    let wanted = schema.fields().iter().enumerate().filter(|(_, f)| dataset.fields.field(f.name()).is_some());
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted.map(|(index, _)| index));
    // Row groups before the row are not even opened.
    let (mut before, mut bytes, mut rows, mut groups) = (row, 0usize, 0usize, Vec::new());
    for (index, group) in builder.metadata().row_groups().iter().enumerate() {
        let count = group.num_rows().max(0) as u64;
        if groups.is_empty() && before >= count {
            before -= count;
            continue;
        }
        groups.push(index);
        bytes = bytes.saturating_add(group.total_byte_size().max(0) as usize);
        rows += count as usize;
    }
    let batch_rows = BATCH_BYTES / (bytes / rows.max(1)).max(1);
    builder
        .with_projection(mask)
        .with_row_groups(groups)
        .with_offset(before as usize)
        .with_batch_size(batch_rows.clamp(64, BATCH_ROWS))
        .build()
        .map_err(unreadable)
}

/// Takes the rows of `batch` in order, the invalid ones as dead letters, until `into` is full; says how
/// many. Halves what does not conform until the invalid rows stand alone.
fn take(batch: &RecordBatch, shown: &str, first_row: u64, into: &mut Gather<'_>) -> Result<usize> {
    let fitting = batch.num_rows().min(into.room());
    let mut todo = vec![(0, fitting)];
    while let Some((start, rows)) = todo.pop() {
        if into.is_full() {
            return Ok(start);
        }
        let error = match conform(&into.dataset.fields, into.dataset.extra, &batch.slice(start, rows), 0) {
            Ok(valid) => {
                into.columns(valid)?;
                continue;
            }
            Err(error) => error,
        };
        match error.faults().first() {
            Some(fault) if fault.row.is_some() && rows == 1 => {
                let origin = format!("{shown}:{}", first_row + start as u64 + 1);
                into.reject(origin, reason(error.faults()), shown_row(batch, start).as_bytes());
            }
            Some(fault) if fault.row.is_some() => {
                let half = rows / 2;
                todo.push((start + half, rows - half));
                todo.push((start, half));
            }
            _ => return Err(error),
        }
    }
    Ok(fitting)
}

/// Runs the decoder, which may panic on bytes that are not what they should be.
fn guarded<T>(decode: impl FnOnce() -> T) -> Result<T, Trouble> {
    catch_unwind(AssertUnwindSafe(decode)).map_err(|panic| Trouble::Unreadable(said(panic.as_ref())))
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text =
        panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("its bytes cannot be decoded ({})", text.unwrap_or("no reason is known"))
}
