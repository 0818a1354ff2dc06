//! Explanations over random histories: the events that count make the value, and none is forgotten.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::history;
use thyme_audit::explain::{FieldExplanation, Reason};
use thyme_audit::{Asked, Explanation, Origin, Subject, explain};
use thyme_core::{ErrorKind, Field, Position, Result, Value};
use thyme_engine::ReadAt;
use thyme_query::Reader;
use thyme_testing::random::Random;

fn ask(reader: &Reader, subject: Subject, key: &[Value], at: ReadAt) -> Result<Explanation> {
    let asked = Asked { subject, at, limit: 3, inputs: Vec::new() };
    Ok(explain(reader, asked, &|_| Ok(key.to_vec()))?.explanation)
}

#[expect(clippy::panic, reason = "a test fails by panicking")]
fn field(explanation: &Explanation) -> &FieldExplanation {
    match &explanation.origin {
        Origin::Field(field) => field,
        other => panic!("{other:?}"),
    }
}

fn subject(dataset: &str, name: &str) -> Subject {
    Subject::Field { dataset: dataset.to_owned(), field: name.to_owned() }
}

#[test]
fn every_event_of_the_entity_counts_or_is_left_out_for_a_reason() {
    let mut reasons: Vec<Reason> = Vec::new();
    for seed in 0..25 {
        let (reader, pushed) = history(seed);
        let mut random = Random::new(seed * 7_000_001 + 500);
        let snapshot = reader.engine().snapshot(ReadAt::default()).unwrap();
        for live in snapshot.catalog.datasets.values() {
            for _ in 0..3 {
                let part = |field: &Field| match field.name.as_str() {
                    "k" => Value::Str(random.pick(&["a", "b", "é"]).into()),
                    _ => Value::Int(random.between(0, 2)),
                };
                let key: Vec<Value> = live.definition.fields.keys().map(part).collect();
                let time = Some(pushed.random_time(&mut random));
                let position = Some(pushed.random_position(&mut random));
                let name = match live.is_derived() {
                    true => random.pick(&["a0", "a1"]),
                    false => random.pick(&["i", "x"]),
                };
                let at = ReadAt { time, position, ..ReadAt::default() };
                let explanation = ask(&reader, subject(&live.definition.name, name), &key, at).unwrap();
                let of = field(&explanation);
                assert!(of.is_same(), "history {seed}: {of:?}");
                assert_eq!(explanation.value.as_ref(), Some(&of.recomputed));
                let names: Vec<&str> = live.definition.fields.keys().map(|f| f.name.as_str()).collect();
                assert_eq!(of.events(), pushed.events_of(&names, &key), "history {seed}: {of:?}");
                assert!(of.counted.shown.len() <= 3 && of.counted.shown.len() as u64 <= of.counted.total);
                assert!(of.counted.shown.is_sorted_by(|a, b| (a.time, a.position) > (b.time, b.position)));
                assert!(of.left_out.values().flat_map(|g| &g.shown).all(|e| e.why.is_some()));
                reasons.extend(of.left_out.keys());
            }
        }
    }
    for reason in [
        Reason::Late,
        Reason::Filtered,
        Reason::Where,
        Reason::Null,
        Reason::BeforeWindow,
        Reason::BeyondRetention,
        Reason::AfterTime,
        Reason::AfterPosition,
        Reason::Replaced,
    ] {
        assert!(reasons.contains(&reason), "{reason:?} never came up");
    }
}

#[test]
fn a_damaged_entity_is_not_the_same() {
    let (reader, pushed) = history(3);
    let key = [Value::Str("a".into())];
    let newest = ReadAt { time: Some(pushed.latest()), ..ReadAt::default() };
    let explanation = ask(&reader, subject("Event", "x"), &key, newest).unwrap();
    assert!(field(&explanation).is_same() && !field(&explanation).served.is_null());
    reader.engine().damage_for_test("Event", &key).unwrap();
    let explanation = ask(&reader, subject("Event", "x"), &key, newest).unwrap();
    assert!(!field(&explanation).is_same() && field(&explanation).served.is_null());
}

#[test]
fn an_entity_never_seen_has_no_events_and_the_value_of_an_empty_window() {
    let (reader, _) = history(3);
    let at = ReadAt { position: Some(Position::MAX.min(Position::end_of(3))), ..ReadAt::default() };
    let explanation = ask(&reader, subject("Event", "x"), &[Value::Str("nobody".into())], at).unwrap();
    let of = field(&explanation);
    assert_eq!((of.events(), of.is_same(), &of.served), (0, true, &Value::Null));
}

#[test]
fn a_feature_is_explained_by_the_field_it_refers_to() {
    let (reader, _) = history(2);
    let catalog = reader.engine().catalog();
    let featureset = catalog.document.featuresets[0].name.clone();
    let key: Vec<Value> = reader
        .plan(&catalog, &featureset)
        .unwrap()
        .entity
        .iter()
        .map(|(name, _)| if name == "k" { Value::Str("a".into()) } else { Value::Int(1) })
        .collect();
    let of = |feature: &str| Subject::Feature { featureset: featureset.clone(), feature: feature.into() };
    let explanation = ask(&reader, of("a1"), &key, ReadAt::default()).unwrap();
    assert!(field(&explanation).dataset == "D0" && field(&explanation).is_same());
    let error = ask(&reader, of("a99"), &key, ReadAt::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}
