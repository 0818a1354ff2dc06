//! `hash_bucket(n)`: a bucket for a value, alike for ever and everywhere.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array};

use super::text::{is_valid, only_text};
use super::{Call, Function, Kernel, arg, nulls_of};
use crate::error::Result;
use crate::expr::side::{Side, map};
use crate::expr::typing::Node;
use crate::value::decimal::ShownDecimal;
use crate::value::{DataType, Value};

pub(super) const ALL: &[Function] = &[Function::method("hash_bucket", (2, 2), hash_bucket)];

/// A hash of the value's bytes, modulo a constant number of buckets.
fn hash_bucket(call: Call<'_>) -> Result<Node> {
    let expected = "a constant number of buckets from 1 to 9223372036854775807";
    let buckets = call.int_constant(1, 1..=i64::MAX, expected)?.unwrap_or(1) as u64;
    let bucket = move |bytes: &[u8]| (hash(bytes) % buckets) as i64;
    let kernel = match call.type_of(0) {
        None => return Ok(Node::null(Some(DataType::Int))),
        Some(DataType::Int | DataType::Datetime) => Kernel::new(move |args, _| {
            let operand = arg(args, 0)?;
            let values = map(operand.ints()?, Side::One(()), |v, ()| bucket(&v.to_le_bytes()));
            Ok(Arc::new(Int64Array::new(values.into(), operand.nulls().cloned())))
        }),
        Some(DataType::Bool) => Kernel::new(move |args, rows| {
            let array = arg(args, 0)?.array(DataType::Bool, rows);
            let of = |v: bool| bucket(&[u8::from(v)]);
            let values = array.as_boolean_opt().map(|bools| bools.values().iter().map(of).collect());
            let values: Vec<i64> = values.unwrap_or_default();
            Ok(Arc::new(Int64Array::new(values.into(), array.nulls().cloned())))
        }),
        Some(DataType::Str) => Kernel::new(move |args, rows| {
            let nulls = nulls_of(args);
            let (text, rows) = only_text(args, rows)?;
            let of = |row| if is_valid(nulls.as_ref(), row) { bucket(text.at(row).as_bytes()) } else { 0 };
            let values: Vec<i64> = (0..rows).map(of).collect();
            Ok(Arc::new(Int64Array::new(values.into(), nulls)))
        }),
        Some(data_type @ (DataType::Date | DataType::Bytes | DataType::Decimal(_))) => {
            Kernel::of_values(data_type, DataType::Int, move |value| {
                Some(Value::Int(match value {
                    Value::Date(day) => bucket(&i64::from(day).to_le_bytes()),
                    Value::Bytes(bytes) => bucket(&bytes),
                    Value::Decimal(scale, v) => bucket(shortest(v.get(), scale).as_bytes()),
                    _ => return None,
                }))
            })
        }
        Some(_) => {
            return Err(call.refuse(
                "it takes an int, a text, a bool, a datetime, a date, bytes or a decimal; cast another first",
            ));
        }
    };
    Ok(call.strict(1, DataType::Int, kernel))
}

/// A decimal without zeros at its end: the same at every scale.
fn shortest(unscaled: i128, scale: u8) -> String {
    let text = ShownDecimal(unscaled, scale).to_string();
    match scale {
        0 => text,
        _ => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
    }
}

/// FNV-1a of 64 bits, whose bits are then mixed as SplitMix64 mixes its state: FNV alone leaves the low bits of short
/// texts alike.
fn hash(bytes: &[u8]) -> u64 {
    let fnv = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mixed = (fnv ^ (fnv >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
