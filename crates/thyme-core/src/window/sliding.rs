//! `"7d"`: what happened in the span before T.

use super::Extent;
use crate::time::{EventTime, Span};

/// `(T - span, T]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sliding {
    /// How long it is.
    pub span: Span,
}

impl Sliding {
    pub(super) fn extent(&self, time: EventTime) -> Extent {
        Extent::between(EventTime(time.0.saturating_sub(self.span.0)), time)
    }
}
