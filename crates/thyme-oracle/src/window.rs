//! Which rows count at `(T, S)` (contract, section 1).

use thyme_core::window::{Every, Hopping, Kind, Rows, Session, Sliding, Tumbling, Window};
use thyme_core::{EventTime, Position, Span, Value};

use crate::calendar::Clocks;

/// One admitted event of one entity, after the operators.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its event time.
    pub time: EventTime,
    /// Its position.
    pub position: Position,
    /// Its value in each column.
    pub values: Vec<Value>,
    /// The verdict of each predicate.
    pub predicates: Vec<bool>,
}

/// Whether `T - w < t <= T`; no window means since the beginning.
pub fn contains(time: EventTime, until: EventTime, window: Option<Span>) -> bool {
    time <= until && window.is_none_or(|w| i128::from(time.0) > i128::from(until.0) - i128::from(w.0))
}

/// The shorter of a window and a retention, where there are any.
pub fn within(window: Option<Span>, retention: Option<Span>) -> Option<Span> {
    match (window, retention) {
        (Some(window), Some(retention)) => Some(window.min(retention)),
        (window, retention) => window.or(retention),
    }
}

/// The rows with `T - w < t <= T` at positions up to `S`, in the order of (t, position).
pub fn visible(rows: &[Row], until: EventTime, at: Position, window: Option<Span>) -> Vec<&Row> {
    let mut rows: Vec<&Row> =
        rows.iter().filter(|row| row.position <= at && contains(row.time, until, window)).collect();
    rows.sort_by_key(|row| (row.time, row.position));
    rows
}

/// Which event times a window has as of a time.
#[derive(Clone, Debug)]
pub enum Members {
    /// Those that are after the one, and not after the other.
    Between(i128, i128),
    /// Those up to `until` whose number is one of `numbers`, from the first to the last.
    Numbered {
        /// Whose calendar gives the numbers.
        clocks: Clocks,
        /// Of what.
        every: Every,
        /// The numbers.
        numbers: (i64, i64),
        /// The end.
        until: EventTime,
    },
}

impl Members {
    /// Those of a window as of `until`.
    pub fn of(window: &Window, until: EventTime) -> Members {
        let until = EventTime(until.0.saturating_sub(window.offset.map_or(0, |offset| offset.0)));
        let end = i128::from(until.0);
        match window.kind {
            Kind::Forever | Kind::Session(_) | Kind::Rows(_) => Members::Between(i128::MIN, end),
            Kind::Sliding(Sliding { span }) => Members::Between(end - i128::from(span.0), end),
            Kind::Tumbling(Tumbling { every, tz, lookback }) => {
                Members::in_a_row(every, Clocks::of(tz), until, (lookback, lookback))
            }
            Kind::Hopping(Hopping { hop, hops, tz, lookback }) => {
                Members::in_a_row(hop, Clocks::of(tz), until, (lookback + hops, lookback + 1))
            }
        }
    }

    /// Those of the calendar's windows from the one that is `back.0` before the one of `until` to the one that is `back.1`
    /// before it.
    fn in_a_row(every: Every, clocks: Clocks, until: EventTime, back: (u32, u32)) -> Members {
        let (first, last) = back;
        if let Some(now) = clocks.number(every, until.0) {
            let numbers = (now - i64::from(first), now - i64::from(last));
            return Members::Numbered { clocks, every, numbers, until };
        }
        let Every::Clock(length) = every else { return Members::Between(0, 0) };
        let begins = clocks.begins(length, until.0, first);
        let begin = |back: u32| i128::from(begins.get(back as usize).copied().unwrap_or(i64::MIN));
        let end = match last {
            0 => i128::from(until.0),
            last => begin(last - 1) - 1,
        };
        Members::Between(begin(first) - 1, end)
    }

    /// Whether an event of `time` is one.
    pub fn has(&self, time: EventTime) -> bool {
        match self {
            Members::Between(after, until) => *after < i128::from(time.0) && i128::from(time.0) <= *until,
            Members::Numbered { clocks, every, numbers: (first, last), until } => {
                let number = clocks.number(*every, time.0);
                time <= *until && number.is_some_and(|number| *first <= number && number <= *last)
            }
        }
    }
}

/// The rows that a window has at `(T, S)`, of those that `retention` keeps, in the order of (t, position).
pub fn members<'r>(
    rows: &'r [Row],
    (until, at): (EventTime, Position),
    window: Option<&Window>,
    retention: Option<Span>,
) -> Vec<&'r Row> {
    let mut rows = visible(rows, until, at, retention);
    let Some(window) = window else { return rows };
    let members = Members::of(window, until);
    rows.retain(|row| members.has(row.time));
    let times: Vec<EventTime> = rows.iter().map(|row| row.time).collect();
    rows.split_off(rows.len() - last_of(window, until, &times))
}

/// How many rows a window as of `until` has of those that its times have let through, whose times ascend: the last so many.
pub fn last_of(window: &Window, until: EventTime, times: &[EventTime]) -> usize {
    match window.kind {
        Kind::Rows(Rows { rows }) => (rows as usize).min(times.len()),
        Kind::Session(Session { gap }) => {
            let end = EventTime(until.0.saturating_sub(window.offset.map_or(0, |offset| offset.0)));
            // Each time and the one after it, from the end.
            let later = std::iter::once(&end).chain(times.iter().rev());
            let pairs = times.iter().rev().zip(later);
            pairs.take_while(|(time, later)| later.0 - time.0 <= gap.0).count()
        }
        _ => times.len(),
    }
}
