//! What clients, sources, operators, disks and the power company do, drawn from a seed.

mod clients;
mod commits;
mod faults;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use thyme_core::{ErrorKind, Position};
use thyme_engine::{Engine, LeftOutQuery, LiveDataset, Memory, Options, Parts, Receipt, Wanted, Why};
use thyme_store::Room;

use super::book::{Book, Sent};
use super::scene::{Answers, Scene};
use super::{SimStore, Trace};
use crate::clock::HandClock;
use crate::definitions::{Derived, INPUTS, RAW, Raw};
use crate::disk::{FaultyDisk, Power};
use crate::ledger::{Ledger, START_US};
use crate::random::Random;
use clients::Tales;

const OPERATIONS: usize = 60;
/// What the store says when it cannot be read.
const BLIND: &str = "the disk cannot be read";
/// Of so many histories in a row all but two have joins.
const JOINS_OF: u64 = 5;
/// Far from where `max_future_skew` would tell the ledger's events apart by a step of the clock.
const CLOCK_US: i64 = START_US + 50_000_000_000;

/// What a history has besides, by its seed: pipelines that are filled beside everything else, and event ids.
/// Seeds of the other classes have what they always had, so that each replays its case.
fn besides(seed: u64) -> (bool, bool) {
    match seed % 7 {
        0 => (true, false),
        1 => (false, true),
        4 => (true, true),
        _ => (false, false),
    }
}

/// Whether rows leave the timelines as soon as their retention has passed them.
fn removes(seed: u64) -> bool {
    seed % 3 == 1
}

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
    tales: Tales,
    /// Draws what becomes of pipelines that are filled, in histories in which they are filled beside everything else.
    fills: Option<Random>,
    /// The commit that was promised and is not live yet.
    pending: Option<String>,
    /// Draws between which lives the store is lost, in histories in which it is.
    losses: Option<Random>,
}

impl History {
    pub fn new(seed: u64, trace: Trace) -> History {
        let mut random = Random::new(seed);
        let has_joins = seed % JOINS_OF >= 2;
        let (fills, has_ids) = besides(seed);
        let derived = (0..if fills { 5 } else { 3 }).map(|i| match has_joins && i != 1 {
            true => Derived::joining(&mut random, i),
            false => Derived::random(&mut random, i),
        });
        let derived = derived.collect();
        let mut raws: Vec<Raw> = match has_joins {
            true => INPUTS.iter().map(|_| Raw::random(&mut random)).collect(),
            false => vec![Raw::default()],
        };
        let mut tales = Tales { seed, has_ids: [false; INPUTS.len()] };
        if has_ids {
            tales.has_ids = [true, random.chance(50), random.chance(50)];
            raws.iter_mut().zip(tales.has_ids).for_each(|(raw, has_ids)| raw.has_ids = has_ids);
        }
        let book = Book::new(raws);
        let segment_bytes = random.pick(&[1 << 12, 1 << 14, 1 << 20]);
        History {
            seed,
            trace,
            clock: HandClock::at(CLOCK_US),
            power: Power::default(),
            disk: FaultyDisk::default(),
            store: SimStore::default(),
            segment_bytes,
            book: Arc::new(Mutex::new(book)),
            scene: None,
            retries: Vec::new(),
            expected: BTreeMap::new(),
            derived,
            next_id: 0,
            log_failed: false,
            store_failed: false,
            more: seed.is_multiple_of(2).then(|| Random::new(!seed)),
            has_joins,
            tales,
            fills: fills.then(|| Random::new(!seed.rotate_left(32))),
            pending: None,
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
            if removes(self.seed) && operation % 5 == 4 {
                self.scene().remove_old();
                self.settle();
                if self.power.is_off() {
                    self.lose_power();
                }
            }
        }
        self.restart();
        self.check();
        self.end_fill();
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
        self.fill();
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
                self.log_failed || self.store_failed || self.power.is_off() || self.applier_hurt(),
                "it stopped without a fault: {reason}"
            );
        }
        failure.is_some()
    }

    /// What joins keep is written by the applier, which stops when that panics.
    /// Whether a part may be poisoned that the applier writes itself.
    fn applier_hurt(&self) -> bool {
        (self.has_joins || self.tales.has_ids[0]) && self.scene().is_hurt.load(Ordering::Relaxed)
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
        self.watch_pending();
    }

    /// Opens an engine over what is left; the power may go off again meanwhile.
    fn open(&mut self) {
        let mut is_lost = false;
        loop {
            self.expected.clear();
            self.book.lock().entered.clear();
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
                    let fills = self.fills.is_some();
                    let scene = Scene {
                        engine,
                        stepper,
                        shards,
                        fills,
                        book,
                        random,
                        trace,
                        answers,
                        is_hurt,
                        is_blind,
                    };
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
                    let is_told = Book::is_told(*receipt, expected);
                    assert!(is_told, "the answer to the retry {id}: {receipt:?}, not {expected:?}");
                    continue;
                }
                (Err(_), Some(_)) => continue,
                _ => {}
            }
            let mut book = self.book.lock();
            if let Some(receipt) = book.entered.remove(&id) {
                self.trace.note(format!("{id} is applied: {answer:?}"));
                let is_told = answer.as_ref().is_ok_and(|said| Book::is_told(*said, receipt));
                assert!(is_told, "{id} is told {answer:?}, and it is {receipt:?}");
                continue;
            }
            let index = book.sent.iter().position(|s| s.id == id);
            let index = index.unwrap_or_else(|| panic!("{id} is answered twice: {answer:?}"));
            match answer {
                Ok(receipt) => {
                    self.trace.note(format!("{id} is at {}", receipt.position));
                    book.sent[index].receipt = Some(receipt);
                }
                // Keys of earlier pushes are looked up in the store, before anything is written.
                Err(error)
                    if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::Overloaded)
                        || error.detail().contains(BLIND) =>
                {
                    let is_blind =
                        self.store_failed || self.power.is_off() || error.kind() == ErrorKind::StorageFull;
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
            assert_eq!(counters.events, ledger.len() as u64, "every event of {} is counted once", input.name);
            let counted = (counters.late as usize, counters.duplicates as usize);
            assert_eq!(counted, (ledger.late().len(), ledger.duplicates().len()), "of {}", input.name);
            check_left_out(&scene, live, ledger);
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

/// What is listed of late events and duplicates is what there is of them in the log, but for events that are so old that
/// it is not known any more which of them are duplicates.
fn check_left_out(scene: &Scene, live: &LiveDataset, ledger: &Ledger) {
    let (first, _) = scene.engine.log_start();
    let known = scene.engine.whole_after(live).map_or(i64::MIN, |time| time.0);
    for (wanted, mut expected) in [(Wanted::Late, ledger.late()), (Wanted::Duplicates, ledger.duplicates())] {
        expected.retain(|position| position.record() >= first && ledger.time_of(*position) > known);
        let query = LeftOutQuery { wanted, before: Position::MAX, since: i64::MIN, limit: usize::MAX };
        let Some(mut found) = scene.answered(scene.engine.left_out(live, &query)) else { continue };
        found.retain(|event| ledger.time_of(event.position) > known);
        found.reverse();
        let positions: Vec<Position> = found.iter().map(|event| event.position).collect();
        assert_eq!(positions, expected, "{wanted:?} of {}", live.definition.name);
        for event in found {
            if let Why::Duplicate { of: Some(of) } = event.why {
                assert!(ledger.is_duplicate_of(event.position, of), "{} of {of}", event.position);
            }
        }
    }
}
