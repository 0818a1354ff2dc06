//! Whose a dead letter is, as far as its bytes tell.
//!
//! One that reads as a JSON object with every field of the key in it belongs to the entity so named. Of any
//! other, only its text can be searched: it belongs to every entity whose key's text is in it, as a whole
//! word if it is shorter than [`PLAIN_BYTES`].

use serde_json::Value as Json;
use thyme_core::time::{format_rfc3339, parse_date, parse_timestamp};
use thyme_core::{DataType, Field, Value};

use crate::record::DeadLetter;

/// A text at least this long is not in other texts by chance.
const PLAIN_BYTES: usize = 8;

/// How the parts of a key may be written: one of several texts for each.
#[derive(Clone, Debug)]
pub(super) struct KeyTexts(Vec<Vec<String>>);

impl KeyTexts {
    pub fn of(values: &[Value]) -> KeyTexts {
        KeyTexts(values.iter().map(texts).collect())
    }

    /// Whether these are the parts.
    pub fn are(&self, parts: &[String]) -> bool {
        self.0.len() == parts.len() && self.0.iter().zip(parts).all(|(texts, part)| texts.contains(part))
    }

    /// Whether a dead letter has all of the parts in it.
    pub fn are_in(&self, letter: &DeadLetter) -> bool {
        let places = [letter.raw.as_slice(), letter.reason.as_bytes(), letter.origin.as_bytes()];
        let found = |text: &String| places.iter().any(|place| contains(place, text.as_bytes()));
        !self.0.is_empty() && self.0.iter().all(|texts| texts.iter().any(found))
    }
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Null => Vec::new(),
        Value::Str(text) => {
            let escaped = Json::String(text.to_string()).to_string();
            let escaped = escaped.trim_matches('"').to_owned();
            let ascii = text.chars().map(|c| match c {
                c if c.is_ascii() => c.to_string(),
                c => c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
            });
            let mut texts = vec![text.to_string(), escaped, ascii.collect()];
            texts.dedup();
            texts
        }
        Value::Int(number) => vec![number.to_string()],
        Value::Float(number) => vec![number.to_string(), format!("{number:?}")],
        Value::Bool(truth) => vec![truth.to_string()],
        Value::Datetime(us) => {
            let seconds = us / 1_000_000;
            vec![format_rfc3339(*us), us.to_string(), seconds.to_string()]
        }
        // A date, that is: the others are no keys.
        other => vec![other.to_string()],
    }
}

/// The key in a JSON object's bytes, as texts; `None` when they are none, or a part is missing.
pub(super) fn key_of(fields: &[Field], raw: &[u8]) -> Option<Vec<String>> {
    let Json::Object(object) = serde_json::from_slice(raw).ok()? else { return None };
    fields
        .iter()
        .map(|field| match object.get(&field.name)? {
            Json::String(text) => Some(text.clone()),
            Json::Number(number) => Some(number.to_string()),
            Json::Bool(truth) => Some(truth.to_string()),
            _ => None,
        })
        .collect()
}

/// The value that a part of a key is written as.
pub(super) fn parsed(data_type: DataType, text: &str) -> Option<Value> {
    Some(match data_type {
        DataType::Str => Value::Str(text.into()),
        DataType::Int => Value::Int(text.parse().ok()?),
        DataType::Float => Value::Float(text.parse().ok()?),
        DataType::Bool => Value::Bool(text.parse().ok()?),
        DataType::Datetime => Value::Datetime(parse_timestamp(text).ok()?.0),
        DataType::Date => Value::Date(parse_date(text)?),
        _ => return None,
    })
}

/// Whether `text` is in `place`, as a whole word if it is short.
fn contains(place: &[u8], text: &[u8]) -> bool {
    let is_part = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    if text.is_empty() {
        return false;
    }
    place.windows(text.len()).enumerate().any(|(at, window)| {
        window == text
            && (text.len() >= PLAIN_BYTES
                || !(is_part(at.checked_sub(1).and_then(|before| place.get(before)))
                    || is_part(place.get(at + text.len()))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use thyme_core::schema::Role;

    #[test]
    fn a_letter_belongs_to_the_key_it_names_or_to_every_key_in_its_text() {
        let field = |name: &str, data_type| Field::new(name, data_type, false, Role::Key);
        let fields = [field("user", DataType::Str)];
        let owns = |key: &str, raw: &str| {
            let letter = DeadLetter::new("push", "bad", raw.as_bytes());
            let texts = KeyTexts::of(&[Value::Str(key.into())]);
            match key_of(&fields, letter.raw.as_slice()) {
                Some(found) => texts.are(&found),
                None => texts.are_in(&letter),
            }
        };
        assert!(owns("d1", r#"{"user":"d1","x":1}"#));
        assert!(!owns("d1", r#"{"user":"d2","friend":"d1"}"#));
        assert!(owns("d1", r#"{"usr":"d1"}"#));
        assert!(owns("d1", "d1,17,x"));
        assert!(!owns("d1", "d12,17,x"));
        assert!(!owns("d1", "nothing"));
        assert!(owns("a-long-key", "prefix_a-long-key2 cut off"));
        assert!(owns("J\u{f6}rg", "{\"user\":\"J\\u00f6rg\", cut"));
    }
}
