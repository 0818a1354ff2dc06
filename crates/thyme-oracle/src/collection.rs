//! Aggregates that give lists and maps, each written from its page in `docs/reference/aggregates`.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use thyme_core::aggregate::{Argument, Outcome};
use thyme_core::{DataType, Error, Result, Value};

use crate::aggregate::{Question, avg, compare, sum};
use crate::window::Row;

/// A row that counts, with its value, and that of the further column.
#[derive(Debug)]
pub(crate) struct Given<'r> {
    pub value: Value,
    pub by: Value,
    pub row: &'r Row,
}

/// Whether rows without a value count too.
pub fn keeps_nulls(aggregate: &str, parameters: &BTreeMap<String, Argument>) -> bool {
    matches!(aggregate, "first_k" | "last_k") && parameters.get("dropnull") == Some(&Argument::Flag(false))
}

/// Whether an aggregate is one of these.
pub(crate) fn collects(aggregate: &str) -> bool {
    let lists = ["first_k", "last_k", "top_k", "bottom_k", "distinct", "most_frequent", "histogram"];
    lists.contains(&aggregate) || ["count_by", "sum_by", "avg_by"].contains(&aggregate)
}

/// What rows, in their order, come to. There is one at least.
pub(crate) fn collected(rows: &[Given<'_>], question: &Question<'_>) -> Result<Outcome> {
    match question.aggregate {
        "first_k" => listed(ends(rows.iter().map(|row| &row.value), question), question),
        "last_k" => listed(ends(rows.iter().rev().map(|row| &row.value), question), question),
        "top_k" => listed(best(rows, question, Ordering::Greater)?, question),
        "bottom_k" => listed(best(rows, question, Ordering::Less)?, question),
        "distinct" => {
            let mut values = each_once(rows.iter().map(|row| &row.value))?;
            values.truncate(int(question, "limit", 1000));
            listed(values, question)
        }
        "most_frequent" => {
            let values = each_once(rows.iter().map(|row| &row.value))?;
            let often = |value: &Value| rows.iter().filter(|row| row.value == *value).count();
            let mut counted: Vec<(usize, Value)> = values.into_iter().map(|v| (often(&v), v)).collect();
            // What is as frequent stays in its order.
            counted.sort_by_key(|(often, _)| std::cmp::Reverse(*often));
            counted.truncate(int(question, "k", 1));
            listed(counted.into_iter().map(|(_, value)| value).collect(), question)
        }
        "histogram" => Ok(Outcome::Value(histogram(rows, question))),
        _ => by_category(rows, question),
    }
}

/// The order of values, in which NaN comes last.
fn order(a: &Value, b: &Value) -> Result<Ordering> {
    match (is_nan(a), is_nan(b)) {
        (false, false) => compare(a, b),
        (a, b) => Ok(a.cmp(&b)),
    }
}

fn is_nan(value: &Value) -> bool {
    matches!(value, Value::Float(v) if v.is_nan())
}

/// The values, each once, in their order.
fn each_once<'v>(values: impl Iterator<Item = &'v Value>) -> Result<Vec<Value>> {
    let mut found: Vec<Value> = Vec::new();
    for value in values {
        let mut place = 0;
        while place < found.len() && order(&found[place], value)? == Ordering::Less {
            place += 1;
        }
        if found.get(place) != Some(value) {
            found.insert(place, value.clone());
        }
    }
    Ok(found)
}

/// The values of the `k` rows that are ranked before all others, where `wanted` is before.
fn best(rows: &[Given<'_>], question: &Question<'_>, wanted: Ordering) -> Result<Vec<Value>> {
    let rank = |row: &Given<'_>| if question.by.is_some() { row.by.clone() } else { row.value.clone() };
    let mut left: Vec<&Given<'_>> = rows.iter().collect();
    let mut found = Vec::new();
    while found.len() < int(question, "k", 1) && !left.is_empty() {
        let mut first = 0;
        for (place, row) in left.iter().enumerate().skip(1) {
            let (a, b) = (rank(row), rank(left[first]));
            let is_before = match (is_nan(&a), is_nan(&b)) {
                (false, false) => {
                    let order = compare(&a, &b)?;
                    // Rows come in the order of their times and positions.
                    order == wanted || order == Ordering::Equal
                }
                (a_is_nan, b_is_nan) => b_is_nan || !a_is_nan,
            };
            if is_before {
                first = place;
            }
        }
        found.push(left.remove(first).value.clone());
    }
    Ok(found)
}

/// How many values are below the first edge, from each to the next, and from the last one on.
fn histogram(rows: &[Given<'_>], question: &Question<'_>) -> Value {
    let edges = match question.parameters.get("bins") {
        Some(Argument::Numbers(edges)) => edges.clone(),
        _ => Vec::new(),
    };
    let reaches = |value: &Value, edge: f64| match value {
        Value::Int(v) if edge < 1e19 && edge > -1e19 => i128::from(*v) >= edge.ceil() as i128,
        Value::Int(_) => edge < 0.0,
        Value::Float(v) => *v >= edge,
        _ => false,
    };
    let mut counts = vec![0; edges.len() + 1];
    for value in rows.iter().map(|row| &row.value).filter(|value| !is_nan(value)) {
        counts[edges.iter().filter(|edge| reaches(value, **edge)).count()] += 1;
    }
    Value::List(thyme_core::value::Scalar::Int, counts.into_iter().map(Value::Int).collect())
}

/// A value for each category, of those with the newest rows.
fn by_category(rows: &[Given<'_>], question: &Question<'_>) -> Result<Outcome> {
    let mut categories: Vec<(&Value, Vec<&Given<'_>>)> = Vec::new();
    for row in rows {
        match categories.iter_mut().find(|(key, _)| **key == row.by) {
            Some((_, mine)) => mine.push(row),
            None => categories.push((&row.by, vec![row])),
        }
    }
    let newest = |mine: &[&Given<'_>]| mine.iter().map(|given| (given.row.time, given.row.position)).max();
    categories.sort_by_key(|(_, mine)| std::cmp::Reverse(newest(mine)));
    let kept = categories.len().min(int(question, "limit", 1000));
    let dropped = categories.len() - kept;
    let mut map = BTreeMap::new();
    for (key, mine) in categories.into_iter().take(kept) {
        let values: Vec<Value> = mine.iter().map(|row| row.value.clone()).collect();
        let value = match question.aggregate {
            "count_by" => Value::Int(values.len() as i64),
            "avg_by" => avg(&values)?,
            "sum_by" => match sum(&values)? {
                Outcome::Value(value) => value,
                other => return Ok(other),
            },
            other => return Err(Error::internal(format!("the oracle does not know the aggregate {other}"))),
        };
        let called = match key {
            Value::Str(text) => text.to_string(),
            Value::Int(v) => v.to_string(),
            Value::Bool(true) => "true".to_owned(),
            _ => "false".to_owned(),
        };
        map.insert(called, value);
    }
    let item = map.values().next().and_then(Value::data_type).and_then(DataType::scalar);
    let item = item.ok_or_else(|| Error::internal("a map has no values"))?;
    let map = Value::map(item, map.into_iter().map(|(key, value)| (key.into(), value)));
    Ok(if dropped > 0 { Outcome::Cut(map, dropped as u64) } else { Outcome::Value(map) })
}

/// The list of these.
fn listed(values: Vec<Value>, question: &Question<'_>) -> Result<Outcome> {
    let said = values.iter().find_map(Value::data_type).and_then(DataType::scalar);
    let declared = match question.gives {
        Some(DataType::List(item)) => Some(item),
        _ => None,
    };
    let item = said.or(declared).ok_or_else(|| Error::internal("nobody says what a list holds"))?;
    Ok(Outcome::Value(Value::List(item, values.into())))
}

fn int(question: &Question<'_>, name: &str, otherwise: usize) -> usize {
    match question.parameters.get(name) {
        Some(Argument::Int(value)) => *value as usize,
        _ => otherwise,
    }
}

fn flag(question: &Question<'_>, name: &str) -> bool {
    question.parameters.get(name) == Some(&Argument::Flag(true))
}

/// The first `k` of them; each value once, where that is asked for.
fn ends<'v>(values: impl Iterator<Item = &'v Value>, question: &Question<'_>) -> Vec<Value> {
    let mut found: Vec<Value> = Vec::new();
    for value in values {
        if found.len() < int(question, "k", 1) && !(flag(question, "dedup") && found.contains(value)) {
            found.push(value.clone());
        }
    }
    found
}
