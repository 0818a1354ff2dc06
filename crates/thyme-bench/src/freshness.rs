//! How soon an acknowledged event is seen by a query, while others push.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::Failure;
use crate::arguments::Arguments;
use crate::client::Connection;
use crate::clock::{epoch_seconds, moment, sleep};
use crate::loader::{Load, NDJSON, PUSH, Pushed, event};
use crate::summary::summary;

/// What the prober saw.
#[derive(Default)]
struct Probes {
    push: Vec<Duration>,
    ack_to_visible: Vec<Duration>,
    push_to_visible: Vec<Duration>,
    /// Probes that the first query did not see.
    missed_once: usize,
}

/// How long the load runs before anything is measured.
const SETTLING: Duration = Duration::from_secs(1);
/// An event that stays invisible for longer is a failure.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pushes at `--rate` over `--connections`, and meanwhile one event after the other to an entity of its
/// own, each followed by queries until one shows it.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let load = Load {
        addr: arguments.text("addr")?.to_owned(),
        users: arguments.lines("users")?,
        rate: arguments.number("rate")?,
        batch: arguments.number("batch")?,
        connections: arguments.number("connections")?,
        start: moment(),
        stop: AtomicBool::new(false),
    };
    let seconds = Duration::from_secs(arguments.number("seconds")?);
    let pause = Duration::from_millis(arguments.number("pause-ms")?);
    let name = arguments.text("run")?;
    let (probes, pushed) = std::thread::scope(|scope| {
        let loaders: Vec<_> = (0..load.connections)
            .map(|i| {
                scope.spawn({
                    let load = &load;
                    move || load.run(i)
                })
            })
            .collect();
        sleep(SETTLING);
        let probes = probe(&load.addr, name, moment() + seconds, pause);
        load.stop.store(true, Ordering::Relaxed);
        let joined =
            loaders.into_iter().map(|l| l.join().unwrap_or_else(|_| Err("a loader panicked".into())));
        (probes, joined.collect::<Result<Vec<Pushed>, Failure>>())
    });
    let (mut probes, pushed, elapsed) = (probes?, pushed?, load.start.elapsed());
    let events: u64 = pushed.iter().map(|p| p.events).sum();
    let mut latencies: Vec<Duration> = pushed.iter().flat_map(|p| p.latencies.iter().copied()).collect();
    let mut due: Vec<Duration> = pushed.iter().flat_map(|p| p.due_latencies.iter().copied()).collect();
    let found = json!({
        "events_per_s": (events as f64 / elapsed.as_secs_f64()).round(),
        "load_push": summary(&mut latencies),
        "load_push_since_due": summary(&mut due),
        "probe_push": summary(&mut probes.push),
        "ack_to_visible": summary(&mut probes.ack_to_visible),
        "push_to_visible": summary(&mut probes.push_to_visible),
        "missed_once": probes.missed_once,
    });
    println!("{found}");
    Ok(())
}

fn probe(addr: &str, name: &str, until: Instant, pause: Duration) -> Result<Probes, Failure> {
    let mut connection = Connection::open(addr)?;
    let mut probes = Probes::default();
    let mut body = String::new();
    for number in 0.. {
        if moment() >= until {
            break;
        }
        let entity = format!("probe-{name}-{number}");
        body.clear();
        event(&mut body, &entity, 1.0, epoch_seconds() - 1.0)?;
        let push = connection.post(PUSH, NDJSON, body.as_bytes());
        let query = connection.get(&format!("/features?featureset=UserFeatures&entity_id={entity}"));
        let sent = moment();
        connection.expect_ok(&push)?;
        let acknowledged = moment();
        let mut queries = 1;
        while !shows_one(connection.expect_ok(&query)?) {
            if acknowledged.elapsed() > PATIENCE {
                return Err(format!("{entity} was acknowledged and is invisible after {PATIENCE:?}").into());
            }
            queries += 1;
        }
        let seen = moment();
        probes.push.push(acknowledged - sent);
        probes.ack_to_visible.push(seen - acknowledged);
        probes.push_to_visible.push(seen - sent);
        probes.missed_once += usize::from(queries > 1);
        sleep(pause);
    }
    Ok(probes)
}

fn shows_one(body: &[u8]) -> bool {
    let wanted = b"\"count_1h\":1,";
    body.windows(wanted.len()).any(|w| w == wanted)
}
