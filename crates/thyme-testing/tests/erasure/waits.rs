//! An erasure that a start cannot end keeps nobody from being served, and a later start ends it.

use std::path::Path;

use thyme_core::Position;
use thyme_engine::{Engine, Parts, Severity};
use thyme_log::{Log, NewRecord, SegmentLog};

use super::{ERASED, erase, everybody, fill, fuse, no_trace, open, parts, values};

const NONSENSE: &[u8] = b"\xffnonsense";

fn log(parts: &Parts) -> SegmentLog {
    SegmentLog::open_on(parts.log.clone(), parts.log_options).unwrap().0
}

/// A directory in which an erasure was begun: its record is in the log, and nothing more of it is done.
fn begun(dir: &Path) -> Parts {
    let solid = parts(dir);
    for budget in 0.. {
        let (fused, fuse) = fuse::fused(&solid);
        let engine = open(&fused, None).unwrap();
        if engine.records().0 == 0 {
            fill(&engine);
        }
        let last = engine.records().0;
        fuse.set(budget);
        erase(&engine, "Payment", &[ERASED]).unwrap_err();
        fuse.set(0);
        drop(engine);
        if log(&solid).last().is_some_and(|(number, _)| number > last) {
            return solid;
        }
    }
    unreachable!("no erasure was ever begun")
}

/// It serves what it has, and says that the erasure is not complete; nothing that could undo it is taken.
fn waits(engine: &Engine, why: &str) {
    let reason = engine.erasure_waits().unwrap();
    assert!(reason.contains(why), "{reason}");
    let said = engine.events().list(9, |event| event.event_type == "erasure_incomplete");
    let said: Vec<_> = said.iter().map(|event| (event.severity, event.message.clone())).collect();
    assert_eq!(said, [(Severity::Error, reason)]);
    let refused = erase(engine, "Payment", &["user1"]).unwrap_err();
    assert!(refused.detail().contains("restart the server, which ends it first"), "{refused}");
}

fn ends(dir: &Path, solid: &Parts) {
    let engine = open(solid, None).unwrap();
    assert_eq!((engine.erasure_waits(), engine.failure()), (None, None));
    let positions = [Position::end_of(4), Position::end_of(engine.records().0)];
    let nobody = values(&engine, "ByUser", "nobody", &positions);
    assert_eq!(values(&engine, "ByUser", ERASED, &positions), nobody);
    no_trace(dir, solid.store.as_ref());
    assert!(!dir.join("erase.pending").exists());
    erase(&engine, "Payment", &["user1"]).unwrap();
}

/// The log's records in a directory of their own, with the payloads that `change` gives.
fn copied(source: &Parts, from: &Path, to: &Path, change: &dyn Fn(u64, Vec<u8>) -> Vec<u8>) -> Parts {
    for name in ["erase.key", "erase.pending"] {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
    let (source, copy) = (log(source), parts(to));
    let target = log(&copy);
    for record in source.read(1).unwrap() {
        let record = record.unwrap();
        let payload = change(record.number, record.payload.to_vec());
        target.append(&[NewRecord { stamp: record.stamp, payload: &payload }]).unwrap();
    }
    copy
}

#[test]
fn a_record_after_an_erasure_that_cannot_be_applied_leaves_it_to_a_later_start() {
    let (dir, ill, well) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let solid = begun(dir.path());
    let (last, stamp) = log(&solid).last().unwrap();
    let sick = copied(&solid, dir.path(), ill.path(), &|_, payload| payload);
    log(&sick).append(&[NewRecord { stamp: stamp + 1, payload: NONSENSE }]).unwrap();
    for _ in 0..2 {
        let engine = open(&sick, None).unwrap();
        waits(&engine, &format!("the erasure at e{last} is accepted, but not complete"));
        assert!(engine.failure().unwrap().contains(&format!("record e{}", last + 1)));
        // Nobody sees the entity any more, and everybody sees everybody else.
        let positions = [Position::end_of(4), Position::end_of(last)];
        let nobody = values(&engine, "ByUser", "nobody", &positions);
        assert_eq!(values(&engine, "ByUser", ERASED, &positions), nobody);
        assert!(!everybody(&engine, &positions).is_empty());
        engine.close();
    }
    let cured = copied(&sick, ill.path(), well.path(), &|number, payload| {
        if number > last { record_of(&log(&solid), 1) } else { payload }
    });
    ends(well.path(), &cured);
}

#[test]
fn an_erasure_behind_a_record_that_cannot_be_applied_is_not_forgotten() {
    let (dir, ill) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let solid = begun(dir.path());
    let sick = copied(&solid, dir.path(), ill.path(), &|number, payload| match number {
        3 => NONSENSE.to_vec(),
        _ => payload,
    });
    for _ in 0..2 {
        let engine = open(&sick, None).unwrap();
        assert!(engine.failure().unwrap().contains("record e3 could not be applied"));
        waits(&engine, "waits behind a record of the log that cannot be applied");
        assert_eq!(engine.records().1, 2);
        engine.close();
        drop(engine);
        assert!(ill.path().join("erase.pending").exists());
    }
    // A Thyme that can apply it.
    ends(dir.path(), &solid);
}

#[test]
fn an_erasure_that_cannot_be_ended_for_now_keeps_nobody_from_being_served() {
    let dir = tempfile::tempdir().unwrap();
    let solid = begun(dir.path());
    let (fused, fuse) = fuse::fused(&solid);
    fuse.set(3);
    let engine = open(&fused, None).unwrap();
    waits(&engine, "is accepted, but not complete (");
    assert!(!everybody(&engine, &[Position::end_of(4)]).is_empty());
    fuse.set(0);
    drop(engine);
    ends(dir.path(), &solid);
}

/// What a record holds.
fn record_of(log: &SegmentLog, number: u64) -> Vec<u8> {
    log.read(number).unwrap().next().unwrap().unwrap().payload.to_vec()
}
