//! What clients, sources, operators, disks and the power company do, drawn from a seed.

mod faults;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::RecordBatch;
use parking_lot::Mutex;
use thyme_core::{ErrorKind, Result};
use thyme_engine::{Engine, Idempotency, Memory, Options, Parts, Receipt, SourceBatch};
use thyme_store::Room;

use super::book::{Book, Definitions, Sent, What};
use super::scene::{Answers, Scene};
use super::{SimStore, Trace};
use crate::clock::HandClock;
use crate::definitions::{Derived, INPUTS, Output, RAW, Raw};
use crate::disk::{FaultyDisk, Power};
use crate::ledger::{Event, START_US};
use crate::random::Random;

const OPERATIONS: usize = 60;
/// What the store says when it cannot be read.
const BLIND: &str = "the disk cannot be read";
/// What sources read, and into which of [`INPUTS`]; those after the first two only where there are joins.
const SOURCES: [(&str, usize); 4] = [("files", 0), ("feed", 0), ("people", 1), ("places", 2)];
/// Pushes go to one of these of [`INPUTS`].
const PUSHED: [usize; 5] = [0, 0, 1, 1, 2];
/// Of so many histories in a row all but two have joins.
const JOINS_OF: u64 = 5;
/// Far from where `max_future_skew` would tell the ledger's events apart by a step of the clock.
const CLOCK_US: i64 = START_US + 50_000_000_000;

/// Memory with room for so many bytes of timelines.
fn room_for(timelines: usize) -> Memory {
    let store = Room { cache: 1 << 20, memtable: 1 << 20 };
    Memory { total: 0, timelines, records: 1 << 20, store }
}

pub struct History {
    seed: u64,
    random: Random,
    trace: Trace,
    clock: HandClock,
    power: Power,
    disk: FaultyDisk,
    store: SimStore,
    segment_bytes: u64,
    book: Arc<Mutex<Book>>,
    /// `None` only between two lives.
    scene: Option<Arc<Scene>>,
    /// To be sent again with their keys, once they were answered so, if they were.
    retries: Vec<Sent>,
    /// Answers that retries must have.
    expected: BTreeMap<u64, Receipt>,
    derived: Vec<Derived>,
    next_id: u64,
    /// A sync of the log or a write that is not about space failed in this life.
    log_failed: bool,
    /// The store was full, broken or not readable in this life.
    store_failed: bool,
    /// Draws what every other history has besides: panics, a store that cannot be read, little memory.
    more: Option<Random>,
    has_joins: bool,
    /// Draws between which lives the store is lost, in histories in which it is.
    losses: Option<Random>,
}

impl History {
    pub fn new(seed: u64, trace: Trace) -> History {
        let mut random = Random::new(seed);
        let has_joins = seed % JOINS_OF >= 2;
        let derived = (0..3).map(|i| match has_joins && i != 1 {
            true => Derived::joining(&mut random, i),
            false => Derived::random(&mut random, i),
        });
        let derived = derived.collect();
        let raws = match has_joins {
            true => INPUTS.iter().map(|_| Raw::random(&mut random)).collect(),
            false => vec![Raw::default()],
        };
        let segment_bytes = random.pick(&[1 << 12, 1 << 14, 1 << 20]);
        History {
            seed,
            trace,
            clock: HandClock::at(CLOCK_US),
            power: Power::default(),
            disk: FaultyDisk::default(),
            store: SimStore::default(),
            segment_bytes,
            book: Arc::new(Mutex::new(Book::new(raws))),
            scene: None,
            retries: Vec::new(),
            expected: BTreeMap::new(),
            derived,
            next_id: 0,
            log_failed: false,
            store_failed: false,
            more: seed.is_multiple_of(2).then(|| Random::new(!seed)),
            has_joins,
            losses: (seed % 6 == 1).then(|| Random::new(!seed)),
            random,
        }
    }

    pub fn run(mut self) {
        self.open();
        while self.scene().engine.catalog().dataset(RAW).is_err() {
            self.commit();
            self.scene().stepper.finish();
            self.settle();
            if self.power.is_off() {
                self.lose_power();
            }
        }
        for operation in 0..OPERATIONS * if self.has_joins { 2 } else { 1 } {
            self.operate();
            self.settle();
            if self.seed % 3 == 1 && operation % 5 == 4 {
                self.scene().remove_old();
                self.settle();
                if self.power.is_off() {
                    self.lose_power();
                }
            }
        }
        self.restart();
        self.check();
        self.trace.note(format!("log of {} bytes", self.disk.used()));
        self.scene().stepper.stop();
        self.disk.slow_down(None);
    }

    fn scene(&self) -> Arc<Scene> {
        self.scene.clone().unwrap()
    }

    fn operate(&mut self) {
        match self.random.below(100) {
            0..16 => self.push(),
            16..22 => self.feed(),
            22..25 => self.retry(),
            25..45 => {
                let jobs = 1 + self.random.below(4);
                if self.scene().stepper.commit_group(jobs) {
                    self.trace.note(format!("group of up to {jobs}"));
                }
            }
            45..72 => (0..1 + self.random.below(6)).for_each(|_| self.scene().move_something()),
            72..78 => self.scene().read_online(),
            78..80 => self.scene().read_old(1),
            80..83 => self.commit(),
            83..87 => {
                let us = self.random.between(-400_000, 900_000);
                self.clock.advance(us);
                self.trace.note(format!("the clock moves by {us}"));
            }
            87..92 => self.fault(),
            92..95 => self.lose_power(),
            95..97 => self.restart(),
            _ => self.check(),
        }
        self.hurt();
        if self.power.is_off() {
            self.lose_power();
        } else if (self.log_failed || self.engine_failed()) && self.random.chance(30) {
            self.restart();
        }
    }

    fn engine_failed(&self) -> bool {
        let failure = self.scene().engine.failure();
        if let Some(reason) = &failure {
            assert!(
                self.log_failed || self.store_failed || self.power.is_off() || self.joins_hurt(),
                "it stopped without a fault: {reason}"
            );
        }
        failure.is_some()
    }

    /// What joins keep is written by the applier, which stops when that panics.
    fn joins_hurt(&self) -> bool {
        self.has_joins && self.scene().is_hurt.load(Ordering::Relaxed)
    }

    // What clients do.

    fn sent(&mut self, (stream, input): (&str, usize), what: What, key: Option<String>) -> Sent {
        self.next_id += 1;
        Sent { id: self.next_id, input, stream: stream.to_owned(), what, key, receipt: None }
    }

    fn push(&mut self) {
        let input = if self.has_joins { self.random.pick(&PUSHED) } else { 0 };
        let count = 1 + self.random.below(8);
        let keys = INPUTS[input].keys;
        let events = (0..count).map(|_| Event::random(&mut self.random).keyed(keys)).collect();
        let key = self.random.chance(50).then(|| format!("key {}", self.next_id));
        let sent = self.sent(("push", input), What::Rows(events, None), key);
        self.submit(sent);
    }

    fn batch(&self, events: &[Event]) -> Vec<u8> {
        events.iter().map(|e| e.json() + "\n").collect::<String>().into_bytes()
    }

    fn done(&self, id: u64) -> impl FnOnce(Result<Receipt>) + Send + 'static {
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
                .read_source(live, SourceBatch { stream, cursor, dead_letters: Vec::new(), batch });
        }
        push.idempotency =
            sent.key.as_ref().map(|key| Idempotency::new("client", live.id, key, &body).unwrap());
        scene.engine.submit(push, self.done(sent.id));
    }

    /// A connector reads on from where the engine says it is, unless a batch of it is on its way.
    fn feed(&mut self) {
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
            Event::random(&mut Random::new(seed)).keyed(INPUTS[input].keys)
        };
        let events = (from..from + count).map(event).collect();
        self.trace.note(format!("{stream} reads on from {from}"));
        let sent = self.sent((stream, input), What::Rows(events, Some(from + count)), None);
        self.submit(sent);
    }

    /// A client that saw no answer, or forgot it, sends again.
    fn retry(&mut self) {
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

    fn commit(&mut self) {
        let scene = self.scene();
        let (mut definitions, busy) = {
            let book = self.book.lock();
            let pending = book.sent.iter().any(|s| matches!(s.what, What::Commit(..)));
            (
                book.commits[&book.committed].clone(),
                pending || scene.engine.catalog().commit != book.committed,
            )
        };
        if busy {
            return;
        }
        let next = definitions.derived.len();
        match self.random.below(3) {
            0 | 1 if next < self.derived.len() => definitions.derived.push(self.derived[next].clone()),
            _ if self.has_joins && next > 0 && self.random.chance(40) => {
                redefine(&mut definitions, &mut self.random);
            }
            _ => {
                let input = if self.has_joins { self.random.below(INPUTS.len()) } else { 0 };
                definitions.raws[input] = Raw::random(&mut self.random);
            }
        }
        let mut sent = self.sent(("", 0), What::Commit(String::new(), definitions.clone()), None);
        let document = definitions.document();
        match scene.engine.submit_commit(&document, self.done(sent.id)) {
            Ok(id) => {
                self.trace.note(format!("commit {id}"));
                sent.what = What::Commit(id, definitions);
                self.book.lock().sent.push_back(sent);
            }
            Err(error) if error.kind() == ErrorKind::Poisoned && scene.is_hurt.load(Ordering::Relaxed) => {
                self.trace.note("no commit over what is poisoned");
            }
            Err(error) => panic!("the commit was refused: {error}"),
        }
    }

    // Between two lives.

    fn lose_power(&mut self) {
        self.power.off();
        self.trace.note("the power goes off");
        let scene = self.scene.take().unwrap();
        scene.stepper.stop();
        drop(scene);
        if self.random.chance(30) {
            let us = self.random.between(1, 3_600_000_000);
            self.clock.advance(-us);
            self.trace.note(format!("the clock steps back by {us}"));
        }
        self.next_life();
    }

    /// Stops the engine in an orderly way and starts another.
    fn restart(&mut self) {
        self.trace.note("restart");
        self.disk.slow_down(None);
        self.scene().engine.close();
        self.settle();
        self.scene = None;
        if self.random.chance(50) {
            // A failing disk of this life may still have kept what it did not sync.
            self.power.off();
        }
        self.next_life();
    }

    fn next_life(&mut self) {
        self.open();
        let scene = self.scene();
        let (last, applied) = scene.engine.records();
        assert_eq!(last, applied, "an engine is open once everything is applied");
        self.enter();
        assert_eq!(last, self.book.lock().stamps.len() as u64, "records that were in the log are gone");
        let lost = self.book.lock().lost();
        for sent in lost {
            self.trace.note(format!("{} is not in the log", sent.id));
            self.retries.extend(Some(sent).filter(|s| s.key.is_some()));
        }
    }

    /// Opens an engine over what is left; the power may go off again meanwhile.
    fn open(&mut self) {
        let mut is_lost = false;
        loop {
            self.expected.clear();
            let power = Power::default();
            let random = &mut self.random;
            self.disk = self.disk.after_power_cut(&mut |n| random.below(n as usize) as u64);
            if self.losses.as_mut().is_some_and(|random| random.chance(15)) {
                self.trace.note("the store is lost");
                (self.store, is_lost) = (SimStore::default(), true);
            }
            self.store = self.store.after_power_cut(&mut self.random, &power);
            self.disk.plug_into(&power);
            self.power = power;
            (self.log_failed, self.store_failed) = (false, false);
            if self.random.chance(10) {
                self.power.off_after(self.random.below(6) as u64);
            }
            let shards = 1 + self.random.below(4);
            let parts = Parts {
                log: Arc::new(self.disk.clone()),
                log_options: thyme_log::Options { segment_bytes: self.segment_bytes },
                store: Arc::new(self.store.clone()),
            };
            let memory = self.more.as_mut().and_then(|random| random.pick(&[None, Some(1), Some(40_000)]));
            self.trace.note(format!("open with {shards} shards, {memory:?} bytes of timelines"));
            let memory = memory.map(room_for);
            let options =
                Options { parts: Some(parts), shards, memory, env: self.clock.env(), ..Options::default() };
            match Engine::open_stepped(options) {
                Ok((engine, stepper)) if engine.failure().is_some() => {
                    let reason = engine.failure().unwrap();
                    assert!(self.power.is_off(), "what a crash left cannot be applied: {reason}");
                    self.trace.note("the power goes off before all is applied");
                    stepper.stop();
                }
                Ok((engine, stepper)) => {
                    if is_lost {
                        self.forget_with_store(&engine);
                    }
                    let (book, trace) = (self.book.clone(), self.trace.clone());
                    let random = Mutex::new(Random::new(self.random.bits()));
                    let answers = Answers::default();
                    let (is_hurt, is_blind) = (AtomicBool::new(false), AtomicBool::new(false));
                    let scene =
                        Scene { engine, stepper, shards, book, random, trace, answers, is_hurt, is_blind };
                    return self.begin(Arc::new(scene));
                }
                Err(error) if self.power.is_off() => self.trace.note(format!("the power goes off: {error}")),
                Err(error) => panic!("what a crash left does not open: {error}"),
            }
        }
    }

    /// What was made of the log is made again, over what it begins with. Answers to keys are known as far as it has
    /// them, and up to when somebody was served is not.
    fn forget_with_store(&self, engine: &Engine) {
        let (first, _) = engine.log_start();
        let mut book = self.book.lock();
        book.keyed.retain(|(_, receipt)| receipt.position.record() >= first);
        book.served.clear();
    }

    fn begin(&mut self, scene: Arc<Scene>) {
        let meanwhile = Arc::downgrade(&scene);
        if self.random.chance(70) {
            self.disk.slow_down(Some(Arc::new(move || {
                if let Some(scene) = meanwhile.upgrade().filter(|s| s.random.lock().chance(40)) {
                    scene.trace.note("meanwhile:");
                    scene.move_something();
                }
            })));
        }
        self.scene = Some(scene);
    }

    // What must be true.

    /// Takes in the answers, and what is new in the log.
    fn settle(&mut self) {
        let answers = std::mem::take(&mut *self.scene().answers.lock());
        for (id, answer) in answers {
            match (&answer, self.expected.remove(&id)) {
                (Ok(receipt), Some(expected)) => {
                    assert_eq!(*receipt, expected, "the answer to the retry {id}");
                    continue;
                }
                (Err(_), Some(_)) => continue,
                _ => {}
            }
            let mut book = self.book.lock();
            let index = book.sent.iter().position(|s| s.id == id);
            let index = index.unwrap_or_else(|| panic!("{id} is answered twice: {answer:?}"));
            match answer {
                Ok(receipt) => {
                    self.trace.note(format!("{id} is at {}", receipt.position));
                    book.sent[index].receipt = Some(receipt);
                }
                // Keys of earlier pushes are looked up in the store, before anything is written.
                Err(error) if error.kind() == ErrorKind::StorageFull || error.detail().contains(BLIND) => {
                    let is_blind = self.store_failed || error.kind() == ErrorKind::StorageFull;
                    assert!(is_blind, "{id} was refused: {error}");
                    self.trace.note(format!("{id} is not taken: {:?}", error.kind()));
                    // Nothing of it is ever to be seen.
                    let sent = book.sent.remove(index).unwrap();
                    self.retries.extend(Some(sent).filter(|s| s.key.is_some()));
                }
                Err(error) => {
                    drop(book);
                    let known = self.log_failed || self.power.is_off() || self.engine_failed();
                    assert!(known || error.detail().contains("stopping"), "{id} was refused: {error}");
                    self.trace.note(format!("{id} is refused: {:?}", error.kind()));
                }
            }
        }
        if !self.power.is_off() {
            self.enter();
        }
    }

    fn enter(&mut self) {
        let mut book = self.book.lock();
        let from = book.stamps.len() as u64 + 1;
        let new = self.scene().engine.logged(from).unwrap();
        book.enter(new);
    }

    fn check(&mut self) {
        let scene = self.scene();
        scene.stepper.finish();
        self.settle();
        if self.power.is_off() || self.engine_failed() {
            return;
        }
        self.trace.note("check");
        let catalog = scene.engine.catalog();
        let book = self.book.lock();
        for (input, ledger) in INPUTS.iter().zip(&book.ledgers) {
            let Ok(live) = catalog.dataset(input.name) else { continue };
            let counters = scene.engine.counters(live);
            let expected = (ledger.len() as u64, ledger.late() as u64);
            let name = input.name;
            assert_eq!((counters.events, counters.late), expected, "every event of {name} is counted once");
        }
        if catalog.dataset(RAW).is_ok() {
            for (stream, rows) in &book.sources {
                let cursor = scene.engine.cursor(stream).map(|c| u64::from_le_bytes(c.try_into().unwrap()));
                assert_eq!(cursor, Some(*rows), "the cursor of {stream}");
            }
        }
        drop(book);
        scene.read_old(2);
        self.book.lock().check_served();
    }
}

/// Gives a pipeline a new version, with other joins and operators, if those who read it can go on.
fn redefine(definitions: &mut Definitions, random: &mut Random) {
    let index = random.below(definitions.derived.len());
    let was = &definitions.derived[index];
    let mut changed = was.clone();
    changed.version += 1;
    for _ in 0..8 {
        match changed.has_joins() {
            true => changed.redefine_joining(random),
            false => changed.redefine(random),
        }
        if changed.keys == was.keys {
            break;
        }
    }
    let is_there =
        |o: &Output| changed.outputs.iter().any(|n| n.name == o.name && n.data_type() == o.data_type());
    // The key fields of a dataset stay what they are.
    if was.keys == changed.keys && was.outputs.iter().all(is_there) {
        definitions.derived[index] = changed;
    }
}
