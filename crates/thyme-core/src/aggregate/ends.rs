//! `FirstK` and `LastK`: the values of the earliest and of the latest rows by (event time, position), as a list.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::rank::Rank;
use super::{
    Absent, Aggregate, Call, Extent, Kind, Mask, Outcome, Parameter, Setting, Slice, State, Sweeper, list_of,
    mask_count, mask_rows,
};
use crate::error::Result;
use crate::value::{DataType, Scalar, Value};

/// `FirstK` or `LastK`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// `FirstK`: the oldest first.
    First,
    /// `LastK`: the newest first.
    Last,
}

/// The most values that are asked for.
pub(super) const K_MAX: i64 = 1000;

/// Chunks have summaries for so many values at most.
const SUMMARISED_MAX: usize = 16;

const PARAMETERS: &[Parameter] = &[
    Parameter { name: "k", kind: Kind::Int(1, K_MAX), absent: Absent::Required },
    Parameter { name: "dedup", kind: Kind::Flag, absent: Absent::Takes(Setting::Flag(false)) },
    Parameter { name: "dropnull", kind: Kind::Flag, absent: Absent::Takes(Setting::Flag(true)) },
];

impl Aggregate for Ends {
    fn name(&self) -> &'static str {
        match self {
            Ends::First => "first_k",
            Ends::Last => "last_k",
        }
    }

    fn needs_of(&self) -> bool {
        true
    }

    fn parameters(&self) -> &'static [Parameter] {
        PARAMETERS
    }

    fn output_type(&self, call: &Call) -> Result<DataType> {
        list_of(self, call)
    }

    fn empty(&self, output: DataType) -> Value {
        match output {
            DataType::List(item) => Value::List(item, [].into()),
            _ => Value::Null,
        }
    }

    fn is_summarised(&self, call: &Call) -> bool {
        Wanted::of(*self, call).k <= SUMMARISED_MAX
    }

    fn keeps_nulls(&self, call: &Call) -> bool {
        !call.settings.flag("dropnull")
    }

    fn state(&self, call: &Call) -> Box<dyn State> {
        Box::new(Listed { wanted: Wanted::of(*self, call), cells: VecDeque::new() })
    }

    fn sweeper(&self, call: &Call) -> Box<dyn Sweeper> {
        let wanted = Wanted::of(*self, call);
        if wanted.dedup {
            return Box::new(Distinct {
                wanted,
                rows: 0..0,
                places: BTreeMap::new(),
                order: BTreeMap::new(),
            });
        }
        Box::new(Window { wanted, rows: 0, cells: VecDeque::new() })
    }
}

/// A value, or null.
type Cell = Option<Rank>;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    ends: Ends,
    k: usize,
    dedup: bool,
    item: Scalar,
}

impl Wanted {
    fn of(ends: Ends, call: &Call) -> Wanted {
        Wanted {
            ends,
            k: call.settings.int("k").unwrap_or(1),
            dedup: call.settings.flag("dedup"),
            item: call.of.and_then(DataType::scalar).unwrap_or(Scalar::Int),
        }
    }

    fn cell(self, slice: &Slice<'_>, row: usize) -> Cell {
        let word = slice.words.get(row).filter(|_| !slice.is_null(row))?;
        Some(Rank::of(self.item.into(), *word, slice.heap))
    }

    /// The list of these, the wanted end first.
    fn list<'c>(self, cells: impl Iterator<Item = &'c Cell>) -> Outcome {
        let value = |cell: &Cell| cell.as_ref().map_or(Value::Null, |rank| rank.value(self.item.into()));
        Outcome::Value(Value::List(self.item, cells.take(self.k).map(value).collect()))
    }
}

/// The values at the wanted end, that end first.
#[derive(Clone, Debug)]
struct Listed {
    wanted: Wanted,
    cells: VecDeque<Cell>,
}

impl Listed {
    /// Adds cells behind those that there are, the wanted end first.
    fn extend(&mut self, cells: impl Iterator<Item = Cell>) {
        let mut room = self.wanted.k.saturating_sub(self.cells.len());
        if room == 0 {
            return;
        }
        if !self.wanted.dedup {
            self.cells.extend(cells.take(room));
            return;
        }
        let mut seen: BTreeSet<Cell> = self.cells.iter().cloned().collect();
        for cell in cells {
            if seen.insert(cell.clone()) {
                self.cells.push_back(cell);
                room -= 1;
                if room == 0 {
                    return;
                }
            }
        }
    }
}

impl State for Listed {
    fn absorb(&mut self, slice: &Slice<'_>, mask: &Mask) {
        let wanted = self.wanted;
        let cell = |row: usize| wanted.cell(slice, row);
        match wanted.ends {
            Ends::First => self.extend(mask_rows(mask).map(cell)),
            Ends::Last => {
                let rows: Vec<usize> = mask_rows(mask).collect();
                let earlier = std::mem::take(&mut self.cells);
                self.extend(rows.into_iter().rev().map(cell));
                self.extend(earlier.into_iter());
            }
        }
    }

    fn merge(&mut self, later: &dyn State) {
        let Some(later) = later.as_any().downcast_ref::<Self>() else { return };
        match self.wanted.ends {
            Ends::First => self.extend(later.cells.iter().cloned()),
            Ends::Last => {
                let earlier = std::mem::replace(&mut self.cells, later.cells.clone());
                self.extend(earlier.into_iter());
            }
        }
    }

    fn outcome(&self, _: &Extent) -> Outcome {
        if self.cells.is_empty() {
            return Outcome::Nothing;
        }
        self.wanted.list(self.cells.iter())
    }

    fn boxed_clone(&self) -> Box<dyn State> {
        Box::new(self.clone())
    }

    fn reset(&mut self) {
        self.cells = VecDeque::new();
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn bytes(&self) -> usize {
        let texts: usize = self.cells.iter().flatten().map(Rank::heap_bytes).sum();
        size_of_val(self) + self.cells.capacity() * size_of::<Cell>() + texts
    }
}

/// The rows of the window that the list may be made of, oldest first: all of them, of which the first become the list
/// when those before are evicted, or only the newest.
#[derive(Debug)]
struct Window {
    wanted: Wanted,
    rows: usize,
    cells: VecDeque<Cell>,
}

impl Sweeper for Window {
    fn push(&mut self, slice: &Slice<'_>, mask: &Mask) {
        self.rows += mask_count(mask);
        self.cells.extend(mask_rows(mask).map(|row| self.wanted.cell(slice, row)));
        if self.wanted.ends == Ends::Last {
            self.cells.drain(..self.cells.len().saturating_sub(self.wanted.k));
        }
    }

    fn evict(&mut self, _slice: &Slice<'_>, mask: &Mask) {
        self.rows = self.rows.saturating_sub(mask_count(mask));
        self.cells.drain(..self.cells.len().saturating_sub(self.rows));
    }

    fn outcome(&mut self, _: &Extent) -> Outcome {
        match self.wanted.ends {
            _ if self.rows == 0 => Outcome::Nothing,
            Ends::First => self.wanted.list(self.cells.iter()),
            Ends::Last => self.wanted.list(self.cells.iter().rev()),
        }
    }
}

/// Where in the window each value is, rows counted from the first that was ever pushed.
#[derive(Debug)]
struct Distinct {
    wanted: Wanted,
    rows: std::ops::Range<u64>,
    places: BTreeMap<Cell, VecDeque<u64>>,
    /// Each value by its oldest or its newest row.
    order: BTreeMap<u64, Cell>,
}

impl Sweeper for Distinct {
    fn push(&mut self, slice: &Slice<'_>, mask: &Mask) {
        for row in mask_rows(mask) {
            let (cell, place) = (self.wanted.cell(slice, row), self.rows.end);
            self.rows.end += 1;
            let places = self.places.entry(cell.clone()).or_default();
            let newest = places.back().copied();
            places.push_back(place);
            match (self.wanted.ends, newest) {
                (Ends::First, Some(_)) => {}
                (Ends::Last, Some(before)) => {
                    self.order.remove(&before);
                    self.order.insert(place, cell);
                }
                (_, None) => {
                    self.order.insert(place, cell);
                }
            }
        }
    }

    fn evict(&mut self, slice: &Slice<'_>, mask: &Mask) {
        for row in mask_rows(mask) {
            let (cell, place) = (self.wanted.cell(slice, row), self.rows.start);
            self.rows.start += 1;
            let Some(places) = self.places.get_mut(&cell) else { continue };
            places.pop_front();
            self.order.remove(&place);
            match (self.wanted.ends, places.front().copied()) {
                (_, None) => {
                    self.places.remove(&cell);
                }
                (Ends::First, Some(next)) => {
                    self.order.insert(next, cell);
                }
                (Ends::Last, Some(_)) => {}
            }
        }
    }

    fn outcome(&mut self, _: &Extent) -> Outcome {
        match self.wanted.ends {
            _ if self.order.is_empty() => Outcome::Nothing,
            Ends::First => self.wanted.list(self.order.values()),
            Ends::Last => self.wanted.list(self.order.values().rev()),
        }
    }
}
