//! The applier: takes records in log order, gives the admission verdicts, runs the stateless operators
//! once, and hands the rows to the shards. One thread, deterministic in the records alone.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use arrow::array::{BooleanBufferBuilder, RecordBatch};
use crossbeam_channel::Sender;
use serde::{Deserialize, Serialize};
use thyme_core::definition::{Dataset, Document};
use thyme_core::{Error, Result};

use crate::admission::{self, Watermark};
use crate::budget::Tickets;
use crate::catalog::{self, Catalog, Ids};
use crate::committer::rows_bytes;
use crate::decode::columns::event_times;
use crate::engine::Shared;
use crate::events::Severity;
use crate::feed::{Incoming, feed};
use crate::idempotency::{self, Remembered};
use crate::left_out::{LateRanges, RecordSet, StreamLimits};
use crate::node::{Admitted, Node};
use crate::record::{CommitRecord, EventsRecord, Payload, peek_dataset};
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
            Payload::Commit(_) => None,
        }
    }
}

pub(crate) enum Message {
    Record(Box<Applied>),
    /// Asks for the progress as of the last record; it is answered between two records.
    Progress(Sender<Progress>),
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
    /// By stream.
    pub cursors: BTreeMap<String, Vec<u8>>,
    /// By dataset id.
    pub counters: BTreeMap<u32, DatasetCounters>,
    /// The records that carry dead letters, by dataset id.
    pub dead_letters: BTreeMap<u32, RecordSet>,
    /// Where late rows are, by dataset id.
    #[serde(default)]
    pub late: BTreeMap<u32, LateRanges>,
    pub event_now: Option<i64>,
    /// Idempotency keys of the last 24 h of stamps, oldest first.
    pub remembered: VecDeque<Remembered>,
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
            cursors: BTreeMap::new(),
            counters: BTreeMap::new(),
            dead_letters: BTreeMap::new(),
            late: BTreeMap::new(),
            event_now: None,
            remembered: VecDeque::new(),
        }
    }
}

/// Watermarks of every stream, moved by the rows alone.
#[derive(Default)]
struct Admission {
    marks: HashMap<(u32, String), Watermark>,
}

impl Admission {
    fn watermark(&self, dataset: u32, stream: &str) -> Option<i64> {
        self.marks.get(&(dataset, stream.to_owned())).and_then(|mark| mark.largest)
    }

    /// The rows' verdicts, and how many are late.
    fn admit(&mut self, record: &EventsRecord, definition: &Dataset, stamp: i64) -> Result<Admitted> {
        let time_field = definition.fields.timestamp().map_or("", |f| f.name.as_str());
        let times = event_times(&record.batch, time_field)?;
        let mark = self.marks.entry((record.dataset, record.stream.clone())).or_default();
        let mut late = Vec::new();
        admission::admit(times.values(), stamp, catalog::limits(definition, &record.stream), mark, |row| {
            late.push(row)
        });
        let kept = (!late.is_empty()).then(|| {
            let mut kept = BooleanBufferBuilder::new(times.len());
            kept.append_n(times.len(), true);
            late.iter().for_each(|&row| kept.set_bit(row, false));
            kept.finish()
        });
        let newest = match &kept {
            None => times.values().iter().max().copied(),
            Some(kept) => kept.set_indices().map(|row| times.value(row)).max(),
        };
        Ok(Admitted { kept, late: late.len() as u64, newest })
    }
}

pub(crate) struct Applier {
    shared: Arc<Shared>,
    shards: Shards,
    admission: Admission,
    progress: Progress,
}

impl Applier {
    pub fn new(shared: Arc<Shared>, shards: Shards, progress: Progress) -> Self {
        let marks = progress.watermarks.iter().map(|(d, s, w)| ((*d, s.clone()), *w)).collect();
        Applier { shared, shards, admission: Admission { marks }, progress }
    }

    /// Applies what the log holds after the checkpoint.
    pub fn recover(&mut self) -> Result<()> {
        let log = self.shared.log.clone();
        let last = log.last().map_or(0, |(number, _)| number);
        let budget = self.shared.budget.another();
        for record in log.read(self.progress.record + 1)? {
            let record = record?;
            self.shared.note_recovery(record.number, last);
            self.shared.gate.replayed(record.number, record.stamp);
            let payload = Payload::decode(&record.payload, &|id| self.progress.ids.schema(id))?;
            let mut applied = Applied { number: record.number, stamp: record.stamp, payload, tickets: None };
            applied.tickets = applied.rows().map(|rows| Arc::new(vec![budget.take(rows_bytes(rows))]));
            self.apply(applied)?;
        }
        if !self.shards.barrier() {
            return Err(Error::internal("a shard failed while the log was replayed"));
        }
        Ok(())
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
            Message::Progress(reply) => {
                // A checkpoint that gave up no longer listens.
                let _ = reply.send(self.progress());
                true
            }
            Message::Record(record) => {
                let number = record.number;
                let applied = self.apply(*record);
                if let Err(error) = &applied {
                    let reason = format!("record {number} could not be applied: {error}");
                    self.shared.events.record(Severity::Error, "apply_failed", "engine", reason.clone());
                    self.shared.gate.stop(&reason);
                }
                applied.is_ok()
            }
        }
    }

    fn progress(&self) -> Progress {
        let watermarks = self.admission.marks.iter().map(|((d, s), w)| (*d, s.clone(), *w)).collect();
        // These two are only kept where they are listed from.
        let dead_letters = self.shared.dead_letters.lock().clone();
        let late = self.shared.late.lock().clone();
        Progress { watermarks, dead_letters, late, ..self.progress.clone() }
    }

    fn apply(&mut self, applied: Applied) -> Result<()> {
        let Applied { number, stamp, payload, tickets } = applied;
        let mut task = match payload {
            Payload::Events(record) => self.events(number, stamp, &record)?,
            Payload::Commit(record) => {
                self.commit(number, *record)?;
                Task { record: Some(number), work: Vec::new(), reached: None, tickets: None }
            }
        };
        task.tickets = tickets;
        self.progress.record = number;
        self.progress.stamp = stamp;
        match self.shards.dispatch(&task) {
            true => Ok(()),
            false => Err(Error::internal("a shard has stopped")),
        }
    }

    fn events(&mut self, number: u64, stamp: i64, record: &EventsRecord) -> Result<Task> {
        let catalog = self.shared.catalog();
        let live = catalog.by_id(record.dataset);
        let definition = match live {
            Some(live) => &live.definition,
            None => self.progress.ids.datasets.get(record.dataset as usize).ok_or_else(|| {
                Error::corrupt(format!(
                    "record {number} names dataset {}, which no commit made",
                    record.dataset
                ))
            })?,
        };
        let before = self.admission.watermark(record.dataset, &record.stream);
        let admitted = self.admission.admit(record, definition, stamp)?;
        if admitted.late > 0 {
            self.note_late(number, record, admitted.late, before, StreamLimits::of(definition));
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
        self.remember(number, stamp, record);
        Ok(Task { record: Some(number), work, reached: None, tickets: None })
    }

    /// Notes where late rows are; `before` is the watermark of their stream before the record.
    fn note_late(
        &self,
        number: u64,
        record: &EventsRecord,
        late: u64,
        before: Option<i64>,
        limits: StreamLimits,
    ) {
        let marks = &self.admission.marks;
        self.shared.late.lock().entry(record.dataset).or_default().push(number, late, || {
            let of_dataset = marks.iter().filter(|((dataset, _), _)| *dataset == record.dataset);
            let before = |stream: &String, now| if *stream == record.stream { before } else { now };
            let mut watermarks: Vec<_> =
                of_dataset.map(|((_, s), mark)| (s.clone(), before(s, mark.largest))).collect();
            watermarks.sort();
            (watermarks, limits)
        });
    }

    fn count(&mut self, number: u64, record: &EventsRecord, admitted: &Admitted) {
        let counters = self.progress.counters.entry(record.dataset).or_default();
        counters.events += record.batch.num_rows() as u64;
        counters.late += admitted.late;
        counters.dead_letters += record.dead_letters.len() as u64;
        counters.newest = counters.newest.max(admitted.newest);
        let counters = *counters;
        self.shared.counters.lock().insert(record.dataset, counters);
        if let Some(cursor) = &record.cursor {
            self.progress.cursors.insert(record.stream.clone(), cursor.clone());
            self.shared.cursors.lock().insert(record.stream.clone(), cursor.clone());
        }
        if !record.dead_letters.is_empty() {
            self.shared.dead_letters.lock().entry(record.dataset).or_default().push(number);
        }
    }

    fn remember(&mut self, number: u64, stamp: i64, record: &EventsRecord) {
        if record.marks.is_empty() {
            return;
        }
        for mark in &record.marks {
            let known = mark.remembered(number, stamp);
            self.shared.keys.remember(known.clone());
            self.progress.remembered.push_back(known);
        }
        self.shared.keys.forget(&idempotency::forget(&mut self.progress.remembered, stamp));
    }

    fn commit(&mut self, number: u64, mut record: CommitRecord) -> Result<()> {
        record.document.retired_by(&record.id);
        let current = self.shared.catalog();
        let (catalog, fresh) = catalog::derive(
            &current,
            &mut self.progress.ids,
            record.id.clone(),
            record.document.clone(),
            &self.shared.residence,
        )?;
        for node in &fresh {
            // A checkpoint that is older than this commit may have stored its chunks before a crash.
            node.state.begin_empty()?;
        }
        if !fresh.is_empty() {
            // Joins may read an index that the shards are still filling.
            self.barrier()?;
            self.backfill(&catalog, &fresh, number)?;
        }
        self.barrier()?;
        self.progress.commit = record.id;
        self.progress.document = record.document;
        self.shared.set_catalog(catalog);
        Ok(())
    }

    fn barrier(&self) -> Result<()> {
        match self.shards.barrier() {
            true => Ok(()),
            false => Err(Error::internal("a shard failed before or during a backfill")),
        }
    }

    /// Fills new nodes from the records before `until`. The verdicts are given again from the log alone,
    /// under the limits that were committed at each position, so they are the ones of the first time.
    fn backfill(&self, catalog: &Catalog, nodes: &[Arc<Node>], until: u64) -> Result<()> {
        let ids = &self.progress.ids;
        let mut limits: HashMap<u32, Dataset> = HashMap::new();
        let mut admission = Admission::default();
        // Records that came after the commit wait behind it, and may have taken all the room.
        let budget = self.shared.budget.another();
        for record in self.shared.log.read(1)? {
            let record = record?;
            if record.number >= until {
                break;
            }
            self.shared.note_backfill(record.number, until);
            if peek_dataset(&record.payload).is_some_and(|id| nodes.iter().all(|n| !n.takes(id))) {
                continue;
            }
            match Payload::decode(&record.payload, &|id| ids.schema(id))? {
                Payload::Commit(commit) => {
                    for d in commit.document.datasets {
                        if let Some(id) =
                            ids.datasets.iter().position(|k| k.name == d.name && k.version == d.version)
                        {
                            limits.insert(id as u32, d);
                        }
                    }
                }
                Payload::Events(events) => {
                    let definition = limits.get(&events.dataset).ok_or_else(|| {
                        Error::corrupt(format!("record {} comes before its dataset's commit", record.number))
                    })?;
                    let admitted = admission.admit(&events, definition, record.stamp)?;
                    let (dataset, number, batch) = (events.dataset, record.number, &events.batch);
                    let incoming = Incoming { dataset, number, batch, admitted: &admitted };
                    let work = feed(catalog, Some(nodes), incoming)?;
                    let tickets = Some(Arc::new(vec![budget.take(rows_bytes(batch))]));
                    if !self.shards.dispatch(&Task { record: None, work, reached: None, tickets }) {
                        return Err(Error::internal("a shard failed during a backfill"));
                    }
                }
            }
        }
        self.shared.note_backfill(0, 0);
        Ok(())
    }
}
