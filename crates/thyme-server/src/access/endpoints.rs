//! `/api/v1/keys`.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use thyme_core::{Error, Result};

use super::key::{FEATURESETS_MAX, NAME_MAX, Wanted};
use super::keyring::created;
use super::role::Role;
use crate::app::Ready;
use crate::commits::refuse_other_than_json;
use crate::reads::parse;
use crate::request::{Reply, Request};

/// One role, or several.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged, expecting = "role: expected read, write, commit or admin, or a list of them")]
enum Roles {
    One(Role),
    Several(#[schemars(length(min = 1))] Vec<Role>),
}

#[derive(Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a JSON object with role and optionally name, featuresets, rate, expires, such as {\"role\": \"read\"}"
)]
pub(crate) struct CreateBody {
    role: Roles,
    /// What it is for.
    #[schemars(length(min = 1, max = NAME_MAX))]
    name: Option<String>,
    /// The only featuresets that it reads.
    #[serde(default)]
    #[schemars(length(max = FEATURESETS_MAX))]
    featuresets: Vec<String>,
    /// How often it may ask: 100/s, 600/m, 5000/h.
    #[schemars(regex(pattern = r"^[1-9][0-9]{0,5}/[smh]$"))]
    rate: Option<String>,
    /// For how long it opens anything: 12h, 90d; for ever if it is left out.
    #[schemars(regex(pattern = r"^[1-9][0-9]{0,3}[smhd]$"))]
    expires: Option<String>,
}

impl CreateBody {
    fn wanted(self) -> Result<Wanted> {
        let roles = match self.role {
            Roles::One(role) => vec![role],
            Roles::Several(roles) => roles,
        };
        let CreateBody { name, featuresets, rate, expires, .. } = self;
        Wanted { name, roles, featuresets, rate, expires }.checked()
    }
}

/// What a body asks for, without a server.
pub(super) fn wanted(body: &[u8]) -> Result<Wanted> {
    let body: CreateBody = serde_json::from_slice(body)
        .map_err(|e| Error::invalid_data(format!("the key cannot be made: {e}")))?;
    body.wanted()
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object with id, such as {\"id\": \"3f9a01c2\"}")]
pub(crate) struct RevokeBody {
    id: String,
}

/// `POST /api/v1/keys`: the answer has the key's text, which is never shown again.
pub(crate) fn create(ready: &Ready, request: &Request) -> Result<Reply> {
    if let Some(refused) = refuse_other_than_json(request, "a key is made: the request") {
        return Ok(refused);
    }
    let wanted = parse::<CreateBody>(request)?.wanted()?;
    let catalog = ready.engine().catalog();
    wanted.featuresets.iter().try_for_each(|name| catalog.featureset(name).map(drop))?;
    let (token, key) = ready.keys.create(wanted, &request.caller)?;
    ready.actions.note(
        ready.engine(),
        &request.caller,
        "key_created",
        &format!("key {}", key.id),
        key.told(),
    );
    let mut reply = Reply::json(200, &created(&token, &key));
    reply.headers.push(("cache-control", "no-store".into()));
    Ok(reply)
}

/// `GET /api/v1/keys`.
pub(crate) fn list(ready: &Ready, _: &Request) -> Result<Reply> {
    Ok(Reply::json(200, &json!({"keys": ready.keys.list()})))
}

/// `POST /api/v1/keys/revoke`.
pub(crate) fn revoke(ready: &Ready, request: &Request) -> Result<Reply> {
    if let Some(refused) = refuse_other_than_json(request, "a revocation") {
        return Ok(refused);
    }
    let body: RevokeBody = parse(request)?;
    let key = ready.keys.revoke(&body.id, &request.caller)?;
    ready.actions.note(
        ready.engine(),
        &request.caller,
        "key_revoked",
        &format!("key {}", key.id),
        key.told(),
    );
    Ok(Reply::json(200, &key.shown()))
}
