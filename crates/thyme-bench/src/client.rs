//! One keep-alive HTTP/1.1 connection, blocking, with nothing on the way that is not needed.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::Failure;

/// Longer silence of the server is a failure.
const PATIENCE: Duration = Duration::from_secs(30);
const WINDOW_BYTES: usize = 16 << 10;

/// A connection.
pub(crate) struct Connection {
    stream: TcpStream,
    addr: String,
    buffer: Vec<u8>,
}

/// An answer; the body stands in the connection's buffer.
pub(crate) struct Answer<'a> {
    pub status: u16,
    pub body: &'a [u8],
}

impl Connection {
    pub fn open(addr: &str) -> Result<Connection, Failure> {
        let stream = TcpStream::connect(addr).map_err(|e| format!("{addr}: {e}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Connection { stream, addr: addr.to_owned(), buffer: vec![0; WINDOW_BYTES] })
    }

    /// The bytes of a GET.
    pub fn get(&self, target: &str) -> Vec<u8> {
        format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", self.addr).into_bytes()
    }

    /// The bytes of a POST.
    pub fn post(&self, target: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
        let (addr, length) = (&self.addr, body.len());
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: {addr}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n"
        );
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        bytes
    }

    /// Sends a whole request and reads the whole answer.
    pub fn send(&mut self, request: &[u8]) -> Result<Answer<'_>, Failure> {
        self.stream.write_all(request)?;
        let mut read = 0;
        let (start, length, status) = loop {
            read += self.fill(read)?;
            let so_far = self.buffer.get(..read).unwrap_or_default();
            if let Some(end) = so_far.windows(4).position(|w| w == b"\r\n\r\n") {
                let (status, length) = head(so_far.get(..end).unwrap_or_default())?;
                break (end + 4, length, status);
            }
        };
        while read < start + length {
            read += self.fill(read)?;
        }
        Ok(Answer { status, body: self.buffer.get(start..start + length).unwrap_or_default() })
    }

    /// As [`Connection::send`]; another status than 200 is a failure that shows the answer.
    pub fn expect_ok(&mut self, request: &[u8]) -> Result<&[u8], Failure> {
        let answer = self.send(request)?;
        match answer.status {
            200 => Ok(answer.body),
            status => Err(format!("status {status}: {}", String::from_utf8_lossy(answer.body)).into()),
        }
    }

    fn fill(&mut self, from: usize) -> Result<usize, Failure> {
        if from == self.buffer.len() {
            self.buffer.resize(from * 2, 0);
        }
        match self.stream.read(self.buffer.get_mut(from..).unwrap_or_default())? {
            0 => Err("the server closed the connection".into()),
            count => Ok(count),
        }
    }
}

/// The status and the body's length of an answer's head.
fn head(bytes: &[u8]) -> Result<(u16, usize), Failure> {
    let text = std::str::from_utf8(bytes)?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|s| s.parse().ok());
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok());
    match (status, length) {
        (Some(status), Some(length)) => Ok((status, length)),
        _ => Err(format!("an answer without status or Content-Length: {text}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_gives_status_and_length() {
        assert_eq!(head(b"HTTP/1.1 200 OK\r\nA: b\r\ncontent-length: 12").unwrap(), (200, 12));
        assert!(head(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked").is_err());
    }
}
