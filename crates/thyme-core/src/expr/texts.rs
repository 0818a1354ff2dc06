//! Texts of operands, and columns of texts that are made row by row.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanBufferBuilder, StringArray};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};

use crate::error::{Error, ErrorKind, Result};

/// The longest text that an expression makes; a longer one is null, as an int that overflows is.
pub const TEXT_BYTES_MAX: usize = 1 << 20;

/// The texts of an operand.
pub(super) enum Texts<'a> {
    /// One a row.
    Many(&'a StringArray),
    /// The same for all rows.
    One(&'a str),
}

impl<'a> Texts<'a> {
    /// The text of a row that is not null.
    pub(super) fn at(&self, row: usize) -> &'a str {
        match self {
            Texts::Many(array) => array.value(row),
            Texts::One(text) => text,
        }
    }

    /// Rows; `None` for a constant.
    pub(super) fn len(&self) -> Option<usize> {
        match self {
            Texts::Many(array) => Some(array.len()),
            Texts::One(_) => None,
        }
    }
}

/// A column of `rows` texts: `write` appends that of a row which is not in `nulls`, or says that there is none. One
/// longer than [`TEXT_BYTES_MAX`] is null.
pub(super) fn build(
    rows: usize,
    nulls: Option<&NullBuffer>,
    mut write: impl FnMut(usize, &mut String) -> bool,
) -> Result<ArrayRef> {
    let mut text = String::new();
    let mut ends = Vec::with_capacity(rows + 1);
    let mut valid = BooleanBufferBuilder::new(rows);
    ends.push(0i32);
    for row in 0..rows {
        let start = text.len();
        let kept = nulls.is_none_or(|nulls| nulls.is_valid(row))
            && write(row, &mut text)
            && text.len() - start <= TEXT_BYTES_MAX;
        if !kept {
            text.truncate(start);
        }
        valid.append(kept);
        ends.push(i32::try_from(text.len()).map_err(|_| too_much_text())?);
    }
    let valid = valid.finish();
    let nulls = valid.has_false().then(|| NullBuffer::new(valid));
    let ends = OffsetBuffer::new(ScalarBuffer::from(ends));
    Ok(Arc::new(StringArray::try_new(ends, text.into_bytes().into(), nulls)?))
}

/// The refusal of more text than a column has room for.
pub(super) fn too_much_text() -> Error {
    Error::new(
        ErrorKind::TooLarge,
        "an expression makes more than 2 GiB of text in one batch; send smaller batches",
    )
}
