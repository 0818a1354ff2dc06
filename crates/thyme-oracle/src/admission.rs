//! Which events are late, and which are there already (contract, sections 4 and 5).

use std::collections::HashMap;

use thyme_core::definition::Dataset;
use thyme_core::{EntityKey, EventTime, Result, Span, Value};

/// How far ahead of its record's stamp an event may be and still move `W`, unless the definition says.
const MAX_FUTURE_SKEW: Span = Span(3_600_000_000);

/// The limits of one stream of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How far behind `W` an event may be; none: nothing is late.
    pub max_lateness: Option<Span>,
    /// How far ahead of its record's stamp an event may be and still move `W`.
    pub max_future_skew: Span,
}

impl Limits {
    /// What `dataset` says about `stream`; a source may set its own, pushes have the dataset's.
    pub fn of(dataset: &Dataset, stream: &str) -> Limits {
        let mut limits = Limits {
            max_lateness: dataset.max_lateness,
            max_future_skew: dataset.max_future_skew.unwrap_or(MAX_FUTURE_SKEW),
        };
        if let Some(source) = dataset.source_of(stream)
            && stream != "push"
        {
            limits.max_lateness = source.max_lateness.or(limits.max_lateness);
            limits.max_future_skew = source.max_future_skew.unwrap_or(limits.max_future_skew);
        }
        limits
    }
}

/// Whether an event is in `E`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Admitted,
    /// It is not: it came later than `max_lateness` allows.
    Late {
        /// `W` when it came.
        watermark: EventTime,
        /// How far behind `W` it was.
        behind: Span,
    },
    /// It is not: an event with its id is there already, at an earlier position.
    Duplicate,
}

/// The ids of the events of a dataset that are in `E`, with their event times.
#[derive(Clone, Debug, Default)]
pub struct EventIds {
    known: HashMap<EntityKey, Vec<EventTime>>,
    newest: Option<i128>,
    forgotten: Option<i128>,
}

impl EventIds {
    /// Whether the event at the next position, which is not late, is a duplicate; if it is none it is in `E`. Two events
    /// with one id are the same if they are less than the dataset's `retention` apart, and the id of the first is not
    /// forgotten.
    ///
    /// # Errors
    /// A null.
    pub fn has(&mut self, id: &Value, time: EventTime, retention: Option<Span>) -> Result<bool> {
        let known = self.known.entry(EntityKey::encode(std::slice::from_ref(id))?).or_default();
        let apart = |other: &EventTime| (i128::from(time.0) - i128::from(other.0)).abs();
        let is_same = |other: &EventTime| retention.is_none_or(|r| apart(other) < i128::from(r.0));
        let is_known = |other: &EventTime| self.forgotten.is_none_or(|until| i128::from(other.0) > until);
        let has = known.iter().any(|other| is_same(other) && is_known(other));
        if !has {
            known.push(time);
            self.newest = self.newest.max(Some(i128::from(time.0)));
        }
        Ok(has)
    }

    /// No event has an id any more; what is forgotten stays so.
    pub fn free(&mut self) {
        self.known.clear();
    }

    /// An event that counts was there, and is no more.
    pub fn had(&mut self, time: EventTime) {
        self.newest = self.newest.max(Some(i128::from(time.0)));
    }

    /// An event has passed, in a record with this stamp: the ids of events that are older than twice the retention are
    /// forgotten, by the newest event that counts, or the stamp if that is less.
    pub fn pass(&mut self, stamp: i64, retention: Option<Span>) {
        if let (Some(newest), Some(r)) = (self.newest, retention) {
            self.forgotten = self.forgotten.max(Some(newest.min(i128::from(stamp)) - 2 * i128::from(r.0)));
        }
    }
}

/// One input stream: what it has seen so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stream {
    /// `W`: the largest event time at earlier positions.
    pub watermark: Option<EventTime>,
}

impl Stream {
    /// The verdict on the event at the next position, in a record with this stamp.
    pub fn verdict(&mut self, time: EventTime, stamp: i64, limits: Limits) -> Verdict {
        if let Some(late) = self.late(time, limits) {
            return late;
        }
        self.admit(time, stamp, limits);
        Verdict::Admitted
    }

    /// As [`Stream::verdict`], if events have ids: a duplicate does not move `W`.
    ///
    /// # Errors
    /// An id that is null.
    pub fn verdict_by_id(
        &mut self,
        (time, id): (EventTime, &Value),
        stamp: i64,
        (limits, retention): (Limits, Option<Span>),
        ids: &mut EventIds,
    ) -> Result<Verdict> {
        let verdict = match self.late(time, limits) {
            Some(late) => late,
            None if ids.has(id, time, retention)? => Verdict::Duplicate,
            None => {
                self.admit(time, stamp, limits);
                Verdict::Admitted
            }
        };
        ids.pass(stamp, retention);
        Ok(verdict)
    }

    fn late(&self, time: EventTime, limits: Limits) -> Option<Verdict> {
        if let (Some(lateness), Some(watermark)) = (limits.max_lateness, self.watermark)
            && i128::from(time.0) < i128::from(watermark.0) - i128::from(lateness.0)
        {
            return Some(Verdict::Late { watermark, behind: Span(watermark.0.saturating_sub(time.0)) });
        }
        None
    }

    fn admit(&mut self, time: EventTime, stamp: i64, limits: Limits) {
        if i128::from(time.0) <= i128::from(stamp) + i128::from(limits.max_future_skew.0) {
            self.watermark = self.watermark.max(Some(time));
        }
    }
}
