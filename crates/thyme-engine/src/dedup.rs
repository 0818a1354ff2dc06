//! Dedup: of rows that repeat each other only the first is left.
//!
//! A row counts unless another one with the same values is before it, in the order of event time and position, by less
//! than a span. So whether it counts rests on the one row before it, and a row that comes or goes late changes the
//! verdict on one other row at most: the next. A dedup keeps the rows that reach it by the columns that are compared (its
//! `kept` node), which the applier alone writes, before it looks, so that what it finds as of a position is what the log
//! says there. A row whose verdict changes is a version that ends, or another that comes, at the position of the row
//! that changed it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::datatypes::{Field as ArrowField, Schema as ArrowSchema};
use thyme_core::definition::dedup::DedupDef;
use thyme_core::schema::Role;
use thyme_core::{DataType, Error, EventTime, Field, Position, Result, Span};
use thyme_timeline::{RowView, Timeline};

use crate::flow::{Flow, Places, Versions};
use crate::gather::Gather;
use crate::keys::encode_keys;
use crate::node::{Node, NodeId};
use crate::residence::Residence;

/// A compiled dedup and the rows that it keeps.
#[derive(Debug)]
pub(crate) struct Dedup {
    pub kept: Arc<Node>,
    /// By how much a row may be before one that repeats it; the input's retention is part of it.
    within: Option<Span>,
}

/// Event time and position, packed.
type Place = (i64, u64);

impl Dedup {
    /// The dedup that `def` says over `columns`, of which those that `read` names are needed later; `retention` is that
    /// of the input.
    pub fn compile(
        def: &DedupDef,
        kept: NodeId,
        (columns, read): (&[(String, DataType)], &BTreeSet<String>),
        retention: Option<Span>,
        residence: &Arc<Residence>,
    ) -> Result<Dedup> {
        let mut keys = Vec::new();
        for name in &def.by {
            let (_, data_type) = columns.iter().find(|(column, _)| column == name).ok_or_else(|| {
                Error::invalid_definition(format!("a dedup is by {name}, which is no column"))
            })?;
            keys.push(Field::new(name.clone(), *data_type, true, Role::Key));
        }
        let stored = columns.iter().filter(|(name, _)| read.contains(name));
        let stored = stored.map(|(name, data_type)| Field::new(name.clone(), *data_type, true, Role::Value));
        let kept = Node::keeping(kept, "kept by a dedup".to_owned(), keys, stored.collect(), residence);
        let within = match (def.within, retention) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Ok(Dedup { kept: Arc::new(kept), within })
    }

    /// By how much a row may be before one that repeats it.
    pub fn within(&self) -> Option<Span> {
        self.within
    }

    /// What becomes of rows, and of those that the verdict changes on because of them.
    pub fn apply(&self, mut flow: Flow) -> Result<Flow> {
        let keyed = flow.with_values(&self.kept.keys)?;
        let is_keyed = |row: usize| keyed.as_ref().is_none_or(|keyed| keyed.value(row));
        let (count, places) = (flow.len(), flow.places()?);
        let keys = encode_keys(&self.kept.keys, &flow.batch)?;
        // The last row of each key: behind it there is none whose verdict could change.
        let mut last: HashMap<&[u8], Place> = HashMap::new();
        for row in (0..count).filter(|row| is_keyed(*row)) {
            if !last.contains_key(keys.get(row)) {
                let newest = self.kept.state.with(keys.get(row), |kept| kept.newest())?.flatten();
                last.insert(keys.get(row), newest.map_or((i64::MIN, 0), |time| (time.0, u64::MAX)));
            }
        }
        let mut written = flow.clone();
        if let Some(keyed) = &keyed {
            written.keep(keyed)?;
        }
        if written.len() > 0 {
            self.kept.write(&self.kept.rows(&written)?)?;
        }
        let (mut counts, mut again) = (Vec::with_capacity(count), Again::new(self));
        for row in 0..count {
            if !is_keyed(row) {
                counts.push(true);
                continue;
            }
            let (key, place) = (keys.get(row), (places.times[row], places.positions[row]));
            let last = last.entry(key).or_insert(place);
            let is_last = *last < place;
            *last = place.max(*last);
            let counted = self.kept.state.with(key, |kept| {
                if !is_last {
                    again.follow(kept, place, at(&places, row));
                }
                self.counts(kept, place, places.as_of(row))
            })?;
            counts.push(counted == Some(true));
        }
        flow.keep(&BooleanArray::from(counts))?;
        match again.finish()? {
            Some(again) => flow.merge(again),
            None => Ok(flow),
        }
    }

    /// Whether no row before `place` is repeated by the one there, as of a position.
    fn counts(&self, kept: &Timeline, place: Place, as_of: Position) -> bool {
        let after = self.within.map_or(i64::MIN, |within| place.0.saturating_sub(within.0));
        let first = kept.next_row(&self.kept.layout, EventTime(after), as_of);
        first.is_none_or(|first| place_of(&first) >= place)
    }

    /// The first row behind `place`, as of a position.
    fn next<'t>(&'t self, kept: &'t Timeline, place: Place, as_of: Position) -> Option<RowView<'t>> {
        let (layout, time) = (&self.kept.layout, EventTime(place.0));
        let mut found = None;
        kept.rows(layout, EventTime(place.0.saturating_sub(1)), time, as_of, &mut |row| {
            if found.is_none() && place_of(&row) > place {
                found = Some(row);
            }
        });
        found.or_else(|| kept.next_row(layout, time, as_of))
    }
}

/// Where a row of a flow comes or goes.
fn at(places: &Places, row: usize) -> Position {
    let at = places.changes.as_ref().map_or(places.positions[row], |changes| changes.at[row]);
    Position::from_bits(at)
}

fn place_of(row: &RowView<'_>) -> Place {
    (row.time().0, row.position().to_bits())
}

/// Rows whose verdict changes.
struct Again<'a> {
    dedup: &'a Dedup,
    columns: Vec<Gather>,
    versions: Versions,
    /// Where a change was looked for, and of which row.
    seen: HashSet<(Position, u64)>,
}

impl<'a> Again<'a> {
    fn new(dedup: &'a Dedup) -> Self {
        let columns = dedup.kept.columns.iter().map(|field| Gather::new(field.data_type, 0)).collect();
        Again { dedup, columns, versions: Versions::default(), seen: HashSet::new() }
    }

    /// Looks at what is behind a row that came or went at `at`.
    fn follow(&mut self, kept: &Timeline, place: Place, at: Position) {
        let (dedup, before) = (self.dedup, Position::from_bits(at.to_bits() - 1));
        for as_of in [before, at] {
            let Some(next) = dedup.next(kept, place, as_of) else { continue };
            // One that comes or goes here itself is judged where it does.
            let stays = next.added() < at && dedup.is_there(kept, &next, [before, at]);
            if !stays || !self.seen.insert((at, next.position().to_bits())) {
                continue;
            }
            let place = place_of(&next);
            let (was, is) = (dedup.counts(kept, place, before), dedup.counts(kept, place, at));
            if was != is {
                self.push(&next, at, was);
            }
        }
    }

    fn push(&mut self, row: &RowView<'_>, at: Position, ends: bool) {
        self.columns.iter_mut().enumerate().for_each(|(index, column)| column.push(&row.value(index)));
        self.versions.times.push(row.time().0);
        self.versions.positions.push(row.position().to_bits());
        self.versions.at.push(at.to_bits());
        self.versions.ends.push(ends);
    }

    fn finish(mut self) -> Result<Option<Flow>> {
        if self.versions.at.is_empty() {
            return Ok(None);
        }
        let columns: Vec<_> = self.columns.iter_mut().map(Gather::finish).collect();
        let names = self.dedup.kept.columns.iter().map(|field| &field.name);
        let fields = names.zip(&columns).map(|(name, c)| ArrowField::new(name, c.data_type().clone(), true));
        let schema = Arc::new(ArrowSchema::new(fields.collect::<Vec<_>>()));
        let rows = arrow::array::RecordBatchOptions::new().with_row_count(Some(self.versions.at.len()));
        let batch = RecordBatch::try_new_with_options(schema, columns, &rows)?;
        Ok(Some(Flow::of_changes(batch, self.versions)))
    }
}

impl Dedup {
    /// Whether the very version `row` of an event is there as of all of these positions.
    fn is_there(&self, kept: &Timeline, row: &RowView<'_>, as_of: [Position; 2]) -> bool {
        let (time, place) = (row.time(), (row.position(), row.added()));
        as_of.into_iter().all(|as_of| {
            let mut found = false;
            kept.rows(&self.kept.layout, EventTime(time.0 - 1), time, as_of, &mut |other| {
                found |= (other.position(), other.added()) == place;
            });
            found
        })
    }
}
