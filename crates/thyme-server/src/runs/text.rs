//! A query run as it is kept and shown: one line of JSON.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};
use sha2::{Digest, Sha256};
use thyme_core::time::format_rfc3339;
use thyme_core::{DataType, Result};
use thyme_engine::LiveDataset;
use thyme_query::ColumnBuffer;

use super::noted::{Part, Subject};
use super::recorder::Run;
use crate::access::Caller;
use crate::json;

/// How the number of a run is shown.
pub(crate) fn id_of(number: u64) -> String {
    format!("q{number:x}")
}

/// The number in an id.
pub(crate) fn number_of(id: &str) -> Option<u64> {
    let digits = id.strip_prefix('q')?;
    let is_plain =
        !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase());
    is_plain.then(|| u64::from_str_radix(digits, 16).ok())?
}

/// A run, read again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub id: String,
    pub time: String,
    pub endpoint: String,
    pub caller: String,
    pub took_us: u64,
    pub queries: Vec<KeptPart>,
}

/// A featureset's part of it, or a dataset's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct KeptPart {
    pub featureset: Option<String>,
    /// The dataset of a row that was looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// Whether certain features were asked for; otherwise all.
    pub selected: bool,
    /// The features of the answer: what they were called in it, and their ids.
    pub features: Vec<String>,
    pub ids: Vec<u32>,
    /// The old names among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deprecated: Vec<String>,
    pub mode: String,
    pub as_of: KeptAt,
    pub rows: u64,
    /// `None`: there were more than are kept one by one.
    pub entities: Option<Vec<Json>>,
    /// RFC 3339, if each row has its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub times: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub positions: Vec<String>,
    /// By name, a value a row.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub inputs: Map<String, Json>,
    /// A list a row.
    pub values: Option<Vec<Json>>,
    /// Of the values as they are shown here, in JSON without spaces; `None`: the answer was too large even for that.
    pub sha256: Option<String>,
    /// Whether the dataset had no row of the entity.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub missing: bool,
    /// How many of its rows were of entities that were erased since: null in these lists.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub erased: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// `(T, S, C)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptAt {
    pub time: String,
    pub position: String,
    pub commit: String,
}

/// A value that no other has the text of: floats that JSON has no word for are texts in a list.
pub(super) fn cell(value: &thyme_core::Value) -> Json {
    let mut non_finite = Map::new();
    let shown = json::to_json("", value, &mut non_finite);
    non_finite.remove("").map_or(shown, |text| json!([text]))
}

/// The rows of an answer, one after the other: all of them at once may be many times what the columns are.
pub(super) fn rows_of(columns: &[ColumnBuffer], rows: usize) -> impl Iterator<Item = Json> + Clone {
    (0..rows).map(|row| columns.iter().map(|column| cell(&column.get(row))).collect())
}

/// What stands for the rows of an answer.
pub(super) fn sum_of(rows: impl Iterator<Item = Json>) -> String {
    let mut hash = Sha256::new();
    for row in rows {
        hash.update(row.to_string());
        hash.update("\n");
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl KeptPart {
    /// What it is about, and what of that was asked for.
    fn about(part: &Part) -> KeptPart {
        let at = &part.at;
        let as_of = KeptAt {
            time: at.time.to_rfc3339(),
            position: at.position.to_string(),
            commit: at.catalog.commit.clone(),
        };
        let mut kept = KeptPart {
            featureset: None,
            dataset: None,
            selected: false,
            features: part.names.clone(),
            ids: Vec::new(),
            deprecated: Vec::new(),
            mode: if at.is_online && part.asked.times.is_empty() { "online" } else { "point_in_time" }
                .to_owned(),
            as_of,
            rows: part.asked.rows as u64,
            entities: None,
            times: Vec::new(),
            positions: Vec::new(),
            inputs: Map::new(),
            values: None,
            sha256: None,
            missing: part.is_missing,
            erased: 0,
        };
        match &part.subject {
            Subject::Featureset(plan) => {
                kept.featureset = Some(plan.name.clone());
                kept.selected = plan.selected;
                if part.columns.is_empty() {
                    kept.features = plan.features.iter().map(|column| column.name.clone()).collect();
                }
                kept.ids = plan.features.iter().map(|column| column.id).collect();
                kept.deprecated = plan.renamed().map(|(column, _)| column.name.clone()).collect();
            }
            Subject::Dataset(live) => kept.dataset = Some(live.definition.name.clone()),
        }
        kept
    }

    fn of(part: &Part) -> KeptPart {
        let Part { asked, columns, .. } = part;
        let is_kept = asked.is_kept();
        let is_known = !columns.is_empty();
        let rows = rows_of(columns, if is_known { asked.rows } else { 0 });
        let inputs = asked.inputs.iter().map(|(name, column)| {
            let cells: Vec<Json> = (0..asked.rows).map(|row| cell(&column.get(row))).collect();
            (name.clone(), cells.into())
        });
        let key = |fields: &[(String, DataType)]| -> Vec<Json> {
            asked.entities.iter().map(|key| json::entity_json(fields, key)).collect()
        };
        let entities = || match &part.subject {
            Subject::Featureset(plan) => key(&plan.entity),
            Subject::Dataset(live) => key(&key_of(live)),
        };
        KeptPart {
            entities: is_kept.then(entities),
            times: asked.times.iter().map(|time| time.to_rfc3339()).collect(),
            positions: asked.positions.iter().map(ToString::to_string).collect(),
            inputs: if is_kept { inputs.collect() } else { Map::new() },
            sha256: is_known.then(|| sum_of(rows.clone())),
            values: (is_kept && is_known).then(|| rows.collect()),
            ..KeptPart::about(part)
        }
    }

    /// What it read, by name.
    pub fn name(&self) -> &str {
        self.featureset.as_ref().or(self.dataset.as_ref()).map_or("", String::as_str)
    }

    /// Refuses those who may not read what it read.
    ///
    /// # Errors
    /// Forbidden, naming it.
    pub fn may_be_seen(&self, caller: &Caller) -> Result<()> {
        match &self.featureset {
            Some(featureset) => caller.may_read(featureset),
            None => caller.may_read_all(self.name()),
        }
    }
}

/// The key of a dataset: names and types.
pub(super) fn key_of(live: &LiveDataset) -> Vec<(String, DataType)> {
    live.definition.fields.keys().map(|field| (field.name.clone(), field.data_type)).collect()
}

impl Kept {
    pub fn of(run: &Run) -> Kept {
        Kept {
            id: id_of(run.number),
            time: format_rfc3339(run.time_us),
            endpoint: run.endpoint.clone(),
            caller: run.caller.fingerprint(),
            took_us: run.took_us,
            queries: run.parts.iter().map(KeptPart::of).collect(),
        }
    }

    pub fn number(&self) -> u64 {
        number_of(&self.id).unwrap_or_default()
    }
}
