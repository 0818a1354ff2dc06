//! The timeline of one entity: its rows ordered by (event time, position), folded and swept into
//! the values of aggregates as of any time and position.
//!
//! Rows lie column-major in chunks of up to 256. A read folds two partial chunks and the summaries of
//! those between them; a training set sweeps all its labels in one pass. Accumulators are exact, so both
//! give the same bits. Nothing here knows where bytes are kept: chunks are encoded one by one
//! and handed to whoever stores them.

mod batch;
mod bits;
mod body;
mod chunk;
mod codec;
mod cursor;
mod fold;
mod judge;
mod layout;
mod lives;
mod outline;
mod part;
mod ripe;
mod row;
mod sweep;
mod timeline;

pub use batch::{Batch, BatchColumn, Changes};
pub use fold::Place;
pub use judge::Judge;
pub use layout::{Layout, Slot};
pub use outline::{Lacking, Look, Outline};
pub use row::RowView;
pub use sweep::SweepOutput;
pub use timeline::Timeline;
