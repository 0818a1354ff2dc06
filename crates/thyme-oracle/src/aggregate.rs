//! What the rows of a window come to (contract, sections 2 and 3).

use std::cmp::Ordering;
use std::collections::BTreeMap;

use thyme_core::aggregate::{Argument, Outcome};
use thyme_core::value::Unscaled;
use thyme_core::{DataType, Error, EventTime, Position, Result, Span, Value, Window};

use crate::collection::{Given, collected, collects, keeps_nulls};
use crate::number::exact_sum;
use crate::statistic::{counts, statistic};
use crate::window::{Row, members};

/// Which value is asked for: an aggregate, and the `(T, S, w)` of the contract.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// The aggregate's name.
    pub aggregate: &'a str,
    /// What else is said to it, by name.
    pub parameters: BTreeMap<String, Argument>,
    /// Its column, if it has one.
    pub of: Option<usize>,
    /// Its further column, if it has one.
    pub by: Option<usize>,
    /// Its own predicate, if it has one.
    pub predicate: Option<usize>,
    /// `T`.
    pub until: EventTime,
    /// `S`.
    pub at: Position,
    /// `w`; none means since the beginning.
    pub window: Option<Window>,
    /// How far back rows count at all.
    pub retention: Option<Span>,
    /// The type of the answer, where its values may not say it: of a list of nulls.
    pub gives: Option<DataType>,
}

/// The answer. `Nothing` stands for no rows, where defaults apply.
///
/// # Errors
/// An aggregate that is not known here, or values it is not defined on.
pub fn answer(rows: &[Row], question: &Question<'_>) -> Result<Outcome> {
    let at = (question.until, question.at);
    let mut counted = members(rows, at, question.window.as_ref(), question.retention);
    counted.retain(|row| counts(row.time, question));
    counted.retain(|row| question.predicate.is_none_or(|p| row.predicates.get(p) == Some(&true)));
    let at = |row: &Row, column: Option<usize>| {
        column.and_then(|column| row.values.get(column).cloned()).unwrap_or_default()
    };
    let value = |row: &Row| at(row, question.of);
    let keeps = keeps_nulls(question.aggregate, &question.parameters);
    counted.retain(|row| question.of.is_none() || keeps || !value(row).is_null());
    counted.retain(|row| question.by.is_none() || !at(row, question.by).is_null());
    if counted.is_empty() {
        return Ok(Outcome::Nothing);
    }
    let values = || counted.iter().map(|row| value(row));
    Ok(Outcome::Value(match question.aggregate {
        "count" => Value::Int(counted.len() as i64),
        "sum" => return sum(&values().collect::<Vec<_>>()),
        "avg" => avg(&values().collect::<Vec<_>>())?,
        "min" => extreme(values(), Ordering::Less)?,
        "max" => extreme(values(), Ordering::Greater)?,
        "first" => values().next().unwrap_or_default(),
        "last" => values().next_back().unwrap_or_default(),
        name if collects(name) => {
            let mut given = Vec::new();
            for row in &counted {
                given.push(Given { value: value(row), by: at(row, question.by), row });
            }
            return collected(&given, question);
        }
        _ => {
            let rows: Vec<(i64, Value)> = counted.iter().map(|row| (row.time.0, value(row))).collect();
            return statistic(&rows, question);
        }
    }))
}

/// The sum of values, of vectors that of each element.
pub(crate) fn sum(values: &[Value]) -> Result<Outcome> {
    if let Some(elements) = elements(values) {
        return Ok(Outcome::Value(Value::Vector(elements.iter().map(|each| exact_sum(each)).collect())));
    }
    Ok(match total(values.iter().cloned())? {
        Total::Int(total) => match i64::try_from(total) {
            Ok(total) => Outcome::Value(Value::Int(total)),
            Err(_) => Outcome::Overflow,
        },
        Total::Float(total) => Outcome::Value(Value::Float(total)),
        Total::Decimal(scale, total) => match total.parse::<i128>() {
            Ok(sum) if sum.unsigned_abs() < 10u128.pow(38) => {
                Outcome::Value(Value::Decimal(scale, Unscaled::new(sum)))
            }
            _ => Outcome::Overflow,
        },
    })
}

/// The mean of values, of vectors that of each element.
pub(crate) fn avg(values: &[Value]) -> Result<Value> {
    let count = values.len() as f64;
    let mean = |sum: f64| match sum / count {
        nan if nan.is_nan() => thyme_core::value::NAN,
        mean => mean + 0.0,
    };
    if let Some(elements) = elements(values) {
        return Ok(Value::Vector(elements.iter().map(|each| mean(exact_sum(each))).collect()));
    }
    Ok(Value::Float(match total(values.iter().cloned())? {
        Total::Int(total) => mean(total as f64),
        Total::Float(total) => mean(total),
        Total::Decimal(scale, total) => mean(format!("{total}e-{scale}").parse().unwrap_or(f64::NAN)),
    }))
}

/// Of vectors: what they have in each place.
fn elements(values: &[Value]) -> Option<Vec<Vec<f64>>> {
    let Some(Value::Vector(first)) = values.first() else { return None };
    let at = |place: usize| {
        let each = values.iter().map(|value| match value {
            Value::Vector(vector) => vector.get(place).copied(),
            _ => None,
        });
        each.collect::<Option<Vec<f64>>>()
    };
    (0..first.len()).map(at).collect()
}

/// The value that is `wanted` than all others; any NaN gives NaN.
pub(crate) fn extreme(values: impl Iterator<Item = Value>, wanted: Ordering) -> Result<Value> {
    let mut best = Value::Null;
    for value in values {
        match (&best, &value) {
            (Value::Float(f), _) if f.is_nan() => {}
            (_, Value::Float(f)) if f.is_nan() => best = value,
            (Value::Null, _) => best = value,
            _ if compare(&value, &best)? == wanted => best = value,
            _ => {}
        }
    }
    Ok(best)
}

/// The order of two values of one type, neither of them NaN; strings by code point.
pub(crate) fn compare(a: &Value, b: &Value) -> Result<Ordering> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) | (Value::Datetime(a), Value::Datetime(b)) => Ok(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => Ok(a.partial_cmp(b).unwrap_or(Ordering::Equal)),
        (Value::Str(a), Value::Str(b)) => Ok(a.chars().cmp(b.chars())),
        (Value::Bool(a), Value::Bool(b)) => Ok(a.cmp(b)),
        (Value::Date(a), Value::Date(b)) => Ok(a.cmp(b)),
        (Value::Bytes(a), Value::Bytes(b)) => Ok(a.cmp(b)),
        (Value::Decimal(_, a), Value::Decimal(_, b)) => Ok(a.get().cmp(&b.get())),
        _ => Err(Error::internal(format!("{a} and {b} are not of one type"))),
    }
}

enum Total {
    Int(i128),
    Float(f64),
    /// The scale, and the digits of the sum's integer, of which there may be any number.
    Decimal(u8, String),
}

/// Adds up integers in decimal, digit by digit, as on paper.
fn added(values: &[i128]) -> String {
    let mut columns = vec![0i64; 60];
    for value in values {
        for (column, digit) in columns.iter_mut().zip(value.unsigned_abs().to_string().bytes().rev()) {
            *column += i64::from(digit - b'0') * if *value < 0 { -1 } else { 1 };
        }
    }
    let carried = |columns: &[i64]| {
        let mut carry = 0;
        let digits: Vec<i64> = columns
            .iter()
            .map(|column| {
                let all = column + carry;
                carry = all.div_euclid(10);
                all.rem_euclid(10)
            })
            .collect();
        (digits, carry < 0)
    };
    let (mut digits, negative) = carried(&columns);
    if negative {
        columns.iter_mut().for_each(|column| *column = -*column);
        (digits, _) = carried(&columns);
    }
    let text: String = digits.iter().rev().map(i64::to_string).collect();
    format!("{}{text}", if negative { "-" } else { "" })
}

fn total(values: impl Iterator<Item = Value>) -> Result<Total> {
    let (mut ints, mut floats, mut decimals) = (0, Vec::new(), None::<(u8, Vec<i128>)>);
    for value in values {
        match value {
            Value::Int(v) => ints += i128::from(v),
            Value::Float(v) => floats.push(v),
            Value::Decimal(scale, v) => decimals.get_or_insert((scale, Vec::new())).1.push(v.get()),
            other => return Err(Error::internal(format!("{other} cannot be summed"))),
        }
    }
    if let Some((scale, decimals)) = decimals {
        return Ok(Total::Decimal(scale, added(&decimals)));
    }
    Ok(if floats.is_empty() { Total::Int(ints) } else { Total::Float(exact_sum(&floats)) })
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
        let question = Question {
            aggregate,
            parameters: BTreeMap::new(),
            of: Some(0),
            by: None,
            predicate: None,
            until: EventTime(until),
            at: Position::MAX,
            window: Some(Window::sliding(Span(window))),
            retention: None,
            gives: None,
        };
        answer(rows, &question).unwrap()
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

    #[test]
    fn a_nan_is_the_extreme_wherever_it_stands() {
        let nan = thyme_core::value::NAN;
        for values in [[1.0, nan, 2.0], [nan, 1.0, 2.0], [1.0, 2.0, nan]] {
            let rows = values.map(|v| row(0, 0, Value::Float(v)));
            for aggregate in ["min", "max"] {
                assert_eq!(ask(aggregate, &rows, 0, 1), Outcome::Value(Value::Float(nan)));
            }
        }
    }
}
