//! Online reads over several connections at once: as many as are answered, or at a pace.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::Failure;
use crate::arguments::Arguments;
use crate::client::Connection;
use crate::clock::{moment, sleep, sleep_until};
use crate::loader::{Load, Pushed};
use crate::summary::summary;

/// How often the file is looked for that says whether to go on.
const LOOK: Duration = Duration::from_millis(50);

/// What all connections of readers share.
struct Crowd<'a> {
    addr: &'a str,
    targets: &'a [String],
    connections: usize,
    /// Requests a second over all connections; `None`: as fast as they are answered.
    rate: Option<f64>,
    start: Instant,
    /// What is answered before counts for nothing.
    counts_from: Instant,
    until: Instant,
}

/// Asks for `--targets` over `--connections` for `--ms` milliseconds, after a tenth of that which does not count; with
/// `--rate` at so many a second.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let targets = arguments.lines("targets")?;
    let time = Duration::from_millis(arguments.number("ms")?);
    let start = moment();
    let counts_from = start + time / 10;
    let crowd = Crowd {
        addr: arguments.text("addr")?,
        targets: &targets,
        connections: arguments.number("connections")?,
        rate: arguments.optional("rate").map(|_| arguments.number("rate")).transpose()?,
        start,
        counts_from,
        until: counts_from + time,
    };
    let found = std::thread::scope(|scope| {
        let crowd = &crowd;
        let readers: Vec<_> =
            (0..crowd.connections).map(|index| scope.spawn(move || crowd.read(index))).collect();
        let joined = readers
            .into_iter()
            .map(|reader| reader.join().unwrap_or_else(|_| Err("a reader panicked".into())));
        joined.collect::<Result<Vec<Vec<Duration>>, Failure>>()
    })?;
    let mut times: Vec<Duration> = found.into_iter().flatten().collect();
    let mut said = summary(&mut times);
    said["per_s"] = json!((times.len() as f64 / time.as_secs_f64()).round());
    println!("{said}");
    Ok(())
}

impl Crowd<'_> {
    /// Reads on connection `index`; how long each took, at a pace since it was due.
    fn read(&self, index: usize) -> Result<Vec<Duration>, Failure> {
        let mut connection = Connection::open(self.addr)?;
        let requests: Vec<Vec<u8>> = self.targets.iter().map(|target| connection.get(target)).collect();
        let interval = self.rate.map(|rate| Duration::from_secs_f64(self.connections as f64 / rate));
        let mut due =
            self.start + interval.unwrap_or_default().mul_f64(index as f64 / self.connections as f64);
        let mut times = Vec::new();
        let from = index * requests.len() / self.connections;
        for request in requests.iter().cycle().skip(from) {
            if interval.is_some() {
                sleep_until(due);
            }
            let sent = if interval.is_some() { due } else { moment() };
            connection.expect_ok(request)?;
            let answered = moment();
            if answered >= self.until {
                break;
            }
            if sent >= self.counts_from {
                times.push(answered.saturating_duration_since(sent));
            }
            due += interval.unwrap_or_default();
        }
        Ok(times)
    }
}

/// Pushes at `--rate` over `--connections` as long as the file `--while` is there.
pub(crate) fn push(arguments: &Arguments) -> Result<(), Failure> {
    let load = Load {
        addr: arguments.text("addr")?.to_owned(),
        users: arguments.lines("users")?,
        rate: arguments.number("rate")?,
        batch: arguments.number("batch")?,
        connections: arguments.number("connections")?,
        start: moment(),
        stop: AtomicBool::new(false),
    };
    let path = Path::new(arguments.text("while")?);
    let pushed = std::thread::scope(|scope| {
        let load = &load;
        let loaders: Vec<_> =
            (0..load.connections).map(|index| scope.spawn(move || load.run(index))).collect();
        while path.exists() && !loaders.iter().any(std::thread::ScopedJoinHandle::is_finished) {
            sleep(LOOK);
        }
        load.stop.store(true, Ordering::Relaxed);
        let joined = loaders
            .into_iter()
            .map(|loader| loader.join().unwrap_or_else(|_| Err("a loader panicked".into())));
        joined.collect::<Result<Vec<Pushed>, Failure>>()
    })?;
    let events: u64 = pushed.iter().map(|pushed| pushed.events).sum();
    let mut latencies: Vec<Duration> = pushed.into_iter().flat_map(|pushed| pushed.latencies).collect();
    let mut said = summary(&mut latencies);
    said["events_per_s"] = json!((events as f64 / load.start.elapsed().as_secs_f64()).round());
    println!("{said}");
    Ok(())
}
