//! Nested values as they come in JSON, their one canonical text, and how they become values of a type.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use super::canonical;

/// The most levels of arrays and objects in one another.
pub const JSON_DEPTH_MAX: usize = 32;

/// A value as JSON has it. Numbers are ints within int64 and floats otherwise.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number without fraction or exponent, within int64.
    Int(i64),
    /// Any other number; finite.
    Float(f64),
    /// A text.
    Str(String),
    /// An array.
    Array(Vec<Json>),
    /// An object, by its keys' bytes; of a key that came several times the last.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// An object of `entries` in any order.
    pub fn object(mut entries: Vec<(String, Json)>) -> Json {
        entries.reverse();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        entries.dedup_by(|later, first| later.0 == first.0);
        Json::Object(entries)
    }

    /// How many levels of arrays and objects there are in one another.
    pub fn depth(&self) -> usize {
        match self {
            Json::Array(items) => 1 + items.iter().map(Json::depth).max().unwrap_or(0),
            Json::Object(entries) => 1 + entries.iter().map(|(_, v)| v.depth()).max().unwrap_or(0),
            _ => 0,
        }
    }

    /// The canonical text: no blanks, objects by their keys' bytes, ints as they are, floats in the fewest digits that
    /// give them again and always with a point or an exponent, nothing escaped that need not be.
    pub fn canonical_text(&self) -> Arc<str> {
        let mut out = String::new();
        self.write(&mut out);
        out.into()
    }

    fn write(&self, out: &mut String) {
        match self {
            Json::Null => out.push_str("null"),
            Json::Bool(v) => out.push_str(if *v { "true" } else { "false" }),
            Json::Int(v) => drop(write!(out, "{v}")),
            Json::Float(v) => drop(write!(out, "{:?}", canonical(*v))),
            Json::Str(v) => quote(v, out),
            Json::Array(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Json::Object(entries) => {
                out.push('{');
                for (i, (key, value)) in entries.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    quote(key, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }

    /// Its kind and the start of its text, for messages.
    pub fn describe(&self) -> String {
        let kind = match self {
            Json::Null => return "null".into(),
            Json::Array(items) => return format!("an array of {}", items.len()),
            Json::Object(_) => return "an object".into(),
            Json::Bool(_) => "bool",
            Json::Int(_) => "int",
            Json::Float(_) => "float",
            Json::Str(_) => "str",
        };
        let text = self.canonical_text();
        match text.char_indices().nth(60) {
            Some((end, _)) => format!("{kind} {}...", &text[..end]),
            None => format!("{kind} {text}"),
        }
    }
}

pub(super) fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if u32::from(c) < 0x20 => drop(write!(out, "\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.canonical_text())
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Json::Null => serializer.serialize_unit(),
            Json::Bool(v) => serializer.serialize_bool(*v),
            Json::Int(v) => serializer.serialize_i64(*v),
            Json::Float(v) => serializer.serialize_f64(*v),
            Json::Str(v) => serializer.serialize_str(v),
            Json::Array(items) => {
                let mut seq = serializer.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|item| seq.serialize_element(item))?;
                seq.end()
            }
            Json::Object(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                entries.iter().try_for_each(|(key, value)| map.serialize_entry(key, value))?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Json, E> {
        Ok(Json::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Json, E> {
        Ok(Json::Int(v))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Json, E> {
        Ok(i64::try_from(v).map_or(Json::Float(v as f64), Json::Int))
    }

    fn visit_f64<E: serde::de::Error>(self, v: f64) -> Result<Json, E> {
        match v.is_finite() {
            true => Ok(Json::Float(canonical(v))),
            false => Err(E::custom("JSON has no number that is not finite")),
        }
    }

    fn visit_str<E>(self, v: &str) -> Result<Json, E> {
        Ok(Json::Str(v.to_owned()))
    }

    fn visit_string<E>(self, v: String) -> Result<Json, E> {
        Ok(Json::Str(v))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut entries: Vec<(String, Json)> = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value().map_err(|e| A::Error::custom(format!("{key}: {e}")))?;
            entries.push((key, value));
        }
        Ok(Json::object(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canonical_text_is_the_same_for_the_same_value() {
        let text = |json: &str| serde_json::from_str::<Json>(json).unwrap().canonical_text().to_string();
        assert_eq!(
            text(" { \"b\" : [1, 1.0, -0.0, 1e2], \"a\":null } "),
            r#"{"a":null,"b":[1,1.0,0.0,100.0]}"#
        );
        assert_eq!(text(r#"{"a":1,"b":2,"a":3}"#), r#"{"a":3,"b":2}"#);
        assert_eq!(text("9223372036854775808"), "9.223372036854776e18");
        assert_eq!(text(r#""\u0001\u00e9\/\n""#), "\"\\u0001é/\\n\"");
        for json in ["[]", "{}", "\"\"", "0.1", "1e300", "-5", "[[[1]]]"] {
            let once = text(json);
            assert_eq!(text(&once), once);
        }
    }

    #[test]
    fn depth_counts_arrays_and_objects() {
        let depth = |json: &str| serde_json::from_str::<Json>(json).unwrap().depth();
        assert_eq!((depth("1"), depth("[]"), depth("[{\"a\":[1]},2]")), (0, 1, 3));
    }
}
