//! Keys that a server's configuration names: they may do everything, and are no part of its data.

use std::sync::Arc;

use thyme_core::Result;

use super::key::{Key, LiveKey, hash, hex};
use super::role::Role;

/// How such a key is called: after its hash.
const DIGITS: usize = 8;

/// Those of a configuration.
pub(super) fn keys(texts: &[String]) -> Result<Vec<Arc<LiveKey>>> {
    let one = |text: &String| {
        let sha256 = hex(&hash(text));
        LiveKey::new(Key {
            id: sha256.chars().take(DIGITS).collect(),
            sha256,
            name: Some("from the configuration".into()),
            roles: vec![Role::Admin],
            featuresets: Vec::new(),
            rate: None,
            expires: None,
            created: 0,
            created_by: "the configuration".into(),
            revoked: None,
            revoked_by: None,
        })
        .map(Arc::new)
    };
    texts.iter().map(one).collect()
}
