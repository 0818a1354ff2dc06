//! Who may do what: API keys, their roles, and what each endpoint needs.
//!
//! A request over HTTP is admitted before its body is read ([`admission`]): its key is looked up, its rate taken, and
//! the role that its endpoint needs asked for. What is sent in the body, the featuresets, is asked where features are
//! planned ([`Caller::may_read`]). Requests in process are their owner's and may do everything.

pub(crate) mod admission;
mod caller;
mod configured;
mod endpoints;
mod key;
mod keyring;
mod rate;
mod role;

pub use caller::Caller;
pub(crate) use endpoints::{CreateBody, RevokeBody, create, list, revoke};
pub(crate) use keyring::Keyring;
pub use keyring::{OfflineKeys, any_key};
pub(crate) use role::Needs;
