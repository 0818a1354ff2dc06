//! What must be true: everything in the log, in its order, and what was said about it.

use std::collections::{BTreeMap, VecDeque};

use arrow::array::{Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use thyme_core::{EventTime, Position, Value};
use thyme_engine::{Logged, Receipt};

use thyme_core::definition::Document;
use thyme_oracle::Row;

use crate::definitions::{Derived, Raw, document_of};
use crate::joined::entities;
use crate::ledger::{Event, Ledger, column};

/// What is committed.
#[derive(Clone, Debug)]
pub struct Definitions {
    /// The settings of the first of `INPUTS`, as many as there are.
    pub raws: Vec<Raw>,
    pub derived: Vec<Derived>,
}

impl Definitions {
    pub fn document(&self) -> Document {
        document_of(&self.raws, &self.derived)
    }
}

/// Something handed to the engine, whose fate the log tells.
#[derive(Clone, Debug)]
pub struct Sent {
    pub id: u64,
    /// Which of `INPUTS` its rows are of.
    pub input: usize,
    pub stream: String,
    pub what: What,
    pub key: Option<String>,
    /// Set by an answer of success.
    pub receipt: Option<Receipt>,
}

#[derive(Clone, Debug)]
pub enum What {
    /// Rows, and the cursor that goes with them.
    Rows(Vec<Event>, Option<u64>),
    /// A commit and its id.
    Commit(String, Definitions),
}

/// An online read, to be true for ever.
#[derive(Clone, Debug)]
pub struct Served {
    pub time: EventTime,
    pub position: Position,
}

#[derive(Debug)]
pub struct Book {
    /// Of each of `INPUTS`.
    pub ledgers: Vec<Ledger>,
    /// By commit id.
    pub commits: BTreeMap<String, Definitions>,
    /// Commits that were asked for and may come to the log at any time, by id.
    pub announced: BTreeMap<String, Definitions>,
    /// The last commit in the log.
    pub committed: String,
    /// Handed in and not yet seen in the log, in order.
    pub sent: VecDeque<Sent>,
    /// In the log, and answered once it is applied, by id.
    pub entered: BTreeMap<u64, Receipt>,
    /// What carried a key and is in the log.
    pub keyed: Vec<(Sent, Receipt)>,
    pub served: Vec<Served>,
    /// Stamps of the records; the first is of record 1.
    pub stamps: Vec<i64>,
    /// By source: how many of its rows are in the log.
    pub sources: BTreeMap<String, u64>,
}

impl Book {
    /// Nothing yet, and nothing committed; the first commit gives the inputs these settings.
    pub fn new(raws: Vec<Raw>) -> Book {
        let ledgers = vec![Ledger::default(); raws.len()];
        let nothing = Definitions { raws, derived: Vec::new() };
        Book {
            ledgers,
            commits: BTreeMap::from([(String::new(), nothing)]),
            announced: BTreeMap::new(),
            committed: String::new(),
            sent: VecDeque::new(),
            entered: BTreeMap::new(),
            keyed: Vec::new(),
            served: Vec::new(),
            stamps: Vec::new(),
            sources: BTreeMap::new(),
        }
    }

    /// The definitions of a commit that may be live.
    pub fn definitions(&self, commit: &str) -> &Definitions {
        let known = self.commits.get(commit).or_else(|| self.announced.get(commit));
        known.unwrap_or_else(|| panic!("commit {commit} is live and not in the log"))
    }

    /// Whether `said` is what became of a push. How many of its rows are duplicates may be left out.
    pub fn is_told(said: Receipt, is: Receipt) -> bool {
        let told = said.duplicates.is_none() || said.duplicates == is.duplicates;
        let duplicates = None;
        told && Receipt { duplicates, ..said } == Receipt { duplicates, ..is }
    }

    /// Enters records that follow those known.
    pub fn enter(&mut self, records: Vec<Logged>) {
        for record in records {
            assert_eq!(record.number, self.stamps.len() as u64 + 1, "records are numbered densely");
            let before = self.stamps.last().copied().unwrap_or(i64::MIN);
            assert!(
                record.stamp > before,
                "stamp {} of e{} is not above {before}",
                record.stamp,
                record.number
            );
            self.stamps.push(record.stamp);
            match record.rows {
                None => self.enter_commit(record.number, &record.commit.unwrap_or_default()),
                Some((stream, cursor, batch)) => {
                    self.enter_rows(record.number, record.stamp, &stream, cursor, &batch)
                }
            }
        }
        let early = self.sent.iter().find(|s| s.receipt.is_some());
        assert!(early.is_none(), "acknowledged, and not in the log: {early:?}");
    }

    fn enter_commit(&mut self, number: u64, id: &str) {
        if let Some(definitions) = self.announced.remove(id) {
            id.clone_into(&mut self.committed);
            self.commits.insert(id.to_owned(), definitions);
            return;
        }
        let sent = self.sent.pop_front().unwrap_or_else(|| panic!("e{number} is a commit that nobody sent"));
        let What::Commit(id, definitions) = sent.what else { panic!("e{number} is a commit, not {sent:?}") };
        self.committed.clone_from(&id);
        self.commits.insert(id, definitions);
    }

    fn enter_rows(
        &mut self,
        number: u64,
        stamp: i64,
        stream: &str,
        cursor: Option<Vec<u8>>,
        batch: &RecordBatch,
    ) {
        let mut first = 0;
        while first < batch.num_rows() {
            let sent = self.sent.pop_front().unwrap_or_else(|| {
                panic!("e{number} has rows from {first} on that nobody sent, or for the second time")
            });
            let What::Rows(events, upto) = &sent.what else { panic!("e{number} has rows, not {sent:?}") };
            assert_eq!(sent.stream, stream, "the stream of e{number}");
            let end = first + events.len();
            assert!(end <= batch.num_rows(), "e{number} holds {} rows of {sent:?}", batch.num_rows() - first);
            assert_rows(number, &batch.slice(first, events.len()), events);
            let position = match end == batch.num_rows() {
                true => Position::end_of(number),
                false => Position::new(number, end as u32 - 1),
            };
            let raw = &self.commits[&self.committed].raws[sent.input];
            let duplicates = self.ledgers[sent.input].note_of(stream, stamp, raw, events, position);
            // A connector asks for no more than that its rows are stored.
            let duplicates = (raw.has_ids && upto.is_none()).then_some(duplicates);
            let receipt = Receipt { position, accepted: events.len() as u64, skipped: 0, duplicates };
            let told = sent.receipt.is_none_or(|said| Self::is_told(said, receipt));
            assert!(told, "{receipt:?}, said {sent:?}");
            if duplicates.is_some() && sent.receipt.is_none() {
                self.entered.insert(sent.id, receipt);
            }
            if let Some(upto) = upto {
                assert_eq!(cursor.as_deref(), Some(upto.to_le_bytes().as_slice()), "the cursor in e{number}");
                let rows = self.sources.entry(stream.to_owned()).or_default();
                *rows += events.len() as u64;
                assert_eq!(rows, upto, "rows of {stream} in the log, each once, up to its cursor");
            }
            if sent.key.is_some() {
                self.keyed.push((sent.clone(), receipt));
            }
            first = end;
        }
    }

    /// The entities of a derived dataset of `definitions` that there ever were, and one that there never was,
    /// with their rows as known at `at`.
    pub fn entities(
        &self,
        definitions: &Definitions,
        derived: &Derived,
        begins: &[Option<EventTime>],
        at: Position,
    ) -> Vec<(Vec<Value>, Vec<Row>)> {
        let pipeline = derived.pipeline(&definitions.raws[0]);
        if !derived.has_joins() {
            let ledger = &self.ledgers[0];
            let rows_of = |key: Vec<Value>| (ledger.rows_of(&pipeline, &key), key);
            return ledger.keys(derived).into_iter().map(rows_of).map(|(rows, key)| (key, rows)).collect();
        }
        let document = definitions.document();
        let mut known = entities(&self.ledgers, &document, &pipeline, begins, at);
        // Versions of rows that go or come later are of others.
        for (key, _) in entities(&self.ledgers, &document, &pipeline, begins, Position::MAX) {
            if known.iter().all(|(other, _)| *other != key) {
                known.push((key, Vec::new()));
            }
        }
        let unseen = |name: &&str| match name.ends_with(['k', 's']) {
            true => Value::Str("unseen".into()),
            false => Value::Int(-77),
        };
        known.push((derived.keys.iter().map(unseen).collect(), Vec::new()));
        known
    }

    /// What was sent and never came to the log, when no life will write it any more.
    pub fn lost(&mut self) -> Vec<Sent> {
        self.sent.drain(..).collect()
    }

    /// What was served at `T` is the state at the greatest position with a stamp of at most `T`.
    pub fn check_served(&self) {
        for served in &self.served {
            let at = self.stamps.partition_point(|stamp| *stamp <= served.time.0) as u64;
            let (time, position) = (served.time.0, served.position);
            assert_eq!(position.record(), at, "served at T = {time} was {position}, but S(T) is e{at}");
        }
    }
}

/// The rows of a record are those that were sent.
fn assert_rows(number: u64, batch: &RecordBatch, events: &[Event]) {
    let times = batch.column_by_name("at").unwrap();
    let times = times.as_any().downcast_ref::<TimestampMicrosecondArray>().unwrap();
    let ints = batch.column_by_name("i").unwrap();
    let ints = ints.as_any().downcast_ref::<Int64Array>().unwrap();
    for (row, event) in events.iter().enumerate() {
        assert_eq!(times.value(row), event.at, "the time of row {row} of e{number}");
        let int = if ints.is_null(row) { Value::Null } else { Value::Int(ints.value(row)) };
        assert_eq!(int, column(&event.columns, "i"), "the int of row {row} of e{number}");
    }
}
