//! Views at one `(T, S)`.

use std::sync::Arc;
use std::time::Duration;

use thyme_core::{Error, EventTime, Position, Result};

use super::Engine;
use crate::catalog::Catalog;
use crate::snapshot::{ReadAt, Snapshot};
use crate::state::Keep;

/// How often whoever waits for a position is asked whether they still do.
const LOOK: Duration = Duration::from_millis(250);

impl Engine {
    /// A view at one `(T, S)` under one commit.
    ///
    /// # Errors
    /// Unavailable when a position asked for is not applied in time.
    pub fn snapshot(&self, at: ReadAt) -> Result<Snapshot> {
        self.snapshot_while(at, &|| true)
    }

    /// [`Engine::snapshot`] for somebody who may go while it waits: then `goes_on` says false.
    ///
    /// # Errors
    /// Unavailable when a position asked for is not applied in time, or nobody waits for it any more.
    pub fn snapshot_while(&self, at: ReadAt, goes_on: &dyn Fn() -> bool) -> Result<Snapshot> {
        if let Some(position) = at.min_position.max(at.position) {
            let wait = at.wait.unwrap_or(ReadAt::WAIT).min(ReadAt::WAIT_MAX);
            let (mut left, mut is_applied) = (wait, false);
            while !is_applied && !left.is_zero() {
                let now = left.min(LOOK);
                left -= now;
                is_applied = self.wait_applied(position.record(), now)?;
                if !is_applied && !goes_on() {
                    return Err(Error::unavailable("whoever asked is gone"));
                }
            }
            if !is_applied && !self.wait_applied(position.record(), Duration::ZERO)? {
                return Err(Error::unavailable(format!(
                    "position {position} is not applied after {} s; the newest is e{}",
                    wait.as_secs_f64(),
                    self.shared.gate.applied()
                )));
            }
        }
        let (catalog, (now, newest)) = self.online();
        let time = at.time.unwrap_or(now);
        Ok(Snapshot {
            catalog,
            events: self.shared.events.clone(),
            time,
            position: at.position.unwrap_or(newest),
            now,
            online: at.time.is_none(),
            keep: Keep::Hot,
            erasures: at.position.and_then(|position| self.erasures_since(position)),
        })
    }

    /// `position`, and how many erasures there were after it, if any.
    pub fn erasures_since(&self, position: Position) -> Option<(Position, usize)> {
        let count = self.shared.ledger.since(position.record());
        (count > 0).then_some((position, count))
    }

    /// The catalog and the `(T, S)` of an online read under it. Nodes that a commit left out take no rows
    /// after it, so a catalog goes only with positions up to the commit that replaced it.
    fn online(&self) -> (Arc<Catalog>, (EventTime, Position)) {
        loop {
            let catalog = self.catalog();
            let online = self.shared.online();
            if Arc::ptr_eq(&catalog, &self.catalog()) {
                return (catalog, online);
            }
        }
    }

    /// Fixes "now" for online reads, or frees it.
    pub fn set_now(&self, now_us: Option<i64>) {
        self.shared.gate.set_fixed_now(now_us);
    }
}
