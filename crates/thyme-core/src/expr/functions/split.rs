//! Texts to lists of texts, and back.

use std::sync::Arc;

use arrow::array::{Array, AsArray, ListArray, StringBuilder};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::DataType as Arrow;

use super::list::Items;
use super::{Call, Function, Kernel, arg, nulls_of};
use crate::error::{Error, Result};
use crate::expr::texts::{self, too_much_text};
use crate::expr::typing::Node;
use crate::value::{DataType, ITEMS_MAX, Scalar};

pub(super) const ALL: &[Function] =
    &[Function::method("split", (2, 2), split), Function::method("join", (2, 2), join)];

const TEXTS: DataType = DataType::List(Scalar::Str);

/// The parts of a text between a separator, as Python's `str.split` gives them: null without a separator, and if there
/// are more than a list may have.
fn split(call: Call<'_>) -> Result<Node> {
    call.require(&[0, 1], DataType::Str, "it takes a text and a separator")?;
    let kernel = Kernel::new(|args, rows| {
        let nulls = nulls_of(args);
        let (text, separator) = (arg(args, 0)?.texts()?, arg(args, 1)?.texts()?);
        let (mut parts, mut bytes) = (StringBuilder::new(), 0);
        let (mut lengths, mut valid) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        for row in 0..rows {
            let is_known = nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
            let (text, by) = if is_known { (text.at(row), separator.at(row)) } else { ("", "") };
            let kept = !by.is_empty() && text.split(by).nth(ITEMS_MAX).is_none();
            let mut length = 0;
            if kept {
                bytes += text.len();
                if bytes > i32::MAX as usize {
                    return Err(too_much_text());
                }
                for part in text.split(by) {
                    parts.append_value(part);
                    length += 1;
                }
            }
            lengths.push(length);
            valid.push(kept);
        }
        let Arrow::List(field) = TEXTS.arrow() else {
            return Err(Error::internal("a list of texts has no field"));
        };
        let nulls = valid.contains(&false).then(|| NullBuffer::from(valid));
        let offsets = OffsetBuffer::from_lengths(lengths);
        Ok(Arc::new(ListArray::try_new(field, offsets, Arc::new(parts.finish()), nulls)?))
    });
    Ok(call.strict(2, TEXTS, kernel))
}

/// The texts of a list, without the nulls, with a separator in between.
fn join(call: Call<'_>) -> Result<Node> {
    call.require(&[0], TEXTS, "it takes a list of texts and a separator")?;
    call.require(&[1], DataType::Str, "it takes a list of texts and a separator")?;
    let kernel = Kernel::new(|args, rows| {
        let items = Items::of(args, TEXTS)?;
        let all = items.all().as_string_opt::<i32>();
        let all = all.ok_or_else(|| Error::internal("a list of texts has other items"))?;
        let separator = arg(args, 1)?.texts()?;
        texts::build(rows, nulls_of(args).as_ref(), |row, out| {
            for (index, item) in items.range(row).filter(|i| all.is_valid(*i)).enumerate() {
                out.push_str(if index > 0 { separator.at(row) } else { "" });
                out.push_str(all.value(item));
                // A text that grows beyond what one may have is given up early.
                if out.len() > i32::MAX as usize {
                    return false;
                }
            }
            true
        })
    });
    Ok(call.strict(2, DataType::Str, kernel))
}
