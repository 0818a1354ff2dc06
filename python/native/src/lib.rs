//! `thyme._thyme`: the engine in a Python process.
//!
//! Python is a thin door: definitions are validated, requests answered and extractors called back from
//! here. No feature value is computed in Python but an extractor's own.

mod attach;
mod definitions;
mod engine;
mod host;
mod keys;
mod maintenance;
mod program;
mod serve;
mod values;
mod vectors;

use pyo3::prelude::*;

/// Of everything that Rust allocates; Python keeps its own. See `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The native module.
#[pymodule]
mod _thyme {
    #[pymodule_export]
    use crate::attach::Attachment;
    #[pymodule_export]
    use crate::definitions::{parse_duration, parse_window, validate, version};
    #[pymodule_export]
    use crate::engine::NativeEngine;
    #[pymodule_export]
    use crate::host::NativeLookup;
    #[pymodule_export]
    use crate::keys::{create_key, list_keys, revoke_key};
    #[pymodule_export]
    use crate::maintenance::{backup, doctor, restore, set_store_aside};
    #[pymodule_export]
    use crate::program::{run_program, run_program_in_columns};
    #[pymodule_export]
    use crate::serve::serve;
}

/// An error of Thyme as a Python exception: its sentence, nothing else.
fn raise(error: thyme_core::Error) -> PyErr {
    pyo3::exceptions::PyRuntimeError::new_err(error.detail().to_owned())
}
