//! Which times and positions are asked: those where something happens.

use thyme_core::time::{EVENT_TIME_MAX, EVENT_TIME_MIN};
use thyme_core::{EventTime, Position, Value, Window};
use thyme_engine::Snapshot;
use thyme_oracle::{Pipeline, Row};

use crate::choice::Choice;

/// One question: an entity at one `(T, S)`.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub key: Vec<Value>,
    pub time: EventTime,
    pub position: Position,
}

/// `count` pairs of `(T, S)` for an entity: now as known now, then at, just before and just after its events and the
/// times at which they leave a window, and anywhere between; half of them as known at an earlier position.
pub(crate) fn questions(
    seed: u64,
    count: usize,
    pipeline: &Pipeline,
    rows: &[Row],
    snapshot: &Snapshot,
) -> Vec<(EventTime, Position)> {
    let mut choice = Choice::new(seed);
    let windows: Vec<Window> = pipeline.outputs.iter().filter_map(|o| o.window).collect();
    let mut spans: Vec<i64> = windows.iter().filter_map(Window::reach).map(|reach| reach.0).collect();
    spans.extend(pipeline.retention.map(|r| r.0));
    spans.push(0);
    let mut asked = vec![(snapshot.time, snapshot.position)];
    let (first, last) = (rows.iter().map(|r| r.time.0).min(), rows.iter().map(|r| r.time.0).max());
    while asked.len() < count {
        let event = choice.of(rows).map_or(snapshot.time.0, |row| row.time.0);
        let edge = event.saturating_add(*choice.of(&spans).unwrap_or(&0));
        let time = match choice.below(8) {
            0 => snapshot.time.0,
            1 => {
                let (first, last) = (first.unwrap_or(event), last.unwrap_or(event));
                let reach = usize::try_from(last.saturating_sub(first)).unwrap_or_default();
                first.saturating_add(choice.below(reach.saturating_add(1)) as i64)
            }
            2 | 3 => edge - 1,
            4 => edge + 1,
            _ => edge,
        };
        let time = EventTime(time.clamp(EVENT_TIME_MIN.0, EVENT_TIME_MAX.0));
        let position = match choice.below(4) {
            0 => choice.of(rows).map_or(snapshot.position, |row| row.position),
            // Just before the event was known.
            1 => choice.of(rows).map_or(snapshot.position, |row| {
                Position::from_bits(row.position.to_bits().saturating_sub(1))
            }),
            _ => snapshot.position,
        };
        asked.push((time, position.min(snapshot.position)));
    }
    asked
}
