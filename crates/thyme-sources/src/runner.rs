//! One source's thread: looks, reads, submits; at most one batch waits for the disk while the next is read.
//!
//! One, because a batch that was stored after one that was not would carry the cursor over the gap.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use thyme_core::definition::Source;
use thyme_core::{Error, Result, SystemEnv};
use thyme_engine::{Engine, LiveDataset, Receipt, Severity, SourceBatch};

use crate::connector::{self, Connector, Effort, Next, Opening, Read, Totals, Unfinished};

/// How long an idle source sleeps between two looks.
const IDLE: Duration = Duration::from_millis(200);
/// How long the engine gets to apply what it has, between two checks whether to stop.
const SETTLING: Duration = Duration::from_millis(2);
/// The pauses after a batch that could not be stored.
const BACKOFF: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// What the thread and its owner tell each other.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// The owner wants something.
    wake: Condvar,
    /// The thread has got somewhere.
    news: Condvar,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub totals: Totals,
    pub caught_up: bool,
    pub error: Option<String>,
    pub unfinished: Vec<Unfinished>,
    /// The record of the last batch that was stored.
    pub record: u64,
    /// Looks that were asked for, and the last of them after which all was read and stored.
    asked: u64,
    answered: u64,
    stop: bool,
    /// Why the thread ended by itself.
    pub ended: Option<String>,
}

impl Shared {
    pub fn state(&self) -> State {
        self.state.lock().clone()
    }

    /// Asks for a look at everything; the number is for [`Shared::wait_answered`].
    pub fn ask(&self) -> u64 {
        let mut state = self.state.lock();
        state.asked += 1;
        self.wake.notify_all();
        state.asked
    }

    /// Waits for the thread to have read what look `number` found; false when the time is over, or the thread
    /// is told to end.
    pub fn wait_answered(&self, number: u64, limit: Duration) -> bool {
        let mut state = self.state.lock();
        let pending = |s: &mut State| s.answered < number && s.ended.is_none() && !s.stop;
        self.news.wait_while_for(&mut state, pending, limit);
        state.answered >= number
    }

    /// Tells the thread to end, and those who wait for it not to.
    pub fn stop(&self) {
        self.update(|state| state.stop = true);
        self.wake.notify_all();
    }

    fn is_stopping(&self) -> bool {
        self.state.lock().stop
    }

    fn sleep(&self, time: Duration) {
        let mut state = self.state.lock();
        if !state.stop {
            self.wake.wait_for(&mut state, time);
        }
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock());
        self.news.notify_all();
    }
}

/// A batch that the engine has and has not answered for.
struct InFlight {
    answer: Receiver<Result<Receipt>>,
    cursor: Vec<u8>,
    totals: Totals,
    complaint: Option<String>,
}

pub(crate) struct Runner {
    pub engine: Arc<Engine>,
    pub dataset: Arc<LiveDataset>,
    pub source: Source,
    pub stream: Arc<str>,
    pub shared: Arc<Shared>,
}

impl Runner {
    /// Runs until told to stop.
    pub fn run(self) {
        let ended = match catch_unwind(AssertUnwindSafe(|| self.read())) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "a fault of Thyme itself".to_owned(),
        };
        let reason = format!("the source has stopped: {ended}");
        let name = &self.dataset.definition.name;
        self.engine.events().record(
            Severity::Error,
            "source_stopped",
            name,
            format!("dataset {name}: {reason}"),
        );
        self.shared.update(|state| {
            state.error = Some(reason.clone());
            state.ended = Some(reason);
        });
    }

    fn read(&self) -> Result<()> {
        self.wait_applied();
        let mut stored = self.engine.cursor(&self.stream);
        let mut backoff = BACKOFF;
        while !self.shared.is_stopping() {
            let mut connector = self.open(stored.as_deref())?;
            let totals = connector.totals();
            self.shared.update(|state| state.totals = totals);
            let before = stored.clone();
            let Err(error) = self.follow(connector.as_mut(), &mut stored) else { return Ok(()) };
            if stored != before {
                backoff = BACKOFF;
            }
            let sentence = format!("rows cannot be stored: {error}; they are read again");
            let name = &self.dataset.definition.name;
            self.engine.events().record(
                Severity::Warning,
                "source_retries",
                name,
                format!("dataset {name}: {sentence}"),
            );
            self.shared.update(|state| {
                state.caught_up = false;
                state.error = Some(sentence);
            });
            self.shared.sleep(backoff);
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
        Ok(())
    }

    fn open(&self, cursor: Option<&[u8]>) -> Result<Box<dyn Connector>> {
        connector::open(Opening {
            dataset: self.dataset.clone(),
            source: &self.source,
            cursor,
            events: self.engine.events().clone(),
            env: Arc::new(SystemEnv),
        })
    }

    /// The engine knows the cursor of the last batch that it has applied, so it has to apply them all first.
    fn wait_applied(&self) {
        let (last, _) = self.engine.records();
        let is_behind = || {
            let (written, applied) = self.engine.records();
            applied < last.min(written)
        };
        while is_behind() && self.engine.failure().is_none() && !self.shared.is_stopping() {
            self.shared.sleep(SETTLING);
        }
    }

    /// Reads until told to stop. `stored` is kept at the cursor of the last batch that was stored.
    fn follow(&self, connector: &mut dyn Connector, stored: &mut Option<Vec<u8>>) -> Result<()> {
        loop {
            let asked = self.shared.state.lock().asked;
            let is_new = self.shared.state.lock().answered < asked || asked == 0;
            connector.look(if is_new { Effort::Full } else { Effort::Usual });
            let mut in_flight: Option<InFlight> = None;
            let read = loop {
                if self.shared.is_stopping() {
                    break Ok(());
                }
                match connector.next() {
                    Ok(Next::End) => break Ok(()),
                    Ok(Next::Again) => {}
                    Ok(Next::Read(read)) => {
                        self.settle(in_flight.take(), stored)?;
                        in_flight = Some(self.submit(*read)?);
                        let error = connector.error();
                        self.shared.update(|state| {
                            state.error = error;
                            state.caught_up = false;
                        });
                    }
                    Err(error) => break Err(error),
                }
            };
            self.settle(in_flight, stored)?;
            read?;
            if self.shared.is_stopping() {
                return Ok(());
            }
            let (error, waiting) = (connector.error(), connector.is_waiting());
            let unfinished = connector.unfinished();
            self.shared.update(|state| {
                state.error = error;
                state.unfinished = unfinished;
                state.caught_up = !waiting;
                if !waiting {
                    state.answered = asked;
                }
            });
            let mut state = self.shared.state.lock();
            if !state.stop && (state.asked == asked || waiting) {
                self.shared.wake.wait_for(&mut state, IDLE);
            }
        }
    }

    fn submit(&self, read: Read) -> Result<InFlight> {
        let Read { batch, dead_letters, cursor, totals } = read;
        let complaint = dead_letters.first().map(|first| {
            let n = dead_letters.len();
            let what = if n == 1 { "1 record".to_owned() } else { format!("{n} records") };
            let name = &self.dataset.definition.name;
            format!(
                "dataset {name}: {what} could not be read and went to the dead letters, first {}: {}",
                first.origin, first.reason
            )
        });
        let rows = SourceBatch { stream: self.stream.clone(), cursor: cursor.clone(), dead_letters, batch };
        let push = self.engine.read_source(&self.dataset, rows)?;
        let (sender, answer) = sync_channel(1);
        self.engine.submit(push, move |result| {
            // The receiver is only gone when the thread is.
            let _ = sender.send(result);
        });
        Ok(InFlight { answer, cursor, totals, complaint })
    }

    /// Waits for the answer about a batch.
    fn settle(&self, in_flight: Option<InFlight>, stored: &mut Option<Vec<u8>>) -> Result<()> {
        let Some(InFlight { answer, cursor, totals, complaint }) = in_flight else { return Ok(()) };
        let receipt = answer.recv().map_err(|_| Error::unavailable("the server is stopping"))??;
        *stored = Some(cursor);
        self.shared.update(|state| {
            state.totals = totals;
            state.record = receipt.position.record();
        });
        if let Some(complaint) = complaint {
            let name = &self.dataset.definition.name;
            self.engine.events().record(Severity::Warning, "dead_letters", name, complaint);
        }
        Ok(())
    }
}
