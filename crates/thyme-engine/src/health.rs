//! What of the state cannot be used any more, and why: a stripe in which a change panicked, an entity that
//! could not be loaded when rows came for it.
//!
//! Everything else goes on. Until the next start, which rebuilds both from the log, nothing of them is read,
//! changed, written or dropped. No checkpoint is made either: it would be as of a position that their rows
//! were not brought up to.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use thyme_core::{EntityKey, Error, ErrorKind, Result};

use crate::events::{EventLog, Severity};
use crate::state::{NodeState, STRIPES, hash_key, stripe_of};
use crate::stripe::Stripe;

/// A part of the state that answers nothing until the next start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poisoned {
    /// The dataset whose values are not there.
    pub dataset: String,
    /// The shard that owns them.
    pub shard: usize,
    /// The entity, if it is one alone; otherwise it is every entity of a stripe, one of 128.
    pub entity: Option<String>,
    /// What happened.
    pub reason: String,
}

/// Where failures of the state are told.
#[derive(Debug)]
pub(crate) struct Ward {
    events: Arc<EventLog>,
    shards: usize,
    /// Whether anything was ever told: saves everybody the search.
    is_empty: AtomicBool,
}

impl Ward {
    pub fn new(events: Arc<EventLog>, shards: usize) -> Ward {
        Ward { events, shards, is_empty: AtomicBool::new(true) }
    }

    pub fn events(&self) -> &EventLog {
        &self.events
    }

    pub fn is_empty(&self) -> bool {
        self.is_empty.load(Ordering::Acquire)
    }

    pub fn shard_of(&self, stripe: usize) -> usize {
        stripe % self.shards
    }

    fn admit(&self, event: &'static str, subject: &str, message: String) {
        self.is_empty.store(false, Ordering::Release);
        self.events.record(Severity::Error, event, subject, message);
    }
}

/// How a stripe is; nearly always well.
#[derive(Debug, Default)]
pub(crate) struct Health(Option<Box<Ill>>);

#[derive(Debug, Default)]
struct Ill {
    poisoned: Option<Arc<str>>,
    /// Entities that could not be loaded when rows came for them, so that those rows are missing.
    unreadable: BTreeMap<Box<[u8]>, Arc<str>>,
    /// For tests: the next change panics.
    is_armed: bool,
}

impl Health {
    /// Why nothing of the stripe can be used, if that is so.
    pub fn poisoned(&self) -> Option<&Arc<str>> {
        self.0.as_ref()?.poisoned.as_ref()
    }

    /// Why an entity cannot be used, if that is so.
    pub fn refusal(&self, key: &[u8]) -> Option<&Arc<str>> {
        let ill = self.0.as_ref()?;
        ill.poisoned.as_ref().or_else(|| ill.unreadable.get(key))
    }

    /// Why not all of the stripe can be used, if that is so.
    pub fn any(&self) -> Option<&Arc<str>> {
        let ill = self.0.as_ref()?;
        ill.poisoned.as_ref().or_else(|| ill.unreadable.values().next())
    }

    fn ill(&mut self) -> &mut Ill {
        self.0.get_or_insert_default()
    }

    /// Panics if a test armed it, once.
    #[inline]
    pub fn go_off(&mut self) {
        if let Some(ill) = &mut self.0
            && std::mem::take(&mut ill.is_armed)
        {
            explode();
        }
    }
}

#[cold]
#[expect(clippy::panic, reason = "only where a test asked for it")]
fn explode() {
    panic!("a test wanted this panic");
}

/// What a panic said.
pub(crate) fn said(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without words")
}

impl NodeState {
    /// Changes a stripe. If that panics, the stripe is poisoned before anybody else sees it; `what` is what was
    /// being done.
    ///
    /// # Errors
    /// The stripe is poisoned.
    pub fn change<R>(
        &self,
        index: usize,
        what: fmt::Arguments<'_>,
        f: impl FnOnce(&mut Stripe) -> R,
    ) -> Result<R> {
        let mut stripe = self.stripe(index).write();
        if let Some(reason) = stripe.health.poisoned() {
            return Err(self.unusable(reason));
        }
        match catch_unwind(AssertUnwindSafe(|| f(&mut stripe))) {
            Ok(done) => Ok(done),
            Err(panic) => Err(self.poison(&mut stripe, index, what, said(&*panic))),
        }
    }

    /// Poisons a stripe for a panic that happened without its lock.
    pub fn poison_stripe(&self, index: usize, what: fmt::Arguments<'_>, panic: &(dyn Any + Send)) {
        let mut stripe = self.stripe(index).write();
        if stripe.health.poisoned().is_none() {
            self.poison(&mut stripe, index, what, said(panic));
        }
    }

    fn poison(&self, stripe: &mut Stripe, index: usize, what: fmt::Arguments<'_>, said: &str) -> Error {
        let shard = self.ward().shard_of(index);
        let reason: Arc<str> = format!("shard {shard} panicked while {what} ({said})").into();
        stripe.health.ill().poisoned = Some(reason.clone());
        let message = format!(
            "{reason}: entities of {} in stripe {index} of {STRIPES} answer 503, no checkpoint is made, everything else goes on; restart the server: it rebuilds them from the log",
            self.name()
        );
        self.ward().admit("shard_poisoned", &format!("shard {shard}"), message);
        self.unusable(&reason)
    }

    /// Gives an entity up whose rows could not be loaded when more came for it, unless somebody else could.
    pub fn give_up(&self, index: usize, key: Box<[u8]>, error: &Error) {
        // A stripe that is poisoned is given up already.
        let _ = self.change(index, format_args!("an entity was given up"), |stripe| {
            if stripe.get(hash_key(&key), &key).is_some() || stripe.health.refusal(&key).is_some() {
                return;
            }
            let reason: Arc<str> = format!("it could not be loaded when an event came for it: {error}").into();
            let message = format!(
                "{reason}; it answers 503, no checkpoint is made, everything else goes on; restart the server, and if that does not help run `thyme doctor`"
            );
            stripe.health.ill().unreadable.insert(key.clone(), reason);
            self.ward().admit("entity_unreadable", self.name(), message);
        });
    }

    /// The error for a stripe of which nothing can be used.
    pub fn unusable(&self, reason: &str) -> Error {
        Error::new(ErrorKind::Poisoned, format!("{}: {reason}; {CURE}", self.name()))
    }

    /// The error for an entity that cannot be used.
    pub fn refused(&self, key: &[u8], reason: &str) -> Error {
        Error::new(ErrorKind::Poisoned, format!("{}, entity {}: {reason}; {CURE}", self.name(), shown(key)))
    }

    /// What of the node cannot be used.
    pub fn poisoned(&self) -> Vec<Poisoned> {
        let mut found = Vec::new();
        for index in 0..STRIPES {
            let stripe = self.stripe(index).read();
            let Some(ill) = &stripe.health.0 else { continue };
            let entry = |entity: Option<String>, reason: &Arc<str>| Poisoned {
                dataset: self.name().to_owned(),
                shard: self.ward().shard_of(index),
                entity,
                reason: reason.to_string(),
            };
            match &ill.poisoned {
                Some(reason) => found.push(entry(None, reason)),
                None => found.extend(ill.unreadable.iter().map(|(key, why)| entry(Some(shown(key)), why))),
            }
        }
        found
    }

    /// Makes the next insertion into the stripe of a key panic.
    pub fn arm(&self, key: &[u8]) {
        self.stripe(stripe_of(hash_key(key))).write().health.ill().is_armed = true;
    }
}

/// What to do about it.
const CURE: &str = "restart the server: it rebuilds this from the log";

/// An encoded key for people.
pub(crate) fn shown(key: &[u8]) -> String {
    match EntityKey::decode(key) {
        Ok(parts) => parts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        Err(_) => format!("{key:02x?}"),
    }
}
