//! Changes of meaning that come with a new version.

use serde_json::{Value as Json, json};

use super::{FILTER, base, changed, committed, parse, plan, planned, shown};
use crate::definition::Document;
use crate::definition::evolution::retire_version;
use crate::definition::validate::validate;

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
                "Added Stats@1: Stats goes on answering until it is retired",
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

/// The base with `Stats` in this version, and the feature `rides` reading this one.
fn pinned(version: u32, dataset: &str) -> Document {
    changed(&[
        ("/datasets/1/version", json!(version)),
        ("/featuresets/0/features/1/ref/dataset", json!(dataset)),
    ])
}

#[test]
fn a_feature_moves_between_versions_that_are_there() {
    let steps = [
        (pinned(2, "Stats@1"), ["Stats", "Stats@1"].as_slice()),
        (pinned(2, "Stats@2"), &["Stats", "Stats@1"]),
        (pinned(3, "Stats@2"), &["Stats", "Stats@1", "Stats@2"]),
        (pinned(3, "Stats"), &["Stats", "Stats@1", "Stats@2"]),
    ];
    let mut now = committed();
    for (document, names) in steps {
        let faults = validate(&document, &now);
        assert!(faults.is_empty(), "{faults:?}");
        now = plan(&now, &document).unwrap().next;
        let derived = now.datasets.iter().filter(|d| d.is_derived()).map(|d| d.name.as_str());
        assert_eq!(derived.collect::<Vec<_>>(), names);
        assert_eq!(plan(&now, &document).unwrap().next, now);
    }
    assert_eq!(now.dataset("Stats@3").unwrap().name, "Stats");
    assert!(!validate(&pinned(3, "Stats@9"), &now).is_empty());
    let refused = |name: &str| retire_version(&now, name).unwrap_err().detail().to_owned();
    assert!(refused("Stats@3").contains("is the present version of Stats"));
    assert!(refused("Stats@9").starts_with("no version named"));
    let read = plan(&now, &pinned(3, "Stats@1")).unwrap().next;
    let error = retire_version(&read, "Stats@1").unwrap_err();
    assert_eq!(
        error.detail(),
        "Stats@1 cannot be retired: F.rides reads it (1 in all); commit it with another version first"
    );
    let retired = retire_version(&now, "Stats@1").unwrap();
    assert_eq!(shown(&retired), ["Removed Stats@1: retired; its events stay in the log"]);
    assert!(retired.next.dataset("Stats@1").is_none());
    // Another field of another version is another feature.
    let mut other = base();
    other["featuresets"][0]["features"][1]["ref"] = json!({"dataset": "Stats@1", "field": "fare"});
    assert!(plan(&read, &parse(other)).is_err());
}
