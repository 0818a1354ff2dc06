//! Log records as the oracle takes them.

use std::collections::HashMap;

use thyme_core::definition::{Dataset, JoinDef, OperatorDef};
use thyme_core::{Error, EventTime, Result, Span};
use thyme_engine::{Catalog, History, HistoryRecord, LiveDataset};
use thyme_oracle::admission::Limits;
use thyme_oracle::expression::Typed;
use thyme_oracle::{Columns, EventIds, Pipeline, Stream, Verdict};

/// What every stream has seen, and which events are there, so that the verdicts are those of the first time.
#[derive(Debug)]
pub(crate) struct Streams {
    streams: HashMap<(u32, String), Stream>,
    ids: HashMap<u32, EventIds>,
}

impl Streams {
    /// As they were where a reading of the log begins: at its very beginning they have seen nothing.
    pub fn at(history: &History) -> Streams {
        let seen = history.watermarks().iter();
        let seen = seen.map(|(id, name, mark)| ((*id, name.clone()), Stream { watermark: *mark }));
        Streams { streams: seen.collect(), ids: HashMap::new() }
    }

    /// The verdicts on the rows of the next record.
    pub fn verdicts(&mut self, record: &HistoryRecord) -> Result<Vec<Verdict>> {
        let limits = Limits::of(&record.definition, &record.stream);
        let retention = record.definition.retention;
        let stream = self.streams.entry((record.dataset, record.stream.clone())).or_default();
        let ids = self.ids.entry(record.dataset).or_default();
        let rows = 0..record.rows();
        let Some(given) = record.verdicts_given() else {
            let verdict = |row: usize| match record.event_id(row) {
                Some(id) => {
                    let event = (record.time(row), &id);
                    stream.verdict_by_id(event, record.stamp, (limits, retention), ids)
                }
                None => Ok(stream.verdict(record.time(row), record.stamp, limits)),
            };
            return rows.map(verdict).collect();
        };
        // Rows of erased entities moved the watermark, and were the first with their ids; what is left does not
        // tell any more.
        stream.watermark = given.watermark.map(EventTime);
        let mut verdict = |row: usize| {
            if let Some(watermark) = given.late.get(&(row as u32)) {
                let behind = Span(watermark.saturating_sub(record.time(row).0));
                return Ok(Verdict::Late { watermark: EventTime(*watermark), behind });
            }
            if given.duplicates.contains(&(row as u32)) {
                return Ok(Verdict::Duplicate);
            }
            if let Some(id) = record.event_id(row) {
                ids.has(&id, record.time(row), retention)?;
            }
            Ok(Verdict::Admitted)
        };
        let verdicts: Result<Vec<Verdict>> = rows.map(&mut verdict).collect();
        given.newest.into_iter().for_each(|newest| ids.had(EventTime(newest)));
        ids.pass(record.stamp, retention);
        verdicts
    }
}

/// One row of a record.
pub(crate) fn columns(record: &HistoryRecord, row: usize) -> Columns {
    let mut columns = Columns::default();
    for (name, data_type) in record.fields() {
        columns.set(name, Typed { value: record.value(name, row), data_type: Some(data_type) });
    }
    columns
}

/// A readable dataset as the oracle computes it.
#[derive(Debug)]
pub(crate) struct Made {
    /// The datasets that its rows come from, itself if it is raw, and how rows of each become rows of entities.
    inputs: Vec<(u32, Pipeline)>,
    /// The first of these: outputs and key are the same in all.
    pub pipeline: Pipeline,
    /// Whether the key is that of the row as it came, so that no operator has to run to know it.
    pub key_as_it_came: bool,
    /// Where it begins, if the log begins later than it reaches back.
    pub begins: Option<EventTime>,
}

impl Made {
    pub fn of(catalog: &Catalog, live: &LiveDataset) -> Result<Made> {
        let mut inputs = Vec::new();
        for input in inputs_of(catalog, live)? {
            inputs.push((input.id, Pipeline::of(&live.made, &input.definition)?));
        }
        let first = inputs_of(catalog, live)?.into_iter().next();
        let input = first.ok_or_else(|| Error::internal("a dataset is made of nothing"))?;
        let pipeline = Pipeline::of(&live.made, &input.definition)?;
        let is_made = |key: &String| pipeline.operators.iter().any(|operator| operator.makes(key));
        let assigned = pipeline.keys.iter().any(is_made);
        let came = |key: &String| is_field(&input.definition, key);
        let key_as_it_came = inputs.len() == 1 && !assigned && pipeline.keys.iter().all(came);
        let begins = live.node.as_ref().and_then(|node| node.begins());
        Ok(Made { inputs, pipeline, key_as_it_came, begins })
    }

    /// Whether events of `time` are before its beginning.
    pub fn is_before(&self, time: EventTime) -> bool {
        self.begins.is_some_and(|begins| time <= begins)
    }
}

impl Made {
    /// How rows of a dataset become rows of entities, if it is made of those.
    pub fn of_input(&self, dataset: u32) -> Option<&Pipeline> {
        self.inputs.iter().find(|(id, _)| *id == dataset).map(|(_, pipeline)| pipeline)
    }

    /// How rows of each input become rows of entities.
    pub fn inputs(&self) -> impl Iterator<Item = (u32, &Pipeline)> {
        self.inputs.iter().map(|(id, pipeline)| (*id, pipeline))
    }

    /// Whether a row may be left out because of another one.
    pub fn has_dedups(&self) -> bool {
        self.inputs.iter().any(|(_, pipeline)| pipeline.has_dedups())
    }

    /// The joins of its operators.
    pub fn joins(&self) -> impl Iterator<Item = &JoinDef> {
        let operators = self.inputs.iter().flat_map(|(_, pipeline)| &pipeline.operators);
        operators.filter_map(|operator| match operator {
            OperatorDef::Join(join) => Some(join),
            _ => None,
        })
    }
}

fn is_field(dataset: &Dataset, name: &str) -> bool {
    dataset.fields.field(name).is_some()
}

/// The datasets that feed another; a raw one feeds itself.
pub(crate) fn inputs_of<'a>(catalog: &'a Catalog, live: &'a LiveDataset) -> Result<Vec<&'a LiveDataset>> {
    match live.made.pipelines.first() {
        Some(pipeline) => pipeline.inputs.iter().map(|name| Ok(&**catalog.dataset(name)?)).collect(),
        None => Ok(vec![live]),
    }
}
