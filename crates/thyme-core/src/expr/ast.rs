//! The tree and its JSON form.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::functions::{self, Function};
use crate::value::{DataType, Json};

/// An expression. In JSON: `{"col":"fare"}`, `{"lit":500,"type":"int"}` or
/// `{"op":"add","args":[...]}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Expr {
    /// A column by name.
    Column {
        /// The column's name.
        col: String,
    },
    /// A constant.
    Literal(Literal),
    /// An operator or a function over arguments.
    Call {
        /// Which.
        op: Callee,
        /// Its arguments, as many as it takes.
        args: Vec<Expr>,
    },
}

/// What a call calls.
#[derive(Clone, Debug, PartialEq)]
pub enum Callee {
    /// An operator.
    Operator(Operator),
    /// A function of the registry.
    Function(&'static Function),
    /// A name that is neither: it is read, so that the refusal can name the place and what is near.
    Unknown(Arc<str>),
}

impl Callee {
    /// What is called `name` in documents.
    pub fn named(name: &str) -> Callee {
        if let Some(op) = Operator::ALL.into_iter().find(|op| op.name() == name) {
            return Callee::Operator(op);
        }
        functions::find(name).map_or_else(|| Callee::Unknown(name.into()), Callee::Function)
    }

    /// Its name in documents.
    pub fn name(&self) -> &str {
        match self {
            Callee::Operator(op) => op.name(),
            Callee::Function(function) => function.name,
            Callee::Unknown(name) => name,
        }
    }
}

impl From<Operator> for Callee {
    fn from(op: Operator) -> Self {
        Callee::Operator(op)
    }
}

impl Serialize for Callee {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Callee {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Callee::named(&String::deserialize(deserializer)?))
    }
}

impl Expr {
    /// The names of the columns that it reads.
    pub fn columns(&self) -> BTreeSet<&String> {
        let (mut names, mut left) = (BTreeSet::new(), vec![self]);
        while let Some(expr) = left.pop() {
            match expr {
                Expr::Column { col } => drop(names.insert(col)),
                Expr::Call { args, .. } => left.extend(args),
                Expr::Literal(_) => {}
            }
        }
        names
    }
}

/// A constant with its type; null has none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Literal {
    /// The value as JSON has it: floats that JSON cannot say are `"NaN"`, `"Infinity"` and
    /// `"-Infinity"`, datetimes are RFC 3339 texts.
    pub lit: LiteralValue,
    /// The type; absent for null.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub data_type: Option<DataType>,
}

/// The JSON value of a constant or a default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LiteralValue {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number without fraction or exponent.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A text.
    Str(String),
    /// An array or an object.
    Nested(Json),
}

/// The operators of the language, with the two methods that its first documents had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// `a + b`
    Add,
    /// `a - b`
    Sub,
    /// `a * b`
    Mul,
    /// `a / b`, always float
    Div,
    /// `a // b`, floors as in Python
    FloorDiv,
    /// `a % b`, the sign of `b` as in Python
    Mod,
    /// `-a`
    Neg,
    /// `a == b`
    Eq,
    /// `a != b`
    Ne,
    /// `a < b`
    Lt,
    /// `a <= b`
    Le,
    /// `a > b`
    Gt,
    /// `a >= b`
    Ge,
    /// `a & b`, three-valued
    And,
    /// `a | b`, three-valued
    Or,
    /// `~a`
    Not,
    /// `a.is_null()`
    IsNull,
    /// `a.fill_null(b)`
    FillNull,
}

impl Operator {
    /// All of them.
    pub const ALL: [Operator; 18] = [
        Operator::Add,
        Operator::Sub,
        Operator::Mul,
        Operator::Div,
        Operator::FloorDiv,
        Operator::Mod,
        Operator::Neg,
        Operator::Eq,
        Operator::Ne,
        Operator::Lt,
        Operator::Le,
        Operator::Gt,
        Operator::Ge,
        Operator::And,
        Operator::Or,
        Operator::Not,
        Operator::IsNull,
        Operator::FillNull,
    ];

    /// Its name in documents.
    pub const fn name(self) -> &'static str {
        match self {
            Operator::Add => "add",
            Operator::Sub => "sub",
            Operator::Mul => "mul",
            Operator::Div => "div",
            Operator::FloorDiv => "floor_div",
            Operator::Mod => "mod",
            Operator::Neg => "neg",
            Operator::Eq => "eq",
            Operator::Ne => "ne",
            Operator::Lt => "lt",
            Operator::Le => "le",
            Operator::Gt => "gt",
            Operator::Ge => "ge",
            Operator::And => "and",
            Operator::Or => "or",
            Operator::Not => "not",
            Operator::IsNull => "is_null",
            Operator::FillNull => "fill_null",
        }
    }

    /// How many arguments it takes.
    pub const fn arity(self) -> usize {
        match self {
            Operator::Neg | Operator::Not | Operator::IsNull => 1,
            _ => 2,
        }
    }
}
