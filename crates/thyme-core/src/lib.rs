//! The language of Thyme: values, schemas, expressions, windows, aggregates, and definitions with
//! their validation and evolution rules.
//!
//! Nothing in this crate does I/O, reads a clock, or knows Python or HTTP.

pub mod aggregate;
pub mod definition;
pub mod env;
pub mod error;
pub mod expectation;
pub mod expr;
pub mod key;
pub mod position;
pub mod schema;
pub mod time;
pub mod value;
pub mod window;
pub mod zone;

pub use env::{Env, SystemEnv};
pub use error::{Error, ErrorKind, Result};
pub use key::EntityKey;
pub use position::Position;
pub use schema::{Field, Schema};
pub use time::{EventTime, Span};
pub use value::{DataType, Value};
pub use window::{Extent, Window};
pub use zone::Zone;
