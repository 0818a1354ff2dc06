//! What a commit would do to values: the features that it touches, before and after, for some entities at times of
//! their own events.
//!
//! Both sides are what [`evaluate`] gives at one `(T, S)`: the old one of what is live, the new one of a
//! [`Trial`], which is filled from the log for the entities that are looked at. Lookups of extractors name their keys
//! themselves: what was looked up and not there is filled with another reading, and asked again.

mod distribution;
mod job;
mod sample;
mod touched;

use thyme_core::{EventTime, Result, Value};
use thyme_engine::trial::{Bounds, FreshFacts, Passed, Trial};

use crate::column::ColumnBuffer;
use crate::reader::Reader;
pub use distribution::{Distribution, Histogram, Numbers};
use job::Job;
pub use touched::{Touch, Touched, touched};

/// Readings for what lookups missed.
const ROUNDS_MAX: usize = 4;

/// What is asked of a preview.
#[derive(Clone, Debug)]
pub struct Asked {
    /// How many entities of each featureset; `None`: all of them, at all of their times.
    pub entities: Option<usize>,
    /// At how many times of its own events each, besides now.
    pub times: usize,
    /// How many rows that differ are shown.
    pub examples: usize,
    /// Request features by name.
    pub inputs: Vec<(String, Value)>,
}

/// What a commit would do to values, and what it takes.
#[derive(Debug)]
pub struct Preview {
    /// The featuresets that it touches.
    pub sets: Vec<SetPreview>,
    /// The new nodes.
    pub fresh: Vec<FreshFacts>,
    /// The events that fill them.
    pub events_to_read: u64,
    /// What was read for this.
    pub passed: Passed,
    /// How often the log was read.
    pub passes: u32,
}

/// One featureset that a commit touches.
#[derive(Debug)]
pub struct SetPreview {
    /// Its name.
    pub featureset: String,
    /// The entities that were looked at.
    pub entities: u64,
    /// Whether there are others.
    pub is_part: bool,
    /// Rows that reach what retention has removed, and were left out.
    pub left_out: u64,
    /// Why there are no values, if there are none.
    pub failure: Option<String>,
    /// The names of the entity's fields.
    pub entity: Vec<String>,
    /// The rows that were compared.
    pub rows: Rows,
    /// The features that it touches.
    pub features: Vec<FeaturePreview>,
}

/// The rows that were compared.
#[derive(Debug, Default)]
pub struct Rows {
    /// A column for each field of the entity.
    pub entity: Vec<ColumnBuffer>,
    /// The as-of times.
    pub times: Vec<EventTime>,
}

/// One feature before and after.
#[derive(Debug)]
pub struct FeaturePreview {
    /// Which, and how it is touched.
    pub touched: Touched,
    /// Why it alone has no values, if that is so.
    pub failure: Option<String>,
    /// Its values before, if it was there.
    pub old: Option<Vec<Value>>,
    /// Its values after.
    pub new: Vec<Value>,
    /// The rows that differ.
    pub differ: Vec<usize>,
    /// Of these, some to look at: of as many entities as there are.
    pub examples: Vec<usize>,
}

impl FeaturePreview {
    fn without_values(touched: Touched, failure: Option<String>) -> FeaturePreview {
        let (new, differ, examples) = Default::default();
        FeaturePreview { touched, failure, old: None, new, differ, examples }
    }
}

impl Preview {
    /// Bytes of timelines that the commit would add, about.
    pub fn state_bytes(&self) -> u64 {
        self.fresh.iter().map(|node| node.scaled(node.bytes) + node.fixed_bytes).sum()
    }

    /// Microseconds that it would take to fill them on one core, about.
    pub fn backfill_us(&self) -> u64 {
        let writing: u64 = self.fresh.iter().map(|node| node.scaled(node.writing_us)).sum();
        let Passed { events, reading_us } = self.passed;
        let reading = u128::from(reading_us) * u128::from(self.events_to_read) / u128::from(events.max(1));
        writing + reading as u64
    }
}

impl Reader {
    /// Evaluates the features that a commit touches before and after it.
    ///
    /// # Errors
    /// What the bounds say; a log or a state that cannot be read. What one featureset cannot be evaluated for is
    /// said of it alone.
    pub fn preview(&self, trial: &mut Trial, asked: &Asked, bounds: &Bounds<'_>) -> Result<Preview> {
        let mut jobs = self.jobs(trial, asked)?;
        let (mut passed, mut passes) = (Passed::default(), 0);
        let of_job = |(index, job): (usize, &Job)| vec![index; job.witnesses.len()];
        let seen: Vec<usize> = jobs.iter().enumerate().flat_map(of_job).collect();
        let witnesses: Vec<_> = jobs.iter().flat_map(|job| job.witnesses.clone()).collect();
        if !witnesses.is_empty() || trial.is_due() {
            let mut samples: Vec<_> = jobs.iter_mut().map(|job| &mut job.sample).collect();
            let first = trial.pass(&witnesses, bounds, &mut |index, seen_one| {
                if let Some(sample) = seen.get(index).and_then(|job| samples.get_mut(*job)) {
                    sample.see(seen_one);
                }
            })?;
            add(&mut passed, &mut passes, first);
        }
        for job in &mut jobs {
            job.choose(trial, asked)?;
        }
        for _ in 0..ROUNDS_MAX {
            if trial.is_due() {
                let more = trial.pass(&[], bounds, &mut |_, _| {})?;
                add(&mut passed, &mut passes, more);
            }
            for job in jobs.iter_mut().filter(|job| job.is_open()) {
                (bounds.go_on)(Default::default())?;
                job.evaluate(self, trial);
            }
            if !trial.is_due() {
                break;
            }
        }
        trial.check_unchanged()?;
        let mut sets = Vec::with_capacity(jobs.len());
        for job in jobs {
            sets.push(job.compare(self, trial, asked));
        }
        let (fresh, events_to_read) = (trial.facts(), trial.events_to_read());
        Ok(Preview { sets, fresh, events_to_read, passed, passes })
    }

    fn jobs(&self, trial: &mut Trial, asked: &Asked) -> Result<Vec<Job>> {
        let mut groups: Vec<(String, Vec<Touched>)> = Vec::new();
        for touched in touched(trial)? {
            match groups.last_mut().filter(|(name, _)| *name == touched.featureset) {
                Some((_, features)) => features.push(touched),
                None => groups.push((touched.featureset.clone(), vec![touched])),
            }
        }
        groups.into_iter().map(|(name, features)| Job::new(self, trial, name, features, asked)).collect()
    }
}

fn add(all: &mut Passed, passes: &mut u32, one: Passed) {
    all.events += one.events;
    all.reading_us += one.reading_us;
    *passes += 1;
}
