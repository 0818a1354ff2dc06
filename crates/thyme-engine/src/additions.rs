//! Fields that a raw dataset got after rows of it were written.
//!
//! New fields are always the last ones of the schema, so a record says by the number of its columns which it was
//! written with; rows read as null or the default in the others.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use thyme_core::schema::missing;
use thyme_core::{Error, Result};

use crate::gather::repeated;

/// The schema that rows of so many columns were written with.
pub(crate) fn before(schema: &SchemaRef, columns: usize) -> SchemaRef {
    match schema.fields().get(..columns) {
        Some(fields) if columns < schema.fields().len() => Arc::new(Schema::new(fields.to_vec())),
        _ => schema.clone(),
    }
}

/// Rows with all columns of `schema`, of which they may have the first ones only.
pub(crate) fn complete(batch: RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    if batch.num_columns() >= schema.fields().len() {
        return Ok(batch);
    }
    let rows = batch.num_rows();
    let mut columns: Vec<ArrayRef> = batch.columns().to_vec();
    for field in schema.fields().iter().skip(columns.len()) {
        let (data_type, value) = missing(field).ok_or_else(|| {
            Error::internal(format!("the field {} has a type that no field has", field.name()))
        })?;
        columns.push(repeated(data_type, &value, rows));
    }
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}
