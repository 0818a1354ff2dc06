//! Expressions, evaluated one row at a time (api, section 1).

use std::cmp::Ordering;
use std::sync::Arc;

use thyme_core::expr::{Callee, Expr, LiteralValue, Operator, TEXT_BYTES_MAX};
use thyme_core::time::parse_timestamp;
use thyme_core::value::{Unscaled, canonical};
use thyme_core::{DataType, Error, Result, Value};

use crate::number::{compare_int_float, divide, floor_divide, floor_divide_floats};
use crate::{decimals, functions, nested};

/// A value, and the type that its expression has in every row; only the null literal has none.
#[derive(Clone, Debug, PartialEq)]
pub struct Typed {
    /// The value.
    pub value: Value,
    /// The type.
    pub data_type: Option<DataType>,
}

/// The columns of one row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Columns(Vec<(Arc<str>, Typed)>);

impl Columns {
    /// The column called `name`.
    pub fn get(&self, name: &str) -> Option<&Typed> {
        self.0.iter().find(|(n, _)| &**n == name).map(|(_, typed)| typed)
    }

    /// Its value; null when there is no such column.
    pub fn value(&self, name: &str) -> Value {
        self.get(name).map(|typed| typed.value.clone()).unwrap_or_default()
    }

    /// Adds or replaces a column.
    pub fn set(&mut self, name: impl Into<Arc<str>>, typed: Typed) {
        let name = name.into();
        match self.0.iter_mut().find(|(n, _)| *n == name) {
            Some(column) => column.1 = typed,
            None => self.0.push((name, typed)),
        }
    }

    /// Every column's name and value, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, typed)| (&**name, &typed.value))
    }
}

/// The value of `expr` on a row.
///
/// # Errors
/// An expression that a commit would have refused.
pub fn evaluate(expr: &Expr, row: &Columns) -> Result<Typed> {
    match expr {
        Expr::Column { col } => {
            row.get(col).cloned().ok_or_else(|| Error::internal(format!("a row has no column {col}")))
        }
        Expr::Literal(literal) => {
            let natural = match &literal.lit {
                LiteralValue::Null => None,
                LiteralValue::Bool(_) => Some(DataType::Bool),
                LiteralValue::Int(_) => Some(DataType::Int),
                LiteralValue::Float(_) => Some(DataType::Float),
                LiteralValue::Str(_) => Some(DataType::Str),
                LiteralValue::Nested(_) => Some(DataType::Json),
            };
            let data_type = literal.data_type.or(natural);
            let value = data_type.map_or(Ok(Value::Null), |declared| literal.lit.value(declared))?;
            Ok(Typed { value, data_type })
        }
        Expr::Call { op: Callee::Operator(op), args } => match args.as_slice() {
            [a] => unary(*op, evaluate(a, row)?),
            [a, b] => binary(*op, evaluate(a, row)?, evaluate(b, row)?),
            _ => Err(Error::internal(format!("an operator has {} arguments", args.len()))),
        },
        Expr::Call { op: Callee::Function(function), args } if function.name == "pow" => {
            let [base, exponent] = args.as_slice() else {
                return Err(Error::internal("a power has a base and an exponent"));
            };
            functions::power(
                &evaluate(base, row)?,
                &evaluate(exponent, row)?,
                matches!(exponent, Expr::Literal(_)),
            )
        }
        Expr::Call { op: Callee::Function(function), args } => {
            let args = args.iter().map(|arg| evaluate(arg, row)).collect::<Result<Vec<_>>>()?;
            functions::call(function.name, args)
        }
        Expr::Call { op: Callee::Unknown(name), .. } => {
            Err(Error::internal(format!("there is no function {name}")))
        }
    }
}

/// Whether a predicate holds; null is false.
///
/// # Errors
/// As [`evaluate`].
pub fn holds(predicate: &Expr, row: &Columns) -> Result<bool> {
    Ok(evaluate(predicate, row)?.value == Value::Bool(true))
}

fn unary(op: Operator, a: Typed) -> Result<Typed> {
    let data_type = match op {
        Operator::IsNull | Operator::Not => Some(DataType::Bool),
        _ => a.data_type,
    };
    let value = match (op, a.value) {
        (Operator::IsNull, value) => Value::Bool(value.is_null()),
        (_, Value::Null) => Value::Null,
        (Operator::Not, Value::Bool(v)) => Value::Bool(!v),
        (Operator::Neg, Value::Int(v)) => int(-i128::from(v)),
        (Operator::Neg, Value::Float(v)) => Value::Float(canonical(-v)),
        (Operator::Neg, Value::Decimal(scale, v)) => Value::Decimal(scale, Unscaled::new(-v.get())),
        (_, value) => return Err(misfit(op, &value, &Value::Null)),
    };
    Ok(Typed { value, data_type })
}

fn binary(op: Operator, a: Typed, b: Typed) -> Result<Typed> {
    let types = (a.data_type, b.data_type);
    let bool = Some(DataType::Bool);
    let (value, data_type) = match op {
        Operator::And => (decided_by(false, &a.value, &b.value), bool),
        Operator::Or => (decided_by(true, &a.value, &b.value), bool),
        Operator::FillNull => {
            let filled = if a.value.is_null() { b.value } else { a.value };
            let data_type = common(types);
            (data_type.map_or(Ok(Value::Null), |t| converted(filled, t))?, data_type)
        }
        Operator::Eq | Operator::Ne | Operator::Lt | Operator::Le | Operator::Gt | Operator::Ge => {
            (compared(op, a.value, b.value)?, bool)
        }
        _ if [a.data_type, b.data_type].iter().any(|t| matches!(t, Some(DataType::Decimal(_)))) => {
            return decimals::arithmetic(op, &a, &b);
        }
        Operator::Div => (arithmetic(op, a.value, b.value)?, common(types).map(|_| DataType::Float)),
        _ => (arithmetic(op, a.value, b.value)?, common(types)),
    };
    Ok(Typed { value, data_type })
}

/// The type that both types have a place in: an int may stand for a float, a text for a datetime, JSON for a list.
pub(crate) fn common(types: (Option<DataType>, Option<DataType>)) -> Option<DataType> {
    use DataType::{Decimal, Float, Int, Json, List, Map, Str, Vector};
    use thyme_core::value::Scalar as S;
    match types {
        (None, other) | (other, None) => other,
        (Some(Int), Some(Float)) | (Some(Float), Some(Int)) => Some(Float),
        (Some(Str | Json), Some(other)) | (Some(other), Some(Str | Json)) if converts(other) => Some(other),
        (Some(Decimal(a)), Some(Decimal(b))) => Some(Decimal(a.max(b))),
        (Some(Int | Float), Some(Decimal(scale))) | (Some(Decimal(scale)), Some(Int | Float)) => {
            Some(Decimal(scale))
        }
        (Some(Vector(a)), Some(Vector(b))) if a == b => Some(Vector(a)),
        (Some(Vector(_) | List(S::Float)), Some(Vector(_) | List(S::Float | S::Int)))
        | (Some(List(S::Int)), Some(List(S::Float))) => Some(List(S::Float)),
        (Some(Map(S::Int)), Some(Map(S::Float))) => Some(Map(S::Float)),
        (Some(a), Some(_)) => Some(a),
    }
}

/// Whether a constant that says a value of the type in another form is read as one beside it.
pub(crate) fn converts(data_type: DataType) -> bool {
    !matches!(data_type, DataType::Int | DataType::Float | DataType::Bool | DataType::Str | DataType::Json)
}

/// A value in a wider type.
pub(crate) fn converted(value: Value, to: DataType) -> Result<Value> {
    match (value, to) {
        (Value::Int(v), DataType::Float) => Ok(Value::Float(v as f64)),
        (Value::Str(text), DataType::Datetime) => Ok(Value::Datetime(parse_timestamp(&text)?.0)),
        (Value::Str(text), DataType::Date) => {
            let midnight = parse_timestamp(&text)?;
            i32::try_from(midnight.0.div_euclid(86_400_000_000))
                .map(Value::Date)
                .map_err(|_| Error::internal("a day of another age"))
        }
        (
            value @ (Value::Int(_) | Value::Float(_) | Value::Str(_) | Value::Decimal(..)),
            DataType::Decimal(scale),
        ) => Ok(decimals::of_scale(&value, scale)),
        (Value::Json(text), to) if to != DataType::Json => nested::read(&text, to),
        (value, DataType::List(_) | DataType::Map(_)) => Ok(nested::items_as(value, to)),
        (value, _) => Ok(value),
    }
}

/// AND and OR of three values: what one side decides does not depend on the other.
fn decided_by(decisive: bool, a: &Value, b: &Value) -> Value {
    match (a, b) {
        (Value::Bool(v), _) | (_, Value::Bool(v)) if *v == decisive => Value::Bool(decisive),
        (Value::Bool(_), Value::Bool(_)) => Value::Bool(!decisive),
        _ => Value::Null,
    }
}

/// A comparison by its name in documents.
pub(crate) fn compared_values(name: &str, a: Value, b: Value) -> Result<Value> {
    let op = Operator::ALL.into_iter().find(|op| op.name() == name);
    compared(op.ok_or_else(|| Error::internal(format!("{name} compares nothing")))?, a, b)
}

fn compared(op: Operator, a: Value, b: Value) -> Result<Value> {
    if let Some(same) = nested::same(&a, &b)? {
        return Ok(Value::Bool(same == (op == Operator::Eq)));
    }
    let order = match (a, b) {
        (Value::Null, _) | (_, Value::Null) => return Ok(Value::Null),
        (Value::Int(a), Value::Int(b)) | (Value::Datetime(a), Value::Datetime(b)) => Some(a.cmp(&b)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(&b),
        (Value::Int(a), Value::Float(b)) => compare_int_float(a, b),
        (Value::Float(a), Value::Int(b)) => compare_int_float(b, a).map(Ordering::reverse),
        (Value::Str(a), Value::Str(b)) => Some(a.chars().cmp(b.chars())),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(&b)),
        (Value::Datetime(a), Value::Str(b)) => Some(a.cmp(&parse_timestamp(&b)?.0)),
        (Value::Str(a), Value::Datetime(b)) => Some(parse_timestamp(&a)?.0.cmp(&b)),
        (Value::Bytes(a), Value::Bytes(b)) => Some(a.iter().cmp(b.iter())),
        (a @ Value::Decimal(..), b) | (a, b @ Value::Decimal(..)) => decimals::compared(&a, &b),
        (Value::Date(a), Value::Date(b)) => Some(a.cmp(&b)),
        (a @ Value::Date(_), b @ Value::Str(_)) | (a @ Value::Str(_), b @ Value::Date(_)) => {
            return compared(op, converted(a, DataType::Date)?, converted(b, DataType::Date)?);
        }
        (a, b) => return Err(misfit(op, &a, &b)),
    };
    // NaN has no order: it differs from everything.
    let Some(order) = order else { return Ok(Value::Bool(op == Operator::Ne)) };
    Ok(Value::Bool(match op {
        Operator::Eq => order == Ordering::Equal,
        Operator::Ne => order != Ordering::Equal,
        Operator::Lt => order == Ordering::Less,
        Operator::Le => order != Ordering::Greater,
        Operator::Gt => order == Ordering::Greater,
        _ => order != Ordering::Less,
    }))
}

/// What raises in Python (a zero divisor) and an int outside 64 bits is null.
fn arithmetic(op: Operator, a: Value, b: Value) -> Result<Value> {
    match (a, b) {
        (Value::Null, _) | (_, Value::Null) => Ok(Value::Null),
        (Value::Int(a), Value::Int(b)) => {
            let (x, y) = (i128::from(a), i128::from(b));
            Ok(match op {
                Operator::Add => int(x + y),
                Operator::Sub => int(x - y),
                Operator::Mul => int(x * y),
                Operator::FloorDiv => floor_divide(a, b).map_or(Value::Null, |(quotient, _)| int(quotient)),
                Operator::Mod => floor_divide(a, b).map_or(Value::Null, |(_, remainder)| int(remainder)),
                _ => divide(a, b).map_or(Value::Null, Value::Float),
            })
        }
        (Value::Int(a), Value::Float(b)) => Ok(floats(op, a as f64, b)),
        (Value::Float(a), Value::Int(b)) => Ok(floats(op, a, b as f64)),
        (Value::Float(a), Value::Float(b)) => Ok(floats(op, a, b)),
        (Value::Str(a), Value::Str(b)) if op == Operator::Add => Ok(if a.len() + b.len() > TEXT_BYTES_MAX {
            Value::Null
        } else {
            Value::Str(format!("{a}{b}").into())
        }),
        (a, b) => Err(misfit(op, &a, &b)),
    }
}

fn floats(op: Operator, a: f64, b: f64) -> Value {
    let value = match op {
        Operator::Add => Some(a + b),
        Operator::Sub => Some(a - b),
        Operator::Mul => Some(a * b),
        Operator::FloorDiv => floor_divide_floats(a, b).map(|(quotient, _)| quotient),
        Operator::Mod => floor_divide_floats(a, b).map(|(_, remainder)| remainder),
        _ => (b != 0.0).then(|| a / b),
    };
    value.map_or(Value::Null, |v| Value::Float(canonical(v)))
}

/// An int of 64 bits, or null.
fn int(v: i128) -> Value {
    i64::try_from(v).map_or(Value::Null, Value::Int)
}

fn misfit(op: Operator, a: &Value, b: &Value) -> Error {
    Error::internal(format!("{op:?} was evaluated on {a} and {b}"))
}
