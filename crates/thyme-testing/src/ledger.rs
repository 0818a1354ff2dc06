//! Everything that was pushed, in a list, and what each read of it must give.

use std::collections::BTreeMap;

use thyme_core::value::{NAN, canonical};
use thyme_core::{DataType, EventTime, Position, Value};
use thyme_oracle::expression::Typed;
use thyme_oracle::join::Right;
use thyme_oracle::{EventIds, Fate, Pipeline, Row, Stream, Verdict};

use crate::definitions::{Derived, Raw};
use crate::random::Random;

/// When all histories begin.
pub const START_US: i64 = 1_773_568_800_000_000;
/// A stamp for all records: the clocks of the tests move by less than what lies between the events that
/// `max_future_skew` lets move a watermark and those it does not.
const STAMP_US: i64 = START_US + 50_000 * 1_000_000;

/// One event's columns by name.
pub type Columns = Vec<(&'static str, Value)>;

/// The value of a column; null when there is no such column.
pub fn column(columns: &Columns, name: &str) -> Value {
    columns.iter().find(|(n, _)| *n == name).map_or(Value::Null, |(_, v)| v.clone())
}

/// One event as it was pushed.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its event time.
    pub at: i64,
    /// Its columns, `k` and `g` included.
    pub columns: Columns,
}

/// An event of the log, with its verdict.
#[derive(Clone, Debug)]
struct Judged {
    position: Position,
    event: Event,
    verdict: Verdict,
}

impl Judged {
    fn counts(&self) -> bool {
        self.verdict == Verdict::Admitted
    }
}

/// What was pushed.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    rows: Vec<Judged>,
    streams: BTreeMap<String, Stream>,
    ids: EventIds,
    last: Option<(u64, u32)>,
}

impl Event {
    /// A random one: around the edges of windows, early and late, huge beside tiny.
    pub fn random(random: &mut Random) -> Event {
        let seconds = match random.below(20) {
            0..8 => random.between(0, 12),
            8..14 => random.between(0, 90),
            14..19 => random.between(0, 4000),
            _ => random.pick(&[7_000, 100_000, 3_000_000_000]),
        };
        let at = START_US + seconds * 1_000_000 + random.pick(&[-1, 0, 0, 0, 1]);
        let maybe = |random: &mut Random, value: Value| if random.chance(15) { Value::Null } else { value };
        let k = Value::Str(random.pick(&["a", "a", "a", "b", "", "é"]).into());
        let int = match random.chance(85) {
            true => random.between(-5, 9),
            false => random.pick(&[1 << 62, -(1 << 62), i64::MAX, i64::MIN, (1 << 53) + 1]),
        };
        let (g, i) = (Value::Int(random.between(0, 2)), Value::Int(int));
        let float = match random.below(10) {
            0 => random.pick(&[NAN, f64::INFINITY, f64::NEG_INFINITY]),
            1..4 => random.pick(&[0.0, -0.0, 1e16, -1e16, 1e308, -1e308, 5e-324, f64::MAX]),
            _ => random.between(-1000, 1000) as f64 * random.pick(&[0.1, 1e-12, 1e12]),
        };
        let (x, s) = (Value::Float(float), Value::Str(random.pick(&["", "a", "b", "é", "😀"]).into()));
        let columns = vec![
            ("k", k),
            ("g", maybe(random, g)),
            ("i", maybe(random, i)),
            ("x", maybe(random, x)),
            ("s", maybe(random, s)),
            ("at", Value::Datetime(at)),
        ];
        Event { at, columns }
    }

    /// The same with values in its key columns.
    pub fn keyed(mut self, keys: &[&str]) -> Event {
        let is_key = |name: &str| keys.contains(&name);
        for (_, value) in self.columns.iter_mut().filter(|(name, value)| is_key(name) && value.is_null()) {
            *value = Value::Int(1);
        }
        self
    }

    /// The same with an id.
    pub fn identified(mut self, id: &str) -> Event {
        self.columns.push(("e", Value::Str(id.into())));
        self
    }

    /// As it is admitted: floats have one zero and one NaN.
    pub fn admitted(&self) -> thyme_oracle::Columns {
        let mut columns = thyme_oracle::Columns::default();
        for (name, value) in &self.columns {
            let value = match value {
                Value::Float(v) => Value::Float(canonical(*v)),
                other => other.clone(),
            };
            let data_type = match *name {
                "k" | "s" | "e" => DataType::Str,
                "x" => DataType::Float,
                "at" => DataType::Datetime,
                _ => DataType::Int,
            };
            columns.set(*name, Typed { value, data_type: Some(data_type) });
        }
        columns
    }

    /// As a push sends it.
    pub fn json(&self) -> String {
        let cells = self.columns.iter().map(|(name, value)| {
            let text = match value {
                Value::Null => "null".to_owned(),
                Value::Float(v) if v.is_nan() => "\"NaN\"".to_owned(),
                Value::Float(v) if v.is_infinite() => {
                    format!("\"{}Infinity\"", if *v < 0.0 { "-" } else { "" })
                }
                Value::Str(v) => serde_json::Value::from(v.as_ref()).to_string(),
                Value::Datetime(v) => format!("\"{}\"", thyme_core::time::format_rfc3339(*v)),
                other => other.to_string(),
            };
            format!("\"{name}\":{text}")
        });
        format!("{{{}}}", cells.collect::<Vec<_>>().join(","))
    }
}

impl Ledger {
    /// Notes a push that was accepted at `receipt`, under the settings of its time. Pushes come in the
    /// order of their positions.
    pub fn note(&mut self, raw: &Raw, events: &[Event], receipt: Position) {
        self.note_of("push", STAMP_US, raw, events, receipt);
    }

    /// As [`Ledger::note`], for any input stream and in a record with any stamp. Gives how many are duplicates.
    ///
    /// # Panics
    /// When an event has no id and should have one.
    #[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    pub fn note_of(
        &mut self,
        stream: &str,
        stamp: i64,
        raw: &Raw,
        events: &[Event],
        receipt: Position,
    ) -> u64 {
        if events.is_empty() {
            return 0;
        }
        let record = receipt.record();
        // Pushes may share a record; the last of them stands for the whole of it.
        let first = match self.last {
            Some((last, next)) if last == record => next,
            _ => 0,
        };
        let (marks, before) = (self.streams.entry(stream.to_owned()).or_default(), self.rows.len());
        for (row, event) in (first..).zip(events) {
            let time = EventTime(event.at);
            let verdict = match raw.has_ids {
                true => {
                    let (id, limits) = (column(&event.columns, "e"), (raw.limits(), raw.retention));
                    marks.verdict_by_id((time, &id), stamp, limits, &mut self.ids).unwrap()
                }
                false => marks.verdict(time, stamp, raw.limits()),
            };
            self.rows.push(Judged { position: Position::new(record, row), event: event.clone(), verdict });
        }
        self.last = Some((record, first + events.len() as u32));
        self.rows[before..].iter().filter(|row| row.verdict == Verdict::Duplicate).count() as u64
    }

    /// An entity was erased: its rows have never been, but for the watermark. Gives how many there were.
    pub fn erase(&mut self, key: &str) -> usize {
        let before = self.rows.len();
        self.rows.retain(|row| column(&row.event.columns, "k") != Value::Str(key.into()));
        before - self.rows.len()
    }

    /// Rows noted.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether nothing was noted.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows that were admitted, as joins find them.
    pub fn admitted(&self) -> impl Iterator<Item = Right> + '_ {
        self.rows.iter().filter(|row| row.counts()).map(|row| Right {
            time: EventTime(row.event.at),
            position: row.position,
            columns: row.event.admitted(),
        })
    }

    /// Where the late rows are.
    pub fn late(&self) -> Vec<Position> {
        self.left_out(|verdict| matches!(verdict, Verdict::Late { .. }))
    }

    /// The event time of the row at a position; the least where there is none.
    pub fn time_of(&self, position: Position) -> i64 {
        self.rows.iter().find(|row| row.position == position).map_or(i64::MIN, |row| row.event.at)
    }

    /// Where the duplicates are.
    pub fn duplicates(&self) -> Vec<Position> {
        self.left_out(|verdict| verdict == Verdict::Duplicate)
    }

    fn left_out(&self, is: impl Fn(Verdict) -> bool) -> Vec<Position> {
        self.rows.iter().filter(|row| is(row.verdict)).map(|row| row.position).collect()
    }

    /// Whether the event at `of` counts, came before the one at `position` and has its id.
    pub fn is_duplicate_of(&self, position: Position, of: Position) -> bool {
        let at = |position| self.rows.iter().find(|row| row.position == position);
        at(position).zip(at(of)).is_some_and(|(row, first)| {
            let same = column(&row.event.columns, "e") == column(&first.event.columns, "e");
            same && first.counts() && first.position < row.position
        })
    }

    /// A time near which something happens.
    pub fn random_time(&self, random: &mut Random) -> EventTime {
        if self.rows.is_empty() {
            return EventTime(START_US);
        }
        let at = self.rows[random.below(self.rows.len())].event.at;
        let step =
            random.pick(&[0, 0, 1_000_000, 2_000_000, 5_000_000, 30_000_000, 60_000_000, 3_600_000_000]);
        EventTime(at + step + random.pick(&[-1, 0, 0, 1]))
    }

    /// A position inside a record, at its end, or before everything.
    pub fn random_position(&self, random: &mut Random) -> Position {
        match self.rows.is_empty() || random.chance(5) {
            true => Position::ZERO,
            false => {
                let position = self.rows[random.below(self.rows.len())].position;
                if random.chance(50) { position } else { Position::end_of(position.record()) }
            }
        }
    }

    /// Every key of a derived dataset that had an event, and one that had none.
    pub fn keys(&self, derived: &Derived) -> Vec<Vec<Value>> {
        let mut keys: Vec<Vec<Value>> = Vec::new();
        for row in &self.rows {
            let key: Vec<Value> = derived.keys.iter().map(|name| column(&row.event.columns, name)).collect();
            if !keys.contains(&key) && key.iter().all(|v| !v.is_null()) {
                keys.push(key);
            }
        }
        let unseen = |name: &&str| if *name == "k" { Value::Str("unseen".into()) } else { Value::Int(-77) };
        keys.push(derived.keys.iter().map(unseen).collect());
        keys
    }

    /// The rows of one entity of a derived dataset, for [`Ledger::values`].
    ///
    /// # Panics
    /// When the oracle cannot compute it.
    #[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    pub fn rows_of(&self, pipeline: &Pipeline, key: &[Value]) -> Vec<Row> {
        let mut rows = Vec::new();
        for row in self.rows.iter().filter(|row| row.counts()) {
            let Fate::Kept(columns) = pipeline.derive(&row.event.admitted()).unwrap() else { continue };
            if pipeline.key(&columns) == key {
                rows.push(pipeline.row(EventTime(row.event.at), row.position, &columns).unwrap());
            }
        }
        rows
    }

    /// The latest raw row of a key: its event time and its columns.
    pub fn latest(&self, raw: &Raw, key: &str, until: EventTime, at: Position) -> Option<&Event> {
        let kept = |t: i64| raw.retention.is_none_or(|r| t > until.0 - r.0);
        self.rows
            .iter()
            .filter(|r| r.counts() && r.position <= at && r.event.at <= until.0 && kept(r.event.at))
            .filter(|r| column(&r.event.columns, "k") == Value::Str(key.into()))
            .max_by_key(|r| (r.event.at, r.position))
            .map(|r| &r.event)
    }
}

/// The outputs of a derived dataset at `(T, S)` over the rows of one entity.
///
/// # Panics
/// When the oracle cannot compute them.
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
pub fn values(pipeline: &Pipeline, rows: &[Row], until: EventTime, at: Position) -> Vec<Value> {
    (0..pipeline.outputs.len()).map(|index| pipeline.value(index, rows, until, at).unwrap()).collect()
}
