//! The HTTP server: sockets in front of [`App`].

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::header::{HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use thyme_core::{Error, Result};
use thyme_engine::{Budget, Ticket};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::access::Caller;
use crate::access::admission::{self, Head, Openness};
use crate::app::{App, Ready};
use crate::bodies::{self, Bounds, Read};
use crate::connections::{self, Connections};
use crate::request::{Leaving, Reply, Request, decode};
use crate::{routes, writes};

/// What a connection may hold of a request that nobody has asked it for yet; also the longest head.
const CONNECTION_BYTES: usize = 64 << 10;
/// [`ServeOptions::head_wait`], unless told otherwise. Longer than clients keep idle connections.
const HEAD_WAIT: Duration = Duration::from_secs(75);
/// Bodies of reads that wait for nobody.
const READ_BODY_BYTES: usize = 64 << 10;
/// How long no connection is accepted after one could not be.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// How the server listens.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// The address.
    pub listen: SocketAddr,
    /// Whether there are API keys. Without any, only loopback addresses are listened on.
    pub is_keyed: bool,
    /// The most bytes of a request's body.
    pub body_bytes_max: usize,
    /// The most connections at once.
    pub connections_max: usize,
    /// How long a connection may take for the head of a request, or be idle.
    pub head_wait: Duration,
}

impl Default for ServeOptions {
    fn default() -> Self {
        ServeOptions {
            listen: ([127, 0, 0, 1], 8080).into(),
            is_keyed: false,
            body_bytes_max: 256 << 20,
            connections_max: connections::fitting(),
            head_wait: HEAD_WAIT,
        }
    }
}

impl ServeOptions {
    /// Whether a server may listen like this; asked before anything is opened.
    ///
    /// # Errors
    /// InvalidData: an address beyond loopback without an API key. Unavailable: an address in use.
    pub fn check(&self) -> Result<()> {
        if !self.listen.ip().is_loopback() && !self.is_keyed {
            return Err(Error::invalid_data(format!(
                "refusing to listen on {}: a commit is code, and there is no API key; make one (`thyme keys create --role admin --data DIR`), or listen on 127.0.0.1",
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
    /// The bodies of everything but pushes, which take from the engine's own.
    bodies: OnceLock<Arc<Budget>>,
    /// Pushes that are decoded at the same time.
    decoding: Arc<Semaphore>,
    connections: Connections,
    /// When it opened: what rates are counted from.
    since: Instant,
}

impl Door {
    fn new(app: Arc<App>, options: ServeOptions) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let decoding = Arc::new(Semaphore::new(cores.max(2)));
        let connections = Connections::new(options.connections_max);
        #[expect(clippy::disallowed_methods, reason = "measures rates; no value depends on it")]
        let since = Instant::now();
        Door { app, options, bodies: OnceLock::new(), decoding, connections, since }
    }

    /// As much room as there is for pushes.
    fn bodies(&self, ready: &Ready) -> &Arc<Budget> {
        self.bodies.get_or_init(|| Budget::new(ready.engine().push_budget().facts().limit))
    }

    fn bounds<'a>(&self, budget: &'a Arc<Budget>, factor: usize, free: usize) -> Bounds<'a> {
        Bounds { budget, factor, free, bytes_max: self.options.body_bytes_max }
    }
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
    let door = Arc::new(Door::new(app, options));
    // Each connection holds a receiver: it learns there that it is to end, and its end is learned by it.
    let (closing, open) = watch::channel(false);
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok((stream, _)) => match door.connections.enter() {
                Some(room) => {
                    let conversation = converse(door.clone(), stream, open.clone());
                    drop(tokio::spawn(async move {
                        conversation.await;
                        drop(room);
                    }));
                }
                None => {
                    let refused = door.connections.turn_away(stream).await;
                    door.app.metrics.refused_at_the_door(refused.status, Duration::ZERO);
                }
            },
            // Out of file descriptors, most likely: there will be some when a connection ends.
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
    drop((listener, open));
    let _ = closing.send(true);
    closing.closed().await;
    Ok(())
}

/// Answers the requests of one connection.
async fn converse(door: Arc<Door>, stream: TcpStream, mut open: watch::Receiver<bool>) {
    // Answers are small and written at once: waiting to fill a packet only delays them.
    let _ = stream.set_nodelay(true);
    let head_wait = door.options.head_wait;
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let door = door.clone();
        async move { Ok::<_, Infallible>(to_response(handle(door, request).await)) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_wait)
        .max_buf_size(CONNECTION_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        // What goes wrong here is the caller's affair, who is gone.
        _ = connection.as_mut() => return,
        _ = open.wait_for(|closing| *closing) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

async fn handle(door: Arc<Door>, request: hyper::Request<Incoming>) -> Reply {
    let (parts, body) = request.into_parts();
    match admit(&door, &parts) {
        Ok(caller) => answer(door, parts, body, caller).await,
        Err(refused) => {
            door.app.metrics.refused_at_the_door(refused.status, Duration::ZERO);
            refused
        }
    }
}

/// Who sent a request, if they may; asked before its body is read.
fn admit(door: &Door, parts: &Parts) -> Result<Caller, Reply> {
    let header = |name: &str| parts.headers.get(name).and_then(|v| v.to_str().ok());
    let path = decode(parts.uri.path(), false);
    let head = Head { path: &path, authorization: header("authorization"), host: header("host") };
    let ready = door.app.ready_now().ok();
    let open = Openness {
        keys: ready.as_ref().map(|ready| &ready.keys),
        is_loopback: door.options.listen.ip().is_loopback(),
    };
    let now = || u64::try_from(door.since.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let caller = admission::admit(open, head, now)?;
    if ready.is_some() {
        routes::permit(&caller, parts.method.as_str(), &path).map_err(|error| Reply::error(&error))?;
    }
    Ok(caller)
}

async fn answer(door: Arc<Door>, parts: Parts, body: Incoming, caller: Caller) -> Reply {
    let is_push = (parts.method.as_str(), parts.uri.path()) == writes::LOG;
    let received = match door.app.ready_now() {
        // Its rows are there before its body is gone.
        Ok(ready) if is_push => {
            door.bounds(ready.engine().push_budget(), 2, 0).read(&parts.headers, body).await
        }
        Ok(ready) => door.bounds(door.bodies(&ready), 1, READ_BODY_BYTES).read(&parts.headers, body).await,
        Err(_) if body.is_end_stream() => Ok(Read::default()),
        // Nobody could do anything with it.
        Err(error) => Err(bodies::refuse(Reply::error(&error), &parts.headers, body).await),
    };
    let Read { body, ticket } = match received {
        Ok(read) => read,
        Err(reply) => {
            door.app.metrics.refused(parts.method.as_str(), parts.uri.path(), reply.status);
            return reply;
        }
    };
    let target = parts.uri.path_and_query().map_or("/", |t| t.as_str());
    let headers = parts
        .headers
        .iter()
        .filter_map(|(name, value)| value.to_str().ok().map(|v| (name.as_str().to_owned(), v.to_owned())))
        .collect();
    let request = Request { caller, ..Request::new(parts.method.as_str(), target, headers, body) };
    #[expect(clippy::disallowed_methods, reason = "measures; no value depends on it")]
    let arrived = Instant::now();
    if is_push {
        let reply = push(&door, request, ticket).await;
        door.app.metrics.answered(writes::LOG.0, writes::LOG.1, reply.status, arrived.elapsed());
        return reply;
    }
    if routes::is_quick(&door.app, &request) {
        return door.app.request_since(arrived, &request);
    }
    // When the connection ends before the answer, this is dropped with it.
    let _leaving = Leaving::of(&request.gone);
    let app = door.app.clone();
    let answered = tokio::task::spawn_blocking(move || {
        let reply = app.request_since(arrived, &request);
        drop(ticket);
        reply
    });
    answered.await.unwrap_or_else(|_| failed())
}

/// Answers a push: it is decoded on a thread of its own, of which there are few, and waits for the disk on
/// none, so that however many wait, reads find a thread.
async fn push(door: &Door, request: Request, mut ticket: Option<Ticket>) -> Reply {
    let expanded = writes::expanded(&request);
    if let Some(ticket) = ticket.as_mut().filter(|ticket| ticket.bytes() < expanded)
        && let Err(reply) = bodies::grow(ticket, expanded).await
    {
        return reply;
    }
    let app = door.app.clone();
    let Ok(slot) = door.decoding.clone().acquire_owned().await else { return failed() };
    let begun = tokio::task::spawn_blocking(move || {
        let _slot = slot;
        app.ready_now().map(|ready| writes::begin(ready, request, ticket))
    });
    match begun.await {
        Ok(Ok(begun)) => begun.end().await,
        Ok(Err(error)) => Reply::error(&error),
        Err(_) => failed(),
    }
}

fn failed() -> Reply {
    Reply::error(&Error::internal("the request failed inside the server; see its log"))
}

fn to_response(reply: Reply) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(reply.body)));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in reply.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    response
}
