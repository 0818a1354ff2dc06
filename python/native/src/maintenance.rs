//! Backups, restores and the doctor, of directories that no server uses.

use std::path::PathBuf;

use pyo3::prelude::*;
use serde_json::{Value as Json, json};
use thyme_core::{Env, SystemEnv};
use thyme_engine::maintenance;

use crate::raise;

/// Calls `watch(done, total)` if there is one. What it raises is its own affair.
fn tell(watch: Option<&Py<PyAny>>, done: u64, total: u64) {
    if let Some(watch) = watch {
        Python::attach(|py| drop(watch.call1(py, (done, total))));
    }
}

fn text(value: &Json) -> String {
    value.to_string()
}

/// Backs up the data directory `data` into `directory`; JSON.
#[pyfunction]
#[pyo3(signature = (data, directory, watch=None))]
pub fn backup(
    py: Python<'_>,
    data: PathBuf,
    directory: PathBuf,
    watch: Option<Py<PyAny>>,
) -> PyResult<String> {
    let made = py.detach(|| {
        let watch = |done, total| tell(watch.as_ref(), done, total);
        maintenance::backup_directory(&data, &directory, &SystemEnv, &watch)
    });
    let made = made.map_err(raise)?;
    Ok(text(&json!({
        "directory": directory,
        "position": made.position.to_string(),
        "files": made.files,
        "bytes": made.bytes,
        "bytes_written": made.bytes_written,
        "checkpoint": made.checkpoint.map(|record| format!("e{record}")),
    })))
}

/// Makes the data directory `data` of the backup in `directory`; JSON.
#[pyfunction]
#[pyo3(signature = (directory, data, watch=None))]
pub fn restore(
    py: Python<'_>,
    directory: PathBuf,
    data: PathBuf,
    watch: Option<Py<PyAny>>,
) -> PyResult<String> {
    let made = py
        .detach(|| maintenance::restore(&directory, &data, &|done, total| tell(watch.as_ref(), done, total)));
    let made = made.map_err(raise)?;
    Ok(text(&json!({
        "data": data,
        "position": made.position.to_string(),
        "bytes": made.bytes,
        "checkpoint": made.checkpoint.map(|record| format!("e{record}")),
        "made": made.made,
    })))
}

/// Examines a data directory or a backup; JSON.
#[pyfunction]
#[pyo3(signature = (data, deep, watch=None))]
pub fn doctor(py: Python<'_>, data: PathBuf, deep: bool, watch: Option<Py<PyAny>>) -> PyResult<String> {
    let found = py.detach(|| {
        thyme_server::examine(&data, deep, SystemEnv.now_us(), &|done, total| {
            tell(watch.as_ref(), done, total)
        })
    });
    let found = found.map_err(raise)?;
    Ok(text(&json!({"health": found.health(), "findings": found.findings})))
}

/// Gives the store of a data directory another name, so that the next start rebuilds it; that name.
#[pyfunction]
pub fn set_store_aside(py: Python<'_>, data: PathBuf) -> PyResult<PathBuf> {
    py.detach(|| maintenance::set_store_aside(&data)).map_err(raise)
}
