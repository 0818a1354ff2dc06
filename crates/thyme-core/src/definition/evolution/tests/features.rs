//! Features: renames, removals and ids.

use serde_json::{Value as Json, json};

use super::{changed, parse, plan, planned, shown};
use crate::definition::Document;
use crate::definition::evolution::{ChangeKind, retire};
use crate::error::ErrorKind;

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

/// The base with the feature 2, which the extractor takes, called `name`.
fn called(name: &str) -> Document {
    changed(&[
        ("/featuresets/0/features/1/name", json!(name)),
        ("/featuresets/0/extractors/0/inputs/0/feature", json!(name)),
    ])
}

/// What is committed after the feature 2 was called by these names in turn.
fn after(names: &[&str]) -> Document {
    let committed = plan(&parse(json!({"format": 1})), &changed(&[])).unwrap().next;
    names.iter().fold(committed, |now, name| plan(&now, &called(name)).unwrap().next)
}

#[test]
fn every_name_of_several_renames_asks_for_the_one_feature() {
    let now = after(&["a", "b", "c"]);
    let set = now.featureset("F").unwrap();
    assert_eq!(set.by_id(2).unwrap().former_names, ["rides", "a", "b"]);
    for name in ["rides", "a", "b", "c"] {
        assert_eq!(set.named(name).unwrap().id, Some(2), "{name}");
    }
    // Back to a name that it had: the one in between is the old one then.
    let back = plan(&now, &called("a")).unwrap().next;
    assert_eq!(back.featureset("F").unwrap().by_id(2).unwrap().former_names, ["rides", "b", "c"]);
}

#[test]
fn a_name_that_still_answers_cannot_be_given_to_another_feature() {
    let now = after(&["rides_1h"]);
    let taking = |name: &str| {
        let mut next = called("rides_1h");
        let mut new = next.featuresets[0].features[2].clone();
        (new.id, new.name) = (Some(9), name.to_owned());
        next.featuresets[0].features.push(new);
        next
    };
    let error = plan(&now, &taking("rides")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(
        error.detail(),
        "F.rides takes a name that still answers for the feature with the id 2, which is called rides_1h: end the old name first with `thyme retire F.rides`, or choose another name"
    );
    let retired = retire(&now, "F", "rides").unwrap().next;
    let taken = plan(&retired, &taking("rides")).unwrap().next;
    assert_eq!(taken.featureset("F").unwrap().named("rides").unwrap().id, Some(9));
    // Nor in the commit that renames it, which would exchange two features under their readers.
    let names = [
        ("/featuresets/0/features/1/name", json!("hour")),
        ("/featuresets/0/features/2/name", json!("rides")),
        ("/featuresets/0/extractors/0/inputs", json!([{"feature": "hour"}, {"feature": "rides"}])),
    ];
    let error = planned(&names).unwrap_err();
    assert_eq!(error.faults().len(), 2);
    assert!(error.detail().contains("commit its rename to rides first"), "{error}");
    // With the feature, all its names go.
    let removed = [
        ("/featuresets/0/features/1", json!(null)),
        ("/featuresets/0/extractors/0/inputs", json!([{"feature": "hour"}])),
        ("/featuresets/0/extractors/0/version", json!(2)),
        ("/featuresets/0/features/1/name", json!("hour")),
    ];
    let mut free = plan(&now, &changed(&removed)).unwrap().next;
    free.retired_by("0123abcd");
    let set = free.featureset("F").unwrap();
    for name in ["rides", "rides_1h"] {
        assert_eq!(
            set.named(name).unwrap_err().detail(),
            format!(
                "F.{name} was a name of the feature with the id 2, which is removed: the name answers no more since commit 0123abcd; ids are never reused"
            )
        );
    }
    // Another feature may have it, and ends it once more.
    let again = plan(&free, &taking("rides")).unwrap_err();
    assert!(again.detail().contains("which a removed feature had"), "{again}");
    assert!(crate::definition::evolution::diff(&now, &free).iter().all(|c| !c.detail.contains("retired;")));
    assert!(set.numbered(2).unwrap_err().detail().contains("it was removed, and ids are never reused"));
    assert!(set.numbered(7).unwrap_err().detail().contains("it has 1 driver, 3 hour, 4 score"));
}

#[test]
fn a_retired_name_says_what_became_of_it() {
    let now = after(&["a", "b"]);
    let plan_1 = retire(&now, "F", "rides").unwrap();
    assert_eq!(shown(&plan_1), ["Removed F.rides: retired; the feature with the id 2 answers as b"]);
    let mut next = plan_1.next;
    next.retired_by("0123abcd");
    let set = next.featureset("F").unwrap();
    assert_eq!(set.by_id(2).unwrap().former_names, ["a"]);
    let error = set.named("rides").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(
        error.detail(),
        "F.rides was renamed to b, and the old name was retired at commit 0123abcd; ask for b, or for the id 2"
    );
    // A later commit keeps what was retired, and another retirement does not touch it.
    let mut later = retire(&plan(&next, &called("c")).unwrap().next, "F", "a").unwrap().next;
    later.retired_by("ffff");
    let commits: Vec<_> = later.featuresets[0].retired_names.iter().map(|r| r.commit.as_str()).collect();
    assert_eq!(commits, ["0123abcd", "ffff"]);
    let again = retire(&later, "F", "rides").unwrap();
    assert_eq!(again.next, later);
    assert_eq!(again.count(ChangeKind::Unchanged), 1);
}

#[test]
fn only_old_names_that_nobody_takes_are_retired() {
    let mut now = after(&["a"]);
    let refused =
        |now: &Document, set: &str, name: &str| retire(now, set, name).unwrap_err().detail().to_owned();
    assert!(refused(&now, "G", "a").starts_with("no featureset named \"G\""));
    assert!(refused(&now, "F", "a").contains("is the present name of the feature with the id 2"));
    assert_eq!(refused(&now, "F", "x"), "F.x is no old name of a feature; old names are rides");
    now.featuresets[0].extractors[0].inputs[0].feature = "rides".to_owned();
    assert_eq!(
        refused(&now, "F", "rides"),
        "F.rides cannot be retired: the extractor F.scored takes the feature by this name; commit it with a first"
    );
}

#[test]
fn an_extractor_may_follow_the_rename_of_what_it_takes_from_another_featureset() {
    let taker = |name: &str| {
        let input = json!({"featureset": "F", "feature": name});
        let extractor =
            json!({"name": "e", "inputs": [input], "outputs": ["x"], "form": "positional", "code": "a"});
        let features =
            json!([{"id": 1, "name": "driver", "type": "str"}, {"id": 2, "name": "x", "type": "int"}]);
        parse(
            json!({"format": 1, "featuresets": [{"name": "G", "features": features, "extractors": [extractor]}]}),
        )
    };
    let now = plan(&after(&[]), &taker("rides")).unwrap().next;
    let now = plan(&now, &called("rides_1h")).unwrap().next;
    let follows = plan(&now, &taker("rides_1h")).unwrap();
    assert_eq!(shown(&follows), [""; 0]);
    let other = plan(&now, &taker("hour")).unwrap_err();
    assert!(other.detail().contains("inputs: rides -> hour"), "{other}");
}
