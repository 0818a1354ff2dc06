//! The contract, computed the slow way.
//!
//! One function that a reader can hold against the contract's sections 1 to 3 line by line, sharing no
//! logic with what it checks: no masks, no summaries, no order but the one the contract names.

use std::cmp::Ordering;

use thyme_core::aggregate::Outcome;
use thyme_core::{EventTime, Position, Span, Value};

/// One admitted event of one entity, after the operators.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its event time.
    pub time: EventTime,
    /// Its position.
    pub position: Position,
    /// Its value in each column.
    pub values: Vec<Value>,
    /// The verdict of each predicate.
    pub predicates: Vec<bool>,
}

/// Which value is asked for: an aggregate, and the `(T, S, w)` of the contract.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The aggregate's name.
    pub aggregate: &'a str,
    /// Its column, if it has one.
    pub of: Option<usize>,
    /// Its own predicate, if it has one.
    pub predicate: Option<usize>,
    /// `T`.
    pub until: EventTime,
    /// `S`.
    pub at: Position,
    /// `w`; none means since the beginning.
    pub window: Option<Span>,
}

/// The rows with `T - w < t <= T` at positions up to `S`, in the order of (t, position).
pub fn visible(rows: &[Row], until: EventTime, at: Position, window: Option<Span>) -> Vec<&Row> {
    let in_window = |t: EventTime| {
        t <= until && window.is_none_or(|w| i128::from(t.0) > i128::from(until.0) - i128::from(w.0))
    };
    let mut rows: Vec<&Row> = rows.iter().filter(|row| row.position <= at && in_window(row.time)).collect();
    rows.sort_by_key(|row| (row.time, row.position));
    rows
}

/// The answer. `Nothing` stands for no rows, where defaults apply.
pub fn answer(rows: &[Row], question: &Question<'_>) -> Outcome {
    let mut counted = visible(rows, question.until, question.at, question.window);
    counted.retain(|row| question.predicate.is_none_or(|p| row.predicates[p]));
    counted.retain(|row| question.of.is_none_or(|of| !row.values[of].is_null()));
    if counted.is_empty() {
        return Outcome::Nothing;
    }
    let values = || counted.iter().filter_map(|row| question.of.map(|of| row.values[of].clone()));
    let is_nan = |v: &Value| matches!(v, Value::Float(f) if f.is_nan());
    let chosen = match question.aggregate {
        "count" => Some(Value::Int(counted.len() as i64)),
        "sum" => match total(values()) {
            Total::Int(total) => match i64::try_from(total) {
                Ok(total) => Some(Value::Int(total)),
                Err(_) => return Outcome::Overflow,
            },
            Total::Float(total) => Some(Value::Float(total)),
        },
        "avg" => Some(Value::Float(match total(values()) {
            Total::Int(total) => total as f64 / counted.len() as f64 + 0.0,
            Total::Float(total) => total / counted.len() as f64 + 0.0,
        })),
        "min" => values().find(is_nan).or_else(|| values().min_by(compare)),
        "max" => values().find(is_nan).or_else(|| values().max_by(compare)),
        "first" => values().next(),
        "last" => values().next_back(),
        other => unimplemented!("the oracle does not know {other}"),
    };
    Outcome::Value(chosen.unwrap_or_default())
}

/// The order of two values of one type, neither of them NaN; strings by code point.
fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) | (Value::Datetime(a), Value::Datetime(b)) => a.cmp(b),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
        (Value::Str(a), Value::Str(b)) => a.chars().cmp(b.chars()),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        _ => unimplemented!("{a} and {b} are not of one type"),
    }
}

enum Total {
    Int(i128),
    Float(f64),
}

fn total(values: impl Iterator<Item = Value>) -> Total {
    let (mut ints, mut floats) = (0, Vec::new());
    for value in values {
        match value {
            Value::Int(v) => ints += i128::from(v),
            Value::Float(v) => floats.push(v),
            other => unimplemented!("the sum of {other}"),
        }
    }
    if floats.is_empty() { Total::Int(ints) } else { Total::Float(exact_sum(&floats)) }
}

/// The exact real sum rounded once to nearest even; NaN and infinities are summed as a set.
fn exact_sum(values: &[f64]) -> f64 {
    let has = |wanted: f64| values.contains(&wanted);
    match (values.iter().any(|v| v.is_nan()), has(f64::INFINITY), has(f64::NEG_INFINITY)) {
        (true, _, _) | (_, true, true) => return f64::from_bits(0x7ff8_0000_0000_0000),
        (_, true, _) => return f64::INFINITY,
        (_, _, true) => return f64::NEG_INFINITY,
        _ => {}
    }
    // `counts[i]` says how often 2^(i - 1074) was added, less how often it was subtracted.
    let mut counts = vec![0i64; 2200];
    for v in values {
        let (field, fraction) = (v.to_bits() >> 52 & 0x7ff, v.to_bits() & ((1 << 52) - 1));
        let (mantissa, lowest) =
            if field == 0 { (fraction, 0) } else { (fraction + (1 << 52), field as usize - 1) };
        for i in 0..53 {
            let sign = if v.is_sign_negative() { -1 } else { 1 };
            counts[lowest + i] += sign * (mantissa >> i & 1) as i64;
        }
    }
    let negative = binary(&mut counts);
    if negative {
        counts.iter_mut().for_each(|count| *count = -*count);
        binary(&mut counts);
    }
    let Some(top) = counts.iter().rposition(|bit| *bit == 1) else { return 0.0 };
    let lowest = top.saturating_sub(52);
    let mut kept = counts[lowest..=top].iter().rev().fold(0u64, |all, bit| all * 2 + *bit as u64);
    let (half, below) = match lowest {
        0 => (false, false),
        n => (counts[n - 1] == 1, counts[..n - 1].contains(&1)),
    };
    if half && (below || kept % 2 == 1) {
        kept += 1;
    }
    // Each step is exact: the result is `kept` of at most 53 bits at a place a float can have.
    let mut rounded = kept as f64;
    (lowest..1074).for_each(|_| rounded /= 2.0);
    (1074..lowest).for_each(|_| rounded *= 2.0);
    if negative { -rounded } else { rounded }
}

/// Carries until every count is 0 or 1; says whether the number is negative, which leaves it in two's complement.
fn binary(counts: &mut [i64]) -> bool {
    let mut carry = 0;
    for count in counts {
        let all = *count + carry;
        *count = all.rem_euclid(2);
        carry = all.div_euclid(2);
    }
    carry < 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(time: i64, position: u32, value: Value) -> Row {
        Row {
            time: EventTime(time),
            position: Position::new(1, position),
            values: vec![value],
            predicates: vec![],
        }
    }

    fn ask(aggregate: &str, rows: &[Row], until: i64, window: i64) -> Outcome {
        answer(
            rows,
            &Question {
                aggregate,
                of: Some(0),
                predicate: None,
                until: EventTime(until),
                at: Position::MAX,
                window: Some(Span(window)),
            },
        )
    }

    #[test]
    fn windows_are_open_on_the_left_and_closed_on_the_right() {
        let rows = [row(10, 0, Value::Int(1)), row(20, 1, Value::Int(2)), row(30, 2, Value::Int(4))];
        assert_eq!(ask("sum", &rows, 30, 20), Outcome::Value(Value::Int(6)));
        assert_eq!(ask("sum", &rows, 29, 20), Outcome::Value(Value::Int(3)));
        assert_eq!(ask("count", &rows, 9, 20), Outcome::Nothing);
    }

    #[test]
    fn a_float_sum_is_the_exact_one_rounded_once() {
        let sum = |values: &[f64]| {
            let rows: Vec<Row> =
                values.iter().enumerate().map(|(i, v)| row(0, i as u32, Value::Float(*v))).collect();
            ask("sum", &rows, 0, 1)
        };
        assert_eq!(sum(&[0.1; 10]), Outcome::Value(Value::Float(1.0)));
        assert_eq!(sum(&[1e300, 1.0, -1e300]), Outcome::Value(Value::Float(1.0)));
        assert_eq!(sum(&[5e-324, 5e-324]), Outcome::Value(Value::Float(1e-323)));
        assert_eq!(sum(&[f64::MAX, f64::MAX]), Outcome::Value(Value::Float(f64::INFINITY)));
        assert_eq!(sum(&[1.5, -1.5]), Outcome::Value(Value::Float(0.0)));
    }

    #[test]
    fn a_tie_goes_to_the_later_position() {
        let rows = [row(10, 7, Value::Int(7)), row(10, 3, Value::Int(3))];
        assert_eq!(ask("last", &rows, 10, 1), Outcome::Value(Value::Int(7)));
        assert_eq!(ask("first", &rows, 10, 1), Outcome::Value(Value::Int(3)));
    }
}
