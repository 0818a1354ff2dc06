//! What of a server's own records is not what was written: told once while it runs, and by the doctor.

use std::path::Path;

use thyme_core::Result;
use thyme_engine::maintenance::{self, Examination, Watch};
use thyme_engine::{Engine, JOBS_FOLDER, QUERY_RUNS_FOLDER, Severity};

use crate::actions::{self, Actions};
use crate::jobs;
use crate::runs::Recorder;
use crate::trail::Trail;

/// Tells of what was found since this was asked last.
pub(crate) fn tell(engine: &Engine, actions: &Actions, runs: &Recorder) {
    let found = [(actions::FOLDER, actions.untold_damage()), (QUERY_RUNS_FOLDER, runs.untold_damage())];
    for (folder, sentences) in found {
        for sentence in sentences {
            engine.events().record(Severity::Error, "trail_damaged", folder, sentence);
        }
    }
}

/// What to do about damage that hides nothing but itself.
const RESTORE: &str =
    "nothing: the rest is shown, and it goes with the oldest; or stop the server and move the file away";

/// Examines the data directory `data`, or the backup in it: what the engine keeps there, and what a server does.
///
/// # Errors
/// As [`maintenance::examine`].
pub fn examine(data: &Path, deep: bool, now_us: i64, watch: Watch<'_>) -> Result<Examination> {
    let mut found = maintenance::examine(data, deep, now_us, watch)?;
    if found.findings.iter().any(|finding| finding.part == "backup") {
        // Its manifest has the sum of each file.
        return Ok(found);
    }
    for (part, folder) in [("audit", actions::FOLDER), ("runs", QUERY_RUNS_FOLDER)] {
        let folder = data.join(folder);
        if !folder.is_dir() {
            continue;
        }
        match Trail::examine(&folder) {
            Ok(examined) => {
                for sentence in &examined.damaged {
                    found.damaged(part, sentence, RESTORE);
                }
                if examined.damaged.is_empty() {
                    found.intact(part, format!("{} blocks match their checksums", examined.blocks));
                }
                if let Some((path, bytes)) = examined.torn {
                    let what = format!(
                        "{} ends with {bytes} bytes of a block that is not whole, as a crash leaves it",
                        path.display()
                    );
                    found.attention(part, what, "nothing: the next start removes those bytes");
                }
            }
            Err(error) => found.error(part, &error),
        }
    }
    match jobs::examine(&data.join(JOBS_FOLDER)) {
        Ok((0, _)) => {}
        Ok((count, damaged)) => {
            for sentence in &damaged {
                let what = sentence.split_once("; ").map_or(sentence.as_str(), |(what, _)| what);
                let action =
                    "its labels and answers are beside it: take what you need of them, and cancel the job";
                found.damaged("jobs", what, action);
            }
            if damaged.is_empty() {
                found.intact("jobs", format!("{count} can be read"));
            }
        }
        Err(error) => found.error("jobs", &error),
    }
    Ok(found)
}
