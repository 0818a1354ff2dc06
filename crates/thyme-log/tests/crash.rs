//! What is cut after a crash, and what is reported as damage.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::{MemDisk, Random, all, append, open};
use thyme_core::error::ErrorKind;
use thyme_log::Log;

const SEGMENT_BYTES: u64 = 1 << 20;

/// A log of three batches, of one, two and `last` records, and where the last batch begins.
fn three_batches(last: usize, payload_bytes: usize) -> (MemDisk, String, usize) {
    let disk = MemDisk::default();
    let (log, _) = open(&disk, SEGMENT_BYTES).unwrap();
    let mut random = Random(42);
    append(&log, &[&random.payload(33)]).unwrap();
    append(&log, &[&random.payload(700), &random.payload(1)]).unwrap();
    let name = disk.names().remove(0);
    let begins = disk.contents(&name).len();
    let payloads: Vec<_> = (0..last).map(|_| random.payload(payload_bytes)).collect();
    append(&log, &payloads.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
    (disk, name, begins)
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_as_a_whole_batch_and_reported() {
    for (count, payload_bytes) in [(1, 700), (3, 300), (3, 0)] {
        let (disk, name, begins) = three_batches(count, payload_bytes);
        let whole = disk.contents(&name);
        for at in begins..whole.len() {
            let mut blanked = whole.clone();
            blanked[at..].fill(0);
            let blank_to_the_end = blanked == whole;
            for torn in [whole[..at].to_vec(), blanked.clone(), [&blanked[..], &[0; 5_000]].concat()] {
                let left = MemDisk::default();
                left.replace(&name, &torn);
                let (log, report) = open(&left, SEGMENT_BYTES).unwrap();
                if blank_to_the_end && torn.len() >= whole.len() {
                    continue;
                }
                assert_eq!(log.last(), Some((3, 30)), "{count} records, byte {at}");
                assert_eq!(report.records, 3);
                let cut = report.torn.map(|torn| (torn.file, torn.offset, torn.bytes));
                let expected = (format!("mem/{name}"), begins as u64, (torn.len() - begins) as u64);
                assert_eq!(cut, (torn.len() > begins).then_some(expected));
                assert_eq!(append(&log, &[b"again"]).unwrap(), 4);
                drop(log);
                let (log, report) = open(&left, SEGMENT_BYTES).unwrap();
                assert_eq!((all(&log).len(), report.torn), (4, None));
            }
        }
    }
}

#[test]
fn a_batch_with_missing_sectors_before_intact_records_of_its_own_is_cut() {
    let (disk, name, begins) = three_batches(3, 2_000);
    let whole = disk.contents(&name);
    for sector in (begins / 512)..whole.len().div_ceil(512) {
        let mut torn = whole.clone();
        let end = ((sector + 1) * 512).min(torn.len());
        torn[(sector * 512).max(begins)..end].fill(0);
        let left = MemDisk::default();
        left.replace(&name, &torn);
        let (log, report) = open(&left, SEGMENT_BYTES).unwrap();
        assert_eq!(log.last(), Some((3, 30)));
        assert_eq!(report.torn.map(|torn| torn.offset), Some(begins as u64));
    }
}

#[test]
fn a_flipped_bit_anywhere_in_acknowledged_data_is_damage_and_nothing_is_cut() {
    for last in [1, 3] {
        let (disk, name, _) = three_batches(last, 300);
        let whole = disk.contents(&name);
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << (at % 8);
            let left = MemDisk::default();
            left.replace(&name, &damaged);
            let error = open(&left, SEGMENT_BYTES).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {at}: {error}");
            assert!(error.detail().contains(&name) && error.detail().contains("record"), "{error}");
            assert_eq!(left.contents(&name), damaged);
        }
    }
}

#[test]
fn missing_sectors_before_a_later_batch_are_damage() {
    let (disk, name, begins) = three_batches(1, 300);
    let whole = disk.contents(&name);
    for sector in 0..(begins / 512) {
        let mut damaged = whole.clone();
        damaged[sector * 512..(sector + 1) * 512].fill(0);
        let left = MemDisk::default();
        left.replace(&name, &damaged);
        let error = open(&left, SEGMENT_BYTES).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.detail().contains("is intact"), "{error}");
    }
}

/// A log of many segments.
fn rolled() -> (MemDisk, Vec<String>) {
    let disk = MemDisk::default();
    let (log, _) = open(&disk, 700).unwrap();
    let mut random = Random(7);
    for _ in 0..8 {
        append(&log, &[&random.payload(100), &random.payload(50)]).unwrap();
    }
    let names = disk.names();
    assert!(names.len() > 3);
    (disk, names)
}

#[test]
fn a_flipped_bit_in_an_earlier_segment_is_never_served() {
    let (disk, names) = rolled();
    let before = all(&open(&disk, 700).unwrap().0);
    for name in &names {
        let whole = disk.contents(name);
        for at in 0..whole.len() {
            let left = disk.copy();
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << (at % 8);
            left.replace(name, &damaged);
            let error = match open(&left, 700) {
                Err(error) => error,
                Ok((log, _)) => {
                    let mut records = log.read(1).unwrap();
                    let good = records.by_ref().map_while(|record| record.ok());
                    let served: Vec<_> = good.collect();
                    assert_eq!(served, before[..served.len()]);
                    assert!(served.len() < before.len(), "{name}, byte {at}");
                    log.read(served.len() as u64 + 1).unwrap().next().unwrap().unwrap_err()
                }
            };
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            assert!(error.detail().contains(name), "{error}");
        }
    }
}

#[test]
fn a_missing_or_shortened_earlier_segment_is_damage() {
    let (disk, names) = rolled();
    for name in &names[..names.len() - 1] {
        let left = disk.copy();
        left.take(name);
        let error = open(&left, 700).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.detail().contains("missing segment files"), "{error}");
        let whole = disk.contents(name);
        for at in 64..whole.len() {
            let left = disk.copy();
            left.replace(name, &whole[..at]);
            let (log, _) = open(&left, 700).unwrap();
            let error = log.read(1).unwrap().find_map(|record| record.err()).unwrap();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert!(error.detail().contains(name), "{error}");
        }
    }
}

#[test]
fn a_segment_whose_first_batch_was_torn_is_removed() {
    let (disk, names) = rolled();
    let last = names.last().unwrap();
    let first: u64 = last.trim_end_matches(".log").parse().unwrap();
    let left = disk.copy();
    let (log, _) = open(&left, 700).unwrap();
    while left.names().len() == names.len() {
        append(&log, &[&Random(3).payload(100)]).unwrap();
    }
    drop(log);
    let newest = left.names().pop().unwrap();
    let whole = left.contents(&newest);
    for at in 0..whole.len() {
        let torn = left.copy();
        torn.replace(&newest, &whole[..at]);
        let (log, report) = open(&torn, 700).unwrap();
        assert!(log.last().unwrap().0 >= first);
        assert_eq!(report.torn.map(|torn| (torn.offset, torn.bytes)), Some((0, at as u64)));
        assert!(!torn.names().contains(&newest));
        append(&log, &[b"again"]).unwrap();
        drop(log);
        open(&torn, 700).unwrap();
        // The segment before was whole when this one was begun.
        let shortened = left.copy();
        shortened.replace(&newest, &whole[..at]);
        let before = left.contents(last);
        shortened.replace(last, &before[..before.len() - 1]);
        assert_eq!(open(&shortened, 700).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn a_later_format_is_refused_with_what_to_do() {
    let (disk, name, _) = three_batches(1, 10);
    let mut bytes = disk.contents(&name);
    bytes[8] = 9;
    let sum = crc32c::crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&sum.to_le_bytes());
    disk.replace(&name, &bytes);
    let error = open(&disk, SEGMENT_BYTES).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.detail().contains("format 9") && error.detail().contains("start it with"), "{error}");
}
