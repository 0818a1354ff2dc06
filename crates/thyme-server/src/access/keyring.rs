//! The keys of a server: found by their text, made and revoked, durable before anybody is told.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use thyme_core::error::nearest;
use thyme_core::time::format_rfc3339;
use thyme_core::{Env, Error, ErrorKind, Result};
use thyme_engine::{KEYS, SealedFile, random_bytes};

use super::caller::Caller;
use super::configured;
use super::endpoints::wanted;
use super::key::{Key, LiveKey, Token, Wanted, hash, id_in, same};
use crate::actions::Actions;

/// The most keys, revoked ones among them; of those the oldest are forgotten.
const KEYS_MAX: usize = 10_000;

/// The content of the file.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Stored {
    keys: Vec<Key>,
}

impl Stored {
    fn read(file: &SealedFile) -> Result<Stored> {
        file.read()?.map_or_else(|| Ok(Stored::default()), |bytes| Stored::decode(&bytes))
    }

    fn decode(bytes: &[u8]) -> Result<Stored> {
        serde_json::from_slice(bytes).map_err(|_| {
            let detail = format!("{} cannot be read; restore it from a backup", KEYS.name);
            Error::corrupt(detail)
        })
    }

    fn write(&self, file: &SealedFile) -> Result<()> {
        let bytes = serde_json::to_vec(self).map_err(|e| Error::internal(format!("API keys: {e}")))?;
        file.write(&bytes)
    }

    /// Adds a key, and gives its text.
    fn add(&mut self, wanted: Wanted, now_us: i64, by: &str) -> Result<(Token, Key)> {
        if self.keys.len() >= KEYS_MAX {
            let is_over = |key: &Key| key.revoked.is_some() || key.expired(now_us).is_some();
            let oldest = self.keys.iter().position(is_over);
            let full = || {
                Error::new(
                    ErrorKind::Conflict,
                    format!("there are {KEYS_MAX} keys; revoke some that nobody uses"),
                )
            };
            drop(self.keys.remove(oldest.ok_or_else(full)?));
        }
        let token = loop {
            let token = Token::new(&random_bytes()?, &random_bytes()?);
            if !self.keys.iter().any(|key| key.id == token.id) {
                break token;
            }
        };
        let key = Key::new(&token, wanted, now_us, by.to_owned());
        self.keys.push(key.clone());
        Ok((token, key))
    }

    fn revoke(&mut self, id: &str, now_us: i64, by: &str) -> Result<Key> {
        let ids = self.keys.iter().map(|key| key.id.clone()).collect::<Vec<_>>();
        let found = self.keys.iter_mut().find(|key| key.id == id);
        let Some(key) = found else {
            // Whoever gives the whole key by mistake must not read it again here.
            let asked: String = id.chars().take(20).collect();
            let near = nearest(&asked, ids.iter().map(String::as_str)).join(", ");
            let hint = if near.is_empty() {
                "`thyme keys list` has them all".into()
            } else {
                format!("did you mean {near}?")
            };
            return Err(Error::new(ErrorKind::NotFound, format!("there is no API key {asked}; {hint}")));
        };
        if let Some(revoked) = key.revoked {
            let detail = format!("the API key {id} was revoked already at {}", format_rfc3339(revoked));
            return Err(Error::new(ErrorKind::Conflict, detail));
        }
        (key.revoked, key.revoked_by) = (Some(now_us), Some(by.to_owned()));
        Ok(key.clone())
    }
}

/// What is looked up: keys by id, revoked ones among them.
type Table = BTreeMap<String, Arc<LiveKey>>;

/// The keys of a running server.
#[derive(Debug)]
pub(crate) struct Keyring {
    file: SealedFile,
    env: Arc<dyn Env>,
    configured: Vec<Arc<LiveKey>>,
    table: RwLock<Table>,
    /// Held while the file is changed.
    changing: Mutex<Stored>,
}

/// What the text of a key turned out to be.
#[derive(Debug)]
pub(crate) enum Found {
    Live(Arc<LiveKey>),
    /// A key that was revoked then.
    Revoked(Arc<LiveKey>, i64),
    /// A key that expired then.
    Expired(Arc<LiveKey>, i64),
    Unknown,
}

impl Keyring {
    /// Those in `file`, and those of the configuration.
    ///
    /// # Errors
    /// Corrupt: the file is not what was written. Nobody is let in then, rather than everybody.
    pub fn open(file: SealedFile, configured: &[String], env: Arc<dyn Env>) -> Result<Keyring> {
        let stored = Stored::read(&file)?;
        let configured = configured::keys(configured)?;
        let ring = Keyring { file, env, configured, table: RwLock::default(), changing: Mutex::default() };
        *ring.table.write() = ring.table_of(&stored)?;
        *ring.changing.lock() = stored;
        Ok(ring)
    }

    /// Keys that are there already keep what is left of their rate.
    fn table_of(&self, stored: &Stored) -> Result<Table> {
        let known = self.table.read();
        let live = |key: &Key| match known.get(&key.id) {
            Some(live) if live.key == *key => Ok(live.clone()),
            _ => LiveKey::new(key.clone()).map(Arc::new),
        };
        stored.keys.iter().map(|key| Ok((key.id.clone(), live(key)?))).collect()
    }

    /// Whether there is any key that was not revoked. One that has expired does not open the server to everybody.
    pub fn is_keyed(&self) -> bool {
        !self.configured.is_empty() || self.table.read().values().any(|live| live.key.revoked.is_none())
    }

    /// Whether a caller who was let in would still be: its key may have been revoked or have expired, or the first one
    /// been made, while its body was on its way.
    pub fn still(&self, caller: &Caller) -> bool {
        match caller.key() {
            Some(live) if self.configured.iter().any(|known| known.key.id == live.key.id) => true,
            Some(live) => {
                let is_live = |key: &Key| key.revoked.is_none() && key.expired(self.env.now_us()).is_none();
                self.table.read().get(&live.key.id).is_some_and(|live| is_live(&live.key))
            }
            None => !caller.is_local() || !self.is_keyed(),
        }
    }

    /// The key with this text.
    pub fn find(&self, text: &str) -> Found {
        let given = hash(text);
        let configured = self.configured.iter().fold(None, |found, live| match same(&live.hash, &given) {
            true => Some(live.clone()),
            false => found,
        });
        if let Some(live) = configured {
            return Found::Live(live);
        }
        let live = id_in(text).and_then(|id| self.table.read().get(id).cloned());
        match live.filter(|live| same(&live.hash, &given)) {
            None => Found::Unknown,
            Some(live) => {
                let now = self.env.now_us();
                match (live.key.revoked, live.key.expired(now)) {
                    (Some(at), _) => Found::Revoked(live, at),
                    (None, Some(at)) => Found::Expired(live, at),
                    (None, None) => {
                        live.note_use(now);
                        Found::Live(live)
                    }
                }
            }
        }
    }

    /// Makes a key; `by` is who wants it.
    ///
    /// # Errors
    /// Conflict: it would be the first, and could not make others.
    pub fn create(&self, wanted: Wanted, by: &super::Caller) -> Result<(Token, Key)> {
        let mut stored = self.changing.lock();
        let mut next = Stored { keys: stored.keys.clone() };
        let now = self.env.now_us();
        let (token, key) = next.add(wanted, now, &by.fingerprint())?;
        if by.is_local() && !key.is_admin(now) {
            return Err(Error::new(
                ErrorKind::Conflict,
                "this server has no key yet, and once it has one every request needs one: make the first with the role admin, then others with that",
            ));
        }
        self.put(&mut stored, next)?;
        Ok((token, key))
    }

    /// Revokes a key; it opens nothing from now on.
    ///
    /// # Errors
    /// NotFound. Conflict: it is revoked already, or it is the last that could make others.
    pub fn revoke(&self, id: &str, by: &super::Caller) -> Result<Key> {
        let mut stored = self.changing.lock();
        if self.configured.iter().any(|live| live.key.id == id) {
            let detail = format!(
                "the API key {id} is in the server's configuration; take it out there and start again"
            );
            return Err(Error::new(ErrorKind::Conflict, detail));
        }
        let mut next = Stored { keys: stored.keys.clone() };
        let now = self.env.now_us();
        let key = next.revoke(id, now, &by.fingerprint())?;
        let admin_stays = !self.configured.is_empty() || next.keys.iter().any(|key| key.is_admin(now));
        if by.key().is_some() && !admin_stays {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "the API key {id} is the last with the role admin; make another first, or stop the server and use `thyme keys revoke {id} --data DIR`"
                ),
            ));
        }
        self.put(&mut stored, next)?;
        Ok(key)
    }

    /// Durable first, in effect then.
    fn put(&self, stored: &mut Stored, next: Stored) -> Result<()> {
        let table = self.table_of(&next)?;
        next.write(&self.file)?;
        *self.table.write() = table;
        *stored = next;
        Ok(())
    }

    /// All of them, as an answer has them: newest first, those of the configuration last.
    pub fn list(&self) -> Vec<Json> {
        let stored = self.changing.lock();
        let table = self.table.read();
        let shown = |live: &LiveKey| {
            let mut shown = live.key.shown();
            shown["used"] = json!(live.used().map(format_rfc3339));
            shown
        };
        let own = stored.keys.iter().rev().filter_map(|key| table.get(&key.id)).map(|live| shown(live));
        own.chain(self.configured.iter().map(|live| shown(live))).collect()
    }
}

/// The keys of a data directory that no server uses.
#[derive(Debug)]
pub struct OfflineKeys {
    actions: Actions,
    file: SealedFile,
    stored: Stored,
    now_us: i64,
}

/// Who changes keys without a server.
const OFFLINE: &str = "the command line";

impl OfflineKeys {
    /// Those of the data directory `data`, which is made if there is none.
    ///
    /// # Errors
    /// Unavailable: a server uses it. Corrupt: the file is not what was written.
    pub fn open(data: &Path, env: Arc<dyn Env>) -> Result<OfflineKeys> {
        let file = SealedFile::of_directory(KEYS, data)?;
        let (stored, now_us) = (Stored::read(&file)?, env.now_us());
        Ok(OfflineKeys { actions: Actions::open(Some(data), env)?, file, stored, now_us })
    }

    /// Those of a data directory that is there.
    ///
    /// # Errors
    /// As [`OfflineKeys::open`]. NotFound: there is none.
    pub fn existing(data: &Path, env: Arc<dyn Env>) -> Result<OfflineKeys> {
        if !data.is_dir() {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("there is no data directory {}", data.display()),
            ));
        }
        OfflineKeys::open(data, env)
    }

    /// Makes a key, as `POST /api/v1/keys` does, and answers as it does.
    ///
    /// # Errors
    /// InvalidData: `body` is not what that takes.
    pub fn create(&mut self, body: &str) -> Result<Json> {
        let (token, key) = self.stored.add(wanted(body.as_bytes())?, self.now_us, OFFLINE)?;
        self.stored.write(&self.file)?;
        self.actions.record(OFFLINE, "key_created", &format!("key {}", key.id), key.told())?;
        Ok(created(&token, &key))
    }

    /// Revokes a key.
    ///
    /// # Errors
    /// NotFound. Conflict: it is revoked already.
    pub fn revoke(&mut self, id: &str) -> Result<Json> {
        let key = self.stored.revoke(id, self.now_us, OFFLINE)?;
        self.stored.write(&self.file)?;
        self.actions.record(OFFLINE, "key_revoked", &format!("key {}", key.id), key.told())?;
        Ok(key.shown())
    }

    /// All of them, newest first.
    pub fn list(&self) -> Json {
        json!({"keys": self.stored.keys.iter().rev().map(Key::shown).collect::<Vec<_>>()})
    }
}

/// The answer that has a key's text: the only one ever.
pub(super) fn created(token: &Token, key: &Key) -> Json {
    let mut out = key.shown();
    out["key"] = token.text().into();
    out
}

/// Whether the data directory `data` has any key that opens something, so that a server may listen beyond this machine.
///
/// # Errors
/// Corrupt: the file is not what was written.
pub fn any_key(data: &Path) -> Result<bool> {
    let Some(bytes) = SealedFile::peek(KEYS, data)? else { return Ok(false) };
    Ok(Stored::decode(&bytes)?.keys.iter().any(|key| key.revoked.is_none()))
}
