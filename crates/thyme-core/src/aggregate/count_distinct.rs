//! `CountDistinct`: exact up to [`EXACT_MAX`] values, then HyperLogLog; exact always if asked.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};

use super::hyper_log_log::{Sketch, SlidingSketch, hash};
use super::member::{Member, members};
use super::{
    Absent, Aggregate, Call, Extent, Kind, Mask, Outcome, Parameter, SCALARS, Setting, Slice, State, Sweeper,
    accept,
};
use crate::error::Result;
use crate::value::{DataType, Value};

/// `CountDistinct`.
#[derive(Debug)]
pub(super) struct CountDistinct;

/// Up to so many values are counted exactly.
const EXACT_MAX: usize = 1024;

const PARAMETERS: &[Parameter] =
    &[Parameter { name: "exact", kind: Kind::Flag, absent: Absent::Takes(Setting::Flag(false)) }];

impl Aggregate for CountDistinct {
    fn name(&self) -> &'static str {
        "count_distinct"
    }

    fn needs_of(&self) -> bool {
        true
    }

    fn parameters(&self) -> &'static [Parameter] {
        PARAMETERS
    }

    fn output_type(&self, call: &Call) -> Result<DataType> {
        accept(self, call, SCALARS)?;
        Ok(DataType::Int)
    }

    fn empty(&self, _output: DataType) -> Value {
        Value::Int(0)
    }

    /// Exact sets would be as large as the rows.
    fn is_summarised(&self, call: &Call) -> bool {
        exact_max(call) == EXACT_MAX
    }

    fn state(&self, call: &Call) -> Box<dyn State> {
        Box::new(Seen { exact_max: exact_max(call), members: BTreeSet::new(), sketch: None })
    }

    fn sweeper(&self, call: &Call) -> Box<dyn Sweeper> {
        Box::new(Present { exact_max: exact_max(call), members: BTreeMap::new(), sketch: None })
    }
}

fn exact_max(call: &Call) -> usize {
    if call.settings.flag("exact") { usize::MAX } else { EXACT_MAX }
}

fn exact(count: usize) -> Outcome {
    i64::try_from(count).map_or(Outcome::Overflow, |count| Outcome::Value(Value::Int(count)))
}

/// A set that is sketched has more values than are counted exactly, whatever the estimate says.
fn estimated(estimate: f64) -> Outcome {
    Outcome::Value(Value::Int((estimate.round() as i64).max(EXACT_MAX as i64 + 1)))
}

fn hash_of(member: &Member) -> u64 {
    member.with_bytes(hash)
}

/// The values that there were.
#[derive(Clone, Debug)]
struct Seen {
    exact_max: usize,
    /// Empty once there is a sketch.
    members: BTreeSet<Member>,
    sketch: Option<Sketch>,
}

impl Seen {
    fn add(&mut self, member: Member) {
        if let Some(sketch) = &mut self.sketch {
            sketch.add(hash_of(&member));
            return;
        }
        self.members.insert(member);
        if self.members.len() > self.exact_max {
            self.sketched();
        }
    }

    fn sketched(&mut self) -> &mut Sketch {
        let members = std::mem::take(&mut self.members);
        let sketch = self.sketch.get_or_insert_default();
        members.iter().for_each(|member| sketch.add(hash_of(member)));
        sketch
    }
}

impl State for Seen {
    fn absorb(&mut self, slice: &Slice<'_>, mask: &Mask) {
        members(slice, mask).for_each(|member| self.add(member));
    }

    fn merge(&mut self, later: &dyn State) {
        let Some(later) = later.as_any().downcast_ref::<Self>() else { return };
        match &later.sketch {
            Some(more) => self.sketched().merge(more),
            None => later.members.iter().for_each(|member| self.add(member.clone())),
        }
    }

    fn outcome(&self, _: &Extent) -> Outcome {
        match (&self.sketch, self.members.len()) {
            (Some(sketch), _) => estimated(sketch.estimate()),
            (None, 0) => Outcome::Nothing,
            (None, count) => exact(count),
        }
    }

    fn boxed_clone(&self) -> Box<dyn State> {
        Box::new(self.clone())
    }

    fn reset(&mut self) {
        (self.members, self.sketch) = (BTreeSet::new(), None);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn bytes(&self) -> usize {
        // Nodes of the set are two thirds full.
        let members: usize = self.members.iter().map(|m| size_of::<Member>() * 3 / 2 + m.heap_bytes()).sum();
        size_of_val(self) + members + self.sketch.as_ref().map_or(0, Sketch::heap_bytes)
    }
}

/// The values of the window, and how often each is there.
#[derive(Debug)]
struct Present {
    exact_max: usize,
    members: BTreeMap<Member, u64>,
    /// Kept while there are more values than are counted exactly.
    sketch: Option<SlidingSketch>,
}

impl Sweeper for Present {
    fn push(&mut self, slice: &Slice<'_>, mask: &Mask) {
        for member in members(slice, mask) {
            let hash = self.sketch.is_some().then(|| hash_of(&member));
            let count = self.members.entry(member).or_default();
            *count += 1;
            if let (1, Some(sketch), Some(hash)) = (*count, &mut self.sketch, hash) {
                sketch.add(hash);
            }
        }
    }

    fn evict(&mut self, slice: &Slice<'_>, mask: &Mask) {
        for member in members(slice, mask) {
            let Some(count) = self.members.get_mut(&member) else { continue };
            *count -= 1;
            if *count == 0 {
                self.members.remove(&member);
                if let Some(sketch) = &mut self.sketch {
                    sketch.remove(hash_of(&member));
                }
            }
        }
    }

    fn outcome(&mut self, _: &Extent) -> Outcome {
        match self.members.len() {
            0 => Outcome::Nothing,
            count if count <= self.exact_max => {
                self.sketch = None;
                exact(count)
            }
            _ => {
                let members = &self.members;
                let sketch = self.sketch.get_or_insert_with(|| {
                    let mut sketch = SlidingSketch::default();
                    members.keys().for_each(|member| sketch.add(hash_of(member)));
                    sketch
                });
                estimated(sketch.estimate())
            }
        }
    }
}
