//! Shapes of body fields that are read as any JSON first.

use schemars::{Schema, SchemaGenerator, json_schema};

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
