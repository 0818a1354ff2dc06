//! The HTTP server: sockets in front of [`App`].

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use thyme_core::{Error, Result};
use tokio::net::TcpListener;

use crate::app::App;
use crate::request::{Reply, Request};
use crate::routes;

/// How the server listens.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// The address.
    pub listen: SocketAddr,
    /// Keys that may do everything. Without any, only loopback addresses are listened on.
    pub api_keys: Vec<String>,
    /// The most bytes of a request's body.
    pub body_bytes_max: usize,
}

impl Default for ServeOptions {
    fn default() -> Self {
        ServeOptions {
            listen: ([127, 0, 0, 1], 8080).into(),
            api_keys: Vec::new(),
            body_bytes_max: 256 << 20,
        }
    }
}

impl ServeOptions {
    /// Whether a server may listen like this; asked before anything is opened.
    ///
    /// # Errors
    /// InvalidData: an address beyond loopback without an API key. Unavailable: an address in use.
    pub fn check(&self) -> Result<()> {
        if !self.listen.ip().is_loopback() && self.api_keys.is_empty() {
            return Err(Error::invalid_data(format!(
                "refusing to listen on {}: a commit is code, and no API key is configured; set api_keys in the config file, or listen on 127.0.0.1",
                self.listen
            )));
        }
        std::net::TcpListener::bind(self.listen).map(drop).map_err(|e| cannot_listen(self.listen, &e))
    }
}

fn cannot_listen(listen: SocketAddr, error: &std::io::Error) -> Error {
    Error::unavailable(format!("cannot listen on {listen}: {error}; is another server running there?"))
}

struct Door {
    app: Arc<App>,
    options: ServeOptions,
}

/// Serves `app` until `stop` resolves; then lets running requests finish.
///
/// # Errors
/// An address beyond loopback without an API key, or one that cannot be bound.
pub async fn serve(
    app: Arc<App>,
    options: ServeOptions,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    options.check()?;
    let listen = options.listen;
    let listener = TcpListener::bind(listen).await.map_err(|e| cannot_listen(listen, &e))?;
    let router = Router::new().fallback(handle).with_state(Arc::new(Door { app, options }));
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
        // Answers are small and written at once: waiting to fill a packet only delays them.
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, router)
        .with_graceful_shutdown(stop)
        .await
        .map_err(|e| Error::unavailable(format!("the server stopped: {e}")))
}

async fn handle(State(door): State<Arc<Door>>, request: axum::extract::Request) -> Response<Body> {
    let reply = match admit(&door, &request) {
        Some(refused) => {
            door.app.metrics.refused_at_the_door(refused.status, Duration::ZERO);
            refused
        }
        None => answer(door, request).await,
    };
    to_response(reply)
}

/// Refuses callers without a key, and pages that pretend to be this machine.
fn admit(door: &Door, request: &axum::extract::Request) -> Option<Reply> {
    let header = |name: &str| request.headers().get(name).and_then(|v| v.to_str().ok());
    let open = matches!(request.uri().path(), "/health" | "/metrics");
    if !door.options.api_keys.is_empty() {
        let given = header("authorization").and_then(|v| v.strip_prefix("Bearer ")).unwrap_or("");
        let known = door
            .options
            .api_keys
            .iter()
            .fold(false, |found, key| found | same(key.as_bytes(), given.trim().as_bytes()));
        if !known && !open {
            let detail =
                "this server needs an API key: send Authorization: Bearer KEY (thyme login stores one)";
            return Some(Reply::failure(401, "unauthorized", detail, &[]));
        }
        return None;
    }
    // Without keys only this machine may ask; a name that resolves here (DNS rebinding) is somebody else's.
    let host = header("host").unwrap_or("localhost");
    if is_local(host) {
        return None;
    }
    let detail = format!("the Host header is \"{host}\"; without API keys only localhost is answered");
    Some(Reply::failure(403, "forbidden", &detail, &[]))
}

/// Compares in a time that depends on the lengths alone.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |d, (x, y)| d | (x ^ y)) == 0
}

fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

async fn answer(door: Arc<Door>, request: axum::extract::Request) -> Reply {
    let (parts, body) = request.into_parts();
    let body = match Limited::new(body, door.options.body_bytes_max).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            let detail =
                format!("the body is larger than {} bytes; send it in parts", door.options.body_bytes_max);
            door.app.metrics.refused_at_the_door(413, Duration::ZERO);
            return Reply::failure(413, "too_large", &detail, &[]);
        }
        Err(error) => {
            return Reply::failure(400, "invalid_data", &format!("the body could not be read: {error}"), &[]);
        }
    };
    let target = parts.uri.path_and_query().map_or("/", |t| t.as_str());
    let headers = parts
        .headers
        .iter()
        .filter_map(|(name, value)| value.to_str().ok().map(|v| (name.as_str().to_owned(), v.to_owned())))
        .collect();
    let request = Request::new(parts.method.as_str(), target, headers, body);
    #[expect(clippy::disallowed_methods, reason = "measures; no value depends on it")]
    let arrived = Instant::now();
    if routes::is_quick(&door.app, &request) {
        return door.app.request_since(arrived, &request);
    }
    let app = door.app.clone();
    tokio::task::spawn_blocking(move || app.request_since(arrived, &request)).await.unwrap_or_else(|_| {
        Reply::error(&Error::internal("the request failed inside the server; see its log"))
    })
}

fn to_response(reply: Reply) -> Response<Body> {
    let mut response = Response::new(Body::from(reply.body));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in reply.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_local() {
        for host in ["localhost", "localhost:8080", "127.0.0.1", "127.0.0.1:80", "[::1]:8080", "LOCALHOST:1"]
        {
            assert!(is_local(host), "{host}");
        }
        for host in ["evil.example", "evil.example:8080", "10.0.0.1", "127.0.0.1.evil.example", ""] {
            assert!(!is_local(host), "{host}");
        }
    }

    #[test]
    fn keys_are_compared_whole() {
        assert!(same(b"abc", b"abc"));
        assert!(!same(b"abc", b"abd") && !same(b"abc", b"ab") && !same(b"abc", b""));
    }
}
