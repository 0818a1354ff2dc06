//! What goes into a store comes out of it, after reopening too.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use thyme_core::error::{ErrorKind, Result};
use thyme_store::{CheckpointBatch, ChunkKey, Room, Store, StoredChunk};

fn key(node: u32, key: &[u8], chunk: u32) -> ChunkKey<'_> {
    ChunkKey { node, key, chunk }
}

fn batch(write: impl FnOnce(&mut CheckpointBatch)) -> CheckpointBatch {
    let mut batch = CheckpointBatch::new();
    write(&mut batch);
    batch
}

fn chunks(store: &Store, node: u32) -> Vec<StoredChunk> {
    store.chunks(node).collect::<Result<_>>().unwrap()
}

/// Runs `check` on a store in memory, and on one on disk that is reopened between the steps.
fn on_both(steps: &[fn(&Store)]) {
    let dir = tempfile::tempdir().unwrap();
    let memory = Store::in_memory();
    for step in steps {
        step(&memory);
        step(&Store::open(dir.path(), Room::default()).unwrap());
        step(&Store::open(dir.path(), Room::default()).unwrap());
    }
}

#[test]
fn chunks_and_facts_come_back_in_order() {
    fn write(store: &Store) {
        let write = batch(|b| {
            b.put_chunk(key(2, b"bb", 1), b"2 bb 1");
            b.put_chunk(key(2, b"a", 300), b"2 a 300");
            b.put_chunk(key(2, b"a", 2), b"2 a 2");
            b.put_chunk(key(2, b"", 0), b"");
            b.put_chunk(key(1, b"a", 0), &[9; 100_000]);
            b.put_chunk(key(u32::MAX, &[0xff; 300], u32::MAX), b"last");
            b.put_meta("position", b"17");
            b.put_meta("", b"empty name");
        });
        assert_eq!((write.len(), write.is_empty()), (8, false));
        assert!(write.bytes() > 100_000);
        store.checkpoint(write).unwrap();
    }
    fn read(store: &Store) {
        let expected: [(&[u8], u32, &[u8]); 4] =
            [(b"", 0, b""), (b"a", 2, b"2 a 2"), (b"a", 300, b"2 a 300"), (b"bb", 1, b"2 bb 1")];
        let expected = expected.map(|(key, chunk, bytes)| (key.into(), chunk, bytes.to_vec()));
        assert_eq!(chunks(store, 2), expected);
        let of_a: Vec<_> = store.chunks_of(2, b"a").map(Result::unwrap).collect();
        assert_eq!(of_a, expected[1..3]);
        assert_eq!(store.chunks_of(2, b"b").count() + store.chunks_of(3, b"a").count(), 0);
        assert_eq!(chunks(store, 1)[0].2, [9; 100_000]);
        assert_eq!(chunks(store, u32::MAX).len(), 1);
        assert_eq!(store.nodes().unwrap(), [1, 2, u32::MAX]);
        assert_eq!(store.meta("position").unwrap().unwrap(), b"17");
        assert_eq!(store.meta("").unwrap().unwrap(), b"empty name");
        assert_eq!(store.meta("positio").unwrap(), None);
        assert!(store.bytes() > 0);
    }
    on_both(&[write, read]);
}

#[test]
fn the_last_write_to_a_place_holds() {
    fn write(store: &Store) {
        let writes = batch(|b| {
            for i in 0..50u8 {
                b.put_chunk(key(1, b"k", 1), &[i]);
                b.remove_chunk(key(1, b"k", 2));
                b.put_chunk(key(1, b"k", 2), &[i]);
                b.put_chunk(key(1, b"k", 3), &[i]);
                b.remove_chunk(key(1, b"k", 3));
                b.put_meta("m", &[i]);
                b.put_meta("gone", &[i]);
                b.remove_meta("gone");
            }
        });
        store.checkpoint(writes).unwrap();
    }
    fn read(store: &Store) {
        let k: Box<[u8]> = b"k"[..].into();
        assert_eq!(chunks(store, 1), [(k.clone(), 1, vec![49]), (k, 2, vec![49])]);
        assert_eq!(store.meta("m").unwrap().unwrap(), [49]);
        assert_eq!(store.meta("gone").unwrap(), None);
    }
    on_both(&[write, read]);
}

#[test]
fn a_dropped_node_is_gone_and_its_neighbours_stay() {
    fn write(store: &Store) {
        let writes = batch(|b| {
            for node in [0, 7, 8] {
                for chunk in 0..25_000u32 {
                    b.put_chunk(key(node, &(chunk % 1_000).to_le_bytes(), chunk), b"x");
                }
            }
        });
        store.checkpoint(writes).unwrap();
    }
    fn drop_node(store: &Store) {
        store.drop_node(7).unwrap();
    }
    fn read(store: &Store) {
        assert_eq!(store.nodes().unwrap(), [0, 8]);
        assert_eq!(
            (chunks(store, 0).len(), chunks(store, 7).len(), chunks(store, 8).len()),
            (25_000, 0, 25_000)
        );
    }
    on_both(&[write, drop_node, read]);
}

#[test]
fn what_cannot_be_stored_refuses_the_whole_batch() {
    fn write(store: &Store) {
        let long = "n".repeat(1_001);
        for mut refused in [batch(|b| b.put_meta(&long, b"x")), batch(|b| b.remove_meta(&long))] {
            // Nothing but what is refused: it must not pass for a batch without writes.
            assert!(!refused.is_empty());
            refused.put_meta("position", b"1");
            let error = store.checkpoint(refused).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TooLarge);
            assert!(error.detail().contains("the limit is"), "{error}");
        }
        assert!(store.spill(batch(|b| b.put_meta(&long, b"x"))).is_err());
        store.checkpoint(CheckpointBatch::new()).unwrap();
    }
    fn read(store: &Store) {
        assert_eq!(store.meta("position").unwrap(), None);
    }
    on_both(&[write, read]);
}

#[test]
fn entity_keys_of_any_length_are_kept() {
    fn keys() -> Vec<Vec<u8>> {
        [0, 59_999, 60_000, 60_001, 65_535, 65_536, 1_000_000].map(|length| vec![1; length]).to_vec()
    }
    fn write(store: &Store) {
        for long in keys() {
            store
                .checkpoint(batch(|b| {
                    b.put_chunk(key(1, &long, 1), b"one");
                    b.put_chunk(key(1, &long, 2), b"two");
                }))
                .unwrap();
        }
        store.checkpoint(batch(|b| b.put_chunk(key(1, &[2; 65_536], 1), b"other"))).unwrap();
    }
    fn read(store: &Store) {
        for long in keys() {
            let found: Vec<_> = store.chunks_of(1, &long).map(Result::unwrap).collect();
            let want = [(1, b"one".to_vec()), (2, b"two".to_vec())]
                .map(|(id, value)| (long.clone().into(), id, value));
            assert_eq!(found, want);
            assert_eq!(store.chunk(key(1, &long, 2)).unwrap().as_deref(), Some(&b"two"[..]));
        }
        assert_eq!(store.chunks(1).map(Result::unwrap).count(), 2 * keys().len() + 1);
        assert_eq!(store.nodes().unwrap(), [1]);
        let other: Vec<_> = store.chunks_of(1, &[2; 65_536]).map(Result::unwrap).collect();
        assert_eq!(other.len(), 1);
    }
    fn remove(store: &Store) {
        for long in keys() {
            store.checkpoint(batch(|b| (1..3).for_each(|id| b.remove_chunk(key(1, &long, id))))).unwrap();
        }
        assert_eq!(store.chunks(1).count(), 1);
    }
    on_both(&[write, read, remove]);
}

#[test]
fn a_scan_sees_the_store_as_it_was_when_it_began() {
    fn write(store: &Store) {
        store.checkpoint(batch(|b| (0..100).for_each(|i| b.put_chunk(key(1, b"k", i), b"old")))).unwrap();
        let scan = store.chunks(1);
        let all_new = batch(|b| (0..200).for_each(|i| b.put_chunk(key(1, b"k", i), b"new")));
        store.checkpoint(all_new).unwrap();
        assert!(scan.map(Result::unwrap).all(|(_, chunk, bytes)| chunk < 100 && bytes == b"old"));
        assert_eq!(store.chunks(1).count(), 200);
        store.drop_node(1).unwrap();
    }
    on_both(&[write]);
}

#[test]
fn a_large_checkpoint_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let value: Vec<u8> = (0..40_000u32).flat_map(|i| (i.wrapping_mul(2_654_435_761)).to_le_bytes()).collect();
    let store = Store::open(dir.path(), Room::default()).unwrap();
    for round in 0..2u8 {
        let writes = batch(|b| {
            (0..800).for_each(|chunk| b.put_chunk(key(1, b"k", chunk), &value));
            b.put_meta("round", &[round]);
        });
        assert!(writes.bytes() > 120_000_000);
        store.checkpoint(writes).unwrap();
    }
    drop(store);
    let store = Store::open(dir.path(), Room::default()).unwrap();
    assert_eq!(store.meta("round").unwrap().unwrap(), [1]);
    assert!(
        store.chunks(1).map(Result::unwrap).zip(0..).all(|((_, id, bytes), i)| id == i && bytes == value)
    );
    assert_eq!(store.chunks(1).count(), 800);
}

#[test]
fn a_store_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Room::default()).unwrap();
    let error = Store::open(dir.path(), Room::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.detail().contains("is used by another thyme process"), "{error}");
    drop(store);
    Store::open(dir.path(), Room::default()).unwrap();
}

#[test]
fn a_crash_while_the_store_was_made_does_no_harm() {
    for leftover in [&["0.jnl"][..], &["0.jnl", "version"]] {
        let dir = tempfile::tempdir().unwrap();
        for name in leftover {
            std::fs::write(dir.path().join(name), b"").unwrap();
        }
        Store::open(dir.path(), Room::default())
            .unwrap()
            .checkpoint(batch(|b| b.put_meta("m", b"1")))
            .unwrap();
        assert_eq!(Store::open(dir.path(), Room::default()).unwrap().meta("m").unwrap().unwrap(), b"1");
    }
}

/// Opens the tree below a store and changes it behind the store's back.
fn tamper(dir: &Path, change: impl FnOnce(&fjall::Keyspace)) {
    let database = fjall::Database::builder(dir).open().unwrap();
    change(&database.keyspace("thyme", fjall::KeyspaceCreateOptions::default).unwrap());
}

#[test]
fn a_changed_value_is_reported_by_node_and_chunk_and_not_served() {
    let dir = tempfile::tempdir().unwrap();
    Store::open(dir.path(), Room::default())
        .unwrap()
        .checkpoint(batch(|b| {
            b.put_chunk(key(5, b"secret", 6), b"value");
            b.put_meta("position", b"17");
        }))
        .unwrap();
    tamper(dir.path(), |keyspace| {
        for guard in keyspace.iter() {
            let (key, value) = guard.into_inner().unwrap();
            if key[0] == 1 || key[0] == 2 {
                let mut value = value.to_vec();
                *value.last_mut().unwrap() ^= 1;
                keyspace.insert(key, value).unwrap();
            }
        }
    });
    let store = Store::open(dir.path(), Room::default()).unwrap();
    let error = store.chunks(5).next().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.detail().contains("chunk 6 of node 5") && !error.detail().contains("secret"), "{error}");
    let error = store.meta("position").unwrap_err();
    assert!(error.detail().contains("the fact \"position\""), "{error}");
}

#[test]
fn a_later_format_a_lost_format_entry_and_a_lost_checkpoint_are_refused() {
    let sealed = |key: &[u8], value: &[u8]| {
        let sum = crc32c::crc32c_append(crc32c::crc32c(key), value);
        [&sum.to_le_bytes()[..], value].concat()
    };
    let change_and_open = |change: &dyn Fn(&fjall::Keyspace)| {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Room::default()).unwrap();
        (0..5).for_each(|i| store.checkpoint(batch(|b| b.put_meta("m", &[i]))).unwrap());
        drop(store);
        tamper(dir.path(), |keyspace| change(keyspace));
        Store::open(dir.path(), Room::default()).unwrap_err()
    };
    let later = change_and_open(&|keyspace| {
        keyspace.insert([0], sealed(&[0], b"THYMESTO\x02\0\0\0")).unwrap();
    });
    assert_eq!(later.kind(), ErrorKind::Unsupported);
    assert!(later.detail().contains("has format 2") && later.detail().contains("from the log"), "{later}");
    let lost = change_and_open(&|keyspace| keyspace.remove([0]).unwrap());
    assert_eq!(lost.kind(), ErrorKind::Corrupt, "{lost}");
    let hole = change_and_open(&|keyspace| keyspace.remove([3, 0, 0, 0, 0, 0, 0, 0, 3]).unwrap());
    assert_eq!(hole.kind(), ErrorKind::Corrupt);
    assert!(hole.detail().contains("has lost a checkpoint after number 2"), "{hole}");
}
