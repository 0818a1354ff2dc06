//! What a batch is gathered in: rows of any format in the order read, and dead letters.

use arrow::array::RecordBatch;
use thyme_core::Result;
use thyme_core::definition::Dataset;
use thyme_engine::DeadLetter;
use thyme_engine::decode::{Cell, RowBuilder, json, reason};

use crate::connector::BATCH_ROWS;

/// Bytes of dead letters after which a batch is full.
const DEAD_BYTES_MAX: usize = 8 << 20;
/// Bytes of text after which a batch is full.
const TEXT_BYTES_MAX: usize = 16 << 20;

/// A batch in the making.
pub(super) struct Gather<'d> {
    pub dataset: &'d Dataset,
    /// One cell a field; their buffers are reused from row to row.
    pub cells: Vec<Cell>,
    builder: Option<RowBuilder>,
    batches: Vec<RecordBatch>,
    batched: usize,
    text_bytes: usize,
    dead: Vec<DeadLetter>,
    dead_bytes: usize,
    rows_max: usize,
}

impl<'d> Gather<'d> {
    pub fn new(dataset: &'d Dataset) -> Self {
        Gather {
            dataset,
            cells: vec![Cell::Missing; dataset.fields.fields.len()],
            builder: None,
            batches: Vec::new(),
            batched: 0,
            text_bytes: 0,
            dead: Vec::new(),
            dead_bytes: 0,
            rows_max: BATCH_ROWS,
        }
    }

    #[cfg(test)]
    pub fn with_rows_max(dataset: &'d Dataset, rows_max: usize) -> Self {
        Gather { rows_max, ..Gather::new(dataset) }
    }

    pub fn rows(&self) -> usize {
        self.batched + self.builder.as_ref().map_or(0, RowBuilder::rows)
    }

    /// Rows that still fit in.
    pub fn room(&self) -> usize {
        let full = self.text_bytes >= TEXT_BYTES_MAX || self.dead_bytes >= DEAD_BYTES_MAX;
        if full { 0 } else { self.rows_max.saturating_sub(self.rows()) }
    }

    pub fn is_full(&self) -> bool {
        self.room() == 0
    }

    pub fn is_empty(&self) -> bool {
        self.rows() == 0 && self.dead.is_empty()
    }

    /// Takes the JSON text of a row, or says what is wrong with it.
    pub fn json(&mut self, text: &[u8]) -> Result<(), String> {
        self.text_bytes += text.len();
        let builder = self.builder.get_or_insert_with(|| RowBuilder::new(&self.dataset.fields));
        json::one_row(builder, &mut self.cells, self.dataset.extra, 0, text).map_err(|faults| reason(&faults))
    }

    /// Takes the row that is in [`Gather::cells`], or says what is wrong with it; `bytes` is its length as text.
    pub fn row(&mut self, bytes: usize) -> Result<(), String> {
        self.text_bytes += bytes;
        let builder = self.builder.get_or_insert_with(|| RowBuilder::new(&self.dataset.fields));
        builder.push(0, &mut self.cells).map_err(|faults| reason(&faults))
    }

    /// Takes rows that are in the dataset's schema already.
    pub fn columns(&mut self, batch: RecordBatch) -> Result<()> {
        self.close_builder()?;
        self.batched += batch.num_rows();
        self.batches.push(batch);
        Ok(())
    }

    /// Takes a record that cannot be read.
    pub fn reject(&mut self, origin: String, reason: String, raw: &[u8]) {
        let letter = DeadLetter::new(origin, reason, raw);
        self.dead_bytes += letter.raw.len() + letter.origin.len() + letter.reason.len();
        self.dead.push(letter);
    }

    fn close_builder(&mut self) -> Result<()> {
        if let Some(builder) = self.builder.take() {
            let batch = builder.finish()?;
            self.batched += batch.num_rows();
            self.batches.push(batch);
        }
        Ok(())
    }

    /// The rows as one batch, and the dead letters.
    ///
    /// # Errors
    /// Internal ones only.
    pub fn finish(mut self) -> Result<(RecordBatch, Vec<DeadLetter>)> {
        self.close_builder()?;
        let batch = match self.batches.as_slice() {
            [only] => only.clone(),
            several => arrow::compute::concat_batches(&self.dataset.fields.arrow(), several)?,
        };
        Ok((batch, self.dead))
    }
}
