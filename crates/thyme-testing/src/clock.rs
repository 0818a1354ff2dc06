//! A clock that stands still until a test moves it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use thyme_core::Env;

/// An [`Env`] whose time is set by hand; clones share it.
#[derive(Clone, Debug, Default)]
pub struct HandClock(Arc<AtomicI64>);

impl HandClock {
    /// A clock that stands at `now_us`.
    pub fn at(now_us: i64) -> Self {
        HandClock(Arc::new(AtomicI64::new(now_us)))
    }

    /// Moves it by `us`, which may be negative.
    pub fn advance(&self, us: i64) {
        self.0.fetch_add(us, Ordering::SeqCst);
    }

    /// As an engine takes it.
    pub fn env(&self) -> Arc<dyn Env> {
        Arc::new(self.clone())
    }
}

impl Env for HandClock {
    fn now_us(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}
