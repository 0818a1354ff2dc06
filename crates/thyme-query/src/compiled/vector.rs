//! Instructions over lanes of plain numbers, a loop each; what is not among these is done row by row.

use std::borrow::Cow;

use super::arithmetic::{Binary, of_floats, quotient, whole};
use super::builtins::{Function, rounded_float};
use super::compare::Comparison;
use super::lane::{Builder, Kind, Lane, Scalars};
use super::object::Object;
use super::time::{Part, part};

/// A lane, and its rows that are left to CPython.
pub(super) struct Done {
    pub lane: Lane,
    pub unsure: Vec<u32>,
}

impl Done {
    fn sure(kind: Kind, words: Vec<u64>) -> Option<Done> {
        Some(Done { lane: Lane::words(kind, words), unsure: Vec::new() })
    }
}

/// Whether the objects of a lane are true.
pub(super) enum Truth {
    All(bool),
    Each(Vec<bool>),
}

pub(super) fn truth(lane: &Lane, rows: usize) -> Truth {
    match lane {
        Lane::Same(object) => Truth::All(object.is_true()),
        Lane::Tuple(items) => Truth::All(!items.is_empty()),
        Lane::Any(objects) => Truth::Each(objects.iter().map(Object::is_true).collect()),
        Lane::Words { kind, words, valid } => {
            let is_valid = |row: usize| valid.as_ref().is_none_or(|valid| valid[row]);
            Truth::Each((0..rows).map(|row| kind.is_true(words[row]) && is_valid(row)).collect())
        }
    }
}

/// `not lane`.
pub(super) fn negated(lane: &Lane, rows: usize) -> Lane {
    match truth(lane, rows) {
        Truth::All(is_true) => Lane::Same(Object::Bool(!is_true)),
        Truth::Each(each) => Lane::words(Kind::Bool, each.into_iter().map(|one| u64::from(!one)).collect()),
    }
}

/// `left operator right`, if these are numbers.
pub(super) fn binary(operator: Binary, left: &Lane, right: &Lane) -> Option<Done> {
    let ((one, a), (other, b)) = (left.scalars()?, right.scalars()?);
    if matches!((&a, &b), (Scalars::All(_), Scalars::All(_))) {
        return None;
    }
    let is_logical = matches!(operator, Binary::And | Binary::Or | Binary::Xor);
    match (one, other) {
        (Kind::Bool, Kind::Bool) if is_logical => None,
        (Kind::Int | Kind::Bool, Kind::Int | Kind::Bool) => of_ints(operator, &a, &b),
        (Kind::Int | Kind::Bool | Kind::Float, Kind::Int | Kind::Bool | Kind::Float) if !is_logical => {
            floats(operator, &a.floats(one), &b.floats(other))
        }
        _ => None,
    }
}

fn of_ints(operator: Binary, a: &Scalars<'_>, b: &Scalars<'_>) -> Option<Done> {
    let int = |word: Option<i64>| word.map(|word| word as u64);
    Some(match operator {
        Binary::Pow => return None,
        Binary::Div => some_zip(Kind::Float, a, b, |a, b| quotient(a as i64, b as i64).map(f64::to_bits)),
        Binary::Add => some_zip(Kind::Int, a, b, |a, b| int((a as i64).checked_add(b as i64))),
        Binary::Sub => some_zip(Kind::Int, a, b, |a, b| int((a as i64).checked_sub(b as i64))),
        Binary::Mul => some_zip(Kind::Int, a, b, |a, b| int((a as i64).checked_mul(b as i64))),
        _ => some_zip(Kind::Int, a, b, |a, b| int(whole(operator, a as i64, b as i64))),
    })
}

fn floats(operator: Binary, a: &Scalars<'_>, b: &Scalars<'_>) -> Option<Done> {
    let float = f64::from_bits;
    match operator {
        Binary::Add => Done::sure(Kind::Float, zip(a, b, |a, b| (float(a) + float(b)).to_bits())),
        Binary::Sub => Done::sure(Kind::Float, zip(a, b, |a, b| (float(a) - float(b)).to_bits())),
        Binary::Mul => Done::sure(Kind::Float, zip(a, b, |a, b| (float(a) * float(b)).to_bits())),
        Binary::Div if !b.has_zero() => {
            Done::sure(Kind::Float, zip(a, b, |a, b| (float(a) / float(b)).to_bits()))
        }
        _ => Some(some_zip(Kind::Float, a, b, |a, b| {
            of_floats(operator, float(a), float(b)).ok().map(f64::to_bits)
        })),
    }
}

/// `left comparison right`, if these are scalars that compare as one kind, or one is None for `is`.
pub(super) fn compare(comparison: Comparison, left: &Lane, right: &Lane) -> Option<Lane> {
    if let (Comparison::Is | Comparison::IsNot, Lane::Same(Object::None)) = (comparison, right) {
        let wanted = comparison == Comparison::Is;
        return Some(match left {
            Lane::Words { valid: Some(valid), .. } => {
                Lane::words(Kind::Bool, valid.iter().map(|&valid| u64::from(valid != wanted)).collect())
            }
            Lane::Words { .. } | Lane::Tuple(_) => Lane::Same(Object::Bool(!wanted)),
            Lane::Same(_) | Lane::Any(_) => return None,
        });
    }
    let ((one, a), (other, b)) = (left.scalars()?, right.scalars()?);
    let words = match (one, other) {
        (Kind::Float, Kind::Float) => compared(comparison, &a, &b, f64::from_bits),
        // A constant that is a float as well.
        (Kind::Float, Kind::Int) if b.is_small() => {
            compared(comparison, &a, &b.floats(other), f64::from_bits)
        }
        (Kind::Int, Kind::Float) if a.is_small() => compared(comparison, &a.floats(one), &b, f64::from_bits),
        (one, other) if one == other && one != Kind::Float => {
            compared(comparison, &a, &b, |word| word as i64)
        }
        _ => None,
    };
    words.map(|words| Lane::words(Kind::Bool, words))
}

fn compared<T: PartialOrd>(
    comparison: Comparison,
    a: &Scalars<'_>,
    b: &Scalars<'_>,
    of: impl Fn(u64) -> T,
) -> Option<Vec<u64>> {
    if matches!((a, b), (Scalars::All(_), Scalars::All(_))) {
        return None;
    }
    Some(match comparison {
        Comparison::Eq => zip(a, b, |a, b| u64::from(of(a) == of(b))),
        Comparison::NotEq => zip(a, b, |a, b| u64::from(of(a) != of(b))),
        Comparison::Lt => zip(a, b, |a, b| u64::from(of(a) < of(b))),
        Comparison::LtE => zip(a, b, |a, b| u64::from(of(a) <= of(b))),
        Comparison::Gt => zip(a, b, |a, b| u64::from(of(a) > of(b))),
        Comparison::GtE => zip(a, b, |a, b| u64::from(of(a) >= of(b))),
        Comparison::In | Comparison::NotIn | Comparison::Is | Comparison::IsNot => return None,
    })
}

/// `min`, `max` and `round(x, digits)` of numbers of one kind.
pub(super) fn call(function: Function, arguments: &[std::rc::Rc<Lane>]) -> Option<Done> {
    let [left, right] = arguments else { return None };
    let ((one, a), (other, b)) = (left.scalars()?, right.scalars()?);
    if matches!((&a, &b), (Scalars::All(_), Scalars::All(_))) {
        return None;
    }
    // The first stays unless the second is better, which it is not if one is NaN.
    match (function, one, other) {
        (Function::Round, Kind::Float, Kind::Int) => {
            let Scalars::All(digits) = b else { return None };
            let digits = usize::try_from(digits as i64).ok()?;
            let rounded = |v: u64, _| rounded_float(f64::from_bits(v), digits).ok().map(f64::to_bits);
            Some(some_zip(Kind::Float, &a, &Scalars::All(0), rounded))
        }
        (Function::Max, Kind::Float, Kind::Float) => {
            Done::sure(one, zip(&a, &b, |a, b| if f64::from_bits(a) < f64::from_bits(b) { b } else { a }))
        }
        (Function::Min, Kind::Float, Kind::Float) => {
            Done::sure(one, zip(&a, &b, |a, b| if f64::from_bits(b) < f64::from_bits(a) { b } else { a }))
        }
        (Function::Max, Kind::Int, Kind::Int) => {
            Done::sure(one, zip(&a, &b, |a, b| if (a as i64) < (b as i64) { b } else { a }))
        }
        (Function::Min, Kind::Int, Kind::Int) => {
            Done::sure(one, zip(&a, &b, |a, b| if (b as i64) < (a as i64) { b } else { a }))
        }
        _ => None,
    }
}

/// `lane.hour` and the like.
pub(super) fn part_of(lane: &Lane, wanted: Part) -> Option<Done> {
    let Lane::Words { kind, words, valid: None } = lane else { return None };
    let mut made = Builder::default();
    let mut unsure = Vec::new();
    for (row, &word) in words.iter().enumerate() {
        made.push(part(&kind.object(word), wanted).unwrap_or_else(|_| {
            unsure.push(row as u32);
            Object::None
        }));
    }
    Some(Done { lane: made.finish(), unsure })
}

impl Scalars<'_> {
    /// Ints as the nearest floats.
    fn floats(&self, kind: Kind) -> Scalars<'_> {
        match (kind, self) {
            (Kind::Float, Scalars::Each(words)) => Scalars::Each(Cow::Borrowed(words)),
            (Kind::Float, Scalars::All(word)) => Scalars::All(*word),
            (_, Scalars::Each(words)) => {
                Scalars::Each(words.iter().map(|&word| (word as i64 as f64).to_bits()).collect())
            }
            (_, Scalars::All(word)) => Scalars::All((*word as i64 as f64).to_bits()),
        }
    }

    /// Whether it is one int that is a float as it stands.
    fn is_small(&self) -> bool {
        matches!(self, Scalars::All(word) if (*word as i64).unsigned_abs() <= 1 << 53)
    }

    /// Whether a float of these is zero.
    fn has_zero(&self) -> bool {
        let is_zero = |word: &u64| f64::from_bits(*word) == 0.0;
        match self {
            Scalars::Each(words) => words.iter().any(is_zero),
            Scalars::All(word) => is_zero(word),
        }
    }
}

fn zip(a: &Scalars<'_>, b: &Scalars<'_>, mut of: impl FnMut(u64, u64) -> u64) -> Vec<u64> {
    match (a, b) {
        (Scalars::Each(a), Scalars::Each(b)) => a.iter().zip(b.iter()).map(|(&a, &b)| of(a, b)).collect(),
        (Scalars::Each(a), Scalars::All(b)) => a.iter().map(|&a| of(a, *b)).collect(),
        (Scalars::All(a), Scalars::Each(b)) => b.iter().map(|&b| of(*a, b)).collect(),
        (Scalars::All(a), Scalars::All(b)) => vec![of(*a, *b)],
    }
}

/// The same where some rows have no result.
fn some_zip(kind: Kind, a: &Scalars<'_>, b: &Scalars<'_>, of: impl Fn(u64, u64) -> Option<u64>) -> Done {
    let (mut row, mut unsure) = (0, Vec::new());
    let words = zip(a, b, |a, b| {
        let word = of(a, b).unwrap_or_else(|| {
            unsure.push(row);
            0
        });
        row += 1;
        word
    });
    Done { lane: Lane::words(kind, words), unsure }
}
