//! Python's objects, as far as programs have them.

use std::sync::Arc;

use thyme_core::Value;
use thyme_core::value::canonical;

use super::time::is_python_time;
use super::{Computed, Deferred};

/// An object. None of them can be changed.
#[derive(Clone, Debug)]
pub(super) enum Object {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Arc<str>),
    /// An aware datetime in UTC, in microseconds since the epoch.
    Moment(i64),
    /// A timedelta, in microseconds.
    Duration(i64),
    Tuple(Arc<[Object]>),
    /// A dict, in its order; no two keys are equal.
    Dict(Arc<[(Object, Object)]>),
    Row(Row),
}

/// A looked-up row, or some fields of one.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub fields: Arc<[(String, Object)]>,
    pub is_whole: bool,
}

impl Row {
    pub fn get(&self, name: &str) -> Option<&Object> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value)
    }
}

/// A number as arithmetic sees it: a bool is an int.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    Int(i64),
    Float(f64),
}

impl Number {
    /// As the nearest float, ties to even.
    pub fn float(self) -> f64 {
        match self {
            Number::Int(v) => v as f64,
            Number::Float(v) => v,
        }
    }
}

impl Object {
    /// What an extractor is given for a value; deferred where CPython has no object for it.
    pub fn given(value: Value) -> Computed<Object> {
        Ok(match value {
            Value::Null => Object::None,
            Value::Int(v) => Object::Int(v),
            Value::Float(v) => Object::Float(v),
            Value::Str(v) => Object::Text(v),
            Value::Bool(v) => Object::Bool(v),
            Value::Datetime(us) if is_python_time(us) => Object::Moment(us),
            // CPython has it, or an object that no instruction knows.
            _ => return Err(Deferred),
        })
    }

    /// The value that an extractor gives by returning it; what is none is for CPython to refuse.
    pub fn into_value(self) -> Computed<Value> {
        Ok(match self {
            Object::None => Value::Null,
            Object::Bool(v) => Value::Bool(v),
            Object::Int(v) => Value::Int(v),
            Object::Float(v) => Value::Float(canonical(v)),
            Object::Text(v) => Value::Str(v),
            Object::Moment(us) => Value::Datetime(us),
            Object::Duration(_) | Object::Tuple(_) | Object::Dict(_) | Object::Row(_) => {
                return Err(Deferred);
            }
        })
    }

    pub fn number(&self) -> Computed<Number> {
        match self {
            Object::Bool(v) => Ok(Number::Int(i64::from(*v))),
            Object::Int(v) => Ok(Number::Int(*v)),
            Object::Float(v) => Ok(Number::Float(*v)),
            _ => Err(Deferred),
        }
    }

    /// As an index: an int or a bool.
    pub fn index(&self) -> Computed<i64> {
        match self.number()? {
            Number::Int(v) => Ok(v),
            Number::Float(_) => Err(Deferred),
        }
    }

    /// `bool(object)`.
    pub fn is_true(&self) -> bool {
        match self {
            Object::None => false,
            Object::Bool(v) => *v,
            Object::Int(v) | Object::Duration(v) => *v != 0,
            Object::Float(v) => *v != 0.0,
            Object::Text(v) => !v.is_empty(),
            Object::Moment(_) => true,
            Object::Tuple(v) => !v.is_empty(),
            Object::Dict(v) => !v.is_empty(),
            Object::Row(row) => !row.fields.is_empty(),
        }
    }
}
