//! The families of metrics.

use std::collections::BTreeMap;

use thyme_sources::SourceStatus;

use crate::app::Ready;
use crate::exposition::{Exposition, Kind};

use Kind::{Counter, Gauge};

/// What is in each dataset; these numbers are as old as the data.
pub(super) fn datasets(ready: &Ready, out: &mut Exposition) {
    let engine = ready.engine();
    let catalog = engine.catalog();
    let raw: Vec<_> = catalog.datasets.iter().filter(|(_, live)| !live.is_derived()).collect();
    let counters: Vec<_> = raw.iter().map(|(name, live)| (name.as_str(), engine.counters(live))).collect();
    let mut family = out.family("thyme_events_accepted_total", Counter, "Events in the log.");
    counters.iter().for_each(|(name, c)| family.sample(&[("dataset", name)], c.events));
    let mut family = out.family("thyme_events_late_total", Counter, "Of these, late ones.");
    counters.iter().for_each(|(name, c)| family.sample(&[("dataset", name)], c.late));
    let help = "Of these, duplicates of earlier ones.";
    let mut family = out.family("thyme_events_duplicate_total", Counter, help);
    counters.iter().for_each(|(name, c)| family.sample(&[("dataset", name)], c.duplicates));
    let mut family = out.family("thyme_dead_letters_total", Counter, "Records that could not become events.");
    counters.iter().for_each(|(name, c)| family.sample(&[("dataset", name)], c.dead_letters));
    let tallies = raw.iter().flat_map(|(name, live)| {
        engine.expectations(live).into_iter().map(|(e, tally)| (name.as_str(), e.kind.to_string(), tally))
    });
    let tallies: Vec<_> = tallies.collect();
    let help = "Rows, or stretches of time, that an expectation judged.";
    let mut family = out.family("thyme_expectation_checked_total", Counter, help);
    for (dataset, expectation, tally) in &tallies {
        family.sample(&[("dataset", dataset), ("expectation", expectation)], tally.checked);
    }
    let mut family =
        out.family("thyme_expectation_violated_total", Counter, "Of these, those that do not meet it.");
    for (dataset, expectation, tally) in &tallies {
        family.sample(&[("dataset", dataset), ("expectation", expectation)], tally.violated);
    }
    let mut family = out.family(
        "thyme_newest_event_timestamp_seconds",
        Gauge,
        "The newest event time that is not late, in seconds since the epoch.",
    );
    for (name, c) in &counters {
        if let Some(newest) = c.newest {
            family.sample(&[("dataset", name)], newest as f64 / 1e6);
        }
    }
    let mut family = out.family("thyme_entities", Gauge, "Entities that have a timeline.");
    for (name, live) in &catalog.datasets {
        if let Some(node) = &live.node {
            family.sample(&[("dataset", name)], node.entities());
        }
    }
    let help = "Categories left out of maps that were read, being beyond their limit.";
    let mut family = out.family("thyme_map_categories_dropped_total", Counter, help);
    for (name, live) in &catalog.datasets {
        if let Some(node) = live.node.as_ref().filter(|node| !node.is_index()) {
            family.sample(&[("dataset", name)], node.categories_dropped());
        }
    }
}

/// What was pushed since the start.
pub(super) fn pushes(ready: &Ready, out: &mut Exposition) {
    let catalog = ready.engine().catalog();
    let raw = catalog.datasets.iter().filter(|(_, live)| !live.is_derived());
    let pushes: Vec<_> = raw.map(|(name, _)| (name.as_str(), ready.metrics.pushes(name))).collect();
    let mut family = out.family("thyme_pushes_total", Counter, "Pushes that were accepted.");
    pushes.iter().for_each(|(name, p)| family.sample(&[("dataset", name)], p.accepted));
    let mut family = out.family("thyme_push_bytes_total", Counter, "Bytes of the bodies of accepted pushes.");
    pushes.iter().for_each(|(name, p)| family.sample(&[("dataset", name)], p.bytes));
    let mut family =
        out.family("thyme_pushes_refused_total", Counter, "Pushes refused for what was in them.");
    pushes.iter().for_each(|(name, p)| family.sample(&[("dataset", name)], p.refused));
    let help = "Rows of pushes that went to the dead letters.";
    let mut family = out.family("thyme_rows_skipped_total", Counter, help);
    pushes.iter().for_each(|(name, p)| family.sample(&[("dataset", name)], p.skipped_rows));
    let (replays, conflicts) = ready.engine().idempotency_counts();
    let help = "Pushes answered as the first one with their Idempotency-Key was.";
    out.single("thyme_idempotent_replays_total", Counter, help, replays);
    let help = "Pushes refused because their Idempotency-Key was used with another body.";
    out.single("thyme_idempotency_conflicts_total", Counter, help, conflicts);
}

/// How much comes in, against what there is room for.
pub(super) fn pressure(ready: &Ready, out: &mut Exposition) {
    let facts = ready.engine().push_budget().facts();
    let help = "Bytes of pushes between where they come in and the timelines.";
    out.single("thyme_push_in_flight_bytes", Gauge, help, facts.taken as u64);
    let help = "Bytes of pushes that there is room for; what comes then waits.";
    out.single("thyme_push_in_flight_bytes_max", Gauge, help, facts.limit as u64);
    out.single(
        "thyme_pushes_waiting",
        Gauge,
        "Pushes and batches of sources that wait for room.",
        facts.waiting as u64,
    );
    let help = "Requests that were told to come back later (429).";
    out.single("thyme_overloaded_total", Counter, help, ready.metrics.overloaded());
}

/// The log and how far it is applied.
pub(super) fn log(ready: &Ready, out: &mut Exposition) {
    let engine = ready.engine();
    let (written, applied) = engine.records();
    out.single("thyme_log_records_total", Counter, "Records in the log.", written);
    let help = "Records of the log that reads see; behind thyme_log_records_total by what is on its way.";
    out.single("thyme_log_applied_records_total", Counter, help, applied);
    out.single("thyme_log_bytes", Gauge, "Bytes of the log.", engine.storage().0);
    let help = "The log's first record; those before it were removed, since no dataset needs them.";
    out.single("thyme_log_first_record", Gauge, help, engine.log_start().0);
}

/// The last checkpoint.
pub(super) fn checkpoints(ready: &Ready, out: &mut Exposition) {
    let engine = ready.engine();
    let help = "The record up to which the last checkpoint holds everything.";
    out.single("thyme_checkpoint_record", Gauge, help, engine.storage().2);
    let help = "Seconds since the last checkpoint, or since the start; one without news is not made.";
    out.single("thyme_checkpoint_age_seconds", Gauge, help, engine.checkpoint_age_us() as f64 / 1e6);
}

/// Bytes at rest.
pub(super) fn storage(ready: &Ready, out: &mut Exposition) {
    let (_, store, _) = ready.engine().storage();
    out.single("thyme_store_bytes", Gauge, "Bytes of the state at rest.", store);
}

/// What of the state cannot be used, and whether memory can be given back.
pub(super) fn faults(ready: &Ready, out: &mut Exposition) {
    let engine = ready.engine();
    let poisoned = engine.poisoned();
    let help = "Whether some entities of the shard answer 503 until a restart.";
    let mut family = out.family("thyme_shard_poisoned", Gauge, help);
    for shard in 0..engine.shards() {
        let is_poisoned = poisoned.iter().any(|part| part.shard == shard);
        family.sample(&[("shard", &shard.to_string())], u8::from(is_poisoned));
    }
    let help = "Whether memory grows over its limit because what is not used cannot be written.";
    out.single("thyme_memory_stuck", Gauge, help, u8::from(engine.memory_stuck().is_some()));
}

/// How the sources are doing; those of one dataset together.
pub(super) fn sources(ready: &Ready, out: &mut Exposition) {
    let mut status = BTreeMap::<String, Vec<SourceStatus>>::new();
    for source in ready.sources.iter().flat_map(|s| s.status()) {
        status.entry(source.dataset.clone()).or_default().push(source);
    }
    let mut family = |name: &str, kind, help: &str, of: &dyn Fn(&[SourceStatus]) -> u64| {
        let mut family = out.family(name, kind, help);
        status.iter().for_each(|(dataset, sources)| family.sample(&[("dataset", dataset)], of(sources)));
    };
    family("thyme_source_rows_total", Counter, "Rows stored.", &|all| all.iter().map(|s| s.rows).sum());
    let help = "Records that could not become rows.";
    let letters = |all: &[SourceStatus]| all.iter().map(|s| s.dead_letters).sum();
    family("thyme_source_dead_letters_total", Counter, help, &letters);
    let help = "Whether everything that was there at the last look is stored.";
    let caught_up = |all: &[SourceStatus]| u64::from(all.iter().all(|s| s.caught_up));
    family("thyme_source_caught_up", Gauge, help, &caught_up);
    let help = "Bytes of last lines of files that wait for their rest.";
    let unfinished = |all: &[SourceStatus]| all.iter().flat_map(|s| &s.unfinished).map(|u| u.bytes).sum();
    family("thyme_source_unfinished_bytes", Gauge, help, &unfinished);
    let failing = |all: &[SourceStatus]| u64::from(all.iter().any(|s| s.error.is_some()));
    family("thyme_source_failing", Gauge, "Whether something is wrong now.", &failing);
}

/// This process, under the names that every exporter uses; nothing where `/proc` is not there.
pub(super) fn process(out: &mut Exposition) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kibibytes = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|l| l.strip_prefix(name))?;
        line.trim().trim_end_matches("kB").trim().parse().ok()
    };
    if let Some(resident) = kibibytes("VmRSS:") {
        let help = "Resident memory size in bytes.";
        out.single("process_resident_memory_bytes", Gauge, help, resident * 1024);
    }
    if let Some(peak) = kibibytes("VmHWM:") {
        let help = "Largest resident memory size so far, in bytes.";
        out.single("thyme_process_resident_memory_peak_bytes", Gauge, help, peak * 1024);
    }
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        let help = "Number of open file descriptors.";
        out.single("process_open_fds", Gauge, help, files.count().saturating_sub(1));
    }
}
