//! A request whose body comes after its head was looked at.

use std::io::{Read, Write};

use serde_json::Value as Json;

use crate::support::{Answer, Server};

/// Sends the head of a JSON request, does `meanwhile` once the server has let its caller in and asks for the body, and
/// sends the body then.
pub fn send_slowly(
    server: &Server,
    (method, target, key): (&str, &str, &str),
    body: &Json,
    meanwhile: impl FnOnce(),
) -> Answer {
    let body = body.to_string();
    let authorization =
        if key.is_empty() { String::new() } else { format!("authorization: Bearer {key}\r\n") };
    let head = format!(
        "{method} {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\nexpect: 100-continue\r\n{authorization}\r\n",
        body.len()
    );
    let mut stream = server.connect();
    stream.write_all(head.as_bytes()).unwrap();
    let mut asked = [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
    stream.read_exact(&mut asked).unwrap();
    assert!(asked.starts_with(b"HTTP/1.1 100 "), "{}", String::from_utf8_lossy(&asked));
    meanwhile();
    stream.write_all(body.as_bytes()).unwrap();
    Answer::read(&mut stream)
}
