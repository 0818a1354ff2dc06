//! Records on their way from the log to the timelines: no more of them than there is room for.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

/// How many bytes of records may be on their way.
#[derive(Debug)]
pub(crate) struct InFlight {
    limit: usize,
    bytes: Mutex<usize>,
    freed: Condvar,
}

/// The room of one record; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    in_flight: Arc<InFlight>,
    bytes: usize,
}

impl InFlight {
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(InFlight { limit, bytes: Mutex::new(0), freed: Condvar::new() })
    }

    /// As much room, for another way.
    pub fn another(&self) -> Arc<Self> {
        InFlight::new(self.limit)
    }

    /// Waits until there is room for `bytes`, or nothing else is on its way.
    pub fn enter(self: &Arc<Self>, bytes: usize) -> Arc<Ticket> {
        let mut taken = self.bytes.lock();
        while *taken > 0 && taken.saturating_add(bytes) > self.limit {
            self.freed.wait(&mut taken);
        }
        *taken += bytes;
        Arc::new(Ticket { in_flight: self.clone(), bytes })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        *self.in_flight.bytes.lock() -= self.bytes;
        self.in_flight.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_waits_and_what_is_too_large_goes_alone() {
        let in_flight = InFlight::new(10);
        let (a, b) = (in_flight.enter(6), in_flight.enter(4));
        #[expect(clippy::disallowed_methods, reason = "somebody has to wait")]
        let waiting = std::thread::spawn({
            let in_flight = in_flight.clone();
            move || in_flight.enter(100)
        });
        drop((a, b));
        let large = waiting.join();
        assert_eq!(*in_flight.bytes.lock(), 100);
        drop(large);
        assert_eq!(*in_flight.bytes.lock(), 0);
    }
}
