//! What clients and sources do: they push, read on, and send again.

use std::sync::Arc;

use arrow::array::RecordBatch;
use thyme_core::Result;
use thyme_engine::{Idempotency, Receipt, SourceBatch};

use super::History;
use crate::definitions::INPUTS;
use crate::ledger::Event;
use crate::random::Random;
use crate::sim::book::{Sent, What};
use crate::sim::scene::Answers;

/// What sources read, and into which of [`INPUTS`]; those after the first two only where there are joins.
const SOURCES: [(&str, usize); 4] = [("files", 0), ("feed", 0), ("people", 1), ("places", 2)];
/// Pushes go to one of these of [`INPUTS`].
const PUSHED: [usize; 5] = [0, 0, 1, 1, 2];
/// How many events there are of each of [`INPUTS`] whose events have ids.
pub(super) const EVENTS: usize = 60;

/// What there is to tell.
pub(super) struct Tales {
    pub seed: u64,
    /// Of which of [`INPUTS`] the events have ids.
    pub has_ids: [bool; INPUTS.len()],
}

impl Tales {
    /// An event of an input. Those with ids are told again and again, mostly as before.
    fn event(&self, random: &mut Random, input: usize) -> Event {
        let keys = INPUTS[input].keys;
        if !self.has_ids[input] {
            return Event::random(random).keyed(keys);
        }
        let number = random.below(EVENTS);
        let own = &mut Random::new(!self.seed ^ (number * INPUTS.len() + input) as u64);
        let told = if random.chance(70) { own } else { random };
        Event::random(told).keyed(keys).identified(&format!("e{number}"))
    }
}

impl History {
    pub(super) fn sent(&mut self, (stream, input): (&str, usize), what: What, key: Option<String>) -> Sent {
        self.next_id += 1;
        Sent { id: self.next_id, input, stream: stream.to_owned(), what, key, receipt: None }
    }

    pub(super) fn push(&mut self) {
        let input = if self.has_joins { self.random.pick(&PUSHED) } else { 0 };
        let count = 1 + self.random.below(8);
        let events = (0..count).map(|_| self.tales.event(&mut self.random, input)).collect();
        let key = self.random.chance(50).then(|| format!("key {}", self.next_id));
        let sent = self.sent(("push", input), What::Rows(events, None), key);
        self.submit(sent);
    }

    fn batch(&self, events: &[Event]) -> Vec<u8> {
        events.iter().map(|e| e.json() + "\n").collect::<String>().into_bytes()
    }

    pub(super) fn done(&self, id: u64) -> impl FnOnce(Result<Receipt>) + Send + 'static {
        let answers: Answers = self.scene().answers.clone();
        move |answer| answers.lock().push((id, answer))
    }

    /// Sends rows that are in nobody's log yet.
    fn submit(&mut self, sent: Sent) {
        let What::Rows(events, _) = &sent.what else { return };
        let into = INPUTS[sent.input].name;
        self.trace.note(format!("push {} of {} rows to {into}, key {:?}", sent.id, events.len(), sent.key));
        self.book.lock().sent.push_back(sent.clone());
        self.hand_in(&sent);
    }

    fn hand_in(&self, sent: &Sent) {
        let What::Rows(events, upto) = &sent.what else { return };
        let scene = self.scene();
        let catalog = scene.engine.catalog();
        let live = catalog.dataset(INPUTS[sent.input].name).unwrap();
        let body = self.batch(events);
        let lines = body.split(|b| *b == b'\n').filter(|line| !line.is_empty());
        let mut push = scene.engine.read_json(live, lines).unwrap();
        if let Some(upto) = upto {
            let batch: RecordBatch = push.batch().clone();
            let stream = Arc::from(sent.stream.as_str());
            let cursor = upto.to_le_bytes().to_vec();
            push = scene
                .engine
                .read_source(live, SourceBatch { stream, cursor, dead_letters: Vec::new(), batch })
                .unwrap();
        }
        push.idempotency =
            sent.key.as_ref().map(|key| Idempotency::new("client", live.id, key, &body).unwrap());
        scene.engine.submit(push, self.done(sent.id));
    }

    /// A connector reads on from where the engine says it is, unless a batch of it is on its way.
    pub(super) fn feed(&mut self) {
        let (stream, input) = self.random.pick(if self.has_joins { &SOURCES } else { &SOURCES[..2] });
        let is_behind = |r: (u64, u64)| r.0 != r.1;
        if self.book.lock().sent.iter().any(|s| s.stream == stream)
            || is_behind(self.scene().engine.records())
        {
            return;
        }
        let cursor = self.scene().engine.cursor(stream);
        let from = cursor.map_or(0, |c| u64::from_le_bytes(c.try_into().unwrap()));
        let count = 1 + self.random.below(5) as u64;
        let event = |row: u64| {
            let seed = self.seed ^ row << 20 ^ stream.len() as u64;
            self.tales.event(&mut Random::new(seed), input)
        };
        let events = (from..from + count).map(event).collect();
        self.trace.note(format!("{stream} reads on from {from}"));
        let sent = self.sent((stream, input), What::Rows(events, Some(from + count)), None);
        self.submit(sent);
    }

    /// A client that saw no answer, or forgot it, sends again.
    pub(super) fn retry(&mut self) {
        if self.retries.is_empty() || self.random.chance(40) {
            let book = self.book.lock();
            if book.keyed.is_empty() {
                return;
            }
            let (sent, receipt) = self.random.pick(&book.keyed);
            drop(book);
            return self.send_again(sent, receipt);
        }
        let index = self.random.below(self.retries.len());
        let sent = self.retries.swap_remove(index);
        let known = self.book.lock().keyed.iter().find(|(s, _)| s.key == sent.key).map(|(_, r)| *r);
        match known {
            Some(receipt) => self.send_again(sent, receipt),
            None => self.submit(sent),
        }
    }

    fn send_again(&mut self, mut sent: Sent, receipt: Receipt) {
        self.next_id += 1;
        sent.id = self.next_id;
        self.trace.note(format!("{} is {:?} again", sent.id, sent.key));
        self.expected.insert(sent.id, receipt);
        self.hand_in(&sent);
    }
}
