//! An engine in this process over rows of another one's log.

use std::sync::Mutex;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use thyme_core::Position;
use thyme_engine::attached::Attached;

use crate::engine::{NativeEngine, Options};
use crate::raise;

/// A log in the making, of rows that a server gave.
#[pyclass(name = "Attachment", module = "thyme._thyme", frozen)]
pub struct Attachment(Mutex<Option<Attached>>);

fn taken() -> PyErr {
    PyValueError::new_err("the engine was opened already")
}

#[pymethods]
impl Attachment {
    /// Under definitions (JSON) that are committed as `commit`.
    #[new]
    fn new(commit: &str, document: &str) -> PyResult<Self> {
        let document = serde_json::from_str(document).map_err(|e| PyValueError::new_err(e.to_string()))?;
        Ok(Attachment(Mutex::new(Some(Attached::new(commit.to_owned(), document)))))
    }

    /// Adds a page of rows of a dataset; gives how many rows there are by now.
    fn add(&self, py: Python<'_>, dataset: &str, page: &[u8]) -> PyResult<u64> {
        py.detach(|| {
            let mut inner = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let attached = inner.as_mut().ok_or_else(taken)?;
            attached.add(dataset, page).map_err(raise)?;
            Ok(attached.rows())
        })
    }

    /// There are rows of a dataset after this event time only.
    fn rows_begin(&self, dataset: &str, after: i64) -> PyResult<()> {
        let mut inner = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        inner.as_mut().ok_or_else(taken)?.rows_begin(dataset, after).map_err(raise)
    }

    /// What was known before this stamp is not known.
    fn log_begins(&self, stamp: i64) -> PyResult<()> {
        let mut inner = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        inner.as_mut().ok_or_else(taken)?.log_begins(stamp);
        Ok(())
    }

    /// Opens an engine over them, as of the position `until`, which was written at `stamp`.
    fn open(
        &self,
        py: Python<'_>,
        until: &str,
        stamp: i64,
        options: &str,
        host: Py<PyAny>,
    ) -> PyResult<NativeEngine> {
        let attached = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let attached = attached.ok_or_else(taken)?;
        let mut options = Options::parse(options)?.app()?;
        let until: Position = until.parse().map_err(raise)?;
        let log = py.detach(|| attached.into_log(until.record(), stamp)).map_err(raise)?;
        options.attached = Some(log);
        NativeEngine::open(py, options, host)
    }
}
