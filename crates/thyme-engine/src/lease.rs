//! The lease of online times: a durable bound on every `T` that was given out, so that stamps stay above
//! them across a crash after which the clock is behind.

use thyme_core::{Error, EventTime, Position, Result};
use thyme_store::{CheckpointBatch, Store};

use crate::engine::Shared;
use crate::events::Severity;

const META_ONLINE: &str = "online";

/// The end of the last lease; the beginning of time when there was none.
pub(crate) fn load(store: &Store) -> Result<i64> {
    let Some(bytes) = store.meta(META_ONLINE)? else { return Ok(i64::MIN) };
    let bytes = bytes.as_slice().try_into();
    Ok(i64::from_le_bytes(bytes.map_err(|_| Error::corrupt("the store's lease of online times is damaged"))?))
}

fn write(store: &Store, lease: i64) -> Result<()> {
    let mut batch = CheckpointBatch::new();
    batch.put_meta(META_ONLINE, &lease.to_le_bytes());
    store.checkpoint(batch)
}

impl Shared {
    /// The `(T, S)` of an online read; extends the lease if it has to.
    pub fn online(&self) -> (EventTime, Position) {
        loop {
            if let Some(online) = self.gate.online(self.clock.now_source()) {
                return online;
            }
            self.extend_lease(true);
        }
    }

    /// Extends the lease if it is time. A store that cannot be written does not stop reads: then only a
    /// crash with a clock that steps back may bring stamps below times that were given out, which is said.
    pub fn extend_lease(&self, is_needed: bool) {
        let _one_at_a_time = self.lease.lock();
        let Some(next) = self.gate.next_lease(is_needed) else { return };
        if let Err(error) = write(&self.store, next) {
            let message = format!(
                "the bound on the times of online reads could not be stored ({error}); as-served answers about now are \
                 exact only if the clock does not step back before the next start"
            );
            self.events.record(Severity::Warning, "online_bound_not_stored", "store", message);
        }
        self.gate.extend_lease(next);
    }

    /// Makes the latest time that was given out durable.
    pub fn end_lease(&self) -> Result<()> {
        let _one_at_a_time = self.lease.lock();
        self.gate.end_lease().map_or(Ok(()), |lease| write(&self.store, lease))
    }
}
