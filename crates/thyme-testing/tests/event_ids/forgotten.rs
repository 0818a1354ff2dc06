//! What is told of duplicates when the memory of ids is given back.

use serde_json::json;
use thyme_core::Position;
use thyme_engine::{Engine, LeftOutQuery, Options, ReadAt, Wanted};
use thyme_testing::clock::HandClock;
use thyme_testing::definitions::parse;

const START: i64 = 1_773_568_800;

fn push(engine: &Engine, events: &[(&str, i64)]) -> u64 {
    let rows = events.iter().map(|(id, at)| json!({"id": id, "who": "w", "at": START + at}).to_string());
    let rows: Vec<String> = rows.collect();
    let catalog = engine.catalog();
    let push = engine.read_json(catalog.dataset("Ride").unwrap(), rows.iter().map(|r| r.as_bytes())).unwrap();
    let position = engine.push(push).unwrap().position;
    engine
        .snapshot(ReadAt { min_position: Some(Position::end_of(position.record())), ..ReadAt::default() })
        .unwrap();
    position.record()
}

#[test]
fn an_event_that_counts_is_no_duplicate_of_one_whose_id_was_forgotten_when_its_own_claim_is_gone() {
    let root = tempfile::tempdir().unwrap();
    let env = HandClock::at((START + 50_000) * 1_000_000).env();
    let path = Some(root.path().join("data"));
    let engine = Engine::open(Options { path, shards: 1, env, ..Options::default() }).unwrap();
    let document = parse(json!({"format": 1, "datasets": [{
        "name": "Ride", "event_id": "id", "index": true, "retention": "10m", "fields": [
            {"name": "who", "type": "str", "role": "key"}, {"name": "id", "type": "str"},
            {"name": "at", "type": "datetime", "role": "timestamp"}],
    }]}));
    engine.commit(&document, |_| Ok(())).unwrap();
    push(&engine, &[("x", 300)]);
    // From here on x is forgotten: its event is older than twice the retention.
    push(&engine, &[("b", 2_000)]);
    let record = push(&engine, &[("x", 200), ("b", 2_000)]);
    let listed = || -> Vec<Position> {
        let catalog = engine.catalog();
        let query = LeftOutQuery {
            wanted: Wanted::Duplicates,
            before: Position::MAX,
            since: i64::MIN,
            limit: usize::MAX,
        };
        let found = engine.left_out(catalog.dataset("Ride").unwrap(), &query).unwrap();
        found.iter().map(|event| event.position).collect()
    };
    assert_eq!(listed(), [Position::new(record, 1)]);
    // The claims up to 250 go: twice the retention and an hour of slack before this.
    push(&engine, &[("c", 250 + 1_200 + 3_600)]);
    engine.checkpoint().unwrap();
    assert!(engine.enforce_retention().unwrap() > 0);
    let known = engine.whole_after(engine.catalog().dataset("Ride").unwrap()).unwrap();
    assert_eq!(known.0, (START + 250) * 1_000_000);
    assert_eq!(listed(), [Position::new(record, 1)]);
}
