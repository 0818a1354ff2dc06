//! The HTTP server: sockets in front of [`App`].

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use hyper::body::{Body, Incoming};
use hyper::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Response, StatusCode};
use thyme_core::{Error, Result};
use thyme_engine::{Budget, Ticket};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::access::Caller;
use crate::access::admission::{self, Head, Openness};
use crate::app::{App, Ready};
use crate::bodies::{self, Bounds, Read};
use crate::connections::{self, Connections, Room, Work};
use crate::encoding::Coding;
use crate::request::{Leaving, Reply, Request, decode};
use crate::tls::Tls;
use crate::wire::Wire;
use crate::{routes, writes};

/// [`ServeOptions::head_wait`], unless told otherwise. Longer than clients keep idle connections.
const HEAD_WAIT: Duration = Duration::from_secs(75);
/// Bodies of reads that wait for nobody.
const READ_BODY_BYTES: usize = 64 << 10;
/// How long no connection is accepted after one could not be.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// [`ServeOptions::drain_wait`], unless told otherwise. Longer than a read may be told to wait.
const DRAIN_WAIT: Duration = Duration::from_secs(65);
/// Answers of more bytes are compressed on a thread of their own.
const COMPRESS_ELSEWHERE: usize = 64 << 10;

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
    /// How long a connection may take for the head of a request, be idle, or take nothing of an answer.
    pub head_wait: Duration,
    /// How long the requests that run when it is stopped may take to be answered.
    pub drain_wait: Duration,
    /// What it proves itself with; without it nothing is encrypted.
    pub tls: Option<Tls>,
}

impl Default for ServeOptions {
    fn default() -> Self {
        ServeOptions {
            listen: ([127, 0, 0, 1], 8080).into(),
            is_keyed: false,
            body_bytes_max: 256 << 20,
            connections_max: connections::fitting(),
            head_wait: HEAD_WAIT,
            drain_wait: DRAIN_WAIT,
            tls: None,
        }
    }
}

impl ServeOptions {
    /// Whether a server may listen like this; asked before anything is opened.
    ///
    /// # Errors
    /// InvalidData: an address beyond loopback without an API key, or a certificate or key that cannot be used.
    /// Unavailable: an address in use.
    pub fn check(&self) -> Result<()> {
        if !self.listen.ip().is_loopback() && !self.is_keyed {
            return Err(Error::invalid_data(format!(
                "refusing to listen on {}: a commit is code, and there is no API key; make one (`thyme keys create --role admin --data DIR`), or listen on 127.0.0.1",
                self.listen
            )));
        }
        self.tls.as_ref().map(Tls::acceptor).transpose()?;
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
    /// Bodies that are decompressed, and pushes that are decoded, at the same time.
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

    /// Reads a body, and decompresses it. Each of its bytes takes `factor` of room, and up to `free` bytes none.
    async fn receive(
        &self,
        budget: &Arc<Budget>,
        (factor, free): (usize, usize),
        coding: Option<Coding>,
        headers: &HeaderMap,
        body: Incoming,
        work: &Work,
    ) -> Result<Read, Reply> {
        let bounds = Bounds { budget, factor, free, bytes_max: self.options.body_bytes_max };
        let read = bounds.read(headers, body).await?;
        let Some(coding) = coding else { return Ok(read) };
        let Read { body, ticket } = read;
        let bytes_max = bounds.bytes_max;
        let counted = body.clone();
        let len = self.decompress(work, move || coding.decoded_len(&counted, bytes_max)).await?;
        let ticket = bounds.extend(ticket, body.len() + len).await?;
        let body = self.decompress(work, move || coding.decode(&body, len)).await?;
        Ok(Read { body, ticket })
    }

    /// What takes its time with a body, on one of a few threads.
    async fn decompress<T: Send + 'static>(
        &self,
        work: &Work,
        decode: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T, Reply> {
        let Ok(slot) = self.decoding.clone().acquire_owned().await else { return Err(failed()) };
        let work = work.clone();
        let done = tokio::task::spawn_blocking(move || {
            let _held = (slot, work);
            decode()
        });
        done.await.map_err(|_| failed())?.map_err(|error| Reply::error(&error))
    }
}

/// Serves `app` until `stop` resolves; then lets running requests finish.
///
/// # Errors
/// As [`ServeOptions::check`].
pub async fn serve(
    app: Arc<App>,
    options: ServeOptions,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    options.check()?;
    let listen = options.listen;
    let listener = TcpListener::bind(listen).await.map_err(|e| cannot_listen(listen, &e))?;
    let tls = options.tls.as_ref().map(Tls::acceptor).transpose()?;
    let wire = Wire { head_wait: options.head_wait, tls };
    let drain_wait = options.drain_wait;
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
                    let (door, wire, open) = (door.clone(), wire.clone(), open.clone());
                    drop(tokio::spawn(async move {
                        let answer = move |request, work| respond(door.clone(), request, work);
                        wire.converse(stream, Room::of(room), answer, open).await;
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
    // Who does not read its answer must not keep the log from being closed.
    let _ = tokio::time::timeout(drain_wait, closing.closed()).await;
    Ok(())
}

async fn respond(door: Arc<Door>, request: hyper::Request<Incoming>, work: Work) -> Reply {
    let accepted = request.headers().get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    let coding = accepted.and_then(Coding::accepted);
    let mut reply = handle(door, request, &work).await;
    if let Some(coding) = coding {
        if reply.body.len() <= COMPRESS_ELSEWHERE {
            coding.compress(&mut reply);
        } else {
            let compressed = tokio::task::spawn_blocking(move || {
                coding.compress(&mut reply);
                drop(work);
                reply
            });
            reply = compressed.await.unwrap_or_else(|_| failed());
        }
    }
    reply
}

async fn handle(door: Arc<Door>, request: hyper::Request<Incoming>, work: &Work) -> Reply {
    let (parts, body) = request.into_parts();
    match admit(&door, &parts) {
        Ok(caller) => answer(door, parts, body, caller, work).await,
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
    // Over HTTP/2 it is part of the target.
    let authority = parts.uri.authority().map(|authority| authority.as_str());
    let hosts = [header("host"), authority];
    let head = Head { path: &path, authorization: header("authorization"), hosts, origin: header("origin") };
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

async fn answer(door: Arc<Door>, parts: Parts, body: Incoming, caller: Caller, work: &Work) -> Reply {
    // Decoded, as its handler is found by: however it is spelt, a push takes its room from that for pushes.
    let path = decode(parts.uri.path(), false);
    let is_push = (parts.method.as_str(), path.as_str()) == writes::LOG;
    let coding = match Coding::of_body(parts.headers.get(CONTENT_ENCODING).map(|v| v.to_str().unwrap_or("?")))
    {
        Ok(coding) => coding,
        Err(reply) => {
            door.app.metrics.refused(parts.method.as_str(), parts.uri.path(), reply.status);
            return bodies::refuse(reply, &parts.headers, body).await;
        }
    };
    let received = match door.app.ready_now() {
        // Its rows are there before its body is gone.
        Ok(ready) if is_push => {
            door.receive(ready.engine().push_budget(), (2, 0), coding, &parts.headers, body, work).await
        }
        Ok(ready) => {
            door.receive(door.bodies(&ready), (1, READ_BODY_BYTES), coding, &parts.headers, body, work).await
        }
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
    if let Ok(ready) = door.app.ready_now()
        && !ready.keys.still(&caller)
    {
        let detail = "the API key was revoked or has expired, or the first one was made, while this came; nothing was done";
        return Reply::failure(401, "unauthorized", detail, &[]);
    }
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
        let reply = push(&door, request, ticket, work.clone()).await;
        door.app.metrics.answered(writes::LOG.0, writes::LOG.1, reply.status, arrived.elapsed());
        return reply;
    }
    if routes::is_quick(&door.app, &request) {
        return door.app.request_since(arrived, &request);
    }
    // When the connection ends before the answer, this is dropped with it.
    let _leaving = Leaving::of(&request.gone);
    let (app, work) = (door.app.clone(), work.clone());
    let answered = tokio::task::spawn_blocking(move || {
        let _held = (ticket, work);
        // Whoever went while this waited for a thread needs no answer.
        if request.gone.is_set() { failed() } else { app.request_since(arrived, &request) }
    });
    answered.await.unwrap_or_else(|_| failed())
}

/// Answers a push: it is decoded on a thread of its own, of which there are few, and waits for the disk on
/// none, so that however many wait, reads find a thread.
async fn push(door: &Door, request: Request, mut ticket: Option<Ticket>, work: Work) -> Reply {
    let expanded = writes::expanded(&request);
    if let Some(ticket) = ticket.as_mut().filter(|ticket| ticket.bytes() < expanded)
        && let Err(reply) = bodies::grow(ticket, expanded).await
    {
        return reply;
    }
    let app = door.app.clone();
    let Ok(slot) = door.decoding.clone().acquire_owned().await else { return failed() };
    let begun = tokio::task::spawn_blocking(move || {
        let _held = (slot, work);
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

/// The head of an answer, and its bytes.
pub(crate) fn to_response(reply: Reply) -> (hyper::http::response::Parts, Vec<u8>) {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in reply.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    (response.into_parts().0, reply.body)
}
