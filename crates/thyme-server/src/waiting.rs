//! Reads that wait for a position. Each takes a thread for as long, so there are only so many.

use std::sync::atomic::{AtomicUsize, Ordering};

use thyme_core::{Error, Position, Result};

/// Half of the threads that requests are answered on.
const READS_MAX: usize = 256;

/// How many reads wait.
#[derive(Debug, Default)]
pub(crate) struct Waiting(AtomicUsize);

/// The place of one of them.
pub(crate) struct Place<'a>(&'a Waiting);

impl Waiting {
    /// A place for one more, which waits for `position`.
    ///
    /// # Errors
    /// Unavailable: so many wait that others would find no thread.
    pub fn enter(&self, position: Position) -> Result<Place<'_>> {
        let place = Place(self);
        if self.0.fetch_add(1, Ordering::Relaxed) >= READS_MAX {
            return Err(Error::unavailable(format!(
                "position {position} is not applied, and {READS_MAX} other reads wait for one; try again"
            )));
        }
        Ok(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_read_too_many_is_refused_until_one_has_gone() {
        let waiting = Waiting::default();
        let position = "e7".parse().unwrap();
        let mut places: Vec<_> = (0..READS_MAX).map(|_| waiting.enter(position).unwrap()).collect();
        let refused = waiting.enter(position).map(|_| ()).unwrap_err();
        assert!(refused.detail().starts_with("position e7 is not applied"), "{refused}");
        places.pop();
        waiting.enter(position).map(|_| ()).unwrap();
    }
}
