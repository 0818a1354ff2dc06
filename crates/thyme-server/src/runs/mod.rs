//! Query runs: what was asked, by whom, at which `(T, S, C)`, and what was answered.
//!
//! A handler notes what it has computed in the request ([`Noted`]); once it is answered, the [`Recorder`] takes that
//! into a bounded buffer, which a thread writes to a [`crate::trail`]. Nothing of this can fail a query: what has no
//! room is counted and left out.

mod callers;
mod endpoints;
mod erasing;
mod noted;
mod recorder;
mod replay;
mod text;

pub(crate) use callers::{Callers, counted_as};
pub(crate) use endpoints::{list, replay, show};
pub(crate) use noted::{Asked, At, Noted, Part, Subject};
pub(crate) use recorder::{BYTES_MAX, Recorder, expose};
