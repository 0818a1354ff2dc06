//! `TopK` and `BottomK`: the values of the rows with the greatest and the least values, of their own column or of another.

use std::any::Any;
use std::cmp::{Ordering, Reverse};
use std::collections::BTreeSet;

use super::ends::K_MAX;
use super::rank::Rank;
use super::{
    Absent, Aggregate, Call, Extent, Kind, Mask, ORDERED, Outcome, Parameter, Slice, State, Sweeper, accept,
    accept_by, list_of, mask_rows,
};
use crate::error::Result;
use crate::value::{DataType, Scalar, Value};

/// `TopK` or `BottomK`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Best {
    /// `TopK`: the greatest first.
    Top,
    /// `BottomK`: the least first.
    Bottom,
}

/// Chunks have summaries for so many values at most.
const SUMMARISED_MAX: usize = 16;

const PARAMETERS: &[Parameter] = &[
    Parameter { name: "k", kind: Kind::Int(1, K_MAX), absent: Absent::Required },
    Parameter { name: "by", kind: Kind::Column, absent: Absent::Differs },
];

impl Aggregate for Best {
    fn name(&self) -> &'static str {
        match self {
            Best::Top => "top_k",
            Best::Bottom => "bottom_k",
        }
    }

    fn needs_of(&self) -> bool {
        true
    }

    fn parameters(&self) -> &'static [Parameter] {
        PARAMETERS
    }

    fn output_type(&self, call: &Call) -> Result<DataType> {
        match call.by {
            Some(_) => accept_by(self, call, "by", ORDERED)?,
            None => accept(self, call, ORDERED)?,
        };
        list_of(self, call)
    }

    fn empty(&self, _output: DataType) -> Value {
        Value::Null
    }

    fn is_summarised(&self, call: &Call) -> bool {
        call.settings.int("k").is_some_and(|k| k <= SUMMARISED_MAX)
    }

    fn state(&self, call: &Call) -> Box<dyn State> {
        Box::new(Found { wanted: Wanted::of(*self, call), entries: BTreeSet::new() })
    }

    fn sweeper(&self, call: &Call) -> Box<dyn Sweeper> {
        Box::new(Window { wanted: Wanted::of(*self, call), entries: BTreeSet::new() })
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    best: Best,
    k: usize,
    item: Scalar,
    by: Option<DataType>,
}

/// A row in its place: the wanted first, NaN behind all others, the later of equals first.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    best: Best,
    is_nan: bool,
    rank: Rank,
    newest: Reverse<(i64, u64)>,
    /// What is listed, if that is not what it is ranked by.
    value: Option<Rank>,
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        let ranks = match self.best {
            Best::Top => other.rank.cmp(&self.rank),
            Best::Bottom => self.rank.cmp(&other.rank),
        };
        self.is_nan.cmp(&other.is_nan).then(ranks).then(self.newest.cmp(&other.newest))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Wanted {
    fn of(best: Best, call: &Call) -> Wanted {
        Wanted {
            best,
            k: call.settings.int("k").unwrap_or(1),
            item: call.of.and_then(DataType::scalar).unwrap_or(Scalar::Int),
            by: call.by,
        }
    }

    fn entries(self, slice: &Slice<'_>, mask: &Mask) -> impl Iterator<Item = Entry> {
        mask_rows(mask).filter_map(move |row| {
            let value = Rank::of(self.item.into(), *slice.words.get(row)?, slice.heap);
            let (data_type, rank, value) = match self.by {
                None => (self.item.into(), value, None),
                Some(by) => (by, Rank::of(by, *slice.by.get(row)?, slice.heap), Some(value)),
            };
            let newest = Reverse((*slice.times.get(row)?, *slice.positions.get(row)?));
            Some(Entry { best: self.best, is_nan: rank.is_nan(data_type), rank, newest, value })
        })
    }

    fn list(self, entries: &BTreeSet<Entry>) -> Outcome {
        if entries.is_empty() {
            return Outcome::Nothing;
        }
        let value = |entry: &Entry| entry.value.as_ref().unwrap_or(&entry.rank).value(self.item.into());
        Outcome::Value(Value::List(self.item, entries.iter().take(self.k).map(value).collect()))
    }
}

/// The first `k`.
#[derive(Clone, Debug)]
struct Found {
    wanted: Wanted,
    entries: BTreeSet<Entry>,
}

impl Found {
    fn add(&mut self, entry: Entry) {
        if self.entries.len() < self.wanted.k {
            self.entries.insert(entry);
        } else if self.entries.last().is_some_and(|last| entry < *last) {
            self.entries.insert(entry);
            self.entries.pop_last();
        }
    }
}

impl State for Found {
    fn absorb(&mut self, slice: &Slice<'_>, mask: &Mask) {
        self.wanted.entries(slice, mask).for_each(|entry| self.add(entry));
    }

    fn merge(&mut self, later: &dyn State) {
        let Some(later) = later.as_any().downcast_ref::<Self>() else { return };
        later.entries.iter().for_each(|entry| self.add(entry.clone()));
    }

    fn outcome(&self, _: &Extent) -> Outcome {
        self.wanted.list(&self.entries)
    }

    fn boxed_clone(&self) -> Box<dyn State> {
        Box::new(self.clone())
    }

    fn reset(&mut self) {
        self.entries = BTreeSet::new();
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn bytes(&self) -> usize {
        let texts =
            |entry: &Entry| entry.rank.heap_bytes() + entry.value.as_ref().map_or(0, Rank::heap_bytes);
        // Nodes of the set are two thirds full.
        let entries = self.entries.len() * size_of::<Entry>() * 3 / 2;
        size_of_val(self) + entries + self.entries.iter().map(texts).sum::<usize>()
    }
}

/// All rows of the window.
#[derive(Debug)]
struct Window {
    wanted: Wanted,
    entries: BTreeSet<Entry>,
}

impl Sweeper for Window {
    fn push(&mut self, slice: &Slice<'_>, mask: &Mask) {
        self.entries.extend(self.wanted.entries(slice, mask));
    }

    fn evict(&mut self, slice: &Slice<'_>, mask: &Mask) {
        for entry in self.wanted.entries(slice, mask) {
            self.entries.remove(&entry);
        }
    }

    fn outcome(&mut self, _: &Extent) -> Outcome {
        self.wanted.list(&self.entries)
    }
}
