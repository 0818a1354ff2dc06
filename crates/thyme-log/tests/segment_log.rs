//! The embedded log on a real directory.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};

use support::{all, append, open};
use thyme_core::error::ErrorKind;
use thyme_log::{Log, MemoryLog, NewRecord, Options, PAYLOAD_BYTES_MAX, SegmentLog};

const SMALL: Options = Options { segment_bytes: 4_000 };

#[test]
fn records_come_back_after_rolling_and_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let mut written = Vec::new();
    for round in 0..5 {
        let (log, report) = SegmentLog::open(&dir.path().join("a/log"), SMALL).unwrap();
        assert_eq!((report.records, report.torn), (written.len() as u64, None));
        assert_eq!(all(&log), written);
        for i in 0..40u8 {
            let payload = vec![i; usize::from(i) * 5];
            append(&log, &[&payload, b"", &[round]]).unwrap();
        }
        written = all(&log);
        assert_eq!(log.last().map(|(number, _)| number), Some(120 * (u64::from(round) + 1)));
        assert!(written.iter().zip(1..).all(|(record, number)| record.number == number));
        let on_disk: u64 = std::fs::read_dir(dir.path().join("a/log"))
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum();
        assert_eq!(log.bytes(), on_disk);
    }
    assert!(std::fs::read_dir(dir.path().join("a/log")).unwrap().count() > 10);
}

#[test]
fn a_read_begins_anywhere_and_ends_at_what_was_durable_when_it_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = SegmentLog::open(dir.path(), Options { segment_bytes: 5 << 20 }).unwrap();
    let payload = vec![7; 70_000];
    for _ in 0..300 {
        append(&log, &[&payload]).unwrap();
    }
    drop(log);
    let (log, _) = SegmentLog::open(dir.path(), Options { segment_bytes: 5 << 20 }).unwrap();
    for from in (0..=301).rev().step_by(7).chain([0, 1, 2, 74, 75, 300, 301, 400]) {
        let numbers: Vec<u64> = log.read(from).unwrap().map(|record| record.unwrap().number).collect();
        assert!(numbers.iter().copied().eq(from.max(1)..=300), "from {from}");
    }
    let mut early = log.read(299).unwrap();
    append(&log, &[b"later"]).unwrap();
    assert_eq!(early.by_ref().count(), 2);
    assert_eq!(log.read(301).unwrap().count(), 1);
}

#[test]
fn the_greatest_record_at_a_stamp_is_found_in_any_order() {
    let dir = tempfile::tempdir().unwrap();
    for segment_bytes in [900, 3 << 20] {
        let dir = dir.path().join(segment_bytes.to_string());
        let model = MemoryLog::new();
        let payload = vec![1; if segment_bytes == 900 { 90 } else { 50_000 }];
        let options = Options { segment_bytes };
        {
            let (log, _) = SegmentLog::open(&dir, options).unwrap();
            assert_eq!(log.last_at(5).unwrap(), None);
            for n in 0..200i64 {
                let record = NewRecord { stamp: n * n - 50, payload: &payload };
                log.append(&[record]).unwrap();
                model.append(&[record]).unwrap();
            }
        }
        let (log, _) = SegmentLog::open(&dir, options).unwrap();
        let mut stamps: Vec<i64> = (-60..40_000).step_by(13).chain([i64::MIN, i64::MAX, -50, -51]).collect();
        for _ in 0..2 {
            for stamp in &stamps {
                assert_eq!(log.last_at(*stamp).unwrap(), model.last_at(*stamp).unwrap(), "stamp {stamp}");
            }
            stamps.reverse();
        }
        log.append(&[NewRecord { stamp: 50_000, payload: b"" }]).unwrap();
        assert_eq!(log.last_at(49_999).unwrap(), Some(200));
        assert_eq!(log.last_at(50_000).unwrap(), Some(201));
    }
}

#[test]
fn reads_and_appends_go_on_side_by_side() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = SegmentLog::open(dir.path(), Options { segment_bytes: 20_000 }).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..400u64 {
                let payload = n.to_le_bytes().repeat(20);
                append(&log, &[&payload, &payload]).unwrap();
            }
            done.store(true, Ordering::Release);
        });
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    let last = log.last().map_or(0, |(number, _)| number);
                    let from = last.saturating_sub(30).max(1);
                    let mut next = from;
                    for record in log.read(from).unwrap() {
                        let record = record.unwrap();
                        assert_eq!((record.number, record.stamp), (next, next as i64 * 10));
                        assert_eq!(record.payload, ((next - 1) / 2).to_le_bytes().repeat(20));
                        next += 1;
                    }
                    assert!(next > last);
                    if last > 1 {
                        assert_eq!(log.last_at(last as i64 * 10 - 1).unwrap(), Some(last - 1));
                    }
                }
            });
        }
    });
    assert_eq!(all(&log).len(), 800);
}

#[test]
fn what_no_log_may_take_is_refused_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (segments, _) = SegmentLog::open(dir.path(), SMALL).unwrap();
    let memory = MemoryLog::new();
    let huge = vec![0; PAYLOAD_BYTES_MAX + 1];
    for log in [&segments as &dyn Log, &memory] {
        append(log, &[b"one"]).unwrap();
        let at = |stamp| NewRecord { stamp, payload: b"x" };
        let cases = [
            (vec![], ErrorKind::Internal, "holds no record"),
            (vec![at(10)], ErrorKind::Internal, "does not follow the stamp 10"),
            (vec![at(11), at(11)], ErrorKind::Internal, "must strictly increase"),
            (vec![at(11), NewRecord { stamp: 12, payload: &huge }], ErrorKind::TooLarge, "above the limit"),
        ];
        for (records, kind, text) in cases {
            let error = log.append(&records).unwrap_err();
            assert_eq!(error.kind(), kind);
            assert!(error.detail().contains(text), "{error}");
        }
        assert_eq!(log.last(), Some((1, 10)));
        assert_eq!(append(log, &[b"two"]).unwrap(), 2);
    }
}

#[test]
fn a_second_process_is_told_that_the_log_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let first = SegmentLog::open(dir.path(), SMALL).unwrap();
    let error = SegmentLog::open(dir.path(), SMALL).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.detail().contains("is used by another thyme process"), "{error}");
    drop(first);
    SegmentLog::open(dir.path(), SMALL).unwrap();
}

#[test]
fn a_batch_larger_than_a_segment_gets_one_of_its_own() {
    let disk = support::MemDisk::default();
    let (log, _) = open(&disk, 500).unwrap();
    let payload = support::Random(1).payload(3_000);
    append(&log, &[b"small"]).unwrap();
    append(&log, &[&payload, &payload]).unwrap();
    append(&log, &[b"small"]).unwrap();
    assert_eq!(disk.names().len(), 3);
    drop(log);
    assert_eq!(all(&open(&disk, 500).unwrap().0).len(), 4);
}
