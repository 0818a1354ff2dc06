//! Windows: which rows an aggregate counts as of a time.
//!
//! A kind of window is one file, a variant of [`Kind`] and one of [`Written`]. Its whole meaning is [`Kind::extent`]:
//! of a time it makes the interval of event time that counts, or of which the last part does. So a timeline knows nothing of
//! calendars.
//! An interval is `(after, until]`, and event times are whole microseconds: a calendar's `[start, end)` is
//! `(start - 1 us, end - 1 us]`.
//!
//! Both ends of an interval never move back as time moves forward. Sweeps rely on it.

pub mod calendar;
mod hopping;
mod rows;
mod session;
mod sliding;
mod tumbling;
mod written;

use std::fmt;

pub use calendar::Every;
pub use hopping::Hopping;
pub use rows::{ROWS_MAX, Rows};
pub use session::Session;
pub use sliding::Sliding;
pub use tumbling::Tumbling;

use crate::time::{EVENT_TIME_MAX, EventTime, Span};

/// The most windows or hops that a window looks back by.
pub const LOOKBACK_MAX: u32 = 100_000;

/// Which rows count as of a time. No window at all is since the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its kind.
    pub kind: Kind,
    /// How much earlier it is looked at: the window as of `T` is the kind's as of `T - offset`.
    pub offset: Option<Span>,
}

/// The kinds of windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Since the beginning.
    Forever,
    /// The span before T.
    Sliding(Sliding),
    /// The one of the calendar's that T is in, or an earlier one.
    Tumbling(Tumbling),
    /// The latest complete run of windows of the calendar's.
    Hopping(Hopping),
    /// The session that is open.
    Session(Session),
    /// The last rows.
    Rows(Rows),
}

/// Which of the rows of an interval count. It takes all visible rows to say, whatever an aggregate makes of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// All.
    #[default]
    All,
    /// So many at its end, in the order of (event time, position).
    Last(u32),
    /// Those at its end without a longer break between two of them, and between the last and the end of the interval.
    Session(Span),
}

/// The rows that a window has at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Rows count that are after this; `EventTime(i64::MIN)` is since the beginning.
    pub after: EventTime,
    /// Rows count up to this.
    pub until: EventTime,
    /// Which of these count.
    pub part: Part,
}

impl Extent {
    /// All rows.
    pub const ALL: Extent = Extent::up_to(EventTime(i64::MAX));

    /// All rows up to a time.
    pub const fn up_to(until: EventTime) -> Extent {
        Extent::between(EventTime(i64::MIN), until)
    }

    /// The rows after one time and up to another.
    pub const fn between(after: EventTime, until: EventTime) -> Extent {
        Extent { after, until, part: Part::All }
    }

    /// The rows of a window as of `time`, of those that `retention` keeps.
    #[inline]
    pub fn of(window: Option<&Window>, retention: Option<Span>, time: EventTime) -> Extent {
        let mut extent = match window {
            None => Extent::up_to(time),
            Some(window) => window.extent(time),
        };
        if let Some(retention) = retention {
            extent.after = extent.after.max(EventTime(time.0.saturating_sub(retention.0)));
        }
        extent
    }
}

impl Kind {
    fn extent(&self, time: EventTime) -> Extent {
        match self {
            Kind::Forever => Extent::up_to(time),
            Kind::Sliding(sliding) => sliding.extent(time),
            Kind::Tumbling(tumbling) => tumbling.extent(time),
            Kind::Hopping(hopping) => hopping.extent(time),
            Kind::Session(session) => Extent { part: Part::Session(session.gap), ..Extent::up_to(time) },
            Kind::Rows(rows) => Extent { part: Part::Last(rows.rows), ..Extent::up_to(time) },
        }
    }
}

impl Window {
    /// The span before T.
    pub fn sliding(span: Span) -> Window {
        Window { kind: Kind::Sliding(Sliding { span }), offset: None }
    }

    /// Whether its length is known before its rows are.
    pub fn has_length(&self) -> bool {
        matches!(self.kind, Kind::Sliding(_) | Kind::Tumbling(_) | Kind::Hopping(_))
    }

    /// The rows that it has as of a time.
    #[inline]
    pub fn extent(&self, time: EventTime) -> Extent {
        let offset = self.offset.map_or(0, |offset| offset.0);
        self.kind.extent(EventTime(time.0.saturating_sub(offset)))
    }

    /// Whether time alone says where it begins.
    pub fn is_bounded(&self) -> bool {
        !matches!(self.kind, Kind::Forever | Kind::Session(_) | Kind::Rows(_))
    }

    /// The earliest time as of which nothing counts that is not after `time`; `None` if there is none.
    pub fn earliest_without(&self, time: EventTime) -> Option<EventTime> {
        let is_without = |us: i64| self.extent(EventTime(us)).after >= time;
        let (mut with, mut without) = (time.0, EVENT_TIME_MAX.0);
        if !is_without(without) {
            return None;
        }
        while without - with > 1 {
            let between = with + (without - with) / 2;
            match is_without(between) {
                true => without = between,
                false => with = between,
            }
        }
        Some(EventTime(without))
    }

    /// A length of time that it is not longer than, with its offset; `None` for one without an end.
    pub fn reach(&self) -> Option<Span> {
        let reach = match &self.kind {
            Kind::Forever | Kind::Session(_) | Kind::Rows(_) => return None,
            Kind::Sliding(sliding) => sliding.span.0,
            Kind::Tumbling(tumbling) => tumbling.reach_us(),
            Kind::Hopping(hopping) => hopping.reach_us(),
        };
        Some(Span(reach.saturating_add(self.offset.map_or(0, |offset| offset.0))))
    }
}

/// As it is written in Python: `"7d"`, `Tumbling("1d", tz="Europe/London")`.
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut arguments = Vec::new();
        let name = match &self.kind {
            Kind::Sliding(Sliding { span }) if self.offset.is_none() => return write!(f, "\"{span}\""),
            Kind::Forever => "Forever",
            Kind::Sliding(Sliding { span }) => {
                arguments.push(format!("\"{span}\""));
                "Sliding"
            }
            Kind::Tumbling(tumbling) => tumbling.name(&mut arguments),
            Kind::Hopping(hopping) => hopping.name(&mut arguments),
            Kind::Session(Session { gap }) => {
                arguments.push(format!("gap=\"{gap}\""));
                "Session"
            }
            Kind::Rows(Rows { rows }) => {
                arguments.push(rows.to_string());
                "Rows"
            }
        };
        arguments.extend(self.offset.map(|offset| format!("offset=\"{offset}\"")));
        write!(f, "{name}({})", arguments.join(", "))
    }
}

#[cfg(test)]
mod tests;
