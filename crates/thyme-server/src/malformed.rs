//! Definitions in JSON that are no definitions: where, what was expected, and what came, in words of the document.

use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use thyme_core::error::Fault;
use thyme_core::{Error, ErrorKind, Result};

/// The most characters of what came that an error repeats.
const SHOWN_MAX: usize = 100;
/// The most of a sentence that says by itself what is wrong.
const SENTENCE_MAX: usize = 1_000;

/// Reads what is to be a `T`; `what` is said of all of it.
///
/// # Errors
/// One of `kind` with a fault, which has the place, what was expected there and what came.
pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8], what: &str, kind: ErrorKind) -> Result<T> {
    let json: Json = serde_json::from_slice(bytes).map_err(|e| {
        Error::new(kind, format!("{what} cannot be read: expected JSON, got what is none: {e}"))
    })?;
    of(json, what, kind)
}

/// [`read`] of JSON that was parsed.
///
/// # Errors
/// As [`read`].
pub(crate) fn of<T: DeserializeOwned>(json: Json, what: &str, kind: ErrorKind) -> Result<T> {
    if !json.is_object() {
        let fault = fault(
            what,
            String::new(),
            ("an object".to_owned(), crate::json::shown(&json).replace("an array", "a list")),
        );
        return Err(refused(what, kind, fault));
    }
    serde_path_to_error::deserialize(&json).map_err(|error| {
        let path = error.path().to_string();
        let path = path.trim_start_matches('.');
        let path = if path == "." { "" } else { path };
        let subject = named(&json, path);
        refused(what, kind, fault(&subject, path.to_owned(), said(&error.inner().to_string())))
    })
}

fn refused(what: &str, kind: ErrorKind, fault: Fault) -> Error {
    Error::new(kind, format!("{what} cannot be read: {}", fault.message)).with_faults(vec![fault])
}

/// What is wrong at a path, and with what.
fn fault(subject: &str, path: String, (expected, got): (String, String)) -> Fault {
    let place = match (subject.is_empty(), path.is_empty()) {
        (_, true) => String::new(),
        (true, false) => format!("{path}: "),
        (false, false) => format!("{subject} ({path}): "),
    };
    let message = match (expected.is_empty(), got.is_empty()) {
        (true, _) => format!("{place}{got}"),
        (false, true) => format!("{place}expected {expected}, which is missing"),
        (false, false) => format!("{place}expected {expected}, got {got}"),
    };
    Fault { subject: subject.to_owned(), expected, got, message, ..Fault::default() }
}

/// The names along a path such as `datasets[0].fields[1].type`: `Ride.fare`.
fn named(json: &Json, path: &str) -> String {
    let mut at = json;
    let mut names: Vec<&str> = Vec::new();
    for step in path.split(['.', '[']) {
        let found = match step.strip_suffix(']') {
            Some(index) => index.parse::<usize>().ok().and_then(|index| at.get(index)),
            None => at.get(step),
        };
        let Some(found) = found else { break };
        at = found;
        names.extend(at.get("name").and_then(Json::as_str));
    }
    shortened(&names.join("."))
}

/// What was expected and what came, from how the reader says it. What it says in words of its own is what came.
fn said(text: &str) -> (String, String) {
    let quoted = |text: &str| text.trim_matches('`').to_owned();
    let pair = |text: &str, between: &str| {
        text.split_once(between).map(|(got, expected)| (got.to_owned(), expected.to_owned()))
    };
    if let Some(field) = text.strip_prefix("missing field ") {
        return (format!("\"{}\"", quoted(field)), String::new());
    }
    for prefix in ["invalid type: ", "invalid value: "] {
        if let Some((got, expected)) = text.strip_prefix(prefix).and_then(|rest| pair(rest, ", expected ")) {
            return (kind(&expected), shortened(&came(&got)));
        }
    }
    if let Some((length, expected)) =
        text.strip_prefix("invalid length ").and_then(|t| pair(t, ", expected "))
    {
        return (kind(&expected), format!("a list of {length}"));
    }
    for prefix in ["unknown variant ", "unknown field "] {
        if let Some((got, expected)) = text.strip_prefix(prefix).and_then(|rest| pair(rest, ", expected ")) {
            return (expected.replace('`', "\""), format!("\"{}\"", shortened(&quoted(&got))));
        }
    }
    (String::new(), text.chars().take(SENTENCE_MAX).collect())
}

/// What is expected, without the names of types.
fn kind(expected: &str) -> String {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number that is not negative".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "an object".to_owned(),
        "string or map" => "a string".to_owned(),
        _ if expected.contains("struct ") || expected.contains("enum ") => "an object".to_owned(),
        other => other.to_owned(),
    }
}

/// What came, as it is written in JSON.
fn came(got: &str) -> String {
    match got {
        "map" => "an object".to_owned(),
        "sequence" => "a list".to_owned(),
        "unit value" => "null".to_owned(),
        other => ["integer ", "floating point ", "boolean ", "string "]
            .iter()
            .find_map(|kind| other.strip_prefix(kind))
            .unwrap_or(other)
            .trim_matches('`')
            .to_owned(),
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use thyme_core::definition::Document;

    fn told(document: &Json) -> String {
        read::<Document>(document.to_string().as_bytes(), "the definitions", ErrorKind::InvalidDefinition)
            .unwrap_err()
            .detail()
            .to_owned()
    }

    #[test]
    fn what_is_no_definition_is_named_with_what_was_expected_and_what_came() {
        let field = |kind: Json| json!({"name": "fare", "type": kind});
        let dataset = |fields: Json| json!({"format": 1, "datasets": [{"name": "Ride", "fields": fields}]});
        let feature = |id: Json| json!({"format": 1, "featuresets": [{"name": "F", "features": [{"id": id, "name": "x", "type": "int"}]}]});
        let cases = [
            (json!([]), "expected an object, got a list"),
            (json!("x"), "expected an object, got"),
            (json!({}), "expected \"format\", which is missing"),
            (json!({"format": 1, "datasets": {}}), "datasets: expected a list, got an object"),
            (
                json!({"format": 1, "datasets": [{"name": "A"}]}),
                "A (datasets[0]): expected \"fields\", which is missing",
            ),
            (
                dataset(json!([{"name": "fare"}])),
                "Ride.fare (datasets[0].fields[0]): expected \"type\", which is missing",
            ),
            (dataset(json!([field(json!(5))])), "Ride.fare (datasets[0].fields[0].type): expected"),
            (
                feature(json!(-1)),
                "F.x (featuresets[0].features[0].id): expected a whole number that is not negative, got -1",
            ),
            (
                feature(json!("a")),
                "F.x (featuresets[0].features[0].id): expected a whole number that is not negative, got \"a\"",
            ),
        ];
        for (document, expected) in cases {
            let told = told(&document);
            assert!(
                told.starts_with(&format!("the definitions cannot be read: {expected}")),
                "{document}: {told}"
            );
            let leaked = ["struct", "u32", "line 1", "invalid type", "invalid length", "missing field"];
            assert!(leaked.iter().all(|text| !told.contains(text)), "{told}");
        }
        let broken = read::<Document>(b"{", "the definitions", ErrorKind::InvalidDefinition).unwrap_err();
        assert!(broken.detail().contains("expected JSON, got what is none"), "{broken}");
    }

    #[test]
    fn a_wrong_operator_or_type_names_those_that_there_are() {
        let pipeline = json!({"name": "p", "inputs": ["R"], "operators": [{"op": "sort"}]});
        let document =
            json!({"format": 1, "datasets": [{"name": "D", "fields": [], "pipelines": [pipeline]}]});
        let told = told(&document);
        assert!(told.contains("D.p (datasets[0].pipelines[0].operators[0]"), "{told}");
        assert!(told.contains("\"filter\"") && told.contains("\"sort\""), "{told}");
    }

    #[test]
    fn what_came_is_not_repeated_without_end() {
        let long = "x".repeat(5_000);
        let told = told(&json!({"format": long}));
        assert!(told.len() < 400, "{told}");
    }
}
