//! Names and versions that earlier commits gave, after rollbacks and removals.

use serde_json::{Value as Json, json};

use super::{AGGREGATES, base, changed, parse};
use crate::definition::Document;
use crate::definition::evolution::{Given, plan, rollback};
use crate::error::{Error, ErrorKind};

/// What is committed, and the commits there were.
struct History {
    now: Document,
    given: Given,
    commits: u32,
}

impl History {
    fn new() -> History {
        let mut history = History { now: parse(json!({"format": 1})), given: Given::default(), commits: 0 };
        history.commit(&changed(&[])).unwrap();
        history
    }

    fn note(&mut self, next: Document) {
        self.commits += 1;
        self.given.learn(&format!("commit{}", self.commits), 0, &next);
        self.now = next;
    }

    fn commit(&mut self, document: &Document) -> Result<(), Error> {
        let next = plan(&self.now, document, &self.given)?.next;
        self.note(next);
        Ok(())
    }

    fn back_to(&mut self, earlier: &Document) {
        let next = rollback(&self.now, earlier, &self.given).unwrap().next;
        self.note(next);
    }

    /// Why a commit of it is refused.
    fn refusal(&self, document: &Document) -> String {
        let error = plan(&self.now, document, &self.given).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        error.to_string()
    }
}

fn ride(version: u32, value: &Json) -> Document {
    changed(&[("/datasets/0/version", json!(version)), ("/datasets/0/fields/3", value.clone())])
}

#[test]
fn a_raw_version_that_was_rolled_back_comes_back_as_it_was_or_not_at_all() {
    let (float, text) = (json!({"name": "z", "type": "float"}), json!({"name": "z", "type": "str"}));
    let mut history = History::new();
    let first = history.now.clone();
    history.commit(&ride(2, &float)).unwrap();
    history.back_to(&first);
    for other in [&text, &json!({"name": "y", "type": "float"}), &json!({"name": "seats", "type": "int"})] {
        let refused = history.refusal(&ride(2, other));
        assert!(
            refused.contains("Ride@2 was given already, by the commit commit2 at 1970-01-01T00:00:00")
                && refused.ends_with("give it @dataset(version=3)"),
            "{refused}"
        );
    }
    history.commit(&ride(3, &text)).unwrap();
    history.back_to(&first);
    let refused = history.refusal(&ride(2, &text));
    assert!(refused.ends_with("@dataset(version=4)"), "{refused}");
    history.commit(&ride(2, &float)).unwrap();
}

#[test]
fn a_raw_version_that_comes_back_keeps_the_order_of_its_fields_and_may_grow() {
    let float = json!({"name": "z", "type": "float"});
    let mut history = History::new();
    let first = history.now.clone();
    history.commit(&ride(2, &float)).unwrap();
    let given = history.now.dataset("Ride").unwrap().fields.clone();
    history.back_to(&first);
    let mut shuffled = ride(2, &float);
    shuffled.datasets[0].fields.fields.swap(2, 3);
    let next = plan(&history.now, &shuffled, &history.given).unwrap().next;
    assert_eq!(next.dataset("Ride").unwrap().fields, given);

    let mut grown = ride(2, &float);
    let tip = json!({"name": "tip", "type": "float", "optional": true});
    grown.datasets[0].fields.fields.insert(0, serde_json::from_value(tip).unwrap());
    history.commit(&grown).unwrap();
    let fields = history.now.dataset("Ride").unwrap().fields.clone();
    assert_eq!(fields.fields[..given.fields.len()], given.fields[..]);
    // Events of version 2 may have it from now on, whatever is rolled back in between.
    let without = ride(2, &float);
    let mut before = history.now.clone();
    before.datasets[0].fields = given;
    history.back_to(&first);
    let refused = history.refusal(&without);
    assert!(refused.contains("field tip: float | None is removed"), "{refused}");
    history.back_to(&before);
    assert_eq!(history.now.dataset("Ride").unwrap().fields, fields);
}

#[test]
fn a_removed_dataset_comes_back_as_it_was_or_not_at_all() {
    let other = |role: &str, extra: Json| {
        let mut document = base();
        let field = json!({"name": "x", "type": "int", "role": role});
        let at = json!({"name": "at", "type": "datetime", "role": "timestamp"});
        let fields = json!([{"name": "k", "type": "str", "role": "key"}, field, extra, at]);
        document["datasets"].as_array_mut().unwrap().push(json!({"name": "X", "fields": fields}));
        parse(document)
    };
    let (a, b) = (json!({"name": "a", "type": "int"}), json!({"name": "b", "type": "int"}));
    let mut history = History::new();
    let first = history.now.clone();
    history.commit(&other("value", a.clone())).unwrap();
    history.back_to(&first);
    assert!(history.now.dataset("X").is_none());
    let refused = history.refusal(&other("value", b));
    assert!(refused.contains("X@1 was given already, by the commit commit2"), "{refused}");
    assert!(history.refusal(&other("key", a.clone())).contains("x: int -> x: int (key)"));
    history.commit(&other("value", a)).unwrap();
}

#[test]
fn a_version_of_a_derived_dataset_and_of_its_pipeline_means_one_thing() {
    let window = |dataset: u32, pipeline: u32, window: &str| {
        changed(&[
            ("/datasets/1/version", json!(dataset)),
            ("/datasets/1/pipelines/0/version", json!(pipeline)),
            ("/datasets/1/pipelines/0/operators/2/aggregates/0/window", json!(window)),
        ])
    };
    for (dataset, pipeline, free) in [(2, 1, (3, 2)), (1, 2, (2, 3))] {
        let mut history = History::new();
        let first = history.now.clone();
        history.commit(&window(dataset, pipeline, "2h")).unwrap();
        history.back_to(&first);
        let refused = history.refusal(&window(dataset, pipeline, "10m"));
        assert!(
            refused.contains(&format!(
                "Stats.compute@{pipeline} of Stats@{dataset} was given already, by the commit commit2"
            )),
            "{refused}"
        );
        let (next_dataset, next_pipeline) = free;
        let fix =
            format!("compute @pipeline(version={next_pipeline}), or Stats @dataset(version={next_dataset})");
        assert!(refused.ends_with(&fix), "{refused}");
        // Another order of the aggregates is the same.
        let mut same = window(dataset, pipeline, "2h");
        let aggregates = serde_json::to_value(&same.datasets[1]).unwrap();
        let reversed: Vec<Json> = {
            let mut document = json!({"datasets": [null, aggregates]});
            let found = document.pointer_mut(AGGREGATES).unwrap().as_array().unwrap();
            found.iter().rev().cloned().collect()
        };
        let mut written = serde_json::to_value(&same).unwrap();
        *written.pointer_mut(AGGREGATES).unwrap() = json!(reversed);
        same = parse(written);
        history.commit(&same).unwrap();
        assert!(history.commit(&window(next_dataset.max(dataset), next_pipeline, "10m")).is_ok());
    }
}

#[test]
fn a_version_of_an_extractor_means_one_thing() {
    let coded = |version: u32, code: &str| {
        changed(&[
            ("/featuresets/0/extractors/0/version", json!(version)),
            ("/featuresets/0/extractors/0/code", json!(code)),
        ])
    };
    let mut history = History::new();
    let first = history.now.clone();
    history.commit(&coded(2, "b")).unwrap();
    history.back_to(&first);
    let refused = history.refusal(&coded(2, "c"));
    assert!(
        refused.contains("F.scored@2 was given already, by the commit commit2")
            && refused
                .ends_with("code; a name and a version are never given again: give it @extractor(version=3)"),
        "{refused}"
    );
    history.commit(&coded(2, "b")).unwrap();
    history.commit(&coded(3, "c")).unwrap();
}

#[test]
fn an_extractor_with_a_dict_comes_back_with_the_names_that_its_code_finds() {
    let called = |name: &str| {
        changed(&[
            ("/featuresets/0/features/1/name", json!(name)),
            ("/featuresets/0/extractors/0/version", json!(2)),
            ("/featuresets/0/extractors/0/form", json!("dict")),
            ("/featuresets/0/extractors/0/inputs/0/feature", json!(name)),
        ])
    };
    let mut history = History::new();
    let first = history.now.clone();
    history.commit(&called("rides")).unwrap();
    history.back_to(&first);
    let refused = history.refusal(&called("trips"));
    assert!(refused.contains("F.scored@2 was given already"), "{refused}");
    assert!(refused.contains("names in its dict of inputs: rides, hour -> trips, hour"), "{refused}");
    history.commit(&called("rides")).unwrap();
}

#[test]
fn an_extractor_whose_features_have_new_ids_comes_back_under_its_version() {
    let with = |id: Json, code: &str| {
        let mut document = base();
        let set = json!({"name": "G", "features": [
            {"name": "driver", "type": "str"},
            {"id": id, "name": "hour", "type": "int", "request": true},
            {"name": "next", "type": "int"}],
            "extractors": [{"name": "ex", "inputs": [{"feature": "hour"}], "outputs": ["next"],
                            "form": "positional", "code": code}]});
        document["featuresets"].as_array_mut().unwrap().push(set);
        parse(document)
    };
    let mut history = History::new();
    let first = history.now.clone();
    history.commit(&with(Json::Null, "a")).unwrap();
    history.back_to(&first);
    assert!(history.refusal(&with(Json::Null, "b")).contains("G.ex@1 was given already"));
    history.commit(&with(Json::Null, "a")).unwrap();
    let set = history.now.featureset("G").unwrap();
    assert_eq!(set.features.iter().filter_map(|f| f.id).min(), Some(4));
}

#[test]
fn an_output_that_a_rollback_took_back_comes_back_as_it_was() {
    let with = |window: &str| {
        let more = json!({"name": "more", "function": "count", "window": window});
        changed(&[
            ("/datasets/1/fields/-", json!({"name": "more", "type": "int"})),
            (&format!("{AGGREGATES}/-"), more),
        ])
    };
    let mut history = History::new();
    let first = history.now.clone();
    history.commit(&with("2h")).unwrap();
    history.back_to(&first);
    let refused = history.refusal(&with("3h"));
    assert!(
        refused.contains("Stats.compute@1 of Stats@1 was given already, by the commit commit1")
            && refused.contains("aggregate more: Count(window=\"2h\") -> Count(window=\"3h\")")
            && refused.ends_with("compute @pipeline(version=2), or Stats @dataset(version=2)"),
        "{refused}"
    );
    history.commit(&with("2h")).unwrap();
}
