//! `GET /api/v1/rows`: the rows of a dataset as the log has them, page by page.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::Schema;
use arrow::ipc::writer::StreamWriter;
use serde_json::json;
use thyme_core::{Error, Position, Result};
use thyme_engine::attached::StoredRows;
use thyme_engine::{ReadAt, RowsPlace, RowsQuery};

use crate::app::Ready;
use crate::json;
use crate::request::{Reply, Request};

/// Bytes of rows in a page, about, and of the log that is read for one.
const PAGE_BYTES: usize = 8 << 20;
const SCANNED_BYTES: usize = 64 << 20;

/// Answers an Arrow stream of batches, one a record. Its metadata says how far it goes and where the next begins.
pub(crate) fn rows(ready: &Ready, request: &Request) -> Result<Reply> {
    let engine = ready.engine();
    let catalog = engine.catalog();
    let live = catalog.dataset(request.required("dataset")?)?;
    if live.is_derived() {
        return Err(Error::invalid_data(format!(
            "{} is derived: it has no rows of its own in the log; ask for the datasets that feed it",
            live.definition.name
        )));
    }
    let wrong = |name: &str, expected: &str| {
        Error::invalid_data(format!(
            "{name}: expected {expected}, got \"{}\"",
            request.param(name).unwrap_or("")
        ))
    };
    let part = match request.param("sample") {
        None => 1.0,
        Some(text) => {
            let part = text.parse::<f64>().ok().filter(|part| *part > 0.0 && *part <= 1.0);
            part.ok_or_else(|| wrong("sample", "a number above 0 and up to 1"))?
        }
    };
    let from: Option<RowsPlace> = match request.param("next") {
        None => None,
        Some(text) => {
            Some(serde_json::from_str(text).map_err(|_| wrong("next", "what an earlier page said"))?)
        }
    };
    // Whoever has pushed before gets what was pushed.
    let written = Position::end_of(engine.records().0);
    engine.snapshot(ReadAt { min_position: Some(written), ..ReadAt::default() })?;
    let (_, applied) = engine.records();
    let until = match request.param("until") {
        None => applied,
        Some(text) => text.parse::<Position>()?.record().min(applied),
    };
    let after = request.param("after").map(|text| json::text_time("after", text)).transpose()?;
    let query = RowsQuery {
        after: after.map(|time| time.0),
        until,
        part,
        from,
        bytes_max: PAGE_BYTES,
        scanned_max: SCANNED_BYTES,
    };
    let page = engine.stored_rows(live, &query)?;
    let read = page.next.as_ref().map_or(until, |next| next.record);
    let whole_after = engine.whole_after(live);
    let (_, log_from) = engine.log_start();
    let metadata = json!({
        "dataset": live.definition.name,
        "version": live.definition.version,
        "commit": catalog.commit,
        "until": format!("e{until}"),
        "stamp": engine.stamp_of(until)?,
        "after": after.max(whole_after).filter(|_| page.older > 0 || whole_after.is_some()).map(|time| time.0),
        "older": page.older,
        "log_from": log_from.map(|time| time.0),
        "read": format!("e{read}"),
        "next": page.next.as_ref().map(|next| serde_json::to_string(next).unwrap_or_default()),
        "erasures": engine.erasures_since(Position::ZERO).map_or(0, |(_, count)| count),
    });
    let own = StoredRows::schema(&live.schema);
    let metadata = HashMap::from([("thyme".to_owned(), metadata.to_string())]);
    let schema = Arc::new(Schema::new(own.fields().clone()).with_metadata(metadata));
    let mut out = Vec::new();
    let mut writer = StreamWriter::try_new(&mut out, &schema)?;
    for stored in &page.records {
        writer.write(&stored.to_batch()?)?;
    }
    writer.finish()?;
    drop(writer);
    Ok(Reply::arrow(out))
}
