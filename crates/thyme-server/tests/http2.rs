//! A connection that speaks HTTP/2 is drained like any other.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use thyme_query::NoExtractors;
use thyme_server::{App, AppOptions, ServeOptions, serve};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

/// Longer than anything takes that should happen at all.
const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn what_was_asked_over_http2_is_answered_after_a_stop_and_the_connection_ends() {
    let app = Arc::new(App::opening());
    let options = AppOptions { run_sources: false, shards: 1, ..AppOptions::default() };
    app.open(options, Arc::new(NoExtractors)).unwrap();
    let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(serve(app, ServeOptions { listen, ..ServeOptions::default() }, async {
        drop(stopped.await)
    }));
    let stream = loop {
        match TcpStream::connect(listen).await {
            Ok(stream) => break stream,
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    };
    let (mut asks, connection) =
        http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = |path: &str| {
        let url = format!("http://{listen}{path}");
        Request::get(url).body(Empty::new()).unwrap()
    };
    assert_eq!(asks.send_request(request("/health")).await.unwrap().status(), 200);
    // It waits for an event that nobody sends.
    let waits = asks.send_request(request("/features?featureset=F&entity_id=x&min_position=e9&wait_ms=2000"));
    let waits = tokio::spawn(waits);
    sleep(Duration::from_millis(500)).await;
    stop.send(()).unwrap();
    let answer = timeout(LONG, waits).await.unwrap().unwrap().unwrap();
    let status = answer.status();
    let said = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(status == 503 && said.starts_with(b"{"), "{status}: {said:?}");
    timeout(LONG, connection).await.unwrap().unwrap().unwrap();
    timeout(LONG, server).await.unwrap().unwrap().unwrap();
}
