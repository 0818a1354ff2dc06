//! What a door knows and wants to know again after a restart: small facts in the store, beside what checkpoints write.
//! No value depends on them. They are written every so often and at the end, so a crash may lose the last of them.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use thyme_core::Result;
use thyme_store::{CheckpointBatch, Store};

use super::Engine;

/// How the names of such facts begin, which no others do.
const PREFIX: &str = "kept ";

/// A fact that its owner goes on changing.
pub trait Kept: Send + Sync {
    /// What it is now, if it is not what was given out last.
    fn changed(&self) -> Option<Vec<u8>>;

    /// What was given out last could not be written.
    fn was_not_written(&self);
}

/// The facts that are kept, by name.
#[derive(Default)]
pub(crate) struct Keeping {
    all: Mutex<Vec<(String, Arc<dyn Kept>)>>,
}

impl fmt::Debug for Keeping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.all.lock().iter().map(|(name, _)| name.clone())).finish()
    }
}

impl Keeping {
    /// Writes what is not what was written last.
    pub fn save(&self, store: &Store) -> Result<()> {
        let all = self.all.lock();
        let changed = all.iter().filter_map(|(name, kept)| Some((name, kept, kept.changed()?)));
        for (name, kept, value) in changed {
            let mut batch = CheckpointBatch::new();
            batch.put_meta(&format!("{PREFIX}{name}"), &value);
            store.checkpoint(batch).inspect_err(|_| kept.was_not_written())?;
        }
        Ok(())
    }
}

impl Engine {
    /// Keeps a fact from here on; gives what was kept under its name before.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub fn keep(&self, name: &str, kept: Arc<dyn Kept>) -> Result<Option<Vec<u8>>> {
        let before = self.shared.store.meta(&format!("{PREFIX}{name}"))?;
        self.shared.keeping.all.lock().push((name.to_owned(), kept));
        Ok(before)
    }
}
