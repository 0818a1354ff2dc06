//! What may stand in a query string: one table an endpoint, which is both what it takes and what is told of it.

use serde_json::{Value as Json, json};
use thyme_core::{Error, Result};
use thyme_engine::ReadAt;

use crate::request::Request;

/// A parameter of an endpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Param {
    pub name: &'static str,
    pub about: &'static str,
    pub shape: Shape,
    pub required: bool,
}

/// What a parameter's text looks like.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    Text,
    /// Text of at most so many characters.
    Short(usize),
    /// ISO 8601, or seconds since the epoch.
    Time,
    /// A number within these.
    Count(u64, u64),
    Position,
    /// `1`, `true`, `0`, `false`, or nothing at all.
    Flag,
    /// Separated by commas, or given several times.
    Names,
    OneOf(&'static [&'static str]),
    /// A JSON object.
    Object,
}

impl Param {
    pub const fn new(name: &'static str, shape: Shape, about: &'static str) -> Param {
        Param { name, about, shape, required: false }
    }

    pub const fn required(self) -> Param {
        Param { required: true, ..self }
    }

    /// As OpenAPI has it.
    pub fn described(&self) -> Json {
        let mut out = json!({
            "name": self.name,
            "in": "query",
            "description": self.about,
            "required": self.required,
        });
        match self.shape {
            Shape::Object => {
                out["content"] = json!({"application/json": {"schema": {"type": "object"}}});
            }
            Shape::Names => {
                out["schema"] = json!({"type": "array", "items": {"type": "string"}});
                (out["style"], out["explode"]) = ("form".into(), false.into());
            }
            _ => out["schema"] = self.schema(),
        }
        out
    }

    /// Refuses a text that is not of its shape; times, positions and JSON are read, and refused, where they are used.
    fn check(&self, text: &str) -> Result<()> {
        let expected = match self.shape {
            Shape::Flag if !FLAGS.contains(&text.to_ascii_lowercase().as_str()) => "true or false".to_owned(),
            Shape::OneOf(words) if !words.contains(&text) => words.join(" or "),
            Shape::Short(most) if text.chars().count() > most => format!("at most {most} characters"),
            Shape::Count(least, most) if !text.parse().is_ok_and(|n: u64| (least..=most).contains(&n)) => {
                format!("a number from {least} to {most}")
            }
            _ => return Ok(()),
        };
        let shown: String = text.chars().take(60).collect();
        Err(Error::invalid_data(format!("{}: expected {expected}, got \"{shown}\"", self.name)))
    }

    fn schema(&self) -> Json {
        match self.shape {
            Shape::Text if self.required => json!({"type": "string", "minLength": 1}),
            Shape::Text | Shape::Names | Shape::Object => json!({"type": "string"}),
            Shape::Short(most) => json!({"type": "string", "maxLength": most}),
            Shape::Time => json!({"type": "string", "format": "date-time"}),
            Shape::Count(least, most) => json!({"type": "integer", "minimum": least, "maximum": most}),
            Shape::Position => json!({"$ref": "#/components/schemas/Position"}),
            Shape::Flag => json!({"type": "string", "enum": FLAGS}),
            Shape::OneOf(words) => json!({"type": "string", "enum": words}),
        }
    }
}

/// What a flag may be; nothing at all, as in `?dry_run`, is yes.
const FLAGS: &[&str] = &["", "1", "true", "0", "false"];

/// Which state is read.
pub(crate) const TIMESTAMP: Param =
    Param::new("timestamp", Shape::Time, "The time T to read as of; now if it is left out.");
/// The other name of [`TIMESTAMP`].
pub(crate) const TS: Param = Param::new("ts", Shape::Time, "The same as timestamp.");
/// Read your writes.
pub(crate) const MIN_POSITION: Param =
    Param::new("min_position", Shape::Position, "Waits until this position is applied.");
/// The state as known then.
pub(crate) const POSITION: Param =
    Param::new("position", Shape::Position, "The position S to read at: the state as known then.");
/// How long a read waits.
pub(crate) const WAIT_MS: Param = Param::new(
    "wait_ms",
    Shape::Count(0, ReadAt::WAIT_MAX.as_millis() as u64),
    "How long to wait for a position, in milliseconds; 10,000 if it is left out.",
);
/// What is known of each value.
pub(crate) const META: Param = Param::new(
    "meta",
    Shape::Flag,
    "Also how each value came about and how fresh it is: its status, newest event, age and version.",
);
/// The features that are asked for.
pub(crate) const FEATURES: Param =
    Param::new("features", Shape::Names, "Only these features, by id or name, in this order.");
/// How many a list shows.
pub(crate) const LIMIT: Param = Param::new("limit", Shape::Count(1, 100_000), "The most that are listed.");

/// Refuses parameters that are not of their shape.
///
/// # Errors
/// InvalidData, naming the parameter and what was expected.
pub(crate) fn check_shapes(request: &Request, known: &[Param]) -> Result<()> {
    let of = |name: &str| known.iter().find(|param| param.name == name);
    request.query.iter().try_for_each(|(name, text)| of(name).map_or(Ok(()), |param| param.check(text)))
}

/// Refuses a parameter that is given several times, unless it is a list: which of them was meant nobody can say.
///
/// # Errors
/// InvalidData, naming the parameter.
pub(crate) fn refuse_repeated(request: &Request, known: &[Param]) -> Result<()> {
    let is_list =
        |name: &str| known.iter().any(|param| param.name == name && matches!(param.shape, Shape::Names));
    let mut seen = std::collections::BTreeSet::new();
    let again = request.query.iter().find(|(name, _)| !is_list(name) && !seen.insert(name.as_str()));
    again.map_or(Ok(()), |(name, _)| {
        let times = request.query.iter().filter(|(other, _)| other == name).count();
        let detail = format!("{name}: expected one value, got {times}; give this parameter once");
        Err(Error::invalid_data(detail))
    })
}

/// Refuses parameters that nothing reads: a misspelt `timestamp` must not be answered as of now.
///
/// # Errors
/// InvalidData, with what comes near.
pub(crate) fn refuse_all_but<'a>(request: &Request, known: impl Iterator<Item = &'a str>) -> Result<()> {
    if request.query.is_empty() {
        return Ok(());
    }
    let known: Vec<&str> = known.collect();
    match request.query.iter().find(|(name, _)| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some((name, _)) => {
            let near = thyme_core::error::nearest(name, known.iter().copied());
            let hint = match (near.is_empty(), known.is_empty()) {
                (true, true) => "it takes none".to_owned(),
                (true, false) => known.join(", "),
                (false, _) => format!("did you mean {}?", near.join(", ")),
            };
            Err(Error::invalid_data(format!("{} has no parameter {name} ({hint})", request.path)))
        }
    }
}
