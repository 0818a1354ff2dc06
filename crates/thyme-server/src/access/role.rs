//! Roles, and what an endpoint needs.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a key may do. `read` and `write` stand beside each other: a producer's key reads no features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// Features, rows, definitions and what happened.
    Read,
    /// Pushes events.
    Write,
    /// Changes definitions; also reads, for a plan shows values.
    Commit,
    /// Everything, also erasures, backups and keys.
    Admin,
}

impl Role {
    /// All of them.
    #[cfg(test)]
    pub const ALL: [Role; 4] = [Role::Read, Role::Write, Role::Commit, Role::Admin];

    /// Whether a key with this role may do what needs `other`.
    pub fn covers(self, other: Role) -> bool {
        match self {
            Role::Admin => true,
            Role::Commit => matches!(other, Role::Commit | Role::Read),
            Role::Read | Role::Write => self == other,
        }
    }

    /// What a key with it may do, for sentences.
    pub fn allows(self) -> &'static str {
        match self {
            Role::Read => "reading",
            Role::Write => "pushing events",
            Role::Commit => "changing definitions",
            Role::Admin => "administration",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Read => "read",
            Role::Write => "write",
            Role::Commit => "commit",
            Role::Admin => "admin",
        })
    }
}

/// What a key that is for some featuresets only may have of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Narrow {
    /// All of it: it shows no value, or only to roles that no such key has.
    Whole,
    /// What is about its featuresets: the endpoint asks [`super::Caller::may_read`].
    Asked,
    /// Nothing.
    Nothing,
}

/// What an endpoint needs of its caller.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needs {
    /// `None`: any key will do.
    pub role: Option<Role>,
    pub narrow: Narrow,
}

impl Needs {
    /// Any key.
    pub const ANY_KEY: Needs = Needs { role: None, narrow: Narrow::Whole };
    /// Reading features, which the endpoint asks for by their featureset.
    pub const READ_FEATURES: Needs = Needs { role: Some(Role::Read), narrow: Narrow::Asked };
    /// Reading what is beyond single featuresets.
    pub const READ_ALL: Needs = Needs { role: Some(Role::Read), narrow: Narrow::Nothing };
    /// Pushing.
    pub const WRITE: Needs = Needs { role: Some(Role::Write), narrow: Narrow::Whole };
    /// Changing definitions.
    pub const COMMIT: Needs = Needs { role: Some(Role::Commit), narrow: Narrow::Whole };
    /// Administration.
    pub const ADMIN: Needs = Needs { role: Some(Role::Admin), narrow: Narrow::Whole };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_a_lattice() {
        for a in Role::ALL {
            assert!(a.covers(a) && Role::Admin.covers(a));
            for b in Role::ALL {
                assert!(!(a != b && a.covers(b) && b.covers(a)), "{a} {b}");
                for c in Role::ALL {
                    assert!(!(a.covers(b) && b.covers(c)) || a.covers(c), "{a} {b} {c}");
                }
            }
        }
        assert!(!Role::Write.covers(Role::Read) && !Role::Read.covers(Role::Write));
        assert!(Role::Commit.covers(Role::Read) && !Role::Commit.covers(Role::Write));
    }
}
