//! Disks that fail and fill up.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::{MemDisk, all, append, open};
use thyme_core::error::ErrorKind;
use thyme_log::Log;

#[test]
fn a_failed_sync_ends_all_writes_and_reads_go_on() {
    for segment_bytes in [1 << 20, 1] {
        let disk = MemDisk::default();
        let (log, _) = open(&disk, segment_bytes).unwrap();
        append(&log, &[b"kept"]).unwrap();
        disk.fail_sync(true);
        let error = append(&log, &[b"unsure"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(
            error.detail().contains("until a restart") && error.detail().contains("the disk is gone"),
            "{error}"
        );
        disk.fail_sync(false);
        let again = append(&log, &[b"refused"]).unwrap_err();
        assert_eq!(again.detail(), error.detail());
        assert_eq!(all(&log).len(), 1);
        assert_eq!(log.last(), Some((1, 10)));
    }
}

#[test]
fn a_failed_write_ends_all_writes() {
    let disk = MemDisk::default();
    let (log, _) = open(&disk, 1 << 20).unwrap();
    append(&log, &[b"kept"]).unwrap();
    disk.fail_write(true);
    assert_eq!(append(&log, &[b"lost"]).unwrap_err().kind(), ErrorKind::Unavailable);
    disk.fail_write(false);
    assert_eq!(append(&log, &[b"refused"]).unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(all(&log).len(), 1);
}

#[test]
fn a_full_disk_stores_nothing_and_writes_go_on_once_there_is_space() {
    for segment_bytes in [1 << 20, 1] {
        let disk = MemDisk::default();
        let (log, _) = open(&disk, segment_bytes).unwrap();
        append(&log, &[b"kept"]).unwrap();
        let before: Vec<_> = disk.names().iter().map(|name| disk.contents(name)).collect();
        for room in [0, 1, 50, 100] {
            disk.limit(Some(before.concat().len() + room));
            let error = append(&log, &[&[1; 300]]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::StorageFull);
            assert!(error.detail().contains("nothing was stored"), "{error}");
            let after: Vec<_> = disk.names().iter().map(|name| disk.contents(name)).collect();
            assert_eq!(before, after);
        }
        disk.limit(None);
        assert_eq!(append(&log, &[&[1; 300]]).unwrap(), 2);
        drop(log);
        let (log, report) = open(&disk, segment_bytes).unwrap();
        assert_eq!((all(&log).len(), report.torn), (2, None));
    }
}

#[test]
fn a_full_disk_that_cannot_be_cut_back_ends_all_writes() {
    let disk = MemDisk::default();
    let (log, _) = open(&disk, 1 << 20).unwrap();
    append(&log, &[b"kept"]).unwrap();
    disk.limit(Some(0));
    disk.fail_truncate(true);
    assert_eq!(append(&log, &[b"lost"]).unwrap_err().kind(), ErrorKind::Unavailable);
    disk.limit(None);
    disk.fail_truncate(false);
    assert_eq!(append(&log, &[b"refused"]).unwrap_err().kind(), ErrorKind::Unavailable);
}
