//! Values to Python objects and back.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple, PyType};
use std::sync::Arc;
use thyme_core::Value;
use thyme_core::value::decimal::{ShownDecimal, parse_decimal};
use thyme_core::value::{JSON_DEPTH_MAX, Json, Unscaled, canonical, untyped};

/// The parts of Python's `datetime` that conversions use.
pub struct Clockwork {
    datetime: Py<PyType>,
    date: Py<PyType>,
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
            let date = module.getattr("date")?.cast_into::<PyType>()?;
            let timedelta = module.getattr("timedelta")?;
            let utc = module.getattr("timezone")?.getattr("utc")?;
            let keywords = PyDict::new(py);
            keywords.set_item("tzinfo", &utc)?;
            let epoch = datetime.call((1970, 1, 1), Some(&keywords))?;
            let microsecond = timedelta.call1((0, 0, 1))?;
            Ok(Clockwork {
                datetime: datetime.unbind(),
                date: date.unbind(),
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

    /// Python counts days from the first of the year 1, which is its day 1.
    fn to_date<'py>(&self, py: Python<'py>, days: i32) -> PyResult<Bound<'py, PyAny>> {
        self.date.bind(py).call_method1("fromordinal", (i64::from(days) + 719_163,))
    }

    fn to_days(&self, py: Python<'_>, date: &Bound<'_, PyAny>) -> PyResult<i32> {
        let ordinal: i32 = self.date.bind(py).call_method1("toordinal", (date,))?.extract()?;
        Ok(ordinal - 719_163)
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
        other => other_to_python(py, other)?,
    })
}

/// As [`to_python`], a value that is neither text, number, bool nor time.
fn other_to_python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::Date(days) => Clockwork::get(py)?.to_date(py, *days)?,
        Value::Bytes(v) => PyBytes::new(py, v).into_any(),
        Value::Decimal(scale, v) => {
            let text = ShownDecimal(v.get(), *scale).to_string();
            py.import("decimal")?.getattr("Decimal")?.call1((text,))?
        }
        Value::Json(text) => py.import("json")?.getattr("loads")?.call1((text.as_ref(),))?,
        Value::Vector(items) => PyList::new(py, items.iter())?.into_any(),
        Value::List(_, items) => {
            let list = PyList::empty(py);
            items.iter().try_for_each(|item| list.append(to_python(py, item)?))?;
            list.into_any()
        }
        Value::Map(_, entries) => {
            let dict = PyDict::new(py);
            entries.iter().try_for_each(|(key, value)| dict.set_item(key.as_ref(), to_python(py, value)?))?;
            dict.into_any()
        }
        plain => to_python(py, plain)?,
    })
}

/// A list, a tuple or a dict: of plain values of one type, or JSON.
fn nested_from_python(object: &Bound<'_, PyAny>) -> Result<Option<Value>, String> {
    let plain = |item: &Bound<'_, PyAny>| match is_nested(item) {
        true => None,
        false => from_python(item).ok(),
    };
    let found = if let Ok(dict) = object.cast::<PyDict>() {
        let entry = |(key, item): (Bound<'_, PyAny>, Bound<'_, PyAny>)| {
            Some((Arc::from(&*key.cast::<PyString>().ok()?.to_cow().ok()?), plain(&item)?))
        };
        dict.iter().map(entry).collect::<Option<Vec<_>>>().and_then(Value::of_map)
    } else if is_nested(object) {
        let items = object.try_iter().map_err(|e| e.to_string())?;
        let items: Option<Vec<Value>> = items.map(|item| plain(&item.ok()?)).collect();
        items.and_then(|items| Value::of_list(&items))
    } else {
        return Ok(None);
    };
    match found {
        Some(value) => Ok(Some(value)),
        None => Ok(Some(Value::Json(tree(object, 0)?.canonical_text()))),
    }
}

fn is_nested(object: &Bound<'_, PyAny>) -> bool {
    object.is_instance_of::<PyList>()
        || object.is_instance_of::<PyTuple>()
        || object.is_instance_of::<PyDict>()
}

/// A Python object as JSON has it.
fn tree(object: &Bound<'_, PyAny>, depth: usize) -> Result<Json, String> {
    if depth > JSON_DEPTH_MAX {
        return Err(format!("a value of more than {JSON_DEPTH_MAX} levels"));
    }
    if let Ok(dict) = object.cast::<PyDict>() {
        let entry = |(key, item): (Bound<'_, PyAny>, Bound<'_, PyAny>)| {
            let wrong = || format!("a dict with the key {key}, which is not a str");
            let name = key.cast::<PyString>().map_err(|_| wrong())?.to_string();
            let item = tree(&item, depth + 1).map_err(|got| format!("[{name:?}]: {got}"))?;
            Ok((name, item))
        };
        return Ok(Json::object(dict.iter().map(entry).collect::<Result<_, String>>()?));
    }
    if is_nested(object) {
        let items = object.try_iter().map_err(|e| e.to_string())?.enumerate();
        let item = |(i, item): (usize, PyResult<Bound<'_, PyAny>>)| {
            tree(&item.map_err(|e| e.to_string())?, depth + 1).map_err(|got| format!("[{i}]: {got}"))
        };
        return Ok(Json::Array(items.map(item).collect::<Result<_, String>>()?));
    }
    let mut finite = true;
    let json = untyped(&from_python(object)?, "", &mut |_, _| finite = false);
    if finite { Ok(json) } else { Err("a float that is not finite, which JSON has not".into()) }
}

/// A `Decimal`, and a member of an enum as its value.
fn named_from_python(object: &Bound<'_, PyAny>) -> Result<Option<Value>, String> {
    let of = |module: &str, class: &str| -> PyResult<bool> {
        object.is_instance(&object.py().import(module)?.getattr(class)?)
    };
    if of("decimal", "Decimal").unwrap_or(false) {
        let text = object.str().map_err(|e| e.to_string())?.to_string();
        let wrong = || format!("Decimal {text}, which is not finite or has more than 38 digits");
        let exponent = text.split_once(['e', 'E']).map_or(Some(0), |(_, e)| e.parse::<i64>().ok());
        let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
        let digits = mantissa.split_once('.').map_or(0, |(_, fraction)| fraction.len() as i64);
        let scale = exponent.map_or(0, |exponent| digits - exponent).clamp(0, 38) as u8;
        let unscaled = parse_decimal(&text, scale).map_err(|_| wrong())?;
        return Ok(Some(Value::Decimal(scale, Unscaled::new(unscaled))));
    }
    if of("enum", "Enum").unwrap_or(false) {
        return from_python(&object.getattr("value").map_err(|e| e.to_string())?).map(Some);
    }
    Ok(None)
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
    if let Some(value) = nested_from_python(object)? {
        return Ok(value);
    }
    if object.is_instance(clockwork.date.bind(py)).unwrap_or(false) {
        return clockwork
            .to_days(py, object)
            .map(Value::Date)
            .map_err(|e| format!("a date out of range ({e})"));
    }
    if let Ok(v) = object.cast::<PyBytes>() {
        return Ok(Value::Bytes(v.as_bytes().into()));
    }
    if let Some(value) = named_from_python(object)? {
        return Ok(value);
    }
    let name = object.get_type().name().map_or_else(|_| "object".to_owned(), |n| n.to_string());
    Err(format!("a value of type {name}"))
}
