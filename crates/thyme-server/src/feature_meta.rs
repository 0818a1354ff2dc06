//! What an answer says of each of its features on request: how the value came about, and how fresh it is.

use serde_json::{Map, Value as Json, json};
use thyme_core::EventTime;
use thyme_query::facts::seconds;
use thyme_query::{Answer, Detail, Facts, Status};

use crate::request::Request;

/// What a request asks for: `?meta=1`, or the same in its body.
pub(crate) fn detail(request: &Request, in_body: bool) -> Detail {
    if in_body || request.flag("meta") { Detail::Facts } else { Detail::Values }
}

/// Of an answer for one entity, by feature; `None` if nobody asked.
pub(crate) fn one(answer: &Answer) -> Option<Json> {
    of_each(answer, |facts| {
        let mut out = json!({
            "status": facts.status.first().map(|status| status.word()),
            "newest": newest(facts, 0),
            "age_s": age(facts, 0, answer.snapshot.time),
            "version": facts.version,
        });
        if let Some(why) = facts.errors.get(&0) {
            out["error"] = why.as_str().into();
        }
        out
    })
}

/// Of an answer of many rows, by feature a list with an item a row; `times` are theirs.
pub(crate) fn many(answer: &Answer, times: &[EventTime]) -> Option<Json> {
    of_each(answer, |facts| {
        let ages = times.iter().enumerate().map(|(row, time)| age(facts, row, *time));
        let mut out = json!({
            "status": facts.status.iter().map(|status| status.word()).collect::<Vec<_>>(),
            "newest": (0..facts.newest.len()).map(|row| newest(facts, row)).collect::<Vec<_>>(),
            "age_s": ages.collect::<Vec<_>>(),
            "version": facts.version,
        });
        if !facts.errors.is_empty() {
            out["error"] = (0..facts.status.len()).map(|row| json!(facts.errors.get(&row))).collect();
        }
        out
    })
}

/// Of an answer in Arrow, which has the rest in its columns.
pub(crate) fn versions(answer: &Answer) -> Option<Json> {
    of_each(answer, |facts| json!({"version": facts.version}))
}

fn of_each(answer: &Answer, say: impl Fn(&Facts) -> Json) -> Option<Json> {
    let all = answer.names.iter().zip(&answer.facts);
    let said: Map<String, Json> = all.map(|(name, facts)| (name.clone(), say(facts))).collect();
    (!answer.facts.is_empty()).then(|| said.into())
}

fn newest(facts: &Facts, row: usize) -> Option<String> {
    facts.newest.get(row).copied().flatten().map(|time| time.to_rfc3339())
}

fn age(facts: &Facts, row: usize, time: EventTime) -> Option<f64> {
    facts.age_us(row, time).map(seconds)
}

/// Of the row of a dataset: the newest event behind it, as of `time`.
pub(crate) fn row(found: Option<EventTime>, time: EventTime, version: u32) -> Json {
    let status = if found.is_some() { Status::Ok } else { Status::Missing };
    json!({
        "status": status.word(),
        "newest": found.map(|newest| newest.to_rfc3339()),
        "age_s": found.map(|newest| seconds(time.0.saturating_sub(newest.0))),
        "version": version,
    })
}

/// Of a feature that is not live yet, for one entity or for so many rows.
pub(crate) fn incomplete(rows: Option<usize>) -> Json {
    let status = Status::Incomplete.word();
    match rows {
        None => json!({"status": status, "newest": null, "age_s": null, "version": null}),
        Some(rows) => {
            let nulls = vec![Json::Null; rows];
            json!({"status": vec![status; rows], "newest": nulls, "age_s": nulls, "version": null})
        }
    }
}

/// The same as facts.
pub(crate) fn facts_of_incomplete(rows: usize) -> Facts {
    Facts { status: vec![Status::Incomplete; rows], newest: vec![None; rows], ..Facts::default() }
}
