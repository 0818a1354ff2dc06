//! Rules that judge rows by those that came before. What they know of these is in memory and bounded; a restart begins
//! with nothing.

use std::collections::{BTreeMap, HashMap};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};

use super::{Kind, Tally};
use crate::time::Span;

/// How many values [`Kind::UniqueWithin`] knows; then those that came longest ago are forgotten.
pub const VALUES_MAX: usize = 1 << 20;
/// How many stretches of time [`Kind::RowsPer`] has open; then the earliest is closed.
pub const BUCKETS_MAX: usize = 10_000;

/// What is known of the rows so far.
#[derive(Clone, Debug)]
pub enum StreamRule {
    /// Of [`Kind::UniqueWithin`].
    Unique(Unique),
    /// Of [`Kind::RowsPer`].
    Rows(Buckets),
}

impl StreamRule {
    pub(super) fn of(kind: &Kind, column: Option<usize>) -> Option<StreamRule> {
        match kind {
            Kind::UniqueWithin { within, .. } => Some(StreamRule::Unique(Unique {
                column: column?,
                within: *within,
                times: HashMap::new(),
                newest: i64::MIN,
                swept: i64::MIN,
            })),
            Kind::RowsPer { every, min, max } => Some(StreamRule::Rows(Buckets {
                every: every.0.max(1),
                min: min.unwrap_or(0),
                max: max.unwrap_or(u64::MAX),
                open: BTreeMap::new(),
                closed: None,
            })),
            _ => None,
        }
    }

    /// Takes rows, those of them that are `kept`; gives what was judged and by index the rows that broke it. `until` is
    /// the largest event time of the stream: stretches of time that end before it are complete.
    pub fn take(
        &mut self,
        batch: &RecordBatch,
        times: &[i64],
        kept: Option<&BooleanBuffer>,
        until: i64,
    ) -> (Tally, Vec<u32>) {
        let rows = (0..times.len()).filter(|row| kept.is_none_or(|kept| kept.value(*row)));
        match self {
            StreamRule::Unique(unique) => unique.take(batch, times, rows),
            StreamRule::Rows(buckets) => (buckets.take(times, rows, until), Vec::new()),
        }
    }
}

/// When each value came last.
#[derive(Clone, Debug)]
pub struct Unique {
    column: usize,
    within: Span,
    /// Event times by the value's bytes, those that are near the newest.
    times: HashMap<Box<[u8]>, Vec<i64>>,
    newest: i64,
    swept: i64,
}

impl Unique {
    fn take(
        &mut self,
        batch: &RecordBatch,
        times: &[i64],
        rows: impl Iterator<Item = usize>,
    ) -> (Tally, Vec<u32>) {
        let Some(column) = batch.columns().get(self.column) else { return (Tally::default(), Vec::new()) };
        let (mut checked, mut broken) = (0, Vec::new());
        for row in rows.filter(|row| column.is_valid(*row)) {
            checked += 1;
            let time = times[row];
            self.newest = self.newest.max(time);
            let seen = self.times.entry(bytes(column, row)).or_default();
            if seen.iter().any(|other| other.abs_diff(time) < self.within.0.unsigned_abs()) {
                broken.push(row as u32);
            }
            seen.push(time);
        }
        self.forget();
        (Tally { checked, violated: broken.len() as u64 }, broken)
    }

    /// Forgets what is twice as far behind the newest as it must be, so that rows out of order still find each other.
    fn forget(&mut self) {
        let reach = self.within.0.saturating_mul(2);
        let mut until = self.newest.saturating_sub(reach);
        if self.times.len() <= VALUES_MAX && until.saturating_sub(self.swept) < self.within.0 {
            return;
        }
        loop {
            self.times.retain(|_, times| {
                times.retain(|time| *time > until);
                !times.is_empty()
            });
            self.swept = until;
            if self.times.len() <= VALUES_MAX {
                return;
            }
            until = until.midpoint(self.newest);
            if until >= self.newest - 1 {
                return self.times.clear();
            }
        }
    }
}

fn bytes(column: &ArrayRef, row: usize) -> Box<[u8]> {
    use arrow::datatypes::DataType as A;
    match column.data_type() {
        A::Int64 => column.as_primitive::<Int64Type>().value(row).to_le_bytes().into(),
        A::Float64 => column.as_primitive::<Float64Type>().value(row).to_bits().to_le_bytes().into(),
        A::Timestamp(..) => column.as_primitive::<TimestampMicrosecondType>().value(row).to_le_bytes().into(),
        A::Boolean => [u8::from(column.as_boolean().value(row))].into(),
        A::Utf8 => column.as_string::<i32>().value(row).as_bytes().into(),
        _ => arrow::util::display::array_value_to_string(column, row).unwrap_or_default().into_bytes().into(),
    }
}

/// How many rows each stretch of time has.
#[derive(Clone, Debug)]
pub struct Buckets {
    every: i64,
    min: u64,
    max: u64,
    /// By number of the stretch since the epoch.
    open: BTreeMap<i64, u64>,
    /// The last that is judged.
    closed: Option<i64>,
}

impl Buckets {
    fn take(&mut self, times: &[i64], rows: impl Iterator<Item = usize>, until: i64) -> Tally {
        for row in rows {
            let bucket = times[row].div_euclid(self.every);
            if self.closed.is_none_or(|closed| bucket > closed) {
                *self.open.entry(bucket).or_default() += 1;
            }
        }
        let mut tally = Tally::default();
        let complete = until.div_euclid(self.every);
        while let Some((&bucket, &rows)) = self.open.first_key_value() {
            if bucket >= complete && self.open.len() <= BUCKETS_MAX {
                break;
            }
            self.open.pop_first();
            tally.add(self.empty_until(bucket));
            let is_broken = rows < self.min || rows > self.max;
            tally.add(Tally { checked: 1, violated: u64::from(is_broken) });
            self.closed = Some(bucket);
        }
        let end = self.open.first_key_value().map_or(complete, |(bucket, _)| complete.min(*bucket));
        if self.closed.is_some_and(|closed| closed < end - 1) {
            tally.add(self.empty_until(end));
            self.closed = Some(end - 1);
        }
        tally
    }

    /// The stretches without rows between the last that was judged and this one.
    fn empty_until(&self, bucket: i64) -> Tally {
        let between = self.closed.map_or(0, |closed| bucket.saturating_sub(closed).saturating_sub(1).max(0));
        let checked = between.unsigned_abs();
        Tally { checked, violated: if self.min > 0 { checked } else { 0 } }
    }
}
