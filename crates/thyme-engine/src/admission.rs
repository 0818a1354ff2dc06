//! Admission: which rows of a record are late, and which are duplicates. A pure function of the log.

use thyme_core::{EventTime, Position, Span};

/// How far ahead of its record's stamp an event may be and still move the watermark, unless the
/// definition says otherwise.
pub const MAX_FUTURE_SKEW_DEFAULT: Span = Span(3_600_000_000);

/// What an input stream has seen so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Watermark {
    /// The largest event time at earlier positions, if any.
    pub largest: Option<i64>,
}

/// The limits that apply to a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Limits {
    /// How far behind the watermark an event may be; `None`: nothing is late.
    pub max_lateness: Option<Span>,
    /// See [`MAX_FUTURE_SKEW_DEFAULT`].
    pub max_future_skew: Span,
}

/// Why a row does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftOut {
    /// It is late: `W` when it came.
    Late(i64),
    /// Its event is there already: the position of the row that counts, unless that was erased.
    Duplicate(Option<Position>),
}

/// Gives the verdict on each row in order and moves the watermark.
///
/// A row is late when `t < W - max_lateness`, with `W` the largest event time at earlier positions of
/// the stream; a row more than `max_future_skew` ahead of `stamp` does not move `W` (contract, 4). A row that is not
/// late is a duplicate if `duplicate_of` says so, which learns of all that count in the order that they came; it does not
/// move `W` either, so that the log without it says the same. Calls `left_out` for each row that does not count.
pub fn admit(
    times: &[i64],
    stamp: i64,
    limits: Limits,
    mark: &mut Watermark,
    mut duplicate_of: impl FnMut(usize) -> Option<Option<Position>>,
    mut left_out: impl FnMut(usize, LeftOut),
) {
    let horizon = stamp.saturating_add(limits.max_future_skew.0);
    for (row, &t) in times.iter().enumerate() {
        if let (Some(lateness), Some(w)) = (limits.max_lateness, mark.largest)
            && t < w.saturating_sub(lateness.0)
        {
            left_out(row, LeftOut::Late(w));
            continue;
        }
        if let Some(of) = duplicate_of(row) {
            left_out(row, LeftOut::Duplicate(of));
            continue;
        }
        if t <= horizon && mark.largest.is_none_or(|w| t > w) {
            mark.largest = Some(t);
        }
    }
}

/// The newest event time among `times`, if any.
pub fn newest(times: &[i64]) -> Option<EventTime> {
    times.iter().max().copied().map(EventTime)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn late_rows(
        times: &[i64],
        lateness: Option<i64>,
        stamp: i64,
        start: Option<i64>,
    ) -> (Vec<usize>, Option<i64>) {
        let mut mark = Watermark { largest: start };
        let mut rows = Vec::new();
        let limits = Limits { max_lateness: lateness.map(Span), max_future_skew: Span(100) };
        admit(times, stamp, limits, &mut mark, |_| None, |row, _| rows.push(row));
        (rows, mark.largest)
    }

    #[test]
    fn verdicts() {
        // (times, lateness, stamp, W before) -> (late rows, W after)
        let cases = [
            (vec![10, 5, 4], Some(5), 1000, None, vec![2], Some(10)),
            (vec![10, 5, 4], None, 1000, None, vec![], Some(10)),
            (vec![5], Some(5), 1000, Some(10), vec![], Some(10)),
            (vec![4], Some(5), 1000, Some(10), vec![0], Some(10)),
            // far in the future: kept, does not move W
            (vec![1101, 10, 6], Some(5), 1000, None, vec![], Some(10)),
            // just inside the skew: moves it
            (vec![1100, 10], Some(5), 1000, None, vec![1], Some(1100)),
        ];
        for (times, lateness, stamp, start, late, w) in cases {
            assert_eq!(late_rows(&times, lateness, stamp, start), (late, w), "{times:?}");
        }
    }

    #[test]
    fn a_duplicate_does_not_move_the_watermark_and_a_late_row_is_not_asked_about() {
        let limits = Limits { max_lateness: Some(Span(5)), max_future_skew: Span(100) };
        let (mut mark, mut asked, mut out) = (Watermark { largest: Some(10) }, Vec::new(), Vec::new());
        let of = Position::new(1, 2);
        let duplicate_of = |row| {
            asked.push(row);
            (row == 1).then_some(Some(of))
        };
        admit(&[4, 90, 8], 1000, limits, &mut mark, duplicate_of, |row, why| out.push((row, why)));
        assert_eq!(asked, [1, 2]);
        assert_eq!(out, [(0, LeftOut::Late(10)), (1, LeftOut::Duplicate(Some(of)))]);
        assert_eq!(mark.largest, Some(10));
    }
}
