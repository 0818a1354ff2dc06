//! Verification over random histories: it finds nothing where nothing is wrong, and it does find what is.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use thyme_audit::{Options, Report, Round, verify};
use thyme_core::{EntityKey, ErrorKind, Value};
use thyme_engine::ReadAt;
use thyme_query::Reader;
use thyme_testing::definitions::RAW;

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
    let mut round = Round::new(&snapshot, options).unwrap();
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
