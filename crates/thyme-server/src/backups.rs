//! `POST /api/v1/backup`.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::json;
use thyme_core::{Error, Result};

use crate::app::Ready;
use crate::reads::parse;
use crate::request::{Reply, Request};

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object with directory")]
pub(crate) struct BackupBody {
    directory: PathBuf,
}

/// Backs up into a directory of this machine, and answers once it is whole.
pub(crate) fn backup(ready: &Ready, request: &Request) -> Result<Reply> {
    // As for a commit: a page in someone's browser must not be able to ask for it.
    if request.content_type() != "application/json" {
        return Ok(Reply::failure(
            415,
            "unsupported_media_type",
            "a backup is asked for with Content-Type: application/json",
            &[],
        ));
    }
    let body: BackupBody = parse(request)?;
    if !body.directory.is_absolute() {
        return Err(Error::invalid_data(format!(
            "directory: expected an absolute path on the server's machine, got \"{}\"",
            body.directory.display()
        )));
    }
    let made = ready.engine().backup(&body.directory)?;
    let message = format!("up to {} into {}", made.position, body.directory.display());
    ready.actions.note(ready.engine(), &request.caller, "backup", "server", message);
    Ok(Reply::json(
        200,
        &json!({
            "directory": body.directory,
            "position": made.position.to_string(),
            "files": made.files,
            "bytes": made.bytes,
            "bytes_written": made.bytes_written,
            "checkpoint": made.checkpoint.map(|record| format!("e{record}")),
        }),
    ))
}
