//! The sources of the committed datasets, and the threads that run them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;
use thyme_core::definition::{Extra, Source};
use thyme_core::{Error, Result, Schema};
use thyme_engine::{Engine, LiveDataset};

use crate::connector::Unfinished;
use crate::runner::{Runner, Shared};

/// How a source is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceStatus {
    /// The dataset it feeds.
    pub dataset: String,
    /// Which connector it is: `file`.
    pub kind: String,
    /// What it reads: a path or a glob.
    pub path: String,
    /// Rows stored, in all its life.
    pub rows: u64,
    /// Records that went to the dead letters, in all its life.
    pub dead_letters: u64,
    /// Whether everything that was there at the last look is stored.
    pub caught_up: bool,
    /// What is wrong now; reading goes on where it can.
    pub error: Option<String>,
    /// Files that end in the middle of a record, the first of them.
    pub unfinished: Vec<Unfinished>,
}

/// Runs the sources of the committed datasets, one thread each. Dropping it stops them.
pub struct Sources {
    engine: Arc<Engine>,
    /// By dataset and stream.
    running: Mutex<BTreeMap<(String, String), Running>>,
}

/// What a thread was started with; another one is started when this changes.
#[derive(Clone, PartialEq)]
struct Spec {
    stream: String,
    dataset: u32,
    kind: String,
    options: BTreeMap<String, String>,
    fields: Schema,
    extra: Extra,
}

struct Running {
    spec: Spec,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.status()).finish()
    }
}

impl Spec {
    fn of(dataset: &LiveDataset, source: &Source) -> Spec {
        let definition = &dataset.definition;
        Spec {
            stream: definition.stream_of(source),
            dataset: dataset.id,
            kind: source.kind.clone(),
            options: source.options.clone(),
            fields: definition.fields.clone(),
            extra: definition.extra,
        }
    }
}

impl Running {
    #[expect(
        clippy::disallowed_methods,
        reason = "each source is a thread of its own, joined when it is stopped"
    )]
    fn start(engine: &Arc<Engine>, dataset: &Arc<LiveDataset>, source: &Source, spec: Spec) -> Running {
        let shared = Arc::new(Shared::default());
        let runner = Runner {
            engine: engine.clone(),
            dataset: dataset.clone(),
            source: source.clone(),
            stream: spec.stream.as_str().into(),
            shared: shared.clone(),
        };
        Running { spec, shared, thread: Some(std::thread::spawn(move || runner.run())) }
    }

    /// Waits for the thread to end; it has been told to.
    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // A panic was caught inside and is in the status.
            let _ = thread.join();
        }
    }
}

impl Sources {
    /// Starts the sources of what is committed.
    pub fn new(engine: Arc<Engine>) -> Sources {
        let sources = Sources { engine, running: Mutex::default() };
        sources.refresh();
        sources
    }

    /// To be called after a commit: starts new sources, restarts changed ones, stops removed ones. A
    /// source whose path has changed starts from the beginning: it is another stream.
    pub fn refresh(&self) {
        // First: of two commits at once, the one that comes second must not stop what it has not seen.
        let mut running = self.running.lock();
        let catalog = self.engine.catalog();
        let wanted: BTreeMap<(String, String), (&Arc<LiveDataset>, &Source, Spec)> = catalog
            .sources()
            .map(|(dataset, source)| {
                let spec = Spec::of(dataset, source);
                ((dataset.definition.name.clone(), spec.stream.clone()), (dataset, source, spec))
            })
            .collect();
        type Name = (String, String);
        let is_wanted =
            |name: &Name, r: &Running| wanted.get(name).is_some_and(|(_, _, spec)| *spec == r.spec);
        let gone: Vec<Name> =
            running.iter().filter(|(name, r)| !is_wanted(name, r)).map(|(name, _)| name.clone()).collect();
        stop_all(gone.iter().filter_map(|name| running.remove(name)).collect());
        for (name, (dataset, source, spec)) in wanted {
            running.entry(name).or_insert_with(|| Running::start(&self.engine, dataset, source, spec));
        }
    }

    /// How each source is doing, by dataset and path.
    pub fn status(&self) -> Vec<SourceStatus> {
        let running = self.running.lock();
        let status = running.iter().map(|((dataset, _), r)| {
            let state = r.shared.state();
            SourceStatus {
                dataset: dataset.clone(),
                kind: r.spec.kind.clone(),
                path: r.spec.options.get("path").cloned().unwrap_or_default(),
                rows: state.totals.rows,
                dead_letters: state.totals.dead_letters,
                caught_up: state.caught_up,
                error: state.error,
                unfinished: state.unfinished,
            }
        });
        status.collect()
    }

    /// Waits until each source has read, and the engine has applied, what was there when this was called;
    /// false when that takes longer than `limit`. A file that cannot be read is not waited for: it is in the
    /// status.
    ///
    /// # Errors
    /// Unavailable: the engine applies nothing any more, or a source has stopped by itself.
    #[expect(clippy::disallowed_methods, reason = "bounds a wait; no value depends on it")]
    pub fn wait_caught_up(&self, limit: Duration) -> Result<bool> {
        let deadline = Instant::now() + limit;
        let left = || deadline.saturating_duration_since(Instant::now());
        let asked: Vec<(Arc<Shared>, u64)> =
            self.running.lock().values().map(|r| (r.shared.clone(), r.shared.ask())).collect();
        let mut record = 0;
        for (shared, number) in asked {
            let answered = shared.wait_answered(number, left());
            let state = shared.state();
            if let Some(reason) = state.ended {
                return Err(Error::unavailable(reason));
            }
            if !answered {
                return Ok(false);
            }
            record = record.max(state.record);
        }
        while self.engine.records().1 < record {
            if let Some(reason) = self.engine.failure() {
                return Err(Error::unavailable(reason));
            }
            if left().is_zero() {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(1).min(left()));
        }
        Ok(true)
    }

    /// Stops all sources, each after the batch it is at. They go on there when [`Sources::refresh`] starts them again.
    pub fn stop(&self) {
        let running = std::mem::take(&mut *self.running.lock());
        stop_all(running.into_values().collect());
    }
}

impl Drop for Sources {
    fn drop(&mut self) {
        self.stop();
    }
}

fn stop_all(mut running: Vec<Running>) {
    running.iter().for_each(|r| r.shared.stop());
    running.iter_mut().for_each(Running::join);
}
