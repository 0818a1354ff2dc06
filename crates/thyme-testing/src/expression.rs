//! Random expressions.

use serde_json::{Value as Json, json};
use thyme_core::{DataType, Value};

use crate::random::Random;

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

    /// A random one over one of these columns.
    pub fn over(random: &mut Random, columns: &[(&'static str, DataType)]) -> Predicate {
        let (name, data_type) = random.pick(columns);
        let op = random.pick(&["eq", "ne", "lt", "le", "gt", "ge"]);
        let compared = match data_type {
            DataType::Int => Predicate::Compare(name, op, Value::Int(random.between(-3, 4))),
            DataType::Float => Predicate::Compare(name, op, Value::Float(random.pick(&[0.0, 0.5, -1e16]))),
            DataType::Str => Predicate::Compare(name, op, Value::Str(random.pick(&["", "a", "b"]).into())),
            _ => return Predicate::Not(Box::new(Predicate::IsNull(name))),
        };
        match random.chance(50) {
            true => compared,
            false => Predicate::Both("or", Box::new(compared), Box::new(Predicate::IsNull(name))),
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
}

impl Sum {
    /// As an assignment of the definition document.
    pub fn json(&self) -> Json {
        json!({"name": self.name, "expr": {"op": self.op, "args": [{"col": self.of}, literal(&self.by)]}})
    }
}
