//! Aggregates that give lists and maps, each written from its page in `docs/reference/aggregates`.

use std::collections::BTreeMap;

use thyme_core::aggregate::{Argument, Outcome};
use thyme_core::{DataType, Error, Result, Value};

use crate::aggregate::Question;

/// Whether rows without a value count too.
pub fn keeps_nulls(aggregate: &str, parameters: &BTreeMap<String, Argument>) -> bool {
    matches!(aggregate, "first_k" | "last_k") && parameters.get("dropnull") == Some(&Argument::Flag(false))
}

/// What values, in the order of their rows, come to. There is one at least.
pub(crate) fn collected(values: &[Value], question: &Question<'_>) -> Result<Outcome> {
    match question.aggregate {
        "first_k" => listed(ends(values.iter(), question), question),
        "last_k" => listed(ends(values.iter().rev(), question), question),
        other => Err(Error::internal(format!("the oracle does not know the aggregate {other}"))),
    }
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
