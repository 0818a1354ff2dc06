//! What programs returned, as columns of the types that are declared.

use thyme_core::{DataType, Value};

use super::columns::Sink;
use super::lane::{Kind, Lane};
use super::object::Object;
use super::shape;
use crate::column::ColumnBuffer;

/// A column for each output, of a range of rows.
pub(super) struct Results<'a> {
    outputs: &'a [String],
    columns: Vec<ColumnBuffer>,
    first: usize,
    fits: bool,
}

impl<'a> Results<'a> {
    /// Nulls, for `rows` rows from `first` on.
    pub fn new(outputs: &'a [String], declared: &[DataType], first: usize, rows: usize) -> Results<'a> {
        let columns = declared.iter().map(|data_type| ColumnBuffer::nulls(*data_type, rows)).collect();
        Results { outputs, columns, first, fits: outputs.len() == declared.len() }
    }

    /// The columns, unless some value is of another type than is declared.
    pub fn columns(self) -> Option<Vec<ColumnBuffer>> {
        self.fits.then_some(self.columns)
    }

    /// Puts the values of one row.
    pub fn put(&mut self, row: u32, values: impl IntoIterator<Item = Value>) {
        for (column, value) in self.columns.iter_mut().zip(values) {
            self.fits &= column.takes(value.data_type());
            column.set(row as usize - self.first, value);
        }
    }

    /// Puts scalars to one output; false if they have to go one by one.
    fn put_lane(&mut self, output: usize, rows: &[u32], lane: &Lane) -> bool {
        let Some(column) = self.columns.get_mut(output) else { return false };
        let Lane::Words { kind, words, valid } = lane else { return false };
        let (first, valid) = (self.first, valid.as_deref());
        match (kind, column.data_type()) {
            (Kind::Int, DataType::Int)
            | (Kind::Bool, DataType::Bool)
            | (Kind::Moment, DataType::Datetime) => {
                column.set_words(rows, first, words, valid);
            }
            (Kind::Int, DataType::Float) => {
                let words: Vec<u64> = words.iter().map(|&v| (v as i64 as f64).to_bits()).collect();
                column.set_words(rows, first, &words, valid);
            }
            (Kind::Float, DataType::Float) => {
                let canonical = |&v| thyme_core::value::canonical(f64::from_bits(v)).to_bits();
                let words: Vec<u64> = words.iter().map(canonical).collect();
                column.set_words(rows, first, &words, valid);
            }
            _ => return false,
        }
        true
    }

    /// What a row returned, as its values.
    fn put_object(&mut self, row: u32, object: Object) -> bool {
        let mut lists = vec![Vec::with_capacity(1); self.outputs.len()];
        let is_sure = shape::add(object, self.outputs, &mut lists).is_ok();
        if is_sure {
            self.put(row, lists.into_iter().flatten());
        }
        is_sure
    }
}

impl Sink for Results<'_> {
    fn take(&mut self, rows: &[u32], returned: &Lane) -> Vec<u32> {
        let is_put = match (returned, self.outputs.len()) {
            (Lane::Words { .. }, 1) => self.put_lane(0, rows, returned),
            (Lane::Tuple(items), outputs) if items.len() == outputs => {
                items.iter().enumerate().all(|(output, item)| self.put_lane(output, rows, item))
            }
            _ => false,
        };
        if is_put {
            return Vec::new();
        }
        let each = rows.iter().enumerate();
        let unsure = each.filter(|(place, row)| !self.put_object(**row, returned.get(*place)));
        unsure.map(|(place, _)| place as u32).collect()
    }
}
