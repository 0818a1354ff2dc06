//! Expectations of raw datasets: rows that break a rule are told to whoever pushes them and, where the dataset says so,
//! kept out; the applier counts what came, from the log alone, and tells of it in events.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use thyme_core::definition::Dataset;
use thyme_core::expectation::{Expectation, OnViolation, Rule, StreamRule, Tally};
use thyme_core::{Position, Result};

use crate::catalog::LiveDataset;
use crate::decode::columns::{event_times, shown_row};
use crate::events::{EventLog, Severity};
use crate::node::Admitted;
use crate::record::{DeadLetter, EventsRecord};

/// What the reason of a dead letter begins with that broke a rule.
const REASON: &str = "expectation ";
/// Rows that break a rule of which the indexes are told.
const EXAMPLES_MAX: usize = 10;
/// Rows that break a rule which an event names.
const NAMED_MAX: usize = 3;
/// How long after an event about a dataset's expectations the next one comes at the earliest, by the records' stamps.
const TOLD_EVERY_US: i64 = 10_000_000;
/// After so many rows without a fault those that follow are looked at by themselves.
const LOOKED_AT: u64 = 100_000;

/// What is judged by, by dataset.
pub(crate) type Rules = Arc<[Rule]>;

/// The compiled rules of a dataset.
///
/// # Errors
/// A rule that does not fit the fields.
pub(crate) fn rules(definition: &Dataset) -> Result<Rules> {
    definition.expectations.iter().map(|expectation| Rule::new(expectation, &definition.fields)).collect()
}

/// A rule that less of a push met than is expected.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The rule.
    pub expectation: Expectation,
    /// Of the rows of the push.
    pub tally: Tally,
    /// Rows that broke it, by index in the push among those that could be read, at most ten.
    pub rows: Vec<u32>,
}

/// The rules of rows that a batch breaks.
pub(crate) fn violations(rules: &[Rule], batch: &RecordBatch) -> Vec<Violation> {
    let judged = rules.iter().map(|rule| (rule, rule.broken(batch, None)));
    let broken = judged.filter(|(rule, (tally, _))| tally.is_violated(rule.expectation.mostly));
    let violation = |(rule, (tally, mut rows)): (&Rule, (Tally, Vec<u32>))| {
        rows.truncate(EXAMPLES_MAX);
        Violation { expectation: rule.expectation.clone(), tally, rows }
    };
    broken.map(violation).collect()
}

/// The rows of a batch that break no rule, and of those that do the index and the reason; `None` if the dataset keeps none
/// out, or all are kept.
///
/// # Errors
/// Internal ones only.
pub(crate) fn kept_out(
    live: &LiveDataset,
    batch: &RecordBatch,
) -> Result<Option<(RecordBatch, BTreeMap<u32, String>)>> {
    if live.definition.on_violation != OnViolation::Quarantine {
        return Ok(None);
    }
    let mut reasons: BTreeMap<u32, String> = BTreeMap::new();
    for rule in live.rules.iter() {
        let kind = &rule.expectation.kind;
        for row in rule.broken(batch, None).1 {
            reasons.entry(row).or_insert_with(|| format!("{REASON}{kind}"));
        }
    }
    if reasons.is_empty() {
        return Ok(None);
    }
    let stay: BooleanArray =
        (0..batch.num_rows()).map(|row| Some(!reasons.contains_key(&(row as u32)))).collect();
    Ok(Some((filter_record_batch(batch, &stay)?, reasons)))
}

/// Moves the rows of a batch that break a rule to the dead letters, if the dataset keeps them out.
///
/// # Errors
/// Internal ones only.
pub(crate) fn quarantine(
    live: &LiveDataset,
    batch: RecordBatch,
    origin: &str,
    letters: &mut Vec<DeadLetter>,
) -> Result<RecordBatch> {
    let Some((stay, reasons)) = kept_out(live, &batch)? else { return Ok(batch) };
    let letter = |(row, reason): (&u32, &String)| {
        DeadLetter::new(origin, reason, shown_row(&batch, *row as usize).as_bytes())
    };
    letters.extend(reasons.iter().map(letter));
    Ok(stay)
}

/// How much came to each rule, by dataset id and by how the rule reads.
pub(crate) type Tallies = BTreeMap<u32, BTreeMap<String, Tally>>;

/// Judges what is applied.
#[derive(Default)]
pub(crate) struct Watch {
    /// By dataset id.
    datasets: HashMap<u32, Watched>,
}

struct Watched {
    rules: Rules,
    names: Vec<String>,
    streams: Vec<Option<StreamRule>>,
    /// By rule: what came since it was last told, and the first that broke it.
    open: Vec<(Tally, Vec<Position>)>,
    told: Option<i64>,
}

impl Watched {
    fn new(rules: &Rules) -> Watched {
        Watched {
            rules: rules.clone(),
            names: rules.iter().map(|rule| rule.expectation.kind.to_string()).collect(),
            streams: rules.iter().map(Rule::stream).collect(),
            open: vec![(Tally::default(), Vec::new()); rules.len()],
            told: None,
        }
    }

    fn has(&self, rules: &Rules) -> bool {
        let of = |rules: &Rules| rules.iter().map(|rule| rule.expectation.clone()).collect::<Vec<_>>();
        Arc::ptr_eq(&self.rules, rules) || of(&self.rules) == of(rules)
    }
}

impl Watch {
    /// Takes the rows of a record that count, and its dead letters; adds to `tallies`. `until` is the largest event time of
    /// the stream. What is wrong goes to `events`.
    ///
    /// # Errors
    /// Rows without event times.
    pub fn take(
        &mut self,
        live: &LiveDataset,
        (number, stamp, record): (u64, i64, &EventsRecord),
        (admitted, until): (&Admitted, Option<i64>),
        tallies: &mut BTreeMap<String, Tally>,
        events: &EventLog,
    ) -> Result<()> {
        if live.rules.is_empty() {
            return Ok(());
        }
        let watched = self.datasets.entry(live.id).or_insert_with(|| Watched::new(&live.rules));
        if !watched.has(&live.rules) {
            *watched = Watched::new(&live.rules);
        }
        watched.rules = live.rules.clone();
        let times = event_times(&record.batch, live.definition.time_field())?;
        let kept = admitted.kept.as_ref();
        for (index, rule) in watched.rules.clone().iter().enumerate() {
            let (mut tally, rows) = match &mut watched.streams[index] {
                Some(stream) => stream.take(&record.batch, times.values(), kept, until.unwrap_or(i64::MIN)),
                None => rule.broken(&record.batch, kept),
            };
            let name = &watched.names[index];
            let is_mine =
                |letter: &&DeadLetter| letter.reason.strip_prefix(REASON).is_some_and(|r| r == name);
            let out = record.dead_letters.iter().filter(is_mine).count() as u64;
            tally.add(Tally { checked: out, violated: out });
            if tally == Tally::default() {
                continue;
            }
            tallies.entry(name.clone()).or_default().add(tally);
            let (open, named) = &mut watched.open[index];
            open.add(tally);
            let more = rows.iter().take(NAMED_MAX.saturating_sub(named.len()));
            named.extend(more.map(|row| Position::new(number, record.row_number(*row as usize))));
        }
        watched.tell(&live.definition.name, stamp, events);
        Ok(())
    }
}

impl Watched {
    fn tell(&mut self, dataset: &str, stamp: i64, events: &EventLog) {
        if self.told.is_some_and(|told| stamp.saturating_sub(told) < TOLD_EVERY_US) {
            return;
        }
        let mut told = Vec::new();
        for ((rule, name), (open, named)) in self.rules.iter().zip(&self.names).zip(&mut self.open) {
            let mostly = rule.expectation.mostly;
            if open.is_violated(mostly) {
                let share = if mostly < 1.0 {
                    format!(", {} % may not", (1.0 - mostly) * 100.0)
                } else {
                    String::new()
                };
                let named: Vec<String> = named.iter().map(ToString::to_string).collect();
                let such =
                    if named.is_empty() { String::new() } else { format!(", such as {}", named.join(" ")) };
                told.push(format!(
                    "\"{name}\": {} of {} do not meet it{share}{such}",
                    open.violated, open.checked
                ));
            } else if open.checked < LOOKED_AT {
                continue;
            }
            (*open, *named) = (Tally::default(), Vec::new());
        }
        if !told.is_empty() {
            self.told = Some(stamp);
            let message = format!("dataset {dataset} is not as expected: {}", told.join("; "));
            events.record(Severity::Warning, "expectation_violated", dataset, message);
        }
    }
}
