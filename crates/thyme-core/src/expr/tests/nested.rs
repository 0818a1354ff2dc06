//! Lists, maps, vectors and other types end to end.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use serde_json::json;

use crate::expr::{Compiled, Expr};
use crate::value::{DataType, Json, Value, cell, column, typed};

pub(super) const ROWS: usize = 4;

/// Columns by the JSON of their values.
fn columns() -> Vec<(&'static str, &'static str, [&'static str; ROWS])> {
    vec![
        ("ints", "list[int]", ["[3,1,2]", "[]", "null", "[null,9223372036854775807,1]"]),
        ("floats", "list[float]", ["[0.5,-1.5]", "[\"NaN\",1]", "[null]", "null"]),
        ("texts", "list[str]", ["[\"b\",\"a\"]", "[]", "[null,\"\",\"é\"]", "null"]),
        ("days", "list[date]", ["[\"2026-03-15\"]", "null", "[]", "[null]"]),
        (
            "sums",
            "list[decimal(2)]",
            ["[\"0.10\",\"0.20\"]", "[]", "null", "[\"999999999999999999999999999999999999.99\",1]"],
        ),
        ("map", "dict[str, int]", ["{\"a\":1,\"b\":null}", "{}", "null", "{\"é\":3}"]),
        ("v", "vector[2]", ["[3,4]", "[0,0]", "null", "[1,\"Infinity\"]"]),
        ("w", "vector[2]", ["[4,3]", "[1,1]", "[1,1]", "[0,1]"]),
        ("note", "json", ["{\"a\":[1,2.5,\"x\"]}", "[]", "null", "{\"a\":{\"b\":true}}"]),
        ("i", "int", ["0", "-1", "1", "null"]),
        ("s", "str", ["\"a,b\"", "\"\"", "null", "\"a\""]),
    ]
}

pub(super) fn types() -> Vec<(String, DataType)> {
    columns().into_iter().map(|(name, t, _)| (name.to_owned(), DataType::named(t).unwrap())).collect()
}

fn batch() -> RecordBatch {
    let array = |(_, name, rows): (&str, &str, [&str; ROWS])| -> ArrayRef {
        let data_type = DataType::named(name).unwrap();
        let value = |text: &str| typed(data_type, &serde_json::from_str::<Json>(text).unwrap()).unwrap();
        column(data_type, &rows.map(value))
    };
    RecordBatch::try_from_iter(columns().into_iter().map(|c| (c.0, array(c)))).unwrap()
}

/// `col` is a column, `{op: [...]}` a call, and everything else a constant.
fn expr(json: serde_json::Value) -> serde_json::Value {
    match json {
        serde_json::Value::String(name) if columns().iter().any(|(n, ..)| *n == name) => json!({"col": name}),
        serde_json::Value::Object(call) if call.values().all(serde_json::Value::is_array) => {
            let (op, args) = call.into_iter().next().unwrap();
            let args: Vec<_> = args.as_array().unwrap().iter().cloned().map(expr).collect();
            json!({"op": op, "args": args})
        }
        serde_json::Value::String(text) => json!({"lit": text, "type": "str"}),
        literal @ serde_json::Value::Object(_) => literal,
        literal => json!({"lit": literal}),
    }
}

pub(super) fn parse(json: serde_json::Value) -> Expr {
    serde_json::from_value(expr(json)).unwrap()
}

fn compiled(json: serde_json::Value) -> Compiled {
    Compiled::new(&parse(json), &types()).unwrap()
}

fn shown(json: serde_json::Value) -> Vec<String> {
    let compiled = compiled(json);
    let array = compiled.evaluate(&batch()).unwrap();
    let data_type = compiled.data_type().unwrap();
    assert_eq!(array.data_type(), &data_type.arrow());
    (0..array.len()).map(|row| cell(data_type, &array, row).to_string()).collect()
}

pub(super) fn check(cases: Vec<(serde_json::Value, [&str; ROWS])>) {
    for (json, expected) in cases {
        assert_eq!(shown(json.clone()), expected, "{json}");
    }
}

#[test]
fn lists_say_what_is_in_them() {
    check(vec![
        (json!({"len": ["ints"]}), ["3", "0", "null", "3"]),
        (json!({"get": ["ints", "i"]}), ["3", "null", "null", "null"]),
        (json!({"get": ["ints", -1]}), ["2", "null", "null", "1"]),
        (json!({"first": ["texts"]}), ["\"b\"", "null", "null", "null"]),
        (json!({"last": ["texts"]}), ["\"a\"", "null", "\"é\"", "null"]),
        (json!({"contains": ["ints", 1]}), ["true", "false", "null", "true"]),
        (json!({"contains": ["ints", 1.5]}), ["false", "false", "null", "null"]),
        (json!({"contains": ["ints", "i"]}), ["false", "false", "null", "null"]),
        (json!({"contains": ["ints", null]}), ["null", "null", "null", "null"]),
        (json!({"contains": ["floats", 1]}), ["false", "true", "null", "null"]),
        (json!({"contains": ["texts", "s"]}), ["false", "false", "null", "null"]),
        (json!({"contains": ["days", "2026-03-15"]}), ["true", "null", "false", "null"]),
        (json!({"contains": [{"lit": [0, 1], "type": "list[int]"}, "i"]}), ["true", "false", "true", "null"]),
        (json!({"join": ["texts", "-"]}), ["\"b-a\"", "\"\"", "\"-é\"", "null"]),
        (json!({"split": ["s", ","]}), ["[\"a\", \"b\"]", "[\"\"]", "null", "[\"a\"]"]),
        (json!({"get": [{"split": ["s", ","]}, 1]}), ["\"b\"", "null", "null", "null"]),
        (json!({"split": ["a-b", "s"]}), ["[\"a-b\"]", "null", "null", "[\"\", \"-b\"]"]),
    ]);
}

#[test]
fn lists_are_added_up_exactly() {
    check(vec![
        (json!({"sum": ["ints"]}), ["6", "0", "null", "null"]),
        (json!({"sum": ["floats"]}), ["-1.0", "NaN", "0.0", "null"]),
        (json!({"sum": ["sums"]}), ["0.30", "0.00", "null", "null"]),
        (json!({"sum": ["v"]}), ["7.0", "0.0", "null", "inf"]),
        (json!({"min": ["ints"]}), ["1", "null", "null", "1"]),
        (json!({"max": ["ints"]}), ["3", "null", "null", "9223372036854775807"]),
        (json!({"max": ["floats"]}), ["0.5", "NaN", "null", "null"]),
        (json!({"min": ["texts"]}), ["\"a\"", "null", "\"\"", "null"]),
        (json!({"max": ["days"]}), ["2026-03-15", "null", "null", "null"]),
        (json!({"max": ["sums"]}), ["0.20", "null", "null", "999999999999999999999999999999999999.99"]),
    ]);
}

#[test]
fn maps_and_vectors_say_what_they_have() {
    check(vec![
        (json!({"len": ["map"]}), ["2", "0", "null", "1"]),
        (json!({"len": ["v"]}), ["2", "2", "null", "2"]),
        (json!({"get": ["map", "a"]}), ["1", "null", "null", "null"]),
        (json!({"contains": ["map", "b"]}), ["true", "false", "null", "false"]),
        (json!({"contains": ["map", "s"]}), ["false", "false", "null", "false"]),
        (json!({"get": ["v", "i"]}), ["3.0", "0.0", "null", "null"]),
        (json!({"last": ["v"]}), ["4.0", "0.0", "null", "inf"]),
    ]);
}

#[test]
fn values_of_any_type_may_be_null_chosen_and_compared() {
    check(vec![
        (json!({"is_null": ["ints"]}), ["false", "false", "true", "false"]),
        (json!({"len": [{"fill_null": ["ints", [7]]}]}), ["3", "0", "1", "3"]),
        (json!({"coalesce": ["map", {"lit": {}}]}), ["{\"a\": 1, \"b\": null}", "{}", "{}", "{\"é\": 3}"]),
        (json!({"coalesce": ["v", [1, 0.5]]}), ["[3.0, 4.0]", "[0.0, 0.0]", "[1.0, 0.5]", "[1.0, inf]"]),
        (json!({"eq": ["ints", [3, 1, 2]]}), ["true", "false", "null", "false"]),
        (json!({"ne": ["v", "w"]}), ["true", "true", "null", "true"]),
        (json!({"eq": ["v", "floats"]}), ["false", "false", "null", "null"]),
        (json!({"eq": ["map", "map"]}), ["true", "true", "null", "true"]),
        (json!({"eq": ["note", []]}), ["false", "true", "null", "false"]),
        (
            json!({"when": [{"eq": ["i", 0]}, "floats", "ints"]}),
            ["[0.5, -1.5]", "[]", "null", "[null, 9.223372036854776e18, 1.0]"],
        ),
    ]);
}

#[test]
fn faults_name_the_types_and_the_expression() {
    for (json, sentence) in [
        (
            json!({"sum": ["texts"]}),
            "\"sum\" cannot take list[str] in col(\"texts\").sum(): it takes a list of numbers",
        ),
        (
            json!({"get": ["i", 0]}),
            "\"get\" cannot take int and int in col(\"i\").get(0): it takes a list, a map or a vector",
        ),
        (
            json!({"get": ["map", 0]}),
            "\"get\" cannot take dict[str, int] and int in col(\"map\").get(0): the keys of a map are texts",
        ),
        (
            json!({"get": ["note", 0]}),
            "\"get\" cannot take json and int in col(\"note\").get(0): of json it is .json_extract(\"key[0]\")",
        ),
        (
            json!({"contains": ["ints", "a"]}),
            "\"contains\" cannot take list[int] and str in col(\"ints\").contains(\"a\"): it takes what may be compared with an item by ==",
        ),
        (json!({"contains": ["days", "soon"]}), "expected date (such as \"2026-03-15\"), got str \"soon\""),
        (
            json!({"lt": ["ints", "ints"]}),
            "\"<\" cannot take list[int] and list[int] in col(\"ints\") < col(\"ints\"): lists, maps, vectors and json have no order; == and != take them",
        ),
        (
            json!({"eq": ["ints", "texts"]}),
            "\"==\" cannot take list[int] and list[str] in col(\"ints\") == col(\"texts\"): both need the same type",
        ),
        (json!({"fill_null": ["v", [1]]}), "expected vector[2], got 1 numbers"),
        (
            json!({"min_of": ["ints", "ints"]}),
            "\"min_of\" cannot take list[int] and list[int] in min_of(col(\"ints\"), col(\"ints\")): it takes numbers, texts, datetimes or dates",
        ),
    ] {
        let fault = Compiled::new(&parse(json.clone()), &types()).unwrap_err();
        assert_eq!(fault.detail(), sentence, "{json}");
    }
}

#[test]
fn slices_of_a_batch_give_slices_of_the_result() {
    for json in [
        json!({"sum": ["ints"]}),
        json!({"get": ["map", "a"]}),
        json!({"get": ["v", -1]}),
        json!({"contains": ["ints", "i"]}),
        json!({"join": ["texts", "s"]}),
        json!({"eq": ["v", "floats"]}),
        json!({"max": ["sums"]}),
    ] {
        let compiled = compiled(json.clone());
        let data_type = compiled.data_type().unwrap();
        let whole = compiled.evaluate(&batch()).unwrap();
        for (from, len) in [(1, 3), (2, 1), (3, 1), (4, 0)] {
            let part = compiled.evaluate(&batch().slice(from, len)).unwrap();
            let cells =
                |a: &ArrayRef, from| (0..len).map(|r| cell(data_type, a, from + r)).collect::<Vec<Value>>();
            assert_eq!(cells(&part, 0), cells(&whole, from), "{json}");
        }
    }
}

#[test]
fn a_list_of_more_items_than_one_may_have_is_null() {
    let text = ",".repeat(10_000);
    let batch = RecordBatch::try_from_iter(vec![(
        "s",
        Arc::new(arrow::array::StringArray::from(vec![text.as_str(), &text[1..]])) as ArrayRef,
    )])
    .unwrap();
    let array = compiled(json!({"split": ["s", ","]})).evaluate(&batch).unwrap();
    assert!(array.is_null(0) && array.is_valid(1));
}
