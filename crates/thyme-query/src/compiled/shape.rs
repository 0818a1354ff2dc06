//! What an extractor returned, as a value for each output: `thyme._result_shape` says what is right and what is not;
//! what is not is left to it.

use thyme_core::Value;

use super::object::{Object, Row};
use super::{Computed, Deferred};

/// Adds what was returned to the lists of the outputs.
pub(super) fn add(result: Object, outputs: &[String], lists: &mut [Vec<Value>]) -> Computed<()> {
    let is_one = !matches!(result, Object::Tuple(_) | Object::Dict(_) | Object::Row(_));
    if let ([list], true) = (&mut *lists, is_one) {
        list.push(result.into_value()?);
        return Ok(());
    }
    let values = values(result, outputs)?;
    lists.iter_mut().zip(values).for_each(|(list, value)| list.push(value));
    Ok(())
}

fn values(result: Object, outputs: &[String]) -> Computed<Vec<Value>> {
    match result {
        Object::Row(row) => of_row(&row, outputs),
        Object::Dict(items) => {
            let named = |name: &String| {
                let found = items.iter().find(|(key, _)| matches!(key, Object::Text(key) if **key == **name));
                found.ok_or(Deferred)?.1.clone().into_value()
            };
            if items.len() != outputs.len() {
                return Err(Deferred);
            }
            outputs.iter().map(named).collect()
        }
        Object::Tuple(items) if items.len() == outputs.len() => {
            items.iter().map(|item| item.clone().into_value()).collect()
        }
        Object::Tuple(_) => Err(Deferred),
        one if outputs.len() == 1 => Ok(vec![one.into_value()?]),
        _ => Err(Deferred),
    }
}

/// A whole row gives its fields by name; some of its fields only if they are the outputs, in any order.
fn of_row(row: &Row, outputs: &[String]) -> Computed<Vec<Value>> {
    if !row.is_whole && row.fields.len() != outputs.len() {
        return Err(Deferred);
    }
    let named: Computed<Vec<Value>> =
        outputs.iter().map(|name| row.get(name).ok_or(Deferred)?.clone().into_value()).collect();
    if named.is_ok() || row.is_whole {
        return named;
    }
    let is_moved =
        row.fields.iter().zip(outputs).any(|((name, _), output)| name != output && outputs.contains(name));
    if is_moved {
        return Err(Deferred);
    }
    row.fields.iter().map(|(_, value)| value.clone().into_value()).collect()
}
