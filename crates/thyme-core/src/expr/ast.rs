//! The tree and its JSON form.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::value::DataType;

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
    /// An operator over arguments.
    Call {
        /// Which.
        op: Operator,
        /// Its arguments, as many as [`Operator::arity`] says.
        args: Vec<Expr>,
    },
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
}

/// The operators of the language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
    /// How many arguments it takes.
    pub const fn arity(self) -> usize {
        match self {
            Operator::Neg | Operator::Not | Operator::IsNull => 1,
            _ => 2,
        }
    }
}
