//! `thyme serve`: the server in this process, until a signal.

use std::net::SocketAddr;
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use thyme_core::Error;
use thyme_server::{App, AppOptions, ServeOptions};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::engine::Options;
use crate::host::PythonHost;
use crate::raise;

/// Runs the server until SIGINT or SIGTERM; then lets running requests finish and makes a checkpoint.
#[pyfunction]
pub fn serve(py: Python<'_>, options: &str, host: Py<PyAny>) -> PyResult<()> {
    let options = Options::parse(options)?;
    let has_keys = match &options.path {
        Some(path) => thyme_server::any_key(path).map_err(raise)?,
        None => false,
    };
    let is_keyed = has_keys || !options.api_keys.is_empty();
    let mut listen = ServeOptions { is_keyed, ..ServeOptions::default() };
    if let Some(text) = &options.listen {
        listen.listen = address(text)?;
    }
    listen.tls = options.tls()?;
    if let Some(bytes) = options.body_bytes_max {
        listen.body_bytes_max = bytes;
    }
    if let Some(connections) = options.max_connections {
        listen.connections_max = connections.get();
    }
    listen.check().map_err(raise)?;
    let app_options = AppOptions { verify_every: options.verify_every()?, ..options.app()? };
    let host = Arc::new(PythonHost::new(host));
    py.detach(|| run(app_options, listen, host)).map_err(raise)
}

fn address(text: &str) -> PyResult<SocketAddr> {
    let text = text.replace("localhost", "127.0.0.1");
    let with_host = if text.starts_with(':') { format!("127.0.0.1{text}") } else { text };
    with_host.parse().map_err(|_| {
        PyValueError::new_err(format!(
            "\"{with_host}\" is not an address to listen on: expected HOST:PORT such as 127.0.0.1:8080"
        ))
    })
}

fn run(options: AppOptions, listen: ServeOptions, host: Arc<PythonHost>) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::internal(format!("cannot start the runtime: {e}")))?;
    let app = Arc::new(App::opening());
    let (stop, stopped) = watch::channel(false);
    let opener = app.clone();
    let result = runtime.block_on(async {
        let opening = tokio::task::spawn_blocking(move || opener.open(options, host));
        let mut served = tokio::spawn(thyme_server::serve(app.clone(), listen, wait(stopped)));
        let opened = tokio::select! {
            opened = opening => opened.map_err(|e| Error::internal(format!("opening failed: {e}"))).flatten(),
            // It could not even listen.
            ended = &mut served => return ended.map_err(|e| Error::internal(format!("the server failed: {e}"))).flatten(),
        };
        if opened.is_ok() {
            signalled().await;
        }
        let _ = stop.send(true);
        let ended = served.await.map_err(|e| Error::internal(format!("the server failed: {e}"))).flatten();
        opened.and(ended)
    });
    app.close();
    result
}

async fn wait(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a stop as well.
    let _ = stopped.wait_for(|stop| *stop).await;
}

async fn signalled() {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
