//! Texts. Positions and lengths count code points, as in Python.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array};
use arrow::buffer::{BooleanBuffer, NullBuffer};

use super::{ARGUMENTS_MAX, Call, Function, Kernel, arg, nulls_of};
use crate::error::Result;
use crate::expr::ast::Operator;
use crate::expr::evaluate::Operand;
use crate::expr::side::Side;
use crate::expr::texts::{self, TEXT_BYTES_MAX, Texts};
use crate::expr::typing::{Node, Shown, binary, fold};
use crate::value::DataType;

pub(super) const ALL: &[Function] = &[
    Function::method("lower", (1, 1), |call| of_one(call, |text, out| out.push_str(&text.to_lowercase()))),
    Function::method("upper", (1, 1), |call| of_one(call, |text, out| out.push_str(&text.to_uppercase()))),
    Function::method("strip", (1, 1), |call| of_one(call, |text, out| out.push_str(text.trim()))),
    Function::method("starts_with", (2, 2), |call| question(call, |text, part| text.starts_with(part))),
    Function::method("ends_with", (2, 2), |call| question(call, |text, part| text.ends_with(part))),
    Function::method("replace", (3, 3), replace),
    Function::method("slice", (2, 3), slice),
    Function::free("concat", (1, ARGUMENTS_MAX), concat),
];

const TEXT: &str = "it takes a text";

fn all_texts(call: &Call<'_>) -> Result<()> {
    let indexes: Vec<usize> = (0..call.args.len()).collect();
    call.require(&indexes, DataType::Str, if indexes.len() == 1 { TEXT } else { "it takes texts" })
}

fn of_one(call: Call<'_>, write: fn(&str, &mut String)) -> Result<Node> {
    all_texts(&call)?;
    let kernel = Kernel::new(move |args, rows| {
        let text = arg(args, 0)?.texts()?;
        texts::build(rows_of(&[&text], rows), nulls_of(args).as_ref(), |row, out| {
            write(text.at(row), out);
            true
        })
    });
    Ok(call.strict(1, DataType::Str, kernel))
}

/// How many code points a text has.
pub(super) fn len(call: Call<'_>) -> Result<Node> {
    all_texts(&call)?;
    let kernel = Kernel::new(|args, rows| {
        let nulls = nulls_of(args);
        let text = arg(args, 0)?.texts()?;
        let rows = rows_of(&[&text], rows);
        let count = |row| if is_valid(nulls.as_ref(), row) { text.at(row).chars().count() as i64 } else { 0 };
        let counts: Vec<i64> = (0..rows).map(count).collect();
        Ok(Arc::new(Int64Array::new(counts.into(), nulls)))
    });
    Ok(call.strict(1, DataType::Int, kernel))
}

/// Whether a text has a part.
pub(super) fn contains(call: Call<'_>) -> Result<Node> {
    question(call, |text, part| text.contains(part))
}

fn question(call: Call<'_>, ask: fn(&str, &str) -> bool) -> Result<Node> {
    all_texts(&call)?;
    let kernel = Kernel::new(move |args, rows| {
        let nulls = nulls_of(args);
        let (text, part) = (arg(args, 0)?.texts()?, arg(args, 1)?.texts()?);
        let rows = rows_of(&[&text, &part], rows);
        let ask = |row| is_valid(nulls.as_ref(), row) && ask(text.at(row), part.at(row));
        Ok(Arc::new(BooleanArray::new(BooleanBuffer::collect_bool(rows, ask), nulls)) as ArrayRef)
    });
    Ok(call.strict(2, DataType::Bool, kernel))
}

/// Every occurrence, from the left, none of which overlap. An empty part occurs between all code points and at both ends.
fn replace(call: Call<'_>) -> Result<Node> {
    all_texts(&call)?;
    let kernel = Kernel::new(|args, rows| {
        let nulls = nulls_of(args);
        let (text, part, by) = (arg(args, 0)?.texts()?, arg(args, 1)?.texts()?, arg(args, 2)?.texts()?);
        texts::build(rows_of(&[&text, &part, &by], rows), nulls.as_ref(), |row, out| {
            let (text, part, by) = (text.at(row), part.at(row), by.at(row));
            let (mut last, start) = (0, out.len());
            for (place, found) in text.match_indices(part) {
                out.push_str(&text[last..place]);
                out.push_str(by);
                last = place + found.len();
                if out.len() - start > TEXT_BYTES_MAX {
                    return false;
                }
            }
            out.push_str(&text[last..]);
            true
        })
    });
    Ok(call.strict(3, DataType::Str, kernel))
}

/// `text[start:stop]` of Python: negative positions count from the end, no stop is the end.
fn slice(call: Call<'_>) -> Result<Node> {
    call.require(&[0], DataType::Str, TEXT)?;
    call.require(
        &[1, 2],
        DataType::Int,
        "it takes a text and ints: where it starts and, if wanted, where it stops",
    )?;
    let has_stop = call.type_of(2).is_some();
    let kernel = Kernel::new(move |args, rows| {
        let nulls = nulls_of(args);
        let text = arg(args, 0)?.texts()?;
        let start = arg(args, 1)?.ints()?;
        let stop = if has_stop { Some(arg(args, 2)?.ints()?) } else { None };
        let rows = texts_and_ints(&text, [Some(start), stop], rows);
        texts::build(rows, nulls.as_ref(), |row, out| {
            out.push_str(sliced(text.at(row), int_at(start, row), stop.map(|stop| int_at(stop, row))));
            true
        })
    });
    Ok(call.strict(if has_stop { 3 } else { 2 }, DataType::Str, kernel))
}

fn sliced(text: &str, start: i64, stop: Option<i64>) -> &str {
    let length = || text.chars().count() as i64;
    let from_front = |position: i64| if position < 0 { (length() + position).max(0) } else { position };
    let byte = |position: i64| {
        let place = usize::try_from(position).ok().and_then(|position| text.char_indices().nth(position));
        place.map_or(text.len(), |(byte, _)| byte)
    };
    let start = byte(from_front(start));
    let stop = stop.map_or(text.len(), |stop| byte(from_front(stop)));
    text.get(start..stop).unwrap_or_default()
}

fn int_at(side: Side<'_, i64>, row: usize) -> i64 {
    match side {
        Side::Many(ints) => ints.get(row).copied().unwrap_or_default(),
        Side::One(int) => int,
    }
}

/// All of them one after the other, as `+` does it.
fn concat(call: Call<'_>) -> Result<Node> {
    all_texts(&call)?;
    let expr = call.expr;
    let mut args = call.args.into_iter();
    let mut whole = args.next().unwrap_or(Node::null(None));
    for next in args {
        whole = fold(binary(&Shown { op: Operator::Add, expr }, whole, next)?)?;
    }
    Ok(whole)
}

pub(super) fn is_valid(nulls: Option<&NullBuffer>, row: usize) -> bool {
    nulls.is_none_or(|nulls| nulls.is_valid(row))
}

/// The rows of texts, of which all but constants have as many.
fn rows_of(all: &[&Texts<'_>], rows: usize) -> usize {
    all.iter().find_map(|texts| texts.len()).unwrap_or(rows.min(1))
}

fn texts_and_ints(text: &Texts<'_>, ints: [Option<Side<'_, i64>>; 2], rows: usize) -> usize {
    let many = |side: Option<Side<'_, i64>>| match side {
        Some(Side::Many(ints)) => Some(ints.len()),
        _ => None,
    };
    text.len().or_else(|| ints.into_iter().find_map(many)).unwrap_or(rows.min(1))
}

/// The only text operand and how many rows it has.
pub(super) fn only_text(args: &[Operand], rows: usize) -> Result<(Texts<'_>, usize)> {
    let text = arg(args, 0)?.texts()?;
    let rows = rows_of(&[&text], rows);
    Ok((text, rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_pythons() {
        let cases = [
            (0, None, "aé😀z"),
            (1, Some(3), "é😀"),
            (-2, None, "😀z"),
            (-9, Some(2), "aé"),
            (2, Some(1), ""),
            (9, None, ""),
            (0, Some(-1), "aé😀"),
            (0, Some(99), "aé😀z"),
            (i64::MIN, Some(i64::MAX), "aé😀z"),
        ];
        for (start, stop, expected) in cases {
            assert_eq!(sliced("aé😀z", start, stop), expected, "{start} {stop:?}");
        }
    }
}
