//! A steady stream of pushes over several connections, at a pace that does not wait for answers to come
//! quickly: who falls behind sends at once until the pace is met again.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::Failure;
use crate::client::Connection;
use crate::clock::{epoch_seconds, moment, sleep_until};

/// The target of a push of newline-delimited JSON.
pub(crate) const PUSH: &str = "/api/v1/log?dataset=Order";
pub(crate) const NDJSON: &str = "application/x-ndjson";

/// What all connections of a loader share.
pub(crate) struct Load {
    pub addr: String,
    pub users: Vec<String>,
    /// Events a second over all connections.
    pub rate: f64,
    /// Events a push.
    pub batch: usize,
    pub connections: usize,
    pub start: Instant,
    pub stop: AtomicBool,
}

/// What one connection has done.
#[derive(Default)]
pub(crate) struct Pushed {
    pub events: u64,
    /// From sending a push to its answer.
    pub latencies: Vec<Duration>,
    /// From the moment a push was due to its answer.
    pub due_latencies: Vec<Duration>,
}

impl Load {
    /// Pushes on connection `index` until told to stop.
    pub fn run(&self, index: usize) -> Result<Pushed, Failure> {
        let mut connection = Connection::open(&self.addr)?;
        let interval = Duration::from_secs_f64(self.batch as f64 * self.connections as f64 / self.rate);
        let mut due = self.start + interval.mul_f64(index as f64 / self.connections as f64);
        let mut users = self.users.iter().cycle().skip(index * self.users.len() / self.connections);
        let (mut pushed, mut body) = (Pushed::default(), String::new());
        while !self.stop.load(Ordering::Relaxed) {
            sleep_until(due);
            body.clear();
            let now = epoch_seconds();
            for (row, user) in users.by_ref().take(self.batch).enumerate() {
                event(&mut body, user, (row % 97) as f64 + 0.25, now)?;
            }
            let request = connection.post(PUSH, NDJSON, body.as_bytes());
            let sent = moment();
            connection.expect_ok(&request)?;
            let answered = moment();
            pushed.events += self.batch as u64;
            pushed.latencies.push(answered - sent);
            pushed.due_latencies.push(answered - due);
            due += interval;
        }
        Ok(pushed)
    }
}

/// Appends the line of one event.
pub(crate) fn event(body: &mut String, user: &str, amount: f64, at: f64) -> Result<(), Failure> {
    writeln!(body, "{{\"user\":\"{user}\",\"amount\":{amount},\"at\":{at:.6}}}")?;
    Ok(())
}
