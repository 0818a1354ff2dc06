//! Translated extractors by themselves.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use thyme_core::{DataType, EventTime};
use thyme_query::{ColumnBuffer, Program, compiled};

use crate::raise;
use crate::values::{from_python, to_python};

/// Runs a program of `thyme._compiled` over rows, without an engine: of each the outputs, or None where it is left to
/// CPython. A column for each input, whose type is one of `types`; lookups are left to CPython.
#[pyfunction]
pub fn run_program<'py>(
    py: Python<'py>,
    program: &str,
    types: Vec<String>,
    times_us: Vec<i64>,
    inputs: Vec<Vec<Bound<'py, PyAny>>>,
) -> PyResult<Vec<Option<Bound<'py, PyTuple>>>> {
    let program = Program::parse(program).map_err(raise)?;
    let mut columns = Vec::with_capacity(inputs.len());
    for (name, values) in types.into_iter().zip(&inputs) {
        let data_type: DataType = serde_json::from_value(name.into())
            .map_err(|e| PyValueError::new_err(format!("the type of an input: {e}")))?;
        let mut column = ColumnBuffer::nulls(data_type, times_us.len());
        for (row, value) in values.iter().enumerate().take(times_us.len()) {
            column.set(row, from_python(value).map_err(PyValueError::new_err)?);
        }
        columns.push(column);
    }
    let columns: Vec<&ColumnBuffer> = columns.iter().collect();
    let times: Vec<EventTime> = times_us.into_iter().map(EventTime).collect();
    let outcomes = py.detach(|| compiled::run_alone(&program, &times, &columns));
    let shown = |values: Vec<thyme_core::Value>| {
        let values = values.iter().map(|value| to_python(py, value)).collect::<PyResult<Vec<_>>>()?;
        PyTuple::new(py, values)
    };
    outcomes.into_iter().map(|outcome| outcome.map(shown).transpose()).collect()
}
