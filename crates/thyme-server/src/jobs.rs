//! Training sets that the server computes by itself. Their labels and answers are files, part by part, so that a
//! restart goes on where it was.
//!
//! These files name entities, so they go with the first erasure after them, whoever is erased.

mod files;
mod requests;
mod runner;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use thyme_core::time::format_rfc3339;
use thyme_core::{Env, Error, ErrorKind, EventTime, Position, Result};
use thyme_engine::{Engine, JOBS_FOLDER, ReadAt, Severity};

pub(crate) use files::examine;
use files::{Damaged, Files, Known};
pub(crate) use requests::{add, cancel, create, result, show, visible};
pub(crate) use runner::Runner;

/// The most jobs that are kept, whatever became of them.
const JOBS_MAX: usize = 32;
/// The most bytes of all of their labels and answers.
const BYTES_MAX: u64 = 32 << 30;
/// How long one is kept after its end, or after its beginning if not all of its labels come.
const KEPT_US: i64 = 7 * 86_400_000_000;

/// A training set under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub id: String,
    /// The parameters of `/features/offline`, at the job's position.
    pub query: Vec<(String, String)>,
    pub position: String,
    /// The definitions that all parts are computed under.
    pub commit: String,
    /// The columns of the labels.
    #[serde(default)]
    pub columns: Vec<String>,
    pub since: i64,
    pub ended: Option<i64>,
    /// How many erasures there had been.
    pub erasures: usize,
    pub parts: Vec<Part>,
    /// Whether these are all parts.
    pub whole: bool,
    /// How many of them are computed.
    pub done: usize,
    pub bytes_out: u64,
    pub failure: Option<Failure>,
    /// Whether its file is not what was written: then it is not written again.
    #[serde(skip)]
    pub damaged: bool,
}

/// Some of the labels of a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Part {
    pub rows: u64,
    pub bytes: u64,
    pub content_type: String,
}

/// Why a job is not done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub error: String,
    pub detail: String,
}

impl Job {
    fn status(&self) -> &'static str {
        match () {
            () if self.failure.is_some() => "failed",
            () if self.whole && self.done == self.parts.len() => "done",
            () if !self.whole => "open",
            () if self.done == 0 => "waiting",
            () => "running",
        }
    }

    fn bytes(&self) -> u64 {
        self.bytes_out + self.parts.iter().map(|part| part.bytes).sum::<u64>()
    }

    fn featureset(&self) -> &str {
        self.query.iter().rev().find(|(name, _)| name == "featureset").map_or("", |(_, value)| value)
    }

    /// What was asked for, as `/features/offline` takes it.
    fn arguments(&self) -> Json {
        let given = |name| self.query.iter().filter(move |(known, _)| known == name).map(|(_, value)| value);
        let flag = |name| given(name).next_back().is_some_and(|value| value == "1");
        json!({
            "entity_column": given("entity_column").collect::<Vec<_>>(),
            "timestamp_column": given("timestamp_column").next_back(),
            "features": given("features").next_back(),
            "as_served": flag("as_served"),
            "meta": flag("meta"),
        })
    }

    /// As it is shown.
    pub fn shown(&self) -> Json {
        let rows = |parts: &[Part]| parts.iter().map(|part| part.rows).sum::<u64>();
        let (all, done) = (rows(&self.parts), rows(self.parts.get(..self.done).unwrap_or_default()));
        json!({
            "id": self.id,
            "status": self.status(),
            "featureset": self.featureset(),
            "position": self.position,
            "commit": self.commit,
            "arguments": self.arguments(),
            "columns": self.columns,
            "rows_a_part": self.parts.first().map_or(0, |part| part.rows),
            "since": format_rfc3339(self.since),
            "ended": self.ended.map(format_rfc3339),
            "parts": self.parts.len(),
            "parts_done": self.done,
            "rows": all,
            "rows_done": done,
            "progress": if all == 0 { f64::from(self.status() == "done") } else { done as f64 / all as f64 },
            "bytes": self.bytes(),
            "error": self.failure.as_ref().map(|f| json!({"error": f.error, "detail": f.detail})),
        })
    }

    fn end(&mut self, now: i64, failure: Option<Failure>) {
        self.ended = Some(now);
        self.failure = failure;
    }
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Jobs {
    /// `None` where there is no data directory.
    files: Option<Files>,
    env: Arc<dyn Env>,
    jobs: Mutex<BTreeMap<String, Job>>,
    /// Held while a part is added, so that two senders of one part do not write one file.
    adding: Mutex<()>,
    wake: Mutex<Option<Sender<()>>>,
    stopping: AtomicBool,
}

impl Jobs {
    /// Those of a data directory. One whose file is not what was written is kept as one that has failed, and told.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn open(data: Option<PathBuf>, env: Arc<dyn Env>, engine: &Engine) -> Result<Jobs> {
        let files = data.map(|data| Files::new(data.join(JOBS_FOLDER)));
        let Known { jobs, damaged } = files.as_ref().map_or_else(|| Ok(Known::default()), Files::known)?;
        let mut jobs: BTreeMap<String, Job> = jobs.into_iter().map(|job| (job.id.clone(), job)).collect();
        for damaged in damaged {
            engine.events().record(Severity::Error, "job_damaged", &damaged.name, damaged.what.clone());
            jobs.extend(damaged.job(engine).map(|job| (job.id.clone(), job)));
        }
        Ok(Jobs {
            files,
            env,
            jobs: Mutex::new(jobs),
            adding: Mutex::default(),
            wake: Mutex::default(),
            stopping: AtomicBool::new(false),
        })
    }

    fn files(&self) -> Result<&Files> {
        self.files.as_ref().ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                "this engine is in memory and keeps no jobs; ask /features/offline, or open it with a data directory",
            )
        })
    }

    /// Begins one with its first part.
    ///
    /// # Errors
    /// Overloaded if there are too many, or too much of them.
    pub fn begin(&self, job: Job, labels: &[u8]) -> Result<Job> {
        let files = self.files()?;
        let _adding = self.adding.lock();
        let mut job = Job { since: self.env.now_us(), ..job };
        {
            let jobs = self.jobs.lock();
            if jobs.len() >= JOBS_MAX {
                return Err(Error::new(
                    ErrorKind::Overloaded,
                    format!("there are {} jobs already, at most {JOBS_MAX}; cancel one", jobs.len()),
                ));
            }
            check_room(&jobs, labels.len())?;
            // In the order in which they began.
            job.id = format!("j{:016x}", job.since);
            while jobs.contains_key(&job.id) {
                job.since += 1;
                job.id = format!("j{:016x}", job.since);
            }
        }
        files.put_labels(&job.id, 0, labels)?;
        files.save(&job)?;
        self.jobs.lock().insert(job.id.clone(), job.clone());
        self.wake();
        Ok(job)
    }

    /// Adds a part; one that is there already changes nothing.
    ///
    /// # Errors
    /// NotFound; Conflict if it is not the next one, or the job has ended.
    pub fn add(&self, id: &str, number: usize, part: Part, is_last: bool, labels: &[u8]) -> Result<Job> {
        let files = self.files()?;
        let _adding = self.adding.lock();
        let job = self.get(id)?;
        if number < job.parts.len() {
            return Ok(job);
        }
        if number > job.parts.len() || job.whole || job.failure.is_some() {
            let detail = match &job.failure {
                Some(failure) => failure.detail.clone(),
                None if job.whole => format!("all {} parts of job {id} are there", job.parts.len()),
                None => format!("part: expected {}, got {number}", job.parts.len()),
            };
            return Err(Error::new(ErrorKind::Conflict, detail));
        }
        check_room(&self.jobs.lock(), labels.len())?;
        files.put_labels(id, number, labels)?;
        let job = self.change(id, |job| {
            job.parts.push(part);
            job.whole = is_last;
        })?;
        self.wake();
        Ok(job)
    }

    /// One of them.
    ///
    /// # Errors
    /// NotFound.
    pub fn get(&self, id: &str) -> Result<Job> {
        let jobs = self.jobs.lock();
        jobs.get(id).cloned().ok_or_else(|| Error::not_found("job", id, jobs.keys().map(String::as_str)))
    }

    /// All of them, the oldest first.
    pub fn all(&self) -> Vec<Job> {
        self.jobs.lock().values().cloned().collect()
    }

    /// The answer to a part.
    ///
    /// # Errors
    /// NotFound if it is not there yet; what the job failed with.
    pub fn answer(&self, id: &str, number: usize) -> Result<Vec<u8>> {
        let job = self.get(id)?;
        if let Some(failure) = &job.failure {
            return Err(Error::new(ErrorKind::Conflict, format!("job {id} has failed: {}", failure.detail)));
        }
        if number >= job.done {
            let said = match number < job.parts.len() {
                true => format!("part {number} of job {id} is not computed yet: {} are", job.done),
                false => format!(
                    "job {id} has {} parts, counted from 0; there is no part {number}",
                    job.parts.len()
                ),
            };
            return Err(Error::new(ErrorKind::NotFound, said));
        }
        self.files()?.answer(id, number)
    }

    /// Ends one, and removes all of it.
    ///
    /// # Errors
    /// NotFound.
    pub fn cancel(&self, id: &str) -> Result<()> {
        let _adding = self.adding.lock();
        self.get(id)?;
        self.jobs.lock().remove(id);
        self.files()?.remove(id)
    }

    /// Changes one, also in its file.
    fn change(&self, id: &str, change: impl FnOnce(&mut Job)) -> Result<Job> {
        let mut jobs = self.jobs.lock();
        let unknown = || Error::new(ErrorKind::NotFound, format!("there is no job {id} any more"));
        let job = jobs.get_mut(id).ok_or_else(unknown)?;
        change(job);
        // A small file: what is shown must not be ahead of it.
        if !job.damaged {
            self.files()?.save(job)?;
        }
        Ok(job.clone())
    }

    /// Removes the rows of those that began before somebody was erased: they may be among them.
    ///
    /// # Errors
    /// Files that cannot be removed: the erasure must not be answered then.
    pub fn forget_erased(&self, engine: &Engine) -> Result<()> {
        let Some(files) = &self.files else { return Ok(()) };
        let erasures = erasures(engine);
        let is_old = |job: &Job| job.erasures != erasures;
        if !self.jobs.lock().values().any(is_old) {
            return Ok(());
        }
        let _adding = self.adding.lock();
        for job in self.all().into_iter().filter(is_old) {
            files.remove_rows(&job)?;
            let detail = "somebody was erased after it began, so its rows were removed; begin it again";
            let failure = Failure { error: ErrorKind::Gone.code().to_owned(), detail: detail.to_owned() };
            let now = self.env.now_us();
            self.change(&job.id, |job| {
                (job.erasures, job.bytes_out) = (erasures, 0);
                job.parts.iter_mut().for_each(|part| part.bytes = 0);
                job.end(now, Some(failure));
            })?;
        }
        Ok(())
    }

    /// Removes those that ended long ago, or whose labels have not come since.
    fn expire(&self) {
        let now = self.env.now_us();
        let is_over = |job: &Job| job.ended.or((!job.whole).then_some(job.since));
        let is_old = |job: &Job| is_over(job).is_some_and(|over| now.saturating_sub(over) > KEPT_US);
        for job in self.all().into_iter().filter(is_old) {
            // It is tried again.
            let _ = self.cancel(&job.id);
        }
    }

    fn wake(&self) {
        if let Some(wake) = &*self.wake.lock() {
            // Whoever has stopped needs no waking.
            let _ = wake.send(());
        }
    }

    fn stops(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

impl Damaged {
    /// As it is shown, if it is in a job's folder: as one that has failed. Whoever cancels it removes it.
    fn job(&self, engine: &Engine) -> Option<Job> {
        let since = i64::from_str_radix(self.name.strip_prefix('j')?, 16).ok()?;
        // Its labels may name whoever was erased after it began.
        let position = engine
            .snapshot(ReadAt::default())
            .and_then(|snapshot| engine.served_positions(&snapshot, &[EventTime(since)]))
            .map_or(Position::ZERO, |positions| positions.first().copied().unwrap_or_default());
        let after = engine.erasures_since(position).map_or(0, |(_, count)| count);
        let detail = format!("{}; cancel it to remove them", self.what);
        Some(Job {
            id: self.name.clone(),
            query: Vec::new(),
            position: String::new(),
            commit: String::new(),
            columns: Vec::new(),
            since,
            ended: None,
            erasures: erasures(engine) - after,
            parts: Vec::new(),
            whole: true,
            done: 0,
            bytes_out: self.bytes,
            failure: Some(Failure { error: ErrorKind::Corrupt.code().to_owned(), detail }),
            damaged: true,
        })
    }
}

/// How many erasures there were.
fn erasures(engine: &Engine) -> usize {
    engine.erasures_since(Position::ZERO).map_or(0, |(_, count)| count)
}

fn check_room(jobs: &BTreeMap<String, Job>, more: usize) -> Result<()> {
    let bytes = jobs.values().map(Job::bytes).sum::<u64>();
    if bytes + more as u64 <= BYTES_MAX {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Overloaded,
        format!(
            "the jobs take {bytes} bytes, and may take {BYTES_MAX}; fetch the results of some and cancel them"
        ),
    ))
}
