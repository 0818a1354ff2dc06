//! The rows of windows that are not told by time alone: the last so many, and those without a long break.
//!
//! A read finds where such a window begins by going back from its end, chunk by chunk: of most chunks their length and where
//! they end is enough. A sweep goes forward and looks at the time of each row once.

use thyme_core::window::Part;
use thyme_core::{EventTime, Extent, Position};

use crate::chunk::Chunk;
use crate::cursor::Cursor;
use crate::timeline::Timeline;

impl Timeline {
    /// The rows of a window that are visible at `at`: from where to where they are.
    pub(crate) fn bounds(&self, extent: &Extent, at: Position) -> (Cursor, Cursor) {
        let Extent { after, until, part } = *extent;
        if after >= until {
            return Default::default();
        }
        let (from, to, at) = (self.start_of(after), self.cursor_after(until), at.to_bits());
        match part {
            Part::All => (from, to),
            Part::Last(rows) => (self.last_rows(from, to, rows as usize, at), to),
            Part::Session(gap) => (self.session(from, to, (until.0, gap.0), at), to),
        }
    }

    /// Where the last `count` visible rows between two places begin.
    fn last_rows(&self, from: Cursor, to: Cursor, count: usize, at: u64) -> Cursor {
        let (mut left, mut next) = (count, to);
        if from >= to {
            return to;
        }
        loop {
            if let Some(chunk) = self.chunk(next) {
                let (first, end) = piece(chunk, next, from, to);
                let visible = chunk.visible_count(first, end, at);
                if visible >= left {
                    return Cursor { row: chunk.visible_from_end(first, end, left, at), ..next };
                }
                left -= visible;
            }
            match self.previous_chunk(next).filter(|_| !next.same_chunk(from)) {
                Some(before) => next = before,
                None => return from,
            }
        }
    }

    /// Where the session begins that is open at `until`, of the visible rows between two places; `to` if none is.
    fn session(&self, from: Cursor, to: Cursor, (until, gap): (i64, i64), at: u64) -> Cursor {
        // The first row that is known to be of it and its time, or the end and T.
        let (mut later, mut begin, mut next) = (until, to, to);
        if from >= to {
            return to;
        }
        loop {
            if let Some(chunk) = self.chunk(next) {
                let (first, end) = piece(chunk, next, from, to);
                let times = chunk.times();
                match times.get(first).filter(|_| first < end && chunk.shows_all(at)) {
                    // No break in it can be longer.
                    Some(time) if later.saturating_sub(*time) <= gap => {
                        (later, begin) = (*time, Cursor { row: first, ..next });
                    }
                    _ => {
                        for row in chunk.visible(first, end, at).rev() {
                            let time = times.get(row).copied().unwrap_or(i64::MIN);
                            if later.saturating_sub(time) > gap {
                                return begin;
                            }
                            (later, begin) = (time, Cursor { row, ..next });
                        }
                    }
                }
            }
            match self.previous_chunk(next).filter(|_| !next.same_chunk(from)) {
                Some(before) => next = before,
                None => return begin,
            }
        }
    }

    /// How many rows between two places are visible at `at`.
    fn visible_between(&self, from: Cursor, to: Cursor, at: u64) -> usize {
        let mut count = 0;
        self.pieces(from, to, &mut |place, first, end| {
            count += self.chunk(place).map_or(0, |chunk| chunk.visible_count(first, end, at));
            true
        });
        count
    }

    /// The place after the first `count` visible rows between two places.
    fn skip_visible(&self, from: Cursor, to: Cursor, count: usize, at: u64) -> Cursor {
        let (mut left, mut reached) = (count, from);
        self.pieces(from, to, &mut |place, first, end| {
            let Some(chunk) = self.chunk(place).filter(|_| left > 0) else { return false };
            for row in chunk.visible(first, end, at).take(left) {
                left -= 1;
                reached = Cursor { row: row + 1, ..place };
            }
            true
        });
        reached
    }
}

/// The rows of the chunk that `next` is in which are between two places.
fn piece(chunk: &Chunk, next: Cursor, from: Cursor, to: Cursor) -> (usize, usize) {
    let first = if next.same_chunk(from) { from.row } else { 0 };
    let end = if next.same_chunk(to) { to.row } else { chunk.len() };
    (first, end)
}

impl Chunk {
    /// Whether all of its rows are visible at `at`.
    fn shows_all(&self, at: u64) -> bool {
        self.max_position() <= at && self.lives().is_none()
    }

    /// How many of the rows `from..to` are visible at `at`.
    fn visible_count(&self, from: usize, to: usize, at: u64) -> usize {
        match self.shows_all(at) {
            true => to.saturating_sub(from),
            false => self.visible(from, to, at).count(),
        }
    }

    /// The row that is the `count`-th visible one of `from..to` from the end; `from` if there are fewer.
    fn visible_from_end(&self, from: usize, to: usize, count: usize, at: u64) -> usize {
        match self.shows_all(at) {
            true => to.saturating_sub(count).max(from),
            false => self.visible(from, to, at).rev().nth(count.saturating_sub(1)).unwrap_or(from),
        }
    }
}

/// The place where such a window begins, moving forward with the labels of a sweep.
#[derive(Debug)]
pub(crate) struct Trail {
    from: Cursor,
    to: Cursor,
    /// The visible rows between.
    rows: usize,
    /// The time of the last of them.
    last: Option<i64>,
}

impl Trail {
    /// At the window of the first label; nothing is known of what is before `from`.
    pub(crate) fn at(from: Cursor) -> Trail {
        Trail { from, to: from, rows: 0, last: None }
    }

    /// Moves to a later label's window, which ends at `to`; gives where it begins.
    pub(crate) fn move_to(&mut self, timeline: &Timeline, extent: &Extent, to: Cursor, at: u64) -> Cursor {
        let to = to.max(self.to);
        let old = std::mem::replace(&mut self.to, to);
        let begin = match extent.part {
            Part::All => timeline.advance(self.from, extent.after),
            Part::Last(rows) => {
                self.rows += timeline.visible_between(old, self.to, at);
                self.forget(timeline, extent.after, at);
                let over = self.rows.saturating_sub(rows as usize);
                self.rows -= over;
                timeline.skip_visible(self.from, self.to, over, at)
            }
            Part::Session(gap) => {
                self.take(timeline, old, gap.0, at);
                self.forget(timeline, extent.after, at);
                match self.last {
                    Some(last) if extent.until.0.saturating_sub(last) <= gap.0 => self.from,
                    _ => self.to,
                }
            }
        };
        self.from = begin.min(self.to);
        self.from
    }

    /// Leaves rows that are not after a time.
    fn forget(&mut self, timeline: &Timeline, after: EventTime, at: u64) {
        if after.0 > i64::MIN {
            let kept = timeline.advance(self.from, after).min(self.to);
            if kept > self.from {
                self.rows = self.rows.saturating_sub(timeline.visible_between(self.from, kept, at));
                self.from = kept;
            }
        }
    }

    /// Takes the rows from `old` on: a session begins after each long break.
    fn take(&mut self, timeline: &Timeline, old: Cursor, gap: i64, at: u64) {
        let (from, last) = (&mut self.from, &mut self.last);
        timeline.pieces(old, self.to, &mut |place, first, end| {
            let Some(chunk) = timeline.chunk(place) else { return false };
            for row in chunk.visible(first, end, at) {
                let time = chunk.times().get(row).copied().unwrap_or(i64::MIN);
                if last.is_none_or(|last| time.saturating_sub(last) > gap) {
                    *from = Cursor { row, ..place };
                }
                *last = Some(time);
            }
            true
        });
    }
}
