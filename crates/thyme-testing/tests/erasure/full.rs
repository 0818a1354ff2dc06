//! An erasure on a full disk says so, and what to do; it leaves nobody half erased.

use std::sync::Arc;

use thyme_core::Position;
use thyme_core::error::ErrorKind;
use thyme_engine::Parts;
use thyme_store::MemoryStore;
use thyme_testing::disk::FaultyDisk;

use super::{ERASED, erase, fill, open, values};

#[test]
fn an_erasure_without_room_says_what_to_do_and_is_done_once_there_is_some() {
    let (mut refused, mut accepted) = (0, false);
    for room in (0..).step_by(200) {
        let disk = FaultyDisk::default();
        let parts = Parts {
            log: Arc::new(disk.clone()),
            log_options: thyme_log::Options { segment_bytes: 2_500 },
            store: Arc::new(MemoryStore::default()),
        };
        let engine = open(&parts, None).unwrap();
        fill(&engine);
        let at = [Position::end_of(4)];
        let known = values(&engine, "ByUser", ERASED, &at);
        disk.limit(Some(disk.used() + room));
        let Err(error) = erase(&engine, "Payment", &[ERASED]) else { break };
        assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
        assert!(error.detail().contains("the disk is full") && error.detail().contains("free some space"));
        disk.limit(None);
        if error.detail().contains("so nothing was erased") {
            refused += 1;
            assert!(error.detail().contains("erase again"), "{error}");
            assert_eq!(values(&engine, "ByUser", ERASED, &at), known);
            assert!(disk.names().iter().all(|name| !name.starts_with("erase.pending")), "{:?}", disk.names());
            erase(&engine, "Payment", &[ERASED]).unwrap();
            assert_ne!(values(&engine, "ByUser", ERASED, &at), known);
        } else {
            accepted = true;
            assert!(error.detail().contains("is accepted") && error.detail().contains("restart the server"));
            engine.close();
            drop(engine);
            let engine = open(&parts, None).unwrap();
            assert_eq!(engine.erasure_waits(), None);
            assert_ne!(values(&engine, "ByUser", ERASED, &at), known);
        }
    }
    assert!(refused > 1 && accepted);
}
