//! Every function of the registry, on arguments that it takes, inside others.

use proptest::prelude::*;
use thyme_core::expr::{Callee, Expr, Literal, LiteralValue, functions};

use super::{agree, rows};

/// What a function takes and gives: `n` a number, `i` an int, `s` a text, `b` a bool, `t` a datetime, `n2` a decimal of
/// scale 2, `d` a date, `y` bytes, lists of these with brackets, `m` a map of ints, `v` a vector, `j` JSON, `js` a text of
/// it; what is none of these is a JSON literal.
const CALLS: &[(&str, &[&str], &str)] = &[
    ("abs", &["n"], "n"),
    ("abs", &["i"], "i"),
    ("sign", &["n"], "n"),
    ("clip", &["n", "n", "n"], "n"),
    ("clip", &["i", "null", "i"], "i"),
    ("clip", &["t", "t", "null"], "t"),
    ("min_of", &["n", "n", "n"], "n"),
    ("min_of", &["s", "s"], "s"),
    ("max_of", &["i", "i"], "i"),
    ("max_of", &["n"], "n"),
    ("max_of", &["t", "t"], "t"),
    ("round", &["n"], "i"),
    ("round", &["n", "1"], "n"),
    ("round", &["n", "-2"], "n"),
    ("round", &["i", "-17"], "i"),
    ("round", &["n", "17"], "n"),
    ("floor", &["n"], "i"),
    ("ceil", &["n"], "i"),
    ("sqrt", &["n"], "n"),
    ("cbrt", &["n"], "n"),
    ("exp", &["n"], "n"),
    ("expm1", &["n"], "n"),
    ("log", &["n"], "n"),
    ("log2", &["n"], "n"),
    ("log10", &["n"], "n"),
    ("log1p", &["n"], "n"),
    ("sin", &["n"], "n"),
    ("cos", &["n"], "n"),
    ("tan", &["n"], "n"),
    ("asin", &["n"], "n"),
    ("acos", &["n"], "n"),
    ("atan", &["n"], "n"),
    ("tanh", &["n"], "n"),
    ("atan2", &["n", "n"], "n"),
    ("pow", &["n", "n"], "n"),
    ("pow", &["i", "3"], "i"),
    ("pow", &["i", "0"], "i"),
    ("pow", &["n", "-1"], "n"),
    ("is_not_null", &["n"], "b"),
    ("is_not_null", &["s"], "b"),
    ("is_nan", &["n"], "b"),
    ("coalesce", &["n", "n", "n"], "n"),
    ("coalesce", &["s", "s"], "s"),
    ("between", &["n", "n", "n"], "b"),
    ("between", &["t", "\"1970-01-01T00:00:00Z\"", "t"], "b"),
    ("is_in", &["n", "0", "1.5", "-7", "9.3e18"], "b"),
    ("is_in", &["s", "\"a\"", "null"], "b"),
    ("is_in", &["b", "true"], "b"),
    ("is_in", &["t", "\"1970-01-01T00:00:01Z\""], "b"),
    ("when", &["b", "n", "n"], "n"),
    ("when", &["b", "s", "b", "null", "s"], "s"),
    ("when", &["b", "t", "null"], "t"),
    ("cast", &["n", "\"int\""], "i"),
    ("cast", &["i", "\"float\""], "n"),
    ("cast", &["n", "\"str\""], "s"),
    ("cast", &["t", "\"str\""], "s"),
    ("cast", &["b", "\"str\""], "s"),
    ("cast", &["i", "\"bool\""], "b"),
    ("cast", &["s", "\"bool\""], "b"),
    ("cast", &["s", "\"int\""], "i"),
    ("cast", &["s", "\"float\""], "n"),
    ("cast", &["s", "\"datetime\""], "t"),
    ("cast", &["t", "\"int\""], "i"),
    ("cast", &["t", "\"float\""], "n"),
    ("cast", &["i", "\"datetime\""], "t"),
    ("cast", &["n", "\"datetime\""], "t"),
    ("cast", &["b", "\"int\""], "i"),
    ("cast", &["b", "\"float\""], "n"),
    ("lower", &["s"], "s"),
    ("upper", &["s"], "s"),
    ("strip", &["s"], "s"),
    ("len", &["s"], "i"),
    ("contains", &["s", "s"], "b"),
    ("starts_with", &["s", "s"], "b"),
    ("ends_with", &["s", "s"], "b"),
    ("replace", &["s", "s", "s"], "s"),
    ("slice", &["s", "i"], "s"),
    ("slice", &["s", "1", "i"], "s"),
    ("slice", &["s", "-2", "null"], "s"),
    ("concat", &["s", "s", "s"], "s"),
    ("matches", &["s", "\"^[a-c]\""], "b"),
    ("extract", &["s", "\"(a)|b\""], "s"),
    ("extract", &["s", "\"[0-9]+\"", "0"], "s"),
    ("year", &["t"], "i"),
    ("month", &["t", "\"America/St_Johns\""], "i"),
    ("day", &["t", "\"Pacific/Apia\""], "i"),
    ("hour", &["t", "\"Europe/London\""], "i"),
    ("minute", &["t", "\"Asia/Kathmandu\""], "i"),
    ("second", &["t"], "i"),
    ("weekday", &["t", "\"Europe/London\""], "i"),
    ("is_weekend", &["t", "\"Australia/Lord_Howe\""], "b"),
    ("truncate", &["t", "\"15m\""], "t"),
    ("truncate", &["t", "\"6h\"", "\"Asia/Kolkata\""], "t"),
    ("truncate", &["t", "\"1d\"", "\"America/St_Johns\""], "t"),
    ("truncate", &["t", "\"1w\"", "\"Europe/London\""], "t"),
    ("truncate", &["t", "\"1mo\"", "\"America/Sao_Paulo\""], "t"),
    ("truncate", &["t", "\"1q\""], "t"),
    ("truncate", &["t", "\"1y\"", "\"Pacific/Apia\""], "t"),
    ("diff", &["t", "t"], "n"),
    ("diff", &["t", "\"1970-01-01T00:00:00Z\"", "\"w\""], "n"),
    ("diff", &["t", "t", "\"us\""], "n"),
    ("hash_bucket", &["i", "10"], "i"),
    ("hash_bucket", &["s", "1000"], "i"),
    ("hash_bucket", &["b", "7"], "i"),
    ("hash_bucket", &["t", "9223372036854775807"], "i"),
    ("len", &["[i]"], "i"),
    ("len", &["m"], "i"),
    ("len", &["v"], "i"),
    ("contains", &["[i]", "n"], "b"),
    ("contains", &["[n]", "i"], "b"),
    ("contains", &["[s]", "s"], "b"),
    ("contains", &["[t]", "t"], "b"),
    ("contains", &["m", "s"], "b"),
    ("contains", &["v", "n"], "b"),
    ("get", &["[i]", "i"], "i"),
    ("get", &["[s]", "-1"], "s"),
    ("get", &["[n2]", "0"], "n2"),
    ("get", &["m", "s"], "i"),
    ("get", &["v", "i"], "n"),
    ("first", &["[t]"], "t"),
    ("last", &["[n]"], "n"),
    ("last", &["v"], "n"),
    ("sum", &["[i]"], "i"),
    ("sum", &["[n]"], "n"),
    ("sum", &["[n2]"], "n2"),
    ("sum", &["v"], "n"),
    ("min", &["[i]"], "i"),
    ("min", &["[n]"], "n"),
    ("max", &["[s]"], "s"),
    ("max", &["[t]"], "t"),
    ("min", &["[n2]"], "n2"),
    ("max", &["v"], "n"),
    ("split", &["s", "s"], "[s]"),
    ("split", &["s", "\"a\""], "[s]"),
    ("join", &["[s]", "s"], "s"),
    ("coalesce", &["[i]", "[i]", "[]"], "[i]"),
    ("coalesce", &["[n]", "[i]"], "[n]"),
    ("coalesce", &["m", "{\"b\":1,\"a\":null}"], "m"),
    ("when", &["b", "v", "[1.5,2]"], "v"),
    ("when", &["b", "[s]", "null"], "[s]"),
    ("fill_null", &["[n2]", "[0.5,null]"], "[n2]"),
    ("eq", &["[i]", "[n]"], "b"),
    ("ne", &["[s]", "[s]"], "b"),
    ("eq", &["v", "v"], "b"),
    ("eq", &["m", "{}"], "b"),
    ("is_not_null", &["m"], "b"),
    ("dot", &["v", "v"], "n"),
    ("dot", &["v", "[2,0.5]"], "n"),
    ("cosine", &["v", "v"], "n"),
    ("l2", &["v", "v"], "n"),
    ("json_extract", &["j", "\"a\""], "j"),
    ("json_extract", &["j", "\"a.b[0]\"", "\"int\""], "i"),
    ("json_extract", &["j", "\"a[-1]\"", "\"float\""], "n"),
    ("json_extract", &["j", "\"b\"", "\"str\""], "s"),
    ("json_extract", &["j", r#""["a b"].b""#, "\"bool\""], "b"),
    ("json_extract", &["js", "\"a\"", "\"decimal(2)\""], "n2"),
    ("json_extract", &["js", "\"a\""], "j"),
    ("json_extract", &["js", "\"[1]\"", "\"list[int]\""], "[i]"),
    ("json_extract", &["js", "\"b\"", "\"datetime\""], "t"),
    ("json_extract", &["s", "\"a\"", "\"str\""], "s"),
    ("cast", &["js", "\"json\""], "j"),
    ("cast", &["j", "\"str\""], "s"),
    ("cast", &["j", "\"int\""], "i"),
    ("cast", &["j", "\"decimal(2)\""], "n2"),
    ("cast", &["j", "\"list[int]\""], "[i]"),
    ("cast", &["[n]", "\"json\""], "j"),
    ("cast", &["m", "\"json\""], "j"),
    ("cast", &["v", "\"json\""], "j"),
    ("cast", &["s", "\"json\""], "j"),
    ("cast", &["[n]", "\"list[int]\""], "[i]"),
    ("cast", &["[i]", "\"list[float]\""], "[n]"),
    ("cast", &["[n2]", "\"list[str]\""], "[s]"),
    ("cast", &["[s]", "\"list[datetime]\""], "[t]"),
    ("cast", &["[i]", "\"vector[2]\""], "v"),
    ("cast", &["v", "\"list[int]\""], "[i]"),
    ("cast", &["m", "\"dict[str, int]\""], "m"),
    ("cast", &["n", "\"decimal(2)\""], "n2"),
    ("cast", &["s", "\"decimal(2)\""], "n2"),
    ("cast", &["n2", "\"decimal(2)\""], "n2"),
    ("cast", &["n2", "\"int\""], "i"),
    ("cast", &["n2", "\"float\""], "n"),
    ("cast", &["n2", "\"str\""], "s"),
    ("cast", &["n2", "\"bool\""], "b"),
    ("cast", &["n4", "\"decimal(2)\""], "n2"),
    ("cast", &["n2", "\"decimal(4)\""], "n4"),
    ("cast", &["t", "\"date\""], "d"),
    ("cast", &["s", "\"date\""], "d"),
    ("cast", &["d", "\"datetime\""], "t"),
    ("cast", &["d", "\"str\""], "s"),
    ("cast", &["s", "\"bytes\""], "y"),
    ("cast", &["y", "\"str\""], "s"),
    ("len", &["y"], "i"),
    ("eq", &["j", "j"], "b"),
    ("coalesce", &["d", "d"], "d"),
    ("coalesce", &["d", "\"2026-03-15\""], "d"),
    ("between", &["d", "\"1970-01-01\"", "d"], "b"),
    ("is_in", &["d", "\"1970-01-02\"", "null"], "b"),
    ("is_in", &["n2", "0.5", "-1"], "b"),
    ("lt", &["n2", "n2"], "b"),
    ("add", &["n2", "n4"], "n4"),
    ("sub", &["n4", "i"], "n4"),
    ("sub", &["n2", "n2"], "n2"),
    ("mul", &["n2", "n2"], "n4"),
    ("mul", &["n2", "0.25"], "n4"),
    ("div", &["n2", "n4"], "n"),
    ("div", &["i", "n2"], "n"),
    ("floor_div", &["n2", "n4"], "n0"),
    ("mod", &["n4", "n2"], "n4"),
    ("mod", &["n2", "i"], "n2"),
    ("neg", &["n2"], "n2"),
    ("eq", &["n2", "n4"], "b"),
    ("lt", &["n4", "n2"], "b"),
    ("ge", &["n2", "i"], "b"),
    ("le", &["i", "n2"], "b"),
    ("gt", &["n2", "0.5"], "b"),
    ("cast", &["n0", "\"str\""], "s"),
    ("abs", &["n2"], "n2"),
    ("sign", &["n2"], "n2"),
    ("round", &["n2"], "i"),
    ("round", &["n4", "1"], "n4"),
    ("round", &["n2", "-2"], "n2"),
    ("round", &["n2", "5"], "n2"),
    ("floor", &["n4"], "i"),
    ("ceil", &["n4"], "i"),
    ("min_of", &["n2", "n4", "i"], "n4"),
    ("max_of", &["d", "d"], "d"),
    ("clip", &["n2", "0.5", "n2"], "n2"),
    ("clip", &["d", "null", "d"], "d"),
    ("coalesce", &["n2", "n4"], "n4"),
    ("fill_null", &["n2", "1.5"], "n2"),
    ("fill_null", &["n2", "i"], "n2"),
    ("when", &["b", "n2", "n4"], "n4"),
    ("contains", &["[n2]", "i"], "b"),
    ("contains", &["[n2]", "n4"], "b"),
    ("between", &["n4", "n2", "i"], "b"),
    ("date", &["t"], "d"),
    ("date", &["t", "\"Pacific/Apia\""], "d"),
    ("year", &["d"], "i"),
    ("month", &["d"], "i"),
    ("day", &["d"], "i"),
    ("weekday", &["d"], "i"),
    ("is_weekend", &["d"], "b"),
    ("truncate", &["d", "\"1w\""], "d"),
    ("truncate", &["d", "\"1q\""], "d"),
    ("diff", &["d", "d", "\"d\""], "n"),
    ("diff", &["d", "\"2026-03-15\""], "n"),
    ("hash_bucket", &["d", "10"], "i"),
    ("hash_bucket", &["y", "10"], "i"),
    ("hash_bucket", &["n2", "1000"], "i"),
    ("haversine_km", &["n", "n", "n", "n"], "n"),
];

fn literal(json: &str) -> Expr {
    let lit = match json {
        "null" => LiteralValue::Null,
        "true" => LiteralValue::Bool(true),
        nested if nested.starts_with(['[', '{']) => {
            LiteralValue::Nested(serde_json::from_str(nested).unwrap())
        }
        text if text.starts_with('"') => LiteralValue::Str(text[1..text.len() - 1].to_owned()),
        number => match number.parse() {
            Ok(int) => LiteralValue::Int(int),
            Err(_) => LiteralValue::Float(number.parse().unwrap()),
        },
    };
    Expr::Literal(Literal { lit, data_type: None })
}

/// A column or a constant of a kind.
fn leaf(kind: &'static str) -> BoxedStrategy<Expr> {
    let column = |names: &'static [&'static str]| {
        prop::sample::select(names).prop_map(|name| Expr::Column { col: name.to_owned() })
    };
    let constant = |texts: &'static [&'static str]| prop::sample::select(texts).prop_map(literal);
    match kind {
        "n" => prop_oneof![
            5 => column(&["i", "j", "x", "y"]),
            2 => constant(&["0", "-1", "0.5", "2.675", "-90.5", "1e300", "1250"]),
            1 => super::int().prop_map(|v| literal(&v.to_string())),
        ]
        .boxed(),
        "i" => prop_oneof![5 => column(&["i", "j"]), 1 => constant(&["-3", "0", "2", "1773568800"])].boxed(),
        "s" => prop_oneof![
            4 => column(&["s"]),
            3 => constant(&["\"\"", "\"a\"", "\" B é\"", "\"12\"", "\"-1.5e3\"", "\"true\"", "\"2026-03-29T01:30:00Z\"", "\"ß\""]),
        ]
        .boxed(),
        "b" => prop_oneof![4 => column(&["b"]), 1 => constant(&["true", "null"])].boxed(),
        "[i]" => column(&["is"]).boxed(),
        "[n]" => column(&["xs"]).boxed(),
        "[s]" => column(&["ss"]).boxed(),
        "[t]" => column(&["ts"]).boxed(),
        "[n2]" => column(&["ds"]).boxed(),
        "m" => column(&["im"]).boxed(),
        "v" => column(&["v", "w"]).boxed(),
        "j" => column(&["note"]).boxed(),
        "js" => constant(&[
            r#""{"a": 12.50, "b": "2026-03-15T10:00:00Z"}""#,
            r#""[0, [1, null, 2]]""#,
            r#""{"a": 9223372036854775808, "a": 7}""#,
            r#""{"a": [1, }""#,
            r#""{"a": "0.30", "b": null}""#,
        ])
        .boxed(),
        "n2" => prop_oneof![3 => column(&["amount"]), 1 => column(&["ds"]).prop_map(|list| call("first", vec![list]))].boxed(),
        "n4" => column(&["rate"]).boxed(),
        "n0" => leaf("n2").prop_map(|n| call("cast", vec![n, literal("\"decimal(0)\"")])).boxed(),
        "d" => column(&["day"]).boxed(),
        "y" => column(&["raw"]).boxed(),
        _ => prop_oneof![
            2 => column(&["at"]),
            3 => (0..4_000_000_000i64).prop_map(|seconds| call("cast", vec![literal(&(seconds - 1_000_000_000).to_string()), literal("\"datetime\"")])),
            2 => prop::sample::select(vec![
                "\"2006-10-29T02:30:30Z\"", "\"2006-10-29T02:31:00Z\"", "\"2011-12-30T09:59:59.999999Z\"", "\"2011-12-30T10:00:00Z\"",
                "\"2018-11-04T03:00:00Z\"", "\"2026-03-29T00:59:59Z\"", "\"2026-10-25T01:00:00Z\"",
            ]).prop_map(|text| call("cast", vec![literal(text), literal("\"datetime\"")])),
        ]
        .boxed(),
    }
}

fn call(name: &str, args: Vec<Expr>) -> Expr {
    Expr::Call { op: Callee::named(name), args }
}

fn kind(kind: &'static str, depth: usize) -> BoxedStrategy<Expr> {
    let calls: Vec<_> = CALLS.iter().filter(|(_, _, gives)| *gives == kind).collect();
    if depth == 0 || calls.is_empty() {
        return leaf(kind);
    }
    let calls =
        prop::sample::select(calls).prop_flat_map(move |(name, takes, _)| a_call(name, takes, depth - 1));
    prop_oneof![1 => leaf(kind), 2 => calls].boxed()
}

fn a_call(name: &'static str, takes: &'static [&'static str], depth: usize) -> BoxedStrategy<Expr> {
    let args: Vec<BoxedStrategy<Expr>> = takes
        .iter()
        .map(|take| match *take {
            "[]" => Just(literal("[]")).boxed(),
            take if CALLS.iter().any(|(_, _, gives)| *gives == take)
                || ["[t]", "js", "y"].contains(&take) =>
            {
                kind(take, depth)
            }
            constant => Just(literal(constant)).boxed(),
        })
        .collect();
    args.prop_map(move |args| call(name, args)).boxed()
}

#[test]
fn every_function_is_drawn() {
    for function in functions::all() {
        assert!(CALLS.iter().any(|(name, ..)| *name == function.name), "{function:?} is not in the list");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn functions_over_a_batch_and_a_row_at_a_time_give_the_same(
        expr in prop::sample::select(CALLS).prop_flat_map(|(name, takes, _)| a_call(name, takes, 2)),
        rows in rows(),
    ) {
        agree(&expr, &rows)?;
    }
}
