//! An API key: what is kept of it, and its text, which is shown once.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use thyme_core::time::format_rfc3339;
use thyme_core::{Error, Result};

use super::rate::{Bucket, Rate};
use super::role::Role;

/// How the text of a key begins; its id and its secret follow.
const PREFIX: &str = "thyme";
/// Digits of an id.
const ID_DIGITS: usize = 8;
/// The most characters of a key's name.
pub(crate) const NAME_MAX: usize = 100;
/// The most featuresets that a key is for.
pub(crate) const FEATURESETS_MAX: usize = 1_000;

/// A SHA-256.
pub(crate) type Hash = [u8; 32];

/// What is kept of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Key {
    /// What it is called by everywhere.
    pub id: String,
    /// The SHA-256 of its text, in hexadecimal. The secret in it has 256 bits, so it cannot be guessed from this.
    pub sha256: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub roles: Vec<Role>,
    /// The only featuresets that it reads; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub featuresets: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<String>,
    /// When it was made, microseconds since the epoch, and by whom.
    pub created: i64,
    pub created_by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_by: Option<String>,
}

/// What a key is to be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub name: Option<String>,
    pub roles: Vec<Role>,
    pub featuresets: Vec<String>,
    pub rate: Option<String>,
}

impl Wanted {
    /// Refuses what makes no sense; puts roles and featuresets in order.
    ///
    /// # Errors
    /// InvalidData, with what was expected.
    pub fn checked(mut self) -> Result<Wanted> {
        self.roles.sort_unstable();
        self.roles.dedup();
        self.featuresets.sort_unstable();
        self.featuresets.dedup();
        if self.roles.is_empty() {
            return Err(Error::invalid_data("role: expected read, write, commit or admin, got none"));
        }
        let name_is_plain = |name: &String| {
            !name.trim().is_empty() && name.chars().count() <= NAME_MAX && !name.chars().any(char::is_control)
        };
        if self.name.as_ref().is_some_and(|name| !name_is_plain(name)) {
            return Err(Error::invalid_data(format!(
                "name: expected 1 to {NAME_MAX} characters on one line, such as the service that will use it"
            )));
        }
        if self.featuresets.len() > FEATURESETS_MAX || self.featuresets.iter().any(|name| name.is_empty()) {
            return Err(Error::invalid_data(format!(
                "featuresets: expected at most {FEATURESETS_MAX} names"
            )));
        }
        let beyond = self.roles.iter().find(|role| matches!(role, Role::Commit | Role::Admin));
        if let (Some(role), false) = (beyond, self.featuresets.is_empty()) {
            return Err(Error::invalid_data(format!(
                "featuresets: only a key that reads can be for some featuresets, and {role} is for all; leave them out, or make a read key"
            )));
        }
        if !self.featuresets.is_empty() && !self.roles.contains(&Role::Read) {
            return Err(Error::invalid_data(
                "featuresets: a key without the role read reads none; leave them out, or give it that role too",
            ));
        }
        self.rate = self.rate.as_deref().map(Rate::parse).transpose()?.map(|rate| rate.to_string());
        Ok(self)
    }
}

/// The text of a key. It is shown to whoever makes it, and never kept.
pub(crate) struct Token {
    pub id: String,
    text: String,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", self.id)
    }
}

impl Token {
    /// One of these random bytes; its id is made of others than its secret.
    pub fn new(id: &Hash, secret: &Hash) -> Token {
        let id = hex(&id[..ID_DIGITS / 2]);
        Token { text: format!("{PREFIX}_{id}_{}", hex(secret)), id }
    }

    /// What is shown once.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn hash(&self) -> Hash {
        hash(&self.text)
    }
}

/// The id in the text of a key, if it is one.
pub(crate) fn id_in(text: &str) -> Option<&str> {
    let (id, _) = text.strip_prefix(PREFIX)?.strip_prefix('_')?.split_once('_')?;
    (id.len() == ID_DIGITS).then_some(id)
}

pub(crate) fn hash(text: &str) -> Hash {
    Sha256::digest(text.as_bytes()).into()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Compares in a time that does not depend on what is the same.
pub(crate) fn same(a: &Hash, b: &Hash) -> bool {
    std::hint::black_box(a.iter().zip(b).fold(0, |d, (x, y)| d | (x ^ y))) == 0
}

impl Key {
    /// The key of a token that was made just now.
    pub fn new(token: &Token, wanted: Wanted, created: i64, created_by: String) -> Key {
        Key {
            id: token.id.clone(),
            sha256: hex(&token.hash()),
            name: wanted.name,
            roles: wanted.roles,
            featuresets: wanted.featuresets,
            rate: wanted.rate,
            created,
            created_by,
            revoked: None,
            revoked_by: None,
        }
    }

    /// What it is, in half a sentence.
    pub fn told(&self) -> String {
        let roles: Vec<String> = self.roles.iter().map(ToString::to_string).collect();
        let mut told = format!("with the role {}", roles.join(" and "));
        if !self.featuresets.is_empty() {
            told += &format!(", for {}", self.featuresets.join(", "));
        }
        if let Some(name) = &self.name {
            told += &format!(", called {name}");
        }
        told
    }

    pub fn is_admin(&self) -> bool {
        self.revoked.is_none() && self.roles.contains(&Role::Admin)
    }

    /// As an answer has it: without anything that helps to be it.
    pub fn shown(&self) -> Json {
        json!({
            "id": self.id,
            "name": self.name,
            "roles": self.roles,
            "featuresets": self.featuresets,
            "rate": self.rate,
            "created": format_rfc3339(self.created),
            "created_by": self.created_by,
            "revoked": self.revoked.map(format_rfc3339),
            "revoked_by": self.revoked_by,
        })
    }
}

/// A key that is in use.
#[derive(Debug)]
pub(crate) struct LiveKey {
    pub key: Key,
    pub hash: Hash,
    rate: Option<(Rate, Mutex<Bucket>)>,
    /// When it was last used, microseconds since the epoch; 0: not since the start.
    used: AtomicU64,
}

impl LiveKey {
    /// # Errors
    /// Corrupt: what was kept of it makes no sense.
    pub fn new(key: Key) -> Result<LiveKey> {
        let digit =
            |at: usize| key.sha256.get(at * 2..at * 2 + 2).and_then(|d| u8::from_str_radix(d, 16).ok());
        let mut hash = [0; 32];
        for (at, byte) in hash.iter_mut().enumerate() {
            *byte = digit(at)
                .ok_or_else(|| Error::corrupt(format!("the hash of the API key {} is none", key.id)))?;
        }
        let rate = key.rate.as_deref().map(Rate::parse).transpose()?;
        let rate = rate.map(|rate| (rate, Mutex::default()));
        Ok(LiveKey { key, hash, rate, used: AtomicU64::new(0) })
    }

    /// Takes a request of its rate; else how many seconds to wait, and the rate.
    pub fn take(&self, now: impl FnOnce() -> u64) -> Result<(), (u64, Rate)> {
        let Some((rate, bucket)) = &self.rate else { return Ok(()) };
        let taken = bucket.lock().take(*rate, now());
        taken.map_err(|nanoseconds| (nanoseconds.div_ceil(1_000_000_000).max(1), *rate))
    }

    pub fn note_use(&self, now_us: i64) {
        self.used.store(now_us.unsigned_abs(), Ordering::Relaxed);
    }

    pub fn used(&self) -> Option<i64> {
        match self.used.load(Ordering::Relaxed) {
            0 => None,
            used => i64::try_from(used).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_id_and_is_nowhere_in_what_is_kept() {
        let token = Token::new(&[0xab; 32], &[7; 32]);
        assert_eq!(id_in(token.text()), Some("abababab"));
        let wanted = Wanted { roles: vec![Role::Read], ..Wanted::default() };
        let key = Key::new(&token, wanted, 1, "anonymous".into());
        let secret = &token.text()[15..];
        assert_eq!(secret.len(), 64);
        for kept in
            [serde_json::to_string(&key).unwrap(), key.shown().to_string(), format!("{key:?} {token:?}")]
        {
            assert!(!kept.contains(secret), "{kept}");
        }
        let live = LiveKey::new(key).unwrap();
        assert!(same(&live.hash, &hash(token.text())) && !same(&live.hash, &hash(secret)));
        for other in ["", "thyme", "thyme_", "thyme_abababab", "thyme_abab_00", "other_abababab_00"] {
            assert_eq!(id_in(other), None, "{other}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_would() {
        let refused = |wanted: Wanted| wanted.checked().unwrap_err().detail().to_owned();
        let of = |roles: &[Role]| Wanted { roles: roles.to_vec(), ..Wanted::default() };
        assert!(refused(of(&[])).contains("expected read, write, commit or admin"));
        for roles in [[Role::Commit].as_slice(), &[Role::Read, Role::Admin]] {
            let wanted = Wanted { featuresets: vec!["F".into()], ..of(roles) };
            assert!(refused(wanted).contains("only a key that reads"));
        }
        let wanted = Wanted { featuresets: vec!["F".into()], ..of(&[Role::Write]) };
        assert!(refused(wanted).contains("without the role read"));
        assert!(refused(Wanted { name: Some("a\nb".into()), ..of(&[Role::Read]) }).contains("on one line"));
        assert!(refused(Wanted { rate: Some("fast".into()), ..of(&[Role::Read]) }).contains("100/s"));
        let fine = Wanted {
            featuresets: vec!["G".into(), "F".into(), "G".into()],
            ..of(&[Role::Write, Role::Read])
        };
        let fine = fine.checked().unwrap();
        assert_eq!(
            (fine.featuresets, fine.roles),
            (vec!["F".to_owned(), "G".to_owned()], vec![Role::Read, Role::Write])
        );
    }
}
