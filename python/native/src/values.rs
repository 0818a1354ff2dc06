//! Values to Python objects and back.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyString, PyType};
use thyme_core::Value;
use thyme_core::value::canonical;

/// The parts of Python's `datetime` that conversions use.
pub struct Clockwork {
    datetime: Py<PyType>,
    timedelta: Py<PyAny>,
    epoch: Py<PyAny>,
    utc: Py<PyAny>,
    microsecond: Py<PyAny>,
}

static CLOCKWORK: PyOnceLock<Clockwork> = PyOnceLock::new();

impl Clockwork {
    /// Imported once a process.
    pub fn get(py: Python<'_>) -> PyResult<&Clockwork> {
        CLOCKWORK.get_or_try_init(py, || {
            let module = py.import("datetime")?;
            let datetime = module.getattr("datetime")?.cast_into::<PyType>()?;
            let timedelta = module.getattr("timedelta")?;
            let utc = module.getattr("timezone")?.getattr("utc")?;
            let keywords = PyDict::new(py);
            keywords.set_item("tzinfo", &utc)?;
            let epoch = datetime.call((1970, 1, 1), Some(&keywords))?;
            let microsecond = timedelta.call1((0, 0, 1))?;
            Ok(Clockwork {
                datetime: datetime.unbind(),
                timedelta: timedelta.unbind(),
                epoch: epoch.unbind(),
                utc: utc.unbind(),
                microsecond: microsecond.unbind(),
            })
        })
    }

    fn to_datetime<'py>(&self, py: Python<'py>, us: i64) -> PyResult<Bound<'py, PyAny>> {
        let since = self.timedelta.bind(py).call1((0, us.div_euclid(1_000_000), us.rem_euclid(1_000_000)))?;
        self.epoch.bind(py).add(since)
    }

    fn to_micros(&self, py: Python<'_>, time: &Bound<'_, PyAny>) -> PyResult<i64> {
        let aware = if time.getattr("tzinfo")?.is_none() {
            let keywords = PyDict::new(py);
            keywords.set_item("tzinfo", self.utc.bind(py))?;
            time.call_method("replace", (), Some(&keywords))?
        } else {
            time.clone()
        };
        aware.sub(self.epoch.bind(py))?.floor_div(self.microsecond.bind(py))?.extract()
    }
}

/// A value as a Python object; datetimes are aware, in UTC.
pub fn to_python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::Null => py.None().into_bound(py),
        Value::Int(v) => PyInt::new(py, *v).into_any(),
        Value::Float(v) => PyFloat::new(py, *v).into_any(),
        Value::Str(v) => PyString::new(py, v).into_any(),
        Value::Bool(v) => PyBool::new(py, *v).to_owned().into_any(),
        Value::Datetime(us) => Clockwork::get(py)?.to_datetime(py, *us)?,
    })
}

/// A Python object as a value; `Err` names its type or what is wrong with it.
pub fn from_python(object: &Bound<'_, PyAny>) -> Result<Value, String> {
    let py = object.py();
    if object.is_none() {
        return Ok(Value::Null);
    }
    if let Ok(v) = object.cast::<PyBool>() {
        return Ok(Value::Bool(v.is_true()));
    }
    if let Ok(v) = object.cast::<PyFloat>() {
        return Ok(Value::Float(canonical(v.value())));
    }
    if let Ok(v) = object.cast::<PyInt>() {
        return v.extract().map(Value::Int).map_err(|_| "an int outside int64".to_owned());
    }
    if let Ok(v) = object.cast::<PyString>() {
        return v
            .to_cow()
            .map(|s| Value::Str((&*s).into()))
            .map_err(|_| "a str that is not valid Unicode".to_owned());
    }
    let clockwork = Clockwork::get(py).map_err(|e| e.to_string())?;
    if object.is_instance(clockwork.datetime.bind(py)).unwrap_or(false) {
        return clockwork
            .to_micros(py, object)
            .map(Value::Datetime)
            .map_err(|e| format!("a datetime out of range ({e})"));
    }
    let name = object.get_type().name().map_or_else(|_| "object".to_owned(), |n| n.to_string());
    Err(format!("a value of type {name}"))
}
