//! Operands of vectorised loops: a column's buffer or one constant, never expanded.

use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};

/// One side of an operator.
#[derive(Clone, Copy)]
pub(super) enum Side<'a, T> {
    /// A value a row.
    Many(&'a [T]),
    /// The same value for all rows.
    One(T),
}

/// Applies `f` row by row. Two constants give one row.
pub(super) fn map<A: Copy, B: Copy, R>(a: Side<'_, A>, b: Side<'_, B>, f: impl Fn(A, B) -> R) -> Vec<R> {
    match (a, b) {
        (Side::Many(a), Side::Many(b)) => a.iter().zip(b).map(|(a, b)| f(*a, *b)).collect(),
        (Side::Many(a), Side::One(b)) => a.iter().map(|a| f(*a, b)).collect(),
        (Side::One(a), Side::Many(b)) => b.iter().map(|b| f(a, *b)).collect(),
        (Side::One(a), Side::One(b)) => vec![f(a, b)],
    }
}

/// Applies `f` row by row, where `None` is null; the rows in `nulls` are null whatever `f` says.
pub(super) fn map_checked<A: Copy, B: Copy, R: Copy + Default>(
    a: Side<'_, A>,
    b: Side<'_, B>,
    nulls: Option<&NullBuffer>,
    f: impl Fn(A, B) -> Option<R>,
) -> (Vec<R>, Option<NullBuffer>) {
    let values = map(a, b, |a, b| f(a, b).unwrap_or_default());
    let valid = test(a, b, |a, b| f(a, b).is_some());
    let own = valid.has_false().then(|| NullBuffer::new(valid));
    (values, NullBuffer::union(own.as_ref(), nulls))
}

/// [`map_checked`] for an `f` that costs more than a second bitmap: it is asked once a row.
pub(super) fn map_once<A: Copy, B: Copy, R: Copy + Default>(
    a: Side<'_, A>,
    b: Side<'_, B>,
    nulls: Option<&NullBuffer>,
    f: impl Fn(A, B) -> Option<R>,
) -> (Vec<R>, Option<NullBuffer>) {
    let given = map(a, b, f);
    let valid = test(Side::Many(&given), Side::One(()), |given, ()| given.is_some());
    let own = valid.has_false().then(|| NullBuffer::new(valid));
    let values = given.into_iter().map(Option::unwrap_or_default).collect();
    (values, NullBuffer::union(own.as_ref(), nulls))
}

/// The rows where `f` holds, as a bitmap. Two constants give one row.
pub(super) fn test<A: Copy, B: Copy>(
    a: Side<'_, A>,
    b: Side<'_, B>,
    f: impl Fn(A, B) -> bool,
) -> BooleanBuffer {
    let (words, len): (Vec<u64>, usize) = match (a, b) {
        (Side::Many(a), Side::Many(b)) => {
            let pairs = a.chunks(64).zip(b.chunks(64));
            (
                pairs.map(|(a, b)| word(a.iter().zip(b).map(|(a, b)| f(*a, *b)))).collect(),
                a.len().min(b.len()),
            )
        }
        (Side::Many(a), Side::One(b)) => {
            (a.chunks(64).map(|a| word(a.iter().map(|a| f(*a, b)))).collect(), a.len())
        }
        (Side::One(a), Side::Many(b)) => {
            (b.chunks(64).map(|b| word(b.iter().map(|b| f(a, *b)))).collect(), b.len())
        }
        (Side::One(a), Side::One(b)) => (vec![u64::from(f(a, b)).to_le()], 1),
    };
    BooleanBuffer::new(Buffer::from_vec(words), 0, len)
}

/// Up to 64 bits as one word, the first lowest.
#[inline]
fn word(bits: impl Iterator<Item = bool>) -> u64 {
    bits.enumerate().fold(0, |word, (i, bit)| word | (u64::from(bit) << i)).to_le()
}
