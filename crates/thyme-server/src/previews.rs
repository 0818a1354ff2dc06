//! What a plan says of values and of what a commit takes: `"values"` of `POST /api/v1/plan`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Map, Value as Json, json};
use thyme_core::definition::{Document, Feature, Featureset};
use thyme_core::time::{date_text, format_rfc3339};
use thyme_core::{DataType, Error, ErrorKind, EventTime, Result, Value};
use thyme_engine::trial::{Bounds, Progress, Trial};
use thyme_query::preview::{Asked, Distribution, FeaturePreview, Histogram, Preview, SetPreview};

use crate::app::Ready;
use crate::request::Request;
use crate::state::say_how_it_runs;
use crate::{json, malformed, names};

/// What is looked at unless something else is asked for.
const ENTITIES: usize = 200;
const TIMES: usize = 8;
const EXAMPLES: usize = 10;
const TIME_LIMIT_S: u64 = 30;
/// The most that may be asked for.
pub(crate) const TIMES_MAX: usize = 1_000;
pub(crate) const EXAMPLES_MAX: usize = 1_000;
pub(crate) const TIME_LIMIT_S_MAX: u64 = 3_600;
/// The most bytes of timelines, and the part of the server's memory that they may be.
const BYTES_MAX: u64 = 256 << 20;
const MEMORY_PART: u64 = 4;

/// What a plan may say beside the definitions.
#[derive(Deserialize)]
struct Beside {
    values: Option<Json>,
}

#[derive(Deserialize, Default)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "an object with sample, times, examples, inputs and time_limit_s, each of which may be left out"
)]
struct ValuesBody {
    sample: Option<Json>,
    times: Option<usize>,
    examples: Option<usize>,
    inputs: Map<String, Json>,
    time_limit_s: Option<u64>,
}

/// What is asked about values.
pub(crate) struct Values {
    asked: Asked,
    time_limit: Duration,
}

impl Values {
    /// What a request asks about values, if it does.
    ///
    /// # Errors
    /// InvalidData, naming what is wrong.
    pub fn of(request: &Request, document: &Document) -> Result<Option<Values>> {
        let beside = serde_json::from_slice::<Beside>(&request.body).ok();
        let given: ValuesBody = match beside.and_then(|beside| beside.values) {
            None | Some(Json::Null) => return Ok(None),
            Some(given) => malformed::of(given, "values", ErrorKind::InvalidData)?,
        };
        let entities = match &given.sample {
            None | Some(Json::Null) => Some(ENTITIES),
            Some(Json::String(all)) if all == "all" => None,
            Some(Json::Number(n)) if n.as_u64().is_some_and(|n| n > 0) => n.as_u64().map(|n| n as usize),
            Some(other) => {
                return Err(Error::invalid_data(format!(
                    "values.sample: expected a number of entities or \"all\", got {}",
                    json::shown(other)
                )));
            }
        };
        let bounded = |name: &str, given: usize, most: usize| match given {
            given if given > most => {
                Err(Error::invalid_data(format!("values.{name}: expected at most {most}, got {given}")))
            }
            given => Ok(given),
        };
        let time_limit = given.time_limit_s.unwrap_or(TIME_LIMIT_S) as usize;
        if time_limit == 0 {
            return Err(Error::invalid_data("values.time_limit_s: expected at least 1, got 0"));
        }
        let time_limit = bounded("time_limit_s", time_limit, TIME_LIMIT_S_MAX as usize)?;
        let inputs = given.inputs.iter().map(|(name, json)| input(document, name, json));
        Ok(Some(Values {
            asked: Asked {
                entities,
                times: bounded("times", given.times.unwrap_or(TIMES), TIMES_MAX)?,
                examples: bounded("examples", given.examples.unwrap_or(EXAMPLES), EXAMPLES_MAX)?,
                inputs: inputs.collect::<Result<_>>()?,
            },
            time_limit: Duration::from_secs(time_limit as u64),
        }))
    }

    /// Puts the values, and what the commit takes, into the answer to a plan. What goes wrong with them is said
    /// in it: the plan itself stands.
    ///
    /// # Errors
    /// Conflict: values of another plan are being computed.
    pub fn put(&self, ready: &Ready, request: &Request, trial: &mut Trial, body: &mut Json) -> Result<()> {
        let Some(_one_at_a_time) = ready.previewing.try_lock() else {
            return Err(Error::new(
                ErrorKind::Conflict,
                "the values of another plan are being computed, which is done one at a time; try again in a moment, or plan without values",
            ));
        };
        match self.preview(ready, request, trial) {
            Ok(preview) => {
                body["cost"] = cost(ready, trial, &preview);
                let sets: Vec<Json> = preview.sets.iter().map(|set| set_json(set, trial)).collect();
                body["values"] = json!({
                    "as_of": json::as_of(trial.live()),
                    "sample": self.asked.entities.map_or(json!("all"), |entities| json!(entities)),
                    "events_read": preview.passed.events,
                    "featuresets": sets,
                });
            }
            Err(error) => body["values"] = json!({"stopped": error.detail(), "error": error.kind().code()}),
        }
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "bounds the work; no value depends on it")]
    fn preview(&self, ready: &Ready, request: &Request, trial: &mut Trial) -> Result<Preview> {
        let deadline = Instant::now() + self.time_limit;
        let go_on = |progress: Progress| {
            request.still_wanted()?;
            if Instant::now() < deadline {
                return Ok(());
            }
            Err(Error::unavailable(format!(
                "the values took longer than {} s (record {} of {} of the log); ask for a smaller sample, a higher time limit, or no values",
                self.time_limit.as_secs(),
                progress.record,
                progress.until
            )))
        };
        let budget = ready.engine().memory_budget().map_or(BYTES_MAX, |bytes| bytes / MEMORY_PART);
        let bounds = Bounds { bytes_max: budget.min(BYTES_MAX), go_on: &go_on };
        ready.reader.preview(trial, &self.asked, &bounds)
    }
}

/// A request feature's value, by the type that it has wherever it is one.
fn input(document: &Document, name: &str, json: &Json) -> Result<(String, Value)> {
    let features = document.featuresets.iter().flat_map(|set| &set.features).filter(|f| f.request);
    let names = || features.clone().map(|f| f.name.as_str());
    let feature = features.clone().find(|f| f.name == name);
    let feature = feature.ok_or_else(|| Error::not_found("request feature", name, names()))?;
    let data_type: DataType = feature.data_type;
    let value = match json {
        // As a command line gives it.
        Json::String(text) => json::text_value(&format!("values.inputs.{name}"), data_type, text)?,
        other => json::value(&format!("values.inputs.{name}"), data_type, other)?,
    };
    Ok((name.to_owned(), value))
}

/// What a commit takes, and who is affected.
fn cost(ready: &Ready, trial: &Trial, preview: &Preview) -> Json {
    let document = &trial.catalog().document;
    let mut extractors = BTreeSet::new();
    for set in &preview.sets {
        let Some(definition) = document.featureset(&set.featureset) else { continue };
        let givers = set.features.iter().filter_map(|f| definition.giver(&f.touched.feature));
        extractors.extend(givers.map(|giver| (definition.name.as_str(), giver.name.as_str())));
    }
    let said = |(featureset, name): (&str, &str)| {
        let mut said = json!({"name": format!("{featureset}.{name}")});
        let found =
            document.featureset(featureset).and_then(|set| set.extractors.iter().find(|e| e.name == name));
        if let Some(extractor) = found {
            say_how_it_runs(ready, document, featureset, extractor, &mut said);
        }
        said
    };
    let extractors: Vec<Json> = extractors.into_iter().map(said).collect();
    let ended = ended(&trial.live().catalog.document, document);
    let mut affected: Vec<&str> = preview.sets.iter().map(|set| set.featureset.as_str()).collect();
    for (set, _) in &ended {
        if !affected.contains(&set.name.as_str()) {
            affected.push(&set.name);
        }
    }
    let old_names: Vec<Json> = names::status(ready)
        .as_array()
        .into_iter()
        .flatten()
        .filter(|name| name["featureset"].as_str().is_some_and(|set| affected.contains(&set)))
        .cloned()
        .collect();
    // Those of a moment ago, too; if they cannot be written they are counted all the same.
    let _ = ready.runs.flush();
    let callers = ready.runs.callers().of(&affected, ready.runs.now_us());
    let filled: BTreeSet<&str> = preview.fresh.iter().map(|node| node.dataset.as_str()).collect();
    json!({
        "filled": filled,
        "events_to_read": preview.events_to_read,
        "log_bytes": trial.log_bytes(),
        "state_bytes": preview.state_bytes(),
        "backfill_seconds": preview.backfill_us() as f64 / 1e6,
        "extractors": extractors,
        "featuresets": affected,
        "features": preview.sets.iter().map(|set| set.features.len()).sum::<usize>(),
        "ended": ended.iter().map(|(set, f)| json!({"featureset": set.name, "name": f.name, "id": f.id})).collect::<Vec<_>>(),
        "callers": callers,
        "old_names": old_names,
    })
}

/// The features that a commit ends.
fn ended<'a>(was: &'a Document, is: &Document) -> Vec<(&'a Featureset, &'a Feature)> {
    let there = |set: &Featureset, feature: &Feature| {
        is.featureset(&set.name).is_some_and(|set| set.features.iter().any(|f| f.id == feature.id))
    };
    let all = was.featuresets.iter().flat_map(|set| set.features.iter().map(move |f| (set, f)));
    all.filter(|(set, feature)| !there(set, feature)).collect()
}

fn set_json(set: &SetPreview, trial: &Trial) -> Json {
    let features: Vec<Json> = set.features.iter().map(|feature| feature_json(set, feature, trial)).collect();
    json!({
        "featureset": set.featureset,
        "entities": set.entities,
        "is_sample": set.is_part,
        "rows": set.rows.times.len(),
        "rows_left_out": set.left_out,
        "failure": set.failure,
        "features": features,
    })
}

fn feature_json(set: &SetPreview, feature: &FeaturePreview, trial: &Trial) -> Json {
    let touched = &feature.touched;
    let before = touched.before.as_ref().map(|(name, kind)| json!({"name": name, "type": kind}));
    let old = feature.old.as_deref();
    let examples: Vec<Json> =
        feature.examples.iter().map(|row| example_json(set, feature, *row, trial)).collect();
    json!({
        "name": touched.feature,
        "id": touched.id,
        "type": touched.data_type,
        "touch": touched.touch.word(),
        "because": touched.because,
        "before": before,
        "failure": feature.failure,
        "rows": feature.new.len(),
        "differ": old.map(|_| feature.differ.len()),
        "old": old.map(|old| distribution_json(&Distribution::of(old))),
        "new": distribution_json(&Distribution::of(&feature.new)),
        "histogram": histogram(touched.data_type, old.unwrap_or_default(), &feature.new),
        "examples": examples,
    })
}

fn histogram(data_type: DataType, old: &[Value], new: &[Value]) -> Option<Json> {
    let Histogram { edges, old, new } = Histogram::of(old, new)?;
    let edge = |edge: &f64| match data_type {
        DataType::Datetime => json!(format_rfc3339(*edge as i64)),
        DataType::Date => json!(date_text(*edge as i32)),
        _ => json!(edge),
    };
    let edges: Vec<Json> = edges.iter().map(edge).collect();
    Some(json!({"edges": edges, "old": old, "new": new}))
}

fn distribution_json(all: &Distribution) -> Json {
    let mut ignored = Map::new();
    let mut plain = |value: &Value| json::to_json("value", value, &mut ignored);
    let mut out = json!({"rows": all.rows, "nulls": all.nulls, "non_finite": all.non_finite});
    if let Some(numbers) = &all.numbers {
        out["min"] = plain(&numbers.min);
        out["median"] = plain(&numbers.median);
        out["max"] = plain(&numbers.max);
        out["mean"] = json!(numbers.mean);
    }
    if !all.categories.is_empty() {
        let categories =
            all.categories.iter().map(|(value, count)| json!({"value": plain(value), "rows": count}));
        out["categories"] = categories.collect();
        out["others"] = json!(all.others);
    }
    out
}

fn example_json(set: &SetPreview, feature: &FeaturePreview, row: usize, trial: &Trial) -> Json {
    let mut non_finite = Map::new();
    let entity: Vec<(&str, Value)> = set
        .entity
        .iter()
        .zip(&set.rows.entity)
        .map(|(name, column)| (name.as_str(), column.get(row)))
        .collect();
    let entity_id = match entity.as_slice() {
        [(name, value)] => json::to_json(name, value, &mut non_finite),
        several => {
            let parts =
                several.iter().map(|(name, v)| ((*name).to_owned(), json::to_json(name, v, &mut non_finite)));
            Json::Object(parts.collect())
        }
    };
    let time = set.rows.times.get(row).copied().unwrap_or(trial.live().time);
    let old = feature.old.as_ref().and_then(|old| old.get(row)).cloned().unwrap_or_default();
    let new = feature.new.get(row).cloned().unwrap_or_default();
    let (old, new) =
        (json::to_json("old", &old, &mut non_finite), json::to_json("new", &new, &mut non_finite));
    let name = feature.touched.before.as_ref().map(|(name, _)| name.as_str());
    let explain = name.map(|name| explain(&set.featureset, name, &entity, time));
    let is_now = time == trial.live().time;
    let mut out = json!({
        "entity_id": entity_id, "time": time.to_rfc3339(), "is_now": is_now, "old": old, "new": new,
        "explain": explain,
    });
    if !non_finite.is_empty() {
        out["non_finite"] = non_finite.into();
    }
    out
}

/// What to type to see the events behind the value before.
fn explain(featureset: &str, feature: &str, entity: &[(&str, Value)], time: EventTime) -> String {
    let text = |value: &Value| match value {
        Value::Str(text) => text.to_string(),
        other => other.to_string(),
    };
    let key = match entity {
        [(_, value)] => text(value),
        several => several.iter().map(|(n, v)| format!("{n}={}", text(v))).collect::<Vec<_>>().join(","),
    };
    // Written so that a key which begins with a dash is no option.
    format!("thyme explain {featureset}.{feature} --entity={} --at {}", quoted(&key), time.to_rfc3339())
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:,=@/+".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_takes_any_key_as_one_word() {
        let line = |key: &str| explain("F", "x", &[("k", Value::Str(key.into()))], EventTime(0));
        assert_eq!(line("d1"), "thyme explain F.x --entity=d1 --at 1970-01-01T00:00:00Z");
        assert!(line("a b; rm -rf /").contains("--entity='a b; rm -rf /' "));
        assert!(line("it's").contains(r"--entity='it'\''s' "));
        assert!(line("").contains("--entity='' "));
        let two = [("k", Value::Str("-x".into())), ("g", Value::Int(3))];
        assert!(explain("F", "x", &two, EventTime(0)).contains("--entity=k=-x,g=3 "));
    }
}
