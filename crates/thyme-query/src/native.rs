//! Features that are an expression over other features, computed by columns.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema, SchemaRef};
use thyme_core::definition::Extractor;
use thyme_core::expr::Compiled;
use thyme_core::{DataType, Error, Result};

use crate::column::ColumnBuffer;

/// A compiled expression with the columns that it takes.
#[derive(Clone, Debug)]
pub struct Expression {
    compiled: Compiled,
    columns: SchemaRef,
    declared: DataType,
}

impl Expression {
    /// Compiles an extractor of the form `expression` over inputs of these types.
    ///
    /// # Errors
    /// An extractor that validation should have refused.
    pub fn new(extractor: &Extractor, inputs: &[DataType], declared: DataType) -> Result<Expression> {
        let expr = extractor
            .expression()
            .ok_or_else(|| Error::internal(format!("{} has no expression", extractor.name)))?;
        let names = extractor.inputs.iter().map(|input| input.feature.clone());
        let typed: Vec<(String, DataType)> = names.zip(inputs.iter().copied()).collect();
        let compiled = Compiled::of_type(expr, &typed, declared)?;
        let fields = typed.iter().map(|(name, data_type)| Field::new(name, data_type.arrow(), true));
        let columns = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Ok(Expression { compiled, columns, declared })
    }

    /// The values of some rows, of the declared type.
    ///
    /// # Errors
    /// More text than a batch has room for.
    pub fn run(&self, rows: usize, inputs: &[&ColumnBuffer]) -> Result<ColumnBuffer> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let arrays = inputs.iter().map(|column| column.to_arrow()).collect();
        let batch = RecordBatch::try_new_with_options(self.columns.clone(), arrays, &options)?;
        ColumnBuffer::from_arrow(self.declared, &self.compiled.evaluate(&batch)?)
    }
}
