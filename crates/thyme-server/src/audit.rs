//! `POST /api/v1/verify` and `GET /api/v1/explain`: every number can be shown and derived again.

use serde::Deserialize;
use serde_json::{Map, Value as Json, json};
use thyme_audit::explain::{Event, FieldExplanation, Group};
use thyme_audit::{Asked, Difference, Explanation, Options, Origin, Report, Subject};
use thyme_core::definition::Document;
use thyme_core::{DataType, Error, ErrorKind, EventTime, Result, Value};
use thyme_query::Wanted;

use crate::app::Ready;
use crate::json;
use crate::reads::{parse, query_read_at};
use crate::request::{Reply, Request};
use crate::state::limit;
use crate::verifier;

/// The most samples of one request.
const SAMPLES_MAX: usize = 100_000;
const SAMPLES_DEFAULT: usize = 200;
/// The most events of a kind that one answer shows.
pub(crate) const LIMIT_MAX: u64 = 10_000;
const LIMIT_DEFAULT: usize = 20;

#[derive(Deserialize, Default, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default, expecting = "a JSON object with optionally reference, sample, seed")]
pub(crate) struct VerifyBody {
    reference: Option<String>,
    #[schemars(range(min = 1, max = 100_000))]
    sample: Option<usize>,
    seed: Option<u64>,
}

/// `POST /api/v1/verify`.
pub(crate) fn verify(ready: &Ready, request: &Request) -> Result<Reply> {
    let body: VerifyBody = if request.body.is_empty() { VerifyBody::default() } else { parse(request)? };
    let samples = body.sample.unwrap_or(SAMPLES_DEFAULT);
    if !(1..=SAMPLES_MAX).contains(&samples) {
        return Err(Error::invalid_data(format!("sample: expected 1 to {SAMPLES_MAX}, got {samples}")));
    }
    let options = Options { reference: body.reference, samples, seed: body.seed.unwrap_or(0) };
    match &options.reference {
        // A key that is for some featuresets learns of these alone.
        Some(reference) if !request.caller.reads_all() => {
            request.caller.may_read(reference)?;
        }
        _ => request.caller.may_read_all("everything that is committed")?,
    }
    let report = thyme_audit::verify(&ready.reader, options)?;
    ready.verified.note(&report);
    verifier::raise(ready, &report);
    Ok(Reply::json(200, &report_json(&report)))
}

fn report_json(report: &Report) -> Json {
    let features: Vec<Json> = report
        .checked
        .iter()
        .map(|c| json!({"name": c.name, "checked": c.checked, "different": c.different, "note": c.note}))
        .collect();
    json!({
        "as_of": {
            "time": report.time.to_rfc3339(),
            "position": report.position.to_string(),
            "commit": report.commit,
        },
        "seed": report.seed,
        "rows": report.rows,
        "checked": report.compared(),
        "different": report.different(),
        "entities_too_large": report.too_large,
        "features": features,
        "differences": report.differences.iter().map(difference_json).collect::<Vec<_>>(),
    })
}

fn difference_json(difference: &Difference) -> Json {
    let mut non_finite = Map::new();
    let mut out = json!({
        "name": difference.name,
        "entity_id": entity_json(&difference.entity),
        "time": difference.time.to_rfc3339(),
        "position": difference.position.to_string(),
        "served": json::to_json("served", &difference.served, &mut non_finite),
        "recomputed": json::to_json("recomputed", &difference.recomputed, &mut non_finite),
    });
    put_non_finite(&mut out, non_finite);
    out
}

fn entity_json(entity: &[(String, Value)]) -> Json {
    let mut ignored = Map::new();
    match entity {
        [(name, value)] => json::to_json(name, value, &mut ignored),
        _ => entity
            .iter()
            .map(|(n, v)| (n.clone(), json::to_json(n, v, &mut ignored)))
            .collect::<Map<_, _>>()
            .into(),
    }
}

fn put_non_finite(out: &mut Json, non_finite: Map<String, Json>) {
    if !non_finite.is_empty() {
        out["non_finite"] = non_finite.into();
    }
}

/// `GET /api/v1/explain`.
pub(crate) fn explain(ready: &Ready, request: &Request) -> Result<Reply> {
    explain_live(ready, request).map_err(|error| with_pending(ready, request, error))
}

/// Says of what is not there that the pending commit has it, if that is so.
fn with_pending(ready: &Ready, request: &Request, error: Error) -> Error {
    let engine = ready.engine();
    let pending = engine.pending_commit().filter(|_| error.kind() == ErrorKind::NotFound);
    match pending {
        Some(pending) if has(&pending.document, request) && !has(&engine.catalog().document, request) => {
            Error::new(
                ErrorKind::NotFound,
                format!("{}; it is not live yet: {pending}; ask again once it is live", error.detail()),
            )
        }
        _ => error,
    }
}

/// Whether the definitions have what a request asks to explain.
fn has(document: &Document, request: &Request) -> bool {
    match (request.param("featureset"), request.param("dataset")) {
        (Some(name), _) => document.featureset(name).is_some_and(|set| {
            match request.param("feature").and_then(|feature| Wanted::parse(feature).ok()) {
                Some(Wanted::Id(id)) => set.by_id(id).is_some(),
                Some(Wanted::Name(name)) => set.feature(&name).is_some(),
                None => true,
            }
        }),
        (None, Some(name)) => document.dataset(name).is_some_and(|dataset| {
            request.param("field").is_none_or(|field| dataset.fields.field(field).is_some())
        }),
        (None, None) => false,
    }
}

fn explain_live(ready: &Ready, request: &Request) -> Result<Reply> {
    let at = query_read_at(request)?;
    let subject = match (request.param("featureset"), request.param("dataset")) {
        (Some(featureset), None) => {
            request.caller.may_read(featureset)?;
            let feature = feature(ready, request, featureset)?;
            Subject::Feature { featureset: featureset.to_owned(), feature }
        }
        (None, Some(dataset)) => {
            request.caller.may_read_all(dataset)?;
            Subject::Field { dataset: dataset.to_owned(), field: request.required("field")?.to_owned() }
        }
        _ => {
            return Err(Error::invalid_data("give featureset=NAME&feature=NAME, or dataset=NAME&field=NAME"));
        }
    };
    let limit = limit(request, LIMIT_DEFAULT);
    let inputs = inputs(ready, request, &subject)?;
    let asked = Asked { subject, at, limit, inputs };
    let text = request.required("entity_id")?;
    let explained = thyme_audit::explain(&ready.reader, asked, &|fields| json::text_entity(fields, text))?;
    check_inputs(request, &explained.explanation)?;
    let mut out = explanation_json(&explained.explanation);
    out["as_of"] = json::as_of(&explained.snapshot);
    Ok(Reply::json(200, &out))
}

/// Refuses to show a feature that another one is made of to whoever may not read its featureset.
fn check_inputs(request: &Request, explanation: &Explanation) -> Result<()> {
    let Origin::Extractor { inputs, .. } = &explanation.origin else { return Ok(()) };
    inputs.iter().try_for_each(|input| {
        request.caller.may_read(input.name.split('.').next().unwrap_or(&input.name))?;
        check_inputs(request, input)
    })
}

/// `feature=`, by name or id; counts who asks by an old name.
fn feature(ready: &Ready, request: &Request, featureset: &str) -> Result<String> {
    let catalog = ready.engine().catalog();
    let set = catalog.featureset(featureset)?;
    let feature = match Wanted::parse(request.required("feature")?)? {
        Wanted::Id(id) => return Ok(set.numbered(id)?.name.clone()),
        Wanted::Name(name) => name,
    };
    if set.named(&feature)?.name != feature {
        ready.old_names.note_one(request, featureset, &feature);
    }
    Ok(feature)
}

/// `inputs={"hour":23}`: request features, typed as the featureset has them.
fn inputs(ready: &Ready, request: &Request, subject: &Subject) -> Result<Vec<(String, Value)>> {
    let Some(text) = request.param("inputs") else { return Ok(Vec::new()) };
    let Subject::Feature { featureset, .. } = subject else {
        return Err(Error::invalid_data("inputs: a dataset takes none"));
    };
    let catalog = ready.engine().catalog();
    let definition = catalog.featureset(featureset)?;
    let given: Map<String, Json> = serde_json::from_str(text)
        .map_err(|_| Error::invalid_data(format!("inputs: expected a JSON object, got {text}")))?;
    let typed = |(name, json): (&String, &Json)| -> Result<(String, Value)> {
        let names = || definition.features.iter().filter(|f| f.request).map(|f| f.name.as_str());
        let feature = definition.feature(name).filter(|f| f.request);
        let feature = feature.ok_or_else(|| Error::not_found("request feature", name, names()))?;
        let data_type: DataType = feature.data_type;
        Ok((name.clone(), json::value(&format!("inputs.{name}"), data_type, json)?))
    };
    given.iter().map(typed).collect()
}

fn explanation_json(explanation: &Explanation) -> Json {
    let mut non_finite = Map::new();
    let mut out = json!({
        "name": explanation.name,
        "entity_id": entity_json(&explanation.entity),
        "value": explanation.value.as_ref().map(|v| json::to_json("value", v, &mut non_finite)),
    });
    put_non_finite(&mut out, non_finite);
    match &explanation.origin {
        Origin::Entity => out["origin"] = "entity".into(),
        Origin::Request => out["origin"] = "request".into(),
        Origin::Field(field) => {
            out["origin"] = "field".into();
            field_json(field, &mut out);
        }
        Origin::Extractor { name, version, place, inputs, lookups } => {
            out["origin"] = "extractor".into();
            out["extractor"] = json!({"name": name, "version": version, "source": place, "lookups": lookups});
            out["inputs"] = inputs.iter().map(explanation_json).collect();
        }
    }
    out["notes"] = json!(explanation.notes);
    out
}

fn field_json(field: &FieldExplanation, out: &mut Json) {
    let mut non_finite = Map::new();
    let left_out: Vec<Json> = field
        .left_out
        .iter()
        .map(|(reason, group)| {
            let mut left = group_json(group);
            left["reason"] = reason.word().into();
            left
        })
        .collect();
    out["definition"] = json!({
        "dataset": field.dataset,
        "version": field.version,
        "field": field.field,
        "input": field.input,
        "pipeline_version": field.pipeline_version,
        "operators": field.operators,
        "aggregate": field.definition,
        "after": field.after.map(EventTime::to_rfc3339),
        "until": field.until.to_rfc3339(),
        "retention": field.retention.map(|r| r.to_string()),
    });
    out["events"] = group_json(&field.counted);
    out["left_out"] = left_out.into();
    out["events_of_entity"] = field.events().into();
    let letters = field.dead_letters.shown.iter().map(|letter| {
        json!({"position": letter.position.to_string(), "origin": letter.origin, "reason": letter.reason})
    });
    out["dead_letters"] =
        json!({"total": field.dead_letters.of_entity, "shown": letters.collect::<Vec<_>>()});
    out["dead_letters_of_unknown_entity"] = field.dead_letters.of_unknown.into();
    out["dead_letters_of_dataset"] = field.dead_letters.of_dataset.into();
    let mut recomputed = json!({
        "served": json::to_json("served", &field.served, &mut non_finite),
        "value": json::to_json("value", &field.recomputed, &mut non_finite),
        "same": field.is_same(),
    });
    put_non_finite(&mut recomputed, non_finite);
    out["recomputed"] = recomputed;
}

fn group_json(group: &Group) -> Json {
    json!({"total": group.total, "shown": group.shown.iter().map(event_json).collect::<Vec<_>>()})
}

fn event_json(event: &Event) -> Json {
    let mut non_finite = Map::new();
    let fields: Map<String, Json> =
        event.fields.iter().map(|(n, v)| (n.clone(), json::to_json(n, v, &mut non_finite))).collect();
    let mut out = json!({
        "time": event.time.to_rfc3339(), "position": event.position.to_string(), "fields": fields,
    });
    if let Some(why) = &event.why {
        out["why"] = why.as_str().into();
    }
    put_non_finite(&mut out, non_finite);
    out
}
