//! Whoever waits for the answer to a push or a commit.

use thyme_core::{Error, Result};

use crate::push::Receipt;

/// Told once what became of a push or a commit. Dropping it says that nothing was stored, so that nobody
/// waits for an engine that has stopped.
pub(crate) struct Done(Option<Answer>);

type Answer = Box<dyn FnOnce(Result<Receipt>) + Send>;

impl Done {
    pub fn new(answer: impl FnOnce(Result<Receipt>) + Send + 'static) -> Self {
        Done(Some(Box::new(answer)))
    }

    pub fn answer(mut self, result: Result<Receipt>) {
        if let Some(answer) = self.0.take() {
            answer(result);
        }
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        if let Some(answer) = self.0.take() {
            answer(Err(Error::unavailable("the server is stopping; nothing was stored")));
        }
    }
}
