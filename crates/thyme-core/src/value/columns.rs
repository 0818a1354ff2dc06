//! Values in Arrow columns, both ways, for every type.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, BooleanArray, Date32Array, Decimal128Array,
    FixedSizeListArray, Float64Array, Int64Array, ListArray, MapArray, StringBuilder, StructArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{
    DataType as A, Date32Type, Decimal128Type, Field, FieldRef, Fields, Float64Type, Int64Type, TimeUnit,
    TimestampMicrosecondType,
};

use super::encoding::encode;
use super::{DECIMAL_DIGITS_MAX, DataType, Scalar, Unscaled, Value, canonical};

impl DataType {
    /// The Arrow type of a column of this type.
    pub fn arrow(self) -> A {
        match self {
            DataType::Int => A::Int64,
            DataType::Float => A::Float64,
            DataType::Str | DataType::Json => A::Utf8,
            DataType::Bool => A::Boolean,
            DataType::Datetime => A::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            DataType::Date => A::Date32,
            DataType::Bytes => A::Binary,
            DataType::Decimal(scale) => A::Decimal128(DECIMAL_DIGITS_MAX, scale as i8),
            DataType::List(item) => A::List(item_field(item)),
            DataType::Vector(length) => A::FixedSizeList(item_field(Scalar::Float), length as i32),
            DataType::Map(item) => A::Map(entries_field(item), false),
        }
    }

    /// The type whose columns have this Arrow type. Text stands for str, also where it was JSON: the bits are the same.
    pub fn of_arrow(arrow: &A) -> Option<DataType> {
        Some(match arrow {
            A::Int64 => DataType::Int,
            A::Float64 => DataType::Float,
            A::Utf8 => DataType::Str,
            A::Boolean => DataType::Bool,
            A::Date32 => DataType::Date,
            A::Binary => DataType::Bytes,
            A::Decimal128(DECIMAL_DIGITS_MAX, scale) => DataType::Decimal(u8::try_from(*scale).ok()?),
            A::List(item) => DataType::List(DataType::of_arrow(item.data_type())?.scalar()?),
            A::FixedSizeList(_, length) => DataType::Vector(u32::try_from(*length).ok()?),
            A::Map(entries, _) => match entries.data_type() {
                A::Struct(fields) => DataType::Map(DataType::of_arrow(fields.get(1)?.data_type())?.scalar()?),
                _ => return None,
            },
            A::Timestamp(..) => DataType::Datetime,
            _ => return None,
        })
        .filter(|t| t.arrow() == *arrow)
    }
}

fn item_field(item: Scalar) -> FieldRef {
    Arc::new(Field::new("item", DataType::from(item).arrow(), true))
}

fn entry_fields(item: Scalar) -> Fields {
    [Field::new("key", A::Utf8, false), Field::new("value", DataType::from(item).arrow(), true)]
        .into_iter()
        .collect()
}

fn entries_field(item: Scalar) -> FieldRef {
    Arc::new(Field::new("entries", A::Struct(entry_fields(item)), false))
}

/// A column of `data_type`, a value a row: an int widens as [`Value::widen`] says, what does not fit is null.
pub fn column<'v>(data_type: DataType, values: impl IntoIterator<Item = &'v Value>) -> ArrayRef {
    let values: Vec<Value> =
        values.into_iter().map(|v| v.clone().widen(data_type).unwrap_or_default()).collect();
    of_type(data_type, &values)
}

/// A column of values that are of `data_type` or null.
fn of_type(data_type: DataType, values: &[Value]) -> ArrayRef {
    macro_rules! plain {
        ($array:ty, $($pattern:pat => $value:expr),+) => {
            values.iter().map(|v| match v { $($pattern => Some($value),)+ _ => None }).collect::<$array>()
        };
    }
    match data_type {
        DataType::Int => Arc::new(plain!(Int64Array, Value::Int(v) => *v)),
        DataType::Float => Arc::new(plain!(Float64Array, Value::Float(v) => *v)),
        DataType::Bool => Arc::new(plain!(BooleanArray, Value::Bool(v) => *v)),
        DataType::Date => Arc::new(plain!(Date32Array, Value::Date(v) => *v)),
        DataType::Datetime => {
            Arc::new(plain!(TimestampMicrosecondArray, Value::Datetime(v) => *v).with_timezone("UTC"))
        }
        DataType::Decimal(scale) => Arc::new(
            plain!(Decimal128Array, Value::Decimal(_, v) => v.get())
                .with_data_type(A::Decimal128(DECIMAL_DIGITS_MAX, scale as i8)),
        ),
        DataType::Str | DataType::Json => {
            let mut texts = StringBuilder::new();
            for value in values {
                match value {
                    Value::Str(v) | Value::Json(v) => texts.append_value(v),
                    _ => texts.append_null(),
                }
            }
            Arc::new(texts.finish())
        }
        DataType::Bytes => {
            let mut bytes = BinaryBuilder::new();
            for value in values {
                match value {
                    Value::Bytes(v) => bytes.append_value(v),
                    _ => bytes.append_null(),
                }
            }
            Arc::new(bytes.finish())
        }
        DataType::List(item) => Arc::new(lists(item, values)),
        DataType::Map(item) => Arc::new(maps(item, values)),
        DataType::Vector(length) => Arc::new(vectors(length, values)),
    }
}

fn nulls(values: &[Value]) -> Option<NullBuffer> {
    let valid: Vec<bool> = values.iter().map(|v| !v.is_null()).collect();
    valid.contains(&false).then(|| NullBuffer::from(valid))
}

fn lists(item: Scalar, values: &[Value]) -> ListArray {
    let items = |value: &Value| match value {
        Value::List(_, items) => items.clone(),
        _ => Arc::default(),
    };
    let items: Vec<Arc<[Value]>> = values.iter().map(items).collect();
    let flat: Vec<Value> = items.iter().flat_map(|items| items.iter().cloned()).collect();
    let offsets = OffsetBuffer::from_lengths(items.iter().map(|items| items.len()));
    ListArray::new(item_field(item), offsets, of_type(item.into(), &flat), nulls(values))
}

fn maps(item: Scalar, values: &[Value]) -> MapArray {
    let entries = |value: &Value| match value {
        Value::Map(_, entries) => entries.clone(),
        _ => Arc::default(),
    };
    let entries: Vec<super::Entries> = values.iter().map(entries).collect();
    let mut keys = StringBuilder::new();
    entries.iter().flat_map(|e| e.iter()).for_each(|(key, _)| keys.append_value(key));
    let flat: Vec<Value> = entries.iter().flat_map(|e| e.iter().map(|(_, v)| v.clone())).collect();
    let offsets = OffsetBuffer::from_lengths(entries.iter().map(|e| e.len()));
    let columns: Vec<ArrayRef> = vec![Arc::new(keys.finish()), of_type(item.into(), &flat)];
    let entries = StructArray::new(entry_fields(item), columns, None);
    MapArray::new(entries_field(item), offsets, entries, nulls(values), false)
}

fn vectors(length: u32, values: &[Value]) -> FixedSizeListArray {
    let mut floats: Vec<f64> = Vec::with_capacity(values.len() * length as usize);
    for value in values {
        match value {
            Value::Vector(v) => floats.extend_from_slice(v),
            _ => floats.extend(std::iter::repeat_n(0.0, length as usize)),
        }
    }
    let floats = Arc::new(Float64Array::from(floats));
    FixedSizeListArray::new(item_field(Scalar::Float), length as i32, floats, nulls(values))
}

/// The value of a row of a column of `data_type`; null also for an Arrow column of another type.
pub fn cell(data_type: DataType, array: &dyn Array, row: usize) -> Value {
    if row >= array.len() || array.is_null(row) {
        return Value::Null;
    }
    read(data_type, array, row).unwrap_or_default()
}

fn read(data_type: DataType, array: &dyn Array, row: usize) -> Option<Value> {
    Some(match data_type {
        DataType::Int => Value::Int(array.as_primitive_opt::<Int64Type>()?.value(row)),
        DataType::Float => Value::Float(array.as_primitive_opt::<Float64Type>()?.value(row)),
        DataType::Bool => Value::Bool(array.as_boolean_opt()?.value(row)),
        DataType::Date => Value::Date(array.as_primitive_opt::<Date32Type>()?.value(row)),
        DataType::Datetime => {
            Value::Datetime(array.as_primitive_opt::<TimestampMicrosecondType>()?.value(row))
        }
        DataType::Decimal(scale) => {
            Value::Decimal(scale, Unscaled::new(array.as_primitive_opt::<Decimal128Type>()?.value(row)))
        }
        DataType::Str => Value::Str(array.as_string_opt::<i32>()?.value(row).into()),
        DataType::Json => Value::Json(array.as_string_opt::<i32>()?.value(row).into()),
        DataType::Bytes => Value::Bytes(array.as_binary_opt::<i32>()?.value(row).into()),
        DataType::List(item) => {
            let items = array.as_list_opt::<i32>()?.value(row);
            Value::List(item, (0..items.len()).map(|i| cell(item.into(), &items, i)).collect())
        }
        DataType::Vector(_) => {
            let items = array.as_fixed_size_list_opt()?.value(row);
            Value::Vector(items.as_primitive_opt::<Float64Type>()?.values().iter().copied().collect())
        }
        DataType::Map(item) => {
            let entries = array.as_map_opt()?.value(row);
            let keys = entries.column(0).as_string_opt::<i32>()?;
            let value = |i| (Arc::from(keys.value(i)), cell(item.into(), entries.column(1), i));
            Value::Map(item, (0..entries.len()).map(value).collect())
        }
    })
}

/// The canonical bytes of each row of a column whose values do not fit a word.
pub fn encoded(data_type: DataType, array: &dyn Array) -> BinaryArray {
    let mut out = BinaryBuilder::with_capacity(array.len(), array.len() * 16);
    let mut bytes = Vec::new();
    for row in 0..array.len() {
        match cell(data_type, array, row) {
            Value::Null => out.append_null(),
            value => {
                bytes.clear();
                encode(&value, &mut bytes);
                out.append_value(&bytes);
            }
        }
    }
    out.finish()
}

/// Floats in one bit pattern each, wherever they are in a value.
#[must_use]
pub fn canonical_value(value: Value) -> Value {
    match value {
        Value::Float(v) => Value::Float(canonical(v)),
        Value::Vector(v) => Value::Vector(v.iter().map(|v| canonical(*v)).collect()),
        Value::List(Scalar::Float, items) => {
            Value::List(Scalar::Float, items.iter().cloned().map(canonical_value).collect())
        }
        Value::Map(Scalar::Float, entries) => Value::Map(
            Scalar::Float,
            entries.iter().map(|(k, v)| (k.clone(), canonical_value(v.clone()))).collect(),
        ),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{values_of, varied_types};
    use super::*;

    #[test]
    fn values_survive_their_column() {
        for data_type in varied_types() {
            let mut values = values_of(data_type);
            values.insert(1, Value::Null);
            let array = column(data_type, &values);
            assert_eq!(array.data_type(), &data_type.arrow());
            assert_eq!(array.null_count(), 1);
            for (row, value) in values.iter().enumerate() {
                assert_eq!(&cell(data_type, &array, row), value, "{data_type}");
            }
            let sliced = array.slice(2, values.len() - 2);
            assert_eq!(cell(data_type, &sliced, 0), values[2], "{data_type}");
        }
    }
}
