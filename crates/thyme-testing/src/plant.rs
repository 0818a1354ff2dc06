//! An engine that a test steps, on parts that lose power.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::mpsc::channel;

use thyme_core::{EntityKey, EventTime, Position, Value};
use thyme_engine::{CheckpointStep, Engine, Memory, Node, Options, Parts, ReadAt, Snapshot, Stepper};
use thyme_store::Room;

use crate::clock::HandClock;
use crate::disk::{FaultyDisk, Power};
use crate::ledger::START_US;
use crate::random::Random;
use crate::sim::SimStore;

/// One engine on parts that lose power.
pub struct Plant {
    /// What decides.
    pub random: Random,
    /// Its time.
    pub clock: HandClock,
    /// What the disk and the store hang on.
    pub power: Power,
    /// The log's.
    pub disk: FaultyDisk,
    /// The timelines'.
    pub store: SimStore,
    /// With the number of shards.
    running: Option<(Engine, Stepper, usize)>,
}

impl Plant {
    /// A running one, new.
    pub fn new(seed: u64) -> Plant {
        let (disk, store, power) = (FaultyDisk::default(), SimStore::default(), Power::default());
        let clock = HandClock::at(START_US + 5_000_000_000);
        let mut plant = Plant { random: Random::new(seed), clock, power, disk, store, running: None };
        plant.open();
        plant
    }

    /// Opens what a power cut leaves.
    pub fn open(&mut self) {
        if let Some((_, stepper, _)) = self.running.take() {
            self.power.off();
            stepper.stop();
        }
        let power = Power::default();
        let random = &mut self.random;
        self.disk = self.disk.after_power_cut(&mut |n| random.below(n as usize) as u64);
        self.store = self.store.after_power_cut(random, &power);
        self.disk.plug_into(&power);
        self.power = power;
        let parts = Parts {
            log: Arc::new(self.disk.clone()),
            log_options: thyme_log::Options { segment_bytes: random.pick(&[1 << 12, 1 << 20]) },
            store: Arc::new(self.store.clone()),
        };
        let room = Room { cache: 1 << 20, memtable: 1 << 20 };
        let memory = random.pick(&[None, Some(1), Some(40_000)]);
        let memory = memory.map(|bytes| Memory { total: 0, timelines: bytes, records: 1 << 20, store: room });
        let shards = 1 + random.below(3);
        // Every start may have another number.
        let (backfill_cores, env) = (1 + random.below(4), self.clock.env());
        let options =
            Options { parts: Some(parts), shards, backfill_cores, memory, env, ..Options::default() };
        let (engine, stepper) = Engine::open_stepped(options).unwrap();
        assert_eq!(engine.failure(), None);
        self.running = Some((engine, stepper, shards));
    }

    /// The engine that runs.
    pub fn engine(&self) -> &Engine {
        &self.running.as_ref().unwrap().0
    }

    /// What moves it.
    pub fn stepper(&self) -> &Stepper {
        &self.running.as_ref().unwrap().1
    }

    /// Writes lines of a dataset, and leaves what follows to others.
    pub fn push(&self, dataset: &str, lines: &[String]) -> Position {
        let catalog = self.engine().catalog();
        let live = catalog.dataset(dataset).unwrap();
        let push = self.engine().read_json(live, lines.iter().map(|l| l.as_bytes())).unwrap();
        let (sender, answer) = channel();
        self.engine().submit(push, move |receipt| sender.send(receipt).unwrap());
        while answer.try_recv().map(|receipt| receipt.unwrap().position).map_err(|_| ()).is_err() {
            assert!(self.stepper().commit_group(1));
            if let Ok(receipt) = answer.try_recv() {
                return receipt.unwrap().position;
            }
        }
        panic!("the answer was read twice")
    }

    /// Some part does its next thing.
    pub fn step(&mut self) {
        let records = 1 + self.random.below(3);
        let (stepper, shards) = (self.stepper().clone(), self.running.as_ref().unwrap().2);
        match self.random.below(12) {
            0..4 => _ = stepper.fill(records),
            4 => _ = stepper.save_fill(),
            5..7 => _ = stepper.commit_group(1),
            7..9 => _ = stepper.apply(),
            9..11 => (0..shards).for_each(|shard| _ = stepper.shard(shard)),
            _ => {
                for _ in 0..self.random.below(300) {
                    if !matches!(stepper.checkpoint(), Ok(CheckpointStep::More)) {
                        break;
                    }
                }
            }
        }
    }

    /// The power goes off in one of the next writes of one of the next steps.
    pub fn crash(&mut self) {
        self.power.off_after(self.random.below(5) as u64);
        for _ in 0..self.random.below(6) {
            self.step();
        }
        self.open();
    }

    /// The state as known at a position, or now.
    pub fn at(&self, position: Option<Position>) -> Snapshot {
        self.engine().snapshot(ReadAt { position, ..ReadAt::default() }).unwrap()
    }
}

/// All outputs of a node for a key.
pub fn outputs(snapshot: &Snapshot, node: &Node, key: &[Value], time: EventTime) -> Vec<Value> {
    let all: Vec<usize> = (0..node.outputs.len()).collect();
    snapshot.outputs(node, &EntityKey::encode(key).unwrap().0, time, &all).unwrap()
}
