//! `CountBy`, `SumBy` and `AvgBy`: counts, sums and means of each category, as a map.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::decimal::{self, Wide};
use super::rank::Rank;
use super::tally::{Tallied, Tally, Way};
use super::total::Amount;
use super::{
    Absent, Aggregate, Call, ExactSum, Extent, Kind, Mask, NUMBERS, Outcome, Parameter, Setting, Slice,
    State, Sweeper, accept, accept_by, avg, mask_rows, sum, word_text,
};
use crate::error::{Error, Result};
use crate::value::{DataType, ITEMS_MAX, Scalar, Value};

/// `CountBy`, `SumBy` or `AvgBy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grouped {
    /// `CountBy`.
    Count,
    /// `SumBy`.
    Sum,
    /// `AvgBy`.
    Avg,
}

const PARAMETERS: &[Parameter] = &[
    Parameter { name: "key_column", kind: Kind::Column, absent: Absent::Required },
    Parameter {
        name: "limit",
        kind: Kind::Int(1, ITEMS_MAX as i64),
        absent: Absent::Takes(Setting::Int(1000)),
    },
];

/// What categories are named by.
const KEYS: &[DataType] = &[DataType::Str, DataType::Int, DataType::Bool];

impl Aggregate for Grouped {
    fn name(&self) -> &'static str {
        match self {
            Grouped::Count => "count_by",
            Grouped::Sum => "sum_by",
            Grouped::Avg => "avg_by",
        }
    }

    fn needs_of(&self) -> bool {
        *self != Grouped::Count
    }

    fn parameters(&self) -> &'static [Parameter] {
        PARAMETERS
    }

    fn output_type(&self, call: &Call) -> Result<DataType> {
        accept_by(self, call, "key_column", KEYS)?;
        let item = match self {
            Grouped::Count => DataType::Int,
            Grouped::Sum => accept(self, call, NUMBERS)?,
            Grouped::Avg => accept(self, call, NUMBERS).map(|_| DataType::Float)?,
        };
        let item = item.scalar().ok_or_else(|| Error::internal(format!("a map cannot hold {item}")))?;
        Ok(DataType::Map(item))
    }

    fn empty(&self, _output: DataType) -> Value {
        Value::Null
    }

    /// They would be as large as the rows.
    fn is_summarised(&self, _call: &Call) -> bool {
        false
    }

    fn state(&self, call: &Call) -> Box<dyn State> {
        Box::new(Tallied(Groups::of(*self, call)))
    }

    fn sweeper(&self, call: &Call) -> Box<dyn Sweeper> {
        Box::new(Tallied(Groups::of(*self, call)))
    }
}

/// What is added up in a category.
#[derive(Clone, Debug)]
enum Part {
    Rows,
    Number(Amount),
    Decimal(u8, Wide),
}

impl Part {
    fn take(&mut self, word: u64, heap: &[u8], way: Way) {
        match self {
            Part::Rows => {}
            Part::Number(Amount::Int(total)) => match way {
                Way::In => *total += i128::from(word as i64),
                Way::Out => *total -= i128::from(word as i64),
            },
            Part::Number(Amount::Float(total)) => match way {
                Way::In => total.add(f64::from_bits(word)),
                Way::Out => total.subtract(f64::from_bits(word)),
            },
            Part::Decimal(_, total) => {
                let Ok(bytes) = word_text(word, heap).try_into() else { return };
                match way {
                    Way::In => total.add(i128::from_le_bytes(bytes)),
                    Way::Out => total.subtract(i128::from_le_bytes(bytes)),
                }
            }
        }
    }

    fn merge(&mut self, later: &Part) {
        match (self, later) {
            (Part::Number(Amount::Int(total)), Part::Number(Amount::Int(more))) => *total += more,
            (Part::Number(Amount::Float(total)), Part::Number(Amount::Float(more))) => total.merge(more),
            (Part::Decimal(_, total), Part::Decimal(_, more)) => total.merge(more),
            _ => {}
        }
    }
}

/// The rows of a category.
#[derive(Clone, Debug)]
struct Group {
    rows: u64,
    /// The time and the position of the newest.
    newest: (i64, u64),
    part: Part,
}

/// The categories of the rows.
#[derive(Clone, Debug)]
struct Groups {
    grouped: Grouped,
    limit: usize,
    of: Option<DataType>,
    key_type: DataType,
    item: Scalar,
    groups: BTreeMap<Rank, Group>,
}

impl Groups {
    fn of(grouped: Grouped, call: &Call) -> Groups {
        let item = match grouped {
            Grouped::Count => Scalar::Int,
            Grouped::Sum => call.of.and_then(DataType::scalar).unwrap_or(Scalar::Int),
            Grouped::Avg => Scalar::Float,
        };
        let limit = call.settings.int("limit").unwrap_or(1);
        let key_type = call.by.unwrap_or(DataType::Str);
        Groups { grouped, limit, of: call.of, key_type, item, groups: BTreeMap::new() }
    }

    fn part(&self) -> Part {
        match (self.grouped, self.of) {
            (Grouped::Count, _) => Part::Rows,
            (_, Some(DataType::Decimal(scale))) => Part::Decimal(scale, Wide::default()),
            (_, Some(DataType::Float)) => Part::Number(Amount::Float(ExactSum::default())),
            _ => Part::Number(Amount::Int(0)),
        }
    }

    fn value(&self, group: &Group) -> Outcome {
        match (self.grouped, &group.part) {
            (Grouped::Sum, Part::Number(amount)) => sum::finish(amount, group.rows),
            (Grouped::Sum, Part::Decimal(scale, total)) => decimal::sum(*total, group.rows, *scale),
            (Grouped::Avg, Part::Number(amount)) => avg::finish(amount, group.rows),
            (Grouped::Avg, Part::Decimal(scale, total)) => decimal::avg(*total, group.rows, *scale),
            _ => Outcome::Value(Value::Int(group.rows as i64)),
        }
    }
}

/// What a category is called in the map.
fn called(key_type: DataType, key: &Rank) -> Arc<str> {
    match key.value(key_type) {
        Value::Str(text) => text,
        other => other.to_string().into(),
    }
}

impl Tally for Groups {
    fn fresh(&self) -> Self {
        Groups { groups: BTreeMap::new(), ..*self }
    }

    fn take(&mut self, slice: &Slice<'_>, mask: &Mask, way: Way) {
        for row in mask_rows(mask) {
            let (Some(time), Some(position)) = (slice.times.get(row), slice.positions.get(row)) else {
                return;
            };
            let Some(key) = slice.by.get(row).map(|word| Rank::of(self.key_type, *word, slice.heap)) else {
                return;
            };
            let word = slice.words.get(row).copied().unwrap_or_default();
            if way == Way::Out {
                let Some(group) = self.groups.get_mut(&key) else { continue };
                group.rows = group.rows.saturating_sub(1);
                if group.rows == 0 {
                    self.groups.remove(&key);
                } else {
                    group.part.take(word, slice.heap, way);
                }
                continue;
            }
            let part = self.part();
            let group = self.groups.entry(key).or_insert(Group { rows: 0, newest: (*time, *position), part });
            group.rows += 1;
            group.newest = group.newest.max((*time, *position));
            group.part.take(word, slice.heap, way);
        }
    }

    fn merge(&mut self, later: &Self) {
        for (key, more) in &later.groups {
            match self.groups.get_mut(key) {
                None => {
                    self.groups.insert(key.clone(), more.clone());
                }
                Some(group) => {
                    group.rows += more.rows;
                    group.newest = group.newest.max(more.newest);
                    group.part.merge(&more.part);
                }
            }
        }
    }

    fn outcome(&self, _: &Extent) -> Outcome {
        if self.groups.is_empty() {
            return Outcome::Nothing;
        }
        let dropped = self.groups.len().saturating_sub(self.limit);
        let mut kept: Vec<(&Rank, &Group)> = self.groups.iter().collect();
        if dropped > 0 {
            kept.sort_unstable_by_key(|(_, group)| Reverse(group.newest));
            kept.truncate(self.limit);
        }
        let mut entries = Vec::with_capacity(kept.len());
        for (key, group) in kept {
            match self.value(group) {
                Outcome::Value(value) => entries.push((called(self.key_type, key), value)),
                other => return other,
            }
        }
        let map = Value::map(self.item, entries);
        if dropped > 0 { Outcome::Cut(map, dropped as u64) } else { Outcome::Value(map) }
    }

    fn heap_bytes(&self) -> usize {
        // Nodes of the map are two thirds full.
        let each = |key: &Rank| (size_of::<Rank>() + size_of::<Group>()) * 3 / 2 + key.heap_bytes();
        self.groups.keys().map(each).sum()
    }
}
