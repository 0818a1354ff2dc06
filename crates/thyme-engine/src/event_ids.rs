//! Event ids: of the events of a dataset that have one id, the first that is not late counts, and the others
//! are duplicates of it.
//!
//! The one that counts has claimed the id: an entry with its event time and position in a timeline of the id. The
//! claims are a node of the dataset, which the applier alone writes, before anything else learns of the rows.
//! Whoever walks over the log later asks whose the claim is, so the answer is the one of the first time, whether
//! or not the walk saw the event that has it: a row counts if it has its own claim. With a retention ids are forgotten,
//! at a time that the log alone says ([`KnownIds`]); the claims go later. An erasure that takes away the event that counts leaves *void*
//! entries for its duplicates: they stay what they are, and the id is free for events to come.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::BooleanBuffer;
use hashbrown::HashTable;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use thyme_core::definition::Dataset;
use thyme_core::schema::Role;
use thyme_core::{EventTime, Field, Position, Result, Span};
use thyme_timeline::Batch;

use crate::applier::Progress;
use crate::base::Base;
use crate::catalog::{Catalog, LiveDataset};
use crate::erasure::Target;
use crate::keys::{Keys, encode_keys};
use crate::node::{Node, NodeId};
use crate::record::EventsRecord;
use crate::residence::Residence;
use crate::rows::NodeRows;
use crate::state::{NodeState, hash_key};

/// The predicate of the entries that are void.
const VOID: usize = 0;

/// The node that keeps the claims of a dataset.
pub(crate) fn node(id: NodeId, definition: &Dataset, dataset: u32, residence: &Arc<Residence>) -> Node {
    let what = format!("event ids of {}", definition.name);
    let key = field(definition).map(|field| Field { role: Role::Key, ..field.clone() });
    let mut node = Node::keeping(id, what.clone(), key.into_iter().collect(), Vec::new(), residence);
    node.input = dataset;
    node.layout.predicates = VOID + 1;
    node.state = NodeState::new(residence, id.0, &what, &node.layout);
    node
}

/// What a node of claims is known by.
pub(crate) fn signature(definition: &Dataset) -> String {
    format!("event ids of {}@{}", definition.name, definition.version)
}

fn field(definition: &Dataset) -> Option<&Field> {
    definition.fields.field(definition.event_id.as_ref()?)
}

/// The encoded ids of rows; `None` if events of the dataset have none.
pub(crate) fn ids(definition: &Dataset, batch: &RecordBatch) -> Result<Option<Keys>> {
    field(definition).map(|field| encode_keys(std::slice::from_ref(field), batch)).transpose()
}

/// For how long ids are known, in event time: two events are the same if they are less than the retention apart, and
/// those that it has not passed may be compared with others as far behind them.
pub(crate) fn kept_for(definition: &Dataset) -> Option<Span> {
    definition.retention.map(known_for)
}

fn known_for(retention: Span) -> Span {
    Span(retention.0.saturating_mul(2))
}

/// Which ids of a dataset are still known where a walk over the log is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KnownIds {
    /// The newest event time that counts.
    pub newest: Option<i64>,
    /// Events up to this time have lost their ids; `None`: none has.
    pub forgotten: Option<i64>,
}

impl KnownIds {
    /// A row has passed, in a record with this stamp, under this retention. An event from the future makes nothing
    /// forgotten that is not old by the stamp; what is forgotten stays so, however long the retention is later.
    pub fn pass(&mut self, stamp: i64, retention: Option<Span>) {
        if let (Some(newest), Some(retention)) = (self.newest, retention) {
            let until = newest.min(stamp).saturating_sub(known_for(retention).0);
            self.forgotten = self.forgotten.max(Some(until));
        }
    }

    fn knows(&self, time: i64) -> bool {
        self.forgotten.is_none_or(|forgotten| time > forgotten)
    }
}

/// The event time after which it is known of all rows of a dataset which are duplicates; `None`: always.
pub(crate) fn known_from(live: &LiveDataset) -> Option<EventTime> {
    live.ids.as_ref().and_then(|node| node.removed_until())
}

/// Says what is known of ids where an earlier Thyme did not.
pub(crate) fn remember(catalog: &Catalog, progress: &mut Progress) {
    for live in catalog.datasets.values() {
        let (Some(claims), Some(counters)) = (&live.ids, progress.counters.get(&live.id)) else { continue };
        let forgotten = claims.removed_until().map(|removed| removed.0);
        progress.known_ids.entry(live.id).or_insert(KnownIds { newest: counters.newest, forgotten });
    }
}

/// New claims over a log whose beginning is gone: who has the ids of its first rows is not known.
pub(crate) fn begin(catalog: &Catalog, log: &Base, fresh: &[Arc<Node>]) {
    for live in catalog.datasets.values() {
        let claims = live.ids.as_ref().filter(|ids| fresh.iter().any(|node| node.id == ids.id));
        let begins = claims.and_then(|claims| Some((claims, log.begins(claims)?)));
        let Some((claims, begins)) = begins else { continue };
        let near = live.definition.retention.map_or(i64::MAX, |retention| retention.0);
        claims.remove_until(EventTime(begins.0.saturating_add(near)));
    }
}

/// Makes refused what would need rows whose duplicates are not known any more, because their claims are gone.
pub(crate) fn refuse_unknown(catalog: &Catalog) {
    for live in catalog.datasets.values() {
        let Some(known) = known_from(live) else { continue };
        for node in live.joined.iter().chain(catalog.fed_by(live.id)) {
            let mut from = known.0;
            for join in node.joins().filter(|join| !node.is_fed_by(live.id) && join.right.input == live.id) {
                from = known.0.saturating_add(join.within().map_or(0, |within| within.0));
            }
            node.remove_until(node.whole_after(EventTime(from)));
        }
    }
}

/// Whose an id is, as far as the claims say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// That of the event of this time and position before the row, the newest of those that are near; `None`: there is
    /// none.
    Open(Option<(i64, u64)>),
    /// The row's own.
    Own,
    /// Not the row's: that of the event at this position, unless that is not known any more.
    Others(Option<Position>),
}

enum Kept {
    Node(Arc<Node>),
    /// Of a dataset version that is no more.
    Memory(Mutex<ById>),
}

/// Time and position of those that count, by encoded id.
type ById = HashMap<Box<[u8]>, Vec<(i64, u64)>>;

/// The claims of a dataset, as a walk over the log takes them.
pub(crate) struct Claims {
    kept: Kept,
    walk: Walk,
}

/// What a walk over the log finds of claims.
#[derive(Clone, Debug)]
enum Walk {
    /// It makes them.
    First,
    /// Those of all rows that it comes to.
    Again,
    /// The same, but for those of entities that are being erased: theirs may be gone, and are found by the walk itself.
    Erasing(Target, Arc<Mutex<ById>>),
}

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claims").field("walk", &self.walk).finish_non_exhaustive()
    }
}

impl Claims {
    /// For the walk that makes the claims.
    pub fn first(node: &Arc<Node>) -> Claims {
        Claims { kept: Kept::Node(node.clone()), walk: Walk::First }
    }

    /// For a walk over records whose claims are made.
    pub fn again(node: &Arc<Node>) -> Claims {
        Claims { kept: Kept::Node(node.clone()), walk: Walk::Again }
    }

    /// For a walk from the log's first record on, where nobody keeps them.
    pub fn passing() -> Claims {
        Claims { kept: Kept::Memory(Mutex::default()), walk: Walk::First }
    }

    /// Those of all datasets of a catalog, for a walk of which only the nodes of `fresh` know nothing yet.
    pub fn of(catalog: &Catalog, fresh: &[Arc<Node>]) -> HashMap<u32, Claims> {
        let is_fresh = |node: &Arc<Node>| fresh.iter().any(|fresh| fresh.id == node.id);
        let of = |node| if is_fresh(node) { Claims::first(node) } else { Claims::again(node) };
        let kept = catalog.datasets.values().filter_map(|live| Some((live.id, of(live.ids.as_ref()?))));
        kept.collect()
    }

    /// Those of all datasets of a catalog, for the walk that looks for the rows of entities that are being erased.
    pub fn of_erasure(catalog: &Catalog, target: &Target) -> HashMap<u32, Claims> {
        let mut all = Claims::of(catalog, &[]);
        all.values_mut().for_each(|claims| claims.walk = Walk::Erasing(target.clone(), Arc::default()));
        all
    }

    /// The rows of a record, before any of them has its verdict.
    pub fn judge(
        &self,
        rows: Rows<'_>,
        (definition, stamp, known): (&Dataset, i64, KnownIds),
    ) -> Result<Option<Judge>> {
        let Some(keys) = ids(definition, &rows.record.batch)? else { return Ok(None) };
        let count = rows.times.len();
        let positions: Vec<u64> = (0..count).map(|row| rows.position(row).to_bits()).collect();
        let mut judge = Judge {
            keys,
            times: rows.times.to_vec(),
            positions,
            whose: Vec::with_capacity(count),
            claimed: HashTable::new(),
            within: definition.retention,
            stamp,
            known,
        };
        for row in 0..count {
            let whose = self.whose(&judge, row)?;
            judge.whose.push(whose);
        }
        if !matches!(self.walk, Walk::First) {
            self.close(&mut judge, rows.record)?;
        }
        Ok(Some(judge))
    }

    /// A row that came earlier and has no claim does not count, unless its claim may be gone.
    fn close(&self, judge: &mut Judge, record: &EventsRecord) -> Result<()> {
        let erased = match &self.walk {
            Walk::Erasing(target, _) => target.rows(record.dataset, &record.batch)?,
            Walk::First | Walk::Again => None,
        };
        // Asked after the claims, which go after it is said.
        let removed = match &self.kept {
            Kept::Node(node) => node.removed_until(),
            Kept::Memory(_) => None,
        };
        for (row, whose) in judge.whose.iter_mut().enumerate() {
            let may_be_gone = removed.is_some_and(|removed| judge.times[row] <= removed.0)
                || erased.as_ref().is_some_and(|erased| erased.value(row));
            if let (Whose::Open(near), false) = (*whose, may_be_gone) {
                *whose = Whose::Others(near.map(|(_, position)| Position::from_bits(position)));
            }
        }
        Ok(())
    }

    fn whose(&self, judge: &Judge, row: usize) -> Result<Whose> {
        let (mut own, mut near) = (None, None);
        let mut look = |time: i64, position: u64, is_void: bool| {
            if position == judge.positions[row] {
                own = Some(if is_void { Whose::Others(None) } else { Whose::Own });
            } else if !is_void && position < judge.positions[row] && judge.are_near(time, judge.times[row]) {
                near = near.max(Some((time, position)));
            }
        };
        let key = judge.keys.get(row);
        match &self.kept {
            Kept::Node(node) => {
                if let Walk::Erasing(_, found) = &self.walk {
                    let found = found.lock();
                    let found = found.get(key).map_or(&[][..], Vec::as_slice);
                    found.iter().for_each(|(time, position)| look(*time, *position, false));
                }
                let all = (EventTime(i64::MIN), EventTime(i64::MAX));
                node.state.with(key, |timeline| {
                    timeline.rows(&node.layout, all.0, all.1, Position::MAX, &mut |entry| {
                        look(entry.time().0, entry.position().to_bits(), entry.predicate(VOID));
                    });
                })?;
            }
            Kept::Memory(claims) => {
                let claims = claims.lock();
                let claims = claims.get(key).map_or(&[][..], Vec::as_slice);
                claims.iter().for_each(|(time, position)| look(*time, *position, false));
            }
        }
        Ok(own.unwrap_or(Whose::Open(near)))
    }

    /// Takes the ids that the rows of a record have claimed, once all of them have their verdicts.
    pub fn take(&self, judge: &Judge) -> Result<()> {
        if matches!(self.walk, Walk::Again) || judge.claimed.is_empty() {
            return Ok(());
        }
        let mut rows: Vec<u32> = judge.claimed.iter().copied().collect();
        rows.sort_unstable();
        let place = |row: &u32| (judge.times[*row as usize], judge.positions[*row as usize]);
        let note = |found: &Mutex<ById>| {
            let mut found = found.lock();
            for row in &rows {
                found.entry(judge.keys.get(*row as usize).into()).or_default().push(place(row));
            }
        };
        match (&self.kept, &self.walk) {
            (_, Walk::Erasing(_, found)) => {
                note(found);
                Ok(())
            }
            (Kept::Node(node), _) => {
                let (times, positions): (Vec<_>, Vec<_>) = rows.iter().map(place).unzip();
                let entries = Batch {
                    times,
                    positions,
                    predicates: vec![BooleanBuffer::new_unset(rows.len())],
                    ..Batch::default()
                };
                node.write(&NodeRows::new(entries, judge.keys.pick(&rows)))
            }
            (Kept::Memory(claims), _) => {
                note(claims);
                Ok(())
            }
        }
    }
}

/// The rows of a record on their way to their verdicts.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub number: u64,
    pub record: &'a EventsRecord,
    pub times: &'a [i64],
}

impl Rows<'_> {
    fn position(&self, row: usize) -> Position {
        Position::new(self.number, self.record.row_number(row))
    }
}

/// What is known of the ids of a record's rows.
pub(crate) struct Judge {
    keys: Keys,
    times: Vec<i64>,
    positions: Vec<u64>,
    whose: Vec<Whose>,
    /// The rows of this record that have claimed their id.
    claimed: HashTable<u32>,
    within: Option<Span>,
    stamp: i64,
    known: KnownIds,
}

impl Judge {
    fn are_near(&self, one: i64, other: i64) -> bool {
        self.within.is_none_or(|within| one.abs_diff(other) < within.0.unsigned_abs())
    }

    /// The verdict on a row that is not late, which claims its id unless it is a duplicate: then the position of the
    /// event that counts, if that is known. Rows are asked for in order.
    pub fn duplicate_of(&mut self, row: usize) -> Option<Option<Position>> {
        if row > 0 {
            self.known.pass(self.stamp, self.within);
        }
        let near = match *self.whose.get(row)? {
            Whose::Own => {
                self.note(row);
                return None;
            }
            Whose::Others(of) => return Some(of),
            Whose::Open(near) => near,
        };
        let key = self.keys.get(row);
        let same = |other: &u32| {
            let other = *other as usize;
            self.keys.get(other) == key && self.are_near(self.times[other], self.times[row])
        };
        let place = |other: &u32| (self.times[*other as usize], self.positions[*other as usize]);
        let here = self.claimed.iter_hash(hash_key(key)).filter(|other| same(other)).map(place).max();
        match here.max(near).filter(|(time, _)| self.known.knows(*time)) {
            Some((_, position)) => Some(Some(Position::from_bits(position))),
            None => {
                self.claim(row);
                self.note(row);
                None
            }
        }
    }

    /// Claims the id of a row whose verdict is known: it counts.
    pub fn counts(&mut self, row: usize) {
        if self.whose.get(row).is_some_and(|whose| *whose != Whose::Own) {
            self.claim(row);
        }
    }

    fn claim(&mut self, row: usize) {
        let keys = &self.keys;
        let hash = hash_key(keys.get(row));
        self.claimed.insert_unique(hash, row as u32, |row| hash_key(keys.get(*row as usize)));
    }

    fn note(&mut self, row: usize) {
        self.known.newest = self.known.newest.max(self.times.get(row).copied());
    }

    /// What is known of ids after the record, whose newest event that counts was `newest` before any row was erased.
    pub fn known(&self, newest: Option<i64>) -> KnownIds {
        let mut known = self.known;
        known.newest = known.newest.max(newest);
        known.pass(self.stamp, self.within);
        known
    }
}

/// What an erasure makes of the claim of a row.
#[derive(Clone, Debug)]
pub(crate) struct Loss {
    /// The encoded id.
    pub id: Box<[u8]>,
    pub time: i64,
    /// The number of the row in the record as it was accepted.
    pub row: u32,
    pub fate: LossFate,
}

/// What becomes of a row whose id an erasure frees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LossFate {
    /// It goes, and its claim, if it has one.
    Goes,
    /// It goes, a duplicate. Until no restart comes to its record any more that is said, as of one that stays: what it
    /// is a duplicate of may have lost its claim before.
    DuplicateGoes,
    /// It stays, a duplicate of a row that goes.
    DuplicateStays,
}

/// Leaves void entries for the duplicates of a record. Before a claim is taken back this is done for all records: it may be
/// in the store while the erasure is not, and then no duplicate may count.
pub(crate) fn void(node: &Node, record: u64, losses: &[Loss]) -> Result<()> {
    let void: Vec<&Loss> = losses.iter().filter(|loss| loss.fate != LossFate::Goes).collect();
    if void.is_empty() {
        return Ok(());
    }
    let entries = Batch {
        times: void.iter().map(|loss| loss.time).collect(),
        positions: void.iter().map(|loss| Position::new(record, loss.row).to_bits()).collect(),
        predicates: vec![BooleanBuffer::new_set(void.len())],
        ..Batch::default()
    };
    node.write(&NodeRows::new(entries, void.iter().map(|loss| &*loss.id).collect()))
}

/// Takes claims back.
pub(crate) fn lose(node: &Node, record: u64, losses: &[Loss]) -> Result<()> {
    take_out(node, record, losses, LossFate::Goes)
}

/// Takes back the void entries of duplicates that went, once no restart comes to their record any more. True if there
/// were any.
pub(crate) fn forget_gone(node: &Node, record: u64, losses: &[Loss]) -> Result<bool> {
    take_out(node, record, losses, LossFate::DuplicateGoes)?;
    Ok(losses.iter().any(|loss| loss.fate == LossFate::DuplicateGoes))
}

fn take_out(node: &Node, record: u64, losses: &[Loss], fate: LossFate) -> Result<()> {
    for loss in losses.iter().filter(|loss| loss.fate == fate) {
        let position = Position::new(record, loss.row);
        let gone = |time: EventTime, at: Position| time.0 == loss.time && at == position;
        node.state.edit(&loss.id, Position::MAX, &mut |timeline| {
            timeline.remove(&node.layout, &gone);
        })?;
    }
    Ok(())
}
