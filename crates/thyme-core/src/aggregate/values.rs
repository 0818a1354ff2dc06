//! `Distinct` and `MostFrequent`: lists of the values that there are.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::ends::K_MAX;
use super::rank::Rank;
use super::tally::{Tallied, Tally, Way};
use super::{
    Absent, Aggregate, Call, Extent, Kind, Mask, Outcome, Parameter, Setting, Slice, State, Sweeper, list_of,
    mask_rows,
};
use crate::error::Result;
use crate::value::{DataType, ITEMS_MAX, Scalar, Value};

/// `Distinct` or `MostFrequent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Values {
    /// `Distinct`: in their order.
    Distinct,
    /// `MostFrequent`: the most frequent first.
    MostFrequent,
}

const DISTINCT: &[Parameter] = &[Parameter {
    name: "limit",
    kind: Kind::Int(1, ITEMS_MAX as i64),
    absent: Absent::Takes(Setting::Int(1000)),
}];

const MOST_FREQUENT: &[Parameter] =
    &[Parameter { name: "k", kind: Kind::Int(1, K_MAX), absent: Absent::Required }];

impl Aggregate for Values {
    fn name(&self) -> &'static str {
        match self {
            Values::Distinct => "distinct",
            Values::MostFrequent => "most_frequent",
        }
    }

    fn needs_of(&self) -> bool {
        true
    }

    fn parameters(&self) -> &'static [Parameter] {
        match self {
            Values::Distinct => DISTINCT,
            Values::MostFrequent => MOST_FREQUENT,
        }
    }

    fn output_type(&self, call: &Call) -> Result<DataType> {
        list_of(self, call)
    }

    fn empty(&self, _output: DataType) -> Value {
        Value::Null
    }

    /// They would be as large as the rows.
    fn is_summarised(&self, _call: &Call) -> bool {
        false
    }

    fn state(&self, call: &Call) -> Box<dyn State> {
        Box::new(Tallied(Counts::of(*self, call)))
    }

    fn sweeper(&self, call: &Call) -> Box<dyn Sweeper> {
        Box::new(Tallied(Counts::of(*self, call)))
    }
}

/// How often each value is there.
#[derive(Clone, Debug)]
struct Counts {
    values: Values,
    /// How many are listed.
    most: usize,
    item: Scalar,
    counts: BTreeMap<Rank, u64>,
}

impl Counts {
    fn of(values: Values, call: &Call) -> Counts {
        let most = call.settings.int("limit").or(call.settings.int("k")).unwrap_or(1);
        let item = call.of.and_then(DataType::scalar).unwrap_or(Scalar::Int);
        Counts { values, most, item, counts: BTreeMap::new() }
    }

    fn remove(&mut self, rank: &Rank) {
        let Some(count) = self.counts.get_mut(rank) else { return };
        *count -= 1;
        if *count == 0 {
            self.counts.remove(rank);
        }
    }
}

impl Tally for Counts {
    fn fresh(&self) -> Self {
        Counts { counts: BTreeMap::new(), ..*self }
    }

    fn take(&mut self, slice: &Slice<'_>, mask: &Mask, way: Way) {
        for word in mask_rows(mask).filter_map(|row| slice.words.get(row)) {
            let rank = Rank::of(self.item.into(), *word, slice.heap);
            match way {
                Way::In => *self.counts.entry(rank).or_default() += 1,
                Way::Out => self.remove(&rank),
            }
        }
    }

    fn merge(&mut self, later: &Self) {
        for (rank, count) in &later.counts {
            *self.counts.entry(rank.clone()).or_default() += count;
        }
    }

    fn outcome(&self, _: &Extent) -> Outcome {
        if self.counts.is_empty() {
            return Outcome::Nothing;
        }
        let value = |rank: &Rank| rank.value(self.item.into());
        let items = match self.values {
            Values::Distinct => self.counts.keys().take(self.most).map(value).collect(),
            Values::MostFrequent => {
                let mut ranked: Vec<_> = self.counts.iter().map(|(rank, n)| (Reverse(*n), rank)).collect();
                if ranked.len() > self.most {
                    ranked.select_nth_unstable(self.most);
                    ranked.truncate(self.most);
                }
                ranked.sort_unstable();
                ranked.into_iter().map(|(_, rank)| value(rank)).collect()
            }
        };
        Outcome::Value(Value::List(self.item, items))
    }

    fn heap_bytes(&self) -> usize {
        // Nodes of the map are two thirds full.
        let each = |rank: &Rank| (size_of::<Rank>() + size_of::<u64>()) * 3 / 2 + rank.heap_bytes();
        self.counts.keys().map(each).sum()
    }
}
