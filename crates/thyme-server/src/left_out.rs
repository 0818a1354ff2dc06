//! The endpoints that show what was left out, and read it again.

use serde_json::{Map, Value as Json, json};
use thyme_core::time::format_rfc3339;
use thyme_core::{Position, Result};
use thyme_engine::{DatasetCounters, LeftOutEvent, LeftOutQuery, Letter, LiveDataset, Wanted, Why};
use thyme_query::ColumnBuffer;

use crate::app::Ready;
use crate::json;
use crate::reads::parse;
use crate::request::{Reply, Request};
use crate::state::limit;

/// The most bytes of raw records in one answer.
const RAW_BYTES_MAX: usize = 32 << 20;

fn before(request: &Request) -> Result<Position> {
    Ok(request.param("before").map(str::parse).transpose()?.unwrap_or(Position::MAX))
}

/// `GET /api/v1/late`: the late events of a dataset, newest first.
pub(crate) fn late(ready: &Ready, request: &Request) -> Result<Reply> {
    left_out(ready, request, "late", Wanted::Late, |counters| counters.late)
}

/// `GET /api/v1/duplicates`: the events of a dataset that were there already, newest first.
pub(crate) fn duplicates(ready: &Ready, request: &Request) -> Result<Reply> {
    left_out(ready, request, "duplicates", Wanted::Duplicates, |counters| counters.duplicates)
}

fn left_out(
    ready: &Ready,
    request: &Request,
    name: &str,
    wanted: Wanted,
    count: fn(&DatasetCounters) -> u64,
) -> Result<Reply> {
    let engine = ready.engine();
    let catalog = engine.catalog();
    let live = catalog.dataset(request.required("dataset")?)?;
    let since = request.param("since").map(|text| json::text_time("since", text)).transpose()?;
    let query = LeftOutQuery {
        wanted,
        before: before(request)?,
        since: since.map_or(i64::MIN, |t| t.0),
        limit: limit(request, 100),
    };
    let events = engine.left_out(live, &query)?;
    let next = events.last().filter(|_| events.len() == query.limit).map(|e| e.position.to_string());
    let events: Vec<Json> = events.iter().map(|event| event_json(live, event)).collect::<Result<_>>()?;
    let mut body =
        json!({"dataset": live.definition.name, "count": count(&engine.counters(live)), "next": next});
    body[name] = events.into();
    Ok(Reply::json(200, &body))
}

fn event_json(live: &LiveDataset, event: &LeftOutEvent) -> Result<Json> {
    let (mut fields, mut non_finite) = (Map::new(), Map::new());
    let row = event.batch.slice(event.row, 1);
    for (field, column) in live.definition.fields.fields.iter().zip(row.columns()) {
        let value = ColumnBuffer::from_arrow(field.data_type, column)?.get(0);
        fields.insert(field.name.clone(), json::to_json(&field.name, &value, &mut non_finite));
    }
    let mut shown = json!({
        "position": event.position.to_string(),
        "arrived": format_rfc3339(event.stamp),
        "stream": event.stream,
        "time": format_rfc3339(event.time),
        "fields": fields,
    });
    match event.why {
        Why::Late { watermark, max_lateness } => {
            let late_by = watermark.saturating_sub(event.time).saturating_sub(max_lateness.0);
            shown["watermark"] = format_rfc3339(watermark).into();
            shown["max_lateness"] = max_lateness.to_string().into();
            shown["late_by_s"] = (late_by as f64 / 1e6).into();
        }
        Why::Duplicate { of } => shown["of"] = of.map(|of| of.to_string()).into(),
    }
    if !non_finite.is_empty() {
        shown["non_finite"] = non_finite.into();
    }
    Ok(shown)
}

/// `GET /api/v1/dead-letters`: newest first.
pub(crate) fn dead_letters(ready: &Ready, request: &Request) -> Result<Reply> {
    let engine = ready.engine();
    let catalog = engine.catalog();
    let live = catalog.dataset(request.required("dataset")?)?;
    let limit = limit(request, 100);
    let letters = engine.dead_letters(live, before(request)?, limit, request.flag("all"))?;
    let (mut shown, mut bytes) = (Vec::new(), 0);
    for letter in &letters {
        bytes += letter.letter.raw.len();
        if bytes > RAW_BYTES_MAX && !shown.is_empty() {
            break;
        }
        shown.push(letter_json(live, letter));
    }
    let is_cut = shown.len() < letters.len() || letters.len() == limit;
    let last = shown.len().checked_sub(1).filter(|_| is_cut).and_then(|last| letters.get(last));
    let (count, replayed) = (engine.counters(live).dead_letters, engine.letters_replayed(live)?);
    Ok(Reply::json(
        200,
        &json!({
            "dataset": live.definition.name,
            "count": count,
            "replayed": replayed,
            "waiting": count.saturating_sub(replayed),
            "dead_letters": shown,
            "next": last.map(|letter| letter.position.to_string()),
        }),
    ))
}

fn letter_json(live: &LiveDataset, letter: &Letter) -> Json {
    let raw = &letter.letter.raw;
    let mut shown = json!({
        "position": Position::end_of(letter.position.record()).to_string(),
        "index": letter.position.row(),
        "dataset": live.definition.name,
        "origin": letter.letter.origin,
        "reason": letter.letter.reason,
        "raw": String::from_utf8_lossy(raw),
        "cut": letter.letter.is_cut(),
        "replayed": letter.replayed,
    });
    if std::str::from_utf8(raw).is_err() {
        shown["raw_base64"] = base64(raw).into();
    }
    shown
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object with dataset")]
pub(crate) struct ReplayBody {
    dataset: String,
}

/// `POST /api/v1/dead-letters/replay`: reads them again; those that have become readable become events.
pub(crate) fn replay(ready: &Ready, request: &Request) -> Result<Reply> {
    let body: ReplayBody = parse(request)?;
    let engine = ready.engine();
    let catalog = engine.catalog();
    let live = catalog.dataset(&body.dataset)?;
    let replay = engine.replay_dead_letters(live, |letters| thyme_sources::reread(live, letters))?;
    let message = format!(
        "{} became events, {} are of erased entities, {} failed again",
        replay.replayed, replay.erased, replay.failed
    );
    ready.actions.note(engine, &request.caller, "dead_letters_replayed", &live.definition.name, message);
    let reasons: Vec<Json> = replay
        .reasons
        .iter()
        .map(|(position, origin, reason)| {
            let record = Position::end_of(position.record()).to_string();
            json!({"position": record, "index": position.row(), "origin": origin, "reason": reason})
        })
        .collect();
    Ok(Reply::json(
        200,
        &json!({
            "dataset": live.definition.name,
            "replayed": replay.replayed,
            "erased": replay.erased,
            "failed": replay.failed,
            "cut": replay.cut,
            "position": replay.position.map(|p| p.to_string()),
            "reasons": reasons,
        }),
    ))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let word = three.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte));
        let word = word << (8 * (3 - three.len()));
        for digit in 0..4 {
            match digit <= three.len() {
                true => out.push(DIGITS[(word >> (18 - 6 * digit)) as usize % 64] as char),
                false => out.push('='),
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn bytes_are_told_in_base64() {
        let told = [&b""[..], b"f", b"fo", b"foo", &[0xff, 0xfe, 0x00, 0x3f]].map(base64);
        assert_eq!(told, ["", "Zg==", "Zm8=", "Zm9v", "//4APw=="]);
    }
}
