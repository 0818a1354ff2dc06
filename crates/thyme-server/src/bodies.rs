//! Bodies of requests on their way in: no more bytes of them than there is room for, none of them for ever.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::HeaderMap;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_LENGTH, EXPECT};
use thyme_engine::{Budget, PATIENCE, Ticket, overloaded};
use tokio::time::{Instant, sleep, timeout};

use crate::request::Reply;

/// The slowest pace of a body. Whoever is slower keeps others from sending theirs; so while somebody waits, it
/// has to be faster.
const PACE: Pace = Pace { grace: Duration::from_secs(10), bytes_per_second: 64 << 10 };
const PACE_WHILE_OTHERS_WAIT: Pace = Pace { grace: Duration::from_secs(3), bytes_per_second: 512 << 10 };
/// How often it is looked whether somebody waits.
const LOOK: Duration = Duration::from_millis(500);
/// What is taken for a body whose length nobody said, until it turns out to be longer.
const UNKNOWN_LENGTH: usize = 64 << 10;
/// How long a body that is not wanted is still read, so that its sender gets to read the answer.
const DRAIN: Duration = Duration::from_secs(10);
const DRAIN_BYTES: usize = 256 << 20;
/// How long a sender may pause meanwhile.
const DRAIN_IDLE: Duration = Duration::from_secs(1);
/// The pauses between two tries to get more room for something that has some.
const AGAIN: Duration = Duration::from_millis(20);

struct Pace {
    /// What a sender gets before its pace counts.
    grace: Duration,
    bytes_per_second: u64,
}

/// How a body is read.
pub(crate) struct Bounds<'a> {
    /// What it is taken from.
    pub budget: &'a Arc<Budget>,
    /// Bytes that each of its bytes takes: those of its decoded rows are taken with it.
    pub factor: usize,
    /// Bodies up to so many bytes take nothing.
    pub free: usize,
    /// The longest body.
    pub bytes_max: usize,
}

/// A body, and the room that it takes.
#[derive(Default)]
pub(crate) struct Read {
    pub body: Bytes,
    pub ticket: Option<Ticket>,
}

impl Bounds<'_> {
    /// Reads a body, or answers why not.
    pub async fn read(&self, headers: &HeaderMap, mut body: Incoming) -> Result<Read, Reply> {
        match self.collect(headers, &mut body).await {
            Ok(read) => Ok(read),
            Err(reply) if reply.status == 408 => Err(reply),
            Err(reply) => Err(refuse(reply, headers, body).await),
        }
    }

    async fn collect(&self, headers: &HeaderMap, body: &mut Incoming) -> Result<Read, Reply> {
        if body.is_end_stream() {
            return Ok(Read { body: Bytes::new(), ticket: None });
        }
        let length = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
        if length.is_some_and(|length| length > self.bytes_max) {
            return Err(self.too_large());
        }
        let expected = length.unwrap_or(UNKNOWN_LENGTH);
        let mut ticket = match expected <= self.free {
            true => None,
            false => Some(self.enter(expected).await?),
        };
        let mut read = BytesMut::with_capacity(expected);
        let started = Instant::now();
        loop {
            let frame = timeout(LOOK, body.frame()).await;
            self.check_pace(started.elapsed(), read.len())?;
            let frame = match frame {
                Ok(None) => return Ok(Read { body: read.freeze(), ticket }),
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => return Err(unreadable(&error)),
                Err(_) => continue,
            };
            let Some(data) = frame.data_ref() else { continue };
            let reached = read.len() + data.len();
            if reached > self.bytes_max {
                return Err(self.too_large());
            }
            if reached > expected.max(self.free)
                && ticket.as_ref().is_none_or(|t| t.bytes() < reached * self.factor)
            {
                // At least twice as much each time, so that it is not asked for each frame.
                let bytes = (2 * reached).min(self.bytes_max);
                match &mut ticket {
                    Some(ticket) => grow(ticket, bytes * self.factor).await?,
                    None => ticket = Some(self.enter(bytes).await?),
                }
            }
            read.extend_from_slice(data);
        }
    }

    /// Whether so many bytes in so much time are fast enough.
    fn check_pace(&self, time: Duration, bytes: usize) -> Result<(), Reply> {
        let pace = if self.budget.facts().waiting > 0 { PACE_WHILE_OTHERS_WAIT } else { PACE };
        match time > pace.grace + Duration::from_secs(bytes as u64 / pace.bytes_per_second) {
            true => Err(too_slow(&pace)),
            false => Ok(()),
        }
    }

    /// Room for a body of `bytes`.
    async fn enter(&self, bytes: usize) -> Result<Ticket, Reply> {
        let refused = || Reply::error(&overloaded(self.budget.facts()));
        let place = self.budget.line_up(bytes * self.factor).ok_or_else(refused)?;
        timeout(PATIENCE, place).await.map_err(|_| refused())
    }

    /// Room for a body that turned out to take `bytes`, for one that has some already.
    pub async fn extend(&self, ticket: Option<Ticket>, bytes: usize) -> Result<Option<Ticket>, Reply> {
        match ticket {
            None if bytes <= self.free => Ok(None),
            None => self.enter(bytes).await.map(Some),
            Some(mut ticket) => {
                if ticket.bytes() < bytes * self.factor {
                    grow(&mut ticket, bytes * self.factor).await?;
                }
                Ok(Some(ticket))
            }
        }
    }

    fn too_large(&self) -> Reply {
        let detail = format!("the body is larger than {} bytes; send it in parts", self.bytes_max);
        Reply::failure(413, "too_large", &detail, &[])
    }
}

/// More room for what has some, or the answer that there is none.
pub(crate) async fn grow(ticket: &mut Ticket, bytes: usize) -> Result<(), Reply> {
    let grown = timeout(PATIENCE, async {
        while !ticket.grow(bytes) {
            sleep(AGAIN).await;
        }
    });
    let grown = grown.await;
    grown.map_err(|_| Reply::error(&overloaded(ticket.facts())))
}

/// The answer `reply` once its receiver has sent what it was about to send: otherwise it would find the
/// connection broken instead.
pub(crate) async fn refuse(reply: Reply, headers: &HeaderMap, body: Incoming) -> Reply {
    // Who waits for permission to send does not send.
    if !headers.contains_key(EXPECT) {
        let _ = timeout(DRAIN, drain(body)).await;
    }
    reply
}

fn unreadable(error: &hyper::Error) -> Reply {
    Reply::failure(400, "invalid_data", &format!("the body could not be read: {error}"), &[])
}

fn too_slow(pace: &Pace) -> Reply {
    let detail = format!(
        "after {} s the body came slower than {} KiB a second; nothing of it was stored: send it in smaller parts",
        pace.grace.as_secs(),
        pace.bytes_per_second >> 10
    );
    Reply::failure(408, "timeout", &detail, &[])
}

/// Reads and keeps nothing.
async fn drain(mut body: Incoming) {
    let mut left = DRAIN_BYTES;
    while let Ok(Some(Ok(frame))) = timeout(DRAIN_IDLE, body.frame()).await {
        match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
            Some(less) => left = less,
            None => return,
        }
    }
}
