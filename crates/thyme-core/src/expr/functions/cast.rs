//! `cast`: a value as another type; null where it is none of that type.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, TimestampMicrosecondArray,
};
use arrow::datatypes::{ArrowPrimitiveType, Float64Type, Int64Type, TimestampMicrosecondType};

use super::{Call, Function, Kernel, arg, cast_values};
use crate::error::{Error, Result};
use crate::expr::evaluate::bools;
use crate::expr::number::float_as_exact_int;
use crate::expr::texts;
use crate::expr::typing::{Node, widened};
use crate::time::{format_rfc3339, from_epoch_seconds, from_epoch_seconds_f64, parse_timestamp};
use crate::value::{DataType, NAN, canonical};

pub(super) const ALL: &[Function] = &[Function::method("cast", (2, 2), cast)];

/// The type that the constant at `index` names.
pub(super) fn named(call: &Call<'_>, index: usize) -> Result<DataType> {
    let expected = "the name of a type, such as \"int\", \"decimal(2)\" or \"list[str]\"";
    let name = call.text_constant(index, expected)?.unwrap_or_default();
    DataType::named(&name).ok_or_else(|| call.refuse_constant(expected, format!("\"{name}\"")))
}

/// The second argument is the name of a type.
fn cast(call: Call<'_>) -> Result<Node> {
    let to = named(&call, 1)?;
    match call.type_of(0) {
        None => Ok(Node::null(Some(to))),
        Some(from) if from == to => Ok(call.first()),
        Some(from) if from.fits(to) => Ok(widened(call.first(), to)),
        Some(from) => match kernel(from, to) {
            Some(kernel) => Ok(call.strict(1, to, kernel)),
            None => Err(call.refuse(&format!("a {from} cannot become a {to}"))),
        },
    }
}

/// What makes values of `to` of those of `from`, another type; `None` if nothing does.
pub(super) fn kernel(from: DataType, to: DataType) -> Option<Kernel> {
    use DataType::{Bool, Datetime, Float, Int, Str};
    Some(match (from, to) {
        (Int, Float) => primitive::<Int64Type, Float64Type>(|v| Some(v as f64)),
        (Float, Int) => primitive::<Float64Type, Int64Type>(|v| float_as_exact_int(v.trunc())),
        (Int, Bool) => to_bool::<Int64Type>(|v| v != 0),
        (Int, Datetime) => {
            primitive::<Int64Type, TimestampMicrosecondType>(|v| from_epoch_seconds(v).ok().map(|t| t.0))
        }
        (Float, Datetime) => primitive::<Float64Type, TimestampMicrosecondType>(|v| {
            from_epoch_seconds_f64(v).ok().map(|t| t.0)
        }),
        (Datetime, Int) => {
            primitive::<TimestampMicrosecondType, Int64Type>(|v| Some(v.div_euclid(1_000_000)))
        }
        (Datetime, Float) => primitive::<TimestampMicrosecondType, Float64Type>(|v| {
            crate::expr::number::true_div_int(v, 1_000_000)
        }),
        (Bool, Int) => from_bool(|v| Arc::new(v.iter().map(|v| v.map(i64::from)).collect::<Int64Array>())),
        (Bool, Float) => from_bool(|v| {
            Arc::new(v.iter().map(|v| v.map(|v| f64::from(u8::from(v)))).collect::<Float64Array>())
        }),
        (Str, Int) => parsed(|t| t.parse().ok(), |all| Arc::new(all.collect::<Int64Array>())),
        (Str, Float) => parsed(float_of, |all| Arc::new(all.collect::<Float64Array>())),
        (Str, Bool) => parsed(bool_of, |all| Arc::new(all.collect::<BooleanArray>())),
        (Str, Datetime) => parsed(
            |t| parse_timestamp(t).ok().map(|t| t.0),
            |all| Arc::new(all.collect::<TimestampMicrosecondArray>().with_timezone("UTC")),
        ),
        (_, Str) if from.is_plain() => to_text(from),
        _ => return cast_values::kernel(from, to),
    })
}

/// A decimal number, or one of the texts that JSON uses for what it cannot say.
fn float_of(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        // What else Rust reads, such as "inf", is no decimal number.
        _ if text.bytes().any(|b| !matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')) => None,
        _ => text.parse().ok().map(canonical),
    }
}

fn bool_of(text: &str) -> Option<bool> {
    match text {
        "true" | "True" => Some(true),
        "false" | "False" => Some(false),
        _ => None,
    }
}

/// The shortest decimal that is this float, laid out as Python's `repr`.
pub(in crate::expr) fn float_text(v: f64) -> String {
    if !v.is_finite() {
        return if v.is_nan() {
            "NaN".into()
        } else {
            (if v > 0.0 { "Infinity" } else { "-Infinity" }).into()
        };
    }
    let scientific = format!("{v:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..16).contains(&exponent) {
        let plain = format!("{v}");
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

/// Applies `f` where it is not null; `None` is null.
fn primitive<A, B>(f: fn(A::Native) -> Option<B::Native>) -> Kernel
where
    A: ArrowPrimitiveType,
    B: ArrowPrimitiveType,
{
    Kernel::new(move |args, rows| {
        let array = column(args, rows)?;
        let array = array.as_primitive_opt::<A>().ok_or_else(misfit)?;
        let cast: ArrayRef = Arc::new(array.unary_opt::<_, B>(f));
        Ok(match cast.as_primitive_opt::<TimestampMicrosecondType>() {
            Some(times) => Arc::new(times.clone().with_timezone("UTC")),
            None => cast,
        })
    })
}

fn to_bool<A: ArrowPrimitiveType>(f: fn(A::Native) -> bool) -> Kernel {
    Kernel::new(move |args, rows| {
        let array = column(args, rows)?;
        let array = array.as_primitive_opt::<A>().ok_or_else(misfit)?;
        Ok(Arc::new(array.iter().map(|v| v.map(f)).collect::<BooleanArray>()))
    })
}

fn from_bool(f: fn(&BooleanArray) -> ArrayRef) -> Kernel {
    Kernel::new(move |args, rows| Ok(f(bools(&column(args, rows)?)?)))
}

/// Reads texts, of which spaces around them are no part.
fn parsed<T: 'static>(
    read: fn(&str) -> Option<T>,
    collect: fn(&mut dyn Iterator<Item = Option<T>>) -> ArrayRef,
) -> Kernel {
    Kernel::new(move |args, rows| {
        let array = column(args, rows)?;
        let array = array.as_string_opt::<i32>().ok_or_else(misfit)?;
        Ok(collect(&mut array.iter().map(|text| text.and_then(|text| read(text.trim())))))
    })
}

/// Appends the text of a row.
type Write<'a> = Box<dyn Fn(usize, &mut String) + 'a>;

fn to_text(from: DataType) -> Kernel {
    Kernel::new(move |args, rows| {
        let array = column(args, rows)?;
        let nulls = array.nulls();
        let write: Write<'_> = match from {
            DataType::Int => {
                let array = array.as_primitive_opt::<Int64Type>().ok_or_else(misfit)?;
                Box::new(|row, out| out.push_str(&array.value(row).to_string()))
            }
            DataType::Float => {
                let array = array.as_primitive_opt::<Float64Type>().ok_or_else(misfit)?;
                Box::new(|row, out| out.push_str(&float_text(array.value(row))))
            }
            DataType::Bool => {
                let array = bools(&array)?;
                Box::new(|row, out| out.push_str(if array.value(row) { "true" } else { "false" }))
            }
            DataType::Datetime => {
                let array = array.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(misfit)?;
                Box::new(|row, out| out.push_str(&format_rfc3339(array.value(row))))
            }
            DataType::Str => return Ok(array.clone()),
            _ => return Err(misfit()),
        };
        texts::build(array.len(), nulls, |row, out| {
            write(row, out);
            true
        })
    })
}

/// The only operand as a column; one row of a constant.
fn column(args: &[crate::expr::evaluate::Operand], rows: usize) -> Result<ArrayRef> {
    let operand = arg(args, 0)?;
    let data_type = operand.scalar_type();
    Ok(data_type.map_or_else(|| operand.array(DataType::Int, rows), |t| operand.array(t, rows.min(1))))
}

fn misfit() -> Error {
    Error::internal("a cast was evaluated on another type than it was compiled for")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_python_writes_them() {
        let cases = [
            (0.0, "0.0"),
            (1.0, "1.0"),
            (-2.5, "-2.5"),
            (0.1, "0.1"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
            (1e100, "1e+100"),
            (5e-324, "5e-324"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
            (NAN, "NaN"),
        ];
        for (v, text) in cases {
            assert_eq!(float_text(v), text);
            assert_eq!(float_of(text).map(f64::to_bits), Some(v.to_bits()));
        }
    }

    #[test]
    fn only_decimal_texts_are_numbers() {
        for text in ["", "inf", "nan", "1_000", "0x10", "1e", "abc", "１"] {
            assert_eq!(float_of(text), None, "{text}");
        }
    }
}
