//! A request and its answer, free of any socket.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value as Json, json};
use thyme_core::error::Fault;
use thyme_core::{Error, ErrorKind, Result};
use thyme_query::{Answer, Plan};

use crate::access::Caller;
use crate::runs::{Asked, At, Noted, Part, Subject};

/// A request.
#[derive(Debug, Default)]
pub struct Request {
    /// `GET`, `POST`, ...
    pub method: String,
    /// The path, decoded.
    pub path: String,
    /// The query string's pairs, decoded.
    pub query: Vec<(String, String)>,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: bytes::Bytes,
    /// Whether the caller has gone.
    pub gone: Gone,
    /// Who sent it.
    pub caller: Caller,
    /// What was computed for it.
    pub(crate) noted: Noted,
}

/// Whether somebody has gone; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Gone(Arc<AtomicBool>);

impl Gone {
    /// Whether it is so.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Says that somebody has gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Leaving(Gone);

impl Leaving {
    /// Says it of `gone`.
    pub fn of(gone: &Gone) -> Leaving {
        Leaving(gone.clone())
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Release);
    }
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// The content type of an Arrow IPC stream.
pub(crate) const ARROW_STREAM: &str = "application/vnd.apache.arrow.stream";
/// The content type of a Parquet file.
pub(crate) const PARQUET: &str = "application/vnd.apache.parquet";
/// The content type of bytes that say themselves what they are.
pub(crate) const OCTETS: &str = "application/octet-stream";
/// The content types of newline-delimited JSON.
pub(crate) const NDJSON: [&str; 3] = ["application/x-ndjson", "application/ndjson", "application/jsonl"];

impl Request {
    /// Reads `method`, a target such as `/features?featureset=F`, headers and body.
    pub fn new(method: &str, target: &str, headers: Vec<(String, String)>, body: bytes::Bytes) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let pairs = query.split('&').filter(|p| !p.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name, true), decode(value, true))
        });
        Request {
            method: method.to_owned(),
            path: decode(path, false),
            query: pairs.collect(),
            headers: headers.into_iter().map(|(n, v)| (n.to_ascii_lowercase(), v)).collect(),
            body,
            gone: Gone::default(),
            caller: Caller::default(),
            noted: Noted::default(),
        }
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The content type without its parameters, in lower case.
    pub fn content_type(&self) -> String {
        let value = self.header("content-type").unwrap_or("");
        value.split(';').next().unwrap_or("").trim().to_ascii_lowercase()
    }

    /// Whether the caller accepts an Arrow IPC stream.
    pub fn accepts_arrow(&self) -> bool {
        self.header("accept").is_some_and(|a| a.contains(ARROW_STREAM))
    }

    /// The last value of a parameter.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// All values of a parameter, each split at commas.
    pub fn list(&self, name: &str) -> Vec<String> {
        let values = self.query.iter().filter(|(n, _)| n == name);
        values.flat_map(|(_, v)| v.split(',')).filter(|v| !v.is_empty()).map(str::to_owned).collect()
    }

    /// A parameter that must be there.
    ///
    /// # Errors
    /// InvalidData, naming it.
    pub fn required(&self, name: &str) -> Result<&str> {
        self.param(name).filter(|v| !v.is_empty()).ok_or_else(|| {
            Error::invalid_data(format!("the parameter {name} is missing: {} needs ?{name}=", self.path))
        })
    }

    /// Notes what was computed for it, for its query run.
    pub(crate) fn note(&self, plan: &Arc<Plan>, asked: Asked, answer: Answer) {
        let Answer { names, columns, snapshot, .. } = answer;
        let subject = Subject::Featureset(plan.clone());
        self.noted.add(Part { subject, at: At::of(&snapshot), asked, names, columns, is_missing: false });
    }

    /// Refuses to go on for somebody who has gone: long work asks now and then.
    ///
    /// # Errors
    /// Unavailable: nobody will read it.
    pub(crate) fn still_wanted(&self) -> Result<()> {
        if self.gone.is_set() { Err(Error::unavailable("whoever asked is gone")) } else { Ok(()) }
    }

    /// A flag such as `?dry_run=1`.
    pub fn flag(&self, name: &str) -> bool {
        self.param(name).is_some_and(|v| matches!(v, "" | "1") || v.eq_ignore_ascii_case("true"))
    }
}

impl Reply {
    /// A JSON answer.
    pub fn json(status: u16, body: &Json) -> Self {
        let body = serde_json::to_vec(body).unwrap_or_default();
        Reply { status, headers: vec![("content-type", "application/json".into())], body }
    }

    /// An Arrow IPC stream.
    pub fn arrow(body: Vec<u8>) -> Self {
        Reply { status: 200, headers: vec![("content-type", ARROW_STREAM.into())], body }
    }

    /// With a header, in place of one that it has.
    pub(crate) fn with_header(mut self, name: &'static str, value: String) -> Self {
        self.headers.retain(|(has, _)| *has != name);
        self.headers.push((name, value));
        self
    }

    /// The answer to a refused request.
    pub fn error(error: &Error) -> Self {
        Self::failure(status_of(error.kind()), error.kind().code(), error.detail(), error.faults())
    }

    /// The answer to a request that no handler saw.
    pub fn failure(status: u16, code: &str, detail: &str, faults: &[Fault]) -> Self {
        let mut body = json!({"error": code, "detail": detail});
        if !faults.is_empty() {
            body["faults"] = faults.iter().map(fault).collect();
        }
        let mut reply = Self::json(status, &body);
        // What only a restart helps against is not worth another try.
        if matches!(status, 429 | 503) && code != ErrorKind::Poisoned.code() {
            reply.headers.push(("retry-after", "1".into()));
        }
        reply
    }
}

pub(crate) fn fault(fault: &Fault) -> Json {
    let mut out = serde_json::Map::new();
    if let Some(row) = fault.row {
        out.insert("row".into(), row.into());
    }
    for (name, text) in [
        ("subject", &fault.subject),
        ("field", &fault.subject),
        ("expected", &fault.expected),
        ("got", &fault.got),
        ("message", &fault.message),
    ] {
        // A row's fault is about a field, a definition's about a member.
        if !text.is_empty() && (name != "field" || fault.row.is_some()) {
            out.insert(name.into(), text.as_str().into());
        }
    }
    if let Some(file) = &fault.file {
        out.insert("file".into(), file.as_str().into());
    }
    if let Some(line) = fault.line {
        out.insert("line".into(), line.into());
    }
    Json::Object(out)
}

fn status_of(kind: ErrorKind) -> u16 {
    match kind {
        ErrorKind::InvalidDefinition | ErrorKind::InvalidData => 400,
        ErrorKind::Forbidden => 403,
        ErrorKind::NotFound => 404,
        ErrorKind::Conflict => 409,
        ErrorKind::Gone => 410,
        ErrorKind::TooLarge => 413,
        ErrorKind::MediaType => 415,
        ErrorKind::Unsupported | ErrorKind::Extractor | ErrorKind::Stale => 422,
        ErrorKind::Overloaded => 429,
        ErrorKind::Unavailable | ErrorKind::Poisoned => 503,
        ErrorKind::StorageFull => 507,
        ErrorKind::Corrupt | ErrorKind::Internal => 500,
    }
}

/// Percent-decodes; in a query string `+` is a space.
pub(crate) fn decode(text: &str, plus_is_space: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while let Some(&byte) = bytes.get(i) {
        let hex = |at: usize| bytes.get(at).and_then(|b| (*b as char).to_digit(16));
        match (byte, hex(i + 1), hex(i + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                i += 3;
                continue;
            }
            (b'+', ..) if plus_is_space => out.push(b' '),
            _ => out.push(byte),
        }
        i += 1;
    }
    match String::from_utf8_lossy(&out) {
        Cow::Borrowed(text) => text.to_owned(),
        Cow::Owned(text) => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_taken_apart_and_decoded() {
        let r = Request::new(
            "GET",
            "/features?featureset=F&entity_id=a%2Bb+c&timestamp=",
            vec![],
            bytes::Bytes::new(),
        );
        assert_eq!(r.path, "/features");
        assert_eq!(r.param("entity_id"), Some("a+b c"));
        assert_eq!(r.param("timestamp"), Some(""));
        assert!(r.required("timestamp").is_err());
        assert_eq!(decode("100%", true), "100%");
    }
}
