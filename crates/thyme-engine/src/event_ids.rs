//! Event ids: of the events of a dataset that have one id, the first that is not late counts, and the others
//! are duplicates of it.
//!
//! The one that counts has claimed the id: an entry with its event time and position in a timeline of the id. The
//! claims are a node of the dataset, which the applier alone writes, before anything else learns of the rows.
//! Whoever walks over the log later asks whose the claim is, so the answer is the one of the first time, whether
//! or not the walk saw the event that has it. An erasure that takes away the event that counts leaves *void*
//! entries for its duplicates: they stay what they are, and the id is free for events to come.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::BooleanBuffer;
use hashbrown::HashTable;
use parking_lot::Mutex;
use thyme_core::definition::Dataset;
use thyme_core::schema::Role;
use thyme_core::{EventTime, Field, Position, Result, Span};
use thyme_timeline::Batch;

use crate::catalog::{Catalog, LiveDataset};
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

/// For how long claims are kept, in event time: two events are the same if they are less than the retention apart,
/// and those that it has not passed may be compared with others as far behind them.
pub(crate) fn kept_for(definition: &Dataset) -> Option<Span> {
    definition.retention.map(|retention| Span(retention.0.saturating_mul(2)))
}

/// The event time after which it is known of all rows of a dataset which are duplicates; `None`: always.
pub(crate) fn known_from(live: &LiveDataset) -> Option<EventTime> {
    let removed = live.ids.as_ref().and_then(|node| node.removed_until())?;
    live.definition.retention.map(|retention| EventTime(removed.0.saturating_add(retention.0)))
}

/// Makes refused what would need rows whose duplicates are not known any more, because their claims are gone.
pub(crate) fn refuse_unknown(catalog: &Catalog) {
    for live in catalog.datasets.values() {
        let Some(known) = known_from(live) else { continue };
        for node in live.joined.iter().chain(catalog.fed_by(live.id)) {
            let mut from = known.0;
            for join in node.joins().filter(|join| node.input != live.id && join.right.input == live.id) {
                from = known.0.saturating_add(join.within().map_or(0, |within| within.0));
            }
            node.remove_until(EventTime(from));
        }
    }
}

/// Whose an id is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Nobodys,
    /// The row's own.
    Own,
    /// That of the event at this position; `None`: of one that was erased.
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
    is_first: bool,
}

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claims").field("is_first", &self.is_first).finish_non_exhaustive()
    }
}

impl Claims {
    /// For the walk that makes the claims.
    pub fn first(node: &Arc<Node>) -> Claims {
        Claims { kept: Kept::Node(node.clone()), is_first: true }
    }

    /// For a walk over records whose claims are made.
    pub fn again(node: &Arc<Node>) -> Claims {
        Claims { kept: Kept::Node(node.clone()), is_first: false }
    }

    /// For a walk from the log's first record on, where nobody keeps them.
    pub fn passing() -> Claims {
        Claims { kept: Kept::Memory(Mutex::default()), is_first: true }
    }

    /// Those of all datasets of a catalog, for a walk of which only the nodes of `fresh` know nothing yet.
    pub fn of(catalog: &Catalog, fresh: &[Arc<Node>]) -> HashMap<u32, Claims> {
        let is_fresh = |node: &Arc<Node>| fresh.iter().any(|fresh| fresh.id == node.id);
        let of = |node| if is_fresh(node) { Claims::first(node) } else { Claims::again(node) };
        let kept = catalog.datasets.values().filter_map(|live| Some((live.id, of(live.ids.as_ref()?))));
        kept.collect()
    }

    /// The rows of a record, before any of them has its verdict.
    pub fn judge(&self, rows: Rows<'_>, definition: &Dataset) -> Result<Option<Judge>> {
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
        };
        for row in 0..count {
            let whose = self.whose(&judge, row)?;
            judge.whose.push(whose);
        }
        Ok(Some(judge))
    }

    fn whose(&self, judge: &Judge, row: usize) -> Result<Whose> {
        let mut whose = Whose::Nobodys;
        let mut look = |time: i64, position: u64, is_void: bool| {
            if position == judge.positions[row] {
                whose = if is_void { Whose::Others(None) } else { Whose::Own };
            } else if !is_void
                && position < judge.positions[row]
                && whose == Whose::Nobodys
                && judge.are_near(time, judge.times[row])
            {
                whose = Whose::Others(Some(Position::from_bits(position)));
            }
        };
        let key = judge.keys.get(row);
        match &self.kept {
            Kept::Node(node) => {
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
        Ok(whose)
    }

    /// Takes the ids that the rows of a record have claimed, once all of them have their verdicts.
    pub fn take(&self, judge: &Judge) -> Result<()> {
        if !self.is_first || judge.claimed.is_empty() {
            return Ok(());
        }
        let mut rows: Vec<u32> = judge.claimed.iter().copied().collect();
        rows.sort_unstable();
        let place = |row: &u32| (judge.times[*row as usize], judge.positions[*row as usize]);
        match &self.kept {
            Kept::Node(node) => {
                let (times, positions): (Vec<_>, Vec<_>) = rows.iter().map(place).unzip();
                let entries = Batch {
                    times,
                    positions,
                    predicates: vec![BooleanBuffer::new_unset(rows.len())],
                    ..Batch::default()
                };
                node.write(&NodeRows::new(entries, judge.keys.pick(&rows)))
            }
            Kept::Memory(claims) => {
                let mut claims = claims.lock();
                for row in &rows {
                    claims.entry(judge.keys.get(*row as usize).into()).or_default().push(place(row));
                }
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
}

impl Judge {
    fn are_near(&self, one: i64, other: i64) -> bool {
        self.within.is_none_or(|within| one.abs_diff(other) < within.0.unsigned_abs())
    }

    /// The verdict on a row that is not late, which claims its id unless it is a duplicate: then the position of the
    /// event that counts, if that is known. Rows are asked for in order.
    pub fn duplicate_of(&mut self, row: usize) -> Option<Option<Position>> {
        match self.whose.get(row)? {
            Whose::Own => None,
            Whose::Others(of) => Some(*of),
            Whose::Nobodys => {
                let key = self.keys.get(row);
                let hash = hash_key(key);
                let same = |other: &&u32| {
                    let other = **other as usize;
                    self.keys.get(other) == key && self.are_near(self.times[other], self.times[row])
                };
                if let Some(other) = self.claimed.iter_hash(hash).find(same) {
                    return Some(Some(Position::from_bits(self.positions[*other as usize])));
                }
                let keys = &self.keys;
                self.claimed.insert_unique(hash, row as u32, |row| hash_key(keys.get(*row as usize)));
                None
            }
        }
    }

    /// Claims the id of a row whose verdict is known: it counts.
    pub fn counts(&mut self, row: usize) {
        if self.whose.get(row).is_some_and(|whose| *whose != Whose::Own) {
            let keys = &self.keys;
            let hash = hash_key(keys.get(row));
            self.claimed.insert_unique(hash, row as u32, |row| hash_key(keys.get(*row as usize)));
        }
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
    /// It stays, a duplicate of a row that goes.
    pub stays: bool,
}

/// Takes claims back, and leaves void entries for the duplicates that stay.
pub(crate) fn lose(node: &Node, record: u64, losses: &[Loss]) -> Result<()> {
    for loss in losses.iter().filter(|loss| !loss.stays) {
        let position = Position::new(record, loss.row);
        let gone = |time: EventTime, at: Position| time.0 == loss.time && at == position;
        node.state.edit(&loss.id, Position::MAX, &mut |timeline| {
            timeline.remove(&node.layout, &gone);
        })?;
    }
    let stay: Vec<&Loss> = losses.iter().filter(|loss| loss.stays).collect();
    if stay.is_empty() {
        return Ok(());
    }
    let entries = Batch {
        times: stay.iter().map(|loss| loss.time).collect(),
        positions: stay.iter().map(|loss| Position::new(record, loss.row).to_bits()).collect(),
        predicates: vec![BooleanBuffer::new_set(stay.len())],
        ..Batch::default()
    };
    node.write(&NodeRows::new(entries, stay.iter().map(|loss| &*loss.id).collect()))
}
