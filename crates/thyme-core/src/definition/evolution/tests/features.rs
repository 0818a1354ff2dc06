//! Features: renames, removals and ids.

use serde_json::{Value as Json, json};

use super::{changed, parse, planned, shown};
use crate::definition::Document;
use crate::definition::evolution::plan;

#[test]
fn a_rename_keeps_the_id_and_the_old_name() {
    let renamed = [
        ("/featuresets/0/features/1/name", json!("rides_1h")),
        ("/featuresets/0/extractors/0/inputs/0/feature", json!("rides_1h")),
    ];
    let plan_1 = planned(&renamed).unwrap();
    assert_eq!(
        shown(&plan_1),
        ["Changed F: 1 of its members", "Changed F.rides_1h: name: rides -> rides_1h"]
    );
    let set = plan_1.next.featureset("F").unwrap();
    assert_eq!(set.feature("rides").unwrap().id, Some(2));
    assert_eq!(set.feature("rides_1h").unwrap().former_names, ["rides"]);
    assert!(set.retired_ids.is_empty());
    // The same proposal again changes nothing.
    let again = plan(&plan_1.next, &changed(&renamed)).unwrap();
    assert_eq!(again.next, plan_1.next);
    assert_eq!(shown(&again), [""; 0]);
    // Two features that exchange their names have no former ones.
    let names = [
        ("/featuresets/0/features/0/name", json!("hour")),
        ("/featuresets/0/features/2/name", json!("driver")),
    ];
    let error = planned(&names).unwrap_err();
    assert!(error.detail().contains("inputs: rides, hour -> rides, hour (another id)"), "{error}");
    let follows = ("/featuresets/0/extractors/0/inputs/1/feature", json!("driver"));
    let swapped = planned(&[names.to_vec(), vec![follows]].concat()).unwrap();
    let features = &swapped.next.featureset("F").unwrap().features;
    assert!(features.iter().all(|f| f.former_names.is_empty()));
}

#[test]
fn a_removed_id_is_retired_for_good() {
    let removed = planned(&[
        ("/featuresets/0/features/1", json!(null)),
        ("/featuresets/0/extractors/0/inputs", json!([{"feature": "hour"}])),
        ("/featuresets/0/extractors/0/version", json!(2)),
    ]);
    let removed = removed.unwrap();
    assert!(shown(&removed).contains(&"Removed F.rides: id 2 is retired".to_owned()));
    assert_eq!(removed.next.featuresets[0].retired_ids, [2]);
    let mut back = changed(&[
        ("/featuresets/0/extractors/0/version", json!(3)),
        ("/featuresets/0/features/1/name", json!("other")),
    ]);
    back.featuresets[0].retired_ids.clear();
    let error = plan(&removed.next, &back).unwrap_err();
    assert!(
        error.detail().contains("F.other has the id 2, which a removed feature had; ids are never reused"),
        "{error}"
    );
    back.featuresets[0].features[1].id = Some(7);
    let next = plan(&removed.next, &back).unwrap().next;
    assert_eq!(next.featuresets[0].retired_ids, [2]);
}

#[test]
fn a_new_id_under_an_old_name_replaces_the_feature() {
    let plan = planned(&[
        ("/featuresets/0/features/2/id", json!(9)),
        ("/featuresets/0/features/2/type", json!("float")),
        ("/featuresets/0/extractors/0/version", json!(2)),
    ])
    .unwrap();
    assert_eq!(
        shown(&plan)[1..],
        [
            "Added F.hour: id 9, in place of id 3",
            "Removed F.hour: id 3 is retired",
            "Changed F.scored: version: 1 -> 2; inputs: rides, hour -> rides, hour (another id)"
        ]
    );
}

#[test]
fn ids_are_given_where_none_are() {
    let features = |names: &[&str]| {
        let features: Vec<Json> = names.iter().map(|n| json!({"name": n, "type": "str"})).collect();
        parse(json!({"format": 1, "featuresets": [{"name": "G", "features": features}]}))
    };
    let ids = |document: &Document| {
        let features = &document.featureset("G").unwrap().features;
        features.iter().map(|f| format!("{}={}", f.name, f.id.unwrap())).collect::<Vec<_>>().join(" ")
    };
    let mut now = parse(json!({"format": 1}));
    let steps = [
        (&["a", "b", "c"][..], "a=1 b=2 c=3", &[][..]),
        (&["c", "a", "b"], "c=3 a=1 b=2", &[]),
        (&["a", "b"], "a=1 b=2", &[3]),
        (&["a", "d", "b"], "a=1 d=4 b=2", &[3]),
        (&["c", "d"], "c=5 d=4", &[1, 2, 3]),
    ];
    for (names, expected, retired) in steps {
        now = plan(&now, &features(names)).unwrap().next;
        assert_eq!(ids(&now), expected);
        assert_eq!(now.featureset("G").unwrap().retired_ids, retired);
    }
}
