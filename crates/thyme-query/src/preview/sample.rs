//! Entities chosen by the hash of their key, each at times of its own events.

use std::collections::BTreeMap;

use thyme_core::EventTime;
use thyme_engine::trial::{Seen, rank};

/// Times of events, by rank and position.
type Times = BTreeMap<(u64, u64), i64>;

/// The entities of lowest rank that were seen, with some of their times.
///
/// The limit only ever falls, so an entity that is in it at the end was in it from its first event on: the choice
/// is the same in whichever order the entities come.
#[derive(Debug)]
pub(crate) struct Sample {
    entities_max: usize,
    times_max: usize,
    until: EventTime,
    /// By rank and key.
    kept: BTreeMap<(u64, Box<[u8]>), Times>,
    turned_away: bool,
}

impl Sample {
    /// At most so many entities, each at so many times up to `until`.
    pub fn new(entities_max: usize, times_max: usize, until: EventTime) -> Sample {
        Sample { entities_max, times_max, until, kept: BTreeMap::new(), turned_away: false }
    }

    /// Takes an event.
    pub fn see(&mut self, seen: Seen<'_>) {
        let at = rank(seen.key);
        if self.kept.len() >= self.entities_max
            && self.kept.last_key_value().is_some_and(|((last, key), _)| (at, seen.key) > (*last, key))
        {
            self.turned_away = true;
            return;
        }
        let times = self.kept.entry((at, seen.key.into())).or_default();
        if seen.time <= self.until && self.times_max > 0 {
            times.insert((rank(&seen.position.to_be_bytes()), seen.position), seen.time.0);
            if times.len() > self.times_max {
                times.pop_last();
            }
        }
        if self.kept.len() > self.entities_max {
            self.turned_away = true;
            self.kept.pop_last();
        }
    }

    /// Whether there are more entities than these.
    pub fn is_part(&self) -> bool {
        self.turned_away
    }

    /// The entities, each with its times in order, none of them twice.
    pub fn entities(&self) -> impl Iterator<Item = (&[u8], Vec<EventTime>)> {
        self.kept.iter().map(|((_, key), times)| {
            let mut times: Vec<EventTime> = times.values().map(|time| EventTime(*time)).collect();
            times.sort_unstable();
            times.dedup();
            (&**key, times)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_does_not_depend_on_the_order_of_the_events() {
        let events: Vec<(Vec<u8>, i64, u64)> =
            (0..500u64).map(|n| (vec![b's', (n % 37) as u8], (n * 7 % 91) as i64, n)).collect();
        let choose = |events: &[(Vec<u8>, i64, u64)]| {
            let mut sample = Sample::new(5, 3, EventTime(80));
            for (key, time, position) in events {
                sample.see(Seen { key, time: EventTime(*time), position: *position });
            }
            let chosen: Vec<_> = sample.entities().map(|(key, times)| (key.to_vec(), times)).collect();
            (chosen, sample.is_part())
        };
        let (chosen, is_part) = choose(&events);
        let mut backwards = events.clone();
        backwards.reverse();
        assert_eq!(choose(&backwards), (chosen.clone(), is_part));
        assert!(is_part && chosen.len() == 5);
        assert!(chosen.iter().all(|(_, times)| times.len() <= 3 && times.iter().all(|t| t.0 <= 80)));
    }
}
