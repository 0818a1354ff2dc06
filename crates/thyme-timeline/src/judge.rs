//! Predicates that came when rows were there already: judged by the columns that the rows have.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{Field, Schema};
use thyme_core::aggregate::{Mask, word_text, word_value};
use thyme_core::expr::Compiled;
use thyme_core::value::column as column_of;
use thyme_core::{DataType, Result, Value};

use crate::bits::bit;
use crate::chunk::Chunk;
use crate::layout::Layout;

/// A predicate over columns of the layout.
#[derive(Clone, Debug)]
pub struct Judge {
    predicate: Compiled,
    /// What it reads: each column's name, and its index in the layout.
    reads: Vec<(String, usize)>,
}

impl Judge {
    /// The judge of `predicate`, if all it reads are `columns` of the layout, named in its order.
    pub fn new(predicate: &Compiled, columns: &[String]) -> Option<Judge> {
        let at = |name: &str| Some((name.to_owned(), columns.iter().position(|c| c == name)?));
        let reads = predicate.columns().into_iter().map(at).collect::<Option<_>>()?;
        Some(Judge { predicate: predicate.clone(), reads })
    }

    /// The verdicts on the rows `from..to` of a chunk.
    pub(crate) fn verdicts(&self, layout: &Layout, chunk: &Chunk, from: usize, to: usize) -> Mask {
        let mut mask = Mask::default();
        let to = to.min(chunk.len());
        match self.evaluate(layout, chunk, from, to, &mut mask) {
            Ok(()) => {}
            // Texts that are too long together are not when they stand alone, as they came.
            Err(_) if to.saturating_sub(from) > 1 => {
                let middle = from + (to - from) / 2;
                let (first, rest) =
                    (self.verdicts(layout, chunk, from, middle), self.verdicts(layout, chunk, middle, to));
                mask.iter_mut().zip(first.iter().zip(&rest)).for_each(|(word, (a, b))| *word = a | b);
            }
            Err(_) => {}
        }
        mask
    }

    fn evaluate(
        &self,
        layout: &Layout,
        chunk: &Chunk,
        from: usize,
        to: usize,
        mask: &mut Mask,
    ) -> Result<()> {
        if from >= to {
            return Ok(());
        }
        let mut fields = Vec::with_capacity(self.reads.len());
        let mut arrays = Vec::with_capacity(self.reads.len());
        for (name, column) in &self.reads {
            let data_type = layout.columns.get(*column).copied().unwrap_or(DataType::Int);
            fields.push(Field::new(name, data_type.arrow(), true));
            arrays.push(array(layout, chunk, (*column, data_type), from, to));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(to - from));
        let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)?;
        for row in self.predicate.evaluate_mask(&batch)?.set_indices() {
            if let Some(word) = mask.get_mut((from + row) / 64) {
                *word |= 1 << ((from + row) % 64);
            }
        }
        Ok(())
    }
}

/// Rows `from..to` of a column.
fn array(
    layout: &Layout,
    chunk: &Chunk,
    (column, data_type): (usize, DataType),
    from: usize,
    to: usize,
) -> ArrayRef {
    let (validity, words) = (chunk.validity(layout, column), chunk.column(column));
    let cells = (from..to).map(|row| words.get(row).copied().filter(|_| bit(validity, row)));
    match data_type {
        DataType::Int => Arc::new(cells.map(|cell| cell.map(|word| word as i64)).collect::<Int64Array>()),
        DataType::Float => Arc::new(cells.map(|cell| cell.map(f64::from_bits)).collect::<Float64Array>()),
        DataType::Bool => Arc::new(cells.map(|cell| cell.map(|word| word != 0)).collect::<BooleanArray>()),
        DataType::Datetime => {
            let times = cells.map(|cell| cell.map(|word| word as i64));
            Arc::new(times.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
        }
        DataType::Str => {
            let texts = cells.map(|cell| cell.map(|word| word_text(word, chunk.heap_bytes())));
            // What came in was UTF-8, and so is what was read back.
            let texts = texts.map(|text| text.and_then(|text| std::str::from_utf8(text).ok()));
            Arc::new(texts.collect::<StringArray>())
        }
        other => {
            let value = |word| word_value(other, word, chunk.heap_bytes());
            let values: Vec<Value> = cells.map(|cell| cell.map_or(Value::Null, value)).collect();
            column_of(other, &values)
        }
    }
}
