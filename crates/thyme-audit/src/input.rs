//! Log records as the oracle takes them.

use std::collections::HashMap;

use thyme_core::definition::{Dataset, JoinDef, OperatorDef};
use thyme_core::{EventTime, Result, Span};
use thyme_engine::{Catalog, HistoryRecord, LiveDataset};
use thyme_oracle::admission::Limits;
use thyme_oracle::expression::Typed;
use thyme_oracle::{Columns, Pipeline, Stream, Verdict};

/// What every stream has seen, so that the verdicts are those of the first time.
#[derive(Debug, Default)]
pub(crate) struct Streams(HashMap<(u32, String), Stream>);

impl Streams {
    /// The verdicts on the rows of the next record.
    pub fn verdicts(&mut self, record: &HistoryRecord) -> Vec<Verdict> {
        let limits = Limits::of(&record.definition, &record.stream);
        let stream = self.0.entry((record.dataset, record.stream.clone())).or_default();
        if let Some((late, watermark)) = record.verdicts_given() {
            // Rows of erased entities moved the watermark; what is left does not tell any more.
            stream.watermark = watermark.map(EventTime);
            let verdict = |row: usize| match late.get(&(row as u32)) {
                Some(watermark) => {
                    let behind = Span(watermark.saturating_sub(record.time(row).0));
                    Verdict::Late { watermark: EventTime(*watermark), behind }
                }
                None => Verdict::Admitted,
            };
            return (0..record.rows()).map(verdict).collect();
        }
        (0..record.rows()).map(|row| stream.verdict(record.time(row), record.stamp, limits)).collect()
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
    /// The dataset that its rows come from: itself if it is raw.
    pub input: u32,
    /// How they become rows of entities.
    pub pipeline: Pipeline,
    /// Whether the key is that of the row as it came, so that no operator has to run to know it.
    pub key_as_it_came: bool,
}

impl Made {
    pub fn of(catalog: &Catalog, live: &LiveDataset) -> Result<Made> {
        let input = input_of(catalog, live)?;
        let pipeline = Pipeline::of(&live.definition, &input.definition)?;
        let assigned = pipeline.operators.iter().any(|operator| match operator {
            OperatorDef::Assign { columns } => columns.iter().any(|a| pipeline.keys.contains(&a.name)),
            OperatorDef::Join(join) => join.fields.iter().any(|f| pipeline.keys.contains(&f.name)),
            _ => false,
        });
        let came = |key: &String| is_field(&input.definition, key);
        let key_as_it_came = !assigned && pipeline.keys.iter().all(came);
        Ok(Made { input: input.id, pipeline, key_as_it_came })
    }
}

impl Made {
    /// The joins of its operators.
    pub fn joins(&self) -> impl Iterator<Item = &JoinDef> {
        self.pipeline.operators.iter().filter_map(|operator| match operator {
            OperatorDef::Join(join) => Some(join),
            _ => None,
        })
    }
}

fn is_field(dataset: &Dataset, name: &str) -> bool {
    dataset.fields.field(name).is_some()
}

/// The dataset that feeds another; a raw one feeds itself.
pub(crate) fn input_of<'a>(catalog: &'a Catalog, live: &'a LiveDataset) -> Result<&'a LiveDataset> {
    match live.definition.pipelines.first().and_then(|p| p.inputs.first()) {
        Some(name) => Ok(catalog.dataset(name)?),
        None => Ok(live),
    }
}
