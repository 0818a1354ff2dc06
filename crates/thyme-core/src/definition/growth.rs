//! Which aggregates timelines can answer that were made for others.
//!
//! A timeline keeps, of each row, its time and position, the columns that some aggregate is of, and the verdict of
//! each `where`. Windows, defaults and kinds of aggregate are not in it. So what it keeps answers any aggregate over
//! these columns, under any `where` that it has the verdicts of, or that reads no other columns.

use super::document::{AggregateDef, OperatorDef, Pipeline, Place};
use crate::aggregate;
use crate::expr::Expr;

/// So many aggregates that nobody asks for any more are carried along at most.
const UNUSED_MAX: usize = 64;

/// What timelines keep for an aggregate: how it is called, its window and its default are not in them.
pub fn kept(aggregate: &AggregateDef) -> AggregateDef {
    AggregateDef {
        name: String::new(),
        function: aggregate.function.clone(),
        of: aggregate.of.clone(),
        window: None,
        predicate: aggregate.predicate.clone(),
        default: None,
        parameters: aggregate.parameters.clone(),
        at: Place::default(),
    }
}

impl AggregateDef {
    /// The columns that timelines keep for it: the one that it is of, and one that a parameter names.
    pub fn columns(&self) -> impl Iterator<Item = &String> {
        let by =
            aggregate::lookup(&self.function).and_then(|known| aggregate::further(known, &self.parameters));
        self.of.iter().chain(by.map(|(_, column)| column))
    }
}

/// The aggregates of a pipeline, as timelines keep them, each once.
pub fn kept_for(pipeline: &Pipeline) -> Vec<AggregateDef> {
    let mut all = Vec::new();
    for aggregate in pipeline.aggregates().map(kept) {
        if !all.contains(&aggregate) {
            all.push(aggregate);
        }
    }
    all
}

/// What timelines that were made for `before` keep for `pipeline` too: those of before, in their order, and then what is
/// new. `None`: they lack something, or carry too much that nobody asks for.
pub fn grown(before: &[AggregateDef], pipeline: &Pipeline) -> Option<Vec<AggregateDef>> {
    let wanted = kept_for(pipeline);
    let has_column = |name: &String| before.iter().any(|kept| kept.columns().any(|column| column == name));
    let judges = |expr: &Expr| {
        let has_verdicts = before.iter().any(|kept| kept.predicate.as_ref() == Some(expr));
        has_verdicts || expr.columns().into_iter().all(has_column)
    };
    let answers = |a: &&AggregateDef| {
        before.contains(a) || (a.columns().all(has_column) && a.predicate.iter().all(judges))
    };
    let unused = before.iter().filter(|kept| !wanted.contains(kept)).count();
    if unused > UNUSED_MAX || !wanted.iter().all(|a| answers(&a)) {
        return None;
    }
    let new = wanted.into_iter().filter(|a| !before.contains(a));
    Some(before.iter().cloned().chain(new).collect())
}

/// Whether two pipelines bring the same rows with the same columns to their aggregates.
pub fn feeds_alike(one: &Pipeline, other: &Pipeline) -> bool {
    bare(one) == bare(other)
}

/// The pipeline without its aggregates, its name, and what only describes it.
pub fn bare(pipeline: &Pipeline) -> Pipeline {
    let mut bare = pipeline.clone();
    (bare.name, bare.version, bare.at, bare.meta) = Default::default();
    for operator in &mut bare.operators {
        match operator {
            OperatorDef::Aggregate { aggregates } => aggregates.clear(),
            OperatorDef::Join(join) => join.at = Place::default(),
            _ => {}
        }
    }
    bare
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    fn pipeline(aggregates: Json) -> Pipeline {
        let operators =
            json!([{"op": "groupby", "keys": ["k"]}, {"op": "aggregate", "aggregates": aggregates}]);
        serde_json::from_value(json!({"name": "p", "version": 1, "inputs": ["E"], "operators": operators}))
            .unwrap()
    }

    fn above(column: &str) -> Json {
        json!({"op": "gt", "args": [{"col": column}, {"lit": 1, "type": "int"}]})
    }

    #[test]
    fn timelines_answer_what_reads_the_columns_and_verdicts_that_they_keep() {
        let before = kept_for(&pipeline(json!([
            {"name": "n", "function": "count", "window": "1h", "where": above("b")},
            {"name": "s", "function": "sum", "of": "a"},
        ])));
        let cases = [
            ("nothing less", json!([]), true),
            (
                "another window and default",
                json!([{"name": "x", "function": "sum", "of": "a", "window": "9h", "default": 1}]),
                true,
            ),
            ("another kind", json!([{"name": "x", "function": "max", "of": "a"}]), true),
            (
                "a kind with parameters",
                json!([{"name": "x", "function": "quantile", "of": "a", "parameters": {"q": 0.5}}]),
                true,
            ),
            (
                "a further column that is kept",
                json!([{"name": "x", "function": "count_by", "parameters": {"key_column": "a"}}]),
                true,
            ),
            (
                "a further column that is not",
                json!([{"name": "x", "function": "sum_by", "of": "a", "parameters": {"key_column": "b"}}]),
                false,
            ),
            ("another column", json!([{"name": "x", "function": "sum", "of": "b"}]), false),
            (
                "the same where",
                json!([{"name": "x", "function": "sum", "of": "a", "where": above("b")}]),
                true,
            ),
            (
                "a where over a column that is kept",
                json!([{"name": "x", "function": "count", "where": above("a")}]),
                true,
            ),
            (
                "a where over one that is not",
                json!([{"name": "x", "function": "count", "where": {"op": "not", "args": [above("b")]}}]),
                false,
            ),
        ];
        for (what, aggregates, answers) in cases {
            let grown = grown(&before, &pipeline(aggregates));
            assert_eq!(grown.is_some(), answers, "{what}");
            assert!(grown.is_none_or(|grown| grown.starts_with(&before)), "{what}: they come first");
        }
    }

    #[test]
    fn what_nobody_asks_for_is_carried_along_within_bounds() {
        let many = |n: usize| {
            let above = |n: usize| json!({"op": "gt", "args": [{"col": "a"}, {"lit": n, "type": "int"}]});
            let all = (0..n).map(|n| json!({"name": "x", "function": "sum", "of": "a", "where": above(n)}));
            kept_for(&pipeline(all.collect()))
        };
        let one = pipeline(json!([{"name": "n", "function": "count"}]));
        assert_eq!(grown(&many(UNUSED_MAX), &one).map(|all| all.len()), Some(UNUSED_MAX + 1));
        assert_eq!(grown(&many(UNUSED_MAX + 1), &one), None);
    }
}
