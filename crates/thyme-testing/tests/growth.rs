//! Aggregates that come and go on live pipelines: whatever the timelines answer already is live at its commit, without
//! the log, and every answer has the bits of the oracle, with power cuts, spilled entities and lost stores in between.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::{Value as Json, json};
use thyme_core::definition::evolution::Effect;
use thyme_core::definition::{AggregateDef, Document, Pipeline, growth};
use thyme_core::{DataType, EventTime, Position, Value};
use thyme_engine::{Begun, CommitNote, Snapshot};
use thyme_testing::definitions::{Derived, Output, RAW, Raw, document, parse};
use thyme_testing::expression::Predicate;
use thyme_testing::ledger::{Event, Ledger, START_US, values};
use thyme_testing::plant::{Plant, outputs};
use thyme_testing::random::Random;
use thyme_testing::seeds;
use thyme_testing::sim::SimStore;

const HISTORIES: u64 = 60;
const OPERATIONS: usize = 50;
const WORKERS: u64 = 4;
/// What every pipeline finds.
const COLUMNS: [(&str, DataType); 4] =
    [("i", DataType::Int), ("x", DataType::Float), ("s", DataType::Str), ("at", DataType::Datetime)];

/// A pipeline whose aggregates change, and the events that were pushed.
struct History {
    plant: Plant,
    raw: Raw,
    derived: Derived,
    /// What the timelines keep.
    kept: Vec<AggregateDef>,
    ledger: Ledger,
    /// Outputs ever made, for their names.
    made: usize,
    /// Commits that were in place, and that were filled.
    commits: (usize, usize),
}

fn pipeline_of(document: &Document) -> &Pipeline {
    &document.datasets[1].pipelines[0]
}

impl History {
    fn new(seed: u64) -> History {
        let mut plant = Plant::new(seed);
        let max_lateness = Raw::random(&mut plant.random).max_lateness;
        let raw = Raw { max_lateness, ..Raw::default() };
        let derived = Derived::random(&mut plant.random, 0);
        let made = derived.outputs.len();
        let (ledger, commits) = (Ledger::default(), (0, 0));
        let mut history = History { plant, raw, derived, kept: Vec::new(), ledger, made, commits };
        let first = history.document(&history.derived);
        history.plant.engine().commit(&first, |_| Ok(())).unwrap();
        history.kept = growth::kept_for(pipeline_of(&first));
        history
    }

    fn document(&self, derived: &Derived) -> Document {
        let mut document = document(&self.raw, std::slice::from_ref(derived));
        document.featuresets.clear();
        document
    }

    fn push(&mut self) {
        let most = self.plant.random.pick(&[4, 20, 20, 400]);
        let count = 1 + self.plant.random.below(most);
        let events: Vec<Event> = (0..count).map(|_| Event::random(&mut self.plant.random)).collect();
        let lines: Vec<String> = events.iter().map(Event::json).collect();
        let position = self.plant.push(RAW, &lines);
        self.ledger.note(&self.raw, &events, position);
    }

    /// The pipeline with outputs more, fewer, or others.
    fn changed(&mut self) -> Derived {
        let mut next = self.derived.clone();
        let random = &mut self.plant.random;
        let known: Vec<_> = next.outputs.iter().filter_map(|output| output.of).collect();
        let wheres: Vec<Predicate> = next.outputs.iter().filter_map(|o| o.predicate.clone()).collect();
        for _ in 0..1 + random.below(3) {
            // Mostly of columns that are kept.
            let mut output = next.outputs[random.below(next.outputs.len())].clone();
            if random.chance(70) && !known.is_empty() {
                output = Output::random(random, self.made, &known);
                output.predicate = match random.below(8) {
                    0..3 => Some(Predicate::over(random, &known)),
                    3..5 if !wheres.is_empty() => Some(wheres[random.below(wheres.len())].clone()),
                    5 => output.predicate,
                    _ => None,
                };
            } else if random.chance(50) {
                output = Output::random(random, self.made, &COLUMNS);
            } else if output.function != "rate" {
                output.window = random.pick(&next.outputs).window;
            }
            output.name = format!("a{}", self.made);
            self.made += 1;
            next.outputs.push(output);
        }
        if random.chance(40) && next.outputs.len() > 1 {
            next.version += 1;
            for _ in 0..1 + random.below(next.outputs.len() - 1) {
                let at = random.below(next.outputs.len());
                match random.chance(60) {
                    true => drop(next.outputs.remove(at)),
                    // Of the rate of something a window is asked.
                    false if next.outputs[at].function == "rate" => {}
                    false => next.outputs[at].window = random.pick(&self.derived.outputs).window,
                }
            }
        }
        next
    }

    /// Commits other aggregates; the power may go off in the middle of it.
    fn change(&mut self, may_fail: bool) {
        let next = self.changed();
        let proposed = self.document(&next);
        let grown = growth::grown(&self.kept, pipeline_of(&proposed));
        self.plant.stepper().finish();
        let before = self.node();
        let has_rows = !self.ledger.is_empty();
        if may_fail {
            self.plant.power.off_after(self.plant.random.below(4) as u64);
        } else {
            let plan = self.plant.engine().plan(&proposed).unwrap();
            let effects: Vec<Effect> =
                plan.changes.iter().filter(|c| c.subject == "D0.compute").map(|c| c.effect).collect();
            let expected = if grown.is_some() { Effect::InPlace } else { Effect::Backfill };
            assert_eq!(effects, [expected], "{:?}", plan.changes);
        }
        let begun = self.plant.engine().begin_commit(None, &proposed, CommitNote::default(), |_| Ok(()));
        match begun {
            Ok((_, id, Begun::Pending)) => {
                assert!(grown.is_none() && has_rows, "it was to be live at once");
                let waited = self.plant.engine().wait_commit(&id, std::time::Duration::ZERO);
                assert!(may_fail || waited.unwrap().is_some());
            }
            Ok(_) => assert!(grown.is_some() || !has_rows, "it was to be filled"),
            Err(error) => assert!(may_fail, "{error}"),
        }
        if may_fail {
            self.plant.open();
            while self.plant.stepper().finish() | self.plant.stepper().fill(50) {}
        }
        if self.plant.engine().catalog().document.datasets != proposed.datasets {
            assert!(may_fail);
            return;
        }
        self.commits.0 += usize::from(grown.is_some());
        self.commits.1 += usize::from(grown.is_none());
        if !may_fail {
            assert_eq!(self.node() == before, grown.is_some());
        }
        self.kept = grown.unwrap_or_else(|| growth::kept_for(pipeline_of(&proposed)));
        self.derived = next;
    }

    fn node(&self) -> u32 {
        self.plant.engine().catalog().dataset("D0").unwrap().readable().unwrap().id.0
    }

    fn check(&mut self, rounds: usize) {
        for _ in 0..rounds {
            let applied = Position::end_of(self.plant.engine().records().1);
            let position = match self.plant.random.chance(50) {
                true => applied,
                false => self.ledger.random_position(&mut self.plant.random).min(applied),
            };
            let snapshot = self.plant.at(Some(position));
            let node = snapshot.catalog.dataset("D0").unwrap().readable().unwrap().clone();
            let pipeline = self.derived.pipeline(&self.raw);
            let all: Vec<usize> = (0..node.outputs.len()).collect();
            let mut times: Vec<EventTime> =
                (0..6).map(|_| self.ledger.random_time(&mut self.plant.random)).collect();
            times.sort_unstable();
            for key in self.ledger.keys(&self.derived) {
                let rows = self.ledger.rows_of(&pipeline, &key);
                let want: Vec<Vec<Value>> =
                    times.iter().map(|time| values(&pipeline, &rows, *time, position)).collect();
                let mut swept = vec![vec![Value::Null; all.len()]; times.len()];
                let encoded = thyme_core::EntityKey::encode(&key).unwrap();
                let sweep = self.plant.random.chance(50);
                if sweep {
                    let mut sink = |time: usize, output: usize, value| swept[time][output] = value;
                    snapshot.sweep(&node, &encoded.0, &times, &all, &mut sink).unwrap();
                    assert_eq!(swept, want, "{key:?} at {times:?} {position}");
                }
                for (time, want) in times.iter().zip(&want).take(if sweep { 1 } else { 3 }) {
                    assert_eq!(
                        &outputs(&snapshot, &node, &key, *time),
                        want,
                        "{key:?} at {time:?} {position}"
                    );
                }
            }
        }
    }

    fn operate(&mut self) {
        match self.plant.random.below(20) {
            0..6 => self.push(),
            6..9 => self.change(false),
            9 => self.change(true),
            10..17 => self.plant.step(),
            17 => self.plant.crash(),
            _ => {
                self.plant.stepper().finish();
                self.check(1);
            }
        }
    }

    fn end(&mut self) {
        self.plant.stepper().finish();
        self.check(2);
        self.plant.open();
        self.check(2);
        self.change(false);
        self.check(1);
        // From the log alone.
        self.plant.store = SimStore::default();
        self.plant.open();
        self.check(2);
        self.change(false);
        self.check(1);
    }
}

#[test]
fn aggregates_come_and_go_on_live_pipelines_with_the_bits_of_the_oracle() {
    let commits = seeds::each(HISTORIES, WORKERS, |seed| {
        let mut history = History::new(seed);
        (0..OPERATIONS).for_each(|_| history.operate());
        history.end();
        history.commits
    });
    let (in_place, filled) = commits.iter().fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
    assert!(in_place > 100 && filled > 50, "{in_place} in place, {filled} filled");
}

fn joined(aggregates: &[Json], version: u32) -> Document {
    let field = |name: &str, kind: &str, role: &str| json!({"name": name, "type": kind, "role": role, "optional": role == "value"});
    let left = json!({"name": "Ride", "fields": [field("k", "str", "key"), field("d", "str", "value"), field("fare", "int", "value"), field("at", "datetime", "timestamp")]});
    let right = json!({"name": "Driver", "fields": [field("d", "str", "key"), field("city", "str", "value"), field("at", "datetime", "timestamp")]});
    let mut fields = vec![field("k", "str", "key"), field("at", "datetime", "timestamp")];
    fields.extend(aggregates.iter().map(|a| {
        let kind = if a["of"] == "city" && a["function"] != "count" { "str" } else { "int" };
        field(a["name"].as_str().unwrap(), kind, "value")
    }));
    let operators = json!([
        {"op": "join", "dataset": "Driver", "left_on": ["d"], "right_on": ["d"], "how": "left", "fields": [{"field": "city", "name": "city"}]},
        {"op": "groupby", "keys": ["k"]},
        {"op": "aggregate", "aggregates": aggregates},
    ]);
    let derived = json!({"name": "Cities", "fields": fields,
        "pipelines": [{"name": "compute", "version": version, "inputs": ["Ride"], "operators": operators}]});
    parse(json!({"format": 1, "datasets": [left, right, derived], "featuresets": []}))
}

/// Rides and drivers, right rows late and early.
fn rows(random: &mut Random) -> (&'static str, String) {
    let at = thyme_core::time::format_rfc3339(START_US + random.between(0, 40) * 1_000_000);
    let (driver, key, fare) = (random.pick(&["p", "q", "r"]), random.pick(&["a", "b"]), random.below(9));
    match random.chance(60) {
        true => ("Ride", json!({"k": key, "d": driver, "fare": fare, "at": at}).to_string()),
        false => ("Driver", json!({"d": driver, "city": random.pick(&["x", "y"]), "at": at}).to_string()),
    }
}

#[test]
fn aggregates_that_come_over_a_join_answer_as_if_they_had_been_there_from_the_start() {
    let in_x = json!({"op": "eq", "args": [{"col": "city"}, {"lit": "x", "type": "str"}]});
    let first = [
        json!({"name": "last_city", "function": "last", "of": "city"}),
        json!({"name": "fares", "function": "sum", "of": "fare"}),
    ];
    let mut all = first.to_vec();
    all.push(json!({"name": "in_x", "function": "sum", "of": "fare", "where": in_x, "window": "20s"}));
    all.push(json!({"name": "most", "function": "max", "of": "fare"}));
    let fewer = [all[0].clone(), all[2].clone()];
    seeds::each(20, WORKERS, |seed| {
        let (mut grown, mut always) = (Plant::new(seed), Plant::new(seed));
        grown.engine().commit(&joined(&first, 1), |_| Ok(())).unwrap();
        always.engine().commit(&joined(&all, 1), |_| Ok(())).unwrap();
        let mut random = Random::new(!seed);
        let stages = [(40, joined(&all, 1)), (70, joined(&fewer, 2)), (90, joined(&all, 3))];
        for operation in 0..120 {
            let (dataset, line) = rows(&mut random);
            grown.push(dataset, std::slice::from_ref(&line));
            always.push(dataset, &[line]);
            (0..grown.random.below(4)).for_each(|_| grown.step());
            if let Some((_, next)) = stages.iter().find(|(at, _)| *at == operation) {
                let begun = grown.engine().begin_commit(None, next, CommitNote::default(), |_| Ok(()));
                assert!(matches!(begun.unwrap().2, Begun::Live(_)), "it is in place");
            }
            if operation % 17 == 3 {
                grown.crash();
            }
        }
        if seed % 4 == 0 {
            grown.store = SimStore::default();
            grown.open();
        }
        grown.stepper().finish();
        always.open();
        for seconds in [0, 3, 9, 17, 30, 41] {
            for record in [0, 20, 60, 100, 124] {
                let read = |plant: &Plant, record: u64, key: &str| {
                    let snapshot: Snapshot = plant.at(Some(Position::end_of(record)));
                    let node = snapshot.catalog.dataset("Cities").unwrap().readable().unwrap().clone();
                    let time = EventTime(START_US + seconds * 1_000_000);
                    outputs(&snapshot, &node, &[Value::Str(key.into())], time)
                };
                // Its commits are records, too.
                let commits = [43, 74, 95].iter().filter(|commit| record >= **commit).count() as u64;
                for key in ["a", "b", "c"] {
                    let (one, other) = (read(&grown, record, key), read(&always, record - commits, key));
                    assert_eq!(one, other, "{key} at {seconds} and {record} of seed {seed}");
                }
            }
        }
    });
}
