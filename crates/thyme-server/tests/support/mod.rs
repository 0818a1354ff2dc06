//! A server with real sockets, and one request at a time.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value as Json, json};
use thyme_query::NoExtractors;
use thyme_server::{App, AppOptions, ServeOptions, serve};
use tokio::sync::oneshot;

/// Longer than anything takes that should happen at all.
const LONG: Duration = Duration::from_secs(60);

pub struct Server {
    pub app: Arc<App>,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// An answer: status, head, body.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Json,
}

impl Answer {
    /// What comes until the connection ends.
    pub fn read(stream: &mut TcpStream) -> Answer {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head, body: serde_json::from_slice(&answer[end + 4..]).unwrap_or_default() }
    }

    pub fn detail(&self) -> &str {
        self.body["detail"].as_str().unwrap_or("")
    }
}

impl Server {
    pub fn start(data: Option<&Path>) -> Server {
        let path = data.map(Path::to_owned);
        Server::with(AppOptions { path, run_sources: false, shards: 1, ..AppOptions::default() })
    }

    pub fn with(options: AppOptions) -> Server {
        let app = Arc::new(App::opening());
        app.open(options, Arc::new(NoExtractors)).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = app.clone();
        let options = ServeOptions { listen: address, ..ServeOptions::default() };
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serve(serving, options, async { drop(stopped.await) })).unwrap();
        });
        Server { app, address, stop: Some(stop), thread: Some(thread) }
    }

    pub fn connect(&self) -> TcpStream {
        for _ in 0..600 {
            if let Ok(stream) = TcpStream::connect(self.address) {
                stream.set_read_timeout(Some(LONG)).unwrap();
                return stream;
            }
            thread::sleep(Duration::from_millis(50));
        }
        unreachable!("nobody listens on {}", self.address)
    }

    /// One request with these headers, on a connection of its own.
    pub fn send(&self, method: &str, target: &str, headers: &str, body: &[u8]) -> Answer {
        let mut stream = self.connect();
        let length = body.len();
        let head = format!(
            "{method} {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
        );
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        Answer::read(&mut stream)
    }

    /// A JSON request with this key, or with none.
    pub fn ask(&self, method: &str, target: &str, key: &str, body: &Json) -> Answer {
        let mut headers = "content-type: application/json\r\n".to_owned();
        if !key.is_empty() {
            headers += &format!("authorization: Bearer {key}\r\n");
        }
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(method, target, &headers, body.as_bytes())
    }

    pub fn get(&self, target: &str, key: &str) -> Answer {
        self.ask("GET", target, key, &Json::Null)
    }

    /// What a request answers that has to be answered.
    pub fn ok(&self, method: &str, target: &str, key: &str, body: &Json) -> Json {
        let answer = self.ask(method, target, key, body);
        assert_eq!(answer.status, 200, "{method} {target}: {}", answer.body);
        answer.body
    }

    /// A new key like `wanted`: its text and its id.
    pub fn key(&self, by: &str, wanted: &Json) -> (String, String) {
        let made = self.ok("POST", "/api/v1/keys", by, wanted);
        (made["key"].as_str().unwrap().to_owned(), made["id"].as_str().unwrap().to_owned())
    }

    /// Two featuresets of one dataset that has events, and a copy of one in the other's names.
    pub fn fill(&self, key: &str) -> String {
        let field = |name: &str, kind: &str, role: &str| json!({"name": name, "type": kind, "role": role});
        let at = field("at", "datetime", "timestamp");
        let set = |name: &str, of: &str| {
            json!({"name": name, "features": [
                {"id": 1, "name": "k", "type": "str"},
                {"id": 2, "name": of, "type": "int", "ref": {"dataset": "Stats", "field": of}},
                {"id": 3, "name": "hour", "type": "int", "request": true, "default": 12}]})
        };
        let document = json!({"format": 1,
            "datasets": [
                {"name": "Event", "index": true,
                    "fields": [field("k", "str", "key"), field("x", "int", "value"), at]},
                {"name": "Stats",
                    "fields": [field("k", "str", "key"), at, field("n", "int", "value"), field("s", "int", "value")],
                    "pipelines": [{"name": "p", "inputs": ["Event"], "operators": [
                        {"op": "groupby", "keys": ["k"]},
                        {"op": "aggregate", "aggregates": [
                            {"name": "n", "function": "count"}, {"name": "s", "function": "sum", "of": "x"}]}]}]}],
            "featuresets": [set("Counts", "n"), set("Sums", "s")]});
        self.ok("POST", "/api/v1/commit", key, &document);
        let events = json!([{"k": "a", "x": 1, "at": 1_700_000_000}, {"k": "a", "x": 2, "at": 1_700_000_001}, {"k": "b", "x": 5, "at": 1_700_000_002}]);
        let pushed = self.ok("POST", "/api/v1/log", key, &json!({"dataset": "Event", "events": events}));
        let position = pushed["position"].as_str().unwrap().to_owned();
        // Whoever reads next sees them; a scan leaves no run.
        let scan = format!("/features/scan?dataset=Stats&min_position={position}");
        self.ok("GET", &scan, key, &Json::Null);
        position
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
        self.app.close();
    }
}
