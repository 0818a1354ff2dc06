//! Columns to Polars and back, as Arrow streams: vectorized extractors and what they look up.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType as ArrowType, Field, Float64Type, Schema};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use thyme_core::value::canonical;
use thyme_core::{DataType, EventTime, Value};
use thyme_query::{ColumnBuffer, LookupContext};

/// The column of times in a stream; no field and no input has no name.
const TIME: &str = "";

/// Named columns of as many rows, as an Arrow stream.
fn written(columns: Vec<(String, ArrayRef)>) -> Result<Vec<u8>, ArrowError> {
    let fields = columns.iter().map(|(name, array)| Field::new(name, array.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let batch = RecordBatch::try_new(schema.clone(), columns.into_iter().map(|(_, array)| array).collect())?;
    let mut out = Vec::with_capacity(batch.get_array_memory_size() + 1024);
    let mut writer = StreamWriter::try_new(&mut out, &schema)?;
    writer.write(&batch)?;
    writer.finish()?;
    drop(writer);
    Ok(out)
}

fn read(stream: &[u8]) -> Result<RecordBatch, ArrowError> {
    let reader = StreamReader::try_new(stream, None)?;
    let schema = reader.schema();
    let batches = reader.collect::<Result<Vec<_>, _>>()?;
    concat_batches(&schema, &batches)
}

/// The times and the inputs of a call: the times without a name, then `0`, `1` and so on.
pub fn call(times: &[EventTime], inputs: &[&ColumnBuffer]) -> Result<Vec<u8>, ArrowError> {
    let mut at = ColumnBuffer::nulls(DataType::Datetime, times.len());
    times.iter().enumerate().for_each(|(row, time)| at.set(row, Value::Datetime(time.0)));
    let inputs = inputs.iter().enumerate().map(|(number, input)| (number.to_string(), input.to_arrow()));
    written(std::iter::once((TIME.to_owned(), at.to_arrow())).chain(inputs).collect())
}

/// The outputs of a call.
///
/// # Errors
/// What a column is that holds no values.
pub fn outputs(stream: &[u8]) -> Result<Vec<ColumnBuffer>, String> {
    let batch = read(stream).map_err(|e| e.to_string())?;
    batch.columns().iter().map(column).collect()
}

/// A column of a stream; one of nulls alone may be of any type.
fn column(array: &ArrayRef) -> Result<ColumnBuffer, String> {
    let admitted: ArrayRef = match array.data_type() {
        _ if array.logical_null_count() == array.len() => {
            return Ok(ColumnBuffer::nulls(DataType::Float, array.len()));
        }
        ArrowType::Float64 => {
            Arc::new(array.as_primitive::<Float64Type>().unary::<_, Float64Type>(canonical)) as ArrayRef
        }
        ArrowType::LargeUtf8 => Arc::new(array.as_string::<i64>().iter().collect::<StringArray>()),
        ArrowType::Utf8View => Arc::new(array.as_string_view().iter().collect::<StringArray>()),
        _ => array.clone(),
    };
    let types = [DataType::Int, DataType::Float, DataType::Str, DataType::Bool, DataType::Datetime];
    let found = types.into_iter().find(|data_type| data_type.arrow() == *admitted.data_type());
    let data_type = found.ok_or_else(|| format!("a Series of {}", array.data_type()))?;
    ColumnBuffer::from_arrow(data_type, &admitted).map_err(|e| e.detail().to_owned())
}

/// What many lookups found, a row each, with the dataset's fields: of `stream`, which has their times and a column for
/// each key field, for the rows of a call from `first` on.
///
/// # Errors
/// As [`LookupContext::lookup`], with the row.
pub fn lookup(
    context: &LookupContext,
    dataset: &str,
    first: usize,
    stream: &[u8],
) -> Result<Vec<u8>, String> {
    let batch = read(stream).map_err(|e| e.to_string())?;
    let rows = batch.num_rows();
    let (mut times, mut keys) = (None, Vec::new());
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
        let read =
            column(array).map_err(|got| format!("{dataset}.{}: expected a key, got {got}", field.name()))?;
        match field.name().as_str() {
            TIME => times = Some(read),
            name => keys.push((name.to_owned(), read)),
        }
    }
    let times = times.ok_or_else(|| format!("{dataset}.lookup got no times"))?;
    let fields = context.fields(dataset).map_err(|e| e.detail().to_owned())?;
    let mut found: Vec<ColumnBuffer> =
        fields.iter().map(|(_, data_type)| ColumnBuffer::nulls(*data_type, rows)).collect();
    for row in 0..rows {
        let Value::Datetime(time) = times.get(row) else {
            return Err(format!("{dataset}.lookup got no time for row {row}"));
        };
        let key: Vec<(String, Value)> =
            keys.iter().map(|(name, column)| (name.clone(), column.get(row))).collect();
        let values = context
            .lookup(first + row, dataset, EventTime(time), &key)
            .map_err(|e| format!("row {row}: {}", e.detail()))?;
        found.iter_mut().zip(values).for_each(|(column, (_, value))| column.set(row, value));
    }
    let found = fields.into_iter().zip(&found).map(|((name, _), column)| (name, column.to_arrow()));
    written(found.collect()).map_err(|e| e.to_string())
}
