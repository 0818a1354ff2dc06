//! The thread that computes jobs, a part at a time, the oldest job first.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use thyme_core::{Error, ErrorKind, Result};
use thyme_engine::Severity;

use super::{Failure, Job, Jobs, erasures};
use crate::app::Ready;
use crate::request::Request;
use crate::{incomplete, reads};

/// How long it waits before it tries again what could not be done for now, and looks for what is old.
const PAUSE: Duration = Duration::from_secs(20);

/// The thread.
#[derive(Debug)]
pub(crate) struct Runner {
    jobs: Arc<Jobs>,
    thread: JoinHandle<()>,
}

impl Runner {
    /// Starts it; what an earlier process left goes on.
    #[expect(clippy::disallowed_methods, reason = "the thread that computes jobs starts here")]
    pub fn start(ready: &Arc<Ready>) -> Option<Runner> {
        let jobs = ready.jobs.clone();
        jobs.files.as_ref()?;
        let (wake, woken) = channel();
        *jobs.wake.lock() = Some(wake);
        let (ready, running) = (Arc::downgrade(ready), jobs.clone());
        let thread = std::thread::spawn(move || run(&ready, &running, &woken));
        Some(Runner { jobs, thread })
    }

    /// Stops it after the part that it is at; the next start goes on.
    pub fn stop(self) {
        self.jobs.stopping.store(true, Ordering::Release);
        self.jobs.wake.lock().take();
        // A panic was reported where it happened.
        let _ = self.thread.join();
    }
}

fn run(ready: &Weak<Ready>, jobs: &Jobs, woken: &Receiver<()>) {
    loop {
        // An erasure that was ended after a restart asks nobody.
        if let Some(ready) = ready.upgrade() {
            let _ = jobs.forget_erased(ready.engine());
        }
        let mut waits = false;
        while let Some(job) = jobs.next().filter(|_| !waits && !jobs.stops()) {
            let Some(ready) = ready.upgrade() else { return };
            waits = jobs.advance(&ready, &job);
        }
        jobs.expire();
        match woken.recv_timeout(PAUSE) {
            Ok(()) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

impl Jobs {
    /// The oldest job that has a part to compute.
    fn next(&self) -> Option<Job> {
        let jobs = self.jobs.lock();
        jobs.values().find(|job| job.failure.is_none() && job.done < job.parts.len()).cloned()
    }

    /// Computes the next part of a job, and says whether it has to wait for that.
    fn advance(&self, ready: &Ready, job: &Job) -> bool {
        let computed = self.compute(ready, job).and_then(|answer| {
            // Somebody may have been erased meanwhile, and the rows of this job been removed.
            let _adding = self.adding.lock();
            let now = self.get(&job.id)?;
            if now.failure.is_some() || now.erasures != erasures(ready.engine()) {
                return Err(Error::new(ErrorKind::Gone, "somebody was erased after it began"));
            }
            self.files()?.put_answer(&job.id, job.done, &answer)?;
            self.change(&job.id, |job| {
                (job.done, job.bytes_out) = (job.done + 1, job.bytes_out + answer.len() as u64);
                if job.status() == "done" {
                    job.end(self.env.now_us(), None);
                }
            })
        });
        // It may be that it was written while somebody was erased.
        let forgotten = self.forget_erased(ready.engine());
        let Err(error) = computed.and(forgotten) else { return false };
        let gone = self.get(&job.id).map_or(true, |job| job.failure.is_some());
        match error.kind() {
            _ if gone => false,
            ErrorKind::Unavailable | ErrorKind::Overloaded | ErrorKind::StorageFull => true,
            kind => {
                let failure = Failure { error: kind.code().to_owned(), detail: error.detail().to_owned() };
                let message = format!("part {} of a training set: {}", job.done, failure.detail);
                ready.engine().events().record(Severity::Warning, "job_failed", &job.id, message);
                self.change(&job.id, |job| job.end(self.env.now_us(), Some(failure))).is_err()
            }
        }
    }

    fn compute(&self, ready: &Ready, job: &Job) -> Result<Vec<u8>> {
        let of_its_commit = || ready.engine().catalog().commit == job.commit;
        let changed = || {
            let detail = format!(
                "the definitions have changed since it began, under commit {}; begin it again",
                job.commit
            );
            Error::new(ErrorKind::Conflict, detail)
        };
        if erasures(ready.engine()) != job.erasures {
            return Err(Error::new(ErrorKind::Gone, "somebody was erased after it began"));
        }
        if !of_its_commit() {
            return Err(changed());
        }
        let part = job.parts.get(job.done).ok_or_else(|| Error::internal("a job has no next part"))?;
        let request = request(job, &part.content_type, self.files()?.labels(&job.id, job.done)?);
        let reply = catch_unwind(AssertUnwindSafe(|| incomplete::answer(ready, &request, &reads::offline)))
            .unwrap_or_else(|_| Err(Error::internal("it failed inside the server; see its log")))
            .map_err(|error| Error::new(error.kind(), format!("part {}: {}", job.done, error.detail())))?;
        if of_its_commit() { Ok(reply.body) } else { Err(changed()) }
    }
}

/// What asks for some of a job's rows.
pub(super) fn request(job: &Job, content_type: &str, body: Vec<u8>) -> Request {
    Request {
        method: "POST".to_owned(),
        path: "/features/offline".to_owned(),
        query: job.query.clone(),
        headers: vec![("content-type".to_owned(), content_type.to_owned())],
        body: body.into(),
        ..Request::default()
    }
}
