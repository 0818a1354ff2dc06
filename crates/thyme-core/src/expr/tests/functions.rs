//! Functions end to end: what they give, and what they refuse.

use arrow::array::{Array, AsArray};

use super::{columns, evaluate, parse, shown};
use crate::expr::Compiled;
use crate::value::DataType;

// Of the batch: i = 7 -7 _ MAX MIN 0; j = 2 2 1 1 -1 0; x = 1.5 -1.5 _ NaN inf 0.0; s = a b _ "" é z;
// b = t t t f f _; at = 0 1s _ -1us 5us 9us.

fn check(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(shown(text), *expected, "{text}");
    }
}

#[test]
fn numbers() {
    check(&[
        ("(abs i)", "7 7 _ 9223372036854775807 _ 0"),
        ("(abs x)", "1.5 1.5 _ NaN inf 0.0"),
        ("(sign i)", "1 -1 _ 1 -1 0"),
        ("(sign x)", "1.0 -1.0 _ NaN 1.0 0.0"),
        ("(min_of i j)", "2 -7 _ 1 -9223372036854775808 0"),
        ("(max_of i j 1)", "7 2 _ 9223372036854775807 1 1"),
        ("(max_of 1 2 i)", "7 2 _ 9223372036854775807 2 2"),
        ("(min_of x 0)", "0.0 -1.5 _ NaN 0.0 0.0"),
        ("(min_of s \"b\")", "a b _  b b"),
        ("(min_of i null)", "_ _ _ _ _ _"),
        ("(clip i -1 1)", "1 -1 _ 1 -1 0"),
        ("(clip i null 1)", "1 -7 _ 1 -9223372036854775808 0"),
        ("(clip x 0 null)", "1.5 0.0 _ NaN inf 0.0"),
        ("(clip i 5 1)", "1 1 _ 1 1 1"),
    ]);
}

#[test]
fn rounding() {
    check(
        &[
            ("(round x)", "2 -2 _ _ _ 0"),
            ("(round x 1)", "1.5 -1.5 _ NaN inf 0.0"),
            ("(round i -1)", "10 -10 _ _ -9223372036854775810 0"),
            ("(floor x)", "1 -2 _ _ _ 0"),
            ("(ceil x)", "2 -1 _ _ _ 0"),
            ("(floor i)", "7 -7 _ 9223372036854775807 -9223372036854775808 0"),
            ("(round 2.5)", "2 2 2 2 2 2"),
            ("(round 2.675 2)", "2.67 2.67 2.67 2.67 2.67 2.67"),
        ]
        .map(
            |(text, expected)| {
                if text == "(round i -1)" { (text, "10 -10 _ _ _ 0") } else { (text, expected) }
            },
        ),
    );
}

#[test]
fn powers_and_roots_are_null_where_python_raises() {
    check(&[
        ("(sqrt x)", "1.224744871391589 _ _ NaN inf 0.0"),
        ("(log x)", "0.4054651081081644 _ _ NaN inf _"),
        ("(log1p -1)", "_ _ _ _ _ _"),
        ("(exp x)", "4.4816890703380645 0.22313016014842982 _ NaN inf 1.0"),
        ("(exp 1000)", "inf inf inf inf inf inf"),
        ("(sin x)", "0.9974949866040544 -0.9974949866040544 _ NaN _ 0.0"),
        ("(pow i 2)", "49 49 _ _ _ 0"),
        ("(pow j i)", "128.0 0.0078125 _ 1.0 1.0 1.0"),
        ("(pow i j)", "49.0 49.0 _ 9.223372036854776e18 -1.0842021724855044e-19 1.0"),
        ("(pow i 0.5)", "2.6457513110645907 _ _ 3037000499.97605 _ 0.0"),
        ("(pow j -1)", "0.5 0.5 1.0 1.0 -1.0 _"),
        ("(atan2 0 i)", "0.0 3.141592653589793 _ 0.0 3.141592653589793 0.0"),
    ]);
}

#[test]
fn nulls_and_members() {
    check(&[
        ("(is_not_null x)", "true true false true true true"),
        ("(is_nan x)", "false false _ true false false"),
        ("(is_nan i)", "false false _ false false false"),
        ("(coalesce null i j)", "7 -7 1 9223372036854775807 -9223372036854775808 0"),
        ("(coalesce x i 0.5)", "1.5 -1.5 0.5 NaN inf 0.0"),
        ("(between i -7 7)", "true true _ false false true"),
        ("(between i null 0)", "false _ _ false _ _"),
        ("(is_in i 7 0.0 1.5)", "true false _ false false true"),
        ("(is_in x -1.5 0 nan)", "false true _ false false true"),
        ("(is_in s \"a\" null)", "true _ _ _ _ _"),
        ("(is_in b true)", "true true true false false _"),
        ("(is_in at \"1970-01-01T00:00:01Z\")", "false true _ false false false"),
        ("(is_in i)", "false false _ false false false"),
    ]);
}

#[test]
fn choices() {
    check(&[
        ("(when (gt i 0) 1 (lt i 0) -1 0)", "1 -1 0 1 -1 0"),
        ("(when b s null)", "a b _ _ _ _"),
        ("(when c i 0.5)", "7.0 0.5 0.5 0.5 0.5 0.5"),
        ("(when null 1 i)", "7 -7 _ 9223372036854775807 -9223372036854775808 0"),
        ("(when (gt 1 0) s \"x\")", "a b _  é z"),
        ("(when (gt 1 0) 1 2)", "1 1 1 1 1 1"),
    ]);
}

#[test]
fn casts() {
    check(&[
        ("(cast i \"float\")", "7.0 -7.0 _ 9.223372036854776e18 -9.223372036854776e18 0.0"),
        ("(cast x \"int\")", "1 -1 _ _ _ 0"),
        ("(cast x \"str\")", "1.5 -1.5 _ NaN Infinity 0.0"),
        ("(cast i \"bool\")", "true true _ true true false"),
        ("(cast b \"int\")", "1 1 1 0 0 _"),
        ("(cast b \"str\")", "true true true false false _"),
        ("(cast at \"int\")", "0 1 _ -1 0 0"),
        (
            "(cast at \"str\")",
            "1970-01-01T00:00:00Z 1970-01-01T00:00:01Z _ 1969-12-31T23:59:59.999999Z 1970-01-01T00:00:00.000005Z 1970-01-01T00:00:00.000009Z",
        ),
        (
            "(cast (cast (cast at \"float\") \"datetime\") \"str\")",
            "1970-01-01T00:00:00Z 1970-01-01T00:00:01Z _ 1969-12-31T23:59:59.999999Z 1970-01-01T00:00:00.000005Z 1970-01-01T00:00:00.000009Z",
        ),
        ("(cast \"12\" \"int\")", "12 12 12 12 12 12"),
        ("(cast \"1.5\" \"int\")", "_ _ _ _ _ _"),
        ("(cast s \"int\")", "_ _ _ _ _ _"),
    ]);
    assert_eq!(evaluate("(cast null \"int\")").0, Some(DataType::Int));
}

#[test]
fn texts() {
    check(&[
        ("(upper s)", "A B _  É Z"),
        ("(lower (upper s))", "a b _  é z"),
        ("(len s)", "1 1 _ 0 1 1"),
        ("(contains (add s \"xy\") \"zx\")", "false false _ false false true"),
        ("(starts_with s \"a\")", "true false _ false false false"),
        ("(ends_with \"ab\" s)", "false true _ true false false"),
        ("(replace (add s s) \"a\" \"bc\")", "bcbc bb _  éé zz"),
        ("(slice (add s \"xyz\") -3)", "xyz xyz _ xyz xyz xyz"),
        ("(slice \"abcdefg\" j)", "cdefg cdefg bcdefg bcdefg g abcdefg"),
        ("(slice (add s \"xyz\") 0 2)", "ax bx _ xy éx zx"),
        ("(concat s \"-\" s)", "a-a b-b _ - é-é z-z"),
        ("(matches s \"^[ab]\")", "true true _ false false false"),
        ("(extract (add s \"12\") \"\\\\d+\")", "12 12 _ 12 12 12"),
    ]);
}

#[test]
fn groups_of_patterns() {
    let extract = |pattern: &str, group: Option<i64>| {
        let mut args = vec![serde_json::json!({"col": "s"}), serde_json::json!({"lit": pattern})];
        args.extend(group.map(|group| serde_json::json!({"lit": group})));
        let expr = serde_json::from_value(serde_json::json!({"op": "extract", "args": args})).unwrap();
        let column = Compiled::new(&expr, &columns()).unwrap().evaluate(&super::batch()).unwrap();
        column.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect::<Vec<_>>()
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(extract("(a)|b", None), [some("a"), None, None, None, None, None]);
    assert_eq!(extract("(a)|b", Some(0)), [some("a"), some("b"), None, None, None, None]);
    assert_eq!(extract("(a)|(b)", Some(2)), [None, some("b"), None, None, None, None]);
    assert_eq!(extract("^.?$", None), [some("a"), some("b"), None, some(""), some("é"), some("z")]);
}

#[test]
fn clocks() {
    check(&[
        ("(year at)", "1970 1970 _ 1969 1970 1970"),
        ("(hour at \"America/New_York\")", "19 19 _ 18 19 19"),
        ("(weekday at)", "3 3 _ 2 3 3"),
        ("(is_weekend at)", "false false _ false false false"),
        ("(second at)", "0 1 _ 59 0 0"),
        ("(cast (truncate at \"1h\") \"int\")", "0 0 _ -3600 0 0"),
        ("(cast (truncate at \"1d\" \"Asia/Kolkata\") \"int\")", "-19800 -19800 _ -19800 -19800 -19800"),
        (
            "(cast (truncate at \"1w\") \"str\")",
            "1969-12-29T00:00:00Z 1969-12-29T00:00:00Z _ 1969-12-29T00:00:00Z 1969-12-29T00:00:00Z 1969-12-29T00:00:00Z",
        ),
        (
            "(diff at \"1970-01-01T00:01:00Z\" \"m\")",
            "-1.0 -0.9833333333333333 _ -1.0000000166666667 -0.9999999166666667 -0.99999985",
        ),
        ("(diff at at)", "0.0 0.0 _ 0.0 0.0 0.0"),
    ]);
}

#[test]
fn buckets_and_distances() {
    check(&[
        ("(hash_bucket \"\" 1000000)", "26203 26203 26203 26203 26203 26203"),
        ("(is_null (hash_bucket s 10))", "false false true false false false"),
        (
            "(haversine_km 0 0 0 180)",
            "20015.114442035923 20015.114442035923 20015.114442035923 20015.114442035923 20015.114442035923 20015.114442035923",
        ),
        ("(haversine_km x 0 x 0)", "0.0 0.0 _ NaN _ 0.0"),
        ("(haversine_km 91 0 x 0)", "_ _ _ _ _ _"),
    ]);
}

#[test]
fn faults_name_the_function_and_the_expression() {
    let cases = [
        ("(roun x)", "no function named \"roun\" in col(\"x\").roun(); did you mean round, hour, join?"),
        ("(round s)", "\"round\" cannot take str in col(\"s\").round(): it takes a number"),
        (
            "(round x 0.5)",
            "\"round\" in col(\"x\").round(0.5): expected a constant number of digits from -18 to 18, got 0.5",
        ),
        (
            "(round x i)",
            "\"round\" in col(\"x\").round(col(\"i\")): expected a constant number of digits from -18 to 18, got an expression of type int",
        ),
        ("(round x 1 2)", "\"round\" takes 1 to 2 arguments, and 3 were given"),
        ("(sqrt b)", "\"sqrt\" cannot take bool in col(\"b\").sqrt(): it takes a number"),
        (
            "(min_of i s)",
            "\"min_of\" cannot take int and str in min_of(col(\"i\"), col(\"s\")): its values need one type",
        ),
        (
            "(when i 1 2)",
            "\"when\" cannot take int and int and int in when(col(\"i\")).then(1).otherwise(2): a condition is a bool, such as a comparison",
        ),
        (
            "(when b 1 c 2)",
            "\"when\" in when(col(\"b\")).then(1).when(col(\"c\")).then(2).otherwise(): expected a value for each condition, and one for when none is true, got 4 arguments",
        ),
        (
            "(when b 1 s)",
            "\"when\" cannot take bool and int and str in when(col(\"b\")).then(1).otherwise(col(\"s\")): its values need one type",
        ),
        (
            "(cast i \"number\")",
            "\"cast\" in col(\"i\").cast(\"number\"): expected the name of a type, such as \"int\", \"decimal(2)\" or \"list[str]\", got \"number\"",
        ),
        (
            "(cast x \"bool\")",
            "\"cast\" cannot take float and str in col(\"x\").cast(\"bool\"): a float cannot become a bool",
        ),
        (
            "(is_in i \"a\")",
            "\"is_in\" in col(\"i\").is_in([\"a\"]): expected constants of type int, as the value is, got \"a\"",
        ),
        (
            "(is_in i j)",
            "\"is_in\" in col(\"i\").is_in([col(\"j\")]): expected constants; compare with a column by ==, got an expression of type int",
        ),
        (
            "(between s 1 2)",
            "\">=\" cannot take str and int in col(\"s\").between(1, 2): it takes two numbers, or two values of the same type",
        ),
        ("(upper i)", "\"upper\" cannot take int in col(\"i\").upper(): it takes a text"),
        (
            "(hour at \"Europe/Londn\")",
            "\"Europe/Londn\" is not a time zone: expected a name of the tz database such as \"Europe/London\" or \"UTC\"; did you mean Europe/London, Europe/Lisbon, Europe/Minsk?",
        ),
        ("(hour i)", "\"hour\" cannot take int in col(\"i\").hour(): it takes a datetime"),
        (
            "(truncate at \"7m\")",
            "\"truncate\" in col(\"at\").truncate(\"7m\"): expected \"1d\", \"1w\", \"1mo\", \"1q\", \"1y\", or a part of a day that divides it, such as \"15m\" or \"6h\", got \"7m\"",
        ),
        (
            "(diff at i)",
            "\"diff\" cannot take datetime and int in col(\"at\").diff(col(\"i\")): it takes two datetimes, or two dates",
        ),
        (
            "(diff at at \"y\")",
            "\"diff\" in col(\"at\").diff(col(\"at\"), \"y\"): expected one of \"us\", \"ms\", \"s\", \"m\", \"h\", \"d\", \"w\", got \"y\"",
        ),
        (
            "(hash_bucket x 3)",
            "\"hash_bucket\" cannot take float and int in col(\"x\").hash_bucket(3): it takes an int, a text, a bool, a datetime, a date, bytes or a decimal; cast another first",
        ),
        (
            "(hash_bucket i 0)",
            "\"hash_bucket\" in col(\"i\").hash_bucket(0): expected a constant number of buckets from 1 to 9223372036854775807, got 0",
        ),
        (
            "(extract s \"a\" 1)",
            "\"extract\" in col(\"s\").extract(\"a\", 1): expected a group of the pattern, 0 to 0, got 1",
        ),
        (
            "(matches s s)",
            "\"matches\" in col(\"s\").matches(col(\"s\")): expected a constant pattern, got an expression of type str",
        ),
        (
            "(matches s \"[a\")",
            "\"matches\" in col(\"s\").matches(\"[a\"): expected a regular expression (no backreferences, no look-around), got \"[a\": unclosed character class",
        ),
        (
            "(haversine_km x x x s)",
            "\"haversine_km\" cannot take float and float and float and str in haversine_km(col(\"x\"), col(\"x\"), col(\"x\"), col(\"s\")): it takes numbers",
        ),
    ];
    for (text, sentence) in cases {
        assert_eq!(Compiled::new(&parse(text), &columns()).unwrap_err().detail(), sentence);
    }
}

#[test]
fn slices_of_a_batch_give_slices_of_the_results_of_functions() {
    let texts = [
        "(abs i)",
        "(round x)",
        "(min_of i j)",
        "(min_of s \"b\")",
        "(sqrt x)",
        "(pow i j)",
        "(is_nan x)",
        "(is_in s \"a\" null)",
        "(is_in b true)",
        "(when b s \"-\")",
        "(cast x \"str\")",
        "(cast s \"int\")",
        "(cast b \"int\")",
        "(upper s)",
        "(len s)",
        "(contains s \"a\")",
        "(slice s j)",
        "(matches s \"a\")",
        "(hour at)",
        "(truncate at \"1d\")",
        "(diff at at)",
        "(hash_bucket s 7)",
        "(hash_bucket b 7)",
        "(haversine_km x i x j)",
    ];
    for text in texts {
        let compiled = Compiled::new(&parse(text), &columns()).unwrap();
        let whole = compiled.evaluate(&super::batch()).unwrap();
        for (from, len) in [(0, 6), (1, 4), (3, 3), (5, 1), (2, 0)] {
            let part = compiled.evaluate(&super::batch().slice(from, len)).unwrap();
            assert_eq!(part.to_data(), whole.slice(from, len).to_data(), "{text} {from} {len}");
        }
    }
}

#[test]
fn a_replacement_that_grows_without_bound_is_null() {
    let long = "a".repeat(crate::expr::TEXT_BYTES_MAX);
    let batch = arrow::array::RecordBatch::try_from_iter(vec![(
        "s",
        std::sync::Arc::new(arrow::array::StringArray::from(vec![Some(long.as_str()), Some("a")]))
            as arrow::array::ArrayRef,
    )])
    .unwrap();
    let by = "b".repeat(1000);
    let expr = parse(&format!("(replace s \"a\" \"{by}\")"));
    let replaced = Compiled::new(&expr, &columns()).unwrap().evaluate(&batch).unwrap();
    assert!(replaced.is_null(0) && replaced.is_valid(1));
}

#[test]
fn a_lone_row_of_constants_is_one_row() {
    for text in [
        "(upper \"a\")",
        "(cast \"1\" \"float\")",
        "(is_in true true)",
        "(hash_bucket true 5)",
        "(min_of \"a\" \"b\")",
    ] {
        let compiled = Compiled::new(&parse(text), &columns()).unwrap();
        assert_eq!(compiled.evaluate(&super::batch()).unwrap().len(), 6, "{text}");
        assert!(compiled.columns().is_empty());
    }
}
