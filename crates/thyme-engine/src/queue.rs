//! Where work waits: a channel to the thread that does it, or a list from which whoever steps the engine
//! takes it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use parking_lot::Mutex;

/// The side that work is handed in at.
pub(crate) enum Outbox<W> {
    /// To a thread; waits while the channel is full.
    Thread(SyncSender<W>),
    /// To whoever steps; never waits.
    Hand(Hand<W>),
}

impl<W> Clone for Outbox<W> {
    fn clone(&self) -> Self {
        match self {
            Outbox::Thread(sender) => Outbox::Thread(sender.clone()),
            Outbox::Hand(list) => Outbox::Hand(list.clone()),
        }
    }
}

impl<W> Outbox<W> {
    /// Hands `work` in; false, and the work is dropped, when nobody will do it any more.
    pub fn send(&self, work: W) -> bool {
        match self {
            Outbox::Thread(sender) => sender.send(work).is_ok(),
            Outbox::Hand(list) => list.push(work),
        }
    }
}

/// Work in the order it came, shared by who brings and who does it.
pub(crate) struct Hand<W>(Arc<Mutex<Waiting<W>>>);

struct Waiting<W> {
    work: VecDeque<W>,
    is_closed: bool,
}

impl<W> Clone for Hand<W> {
    fn clone(&self) -> Self {
        Hand(self.0.clone())
    }
}

impl<W> Default for Hand<W> {
    fn default() -> Self {
        Hand(Arc::new(Mutex::new(Waiting { work: VecDeque::new(), is_closed: false })))
    }
}

impl<W> Hand<W> {
    /// As [`Outbox::send`].
    pub fn push(&self, work: W) -> bool {
        let mut waiting = self.0.lock();
        if !waiting.is_closed {
            waiting.work.push_back(work);
            return true;
        }
        // Dropping it may answer somebody, who may hand in more.
        drop(waiting);
        false
    }

    /// The oldest.
    pub fn pop(&self) -> Option<W> {
        self.0.lock().work.pop_front()
    }

    pub fn len(&self) -> usize {
        self.0.lock().work.len()
    }

    pub fn is_closed(&self) -> bool {
        self.0.lock().is_closed
    }

    /// Drops what waits and takes no more.
    pub fn close(&self) {
        let mut waiting = self.0.lock();
        waiting.is_closed = true;
        let dropped = std::mem::take(&mut waiting.work);
        drop(waiting);
        drop(dropped);
    }
}
