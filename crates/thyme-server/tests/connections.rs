//! A server with real sockets holds only so many connections, and none for ever.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "sockets and their servers take threads and time")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use thyme_query::NoExtractors;
use thyme_server::{App, AppOptions, ServeOptions, serve};
use tokio::sync::oneshot;

/// Longer than anything takes that should happen at all.
const LONG: Duration = Duration::from_secs(60);

struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(connections_max: usize, head_wait: Duration) -> Server {
        let app = Arc::new(App::opening());
        let options = AppOptions { run_sources: false, shards: 1, ..AppOptions::default() };
        app.open(options, Arc::new(NoExtractors)).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let options = ServeOptions { listen: address, connections_max, head_wait, ..ServeOptions::default() };
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serve(app, options, async { drop(stopped.await) })).unwrap();
        });
        Server { address, stop: Some(stop), thread: Some(thread) }
    }

    fn connect(&self) -> TcpStream {
        for _ in 0..600 {
            if let Ok(stream) = TcpStream::connect(self.address) {
                stream.set_read_timeout(Some(LONG)).unwrap();
                return stream;
            }
            thread::sleep(Duration::from_millis(100));
        }
        unreachable!("nobody listens on {}", self.address)
    }

    /// A connection that was answered once, so that the server holds it.
    fn held(&self) -> TcpStream {
        let mut stream = self.connect();
        assert!(ask(&mut stream).starts_with("HTTP/1.1 200"), "a first request is answered");
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

/// One request, and the beginning of the answer.
fn ask(stream: &mut TcpStream) -> String {
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut answer = [0; 4096];
    let length = stream.read(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

#[test]
fn one_connection_too_many_is_told_so_and_there_is_room_once_another_ends() {
    let server = Server::start(2, LONG);
    let (mut first, second) = (server.held(), server.held());
    // A body on its way is no reason to lose the answer.
    for _ in 0..40 {
        let mut third = server.connect();
        // It may be closed by the time this arrives.
        let _ =
            third.write_all(b"POST /api/v1/log HTTP/1.1\r\nhost: localhost\r\ncontent-length: 70000\r\n\r\n");
        let mut told = String::new();
        third.read_to_string(&mut told).unwrap();
        let (head, body) = told.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("retry-after: 1"), "{head}");
        assert!(head.contains("connection: close"), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["error"], "unavailable");
        assert!(body["detail"].as_str().unwrap().contains("holds 2 connections"), "{body}");
    }
    assert!(ask(&mut first).starts_with("HTTP/1.1 200"), "those that are there go on");
    drop(second);
    for _ in 0..600 {
        if ask(&mut server.connect()).starts_with("HTTP/1.1 200") {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
    unreachable!("a connection that ended left no room");
}

#[test]
fn a_head_that_never_ends_is_not_waited_for() {
    let server = Server::start(1, Duration::from_millis(500));
    let mut slow = server.connect();
    slow.write_all(b"GET /health HTTP/1.1\r\n").unwrap();
    slow.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    // A byte now and then does not make it last.
    let is_closed = (0..600).any(|_| {
        let sent = slow.write_all(b"x");
        match slow.read(&mut [0; 512]) {
            Ok(0) => true,
            Ok(_) => sent.is_err(),
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    });
    assert!(is_closed, "a client that sends its head for ever is never closed");
    let mut answered = server.connect();
    assert!(ask(&mut answered).starts_with("HTTP/1.1 200"), "its room is there for others");
}
