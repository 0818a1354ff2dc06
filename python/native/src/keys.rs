//! API keys of a data directory that no server uses.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pyo3::prelude::*;
use thyme_core::SystemEnv;
use thyme_server::OfflineKeys;

use crate::raise;

fn existing(data: &Path) -> PyResult<OfflineKeys> {
    OfflineKeys::existing(data, Arc::new(SystemEnv)).map_err(raise)
}

/// Makes a key, as `POST /api/v1/keys` does of the same JSON; JSON.
#[pyfunction]
pub fn create_key(py: Python<'_>, data: PathBuf, body: &str) -> PyResult<String> {
    let made = py.detach(|| {
        OfflineKeys::open(&data, Arc::new(SystemEnv)).and_then(|mut keys| keys.create(body)).map_err(raise)
    })?;
    Ok(made.to_string())
}

/// Revokes a key; JSON.
#[pyfunction]
pub fn revoke_key(py: Python<'_>, data: PathBuf, id: &str) -> PyResult<String> {
    let revoked = py.detach(|| existing(&data)?.revoke(id).map_err(raise))?;
    Ok(revoked.to_string())
}

/// The keys; JSON.
#[pyfunction]
pub fn list_keys(py: Python<'_>, data: PathBuf) -> PyResult<String> {
    let keys = py.detach(|| Ok::<_, PyErr>(existing(&data)?.list()))?;
    Ok(keys.to_string())
}
