//! Verification over random histories: it finds nothing where nothing is wrong, and it does find what is.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;

use thyme_audit::{Asked, Options, Origin, Reason, Report, Round, Subject, explain, verify};
use thyme_core::{EntityKey, ErrorKind, Value};
use thyme_engine::{Engine, ReadAt};
use thyme_query::{NoExtractors, Reader};
use thyme_testing::clock::HandClock;
use thyme_testing::definitions::RAW;
use thyme_testing::ledger::START_US;

fn history(seed: u64) -> Reader {
    support::history(seed).0
}

fn all(reader: &Reader, reference: Option<&str>) -> Report {
    let options = Options { reference: reference.map(str::to_owned), samples: 60, seed: 3 };
    verify(reader, options).unwrap()
}

#[test]
fn what_is_served_is_what_the_log_says() {
    let mut compared = 0;
    for seed in 0..40 {
        let report = all(&history(seed), None);
        assert_eq!(report.differences, [], "history {seed}");
        assert_eq!(report.rows, 400);
        let read = |name: &str| report.checked.iter().find(|c| c.name == name).unwrap();
        assert_eq!(read("Event.x").checked, 60);
        // A filter may let nothing pass.
        for name in ["D0", "D1", "D2"] {
            let (field, feature) =
                (read(&format!("{name}.a0")).checked, read(&format!("F_{name}_1.a0")).checked);
            assert!(matches!((field, feature), (0, 0) | (60, 60)), "history {seed}: {report:?}");
            compared += field;
        }
    }
    assert!(compared > 5000, "{compared} values of pipelines");
}

/// Events with ids, some of them again, and again after somebody was erased.
#[test]
fn duplicates_are_left_out_of_the_log_as_of_the_state_also_after_an_erasure() {
    let document = serde_json::json!({"format": 1, "datasets": [
        {"name": "Ride", "index": true, "event_id": "ride", "max_lateness": "1h", "fields": [
            {"name": "k", "type": "str", "role": "key"}, {"name": "ride", "type": "int"},
            {"name": "at", "type": "datetime", "role": "timestamp"}]},
        {"name": "Stats", "fields": [
            {"name": "k", "type": "str", "role": "key"}, {"name": "at", "type": "datetime", "role": "timestamp"},
            {"name": "n", "type": "int"}, {"name": "rides", "type": "int"}],
         "pipelines": [{"name": "compute", "inputs": ["Ride"], "operators": [
            {"op": "groupby", "keys": ["k"]},
            {"op": "aggregate", "aggregates": [
                {"name": "n", "function": "count", "window": "1h"},
                {"name": "rides", "function": "sum", "of": "ride"}]}]}]}]});
    let dir = tempfile::tempdir().unwrap();
    let clock = HandClock::at(START_US + 10_000_000_000);
    let path = Some(dir.path().join("data"));
    let options = thyme_engine::Options { path, env: clock.env(), shards: 2, ..Default::default() };
    let engine = Arc::new(Engine::open(options).unwrap());
    engine.commit(&serde_json::from_value(document).unwrap(), |_| Ok(())).unwrap();
    let push = |rows: &[(&str, i64, i64)]| {
        let line = |(k, ride, second): &(&str, i64, i64)| {
            let at = thyme_core::time::format_rfc3339(START_US + second * 1_000_000);
            serde_json::json!({"k": k, "ride": ride, "at": at}).to_string()
        };
        let lines: Vec<String> = rows.iter().map(line).collect();
        let catalog = engine.catalog();
        let live = catalog.dataset("Ride").unwrap();
        let receipt =
            engine.push(engine.read_json(live, lines.iter().map(|l| l.as_bytes())).unwrap()).unwrap();
        let min_position = Some(receipt.position);
        engine.snapshot(ReadAt { min_position, ..ReadAt::default() }).unwrap();
        receipt.duplicates
    };
    assert_eq!(push(&[("gone", 1, 9000), ("a", 2, 9001), ("a", 2, 9002), ("b", 1, 9003)]), Some(2));
    assert_eq!(push(&[("a", 3, 10), ("b", 1, 9004)]), Some(1));
    assert_eq!(push(&[("a", 3, 9005), ("b", 1, 9006), ("gone", 2, 9007)]), Some(2));
    let reader = Reader::new(engine.clone(), Arc::new(NoExtractors));
    let subject = |entity: &str| {
        let asked = Asked {
            subject: Subject::Field { dataset: "Stats".into(), field: "rides".into() },
            at: ReadAt::default(),
            limit: 10,
            inputs: Vec::new(),
        };
        let key = vec![Value::Str(entity.into())];
        let explained = explain(&reader, asked, &|_| Ok(key.clone())).unwrap();
        let Origin::Field(field) = explained.explanation.origin else { unreachable!() };
        assert!(field.is_same());
        let left_out = |reason| field.left_out.get(&reason).map_or(0, |group| group.total);
        (field.counted.total, left_out(Reason::Duplicate), left_out(Reason::Late))
    };
    assert_eq!(all(&reader, None).differences, []);
    assert_eq!((subject("a"), subject("b")), ((2, 1, 1), (0, 3, 0)));
    let catalog = engine.catalog();
    engine.erase(catalog.dataset("Ride").unwrap(), &[vec![Value::Str("gone".into())]]).unwrap();
    assert_eq!(all(&reader, None).differences, []);
    // Nobody else's verdict changes, and the id is free.
    assert_eq!((subject("a"), subject("b")), ((2, 1, 1), (0, 3, 0)));
    assert_eq!(push(&[("b", 1, 9008), ("a", 2, 9009), ("b", 1, 9010)]), Some(2));
    assert_eq!(all(&reader, None).differences, []);
    assert_eq!((subject("a"), subject("b")), ((2, 2, 1), (1, 4, 0)));
}

#[test]
fn a_damaged_entity_is_found_and_named() {
    let reader = history(1);
    let engine = reader.engine();
    let key = [Value::Str("a".into())];
    assert_eq!(all(&reader, Some(RAW)).different(), 0);
    engine.damage_for_test(RAW, &key).unwrap();
    let report = all(&reader, Some(RAW));
    assert!(report.different() > 0);
    let first = &report.differences[0];
    assert_eq!(first.entity, [("k".to_owned(), key[0].clone())]);
    assert!(first.name.starts_with("Event.") && first.served != first.recomputed);
    // What was found can be asked again.
    let mut at = engine.snapshot(ReadAt { position: Some(first.position), ..ReadAt::default() }).unwrap();
    at.time = first.time;
    let node = at.catalog.dataset(RAW).unwrap().readable().unwrap().clone();
    assert!(!at.has_events(&node, &EntityKey::encode(&key).unwrap().0, first.time).unwrap());
}

#[test]
fn a_damaged_entity_shows_in_the_features_that_read_it() {
    for seed in 0..40 {
        let reader = history(seed);
        let catalog = reader.engine().catalog();
        let name = catalog.document.featuresets[0].name.clone();
        let target = catalog.dataset("D0").unwrap();
        let snapshot = reader.engine().snapshot(ReadAt::default()).unwrap();
        for key in snapshot.entities(target.readable().unwrap(), snapshot.time).unwrap() {
            reader.engine().damage_for_test("D0", &EntityKey::decode(&key).unwrap()).unwrap();
        }
        if all(&reader, Some(&name)).different() > 0 {
            return;
        }
    }
    panic!("no damage was found in any history");
}

#[test]
fn a_seed_makes_the_same_choices_and_another_makes_others() {
    let reader = history(5);
    let at = |seed| {
        let options = Options { reference: None, samples: 20, seed };
        let mut names: Vec<String> = Vec::new();
        reader.engine().damage_for_test(RAW, &[Value::Str("b".into())]).unwrap();
        let report = verify(&reader, options).unwrap();
        names.extend(report.differences.iter().map(|d| format!("{} {:?} {}", d.name, d.time, d.position)));
        names
    };
    assert_eq!(at(1), at(1));
    assert!(!at(1).is_empty());
    assert_ne!(at(1), at(2));
}

#[test]
fn a_round_may_rest_after_every_record() {
    let reader = history(8);
    let snapshot = reader.engine().snapshot(ReadAt::default()).unwrap();
    let options = Options { reference: None, samples: 60, seed: 3 };
    let mut round = Round::new(reader.engine(), &snapshot, options).unwrap();
    let mut rests = 0;
    while !round.pass.advance(reader.engine(), 1).unwrap() {
        rests += 1;
    }
    assert!(rests > 10);
    let report = round.compare(&reader, &snapshot).unwrap();
    assert_eq!((report.checked, report.differences), (all(&reader, None).checked, Vec::new()));
}

#[test]
fn an_unknown_reference_is_refused_with_the_near_ones() {
    let options = Options { reference: Some("Evnt".into()), samples: 1, seed: 0 };
    let error = verify(&history(0), options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.detail().contains("Event"), "{error}");
}
