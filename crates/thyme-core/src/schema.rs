//! Fields and the columns they become.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{Field as ArrowField, Schema as ArrowSchema, SchemaRef};
use serde::{Deserialize, Serialize};

use crate::expr::ast::LiteralValue;
use crate::value::{DataType, Value, encoding, from_base64, to_base64};

/// The key of a column's metadata that holds its field's default, as a text.
const DEFAULT: &str = "thyme.default";

/// What a field is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Part of the entity key.
    Key,
    /// The event time.
    Timestamp,
    /// Any other field.
    #[default]
    Value,
}

/// One field of a dataset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub data_type: DataType,
    /// Whether null is allowed.
    #[serde(default)]
    pub optional: bool,
    /// Key, event time, or plain.
    #[serde(default)]
    pub role: Role,
    /// What a row has that does not say: also one that was written before there was the field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<LiteralValue>,
}

impl Field {
    /// A field without a default.
    pub fn new(name: impl Into<String>, data_type: DataType, optional: bool, role: Role) -> Field {
        Field { name: name.into(), data_type, optional, role, default: None }
    }

    /// What a row has that does not say; `None` if it has to. A valid definition's default fits its type.
    pub fn missing(&self) -> Option<Value> {
        match &self.default {
            Some(default) => default.value(self.data_type).ok(),
            None => self.optional.then_some(Value::Null),
        }
    }

    fn arrow(&self) -> ArrowField {
        let field = ArrowField::new(&self.name, self.data_type.arrow(), self.optional);
        let default = self.missing().filter(|_| self.default.is_some()).and_then(|value| text(&value));
        match default {
            Some(default) => field.with_metadata(HashMap::from([(DEFAULT.to_owned(), default)])),
            None => field,
        }
    }
}

/// What rows have in a column of [`Schema::arrow`] that they were written without, and its type; `None` for a
/// column of anything else.
pub fn missing(column: &ArrowField) -> Option<(DataType, Value)> {
    let data_type = DataType::of_arrow(column.data_type())?;
    let value = column.metadata().get(DEFAULT).and_then(|text| value(data_type, text));
    Some((data_type, value.unwrap_or_default()))
}

/// A value as a text of its type, bit for bit; `None` for null.
fn text(value: &Value) -> Option<String> {
    Some(match value {
        Value::Null => return None,
        Value::Int(v) | Value::Datetime(v) => v.to_string(),
        Value::Float(v) => v.to_bits().to_string(),
        Value::Bool(v) => u8::from(*v).to_string(),
        Value::Date(v) => v.to_string(),
        Value::Str(v) | Value::Json(v) => v.as_ref().to_owned(),
        other => {
            let mut bytes = Vec::new();
            encoding::encode(other, &mut bytes);
            to_base64(&bytes)
        }
    })
}

/// What [`text`] was made of.
fn value(data_type: DataType, text: &str) -> Option<Value> {
    Some(match data_type {
        DataType::Int => Value::Int(text.parse().ok()?),
        DataType::Datetime => Value::Datetime(text.parse().ok()?),
        DataType::Float => Value::Float(f64::from_bits(text.parse().ok()?)),
        DataType::Bool => Value::Bool(text == "1"),
        DataType::Date => Value::Date(text.parse().ok()?),
        DataType::Str => Value::Str(text.into()),
        DataType::Json => Value::Json(text.into()),
        other => return encoding::decode(other, &from_base64(text)?),
    })
}

/// The fields of a dataset, in the order they were declared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Schema {
    /// The fields.
    pub fields: Vec<Field>,
}

impl Schema {
    /// The field called `name`.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|f| f.name == name)
    }

    /// The index of the field called `name`.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|f| f.name == name)
    }

    /// The key fields, in declaration order.
    pub fn keys(&self) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter(|f| f.role == Role::Key)
    }

    /// The event time field; validated definitions have exactly one.
    pub fn timestamp(&self) -> Option<&Field> {
        self.fields.iter().find(|f| f.role == Role::Timestamp)
    }

    /// The Arrow schema of a batch of rows: one column a field, in order.
    pub fn arrow(&self) -> SchemaRef {
        Arc::new(ArrowSchema::new(self.fields.iter().map(Field::arrow).collect::<Vec<_>>()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_travels_with_its_column_bit_for_bit() {
        let cases = [
            (DataType::Int, LiteralValue::Int(-7), Value::Int(-7)),
            (DataType::Float, LiteralValue::Int(2), Value::Float(2.0)),
            (DataType::Float, LiteralValue::Float(0.1), Value::Float(0.1)),
            (DataType::Float, LiteralValue::Str("NaN".into()), Value::Float(crate::value::NAN)),
            (DataType::Str, LiteralValue::Str("none".into()), Value::Str("none".into())),
            (DataType::Bool, LiteralValue::Bool(true), Value::Bool(true)),
            (DataType::Bool, LiteralValue::Bool(false), Value::Bool(false)),
            (
                DataType::Datetime,
                LiteralValue::Str("1970-01-01T00:00:01Z".into()),
                Value::Datetime(1_000_000),
            ),
        ];
        for (data_type, default, expected) in cases {
            let field = Field { default: Some(default), ..Field::new("x", data_type, false, Role::Value) };
            assert_eq!(field.missing(), Some(expected.clone()));
            let schema = Schema { fields: vec![field] }.arrow();
            assert_eq!(missing(schema.field(0)), Some((data_type, expected)));
        }
        let optional = Field::new("x", DataType::Int, true, Role::Value);
        assert_eq!(optional.missing(), Some(Value::Null));
        assert_eq!(missing(&optional.arrow()), Some((DataType::Int, Value::Null)));
        assert_eq!(Field::new("x", DataType::Int, false, Role::Value).missing(), None);
    }
}
