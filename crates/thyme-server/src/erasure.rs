//! `POST /api/v1/erase`.

use serde::Deserialize;
use serde_json::{Value as Json, json};
use thyme_core::{DataType, Error, Result};

use crate::app::Ready;
use crate::json::entity;
use crate::openapi::shapes;
use crate::reads::parse;
use crate::request::{Reply, Request};

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object with dataset and entity_ids")]
pub(crate) struct EraseBody {
    dataset: String,
    #[schemars(schema_with = "shapes::entities")]
    entity_ids: Vec<Json>,
}

/// Erases entities; answers when nothing of them is left. The answer does not name them.
pub(crate) fn erase(ready: &Ready, request: &Request) -> Result<Reply> {
    // As for a commit: a page in someone's browser must not be able to.
    if request.content_type() != "application/json" {
        return Ok(Reply::failure(
            415,
            "unsupported_media_type",
            "an erasure is sent with Content-Type: application/json",
            &[],
        ));
    }
    let body: EraseBody = parse(request)?;
    let engine = ready.engine();
    let catalog = engine.catalog();
    let live = catalog.dataset(&body.dataset)?;
    let fields: Vec<(String, DataType)> =
        live.definition.fields.keys().map(|field| (field.name.clone(), field.data_type)).collect();
    let entities = body.entity_ids.iter().enumerate().map(|(row, id)| {
        entity(&fields, id).map_err(|e| Error::new(e.kind(), format!("entity_ids[{row}]: {}", e.detail())))
    });
    let entities = entities.collect::<Result<Vec<_>>>()?;
    // First: a server that stops in between ends the erasure of everything else at its next start.
    ready.runs.erase(&entities)?;
    let receipt = engine.erase(live, &entities)?;
    let message = format!(
        "{} entities up to {}: {} events and {} dead letters",
        receipt.entities.len(),
        receipt.position,
        receipt.events,
        receipt.dead_letters
    );
    ready.actions.note(engine, &request.caller, "erasure", &receipt.dataset, message);
    // Their labels and results name entities, too.
    ready.jobs.forget_erased(engine)?;
    Ok(Reply::json(
        200,
        &json!({
            "dataset": receipt.dataset,
            "position": receipt.position.to_string(),
            "time": receipt.time.to_rfc3339(),
            "entities": receipt.entities,
            "events": receipt.events,
            "dead_letters": receipt.dead_letters,
            "records": receipt.records,
            "datasets": receipt.datasets,
        }),
    ))
}
