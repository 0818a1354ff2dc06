//! Writing: pushes and what connectors read.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use crossbeam_channel::bounded;
use thyme_core::definition::OnError;
use thyme_core::{Error, ErrorKind, Position, Result};

use super::Engine;
use crate::budget::{Budget, BudgetFacts, LINE_MAX};
use crate::catalog::{LiveDataset, PUSH_STREAM};
use crate::committer::{Job, push_bytes};
use crate::decode::{self, Decoded, Rejected, columns, json};
use crate::done::Done;
use crate::expectations;
use crate::idempotency::{Idempotency, Turn};
use crate::push::{Push, Receipt, SourceBatch};
use crate::record::DeadLetter;

/// How long a push waits for room before its sender is told to come back later.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// What a push takes beside its rows: its answer, its place in queues, and what an allocation takes at least.
const PUSH_BYTES: usize = 1024;

/// What a push takes until it is applied.
fn takes(push: &Push) -> usize {
    push_bytes(push) + PUSH_BYTES
}

/// Why a push is not taken now.
pub fn overloaded(facts: BudgetFacts) -> Error {
    let detail = if facts.waiting < LINE_MAX {
        format!(
            "{} KiB of pushes are on their way to the disk, which is all there is room for, and this one found none within {} s",
            facts.taken >> 10,
            PATIENCE.as_secs()
        )
    } else {
        format!("{} pushes wait already", facts.waiting)
    };
    Error::new(ErrorKind::Overloaded, format!("{detail}; nothing of it was stored: send it again later"))
}

impl Engine {
    /// Reads rows of JSON text for `dataset`.
    ///
    /// # Errors
    /// InvalidData with all faults, unless the dataset says `on_error="skip"`.
    pub fn read_json<'a>(&self, dataset: &LiveDataset, rows: impl Iterator<Item = &'a [u8]>) -> Result<Push> {
        self.derived_takes_no_rows(dataset)?;
        let decoded = json::rows(&dataset.definition.fields, dataset.definition.extra, rows)?;
        self.accept(dataset, decoded)
    }

    /// Reads Arrow batches for `dataset`.
    ///
    /// # Errors
    /// InvalidData with all faults, unless the dataset says `on_error="skip"`.
    pub fn read_batches(&self, dataset: &LiveDataset, batches: &[RecordBatch]) -> Result<Push> {
        self.derived_takes_no_rows(dataset)?;
        let decoded = decode::columns::conform_all(&dataset.definition, batches)?;
        self.accept(dataset, decoded)
    }

    fn derived_takes_no_rows(&self, dataset: &LiveDataset) -> Result<()> {
        if !dataset.is_derived() {
            return Ok(());
        }
        let (name, pipelines) = (&dataset.definition.name, &dataset.definition.pipelines);
        let made: Vec<&str> = pipelines.iter().map(|pipeline| pipeline.name.as_str()).collect();
        let inputs: Vec<&str> = pipelines.iter().flat_map(|p| &p.inputs).map(String::as_str).collect();
        let what = if made.len() > 1 { "pipelines" } else { "pipeline" };
        Err(Error::invalid_data(format!(
            "dataset {name} is made by its {what} {}; push to {} instead",
            made.join(", "),
            inputs.join(", ")
        )))
    }

    fn accept(&self, dataset: &LiveDataset, decoded: Decoded) -> Result<Push> {
        let Decoded { batch, rejected } = decoded;
        if !rejected.is_empty() && dataset.definition.on_error == OnError::Refuse {
            return Err(json::refusal(&dataset.definition.name, &rejected));
        }
        let times = dataset
            .definition
            .fields
            .timestamp()
            .map(|f| columns::event_times(&batch, &f.name))
            .transpose()?;
        debug_assert!(times.is_some_and(|t| t.len() == batch.num_rows()));
        let letter = |rejected: &Rejected| DeadLetter::new(PUSH_STREAM, rejected.reason(), &rejected.raw);
        let mut dead_letters = rejected.iter().map(letter).collect();
        let violations = expectations::violations(&dataset.rules, &batch);
        let batch = expectations::quarantine(dataset, batch, PUSH_STREAM, &mut dead_letters)?;
        Ok(Push {
            dataset: dataset.id,
            stream: Arc::from(PUSH_STREAM),
            cursor: None,
            ticket: None,
            letters: None,
            idempotency: None,
            faults: decode::listed(&rejected),
            violations,
            dead_letters,
            batch,
        })
    }

    /// Rows that a connector read.
    ///
    /// # Errors
    /// Internal ones only.
    pub fn read_source(&self, dataset: &LiveDataset, rows: SourceBatch) -> Result<Push> {
        let SourceBatch { stream, cursor, mut dead_letters, batch } = rows;
        let batch = expectations::quarantine(dataset, batch, "source", &mut dead_letters)?;
        Ok(Push {
            dataset: dataset.id,
            stream,
            cursor: Some(cursor),
            dead_letters,
            batch,
            ticket: None,
            letters: None,
            idempotency: None,
            faults: Vec::new(),
            violations: Vec::new(),
        })
    }

    /// What pushes take from where they come in until they are applied. Who reads them from a network takes
    /// room before reading them.
    pub fn push_budget(&self) -> &Arc<Budget> {
        &self.shared.budget
    }

    /// Logs a push; `done` is told once it is on durable storage, or why it is not. Without a ticket it waits
    /// for room, as long as it takes.
    pub fn submit(&self, mut push: Push, done: impl FnOnce(Result<Receipt>) + Send + 'static) {
        let bytes = takes(&push);
        match &mut push.ticket {
            Some(ticket) => ticket.resize(bytes),
            none => *none = Some(self.shared.budget.take(bytes)),
        }
        let Some(asked) = push.idempotency.clone() else {
            return self.enqueue(push, Done::new(done));
        };
        if let Turn::First(done) =
            self.shared.keys.begin(&asked, self.shared.gate.last_stamp(), Done::new(done))
        {
            let shared = self.shared.clone();
            self.enqueue(
                push,
                Done::new(move |result| {
                    shared.keys.finish(&asked, shared.gate.last_stamp(), &result);
                    done.answer(result);
                }),
            );
        }
    }

    fn enqueue(&self, push: Push, done: Done) {
        let nothing = push.batch.num_rows() == 0 && push.dead_letters.is_empty() && push.cursor.is_none();
        if nothing && push.idempotency.is_none() {
            let record = self.shared.gate.applied();
            let position = if record == 0 { Position::ZERO } else { Position::end_of(record) };
            return done.answer(Ok(Receipt { position, accepted: 0, skipped: 0, duplicates: None }));
        }
        if let Some(refusal) = self.shared.residence.refusal() {
            return done.answer(Err(refusal));
        }
        let has_ids = self.catalog().by_id(push.dataset).is_some_and(|live| live.ids.is_some());
        let done = match has_ids && push.cursor.is_none() {
            true => {
                let shared = self.shared.clone();
                Done::new(move |result| match result {
                    Ok(receipt) => shared.tally.answer(receipt, done),
                    Err(error) => done.answer(Err(error)),
                })
            }
            false => done,
        };
        // What is not taken any more is dropped, which answers it.
        self.jobs.send(Job::Events { push: Box::new(push), done });
    }

    /// The answer that a push with this key had within the last 24 h.
    ///
    /// # Errors
    /// Conflict: the key was used with another body.
    pub fn answered(&self, asked: &Idempotency) -> Result<Option<Receipt>> {
        self.shared.keys.answered(asked, self.shared.gate.last_stamp())
    }

    /// Logs a push and waits until it is on durable storage.
    ///
    /// # Errors
    /// Overloaded, StorageFull or Unavailable: nothing was stored.
    pub fn push(&self, mut push: Push) -> Result<Receipt> {
        if push.ticket.is_none() {
            push.ticket = self.shared.budget.take_within(takes(&push), PATIENCE);
            if push.ticket.is_none() {
                return Err(overloaded(self.shared.budget.facts()));
            }
        }
        let (sender, receiver) = bounded(1);
        self.submit(push, move |result| {
            // The receiver waits right below.
            let _ = sender.send(result);
        });
        self.answer(&receiver, "the server is stopping")
    }
}
