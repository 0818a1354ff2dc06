//! How many connections are held at once. One more is told so and closed, before anything of it is read; when even
//! those are many, it is not accepted until one of them is gone.

use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::request::Reply;

/// The most that are held without being asked for.
const HELD_MAX: usize = 4096;
/// The least, whatever the machine says.
const HELD_MIN: usize = 16;
/// Of the files that the process may have open, so many of four are for connections. The rest are for the log, the
/// store and sources.
const OF_FOUR: usize = 3;
/// Connections that are being told that there are too many.
const TURNED_MAX: usize = 16;
/// How long one of those may take to read that.
const TURN_WAIT: Duration = Duration::from_secs(1);

/// Room for connections.
pub(crate) struct Connections {
    max: usize,
    held: Arc<Semaphore>,
    turned: Arc<Semaphore>,
}

impl Connections {
    pub fn new(max: usize) -> Connections {
        let max = max.clamp(1, Semaphore::MAX_PERMITS);
        let held = Arc::new(Semaphore::new(max));
        Connections { max, held, turned: Arc::new(Semaphore::new(TURNED_MAX)) }
    }

    /// Room for one, while there is any.
    pub fn enter(&self) -> Option<OwnedSemaphorePermit> {
        self.held.clone().try_acquire_owned().ok()
    }

    /// Tells a connection that there is no room for it, and closes it. This waits while that is being told to
    /// many others.
    pub async fn turn_away(&self, stream: TcpStream) -> Reply {
        let detail = format!(
            "this server holds {} connections, which is all it may (max_connections): close those that are idle, or try again",
            self.max
        );
        let reply = Reply::failure(503, "unavailable", &detail, &[]);
        if let Ok(turned) = self.turned.clone().acquire_owned().await {
            drop(tokio::spawn(tell(stream, written(&reply), turned)));
        }
        reply
    }
}

/// What a connection may have under way at once, asked for over HTTP/2 and then given up by its peer among it.
const UNDER_WAY_MAX: usize = 128;

/// Room for what one connection asks for; clones share it. It is held for as long as anything of it is under way,
/// though the connection may have ended.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    connection: Arc<OwnedSemaphorePermit>,
    under_way: Arc<Semaphore>,
}

impl Room {
    pub fn of(connection: OwnedSemaphorePermit) -> Room {
        Room { connection: Arc::new(connection), under_way: Arc::new(Semaphore::new(UNDER_WAY_MAX)) }
    }

    /// Room for a request, once there is any.
    pub async fn enter(&self) -> Work {
        let held = self.under_way.clone().acquire_owned().await.ok();
        Work(Arc::new((held, self.connection.clone())))
    }
}

/// A request under way; clones share it. Whoever works for it holds it until that is done, whether or not anybody
/// still waits for the answer.
#[derive(Clone, Debug)]
#[expect(dead_code, reason = "it is held, not read")]
pub(crate) struct Work(Arc<(Option<OwnedSemaphorePermit>, Arc<OwnedSemaphorePermit>)>);

/// The answer as it goes over the wire.
fn written(reply: &Reply) -> Vec<u8> {
    let mut head = format!(
        "HTTP/1.1 {} Service Unavailable\r\nconnection: close\r\ncontent-length: {}\r\n",
        reply.status,
        reply.body.len()
    );
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    [head.into_bytes(), reply.body.clone()].concat()
}

/// Answers and closes. What the caller sends meanwhile is read: closing over it would take the answer back.
async fn tell(stream: TcpStream, answer: Vec<u8>, _turned: OwnedSemaphorePermit) {
    // Who does not listen is gone anyhow.
    let _ = timeout(TURN_WAIT, say(stream, &answer)).await;
}

async fn say(stream: TcpStream, mut answer: &[u8]) -> io::Result<()> {
    while !answer.is_empty() {
        stream.writable().await?;
        let written = unless_blocked(stream.try_write(answer))?.unwrap_or(0);
        answer = answer.get(written..).unwrap_or_default();
    }
    let stream = stream.into_std()?;
    stream.shutdown(Shutdown::Write)?;
    let stream = TcpStream::from_std(stream)?;
    let mut unread = [0; 4096];
    loop {
        stream.readable().await?;
        if unless_blocked(stream.try_read(&mut unread))? == Some(0) {
            return Ok(());
        }
    }
}

fn unless_blocked(done: io::Result<usize>) -> io::Result<Option<usize>> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        done => done.map(Some),
    }
}

/// As many connections as the process has room for, with as many open files as it may have.
pub fn fitting() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    files_max(&limits).map_or(HELD_MAX, of_files)
}

fn of_files(files: usize) -> usize {
    (files / 4 * OF_FOUR).clamp(HELD_MIN, HELD_MAX)
}

/// The soft limit of open files, as Linux writes it; `None` where there is none, or nobody says so.
fn files_max(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_a_quarter_of_the_files_to_others() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \nMax open files            1024                 524288               files     \n";
        assert_eq!(files_max(limits).map(of_files), Some(768));
        assert_eq!(
            files_max("Max open files            unlimited            unlimited            files"),
            None
        );
        assert_eq!((of_files(1 << 20), of_files(3)), (HELD_MAX, HELD_MIN));
        assert!((HELD_MIN..=HELD_MAX).contains(&fitting()));
    }
}
