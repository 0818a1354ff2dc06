//! How an engine is opened.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thyme_core::{Env, Error, Result, SystemEnv};

use crate::gate::NowSource;
use crate::memory::Memory;
use crate::starting::Starting;

/// What "now" is for online reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Clock {
    /// The machine's clock.
    #[default]
    Wall,
    /// The largest event time seen in the datasets named, or in all of them.
    Event(Option<Vec<String>>),
}

impl Clock {
    /// Reads `wall`, `event`, or `event=A,B`.
    ///
    /// # Errors
    /// Anything else.
    pub fn parse(text: &str) -> Result<Clock> {
        match text.split_once('=') {
            None if text == "wall" => Ok(Clock::Wall),
            None if text == "event" => Ok(Clock::Event(None)),
            Some(("event", names)) if names.split(',').all(|n| !n.trim().is_empty()) => {
                Ok(Clock::Event(Some(names.split(',').map(|n| n.trim().to_owned()).collect())))
            }
            _ => Err(Error::invalid_data(format!(
                "\"{text}\" is not a clock: expected \"wall\", \"event\" or \"event=DatasetA,DatasetB\""
            ))),
        }
    }

    pub(crate) fn counts(&self, dataset: &str) -> bool {
        match self {
            Clock::Wall => false,
            Clock::Event(None) => true,
            Clock::Event(Some(names)) => names.iter().any(|n| n == dataset),
        }
    }

    pub(crate) fn now_source(&self) -> NowSource {
        match self {
            Clock::Wall => NowSource::Wall,
            Clock::Event(_) => NowSource::Event,
        }
    }
}

/// How often checkpoints are made, unless said otherwise.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(10);

/// How an engine is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data directory; `None` keeps everything in memory.
    pub path: Option<PathBuf>,
    /// Durable parts other than those of a data directory; then there is no `path`.
    pub parts: Option<Parts>,
    /// A log in memory to go on from, instead of an empty one; then there is neither `path` nor `parts`.
    pub attached: Option<crate::attached::AttachedLog>,
    /// How much memory to take; `None` is half of the machine's if there is a path, and otherwise no limit.
    pub memory: Option<Memory>,
    /// How many shards; 0 means one a core.
    pub shards: usize,
    /// How many cores new pipelines are filled with; 0 means half of them, at least one.
    pub backfill_cores: usize,
    /// What "now" is.
    pub clock: Clock,
    /// A checkpoint is made this often if anything changed.
    pub checkpoint_every: Duration,
    /// How the log of a data directory is kept.
    pub log: thyme_log::Options,
    /// The outside world.
    pub env: Arc<dyn Env>,
    /// Where opening says how far it is.
    pub starting: Starting,
}

/// What a durable engine keeps its bytes in.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The directory of the log's segment files.
    pub log: Arc<dyn thyme_log::Disk>,
    /// How the log uses it.
    pub log_options: thyme_log::Options,
    /// What the timelines rest in.
    pub store: Arc<dyn thyme_store::Backend>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            path: None,
            parts: None,
            attached: None,
            memory: None,
            shards: 0,
            backfill_cores: 0,
            clock: Clock::Wall,
            checkpoint_every: CHECKPOINT_EVERY,
            log: thyme_log::Options::default(),
            env: Arc::new(SystemEnv),
            starting: Starting::default(),
        }
    }
}

impl Options {
    /// The memory to take, if there is a limit.
    pub(crate) fn memory(&self) -> Option<Memory> {
        self.memory.or_else(|| self.path.is_some().then(Memory::of_machine))
    }
}
