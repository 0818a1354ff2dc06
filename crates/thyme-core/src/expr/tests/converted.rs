//! Casts to and from types with parts, what JSON has at a path, and how alike vectors are.

use serde_json::json;

use super::nested::{check, parse, types};
use crate::expr::Compiled;

// Of the columns: v = [3,4] [0,0] _ [1,inf]; w = [4,3] [1,1] [1,1] [0,1]; note = {"a":[1,2.5,"x"]} [] _ {"a":{"b":true}};
// texts = [b,a] [] [_,"",é] _; i = 0 -1 1 _.

#[test]
fn vectors_are_compared_in_a_fixed_order() {
    check(vec![
        (json!({"dot": ["v", "w"]}), ["24.0", "0.0", "null", "inf"]),
        (json!({"cosine": ["v", "w"]}), ["0.96", "null", "null", "NaN"]),
        (json!({"cosine": ["w", "w"]}), ["1.0", "1.0", "1.0", "1.0"]),
        (json!({"l2": ["v", "w"]}), ["1.4142135623730951", "1.4142135623730951", "null", "inf"]),
        (json!({"l2": ["v", [0, 0]]}), ["5.0", "0.0", "null", "inf"]),
        (json!({"dot": ["v", null]}), ["null", "null", "null", "null"]),
        (json!({"dot": [{"cast": ["floats", "vector[2]"]}, "w"]}), ["-2.5", "NaN", "null", "null"]),
    ]);
}

#[test]
fn json_has_values_at_paths() {
    let text = "{\"a\": 9223372036854775808, \"b\": [0.10, \"7\", null], \"c\": \"2026-03-15\"}";
    let of_text = |path: &str, to: &str| json!({"json_extract": [text, path, to]});
    let all = |value| [value; 4];
    check(vec![
        (json!({"json_extract": ["note", "a"]}), ["[1,2.5,\"x\"]", "null", "null", "{\"b\":true}"]),
        (json!({"json_extract": ["note", "a[0]", "int"]}), ["1", "null", "null", "null"]),
        (json!({"json_extract": ["note", "a[-1]", "str"]}), ["\"x\"", "null", "null", "null"]),
        (
            json!({"json_extract": ["note", "a", "str"]}),
            ["\"[1,2.5,\"x\"]\"", "null", "null", "\"{\"b\":true}\""],
        ),
        (json!({"json_extract": ["note", "a.b", "bool"]}), ["null", "null", "null", "true"]),
        (
            json!({"json_extract": ["note", "a", "dict[str, bool]"]}),
            ["null", "null", "null", "{\"b\": true}"],
        ),
        (json!({"json_extract": ["s", "a"]}), all("null")),
        (of_text("a", "int"), all("null")),
        (of_text("a", "float"), all("9.223372036854776e18")),
        (of_text("a", "decimal(0)"), all("9223372036854775808")),
        (of_text("b[0]", "decimal(2)"), all("0.10")),
        (of_text("b[1]", "int"), all("null")),
        (of_text("b[1]", "decimal(1)"), all("7.0")),
        (of_text("b", "json"), all("[0.1,\"7\",null]")),
        (of_text("b", "list[str]"), all("null")),
        (of_text("b[2]", "json"), all("null")),
        (of_text("c", "date"), all("2026-03-15")),
    ]);
}

#[test]
fn casts_of_values_with_parts_go_item_by_item() {
    check(vec![
        (
            json!({"cast": ["ints", "list[str]"]}),
            ["[\"3\", \"1\", \"2\"]", "[]", "null", "[null, \"9223372036854775807\", \"1\"]"],
        ),
        (json!({"cast": ["floats", "list[int]"]}), ["[0, -1]", "[null, 1]", "[null]", "null"]),
        (
            json!({"cast": ["sums", "list[decimal(1)]"]}),
            ["[0.1, 0.2]", "[]", "null", "[1000000000000000000000000000000000000.0, 1.0]"],
        ),
        (
            json!({"cast": ["map", "dict[str, str]"]}),
            ["{\"a\": \"1\", \"b\": null}", "{}", "null", "{\"é\": \"3\"}"],
        ),
        (json!({"cast": ["map", "json"]}), ["{\"a\":1,\"b\":null}", "{}", "null", "{\"é\":3}"]),
        (json!({"cast": ["v", "list[float]"]}), ["[3.0, 4.0]", "[0.0, 0.0]", "null", "[1.0, inf]"]),
        (json!({"cast": ["v", "list[int]"]}), ["[3, 4]", "[0, 0]", "null", "[1, null]"]),
        (json!({"cast": ["ints", "vector[3]"]}), ["[3.0, 1.0, 2.0]", "null", "null", "null"]),
        (json!({"cast": ["[1, 2]", "list[int]"]}), ["[1, 2]", "[1, 2]", "[1, 2]", "[1, 2]"]),
        (
            json!({"cast": ["note", "str"]}),
            ["\"{\"a\":[1,2.5,\"x\"]}\"", "\"[]\"", "null", "\"{\"a\":{\"b\":true}}\""],
        ),
        (json!({"cast": ["v", "json"]}), ["[3.0,4.0]", "[0.0,0.0]", "null", "null"]),
        (json!({"cast": ["s", "json"]}), ["null", "null", "null", "null"]),
    ]);
}

#[test]
fn casts_of_decimals_dates_and_bytes() {
    let all = |value| [value; 4];
    let cast = |value: serde_json::Value, to: &str| json!({"cast": [value, to]});
    let decimal = |text: &str| json!({"lit": text, "type": "decimal(3)"});
    check(vec![
        (cast(decimal("-2.675"), "decimal(2)"), all("-2.68")),
        (cast(decimal("-2.665"), "decimal(2)"), all("-2.66")),
        (cast(decimal("-2.675"), "int"), all("-2")),
        (cast(decimal("-2.675"), "float"), all("-2.675")),
        (cast(decimal("-2.675"), "str"), all("\"-2.675\"")),
        (cast(decimal("0"), "bool"), all("false")),
        (cast(decimal("1"), "decimal(38)"), all("null")),
        (cast(json!(0.30000000000000004), "decimal(2)"), all("0.30")),
        (cast(json!(2.675), "decimal(2)"), all("2.67")),
        (cast(json!(1e300), "decimal(2)"), all("null")),
        (cast(json!("1.255"), "decimal(2)"), all("null")),
        (cast(json!(" 1.25 "), "decimal(2)"), all("1.25")),
        (cast(json!("i"), "decimal(1)"), ["0.0", "-1.0", "1.0", "null"]),
        (cast(json!("2026-03-15"), "date"), all("2026-03-15")),
        (cast(json!("2026-3-15"), "date"), all("null")),
        (cast(cast(json!("2026-03-15T23:59:59Z"), "datetime"), "date"), all("2026-03-15")),
        (cast(cast(json!("2026-03-15"), "date"), "datetime"), all("2026-03-15T00:00:00Z")),
        (cast(cast(json!("2026-03-15"), "date"), "str"), all("\"2026-03-15\"")),
        (cast(cast(json!("é"), "bytes"), "str"), all("\"é\"")),
        (cast(json!({"lit": "/w==", "type": "bytes"}), "str"), all("null")),
    ]);
}

#[test]
fn faults_name_the_types_and_the_expression() {
    for (json, sentence) in [
        (
            json!({"dot": ["v", "floats"]}),
            "\"dot\" cannot take vector[2] and list[float] in dot(col(\"v\"), col(\"floats\")): it takes two vectors of one length; cast a list with .cast(\"vector[LENGTH]\")",
        ),
        (json!({"l2": ["v", [1]]}), "expected vector[2], got 1 numbers"),
        (
            json!({"json_extract": ["note", "$.a"]}),
            "\"json_extract\" in col(\"note\").json_extract(\"$.a\"): expected a path such as \"a.b[0]\" or [\"a key\"][-1].b, got \"$.a\"",
        ),
        (
            json!({"json_extract": ["i", "a"]}),
            "\"json_extract\" cannot take int and str in col(\"i\").json_extract(\"a\"): it takes json or a text that holds JSON",
        ),
        (
            json!({"json_extract": ["note", "a", "number"]}),
            "\"json_extract\" in col(\"note\").json_extract(\"a\", \"number\"): expected the name of a type, such as \"int\", \"decimal(2)\" or \"list[str]\", got \"number\"",
        ),
        (
            json!({"cast": ["ints", "int"]}),
            "\"cast\" cannot take list[int] and str in col(\"ints\").cast(\"int\"): a list[int] cannot become a int",
        ),
        (
            json!({"cast": ["ints", "list[date]"]}),
            "\"cast\" cannot take list[int] and str in col(\"ints\").cast(\"list[date]\"): a list[int] cannot become a list[date]",
        ),
    ] {
        let fault = Compiled::new(&parse(json.clone()), &types()).unwrap_err();
        assert_eq!(fault.detail(), sentence, "{json}");
    }
}
