//! One field of a dataset's row: which events count, which do not and why.

use std::collections::BTreeMap;

use thyme_core::definition::{JoinDef, OperatorDef};
use thyme_core::window::Part;
use thyme_core::{Error, EventTime, Extent, Position, Result, Span, Value};
use thyme_engine::{HistoryRecord, LiveDataset, Snapshot};
use thyme_oracle::collection::keeps_nulls;
use thyme_oracle::dedup::Repeats;
use thyme_oracle::window::{Members, contains, last_of};
use thyme_oracle::{Columns, Fate, Output, Pipeline, Row, Verdict};
use thyme_query::Reader;

use super::letters::DeadLetters;
use super::{Explanation, Origin, at};
use crate::input::{Made, inputs_of};
use crate::rights::Rights;
use crate::verify::field_value;

/// Why an event of the entity does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It came later than `max_lateness` allows.
    Late,
    /// An event with its id is there already.
    Duplicate,
    /// A filter is not true for it.
    Filtered,
    /// The aggregate's own `where` is not true for it.
    Where,
    /// The aggregated column is null.
    Null,
    /// It is before the window.
    BeforeWindow,
    /// It is after the window, which ends before T.
    AfterWindow,
    /// It is older than the dataset reaches.
    BeyondRetention,
    /// Its event time is after T.
    AfterTime,
    /// It came at a position after S.
    AfterPosition,
    /// A later row of the entity stands for it.
    Replaced,
}

impl Reason {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Reason::Late => "late",
            Reason::Duplicate => "duplicate",
            Reason::Filtered => "filtered",
            Reason::Where => "where",
            Reason::Null => "null",
            Reason::BeforeWindow => "before_window",
            Reason::AfterWindow => "after_window",
            Reason::BeyondRetention => "beyond_retention",
            Reason::AfterTime => "after_time",
            Reason::AfterPosition => "after_position",
            Reason::Replaced => "replaced",
        }
    }
}

/// Why an event does not count, in a word and in words.
type LeftOut = (Reason, String);

/// One event of the entity.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its event time.
    pub time: EventTime,
    /// Its position.
    pub position: Position,
    /// Its fields as they came.
    pub fields: Vec<(String, Value)>,
    /// Why it was left out.
    pub why: Option<String>,
}

/// Some events: how many, and the newest of them.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// How many there are.
    pub total: u64,
    /// The newest, newest first; at most as many as were asked for.
    pub shown: Vec<Event>,
}

impl Group {
    fn add(&mut self, event: Event, limit: usize) {
        self.total += 1;
        let order = (event.time, event.position);
        let place = self.shown.partition_point(|e| (e.time, e.position) > order);
        if place < limit {
            self.shown.insert(place, event);
            self.shown.truncate(limit);
        }
    }
}

/// A field of a dataset's row for one entity at one `(T, S)`.
#[derive(Debug)]
pub struct FieldExplanation {
    /// The dataset.
    pub dataset: String,
    /// Its version.
    pub version: u32,
    /// The field.
    pub field: String,
    /// The dataset that the events are of.
    pub input: String,
    /// The version of the pipeline, if one makes it.
    pub pipeline_version: Option<u32>,
    /// What is computed, as it is written: `Sum(of="fare", window="7d")`.
    pub definition: String,
    /// The operators before it, as they are written.
    pub operators: Vec<String>,
    /// The time after which events count; none: since the beginning.
    pub after: Option<EventTime>,
    /// The time up to which they do.
    pub until: EventTime,
    /// `T`.
    pub time: EventTime,
    /// `S`.
    pub position: Position,
    /// How far back the events reach at all.
    pub retention: Option<Span>,
    /// What is served.
    pub served: Value,
    /// What the oracle makes of the events that count.
    pub recomputed: Value,
    /// The events that count.
    pub counted: Group,
    /// Those that do not.
    pub left_out: BTreeMap<Reason, Group>,
    /// Records of the input up to S that could not become rows.
    pub dead_letters: DeadLetters,
    pub(crate) made: Made,
    members: Option<Members>,
    key: Vec<Value>,
    limit: usize,
    rows: Vec<Row>,
    /// Rows of a window that is not told by time alone, and why they do not count if they are in it.
    waiting: Vec<(Row, Event, Option<LeftOut>)>,
    latest: Option<Event>,
}

/// The most events that one value is computed again from.
const ROWS_MAX: usize = 10_000_000;

/// A field of a dataset, before the log has been read.
pub(super) fn explanation(
    reader: &Reader,
    snapshot: &Snapshot,
    live: &LiveDataset,
    field: &str,
    key: &[Value],
    limit: usize,
) -> Result<Explanation> {
    let definition = &live.definition;
    let fields = &definition.fields.fields;
    if definition.fields.field(field).is_none() {
        return Err(Error::not_found("field", field, fields.iter().map(|f| f.name.as_str())));
    }
    let (served, _) = reader.lookup(snapshot, live, key)?;
    let served = served.into_iter().find(|(n, _)| n == field).map(|(_, v)| v).unwrap_or_default();
    let names = definition.fields.keys().map(|f| f.name.clone());
    let entity: Vec<(String, Value)> = names.zip(key.iter().cloned()).collect();
    let made = Made::of(&snapshot.catalog, live)?;
    let is_value = made.pipeline.outputs.iter().any(|o| o.name == field)
        || made.pipeline.fields.iter().any(|f| f == field);
    let name = format!("{}.{field}", definition.name);
    if !is_value {
        let note = match definition.fields.timestamp().is_some_and(|f| f.name == field) {
            true => "the time of the row: T for a derived dataset, the latest event's for a raw one",
            false => "part of the key",
        };
        let notes = vec![note.to_owned()];
        return Ok(Explanation { name, entity, value: Some(served), origin: Origin::Entity, notes });
    }
    let (time, position) = at(snapshot);
    let inputs = inputs_of(&snapshot.catalog, live)?.into_iter().map(|input| input.definition.name.clone());
    let inputs: Vec<String> = inputs.collect();
    let pipeline = live.made.pipelines.first();
    let mut what = "the latest row".to_owned();
    let mut operators = Vec::new();
    for operator in pipeline.iter().flat_map(|p| &p.operators) {
        match operator {
            OperatorDef::Aggregate { aggregates } => {
                what =
                    aggregates.iter().find(|a| a.name == field).map(ToString::to_string).unwrap_or_default();
            }
            other => operators.push(other.to_string()),
        }
    }
    let output = made.pipeline.outputs.iter().find(|o| o.name == field);
    let window = output.and_then(|o| o.window);
    let extent = Extent::of(window.as_ref(), made.pipeline.retention, time);
    let explained = FieldExplanation {
        dataset: definition.name.clone(),
        version: definition.version,
        field: field.to_owned(),
        input: inputs.join(", "),
        pipeline_version: pipeline.map(|p| p.version),
        definition: what,
        operators,
        after: (extent.after.0 > i64::MIN).then_some(extent.after),
        until: extent.until,
        time,
        position,
        retention: made.pipeline.retention,
        members: window.map(|window| Members::of(&window, time)),
        served: served.clone(),
        recomputed: Value::Null,
        counted: Group::default(),
        left_out: BTreeMap::new(),
        dead_letters: DeadLetters::default(),
        made,
        key: key.to_vec(),
        limit,
        rows: Vec::new(),
        waiting: Vec::new(),
        latest: None,
    };
    let begins = reader.engine().history_from(live).map(|time| {
        let time = time.to_rfc3339();
        format!(
            "events of {} (or of what is joined) up to {time} may have left the log: those are not listed here",
            explained.input
        )
    });
    let origin = Origin::Field(Box::new(explained));
    let notes = begins.into_iter().collect();
    Ok(Explanation { name, entity, value: Some(served), origin, notes })
}

impl FieldExplanation {
    /// Whether what is served is what the events make.
    pub fn is_same(&self) -> bool {
        self.served == self.recomputed
    }

    /// How many events of the entity there are in the log.
    pub fn events(&self) -> u64 {
        self.counted.total + self.left_out.values().map(|g| g.total).sum::<u64>()
    }

    /// Whether a row can be of the entity: cheap to say where the key is as it came.
    pub(super) fn may_be_of(&self, record: &HistoryRecord, row: usize) -> bool {
        let keys = self.made.pipeline.keys.iter().zip(&self.key);
        !self.made.key_as_it_came || keys.into_iter().all(|(name, value)| record.value(name, row) == *value)
    }

    /// Takes the dead letters of the next record of the log.
    pub(super) fn take_letters(&mut self, record: &HistoryRecord) -> Result<()> {
        if record.number > self.position.record() {
            return Ok(());
        }
        let names = self.made.key_as_it_came.then_some(self.made.pipeline.keys.as_slice());
        self.dead_letters.take(record, names, &self.key, self.limit)
    }

    fn output(&self) -> Option<&Output> {
        self.made.pipeline.outputs.iter().find(|o| o.name == self.field)
    }

    /// Takes the next event of the log.
    pub(super) fn take(
        &mut self,
        (dataset, event): (u32, &Columns),
        (time, position): (EventTime, Position),
        verdict: Verdict,
        (rights, repeats): (&Rights, &Repeats),
    ) -> Result<()> {
        let at = self.position;
        let mut join = |join: &JoinDef, event: &mut Columns| rights.join(join, event, time, at);
        let Some(pipeline) = self.made.of_input(dataset) else { return Ok(()) };
        if pipeline.key_of(event, &mut join)? != self.key {
            return Ok(());
        }
        let fields = event.iter().map(|(name, value)| (name.to_owned(), value.clone())).collect();
        let shown = Event { time, position, fields, why: None };
        let left_out = match self.judge((pipeline, event), (time, position), verdict, (&mut join, repeats))? {
            Ok((row, why)) if self.picks() || why.is_none() => {
                if self.rows.len() + self.waiting.len() >= ROWS_MAX {
                    return Err(Error::new(
                        thyme_core::ErrorKind::TooLarge,
                        format!(
                            "more than {ROWS_MAX} events count for this value; explain one with a shorter window, or verify it"
                        ),
                    ));
                }
                match self.picks() {
                    true => self.waiting.push((row, shown, why)),
                    false => {
                        self.rows.push(row);
                        self.count(shown);
                    }
                }
                return Ok(());
            }
            Ok((_, Some(left_out))) | Err(left_out) => left_out,
            Ok((_, None)) => return Ok(()),
        };
        self.leave_out(shown, left_out);
        Ok(())
    }

    fn leave_out(&mut self, mut event: Event, (reason, why): LeftOut) {
        event.why = Some(why);
        self.left_out.entry(reason).or_default().add(event, self.limit);
    }

    /// Whether all rows must be there to say which of them its window has.
    fn picks(&self) -> bool {
        let window = self.output().and_then(|output| output.window);
        window.is_some_and(|window| window.extent(self.time).part != Part::All)
    }

    /// Says of the rows that wait which of them the window has.
    fn pick(&mut self) {
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.sort_by_key(|(row, ..)| (row.time, row.position));
        let times: Vec<EventTime> = waiting.iter().map(|(row, ..)| row.time).collect();
        let Some(window) = self.output().and_then(|output| output.window) else { return };
        let before = waiting.len() - last_of(&window, self.time, &times);
        self.after = times.get(before).map(|first| EventTime(first.0 - 1)).or(self.after);
        for (index, (row, event, why)) in waiting.into_iter().enumerate() {
            match why {
                _ if index < before => {
                    let why = format!("before the rows that {window} has");
                    self.leave_out(event, (Reason::BeforeWindow, why));
                }
                // It is in the window all the same, and so has its part in where that begins.
                Some(left_out) => {
                    self.rows.push(row);
                    self.leave_out(event, left_out);
                }
                None => {
                    self.rows.push(row);
                    self.count(event);
                }
            }
        }
    }

    /// An event that counts; of a raw dataset only the latest does.
    fn count(&mut self, event: Event) {
        let limit = self.limit;
        if self.output().is_some() {
            return self.counted.add(event, limit);
        }
        let order = |e: &Event| (e.time, e.position);
        let newer = self.latest.as_ref().is_none_or(|latest| order(&event) > order(latest));
        let older = if newer { self.latest.replace(event) } else { Some(event) };
        if let Some(mut older) = older {
            older.why = Some("a later row of the entity stands for it".to_owned());
            self.left_out.entry(Reason::Replaced).or_default().add(older, limit);
        }
    }

    /// The row that is in the window and why it does not count all the same, or why the event is not in it.
    fn judge(
        &self,
        (pipeline, event): (&Pipeline, &Columns),
        (time, position): (EventTime, Position),
        verdict: Verdict,
        (join, repeats): (&mut Joining<'_>, &Repeats),
    ) -> Result<std::result::Result<(Row, Option<LeftOut>), LeftOut>> {
        let out = |reason, why: String| Ok(Err((reason, why)));
        if position > self.position {
            return out(Reason::AfterPosition, format!("it came at {position}, after S = {}", self.position));
        }
        if let Verdict::Late { watermark, behind } = verdict {
            let newest = watermark.to_rfc3339();
            return out(
                Reason::Late,
                format!("late: {} behind {newest}, the newest of its stream", length(behind)),
            );
        }
        if verdict == Verdict::Duplicate {
            return out(Reason::Duplicate, "an event with its id is there already".to_owned());
        }
        let counts = &mut |operator, _: &Columns| Ok(!repeats.has(operator, position));
        let derived = match pipeline.derive_among(event, join, counts)? {
            Fate::Kept(derived) => derived,
            Fate::Filtered(index) => {
                let filter = pipeline.operators.get(index).map(ToString::to_string).unwrap_or_default();
                let why = match pipeline.operators.get(index) {
                    Some(OperatorDef::Join(_)) => format!("{filter} finds no row"),
                    Some(OperatorDef::Dedup(_)) => format!("{filter} has one before it that it repeats"),
                    _ => format!("{filter} is not true"),
                };
                return out(Reason::Filtered, why);
            }
            Fate::NoKey(key) => return out(Reason::Filtered, format!("{key} is null")),
        };
        if time > self.time {
            return out(Reason::AfterTime, format!("it is of {}, after T", time.to_rfc3339()));
        }
        if self.made.is_before(time) {
            let begins = self.made.begins.map(EventTime::to_rfc3339).unwrap_or_default();
            let why =
                format!("not after {begins}, where {} begins since older events left the log", self.dataset);
            return out(Reason::BeyondRetention, why);
        }
        if let Some(retention) = self.retention.filter(|r| !contains(time, self.time, Some(*r))) {
            return out(Reason::BeyondRetention, format!("older than retention=\"{retention}\" reaches"));
        }
        let Some((index, output)) = pipeline.outputs.iter().enumerate().find(|(_, o)| o.name == self.field)
        else {
            return Ok(Ok((pipeline.row(time, position, &derived)?, None)));
        };
        if self.members.as_ref().is_some_and(|members| !members.has(time)) {
            let after = self.after.map(EventTime::to_rfc3339).unwrap_or_default();
            return match time > self.until {
                true => {
                    let end = self.until.to_rfc3339();
                    out(Reason::AfterWindow, format!("after {end}, where the window ends"))
                }
                false => out(Reason::BeforeWindow, format!("not after {after}, where the window begins")),
            };
        }
        let row = pipeline.row(time, position, &derived)?;
        let why = match &output.of {
            _ if row.predicates.get(index) == Some(&false) => {
                let predicate = output.predicate.as_ref().map(ToString::to_string).unwrap_or_default();
                Some((Reason::Where, format!("where {predicate} is not true")))
            }
            Some(of)
                if row.values.get(index).is_some_and(Value::is_null)
                    && !keeps_nulls(&output.function, &output.parameters) =>
            {
                Some((Reason::Null, format!("{of} is null")))
            }
            _ if pipeline.further_at(index).and_then(|at| row.values.get(at)).is_some_and(Value::is_null) => {
                let by = output.by.as_deref().unwrap_or_default();
                Some((Reason::Null, format!("{by} is null")))
            }
            _ => None,
        };
        Ok(Ok((row, why)))
    }

    /// Computes the value from exactly the events that count.
    pub(super) fn recompute(&mut self) -> Result<()> {
        self.pick();
        if let Some(latest) = self.latest.take() {
            self.counted.add(latest, self.limit.max(1));
        }
        self.recomputed = field_value(&self.made, &self.field, &self.rows, self.time, self.position)?;
        self.rows = Vec::new();
        Ok(())
    }
}

/// Adds the columns of a join to an event; whether it found a row.
type Joining<'j> = dyn FnMut(&JoinDef, &mut Columns) -> Result<bool> + 'j;

/// A length of time in its largest units.
fn length(span: Span) -> String {
    let (mut rest, mut parts) = (span.0, Vec::new());
    for (unit, us) in [("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000)] {
        if rest >= us {
            parts.push(format!("{}{unit}", rest / us));
            rest %= us;
        }
    }
    if rest > 0 || parts.is_empty() {
        parts.push(format!("{}s", rest as f64 / 1e6));
    }
    parts.join(" ")
}
