//! Lists, maps and vectors: their size, what is in them, and what comes of their items.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, UInt64Array};
use arrow::buffer::{BooleanBuffer, NullBuffer, OffsetBuffer};
use arrow::compute::take;
use arrow::datatypes::{Date32Type, Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType};

use super::{Call, Cells, Function, Kernel, nulls_of, text};
use crate::aggregate::ExactSum;
use crate::error::{Error, Result};
use crate::expr::ast::Operator;
use crate::expr::compare::compare;
use crate::expr::evaluate::{Operand, bools};
use crate::expr::typing::{Node, Shown, binary};
use crate::value::decimal::is_decimal;
use crate::value::{DataType, Scalar, Value, cell};

pub(super) const ALL: &[Function] = &[
    Function::method("len", (1, 1), len),
    Function::method("contains", (2, 2), contains),
    Function::method("get", (2, 2), get),
    Function::method("first", (1, 1), |call| end(call, 0)),
    Function::method("last", (1, 1), |call| end(call, -1)),
    Function::method("sum", (1, 1), sum),
    Function::method("min", (1, 1), |call| extreme(call, Ordering::Less)),
    Function::method("max", (1, 1), |call| extreme(call, Ordering::Greater)),
];

/// The type of the items of a list or a vector.
pub(super) fn item_of(data_type: Option<DataType>) -> Option<Scalar> {
    match data_type {
        Some(DataType::List(item)) => Some(item),
        Some(DataType::Vector(_)) => Some(Scalar::Float),
        _ => None,
    }
}

/// The items of lists, vectors or of maps' values, all in one column, and which of them a row has.
pub(super) struct Items {
    cells: Cells,
    all: ArrayRef,
    keys: Option<ArrayRef>,
    length: usize,
}

impl Items {
    pub(super) fn of(args: &[Operand], data_type: DataType) -> Result<Items> {
        let cells = Cells::of(args, 0, data_type)?;
        let (all, keys, length) = if let Some(lists) = cells.array.as_list_opt::<i32>() {
            (lists.values().clone(), None, 0)
        } else if let Some(maps) = cells.array.as_map_opt() {
            (maps.values().clone(), Some(maps.keys().clone()), 0)
        } else if let Some(vectors) = cells.array.as_fixed_size_list_opt() {
            (vectors.values().clone(), None, vectors.value_length() as usize)
        } else {
            return Err(Error::internal("a list operand is none"));
        };
        Ok(Items { cells, all, keys, length })
    }

    /// Where the items of a row are; none of one that is null.
    pub(super) fn range(&self, row: usize) -> Range<usize> {
        let row = self.cells.row(row);
        if self.cells.array.is_null(row) {
            return 0..0;
        }
        let offsets = match self.cells.array.as_list_opt::<i32>() {
            Some(lists) => lists.value_offsets(),
            None => match self.cells.array.as_map_opt() {
                Some(maps) => maps.value_offsets(),
                None => return row * self.length..(row + 1) * self.length,
            },
        };
        offsets[row] as usize..offsets[row + 1] as usize
    }

    /// The column of lists, vectors or maps: of one row if they are a constant.
    pub(super) fn array(&self) -> &ArrayRef {
        &self.cells.array
    }

    /// Where each list begins and ends, and which are null.
    pub(super) fn lists(&self) -> (OffsetBuffer<i32>, Option<NullBuffer>) {
        let array = &self.cells.array;
        let offsets = match array.as_list_opt::<i32>() {
            Some(lists) => lists.offsets().clone(),
            None => OffsetBuffer::from_lengths(std::iter::repeat_n(self.length, array.len())),
        };
        (offsets, array.nulls().cloned())
    }

    /// The items, as a column.
    pub(super) fn all(&self) -> &ArrayRef {
        &self.all
    }
}

/// How many items, entries, bytes or code points there are.
fn len(call: Call<'_>) -> Result<Node> {
    let Some(data_type) = call.type_of(0) else { return Ok(Node::null(Some(DataType::Int))) };
    let kernel = match data_type {
        DataType::Str => return text::len(call),
        DataType::List(_) | DataType::Map(_) | DataType::Vector(_) => Kernel::new(move |args, rows| {
            let items = Items::of(args, data_type)?;
            let counts: Vec<i64> = (0..rows).map(|row| items.range(row).len() as i64).collect();
            Ok(Arc::new(Int64Array::new(counts.into(), nulls_of(args))))
        }),
        DataType::Bytes => Kernel::new(|args, rows| {
            let cells = Cells::of(args, 0, DataType::Bytes)?;
            let bytes = cells.array.as_binary_opt::<i32>().ok_or_else(misfit)?;
            let counts: Vec<i64> =
                (0..rows).map(|row| i64::from(bytes.value_length(cells.row(row)))).collect();
            Ok(Arc::new(Int64Array::new(counts.into(), nulls_of(args))))
        }),
        _ => return Err(call.refuse("it takes a text, bytes, a list, a map or a vector")),
    };
    Ok(call.strict(1, DataType::Int, kernel))
}

/// Whether a text has a part, a list or a vector an item that equals a value, or a map a key.
fn contains(mut call: Call<'_>) -> Result<Node> {
    let data_type = match call.type_of(0) {
        None | Some(DataType::Str) => return text::contains(call),
        Some(data_type @ DataType::Map(_)) => {
            call.require(&[1], DataType::Str, "the keys of a map are texts")?;
            let kernel = Kernel::new(move |args, rows| {
                let places = places_of_keys(args, data_type, rows)?;
                let found = BooleanBuffer::collect_bool(rows, |row| places.is_valid(row));
                Ok(Arc::new(BooleanArray::new(found, nulls_of(args))))
            });
            return Ok(call.strict(2, DataType::Bool, kernel));
        }
        Some(data_type) => data_type,
    };
    let Some(item) = item_of(Some(data_type)).map(DataType::from) else {
        return Err(call.refuse("it takes a text, a list, a map or a vector"));
    };
    // What may be compared with an item is what may be looked for.
    let items = Node::Column { name: String::new(), data_type: item };
    let wanted = call.args.pop().unwrap_or(Node::null(None));
    let is_read = matches!(item, DataType::Datetime | DataType::Date | DataType::Decimal(_));
    let is_constant = wanted.constant().is_some_and(|v| v.data_type() == Some(DataType::Str));
    let shown = Shown { op: Operator::Eq, expr: call.expr };
    let (wanted, wanted_type) = match binary(&shown, items, wanted.clone()) {
        Ok(Node::Binary { right, .. }) => match right.data_type() {
            Some(data_type) => (*right, data_type),
            None => return Ok(Node::null(Some(DataType::Bool))),
        },
        Ok(_) => return Ok(Node::null(Some(DataType::Bool))),
        Err(fault) if is_constant && is_read => return Err(fault),
        Err(_) => {
            call.args.push(wanted);
            return Err(call.refuse("it takes what may be compared with an item by =="));
        }
    };
    call.args.push(wanted);
    let kernel = Kernel::new(move |args, rows| {
        let items = Items::of(args, data_type)?;
        let (mut found, mut unknown) = (vec![false; rows], vec![false; rows]);
        let mut note = |row: usize, equal: &BooleanArray| {
            for i in items.range(row) {
                found[row] |= equal.is_valid(i) && equal.value(i);
                unknown[row] |= equal.is_null(i);
            }
        };
        match super::arg(args, 1)? {
            Operand::Column(values) if items.cells.is_one => {
                for row in 0..rows {
                    let value = Operand::Scalar(cell(wanted_type, values, row));
                    note(row, bools(&equal_items(&items, item, &value, wanted_type)?)?);
                }
            }
            Operand::Column(values) => {
                let values = Operand::Column(beside_items(&items, values, rows)?);
                let equal = equal_items(&items, item, &values, wanted_type)?;
                (0..rows).try_for_each(|row| bools(&equal).map(|equal| note(row, equal)))?;
            }
            constant => {
                let equal = equal_items(&items, item, constant, wanted_type)?;
                (0..rows).try_for_each(|row| bools(&equal).map(|equal| note(row, equal)))?;
            }
        }
        let known = BooleanBuffer::collect_bool(rows, |row| found[row] || !unknown[row]);
        let nulls = NullBuffer::union(Some(&NullBuffer::new(known)), nulls_of(args).as_ref());
        Ok(Arc::new(BooleanArray::new(BooleanBuffer::from(found), nulls)))
    });
    Ok(call.strict(2, DataType::Bool, kernel))
}

/// Whether each item equals a value; null of a null, as `==` has it.
fn equal_items(items: &Items, item: DataType, value: &Operand, data_type: DataType) -> Result<ArrayRef> {
    let all = Operand::Column(items.all().clone());
    match value {
        Operand::Scalar(Value::Null) => Ok(Arc::new(BooleanArray::new_null(items.all().len()))),
        value => compare(Operator::Eq, (&all, item), (value, data_type)),
    }
}

/// For each item the value of its row.
fn beside_items(items: &Items, values: &ArrayRef, rows: usize) -> Result<ArrayRef> {
    let mut rows_of_items: Vec<Option<u64>> = vec![None; items.all().len()];
    for row in 0..rows {
        items.range(row).for_each(|i| rows_of_items[i] = Some(row as u64));
    }
    Ok(take(values, &UInt64Array::from(rows_of_items), None)?)
}

/// The item at a position, from the end if it is negative, or what a map has under a key; null if there is none.
fn get(call: Call<'_>) -> Result<Node> {
    let Some(data_type) = call.type_of(0) else {
        return Err(call.refuse("it takes a list, a map or a vector"));
    };
    match data_type {
        DataType::Map(item) => {
            call.require(&[1], DataType::Str, "the keys of a map are texts")?;
            let kernel = Kernel::new(move |args, rows| {
                let items = Items::of(args, data_type)?;
                Ok(take(items.all(), &places_of_keys(args, data_type, rows)?, None)?)
            });
            Ok(call.strict(2, item.into(), kernel))
        }
        DataType::Json => Err(call.refuse("of json it is .json_extract(\"key[0]\")")),
        _ => {
            let Some(item) = item_of(Some(data_type)) else {
                return Err(call.refuse("it takes a list, a map or a vector"));
            };
            call.require(&[1], DataType::Int, "a position in a list is an int")?;
            let kernel = Kernel::new(move |args, rows| at_position(args, data_type, rows));
            Ok(call.strict(2, item.into(), kernel))
        }
    }
}

fn at_position(args: &[Operand], data_type: DataType, rows: usize) -> Result<ArrayRef> {
    let items = Items::of(args, data_type)?;
    let positions = Cells::of(args, 1, DataType::Int)?;
    let ints = positions.array.as_primitive_opt::<Int64Type>().ok_or_else(misfit)?;
    let place = |row: usize| {
        let (range, at) = (items.range(row), positions.row(row));
        let position = ints.is_valid(at).then(|| ints.value(at))?;
        let position = if position < 0 { position + range.len() as i64 } else { position };
        let place = range.start.checked_add(usize::try_from(position).ok()?)?;
        range.contains(&place).then_some(place as u64)
    };
    let places: UInt64Array = (0..rows).map(place).collect();
    Ok(take(items.all(), &places, None)?)
}

/// Where each row has the key that it looks for, if it has it.
fn places_of_keys(args: &[Operand], data_type: DataType, rows: usize) -> Result<UInt64Array> {
    let items = Items::of(args, data_type)?;
    let keys = items.keys.as_ref().and_then(|keys| keys.as_string_opt::<i32>()).ok_or_else(misfit)?;
    let wanted = Cells::of(args, 1, DataType::Str)?;
    let texts = wanted.array.as_string_opt::<i32>().ok_or_else(misfit)?;
    let place = |row: usize| {
        let at = wanted.row(row);
        let key = texts.is_valid(at).then(|| texts.value(at))?;
        items.range(row).find(|i| keys.value(*i) == key).map(|i| i as u64)
    };
    Ok((0..rows).map(place).collect())
}

/// The first or the last item.
fn end(mut call: Call<'_>, position: i64) -> Result<Node> {
    if call.type_of(0).is_none() {
        return Ok(call.first());
    }
    if item_of(call.type_of(0)).is_none() {
        return Err(call.refuse("it takes a list or a vector"));
    }
    call.args.push(Node::Scalar { value: Value::Int(position), data_type: Some(DataType::Int) });
    get(call)
}

/// The exact sum of the items that are not null, 0 of none.
fn sum(call: Call<'_>) -> Result<Node> {
    let Some(data_type) = call.type_of(0) else { return Ok(call.first()) };
    let item = item_of(Some(data_type));
    let kernel = match item {
        Some(Scalar::Int) => Kernel::new(move |args, rows| {
            let items = Items::of(args, data_type)?;
            let ints = items.all().as_primitive_opt::<Int64Type>().ok_or_else(misfit)?;
            let known = |i: &usize| ints.is_valid(*i);
            let sum = |row| items.range(row).filter(known).map(|i| i128::from(ints.value(i))).sum::<i128>();
            let sums = (0..rows).map(|row| i64::try_from(sum(row)).ok());
            masked(Arc::new(sums.collect::<Int64Array>()), args)
        }),
        Some(Scalar::Float) => Kernel::new(move |args, rows| {
            let items = Items::of(args, data_type)?;
            let floats = items.all().as_primitive_opt::<Float64Type>().ok_or_else(misfit)?;
            let sum = |row| {
                let mut sum = ExactSum::default();
                items.range(row).filter(|i| floats.is_valid(*i)).for_each(|i| sum.add(floats.value(i)));
                sum.round()
            };
            let sums: Vec<f64> = (0..rows).map(sum).collect();
            Ok(Arc::new(Float64Array::new(sums.into(), nulls_of(args))))
        }),
        Some(Scalar::Decimal(_)) => Kernel::new(move |args, rows| {
            let items = Items::of(args, data_type)?;
            let all = items.all().as_primitive_opt::<Decimal128Type>().ok_or_else(misfit)?;
            let sum = |row| decimal_sum(items.range(row).filter(|i| all.is_valid(*i)).map(|i| all.value(i)));
            let sums: arrow::array::Decimal128Array = (0..rows).map(sum).collect();
            masked(Arc::new(sums.with_data_type(items.all().data_type().clone())), args)
        }),
        Some(_) => return Err(call.refuse("it takes a list of numbers")),
        None => return Err(call.refuse("it takes a list or a vector")),
    };
    let data_type = item.map_or(DataType::Int, DataType::from);
    Ok(call.strict(1, data_type, kernel))
}

/// The sum, if it has at most 38 digits. Ten thousand items of 38 digits do not fit 128 bits: halves are summed.
fn decimal_sum(items: impl Iterator<Item = i128>) -> Option<i128> {
    let (high, low) =
        items.fold((0i128, 0i128), |(high, low), v| (high + (v >> 64), low + (v & i128::from(u64::MAX))));
    let high = i64::try_from(high + (low >> 64)).ok()?;
    Some(i128::from(high) << 64 | (low & i128::from(u64::MAX))).filter(|sum| is_decimal(*sum))
}

/// The column, null also where an operand is.
fn masked(array: ArrayRef, args: &[Operand]) -> Result<ArrayRef> {
    match nulls_of(args) {
        None => Ok(array),
        Some(nulls) => {
            let gone = BooleanArray::new(!nulls.inner(), None);
            Ok(arrow::compute::nullif(&array, &gone)?)
        }
    }
}

/// The item that comes first in `order`, of those that are not null; NaN if one is, null of none.
fn extreme(call: Call<'_>, order: Ordering) -> Result<Node> {
    let Some(data_type) = call.type_of(0) else { return Ok(call.first()) };
    let item = match item_of(Some(data_type)) {
        None => return Err(call.refuse("it takes a list or a vector")),
        Some(Scalar::Bytes) => return Err(call.refuse("it takes a list of values that have an order")),
        Some(item) => item,
    };
    let kernel = Kernel::new(move |args, rows| {
        let items = Items::of(args, data_type)?;
        let all = items.all();
        let (comes, is_nan) = ordering(item, all)?;
        let better =
            |a: usize, b: usize| if is_nan(a) || (!is_nan(b) && comes(b, a) != order) { a } else { b };
        let place = |row| items.range(row).filter(|i| all.is_valid(*i)).reduce(better).map(|i| i as u64);
        let places: UInt64Array = (0..rows).map(place).collect();
        Ok(take(all, &places, None)?)
    });
    Ok(call.strict(1, item.into(), kernel))
}

/// How two items compare, and whether one is NaN.
type Comparison<'a> = (Box<dyn Fn(usize, usize) -> Ordering + 'a>, Box<dyn Fn(usize) -> bool + 'a>);

fn ordering(item: Scalar, all: &ArrayRef) -> Result<Comparison<'_>> {
    macro_rules! of {
        ($array:expr) => {{
            let array = $array.ok_or_else(misfit)?;
            Box::new(move |a, b| array.value(a).cmp(&array.value(b)))
        }};
    }
    let comes: Box<dyn Fn(usize, usize) -> Ordering> = match item {
        Scalar::Float => {
            let floats = all.as_primitive_opt::<Float64Type>().ok_or_else(misfit)?;
            let comes = move |a, b| floats.value(a).partial_cmp(&floats.value(b)).unwrap_or(Ordering::Equal);
            return Ok((Box::new(comes), Box::new(move |i| floats.value(i).is_nan())));
        }
        Scalar::Int => of!(all.as_primitive_opt::<Int64Type>()),
        Scalar::Datetime => of!(all.as_primitive_opt::<TimestampMicrosecondType>()),
        Scalar::Date => of!(all.as_primitive_opt::<Date32Type>()),
        Scalar::Decimal(_) => of!(all.as_primitive_opt::<Decimal128Type>()),
        Scalar::Bool => of!(all.as_boolean_opt()),
        Scalar::Str => of!(all.as_string_opt::<i32>()),
        Scalar::Bytes => of!(all.as_binary_opt::<i32>()),
    };
    Ok((comes, Box::new(|_| false)))
}

fn misfit() -> Error {
    Error::internal("a list has other items than its expression says")
}
