//! Erasing entities.

use std::collections::BTreeMap;
use std::sync::Arc;

use crossbeam_channel::bounded;
use parking_lot::Mutex;
use thyme_core::{EntityKey, Error, ErrorKind, EventTime, Position, Result, Value};

use super::{Engine, Shared, WAIT};
use crate::backfill::forget_saved;
use crate::catalog::LiveDataset;
use crate::committer::Job;
use crate::done::Done;
use crate::erasure::{
    ENTITIES_MAX, Erasing, ErasureReceipt, Pending, Scan, Target, Unfinished, hex, random, removal,
};
use crate::events::Severity;
use crate::left_out::Replayed;
use crate::record::{EraseRecord, Payload};
use crate::state::STRIPES;

impl Shared {
    /// An erasure is under way from here on.
    pub fn begin_erasing(&self, target: Target, scan: Option<Scan>) {
        let scan = Mutex::new(scan);
        *self.erasing.lock() = Some(Arc::new(Erasing { target, scan }));
    }
}

/// What an erasure found, in numbers.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    events: u64,
    dead_letters: u64,
    records: u64,
}

impl Engine {
    /// Erases entities of a raw dataset, by the values of its key fields: what is known of them up to here goes
    /// from the log, from every dataset that is made of it, and from every file. Returns when that is done.
    /// Positions, stamps, verdicts and values of everybody else stay as they are.
    ///
    /// # Errors
    /// InvalidData: a derived dataset, too many entities or none, a key of another shape. Conflict: a backup is
    /// being made. StorageFull: the disk is full. Poisoned: a part of the state cannot be used. Unavailable: it has been accepted and could not be ended, which the next start does before it serves.
    pub fn erase(&self, dataset: &LiveDataset, entities: &[Vec<Value>]) -> Result<ErasureReceipt> {
        let keys = self.keys_to_erase(dataset, entities)?;
        // A replay of dead letters would go on with letters, and places of theirs, that this takes out.
        let _no_replay = self.replay_lock.lock();
        let _one_at_a_time = self.commit_lock.lock();
        self.nothing_is_being_erased()?;
        self.refuse_poisoned("nothing was erased")?;
        if self.backup_under_way().is_some() {
            return Err(Error::new(
                ErrorKind::Conflict,
                "a backup is being made, which would be half of before the erasure; erase once it is done",
            ));
        }
        self.shared.end_cut("nothing was erased")?;
        let disk = self.shared.disk.clone();
        let secret = self.shared.ledger.secret(disk.as_deref()).map_err(refused)?;
        let ids = self.shared.ids.lock().clone();
        let definition = &dataset.definition;
        let hashes: Vec<String> = keys.iter().map(|key| hex(&secret.hash(&definition.name, key))).collect();
        let id = hex(random()?.get(..16).unwrap_or_default());
        let target = Target::new(id.clone(), definition, keys, &ids)?;
        // What a pending commit has of them goes with all that it has.
        let _begins_anew = self.hold_backfill()?;
        if let Some(disk) = &disk {
            Pending::of(&target, definition.version).store(disk.as_ref()).map_err(refused)?;
        }
        // Most of the search is done before the applier has to wait for the rest of it.
        let base = self.shared.base.read().clone();
        let mut scan = Scan::of(&base, ids, &self.catalog(), &target);
        let searched = scan.advance(self.shared.log.as_ref(), self.shared.gate.applied(), &target);
        let replayed = searched.and_then(|()| self.replayed_of(&scan));
        self.shared.begin_erasing(target, Some(scan));
        let (name, entities) = (definition.name.clone(), hashes.clone());
        let record = |replayed| Box::new(EraseRecord { id, dataset: name, entities, replayed });
        let logged = replayed.and_then(|replayed| self.log_erasure(record(replayed)));
        let number = match logged {
            Ok(number) => number,
            Err(error) => {
                // A failed write may be in the log all the same: then the next start ends what was begun.
                if self.shared.gate.failure().is_none() && error.kind() != ErrorKind::Unavailable {
                    disk.as_deref().map(Pending::clear).transpose()?;
                    *self.shared.erasing.lock() = None;
                    return Err(refused(error));
                }
                return Err(error);
            }
        };
        let (stamp, counts) = self.finish_erasure(number).map_err(|error| self.note_waits(number, &error))?;
        let receipt = ErasureReceipt {
            position: Position::end_of(number),
            time: EventTime(stamp),
            dataset: definition.name.clone(),
            entities: hashes,
            events: counts.events,
            dead_letters: counts.dead_letters,
            records: counts.records,
            datasets: if counts.events > 0 { self.made_of(dataset) } else { Vec::new() },
        };
        self.note_erasure(&receipt);
        Ok(receipt)
    }

    fn note_erasure(&self, receipt: &ErasureReceipt) {
        let (entities, events) = (receipt.entities.len(), receipt.events);
        let message = format!(
            "{entities} entities of {} were erased up to {}: {events} events in {} records, {} dead letters",
            receipt.dataset, receipt.position, receipt.records, receipt.dead_letters
        );
        self.shared.events.record(Severity::Info, "erased", &receipt.dataset, message);
    }

    /// Refuses while an erasure is not ended: what is made of the log now could bring back what it took out.
    pub(super) fn nothing_is_being_erased(&self) -> Result<()> {
        match self.shared.erasing().is_some() || self.erasure_waits().is_some() {
            false => Ok(()),
            true => Err(Error::unavailable(
                "an erasure could not be ended (see the events); restart the server, which ends it first",
            )),
        }
    }

    fn keys_to_erase(&self, dataset: &LiveDataset, entities: &[Vec<Value>]) -> Result<Vec<Box<[u8]>>> {
        let definition = &dataset.definition;
        if dataset.is_derived() {
            return Err(Error::invalid_data(format!(
                "dataset {} is made by its pipelines; erase from {} instead: what is made of it goes with it",
                definition.name,
                self.raw_inputs(&definition.name).join(", ")
            )));
        }
        if entities.is_empty() || entities.len() > ENTITIES_MAX {
            return Err(Error::invalid_data(format!(
                "entity_ids: expected 1 to {ENTITIES_MAX} entities in one request, got {}",
                entities.len()
            )));
        }
        entities.iter().map(|values| EntityKey::encode(values).map(|key| key.0)).collect()
    }

    /// The raw datasets that a dataset is made of.
    fn raw_inputs(&self, name: &str) -> Vec<String> {
        let catalog = self.catalog();
        let (mut raw, mut open, mut seen) = (Vec::new(), vec![name.to_owned()], Vec::new());
        while let Some(next) = open.pop() {
            let Some(live) = catalog.datasets.get(&next).filter(|_| !seen.contains(&next)) else { continue };
            for pipeline in &live.definition.pipelines {
                open.extend(pipeline.reads().map(str::to_owned));
            }
            if !live.is_derived() {
                raw.push(next.clone());
            }
            seen.push(next);
        }
        raw.sort();
        raw
    }

    /// A dataset and all that are made of it.
    fn made_of(&self, dataset: &LiveDataset) -> Vec<String> {
        let catalog = self.catalog();
        let name = &dataset.definition.name;
        let is_made = |other: &&String| *other == name || self.raw_inputs(other).contains(name);
        catalog.datasets.keys().filter(is_made).cloned().collect()
    }

    /// How many of the letters that go have become rows, by the streams of those. No replay goes on meanwhile.
    fn replayed_of(&self, scan: &Scan) -> Result<BTreeMap<String, u64>> {
        let ids = self.shared.ids.lock().clone();
        let mut gone = BTreeMap::new();
        for (from, found) in scan.found.iter().filter(|(_, found)| !found.letters.is_empty()) {
            let Some(definition) = ids.datasets.get(found.dataset as usize) else { continue };
            let stream = Replayed::stream(definition);
            let Some(cursor) = self.cursor(&stream) else { continue };
            let replayed = Replayed::decode(&cursor)?;
            let count = found.letters.iter().filter(|letter| replayed.has(*from, **letter)).count();
            *gone.entry(stream).or_default() += count as u64;
        }
        gone.retain(|_, count| *count > 0);
        Ok(gone)
    }

    fn log_erasure(&self, record: Box<EraseRecord>) -> Result<u64> {
        let (sender, receiver) = bounded(1);
        let done = Done::new(move |result| {
            // The receiver waits right below.
            let _ = sender.send(result);
        });
        self.jobs.send(Job::Erase { record, done });
        let receipt = self.answer(&receiver, "the server is stopping; nothing was erased")?;
        let number = receipt.position.record();
        while !self.wait_applied(number, WAIT)? {}
        Ok(number)
    }

    /// Ends an erasure that was begun before a restart. Where that cannot be done now, everything else goes on, and
    /// the next start tries again.
    pub(super) fn end_erasure(&self, unfinished: Unfinished) {
        let number = match unfinished {
            Unfinished::Nothing => return,
            Unfinished::At(number) => number,
            Unfinished::Unreached => {
                self.note_waiting(
                    "an erasure that was begun waits behind a record of the log that cannot be applied; the first start of the server that can apply it ends the erasure"
                        .to_owned(),
                );
                return;
            }
        };
        let cut = self.shared.end_cut("the erasure is not complete");
        if let Err(error) = cut.and_then(|()| self.finish_erasure(number)) {
            self.note_waits(number, &error);
            return;
        }
        let message = format!("the erasure at e{number}, which a stop interrupted, is complete");
        self.shared.events.record(Severity::Info, "erased", "log", message);
    }

    /// Why an erasure that was accepted is not complete, if that is so.
    pub fn erasure_waits(&self) -> Option<String> {
        self.shared.erasure_waits.lock().clone()
    }

    fn note_waits(&self, number: u64, error: &Error) -> Error {
        let error = incomplete(number, error);
        self.note_waiting(error.detail().to_owned());
        error
    }

    fn note_waiting(&self, reason: String) {
        self.shared.events.record(Severity::Error, "erasure_incomplete", "log", reason.clone());
        *self.shared.erasure_waits.lock() = Some(reason);
    }

    /// Makes durable what the applier took out of the timelines, and takes it out of every file.
    fn finish_erasure(&self, number: u64) -> Result<(i64, Counts)> {
        let shared = &self.shared;
        let Some(erasing) = shared.erasing() else {
            return Err(Error::internal("no erasure is under way"));
        };
        while self.checkpointer.lock().is_some() && shared.checkpointed.lock().0 < number {
            self.checkpoint()?;
        }
        let mut scan = erasing.scan.lock();
        let scan = scan.get_or_insert_with(|| {
            Scan::of(&shared.base.read(), shared.ids.lock().clone(), &shared.catalog(), &erasing.target)
        });
        scan.advance(shared.log.as_ref(), number - 1, &erasing.target)?;
        let mut counts = Counts { records: scan.records(), ..Counts::default() };
        for found in scan.found.values() {
            counts.events += found.rows.len() as u64;
            counts.dead_letters += found.letters.len() as u64;
        }
        let ids = shared.ids.lock().clone();
        shared.log.rewrite(number - 1, &mut |record, payload| {
            let Some(found) = scan.found.get(&record) else { return Ok(None) };
            match Payload::decode(payload, &|id| ids.schema(id))? {
                Payload::Events(events) => {
                    found.apply(*events, &erasing.target).and_then(|left| left.encode()).map(Some)
                }
                _ => Err(Error::internal(format!("record {record} holds no events any more"))),
            }
        })?;
        self.drop_replaced_nodes()?;
        let is_durable = self.checkpointer.lock().is_some();
        for node in removal::forget_duplicates(&shared.catalog(), &scan.found)?.iter().filter(|_| is_durable)
        {
            let mut stripe = 0;
            while stripe < STRIPES {
                stripe = shared.residence.save(&node.state, stripe)?;
            }
        }
        for node in self.catalog().nodes() {
            node.state.drop_empty(is_durable);
        }
        shared.store.renew()?;
        shared.disk.as_deref().map(Pending::clear).transpose()?;
        *shared.erasing.lock() = None;
        let stamp = shared.log.read(number)?.next().transpose()?.map_or(0, |record| record.stamp);
        Ok((stamp, counts))
    }
}

impl Engine {
    /// Removes what the store has of nodes that are not live any more.
    fn drop_replaced_nodes(&self) -> Result<()> {
        forget_saved(&self.shared.store)?;
        let live: Vec<u32> = self.catalog().nodes().map(|node| node.id.0).collect();
        let stored = self.shared.store.nodes()?.into_iter();
        stored
            .filter(|node| !live.contains(node))
            .try_for_each(|node| self.shared.residence.retire_node(node))
    }
}

/// What an erasure needs of a full disk.
const ROOM: &str = "free some space there, as much as the store takes";

/// The error for an erasure that did not begin.
fn refused(error: Error) -> Error {
    if error.kind() != ErrorKind::StorageFull {
        return error;
    }
    let detail = format!("the disk is full ({error}), so nothing was erased: {ROOM}, and erase again");
    Error::new(ErrorKind::StorageFull, detail)
}

fn incomplete(number: u64, error: &Error) -> Error {
    let what_to_do = match error.kind() {
        ErrorKind::StorageFull => format!("the disk is full: {ROOM}, and restart the server, which ends it"),
        _ => "the next start of the server ends it".to_owned(),
    };
    Error::new(
        error.kind(),
        format!("the erasure at e{number} is accepted, but not complete ({error}); {what_to_do}"),
    )
}
