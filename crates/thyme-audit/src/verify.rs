//! Verification: what is served, compared bit for bit with what the log says.

mod features;
mod questions;

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use thyme_core::schema::Role;
use thyme_core::{EntityKey, Error, ErrorKind, EventTime, Position, Result, Value};
use thyme_engine::{Catalog, Engine, LiveDataset, ReadAt, Snapshot};
use thyme_oracle::Row;
use thyme_query::Reader;

use crate::input::Made;
use crate::pass::Pass;
use questions::{Question, questions};

/// What is verified.
#[derive(Clone, Debug)]
pub struct Options {
    /// A dataset or a featureset; everything if absent.
    pub reference: Option<String>,
    /// How many (entity, T, S) of each dataset and each featureset.
    pub samples: usize,
    /// What the choices are made from.
    pub seed: u64,
}

/// A value of which the two computations differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// `Featureset.feature` or `Dataset.field`.
    pub name: String,
    /// The entity, field by field.
    pub entity: Vec<(String, Value)>,
    /// `T`.
    pub time: EventTime,
    /// `S`.
    pub position: Position,
    /// What a read gave.
    pub served: Value,
    /// What the log says.
    pub recomputed: Value,
}

impl Difference {
    /// A name for the entity that does not say its key, which may be a secret: for logs and events.
    pub fn entity_hash(&self) -> String {
        let values: Vec<Value> = self.entity.iter().map(|(_, value)| value.clone()).collect();
        let key = EntityKey::encode(&values).map(|key| key.0).unwrap_or_default();
        Sha256::digest(&key).iter().take(4).map(|b| format!("{b:02x}")).collect()
    }
}

/// What came of one feature or field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// `Featureset.feature` or `Dataset.field`.
    pub name: String,
    /// How many values were compared.
    pub checked: u64,
    /// How many of them differ.
    pub different: u64,
    /// Why it was not compared, or what stands for it.
    pub note: Option<String>,
}

/// What came of it all.
#[derive(Clone, Debug)]
pub struct Report {
    /// When it was.
    pub time: EventTime,
    /// Up to where the log was read.
    pub position: Position,
    /// Under which commit.
    pub commit: String,
    /// What the choices were made from.
    pub seed: u64,
    /// Rows of the log that were read.
    pub rows: u64,
    /// Entities that were left out because they have too many rows to compute them again in memory.
    pub too_large: usize,
    /// By feature and field.
    pub checked: Vec<Checked>,
    /// The first differences of each.
    pub differences: Vec<Difference>,
}

/// Differences that a report holds in full for each feature or field.
const DIFFERENCES_MAX: usize = 5;
/// How many questions are asked of one entity at least; more where there are few entities.
const QUESTIONS_PER_ENTITY: usize = 5;

impl Report {
    /// How many values were compared.
    pub fn compared(&self) -> u64 {
        self.checked.iter().map(|c| c.checked).sum()
    }

    /// How many of them differ.
    pub fn different(&self) -> u64 {
        self.checked.iter().map(|c| c.different).sum()
    }

    fn item(&mut self, name: &str) -> &mut Checked {
        let index = match self.checked.iter().position(|c| c.name == name) {
            Some(index) => index,
            None => {
                self.checked.push(Checked { name: name.to_owned(), ..Checked::default() });
                self.checked.len() - 1
            }
        };
        &mut self.checked[index]
    }

    fn note(&mut self, name: &str, note: String) {
        self.item(name).note = Some(note);
    }

    fn compare(&mut self, difference: Difference) {
        let item = self.item(&difference.name);
        item.checked += 1;
        if difference.served != difference.recomputed {
            item.different += 1;
            if item.different as usize <= DIFFERENCES_MAX {
                self.differences.push(difference);
            }
        }
    }
}

/// One verification in steps: it reads the log in as many parts as its caller likes, then compares.
#[derive(Debug)]
pub struct Round {
    options: Options,
    catalog: Arc<Catalog>,
    datasets: Vec<String>,
    featuresets: Vec<String>,
    /// The reading of the log.
    pub pass: Pass,
}

impl Round {
    /// A verification of what `snapshot` shows.
    ///
    /// # Errors
    /// NotFound for the reference; a raw dataset without index, whose rows nothing reads.
    pub fn new(engine: &Engine, snapshot: &Snapshot, options: Options) -> Result<Round> {
        let catalog = snapshot.catalog.clone();
        let (datasets, featuresets) = scope(&catalog, options.reference.as_deref())?;
        let mut read: Vec<&str> = datasets.iter().map(String::as_str).collect();
        for featureset in &featuresets {
            let features = &catalog.featureset(featureset)?.features;
            for reference in features.iter().filter_map(|f| f.reference.as_ref()) {
                if !read.contains(&reference.dataset.as_str()) {
                    read.push(&reference.dataset);
                }
            }
        }
        let entities_max = options.samples.div_ceil(QUESTIONS_PER_ENTITY);
        let reading = (engine.history_start(), snapshot.position);
        let pass = Pass::new(&catalog, &read, options.seed, entities_max, reading)?;
        Ok(Round { options, datasets, featuresets, pass, catalog })
    }

    /// Whether `catalog` is still the one that this round is about.
    pub fn is_under(&self, catalog: &Catalog) -> bool {
        self.catalog.commit == catalog.commit
    }

    /// Compares at the position up to which the log has been read. `now` is a snapshot under the same commit.
    ///
    /// # Errors
    /// A read that fails, or a definition that the oracle cannot take.
    pub fn compare(&self, reader: &Reader, now: &Snapshot) -> Result<Report> {
        let mut snapshot = now.clone();
        snapshot.position = self.pass.until();
        let snapshot = &snapshot;
        let mut report = Report {
            time: snapshot.time,
            position: snapshot.position,
            commit: snapshot.catalog.commit.clone(),
            seed: self.options.seed,
            rows: self.pass.rows(),
            too_large: self.pass.too_large(),
            checked: Vec::new(),
            differences: Vec::new(),
        };
        for dataset in &self.datasets {
            let live = snapshot.catalog.dataset(dataset)?;
            self.compare_dataset(reader, snapshot, live, &mut report)?;
        }
        for featureset in &self.featuresets {
            self.compare_featureset(reader, snapshot, featureset, &mut report)?;
        }
        Ok(report)
    }

    /// What is asked of a dataset: as many questions as there are samples, spread over its entities.
    fn questions(&self, dataset: &str, snapshot: &Snapshot) -> Vec<Question> {
        let Some(target) = self.pass.target(dataset) else { return Vec::new() };
        let per_entity = self.options.samples.div_ceil(target.entities().count().max(1));
        let per_entity = per_entity.max(QUESTIONS_PER_ENTITY);
        let mut asked = Vec::new();
        for entity in target.entities() {
            let Ok(key) = EntityKey::decode(&entity.key) else { continue };
            let seed = self.options.seed ^ crate::choice::rank(1, &entity.key);
            let made = questions(seed, per_entity, &target.made.pipeline, &entity.rows, snapshot);
            let at = |position| if target.is_as_known_then() { snapshot.position } else { position };
            asked.extend(
                made.into_iter()
                    .filter(|(time, _)| self.reaches(snapshot, dataset, *time))
                    .map(|(time, position)| (time, at(position)))
                    .map(|(time, position)| Question { key: key.clone(), time, position }),
            );
        }
        asked.truncate(self.options.samples);
        asked
    }

    /// Whether what a dataset's row is made of as of `time` is all there: what retention has removed is not asked.
    fn reaches(&self, snapshot: &Snapshot, dataset: &str, time: EventTime) -> bool {
        let node = snapshot.catalog.datasets.get(dataset).and_then(|live| live.node.as_ref());
        node.is_none_or(|node| snapshot.keeps(node, time))
    }

    fn compare_dataset(
        &self,
        reader: &Reader,
        snapshot: &Snapshot,
        live: &LiveDataset,
        report: &mut Report,
    ) -> Result<()> {
        let definition = &live.definition;
        let fields: Vec<_> = definition.fields.fields.iter().filter(|f| f.role == Role::Value).collect();
        for field in &fields {
            report.item(&format!("{}.{}", definition.name, field.name));
        }
        let Some(target) = self.pass.target(&definition.name) else { return Ok(()) };
        let names: Vec<&str> = definition.fields.keys().map(|f| f.name.as_str()).collect();
        for Question { key, time, position } in self.questions(&definition.name, snapshot) {
            let Some(rows) = target.rows_of(&key) else { continue };
            let mut at = snapshot.clone();
            (at.time, at.position) = (time, position);
            let (served, _) = reader.lookup(&at, live, &key)?;
            for field in &fields {
                let name = format!("{}.{}", definition.name, field.name);
                let served = served.iter().find(|(n, _)| *n == field.name).map(|(_, v)| v.clone());
                match field_value(&target.made, &field.name, rows, time, position) {
                    Err(error) => report.note(&name, error.to_string()),
                    Ok(recomputed) => report.compare(Difference {
                        name,
                        entity: names.iter().map(|n| (*n).to_owned()).zip(key.iter().cloned()).collect(),
                        time,
                        position,
                        served: served.unwrap_or_default(),
                        recomputed,
                    }),
                }
            }
        }
        Ok(())
    }
}

/// A field of a dataset's row at `(T, S)`, computed by the oracle.
pub(crate) fn field_value(
    made: &Made,
    field: &str,
    rows: &[Row],
    time: EventTime,
    position: Position,
) -> Result<Value> {
    let pipeline = &made.pipeline;
    if let Some(index) = pipeline.outputs.iter().position(|o| o.name == field) {
        return pipeline.value(index, rows, time, position);
    }
    let Some(index) = pipeline.fields.iter().position(|f| f == field) else {
        return Err(Error::internal(format!("the oracle has no field {field}")));
    };
    Ok(pipeline
        .latest(rows, time, position)
        .and_then(|row| row.values.get(index).cloned())
        .unwrap_or_default())
}

/// The datasets and featuresets that a reference names.
fn scope(catalog: &Catalog, reference: Option<&str>) -> Result<(Vec<String>, Vec<String>)> {
    let readable = || catalog.datasets.values().filter(|d| d.node.is_some());
    let featuresets = || catalog.document.featuresets.iter().map(|f| f.name.clone());
    let Some(name) = reference else {
        return Ok((readable().map(|d| d.definition.name.clone()).collect(), featuresets().collect()));
    };
    if let Some(live) = catalog.datasets.get(name) {
        live.readable()?;
        return Ok((vec![name.to_owned()], Vec::new()));
    }
    if featuresets().any(|f| f == name) {
        return Ok((Vec::new(), vec![name.to_owned()]));
    }
    let known: Vec<String> = catalog.datasets.keys().cloned().chain(featuresets()).collect();
    Err(Error::not_found("dataset or featureset", name, known.iter().map(String::as_str)))
}

/// Verifies in one go.
///
/// # Errors
/// As [`Round::new`] and [`Round::compare`].
pub fn verify(reader: &Reader, options: Options) -> Result<Report> {
    let once = || {
        let snapshot = reader.engine().snapshot(ReadAt::default())?;
        let mut round = Round::new(reader.engine(), &snapshot, options.clone())?;
        while !round.pass.advance(reader.engine(), u64::MAX)? {}
        round.compare(reader, &snapshot)
    };
    match once() {
        // What it was about to look at was removed meanwhile, which happens once in a while.
        Err(error) if error.kind() == ErrorKind::Gone => once(),
        report => report,
    }
}

/// By position: frames are read at one.
fn by_position(questions: Vec<Question>) -> BTreeMap<Position, Vec<Question>> {
    let mut grouped: BTreeMap<Position, Vec<Question>> = BTreeMap::new();
    for question in questions {
        grouped.entry(question.position).or_default().push(question);
    }
    grouped
}
