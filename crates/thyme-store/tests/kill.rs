//! A process that writes checkpoints and is killed at any moment leaves whole checkpoints.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and waits before it kills"
)]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use thyme_store::{CheckpointBatch, ChunkKey, Room, Store};

const CHILD: &str = "THYME_STORE_KILL_TEST_DIR";
const ENTITIES: u32 = 40;

/// The number of the last checkpoint, once it is sure that every chunk is of that checkpoint.
fn whole_checkpoint(store: &Store) -> u64 {
    let number =
        store.meta("position").unwrap().map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().unwrap()));
    let mut count = 0;
    for chunk in store.chunks(1) {
        let (_, id, bytes) = chunk.unwrap();
        assert_eq!(bytes[..8], number.to_le_bytes(), "a chunk is of another checkpoint than the position");
        assert_eq!(u64::from(id), number % 3);
        count += 1;
    }
    assert_eq!(count, if number == 0 { 0 } else { ENTITIES });
    number
}

/// Writes checkpoint after checkpoint: each puts all entities' chunks under one of three ids in turn and
/// removes those of the checkpoint before.
fn write_forever(dir: &Path) -> ! {
    let store = Store::open(dir, Room::default()).unwrap();
    let mut number = whole_checkpoint(&store);
    loop {
        number += 1;
        let mut value = number.to_le_bytes().to_vec();
        value.resize(8 + (number * 7_919 % 30_000) as usize, number as u8);
        let mut batch = CheckpointBatch::new();
        for entity in 0..ENTITIES {
            let key = &entity.to_le_bytes()[..];
            batch.remove_chunk(ChunkKey { node: 1, key, chunk: ((number + 2) % 3) as u32 });
            batch.put_chunk(ChunkKey { node: 1, key, chunk: (number % 3) as u32 }, &value);
        }
        batch.put_meta("position", &number.to_le_bytes());
        store.checkpoint(batch).unwrap();
    }
}

#[test]
fn killed_at_any_moment_the_position_matches_the_chunks() {
    if let Some(dir) = std::env::var_os(CHILD) {
        write_forever(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let mut last = 0;
    for round in 0..12u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed_at_any_moment_the_position_matches_the_chunks"])
            .env(CHILD, dir.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(20 + round * 67 % 400));
        assert!(child.try_wait().unwrap().is_none(), "the writing process ended by itself");
        child.kill().unwrap();
        child.wait().unwrap();
        let number = whole_checkpoint(&Store::open(dir.path(), Room::default()).unwrap());
        assert!(number >= last);
        last = number;
    }
    assert!(last > 20, "only {last} checkpoints were written");
}
