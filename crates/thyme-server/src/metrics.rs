//! `GET /metrics`: what a monitoring system asks, in the text format of Prometheus.
//!
//! A family is added in one place: a function that takes the [`Exposition`], in [`COLLECTORS`]. Names follow
//! the conventions of Prometheus; the values of labels are names of datasets, routes and the like: never an
//! entity's key, never what a caller has sent.

mod families;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::app::{App, Ready};
use crate::exposition::{Exposition, Kind};
use crate::request::Reply;
use crate::routes::ROUTES;

/// What writes the families that need an open engine, in the order of the answer.
const COLLECTORS: &[fn(&Ready, &mut Exposition)] = &[
    families::datasets,
    families::pushes,
    families::pressure,
    families::log,
    families::checkpoints,
    families::storage,
    families::faults,
    families::sources,
    crate::verifier::expose,
    crate::names::expose,
    crate::pending::expose,
    crate::runs::expose,
];

/// Upper bounds of the latency histograms, in nanoseconds and as Prometheus reads them.
const BOUNDS: [(u64, &str); 16] = [
    (50_000, "0.00005"),
    (100_000, "0.0001"),
    (250_000, "0.00025"),
    (500_000, "0.0005"),
    (1_000_000, "0.001"),
    (2_500_000, "0.0025"),
    (5_000_000, "0.005"),
    (10_000_000, "0.01"),
    (25_000_000, "0.025"),
    (50_000_000, "0.05"),
    (100_000_000, "0.1"),
    (250_000_000, "0.25"),
    (500_000_000, "0.5"),
    (1_000_000_000, "1"),
    (2_500_000_000, "2.5"),
    (10_000_000_000, "10"),
];
/// Classes of status: 1xx to 5xx.
const CLASSES: usize = 5;
/// The route of requests that no endpoint takes.
const OTHER: &str = "other";

/// What the server counts itself. Reading and counting never wait for each other.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// By route as in [`ROUTES`], then those that no route takes; by class of status.
    requests: Vec<[Latencies; CLASSES]>,
    /// Requests that were told to come back later (429).
    overloaded: AtomicU64,
    /// By dataset: only names that are committed.
    pushes: Mutex<BTreeMap<String, Pushes>>,
}

/// How long requests of one kind took.
#[derive(Debug, Default)]
struct Latencies {
    /// The last one counts what is above every bound.
    counts: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

/// The pushes to one dataset since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pushes {
    /// Those that were stored.
    pub accepted: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// Those refused for what was in them (400).
    pub refused: u64,
    /// Rows that went to the dead letters instead (`on_error="skip"`).
    pub skipped_rows: u64,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics {
            requests: (0..=ROUTES.len()).map(|_| Default::default()).collect(),
            overloaded: AtomicU64::new(0),
            pushes: Mutex::default(),
        }
    }
}

impl Metrics {
    /// Counts a request that has been answered.
    pub fn answered(&self, method: &str, path: &str, status: u16, took: Duration) {
        let route = ROUTES.iter().position(|r| r.method == method && r.is_at(path));
        self.count(route, status, took);
    }

    /// Counts a request that was refused for its body, or before it was read.
    pub fn refused(&self, method: &str, path: &str, status: u16) {
        self.answered(method, path, status, Duration::ZERO);
    }

    /// How many requests were told to come back later.
    pub fn overloaded(&self) -> u64 {
        self.overloaded.load(Ordering::Relaxed)
    }

    /// Counts a request that was refused before anybody looked for its route.
    pub fn refused_at_the_door(&self, status: u16, took: Duration) {
        self.count(None, status, took);
    }

    fn count(&self, route: Option<usize>, status: u16, took: Duration) {
        self.overloaded.fetch_add(u64::from(status == 429), Ordering::Relaxed);
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let class = usize::from(status / 100).clamp(1, CLASSES) - 1;
        let Some(classes) = self.requests.get(route.unwrap_or(ROUTES.len())) else { return };
        let latencies = &classes[class];
        let bucket = BOUNDS.partition_point(|(bound, _)| *bound < nanoseconds);
        latencies.counts[bucket].fetch_add(1, Ordering::Relaxed);
        latencies.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// Counts a push to a committed dataset.
    pub fn push(&self, dataset: &str, count: impl FnOnce(&mut Pushes)) {
        let mut pushes = self.pushes.lock();
        match pushes.get_mut(dataset) {
            Some(known) => count(known),
            None => count(pushes.entry(dataset.to_owned()).or_default()),
        }
    }

    /// The pushes to a dataset since the start.
    pub fn pushes(&self, dataset: &str) -> Pushes {
        self.pushes.lock().get(dataset).copied().unwrap_or_default()
    }

    /// Requests by route, method and class of status, with how long they took.
    fn requests(&self, out: &mut Exposition) {
        let bounds = BOUNDS.map(|(_, text)| text);
        let mut family = out.family(
            "thyme_http_request_duration_seconds",
            Kind::Histogram,
            "Time from the whole request being read to its answer being made.",
        );
        for (index, classes) in self.requests.iter().enumerate() {
            let (method, route) = ROUTES.get(index).map_or(("", OTHER), |r| (r.method, r.path));
            for (class, latencies) in classes.iter().enumerate() {
                let counts = latencies.counts.each_ref().map(|c| c.load(Ordering::Relaxed));
                if counts.iter().all(|c| *c == 0) {
                    continue;
                }
                let status = ["1xx", "2xx", "3xx", "4xx", "5xx"][class];
                let labels = [("method", method), ("route", route), ("status", status)];
                let seconds = latencies.nanoseconds.load(Ordering::Relaxed) as f64 / 1e9;
                family.histogram(&labels, &bounds, &counts, seconds);
            }
        }
    }
}

/// `GET /metrics`; also answers while the server opens.
pub(crate) fn answer(app: &App) -> Reply {
    let mut out = Exposition::default();
    out.family("thyme_build_info", Kind::Gauge, "The version that runs; always 1.")
        .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    let ready = app.ready_now().ok();
    let works = ready.as_ref().is_some_and(|ready| ready.engine().failure().is_none());
    out.single("thyme_ready", Kind::Gauge, "Whether reads and writes work.", u8::from(works));
    families::process(&mut out);
    app.metrics.requests(&mut out);
    if let Some(ready) = ready {
        COLLECTORS.iter().for_each(|collect| collect(&ready, &mut out));
    }
    let content_type = "text/plain; version=0.0.4; charset=utf-8".to_owned();
    Reply { status: 200, headers: vec![("content-type", content_type)], body: out.into_text().into_bytes() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_goes_to_the_bucket_of_its_bound() {
        let metrics = Metrics::default();
        for nanoseconds in [50_000, 50_001, 11_000_000_000] {
            metrics.count(Some(0), 200, Duration::from_nanos(nanoseconds));
        }
        metrics.count(None, 999, Duration::ZERO);
        let counts = metrics.requests[0][1].counts.each_ref().map(|c| c.load(Ordering::Relaxed));
        assert_eq!((counts[0], counts[1], counts[BOUNDS.len()]), (1, 1, 1));
        let mut out = Exposition::default();
        metrics.requests(&mut out);
        let text = out.into_text();
        assert!(text.contains("_count{method=\"GET\",route=\"/features\",status=\"2xx\"} 3\n"), "{text}");
        assert!(text.contains("_count{method=\"\",route=\"other\",status=\"5xx\"} 1\n"), "{text}");
    }
}
