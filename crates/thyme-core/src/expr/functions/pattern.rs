//! Regular expressions, of the `regex` crate: every text is searched in linear time; no backreferences, no look-around.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::buffer::BooleanBuffer;
use regex::{Regex, RegexBuilder};

use super::text::{is_valid, only_text};
use super::{Call, Function, Kernel, nulls_of};
use crate::error::Result;
use crate::expr::texts;
use crate::expr::typing::Node;
use crate::value::DataType;

pub(super) const ALL: &[Function] =
    &[Function::method("matches", (2, 2), matches), Function::method("extract", (2, 3), extract)];

/// The most memory that a compiled pattern takes.
const COMPILED_BYTES_MAX: usize = 1 << 20;

fn pattern(call: &Call<'_>) -> Result<Regex> {
    call.require(&[0, 1], DataType::Str, "it takes a text and a pattern")?;
    let expected = "a constant pattern";
    let text = call.text_constant(1, expected)?.unwrap_or_default();
    RegexBuilder::new(&text).size_limit(COMPILED_BYTES_MAX).build().map_err(|error| {
        let why = error.to_string();
        let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        call.refuse_constant(
            "a regular expression (no backreferences, no look-around)",
            format!("{text:?}: {why}"),
        )
    })
}

/// Whether the pattern is found anywhere; `^` and `$` bind it to the ends.
fn matches(call: Call<'_>) -> Result<Node> {
    let pattern = pattern(&call)?;
    let kernel = Kernel::new(move |args, rows| {
        let nulls = nulls_of(args);
        let (text, rows) = only_text(args, rows)?;
        let found = |row| is_valid(nulls.as_ref(), row) && pattern.is_match(text.at(row));
        Ok(Arc::new(BooleanArray::new(BooleanBuffer::collect_bool(rows, found), nulls)) as ArrayRef)
    });
    Ok(call.strict(1, DataType::Bool, kernel))
}

/// What a group of the first match is; null if there is no match or the group is no part of it. Without a number it
/// is the first group, or the whole match of a pattern without groups.
fn extract(call: Call<'_>) -> Result<Node> {
    let pattern = pattern(&call)?;
    let groups = pattern.captures_len() as i64 - 1;
    let expected = format!("a group of the pattern, 0 to {groups}");
    let group = call.int_constant(2, 0..=groups, &expected)?.unwrap_or(groups.min(1)) as usize;
    let kernel = Kernel::new(move |args, rows| {
        let nulls = nulls_of(args);
        let (text, rows) = only_text(args, rows)?;
        texts::build(rows, nulls.as_ref(), |row, out| {
            let found = pattern.captures(text.at(row));
            match found.as_ref().and_then(|found| found.get(group)) {
                Some(part) => {
                    out.push_str(part.as_str());
                    true
                }
                None => false,
            }
        })
    });
    Ok(call.strict(1, DataType::Str, kernel))
}
