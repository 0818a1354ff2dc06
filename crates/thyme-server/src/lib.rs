//! The doors of Thyme: the HTTP API, and the same API in process.
//!
//! Every request, from a socket or from [`App::request`], goes through [`routes`]; what is behind them
//! is `thyme-query` for reads and `thyme-engine` for writes. No feature value is computed here.

mod access;
mod actions;
mod app;
mod arrow_frames;
mod arrow_io;
mod audit;
mod backups;
mod batch;
mod bodies;
mod commits;
mod connections;
mod damage;
mod encoding;
mod erasure;
mod exposition;
mod feature_meta;
mod http;
mod incomplete;
mod jobs;
mod json;
mod left_out;
mod malformed;
mod metrics;
mod multi;
mod names;
mod openapi;
mod pending;
mod population;
mod previews;
mod reads;
mod request;
pub mod routes;
mod rows;
mod runs;
mod state;
mod tls;
mod trail;
mod untaken;
mod verifier;
mod waiting;
mod wire;
mod writes;

pub use access::{Caller, OfflineKeys, any_key};
pub use app::{App, AppOptions};
pub use damage::examine;
pub use http::{ServeOptions, serve};
pub use request::{Gone, Reply, Request};
pub use tls::Tls;
pub use verifier::{VERIFY_EVERY, Verified};
