//! The file source with a real engine: what is in the files is in the dataset, once.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests fail by panicking, and wait with a deadline"
)]

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use thyme_core::Position;
use thyme_core::definition::Document;
use thyme_engine::{Engine, Options};
use thyme_sources::{SourceStatus, Sources};

const LIMIT: Duration = Duration::from_secs(10);

fn document(path: &Path, extra: &str) -> Document {
    let text = serde_json::json!({"format": 1, "datasets": [
        {"name": "Ride", "index": true, "extra": extra, "fields": [
            {"name": "k", "type": "str", "role": "key"},
            {"name": "x", "type": "float", "optional": true},
            {"name": "at", "type": "datetime", "role": "timestamp"}],
         "source": {"kind": "file", "options": {"path": path.to_str().unwrap()}}}]});
    serde_json::from_value(text).unwrap()
}

struct World {
    dir: tempfile::TempDir,
    durable: bool,
    running: Option<(Arc<Engine>, Sources)>,
}

impl World {
    fn new(durable: bool, pattern: &str, extra: &str) -> World {
        let mut world = World { dir: tempfile::tempdir().unwrap(), durable, running: None };
        world.open();
        let document = document(&world.path(pattern), extra);
        world.engine().commit(&document, |_| Ok(())).unwrap();
        world.sources().refresh();
        world
    }

    fn open(&mut self) {
        let path = self.durable.then(|| self.dir.path().join("engine"));
        let engine = Arc::new(Engine::open(Options { path, shards: 2, ..Options::default() }).unwrap());
        self.running = Some((engine.clone(), Sources::new(engine)));
    }

    fn restart(&mut self) {
        self.running = None;
        self.open();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn engine(&self) -> &Engine {
        &self.running.as_ref().unwrap().0
    }

    fn sources(&self) -> &Sources {
        &self.running.as_ref().unwrap().1
    }

    fn status(&self) -> SourceStatus {
        self.sources().status().remove(0)
    }

    /// Rows and dead letters, once the source has caught up.
    fn counts(&self) -> (u64, u64) {
        assert!(self.sources().wait_caught_up(LIMIT).unwrap(), "{:?}", self.status());
        let catalog = self.engine().catalog();
        let counters = self.engine().counters(catalog.dataset("Ride").unwrap());
        let status = self.status();
        assert_eq!((status.rows, status.dead_letters), (counters.events, counters.dead_letters));
        (counters.events, counters.dead_letters)
    }

    fn until(&self, what: &str, holds: impl Fn(&World) -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !holds(self) {
            assert!(Instant::now() < deadline, "{what}: {:?}", self.status());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn append(&self, name: &str, text: &str) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.path(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn dead(&self) -> Vec<(String, String, String)> {
        let catalog = self.engine().catalog();
        let dead =
            self.engine().dead_letters(catalog.dataset("Ride").unwrap(), Position::MAX, 100, true).unwrap();
        let raw = |raw: Vec<u8>| String::from_utf8_lossy(&raw).into_owned();
        let base = format!("{}/", self.dir.path().display());
        let dead = dead.into_iter().rev().map(|d| d.letter);
        dead.map(|d| (d.origin.replace(&base, ""), d.reason, raw(d.raw))).collect()
    }
}

fn json_lines(from: usize, to: usize) -> String {
    (from..to).map(|i| format!("{{\"k\":\"k{}\",\"x\":{i},\"at\":{i}}}\n", i % 7)).collect()
}

fn rows(keys: Vec<Option<String>>) -> RecordBatch {
    let n = keys.len();
    let columns: [(&str, ArrayRef); 3] = [
        ("at", Arc::new(Int64Array::from_iter_values(0..n as i64))),
        ("k", Arc::new(StringArray::from(keys))),
        ("x", Arc::new(Float64Array::from_iter((0..n).map(|i| (i % 5 > 0).then_some(i as f64))))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
}

fn keys(n: usize) -> Vec<Option<String>> {
    (0..n).map(|i| Some(format!("k{}", i % 1000))).collect()
}

fn parquet_bytes(batch: &RecordBatch, group_rows: usize) -> Vec<u8> {
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(group_rows)).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn all_three_formats_are_read() {
    for durable in [false, true] {
        let world = World::new(durable, "in.*", "forbid");
        world.append("in.jsonl", &json_lines(0, 40_000));
        world.append("in.csv", &format!("x,k,at\n{}", "1.5,a,2026-01-01T00:00:00Z\n".repeat(3000)));
        fs::write(world.path("in.parquet"), parquet_bytes(&rows(keys(70_000)), 20_000)).unwrap();
        assert_eq!(world.counts(), (113_000, 0));
        let status = world.status();
        assert_eq!((status.dataset.as_str(), status.kind.as_str(), status.caught_up), ("Ride", "file", true));
        assert_eq!(status.error, None);
    }
}

#[test]
fn files_are_followed_and_bad_lines_go_to_the_dead_letters() {
    let world = World::new(false, "in.jsonl", "forbid");
    assert_eq!(world.counts(), (0, 0));
    let missing = world.status().error.unwrap();
    assert!(
        missing.starts_with("no file matches \"") && missing.ends_with("as soon as there is one"),
        "{missing}"
    );
    world.append("in.jsonl", &json_lines(0, 10));
    assert_eq!(world.counts(), (10, 0));
    assert_eq!(world.status().error, None);
    world.append("in.jsonl", "{\"k\":\"a\",");
    assert_eq!(world.counts(), (10, 0));
    world.append("in.jsonl", "\"at\":1}\n{\"k\":2}\n");
    assert_eq!(world.counts(), (11, 1));
    // Nobody asks: it is found all the same.
    world.append("in.jsonl", &json_lines(0, 5));
    world.until("followed", |w| w.status().rows == 16);
    let reason = "k: expected str, got int 2; at: expected datetime, got nothing (the field is missing)";
    assert_eq!(world.dead(), [("in.jsonl:12".into(), reason.into(), "{\"k\":2}".into())]);
}

#[test]
fn the_last_line_of_a_csv_is_taken_once_it_stands_still() {
    let world = World::new(false, "in.csv", "forbid");
    world.append("in.csv", "k,at\na,1\nb,2");
    world.until("whole lines", |w| w.status().rows == 1);
    assert!(!world.sources().wait_caught_up(Duration::from_millis(50)).unwrap());
    assert!(!world.status().caught_up);
    assert_eq!(world.counts(), (2, 0));
    world.append("in.csv", "\nc,3\n");
    assert_eq!(world.counts(), (3, 0));
}

#[test]
fn a_header_or_schema_that_does_not_fit_is_in_the_status() {
    let world = World::new(false, "*.*t", "forbid");
    let batch = rows(keys(10));
    let other =
        RecordBatch::try_from_iter([("k", batch.column(1).clone()), ("z", batch.column(0).clone())]).unwrap();
    fs::write(world.path("a.parquet"), parquet_bytes(&other, 10)).unwrap();
    fs::write(world.path("b.parquet"), parquet_bytes(&batch, 10)).unwrap();
    fs::write(world.path("c.txt"), "?").unwrap();
    assert_eq!(world.counts(), (10, 0));
    let error = world.status().error.unwrap();
    for part in [
        "a.parquet is passed over until it changes: it does not fit dataset Ride: column z",
        "column at: expected datetime, got no such column",
        "(and 1 more files)",
    ] {
        assert!(error.contains(part), "{error}");
    }
    fs::write(world.path("a.parquet"), parquet_bytes(&batch, 10)).unwrap();
    fs::remove_file(world.path("c.txt")).unwrap();
    assert_eq!(world.counts(), (20, 0));
    assert_eq!(world.status().error, None);
}

#[test]
fn invalid_rows_of_a_parquet_file_are_dead_letters_one_by_one() {
    let world = World::new(false, "in.parquet", "forbid");
    let mut some = keys(50_000);
    for bad in [0, 17, 40_000, 49_999] {
        some[bad] = None;
    }
    fs::write(world.path("in.parquet"), parquet_bytes(&rows(some), 1 << 20)).unwrap();
    assert_eq!(world.counts(), (49_996, 4));
    let dead = world.dead();
    let origins: Vec<&str> = dead.iter().map(|(origin, ..)| origin.as_str()).collect();
    assert_eq!(origins, ["in.parquet:1", "in.parquet:18", "in.parquet:40001", "in.parquet:50000"]);
    assert_eq!(
        (dead[1].1.as_str(), dead[1].2.as_str()),
        ("k: expected str, got null", "{\"at\":17,\"k\":null,\"x\":17.0}")
    );
}

#[test]
fn a_parquet_file_is_read_when_it_is_complete_and_damaged_when_it_stands_still() {
    let world = World::new(false, "*.parquet", "forbid");
    let bytes = parquet_bytes(&rows(keys(1000)), 100);
    fs::write(world.path("a.parquet"), &bytes[..bytes.len() / 2]).unwrap();
    fs::write(world.path("b.parquet"), &bytes[..bytes.len() - 1]).unwrap();
    assert!(!world.sources().wait_caught_up(Duration::from_millis(300)).unwrap());
    assert_eq!((world.status().rows, world.status().error), (0, None), "it is tried again quietly");
    let mut file = OpenOptions::new().append(true).open(world.path("a.parquet")).unwrap();
    file.write_all(&bytes[bytes.len() / 2..]).unwrap();
    world.until("complete", |w| w.status().rows == 1000);
    assert_eq!(world.counts(), (1000, 1));
    let error = world.status().error.unwrap();
    assert!(
        error.contains("b.parquet is passed over until it changes: it is not a readable Parquet file"),
        "{error}"
    );
    assert_eq!(world.dead()[0].0, "b.parquet:1");
    fs::write(world.path("b.parquet"), &bytes).unwrap();
    assert_eq!(world.counts(), (2000, 1));
    assert_eq!(world.status().error, None);
}

#[test]
fn a_replaced_file_is_read_from_its_start_and_an_event_says_so() {
    let mut world = World::new(true, "in.*", "forbid");
    world.append("in.jsonl", &json_lines(0, 100));
    fs::write(world.path("in.parquet"), parquet_bytes(&rows(keys(100)), 10)).unwrap();
    assert_eq!(world.counts(), (200, 0));
    // The same bytes under another inode are the same file.
    fs::copy(world.path("in.jsonl"), world.path("copy")).unwrap();
    fs::rename(world.path("copy"), world.path("in.jsonl")).unwrap();
    assert_eq!(world.counts(), (200, 0));
    fs::write(world.path("in.jsonl"), json_lines(500, 510)).unwrap();
    assert_eq!(world.counts(), (210, 0));
    world.restart();
    fs::write(world.path("in.jsonl"), json_lines(600, 900)).unwrap();
    fs::write(world.path("in.parquet"), parquet_bytes(&rows(keys(101)), 10)).unwrap();
    assert_eq!(world.counts(), (210 + 300 + 101, 0));
    let events = world.engine().events().list(10, |e| e.event_type == "source_file_replaced");
    assert_eq!(events.len(), 2);
    assert!(
        events[1].message.contains("in.jsonl, which dataset Ride reads, was cut or replaced"),
        "{events:?}"
    );
}

#[test]
fn files_that_a_glob_comes_to_match_are_picked_up() {
    let world = World::new(false, "*/part-*.jsonl", "forbid");
    let mut expected = 0;
    for day in 0..3 {
        fs::create_dir(world.path(&format!("d{day}"))).unwrap();
        for part in 0..100 {
            world.append(&format!("d{day}/part-{part}.jsonl"), &json_lines(0, part));
            expected += part as u64;
        }
        if day == 1 {
            world.until("found without being asked", |w| w.status().rows == expected);
        } else {
            assert_eq!(world.counts(), (expected, 0));
        }
    }
    // Many small files become few records.
    assert!(world.engine().records().0 < 150, "{:?}", world.engine().records());
}

#[test]
fn rows_count_once_whenever_the_engine_stops() {
    let mut world = World::new(true, "in-*", "forbid");
    let part = rows(keys(100_000));
    fs::write(world.path("in-a.parquet"), parquet_bytes(&part, 30_000)).unwrap();
    fs::write(world.path("in-b.csv"), format!("k,at\n{}", "a,1\n".repeat(100_000))).unwrap();
    let (mut lines, mut seed) = (0, 1u64);
    for round in 0..12 {
        world.append("in-c.jsonl", &json_lines(lines, lines + 5000));
        lines += 5000;
        if round % 4 == 0 {
            fs::write(world.path(&format!("in-d{round}.parquet")), parquet_bytes(&part, 100_000)).unwrap();
        }
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let target = world.status().rows + seed % 60_000;
        let deadline = Instant::now() + Duration::from_millis(40);
        while world.status().rows < target && Instant::now() < deadline {
            std::thread::yield_now();
        }
        if round % 3 == 2 {
            world.sources().stop();
            world.sources().refresh();
        } else {
            world.restart();
        }
    }
    assert_eq!(world.counts(), (100_000 * 5 + lines as u64, 0));
    world.restart();
    assert_eq!(world.counts(), (100_000 * 5 + lines as u64, 0));
    let before = world.engine().records();
    assert_eq!(world.counts().1, 0);
    assert_eq!(world.engine().records(), before, "an idle source writes nothing");
}

#[test]
fn the_log_as_it_is_at_any_moment_is_enough_to_go_on() {
    let world = World::new(true, "in.*", "forbid");
    let part = parquet_bytes(&rows(keys(200_000)), 50_000);
    fs::write(world.path("half-written"), part).unwrap();
    fs::rename(world.path("half-written"), world.path("in.parquet")).unwrap();
    world.append("in.jsonl", &json_lines(0, 50_000));
    let mut copies = Vec::new();
    for moment in 0..5 {
        world.until("progress", |w| w.status().rows >= moment * 45_000);
        let copy = world.path(&format!("copy-{moment}"));
        fs::create_dir_all(copy.join("log")).unwrap();
        for file in fs::read_dir(world.path("engine/log")).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), copy.join("log").join(file.file_name())).unwrap();
        }
        copies.push(copy);
    }
    assert_eq!(world.counts(), (250_000, 0));
    for path in copies {
        let options = Options { path: Some(path), shards: 1, ..Options::default() };
        let engine = Arc::new(Engine::open(options).unwrap());
        let sources = Sources::new(engine.clone());
        assert!(sources.wait_caught_up(LIMIT).unwrap(), "{sources:?}");
        assert_eq!(engine.counters(engine.catalog().dataset("Ride").unwrap()).events, 250_000);
    }
}

#[test]
fn a_batch_that_cannot_be_stored_is_read_again_and_the_status_says_why() {
    let mut world = World::new(true, "in.jsonl", "forbid");
    world.append("in.jsonl", &json_lines(0, 10));
    assert_eq!(world.counts(), (10, 0));
    world.engine().close();
    world.append("in.jsonl", &json_lines(0, 90));
    world
        .until("the refusal", |w| w.status().error.is_some_and(|e| e.starts_with("rows cannot be stored: ")));
    assert_eq!((world.status().rows, world.status().caught_up), (10, false));
    world.restart();
    assert_eq!(world.counts(), (100, 0));
}

#[test]
fn a_commit_starts_restarts_and_stops_sources() {
    let world = World::new(false, "a.jsonl", "forbid");
    world.append("a.jsonl", &json_lines(0, 10));
    world.append("b.jsonl", &json_lines(0, 3));
    assert_eq!(world.counts(), (10, 0));
    world.engine().commit(&document(&world.path("b.jsonl"), "forbid"), |_| Ok(())).unwrap();
    world.sources().refresh();
    assert!(world.sources().wait_caught_up(LIMIT).unwrap());
    assert!(world.status().path.ends_with("b.jsonl"));
    let catalog = world.engine().catalog();
    assert_eq!(world.engine().counters(catalog.dataset("Ride").unwrap()).events, 13);
    // The old path again: it goes on where it was.
    world.engine().commit(&document(&world.path("a.jsonl"), "forbid"), |_| Ok(())).unwrap();
    world.sources().refresh();
    world.append("a.jsonl", &json_lines(0, 1));
    assert!(world.sources().wait_caught_up(LIMIT).unwrap());
    assert_eq!(world.engine().counters(catalog.dataset("Ride").unwrap()).events, 14);
    world.sources().stop();
    assert!(world.sources().status().is_empty());
}

/// `cargo test --release -p thyme-sources -- --ignored --nocapture` prints rates.
#[test]
#[ignore = "a measurement"]
fn rates() {
    let n = 2_000_000;
    let csv = |i: usize| format!("k{},{i}.5,{i}\n", i % 1000);
    type Fill<'a> = Box<dyn Fn(&mut File) + 'a>;
    let cases: [(&str, Fill<'_>); 3] = [
        ("in.parquet", Box::new(|f| f.write_all(&parquet_bytes(&rows(keys(n)), 1 << 20)).unwrap())),
        (
            "in.csv",
            Box::new(|f| {
                f.write_all(format!("k,x,at\n{}", (0..n).map(csv).collect::<String>()).as_bytes()).unwrap()
            }),
        ),
        ("in.jsonl", Box::new(|f| f.write_all(json_lines(0, n).as_bytes()).unwrap())),
    ];
    for (name, fill) in cases {
        let world = World::new(true, name, "forbid");
        world.sources().stop();
        fill(&mut File::create(world.path(name)).unwrap());
        let start = Instant::now();
        world.sources().refresh();
        world.until("stored", |w| w.sources().status().first().is_some_and(|s| s.rows == n as u64));
        let stored = start.elapsed();
        assert!(world.sources().wait_caught_up(Duration::from_secs(100)).unwrap());
        println!(
            "{name}: {:.2} M rows/s stored, {:.2} M rows/s applied",
            n as f64 / stored.as_secs_f64() / 1e6,
            n as f64 / start.elapsed().as_secs_f64() / 1e6
        );
    }
}

#[test]
fn an_unfinished_last_line_is_told_and_read_once_it_is_whole() {
    let mut world = World::new(true, "*.jsonl", "forbid");
    let line = |k: &str| format!("{{\"k\":\"{k}\",\"at\":1773568800}}");
    let (start, end) = (&line("b")[..9], &line("b")[9..]);
    fs::write(world.path("whole.jsonl"), line("a") + "\n").unwrap();
    fs::write(world.path("growing.jsonl"), line("c") + "\n" + start).unwrap();
    let told = |world: &World| {
        let status = world.status();
        status.unfinished.into_iter().map(|u| (u.path, u.bytes)).collect::<Vec<_>>()
    };
    let growing = world.path("growing.jsonl").to_str().unwrap().to_owned();
    for _ in 0..2 {
        assert_eq!(world.counts(), (2, 0));
        world.until("it is told", |world| told(world) == [(growing.clone(), 9)]);
        assert_eq!(world.status().error, None, "somebody may be writing it");
        world.restart();
        world.sources().refresh();
    }
    // Even without a newline: it is whole now.
    OpenOptions::new().append(true).open(&growing).unwrap().write_all(end.as_bytes()).unwrap();
    world.until("it is read", |world| world.status().rows == 3 && told(world).is_empty());
    // One that will never be whole becomes a dead letter with its newline.
    OpenOptions::new().append(true).open(&growing).unwrap().write_all(b"\n{\"k\":").unwrap();
    world.until("it is told again", |world| told(world) == [(growing.clone(), 5)]);
    OpenOptions::new().append(true).open(&growing).unwrap().write_all(b"\n").unwrap();
    world.until("it is a dead letter", |world| world.status().dead_letters == 1 && told(world).is_empty());
}
