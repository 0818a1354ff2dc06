//! What JSON has at a path.

use serde_json::value::RawValue;
use std::collections::HashMap;
use thyme_core::value::{JSON_DEPTH_MAX, Json};
use thyme_core::{DataType, Result, Value};

use super::casts::from_json;
use super::misuse;
use crate::expression::Typed;

pub(super) fn extracted(args: &[Typed]) -> Result<Typed> {
    let name = match args.get(2).map(|arg| &arg.value) {
        Some(Value::Str(name)) => name.to_string(),
        _ => "json".to_owned(),
    };
    let to = DataType::named(&name).ok_or_else(|| misuse("json_extract", &[args[0].value.clone()]))?;
    let value = match (&args[0].value, &args[1].value) {
        (Value::Str(text) | Value::Json(text), Value::Str(path)) => {
            at(text, path).and_then(|part| from_json(&part, to))
        }
        _ => None,
    };
    Ok(Typed { value: value.unwrap_or_default(), data_type: Some(to) })
}

/// The text of what is at a path, level by level.
fn at(text: &str, path: &str) -> Option<String> {
    let whole: Json = serde_json::from_str(text).ok()?;
    if whole.depth() > JSON_DEPTH_MAX {
        return None;
    }
    let mut part = text.to_owned();
    for step in steps(path) {
        part = match step.strip_prefix('#') {
            Some(place) => {
                let items: Vec<Box<RawValue>> = serde_json::from_str(&part).ok()?;
                let place: i64 = place.parse().ok()?;
                let place = if place < 0 { items.len() as i64 + place } else { place };
                items.get(usize::try_from(place).ok()?)?.get().to_owned()
            }
            None => {
                let entries: HashMap<String, Box<RawValue>> = serde_json::from_str(&part).ok()?;
                entries.get(step.trim_start_matches('.'))?.get().to_owned()
            }
        };
    }
    Some(part)
}

/// Keys with a point in front, positions with a number sign.
fn steps(path: &str) -> Vec<String> {
    let mut steps: Vec<String> = Vec::new();
    let (mut step, mut quoted, mut escaped) = (String::from("."), false, false);
    for letter in path.chars() {
        match letter {
            _ if quoted && !escaped && letter == '\\' => escaped = true,
            '"' if !escaped => {
                quoted = !quoted;
                step = if quoted { ".".into() } else { step };
            }
            '.' | '[' | ']' if !quoted => {
                steps.push(std::mem::take(&mut step));
                step.push(if letter == '[' { '#' } else { '.' });
            }
            other => {
                step.push(other);
                escaped = false;
            }
        }
    }
    steps.push(step);
    steps.retain(|step| step.len() > 1);
    steps
}
