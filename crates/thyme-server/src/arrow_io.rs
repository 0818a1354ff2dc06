//! Arrow IPC streams and Parquet bodies.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use parquet::arrow::arrow_reader::{ArrowReaderBuilder, ParquetRecordBatchReaderBuilder};
use serde_json::Value as Json;
use thyme_core::{Error, Result};

use crate::arrow_frames::{check_lengths, check_size};

/// Rows of a Parquet body that are decoded before their size is looked at.
const PARQUET_BATCH_ROWS: usize = 8 * 1024;

/// The batches of an IPC stream.
///
/// # Errors
/// InvalidData for bytes that are not one.
pub(crate) fn read_stream(body: &[u8]) -> Result<Vec<RecordBatch>> {
    let malformed = |e: arrow::error::ArrowError| {
        Error::invalid_data(format!(
            "the body is not an Arrow IPC stream ({e}); send one with Content-Type application/vnd.apache.arrow.stream"
        ))
    };
    contained("an Arrow IPC stream", || {
        check_lengths(body)?;
        let reader = StreamReader::try_new(body, None).map_err(malformed)?;
        let schema = reader.schema();
        let mut batches = reader.collect::<Result<Vec<_>, _>>().map_err(malformed)?;
        if batches.is_empty() {
            batches.push(RecordBatch::new_empty(schema));
        }
        Ok(batches)
    })
}

/// Reads bytes of which nothing is known: the libraries panic on some that are damaged.
fn contained<T>(what: &str, read: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
        Err(Error::invalid_data(format!("the body is not {what}: its bytes are damaged")))
    })
}

/// The batches of a Parquet file.
///
/// # Errors
/// InvalidData for bytes that are not one.
pub(crate) fn read_parquet(body: bytes::Bytes) -> Result<Vec<RecordBatch>> {
    let malformed =
        |e: &dyn std::fmt::Display| Error::invalid_data(format!("the body is not a Parquet file ({e})"));
    contained("a Parquet file", || {
        let builder = ParquetRecordBatchReaderBuilder::try_new(body).map_err(|e| malformed(&e))?;
        let schema = builder.schema().clone();
        check_size("the Parquet file", declared_in(&builder))?;
        let reader = builder.with_batch_size(PARQUET_BATCH_ROWS).build().map_err(|e| malformed(&e))?;
        let (mut batches, mut bytes) = (Vec::new(), 0u64);
        for batch in reader {
            let batch = batch.map_err(|e| malformed(&e))?;
            // What dictionaries expand to stands nowhere.
            bytes = bytes.saturating_add(batch.get_array_memory_size() as u64);
            check_size("the Parquet file", bytes)?;
            batches.push(batch);
        }
        if batches.is_empty() {
            batches.push(RecordBatch::new_empty(schema));
        }
        Ok(batches)
    })
}

/// What a Parquet file says that it decompresses to; 0 for what is none.
pub(crate) fn declared_parquet(body: &bytes::Bytes) -> u64 {
    let declared = contained("a Parquet file", || {
        let builder = ParquetRecordBatchReaderBuilder::try_new(body.clone());
        Ok(builder.map_or(0, |builder| declared_in(&builder)))
    });
    declared.unwrap_or(0)
}

fn declared_in<T>(builder: &ArrowReaderBuilder<T>) -> u64 {
    builder.metadata().row_groups().iter().fold(0u64, |sum, group| {
        sum.saturating_add(u64::try_from(group.total_byte_size()).unwrap_or(u64::MAX))
    })
}

/// One batch of several with one schema.
///
/// # Errors
/// InvalidData if they cannot be joined.
pub(crate) fn join(batches: &[RecordBatch]) -> Result<RecordBatch> {
    match batches {
        [only] => Ok(only.clone()),
        [first, ..] => concat_batches(&first.schema(), batches)
            .map_err(|e| Error::invalid_data(format!("the batches do not fit together: {e}"))),
        [] => Err(Error::invalid_data("the body has no rows and no columns")),
    }
}

/// A batch as an IPC stream whose schema carries `metadata` as JSON texts.
///
/// # Errors
/// Internal ones only.
pub(crate) fn write_stream(batch: &RecordBatch, metadata: &[(&str, Json)]) -> Result<Vec<u8>> {
    let own = batch.schema_ref().metadata().iter();
    let mut all: HashMap<String, String> =
        own.map(|(name, text)| (name.to_string(), text.to_string())).collect();
    all.extend(metadata.iter().map(|(name, json)| ((*name).to_owned(), json.to_string())));
    let schema = Arc::new(batch.schema_ref().as_ref().clone().with_metadata(all));
    let batch = batch.clone().with_schema(schema.clone())?;
    let mut out = Vec::with_capacity(batch.get_array_memory_size() + 1024);
    let mut writer = StreamWriter::try_new(&mut out, &schema)?;
    writer.write(&batch)?;
    writer.finish()?;
    drop(writer);
    Ok(out)
}
