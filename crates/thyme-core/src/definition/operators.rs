//! Operators that only change which columns there are and what they are called.

use serde::{Deserialize, Serialize};

use super::document::{Dataset, OperatorDef};
use crate::schema::{Field, Role};

/// Keeps some columns, and the event time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelectDef {
    /// The names of the columns that stay.
    pub columns: Vec<String>,
}

/// Takes columns away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropDef {
    /// The names of the columns that go.
    pub columns: Vec<String>,
}

/// Calls columns otherwise, all at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenameDef {
    /// The columns that get another name.
    pub columns: Vec<Renamed>,
}

/// A column with another name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renamed {
    /// The new name.
    pub name: String,
    /// The name that it had.
    pub from: String,
}

/// Makes the rows those of a derived dataset: its fields in its types, nothing else, and none without a key. No document
/// says it; it stands where a pipeline over that dataset goes on ([`super::derivation`]).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowsDef {
    /// The fields, of which the one for the event time takes that, whatever it was called.
    pub fields: Vec<Field>,
}

impl RowsDef {
    /// The rows of `dataset`.
    pub fn of(dataset: &Dataset) -> RowsDef {
        let bare = |field: &Field| Field {
            name: field.name.clone(),
            data_type: field.data_type,
            optional: field.role == Role::Value,
            role: field.role,
            default: None,
        };
        RowsDef { fields: dataset.fields.fields.iter().map(bare).collect() }
    }

    /// The columns that it gives, each with the one that it was, where `timestamp` is the event time.
    pub fn columns<'a>(&'a self, timestamp: &'a str) -> impl Iterator<Item = (&'a Field, &'a str)> {
        self.fields.iter().map(move |field| match field.role {
            Role::Timestamp => (field, timestamp),
            _ => (field, field.name.as_str()),
        })
    }
}

impl OperatorDef {
    /// What columns are called after it: each name with the one that the column had, where the event time is called
    /// `timestamp`. `None`: it leaves all of them as they are, and may add some.
    pub fn names_after<'a>(
        &'a self,
        before: impl Iterator<Item = &'a str>,
        timestamp: &'a str,
    ) -> Option<Vec<(&'a str, &'a str)>> {
        let stays = |name: &'a str| (name, name);
        Some(match self {
            OperatorDef::Select(select) => {
                let is_kept = |name: &&str| *name == timestamp || select.columns.iter().any(|c| c == name);
                before.filter(is_kept).map(stays).collect()
            }
            OperatorDef::Drop(drop) => {
                before.filter(|name| drop.columns.iter().all(|c| c != name)).map(stays).collect()
            }
            OperatorDef::Rename(rename) => {
                let renamed = |from: &'a str| {
                    let to = rename.columns.iter().find(|c| c.from == from);
                    (to.map_or(from, |c| c.name.as_str()), from)
                };
                before.map(renamed).collect()
            }
            OperatorDef::Rows(rows) => {
                rows.columns(timestamp).map(|(field, from)| (field.name.as_str(), from)).collect()
            }
            _ => return None,
        })
    }

    /// Whether it makes a column of this name, or another one of what it was.
    pub fn makes(&self, name: &str) -> bool {
        match self {
            OperatorDef::Assign { columns } => columns.iter().any(|column| column.name == name),
            OperatorDef::Join(join) => join.fields.iter().any(|field| field.name == name),
            OperatorDef::Rename(rename) => {
                rename.columns.iter().any(|column| column.name == name || column.from == name)
            }
            OperatorDef::Rows(rows) => {
                rows.fields.iter().any(|field| field.role == Role::Timestamp && field.name == name)
            }
            _ => false,
        }
    }
}
