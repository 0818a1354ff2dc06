//! An engine in this process, spoken to with the server's own requests.

use std::collections::HashMap;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use serde::Deserialize;
use thyme_core::Span;
use thyme_engine::{Clock, Memory};
use thyme_server::{App, AppOptions, Request, Tls};

use crate::host::PythonHost;
use crate::raise;

/// The options of both doors.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The data directory.
    #[serde(alias = "data")]
    pub path: Option<std::path::PathBuf>,
    /// `wall`, `event`, `event=A,B`.
    pub clock: Option<String>,
    /// How much memory to take: `512MiB`.
    pub memory: Option<String>,
    /// "Now", fixed.
    pub now_us: Option<i64>,
    /// How many shards.
    pub shards: Option<usize>,
    /// How many cores new pipelines are filled with.
    pub backfill_cores: Option<NonZero<u16>>,
    /// How often checkpoints are made, in milliseconds.
    pub checkpoint_every_ms: Option<NonZero<u32>>,
    /// The size at which a segment of the log is closed.
    pub segment_bytes: Option<NonZero<u64>>,
    /// The address, for a server.
    pub listen: Option<String>,
    /// Keys that may do everything, for a server.
    pub api_keys: Vec<String>,
    /// The PEM file of a server's certificate.
    pub tls_cert: Option<std::path::PathBuf>,
    /// The PEM file of its private key.
    pub tls_key: Option<std::path::PathBuf>,
    /// How many bytes of query runs are kept on disk.
    pub query_runs_bytes: Option<NonZero<u64>>,
    /// The most bytes of a body, for a server.
    pub body_bytes_max: Option<usize>,
    /// The most connections at once, for a server.
    pub max_connections: Option<NonZero<usize>>,
    /// How often some values are verified in the background, such as `1m`; `0`: never. For a server.
    pub verify_every: Option<String>,
}

impl Options {
    /// Reads the JSON of the options.
    pub fn parse(text: &str) -> PyResult<Options> {
        serde_json::from_str(text).map_err(|e| PyValueError::new_err(format!("options: {e}")))
    }

    /// How often a server verifies.
    pub fn verify_every(&self) -> PyResult<Option<Duration>> {
        match self.verify_every.as_deref() {
            None => Ok(Some(thyme_server::VERIFY_EVERY)),
            Some("0") => Ok(None),
            Some(text) => match Span::parse(text) {
                Ok(span) => Ok(Some(Duration::from_micros(span.0.unsigned_abs()))),
                Err(error) => {
                    Err(PyValueError::new_err(format!("verify_every: {} (0: never)", error.detail())))
                }
            },
        }
    }

    /// What a server proves itself with.
    pub fn tls(&self) -> PyResult<Option<Tls>> {
        match (&self.tls_cert, &self.tls_key) {
            (None, None) => Ok(None),
            (Some(cert), Some(key)) => Ok(Some(Tls { cert: cert.clone(), key: key.clone() })),
            (Some(_), None) => {
                Err(PyValueError::new_err("tls_cert is given without tls_key: a server needs both"))
            }
            (None, Some(_)) => {
                Err(PyValueError::new_err("tls_key is given without tls_cert: a server needs both"))
            }
        }
    }

    /// The part that the application takes.
    pub fn app(&self) -> PyResult<AppOptions> {
        let clock = self.clock.as_deref().map(Clock::parse).transpose();
        let clock = clock.map_err(|e| PyValueError::new_err(e.detail().to_owned()))?;
        let memory = self.memory.as_deref().map(Memory::parse).transpose();
        let memory = memory.map_err(|e| PyValueError::new_err(e.detail().to_owned()))?;
        Ok(AppOptions {
            path: self.path.clone(),
            attached: None,
            memory,
            clock: clock.unwrap_or_default(),
            shards: self.shards.unwrap_or(0),
            backfill_cores: self.backfill_cores.map_or(0, |cores| cores.get().into()),
            now_us: self.now_us,
            run_sources: true,
            verify_every: None,
            checkpoint_every: self.checkpoint_every_ms.map(|ms| Duration::from_millis(ms.get().into())),
            segment_bytes: self.segment_bytes.map(NonZero::get),
            api_keys: self.api_keys.clone(),
            query_runs_bytes: self.query_runs_bytes.map(NonZero::get),
        })
    }
}

/// An engine in this process.
#[pyclass(name = "Engine", module = "thyme._thyme", frozen)]
pub struct NativeEngine {
    app: Arc<App>,
}

impl NativeEngine {
    /// Opens an engine with these options.
    pub fn open(py: Python<'_>, options: AppOptions, host: Py<PyAny>) -> PyResult<Self> {
        let app = Arc::new(App::opening());
        let host = Arc::new(PythonHost::new(host));
        let opened = py.detach(|| app.open(options, host));
        opened.map_err(raise)?;
        Ok(NativeEngine { app })
    }
}

#[pymethods]
impl NativeEngine {
    /// Opens it: options as JSON, and a `thyme._host.Host` that runs extractors.
    #[new]
    fn new(py: Python<'_>, options: &str, host: Py<PyAny>) -> PyResult<Self> {
        NativeEngine::open(py, Options::parse(options)?.app()?, host)
    }

    /// Answers one request as the server would: status, headers, body.
    fn request<'py>(
        &self,
        py: Python<'py>,
        method: &str,
        target: &str,
        headers: HashMap<String, String>,
        body: &[u8],
    ) -> (u16, HashMap<&'static str, String>, Bound<'py, PyBytes>) {
        let body = bytes::Bytes::copy_from_slice(body);
        let request = Request::new(method, target, headers.into_iter().collect(), body);
        let reply = py.detach(|| self.app.request(&request));
        (reply.status, reply.headers.into_iter().collect(), PyBytes::new(py, &reply.body))
    }

    /// Fixes the clock, in microseconds since the epoch; None lets it go again.
    #[pyo3(signature = (now_us))]
    fn set_now(&self, now_us: Option<i64>) -> PyResult<()> {
        self.app.set_now(now_us).map_err(raise)
    }

    /// Stops it.
    fn close(&self, py: Python<'_>) {
        py.detach(|| self.app.close());
    }
}

impl Drop for NativeEngine {
    fn drop(&mut self) {
        // Its threads may call back into Python, which this thread holds.
        Python::attach(|py| py.detach(|| self.app.close()));
    }
}
