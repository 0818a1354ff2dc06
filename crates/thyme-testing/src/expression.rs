//! Expressions, evaluated one row at a time.

use std::cmp::Ordering;

use serde_json::{Value as Json, json};
use thyme_core::Value;
use thyme_core::value::canonical;

use crate::random::Random;

/// One event's columns by name.
pub type Columns = Vec<(&'static str, Value)>;

/// The value of a column; null when there is no such column.
pub fn column(columns: &Columns, name: &str) -> Value {
    columns.iter().find(|(n, _)| *n == name).map_or(Value::Null, |(_, v)| v.clone())
}

/// A predicate.
#[derive(Clone, Debug)]
pub enum Predicate {
    /// A column compared with a constant.
    Compare(&'static str, &'static str, Value),
    /// Whether a column is null.
    IsNull(&'static str),
    /// Not.
    Not(Box<Predicate>),
    /// And, or.
    Both(&'static str, Box<Predicate>, Box<Predicate>),
}

/// A number made of a column and a constant.
#[derive(Clone, Debug)]
pub struct Sum {
    /// The column it makes.
    pub name: &'static str,
    /// The column it reads.
    pub of: &'static str,
    /// `add` or `mul`.
    pub op: &'static str,
    /// The constant.
    pub by: Value,
}

fn literal(value: &Value) -> Json {
    match value {
        Value::Int(v) => json!({"lit": v, "type": "int"}),
        Value::Float(v) => json!({"lit": v, "type": "float"}),
        Value::Str(v) => json!({"lit": v.as_ref(), "type": "str"}),
        Value::Bool(v) => json!({"lit": v, "type": "bool"}),
        other => unimplemented!("the constant {other}"),
    }
}

impl Predicate {
    /// A random one over the columns `i`, `x` and `s`.
    pub fn random(random: &mut Random, depth: usize) -> Predicate {
        if depth > 0 && random.chance(35) {
            let left = Box::new(Predicate::random(random, depth - 1));
            return match random.below(3) {
                0 => Predicate::Not(left),
                n => {
                    let op = if n == 1 { "and" } else { "or" };
                    Predicate::Both(op, left, Box::new(Predicate::random(random, depth - 1)))
                }
            };
        }
        let op = random.pick(&["eq", "ne", "lt", "le", "gt", "ge"]);
        match random.below(5) {
            0 => Predicate::IsNull(random.pick(&["i", "x", "s"])),
            1 => Predicate::Compare("s", op, Value::Str("b".into())),
            2 => Predicate::Compare("x", op, Value::Float(random.pick(&[0.0, 0.5, -1e16]))),
            _ => Predicate::Compare("i", op, Value::Int(random.between(-3, 4))),
        }
    }

    /// As the definition document has it.
    pub fn json(&self) -> Json {
        match self {
            Predicate::Compare(name, op, value) => json!({"op": op, "args": [{"col": name}, literal(value)]}),
            Predicate::IsNull(name) => json!({"op": "is_null", "args": [{"col": name}]}),
            Predicate::Not(arg) => json!({"op": "not", "args": [arg.json()]}),
            Predicate::Both(op, a, b) => json!({"op": op, "args": [a.json(), b.json()]}),
        }
    }

    /// True, false, or unknown.
    pub fn verdict(&self, columns: &Columns) -> Option<bool> {
        match self {
            Predicate::IsNull(name) => Some(column(columns, name).is_null()),
            Predicate::Not(arg) => arg.verdict(columns).map(|b| !b),
            Predicate::Both(op, a, b) => {
                // What one side decides does not depend on the other.
                let decides = *op == "or";
                match (a.verdict(columns), b.verdict(columns)) {
                    (Some(v), _) | (_, Some(v)) if v == decides => Some(decides),
                    (Some(_), Some(_)) => Some(!decides),
                    _ => None,
                }
            }
            Predicate::Compare(name, op, constant) => {
                let order = match (column(columns, name), constant) {
                    (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
                    (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
                    (Value::Str(a), Value::Str(b)) => Some(a.as_ref().cmp(b.as_ref())),
                    _ => return None,
                };
                Some(match *op {
                    "eq" => order == Some(Ordering::Equal),
                    "ne" => order != Some(Ordering::Equal),
                    "lt" => order == Some(Ordering::Less),
                    "le" => matches!(order, Some(Ordering::Less | Ordering::Equal)),
                    "gt" => order == Some(Ordering::Greater),
                    _ => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
                })
            }
        }
    }
}

impl Sum {
    /// As an assignment of the definition document.
    pub fn json(&self) -> Json {
        json!({"name": self.name, "expr": {"op": self.op, "args": [{"col": self.of}, literal(&self.by)]}})
    }

    /// Its value; an int that overflows is null.
    pub fn value(&self, columns: &Columns) -> Value {
        match (column(columns, self.of), &self.by) {
            (Value::Int(a), Value::Int(b)) => {
                let made = if self.op == "add" { a.checked_add(*b) } else { a.checked_mul(*b) };
                made.map_or(Value::Null, Value::Int)
            }
            (Value::Float(a), Value::Float(b)) => {
                Value::Float(canonical(if self.op == "add" { a + b } else { a * b }))
            }
            _ => Value::Null,
        }
    }
}
