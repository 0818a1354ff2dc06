//! Extractors in CPython, through `thyme._host.Host`.

use std::collections::HashMap;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use thyme_core::definition::{Dataset, Extractor};
use thyme_core::{Error, ErrorKind, EventTime, Result, Value};
use thyme_query::{ColumnBuffer, ExtractorHost, LookupContext, Program, Runs};

use crate::values::{from_python, to_python};
use crate::vectors;

/// Runs extractors through a Python object with `load` and `call`.
#[derive(Debug)]
pub struct PythonHost {
    host: Py<PyAny>,
    /// Handles by featureset and extractor, as JSON: the same code is loaded once.
    loaded: Mutex<HashMap<(String, String), u64>>,
    /// How each of them runs.
    runs: Mutex<HashMap<u64, Runs>>,
}

impl PythonHost {
    /// A host over a `thyme._host.Host`.
    pub fn new(host: Py<PyAny>) -> Self {
        PythonHost { host, loaded: Mutex::default(), runs: Mutex::default() }
    }
}

/// What `Dataset.lookup` reads during a run of extractors.
#[pyclass(name = "LookupContext", module = "thyme._thyme", frozen)]
pub struct NativeLookup {
    context: LookupContext,
    /// The row whose extractor runs: what was known may differ from row to row.
    row: AtomicUsize,
}

#[pymethods]
impl NativeLookup {
    /// Lookups are from now on for this row of the call.
    fn at_row(&self, row: usize) {
        self.row.store(row, Ordering::Relaxed);
    }

    /// The row of `dataset` as of `time_us`: every field by name.
    fn lookup<'py>(
        &self,
        py: Python<'py>,
        dataset: &str,
        time_us: i64,
        key: &Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let mut named = Vec::with_capacity(key.len());
        for (name, value) in key.iter() {
            let name: String = name.extract()?;
            let value = from_python(&value).map_err(|got| {
                PyValueError::new_err(format!("{dataset}.{name}: expected a key value, got {got}"))
            })?;
            named.push((name, value));
        }
        let row = self
            .context
            .lookup(self.row.load(Ordering::Relaxed), dataset, EventTime(time_us), &named)
            .map_err(|e| PyValueError::new_err(e.detail().to_owned()))?;
        let out = PyDict::new(py);
        for (name, value) in &row {
            out.set_item(name, to_python(py, value)?)?;
        }
        Ok(out)
    }

    /// The rows of `dataset` for as many rows of the call, from the one it is for: an Arrow stream with the times in
    /// a column without name and one for each key field, to one with every field.
    fn lookup_many<'py>(
        &self,
        py: Python<'py>,
        dataset: &str,
        wanted: &[u8],
    ) -> PyResult<Bound<'py, PyBytes>> {
        let first = self.row.load(Ordering::Relaxed);
        let found = py.detach(|| vectors::lookup(&self.context, dataset, first, wanted));
        Ok(PyBytes::new(py, &found.map_err(PyValueError::new_err)?))
    }
}

impl ExtractorHost for PythonHost {
    fn load(&self, featureset: &str, extractor: &Extractor, datasets: &[Dataset]) -> Result<u64> {
        let text = |e: serde_json::Error| Error::internal(format!("extractor document: {e}"));
        let extractor_json = serde_json::to_string(extractor).map_err(text)?;
        let id = (featureset.to_owned(), extractor_json);
        let poisoned = || Error::internal("an earlier extractor load failed inside Thyme");
        if let Some(handle) = self.loaded.lock().map_err(|_| poisoned())?.get(&id) {
            return Ok(*handle);
        }
        let datasets_json = serde_json::to_string(datasets).map_err(text)?;
        let (handle, program, why) = Python::attach(|py| -> PyResult<(u64, Option<String>, String)> {
            let host = self.host.bind(py);
            let handle = host.call_method1("load", (featureset, &id.1, datasets_json))?.extract()?;
            let (program, why) = host.call_method1("program", (handle,))?.extract()?;
            Ok((handle, program, why))
        })
        .map_err(|e| Error::invalid_definition(said(&e)))?;
        let runs = match program {
            _ if extractor.vectorized => Runs::Vectorized,
            Some(program) => Runs::Compiled(Arc::new(Program::parse(&program)?)),
            None => Runs::Hosted(why),
        };
        self.runs.lock().map_err(|_| poisoned())?.insert(handle, runs);
        self.loaded.lock().map_err(|_| poisoned())?.insert(id, handle);
        Ok(handle)
    }

    fn runs(&self, handle: u64) -> Runs {
        let runs = self.runs.lock().ok().and_then(|runs| runs.get(&handle).cloned());
        runs.unwrap_or_else(|| Runs::Hosted("it was never loaded".into()))
    }

    fn call(
        &self,
        handle: u64,
        times: &[EventTime],
        inputs: &[&ColumnBuffer],
        context: &LookupContext,
    ) -> Result<Vec<Vec<Value>>> {
        Python::attach(|py| {
            let columns = self
                .run(py, handle, times, inputs, context)
                .map_err(|e| Error::new(ErrorKind::Extractor, said(&e)))?;
            columns
                .iter()
                .map(|column| column.iter().map(|v| from_python(&v)).collect::<Result<Vec<_>, _>>())
                .collect::<Result<Vec<_>, _>>()
                .map_err(|got| {
                    Error::new(
                        ErrorKind::Extractor,
                        format!(
                            "an extractor returned {got}; expected int, float, str, bool, datetime or None"
                        ),
                    )
                })
        })
    }

    fn call_vectorized(
        &self,
        handle: u64,
        times: &[EventTime],
        inputs: &[&ColumnBuffer],
        context: &LookupContext,
    ) -> Result<Vec<ColumnBuffer>> {
        let batch = vectors::call(times, inputs)?;
        let lookup = NativeLookup { context: context.clone(), row: AtomicUsize::new(0) };
        let given = Python::attach(|py| -> PyResult<Vec<u8>> {
            let (batch, lookup) = (PyBytes::new(py, &batch), Py::new(py, lookup)?);
            let method = "call_vectorized";
            self.host.bind(py).call_method1(method, (handle, batch, lookup))?.extract()
        })
        .map_err(|e| Error::new(ErrorKind::Extractor, said(&e)))?;
        vectors::outputs(&given)
            .map_err(|got| Error::new(ErrorKind::Extractor, format!("a vectorized extractor returned {got}")))
    }
}

impl PythonHost {
    fn run<'py>(
        &self,
        py: Python<'py>,
        handle: u64,
        times: &[EventTime],
        inputs: &[&ColumnBuffer],
        context: &LookupContext,
    ) -> PyResult<Vec<Bound<'py, PyList>>> {
        let times_us = PyList::new(py, times.iter().map(|t| t.0))?;
        let columns = PyList::empty(py);
        for input in inputs {
            let column = PyList::empty(py);
            for row in 0..input.len() {
                column.append(to_python(py, &input.get(row))?)?;
            }
            columns.append(column)?;
        }
        let lookup = Py::new(py, NativeLookup { context: context.clone(), row: AtomicUsize::new(0) })?;
        let outputs = self.host.bind(py).call_method1("call", (handle, times_us, columns, lookup))?;
        outputs.cast_into::<PyList>()?.iter().map(|c| c.cast_into::<PyList>().map_err(PyErr::from)).collect()
    }
}

/// What a Python exception says, without its type.
fn said(error: &PyErr) -> String {
    Python::attach(|py| error.value(py).to_string())
}
