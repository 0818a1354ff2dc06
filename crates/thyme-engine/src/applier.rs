//! The applier: takes records in log order, gives the admission verdicts, runs the stateless operators
//! once, and hands the rows to the shards. One thread, deterministic in the records alone.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use arrow::array::RecordBatch;
use crossbeam_channel::Sender;
use serde::{Deserialize, Serialize};
use thyme_core::definition::Document;
use thyme_core::{Error, ErrorKind, Position, Result};

use crate::additions;
use crate::admission::Watermark;
use crate::backfill::{Edit, Filler, Filling, Hands, Intent, Stage};
use crate::budget::Tickets;
use crate::catalog::{Catalog, Ids};
use crate::committer::rows_bytes;
use crate::engine::{CommitPlace, Shared};
use crate::erasure::{Erased, Pending, Scan, Target, Unfinished, removal};
use crate::event_ids::{self, Claims, KnownIds};
use crate::events::Severity;
use crate::expectations::{Tallies, Watch};
use crate::feed::{Incoming, feed};
use crate::health::said;
use crate::idempotency::Remembered;
use crate::left_out::{LateRanges, RecordSet, Replayed};
use crate::node::{Admitted, Node};
use crate::record::{CommitRecord, EraseRecord, EventsRecord, Payload};
use crate::replay::Admission;
use crate::retention::{self, Forget};
use crate::shard::{HandShards, Shards, Task};
use crate::state::DatasetCounters;

/// A durable record on its way into the state.
pub(crate) struct Applied {
    pub number: u64,
    pub stamp: i64,
    pub payload: Payload,
    /// The room that it takes on its way.
    pub tickets: Option<Tickets>,
}

impl Applied {
    /// Its rows, if it has any.
    pub fn rows(&self) -> Option<&RecordBatch> {
        match &self.payload {
            Payload::Events(events) => Some(&events.batch),
            Payload::Commit(_) | Payload::Erase(_) => None,
        }
    }
}

pub(crate) enum Message {
    Record(Box<Applied>),
    /// Asks for the progress as of the last record; it is answered between two records.
    Progress(Sender<Progress>),
    /// Removes rows that retention has passed, between two records.
    Forget(Box<Forget>),
}

/// What the engine knows besides timelines, as of a position. It is what a checkpoint adds to the chunks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Progress {
    pub record: u64,
    pub stamp: i64,
    pub commit: String,
    pub document: Document,
    pub ids: Ids,
    /// By dataset id and stream.
    pub watermarks: Vec<(u32, String, Watermark)>,
    /// Which event ids are known, by dataset id.
    #[serde(default)]
    pub known_ids: BTreeMap<u32, KnownIds>,
    /// By stream.
    pub cursors: BTreeMap<String, Vec<u8>>,
    /// By dataset id.
    pub counters: BTreeMap<u32, DatasetCounters>,
    /// The records that carry dead letters, by dataset id.
    pub dead_letters: BTreeMap<u32, RecordSet>,
    /// Where late rows are, by dataset id.
    #[serde(default)]
    pub late: BTreeMap<u32, LateRanges>,
    /// What came to each expectation.
    #[serde(default)]
    pub expectations: Tallies,
    pub event_now: Option<i64>,
    /// Answers to idempotency keys, where an earlier Thyme kept them; they are rows of the store now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remembered: Vec<Remembered>,
    /// Who was erased, by keyed hash.
    #[serde(default)]
    pub erased: Vec<Erased>,
    /// Where the commits are, oldest first.
    #[serde(default)]
    pub commits: Vec<CommitPlace>,
}

impl Progress {
    pub fn start() -> Self {
        Progress {
            record: 0,
            stamp: i64::MIN,
            commit: String::new(),
            document: Catalog::empty().document,
            ids: Ids::default(),
            watermarks: Vec::new(),
            known_ids: BTreeMap::new(),
            cursors: BTreeMap::new(),
            counters: BTreeMap::new(),
            dead_letters: BTreeMap::new(),
            late: BTreeMap::new(),
            expectations: Tallies::new(),
            event_now: None,
            remembered: Vec::new(),
            erased: Vec::new(),
            commits: Vec::new(),
        }
    }

    /// Counts a record's rows and dead letters; gives the counters of its dataset.
    pub fn count(&mut self, record: &EventsRecord, admitted: &Admitted) -> DatasetCounters {
        let counters = self.counters.entry(record.dataset).or_default();
        counters.events += record.batch.num_rows() as u64;
        counters.erased += record.remains.dropped;
        counters.late += admitted.late.len() as u64;
        counters.duplicates += admitted.duplicates.len() as u64;
        counters.dead_letters += record.dead_letters.len() as u64;
        counters.newest = counters.newest.max(admitted.newest);
        *counters
    }

    /// Letters that an erasure took are not counted as replayed any more. Gives the cursors that say so.
    pub fn forget_replayed(&mut self, record: &EraseRecord) -> Result<Vec<(String, Vec<u8>)>> {
        let mut changed = Vec::new();
        for (stream, gone) in &record.replayed {
            let Some(cursor) = self.cursors.get_mut(stream) else { continue };
            let mut replayed = Replayed::decode(cursor)?;
            replayed.letters = replayed.letters.saturating_sub(*gone);
            *cursor = replayed.encode()?;
            changed.push((stream.clone(), cursor.clone()));
        }
        Ok(changed)
    }
}

/// Records that are filled between two looks at how far it is.
const RECORDS_A_LOOK: usize = 64;

pub(crate) struct Applier {
    shared: Arc<Shared>,
    shards: Shards,
    admission: Admission,
    progress: Progress,
    watch: Watch,
    /// A record could not be applied: what is known here is half of what it says.
    has_failed: bool,
}

impl Applier {
    pub fn new(shared: Arc<Shared>, shards: Shards, progress: Progress) -> Self {
        let admission = Admission::of(&progress);
        admission.marks.iter().for_each(|((dataset, _), mark)| shared.settle(*dataset, mark.largest));
        Applier { shared, shards, admission, progress, watch: Watch::default(), has_failed: false }
    }

    /// Applies what the log holds after the checkpoint, up to the first record that cannot be applied: then the
    /// state stays as of the record before. An erasure that was begun is done again where the log says so.
    ///
    /// # Errors
    /// A log that cannot be read.
    pub fn recover(&mut self, pending: Option<&Pending>) -> Result<()> {
        let log = self.shared.log.clone();
        let last = log.last().map_or(0, |(number, _)| number);
        let budget = self.shared.budget.another();
        let from = self.progress.record;
        for record in log.read(from + 1)? {
            let record = record?;
            self.shared.starting.note("replaying records of the log", record.number - from, last - from);
            self.shared.gate.replayed(record.number, record.stamp);
            let (number, stamp) = (record.number, record.stamp);
            let applied = self.attempt(number, |applier| {
                let payload = Payload::decode(&record.payload, &|id| applier.progress.ids.schema(id))?;
                if let (Payload::Erase(erase), Some(pending)) = (&payload, pending)
                    && erase.id == pending.id
                {
                    applier.shared.begin_erasing(pending.target(&applier.progress.ids)?, None);
                }
                let mut applied = Applied { number, stamp, payload, tickets: None };
                applied.tickets = applied.rows().map(|rows| Arc::new(vec![budget.take(rows_bytes(rows))]));
                applier.apply(applied)
            });
            if !applied {
                let (last, stamp) = log.last().unwrap_or((number, stamp));
                self.shared.gate.ends_with(last, stamp);
                break;
            }
        }
        if !self.shards.barrier() {
            return Err(Error::internal("a shard failed while the log was replayed"));
        }
        Ok(())
    }

    /// What is known of an erasure that was begun and not ended; it is under way from here on.
    pub fn unfinished(&self, pending: Option<&Pending>) -> Result<Unfinished> {
        let Some(pending) = pending else { return Ok(Unfinished::Nothing) };
        let Some(erased) = self.progress.erased.iter().find(|erased| erased.id == pending.id) else {
            if self.has_failed {
                return Ok(Unfinished::Unreached);
            }
            // Nothing of it was written: nobody was told that it would be done.
            self.shared.disk.as_deref().map(Pending::clear).transpose()?;
            return Ok(Unfinished::Nothing);
        };
        if self.shared.erasing().is_none() {
            self.shared.begin_erasing(pending.target(&self.progress.ids)?, None);
        }
        Ok(Unfinished::At(erased.record))
    }

    /// Runs until every sender is gone, then lets the shards finish.
    pub fn run(mut self, messages: &Receiver<Message>) {
        while let Ok(message) = messages.recv() {
            if !self.step(message) {
                break;
            }
        }
        self.end();
    }

    /// Lets the shards finish what they have.
    pub fn end(self) {
        self.shared.tally.away();
        self.shards.join();
    }

    /// The shards, when they work by hand.
    pub fn hand_shards(&self) -> Arc<HandShards> {
        match &self.shards {
            Shards::Hand(shards) => shards.clone(),
            Shards::Threads { .. } => Arc::default(),
        }
    }

    /// Takes one message; false once nothing more will be applied.
    pub fn step(&mut self, message: Message) -> bool {
        match message {
            _ if self.has_failed => false,
            Message::Progress(reply) => {
                // A checkpoint that gave up no longer listens.
                let _ = reply.send(self.progress());
                true
            }
            Message::Forget(forget) => {
                let gone = self.forget(&forget);
                // Who asked may be gone with the engine.
                let _ = forget.reply.send(gone);
                true
            }
            Message::Record(record) => {
                let number = record.number;
                self.attempt(number, |applier| applier.apply(*record))
            }
        }
    }

    /// Applies a record. When that fails or panics nothing more is applied: what is read stays as of the
    /// records before it. False then.
    fn attempt(&mut self, number: u64, apply: impl FnOnce(&mut Self) -> Result<()>) -> bool {
        let applied = catch_unwind(AssertUnwindSafe(|| apply(self)))
            .unwrap_or_else(|panic| Err(Error::internal(format!("it panicked: {}", said(&*panic)))));
        let Err(error) = applied else { return true };
        self.has_failed = true;
        let reason = format!(
            "record e{number} could not be applied: {error}; reads are as of the records before it and pushes are refused until a restart; restart the server, and if it stops there again run `thyme doctor` on the data directory"
        );
        self.shared.events.record(Severity::Error, "apply_failed", "engine", reason.clone());
        self.shared.note_backfill(0, 0);
        self.shared.gate.stop(&reason);
        self.shared.tally.away();
        false
    }

    fn progress(&self) -> Progress {
        let (watermarks, known_ids) = (self.admission.watermarks(), self.admission.known_ids());
        // These are only kept where they are listed from.
        let dead_letters = self.shared.dead_letters.lock().clone();
        let late = self.shared.late.lock().clone();
        let commits = self.shared.commits.lock().clone();
        let expectations = self.shared.expectations.lock().clone();
        Progress { watermarks, known_ids, dead_letters, late, expectations, commits, ..self.progress.clone() }
    }

    fn apply(&mut self, applied: Applied) -> Result<()> {
        let Applied { number, stamp, payload, tickets } = applied;
        let mut task = match payload {
            Payload::Events(mut record) => self.events(number, stamp, &mut record)?,
            Payload::Commit(record) => {
                self.commit(number, *record)?;
                Task::of(number, Vec::new())
            }
            Payload::Erase(record) => {
                self.erase(number, stamp, &record)?;
                Task::of(number, Vec::new())
            }
        };
        task.tickets = tickets;
        self.progress.record = number;
        self.progress.stamp = stamp;
        self.shared.tally.applied(number);
        match self.shards.dispatch(&task) {
            true => Ok(()),
            false => Err(Error::internal("a shard has stopped")),
        }
    }

    fn events(&mut self, number: u64, stamp: i64, record: &mut EventsRecord) -> Result<Task> {
        let catalog = self.shared.catalog();
        // A push may have been read before the commit that added fields and written after it.
        let ids = &self.progress.ids;
        if record.batch.num_columns() < ids.columns(record.dataset)
            && let Some(schema) = ids.schema(record.dataset)
        {
            record.batch = additions::complete(record.batch.clone(), &schema)?;
        }
        let record = &*record;
        let live = catalog.by_id(record.dataset);
        let definition = match live {
            Some(live) => &live.definition,
            None => self.progress.ids.latest(record.dataset).ok_or_else(|| {
                Error::corrupt(format!(
                    "record {number} names dataset {}, which no commit made",
                    record.dataset
                ))
            })?,
        };
        let before = self.admission.watermark(record);
        let claims = live.and_then(|live| live.ids.as_ref()).map(Claims::first);
        let admitted = self.admission.admit((number, record), definition, stamp, claims.as_ref())?;
        let left_out = (admitted.late.len() + admitted.duplicates.len()) as u64;
        if left_out > 0 {
            self.note_left_out(number, record, left_out, before);
        }
        if let Some(newest) = admitted.newest
            && self.shared.clock.counts(&definition.name)
        {
            self.shared.gate.note_newest(number, newest);
            self.progress.event_now = self.progress.event_now.max(Some(newest));
        }
        let (dataset, batch) = (record.dataset, &record.batch);
        let work = feed(&catalog, None, Incoming { dataset, number, batch, admitted: &admitted })?;
        self.count(number, record, &admitted);
        if let Some(live) = live.filter(|live| !live.rules.is_empty()) {
            let until = self.admission.watermark(record);
            let mut tallies = self.shared.expectations.lock();
            let tallies = tallies.entry(live.id).or_default();
            let seen = (number, stamp, record);
            self.watch.take(live, seen, (&admitted, until), tallies, &self.shared.events)?;
        }
        if claims.is_some() {
            let duplicates = admitted.duplicates.iter().map(|(row, _)| *row);
            self.shared.tally.note(number, batch.num_rows(), duplicates);
        }
        self.remember(number, stamp, record);
        Ok(Task::of(number, work))
    }

    /// Notes where late rows and duplicates are; `before` is the watermark of their stream before the record.
    fn note_left_out(&self, number: u64, record: &EventsRecord, rows: u64, before: Option<i64>) {
        let marks = &self.admission.marks;
        self.shared.late.lock().entry(record.dataset).or_default().push(number, rows, || {
            let of_dataset = marks.iter().filter(|((dataset, _), _)| *dataset == record.dataset);
            let before = |stream: &String, now| if *stream == record.stream { before } else { now };
            let mut watermarks: Vec<_> =
                of_dataset.map(|((_, s), mark)| (s.clone(), before(s, mark.largest))).collect();
            watermarks.sort();
            watermarks
        });
    }

    fn count(&mut self, number: u64, record: &EventsRecord, admitted: &Admitted) {
        let counters = self.progress.count(record, admitted);
        self.shared.counters.lock().insert(record.dataset, counters);
        self.shared.settle(record.dataset, self.admission.watermark(record));
        if let Some(cursor) = &record.cursor {
            self.progress.cursors.insert(record.stream.clone(), cursor.clone());
            self.shared.cursors.lock().insert(record.stream.clone(), cursor.clone());
        }
        if !record.dead_letters.is_empty() {
            self.shared.dead_letters.lock().entry(record.dataset).or_default().push(number);
        }
    }

    fn remember(&mut self, number: u64, stamp: i64, record: &EventsRecord) {
        record.marks.iter().for_each(|mark| self.shared.keys.remember(mark.remembered(number, stamp)));
    }

    fn commit(&mut self, number: u64, record: CommitRecord) -> Result<()> {
        let (shared, current) = (self.shared.clone(), self.shared.catalog());
        let filling = shared.filling();
        let mine = filling.as_ref().filter(|filling| filling.id() == record.id);
        let filler = match mine.and_then(|filling| filling.take_over(&current)) {
            Some(filler) => filler,
            None => self.filler(&record, number, filling.as_ref())?,
        };
        let mut document = record.document;
        document.retired_by(&record.id);
        self.swap(filler, number, &|_, events| Ok(events))?;
        shared.commits.lock().push(CommitPlace { id: record.id.clone(), record: number });
        self.progress.commit = record.id;
        self.progress.document = document;
        if let Some(filling) = mine {
            // A file that stays is found to be of a commit that is live.
            let _ = shared.disk.as_deref().map(Intent::clear);
            shared.end_filling(filling);
            filling.set(Stage::Ended(Ok(number)));
        }
        Ok(())
    }

    /// What fills the new nodes of a commit that nobody filled before, or only a part of it before a crash. Another
    /// commit that is pending was made over what is no more.
    fn filler(&self, record: &CommitRecord, number: u64, pending: Option<&Arc<Filling>>) -> Result<Filler> {
        match pending {
            Some(pending) if pending.id() == record.id => pending.hold(&self.shared)?,
            Some(pending) => {
                let detail = format!("the commit {} came before {} was filled", record.id, pending.id());
                pending.fail(&self.shared, &Error::new(ErrorKind::Conflict, detail))?;
            }
            None => {}
        }
        // What the new nodes read, and what says whether there is anything for them, is all there.
        self.barrier()?;
        let (current, ids) = (self.shared.catalog(), self.progress.ids.clone());
        let mut filler = Filler::resumed(&self.shared, current, ids, record, number)?;
        filler.needs_log(&self.shared);
        Ok(filler)
    }

    /// Fills what is missing in new nodes up to before `until`, and makes them and their definitions live.
    fn swap(&mut self, mut filler: Filler, until: u64, edit: &Edit<'_>) -> Result<()> {
        if !filler.fresh.is_empty() {
            // Joins may read an index that the shards are still filling.
            self.barrier()?;
            self.shared.tally.away();
            let hands = Hands::Shards(&self.shards);
            while !filler.advance(&self.shared, (until, RECORDS_A_LOOK), edit, &hands)? {
                self.shared.note_backfill(filler.reached().0, until);
            }
            self.shared.note_backfill(0, 0);
            self.shared.tally.back();
        }
        self.barrier()?;
        for node in filler.catalog.nodes() {
            node.state.grow(&node.layout);
        }
        self.progress.ids = filler.ids;
        event_ids::refuse_unknown(&filler.catalog);
        self.shared.learn(&self.progress.ids);
        self.shared.set_catalog(filler.catalog);
        Ok(())
    }

    /// Whoever writes a timeline else is not writing now.
    fn forget(&self, forget: &Forget) -> Result<u64> {
        let catalog = self.shared.catalog();
        let is_live = catalog.nodes().any(|node| Arc::ptr_eq(&node.state, &forget.node.state));
        if !is_live {
            return Ok(0);
        }
        self.barrier()?;
        forget.run()
    }

    fn barrier(&self) -> Result<()> {
        match self.shards.barrier() {
            true => Ok(()),
            false => Err(Error::internal("a shard failed before or during a backfill")),
        }
    }

    /// Takes out of the state what an erasure that is under way names. One that has been ended left nothing of
    /// it in the log.
    fn erase(&mut self, number: u64, stamp: i64, record: &EraseRecord) -> Result<()> {
        let erased = Erased::new(number, stamp, record);
        self.shared.ledger.add(&erased)?;
        self.progress.erased.push(erased);
        self.shared.cursors.lock().extend(self.progress.forget_replayed(record)?);
        let Some(erasing) = self.shared.erasing().filter(|erasing| erasing.target.id == record.id) else {
            return Ok(());
        };
        let base = self.shared.base.read();
        let mut scan = erasing.scan.lock();
        let scan = scan.get_or_insert_with(|| {
            Scan::of(&base, self.progress.ids.clone(), &self.shared.catalog(), &erasing.target)
        });
        scan.advance(self.shared.log.as_ref(), number - 1, &erasing.target)?;
        self.barrier()?;
        let catalog = self.shared.catalog();
        if base.first > 1 {
            // Theirs may be among them, and the log does not say which any more.
            removal::forget_unread(&catalog, Position::end_of(number - 1))?;
        }
        drop(base);
        removal::void_duplicates(&catalog, &scan.found)?;
        for (from, found) in &scan.found {
            removal::remove(&catalog, *from, found, Position::end_of(number - 1))?;
            let counters = self.progress.counters.entry(found.dataset).or_default();
            counters.events = counters.events.saturating_sub(found.rows.len() as u64);
            counters.late = counters.late.saturating_sub(found.late);
            counters.duplicates = counters.duplicates.saturating_sub(found.duplicates);
            counters.dead_letters = counters.dead_letters.saturating_sub(found.letters.len() as u64);
            self.shared.counters.lock().insert(found.dataset, *counters);
            for (mark, fate) in &found.marks {
                self.shared.keys.erase(number, *from, mark, *fate)?;
            }
        }
        self.join_again(&catalog, number, scan, &erasing.target)
    }

    /// Fills nodes with joins and dedups anew, if an erasure took rows from what they are made of: what a row had joined,
    /// or had repeated, is in the versions of others.
    fn join_again(&mut self, current: &Catalog, until: u64, scan: &Scan, target: &Target) -> Result<()> {
        let lost =
            |node: &&Arc<Node>| scan.found.values().any(|f| !f.rows.is_empty() && node.takes(f.dataset));
        let readable = current.datasets.values().filter_map(|live| live.node.as_ref());
        let again: Vec<&Arc<Node>> = readable.filter(|n| !n.is_stateless()).filter(lost).collect();
        if again.is_empty() {
            return Ok(());
        }
        let with = retention::refilled_with(current, again.iter().copied());
        let again = again.iter().flat_map(|node| node.parts().chain([*node])).map(|node| node.id);
        self.progress.ids.forget_nodes(&again.chain(with).collect());
        let ids = self.progress.ids.clone();
        let filler =
            Filler::new(&self.shared, self.shared.catalog(), ids, &current.commit, &current.document)?;
        self.swap(filler, until, &|number, events| scan.without(number, events, target))
    }
}
