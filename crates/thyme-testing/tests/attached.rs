//! A copy of an engine's rows gives what the engine gives at every `(T, S)`, however many pages it came in.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use arrow::ipc::writer::StreamWriter;
use serde_json::json;
use thyme_core::definition::Document;
use thyme_core::{EntityKey, ErrorKind, EventTime, Position, Result, Value};
use thyme_engine::attached::{Attached, StoredRows};
use thyme_engine::{Engine, Options, ReadAt, RowsPage, RowsQuery, Snapshot};
use thyme_query::{NoExtractors, Reader};
use thyme_testing::clock::HandClock;
use thyme_testing::definitions::{Derived, RAW, Raw, document, parse};
use thyme_testing::ledger::{Event, START_US};
use thyme_testing::random::Random;
use thyme_testing::seeds;

const HISTORIES: u64 = 40;
const WORKERS: u64 = 4;
const NOW_US: i64 = START_US + 5_000_000_000;

fn push(engine: &Engine, dataset: &str, events: &[String]) {
    let catalog = engine.catalog();
    let live = catalog.dataset(dataset).unwrap();
    let push = engine.read_json(live, events.iter().map(|line| line.as_bytes())).unwrap();
    let receipt = engine.push(push).unwrap();
    engine.snapshot(ReadAt { min_position: Some(receipt.position), ..ReadAt::default() }).unwrap();
}

/// All rows, in pages that end after so many bytes; and how many pages there were.
fn rows(
    engine: &Engine,
    until: u64,
    after: Option<i64>,
    part: f64,
    bytes_max: usize,
) -> (Vec<StoredRows>, usize) {
    let catalog = engine.catalog();
    let live = catalog.dataset(RAW).unwrap();
    let (mut all, mut from, mut pages) = (Vec::new(), None, 0);
    loop {
        let query = RowsQuery { after, until, part, from, bytes_max, scanned_max: usize::MAX };
        let RowsPage { records, next, .. } = engine.stored_rows(live, &query).unwrap();
        all.extend(records);
        pages += 1;
        if next.is_none() {
            return (all, pages);
        }
        from = next;
    }
}

/// An engine over these rows, of which there are those after a time only, if one is given.
fn copied(engine: &Engine, until: u64, rows: &[StoredRows], after: Option<i64>, clock: &HandClock) -> Engine {
    let committed = engine.committed("latest").unwrap();
    let mut attached = Attached::new(committed.id, committed.document);
    after.into_iter().for_each(|after| attached.rows_begin(RAW, after).unwrap());
    for stored in rows {
        let batch = stored.to_batch().unwrap();
        let mut out = Vec::new();
        let mut writer = StreamWriter::try_new(&mut out, &batch.schema()).unwrap();
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
        drop(writer);
        attached.add(RAW, &out).unwrap();
    }
    let log = attached.into_log(until, engine.stamp_of(until).unwrap().unwrap()).unwrap();
    Engine::open(Options { attached: Some(log), shards: 2, env: clock.env(), ..Options::default() }).unwrap()
}

fn snapshot(reader: &Reader, time: i64, record: u64) -> Snapshot {
    let position = Some(Position::end_of(record));
    reader.engine().snapshot(ReadAt { time: Some(EventTime(time)), position, ..ReadAt::default() }).unwrap()
}

#[test]
fn a_copy_gives_what_the_engine_gives_and_new_rows_and_definitions_stay_in_it() {
    let totals = seeds::each(HISTORIES, WORKERS, |seed| {
        let mut random = Random::new(seed);
        let clock = HandClock::at(NOW_US);
        let options = Options { shards: 1 + random.below(3), env: clock.env(), ..Options::default() };
        let engine = Engine::open(options).unwrap();
        let mut raw = Raw::random(&mut random);
        let mut derived: Vec<Derived> = (0..3).map(|i| Derived::random(&mut random, i)).collect();
        engine.commit(&document(&raw, &derived[..1]), |_| Ok(())).unwrap();
        for round in 0..14 {
            let events: Vec<String> =
                (0..1 + random.below(20)).map(|_| Event::random(&mut random).json()).collect();
            push(&engine, RAW, &events);
            if round == 6 {
                // Other limits from here on, which hold for what comes later alone.
                raw.max_lateness = Raw::random(&mut random).max_lateness;
                engine.commit(&document(&raw, &derived[..2]), |_| Ok(())).unwrap();
            }
        }
        let (until, _) = engine.records();
        let (whole, one) = rows(&engine, until, None, 1.0, usize::MAX);
        let (paged, pages) = rows(&engine, until, None, 1.0, 1);
        assert!(one == 1 && pages > 10);
        assert_eq!(format!("{whole:?}"), format!("{paged:?}"));
        let late = whole.iter().flat_map(|r| &r.behind).filter(|behind| behind.is_some()).count();
        let copy = copied(&engine, until, &paged, None, &clock);
        let readers = [engine, copy].map(|engine| Reader::new(Arc::new(engine), Arc::new(NoExtractors)));
        let compare = |count: &mut usize, upto: usize| {
            for each in &derived[..upto] {
                for _ in 0..6 {
                    let time = START_US + random_time(seed, *count);
                    let record = 2 + (*count as u64 * 5 + seed) % (until - 1);
                    let snapshots = [0, 1].map(|side| snapshot(&readers[side], time, record));
                    let at = |side: usize| ReadAt {
                        time: Some(EventTime(time)),
                        position: Some(snapshots[side].position),
                        ..ReadAt::default()
                    };
                    let scans = [0, 1].map(|side| readers[side].scan(at(side), &each.name).unwrap().0);
                    assert_eq!(
                        format!("{:?}", scans[0]),
                        format!("{:?}", scans[1]),
                        "{} {record}",
                        each.name
                    );
                    *count += scans[0].num_rows();
                }
            }
        };
        let mut count = 0;
        compare(&mut count, 2);
        // The same commit on both sides gives the same once more; only one of them is the copy.
        derived_commit(&readers, &raw, &derived);
        compare(&mut count, 3);
        let events: Vec<String> = (0..3).map(|_| Event::random(&mut random).json()).collect();
        push(readers[1].engine(), RAW, &events);
        assert_eq!(readers[0].engine().records().0 + 1, readers[1].engine().records().0);
        derived.clear();
        (count, late)
    });
    let (values, late) = totals.iter().fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
    assert!(values > 2_000 && late > 100, "{values} rows were compared, {late} were late");
}

fn derived_commit(readers: &[Reader; 2], raw: &Raw, derived: &[Derived]) {
    for reader in readers {
        reader.engine().commit(&document(raw, derived), |_| Ok(())).unwrap();
    }
}

fn random_time(seed: u64, count: usize) -> i64 {
    Random::new(seed * 1_000 + count as u64).between(-5, 4_000) * 1_000_000
}

#[test]
fn a_part_is_the_same_entities_each_time_and_later_events_only_if_asked() {
    let mut random = Random::new(5);
    let engine = Engine::open(Options { env: HandClock::at(NOW_US).env(), ..Options::default() }).unwrap();
    engine.commit(&document(&Raw::default(), &[]), |_| Ok(())).unwrap();
    for _ in 0..10 {
        let events: Vec<String> = (0..40).map(|_| Event::random(&mut random).json()).collect();
        push(&engine, RAW, &events);
    }
    let (until, _) = engine.records();
    let count = |records: &[StoredRows]| records.iter().map(|r| r.rows.len()).sum::<usize>();
    let after = START_US + 30_000_000;
    let (all, _) = rows(&engine, until, None, 1.0, usize::MAX);
    let (recent, _) = rows(&engine, until, Some(after), 1.0, usize::MAX);
    let (half, _) = rows(&engine, until, None, 0.5, usize::MAX);
    let (few, _) = rows(&engine, until, None, 0.5, 1);
    assert_eq!((count(&all), format!("{half:?}")), (400, format!("{few:?}")));
    assert!(count(&recent) > 0 && count(&recent) < 400);
    assert!(count(&half) > 0 && count(&half) < 400);
    let (before, _) = rows(&engine, until - 3, None, 1.0, usize::MAX);
    assert_eq!(count(&before), 280);
}

/// Events of one key each with an id, and counts of them by key: over a minute, and since the beginning.
fn counted(event_id: Option<&str>, windows: &[Option<&str>]) -> Document {
    let field = |name: &str, kind: &str, role: &str| json!({"name": name, "type": kind, "role": role});
    let outputs: Vec<String> = (0..windows.len()).map(|index| format!("n{index}")).collect();
    let aggregates = outputs
        .iter()
        .zip(windows)
        .map(|(name, window)| json!({"name": name, "function": "count", "window": window}));
    let mut fields = vec![field("k", "str", "key"), field("at", "datetime", "timestamp")];
    fields.extend(outputs.iter().map(|name| json!({"name": name, "type": "int"})));
    let raw = json!({"name": RAW, "event_id": event_id, "fields": [
        field("k", "str", "key"), field("id", "int", "value"), field("at", "datetime", "timestamp"),
    ]});
    let operators = json!([
        {"op": "groupby", "keys": ["k"]},
        {"op": "aggregate", "aggregates": aggregates.collect::<Vec<_>>()},
    ]);
    let pipeline =
        json!({"name": "compute", "version": windows.len(), "inputs": [RAW], "operators": operators});
    parse(json!({"format": 1, "datasets": [
        raw, {"name": "Counts", "version": windows.len(), "fields": fields, "pipelines": [pipeline]},
    ], "featuresets": []}))
}

const KEYS: [&str; 3] = ["a", "b", "c"];

/// Pushes some events of the first minutes, a few of them again and again.
fn push_counted(engine: &Engine, random: &mut Random) {
    for _ in 0..25 {
        let event = |random: &mut Random| {
            let id = random.between(0, 120);
            let at = thyme_core::time::format_rfc3339(START_US + (id * 7 % 120) * 5_000_000);
            json!({"k": KEYS[id as usize % KEYS.len()], "id": id, "at": at}).to_string()
        };
        let events: Vec<String> = (0..1 + random.below(9)).map(|_| event(random)).collect();
        push(engine, RAW, &events);
    }
}

/// The outputs of `Counts` for an entity.
fn counts(engine: &Engine, key: &str, at: ReadAt, wanted: &[usize]) -> Result<Vec<Value>> {
    let snapshot = engine.snapshot(at).unwrap();
    let node = snapshot.catalog.dataset("Counts").unwrap().readable().unwrap();
    let key = EntityKey::encode(&[Value::Str(key.into())]).unwrap();
    snapshot.outputs(node, &key.0, snapshot.time, wanted)
}

#[test]
fn duplicates_are_duplicates_in_a_copy_too_and_in_what_is_committed_to_it() {
    let (mut random, clock) = (Random::new(7), HandClock::at(NOW_US));
    let engine = Engine::open(Options { env: clock.env(), ..Options::default() }).unwrap();
    engine.commit(&counted(Some("id"), &[Some("1m")]), |_| Ok(())).unwrap();
    push_counted(&engine, &mut random);
    let (until, _) = engine.records();
    let (paged, pages) = rows(&engine, until, None, 1.0, 1);
    let duplicates = paged.iter().flat_map(|rows| &rows.duplicate).filter(|is| **is).count();
    assert!(pages > 10 && duplicates > 10, "{pages} pages, {duplicates} duplicates");
    let copy = copied(&engine, until, &paged, None, &clock);
    let counted_once = |engine: &Engine| {
        let live = engine.catalog().dataset(RAW).unwrap().clone();
        engine.counters(&live).duplicates
    };
    assert_eq!((counted_once(&engine), counted_once(&copy)), (duplicates as u64, duplicates as u64));
    let mut compared = 0;
    let mut compare = |wanted: &[usize]| {
        for (step, key) in (0..60).zip(KEYS.iter().cycle()) {
            let position = Some(Position::end_of(3 + step % (until - 2)));
            let time = Some(EventTime(START_US + step as i64 * 11_000_000));
            let at = ReadAt { time, position, ..ReadAt::default() };
            let [there, here] = [&engine, &copy].map(|engine| counts(engine, key, at, wanted).unwrap());
            assert_eq!(there, here, "{key} {step}");
            compared += usize::from(there[0] != Value::Int(0));
        }
    };
    compare(&[0]);
    for engine in [&engine, &copy] {
        engine.commit(&counted(Some("id"), &[Some("1m"), None]), |_| Ok(())).unwrap();
    }
    compare(&[0, 1]);
    assert!(compared > 20, "{compared}");
    // An id that was copied is taken.
    let id = paged[0].batch.column(1).as_primitive::<Int64Type>().value(0);
    let at = thyme_core::time::format_rfc3339(START_US);
    push(&copy, RAW, &[json!({"k": "a", "id": id, "at": at}).to_string()]);
    assert_eq!(counted_once(&copy), duplicates as u64 + 1);
}

#[test]
fn what_needs_rows_of_before_a_copy_is_refused_and_the_rest_has_the_same_bits() {
    let (mut random, clock) = (Random::new(11), HandClock::at(NOW_US));
    let engine = Engine::open(Options { env: clock.env(), ..Options::default() }).unwrap();
    // The log of the copy begins with a later record than the first.
    engine.commit(&counted(None, &[Some("1m")]), |_| Ok(())).unwrap();
    engine.commit(&counted(None, &[Some("1m"), None]), |_| Ok(())).unwrap();
    push_counted(&engine, &mut random);
    let (until, _) = engine.records();
    let after = START_US + 240_000_000;
    let (recent, _) = rows(&engine, until, Some(after), 1.0, usize::MAX);
    let copy = copied(&engine, until, &recent, Some(after), &clock);
    let mut outcomes = [0; 2];
    for second in (-30..700).step_by(5) {
        let time = START_US + second * 1_000_000;
        let at = ReadAt { time: Some(EventTime(time)), ..ReadAt::default() };
        for key in KEYS {
            let [there, here] = [&engine, &copy].map(|engine| counts(engine, key, at, &[0]));
            let is_whole = time - 60_000_000 >= after;
            outcomes[usize::from(is_whole)] += 1;
            match here {
                Ok(here) => assert!(is_whole && there.unwrap() == here, "{key} {second}"),
                Err(error) => assert!(!is_whole && error.kind() == ErrorKind::Gone, "{error}"),
            }
        }
    }
    assert!(outcomes.iter().all(|count| *count > 100), "{outcomes:?}");
    // What reaches back without end begins with the copy, which says so.
    let live = copy.catalog().dataset("Counts").unwrap().clone();
    assert_eq!(copy.history_from(&live), Some(EventTime(after)));
    let all = KEYS.map(|key| counts(&copy, key, ReadAt::default(), &[1]).unwrap()[0].clone());
    let since = |key: &str| {
        let of = |stored: &StoredRows| {
            let keys = stored.batch.column(0).as_string::<i32>().iter();
            keys.filter(|k| *k == Some(key)).count() as i64
        };
        Value::Int(recent.iter().map(of).sum())
    };
    assert_eq!(all, KEYS.map(since));
}
