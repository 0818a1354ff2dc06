//! `GET /openapi.json`: the API, described from the tables and types that it works by.
//!
//! Parameters are the tables that requests are checked with, bodies are the types that they are read into; only the
//! shapes of answers (`answers.json`) are written by hand. A test asks a real server everything that this describes
//! and compares.

mod operations;
mod parameters;
pub(crate) mod shapes;

use std::sync::OnceLock;

use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value as Json, json};
use thyme_core::{Error, Result};

use crate::app::Ready;
use crate::request::{ARROW_STREAM, NDJSON, OCTETS, PARQUET, Reply, Request};
use crate::routes::ROUTES;

pub(crate) use operations::*;
pub(crate) use parameters::{Param, refuse_all_but};
use parameters::{check_shapes, refuse_repeated};

/// What an endpoint takes and gives.
pub(crate) struct Operation {
    /// One line.
    pub summary: &'static str,
    /// All parameters of its query string.
    pub parameters: &'static [Param],
    /// Whether there are others, which it checks itself: keys by their own names.
    pub has_more: bool,
    pub body: Body,
    /// The shape of its answer, by its name in `answers.json`.
    pub answer: Option<&'static str>,
    /// Whether it answers in Arrow: `None` never.
    pub arrow: Option<Arrow>,
}

/// When an answer is an Arrow IPC stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrow {
    Always,
    WhenAccepted,
    WhenSent,
}

/// What a request's body is.
pub(crate) enum Body {
    None,
    Json(fn(&mut SchemaGenerator) -> Schema),
    /// JSON that may be left out.
    Optional(fn(&mut SchemaGenerator) -> Schema),
    /// JSON, newline-delimited JSON, or a frame.
    Rows(fn(&mut SchemaGenerator) -> Schema),
    /// JSON, or a frame.
    Frame(fn(&mut SchemaGenerator) -> Schema),
    /// A frame.
    Table,
}

impl Operation {
    const fn new(summary: &'static str, parameters: &'static [Param]) -> Operation {
        Operation { summary, parameters, has_more: false, body: Body::None, answer: None, arrow: None }
    }

    const fn takes(self, body: Body) -> Operation {
        Operation { body, ..self }
    }

    const fn gives(self, answer: &'static str) -> Operation {
        Operation { answer: Some(answer), ..self }
    }

    const fn in_arrow(self, when: Arrow) -> Operation {
        Operation { arrow: Some(when), ..self }
    }

    /// Refuses parameters that it does not have, that are given twice, or that are not of their shape.
    ///
    /// # Errors
    /// InvalidData, with what was expected.
    pub fn check(&self, request: &Request) -> Result<()> {
        if !self.has_more {
            refuse_all_but(request, self.parameters.iter().map(|param| param.name))?;
        }
        refuse_repeated(request, self.parameters)?;
        check_shapes(request, self.parameters)
    }

    fn described(&self, method: &str, path: &str, shapes: &mut SchemaGenerator) -> Json {
        let mut out = json!({
            "operationId": operation_id(method, path),
            "summary": self.summary,
            "parameters": self.parameters.iter().map(Param::described).collect::<Vec<_>>(),
            "responses": self.responses(),
        });
        if path.contains("{id}") {
            let id = json!({
                "name": "id", "in": "path", "required": true, "description": "Its id.",
                "schema": {"type": "string", "minLength": 1, "pattern": "^[A-Za-z0-9]+$"},
            });
            out["parameters"].as_array_mut().into_iter().for_each(|all| all.push(id.clone()));
        }
        if let Some(body) = self.body.described(shapes) {
            out["requestBody"] = body;
        }
        if path == LOG_PATH {
            let key = json!({
                "name": "Idempotency-Key", "in": "header", "required": false,
                "description": "The same key and body are answered as the first time, for 24 h, and stored once.",
                "schema": {"type": "string", "minLength": 1, "maxLength": 256, "pattern": "^[!-~]+$"},
            });
            out["parameters"].as_array_mut().into_iter().for_each(|all| all.push(key.clone()));
        }
        out
    }

    fn responses(&self) -> Json {
        let mut content = Map::new();
        if let Some(answer) = self.answer {
            content.insert("application/json".into(), json!({"schema": reference(answer)}));
        }
        if self.arrow.is_some() {
            content.insert(ARROW_STREAM.into(), json!({"schema": binary()}));
        }
        let mut responses = Map::new();
        responses.insert("200".into(), json!({"description": "What was asked for.", "content": content}));
        for (status, about) in REFUSALS {
            let error = json!({"application/json": {"schema": reference("Error")}});
            responses.insert((*status).into(), json!({"description": about, "content": error}));
        }
        // It is told before anything of the request is known.
        responses.insert("431".into(), json!({"description": "Its head is too large."}));
        responses.into()
    }
}

const LOG_PATH: &str = "/api/v1/log";

/// What any request may be answered instead.
const REFUSALS: &[(&str, &str)] = &[
    ("400", "The request is wrong: `detail` and `faults` say where, what was expected and what came."),
    ("401", "This server has API keys, and the request has none that opens anything."),
    ("403", "The API key may not do this: `detail` says which role or featureset it would take."),
    ("404", "What it names does not exist; `detail` has what comes near."),
    ("408", "The body came too slowly."),
    ("409", "It does not fit what is there now."),
    ("410", "What it needs was removed, as the dataset's retention says."),
    ("413", "It is too large."),
    ("415", "The body is of another type than is taken."),
    ("422", "It cannot be answered here, or an extractor failed."),
    ("429", "Too much at once: nothing was done; try again after `Retry-After`."),
    ("500", "A fault of the server or its disk."),
    ("503", "Not now: `Retry-After`, or `poisoned` until a restart."),
    ("507", "The disk is full: nothing was stored."),
];

impl Body {
    fn described(&self, shapes: &mut SchemaGenerator) -> Option<Json> {
        let (shape, required) = match self {
            Body::None => return None,
            Body::Table => {
                let content = json!({
                    OCTETS: {"schema": binary()}, ARROW_STREAM: {"schema": binary()}, PARQUET: {"schema": binary()},
                });
                return Some(json!({"required": true, "content": content}));
            }
            Body::Json(shape) | Body::Rows(shape) | Body::Frame(shape) => (shape, true),
            Body::Optional(shape) => (shape, false),
        };
        let mut content = Map::new();
        content.insert("application/json".into(), json!({"schema": shape(shapes)}));
        let mut also = |name: &str, schema: Json| content.insert(name.into(), json!({"schema": schema}));
        if matches!(self, Body::Rows(_)) {
            also(
                NDJSON[0],
                json!({"type": "string", "description": "One event a line; ?dataset= says whose."}),
            );
        }
        if matches!(self, Body::Rows(_) | Body::Frame(_)) {
            also(ARROW_STREAM, binary());
            also(PARQUET, binary());
        }
        Some(json!({"required": required, "content": content}))
    }
}

fn binary() -> Json {
    json!({"type": "string", "format": "binary"})
}

fn reference(name: &str) -> Json {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// `get_api_v1_history` and the like.
fn operation_id(method: &str, path: &str) -> String {
    let name: String = path.chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect();
    format!("{}{name}", method.to_ascii_lowercase())
}

/// The whole description.
///
/// # Errors
/// Internal: the shapes of answers cannot be read.
fn document() -> Result<Json> {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    settings.meta_schema = None;
    let mut shapes = SchemaGenerator::new(settings);
    let mut paths: Map<String, Json> = Map::new();
    let more = [("GET", "/health", &HEALTH), ("GET", "/metrics", &METRICS)];
    let routes = ROUTES.iter().map(|route| (route.method, route.path, route.operation));
    for (method, path, operation) in routes.chain(more) {
        let described = operation.described(method, path, &mut shapes);
        let methods = paths.entry(path).or_insert_with(|| json!({}));
        methods[method.to_ascii_lowercase()] = described;
    }
    for path in ["/api/v1/commit", "/api/v1/rollback"] {
        let Some(answers) = paths.get_mut(path).map(|path| &mut path["post"]["responses"]) else { continue };
        let content = json!({"application/json": {"schema": reference("Commit")}});
        answers["202"] =
            json!({"description": "It is pending: its new pipelines are being filled.", "content": content});
    }
    if let Some(answers) = paths.get_mut("/health").map(|path| &mut path["get"]["responses"]) {
        *answers = json!({
            "200": {"description": "Reads and writes work.", "content": {"application/json": {"schema": reference("Health")}}},
            "503": {"description": "It starts, or has failed.", "content": {"application/json": {"schema": reference("Health")}}},
        });
    }
    if let Some(answers) = paths.get_mut("/metrics").map(|path| &mut path["get"]["responses"]) {
        let text = json!({"text/plain": {"schema": {"type": "string"}}});
        *answers = json!({"200": {"description": "The text format of Prometheus.", "content": text}});
    }
    let mut schemas: Map<String, Json> = serde_json::from_str(include_str!("answers.json"))
        .map_err(|e| Error::internal(format!("the shapes of answers cannot be read: {e}")))?;
    schemas.extend(shapes.take_definitions(true));
    Ok(json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Thyme",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Features written once, fresh within milliseconds, and the same bits in training.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"key": {
            "type": "http", "scheme": "bearer",
            "description": "An API key. A server without any answers this machine only, and needs none.",
        }}},
        "security": [{"key": []}, {}],
    }))
}

/// `GET /openapi.json`.
pub(crate) fn openapi(_: &Ready, _: &Request) -> Result<Reply> {
    static DOCUMENT: OnceLock<Json> = OnceLock::new();
    if let Some(document) = DOCUMENT.get() {
        return Ok(Reply::json(200, document));
    }
    let document = document()?;
    Ok(Reply::json(200, DOCUMENT.get_or_init(|| document)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every name that is referred to.
    fn references(json: &Json, found: &mut Vec<String>) {
        match json {
            Json::Object(map) => map.iter().for_each(|(key, value)| match value.as_str() {
                Some(text) if key == "$ref" => found.push(text.to_owned()),
                _ => references(value, found),
            }),
            Json::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn everything_that_the_description_refers_to_is_in_it() {
        let document = document().unwrap();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 50);
        for name in found {
            assert!(document.pointer(name.trim_start_matches('#')).is_some(), "{name} is not there");
        }
    }

    #[test]
    fn every_endpoint_is_described_and_has_a_name_of_its_own() {
        let document = document().unwrap();
        let mut names = std::collections::BTreeSet::new();
        for route in ROUTES {
            let operation = &document["paths"][route.path][route.method.to_ascii_lowercase()];
            assert!(operation["summary"].as_str().is_some_and(|text| text.len() > 10), "{}", route.path);
            assert!(names.insert(operation["operationId"].to_string()), "{}", route.path);
        }
    }
}
