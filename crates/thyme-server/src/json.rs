//! JSON to values and back.

use serde::Deserialize;
use serde_json::{Map, Value as Json, json};
use thyme_core::time::{format_rfc3339, from_epoch_seconds, from_epoch_seconds_f64, parse_timestamp};
use thyme_core::value::{Json as Tree, Misfit, NAN, canonical, typed, untyped};
use thyme_core::{DataType, Error, EventTime, Result, Value};
use thyme_engine::Snapshot;

/// The fields of an entity key.
pub(crate) type EntityFields<'a> = &'a [(String, DataType)];

/// A JSON value as a value of `data_type`; null is null.
///
/// # Errors
/// InvalidData: `subject` names the value in the sentence.
pub(crate) fn value(subject: &str, data_type: DataType, json: &Json) -> Result<Value> {
    let wrong = || Error::invalid_data(format!("{subject}: expected {data_type}, got {}", shown(json)));
    Ok(match (data_type, json) {
        (_, Json::Null) => Value::Null,
        (DataType::Bool, Json::Bool(b)) => Value::Bool(*b),
        (DataType::Str, Json::String(s)) => Value::Str(s.as_str().into()),
        (DataType::Int, Json::Number(n)) => Value::Int(n.as_i64().ok_or_else(wrong)?),
        (DataType::Float, Json::Number(n)) => Value::Float(canonical(n.as_f64().ok_or_else(wrong)?)),
        (DataType::Float, Json::String(s)) => Value::Float(non_finite(s).ok_or_else(wrong)?),
        (DataType::Datetime, _) => Value::Datetime(time(subject, json)?.0),
        (DataType::Bool | DataType::Str | DataType::Int | DataType::Float, _) => return Err(wrong()),
        (other, json) => nested(subject, other, json)?,
    })
}

/// A value of any type, from whatever JSON says.
fn nested(subject: &str, data_type: DataType, json: &Json) -> Result<Value> {
    let tree = Tree::deserialize(json)
        .map_err(|e| Error::invalid_data(format!("{subject}: expected {data_type}, got {e}")))?;
    typed(data_type, &tree).map_err(|Misfit { path, expected, got }| {
        Error::invalid_data(format!("{subject}{path}: expected {expected}, got {got}"))
    })
}

fn non_finite(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

/// A text from a query string or a command line as a value of `data_type`.
///
/// # Errors
/// InvalidData, as [`value`].
pub(crate) fn text_value(subject: &str, data_type: DataType, text: &str) -> Result<Value> {
    let json = match data_type {
        DataType::Str | DataType::Date | DataType::Bytes | DataType::Decimal(_) => {
            Json::String(text.to_owned())
        }
        DataType::Datetime => match text.parse::<f64>() {
            Ok(_) => serde_json::from_str(text).unwrap_or_else(|_| Json::String(text.to_owned())),
            Err(_) => Json::String(text.to_owned()),
        },
        _ => serde_json::from_str(text).unwrap_or_else(|_| Json::String(text.to_owned())),
    };
    value(subject, data_type, &json)
}

/// A time: ISO 8601, or seconds since the epoch.
///
/// # Errors
/// InvalidData: `subject` names the value in the sentence.
pub(crate) fn time(subject: &str, json: &Json) -> Result<EventTime> {
    let named = |e: Error| Error::invalid_data(format!("{subject}: {}", e.detail()));
    match json {
        Json::String(text) => parse_timestamp(text).map_err(named),
        Json::Number(n) => match (n.as_i64(), n.as_f64()) {
            (Some(seconds), _) => from_epoch_seconds(seconds).map_err(named),
            (None, Some(seconds)) => from_epoch_seconds_f64(seconds).map_err(named),
            _ => Err(Error::invalid_data(format!("{subject}: expected a time, got {}", shown(json)))),
        },
        _ => Err(Error::invalid_data(format!(
            "{subject}: expected a time (ISO 8601, or seconds since the epoch), got {}",
            shown(json)
        ))),
    }
}

/// A time given as text.
///
/// # Errors
/// As [`time`].
pub(crate) fn text_time(subject: &str, text: &str) -> Result<EventTime> {
    match text_value(subject, DataType::Datetime, text)? {
        Value::Datetime(us) => Ok(EventTime(us)),
        _ => Err(Error::invalid_data(format!("{subject}: expected a time, got \"{text}\""))),
    }
}

/// How an error shows a JSON value: its type and the start of its text.
pub(crate) fn shown(json: &Json) -> String {
    let kind = match json {
        Json::Null => return "null".into(),
        Json::Bool(_) => "bool",
        Json::Number(n) if n.is_f64() => "float",
        Json::Number(_) => "int",
        Json::String(_) => "str",
        Json::Array(_) => return "an array".into(),
        Json::Object(_) => return "an object".into(),
    };
    let text: String = json.to_string().chars().take(60).collect();
    format!("{kind} {text}")
}

/// An entity id: a plain value, an object by field name, or an array in the entity's order.
///
/// # Errors
/// InvalidData, naming the entity's fields.
pub(crate) fn entity(fields: EntityFields<'_>, json: &Json) -> Result<Vec<Value>> {
    let names = || fields.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>().join(", ");
    let part = |name: &str, data_type: DataType, json: &Json| -> Result<Value> {
        match value(&format!("entity_id.{name}"), data_type, json)? {
            Value::Null => {
                Err(Error::invalid_data(format!("entity_id.{name}: expected {data_type}, got null")))
            }
            value => Ok(value),
        }
    };
    match json {
        Json::Object(object) => {
            if let Some(unknown) = object.keys().find(|k| fields.iter().all(|(n, _)| n != *k)) {
                return Err(Error::invalid_data(format!(
                    "entity_id: unknown key field {unknown}; the entity is ({})",
                    names()
                )));
            }
            fields
                .iter()
                .map(|(name, data_type)| {
                    let json = object.get(name).ok_or_else(|| {
                        Error::invalid_data(format!(
                            "entity_id: the key field {name} is missing; the entity is ({})",
                            names()
                        ))
                    })?;
                    part(name, *data_type, json)
                })
                .collect()
        }
        Json::Array(parts) if parts.len() == fields.len() => {
            fields.iter().zip(parts).map(|((name, data_type), json)| part(name, *data_type, json)).collect()
        }
        plain => match fields {
            [(name, data_type)] => Ok(vec![part(name, *data_type, plain)?]),
            _ => Err(Error::invalid_data(format!(
                "entity_id: the entity is composite: expected an object with {}, got {}",
                names(),
                shown(plain)
            ))),
        },
    }
}

/// An entity id given as text: a plain value, `k1=v1,k2=v2`, or a JSON object.
///
/// # Errors
/// As [`entity`].
pub(crate) fn text_entity(fields: EntityFields<'_>, text: &str) -> Result<Vec<Value>> {
    if let [(name, data_type)] = fields {
        // A single key may be any text, also one that looks like a composite.
        return Ok(vec![text_value(&format!("entity_id.{name}"), *data_type, text)?]);
    }
    if text.starts_with('{')
        && let Ok(json @ Json::Object(_)) = serde_json::from_str(text)
    {
        return entity(fields, &json);
    }
    let pairs: Vec<(&str, &str)> = text.split(',').filter_map(|p| p.split_once('=')).collect();
    named_entity(fields, &pairs)
}

/// An entity id from named texts; each field once.
///
/// # Errors
/// As [`entity`].
pub(crate) fn named_entity(fields: EntityFields<'_>, pairs: &[(&str, &str)]) -> Result<Vec<Value>> {
    let names = || fields.iter().map(|(n, _)| format!("{n}=...")).collect::<Vec<_>>().join(",");
    if let Some((unknown, _)) = pairs.iter().find(|(k, _)| fields.iter().all(|(n, _)| n != k)) {
        return Err(Error::invalid_data(format!(
            "entity_id: unknown key field {unknown}; expected {}",
            names()
        )));
    }
    fields
        .iter()
        .map(|(name, data_type)| match pairs.iter().find(|(k, _)| k == name) {
            Some((_, text)) => text_value(&format!("entity_id.{name}"), *data_type, text),
            None => Err(Error::invalid_data(format!(
                "entity_id: the key field {name} is missing; expected {}",
                names()
            ))),
        })
        .collect()
}

/// The text of a float that JSON has no number for.
fn not_finite(float: f64) -> &'static str {
    match float {
        f if f.is_nan() => "NaN",
        f if f > 0.0 => "Infinity",
        _ => "-Infinity",
    }
}

/// A value as JSON; a float that JSON cannot say is null and its text goes to `non_finite` under `name`.
pub(crate) fn to_json(name: &str, value: &Value, non_finite: &mut Map<String, Json>) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(b) => Json::Bool(*b),
        Value::Int(i) => Json::from(*i),
        Value::Str(s) => Json::from(&**s),
        Value::Datetime(us) => Json::from(format_rfc3339(*us)),
        Value::Float(f) => match serde_json::Number::from_f64(*f) {
            Some(number) => Json::Number(number),
            None => {
                non_finite.insert(name.to_owned(), not_finite(*f).into());
                Json::Null
            }
        },
        // A value of type json is the canonical text of one.
        Value::Json(text) => serde_json::from_str(text).unwrap_or(Json::Null),
        other => {
            let tree = untyped(other, name, &mut |path, float| {
                non_finite.insert(path.to_owned(), not_finite(float).into());
            });
            serde_json::to_value(tree).unwrap_or(Json::Null)
        }
    }
}

/// The `as_of` of an answer.
pub(crate) fn as_of(snapshot: &Snapshot) -> Json {
    as_of_until(snapshot, snapshot.time)
}

/// The `as_of` of an answer with times up to `latest`.
pub(crate) fn as_of_until(snapshot: &Snapshot, latest: EventTime) -> Json {
    let mut out = json!({
        "time": snapshot.time.to_rfc3339(),
        "position": snapshot.position.to_string(),
        "commit": snapshot.catalog.commit,
    });
    if latest > snapshot.now {
        out["provisional"] = true.into();
    }
    out
}

/// An entity as an answer shows it: plain if single, an object if composite.
pub(crate) fn entity_json(fields: EntityFields<'_>, values: &[Value]) -> Json {
    let mut ignored = Map::new();
    match (fields, values) {
        ([(name, _)], [value]) => to_json(name, value, &mut ignored),
        _ => fields
            .iter()
            .zip(values)
            .map(|((n, _), v)| (n.clone(), to_json(n, v, &mut Map::new())))
            .collect::<Map<_, _>>()
            .into(),
    }
}
