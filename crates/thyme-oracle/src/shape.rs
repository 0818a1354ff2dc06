//! Operators that say which columns a row has, and the rows of derived datasets.

use thyme_core::definition::OperatorDef;
use thyme_core::schema::{Field, Role};
use thyme_core::{Error, Result};

use crate::expression::{Columns, Typed};

/// The row after the operator, if it is one of those; `time` is what the event time is called, before and after.
///
/// # Errors
/// A definition that a commit would have refused.
pub(crate) fn shaped(operator: &OperatorDef, row: &Columns, time: &mut String) -> Result<Option<Columns>> {
    let mut made = Columns::default();
    match operator {
        OperatorDef::Select(select) => {
            for name in select.columns.iter().chain([&*time]) {
                made.set(name.as_str(), column(row, name)?);
            }
        }
        OperatorDef::Drop(drop) => {
            for (name, _) in row.iter().filter(|(name, _)| drop.columns.iter().all(|gone| gone != name)) {
                made.set(name, column(row, name)?);
            }
        }
        OperatorDef::Rename(rename) => {
            let renamed = |name: &str| rename.columns.iter().find(|column| column.from == name);
            for (name, _) in row.iter().filter(|(name, _)| renamed(name).is_none()) {
                made.set(name, column(row, name)?);
            }
            // A column that a union left behind may have had the name.
            for new in &rename.columns {
                made.set(new.name.as_str(), column(row, &new.from)?);
            }
            if let Some(new) = rename.columns.iter().find(|column| column.from == *time) {
                time.clone_from(&new.name);
            }
        }
        OperatorDef::Rows(rows) => {
            for field in &rows.fields {
                let from = if field.role == Role::Timestamp { time.as_str() } else { field.name.as_str() };
                made.set(field.name.as_str(), widened(column(row, from)?, field)?);
            }
            let event_time = rows.fields.iter().find(|field| field.role == Role::Timestamp);
            event_time.into_iter().for_each(|field| time.clone_from(&field.name));
        }
        _ => return Ok(None),
    }
    Ok(Some(made))
}

/// The first key field of a derived dataset that a row has no value in.
pub(crate) fn missing_key<'o>(operator: &'o OperatorDef, row: &Columns) -> Option<&'o str> {
    let OperatorDef::Rows(rows) = operator else { return None };
    let mut keys = rows.fields.iter().filter(|field| field.role == Role::Key);
    keys.find(|key| row.value(&key.name).is_null()).map(|key| key.name.as_str())
}

fn column(row: &Columns, name: &str) -> Result<Typed> {
    row.get(name).cloned().ok_or_else(|| Error::internal(format!("a row has no column {name}")))
}

fn widened(typed: Typed, field: &Field) -> Result<Typed> {
    let refused = || Error::internal(format!("{} cannot be {}", field.name, field.data_type));
    let value = match typed.value.is_null() {
        true => typed.value,
        false => typed.value.widen(field.data_type).ok_or_else(refused)?,
    };
    Ok(Typed { value, data_type: Some(field.data_type) })
}
