//! Shapes of body fields that are read as any JSON first.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value as Json, json};

use crate::previews::{EXAMPLES_MAX, TIME_LIMIT_S_MAX, TIMES_MAX};

/// An entity id.
pub(crate) fn entity(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "The key: a plain value, or an object by field name for a composite one.",
        "type": ["string", "number", "boolean", "object", "array"],
    })
}

/// Several of them.
pub(crate) fn entities(shapes: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "items": entity(shapes)})
}

/// A time.
pub(crate) fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "RFC 3339 (no offset is UTC), or seconds since the epoch.",
        "anyOf": [{"type": "string", "format": "date-time"}, {"type": "number"}],
    })
}

/// A time that may be left out.
pub(crate) fn optional_time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "RFC 3339 (no offset is UTC), or seconds since the epoch; now if it is left out.",
        "anyOf": [{"type": "string", "format": "date-time"}, {"type": "number"}, {"type": "null"}],
    })
}

/// Features by id or name.
pub(crate) fn features(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "Only these features, by id or name, in this order.",
        "type": ["array", "null"],
        "items": {"type": ["integer", "string"], "minimum": 1, "minLength": 1},
    })
}

/// Request features, one object or one a row.
pub(crate) fn inputs(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "Request features: one object for all rows, or one a row.",
        "type": ["object", "array", "null"],
        "items": {"type": "object"},
    })
}

/// A position, which may be left out.
pub(crate) fn optional_position(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"anyOf": [{"$ref": "#/components/schemas/Position"}, {"type": "null"}]})
}

/// Rows of a dataset.
pub(crate) fn events(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "One object a row, by field name.",
        "type": "array",
        "items": {"type": "object"},
    })
}

/// A definition document, and what is asked about values.
pub(crate) fn planned(shapes: &mut SchemaGenerator) -> Schema {
    let mut schema = definitions(shapes);
    let values = json!({
        "description": "Also computes what the commit touches before and after, for some entities.",
        "type": ["object", "null"],
        "properties": {
            "sample": {"description": "How many entities, or all.", "anyOf": [
                {"type": "integer", "minimum": 1}, {"const": "all"}, {"type": "null"}]},
            "times": {"type": ["integer", "null"], "minimum": 0, "maximum": TIMES_MAX},
            "examples": {"type": ["integer", "null"], "minimum": 0, "maximum": EXAMPLES_MAX},
            "inputs": {"description": "Request features.", "type": "object"},
            "time_limit_s": {"type": ["integer", "null"], "minimum": 1, "maximum": TIME_LIMIT_S_MAX},
        },
        "additionalProperties": false,
    });
    if let Some(properties) = schema.get_mut("properties").and_then(Json::as_object_mut) {
        properties.insert("values".into(), values);
    }
    schema
}

/// A definition document with the files that it was made from.
pub(crate) fn definitions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "A definition document, as `thyme commit --output` writes it (docs/definitions.md).",
        "type": "object",
        "properties": {
            "format": {"const": 1},
            "datasets": {"type": "array", "items": {"type": "object"}},
            "featuresets": {"type": "array", "items": {"type": "object"}},
            "source": {"type": "object", "additionalProperties": {"type": "string"}},
        },
        "required": ["format"],
    })
}
