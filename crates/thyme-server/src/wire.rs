//! Connections: which version of HTTP one speaks, whether it is encrypted, and when it ends.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

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
    /// How long one may take for the head of a request, or be idle.
    pub head_wait: Duration,
    /// What encrypts them, if they are.
    pub tls: Option<TlsAcceptor>,
}

impl Wire {
    /// Answers the requests of one connection until it ends; once `closing` is true those that run are its last.
    pub async fn converse<A, F>(&self, stream: TcpStream, answer: A, mut closing: watch::Receiver<bool>)
    where
        A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        // Answers are small and written at once: waiting to fill a packet only delays them.
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.tls else {
            let Some(Ok(protocol)) = self.begun(protocol_of(&stream), &mut closing).await else { return };
            return self.speak(protocol, stream, answer, closing).await;
        };
        let Some(Ok(stream)) = self.begun(tls.accept(stream), &mut closing).await else { return };
        let protocol = match stream.get_ref().1.alpn_protocol() {
            Some(ALPN_HTTP2) => Protocol::Http2,
            _ => Protocol::Http1,
        };
        self.speak(protocol, stream, answer, closing).await;
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

    async fn speak<I, A, F>(&self, protocol: Protocol, io: I, answer: A, closing: watch::Receiver<bool>)
    where
        I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
        A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        match protocol {
            Protocol::Http1 => self.speak_http1(io, answer, closing).await,
            Protocol::Http2 => self.speak_http2(io, answer, closing).await,
        }
    }

    async fn speak_http1<I, A, F>(&self, io: I, answer: A, mut closing: watch::Receiver<bool>)
    where
        I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
        A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        let service = service_fn(move |request: Request<Incoming>| {
            let answered = answer(request);
            async move { Ok::<_, Infallible>(answered.await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.head_wait)
            .max_buf_size(CONNECTION_BYTES as usize)
            .serve_connection(TokioIo::new(io), service);
        let mut connection = pin!(connection);
        tokio::select! {
            // What goes wrong here is the caller's affair, who is gone.
            _ = connection.as_mut() => return,
            _ = closing.wait_for(|closing| *closing) => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    }

    async fn speak_http2<I, A, F>(&self, io: I, answer: A, mut closing: watch::Receiver<bool>)
    where
        I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
        A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        let activity = Arc::new(Activity::default());
        let seen = activity.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let running = Running::begin(&activity);
            let answered = answer(request);
            async move {
                let answered = answered.await;
                drop(running);
                Ok::<_, Infallible>(answered)
            }
        });
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(CONNECTION_BYTES)
            .initial_stream_window_size(CONNECTION_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .keep_alive_interval(self.head_wait)
            .keep_alive_timeout(PING_WAIT)
            .serve_connection(TokioIo::new(io), service);
        let mut connection = pin!(connection);
        let mut begun = 0;
        loop {
            tokio::select! {
                _ = connection.as_mut() => return,
                _ = closing.wait_for(|closing| *closing) => break,
                () = sleep(self.head_wait) => {
                    let is_idle = seen.running.load(Ordering::Acquire) == 0;
                    let before = std::mem::replace(&mut begun, seen.begun.load(Ordering::Acquire));
                    if is_idle && begun == before {
                        break;
                    }
                }
            }
        }
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
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
