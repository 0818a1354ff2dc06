//! Which events are late (contract, section 4).

use thyme_core::definition::Dataset;
use thyme_core::{EventTime, Span};

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
        if let Some(source) = &dataset.source
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
        if let (Some(lateness), Some(watermark)) = (limits.max_lateness, self.watermark)
            && i128::from(time.0) < i128::from(watermark.0) - i128::from(lateness.0)
        {
            return Verdict::Late { watermark, behind: Span(watermark.0.saturating_sub(time.0)) };
        }
        if i128::from(time.0) <= i128::from(stamp) + i128::from(limits.max_future_skew.0) {
            self.watermark = self.watermark.max(Some(time));
        }
        Verdict::Admitted
    }
}
