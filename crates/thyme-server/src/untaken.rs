//! Answers that the peer of a connection has not taken yet: how many bytes they are, and since when nothing was taken.
//!
//! A peer that asks and does not read would keep its answers in memory for as long as it likes. So what waits is
//! bounded in bytes, and a connection that takes nothing of it for too long is ended.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;

/// While so many bytes wait on a connection, nothing that it asks for is begun.
const BYTES_BEFORE_NEXT: usize = 64 << 20;
/// The most bytes that wait on a connection, unless they are one answer.
const BYTES_MAX: usize = 256 << 20;
/// What is handed to the wire at once: whether any of an answer was taken is known by so much.
const PIECE: usize = 64 << 10;

/// What waits on one connection; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Untaken(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Told when an answer has gone.
    gone: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// By number: when some of it was taken last.
    answers: BTreeMap<u64, Instant>,
    next: u64,
    bytes: usize,
    /// Since when the socket takes nothing.
    blocked: Option<Instant>,
}

/// The bytes of an answer. Whoever has a part of them keeps all of them, and that is what counts.
struct Kept {
    bytes: Vec<u8>,
    number: u64,
    of: Untaken,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let mut waiting = self.of.0.waiting.lock();
        waiting.answers.remove(&self.number);
        waiting.bytes -= self.bytes.len();
        drop(waiting);
        self.of.0.gone.notify_waiters();
    }
}

impl Untaken {
    /// An answer as it goes out; `None` if there is no room for it beside the others.
    pub fn answer(&self, bytes: Vec<u8>) -> Option<Answer> {
        if bytes.is_empty() {
            return Some(self.small(bytes));
        }
        let mut waiting = self.0.waiting.lock();
        if waiting.bytes > 0 && waiting.bytes + bytes.len() > BYTES_MAX {
            return None;
        }
        let number = waiting.next;
        waiting.next += 1;
        waiting.bytes += bytes.len();
        waiting.answers.insert(number, Instant::now());
        drop(waiting);
        let bytes = Bytes::from_owner(Kept { bytes, number, of: self.clone() });
        Some(Answer { bytes, number, of: self.clone() })
    }

    /// An answer that is too small to be counted.
    pub fn small(&self, bytes: Vec<u8>) -> Answer {
        Answer { bytes: bytes.into(), number: u64::MAX, of: self.clone() }
    }

    /// Waits until there is room for another answer.
    pub async fn room(&self) {
        loop {
            let gone = self.0.gone.notified();
            if self.0.waiting.lock().bytes <= BYTES_BEFORE_NEXT {
                return;
            }
            gone.await;
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.0.waiting.lock().bytes == 0
    }

    /// Whether nothing of an answer, or of what is on its way to the socket, was taken for `wait`.
    pub fn is_stalled(&self, wait: Duration) -> bool {
        let waiting = self.0.waiting.lock();
        waiting.answers.values().chain(&waiting.blocked).any(|since| since.elapsed() >= wait)
    }

    fn taken(&self, number: u64) {
        if let Some(since) = self.0.waiting.lock().answers.get_mut(&number) {
            *since = Instant::now();
        }
    }

    /// Notes whether the socket takes anything.
    fn wrote<T>(&self, wrote: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let mut waiting = self.0.waiting.lock();
        match &wrote {
            Poll::Pending if waiting.blocked.is_none() => waiting.blocked = Some(Instant::now()),
            Poll::Pending => {}
            Poll::Ready(_) => waiting.blocked = None,
        }
        drop(waiting);
        wrote
    }
}

/// The body of an answer.
#[derive(Debug)]
pub(crate) struct Answer {
    bytes: Bytes,
    number: u64,
    of: Untaken,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.bytes.is_empty() {
            return Poll::Ready(None);
        }
        self.of.taken(self.number);
        let length = self.bytes.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.bytes.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.len() as u64)
    }
}

/// A connection that is watched for whether its peer takes what is written.
pub(crate) struct Watched<I> {
    pub io: I,
    pub untaken: Untaken,
}

impl<I: AsyncRead + Unpin> AsyncRead for Watched<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, into)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Watched<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.io).poll_write(context, bytes);
        self.untaken.wrote(wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.io).poll_write_vectored(context, slices);
        self.untaken.wrote(wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wrote = Pin::new(&mut self.io).poll_flush(context);
        self.untaken.wrote(wrote)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn an_answer_counts_until_the_last_piece_of_it_is_gone() {
        let untaken = Untaken::default();
        let mut answer = untaken.answer(vec![7; 3 * PIECE - 5]).unwrap();
        assert_eq!(answer.size_hint().exact(), Some(3 * PIECE as u64 - 5));
        let mut pieces = Vec::new();
        while let Some(frame) = answer.frame().await {
            pieces.push(frame.unwrap().into_data().unwrap());
        }
        drop(answer);
        assert_eq!(pieces.iter().map(Bytes::len).collect::<Vec<_>>(), [PIECE, PIECE, PIECE - 5]);
        assert!(untaken.is_stalled(Duration::ZERO) && !untaken.is_stalled(Duration::from_secs(600)));
        pieces.truncate(1);
        assert!(!untaken.is_empty());
        pieces.clear();
        assert!(untaken.is_empty() && !untaken.is_stalled(Duration::ZERO));
        assert!(untaken.answer(Vec::new()).unwrap().is_end_stream() && untaken.is_empty());
    }

    #[tokio::test]
    async fn what_waits_on_a_connection_is_bounded_in_bytes() {
        let untaken = Untaken::default();
        let first = untaken.answer(vec![0; BYTES_MAX + 1]).expect("one is as large as it is");
        assert!(untaken.answer(vec![0; 1]).is_none());
        let waiting = tokio::spawn({
            let untaken = untaken.clone();
            async move { untaken.room().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        waiting.await.unwrap();
        assert!(untaken.answer(vec![0; 1]).is_some());
    }
}
