//! Verification in the background: a few values a minute, off the path of requests, with little of one core.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value as Json, json};
use thyme_audit::{Options, Report, Round};
use thyme_core::{ErrorKind, Result};
use thyme_engine::{ReadAt, Severity, Snapshot};

use crate::app::Ready;
use crate::exposition::{Exposition, Kind};

/// How often a server verifies if nobody says otherwise.
pub const VERIFY_EVERY: Duration = Duration::from_secs(60);
/// Values of each dataset and featureset that a round compares.
const SAMPLES: usize = 20;
/// The most log that one run reads; the next goes on from there, and compares once the whole of it is read.
const BYTES_A_RUN: u64 = 64 << 20;
/// Records between two rests.
const RECORDS_A_STEP: u64 = 4;
/// It rests this many times as long as it worked: a fiftieth of a core.
const REST: u32 = 49;

/// What was verified since the start, in the background and on demand.
#[derive(Debug, Default)]
pub struct Verified {
    /// By feature and field: how many values were the same, and how many not.
    counts: Mutex<BTreeMap<String, (u64, u64)>>,
    rounds: Mutex<u64>,
}

impl Verified {
    /// Counts what a verification came to.
    pub(crate) fn note(&self, report: &Report) {
        let mut counts = self.counts.lock();
        for item in report.checked.iter().filter(|c| c.checked > 0) {
            let (same, different) = counts.entry(item.name.clone()).or_default();
            *same += item.checked - item.different;
            *different += item.different;
        }
        *self.rounds.lock() += 1;
    }

    /// By feature and field: how many values were the same, and how many not.
    pub fn by_name(&self) -> Vec<(String, u64, u64)> {
        self.counts.lock().iter().map(|(name, (same, different))| (name.clone(), *same, *different)).collect()
    }

    /// For `/api/v1/status`.
    pub(crate) fn summary(&self) -> Json {
        let counts = self.by_name();
        let checked: u64 = counts.iter().map(|(_, same, different)| same + different).sum();
        let different: u64 = counts.iter().map(|(_, _, different)| different).sum();
        let wrong: Vec<&String> = counts.iter().filter(|(_, _, n)| *n > 0).map(|(name, ..)| name).collect();
        json!({"rounds": *self.rounds.lock(), "checked": checked, "different": different, "wrong": wrong})
    }
}

/// The families of `/metrics`.
pub(crate) fn expose(ready: &Ready, out: &mut Exposition) {
    let help =
        "Values compared with what the log says, by what came of it; result=\"different\" must stay 0.";
    let mut family = out.family("thyme_verified_total", Kind::Counter, help);
    for (name, same, different) in ready.verified.by_name() {
        family.sample(&[("feature", &name), ("result", "same")], same);
        family.sample(&[("feature", &name), ("result", "different")], different);
    }
}

/// Raises an event for each feature and field of which values differ. It names no entity's key.
pub(crate) fn raise(ready: &Ready, report: &Report) {
    for item in report.checked.iter().filter(|c| c.different > 0) {
        let Some(first) = report.differences.iter().find(|d| d.name == item.name) else { continue };
        let message = format!(
            "{} of {} values of {} are not what the log says; the first is of the entity with the hash {} at T = {}, S = {}; `thyme verify` shows them",
            item.different,
            item.checked,
            item.name,
            first.entity_hash(),
            first.time.to_rfc3339(),
            first.position
        );
        ready.engine().events().record(Severity::Error, "verify_difference", &item.name, message);
    }
}

/// The thread that verifies.
#[derive(Debug)]
pub(crate) struct Verifier {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Verifier {
    /// Starts it.
    #[expect(clippy::disallowed_methods, reason = "the thread that verifies starts here")]
    pub fn start(ready: &Arc<Ready>, every: Duration) -> Verifier {
        let (stop, stopped) = channel();
        let ready = Arc::downgrade(ready);
        let thread = std::thread::spawn(move || run(&ready, every, &stopped));
        Verifier { stop, thread }
    }

    /// Stops it, and waits for what it is at.
    pub fn stop(self) {
        drop(self.stop);
        // A panic was reported where it happened.
        let _ = self.thread.join();
    }
}

fn run(ready: &Weak<Ready>, every: Duration, stopped: &Receiver<()>) {
    let mut state = None;
    let mut seed = 0;
    while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(every) {
        let Some(ready) = ready.upgrade() else { return };
        if let Err(error) = step(&ready, &mut state, &mut seed, stopped) {
            state = None;
            if error.kind() == ErrorKind::Gone {
                // What it was about to look at was removed meanwhile; the next round begins after it.
                continue;
            }
            let message = format!("values could not be verified: {error}");
            ready.engine().events().record(Severity::Warning, "verify_failed", "verify", message);
        }
    }
}

/// Goes on with a round, or begins one; compares when the log is read.
fn step(ready: &Ready, state: &mut Option<Round>, seed: &mut u64, stopped: &Receiver<()>) -> Result<()> {
    let snapshot = ready.engine().snapshot(ReadAt::default())?;
    if snapshot.catalog.commit.is_empty() {
        return Ok(());
    }
    let begin = |snapshot: &Snapshot, seed: u64| {
        let options = Options { reference: None, samples: SAMPLES, seed };
        Round::new(ready.engine(), snapshot, options)
    };
    let mut round = match state.take().filter(|round| round.is_under(&snapshot.catalog)) {
        Some(round) => round,
        None => {
            *seed += 1;
            begin(&snapshot, *seed)?
        }
    };
    let budget = round.pass.bytes() + BYTES_A_RUN;
    if !advance(ready, &mut round, budget, stopped)? {
        *state = Some(round);
        return Ok(());
    }
    let mut report = round.compare(&ready.reader, &snapshot)?;
    if report.different() > 0 {
        // Twice, so that what was removed between the reading and the comparison is no difference.
        let snapshot = ready.engine().snapshot(ReadAt::default())?;
        let mut again = begin(&snapshot, *seed)?;
        if !advance(ready, &mut again, u64::MAX, stopped)? {
            return Ok(());
        }
        report = again.compare(&ready.reader, &snapshot)?;
        raise(ready, &report);
    }
    ready.verified.note(&report);
    Ok(())
}

/// Reads the log in small steps with long rests; true when all of it is read.
#[expect(clippy::disallowed_methods, reason = "measures how long to rest; no value depends on it")]
fn advance(ready: &Ready, round: &mut Round, budget: u64, stopped: &Receiver<()>) -> Result<bool> {
    loop {
        let worked = Instant::now();
        if round.pass.advance(ready.engine(), RECORDS_A_STEP)? {
            return Ok(true);
        }
        if round.pass.bytes() >= budget {
            return Ok(false);
        }
        let rest = worked.elapsed().saturating_mul(REST);
        if !matches!(stopped.recv_timeout(rest), Err(RecvTimeoutError::Timeout)) {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{App, AppOptions};
    use crate::request::Request;
    use thyme_core::{Position, Value};
    use thyme_query::NoExtractors;

    fn post(app: &App, path: &str, body: &Json) {
        let body = body.to_string().into_bytes().into();
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        let reply = app.request(&Request::new("POST", path, headers, body));
        assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    }

    fn app() -> App {
        let app = App::opening();
        app.open(AppOptions::default(), Arc::new(NoExtractors)).unwrap();
        let field = |name: &str, kind: &str, role: &str| json!({"name": name, "type": kind, "role": role});
        let fields =
            [field("k", "str", "key"), field("x", "int", "value"), field("at", "datetime", "timestamp")];
        let dataset = json!({"name": "Event", "index": true, "fields": fields});
        post(&app, "/api/v1/commit", &json!({"format": 1, "datasets": [dataset]}));
        let event = |i: i64| json!({"k": format!("secret{}", i % 3), "x": i, "at": 1_773_568_800 + i});
        let events: Vec<Json> = (0..30).map(event).collect();
        post(&app, "/api/v1/log", &json!({"dataset": "Event", "events": events}));
        // What is acknowledged is not visible yet; the rounds are to see it.
        let min_position = Some(Position::end_of(2));
        app.ready_now().unwrap().engine().snapshot(ReadAt { min_position, ..ReadAt::default() }).unwrap();
        app
    }

    /// Steps until another round is through.
    fn round(ready: &Ready, state: &mut Option<Round>) {
        let (_stop, stopped) = channel();
        let (mut seed, before) = (0, *ready.verified.rounds.lock());
        while *ready.verified.rounds.lock() == before {
            step(ready, state, &mut seed, &stopped).unwrap();
        }
    }

    #[test]
    fn a_difference_is_counted_and_raised_without_the_key() {
        let app = app();
        let ready = app.ready_now().unwrap();
        let mut state = None;
        round(&ready, &mut state);
        assert_eq!(app.verified().unwrap(), [("Event.x".to_owned(), SAMPLES as u64, 0)]);
        assert_eq!(ready.engine().events().list(10, |e| e.event_type == "verify_difference").len(), 0);

        for key in ["secret0", "secret1", "secret2"] {
            ready.engine().damage_for_test("Event", &[Value::Str(key.into())]).unwrap();
        }
        round(&ready, &mut state);
        let (_, _, different) = app.verified().unwrap().remove(0);
        assert!(different > 0);
        let events = ready.engine().events().list(10, |e| e.event_type == "verify_difference");
        assert_eq!((events[0].severity, events[0].subject.as_str()), (Severity::Error, "Event.x"));
        assert!(events[0].message.contains("S = e2") && !events[0].message.contains("secret"));
        assert_eq!(ready.verified.summary()["wrong"], json!(["Event.x"]));
        let reply = app.request(&Request::new("GET", "/metrics", Vec::new(), Default::default()));
        let text = String::from_utf8(reply.body).unwrap();
        let line = format!("thyme_verified_total{{feature=\"Event.x\",result=\"different\"}} {different}\n");
        assert!(text.contains(&line), "{text}");
    }
}
