//! What callers did to a server, and who it was: commits, erasures, changes of keys. Durable, unlike the engine's own
//! events, which it is listed with.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use thyme_core::definition::evolution::ChangeKind;
use thyme_core::time::format_rfc3339;
use thyme_core::{Env, Error, Result};
use thyme_engine::{Engine, Planned, Severity};

use crate::access::Caller;
use crate::app::Ready;
use crate::request::Request;
use crate::trail::{Bounds, Sync, Trail};

/// Its folder in the data directory.
pub(crate) const FOLDER: &str = "audit";
/// Enough for a hundred thousand actions and more.
const BOUNDS: Bounds = Bounds { segment_bytes: 4 << 20, bytes_max: 64 << 20 };
/// Changes of a commit that are named.
const NAMED_MAX: usize = 10;
/// So many are listed.
const LISTED_MAX: usize = 10_000;

/// Something that somebody did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Action {
    number: u64,
    /// Microseconds since the epoch.
    pub time: i64,
    pub event_type: String,
    pub subject: String,
    pub message: String,
    /// Who it was: `key 3f9a01c2`.
    pub by: String,
}

impl Action {
    /// As `/api/v1/events` has it.
    pub fn shown(&self) -> Json {
        json!({
            "time": format_rfc3339(self.time),
            "severity": Severity::Info,
            "event_type": self.event_type,
            "subject": self.subject,
            "message": self.message,
            "by": self.by,
        })
    }
}

/// All of them, the newest in memory.
#[derive(Debug)]
pub(crate) struct Actions {
    env: Arc<dyn Env>,
    /// `None`: in memory alone.
    trail: Option<Trail>,
    newest: Mutex<Newest>,
}

#[derive(Debug)]
struct Newest {
    actions: VecDeque<Action>,
    /// The number of the one that comes next.
    next: u64,
}

impl Actions {
    /// Those of the data directory `data`, as far as they are what was written.
    ///
    /// # Errors
    /// As [`Trail::open`].
    pub fn open(data: Option<&Path>, env: Arc<dyn Env>) -> Result<Actions> {
        let trail = data.map(|data| Trail::open(data.join(FOLDER), BOUNDS)).transpose()?;
        let mut actions = VecDeque::new();
        if let Some(trail) = &trail {
            trail.scan(u64::MAX, &mut |record| {
                actions.extend(serde_json::from_str::<Action>(record));
                if actions.len() < LISTED_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
        }
        // The newest that can be read need not be the last.
        let last = actions.front().map(|action| action.number).max(trail.as_ref().and_then(Trail::last));
        let newest = Newest { actions, next: last.unwrap_or(0) + 1 };
        Ok(Actions { env, trail, newest: Mutex::new(newest) })
    }

    /// What of the trail was found not to be what was written, once.
    pub fn untold_damage(&self) -> Vec<String> {
        self.trail.as_ref().map(Trail::untold).unwrap_or_default()
    }

    /// Records what `by` did, durably.
    ///
    /// # Errors
    /// Unavailable: it cannot be written; it is listed all the same, until the server stops.
    pub fn record(&self, by: &str, event_type: &str, subject: &str, message: String) -> Result<()> {
        let mut newest = self.newest.lock();
        let action = Action {
            number: newest.next,
            time: self.env.now_us(),
            event_type: event_type.to_owned(),
            subject: subject.to_owned(),
            message,
            by: by.to_owned(),
        };
        let text = serde_json::to_string(&action).map_err(|e| Error::internal(format!("an action: {e}")))?;
        let number = action.number;
        newest.next += 1;
        newest.actions.push_front(action);
        newest.actions.truncate(LISTED_MAX);
        match &self.trail {
            Some(trail) => trail.append((number, number), &format!("{text}\n"), Sync::Now),
            None => Ok(()),
        }
    }

    /// Records what a caller did; that it was done does not depend on it.
    pub fn note(&self, engine: &Engine, by: &Caller, event_type: &str, subject: &str, message: String) {
        if let Err(error) = self.record(&by.fingerprint(), event_type, subject, message) {
            let message = format!("{event_type} of {subject} is not in the audit trail: {error}");
            engine.events().record(Severity::Error, "audit_unwritten", subject, message);
        }
    }

    /// Those that match, newest first.
    pub fn list(&self, limit: usize, keep: impl Fn(&Action) -> bool) -> Vec<Action> {
        self.newest.lock().actions.iter().filter(|action| keep(action)).take(limit).cloned().collect()
    }
}

/// Notes that a caller has changed the definitions.
pub(crate) fn committed(ready: &Ready, request: &Request, event_type: &str, id: &str, plan: &Planned) {
    let changed: Vec<String> = plan
        .changes
        .iter()
        .filter(|change| change.kind != ChangeKind::Unchanged)
        .map(|change| format!("{} {}", json!(change.kind).as_str().unwrap_or_default(), change.subject))
        .collect();
    let mut message = match changed.as_slice() {
        [] => "nothing changed".to_owned(),
        few if few.len() <= NAMED_MAX => few.join(", "),
        many => format!("{} and {} more", many[..NAMED_MAX].join(", "), many.len() - NAMED_MAX),
    };
    for (name, word) in [("author", "author"), ("message", "message")] {
        if let Some(text) = request.param(name).filter(|text| !text.is_empty()) {
            message += &format!("; {word}: {text}");
        }
    }
    ready.actions.note(ready.engine(), &request.caller, event_type, id, message);
}

#[cfg(test)]
mod tests {
    use super::*;
    use thyme_core::SystemEnv;

    #[test]
    fn what_was_done_is_known_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Actions::open(Some(dir.path()), Arc::new(SystemEnv)).unwrap();
        let actions = open();
        // However quickly one follows the other.
        for subject in ["a", "b", "b"] {
            actions.record("key 00112233", "commit", subject, format!("did {subject}")).unwrap();
        }
        let before = actions.list(10, |_| true);
        drop(actions);
        let actions = open();
        assert_eq!(actions.list(10, |_| true), before);
        assert_eq!(actions.list(10, |a| a.subject == "b").len(), 2);
        actions.record("anonymous", "erasure", "c", "one".into()).unwrap();
        let newest = actions.list(1, |_| true);
        assert_eq!((newest[0].number, newest[0].by.as_str()), (4, "anonymous"));
    }

    #[test]
    fn a_damaged_trail_keeps_no_server_from_starting_and_hides_no_other_action() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Actions::open(Some(dir.path()), Arc::new(SystemEnv)).unwrap();
        let actions = open();
        let add = |actions: &Actions, subject: &str| {
            actions.record("anonymous", "commit", subject, "all of it".into()).unwrap();
        };
        ["a", "b", "c"].iter().for_each(|subject| add(&actions, subject));
        assert!(actions.untold_damage().is_empty());
        drop(actions);
        let path = std::fs::read_dir(dir.path().join(FOLDER)).unwrap().next().unwrap().unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        // In the first two of three blocks.
        let block = (bytes.len() - 12) / 3;
        [12 + block - 1, 12 + 2 * block - 1].iter().for_each(|at| bytes[*at] ^= 1);
        std::fs::write(&path, bytes).unwrap();
        let actions = open();
        let told = actions.untold_damage();
        assert!(
            told.len() == 2 && told.iter().all(|what| what.contains("is damaged in the block")),
            "{told:?}"
        );
        let subjects =
            |actions: &Actions| actions.list(10, |_| true).into_iter().map(|a| a.subject).collect::<Vec<_>>();
        assert_eq!(subjects(&actions), ["c"]);
        add(&actions, "d");
        assert_eq!(subjects(&open()), ["d", "c"]);
    }
}
