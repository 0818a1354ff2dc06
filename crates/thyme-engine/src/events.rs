//! The engine's events: what an operator of Thyme should know, kept in memory, newest last.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;
use thyme_core::Env;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Should be looked at.
    Warning,
    /// A number or a promise is affected.
    Error,
}

/// One event.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// When, wall clock, microseconds since the epoch.
    pub time_us: i64,
    /// How bad.
    pub severity: Severity,
    /// A stable code, such as `sum_overflow`.
    pub event_type: &'static str,
    /// What it is about: a dataset, a feature, a file.
    pub subject: String,
    /// The sentence.
    pub message: String,
}

/// The last [`EventLog::CAPACITY`] events.
#[derive(Debug)]
pub struct EventLog {
    env: Arc<dyn Env>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    events: VecDeque<Event>,
    last: HashMap<(&'static str, String), i64>,
}

/// The same (type, subject) is recorded once in this long.
const REPEAT_US: i64 = 1_000_000;

impl EventLog {
    /// How many events are kept.
    pub const CAPACITY: usize = 10_000;

    pub(crate) fn new(env: Arc<dyn Env>) -> Self {
        EventLog { env, inner: Mutex::default() }
    }

    /// Another one by the same clock, for what is only tried out.
    pub(crate) fn apart(&self) -> EventLog {
        EventLog::new(self.env.clone())
    }

    /// Records an event, unless the same type and subject was recorded within the last second.
    pub fn record(&self, severity: Severity, event_type: &'static str, subject: &str, message: String) {
        let now = self.env.now_us();
        let mut inner = self.inner.lock();
        let key = (event_type, subject.to_owned());
        if inner.last.get(&key).is_some_and(|last| now - last < REPEAT_US && now >= *last) {
            return;
        }
        if inner.last.len() > Self::CAPACITY {
            inner.last.clear();
        }
        inner.last.insert(key, now);
        if inner.events.len() == Self::CAPACITY {
            inner.events.pop_front();
        }
        inner.events.push_back(Event {
            time_us: now,
            severity,
            event_type,
            subject: subject.to_owned(),
            message,
        });
    }

    /// The clock that events are recorded by.
    pub(crate) fn now_us(&self) -> i64 {
        self.env.now_us()
    }

    /// Those that match, newest first.
    pub fn list(&self, limit: usize, keep: impl Fn(&Event) -> bool) -> Vec<Event> {
        self.inner.lock().events.iter().rev().filter(|e| keep(e)).take(limit).cloned().collect()
    }
}
