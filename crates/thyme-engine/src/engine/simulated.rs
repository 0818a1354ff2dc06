//! What only a simulator asks of an engine: commits that do not wait, and what the log holds.

use arrow::array::RecordBatch;
use thyme_core::definition::Document;
use thyme_core::{EntityKey, Result, Value};

use super::{Engine, Planned};
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
    /// The id, if it is a commit.
    pub commit: Option<String>,
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
        let id = self.id_of(&plan)?;
        let record =
            Box::new(CommitRecord { id: id.clone(), note: CommitNote::default(), document: plan.next });
        self.jobs.send(Job::Commit { record, done: Done::new(done) });
        Ok(id)
    }

    /// The id that a commit of `document` would have now.
    ///
    /// # Errors
    /// As [`Engine::plan`].
    #[doc(hidden)]
    pub fn commit_id(&self, document: &Document) -> Result<String> {
        self.id_of(&self.plan(document)?)
    }

    fn id_of(&self, plan: &Planned) -> Result<String> {
        super::commits::commit_id(&self.catalog().commit, &plan.next)
    }

    /// As [`Engine::panic_for_test`], where the applier keeps who has claimed an event id. False if the events of the
    /// dataset have none.
    #[doc(hidden)]
    pub fn panic_at_event_id_for_test(&self, dataset: &str, id: &Value) -> Result<bool> {
        let catalog = self.catalog();
        let Some(node) = &catalog.dataset(dataset)?.ids else { return Ok(false) };
        node.state.arm(&EntityKey::encode(std::slice::from_ref(id))?.0);
        Ok(true)
    }

    /// As [`Engine::panic_for_test`], where the pending commit is filled, near any key. False if nothing is.
    #[doc(hidden)]
    pub fn panic_in_fill_for_test(&self, key: &[u8]) -> bool {
        let Some(filling) = self.shared.filling() else { return false };
        let filler = filling.filler.lock();
        let fresh = filler.iter().flat_map(|filler| &filler.fresh);
        fresh.map(|node| node.state.arm(key)).count() > 0
    }

    /// The records from number `from` on that are kept.
    #[doc(hidden)]
    pub fn logged(&self, from: u64) -> Result<Vec<Logged>> {
        let catalog = self.catalog();
        let schema = |id| catalog.by_id(id).map(|live| live.schema.clone());
        let mut found = Vec::new();
        for record in self.shared.log.read(from.max(self.shared.log.first()))? {
            let record = record?;
            let (rows, commit) = match Payload::decode(&record.payload, &schema)? {
                Payload::Events(events) => (Some((events.stream, events.cursor, events.batch)), None),
                Payload::Commit(commit) => (None, Some(commit.id)),
                Payload::Erase(_) => (None, None),
            };
            found.push(Logged { number: record.number, stamp: record.stamp, rows, commit });
        }
        Ok(found)
    }
}
