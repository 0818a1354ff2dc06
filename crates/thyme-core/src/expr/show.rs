//! Expressions as users write them, for messages.

use std::fmt;

use super::ast::{Expr, LiteralValue, Operator};

/// Deeper parts are shown as `...`, so that a message stays readable and the recursion short.
const SHOWN_DEPTH_MAX: usize = 6;

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
        Expr::Call { op, args } => show_call(*op, args, depth, f),
    }
}

fn show_call(op: Operator, args: &[Expr], depth: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match (op, args) {
        (Operator::Neg | Operator::Not, [a]) => {
            f.write_str(op.symbol())?;
            show(a, depth + 1, f)
        }
        (Operator::IsNull, [a]) => {
            show(a, depth + 1, f)?;
            f.write_str(".is_null()")
        }
        (Operator::FillNull, [a, b]) => {
            show(a, depth + 1, f)?;
            f.write_str(".fill_null(")?;
            show(b, depth + 1, f)?;
            f.write_str(")")
        }
        (_, [a, b]) => {
            f.write_str(if depth > 0 { "(" } else { "" })?;
            show(a, depth + 1, f)?;
            write!(f, " {} ", op.symbol())?;
            show(b, depth + 1, f)?;
            f.write_str(if depth > 0 { ")" } else { "" })
        }
        _ => write!(f, "{} of {} arguments", op.symbol(), args.len()),
    }
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
        ];
        for (json, shown) in cases {
            assert_eq!(parse(json).to_string(), shown);
        }
    }

    #[test]
    fn deep_expressions_are_cut() {
        let mut deep = Expr::Column { col: "a".into() };
        for _ in 0..50 {
            deep = Expr::Call { op: Operator::Neg, args: vec![deep] };
        }
        assert_eq!(deep.to_string(), "-------...");
    }
}
