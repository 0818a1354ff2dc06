//! Expressions as users write them, for messages.

use std::fmt;

use super::ast::{Callee, Expr, LiteralValue, Operator};
use super::functions::Form;

/// Deeper parts are shown as `...`, so that a message stays readable and the recursion short.
const SHOWN_DEPTH_MAX: usize = 6;

/// More arguments are shown as `...`.
const SHOWN_ARGUMENTS_MAX: usize = 12;

/// Longer texts are cut in messages.
const SHOWN_CHARS_MAX: usize = 60;

impl Operator {
    /// The Python spelling: a symbol, or the method's name.
    pub const fn symbol(self) -> &'static str {
        match self {
            Operator::Add => "+",
            Operator::Sub | Operator::Neg => "-",
            Operator::Mul => "*",
            Operator::Div => "/",
            Operator::FloorDiv => "//",
            Operator::Mod => "%",
            Operator::Eq => "==",
            Operator::Ne => "!=",
            Operator::Lt => "<",
            Operator::Le => "<=",
            Operator::Gt => ">",
            Operator::Ge => ">=",
            Operator::And => "&",
            Operator::Or => "|",
            Operator::Not => "~",
            Operator::IsNull => "is_null",
            Operator::FillNull => "fill_null",
        }
    }
}

impl fmt::Display for LiteralValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LiteralValue::Null => f.write_str("None"),
            LiteralValue::Bool(true) => f.write_str("True"),
            LiteralValue::Bool(false) => f.write_str("False"),
            LiteralValue::Int(v) => write!(f, "{v}"),
            LiteralValue::Float(v) => write!(f, "{v:?}"),
            LiteralValue::Str(v) => quote(v, f),
            LiteralValue::Nested(v) => match v.to_string().char_indices().nth(SHOWN_CHARS_MAX) {
                Some((cut, _)) => write!(f, "{}...", &v.to_string()[..cut]),
                None => write!(f, "{v}"),
            },
        }
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(self, 0, f)
    }
}

fn quote(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((cut, _)) => write!(f, "{:?}...", &text[..cut]),
        None => write!(f, "{text:?}"),
    }
}

fn show(expr: &Expr, depth: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if depth > SHOWN_DEPTH_MAX {
        return f.write_str("...");
    }
    match expr {
        Expr::Column { col } => {
            f.write_str("col(")?;
            quote(col, f)?;
            f.write_str(")")
        }
        Expr::Literal(literal) => write!(f, "{}", literal.lit),
        Expr::Call { op: Callee::Operator(op), args } => show_operator(*op, args, depth, f),
        Expr::Call { op: Callee::Function(function), args } => match function.form {
            Form::Power => infix("**", args, depth, f),
            Form::Method => method(function.name, args, depth, f),
            Form::Members => members(function.name, args, depth, f),
            Form::Free => free(function.name, args, depth, f),
            Form::When => when(args, depth, f),
        },
        Expr::Call { op: Callee::Unknown(name), args } => method(name, args, depth, f),
    }
}

fn show_operator(op: Operator, args: &[Expr], depth: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match (op, args) {
        (Operator::Neg | Operator::Not, [a]) => {
            f.write_str(op.symbol())?;
            show(a, depth + 1, f)
        }
        (Operator::IsNull | Operator::FillNull, args) if args.len() == op.arity() => {
            method(op.symbol(), args, depth, f)
        }
        (_, [_, _]) => infix(op.symbol(), args, depth, f),
        _ => write!(f, "{} of {} arguments", op.symbol(), args.len()),
    }
}

fn infix(symbol: &str, args: &[Expr], depth: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let [a, b] = args else { return free(symbol, args, depth, f) };
    f.write_str(if depth > 0 { "(" } else { "" })?;
    show(a, depth + 1, f)?;
    write!(f, " {symbol} ")?;
    show(b, depth + 1, f)?;
    f.write_str(if depth > 0 { ")" } else { "" })
}

/// `receiver.name(rest)`.
fn method(name: &str, args: &[Expr], depth: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Some((receiver, rest)) = args.split_first() else { return write!(f, "{name}()") };
    called_on(receiver, depth, f)?;
    write!(f, ".{name}(")?;
    list(rest, depth, f)?;
    f.write_str(")")
}

/// `receiver.name([rest])`.
fn members(name: &str, args: &[Expr], depth: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Some((receiver, rest)) = args.split_first() else { return write!(f, "{name}()") };
    called_on(receiver, depth, f)?;
    write!(f, ".{name}([")?;
    list(rest, depth, f)?;
    f.write_str("])")
}

/// What a method is called on: a sign in front of it would be taken for one of the whole.
fn called_on(receiver: &Expr, depth: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let is_prefixed = matches!(
        receiver,
        Expr::Call { op: Callee::Operator(Operator::Neg | Operator::Not), .. } if depth < SHOWN_DEPTH_MAX
    );
    f.write_str(if is_prefixed { "(" } else { "" })?;
    show(receiver, depth + 1, f)?;
    f.write_str(if is_prefixed { ")" } else { "" })
}

/// `name(args)`.
fn free(name: &str, args: &[Expr], depth: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{name}(")?;
    list(args, depth, f)?;
    f.write_str(")")
}

/// `when(a).then(b).otherwise(c)`.
fn when(args: &[Expr], depth: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (pairs, last) = args.as_chunks::<2>();
    for (index, [condition, value]) in pairs.iter().enumerate() {
        f.write_str(if index == 0 { "when(" } else { ".when(" })?;
        show(condition, depth + 1, f)?;
        f.write_str(").then(")?;
        show(value, depth + 1, f)?;
        f.write_str(")")?;
    }
    f.write_str(".otherwise(")?;
    list(last, depth, f)?;
    f.write_str(")")
}

/// Arguments.
fn list(args: &[Expr], depth: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (index, arg) in args.iter().enumerate() {
        f.write_str(if index == 0 { "" } else { ", " })?;
        if index == SHOWN_ARGUMENTS_MAX {
            f.write_str("...")?;
            break;
        }
        show(arg, depth + 1, f)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_shown_as_written() {
        let parse = |text: &str| serde_json::from_str::<Expr>(text).unwrap();
        let cases = [
            (r#"{"op":"gt","args":[{"col":"fare"},{"lit":0,"type":"int"}]}"#, r#"col("fare") > 0"#),
            (
                r#"{"op":"and","args":[{"op":"not","args":[{"col":"a"}]},{"op":"lt","args":[{"op":"fill_null","args":[{"col":"b"},{"lit":1.0}]},{"lit":"x"}]}]}"#,
                r#"~col("a") & (col("b").fill_null(1.0) < "x")"#,
            ),
            (r#"{"op":"is_null","args":[{"lit":null}]}"#, "None.is_null()"),
            (r#"{"op":"add","args":[{"col":"a"}]}"#, "+ of 1 arguments"),
            (
                r#"{"op":"round","args":[{"op":"pow","args":[{"op":"neg","args":[{"col":"a"}]},{"lit":2}]},{"lit":1}]}"#,
                r#"(-col("a") ** 2).round(1)"#,
            ),
            (r#"{"op":"abs","args":[{"op":"neg","args":[{"col":"a"}]}]}"#, r#"(-col("a")).abs()"#),
            (r#"{"op":"min_of","args":[{"col":"a"},{"lit":"x"}]}"#, r#"min_of(col("a"), "x")"#),
            (
                r#"{"op":"when","args":[{"col":"a"},{"lit":1},{"col":"b"},{"lit":2},{"lit":null}]}"#,
                r#"when(col("a")).then(1).when(col("b")).then(2).otherwise(None)"#,
            ),
            (r#"{"op":"roun","args":[{"col":"a"},{"lit":1}]}"#, r#"col("a").roun(1)"#),
        ];
        for (json, shown) in cases {
            assert_eq!(parse(json).to_string(), shown);
        }
    }

    #[test]
    fn deep_expressions_are_cut() {
        let mut deep = Expr::Column { col: "a".into() };
        for _ in 0..50 {
            deep = Expr::Call { op: Operator::Neg.into(), args: vec![deep] };
        }
        assert_eq!(deep.to_string(), "-------...");
    }
}
