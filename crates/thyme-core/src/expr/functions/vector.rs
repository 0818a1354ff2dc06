//! How alike two vectors of one length are.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Float64Array};
use arrow::datatypes::Float64Type;

use super::{Call, Cells, Function, Kernel};
use crate::error::{Error, Result};
use crate::expr::evaluate::Operand;
use crate::expr::typing::Node;
use crate::value::{DataType, canonical};

pub(super) const ALL: &[Function] = &[
    Function::free("dot", (2, 2), |call| of_two(call, |a, b| Some(added(a, b, |a, b| a * b)))),
    Function::free("cosine", (2, 2), |call| of_two(call, cosine)),
    Function::free("l2", (2, 2), |call| {
        of_two(call, |a, b| Some(libm::sqrt(added(a, b, |a, b| (a - b) * (a - b)))))
    }),
];

/// How many sums are taken side by side, so that processors can.
const LANES: usize = 8;

/// The sum of `f` over the pairs, always in this order: that of index i goes to sum i mod 8, and the eight sums are added
/// as ((0 + 4) + (2 + 6)) + ((1 + 5) + (3 + 7)). No multiplication is fused with an addition.
fn added(a: &[f64], b: &[f64], f: fn(f64, f64) -> f64) -> f64 {
    let mut sums = [0.0; LANES];
    for (a, b) in a.chunks(LANES).zip(b.chunks(LANES)) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += f(*a, *b);
        }
    }
    let [s0, s1, s2, s3, s4, s5, s6, s7] = sums;
    ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7))
}

/// The cosine of the angle between them, within -1 and 1; `None` if one has no direction.
fn cosine(a: &[f64], b: &[f64]) -> Option<f64> {
    let dot = |a: &[f64], b: &[f64]| added(a, b, |a, b| a * b);
    let lengths = libm::sqrt(dot(a, a) * dot(b, b));
    let cosine = dot(a, b) / lengths;
    (lengths != 0.0).then_some(if cosine.is_nan() { cosine } else { cosine.clamp(-1.0, 1.0) })
}

fn of_two(mut call: Call<'_>, f: fn(&[f64], &[f64]) -> Option<f64>) -> Result<Node> {
    let expected = "it takes two vectors of one length; cast a list with .cast(\"vector[LENGTH]\")";
    let is_other = |t: DataType| !matches!(t, DataType::Vector(_) | DataType::Json);
    if [0, 1].into_iter().filter_map(|index| call.type_of(index)).any(is_other) {
        return Err(call.refuse(expected));
    }
    let data_type = match call.unify(|_| true)? {
        None => return Ok(Node::null(Some(DataType::Float))),
        Some(data_type @ DataType::Vector(_)) => data_type,
        Some(_) => return Err(call.refuse(expected)),
    };
    let kernel = Kernel::new(move |args, rows| {
        let (a, b) = (Vectors::of(args, 0, data_type)?, Vectors::of(args, 1, data_type)?);
        let value = |row| f(a.at(row)?, b.at(row)?).map(canonical);
        Ok(Arc::new((0..rows).map(value).collect::<Float64Array>()))
    });
    Ok(call.strict(2, DataType::Float, kernel))
}

/// The vectors of an operand.
struct Vectors {
    cells: Cells,
    floats: Float64Array,
    length: usize,
}

impl Vectors {
    fn of(args: &[Operand], index: usize, data_type: DataType) -> Result<Vectors> {
        let cells = Cells::of(args, index, data_type)?;
        let wrong = || Error::internal("a vector operand is none");
        let vectors = cells.array.as_fixed_size_list_opt().ok_or_else(wrong)?;
        let floats = vectors.values().as_primitive_opt::<Float64Type>().ok_or_else(wrong)?.clone();
        Ok(Vectors { length: vectors.value_length() as usize, floats, cells })
    }

    /// That of a row; `None` for null.
    fn at(&self, row: usize) -> Option<&[f64]> {
        let row = self.cells.row(row);
        let floats = self.floats.values().get(row * self.length..(row + 1) * self.length);
        floats.filter(|_| self.cells.array.is_valid(row))
    }
}
