//! Connections that speak HTTP/2 are bounded and drained like any others.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use thyme_query::NoExtractors;
use thyme_server::{App, AppOptions, ServeOptions, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Longer than anything takes that should happen at all.
const LONG: Duration = Duration::from_secs(60);

struct Server {
    listen: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<thyme_core::Result<()>>,
}

impl Server {
    async fn start(options: ServeOptions) -> Server {
        let app = Arc::new(App::opening());
        let in_memory = AppOptions { run_sources: false, shards: 1, ..AppOptions::default() };
        app.open(in_memory, Arc::new(NoExtractors)).unwrap();
        let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving =
            tokio::spawn(serve(app, ServeOptions { listen, ..options }, async { drop(stopped.await) }));
        Server { listen, stop: Some(stop), serving }
    }

    async fn connect(&self) -> TcpStream {
        loop {
            match TcpStream::connect(self.listen).await {
                Ok(stream) => return stream,
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    }

    fn get(&self, path: &str) -> Request<Empty<Bytes>> {
        Request::get(format!("http://{}{path}", self.listen)).body(Empty::new()).unwrap()
    }

    async fn stop(mut self) {
        drop(self.stop.take());
        timeout(LONG, self.serving).await.unwrap().unwrap().unwrap();
    }
}

/// A peer that is idle, or takes nothing, for so long is ended.
const SHORT: Duration = Duration::from_millis(500);

#[tokio::test]
async fn a_peer_that_asks_over_http2_and_takes_nothing_is_ended() {
    let server = Server::start(ServeOptions { head_wait: SHORT, ..ServeOptions::default() }).await;
    // It answers every ping, and lets through less than an answer.
    let (mut asks, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(1_000)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(server.connect().await))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let mut answers = Vec::new();
    for _ in 0..20 {
        // It may be ended before it has asked all of this.
        match asks.send_request(server.get("/openapi.json")).await {
            Ok(answer) => answers.push(answer),
            Err(_) => break,
        }
    }
    assert!(!answers.is_empty() && answers.iter().all(|answer| answer.status() == 200));
    drop(timeout(LONG, connection).await.expect("it is ended").unwrap());
    server.stop().await;
}

#[tokio::test]
async fn a_peer_that_asks_over_http1_and_reads_nothing_is_ended() {
    let options = ServeOptions { head_wait: SHORT, connections_max: 1, ..ServeOptions::default() };
    let server = Server::start(options).await;
    let mut reads_nothing = server.connect().await;
    // More than any buffer between the two takes.
    let asked = b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(1_000);
    reads_nothing.write_all(&asked).await.unwrap();
    let answered = timeout(LONG, async {
        loop {
            let mut other = server.connect().await;
            // It may be turned away before this is sent.
            let _ = other
                .write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                .await;
            let mut answer = Vec::new();
            let _ = other.read_to_end(&mut answer).await;
            if answer.starts_with(b"HTTP/1.1 200") {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    });
    answered.await.expect("its room is there for others");
    server.stop().await;
}

#[tokio::test]
async fn what_a_peer_gives_up_is_not_waited_for() {
    let server = Server::start(ServeOptions::default()).await;
    let (mut asks, connection) =
        http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), TokioIo::new(server.connect().await))
            .await
            .unwrap();
    tokio::spawn(connection);
    assert_eq!(asks.send_request(server.get("/health")).await.unwrap().status(), 200);
    let waits = "/features?entity_type=E&entity_id=x&min_position=e9&wait_ms=60000";
    // As many as may be under way, each of which would wait for a minute, and is given up.
    for _ in 0..3 {
        let asked: Vec<_> = (0..128).map(|_| tokio::spawn(asks.send_request(server.get(waits)))).collect();
        sleep(Duration::from_millis(200)).await;
        asked.iter().for_each(JoinHandle::abort);
    }
    let next = timeout(LONG / 2, asks.send_request(server.get("/health"))).await;
    assert_eq!(next.expect("nobody waits any more").unwrap().status(), 200);
    server.stop().await;
}

#[tokio::test]
async fn what_was_asked_over_http2_is_answered_after_a_stop_and_the_connection_ends() {
    let server = Server::start(ServeOptions::default()).await;
    let stream = server.connect().await;
    let (mut asks, connection) =
        http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    assert_eq!(asks.send_request(server.get("/health")).await.unwrap().status(), 200);
    // It waits for an event that nobody sends.
    let waits =
        asks.send_request(server.get("/features?featureset=F&entity_id=x&min_position=e9&wait_ms=2000"));
    let waits = tokio::spawn(waits);
    sleep(Duration::from_millis(500)).await;
    let Server { stop, serving, .. } = server;
    stop.unwrap().send(()).unwrap();
    let answer = timeout(LONG, waits).await.unwrap().unwrap().unwrap();
    let status = answer.status();
    let said = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(status == 503 && said.starts_with(b"{"), "{status}: {said:?}");
    timeout(LONG, connection).await.unwrap().unwrap().unwrap();
    timeout(LONG, serving).await.unwrap().unwrap().unwrap();
}
