//! `GET /api/v1/entities`: the keys of a featureset's entities, page by page.

use serde_json::{Value as Json, json};
use thyme_core::{Error, Result};
use thyme_query::population::{Population, Wanted};

use crate::app::Ready;
use crate::request::{Reply, Request};
use crate::{arrow_io, json, reads};

/// The most keys of a page.
pub(crate) const LIMIT_MAX: usize = 1_000_000;
const LIMIT: usize = 100_000;

/// Answers an Arrow stream with a column for each field of the key. Its metadata says where the next page begins.
pub(crate) fn entities(ready: &Ready, request: &Request) -> Result<Reply> {
    let featureset = request.required("featureset")?;
    request.caller.may_read(featureset)?;
    let limit = request.param("limit").and_then(|text| text.parse().ok()).unwrap_or(LIMIT);
    let from = request.param("from").map(|text| json::text_time("from", text)).transpose()?;
    let after = request.param("next").map(place).transpose()?;
    let snapshot = reads::snapshot_of(ready, request, reads::param_read_at(request, None)?)?.in_passing();
    let wanted = Wanted { from: from.unwrap_or(snapshot.time), after: after.as_deref(), limit };
    let Population { keys, next } = ready.reader.population(&snapshot, featureset, &wanted)?;
    let next = next.map(|next| next.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    let mut metadata = vec![("as_of", json::as_of(&snapshot)), ("next", Json::from(next))];
    metadata.extend(snapshot.erased().map(|erased| ("warnings", json!([erased]))));
    Ok(Reply::arrow(arrow_io::write_stream(&keys, &metadata)?))
}

/// Where a page ended, from its text.
fn place(text: &str) -> Result<Vec<u8>> {
    let digits = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> =
        text.as_bytes().chunks(2).map(|pair| digits(pair).filter(|_| pair.len() == 2)).collect();
    bytes.ok_or_else(|| Error::invalid_data("next: expected what an earlier page said"))
}
