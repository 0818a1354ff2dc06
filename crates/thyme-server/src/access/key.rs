//! An API key: what is kept of it, and its text, which is shown once.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use thyme_core::time::{Span, format_rfc3339};
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
    /// When it opens nothing any more, microseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<i64>,
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
    /// For how long it opens anything: `90d`.
    pub expires: Option<String>,
}

/// How long a text says, such as 90d: at most 9999 of seconds, minutes, hours or days.
fn lasts(text: &str) -> Result<i64> {
    let is_plain = (2..=5).contains(&text.len()) && !text.starts_with('0') && !text.ends_with('w');
    let span = Span::parse(text).ok().filter(|_| is_plain).map(|span| span.0);
    span.ok_or_else(|| {
        let shown: String = text.chars().take(60).collect();
        let detail = "expected for how long the key opens anything, such as 12h or 90d, up to 9999d";
        Error::invalid_data(format!("expires: {detail}, got \"{shown}\""))
    })
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
        self.expires.as_deref().map(lasts).transpose()?;
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
            expires: wanted
                .expires
                .and_then(|text| lasts(&text).ok())
                .map(|lasts| created.saturating_add(lasts)),
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
        if let Some(expires) = self.expires {
            told += &format!(", until {}", format_rfc3339(expires));
        }
        told
    }

    /// Whether it makes other keys.
    pub fn is_admin(&self, now_us: i64) -> bool {
        self.revoked.is_none() && self.expired(now_us).is_none() && self.roles.contains(&Role::Admin)
    }

    /// When it expired, if it has.
    pub fn expired(&self, now_us: i64) -> Option<i64> {
        self.expires.filter(|expires| *expires <= now_us)
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
            "expires": self.expires.map(format_rfc3339),
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
    fn a_key_that_expires_lasts_until_then_and_is_no_admin_after_it() {
        let token = Token::new(&[1; 32], &[2; 32]);
        let lasts = |expires: Option<&str>| {
            let wanted =
                Wanted { roles: vec![Role::Admin], expires: expires.map(str::to_owned), ..Wanted::default() };
            Key::new(&token, wanted.checked().unwrap(), 1_000, "anonymous".into())
        };
        let day = 86_400_000_000;
        let key = lasts(Some("90d"));
        assert_eq!(key.expires, Some(1_000 + 90 * day));
        for (now, is_live) in
            [(0, true), (999 + 90 * day, true), (1_000 + 90 * day, false), (i64::MAX, false)]
        {
            assert_eq!((key.expired(now).is_none(), key.is_admin(now)), (is_live, is_live), "{now}");
        }
        assert!(key.told().ends_with(", until 1970-04-01T00:00:00.001000Z"), "{}", key.told());
        assert!(lasts(None).is_admin(i64::MAX));
        // Keys of before there was this last for ever.
        let mut older = serde_json::to_value(lasts(None)).unwrap();
        assert!(older.as_object_mut().unwrap().remove("expires").is_none());
        assert_eq!(serde_json::from_value::<Key>(older).unwrap(), lasts(None));
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
        for expires in ["", "soon", "0d", "-1d", "99999d", "2w", "090d", "90", "2030-01-01"] {
            let wanted = Wanted { expires: Some(expires.into()), ..of(&[Role::Read]) };
            assert!(refused(wanted).contains("such as 12h or 90d"), "{expires}");
        }
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
