//! Queries: a featureset planned once a commit, evaluated for one entity or a million labels.
//!
//! [`plan`] turns a featureset into reads of timelines and extractor calls in order; [`evaluate`] runs
//! it over a frame of entities and times at one snapshot; [`reader`] is what the doors call.

mod calls;
pub mod column;
pub mod compiled;
mod entities;
pub mod evaluate;
pub mod extractor;
pub mod facts;
pub mod native;
mod offline;
pub mod plan;
pub mod population;
pub mod preview;
pub mod reader;
pub mod selection;
mod slots;

pub use column::ColumnBuffer;
pub use compiled::Program;
pub use evaluate::Frame;
pub use extractor::{ExtractorHost, LookupContext, NoExtractors, Runs};
pub use facts::{Detail, Facts, Status};
pub use offline::{Known, Labels, Offline};
pub use plan::Plan;
pub use reader::{Answer, Reader};
pub use selection::{Column, Wanted};
