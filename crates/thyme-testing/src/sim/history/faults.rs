//! What goes wrong.

use std::sync::atomic::Ordering;

use thyme_core::{Position, Value};

use super::History;
use super::clients::EVENTS;
use crate::definitions::INPUTS;
use crate::sim::Reads;

impl History {
    pub(super) fn fault(&mut self) {
        match self.random.below(8) {
            0..3 => {
                let writes = self.random.below(9) as u64;
                self.power.off_after(writes);
                self.trace.note(format!("the power goes off in write {writes} from now"));
            }
            3 => {
                self.disk.fail_sync(true);
                self.log_failed = true;
                self.trace.note("syncs fail");
            }
            4 => {
                let room = self.random.below(3_000);
                self.disk.limit(Some(self.disk.used() + room));
                self.store.fill(true);
                self.store_failed = true;
                self.trace.note(format!("the disk has room for {room} more bytes"));
            }
            5 => {
                self.disk.limit(None);
                self.store.fill(false);
                self.trace.note("the disk has room again");
            }
            6 => {
                self.store.break_down();
                self.store_failed = true;
                self.trace.note("the store breaks");
            }
            _ => {
                self.disk.fail_write(true);
                self.log_failed = true;
                self.trace.note("writes fail");
            }
        }
    }

    /// What only some histories have.
    pub(super) fn hurt(&mut self) {
        let scene = self.scene();
        let Some(random) = self.more.as_mut().filter(|_| !self.power.is_off()) else { return };
        match random.below(100) {
            0..3 if self.fills.is_some() && random.chance(25) => {
                let key = [random.below(256) as u8];
                if scene.engine.panic_in_fill_for_test(&key) {
                    self.trace.note("whoever fills panics");
                }
            }
            0..3 if self.tales.has_ids[0] && random.chance(25) => {
                let id = Value::Str(format!("e{}", random.below(EVENTS)).into());
                if scene.engine.panic_at_event_id_for_test(INPUTS[0].name, &id).unwrap() {
                    self.trace.note(format!("whoever claims near {id:?} panics"));
                }
            }
            0..3 => {
                let catalog = scene.engine.catalog();
                let book = self.book.lock();
                let definitions = book.definitions(&catalog.commit);
                let derived = &definitions.derived;
                let (dataset, key) = match random.below(derived.len() + book.ledgers.len().min(2)) {
                    n if n < derived.len() => {
                        let known = book.entities(definitions, &derived[n], &[], Position::MAX);
                        (derived[n].name.as_str(), random.pick(&known).0)
                    }
                    n => {
                        let key = Value::Str(random.pick(&["a", "b", ""]).into());
                        (INPUTS[n - derived.len()].name, vec![key])
                    }
                };
                scene.engine.panic_for_test(dataset, &key).unwrap();
                self.trace.note(format!("whoever changes {dataset} near {key:?} next panics"));
            }
            3..5 => {
                self.store.read_as(Reads::Fail);
                self.store_failed = true;
                scene.is_blind.store(true, Ordering::Relaxed);
                self.trace.note("the store cannot be read");
            }
            5..12 => {
                self.store.read_as(Reads::Fine);
                if scene.is_blind.swap(false, Ordering::Relaxed) {
                    self.trace.note("the store can be read again");
                }
                return;
            }
            12..17 => {
                let room = random.below(900);
                self.disk.limit(Some(self.disk.used() + room));
                self.trace.note(format!("the log has room for {room} more bytes"));
                return;
            }
            17..23 => {
                self.disk.limit(None);
                self.trace.note("the log has room again");
                return;
            }
            _ => return,
        }
        scene.is_hurt.store(true, Ordering::Relaxed);
    }
}
