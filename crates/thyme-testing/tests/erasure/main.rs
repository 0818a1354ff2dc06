//! An erased entity is nowhere any more, everybody else is as before, and a crash at any point ends in the one
//! state or the other.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod backups;
mod cut;
mod full;
mod fuse;
mod ids;
mod waits;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use thyme_core::definition::Document;
use thyme_core::error::ErrorKind;
use thyme_core::{EntityKey, EventTime, Position, Result, Value};
use thyme_engine::{Engine, ErasureReceipt, Idempotency, Memory, Options, Parts, ReadAt, SourceBatch};
use thyme_log::DirDisk;
use thyme_store::{Backend, MemoryStore, Room};
use thyme_testing::clock::HandClock;
use thyme_testing::definitions::parse;
use thyme_testing::ledger::START_US;

/// Texts that are nowhere by chance.
const ERASED: &str = "qZ7xK9vWb2LmT4pRjY8sHd3F";
const ERASED_NOTE: &str = "uN5cX1oEgA6iQk0BzVt2MwJr";
const KEPT: &str = "yL3fP8hSaD4gUe9CnOx1IvKb";
/// Shorter stretches of a text than this may be anywhere.
const WINDOW: usize = 7;

fn document() -> Document {
    let field = |name: &str, kind: &str, role: &str| json!({"name": name, "type": kind, "role": role});
    let raw = |name: &str| {
        json!({"name": name, "index": true, "on_error": "skip", "max_lateness": "1h", "fields": [
            field("user", "str", "key"), field("bank", "str", "value"), field("note", "str", "value"),
            field("amount", "float", "value"), field("at", "datetime", "timestamp"),
        ]})
    };
    let derived = |name: &str, key: &str| {
        json!({"name": name, "fields": [
            field(key, "str", "key"), field("at", "datetime", "timestamp"), field("n", "int", "value"),
            field("total", "float", "value"), field("note", "str", "value"),
        ], "pipelines": [{"name": "compute", "version": 1, "inputs": ["Payment"], "operators": [
            {"op": "groupby", "keys": [key]},
            {"op": "aggregate", "aggregates": [
                {"name": "n", "function": "count"},
                {"name": "total", "function": "sum", "of": "amount", "window": "30d"},
                {"name": "note", "function": "last", "of": "note"},
            ]},
        ]}]})
    };
    let join = json!({"op": "join", "dataset": "Payment", "left_on": ["user"], "right_on": ["user"],
        "fields": [{"name": "paid", "field": "note"}]});
    let joined = json!({"name": "Joined", "fields": [
        field("bank", "str", "key"), field("at", "datetime", "timestamp"), field("n", "int", "value"),
        field("paid", "str", "value"),
    ], "pipelines": [{"name": "compute", "version": 1, "inputs": ["Other"], "operators": [
        join,
        {"op": "groupby", "keys": ["bank"]},
        {"op": "aggregate", "aggregates": [
            {"name": "n", "function": "count"}, {"name": "paid", "function": "last", "of": "paid"},
        ]},
    ]}]});
    parse(json!({"format": 1, "featuresets": [], "datasets": [
        raw("Payment"), raw("Other"), derived("ByUser", "user"), derived("ByBank", "bank"), joined,
    ]}))
}

fn event(user: &str, bank: &str, note: &str, second: i64) -> Json {
    let at = thyme_core::time::format_rfc3339(START_US + second * 1_000_000);
    json!({"user": user, "bank": bank, "note": note, "amount": second as f64 * 0.1, "at": at})
}

fn push(engine: &Engine, dataset: &str, key: Option<&str>, rows: &[Json]) -> Result<Position> {
    let lines: Vec<String> = rows.iter().map(Json::to_string).collect();
    let catalog = engine.catalog();
    let live = catalog.dataset(dataset)?;
    let mut push = engine.read_json(live, lines.iter().map(|line| line.as_bytes()))?;
    let body = lines.concat();
    push.idempotency = key.map(|key| Idempotency::new("", live.id, key, body.as_bytes())).transpose()?;
    engine.push(push).map(|receipt| receipt.position)
}

/// Everybody's events, in several records, with late ones, dead letters and idempotency keys.
fn fill(engine: &Engine) {
    engine.commit(&document(), |_| Ok(())).unwrap();
    for round in 0..6 {
        let base = round * 100;
        let rows: Vec<Json> = (0..12)
            .map(|row| match row % 4 {
                1 => event(ERASED, "north", &format!("{ERASED_NOTE}{row}"), base + row),
                _ => event(&format!("user{}", row % 3), "north", KEPT, base + row),
            })
            .collect();
        push(engine, "Payment", Some(&format!("push{round}")), &rows).unwrap();
        let bad = json!({"user": ERASED, "bank": "north", "note": ERASED_NOTE, "amount": "much", "at": "x"});
        push(engine, "Payment", None, &[bad, json!({"user": KEPT, "amount": "much"})]).unwrap();
        push(engine, "Payment", None, &[json!([format!("cut off {ERASED} {ERASED_NOTE}")])]).unwrap();
    }
    // Late, both.
    push(
        engine,
        "Payment",
        None,
        &[event(ERASED, "south", ERASED_NOTE, -9_000), event("user1", "south", "", -9_000)],
    )
    .unwrap();
    push(engine, "Payment", Some("alone"), &[event(ERASED, "south", ERASED_NOTE, 700)]).unwrap();
    push(engine, "Other", None, &[event(KEPT, "north", "other", 3)]).unwrap();
}

fn open(parts: &Parts, memory: Option<Memory>) -> Result<Engine> {
    let env = HandClock::at(START_US + 5_000_000_000).env();
    Engine::open(Options { parts: Some(parts.clone()), shards: 2, memory, env, ..Options::default() })
}

fn parts(dir: &Path) -> Parts {
    Parts {
        log: Arc::new(DirDisk::open(dir).unwrap()),
        log_options: thyme_log::Options { segment_bytes: 2_500 },
        store: Arc::new(MemoryStore::default()),
    }
}

fn erase(engine: &Engine, dataset: &str, users: &[&str]) -> Result<ErasureReceipt> {
    let entities: Vec<Vec<Value>> = users.iter().map(|user| vec![Value::Str((*user).into())]).collect();
    engine.erase(engine.catalog().dataset(dataset)?, &entities)
}

/// The outputs, or an index's row, of an entity at several times and positions.
fn values(engine: &Engine, dataset: &str, key: &str, positions: &[Position]) -> Vec<Vec<Value>> {
    let key = EntityKey::encode(&[Value::Str(key.into())]).unwrap();
    let mut found = Vec::new();
    for position in positions {
        let snapshot = engine.snapshot(ReadAt { position: Some(*position), ..ReadAt::default() }).unwrap();
        let node = snapshot.catalog.dataset(dataset).unwrap().readable().unwrap();
        for second in [0, 3, 101, 550, 9_000] {
            let time = EventTime(START_US + second * 1_000_000);
            let all: Vec<usize> = (0..node.outputs.len()).collect();
            found.push(match node.is_index() {
                true => {
                    snapshot.latest_row(node, &key.0, time).unwrap().map(|(_, row)| row).unwrap_or_default()
                }
                false => snapshot.outputs(node, &key.0, time, &all).unwrap(),
            });
        }
    }
    found
}

fn everybody(engine: &Engine, positions: &[Position]) -> Vec<Vec<Vec<Value>>> {
    let of = |dataset, key| values(engine, dataset, key, positions);
    let raw = ["user0", "user1", "user2", "nobody"].iter().map(|user| of("Payment", user));
    let derived = ["user0", "user1", "user2"].iter().map(|user| of("ByUser", user));
    raw.chain(derived).chain([of("Other", KEPT)]).collect()
}

/// Where a stretch of `secret` is among the files below `dir`.
fn traces(dir: &Path, secret: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(traces(&path, secret));
            continue;
        }
        found.extend(in_bytes(&std::fs::read(&path).unwrap(), secret).map(|_| path.display().to_string()));
    }
    found
}

fn in_bytes(bytes: &[u8], secret: &str) -> Option<usize> {
    let stretches: Vec<&[u8]> = secret.as_bytes().windows(WINDOW).collect();
    bytes.windows(WINDOW).position(|window| stretches.contains(&window))
}

fn in_store(store: &dyn Backend, secret: &str) -> bool {
    store
        .scan(&[])
        .map(|pair| pair.unwrap())
        .any(|(key, value)| in_bytes(&key, secret).is_some() || in_bytes(&value, secret).is_some())
}

fn no_trace(dir: &Path, store: &dyn Backend) {
    for secret in [ERASED, ERASED_NOTE] {
        assert_eq!(traces(dir, secret), Vec::<String>::new());
        assert!(!in_store(store, secret));
    }
    assert!(!traces(dir, KEPT).is_empty(), "others are where they were");
}

/// So little that every entity goes to the store once it was used.
fn no_memory() -> Option<Memory> {
    Some(Memory { total: 0, timelines: 1, records: 1 << 20, store: Room::default() })
}

#[test]
fn nothing_of_an_erased_entity_is_in_any_file_and_everybody_else_has_the_same_bits() {
    nothing_is_left(None);
}

#[test]
fn nothing_is_left_of_an_entity_that_is_not_in_memory() {
    nothing_is_left(no_memory());
}

fn nothing_is_left(memory: Option<Memory>) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let env = HandClock::at(START_US + 5_000_000_000).env();
    let open = || {
        let (path, env) = (Some(data.clone()), env.clone());
        Engine::open(Options { path, shards: 2, memory, env, ..Options::default() })
    };
    let engine = open().unwrap();
    fill(&engine);
    engine.checkpoint().unwrap();
    // In tables and journals of the store, not only in its memory.
    push(&engine, "Payment", None, &[event(ERASED, "north", ERASED_NOTE, 800)]).unwrap();
    engine.checkpoint().unwrap();
    let last = engine.records().0;
    let positions: Vec<Position> = (1..=last).map(Position::end_of).chain([Position::new(3, 5)]).collect();
    let before = everybody(&engine, &positions);
    let banks = values(&engine, "ByBank", "north", &[Position::end_of(last)]);
    assert!(!traces(&data, ERASED).is_empty() && !traces(&data, ERASED_NOTE).is_empty());
    let catalog = engine.catalog();
    let counted = engine.counters(catalog.dataset("Payment").unwrap());

    let receipt = erase(&engine, "Payment", &[ERASED]).unwrap();
    assert_eq!((receipt.events, receipt.dead_letters), (18 + 1 + 1 + 1, 12));
    assert_eq!(receipt.datasets, ["ByBank", "ByUser", "Joined", "Payment"]);
    assert!(!format!("{receipt:?}").contains(&ERASED[..WINDOW]));
    let store = MemoryStore::default();
    no_trace(&data, &store);
    let check = |engine: &Engine| {
        assert_eq!(everybody(engine, &positions), before);
        let north = values(engine, "ByBank", "north", &[Position::end_of(last)]);
        assert_ne!(north, banks, "the bank does not count them any more");
        assert_eq!(north[4][0], Value::Int(6 * 9));
        assert_eq!(north[4][2], Value::Str(KEPT.into()));
        for dataset in ["Payment", "ByUser"] {
            let gone = values(engine, dataset, ERASED, &positions);
            assert_eq!(gone, values(engine, dataset, "nobody", &positions));
        }
        let catalog = engine.catalog();
        let live = catalog.dataset("Payment").unwrap();
        let now = engine.counters(live);
        assert_eq!((now.events, now.late), (counted.events - 21, counted.late - 1));
        assert_eq!(engine.dead_letters(live, Position::MAX, 100, true).unwrap().len(), 6);
        let snapshot = engine.snapshot(ReadAt::default()).unwrap();
        assert_eq!(snapshot.entities(live.node.as_ref().unwrap(), snapshot.time).unwrap().len(), 3);
    };
    check(&engine);
    // From the checkpoint, and from the log alone.
    drop(engine);
    check(&open().unwrap());
    no_trace(&data, &store);
    std::fs::remove_dir_all(data.join("store")).unwrap();
    let engine = open().unwrap();
    check(&engine);
    // A new pipeline is filled from what is left.
    let mut changed = document();
    changed.datasets[3].pipelines[0].version = 2;
    engine.commit(&changed, |_| Ok(())).unwrap();
    check(&engine);
    // What is pushed after is new.
    push(&engine, "Payment", Some("alone"), &[event(ERASED, "south", "new", 900)]).unwrap();
    let again = values(&engine, "ByUser", ERASED, &[Position::end_of(engine.records().0)]);
    assert_eq!(again[4][0], Value::Int(1));
    let second = erase(&engine, "Payment", &[ERASED, "nobody"]).unwrap();
    assert_eq!((second.events, second.entities.len()), (1, 2));
    assert_eq!(second.entities[0], receipt.entities[0]);
    check(&engine);
}

#[test]
fn a_push_that_is_sent_again_does_not_count_others_twice() {
    let engine = Engine::open(Options::default()).unwrap();
    engine.commit(&document(), |_| Ok(())).unwrap();
    let rows = [event(ERASED, "north", "", 1), event("user0", "north", "", 2)];
    let first = push(&engine, "Payment", Some("both"), &rows).unwrap();
    erase(&engine, "Payment", &[ERASED]).unwrap();
    assert_eq!(push(&engine, "Payment", Some("both"), &rows).unwrap(), first);
    let count = |bank| values(&engine, "ByBank", bank, &[Position::end_of(engine.records().0)])[4][0].clone();
    assert_eq!(count("north"), Value::Int(1));
}

#[test]
fn what_was_joined_with_an_erased_row_is_joined_again_without_it() {
    is_joined_again(None);
    is_joined_again(no_memory());
}

fn is_joined_again(memory: Option<Memory>) {
    let dir = tempfile::tempdir().unwrap();
    let parts = parts(dir.path());
    let open = |parts: &Parts| open(parts, memory);
    let mut engine = open(&parts).unwrap();
    engine.commit(&document(), |_| Ok(())).unwrap();
    push(&engine, "Payment", None, &[event(ERASED, "x", ERASED_NOTE, 1), event("user0", "x", KEPT, 1)])
        .unwrap();
    let others =
        [event("user0", "north", "", 2), event(ERASED, "north", "", 3), event(ERASED, "south", "", 3)];
    push(&engine, "Other", None, &others).unwrap();
    engine.checkpoint().unwrap();
    let banks = |engine: &Engine| {
        let last = [Position::end_of(engine.records().0)];
        ["north", "south"].map(|bank| values(engine, "Joined", bank, &last)[4].clone())
    };
    let row =
        |n, paid: Option<&str>| vec![Value::Int(n), paid.map_or(Value::Null, |paid| Value::Str(paid.into()))];
    assert_eq!(banks(&engine), [row(2, Some(ERASED_NOTE)), row(1, Some(ERASED_NOTE))]);
    for (dataset, left) in
        [("Payment", [row(2, Some(KEPT)), row(1, None)]), ("Other", [row(1, Some(KEPT)), row(0, None)])]
    {
        erase(&engine, dataset, &[ERASED]).unwrap();
        assert_eq!(banks(&engine), left);
        drop(engine);
        engine = open(&parts).unwrap();
        assert_eq!(banks(&engine), left);
    }
    for secret in [ERASED, ERASED_NOTE] {
        assert_eq!(traces(dir.path(), secret), Vec::<String>::new());
        assert!(!in_store(parts.store.as_ref(), secret));
    }
}

fn open_at(data: &Path, clock: &HandClock) -> Result<Engine> {
    Engine::open(Options { path: Some(data.to_owned()), env: clock.env(), ..Options::default() })
}

fn read_source(engine: &Engine, rows: &[Json], cursor: u8) -> u64 {
    let catalog = engine.catalog();
    let live = catalog.dataset("Payment").unwrap();
    let lines: Vec<String> = rows.iter().map(Json::to_string).collect();
    let fields = &live.definition.fields;
    let decoded =
        thyme_engine::decode::json::rows(fields, live.definition.extra, lines.iter().map(|l| l.as_bytes()))
            .unwrap();
    let bad = decoded.rejected.iter().map(|r| thyme_engine::DeadLetter::new("file", r.reason(), &r.raw));
    let batch = SourceBatch {
        stream: "file".into(),
        cursor: vec![cursor],
        dead_letters: bad.collect(),
        batch: decoded.batch,
    };
    let receipt = engine.push(engine.read_source(live, batch).unwrap()).unwrap();
    engine.snapshot(ReadAt { min_position: Some(receipt.position), ..ReadAt::default() }).unwrap();
    receipt.accepted
}

#[test]
fn a_source_that_is_read_again_does_not_bring_an_entity_back_but_brings_later_events() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let clock = HandClock::at(START_US + 1_000 * 1_000_000);
    let open = || open_at(&data, &clock).unwrap();
    let engine = open();
    engine.commit(&document(), |_| Ok(())).unwrap();
    let bad = json!({"user": ERASED, "amount": "much"});
    let rows = [event(ERASED, "north", ERASED_NOTE, 1), event("user0", "north", KEPT, 2), bad.clone()];
    assert_eq!(read_source(&engine, &rows, 1), 2);
    assert_eq!(erase(&engine, "Payment", &[ERASED]).unwrap().events, 1);
    assert_eq!(read_source(&engine, &rows, 2), 1);
    drop(engine);
    let engine = open();
    assert_eq!(read_source(&engine, &rows, 3), 1);
    assert_eq!(engine.cursor("file"), Some(vec![3]));
    let later = [event(ERASED, "north", "later", 2_000), json!("cut off")];
    assert_eq!(read_source(&engine, &later, 4), 1);
    {
        let catalog = engine.catalog();
        let live = catalog.dataset("Payment").unwrap();
        assert_eq!(engine.counters(live).erased, 4);
        assert_eq!(engine.dead_letters(live, Position::MAX, 10, true).unwrap().len(), 1);
    }
    drop(engine);
    assert_eq!(traces(&data, ERASED_NOTE), Vec::<String>::new());
    // Without its secret the ledger is worth nothing: that is not passed over.
    std::fs::remove_file(data.join("log/erase.key")).unwrap();
    let refused = open_at(&data, &clock).unwrap_err();
    assert!(refused.to_string().contains("erase.key"), "{refused}");
}

/// Dead letters that do not tell whose they are, until a replay can read them as `rows`.
fn replay(engine: &Engine, rows: &[Json]) -> thyme_engine::Replay {
    let catalog = engine.catalog();
    let live = catalog.dataset("Payment").unwrap();
    let lines: Vec<String> = rows.iter().map(Json::to_string).collect();
    let read = |letters: &[&thyme_engine::DeadLetter]| {
        assert_eq!(letters.len(), rows.len());
        let push = engine.read_json(live, lines.iter().map(|line| line.as_bytes()))?;
        Ok(thyme_engine::Reread { batch: push.batch().clone(), reasons: vec![None; rows.len()] })
    };
    engine.replay_dead_letters(live, read).unwrap()
}

#[test]
fn a_replayed_letter_does_not_bring_back_what_was_stored_before_the_erasure() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let clock = HandClock::at(START_US + 1_000 * 1_000_000);
    let open = || open_at(&data, &clock).unwrap();
    let engine = open();
    engine.commit(&document(), |_| Ok(())).unwrap();
    let opaque = json!(["nobody's"]);
    push(&engine, "Payment", None, &[opaque.clone(), opaque.clone()]).unwrap();
    erase(&engine, "Payment", &[ERASED]).unwrap();
    // Stored before it, whatever time it is of; and somebody else's.
    let done = replay(&engine, &[event(ERASED, "north", "", 5_000), event("user0", "north", KEPT, 1)]);
    assert_eq!((done.replayed, done.erased, done.failed), (1, 1, 0));
    // After it: what a client pushes is new, what a source brings is new if it is later.
    push(&engine, "Payment", None, std::slice::from_ref(&opaque)).unwrap();
    let done = replay(&engine, &[event(ERASED, "south", "new", 3)]);
    assert_eq!((done.replayed, done.erased), (1, 0));
    read_source(&engine, &[opaque.clone(), opaque], 1);
    let rows = [event(ERASED, "south", "old", 3), event(ERASED, "south", "later", 2_000)];
    let done = replay(&engine, &rows);
    assert_eq!((done.replayed, done.erased), (1, 1));
    let check = |engine: &Engine| {
        let last = [Position::end_of(engine.records().0)];
        let counts = |key| values(engine, "ByBank", key, &last)[4][0].clone();
        assert_eq!((counts("north"), counts("south")), (Value::Int(1), Value::Int(2)));
        let catalog = engine.catalog();
        assert_eq!(engine.counters(catalog.dataset("Payment").unwrap()).erased, 2);
    };
    check(&engine);
    drop(engine);
    check(&open());
    std::fs::remove_dir_all(data.join("store")).unwrap();
    check(&open());
}

#[test]
fn what_cannot_be_erased_is_refused_by_name() {
    let engine = Engine::open(Options::default()).unwrap();
    engine.commit(&document(), |_| Ok(())).unwrap();
    let refused = erase(&engine, "ByBank", &["north"]).unwrap_err();
    assert!(refused.to_string().contains("erase from Payment instead"), "{refused}");
    let many = vec!["x"; thyme_engine::ENTITIES_MAX + 1];
    for users in [&[][..], &many] {
        let refused = erase(&engine, "Payment", users).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidData);
        assert!(refused.to_string().contains("1 to 1000 entities"), "{refused}");
    }
    let unknown = erase(&engine, "Payment", &["nobody"]).unwrap();
    assert_eq!((unknown.events, unknown.records, unknown.datasets.len()), (0, 0, 0));
}

#[test]
fn a_crash_at_any_point_of_an_erasure_leaves_all_of_the_entity_or_nothing() {
    let mut outcomes: BTreeMap<bool, usize> = BTreeMap::new();
    for budget in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let open = |parts: &Parts| open(parts, if budget % 2 > 0 { no_memory() } else { None });
        let solid = parts(dir.path());
        let (fused, fuse) = fuse::fused(&solid);
        let engine = open(&fused).unwrap();
        fill(&engine);
        // Some crashes find a checkpoint that is older than the erasure, some one in the middle.
        if budget % 3 > 0 {
            engine.checkpoint().unwrap();
        }
        let last = engine.records().0;
        let positions = [Position::end_of(4), Position::end_of(last)];
        let before = everybody(&engine, &positions);
        let whole = values(&engine, "ByUser", ERASED, &positions);
        fuse.set(budget);
        let erased = erase(&engine, "Payment", &[ERASED]);
        let done = erased.is_ok();
        // Nothing that closing does reaches the disk either.
        fuse.set(0);
        drop(engine);
        let engine = open(&solid).unwrap_or_else(|error| unreachable!("budget {budget}: {error}"));
        assert_eq!(everybody(&engine, &positions), before, "budget {budget}");
        let left = values(&engine, "ByUser", ERASED, &positions);
        let gone = left == values(&engine, "ByUser", "nobody", &positions);
        assert!(gone || (!done && left == whole), "budget {budget}: {erased:?}");
        *outcomes.entry(gone).or_default() += 1;
        if gone {
            no_trace(dir.path(), solid.store.as_ref());
        }
        assert!(!dir.path().join("erase.pending").exists(), "budget {budget}");
        // It can be erased again, and committed to.
        let again = erase(&engine, "Payment", &[ERASED]).unwrap();
        assert_eq!(again.events == 0, gone, "budget {budget}");
        no_trace(dir.path(), solid.store.as_ref());
        if done {
            break;
        }
    }
    assert!(outcomes[&true] > 10 && outcomes[&false] > 3, "{outcomes:?}");
}
