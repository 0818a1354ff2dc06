//! Type checking: from a tree as written to one that can be evaluated.

use super::ast::{Callee, Expr, Literal, Operator};
use super::decimals;
use super::evaluate::constant;
use super::functions::{self, Kernel};
use crate::error::{Error, Result, nearest};
use crate::time::parse_timestamp;
use crate::value::{DataType, Json, Value, parse_json, typed, untyped};

/// The deepest an expression may be nested.
pub const DEPTH_MAX: usize = 200;

/// The most columns a message lists.
const LISTED_MAX: usize = 12;

/// A type-checked expression.
#[derive(Clone, Debug)]
pub struct Compiled {
    pub(super) root: Node,
}

/// A typed node. Constants are folded, so an operator has at most one constant argument, and a null
/// constant stays only under AND and OR.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// A column by name.
    Column { name: String, data_type: DataType },
    /// A constant; only null may be without a type.
    Scalar { value: Value, data_type: Option<DataType> },
    /// A value in a wider type: an int as a float, say.
    Widen { arg: Box<Node>, to: DataType },
    /// An operator of one argument.
    Unary { op: Operator, arg: Box<Node>, data_type: DataType },
    /// An operator of two arguments.
    Binary { op: Operator, left: Box<Node>, right: Box<Node>, data_type: DataType },
    /// A function.
    Function { kernel: Kernel, args: Vec<Node>, data_type: DataType },
}

impl Node {
    /// The type; `None` for the null literal.
    pub(super) fn data_type(&self) -> Option<DataType> {
        match self {
            Node::Column { data_type, .. }
            | Node::Unary { data_type, .. }
            | Node::Binary { data_type, .. }
            | Node::Function { data_type, .. } => Some(*data_type),
            Node::Scalar { data_type, .. } => *data_type,
            Node::Widen { to, .. } => Some(*to),
        }
    }

    /// The null constant.
    pub(super) fn null(data_type: Option<DataType>) -> Node {
        Node::Scalar { value: Value::Null, data_type }
    }

    fn is_constant(&self) -> bool {
        self.constant().is_some()
    }

    /// What a constant is worth.
    pub(super) fn constant(&self) -> Option<&Value> {
        match self {
            Node::Scalar { value, .. } => Some(value),
            _ => None,
        }
    }

    /// Whether it is the null constant.
    pub(super) fn is_null_constant(&self) -> bool {
        matches!(self, Node::Scalar { value: Value::Null, .. })
    }

    fn bool_constant(&self) -> Option<bool> {
        match self {
            Node::Scalar { value: Value::Bool(value), .. } => Some(*value),
            _ => None,
        }
    }
}

impl Compiled {
    /// Checks `expr` against the columns it may read.
    ///
    /// # Errors
    /// Unknown columns (with near names), operators on types they do not take, a wrong number of
    /// arguments, and trees deeper than [`DEPTH_MAX`]; the first fault found, as one sentence.
    pub fn new(expr: &Expr, columns: &[(String, DataType)]) -> Result<Compiled> {
        Ok(Compiled { root: compile(expr, columns, 0)? })
    }

    /// As [`Compiled::new`], with values of the type `declared`, which those of the expression fit.
    ///
    /// # Errors
    /// As [`Compiled::new`]; an expression of another type.
    pub fn of_type(expr: &Expr, columns: &[(String, DataType)], declared: DataType) -> Result<Compiled> {
        let root = compile(expr, columns, 0)?;
        match root.data_type().filter(|given| !given.fits(declared)) {
            None => Ok(Compiled { root: widened(root, declared) }),
            Some(given) => Err(Error::invalid_definition(format!("{expr} is {given} and not {declared}"))),
        }
    }

    /// The type of the value; `None` for the null literal.
    pub fn data_type(&self) -> Option<DataType> {
        self.root.data_type()
    }

    /// The names of the columns it reads, each once, in order of appearance.
    pub fn columns(&self) -> Vec<&str> {
        let mut names = Vec::new();
        let mut stack = vec![&self.root];
        while let Some(node) = stack.pop() {
            match node {
                Node::Column { name, .. } if !names.contains(&name.as_str()) => names.push(name.as_str()),
                Node::Column { .. } | Node::Scalar { .. } => {}
                Node::Widen { arg, .. } | Node::Unary { arg, .. } => stack.push(arg),
                Node::Binary { left, right, .. } => stack.extend([right.as_ref(), left.as_ref()]),
                Node::Function { args, .. } => stack.extend(args.iter().rev()),
            }
        }
        names
    }
}

fn compile(expr: &Expr, columns: &[(String, DataType)], depth: usize) -> Result<Node> {
    if depth > DEPTH_MAX {
        return Err(Error::invalid_definition(format!(
            "an expression is nested deeper than {DEPTH_MAX} levels; give a part of it a name with assign(...)"
        )));
    }
    match expr {
        Expr::Column { col } => match columns.iter().find(|(name, _)| name == col) {
            Some((name, data_type)) => Ok(Node::Column { name: name.clone(), data_type: *data_type }),
            None => Err(unknown_column(col, columns)),
        },
        Expr::Literal(literal) => compile_literal(literal),
        Expr::Call { op: Callee::Operator(op), args } => {
            let compiled = |arg| compile(arg, columns, depth + 1);
            let shown = Shown { op: *op, expr };
            let node = match args.as_slice() {
                [a] if op.arity() == 1 => unary(&shown, compiled(a)?)?,
                [a, b] if op.arity() == 2 => binary(&shown, compiled(a)?, compiled(b)?)?,
                _ => return Err(functions::wrong_count(op.symbol(), (op.arity(), op.arity()), args.len())),
            };
            fold(node)
        }
        Expr::Call { op: Callee::Function(function), args } => {
            function.check_count(args.len())?;
            let args = args.iter().map(|arg| compile(arg, columns, depth + 1)).collect::<Result<Vec<_>>>()?;
            fold(function.compile(expr, args)?)
        }
        Expr::Call { op: Callee::Unknown(name), .. } => Err(functions::unknown(name, expr)),
    }
}

/// The sentence for a column that is not there.
pub(crate) fn unknown_column(name: &str, columns: &[(String, DataType)]) -> Error {
    let names = || columns.iter().map(|(name, _)| name.as_str());
    let hint = match nearest(name, names()).as_slice() {
        [] => {
            let shown: Vec<_> = names().take(LISTED_MAX).collect();
            let more = if columns.len() > LISTED_MAX { ", ..." } else { "" };
            format!("the columns are {}{more}", shown.join(", "))
        }
        near => format!("did you mean {}?", near.join(", ")),
    };
    Error::invalid_definition(format!("no column named \"{name}\"; {hint}"))
}

fn compile_literal(literal: &Literal) -> Result<Node> {
    let Some(data_type) = literal.data_type.or_else(|| literal.lit.natural_type()) else {
        return Ok(Node::null(None));
    };
    Ok(Node::Scalar { value: literal.lit.value(data_type)?, data_type: Some(data_type) })
}

/// An operator and the expression it stands in, for messages.
pub(super) struct Shown<'a> {
    pub(super) op: Operator,
    pub(super) expr: &'a Expr,
}

impl Shown<'_> {
    pub(super) fn refuse(&self, types: &[Option<DataType>], expected: &str) -> Error {
        let types: Vec<_> = types.iter().map(|t| t.map_or("null", DataType::name)).collect();
        Error::invalid_definition(format!(
            "\"{}\" cannot take {} in {}: {expected}",
            self.op.symbol(),
            types.join(" and "),
            self.expr
        ))
    }
}

/// An operator of one argument, checked.
pub(super) fn unary(shown: &Shown<'_>, arg: Node) -> Result<Node> {
    let op = shown.op;
    let given = arg.data_type();
    let data_type = match (op, given) {
        (Operator::IsNull, _) | (Operator::Not, Some(DataType::Bool) | None) => DataType::Bool,
        (Operator::Neg, Some(number @ (DataType::Int | DataType::Float | DataType::Decimal(_)))) => number,
        (Operator::Neg, None) => return Ok(arg),
        (Operator::Neg, Some(DataType::Bool)) => {
            return Err(shown.refuse(&[given], "a bool is not a number"));
        }
        (Operator::Neg, _) => return Err(shown.refuse(&[given], "it takes a number")),
        _ => return Err(shown.refuse(&[given], "it takes a bool, such as a comparison")),
    };
    if op != Operator::IsNull && arg.is_null_constant() {
        return Ok(Node::null(Some(data_type)));
    }
    Ok(Node::Unary { op, arg: Box::new(arg), data_type })
}

/// An operator of two arguments, checked.
pub(super) fn binary(shown: &Shown<'_>, left: Node, right: Node) -> Result<Node> {
    match shown.op {
        Operator::And | Operator::Or => logical(shown, left, right),
        Operator::FillNull => fill_null(shown, left, right),
        Operator::Eq | Operator::Ne | Operator::Lt | Operator::Le | Operator::Gt | Operator::Ge => {
            comparison(shown, left, right)
        }
        _ => arithmetic(shown, left, right),
    }
}

fn logical(shown: &Shown<'_>, left: Node, right: Node) -> Result<Node> {
    let is_bool = |node: &Node| matches!(node.data_type(), Some(DataType::Bool) | None);
    if !is_bool(&left) || !is_bool(&right) {
        return Err(shown.refuse(
            &[left.data_type(), right.data_type()],
            "it takes two bools; a comparison beside it needs parentheses, as in (col(\"a\") > 0) & (col(\"b\") > 0)",
        ));
    }
    // The value that decides alone, and the one that changes nothing.
    let decisive = shown.op == Operator::Or;
    for (one, other) in [(&left, &right), (&right, &left)] {
        match one.bool_constant() {
            Some(value) if value == decisive => {
                return Ok(Node::Scalar { value: Value::Bool(value), data_type: Some(DataType::Bool) });
            }
            Some(_) if other.data_type().is_some() => return Ok(other.clone()),
            _ => {}
        }
    }
    let typed = |node: Node| {
        if node.is_null_constant() { Node::null(Some(DataType::Bool)) } else { node }
    };
    Ok(join(shown.op, typed(left), typed(right), DataType::Bool))
}

fn fill_null(shown: &Shown<'_>, left: Node, right: Node) -> Result<Node> {
    let (left, right) = with_datetime(left, right)?;
    let (a, b) = (left.data_type(), right.data_type());
    let Some(unified) = unified(a, b) else {
        return Err(shown.refuse(&[a, b], "both need the same type"));
    };
    let Some(data_type) = unified else {
        return Ok(left);
    };
    let (left, right) = (widened(left, data_type), widened(right, data_type));
    if left.is_null_constant() {
        return Ok(right);
    }
    if left.is_constant() || right.is_null_constant() {
        return Ok(left);
    }
    Ok(join(shown.op, left, right, data_type))
}

fn comparison(shown: &Shown<'_>, left: Node, right: Node) -> Result<Node> {
    let (left, right) = with_datetime(left, right)?;
    let (a, b) = (left.data_type(), right.data_type());
    let is_number = |t: DataType| matches!(t, DataType::Int | DataType::Float);
    let is_nested = |t: Option<DataType>| t.is_some_and(|t| t.scalar().is_none());
    if is_nested(a) || is_nested(b) {
        return alike(shown, left, right);
    }
    match (a, b) {
        (Some(DataType::Decimal(_)), Some(DataType::Decimal(_))) => {}
        (Some(DataType::Decimal(_)), Some(DataType::Int))
        | (Some(DataType::Int), Some(DataType::Decimal(_))) => {
            let decimal = |node: Node| match node.data_type() {
                Some(DataType::Int) => widened(node, DataType::Decimal(0)),
                _ => node,
            };
            let (left, right) = (decimal(left), decimal(right));
            if left.is_null_constant() || right.is_null_constant() {
                return Ok(Node::null(Some(DataType::Bool)));
            }
            return Ok(join(shown.op, left, right, DataType::Bool));
        }
        (Some(DataType::Decimal(_)), Some(DataType::Float))
        | (Some(DataType::Float), Some(DataType::Decimal(_))) => {
            return Err(shown.refuse(
                &[a, b],
                "a float and a decimal are not compared exactly; cast one, as in col(\"a\").cast(\"float\")",
            ));
        }
        (Some(a), Some(b)) if a == b || (is_number(a) && is_number(b)) => {}
        (None, _) | (_, None) => {}
        (Some(DataType::Bool), Some(other)) | (Some(other), Some(DataType::Bool)) if is_number(other) => {
            return Err(shown.refuse(&[a, b], "a bool is not a number"));
        }
        (Some(DataType::Datetime), Some(_)) | (Some(_), Some(DataType::Datetime)) => {
            return Err(shown.refuse(
                &[a, b],
                "compare a datetime with a datetime, or with a text such as \"2026-03-15T10:00:00Z\"",
            ));
        }
        _ => {
            return Err(shown.refuse(&[a, b], "it takes two numbers, or two values of the same type"));
        }
    }
    if left.is_null_constant() || right.is_null_constant() {
        return Ok(Node::null(Some(DataType::Bool)));
    }
    Ok(join(shown.op, left, right, DataType::Bool))
}

/// Whether two lists, maps, vectors or JSON values are the same.
fn alike(shown: &Shown<'_>, left: Node, right: Node) -> Result<Node> {
    let (a, b) = (left.data_type(), right.data_type());
    if !matches!(shown.op, Operator::Eq | Operator::Ne) {
        return Err(shown.refuse(&[a, b], "lists, maps, vectors and json have no order; == and != take them"));
    }
    let Some(Some(common)) = unified(a, b) else {
        return Err(shown.refuse(&[a, b], "both need the same type"));
    };
    if left.is_null_constant() || right.is_null_constant() {
        return Ok(Node::null(Some(DataType::Bool)));
    }
    Ok(join(shown.op, widened(left, common), widened(right, common), DataType::Bool))
}

fn arithmetic(shown: &Shown<'_>, left: Node, right: Node) -> Result<Node> {
    use DataType::{Bool, Date, Datetime, Float, Int, Str};
    let (op, a, b) = (shown.op, left.data_type(), right.data_type());
    if [a, b].iter().any(|t| matches!(t, Some(DataType::Decimal(_)))) {
        return decimals::typed(shown, left, right);
    }
    let operands = match (a, b) {
        (None, None) => return Ok(left),
        (Some(Bool), _) | (_, Some(Bool)) => {
            return Err(shown.refuse(&[a, b], "a bool is not a number"));
        }
        (Some(Datetime), _) | (_, Some(Datetime)) => {
            return Err(
                shown.refuse(&[a, b], "the time between two datetimes is col(\"a\").diff(col(\"b\"), \"s\")")
            );
        }
        (Some(Str) | None, Some(Str)) | (Some(Str), None) if op == Operator::Add => Str,
        (Some(Str), _) | (_, Some(Str)) if op == Operator::Add => {
            return Err(shown.refuse(&[a, b], "it takes two numbers or two texts"));
        }
        (Some(Str), _) | (_, Some(Str)) => {
            return Err(shown.refuse(&[a, b], "it takes two numbers"));
        }
        (Some(Float | Int) | None, Some(Float | Int)) | (Some(Float | Int), None) => {
            if [a, b].contains(&Some(Float)) { Float } else { Int }
        }
        (Some(Date), _) | (_, Some(Date)) => {
            return Err(
                shown.refuse(&[a, b], "the days between two dates are col(\"a\").diff(col(\"b\"), \"d\")")
            );
        }
        _ => return Err(shown.refuse(&[a, b], "it takes two numbers")),
    };
    let data_type = if op == Operator::Div { Float } else { operands };
    if left.is_null_constant() || right.is_null_constant() {
        return Ok(Node::null(Some(data_type)));
    }
    Ok(join(op, widened(left, operands), widened(right, operands), data_type))
}

/// An operator over two arguments whose types are right.
pub(super) fn join(op: Operator, left: Node, right: Node, data_type: DataType) -> Node {
    Node::Binary { op, left: Box::new(left), right: Box::new(right), data_type }
}

/// The type that values of both types have a place in, if there is one; that of two null literals is none.
pub(super) fn unified(a: Option<DataType>, b: Option<DataType>) -> Option<Option<DataType>> {
    match (a, b) {
        (None, other) | (other, None) => Some(other),
        (Some(DataType::Decimal(a)), Some(DataType::Decimal(b))) => Some(Some(DataType::Decimal(a.max(b)))),
        (Some(DataType::Int), Some(decimal @ DataType::Decimal(_)))
        | (Some(decimal @ DataType::Decimal(_)), Some(DataType::Int)) => Some(Some(decimal)),
        (Some(a), Some(b)) if a.fits(b) => Some(Some(b)),
        (Some(a), Some(b)) if b.fits(a) => Some(Some(a)),
        _ => None,
    }
}

/// The node as `to`, which its own type fits.
pub(super) fn widened(node: Node, to: DataType) -> Node {
    match node {
        Node::Scalar { value, .. } => {
            Node::Scalar { value: value.widen(to).unwrap_or_default(), data_type: Some(to) }
        }
        node if node.data_type() == Some(to) => node,
        node => Node::Widen { arg: Box::new(node), to },
    }
}

/// A text constant beside a datetime, a date or a decimal is read as one; so is an int or a float beside a decimal, and
/// a JSON constant beside a list, a map or a vector.
fn with_datetime(left: Node, right: Node) -> Result<(Node, Node)> {
    let (a, b) = (left.data_type(), right.data_type());
    Ok((as_type(left, b)?, as_type(right, a)?))
}

/// A constant as what stands beside it, if it says one of these in another form.
pub(super) fn as_type(node: Node, beside: Option<DataType>) -> Result<Node> {
    match (node, beside) {
        (Node::Scalar { value: Value::Str(text), .. }, Some(DataType::Datetime)) => {
            let time = parse_timestamp(&text).map_err(|e| Error::invalid_definition(e.detail()))?;
            Ok(Node::Scalar { value: Value::Datetime(time.0), data_type: Some(DataType::Datetime) })
        }
        (
            Node::Scalar { value: Value::Float(v), .. },
            Some(data_type @ (DataType::Date | DataType::Decimal(_))),
        ) if !v.is_finite() => {
            Err(Error::invalid_definition(format!("expected {data_type}, got float {v:?}")))
        }
        (
            Node::Scalar { value: value @ (Value::Str(_) | Value::Int(_) | Value::Float(_)), .. },
            Some(data_type @ (DataType::Date | DataType::Decimal(_))),
        ) => read_as(data_type, &untyped(&value, "", &mut |_, _| {})),
        (
            Node::Scalar { value: Value::Json(text), .. },
            Some(data_type @ (DataType::List(_) | DataType::Map(_) | DataType::Vector(_))),
        ) => read_as(data_type, &parse_json(&text).unwrap_or(Json::Null)),
        (node, _) => Ok(node),
    }
}

fn read_as(data_type: DataType, json: &Json) -> Result<Node> {
    let value = typed(data_type, json).map_err(|misfit| {
        let place = if misfit.path.is_empty() { String::new() } else { format!("{}: ", misfit.path) };
        Error::invalid_definition(format!("{place}expected {}, got {}", misfit.expected, misfit.got))
    })?;
    Ok(Node::Scalar { value, data_type: Some(data_type) })
}

/// The constant that an operator over constants is worth; other nodes as they are.
pub(super) fn fold(node: Node) -> Result<Node> {
    let over_constants = match &node {
        Node::Unary { arg, .. } => arg.is_constant(),
        Node::Binary { left, right, .. } => left.is_constant() && right.is_constant(),
        Node::Function { args, .. } => args.iter().all(Node::is_constant),
        _ => false,
    };
    if !over_constants {
        return Ok(node);
    }
    let data_type = node.data_type();
    Ok(Node::Scalar { value: constant(&node)?, data_type })
}
