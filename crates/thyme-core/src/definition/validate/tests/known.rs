//! Documents that refer to, or replace, what is committed.

use serde_json::json;

use super::{good, parse};
use crate::definition::validate::validate;

#[test]
fn what_is_committed_may_be_referred_to_and_is_checked_again_when_replaced() {
    let known = parse(good());
    let only = |part: &str, index: usize| {
        let mut document = json!({"format": 1});
        document[part] = json!([good()[part][index]]);
        document
    };
    assert_eq!(validate(&parse(only("featuresets", 0)), &known), []);
    assert_eq!(validate(&parse(only("datasets", 1)), &known), []);
    let mut without = only("datasets", 0);
    without["datasets"][0]["index"] = json!(false);
    without["datasets"][0]["fields"].as_array_mut().unwrap().remove(3);
    let found = validate(&parse(without.clone()), &known);
    assert_eq!(found.iter().map(|f| f.subject.as_str()).collect::<Vec<_>>(), ["DriverFeatures.scored"]);
    without["datasets"][0]["fields"].as_array_mut().unwrap().remove(2);
    let found = validate(&parse(without), &known);
    assert!(found[0].message.contains("no column named \"tip\""), "{found:?}");
    // A renamed feature keeps answering to those that know it by its old name.
    let mut renamed = only("featuresets", 0);
    renamed["featuresets"][0]["features"][3]["name"] = json!("rating");
    renamed["featuresets"][0]["extractors"][0]["outputs"] = json!(["rating"]);
    assert_eq!(validate(&parse(renamed.clone()), &known), []);
    renamed["featuresets"][0]["features"][3]["id"] = json!(9);
    assert_eq!(validate(&parse(renamed), &known)[0].subject, "Other.give");
    let kind =
        json!({"format": 1, "datasets": [{"name": "Other", "fields": good()["datasets"][0]["fields"]}]});
    assert!(validate(&parse(kind), &known)[0].message.contains("Other is committed as a featureset"));
}
