//! What is known of a value beside the value itself: how it came about, and how fresh it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, StringArray, TimestampMicrosecondArray};
use thyme_core::EventTime;

/// What a caller gets beside the values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    /// Nothing.
    #[default]
    Values,
    /// The [`Facts`] of each feature. What one feature fails with is then said of that feature, and the others are
    /// answered.
    Facts,
}

/// How a value came about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// As its definition says.
    #[default]
    Ok,
    /// There was none, and the feature's default stands for it.
    Default,
    /// There is none: it is null, or it is what an entity without any event has.
    Missing,
    /// Its newest event is older than the feature allows.
    Stale,
    /// Its definition is committed and not live yet.
    Incomplete,
    /// It could not be computed.
    Error,
}

impl Status {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Status::Ok => "OK",
            Status::Default => "DEFAULT",
            Status::Missing => "MISSING",
            Status::Stale => "STALE",
            Status::Incomplete => "INCOMPLETE",
            Status::Error => "ERROR",
        }
    }
}

/// What is known of the values of one feature, row by row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// How each came about.
    pub status: Vec<Status>,
    /// The event time of the newest event behind each; of what is computed of several values, the newest of theirs.
    pub newest: Vec<Option<EventTime>>,
    /// By row, why there is no value.
    pub errors: BTreeMap<usize, String>,
    /// The version of what gives the value: of the dataset that is read, or of the extractor.
    pub version: Option<u32>,
}

impl Facts {
    /// Of `rows` values that nobody has looked at.
    pub(crate) fn of(rows: usize, version: Option<u32>) -> Facts {
        Facts { status: vec![Status::Ok; rows], newest: vec![None; rows], errors: BTreeMap::new(), version }
    }

    /// Notes that a row has no value, and why.
    pub(crate) fn fail(&mut self, row: usize, why: String) {
        self.status[row] = Status::Error;
        self.errors.insert(row, why);
    }

    /// How old the newest event behind a value is at `time`, in microseconds.
    pub fn age_us(&self, row: usize, time: EventTime) -> Option<i64> {
        self.newest.get(row).copied().flatten().map(|newest| time.0.saturating_sub(newest.0))
    }

    /// As columns, beside those of the values: `name.status`, `name.newest`, `name.age_s`, `name.error`. No feature
    /// has a name with a dot.
    pub fn columns(&self, name: &str, times: &[EventTime]) -> Vec<(String, ArrayRef)> {
        let status = StringArray::from_iter_values(self.status.iter().map(|status| status.word()));
        let newest: TimestampMicrosecondArray =
            self.newest.iter().map(|newest| newest.map(|time| time.0)).collect();
        let age = |row: usize| times.get(row).and_then(|time| self.age_us(row, *time)).map(seconds);
        let ages: Float64Array = (0..self.status.len()).map(age).collect();
        let errors: StringArray = (0..self.status.len()).map(|row| self.errors.get(&row)).collect();
        vec![
            (format!("{name}.status"), Arc::new(status)),
            (format!("{name}.newest"), Arc::new(newest.with_timezone("UTC"))),
            (format!("{name}.age_s"), Arc::new(ages)),
            (format!("{name}.error"), Arc::new(errors)),
        ]
    }
}

/// Microseconds as seconds.
pub fn seconds(us: i64) -> f64 {
    us as f64 / 1e6
}
