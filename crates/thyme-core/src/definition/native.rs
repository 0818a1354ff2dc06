//! Extractors that are an expression: no code travels, and the engine computes them by columns.

use super::document::{Extractor, Form};
use crate::expr::Expr;

impl Extractor {
    /// The expression that it is, if it is one.
    pub fn expression(&self) -> Option<&Expr> {
        self.expr.as_ref().filter(|_| self.form == Form::Expression)
    }

    /// How Python gives it a version.
    pub(super) fn versioned_by(&self, version: u32) -> String {
        let maker =
            if self.form == Form::Expression { "feature(expr=..., version" } else { "@extractor(version" };
        format!("{maker}={version})")
    }

    /// Its expression with the place of each feature among the inputs for its name, so that a rename is no change of it.
    pub(super) fn without_names(&self) -> Option<Expr> {
        let place = |col: &str| self.inputs.iter().position(|input| input.feature == col);
        let mut renamed = self.expr.clone();
        let mut left: Vec<&mut Expr> = renamed.iter_mut().collect();
        while let Some(expr) = left.pop() {
            match expr {
                Expr::Column { col } => {
                    if let Some(place) = place(col) {
                        *col = format!("#{place}");
                    }
                }
                Expr::Call { args, .. } => left.extend(args),
                Expr::Literal(_) => {}
            }
        }
        renamed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratio(over: &str, below: &str, op: &str) -> Extractor {
        serde_json::from_value(serde_json::json!({
            "name": "ratio", "form": "expression", "outputs": ["ratio"],
            "inputs": [{"feature": over}, {"feature": below}],
            "expr": {"op": op, "args": [{"col": over}, {"col": below}]},
        }))
        .unwrap()
    }

    #[test]
    fn an_expression_with_other_names_for_its_inputs_is_the_same() {
        let was = ratio("fares", "rides", "div");
        assert_eq!(was.without_names(), ratio("sum", "count", "div").without_names());
        assert_ne!(was.without_names(), ratio("fares", "rides", "mul").without_names());
        assert_eq!(
            was.expression().map(ToString::to_string).as_deref(),
            Some(r#"col("fares") / col("rides")"#)
        );
    }
}
