//! Explanations: the events behind one value, and those that are not, with the reason.

mod feature;
mod field;
mod letters;

use std::ops::ControlFlow;

use thyme_core::{DataType, EventTime, Position, Result, Value};
use thyme_engine::{ReadAt, Snapshot};
use thyme_query::{ColumnBuffer, Reader};

use crate::compared::Compared;
use crate::input::{Made, Streams, columns};
use crate::rights::Rights;
pub use field::{Event, FieldExplanation, Group, Reason};
pub use letters::{DeadLetters, Letter};

/// What is explained.
#[derive(Clone, Debug)]
pub enum Subject {
    /// A feature.
    Feature {
        /// Its featureset.
        featureset: String,
        /// Its name.
        feature: String,
    },
    /// A field of a dataset's row.
    Field {
        /// The dataset.
        dataset: String,
        /// The field.
        field: String,
    },
}

/// One value and where it comes from.
#[derive(Debug)]
pub struct Explanation {
    /// `Featureset.feature` or `Dataset.field`.
    pub name: String,
    /// The entity, field by field.
    pub entity: Vec<(String, Value)>,
    /// What a read gives; `None` if it cannot be read without what only a caller has.
    pub value: Option<Value>,
    /// What makes it.
    pub origin: Origin,
    /// What else there is to know.
    pub notes: Vec<String>,
}

/// What makes a value.
#[derive(Debug)]
pub enum Origin {
    /// It is part of the entity.
    Entity,
    /// The caller gives it with each query.
    Request,
    /// A field of a dataset's row.
    Field(Box<FieldExplanation>),
    /// An extractor.
    Extractor {
        /// `Featureset.extractor`.
        name: String,
        /// Its version.
        version: u32,
        /// Its file and line.
        place: String,
        /// The features that it takes.
        inputs: Vec<Explanation>,
        /// The datasets in which it looks rows up.
        lookups: Vec<String>,
    },
}

/// What is asked of an explanation.
#[derive(Debug)]
pub struct Asked {
    /// What is explained.
    pub subject: Subject,
    /// The `(T, S)`.
    pub at: ReadAt,
    /// How many events of a kind are shown.
    pub limit: usize,
    /// Request features by name.
    pub inputs: Vec<(String, Value)>,
}

/// An explanation and the `(T, S, C)` it is of.
#[derive(Debug)]
pub struct Explained {
    /// The explanation.
    pub explanation: Explanation,
    /// What it was read at.
    pub snapshot: Snapshot,
}

impl Explanation {
    /// Every field that it rests on.
    fn fields(&mut self) -> Vec<&mut FieldExplanation> {
        match &mut self.origin {
            Origin::Field(field) => vec![field],
            Origin::Extractor { inputs, .. } => inputs.iter_mut().flat_map(Explanation::fields).collect(),
            Origin::Entity | Origin::Request => Vec::new(),
        }
    }
}

/// Gives the values of a key from the names and types of its fields.
pub type Entity<'a> = &'a dyn Fn(&[(String, DataType)]) -> Result<Vec<Value>>;

/// Explains a value of an entity. `entity` gives the values of the key from the names and types of its fields.
///
/// # Errors
/// NotFound with the near names; a key that does not fit; a log that cannot be read.
pub fn explain(reader: &Reader, asked: Asked, entity: Entity<'_>) -> Result<Explained> {
    let engine = reader.engine();
    let snapshot = engine.snapshot(asked.at)?;
    let mut explanation = match &asked.subject {
        Subject::Field { dataset, field } => {
            let live = snapshot.catalog.dataset(dataset)?;
            let fields: Vec<_> =
                live.definition.fields.keys().map(|f| (f.name.clone(), f.data_type)).collect();
            let key = entity(&fields)?;
            field::explanation(reader, &snapshot, live, field, &key, asked.limit)?
        }
        Subject::Feature { featureset, feature } => {
            let plan = reader.plan(&snapshot.catalog, featureset)?;
            let key = entity(&plan.entity)?;
            let inputs = asked.inputs.iter().map(|(name, value)| {
                let data_type = value.data_type().unwrap_or(DataType::Str);
                (name.clone(), ColumnBuffer::repeat(data_type, value, 1))
            });
            let asker = feature::Asker {
                reader,
                snapshot: &snapshot,
                entity: &plan.entity,
                key: &key,
                limit: asked.limit,
                inputs: inputs.collect(),
            };
            asker.explanation(featureset, feature, 0)?
        }
    };
    read(reader, &snapshot, &mut explanation)?;
    Ok(Explained { explanation, snapshot })
}

/// Goes through the log once for all fields that an explanation rests on.
fn read(reader: &Reader, snapshot: &Snapshot, explanation: &mut Explanation) -> Result<()> {
    let mut fields = explanation.fields();
    let inputs: Vec<u32> = fields.iter().flat_map(|f| f.made.inputs().map(|(id, _)| id)).collect();
    if !fields.is_empty() {
        let mut history = reader.engine().history_start();
        let mut streams = Streams::at(&history);
        let mut rights = Rights::of(&snapshot.catalog, fields.iter().map(|f| &f.made), &history)?;
        while !rights.is_read(snapshot.position.record()) {
            rights.read(reader.engine(), u64::MAX, snapshot.position.record())?;
        }
        let mut compared = Compared::of(fields.iter().map(|f| &f.made), &history, snapshot.position);
        while !compared.is_read() {
            let made: Vec<&Made> = fields.iter().map(|f| &f.made).collect();
            compared.read(reader.engine(), &made, &rights, u64::MAX)?;
        }
        // What came after S is shown too, as what was left out.
        let (_, applied) = reader.engine().records();
        let until = applied.max(snapshot.position.record());
        reader.engine().read_history(&mut history, until, &|id| inputs.contains(&id), &mut |record| {
            for (row, verdict) in streams.verdicts(&record)?.into_iter().enumerate() {
                let mut made = None;
                let of_it =
                    |(_, f): &(usize, &mut &mut FieldExplanation)| f.made.of_input(record.dataset).is_some();
                for (index, field) in fields.iter_mut().enumerate().filter(of_it) {
                    if field.may_be_of(&record, row) {
                        let event = made.get_or_insert_with(|| columns(&record, row));
                        let place = (record.time(row), record.position(row));
                        field.take(
                            (record.dataset, event),
                            place,
                            verdict,
                            (&rights, compared.repeats(index)),
                        )?;
                    }
                }
            }
            for field in fields.iter_mut().filter(|f| f.made.of_input(record.dataset).is_some()) {
                field.take_letters(&record)?;
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    fields.into_iter().try_for_each(FieldExplanation::recompute)
}

/// `T` and `S` of a snapshot.
fn at(snapshot: &Snapshot) -> (EventTime, Position) {
    (snapshot.time, snapshot.position)
}
