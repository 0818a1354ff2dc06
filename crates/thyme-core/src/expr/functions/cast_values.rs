//! Casts of dates, bytes, decimals, lists, maps, vectors and JSON.

use std::sync::Arc;

use arrow::array::{Array, AsArray, ListArray, MapArray, StructArray};
use arrow::datatypes::DataType as Arrow;

use super::list::Items;
use super::{Kernel, cast, json};
use crate::error::Error;
use crate::expr::evaluate::Operand;
use crate::expr::texts::TEXT_BYTES_MAX;
use crate::time::{date_in_range, date_text, parse_date};
use crate::value::decimal::{ShownDecimal, decimal_as_float, parse_decimal, rescaled, rounded};
use crate::value::{DataType, Scalar, Unscaled, Value};
use crate::zone::DAY_US;

/// What makes values of `to` of those of `from`; `None` if nothing does.
pub(super) fn kernel(from: DataType, to: DataType) -> Option<Kernel> {
    use DataType::{Json, List, Map, Str, Vector};
    Some(match (from, to) {
        (Json, to) => json::reader(Json, Vec::new(), to),
        (Str, Json | List(_) | Map(_) | Vector(_)) => json::reader(Str, Vec::new(), to),
        (from, Json) => Kernel::of_values(from, Json, |value| match value.widen(Json)? {
            Value::Json(text) if text.len() > TEXT_BYTES_MAX => None,
            json => Some(json),
        }),
        (List(Scalar::Int | Scalar::Float), Vector(_)) => Kernel::of_values(from, to, move |v| v.widen(to)),
        (Vector(_) | List(_), List(item)) => {
            items(from, to, cast::kernel(super::list::item_of(Some(from))?.into(), item.into())?)
        }
        (Map(a), Map(b)) => items(from, to, cast::kernel(a.into(), b.into())?),
        _ => return of_scalars(from, to),
    })
}

fn of_scalars(from: DataType, to: DataType) -> Option<Kernel> {
    use DataType::{Bool, Bytes, Date, Datetime, Decimal, Float, Int, Str};
    let decimal = |scale: u8, v: i128| Value::Decimal(scale, Unscaled::new(v));
    let read: fn(Value, DataType) -> Option<Value> = match (from, to) {
        (Date, Datetime) => |v, _| match v {
            Value::Date(day) => Some(Value::Datetime(i64::from(day) * DAY_US)),
            _ => None,
        },
        (Datetime, Date) => |v, _| match v {
            Value::Datetime(us) => date_of(us).map(Value::Date),
            _ => None,
        },
        (Date | Decimal(_), Str) => |v, _| match v {
            Value::Date(day) => Some(Value::Str(date_text(day).into())),
            Value::Decimal(scale, v) => Some(Value::Str(ShownDecimal(v.get(), scale).to_string().into())),
            _ => None,
        },
        (Bytes, Str) => |v, _| match v {
            Value::Bytes(bytes) => std::str::from_utf8(&bytes).ok().map(|text| Value::Str(text.into())),
            _ => None,
        },
        (Str, Date | Bytes) => |v, to| match (v, to) {
            (Value::Str(text), Date) => parse_date(text.trim()).map(Value::Date),
            (Value::Str(text), _) => Some(Value::Bytes(text.as_bytes().into())),
            _ => None,
        },
        (Decimal(_), Int | Float | Bool) => |v, to| match (v, to) {
            (Value::Decimal(scale, v), Int) => {
                i64::try_from(v.get() / 10i128.pow(scale.into())).ok().map(Value::Int)
            }
            (Value::Decimal(scale, v), Float) => Some(Value::Float(decimal_as_float(v.get(), scale))),
            (Value::Decimal(_, v), _) => Some(Value::Bool(v.get() != 0)),
            _ => None,
        },
        (Int | Float | Str | Decimal(_), Decimal(scale)) => {
            return Some(Kernel::of_values(from, to, move |v| {
                let unscaled = match v {
                    Value::Int(v) => rescaled(v.into(), 0, scale)?,
                    Value::Decimal(from, v) => rounded(v.get(), from, scale)?,
                    // The digits that are printed are those of the exact value, rounded half to even.
                    Value::Float(v) => parse_decimal(&format!("{v:.*}", usize::from(scale)), scale).ok()?,
                    Value::Str(text) => parse_decimal(&text, scale).ok()?,
                    _ => return None,
                };
                Some(decimal(scale, unscaled))
            }));
        }
        _ => return None,
    };
    Some(Kernel::of_values(from, to, move |v| read(v, to)))
}

/// The day in UTC, if it is of the years that dates have.
pub(super) fn date_of(us: i64) -> Option<i32> {
    i32::try_from(us.div_euclid(DAY_US)).ok().and_then(date_in_range)
}

/// Casts every item of a list or a vector, or every value of a map, by `kernel`.
fn items(from: DataType, to: DataType, kernel: Kernel) -> Kernel {
    Kernel::new(move |args, _| {
        let items = Items::of(args, from)?;
        let all = items.all().clone();
        let count = all.len();
        let cast = kernel.run(&[Operand::Column(all)], count)?;
        match to.arrow() {
            Arrow::List(field) => {
                let (offsets, nulls) = items.lists();
                Ok(Arc::new(ListArray::try_new(field, offsets, cast, nulls)?))
            }
            Arrow::Map(field, is_sorted) => {
                let maps = items.array().as_map_opt().ok_or_else(misfit)?;
                let Arrow::Struct(fields) = field.data_type() else { return Err(misfit()) };
                let entries = StructArray::try_new(fields.clone(), vec![maps.keys().clone(), cast], None)?;
                let (offsets, nulls) = (maps.offsets().clone(), maps.nulls().cloned());
                Ok(Arc::new(MapArray::try_new(field, offsets, entries, nulls, is_sorted)?))
            }
            _ => Err(misfit()),
        }
    })
}

fn misfit() -> Error {
    Error::internal("a cast was evaluated on another type than it was compiled for")
}
