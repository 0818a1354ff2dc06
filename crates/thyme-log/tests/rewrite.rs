//! Rewriting records in place, and cutting the front of the log off.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;

use support::{MemDisk, Random};
use thyme_core::error::ErrorKind;
use thyme_log::{Disk, Log, MemoryLog, NewRecord, Options, SegmentLog};

const SMALL: Options = Options { segment_bytes: 2_000 };

fn payload(number: u64) -> Vec<u8> {
    format!("payload {number} ").repeat(8).into_bytes()
}

fn fill(log: &dyn Log, count: u64) {
    let first = log.last().map_or(1, |(number, _)| number + 1);
    for number in first..first + count {
        let payload = payload(number);
        log.append(&[NewRecord { stamp: number as i64 * 10, payload: &payload }]).unwrap();
    }
}

fn contents(log: &dyn Log) -> Vec<(u64, i64, Vec<u8>)> {
    let records = log.read(log.first()).unwrap();
    records.map(|r| r.unwrap()).map(|r| (r.number, r.stamp, r.payload)).collect()
}

/// Every third record becomes longer, shorter or empty.
fn edited(number: u64) -> Option<Vec<u8>> {
    match number % 9 {
        0 => Some(Vec::new()),
        3 => Some(b"short".to_vec()),
        6 => Some(vec![7; 900]),
        _ => None,
    }
}

fn expected(records: impl Iterator<Item = u64>, until: u64) -> Vec<(u64, i64, Vec<u8>)> {
    let new = |number| edited(number).filter(|_| number <= until).unwrap_or_else(|| payload(number));
    records.map(|number| (number, number as i64 * 10, new(number))).collect()
}

fn logs() -> Vec<(Arc<dyn Log>, Option<MemDisk>)> {
    let disk = MemDisk::default();
    let (log, _) = SegmentLog::open_on(Arc::new(disk.clone()), SMALL).unwrap();
    vec![(Arc::new(log), Some(disk)), (Arc::new(MemoryLog::new()), None)]
}

#[test]
fn rewritten_records_keep_their_numbers_and_stamps_and_the_log_goes_on() {
    for (log, disk) in logs() {
        fill(log.as_ref(), 60);
        let changed = log.rewrite(50, &mut |number, _| Ok(edited(number))).unwrap();
        assert_eq!(changed, 16);
        assert_eq!(contents(log.as_ref()), expected(1..=60, 50));
        fill(log.as_ref(), 20);
        assert_eq!(contents(log.as_ref()), expected(1..=80, 50));
        for stamp in [9, 10, 11, 305, 600, 799, 800, 900] {
            let found = (stamp >= 10).then_some((stamp as u64 / 10).min(80));
            assert_eq!(log.last_at(stamp).unwrap(), found);
        }
        let Some(disk) = disk else { continue };
        assert!(disk.names().iter().all(|name| !name.ends_with(".rewrite")), "{:?}", disk.names());
        let bytes: usize = disk.names().iter().map(|name| disk.contents(name).len()).sum();
        assert_eq!(log.bytes(), bytes as u64);
        drop(log);
        let (again, _) = SegmentLog::open_on(Arc::new(disk), SMALL).unwrap();
        assert_eq!(contents(&again), expected(1..=80, 50));
    }
}

#[test]
fn a_rewrite_that_changes_nothing_writes_nothing() {
    for (log, disk) in logs() {
        fill(log.as_ref(), 30);
        let before = disk.as_ref().map(MemDisk::names);
        assert_eq!(log.rewrite(30, &mut |_, _| Ok(None)).unwrap(), 0);
        assert_eq!(disk.as_ref().map(MemDisk::names), before);
    }
}

#[test]
fn a_reader_under_way_sees_every_record_old_or_new() {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = SegmentLog::open(dir.path(), SMALL).unwrap();
    fill(&log, 100);
    for stop in [0, 1, 17, 50, 99] {
        let mut reader = log.read(1).unwrap();
        let mut seen: Vec<u64> = reader.by_ref().take(stop).map(|r| r.unwrap().number).collect();
        let tag = vec![stop as u8; 40 + stop];
        log.rewrite(100, &mut |_, _| Ok(Some(tag.clone()))).unwrap();
        seen.extend(reader.map(|r| r.unwrap().number));
        assert_eq!(seen, (1..=100).collect::<Vec<_>>(), "after {stop}");
        assert!(contents(&log).iter().all(|(_, _, payload)| *payload == tag));
    }
}

#[test]
fn after_a_power_cut_each_record_is_as_it_was_or_as_it_is_to_be() {
    let mut random = Random(11);
    for round in 0..60 {
        let disk = MemDisk::default();
        let (log, _) = SegmentLog::open_on(Arc::new(disk.clone()), SMALL).unwrap();
        fill(&log, 40);
        // Stops in the middle: the fault stands for the cut.
        let stop = 1 + random.below(45);
        let done = log.rewrite(40, &mut |number, _| match number == stop {
            true => Err(thyme_core::Error::internal("stop")),
            false => Ok(edited(number)),
        });
        assert_eq!(done.is_err(), stop <= 40);
        let left = disk.after_power_cut(&mut |n| random.below(n));
        drop(log);
        let (log, _) = SegmentLog::open_on(Arc::new(left.clone()), SMALL).unwrap();
        for (number, stamp, found) in contents(&log) {
            let new = edited(number).is_some_and(|new| new == found);
            assert!(new || found == payload(number), "record {number} in round {round}");
            assert_eq!(stamp, number as i64 * 10);
        }
        assert!(left.names().iter().all(|name| !name.ends_with(".rewrite")), "{:?}", left.names());
        log.rewrite(40, &mut |number, _| Ok(edited(number))).unwrap();
        fill(&log, 3);
        assert_eq!(contents(&log), expected(1..=43, 40));
    }
}

#[test]
fn a_cut_removes_whole_files_only_and_never_the_last_record() {
    for (log, disk) in logs() {
        fill(log.as_ref(), 60);
        let all = log.bytes();
        assert_eq!(log.first(), 1);
        let cuts = log.cuts();
        assert_eq!(log.cut(cuts[0] - 1).unwrap(), 0);
        let before = cuts[2] + u64::from(disk.is_some());
        let freed = log.cut(before).unwrap();
        assert!(freed > 0 && log.bytes() == all - freed);
        assert_eq!(log.first(), cuts[2]);
        assert_eq!(contents(log.as_ref()), expected(cuts[2]..=60, 0));
        assert_eq!(log.read(1).err().unwrap().kind(), ErrorKind::Gone);
        assert_eq!(log.last_at(600).unwrap(), Some(60));
        assert!(log.rewrite(60, &mut |number, _| Ok(edited(number))).unwrap() > 0);
        log.cut(u64::MAX).unwrap();
        assert_eq!(log.last(), Some((60, 600)));
        fill(log.as_ref(), 2);
        assert_eq!(contents(log.as_ref()), expected(log.first()..=62, 60));
        let Some(disk) = disk else { continue };
        let first = log.first();
        drop(log);
        let (again, _) = SegmentLog::open_on(Arc::new(disk.clone()), SMALL).unwrap();
        assert_eq!(again.first(), first);
        assert_eq!(contents(&again), expected(first..=62, 60));
        drop(again);
        // A segment that is missing at the front is not taken for a cut one.
        let second = disk.names().into_iter().find(|name| name.ends_with(".log")).unwrap();
        disk.take(&second);
        assert!(SegmentLog::open_on(Arc::new(disk), SMALL).is_err());
    }
}

#[test]
fn after_a_power_cut_in_a_cut_the_log_begins_at_one_of_the_two_places() {
    let mut random = Random(5);
    for _ in 0..60 {
        let disk = MemDisk::default();
        let (log, _) = SegmentLog::open_on(Arc::new(disk.clone()), SMALL).unwrap();
        fill(&log, 40);
        let cuts = log.cuts();
        let cut = cuts[random.below(cuts.len() as u64) as usize];
        disk.fail_sync(random.below(2) == 0);
        let done = log.cut(cut);
        let left = disk.after_power_cut(&mut |n| random.below(n));
        drop(log);
        let (log, _) = SegmentLog::open_on(Arc::new(left), SMALL).unwrap();
        assert!(log.first() == cut || (done.is_err() && log.first() == 1));
        assert_eq!(contents(&log), expected(log.first()..=40, 0));
    }
}

#[test]
fn a_damaged_cut_is_refused() {
    let disk = MemDisk::default();
    let (log, _) = SegmentLog::open_on(Arc::new(disk.clone()), SMALL).unwrap();
    fill(&log, 40);
    log.cut(log.cuts()[1]).unwrap();
    drop(log);
    let mut bytes = disk.contents("cut");
    bytes[12] ^= 1;
    disk.replace("cut", &bytes);
    let refused = SegmentLog::open_on(Arc::new(disk.clone()), SMALL).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
    assert!(refused.to_string().contains("where the log begins"), "{refused}");
    assert!(disk.list().unwrap().contains(&"cut".to_owned()));
}
