//! Commits: such as are handed in like a push, and such as wait until their pipelines are filled.

use std::sync::atomic::Ordering;

use thyme_core::ErrorKind;
use thyme_engine::{Begun, CommitNote};

use super::History;
use crate::definitions::{INPUTS, Output, Raw};
use crate::random::Random;
use crate::sim::book::{Definitions, What};

/// Records that are filled at once at most.
const RECORDS_A_STEP: usize = 6;

impl History {
    pub(super) fn commit(&mut self) {
        if self.fills.is_some() {
            return self.begin_commit();
        }
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
        self.change(&mut definitions);
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

    /// Changes something, or adds a pipeline.
    fn change(&mut self, definitions: &mut Definitions) {
        let next = definitions.derived.len();
        match self.random.below(3) {
            0 | 1 if next < self.derived.len() => definitions.derived.push(self.derived[next].clone()),
            _ if (self.has_joins || self.fills.is_some()) && next > 0 && self.random.chance(40) => {
                redefine(definitions, &mut self.random);
            }
            _ => {
                let input = if self.has_joins { self.random.below(INPUTS.len()) } else { 0 };
                let has_ids = definitions.raws[input].has_ids;
                definitions.raws[input] = Raw { has_ids, ..Raw::random(&mut self.random) };
            }
        }
    }

    /// A commit whose new pipelines are filled beside everything else, if there is anything to fill them with.
    fn begin_commit(&mut self) {
        let scene = self.scene();
        // What waits would be written in the middle of it, and read before it is known here.
        scene.stepper.finish();
        self.settle();
        if self.power.is_off() || self.engine_failed() {
            return;
        }
        let mut definitions = {
            let book = self.book.lock();
            book.commits[&book.committed].clone()
        };
        self.change(&mut definitions);
        let document = definitions.document();
        let id = match scene.engine.commit_id(&document) {
            Ok(id) => id,
            Err(error) => panic!("the commit was refused: {error}"),
        };
        let is_other = self.book.lock().announced.insert(id.clone(), definitions).is_none();
        let pending = scene.engine.pending_commit();
        match scene.engine.begin_commit(None, &document, CommitNote::default(), |_| Ok(())) {
            Ok((_, told, Begun::Live(position))) => {
                self.trace.note(format!("commit {told} is live at {position}"))
            }
            Ok((_, told, Begun::Pending)) => {
                assert_eq!(told, id, "the commit that is pending");
                self.trace.note(format!("commit {id} is pending"));
                self.pending = Some(id);
            }
            Err(error) if error.kind() == ErrorKind::Conflict && pending.is_some() => {
                self.trace.note("no commit beside one that is pending");
                if is_other {
                    self.book.lock().announced.remove(&id);
                }
            }
            Err(error) => {
                let is_hurt = error.kind() == ErrorKind::Poisoned && scene.is_hurt.load(Ordering::Relaxed);
                let is_full = error.kind() == ErrorKind::StorageFull || self.disk.is_limited();
                let known = self.log_failed || self.store_failed || self.power.is_off() || is_hurt || is_full;
                assert!(known || self.engine_failed(), "the commit {id} was refused: {error}");
                self.trace.note(format!("commit {id} is refused: {:?}", error.kind()));
            }
        }
    }

    /// Somebody fills what is pending, begins another commit, or gives it up.
    pub(super) fn fill(&mut self) {
        let Some(random) = self.fills.as_mut().filter(|_| !self.power.is_off()) else { return };
        let scene = self.scene.clone().unwrap();
        match random.below(100) {
            0..10 => self.begin_commit(),
            10..60 => _ = scene.stepper.fill(1 + random.below(RECORDS_A_STEP)),
            60..66 => match scene.stepper.save_fill() {
                Ok(true) => self.trace.note("what is filled is saved"),
                Ok(false) => {}
                Err(error) => self.trace.note(format!("what is filled is not saved: {error}")),
            },
            66..69 => self.cancel(),
            _ => {}
        }
        self.settle();
        self.watch_pending();
    }

    fn cancel(&mut self) {
        match self.scene().engine.cancel_commit() {
            Ok(id) => {
                self.trace.note(format!("commit {id} is given up"));
                assert!(self.book.lock().announced.remove(&id).is_some(), "nobody asked for commit {id}");
                self.pending = None;
            }
            Err(error) => {
                self.trace.note(format!("no commit is given up: {:?}", error.kind()));
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Conflict) {
                    return;
                }
                let failed = self.log_failed || self.store_failed || self.power.is_off();
                assert!(failed || self.engine_failed(), "it was not given up: {error}");
                // It is not pending any more, or is again in the next life.
                self.pending = None;
            }
        }
    }

    /// A commit that was promised stays pending until it is live.
    pub(super) fn watch_pending(&mut self) {
        let Some(id) = self.pending.clone() else { return };
        let scene = self.scene();
        if self.book.lock().commits.contains_key(&id) {
            self.pending = None;
            return;
        }
        if let Some(pending) = scene.engine.pending_commit() {
            assert_eq!(pending.id, id, "the pending commit");
            assert!(pending.record <= scene.engine.records().0, "{pending:?}");
            return;
        }
        let failed = scene.engine.events().list(1, |e| e.event_type == "backfill_failed");
        if !failed.is_empty() && scene.is_hurt.load(Ordering::Relaxed) {
            self.trace.note(format!("commit {id} could not be filled"));
            self.pending = None;
            return;
        }
        // The next life goes on with it.
        let left = self.log_failed || self.power.is_off() || self.engine_failed();
        assert!(left, "commit {id} is pending no more, and not live: {failed:?}");
    }

    /// Lets what is pending go live.
    pub(super) fn end_fill(&mut self) {
        if self.fills.is_none() {
            return;
        }
        loop {
            let scene = self.scene();
            while !self.power.is_off() && (scene.stepper.fill(RECORDS_A_STEP) | scene.stepper.finish()) {
                self.settle();
            }
            self.settle();
            if !self.power.is_off() {
                break;
            }
            self.lose_power();
        }
        self.watch_pending();
        assert_eq!(self.pending, None, "the pending commit does not go live");
        self.scene().read_old(4);
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
