//! Decimals, dates and bytes end to end.

use serde_json::json;

use super::nested::{check, parse, types};
use crate::expr::Compiled;

/// A constant that no neighbour reads as something else: of columns, so that nothing is folded away.
fn decimal(text: &str, scale: u8) -> serde_json::Value {
    json!({"cast": [{"when": [{"is_null": ["w"]}, null, text]}, format!("decimal({scale})")]})
}

fn date(text: &str) -> serde_json::Value {
    json!({"cast": [{"when": [{"is_null": ["w"]}, null, text]}, "date"]})
}

fn all(value: &str) -> [&str; 4] {
    [value; 4]
}

#[test]
fn decimals_are_computed_exactly() {
    let (a, b) = (decimal("12.34", 2), decimal("-0.125", 3));
    let most = decimal("99999999999999999999999999999999999999", 0);
    check(vec![
        (json!({"add": [a, b]}), all("12.215")),
        (json!({"sub": [a, 1]}), all("11.34")),
        (json!({"mul": [a, b]}), all("-1.54250")),
        (json!({"mul": [a, 0.5]}), all("6.170")),
        (json!({"div": [a, b]}), all("-98.72")),
        (json!({"div": [1, decimal("3", 0)]}), all("0.3333333333333333")),
        (json!({"div": [a, 0]}), all("null")),
        (json!({"floor_div": [a, b]}), all("-99")),
        (json!({"mod": [a, b]}), all("-0.035")),
        (json!({"neg": [a]}), all("-12.34")),
        (json!({"add": [a, "i"]}), ["12.34", "11.34", "13.34", "null"]),
        (json!({"add": [most, 1]}), all("null")),
        (json!({"add": [most, decimal("-0.1", 1)]}), all("null")),
        (
            json!({"add": [decimal("1", 0), decimal("-0.1", 38)]}),
            all("0.90000000000000000000000000000000000000"),
        ),
        (json!({"gt": [a, b]}), all("true")),
        (json!({"eq": [decimal("1.50", 2), decimal("1.5", 1)]}), all("true")),
        (json!({"le": [a, "i"]}), ["false", "false", "false", "null"]),
        (json!({"le": [a, {"floor": [1e300]}]}), all("null")),
        (json!({"abs": [b]}), all("0.125")),
        (json!({"sign": [b]}), all("-1.000")),
        (json!({"round": [b]}), all("0")),
        (json!({"floor": [b]}), all("-1")),
        (json!({"ceil": [a]}), all("13")),
        (json!({"round": [a, 1]}), all("12.30")),
        (json!({"round": [decimal("12.35", 2), 1]}), all("12.40")),
        (json!({"round": [a, -1]}), all("10.00")),
        (json!({"round": [a, -18]}), all("0.00")),
        (json!({"max_of": [a, b, "i"]}), ["12.340", "12.340", "12.340", "null"]),
        (json!({"clip": [a, null, 10]}), all("10.00")),
        (json!({"coalesce": [decimal("", 2), a, b]}), all("12.340")),
        (json!({"between": [a, 12.34, "12.34"]}), all("true")),
        (json!({"is_in": [a, 12, 12.34]}), all("true")),
        (json!({"is_in": [a, null, {"lit": "12.340", "type": "decimal(3)"}]}), all("true")),
        (
            json!({"eq": [{"hash_bucket": [decimal("1.50", 2), 997]}, {"hash_bucket": ["1.5", 997]}]}),
            all("true"),
        ),
    ]);
}

#[test]
fn dates_have_a_calendar_and_no_zone() {
    let day = date("2026-03-15");
    check(vec![
        (json!({"year": [day]}), all("2026")),
        (json!({"month": [day]}), all("3")),
        (json!({"day": [day]}), all("15")),
        (json!({"weekday": [day]}), all("6")),
        (json!({"is_weekend": [day]}), all("true")),
        (json!({"truncate": [day, "1w"]}), all("2026-03-09")),
        (json!({"truncate": [day, "1q"]}), all("2026-01-01")),
        (json!({"diff": [day, date("2026-03-01"), "d"]}), all("14.0")),
        (json!({"diff": [day, "2026-03-14", "h"]}), all("24.0")),
        (json!({"lt": [day, "2026-03-16"]}), all("true")),
        (json!({"min_of": [day, date("2025-12-31")]}), all("2025-12-31")),
        (
            json!({"date": [{"cast": ["2026-03-15T23:30:00Z", "datetime"]}, "Europe/Paris"]}),
            all("2026-03-16"),
        ),
        (json!({"eq": [{"hash_bucket": [day, 997]}, {"hash_bucket": [20527, 997]}]}), all("true")),
    ]);
}

#[test]
fn faults_name_the_types_and_the_expression() {
    let literal = |text: &str, name: &str| json!({"lit": text, "type": name});
    for (json, sentence) in [
        (
            json!({"eq": [literal("1.5", "decimal(1)"), {"lit": "NaN", "type": "float"}]}),
            "expected decimal(1), got float NaN",
        ),
        (
            json!({"add": [literal("1.5", "decimal(1)"), {"get": ["v", 0]}]}),
            "\"+\" cannot take decimal(1) and float in \"1.5\" + col(\"v\").get(0): a float and a decimal are not computed with exactly; cast one, as in col(\"a\").cast(\"float\")",
        ),
        (
            json!({"mul": [literal("1.5", "decimal(20)"), literal("1.5", "decimal(19)")]}),
            "\"*\" cannot take decimal(20) and decimal(19) in \"1.5\" * \"1.5\": the product would have more than 38 digits after its point; cast one first",
        ),
        (
            json!({"add": [literal("1.5", "decimal(1)"), "s"]}),
            "\"+\" cannot take decimal(1) and str in \"1.5\" + col(\"s\"): it takes decimals and ints",
        ),
        (
            json!({"lt": [literal("1.5", "decimal(1)"), {"get": ["v", 0]}]}),
            "\"<\" cannot take decimal(1) and float in \"1.5\" < col(\"v\").get(0): a float and a decimal are not compared exactly; cast one, as in col(\"a\").cast(\"float\")",
        ),
        (
            json!({"sub": [literal("2026-03-15", "date"), 1]}),
            "\"-\" cannot take date and int in \"2026-03-15\" - 1: the days between two dates are col(\"a\").diff(col(\"b\"), \"d\")",
        ),
        (
            json!({"hour": [literal("2026-03-15", "date")]}),
            "\"hour\" cannot take date in \"2026-03-15\".hour(): it takes a datetime",
        ),
        (
            json!({"year": [literal("2026-03-15", "date"), "Europe/Paris"]}),
            "\"year\" cannot take date and str in \"2026-03-15\".year(\"Europe/Paris\"): a date has no zone",
        ),
        (
            json!({"truncate": [literal("2026-03-15", "date"), "6h"]}),
            "\"truncate\" in \"2026-03-15\".truncate(\"6h\"): expected \"1d\", \"1w\", \"1mo\", \"1q\" or \"1y\" of a date, got \"6h\"",
        ),
        (
            json!({"hash_bucket": ["ints", 5]}),
            "\"hash_bucket\" cannot take list[int] and int in col(\"ints\").hash_bucket(5): it takes an int, a text, a bool, a datetime, a date, bytes or a decimal; cast another first",
        ),
        (
            json!({"sqrt": [literal("1.5", "decimal(1)")]}),
            "\"sqrt\" cannot take decimal(1) in \"1.5\".sqrt(): it takes a number",
        ),
    ] {
        let fault = Compiled::new(&parse(json.clone()), &types()).unwrap_err();
        assert_eq!(fault.detail(), sentence, "{json}");
    }
}
