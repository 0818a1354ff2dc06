//! Validation at decoration: the same function that a commit runs.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use serde_json::json;
use thyme_core::definition::Document;
use thyme_core::definition::validate::validate as faults_of;
use thyme_core::error::Fault;
use thyme_core::{DataType, Span, Window};

/// The version this was built as.
#[pyfunction]
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// A duration such as `"90s"` in microseconds.
#[pyfunction]
pub fn parse_duration(text: &str) -> PyResult<i64> {
    Span::parse(text).map(|span| span.0).map_err(|e| PyValueError::new_err(e.detail().to_owned()))
}

/// A window as a document has it: in its shortest form, as it is written in Python, and how many microseconds it reaches
/// back at most.
#[pyfunction]
pub fn parse_window(json: &str) -> PyResult<(String, String, Option<i64>)> {
    let window: Window = serde_json::from_str(json).map_err(|e| PyValueError::new_err(plain(&e)))?;
    let shortest = serde_json::to_string(&window).map_err(|e| PyValueError::new_err(e.to_string()))?;
    Ok((shortest, window.to_string(), window.reach().map(|span| span.0)))
}

/// An error without where in the JSON it is, which the caller has not written.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&place).unwrap_or(&text).to_owned()
}

/// What is wrong with a definition document, as a JSON list of faults.
#[pyfunction]
pub fn validate(document: &str, known: &str) -> PyResult<String> {
    let read = |text: &str| -> PyResult<Document> {
        serde_json::from_str(text)
            .map_err(|e| PyValueError::new_err(format!("not a definition document: {e}")))
    };
    let faults = faults_of(&read(document)?, &read(known)?);
    let listed: Vec<_> = faults
        .iter()
        .map(|f| {
            json!({
                "subject": f.subject, "expected": f.expected, "got": f.got, "message": f.message,
                "file": f.file, "line": f.line, "kind": kind(f),
            })
        })
        .collect();
    Ok(serde_json::Value::from(listed).to_string())
}

/// Whether a fault is about types: Python raises TypeError for those.
fn kind(fault: &Fault) -> &'static str {
    const TYPES: [DataType; 5] =
        [DataType::Int, DataType::Float, DataType::Str, DataType::Bool, DataType::Datetime];
    let is_type = |text: &str| TYPES.iter().any(|t| text == t.name() || text.starts_with(&format!("{t} ")));
    match is_type(&fault.expected) && is_type(&fault.got) {
        true => "type",
        false => "value",
    }
}
