//! What only a simulator asks of an engine: commits that do not wait, and what the log holds.

use arrow::array::RecordBatch;
use thyme_core::Result;
use thyme_core::definition::Document;

use super::Engine;
use crate::committer::Job;
use crate::done::Done;
use crate::push::Receipt;
use crate::record::{CommitNote, CommitRecord, Payload};

/// A record as it is in the log.
#[doc(hidden)]
#[derive(Debug)]
pub struct Logged {
    /// Its number.
    pub number: u64,
    /// Its stamp.
    pub stamp: i64,
    /// Stream, cursor and rows; `None` for a commit or an erasure.
    pub rows: Option<(String, Option<Vec<u8>>, RecordBatch)>,
}

impl Engine {
    /// As [`Engine::commit`], without waiting: `done` is told once it is on durable storage. Gives
    /// its id.
    #[doc(hidden)]
    pub fn submit_commit(
        &self,
        document: &Document,
        done: impl FnOnce(Result<Receipt>) + Send + 'static,
    ) -> Result<String> {
        self.nothing_is_pending()?;
        let plan = self.plan(document)?;
        self.refuse_poisoned("nothing was committed")?;
        let id = super::commits::commit_id(&self.catalog().commit, &plan.next)?;
        let record =
            Box::new(CommitRecord { id: id.clone(), note: CommitNote::default(), document: plan.next });
        self.jobs.send(Job::Commit { record, done: Done::new(done) });
        Ok(id)
    }

    /// The records from number `from` on that are kept.
    #[doc(hidden)]
    pub fn logged(&self, from: u64) -> Result<Vec<Logged>> {
        let catalog = self.catalog();
        let schema = |id| catalog.by_id(id).map(|live| live.schema.clone());
        let mut found = Vec::new();
        for record in self.shared.log.read(from.max(self.shared.log.first()))? {
            let record = record?;
            let rows = match Payload::decode(&record.payload, &schema)? {
                Payload::Events(events) => Some((events.stream, events.cursor, events.batch)),
                Payload::Commit(_) | Payload::Erase(_) => None,
            };
            found.push(Logged { number: record.number, stamp: record.stamp, rows });
        }
        Ok(found)
    }
}
