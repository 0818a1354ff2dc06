//! Expressions end to end: from JSON to columns.

mod constants;
mod converted;
mod exact;
mod functions;
mod nested;

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};

use super::{Compiled, Expr, Operator};
use crate::value::DataType;

fn columns() -> Vec<(String, DataType)> {
    use DataType::{Bool, Datetime, Float, Int, Str};
    let types = [
        ("i", Int),
        ("j", Int),
        ("x", Float),
        ("y", Float),
        ("s", Str),
        ("b", Bool),
        ("c", Bool),
        ("at", Datetime),
    ];
    types.map(|(name, data_type)| (name.to_owned(), data_type)).to_vec()
}

fn batch() -> RecordBatch {
    let nan = crate::value::NAN;
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "i",
            Arc::new(Int64Array::from(vec![
                Some(7),
                Some(-7),
                None,
                Some(i64::MAX),
                Some(i64::MIN),
                Some(0),
            ])),
        ),
        ("j", Arc::new(Int64Array::from(vec![Some(2), Some(2), Some(1), Some(1), Some(-1), Some(0)]))),
        (
            "x",
            Arc::new(Float64Array::from(vec![
                Some(1.5),
                Some(-1.5),
                None,
                Some(nan),
                Some(f64::INFINITY),
                Some(0.0),
            ])),
        ),
        (
            "y",
            Arc::new(Float64Array::from(vec![Some(0.5), Some(0.0), Some(2.0), Some(nan), Some(-2.0), None])),
        ),
        ("s", Arc::new(StringArray::from(vec![Some("a"), Some("b"), None, Some(""), Some("é"), Some("z")]))),
        (
            "b",
            Arc::new(BooleanArray::from(vec![
                Some(true),
                Some(true),
                Some(true),
                Some(false),
                Some(false),
                None,
            ])),
        ),
        ("c", Arc::new(BooleanArray::from(vec![Some(true), Some(false), None, Some(false), None, None]))),
        (
            "at",
            Arc::new(
                TimestampMicrosecondArray::from(vec![
                    Some(0),
                    Some(1_000_000),
                    None,
                    Some(-1),
                    Some(5),
                    Some(9),
                ])
                .with_timezone("UTC"),
            ),
        ),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// Reads `(add i (lit 5))`, or `col`, or JSON literals, into an expression.
fn parse(text: &str) -> Expr {
    fn tokens(text: &str) -> Vec<String> {
        text.replace('(', " ( ").replace(')', " ) ").split_whitespace().map(str::to_owned).collect()
    }
    fn next(tokens: &mut std::vec::IntoIter<String>) -> Option<serde_json::Value> {
        let token = tokens.next()?;
        Some(match token.as_str() {
            ")" => return None,
            "(" => {
                let op = tokens.next()?;
                let args: Vec<_> = std::iter::from_fn(|| next(tokens)).collect();
                serde_json::json!({"op": op, "args": args})
            }
            name if columns().iter().any(|(c, _)| c == name) => serde_json::json!({"col": name}),
            "nan" => serde_json::json!({"lit": "NaN", "type": "float"}),
            "-inf" => serde_json::json!({"lit": "-Infinity", "type": "float"}),
            literal => match serde_json::from_str::<serde_json::Value>(literal) {
                Ok(value) => serde_json::json!({"lit": value}),
                Err(_) => serde_json::json!({"col": literal}),
            },
        })
    }
    serde_json::from_value(next(&mut tokens(text).into_iter()).unwrap()).unwrap()
}

fn evaluate(text: &str) -> (Option<DataType>, ArrayRef) {
    let compiled = Compiled::new(&parse(text), &columns()).unwrap();
    (compiled.data_type(), compiled.evaluate(&batch()).unwrap())
}

fn shown(text: &str) -> String {
    let (_, array) = evaluate(text);
    let options = arrow::util::display::FormatOptions::new().with_null("_");
    let format = arrow::util::display::ArrayFormatter::try_new(&array, &options).unwrap();
    (0..array.len()).map(|i| format.value(i).to_string()).collect::<Vec<_>>().join(" ")
}

#[test]
fn operators_give_what_python_gives_and_null_where_it_raises() {
    let cases = [
        ("(add i 1)", "8 -6 _ _ -9223372036854775807 1"),
        ("(sub i j)", "5 -9 _ 9223372036854775806 -9223372036854775807 0"),
        ("(mul i 2)", "14 -14 _ _ _ 0"),
        ("(floor_div i j)", "3 -4 _ 9223372036854775807 _ _"),
        ("(mod i j)", "1 1 _ 0 0 _"),
        ("(div i j)", "3.5 -3.5 _ 9.223372036854776e18 9.223372036854776e18 _"),
        ("(div 1 j)", "0.5 0.5 1.0 1.0 -1.0 _"),
        ("(neg i)", "-7 7 _ -9223372036854775807 _ 0"),
        ("(neg x)", "-1.5 1.5 _ NaN -inf 0.0"),
        ("(add i 0.5)", "7.5 -6.5 _ 9.223372036854776e18 -9.223372036854776e18 0.5"),
        ("(mul x 0)", "0.0 0.0 _ NaN NaN 0.0"),
        ("(div x y)", "3.0 _ _ NaN -inf _"),
        ("(floor_div x y)", "3.0 _ _ NaN NaN _"),
        ("(mod x -2)", "-0.5 -1.5 _ NaN NaN 0.0"),
        ("(div 0 0)", "_ _ _ _ _ _"),
        ("(add i null)", "_ _ _ _ _ _"),
        ("(add s \"!\")", "a! b! _ ! é! z!"),
        ("(add \"-\" (add s s))", "-aa -bb _ - -éé -zz"),
        ("(gt i j)", "true false _ true false false"),
        ("(lt i 0.5)", "false true _ false true true"),
        ("(ge 0.5 i)", "false true _ false true true"),
        ("(eq x x)", "true true _ false true true"),
        ("(ne x x)", "false false _ true false false"),
        ("(lt x nan)", "false false _ false false false"),
        ("(eq i x)", "false false _ false false true"),
        ("(le s \"b\")", "true true _ true false false"),
        ("(eq b c)", "true false _ true _ _"),
        ("(gt at \"1970-01-01T00:00:00Z\")", "false true _ false true true"),
        ("(eq i null)", "_ _ _ _ _ _"),
        ("(and b c)", "true false _ false false _"),
        ("(or b c)", "true true true false _ _"),
        ("(not c)", "false true _ true _ _"),
        ("(and b null)", "_ _ _ false false _"),
        ("(or null b)", "true true true _ _ _"),
        ("(and b true)", "true true true false false _"),
        ("(or b true)", "true true true true true true"),
        ("(is_null x)", "false false true false false false"),
        ("(is_null null)", "true true true true true true"),
        ("(fill_null i 3)", "7 -7 3 9223372036854775807 -9223372036854775808 0"),
        ("(fill_null i 0.5)", "7.0 -7.0 0.5 9.223372036854776e18 -9.223372036854776e18 0.0"),
        ("(fill_null x j)", "1.5 -1.5 1.0 NaN inf 0.0"),
        ("(fill_null s \"?\")", "a b ?  é z"),
        ("(fill_null x null)", "1.5 -1.5 _ NaN inf 0.0"),
        ("(fill_null null i)", "7 -7 _ 9223372036854775807 -9223372036854775808 0"),
        ("(fill_null (is_null i) b)", "false false true false false false"),
        ("-inf", "-inf -inf -inf -inf -inf -inf"),
        ("(add 1 2)", "3 3 3 3 3 3"),
    ];
    for (text, expected) in cases {
        assert_eq!(shown(text), expected, "{text}");
    }
}

#[test]
fn types_follow_the_operators() {
    use DataType::{Bool, Float, Int, Str};
    let cases = [
        ("(add i j)", Some(Int)),
        ("(add i x)", Some(Float)),
        ("(div i j)", Some(Float)),
        ("(div i null)", Some(Float)),
        ("(add null s)", Some(Str)),
        ("(eq null null)", Some(Bool)),
        ("(fill_null i 1.0)", Some(Float)),
        ("null", None),
        ("(neg null)", None),
    ];
    for (text, data_type) in cases {
        let (given, array) = evaluate(text);
        assert_eq!(given, data_type, "{text}");
        if let Some(data_type) = data_type {
            assert_eq!(array.data_type(), &data_type.arrow(), "{text}");
        }
    }
}

#[test]
fn faults_name_the_column_the_operator_and_the_types() {
    let cases = [
        ("(gt fare 0)", "no column named \"fare\"; the columns are i, j, x, y, s, b, c, at"),
        ("(gt att 0)", "no column named \"att\"; did you mean at?"),
        ("(add s 1)", "\"+\" cannot take str and int in col(\"s\") + 1: it takes two numbers or two texts"),
        ("(add b 1)", "\"+\" cannot take bool and int in col(\"b\") + 1: a bool is not a number"),
        ("(mul s s)", "\"*\" cannot take str and str in col(\"s\") * col(\"s\"): it takes two numbers"),
        (
            "(sub at at)",
            "\"-\" cannot take datetime and datetime in col(\"at\") - col(\"at\"): the time between two datetimes is col(\"a\").diff(col(\"b\"), \"s\")",
        ),
        ("(neg s)", "\"-\" cannot take str in -col(\"s\"): it takes a number"),
        (
            "(eq i s)",
            "\"==\" cannot take int and str in col(\"i\") == col(\"s\"): it takes two numbers, or two values of the same type",
        ),
        ("(eq b 1)", "\"==\" cannot take bool and int in col(\"b\") == 1: a bool is not a number"),
        (
            "(gt at 1)",
            "\">\" cannot take datetime and int in col(\"at\") > 1: compare a datetime with a datetime, or with a text such as \"2026-03-15T10:00:00Z\"",
        ),
        ("(not i)", "\"~\" cannot take int in ~col(\"i\"): it takes a bool, such as a comparison"),
        (
            "(fill_null i \"a\")",
            "\"fill_null\" cannot take int and str in col(\"i\").fill_null(\"a\"): both need the same type",
        ),
        ("(add i)", "\"+\" takes 2 arguments, and 1 were given"),
        ("(is_null i j)", "\"is_null\" takes 1 argument, and 2 were given"),
    ];
    for (text, sentence) in cases {
        assert_eq!(Compiled::new(&parse(text), &columns()).unwrap_err().detail(), sentence);
    }
    let time = Compiled::new(&parse("(gt at \"yesterday\")"), &columns()).unwrap_err();
    assert!(time.detail().starts_with("\"yesterday\" is not a time"), "{time}");
    let literal: Expr = serde_json::from_str(r#"{"lit": 2.5, "type": "int"}"#).unwrap();
    assert_eq!(
        Compiled::new(&literal, &[]).unwrap_err().detail(),
        "2.5 is of type float where int is declared"
    );
}

#[test]
fn a_tree_deeper_than_the_limit_is_refused() {
    let nest = |levels: usize| {
        (0..levels).fold(Expr::Column { col: "i".into() }, |e, _| Expr::Call {
            op: Operator::Neg.into(),
            args: vec![e],
        })
    };
    assert!(Compiled::new(&nest(200), &columns()).is_ok());
    assert!(Compiled::new(&nest(201), &columns()).unwrap_err().detail().contains("deeper than 200"));
}

#[test]
fn a_mask_takes_null_for_false() {
    let mask = |text: &str| {
        let mask = Compiled::new(&parse(text), &columns()).unwrap().evaluate_mask(&batch()).unwrap();
        mask.iter().map(u8::from).collect::<Vec<_>>()
    };
    assert_eq!(mask("(gt i j)"), [1, 0, 0, 1, 0, 0]);
    assert_eq!(mask("b"), [1, 1, 1, 0, 0, 0]);
    assert_eq!(mask("null"), [0; 6]);
    assert_eq!(mask("(eq 1 1)"), [1; 6]);
    let number = Compiled::new(&parse("i"), &columns()).unwrap();
    assert!(number.evaluate_mask(&batch()).is_err());
}

#[test]
fn slices_of_a_batch_give_slices_of_the_result() {
    let texts = [
        "(add i j)",
        "(div i j)",
        "(gt x i)",
        "(add s s)",
        "(fill_null x j)",
        "(and b c)",
        "(neg x)",
        "(eq s \"a\")",
    ];
    for text in texts {
        let compiled = Compiled::new(&parse(text), &columns()).unwrap();
        let whole = compiled.evaluate(&batch()).unwrap();
        for (from, len) in [(0, 6), (1, 4), (3, 3), (5, 1), (2, 0)] {
            let part = compiled.evaluate(&batch().slice(from, len)).unwrap();
            assert_eq!(part.to_data(), whole.slice(from, len).to_data(), "{text} {from} {len}");
        }
    }
}

#[test]
fn columns_read_are_listed_once() {
    let compiled = Compiled::new(&parse("(and (gt i j) (lt (add x i) 2))"), &columns()).unwrap();
    assert_eq!(compiled.columns(), ["i", "j", "x"]);
}

#[test]
fn a_text_longer_than_the_limit_is_null() {
    let long = "a".repeat(super::TEXT_BYTES_MAX);
    let batch = RecordBatch::try_from_iter(vec![(
        "s",
        Arc::new(StringArray::from(vec![Some(long.as_str()), Some("b"), None])) as ArrayRef,
    )])
    .unwrap();
    let array = Compiled::new(&parse("(add s \"c\")"), &columns()).unwrap().evaluate(&batch).unwrap();
    let texts: Vec<_> = array.as_string::<i32>().iter().collect();
    assert_eq!(texts, [None, Some("bc"), None]);
}

#[test]
fn a_batch_of_other_columns_is_an_error() {
    let compiled = Compiled::new(&parse("(add i 1)"), &columns()).unwrap();
    let other =
        RecordBatch::try_from_iter(vec![("i", Arc::new(StringArray::from(vec!["a"])) as ArrayRef)]).unwrap();
    assert!(compiled.evaluate(&other).unwrap_err().detail().contains("reads it as int"));
    let compiled = Compiled::new(&parse("(add j 1)"), &columns()).unwrap();
    assert!(compiled.evaluate(&other).unwrap_err().detail().contains("no column \"j\""));
}
