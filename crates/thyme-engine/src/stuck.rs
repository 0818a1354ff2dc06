//! While what is not used cannot be written, as on a full disk, nothing leaves memory. It grows over its limit then,
//! but not for ever: beyond a bound nothing more is taken that would have it grow.

use parking_lot::Mutex;
use thyme_core::{Error, ErrorKind, Result};

use crate::events::{EventLog, Severity};

/// By this part of its limit memory may grow over it before pushes are refused.
const GROWTH_PART: usize = 16;

/// Why nothing can leave memory for now, if that is so: the last write failed.
#[derive(Debug)]
pub(crate) struct Stuck {
    /// Bytes of timelines that stay in memory.
    limit: usize,
    reason: Mutex<Option<Error>>,
}

impl Stuck {
    /// Nothing has failed yet.
    pub fn new(limit: usize) -> Stuck {
        Stuck { limit, reason: Mutex::default() }
    }

    /// Why, if that is so.
    pub fn reason(&self) -> Option<String> {
        self.reason.lock().as_ref().map(ToString::to_string)
    }

    /// Whether that is so.
    pub fn is(&self) -> bool {
        self.reason.lock().is_some()
    }

    /// Notes what became of a write, and says when memory begins to grow over its limit, and when that ends.
    pub fn note(&self, written: Result<()>, events: &EventLog) {
        let mut reason = self.reason.lock();
        match (written, &*reason) {
            (Err(error), None) => {
                let message = format!(
                    "timelines that are not used cannot be written ({error}), so nothing leaves memory; it grows over its limit of {} bytes by a sixteenth, and then pushes are refused; it is tried again; if the disk is full, make room on it",
                    self.limit
                );
                events.record(Severity::Error, "memory_stuck", "store", message);
                *reason = Some(error);
            }
            (Ok(()), Some(_)) => {
                let message = "timelines that are not used can be written and leave memory again".to_owned();
                events.record(Severity::Info, "memory_relieved", "store", message);
                *reason = None;
            }
            _ => {}
        }
    }

    /// Why no event is taken while there are `resident` bytes of timelines in memory, if that is so.
    pub fn refusal(&self, resident: usize) -> Option<Error> {
        if resident <= self.limit.saturating_add(self.limit / GROWTH_PART) {
            return None;
        }
        let reason = self.reason.lock().clone()?;
        let kind = match reason.kind() {
            ErrorKind::StorageFull => ErrorKind::StorageFull,
            _ => ErrorKind::Overloaded,
        };
        let detail = format!(
            "memory is full of timelines ({resident} bytes, and {} are allowed) that cannot be written to the store: {reason}; nothing of it was stored: send it again once that is mended, reads go on",
            self.limit
        );
        Some(Error::new(kind, detail))
    }
}
