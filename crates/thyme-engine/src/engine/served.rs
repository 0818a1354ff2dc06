//! What an online read at an earlier time saw (contract, section 1).

use thyme_core::{Error, ErrorKind, EventTime, Position, Result};

use super::Engine;
use crate::options::Clock;
use crate::snapshot::Snapshot;

impl Engine {
    /// `S(T)` for each time: the greatest position with a stamp `<= T`, which is what an online read at
    /// `T` saw. It is never beyond the position of `snapshot`, so a time that is yet to come has that.
    ///
    /// # Errors
    /// Unsupported: online reads of this engine do not happen at stamps' times. Gone: a time from before
    /// what is kept of the log.
    pub fn served_positions(&self, snapshot: &Snapshot, times: &[EventTime]) -> Result<Vec<Position>> {
        self.check_served()?;
        let mut order: Vec<u32> = (0..times.len() as u32).collect();
        // In ascending order each part of the log is looked at once.
        order.sort_unstable_by_key(|&row| times[row as usize]);
        let mut positions = vec![Position::ZERO; times.len()];
        let mut last: Option<(EventTime, Position)> = None;
        for row in order.into_iter().map(|row| row as usize) {
            let time = times[row];
            let position = match last {
                Some((same, position)) if same == time => position,
                Some((_, position)) if position == snapshot.position => position,
                _ => self.served_at(time)?.min(snapshot.position),
            };
            positions[row] = position;
            last = Some((time, position));
        }
        Ok(positions)
    }

    fn served_at(&self, time: EventTime) -> Result<Position> {
        match self.log_start() {
            (_, Some(start)) if time < start => Err(Error::new(
                ErrorKind::Gone,
                format!(
                    "what an online read at {} saw is not known any more: the log of before {} was removed; ask for labels from then on, or leave as_served out",
                    time.to_rfc3339(),
                    start.to_rfc3339()
                ),
            )),
            _ => Ok(self.shared.log.last_at(time.0)?.map_or(Position::ZERO, Position::end_of)),
        }
    }

    fn check_served(&self) -> Result<()> {
        let now = match self.shared.clock {
            _ if self.shared.gate.is_fixed() => "this server's \"now\" is fixed",
            Clock::Event(_) => "this server runs on an event clock",
            Clock::Wall => return Ok(()),
        };
        Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "{now}, so no time says which events an online read had seen; as_served needs the wall clock, leave it out to get the values over all events"
            ),
        ))
    }
}
