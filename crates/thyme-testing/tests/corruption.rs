//! A damaged file of a data directory is noticed and named, or does not matter: every answer is the one that
//! was written, or an error.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;
use thyme_core::definition::Document;
use thyme_core::error::ErrorKind;
use thyme_core::{EntityKey, Error, EventTime, Position, Result, Value};
use thyme_engine::maintenance::{self, Health};
use thyme_engine::{Engine, Options, ReadAt};
use thyme_log::{Log, NewRecord, SegmentLog, UntouchedDir};
use thyme_testing::clock::HandClock;
use thyme_testing::definitions::parse;
use thyme_testing::directory;
use thyme_testing::random::Random;

const DAMAGES: u64 = 420;
const WORKERS: u64 = 8;
const AT: i64 = 1_773_568_800;
const KEYS: u64 = 7;

fn document(version: u32) -> Document {
    let operators = json!([
        {"op": "groupby", "keys": ["who"]},
        {"op": "aggregate", "aggregates": [
            {"name": "n", "function": "count"}, {"name": "total", "function": "sum", "of": "amount"}]},
    ]);
    parse(json!({"format": 1, "datasets": [
        {"name": "Paid", "fields": [
            {"name": "who", "type": "str", "role": "key"}, {"name": "amount", "type": "int"},
            {"name": "at", "type": "datetime", "role": "timestamp"}]},
        {"name": "Sums", "version": version, "fields": [
            {"name": "who", "type": "str", "role": "key"}, {"name": "at", "type": "datetime", "role": "timestamp"},
            {"name": "n", "type": "int"}, {"name": "total", "type": "int"},
        ], "pipelines": [{"name": "p", "version": version, "inputs": ["Paid"], "operators": operators}]},
    ]}))
}

fn open(path: &Path) -> Result<Engine> {
    let clock = HandClock::at((AT + 9_000) * 1_000_000);
    Engine::open(Options { path: Some(path.to_owned()), shards: 1, env: clock.env(), ..Options::default() })
}

/// Pushes record number `record`: what is in it follows from the number.
fn push(engine: &Engine, record: u64) {
    let rows: Vec<String> = (0..1 + record % 40)
        .map(|i| {
            let amount = record * 1_000 + i;
            json!({"who": format!("k{}", (record + i) % KEYS), "amount": amount, "at": AT + i as i64})
                .to_string()
        })
        .collect();
    let catalog = engine.catalog();
    let push = engine.read_json(catalog.dataset("Paid").unwrap(), rows.iter().map(|r| r.as_bytes())).unwrap();
    assert_eq!(engine.push(push).unwrap().position.record(), record);
}

/// What the rows of records up to `last` come to, by arithmetic: count and sum of a key.
fn truth(key: u64, last: u64) -> (i64, i64) {
    let rows = (2..=last).flat_map(|record| {
        (0..1 + record % 40).filter(move |i| (record + i) % KEYS == key).map(move |i| record * 1_000 + i)
    });
    rows.fold((0, 0), |(n, total), amount| (n + 1, total + amount as i64))
}

fn assert_true_at(engine: &Engine, last: u64) -> Result<()> {
    for record in [last, last - 1, last / 2] {
        let at = ReadAt {
            time: Some(EventTime((AT + 100) * 1_000_000)),
            position: Some(Position::end_of(record)),
            ..ReadAt::default()
        };
        let snapshot = engine.snapshot(at)?;
        let node = snapshot.catalog.dataset("Sums").unwrap().readable().unwrap();
        for key in 0..KEYS {
            let entity = EntityKey::encode(&[Value::Str(format!("k{key}").into())]).unwrap();
            let (n, total) = truth(key, record);
            let expected = [Value::Int(n), Value::Int(total)];
            let time = EventTime((AT + 100) * 1_000_000);
            assert_eq!(snapshot.outputs(node, &entity.0, time, &[0, 1])?, expected, "key {key} at e{record}");
        }
    }
    Ok(())
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// The same log in segments of a few KiB.
fn cut_into_segments(log: &Path) {
    let whole = log.with_extension("whole");
    fs::rename(log, &whole).unwrap();
    let (from, _) = SegmentLog::open(&whole, thyme_log::Options::default()).unwrap();
    let (to, _) = SegmentLog::open(log, thyme_log::Options { segment_bytes: 6 << 10 }).unwrap();
    for record in from.read(1).unwrap() {
        let record = record.unwrap();
        to.append(&[NewRecord { stamp: record.stamp, payload: &record.payload }]).unwrap();
    }
    drop(from);
    fs::remove_dir_all(whole).unwrap();
}

/// A directory with a log of several segments, a store with tables and a journal, and its last record. With
/// `tail`, the last records are in the log alone.
fn build(root: &Path, tail: bool) -> (PathBuf, u64) {
    let (first, backup, data) = (root.join("first"), root.join("backup"), root.join("data"));
    let mut record = 1;
    let mut life = |path: &Path, count: u64, checkpoints: bool| {
        let engine = open(path).unwrap();
        engine.commit(&document(1), |_| Ok(())).unwrap();
        for _ in 0..count {
            record += 1;
            push(&engine, record);
            if checkpoints && record % 3 == 0 {
                engine.checkpoint().unwrap();
            }
        }
        engine
    };
    let engine = life(&first, 20, true);
    engine.backup(&backup).unwrap();
    drop(engine);
    // What is restored lies in tables.
    maintenance::restore(&backup, &data, &|_, _| {}).unwrap();
    drop(life(&data, 20, true));
    cut_into_segments(&data.join("log"));
    let engine = life(&data, 5, false);
    let built = root.join("built");
    if !tail {
        engine.checkpoint().unwrap();
    }
    // As after a kill.
    directory::copy(&data, &built).unwrap();
    drop(engine);
    (built, record)
}

#[derive(Debug)]
enum Damage {
    Flip { at: u64, mask: u8 },
    Cut { to: u64 },
    Blank { sector: u64 },
    Swap { one: u64, other: u64 },
    Delete,
}

const SECTOR: u64 = 512;

impl Damage {
    fn random(random: &mut Random, length: u64) -> Damage {
        let sectors = length.div_ceil(SECTOR) as usize;
        match random.below(12) {
            0 => Damage::Delete,
            1 => Damage::Cut { to: random.below(length as usize) as u64 },
            2 => Damage::Blank { sector: random.below(sectors) as u64 },
            3 if sectors > 1 => {
                let one = random.below(sectors) as u64;
                Damage::Swap { one, other: (one + 1) % sectors as u64 }
            }
            _ => Damage::Flip { at: random.below(length as usize) as u64, mask: 1 << random.below(8) },
        }
    }

    fn apply(&self, path: &Path) {
        let mut bytes = fs::read(path).unwrap();
        match *self {
            Damage::Delete => return fs::remove_file(path).unwrap(),
            Damage::Cut { to } => bytes.truncate(to as usize),
            Damage::Flip { at, mask } => bytes[at as usize] ^= mask,
            Damage::Blank { sector } => {
                bytes.iter_mut().skip((sector * SECTOR) as usize).take(SECTOR as usize).for_each(|b| *b = 0);
            }
            Damage::Swap { one, other } => {
                for i in 0..SECTOR {
                    let (a, b) = ((one * SECTOR + i) as usize, (other * SECTOR + i) as usize);
                    if a.max(b) < bytes.len() {
                        bytes.swap(a, b);
                    }
                }
            }
        }
        fs::write(path, bytes).unwrap();
    }
}

/// What opening a damaged directory and reading all of it came to.
fn look(path: &Path, last: u64) -> Result<()> {
    let engine = open(path)?;
    assert_eq!(engine.records().0, last, "the history is shorter");
    assert_true_at(&engine, last)?;
    drop(engine);
    let (log, _) = SegmentLog::open(&path.join("log"), thyme_log::Options::default())?;
    let count = log.read(1)?.try_fold(0, |count, record| record.map(|_| count + 1))?;
    assert_eq!(count, last);
    Ok(())
}

/// Whether the error says where the damage is.
fn names_it(error: &Error, dir: &Path) -> bool {
    let known = matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported | ErrorKind::Unavailable);
    let place = error.detail().contains(&*dir.to_string_lossy()) || error.detail().contains("in the store");
    known && place
}

#[test]
fn a_damaged_file_is_named_or_does_not_matter() {
    let root = tempfile::tempdir().unwrap();
    let built = [false, true].map(|tail| build(&root.path().join(format!("tail-{tail}")), tail));
    assert!(files(&built[0].0).iter().filter(|p| p.extension().is_some_and(|e| e == "log")).count() > 4);
    assert!(files(&built[0].0).iter().any(|p| p.to_string_lossy().contains("keyspaces/1/tables/")));
    built.iter().for_each(|(path, last)| {
        let whole = path.with_extension("whole");
        directory::copy(path, &whole).unwrap();
        look(&whole, *last).unwrap();
    });
    let (next, noticed) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= DAMAGES {
                        break;
                    }
                    let (built, last) = &built[(seed % 2) as usize];
                    noticed.fetch_add(u64::from(one_damage(seed, built, *last)), Ordering::Relaxed);
                }
            });
        }
    });
    assert!(noticed.into_inner() > DAMAGES / 3);
}

/// Does one damage; whether it was noticed.
fn one_damage(seed: u64, built: &Path, last: u64) -> bool {
    let mut random = Random::new(seed);
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("data");
    directory::copy(built, &dir).unwrap();
    let files = files(&dir);
    let last_segment =
        files.iter().rfind(|path| path.extension().is_some_and(|e| e == "log")).unwrap().clone();
    let (path, damage) = loop {
        let path = random.pick(&files);
        let length = fs::metadata(&path).unwrap().len();
        if length == 0 {
            continue;
        }
        let damage = Damage::random(&mut random, length);
        // What cannot be told from a write that a crash cut short, or from a shorter log.
        if path == last_segment && !matches!(damage, Damage::Flip { .. }) {
            continue;
        }
        break (path, damage);
    };
    damage.apply(&path);
    let case = format!("seed {seed}: {damage:?} of {}", path.display());
    // First, because a start may cut and clear.
    let found = maintenance::examine(&dir, true, i64::MAX, &|_, _| {}).unwrap();
    match catch_unwind(AssertUnwindSafe(|| look(&dir, last))) {
        Err(_) => panic!("{case}: it was not noticed"),
        Ok(Ok(())) => false,
        Ok(Err(error)) => {
            assert!(names_it(&error, &dir), "{case}: {error}");
            assert!(!error.detail().contains("Mismatch"), "{case}: {error}");
            assert_eq!(found.health(), Health::Damaged, "{case}: {error}; the doctor saw {found:?}");
            true
        }
    }
}

#[test]
fn a_commit_over_a_damaged_log_is_refused_and_the_engine_goes_on() {
    let root = tempfile::tempdir().unwrap();
    let (dir, last) = build(root.path(), false);
    let engine = open(&dir).unwrap();
    let segment = files(&dir.join("log")).into_iter().find(|path| path.extension().is_some()).unwrap();
    Damage::Flip { at: 900, mask: 4 }.apply(&segment);
    let error = engine.commit(&document(2), |_| Ok(())).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.detail().contains(&*segment.to_string_lossy()), "{error}");
    assert_true_at(&engine, last).unwrap();
    push(&engine, last + 1);
    drop(engine);
    assert_true_at(&open(&dir).unwrap(), last + 1).unwrap();
}

#[test]
fn the_doctor_changes_nothing_and_sees_what_a_start_would_cut() {
    let root = tempfile::tempdir().unwrap();
    let (dir, _) = build(root.path(), true);
    let examine = || maintenance::examine(&dir, true, i64::MAX, &|_, _| {}).unwrap();
    let before: Vec<_> = files(&dir).into_iter().map(|p| (fs::read(&p).unwrap(), p)).collect();
    let found = examine();
    assert!(found.findings.iter().all(|f| f.health == Health::Intact || f.part == "disk"), "{found:?}");
    let after: Vec<_> = files(&dir).into_iter().map(|p| (fs::read(&p).unwrap(), p)).collect();
    assert!(before == after);
    let last = files(&dir.join("log")).into_iter().rfind(|path| path.extension().is_some()).unwrap();
    let length = fs::metadata(&last).unwrap().len();
    fs::OpenOptions::new().write(true).open(&last).unwrap().set_len(length - 9).unwrap();
    let found = examine();
    let torn = found.findings.iter().find(|f| f.part == "log" && f.health == Health::Attention).unwrap();
    assert!(torn.what.contains("a write that was never acknowledged"), "{torn:?}");
    assert!(torn.what.contains(&*last.to_string_lossy()), "{torn:?}");
    assert_eq!(found.health(), Health::Attention, "{found:?}");
    assert_eq!(fs::metadata(&last).unwrap().len(), length - 9);
}

#[test]
fn of_a_record_that_is_cut_short_though_the_store_has_it_the_doctor_says_that_it_was_acknowledged() {
    let root = tempfile::tempdir().unwrap();
    let (dir, last) = build(root.path(), false);
    let segment = files(&dir.join("log")).into_iter().rfind(|path| path.extension().is_some()).unwrap();
    let length = fs::metadata(&segment).unwrap().len();
    fs::OpenOptions::new().write(true).open(&segment).unwrap().set_len(length - 9).unwrap();
    let about_the_log = || {
        let found = maintenance::examine(&dir, true, i64::MAX, &|_, _| {}).unwrap();
        let of = |f: &&maintenance::Finding| f.part == "log" && f.health != Health::Intact;
        let mut told = found.findings.iter().filter(of);
        let only = told.next().unwrap().clone();
        assert_eq!((told.count(), only.health), (0, Health::Damaged), "{found:?}");
        only
    };
    let cut = about_the_log();
    let said = format!("it was acknowledged, for the store is at record {last}");
    assert!(cut.what.contains(&*segment.to_string_lossy()) && cut.what.contains(&said), "{cut:?}");
    assert!(cut.action.contains("from a backup"), "{cut:?}");
    // The store knows what the log has lost: it is not set aside.
    let error = maintenance::set_store_aside(&dir).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let error = open(&dir).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    // Now that the start has taken the half record away.
    let gone = about_the_log();
    assert!(
        gone.what.contains(&format!("it ends at record {}, but the store is at record {last}", last - 1))
    );
}

#[test]
fn a_damaged_table_is_named_with_what_it_means_and_what_to_do_wherever_it_is_met() {
    let root = tempfile::tempdir().unwrap();
    let (dir, last) = build(root.path(), false);
    let tables: Vec<PathBuf> =
        files(&dir).into_iter().filter(|p| p.to_string_lossy().contains("keyspaces/1/tables/")).collect();
    let whole: Vec<Vec<u8>> = tables.iter().map(|table| fs::read(table).unwrap()).collect();
    let told = |error: &Error, table: &Path| {
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        for part in [
            format!("{} does not match its checksum", table.display()),
            "the log has all that was acknowledged".to_owned(),
            format!("thyme doctor --data {} --fix-store", dir.display()),
        ] {
            assert!(error.detail().contains(&part), "{error}");
        }
    };
    let (mut at_start, mut at_read) = (0, 0);
    for (table, whole) in tables.iter().zip(&whole) {
        // Blocks of data come first.
        for at in [20, whole.len() / 2] {
            Damage::Flip { at: at as u64, mask: 1 }.apply(table);
            match open(&dir) {
                Err(error) => {
                    told(&error, table);
                    at_start += 1;
                }
                Ok(engine) => {
                    if let Err(error) = assert_true_at(&engine, last) {
                        told(&error, table);
                        at_read += 1;
                    }
                }
            }
            fs::write(table, whole).unwrap();
        }
    }
    assert!(at_start + at_read > 0, "{at_start} {at_read}");
}

#[test]
fn a_damaged_store_is_set_aside_and_rebuilt_from_the_log() {
    let root = tempfile::tempdir().unwrap();
    let (dir, last) = build(root.path(), false);
    let table =
        files(&dir).into_iter().find(|p| p.to_string_lossy().contains("keyspaces/1/tables/")).unwrap();
    Damage::Flip { at: 40, mask: 1 }.apply(&table);
    let found = maintenance::examine(&dir, false, i64::MAX, &|_, _| {}).unwrap();
    let fault = found.findings.iter().find(|f| f.health == Health::Damaged).unwrap();
    assert!(
        fault.what.contains(&*table.to_string_lossy()) && fault.action.contains("--fix-store"),
        "{fault:?}"
    );
    let aside = maintenance::set_store_aside(&dir).unwrap();
    assert!(aside.ends_with("store.damaged-1") && aside.is_dir());
    assert_true_at(&open(&dir).unwrap(), last).unwrap();
}

#[test]
fn an_untouched_log_is_read_as_the_log_itself() {
    let root = tempfile::tempdir().unwrap();
    let (dir, last) = build(root.path(), true);
    let disk = Arc::new(UntouchedDir::new(&dir.join("log")));
    let (log, _) = SegmentLog::open_on(disk, thyme_log::Options::default()).unwrap();
    assert_eq!(log.last().map(|(number, _)| number), Some(last));
    let error = log.append(&[NewRecord { stamp: i64::MAX, payload: b"x" }]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}
