//! `Session(gap="30m")`: what happened without a long break.

use crate::time::Span;

/// The session that is open at T: the rows up to T, back to the first break of more than `gap`. None if the last of them is
/// more than `gap` before T: then the session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// The longest break inside a session.
    pub gap: Span,
}
