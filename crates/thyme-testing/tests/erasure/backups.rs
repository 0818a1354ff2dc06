//! A backup and an erasure never meet: a backup is of before it or of after it.

use std::sync::atomic::{AtomicBool, Ordering};

use thyme_core::Position;
use thyme_core::error::ErrorKind;
use thyme_engine::{Engine, Options};

use super::{ERASED, erase, everybody, fill, values};

#[test]
fn a_backup_is_whole_beside_erasures() {
    let dir = tempfile::tempdir().unwrap();
    let open = |name: &str| {
        Engine::open(Options { path: Some(dir.path().join(name)), shards: 2, ..Options::default() }).unwrap()
    };
    let engine = open("data");
    fill(&engine);
    let positions = [Position::end_of(4), Position::end_of(engine.records().0)];
    let before = everybody(&engine, &positions);
    let whole = values(&engine, "ByUser", ERASED, &positions);
    let nothing = values(&engine, "ByUser", "nobody", &positions);
    let backed_up = AtomicBool::new(false);
    let backups = std::thread::scope(|scope| {
        let backups = scope.spawn(|| {
            let made: Vec<String> = (0..8).map(|round| format!("backup{round}")).collect();
            for name in &made {
                engine.backup(&dir.path().join(name)).unwrap();
                backed_up.store(true, Ordering::Release);
            }
            made
        });
        while !backed_up.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        loop {
            match erase(&engine, "Payment", &[ERASED]) {
                Ok(receipt) => break assert!(receipt.events > 0),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error}"),
            }
        }
        backups.join().unwrap()
    });
    let mut whole_ones = 0;
    for name in backups {
        let restored = format!("{name}.restored");
        thyme_engine::maintenance::restore(&dir.path().join(&name), &dir.path().join(&restored), &|_, _| {})
            .unwrap();
        let engine = open(&restored);
        assert_eq!(everybody(&engine, &positions), before, "{name}");
        let theirs = values(&engine, "ByUser", ERASED, &positions);
        assert!(theirs == whole || theirs == nothing, "{name}");
        whole_ones += usize::from(theirs == whole);
    }
    assert!(whole_ones > 0);
}
