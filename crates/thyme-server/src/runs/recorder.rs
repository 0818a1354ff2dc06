//! Takes query runs off the path of queries: into a bounded buffer, from there to disk.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use thyme_core::{Env, Error, Result, Value};
use thyme_engine::QUERY_RUNS_FOLDER;

use super::callers::Callers;
use super::erasing::Guard;
use super::noted::Part;
use super::text::{Kept, id_of};
use crate::access::Caller;
use crate::app::Ready;
use crate::exposition::{Exposition, Kind};
use crate::trail::{Bounds, Sync, Trail};

const SEGMENT_BYTES: u64 = 16 << 20;
/// What is kept on disk if nobody says otherwise.
pub(crate) const BYTES_MAX: u64 = 256 << 20;
/// Bytes of records in a block, about.
const BLOCK_BYTES: usize = 256 << 10;
/// How long a run waits for the disk.
const FLUSH_EVERY: Duration = Duration::from_millis(100);
/// What may wait for it: runs, and bytes about.
const WAITING_MAX: usize = 16_384;
const WEIGHT_MAX: usize = 64 << 20;
/// The runs of an application in memory, which take [`WEIGHT_MAX`] at most.
const IN_MEMORY_MAX: usize = 1_000;
/// How much a run takes as it is shown, for each byte of what waits of it.
const SHOWN_WEIGHT: usize = 4;

/// One answered query.
#[derive(Debug)]
pub(crate) struct Run {
    pub number: u64,
    pub time_us: i64,
    pub endpoint: String,
    pub caller: Caller,
    pub took_us: u64,
    pub parts: Vec<Part>,
}

impl Run {
    /// What it takes while it waits, about: bytes, whatever its strings hold.
    fn weight(&self) -> usize {
        size_of::<Run>() + self.endpoint.len() + self.parts.iter().map(Part::weight).sum::<usize>()
    }
}

/// Some of the newest runs, and what they take together.
#[derive(Debug)]
struct Bounded<T> {
    runs: VecDeque<(T, usize)>,
    weight: usize,
}

impl<T> Default for Bounded<T> {
    fn default() -> Self {
        Bounded { runs: VecDeque::new(), weight: 0 }
    }
}

impl<T> Bounded<T> {
    fn push(&mut self, run: T, weight: usize) {
        self.weight += weight;
        self.runs.push_back((run, weight));
    }

    fn has_room(&self, runs_max: usize, weight: usize) -> bool {
        self.runs.len() < runs_max && self.weight + weight <= WEIGHT_MAX
    }

    /// Lets the oldest go until one more of `weight` has room.
    fn make_room(&mut self, runs_max: usize, weight: usize) {
        while !self.has_room(runs_max, weight)
            && let Some((_, gone)) = self.runs.pop_front()
        {
            self.weight -= gone;
        }
    }

    fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.runs.iter().map(|(run, _)| run)
    }
}

#[derive(Debug)]
enum Place {
    Memory(Mutex<Bounded<Kept>>),
    Disk(Trail),
}

/// All query runs.
#[derive(Debug)]
pub(crate) struct Recorder {
    env: Arc<dyn Env>,
    next: AtomicU64,
    waiting: Mutex<Bounded<Run>>,
    place: Place,
    /// Held while what waits is written, so that runs come in the order of their numbers.
    writing: Mutex<Guard>,
    dropped: AtomicU64,
    written: AtomicU64,
    unwritten: AtomicU64,
    callers: Arc<Callers>,
    thread: Mutex<Option<(Sender<()>, JoinHandle<()>)>>,
}

impl Recorder {
    /// Those of the data directory `data`; in memory without one.
    ///
    /// # Errors
    /// As [`Trail::open`].
    pub fn open(
        data: Option<&Path>,
        bytes_max: u64,
        env: Arc<dyn Env>,
        callers: Arc<Callers>,
    ) -> Result<Arc<Recorder>> {
        let bounds = Bounds { segment_bytes: SEGMENT_BYTES.min(bytes_max / 4), bytes_max };
        let place = match data {
            Some(data) => Place::Disk(Trail::open(data.join(QUERY_RUNS_FOLDER), bounds)?),
            None => Place::Memory(Mutex::default()),
        };
        // Above all that were given out before: nobody asks a million times a second for long.
        let last = match &place {
            Place::Disk(trail) => trail.last().unwrap_or_default(),
            Place::Memory(_) => 0,
        };
        let next = (last + 1).max(env.now_us().unsigned_abs());
        let recorder = Arc::new(Recorder {
            env,
            next: AtomicU64::new(next),
            waiting: Mutex::default(),
            place,
            writing: Mutex::default(),
            dropped: AtomicU64::new(0),
            written: AtomicU64::new(0),
            unwritten: AtomicU64::new(0),
            callers,
            thread: Mutex::default(),
        });
        if matches!(recorder.place, Place::Disk(_)) {
            *recorder.thread.lock() = Some(start(&recorder)?);
        }
        Ok(recorder)
    }

    /// Takes a run; gives its id.
    pub fn take(&self, endpoint: String, caller: Caller, took: Duration, parts: Vec<Part>) -> String {
        let run = Run {
            number: 0,
            time_us: self.env.now_us(),
            endpoint,
            caller,
            took_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            parts,
        };
        let weight = run.weight();
        let mut waiting = self.waiting.lock();
        // Numbers are given under the lock, so that they are in order in the buffer.
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        match &self.place {
            Place::Disk(_) if !waiting.has_room(WAITING_MAX, weight) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                return id_of(number);
            }
            Place::Disk(_) => {}
            Place::Memory(_) => waiting.make_room(IN_MEMORY_MAX, weight),
        }
        waiting.push(Run { number, ..run }, weight);
        id_of(number)
    }

    /// Writes what waits.
    ///
    /// # Errors
    /// Unavailable: the disk; what waited is lost and counted.
    pub fn flush(&self) -> Result<()> {
        let mut guard = self.writing.lock();
        let Bounded { runs, .. } = std::mem::take(&mut *self.waiting.lock());
        let asked = |run: &'_ Run| (run.caller.fingerprint(), run.time_us);
        let parts = runs.iter().flat_map(|(run, _)| run.parts.iter().map(move |part| (part, asked(run))));
        let of_sets =
            parts.filter_map(|(part, (caller, time))| Some((part.subject.featureset()?, caller, time)));
        self.callers.note(of_sets);
        let now = self.env.now_us();
        let trail = match &self.place {
            Place::Disk(trail) => trail,
            Place::Memory(kept) => {
                let mut kept = kept.lock();
                for (run, weight) in runs {
                    let weight = weight * SHOWN_WEIGHT;
                    kept.make_room(IN_MEMORY_MAX, weight);
                    kept.push(guard.screened(Kept::of(&run), now), weight);
                }
                return Ok(());
            }
        };
        self.write(trail, runs, |run| guard.screened(Kept::of(run), now))
    }

    /// Writes runs, some of them in a block.
    fn write(
        &self,
        trail: &Trail,
        runs: VecDeque<(Run, usize)>,
        mut kept: impl FnMut(&Run) -> Kept,
    ) -> Result<()> {
        let mut runs = runs.into_iter().map(|(run, _)| run).peekable();
        while let Some(first) = runs.peek().map(|run| run.number) {
            let (mut records, mut last, mut count) = (String::new(), first, 0);
            while records.len() < BLOCK_BYTES
                && let Some(run) = runs.next()
            {
                (last, count) = (run.number, count + 1);
                records += &serde_json::to_string(&kept(&run))
                    .map_err(|e| Error::internal(format!("a run: {e}")))?;
                records.push('\n');
            }
            match trail.append((first, last), &records, Sync::Never) {
                Ok(()) => drop(self.written.fetch_add(count, Ordering::Relaxed)),
                Err(error) => {
                    self.unwritten.fetch_add(count + runs.len() as u64, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Shows runs below `before`, newest first, until `visit` has enough; what cannot be read is passed over, and told
    /// by [`Recorder::untold_damage`].
    ///
    /// # Errors
    /// As [`Recorder::flush`].
    pub fn scan(&self, before: u64, visit: &mut dyn FnMut(Kept) -> ControlFlow<()>) -> Result<()> {
        self.flush()?;
        match &self.place {
            Place::Disk(trail) => {
                trail.scan(before, &mut |record| match read(record) {
                    Some(run) if run.number() < before => visit(run),
                    _ => ControlFlow::Continue(()),
                });
                Ok(())
            }
            Place::Memory(kept) => {
                let found: Vec<Kept> =
                    kept.lock().iter().rev().filter(|run| run.number() < before).cloned().collect();
                for run in found {
                    if visit(run).is_break() {
                        break;
                    }
                }
                Ok(())
            }
        }
    }

    /// The run with this number, if it is kept.
    ///
    /// # Errors
    /// As [`Recorder::flush`]. Corrupt: what holds it is not what was written.
    pub fn find(&self, number: u64) -> Result<Option<Kept>> {
        self.flush()?;
        match &self.place {
            Place::Disk(trail) => {
                let block = trail.block_with(number)?.unwrap_or_default();
                Ok(block.lines().filter_map(read).find(|run| run.number() == number))
            }
            Place::Memory(kept) => Ok(kept.lock().iter().find(|run| run.number() == number).cloned()),
        }
    }

    /// Takes entities out of all runs, of those on their way too. An erasure does this first: whoever asked before it
    /// is answered, and written, later.
    ///
    /// # Errors
    /// Unavailable, Corrupt: the disk. The entities may still be in runs.
    pub fn erase(&self, entities: &[Vec<Value>]) -> Result<u64> {
        self.writing.lock().add(entities, self.env.now_us());
        self.flush()?;
        let guard = self.writing.lock();
        match &self.place {
            Place::Disk(trail) => trail.rewrite(&|record| {
                let run = guard.erased_in(record).then(|| read(record))??;
                serde_json::to_string(&guard.screen(run)?).ok()
            }),
            Place::Memory(kept) => {
                let mut changed = 0;
                for (run, _) in &mut kept.lock().runs {
                    if let Some(screened) = guard.screen(run.clone()) {
                        (*run, changed) = (screened, changed + 1);
                    }
                }
                Ok(changed)
            }
        }
    }

    /// What of the runs was found not to be what was written, once.
    pub fn untold_damage(&self) -> Vec<String> {
        match &self.place {
            Place::Disk(trail) => trail.untold(),
            Place::Memory(_) => Vec::new(),
        }
    }

    /// The clock that runs are told by.
    pub fn now_us(&self) -> i64 {
        self.env.now_us()
    }

    /// Who asked for featuresets lately.
    pub fn callers(&self) -> &Callers {
        &self.callers
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        match &self.place {
            Place::Disk(trail) => trail.bytes(),
            Place::Memory(_) => 0,
        }
    }

    /// Ends the writing; what waits is written.
    pub fn close(&self) {
        if let Some((stop, thread)) = self.thread.lock().take() {
            drop(stop);
            // A panic of it has been told where it was.
            drop(thread.join());
        }
    }
}

fn read(record: &str) -> Option<Kept> {
    serde_json::from_str(record).ok()
}

fn start(recorder: &Arc<Recorder>) -> Result<(Sender<()>, JoinHandle<()>)> {
    let (stop, stopped) = channel::<()>();
    let recorder: Weak<Recorder> = Arc::downgrade(recorder);
    let thread = std::thread::Builder::new().name("thyme-query-runs".into()).spawn(move || {
        let mut goes_on = true;
        while goes_on {
            goes_on = matches!(stopped.recv_timeout(FLUSH_EVERY), Err(RecvTimeoutError::Timeout));
            let Some(recorder) = recorder.upgrade() else { return };
            // What could not be written is counted; /metrics says it.
            let _ = recorder.flush();
        }
    });
    let thread = thread.map_err(|e| Error::unavailable(format!("starting a thread for query runs: {e}")))?;
    Ok((stop, thread))
}

/// The families of `/metrics`.
pub(crate) fn expose(ready: &Ready, out: &mut Exposition) {
    let runs = &ready.runs;
    let help = "Query runs by what became of them: dropped, for more came than could be written; unwritten, for the disk failed.";
    let mut family = out.family("thyme_query_runs_total", Kind::Counter, help);
    for (result, count) in
        [("written", &runs.written), ("dropped", &runs.dropped), ("unwritten", &runs.unwritten)]
    {
        family.sample(&[("result", result)], count.load(Ordering::Relaxed));
    }
    out.family("thyme_query_runs_bytes", Kind::Gauge, "Bytes of query runs on disk.")
        .sample(&[], runs.bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{App, AppOptions};
    use crate::request::Request;
    use serde_json::json;
    use thyme_core::SystemEnv;
    use thyme_query::NoExtractors;

    #[test]
    fn what_has_no_room_is_counted_and_nobody_waits_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let recorder =
            Recorder::open(Some(dir.path()), 1 << 20, Arc::new(SystemEnv), Arc::default()).unwrap();
        let take = || recorder.take("GET /features".into(), Caller::default(), Duration::ZERO, Vec::new());
        let busy = recorder.writing.lock();
        // Nothing of these is written meanwhile.
        let ids: Vec<String> = (0..WAITING_MAX + 10).map(|_| take()).collect();
        assert_eq!(recorder.dropped.load(Ordering::Relaxed), 10);
        drop(busy);
        recorder.close();
        assert_eq!(recorder.written.load(Ordering::Relaxed), WAITING_MAX as u64);
        let mut shown = Vec::new();
        recorder
            .scan(u64::MAX, &mut |run| {
                shown.push(run.id);
                ControlFlow::Continue(())
            })
            .unwrap();
        // The oldest have made room.
        let kept: Vec<&String> = ids[..WAITING_MAX].iter().rev().take(shown.len()).collect();
        assert!(shown.len() > 1000 && shown.iter().eq(kept), "{}", shown.len());
        assert!(recorder.bytes() <= (1 << 20) + (1 << 18));
    }

    fn app(path: Option<&Path>) -> App {
        let app = App::opening();
        let options = AppOptions { path: path.map(Path::to_owned), shards: 1, ..AppOptions::default() };
        app.open(options, Arc::new(NoExtractors)).unwrap();
        let field = |name: &str, kind: &str, role: &str| json!({"name": name, "type": kind, "role": role});
        let fields = [field("k", "str", "key"), field("at", "datetime", "timestamp")];
        let features = json!([{"id": 1, "name": "k", "type": "str"}, {"id": 2, "name": "note", "type": "str", "request": true}]);
        let document = json!({"format": 1, "datasets": [{"name": "Event", "fields": fields}],
            "featuresets": [{"name": "F", "features": features}]});
        let commit = Request::new("POST", "/api/v1/commit", json_headers(), document.to_string().into());
        assert_eq!(app.request(&commit).status, 200);
        app
    }

    fn json_headers() -> Vec<(String, String)> {
        vec![("content-type".to_owned(), "application/json".to_owned())]
    }

    /// One query with a request feature of so many bytes, which are in its answer, too.
    fn ask(app: &App, bytes: usize) -> u64 {
        let body = json!({"featureset": "F", "entity_id": "a", "inputs": {"note": "x".repeat(bytes)}});
        let reply = app.request(&Request::new("POST", "/features", json_headers(), body.to_string().into()));
        assert_eq!(reply.status, 200);
        let id = reply.headers.iter().find(|(name, _)| *name == "x-query-run-id").unwrap();
        super::super::text::number_of(&id.1).unwrap()
    }

    fn weights<T>(bounded: &Bounded<T>) -> usize {
        bounded.runs.iter().map(|(_, weight)| weight).sum()
    }

    #[test]
    fn what_waits_is_bounded_in_bytes_whatever_its_strings_hold() {
        let dir = tempfile::tempdir().unwrap();
        let app = app(Some(dir.path()));
        let runs = app.ready_now().unwrap().runs.clone();
        let busy = runs.writing.lock();
        // Its input and its answer have two MiB each.
        for _ in 0..20 {
            ask(&app, 2 << 20);
        }
        {
            let waiting = runs.waiting.lock();
            assert!((2..16).contains(&waiting.runs.len()), "{}", waiting.runs.len());
            assert_eq!(runs.dropped.load(Ordering::Relaxed), 20 - waiting.runs.len() as u64);
            assert!(waiting.weight <= WEIGHT_MAX && waiting.weight == weights(&waiting));
        }
        drop(busy);
        runs.flush().unwrap();
        assert_eq!(runs.waiting.lock().weight, 0);
        // One that is too large by itself says how much it was, and no more.
        let (small, large) = (ask(&app, 10), ask(&app, 4 << 20));
        let part = |number: u64| runs.find(number).unwrap().unwrap().queries.remove(0);
        assert_eq!((part(small).entities, part(small).values.is_some()), (Some(vec![json!("a")]), true));
        let large = part(large);
        assert_eq!((large.rows, large.entities, large.values, large.sha256), (1, None, None, None));
        assert_eq!(large.features, ["k", "note"]);
        app.close();
    }

    #[test]
    fn in_memory_the_oldest_make_room_and_what_they_took_with_them() {
        let app = app(None);
        let runs = app.ready_now().unwrap().runs.clone();
        for _ in 0..IN_MEMORY_MAX + 50 {
            ask(&app, 10);
        }
        {
            let waiting = runs.waiting.lock();
            assert_eq!((waiting.runs.len(), waiting.weight), (IN_MEMORY_MAX, weights(&waiting)));
        }
        let numbers: Vec<u64> = (0..20).map(|_| ask(&app, 2 << 20)).collect();
        assert!(runs.waiting.lock().weight <= WEIGHT_MAX);
        let mut shown = Vec::new();
        let show = &mut |run: Kept| {
            shown.push(run.number());
            ControlFlow::Continue(())
        };
        runs.scan(u64::MAX, show).unwrap();
        let newest: Vec<u64> = numbers.iter().rev().take(shown.len()).copied().collect();
        assert!((2..16).contains(&shown.len()) && shown == newest, "{shown:?}");
        let Place::Memory(kept) = &runs.place else { unreachable!() };
        let kept = kept.lock();
        assert!(kept.weight <= WEIGHT_MAX && kept.weight == weights(&kept));
    }

    #[test]
    fn who_asked_in_the_last_moment_is_known_after_an_orderly_stop() {
        let dir = tempfile::tempdir().unwrap();
        let app = app(Some(dir.path()));
        for _ in 0..7 {
            ask(&app, 10);
        }
        app.close();
        let again = App::opening();
        let options = AppOptions { path: Some(dir.path().to_owned()), shards: 1, ..AppOptions::default() };
        again.open(options, Arc::new(NoExtractors)).unwrap();
        let runs = again.ready_now().unwrap().runs.clone();
        let callers = runs.callers().of(&["F"], runs.now_us());
        assert_eq!(callers.iter().map(|caller| caller["queries"].as_u64()).collect::<Vec<_>>(), [Some(7)]);
        again.close();
    }
}
