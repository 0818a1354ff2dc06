//! What JSON has at a path, be it a JSON value or a text that holds one.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array};

use super::cast::named;
use super::{Call, Cells, Function, Kernel};
use crate::error::{Error, Result};
use crate::expr::texts;
use crate::expr::typing::Node;
use crate::value::decimal::parse_decimal;
use crate::value::{DataType, Json, JsonStep, Value, column, find_json, parse_json, typed};

pub(super) const ALL: &[Function] = &[Function::method("json_extract", (2, 3), json_extract)];

/// The value at a constant path, as json or as a type that is named; null if there is none, or it is none of that type.
fn json_extract(call: Call<'_>) -> Result<Node> {
    let expected = "a path such as \"a.b[0]\" or [\"a key\"][-1].b";
    let text = call.text_constant(1, expected)?.unwrap_or_default();
    let path = steps(&text).ok_or_else(|| call.refuse_constant(expected, format!("{text:?}")))?;
    let wanted = match call.args.len() {
        3 => named(&call, 2)?,
        _ => DataType::Json,
    };
    match call.type_of(0) {
        None => Ok(Node::null(Some(wanted))),
        Some(from @ (DataType::Json | DataType::Str)) => {
            Ok(call.strict(1, wanted, reader(from, path, wanted)))
        }
        Some(_) => Err(call.refuse("it takes json or a text that holds JSON")),
    }
}

/// The value at a path of JSON, as one of `wanted`.
pub(super) fn reader(from: DataType, path: Vec<JsonStep>, wanted: DataType) -> Kernel {
    Kernel::new(move |args, rows| {
        let cells = Cells::of(args, 0, from)?;
        let all = cells.array.as_string_opt::<i32>();
        let all = all.ok_or_else(|| Error::internal("JSON was read of what is no text"))?;
        let found = |row: usize| {
            let row = cells.row(row);
            all.is_valid(row).then(|| find_json(all.value(row), &path)).flatten()
        };
        match wanted {
            // The canonical text of a part is a part of the canonical text.
            DataType::Json if from == DataType::Json => write(rows, found, |part| Some(part.into())),
            DataType::Json => write(rows, found, |part| parse_json(part).map(|json| json.canonical_text())),
            DataType::Str => write(rows, found, text_of),
            DataType::Decimal(scale) => {
                let digits = |row| found(row).and_then(|part| decimal_of(part, scale));
                let decimals: Decimal128Array = (0..rows).map(digits).collect();
                Ok(Arc::new(decimals.with_data_type(wanted.arrow())))
            }
            _ => {
                let value = |row| found(row).and_then(parse_json).and_then(|json| typed(wanted, &json).ok());
                let values: Vec<Value> = (0..rows).map(|row| value(row).unwrap_or_default()).collect();
                Ok(column(wanted, &values))
            }
        }
    })
}

/// A column of texts made of the parts found.
fn write<'t>(
    rows: usize,
    found: impl Fn(usize) -> Option<&'t str>,
    text: fn(&str) -> Option<Arc<str>>,
) -> Result<ArrayRef> {
    texts::build(rows, None, |row, out| match found(row).filter(|part| *part != "null").and_then(text) {
        Some(text) => {
            out.push_str(&text);
            true
        }
        None => false,
    })
}

/// A JSON text's own text, and the canonical text of everything else.
fn text_of(part: &str) -> Option<Arc<str>> {
    match parse_json(part)? {
        Json::Str(text) => Some(text.into()),
        other => Some(other.canonical_text()),
    }
}

/// The digits of a number or a text as they are written, however many.
fn decimal_of(part: &str, scale: u8) -> Option<i128> {
    let json = parse_json(part)?;
    let digits = match &json {
        Json::Int(_) | Json::Float(_) => part,
        Json::Str(text) => text,
        _ => return None,
    };
    parse_decimal(digits, scale).ok()
}

/// Keys separated by points, or quoted in brackets, and positions in brackets.
fn steps(path: &str) -> Option<Vec<JsonStep>> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let end = if inner.starts_with('"') { quoted_end(inner)? } else { inner.find(']')? };
            let (inside, after) = inner.split_at(end);
            steps.push(match inside.starts_with('"') {
                true => match parse_json(inside)? {
                    Json::Str(key) => JsonStep::Key(key),
                    _ => return None,
                },
                false => JsonStep::Index(inside.parse().ok().filter(|_| !inside.starts_with('+'))?),
            });
            rest = after.strip_prefix(']')?;
        } else {
            let key = match steps.is_empty() {
                true => rest,
                false => rest.strip_prefix('.')?,
            };
            let end = key.find(['.', '[']).unwrap_or(key.len());
            let (key, after) = key.split_at(end);
            // "$" and quotes are what other paths begin with: nobody means such a key.
            if key.is_empty() || key.contains(['$', '"', ']']) {
                return None;
            }
            steps.push(JsonStep::Key(key.to_owned()));
            rest = after;
        }
    }
    (!steps.is_empty()).then_some(steps)
}

/// Where a JSON text that begins here ends.
fn quoted_end(text: &str) -> Option<usize> {
    let mut is_escaped = true;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_keys_and_positions() {
        let key = |key: &str| JsonStep::Key(key.into());
        let index = JsonStep::Index;
        for (path, read) in [
            ("a", vec![key("a")]),
            ("a.b[0]", vec![key("a"), key("b"), index(0)]),
            ("[-1][2].é é", vec![index(-1), index(2), key("é é")]),
            ("a[\"b.c\"].d", vec![key("a"), key("b.c"), key("d")]),
            ("[\"q\\\"]\"]", vec![key("q\"]")]),
            ("0.1", vec![key("0"), key("1")]),
        ] {
            assert_eq!(steps(path), Some(read), "{path}");
        }
        for path in [
            "", ".", "a.", ".a", "a..b", "a[", "a[]", "a[b]", "a[+1]", "a[1", "[\"a]", "$.a", "a[0]b",
            "a[1.5]",
        ] {
            assert_eq!(steps(path), None, "{path}");
        }
    }
}
