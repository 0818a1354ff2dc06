//! Making the store's files anew: nothing of what was removed is left, and a crash leaves a whole store.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use thyme_store::{CheckpointBatch, ChunkKey, Room, Store};

const GONE: &[u8] = b"dR4tU8wZ-removed";
const KEPT: &[u8] = b"mB1nV5xC-kept";

fn fill(store: &Store) {
    for round in 0..40u32 {
        let mut batch = CheckpointBatch::new();
        for key in [GONE, KEPT] {
            batch
                .put_chunk(ChunkKey { node: 1, key, chunk: round % 3 }, &[key, &[round as u8; 200]].concat());
        }
        batch.put_meta("progress", &round.to_le_bytes());
        store.checkpoint(batch).unwrap();
    }
    let mut batch = CheckpointBatch::new();
    (0..3).for_each(|chunk| batch.remove_chunk(ChunkKey { node: 1, key: GONE, chunk }));
    store.checkpoint(batch).unwrap();
}

fn has(dir: &Path, text: &[u8]) -> bool {
    fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => has(&path, text),
            false => fs::read(&path).unwrap().windows(text.len()).any(|window| window == text),
        }
    })
}

fn check(store: &Store) {
    let chunks: Vec<_> = store.chunks(1).map(|chunk| chunk.unwrap()).collect();
    assert_eq!(
        chunks.iter().map(|(key, id, _)| (key.to_vec(), *id)).collect::<Vec<_>>(),
        [0, 1, 2].map(|id| (KEPT.to_vec(), id))
    );
    assert_eq!(store.meta("progress").unwrap().unwrap(), 39u32.to_le_bytes());
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => fs::copy(entry.path(), target).map(|_| ()).unwrap(),
        }
    }
}

#[test]
fn what_was_removed_is_in_no_file_of_a_renewed_store() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(&root.path().join("store"), Room::default()).unwrap();
    fill(&store);
    assert!(has(root.path(), GONE), "the journal has it still");
    // Somebody reads meanwhile.
    let mut reading = store.chunks(1);
    let first = reading.next().unwrap().unwrap();
    std::thread::scope(|scope| {
        let renewed = scope.spawn(|| store.renew());
        assert_eq!(first.0.as_ref(), KEPT);
        assert_eq!(reading.count(), 2);
        renewed.join().unwrap().unwrap();
    });
    assert!(!has(root.path(), GONE) && has(root.path(), KEPT));
    check(&store);
    let mut batch = CheckpointBatch::new();
    batch.put_meta("after", b"1");
    store.checkpoint(batch).unwrap();
    drop(store);
    let store = Store::open(&root.path().join("store"), Room::default()).unwrap();
    check(&store);
    assert_eq!(store.meta("after").unwrap().unwrap(), b"1");
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
}

#[test]
fn a_crash_at_any_step_of_a_renewal_leaves_one_whole_store() {
    let made = tempfile::tempdir().unwrap();
    let whole = made.path().join("store");
    let store = Store::open(&whole, Room::default()).unwrap();
    fill(&store);
    drop(store);
    // Which directories there are at each step: the store's, the half copy, the whole one, the old.
    for left in [
        &["store", "store.half"][..],
        &["store", "store.new"],
        &["store.old", "store.new"],
        &["store", "store.old"],
    ] {
        let root = tempfile::tempdir().unwrap();
        for name in left {
            copy(&whole, &root.path().join(name));
        }
        if left.contains(&"store.half") {
            fs::remove_file(root.path().join("store.half/version")).unwrap();
        }
        check(&Store::open(&root.path().join("store"), Room::default()).unwrap());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "{left:?}");
    }
}

#[test]
fn a_renewal_waits_for_who_is_reading_and_others_read_meanwhile() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(&root.path().join("store"), Room::default()).unwrap();
    fill(&store);
    let mut reading = store.chunks(1);
    assert!(reading.next().is_some());
    std::thread::scope(|scope| {
        let renewal = scope.spawn(|| store.renew());
        while !root.path().join("store.new").exists() {
            std::thread::yield_now();
        }
        for _ in 0..50 {
            assert_eq!(store.meta("progress").unwrap().unwrap(), 39u32.to_le_bytes());
        }
        assert!(!renewal.is_finished());
        assert_eq!(reading.by_ref().filter(Result::is_ok).count(), 2);
        drop(reading);
        renewal.join().unwrap().unwrap();
    });
    check(&store);
}

#[test]
fn a_closed_store_lets_go_of_its_files_whoever_holds_it() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("store");
    let store = Store::open(&path, Room::default()).unwrap();
    fill(&store);
    assert!(Store::open(&path, Room::default()).is_err());
    store.close();
    check(&Store::open(&path, Room::default()).unwrap());
    for error in [store.meta("progress").unwrap_err(), store.renew().unwrap_err()] {
        assert!(error.to_string().contains("closed"), "{error}");
    }
}
