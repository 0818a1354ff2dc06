//! The application behind the doors: an engine, its readers and its sources.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use thyme_core::{Env, Error, Result, SystemEnv, Value};
use thyme_engine::attached::AttachedLog;
use thyme_engine::{Clock, Engine, KEYS, Memory, Options, Starting, Step};
use thyme_query::{ExtractorHost, Reader};
use thyme_sources::Sources;

use crate::access::Keyring;
use crate::actions::Actions;
use crate::damage;
use crate::jobs::{Jobs, Runner};
use crate::metrics::Metrics;
use crate::names::OldNames;
use crate::request::{Reply, Request};
use crate::routes;
use crate::runs::{BYTES_MAX, Callers, Recorder};
use crate::verifier::{Verified, Verifier};
use crate::waiting::Waiting;

/// How an application is opened.
#[derive(Clone, Debug)]
pub struct AppOptions {
    /// The data directory; `None` keeps everything in memory.
    pub path: Option<PathBuf>,
    /// How much memory to take; see [`Options::memory`].
    pub memory: Option<Memory>,
    /// A log in memory to go on from; then there is no `path`.
    pub attached: Option<AttachedLog>,
    /// What "now" is.
    pub clock: Clock,
    /// How many shards; 0 means one a core.
    pub shards: usize,
    /// How many cores new pipelines are filled with; 0 means half of them.
    pub backfill_cores: usize,
    /// "Now" fixed to this, for tests.
    pub now_us: Option<i64>,
    /// Whether committed sources are run.
    pub run_sources: bool,
    /// How often some values are verified in the background; `None`: never.
    pub verify_every: Option<Duration>,
    /// How often checkpoints are made; `None` suits most.
    pub checkpoint_every: Option<Duration>,
    /// The size at which a segment of the log is closed; `None` suits most.
    pub segment_bytes: Option<u64>,
    /// Keys that may do everything, beside those that are made.
    pub api_keys: Vec<String>,
    /// How many bytes of query runs are kept on disk; `None` suits most.
    pub query_runs_bytes: Option<u64>,
}

impl Default for AppOptions {
    fn default() -> Self {
        AppOptions {
            path: None,
            attached: None,
            memory: None,
            clock: Clock::Wall,
            shards: 0,
            backfill_cores: 0,
            now_us: None,
            run_sources: true,
            verify_every: None,
            checkpoint_every: None,
            segment_bytes: None,
            api_keys: Vec::new(),
            query_runs_bytes: None,
        }
    }
}

/// What is ready once the engine is open.
#[derive(Debug)]
pub(crate) struct Ready {
    pub reader: Reader,
    pub sources: Option<Sources>,
    pub metrics: Arc<Metrics>,
    pub verified: Verified,
    pub old_names: Arc<OldNames>,
    pub keys: Keyring,
    pub jobs: Arc<Jobs>,
    pub actions: Actions,
    pub runs: Arc<Recorder>,
    pub waiting: Waiting,
    /// Held while the values of a plan are computed.
    pub previewing: Mutex<()>,
}

impl Ready {
    pub fn engine(&self) -> &Arc<Engine> {
        self.reader.engine()
    }
}

#[derive(Debug)]
enum Phase {
    Opening(Starting),
    Ready(Arc<Ready>),
    Failed(Error),
    Closed,
}

/// A whole Thyme in this process.
#[derive(Debug)]
pub struct App {
    phase: RwLock<Phase>,
    pub(crate) env: Arc<dyn Env>,
    pub(crate) metrics: Arc<Metrics>,
    verifier: Mutex<Option<Verifier>>,
    runner: Mutex<Option<Runner>>,
}

impl App {
    /// An application that is not open yet: it answers 503 until [`App::open`] is through.
    pub fn opening() -> App {
        App {
            phase: RwLock::new(Phase::Opening(Starting::default())),
            env: Arc::new(SystemEnv),
            metrics: Arc::default(),
            verifier: Mutex::new(None),
            runner: Mutex::new(None),
        }
    }

    /// Opens the engine and starts the sources.
    ///
    /// # Errors
    /// As [`Engine::open`]; the application then answers with that error.
    pub fn open(&self, options: AppOptions, host: Arc<dyn ExtractorHost>) -> Result<()> {
        let every = options.verify_every;
        let starting = match &*self.phase.read() {
            Phase::Opening(starting) => starting.clone(),
            _ => Starting::default(),
        };
        let opened = Self::ready(options, starting, host, self);
        let mut phase = self.phase.write();
        match opened {
            Ok(ready) => {
                let ready = Arc::new(ready);
                let told = Arc::downgrade(&ready);
                ready.engine().on_live(move || {
                    let ready = told.upgrade();
                    ready.iter().filter_map(|ready| ready.sources.as_ref()).for_each(Sources::refresh);
                });
                // One that was pending may have gone live before anybody was told.
                ready.sources.iter().for_each(Sources::refresh);
                *self.runner.lock() = Runner::start(&ready);
                *self.verifier.lock() = every.map(|every| Verifier::start(&ready, every));
                *phase = Phase::Ready(ready);
                Ok(())
            }
            Err(error) => {
                *phase = Phase::Failed(error.clone());
                Err(error)
            }
        }
    }

    fn ready(
        options: AppOptions,
        starting: Starting,
        host: Arc<dyn ExtractorHost>,
        app: &App,
    ) -> Result<Ready> {
        let data = options.path.clone();
        let mut opening = Options {
            path: options.path,
            attached: options.attached,
            memory: options.memory,
            shards: options.shards,
            backfill_cores: options.backfill_cores,
            clock: options.clock,
            env: app.env.clone(),
            starting,
            ..Options::default()
        };
        opening.checkpoint_every = options.checkpoint_every.unwrap_or(opening.checkpoint_every);
        opening.log.segment_bytes = options.segment_bytes.unwrap_or(opening.log.segment_bytes);
        let engine = Engine::open(opening)?;
        engine.set_now(options.now_us);
        let engine = Arc::new(engine);
        let actions = Actions::open(data.as_deref(), app.env.clone())?;
        let bytes_max = options.query_runs_bytes.unwrap_or(BYTES_MAX);
        let callers = Callers::kept_in(&engine)?;
        let runs = Recorder::open(data.as_deref(), bytes_max, app.env.clone(), callers)?;
        let keys = Keyring::open(engine.sealed_file(KEYS), &options.api_keys, app.env.clone())?;
        let old_names = OldNames::kept_in(&engine)?;
        let jobs = Arc::new(Jobs::open(data, app.env.clone(), &engine)?);
        damage::tell(&engine, &actions, &runs);
        let reader = Reader::new(engine.clone(), host);
        let sources = options.run_sources.then(|| Sources::new(engine));
        if let Some(sources) = &sources {
            sources.refresh();
        }
        Ok(Ready {
            reader,
            sources,
            metrics: app.metrics.clone(),
            verified: Verified::default(),
            old_names,
            keys,
            jobs,
            actions,
            runs,
            waiting: Waiting::default(),
            previewing: Mutex::default(),
        })
    }

    /// What answers requests, once it is open.
    ///
    /// # Errors
    /// Unavailable while opening or closed; what opening failed with.
    pub(crate) fn ready_now(&self) -> Result<Arc<Ready>> {
        match &*self.phase.read() {
            Phase::Ready(ready) => Ok(ready.clone()),
            Phase::Opening(starting) => {
                let step = starting.step();
                Err(Error::unavailable(format!(
                    "the server is starting ({step}); nothing was done: retry in a moment"
                )))
            }
            Phase::Failed(error) => Err(error.clone()),
            Phase::Closed => Err(Error::unavailable("the server is stopping")),
        }
    }

    /// How far it is on its way to being ready; `None` once it is, or when it will not be.
    pub(crate) fn starting(&self) -> Option<Step> {
        match &*self.phase.read() {
            Phase::Opening(starting) => Some(starting.step()),
            _ => None,
        }
    }

    /// Answers a request in the calling thread.
    #[expect(clippy::disallowed_methods, reason = "measures; no value depends on it")]
    pub fn request(&self, request: &Request) -> Reply {
        self.request_since(Instant::now(), request)
    }

    /// [`App::request`] for a request that was whole at `arrived`.
    pub(crate) fn request_since(&self, arrived: Instant, request: &Request) -> Reply {
        let mut reply = routes::dispatch(self, request);
        let took = arrived.elapsed();
        let parts = request.noted.take();
        if !parts.is_empty()
            && reply.status == 200
            && let Ok(ready) = self.ready_now()
        {
            let endpoint = format!("{} {}", request.method, request.path);
            let id = ready.runs.take(endpoint, request.caller.clone(), took, parts);
            reply.headers.push(("x-query-run-id", id));
        }
        self.metrics.answered(&request.method, &request.path, reply.status, took);
        reply
    }

    /// What was verified since the start: by feature and field, how many values were the same and how many not.
    ///
    /// # Errors
    /// Unavailable when it is not open.
    pub fn verified(&self) -> Result<Vec<(String, u64, u64)>> {
        Ok(self.ready_now()?.verified.by_name())
    }

    /// Fixes "now" for online reads, or frees it.
    ///
    /// # Errors
    /// Unavailable when it is not open.
    pub fn set_now(&self, now_us: Option<i64>) -> Result<()> {
        self.ready_now()?.engine().set_now(now_us);
        Ok(())
    }

    /// As [`Engine::panic_for_test`], for an entity whose key is a text.
    ///
    /// # Errors
    /// Unavailable when it is not open.
    #[doc(hidden)]
    pub fn panic_for_test(&self, dataset: &str, key: &str) -> Result<()> {
        self.ready_now()?.engine().panic_for_test(dataset, &[Value::Str(key.into())])
    }

    /// Stops the sources, finishes what was submitted, makes a checkpoint, and closes. Waits for requests
    /// that still run.
    pub fn close(&self) {
        let before = std::mem::replace(&mut *self.phase.write(), Phase::Closed);
        if let Some(verifier) = self.verifier.lock().take() {
            verifier.stop();
        }
        if let Some(runner) = self.runner.lock().take() {
            runner.stop();
        }
        if let Phase::Ready(ready) = before {
            if let Some(sources) = &ready.sources {
                sources.stop();
            }
            // What it counts is kept by the engine.
            ready.runs.close();
            ready.engine().close();
        }
    }
}
