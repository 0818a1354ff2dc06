//! The table of `docs/evolution.md`, row by row.

use std::collections::HashMap;

use serde_json::{Value as Json, json};

use super::{AGGREGATES, FILTER, base, changed, committed, parse, plan, planned};
use crate::definition::Document;
use crate::definition::evolution::{ChangeKind, Effect, Given, Plan};
use crate::error::{Error, ErrorKind};

const PAGE: &str = include_str!("../../../../../../docs/evolution.md");

/// The rows: what changes, and what comes of it.
fn rows() -> Vec<(&'static str, &'static str)> {
    let table = PAGE.split("| change | outcome |").nth(1).unwrap();
    let lines = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    lines
        .map(|line| {
            let mut cells = line.split('|').skip(1).map(str::trim);
            (cells.next().unwrap(), cells.next().unwrap())
        })
        .collect()
}

/// What is set where; null removes, `-` appends.
type Edit = (&'static str, Json);
/// Changes, and the one that makes them possible if they are refused.
type Case = (Vec<Edit>, Option<Edit>);
/// What came of them, without and with it.
type Tried = (Result<Plan, Error>, Option<Result<Plan, Error>>);

fn field(extra: Json) -> Json {
    let mut field = json!({"name": "tip", "type": "float"});
    field.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    field
}

fn fields_of(dataset: usize, first: usize, second: usize) -> Json {
    let mut fields = base()["datasets"][dataset]["fields"].as_array().unwrap().clone();
    fields.swap(first, second);
    json!(fields)
}

fn reversed(pointer: &str) -> Json {
    let mut items = base().pointer(pointer).unwrap().as_array().unwrap().clone();
    items.reverse();
    json!(items)
}

/// For each row some changes that it is about, and for those that ask for a version the change that gives it.
fn cases() -> HashMap<&'static str, Vec<Case>> {
    let one = |pointer, value| (vec![(pointer, value)], None::<Edit>);
    let ride = |pointer, value| (vec![(pointer, value)], Some(("/datasets/0/version", json!(2))));
    let pipeline =
        |pointer, value| (vec![(pointer, value)], Some(("/datasets/1/pipelines/0/version", json!(2))));
    let scored =
        |pointer, value| (vec![(pointer, value)], Some(("/featuresets/0/extractors/0/version", json!(2))));
    let new_id = |pointer, value, id| (vec![(pointer, value)], Some((id, json!(9))));
    let meta = json!({"owner": "a@b", "deprecated": true});
    let expected = json!([{"expect": "not_null", "column": "fare"}]);
    let output = |aggregate: Json| {
        let mut named = json!({"name": "more"});
        named.as_object_mut().unwrap().extend(aggregate.as_object().unwrap().clone());
        let field = json!({"name": "more", "type": if named["of"] == "fare" { "float" } else { "int" }});
        let aggregates = "/datasets/1/pipelines/0/operators/2/aggregates/-";
        (vec![("/datasets/1/fields/-", field), (aggregates, named)], None::<Edit>)
    };
    let over = |column: &str| json!({"op": "gt", "args": [{"col": column}, {"lit": 2, "type": "int"}]});
    let mut no_index = base();
    no_index["datasets"][0]["index"] = json!(false);
    HashMap::from([
        ("a new dataset, pipeline or featureset", vec![]),
        (
            "raw dataset: a new field that is Optional or has a default",
            vec![
                one("/datasets/0/fields/-", field(json!({"optional": true}))),
                one("/datasets/0/fields/-", field(json!({"default": 1.5}))),
            ],
        ),
        (
            "raw dataset: a new field that every row has to have",
            vec![ride("/datasets/0/fields/-", field(json!({})))],
        ),
        ("dataset: a field is removed", vec![ride("/datasets/0/fields/3", json!(null))]),
        (
            "dataset: a field has another type, also a wider one",
            vec![
                ride("/datasets/0/fields/3/type", json!("float")),
                pipeline("/datasets/1/fields/2/type", json!("float")),
            ],
        ),
        ("raw dataset: a field becomes Optional", vec![one("/datasets/0/fields/2/optional", json!(true))]),
        ("raw dataset: a field is no longer Optional", vec![]),
        (
            "raw dataset: a field gets, loses or changes its default",
            vec![ride("/datasets/0/fields/2/default", json!(1))],
        ),
        (
            "dataset: the order of its fields, the key's too, or of its aggregates",
            vec![
                one("/datasets/0/fields", fields_of(0, 0, 1)),
                one("/datasets/0/fields", fields_of(0, 2, 4)),
                one(AGGREGATES, reversed(AGGREGATES)),
            ],
        ),
        ("raw dataset: `index=True`", vec![]),
        ("raw dataset: `index=False` again", vec![ride("/datasets/0/index", json!(false))]),
        (
            "raw dataset: `cdc`, and the field that says deleted",
            vec![ride("/datasets/0/cdc", json!("upsert")), ride("/datasets/0/deleted", json!("driver"))],
        ),
        ("raw dataset: its event id", vec![ride("/datasets/0/event_id", json!("driver"))]),
        (
            "dataset: `max_lateness`, `max_future_skew`",
            vec![
                one("/datasets/0/max_lateness", json!("1h")),
                one("/datasets/0/max_future_skew", json!("2h")),
            ],
        ),
        ("dataset: `retention`", vec![one("/datasets/0/retention", json!("30d"))]),
        (
            "dataset: `extra`, `on_error`",
            vec![one("/datasets/0/extra", json!("ignore")), one("/datasets/0/on_error", json!("skip"))],
        ),
        (
            "dataset: `expectations`, `on_violation`",
            vec![
                one("/datasets/0/expectations", expected.clone()),
                (
                    vec![
                        ("/datasets/0/expectations", expected),
                        ("/datasets/0/on_violation", json!("quarantine")),
                    ],
                    None,
                ),
            ],
        ),
        (
            "dataset: its source, and its options",
            vec![
                one("/datasets/0/source", json!(null)),
                one("/datasets/0/source/options/path", json!("b.csv")),
            ],
        ),
        (
            "`description owner tags project deprecated ...` of anything",
            vec![
                one("/datasets/0/meta", meta.clone()),
                one("/datasets/1/pipelines/0/meta", meta.clone()),
                one("/featuresets/0/meta", meta.clone()),
                one("/featuresets/0/features/1/meta", meta),
            ],
        ),
        (
            "derived dataset: a new output over what its pipeline keeps",
            vec![
                output(json!({"function": "count"})),
                output(json!({"function": "max", "of": "fare", "window": "90d"})),
                output(json!({"function": "quantile", "of": "fare", "parameters": {"q": 0.5}})),
                output(json!({"function": "sum", "of": "fare", "where": over("fare"), "default": 1})),
            ],
        ),
        (
            "derived dataset: a new output over anything else",
            vec![
                output(json!({"function": "sum", "of": "seats"})),
                output(json!({"function": "count", "where": over("seats")})),
            ],
        ),
        (
            "pipeline: what it computes",
            vec![
                pipeline(FILTER, json!(1)),
                pipeline("/datasets/1/pipelines/0/operators/2/aggregates/0/window", json!("2h")),
                pipeline("/datasets/1/pipelines/0/operators/2/aggregates/1/default", json!(1)),
            ],
        ),
        ("pipeline: a higher version", vec![one("/datasets/1/pipelines/0/version", json!(2))]),
        ("pipeline: its name", vec![one("/datasets/1/pipelines/0/name", json!("derive"))]),
        ("dataset: a higher version", vec![one("/datasets/1/version", json!(2))]),
        (
            "any version: a lower one",
            vec![
                one("/datasets/0/version", json!(0)),
                one("/datasets/1/pipelines/0/version", json!(0)),
                one("/featuresets/0/extractors/0/version", json!(0)),
            ],
        ),
        (
            "feature: a new one",
            vec![one("/featuresets/0/features/-", json!({"id": 9, "name": "n", "type": "str"}))],
        ),
        ("feature: it is removed", vec![one("/featuresets/0/features/0", json!(null))]),
        ("feature: its name", vec![one("/featuresets/0/features/0/name", json!("chauffeur"))]),
        (
            "feature: its default, or whether it is Optional",
            vec![
                one("/featuresets/0/features/1/default", json!(7)),
                one("/featuresets/0/features/1/optional", json!(true)),
            ],
        ),
        (
            "feature: its type, its `ref`, or what else gives it its value",
            vec![
                new_id("/featuresets/0/features/0/type", json!("int"), "/featuresets/0/features/0/id"),
                new_id("/featuresets/0/features/0/request", json!(true), "/featuresets/0/features/0/id"),
            ],
        ),
        ("feature: the id of a removed one", vec![]),
        (
            "feature: a name that still answers for another",
            vec![(
                vec![
                    ("/featuresets/0/features/0/name", json!("chauffeur")),
                    ("/featuresets/0/features/-", json!({"id": 9, "name": "driver", "type": "str"})),
                ],
                None,
            )],
        ),
        (
            "extractor: its code, inputs, outputs, deps or form",
            vec![
                scored("/featuresets/0/extractors/0/code", json!("b")),
                scored("/featuresets/0/extractors/0/inputs/0/feature", json!("driver")),
                scored("/featuresets/0/extractors/0/deps", json!(["Stats"])),
                scored("/featuresets/0/extractors/0/form", json!("dict")),
                scored("/featuresets/0/extractors/0/vectorized", json!(true)),
            ],
        ),
        (
            "dataset: its key, or its timestamp",
            vec![
                ride("/datasets/0/fields/1/role", json!("value")),
                ride("/datasets/0/fields/4/name", json!("when")),
            ],
        ),
        (
            "derived dataset: an output is removed",
            vec![(
                vec![
                    ("/datasets/1/fields/3", json!(null)),
                    ("/datasets/1/pipelines/0/operators/2/aggregates/1", json!(null)),
                ],
                Some(("/datasets/1/pipelines/0/version", json!(2))),
            )],
        ),
        (
            "a dataset or featureset: the file leaves it out",
            vec![
                one("/datasets/0", json!(null)),
                one("/datasets/1", json!(null)),
                one("/featuresets/0", json!(null)),
            ],
        ),
        (
            "feature: another id under its name, and nothing else",
            vec![
                one("/featuresets/0/features/1/id", json!(9)),
                one("/featuresets/0/features/2/id", json!(9)),
            ],
        ),
        ("extractor with a dict of inputs: the names in it, also to follow a rename", vec![]),
        ("any version: one that an earlier commit gave to something else", vec![]),
        (
            "feature or featureset: `max_age`, `on_stale`",
            vec![
                one("/featuresets/0/max_age", json!("1h")),
                one("/featuresets/0/features/1/max_age", json!("1h")),
            ],
        ),
        ("extractor: a higher version", vec![one("/featuresets/0/extractors/0/version", json!(2))]),
        (
            "extractor: another one gives the feature",
            vec![scored("/featuresets/0/extractors/0/name", json!("other"))],
        ),
    ])
}

/// The base with another state committed before it, for the rows whose change goes back.
fn over(edits: &[Edit], proposed: &[Edit]) -> Result<Plan, Error> {
    let before = plan(&parse(json!({"format": 1})), &changed(edits)).unwrap().next;
    plan(&before, &changed(proposed))
}

/// Rows that need another beginning, or another proposal.
fn other(change: &str) -> Option<Tried> {
    let bumped = ("/datasets/0/version", json!(2));
    let optional = ("/datasets/0/fields/2/optional", json!(true));
    let off = ("/datasets/0/index", json!(false));
    Some(match change {
        "a new dataset, pipeline or featureset" => (plan(&parse(json!({"format": 1})), &parse(base())), None),
        "raw dataset: a field is no longer Optional" => {
            (over(std::slice::from_ref(&optional), &[]), Some(over(&[optional], &[bumped])))
        }
        "raw dataset: `index=True`" => (over(&[off], &[]), None),
        "any version: one that an earlier commit gave to something else" => {
            let version = |version: u32| ("/datasets/1/pipelines/0/version", json!(version));
            let first = committed();
            let mut given = Given::default();
            given.learn("earlier", 0, &planned(&[version(2), (FILTER, json!(1))]).unwrap().next);
            let tried =
                |n: u32| super::super::plan(&first, &changed(&[version(n), (FILTER, json!(2))]), &given);
            (tried(2), Some(tried(3)))
        }
        "extractor with a dict of inputs: the names in it, also to follow a rename" => {
            let dict = ("/featuresets/0/extractors/0/form", json!("dict"));
            let name = ("/featuresets/0/features/1/name", json!("trips"));
            let taken = ("/featuresets/0/extractors/0/inputs/0/feature", json!("trips"));
            let bumped = ("/featuresets/0/extractors/0/version", json!(2));
            let followed = [dict.clone(), name, taken, bumped];
            (over(std::slice::from_ref(&dict), &followed[..3]), Some(over(&[dict], &followed)))
        }
        "feature: the id of a removed one" => {
            let without = [("/featuresets/0/features/0", json!(null))];
            let gone: Document = planned(&without).unwrap().next;
            (plan(&gone, &changed(&[])), None)
        }
        _ => return None,
    })
}

fn check(change: &str, outcome: &str, made: &Result<Plan, Error>) {
    let effects = |plan: &Plan| plan.changes.iter().map(|c| c.effect).collect::<Vec<_>>();
    match (outcome, made) {
        ("nothing", Ok(plan)) => {
            assert_eq!(plan.next, committed(), "{change}");
            assert!(effects(plan).iter().all(|e| *e == Effect::None), "{change}");
        }
        ("in place", Ok(plan)) => {
            let fine = |e: &Effect| *e != Effect::Backfill;
            let indexed = change.starts_with("raw dataset");
            assert!(indexed || effects(plan).iter().all(fine), "{change}: {:?}", plan.changes);
            assert!(plan.count(ChangeKind::Unchanged) < plan.changes.len(), "{change}");
        }
        ("filled", Ok(plan)) => {
            assert!(effects(plan).contains(&Effect::Backfill), "{change}: {:?}", plan.changes)
        }
        ("version" | "new id" | "refused", Err(error)) => {
            assert_eq!(error.kind(), ErrorKind::Conflict, "{change}: {error}");
            let fix = match outcome {
                "version" => error.detail().contains("version="),
                "new id" => error.detail().contains("needs a new id"),
                _ => true,
            };
            assert!(fix, "{change}: {error}");
        }
        (_, Ok(plan)) => panic!("{change} should be {outcome}, and is {:?}", plan.changes),
        (_, Err(error)) => panic!("{change} should be {outcome}, and is refused: {error}"),
    }
}

#[test]
fn every_row_of_the_page_is_what_happens() {
    let (rows, cases) = (rows(), cases());
    assert!(rows.len() > 30, "the table is not there");
    for (change, outcome) in &rows {
        let tried = cases.get(change).unwrap_or_else(|| panic!("no case tries the row: {change}"));
        let edited = tried.iter().map(|(edits, bump)| {
            let bumped = bump.clone().map(|bump| planned(&[edits.clone(), vec![bump]].concat()));
            (planned(edits), bumped)
        });
        let all: Vec<_> = edited.chain(other(change)).collect();
        assert!(!all.is_empty(), "nothing tries the row: {change}");
        for (made, bumped) in all {
            check(change, outcome, &made);
            assert!(bumped.is_none_or(|bumped| bumped.is_ok()), "{change}: the fix does not help");
        }
    }
    for case in cases.keys() {
        assert!(rows.iter().any(|(change, _)| change == case), "no row is about: {case}");
    }
}
