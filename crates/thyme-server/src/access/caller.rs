//! Who sent a request.

use std::sync::Arc;

use thyme_core::{Error, ErrorKind, Result};

use super::key::LiveKey;
use super::role::{Narrow, Needs};

/// Who sent a request, and what they may.
#[derive(Clone, Debug, Default)]
pub struct Caller(pub(super) Who);

#[derive(Clone, Debug, Default)]
pub(super) enum Who {
    /// Whoever owns this process: everything.
    #[default]
    Owner,
    /// Somebody on this machine, of a server that has no key: everything.
    Local,
    Key(Arc<LiveKey>),
    /// Nobody that is known: nothing.
    Stranger,
}

/// What callers without a key are called.
pub(crate) const ANONYMOUS: &str = "anonymous";

impl Caller {
    /// What stands for them wherever they are written down; never the key itself.
    pub(crate) fn fingerprint(&self) -> String {
        match &self.0 {
            Who::Key(live) => format!("key {}", live.key.id),
            _ => ANONYMOUS.to_owned(),
        }
    }

    /// What idempotency keys are told apart by.
    pub(crate) fn scope(&self) -> &str {
        match &self.0 {
            Who::Key(live) => &live.key.id,
            _ => "",
        }
    }

    /// Whether they came without a key, because there is none.
    pub(super) fn is_local(&self) -> bool {
        matches!(self.0, Who::Local)
    }

    pub(super) fn key(&self) -> Option<&LiveKey> {
        match &self.0 {
            Who::Key(live) => Some(live),
            _ => None,
        }
    }

    /// Whether they may read all featuresets.
    pub(crate) fn reads_all(&self) -> bool {
        self.featuresets().is_none()
    }

    /// The only featuresets that they may read; `None`: all.
    fn featuresets(&self) -> Option<&[String]> {
        self.key().map(|live| live.key.featuresets.as_slice()).filter(|names| !names.is_empty())
    }

    /// Refuses a featureset that they may not read.
    ///
    /// # Errors
    /// Forbidden, naming it.
    pub(crate) fn may_read(&self, featureset: &str) -> Result<()> {
        match self.reads(featureset) {
            true => Ok(()),
            false => Err(forbidden(format!(
                "the API key {} may not read {featureset}: it is for {}; ask for another key",
                self.scope(),
                self.featuresets().unwrap_or_default().join(", ")
            ))),
        }
    }

    /// Whether they may read a featureset.
    fn reads(&self, featureset: &str) -> bool {
        self.featuresets().is_none_or(|names| names.iter().any(|name| name == featureset))
    }

    /// Refuses what is beyond single featuresets to keys that are for some.
    ///
    /// # Errors
    /// Forbidden, naming `what`.
    pub(crate) fn may_read_all(&self, what: &str) -> Result<()> {
        match self.featuresets() {
            None => Ok(()),
            Some(names) => Err(forbidden(format!(
                "the API key {} may not read {what}: it is for the featuresets {}; ask for a key that reads everything",
                self.scope(),
                names.join(", ")
            ))),
        }
    }

    /// Refuses an endpoint that needs more.
    ///
    /// # Errors
    /// Forbidden, naming the role that it needs.
    pub(crate) fn may(&self, needs: Needs, endpoint: &str) -> Result<()> {
        let live = match &self.0 {
            Who::Owner | Who::Local => return Ok(()),
            Who::Stranger => {
                return Err(Error::unavailable(
                    "the server was starting when this came; nothing was done: ask again",
                ));
            }
            Who::Key(live) => live,
        };
        if let Some(role) = needs.role
            && !live.key.roles.iter().any(|has| has.covers(role))
        {
            let roles: Vec<String> = live.key.roles.iter().map(ToString::to_string).collect();
            return Err(forbidden(format!(
                "the API key {} has the role {}, and {endpoint} needs {role} ({}); ask for a key with that role",
                live.key.id,
                roles.join(" and "),
                role.allows()
            )));
        }
        match needs.narrow {
            Narrow::Nothing => self.may_read_all(endpoint),
            Narrow::Whole | Narrow::Asked => Ok(()),
        }
    }
}

fn forbidden(detail: String) -> Error {
    Error::new(ErrorKind::Forbidden, detail)
}
