//! Changes of meaning that come with a new version.

use serde_json::{Value as Json, json};

use super::{FILTER, planned, shown};

#[test]
fn a_version_lets_the_meaning_change() {
    type Case<'a> = (&'a [(&'a str, Json)], &'a [&'a str]);
    let cases: [Case<'_>; 7] = [
        (
            &[("/datasets/0/version", json!(2)), ("/datasets/0/fields/2/type", json!("int"))],
            &[
                "Changed Ride: version: 1 -> 2; it starts without the events of version 1, which stay in the log; field fare: float -> fare: int",
            ],
        ),
        (
            &[("/datasets/0/version", json!(3)), ("/datasets/0/index", json!(false))],
            &[
                "Changed Ride: version: 1 -> 3; it starts without the events of version 1, which stay in the log; index: on -> off",
            ],
        ),
        (
            &[("/datasets/1/pipelines/0/version", json!(2)), (FILTER, json!(1))],
            &[
                "Changed Stats.compute: version: 1 -> 2; filter(col(\"fare\") > 0) -> filter(col(\"fare\") > 1)",
            ],
        ),
        (
            &[("/datasets/1/version", json!(2)), (FILTER, json!(1))],
            &[
                "Changed Stats: version: 1 -> 2",
                "Changed Stats.compute: filter(col(\"fare\") > 0) -> filter(col(\"fare\") > 1)",
            ],
        ),
        (
            &[("/datasets/1/pipelines/0/version", json!(2)), ("/datasets/1/fields/2/type", json!("float"))],
            &["Changed Stats: field rides: int -> rides: float", "Changed Stats.compute: version: 1 -> 2"],
        ),
        (
            &[
                ("/featuresets/0/extractors/0/version", json!(2)),
                ("/featuresets/0/extractors/0/code", json!("b")),
            ],
            &["Changed F: 1 of its members", "Changed F.scored: version: 1 -> 2; code"],
        ),
        (
            &[
                ("/featuresets/0/extractors/0/name", json!("again")),
                ("/featuresets/0/extractors/0/version", json!(2)),
            ],
            &[
                "Changed F: 3 of its members",
                "Changed F.score: extractor: scored -> again",
                "Added F.again: version 2",
                "Removed F.scored: ",
            ],
        ),
    ];
    for (changes, expected) in cases {
        assert_eq!(shown(&planned(changes).unwrap()), expected);
    }
}
