//! Back to earlier definitions, as a commit on top.

use super::*;
use crate::definition::evolution::{Effect, diff, retire};

fn first() -> Document {
    plan(&parse(json!({"format": 1})), &changed(&[])).unwrap().next
}

#[test]
fn versions_go_back_and_what_was_added_is_served_no_more() {
    let first = first();
    let other = json!({"format": 1, "featuresets": [{"name": "G", "features": [
        {"id": 1, "name": "driver", "type": "str"},
        {"id": 2, "name": "rides", "type": "int", "ref": {"dataset": "Stats", "field": "rides"}}]}]});
    let second = changed(&[
        ("/datasets/1/pipelines/0/version", json!(2)),
        ("/datasets/1/pipelines/0/operators/0/expr/args/1/lit", json!(5)),
    ]);
    let now = plan(&first, &second).unwrap().next;
    let now = plan(&now, &parse(other.clone())).unwrap().next;
    let back = rollback(&now, &first).unwrap();
    assert_eq!(back.next.datasets, first.datasets);
    let emptied = back.next.featureset("G").unwrap();
    assert!(emptied.features.is_empty());
    assert_eq!(emptied.retired_ids, [1, 2]);
    assert_eq!(back.count(ChangeKind::Unchanged), 0);
    // Its ids are never given again.
    let error = plan(&back.next, &parse(other)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert_eq!(rollback(&first, &first).unwrap().next, first);
}

#[test]
fn a_name_of_in_between_goes_on_answering_and_a_field_of_in_between_stays() {
    let first = first();
    let renamed = changed(&[
        ("/featuresets/0/features/1/name", json!("trips")),
        ("/featuresets/0/extractors/0/inputs/0/feature", json!("trips")),
    ]);
    let mut now = plan(&first, &renamed).unwrap().next;
    let mut fields = now.datasets[0].fields.clone();
    let added = crate::Field::new("tip", crate::DataType::Float, true, crate::schema::Role::Value);
    fields.fields.push(added);
    now.datasets[0].fields = fields.clone();
    let back = rollback(&now, &first).unwrap().next;
    let feature = back.featureset("F").unwrap().by_id(2).unwrap();
    assert_eq!(
        (feature.name.as_str(), feature.former_names.as_slice()),
        ("rides", &["trips".to_owned()][..])
    );
    assert_eq!(back.datasets[0].fields, fields);
}

#[test]
fn a_rollback_over_a_field_alone_changes_nothing_and_says_that_it_stays() {
    let first = first();
    let tip = json!({"name": "tip", "type": "float", "optional": true});
    let now = plan(&first, &changed(&[("/datasets/0/fields/-", tip)])).unwrap().next;
    let back = rollback(&now, &first).unwrap();
    assert_eq!(back.next, now);
    let said: Vec<_> = back.changes.iter().map(|c| (c.kind, c.subject.as_str(), c.effect)).collect();
    assert_eq!(said, [(ChangeKind::Unchanged, "Ride.tip", Effect::None)]);
    assert!(back.changes[0].detail.starts_with("it stays"), "{}", back.changes[0].detail);
}

#[test]
fn two_states_are_compared_in_either_direction() {
    let first = first();
    let window = format!("{AGGREGATES}/0/window");
    let second =
        plan(&first, &changed(&[("/datasets/1/version", json!(2)), (&window, json!("2h"))])).unwrap();
    let listed = |was: &Document, is: &Document| -> Vec<(String, String, Effect)> {
        diff(was, is)
            .into_iter()
            .map(|c| (format!("{} {}", c.kind.word(), c.subject), c.detail, c.effect))
            .collect()
    };
    let planned: Vec<_> = second.changes.iter().filter(|c| c.kind != ChangeKind::Unchanged).collect();
    let there = listed(&first, &second.next);
    assert_eq!(there.len(), planned.len());
    for change in &planned {
        let name = format!("{} {}", change.kind.word(), change.subject);
        assert!(there.contains(&(name, change.detail.clone(), change.effect)), "{change:?} of {there:?}");
    }
    let back = listed(&second.next, &first);
    let names: Vec<&str> = back.iter().map(|(name, _, _)| name.as_str()).collect();
    assert_eq!(names, ["changed Stats", "changed Stats.compute", "removed Stats@1"]);
    assert_eq!((back[0].1.as_str(), back[0].2), ("version: 2 -> 1", Effect::Backfill));
    assert!(back[1].1.contains("window=\"2h\"") && back[1].2 == Effect::Backfill, "{:?}", back[1]);
    assert_eq!(back[2].2, Effect::Ends);
}

#[test]
fn what_was_ended_since_does_not_come_back() {
    let first = first();
    let mut proposal = base();
    proposal["featuresets"][0]["features"].as_array_mut().unwrap().retain(|f| f["id"] != json!(3));
    let shorter = parse(proposal);
    if let Ok(removed) = plan(&first, &shorter) {
        let error = rollback(&removed.next, &first).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.detail().contains("the id 3, which was removed since"), "{error}");
    }
    let renamed = changed(&[
        ("/featuresets/0/features/1/name", json!("trips")),
        ("/featuresets/0/extractors/0/inputs/0/feature", json!("trips")),
    ]);
    let now = plan(&first, &renamed).unwrap().next;
    let mut now = retire(&now, "F", "rides").unwrap().next;
    now.retired_by("c0ffee");
    let error = rollback(&now, &first).unwrap_err();
    assert!(error.detail().starts_with("F.rides was retired at commit c0ffee"), "{error}");
}
