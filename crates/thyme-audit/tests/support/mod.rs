//! Engines that random pushes and commits have gone through.

use std::sync::Arc;

use thyme_core::{EventTime, Position, Value};
use thyme_engine::{Engine, ReadAt};
use thyme_query::{NoExtractors, Reader};
use thyme_testing::clock::HandClock;
use thyme_testing::definitions::{Derived, RAW, Raw, document};
use thyme_testing::ledger::{Event, START_US, column};
use thyme_testing::random::Random;

/// What was pushed, in order.
pub struct Pushed(Vec<(Position, Event)>);

/// An engine with a history; the limits of the raw dataset change meanwhile.
pub fn history(seed: u64) -> (Reader, Pushed) {
    // Far apart: seeds that follow each other give the same numbers, one later.
    let mut random = Random::new(seed * 1_000_003);
    let clock = HandClock::at(START_US + 5_000_000_000);
    let options = thyme_engine::Options { env: clock.env(), shards: 2, ..Default::default() };
    let engine = Arc::new(Engine::open(options).unwrap());
    let derived: Vec<Derived> = (0..3).map(|i| Derived::random(&mut random, i)).collect();
    let mut pushed = Vec::new();
    for live in [1, 1, 2, 3] {
        engine.commit(&document(&Raw::random(&mut random), &derived[..live]), |_| Ok(())).unwrap();
        for _ in 0..4 {
            let events: Vec<Event> = (0..25).map(|_| Event::random(&mut random)).collect();
            let lines: Vec<String> = events.iter().map(Event::json).collect();
            let catalog = engine.catalog();
            let push =
                engine.read_json(catalog.dataset(RAW).unwrap(), lines.iter().map(|l| l.as_bytes())).unwrap();
            let receipt = engine.push(push).unwrap();
            let min_position = Some(receipt.position);
            engine.snapshot(ReadAt { min_position, ..ReadAt::default() }).unwrap();
            let record = receipt.position.record();
            pushed.extend((0..).map(|row| Position::new(record, row)).zip(events));
        }
    }
    (Reader::new(engine, Arc::new(NoExtractors)), Pushed(pushed))
}

#[allow(dead_code, reason = "each test file takes what it needs")]
impl Pushed {
    pub fn random_time(&self, random: &mut Random) -> EventTime {
        let at = self.0[random.below(self.0.len())].1.at;
        EventTime(at + random.pick(&[-1, 0, 0, 1, 1_000_000, 60_000_000, 3_600_000_000]))
    }

    pub fn random_position(&self, random: &mut Random) -> Position {
        let last = self.0.last().unwrap().0;
        if random.chance(50) { last } else { self.0[random.below(self.0.len())].0 }
    }

    pub fn latest(&self) -> EventTime {
        EventTime(self.0.iter().map(|(_, e)| e.at).max().unwrap())
    }

    /// How many events name this key.
    pub fn events_of(&self, names: &[&str], key: &[Value]) -> u64 {
        let is_of = |event: &Event| names.iter().zip(key).all(|(n, v)| column(&event.columns, n) == *v);
        self.0.iter().filter(|(_, event)| is_of(event)).count() as u64
    }
}
