//! Translated extractors by themselves.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use thyme_core::{DataType, EventTime};
use thyme_query::{ColumnBuffer, Program, compiled};

use crate::raise;
use crate::values::{from_python, to_python};

/// Rows for a program: the time of each, and a column for each input.
struct Rows {
    times: Vec<EventTime>,
    columns: Vec<ColumnBuffer>,
}

impl Rows {
    fn given(types: Vec<String>, times_us: Vec<i64>, inputs: &[Vec<Bound<'_, PyAny>>]) -> PyResult<Rows> {
        let mut columns = Vec::with_capacity(inputs.len());
        for (name, values) in types.into_iter().zip(inputs) {
            let mut column = ColumnBuffer::nulls(data_type(name)?, times_us.len());
            for (row, value) in values.iter().enumerate().take(times_us.len()) {
                column.set(row, from_python(value).map_err(PyValueError::new_err)?);
            }
            columns.push(column);
        }
        Ok(Rows { times: times_us.into_iter().map(EventTime).collect(), columns })
    }

    fn columns(&self) -> Vec<&ColumnBuffer> {
        self.columns.iter().collect()
    }
}

fn data_type(name: String) -> PyResult<DataType> {
    serde_json::from_value(name.into())
        .map_err(|e| PyValueError::new_err(format!("the type of an input or output: {e}")))
}

/// What each row came to.
type Outcomes<'py> = Vec<Option<Bound<'py, PyTuple>>>;

fn shown<'py>(py: Python<'py>, outcomes: Vec<compiled::Outcome>) -> PyResult<Outcomes<'py>> {
    let shown = |values: Vec<thyme_core::Value>| {
        let values = values.iter().map(|value| to_python(py, value)).collect::<PyResult<Vec<_>>>()?;
        PyTuple::new(py, values)
    };
    outcomes.into_iter().map(|outcome| outcome.map(shown).transpose()).collect()
}

/// Runs a program of `thyme._compiled` over rows, without an engine: of each the outputs, or None where it is left to
/// CPython. A column for each input, whose type is one of `types`; lookups are left to CPython.
#[pyfunction]
pub fn run_program<'py>(
    py: Python<'py>,
    program: &str,
    types: Vec<String>,
    times_us: Vec<i64>,
    inputs: Vec<Vec<Bound<'py, PyAny>>>,
) -> PyResult<Outcomes<'py>> {
    let program = Program::parse(program).map_err(raise)?;
    let rows = Rows::given(types, times_us, &inputs)?;
    let outcomes = py.detach(|| compiled::run_alone(&program, &rows.times, &rows.columns()));
    shown(py, outcomes)
}

/// The same, all rows at once; None if the outputs are not of the types that are `declared`.
#[pyfunction]
pub fn run_program_in_columns<'py>(
    py: Python<'py>,
    program: &str,
    declared: Vec<String>,
    types: Vec<String>,
    times_us: Vec<i64>,
    inputs: Vec<Vec<Bound<'py, PyAny>>>,
) -> PyResult<Option<Outcomes<'py>>> {
    let program = Program::parse(program).map_err(raise)?;
    let declared = declared.into_iter().map(data_type).collect::<PyResult<Vec<_>>>()?;
    let rows = Rows::given(types, times_us, &inputs)?;
    let outcomes =
        py.detach(|| compiled::run_alone_in_columns(&program, &declared, &rows.times, &rows.columns()));
    outcomes.map(|outcomes| shown(py, outcomes)).transpose()
}
