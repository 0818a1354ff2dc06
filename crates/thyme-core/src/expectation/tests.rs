use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::buffer::BooleanBuffer;
use serde_json::{Value as Json, json};

use super::{Expectation, Rule, Tally};
use crate::schema::Schema;

fn schema() -> Schema {
    serde_json::from_value(json!([
        {"name": "n", "type": "int", "optional": true}, {"name": "x", "type": "float", "optional": true},
        {"name": "s", "type": "str", "optional": true}, {"name": "b", "type": "bool", "optional": true},
        {"name": "at", "type": "datetime", "role": "timestamp"},
    ]))
    .unwrap()
}

fn batch() -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![Some(1), None, Some(5), Some(-7), Some(5)])),
        Arc::new(Float64Array::from(vec![Some(0.5), Some(f64::NAN), None, Some(2.0), Some(f64::INFINITY)])),
        Arc::new(StringArray::from(vec![
            Some("12"),
            Some("x1"),
            None,
            Some(""),
            Some("2026-01-01T00:00:00Z"),
        ])),
        Arc::new(BooleanArray::from(vec![Some(true), Some(false), None, Some(true), Some(true)])),
        Arc::new(
            TimestampMicrosecondArray::from(vec![0, 1_000_000, 3, 59_999_999, 60_000_000])
                .with_timezone("UTC"),
        ),
    ];
    RecordBatch::try_new(schema().arrow(), columns).unwrap()
}

fn rule(json: Json) -> Rule {
    let expectation: Expectation = serde_json::from_value(json).unwrap();
    Rule::new(&expectation, &schema()).unwrap()
}

#[test]
fn rows_that_break_a_rule_are_named_and_nulls_are_not_judged() {
    let table = [
        (
            json!({"expect": "between", "column": "n", "min": 1, "max": 4}),
            "n between 1 and 4",
            4,
            vec![2, 3, 4],
        ),
        (json!({"expect": "between", "column": "n", "min": -7}), "n at least -7", 4, vec![]),
        (json!({"expect": "between", "column": "x", "max": 2}), "x at most 2", 4, vec![1, 4]),
        (
            json!({"expect": "between", "column": "s", "min": "1", "max": "3"}),
            "s between \"1\" and \"3\"",
            4,
            vec![1, 3],
        ),
        (
            json!({"expect": "between", "column": "at", "max": "1970-01-01T00:00:01Z"}),
            "at at most \"1970-01-01T00:00:01Z\"",
            5,
            vec![3, 4],
        ),
        (json!({"expect": "not_null", "column": "b"}), "b not null", 5, vec![2]),
        (json!({"expect": "in_set", "column": "n", "values": [1, 5]}), "n in {1, 5}", 4, vec![3]),
        (
            json!({"expect": "in_set", "column": "x", "values": ["NaN", 2]}),
            "x in {\"NaN\", 2}",
            4,
            vec![0, 4],
        ),
        (json!({"expect": "in_set", "column": "b", "values": [true]}), "b in {True}", 4, vec![1]),
        (json!({"expect": "of_type", "column": "s", "type": "int"}), "s of type int", 4, vec![1, 3, 4]),
        (
            json!({"expect": "of_type", "column": "s", "type": "datetime"}),
            "s of type datetime",
            4,
            vec![0, 1, 3],
        ),
        (json!({"expect": "of_type", "column": "x", "type": "int"}), "x of type int", 4, vec![0, 1, 4]),
        (json!({"expect": "of_type", "column": "n", "type": "float"}), "n of type float", 4, vec![]),
        (json!({"expect": "matches", "column": "s", "regex": "^[0-9]"}), "s matches /^[0-9]/", 4, vec![1, 3]),
    ];
    for (json, shown, checked, expected) in table {
        let rule = rule(json);
        assert_eq!(rule.expectation.kind.to_string(), shown);
        assert!(rule.stream().is_none() && rule.expectation.kind.is_of_rows());
        let tally = Tally { checked, violated: expected.len() as u64 };
        assert_eq!(rule.broken(&batch(), None), (tally, expected), "{shown}");
        let none = BooleanBuffer::new_unset(5);
        assert_eq!(rule.broken(&batch(), Some(&none)), (Tally::default(), vec![]));
        assert_eq!(rule.broken(&batch().slice(0, 0), None), (Tally::default(), vec![]));
    }
}

#[test]
fn what_cannot_be_judged_is_refused() {
    let table = [
        (
            json!({"expect": "not_null", "column": "nope"}),
            "nope not null: there is no field nope; there are n, x, s, b, at",
        ),
        (json!({"expect": "between", "column": "n"}), "n between nothing: give min_value, max_value or both"),
        (
            json!({"expect": "between", "column": "n", "min": "a"}),
            "n at least \"a\": \"a\" is of type str where int is declared",
        ),
        (json!({"expect": "between", "column": "x", "min": "NaN"}), "x at least \"NaN\": NaN is no bound"),
        (
            json!({"expect": "between", "column": "b", "min": true}),
            "b at least True: a field of type bool has no order; expected int, float, str or datetime",
        ),
        (
            json!({"expect": "in_set", "column": "n", "values": []}),
            "n in {}: the set is empty; give the values that are expected",
        ),
        (
            json!({"expect": "matches", "column": "n", "regex": "a"}),
            "n matches /a/: a pattern is for texts, and the field is of type int",
        ),
        (
            json!({"expect": "matches", "column": "s", "regex": "("}),
            "s matches /(/: the pattern cannot be read: unclosed group",
        ),
        (json!({"expect": "rows_per", "every": "1h"}), "rows per 1h between nothing: give min, max or both"),
        (
            json!({"expect": "rows_per", "every": "1h", "min": 3, "max": 2}),
            "rows per 1h between 3 and 2: min 3 is above max 2",
        ),
        (
            json!({"expect": "not_null", "column": "n", "mostly": 0.0}),
            "n not null: mostly is above 0 and at most 1, got 0",
        ),
    ];
    for (json, expected) in table {
        let expectation: Expectation = serde_json::from_value(json).unwrap();
        assert_eq!(Rule::new(&expectation, &schema()).unwrap_err().to_string(), expected);
    }
}

fn times(seconds: &[i64]) -> (RecordBatch, Vec<i64>) {
    let times: Vec<i64> = seconds.iter().map(|s| s * 1_000_000).collect();
    let column: ArrayRef = Arc::new(TimestampMicrosecondArray::from(times.clone()).with_timezone("UTC"));
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["a"; seconds.len()]));
    let none = |data_type| arrow::array::new_null_array(&data_type, seconds.len());
    let (n, x, b) = (
        none(arrow::datatypes::DataType::Int64),
        none(arrow::datatypes::DataType::Float64),
        none(arrow::datatypes::DataType::Boolean),
    );
    (RecordBatch::try_new(schema().arrow(), vec![n, x, texts, b, column]).unwrap(), times)
}

#[test]
fn a_value_that_comes_again_too_soon_breaks_uniqueness_whichever_way_round() {
    let mut rule = rule(json!({"expect": "unique_within", "column": "s", "within": "10s"})).stream().unwrap();
    let mut take = |seconds: &[i64]| {
        let (batch, times) = times(seconds);
        rule.take(&batch, &times, None, 0)
    };
    assert_eq!(take(&[100, 110, 119]), (Tally { checked: 3, violated: 1 }, vec![2]));
    assert_eq!(take(&[91]), (Tally { checked: 1, violated: 1 }, vec![0]));
    assert_eq!(take(&[1_000, 90]), (Tally { checked: 2, violated: 1 }, vec![1]));
    assert_eq!(take(&[130]), (Tally { checked: 1, violated: 0 }, vec![]));
}

#[test]
fn stretches_of_time_are_judged_once_they_are_over_those_without_rows_too() {
    let mut rule = rule(json!({"expect": "rows_per", "every": "1m", "min": 1, "max": 2})).stream().unwrap();
    let mut take = |seconds: &[i64], until: i64| {
        let (batch, times) = times(seconds);
        rule.take(&batch, &times, None, until * 1_000_000).0
    };
    assert_eq!(take(&[0, 59, 60, 61, 62], 62), Tally { checked: 1, violated: 0 });
    // The minute of the last row is not over yet; three were empty.
    assert_eq!(take(&[300], 300), Tally { checked: 4, violated: 4 });
    // Too late for its minute.
    assert_eq!(take(&[70], 300), Tally::default());
    assert_eq!(take(&[360], 360), Tally { checked: 1, violated: 0 });
}

#[test]
fn mostly_allows_a_share() {
    let tally = |checked, violated| Tally { checked, violated };
    assert!(!tally(0, 0).is_violated(1.0) && !tally(5, 0).is_violated(1.0) && tally(5, 1).is_violated(1.0));
    assert!(!tally(100, 5).is_violated(0.95) && tally(100, 6).is_violated(0.95));
}
