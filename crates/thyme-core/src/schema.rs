//! Fields and the columns they become.

use std::sync::Arc;

use arrow::datatypes::{Field as ArrowField, Schema as ArrowSchema, SchemaRef};
use serde::{Deserialize, Serialize};

use crate::value::DataType;

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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// The fields of a dataset, in the order they were declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
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
        Arc::new(ArrowSchema::new(
            self.fields
                .iter()
                .map(|f| ArrowField::new(&f.name, f.data_type.arrow(), f.optional))
                .collect::<Vec<_>>(),
        ))
    }
}
