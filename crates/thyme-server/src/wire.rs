//! Connections: which version of HTTP one speaks, whether it is encrypted, and when it ends.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::connections::{Room, Work};
use crate::http::to_response;
use crate::request::Reply;
use crate::untaken::{Answer, Untaken, Watched};

/// What a connection may hold of a request that nobody has asked it for yet; also the longest head.
const CONNECTION_BYTES: u32 = 64 << 10;
/// Requests of one HTTP/2 connection at once; more wait at their sender's.
const STREAMS_MAX: u32 = 128;
/// How much of the bodies of one HTTP/2 connection may be on its way.
const WINDOW_BYTES: u32 = 4 * CONNECTION_BYTES;
/// How long an HTTP/2 peer may take to say that it is still there.
const PING_WAIT: Duration = Duration::from_secs(20);
/// How an HTTP/2 connection begins that nobody has negotiated.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How often a connection is looked at, in parts of the time that it may be idle, and how often at most and least.
const LOOKS: u32 = 8;
const LOOK_MIN: Duration = Duration::from_millis(20);
const LOOK_MAX: Duration = Duration::from_secs(5);
/// The pause before it is looked again whether the rest of that has come.
const PREFACE_PAUSE: Duration = Duration::from_millis(5);
const ALPN_HTTP2: &[u8] = b"h2";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

/// How connections are held.
#[derive(Clone)]
pub(crate) struct Wire {
    /// How long one may take for the head of a request, be idle, or take nothing of an answer.
    pub head_wait: Duration,
    /// What encrypts them, if they are.
    pub tls: Option<TlsAcceptor>,
}

impl Wire {
    /// Answers the requests of one connection until it ends; once `closing` is true those that run are its last.
    pub async fn converse<A, F>(
        &self,
        stream: TcpStream,
        room: Room,
        answer: A,
        mut closing: watch::Receiver<bool>,
    ) where
        A: Fn(Request<Incoming>, Work) -> F + Clone + Send + 'static,
        F: Future<Output = Reply> + Send + 'static,
    {
        // Answers are small and written at once: waiting to fill a packet only delays them.
        let _ = stream.set_nodelay(true);
        let held = Held { room, untaken: Untaken::default(), activity: Arc::default() };
        let Some(tls) = &self.tls else {
            let Some(Ok(protocol)) = self.begun(protocol_of(&stream), &mut closing).await else { return };
            return self.speak(protocol, stream, held, answer, closing).await;
        };
        let Some(Ok(stream)) = self.begun(tls.accept(stream), &mut closing).await else { return };
        let protocol = match stream.get_ref().1.alpn_protocol() {
            Some(ALPN_HTTP2) => Protocol::Http2,
            _ => Protocol::Http1,
        };
        self.speak(protocol, stream, held, answer, closing).await;
    }

    /// What a connection begins with, unless that takes too long or nobody waits for it any more.
    async fn begun<T>(
        &self,
        begins: impl Future<Output = T>,
        closing: &mut watch::Receiver<bool>,
    ) -> Option<T> {
        tokio::select! {
            begun = timeout(self.head_wait, begins) => begun.ok(),
            _ = closing.wait_for(|closing| *closing) => None,
        }
    }

    async fn speak<I, A, F>(
        &self,
        protocol: Protocol,
        io: I,
        held: Held,
        answer: A,
        closing: watch::Receiver<bool>,
    ) where
        I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
        A: Fn(Request<Incoming>, Work) -> F + Clone + Send + 'static,
        F: Future<Output = Reply> + Send + 'static,
    {
        let io = TokioIo::new(Watched { io, untaken: held.untaken.clone() });
        let serving = held.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let (serving, answer) = (serving.clone(), answer.clone());
            async move { Ok::<_, Infallible>(serving.answered(request, answer).await) }
        });
        match protocol {
            Protocol::Http1 => {
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(self.head_wait)
                    .max_buf_size(CONNECTION_BYTES as usize)
                    .serve_connection(io, service);
                let end = |connection: Pin<&mut http1::Connection<_, _>>| connection.graceful_shutdown();
                self.watch(connection, end, &held, closing).await;
            }
            Protocol::Http2 => {
                let connection = http2::Builder::new(TokioExecutor::new())
                    .timer(TokioTimer::new())
                    .max_concurrent_streams(STREAMS_MAX)
                    .max_header_list_size(CONNECTION_BYTES)
                    .initial_stream_window_size(CONNECTION_BYTES)
                    .initial_connection_window_size(WINDOW_BYTES)
                    .keep_alive_interval(self.head_wait)
                    .keep_alive_timeout(PING_WAIT)
                    .serve_connection(io, service);
                let end = |connection: Pin<&mut http2::Connection<_, _, _>>| connection.graceful_shutdown();
                self.watch(connection, end, &held, closing).await;
            }
        }
    }

    /// Drives a connection to its end: its own, or that of a peer that is idle, takes nothing of its answers, or has to
    /// go. `end` tells it that what it runs is its last.
    async fn watch<C: Future>(
        &self,
        connection: C,
        end: impl Fn(Pin<&mut C>),
        held: &Held,
        mut closing: watch::Receiver<bool>,
    ) {
        let mut connection = pin!(connection);
        let look = (self.head_wait / LOOKS).clamp(LOOK_MIN, LOOK_MAX);
        let (mut begun, mut active, mut is_ending) = (0, Instant::now(), false);
        loop {
            tokio::select! {
                // What goes wrong here is the caller's affair, who is gone.
                _ = connection.as_mut() => return,
                _ = closing.wait_for(|closing| *closing), if !is_ending => {
                    is_ending = true;
                    end(connection.as_mut());
                }
                () = sleep(look) => {}
            }
            if held.untaken.is_stalled(self.head_wait) {
                return;
            }
            let before = std::mem::replace(&mut begun, held.activity.begun.load(Ordering::Acquire));
            let is_busy = held.activity.running.load(Ordering::Acquire) > 0 || !held.untaken.is_empty();
            if is_busy || begun != before {
                active = Instant::now();
            } else if active.elapsed() >= self.head_wait {
                if is_ending {
                    return;
                }
                (is_ending, active) = (true, Instant::now());
                end(connection.as_mut());
            }
        }
    }
}

/// What belongs to one connection; clones share it.
#[derive(Clone)]
struct Held {
    room: Room,
    untaken: Untaken,
    activity: Arc<Activity>,
}

impl Held {
    /// Has one request answered, once there is room for it and for its answer.
    async fn answered<A, F>(self, request: Request<Incoming>, answer: A) -> Response<Answer>
    where
        A: Fn(Request<Incoming>, Work) -> F,
        F: Future<Output = Reply>,
    {
        let _running = Running::begin(&self.activity);
        let work = self.room.enter().await;
        self.untaken.room().await;
        let (head, body) = to_response(answer(request, work).await);
        match self.untaken.answer(body) {
            Some(answer) => Response::from_parts(head, answer),
            None => {
                let (head, body) = to_response(too_much());
                // A sentence more does not matter.
                Response::from_parts(head, self.untaken.small(body))
            }
        }
    }
}

fn too_much() -> Reply {
    let detail = "this connection has more answers waiting than it may; nothing is wrong with the request: read those first, and ask again";
    Reply::failure(429, "overloaded", detail, &[])
}

/// Which version of HTTP a connection that is not encrypted begins to speak.
async fn protocol_of(stream: &TcpStream) -> io::Result<Protocol> {
    let mut begun = [0; PREFACE.len()];
    loop {
        let length = stream.peek(&mut begun).await?;
        let begun = begun.get(..length).unwrap_or_default();
        if length == 0 || !PREFACE.starts_with(begun) {
            return Ok(Protocol::Http1);
        }
        if length == PREFACE.len() {
            return Ok(Protocol::Http2);
        }
        sleep(PREFACE_PAUSE).await;
    }
}

/// What has been asked on a connection, which may be several things at once.
#[derive(Debug, Default)]
struct Activity {
    begun: AtomicUsize,
    running: AtomicUsize,
}

/// A request that is being answered.
struct Running(Arc<Activity>);

impl Running {
    fn begin(activity: &Arc<Activity>) -> Running {
        activity.begun.fetch_add(1, Ordering::AcqRel);
        activity.running.fetch_add(1, Ordering::AcqRel);
        Running(activity.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http_body_util::Empty;
    use hyper::client::conn::http2 as client;
    use tokio::net::TcpListener;
    use tokio::sync::{Notify, Semaphore};

    /// Work that goes on though its connection has given it up, as that on a thread does.
    #[derive(Clone, Default)]
    struct Works {
        begun: Arc<AtomicUsize>,
        ended: Arc<Notify>,
    }

    impl Works {
        async fn answer(self, work: Work) -> Reply {
            self.begun.fetch_add(1, Ordering::AcqRel);
            let done = tokio::spawn(async move {
                self.ended.notified().await;
                drop(work);
            });
            drop(done.await);
            Reply { status: 200, headers: Vec::new(), body: Vec::new() }
        }

        async fn until_begun(&self, count: usize) {
            let reached = async {
                while self.begun.load(Ordering::Acquire) < count {
                    sleep(Duration::from_millis(5)).await;
                }
            };
            timeout(Duration::from_secs(60), reached).await.unwrap();
        }
    }

    #[tokio::test]
    async fn what_a_connection_has_under_way_is_bounded_though_it_gives_all_of_it_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (works, connections) = (Works::default(), Arc::new(Semaphore::new(1)));
        let (serving, room) = (works.clone(), Room::of(connections.clone().try_acquire_owned().unwrap()));
        let (_closing, open) = watch::channel(false);
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let wire = Wire { head_wait: Duration::from_secs(600), tls: None };
            let answer = move |_: Request<Incoming>, work| serving.clone().answer(work);
            wire.converse(stream, room, answer, open).await;
        });
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut asks, connection) =
            client::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        let connection = tokio::spawn(connection);
        let mut ask = |count: usize| {
            let url = format!("http://{address}/");
            let request = || Request::get(&url).body(Empty::<Bytes>::new()).unwrap();
            (0..count).map(|_| tokio::spawn(asks.send_request(request()))).collect::<Vec<_>>()
        };
        let most = STREAMS_MAX as usize;
        let asked = ask(most);
        works.until_begun(most).await;
        asked.iter().for_each(tokio::task::JoinHandle::abort);
        let more = ask(40);
        sleep(Duration::from_millis(300)).await;
        assert_eq!(works.begun.load(Ordering::Acquire), most, "what was given up is still under way");
        for _ in 0..40 {
            works.ended.notify_one();
        }
        works.until_begun(most + 40).await;
        more.iter().for_each(tokio::task::JoinHandle::abort);
        drop(asks);
        connection.abort();
        timeout(Duration::from_secs(60), server).await.unwrap().unwrap();
        // So does the room of a connection that has ended.
        assert_eq!(connections.available_permits(), 0);
        let all_end = async {
            while connections.available_permits() == 0 {
                works.ended.notify_one();
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(60), all_end).await.unwrap();
    }
}
