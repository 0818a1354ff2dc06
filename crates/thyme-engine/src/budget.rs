//! Room for bytes that are on their way: taken before something comes in, given back once it is through.
//!
//! Whoever finds no room lines up, and those in the line come in one after the other, so that a large one is
//! not passed by small ones for ever. What is larger than all the room there is comes in beside it, one at a
//! time: nothing that is allowed at all waits in vain, and no more is taken than the room and one of these.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// How many may line up before others are sent away.
pub const LINE_MAX: usize = 1024;

/// How many bytes may be on their way.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    state: Mutex<State>,
    /// Somebody in the line came in.
    admitted: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes that are taken of the room.
    taken: usize,
    /// Those of the one that has more than there is room for, beside it.
    beside: Option<usize>,
    next: u64,
    /// By ascending number.
    line: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    bytes: usize,
    waker: Option<Waker>,
}

/// What is in a budget and before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetFacts {
    /// Bytes that there is room for.
    pub limit: usize,
    /// Bytes that are taken.
    pub taken: usize,
    /// How many wait.
    pub waiting: usize,
}

/// Some bytes of a budget; given back when it is dropped.
#[derive(Debug)]
pub struct Ticket {
    budget: Arc<Budget>,
    bytes: usize,
    /// Whether it is the one beside the room.
    is_beside: bool,
}

/// The tickets of what became one record, given back with the last part of it.
pub(crate) type Tickets = Arc<Vec<Ticket>>;

/// A place in the line, or inside already; resolves to the ticket.
#[derive(Debug)]
pub struct Place {
    budget: Arc<Budget>,
    number: u64,
    bytes: usize,
    /// Whether it has become a ticket.
    is_settled: bool,
}

impl Budget {
    /// Room for `limit` bytes.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Budget { limit, state: Mutex::default(), admitted: Condvar::new() })
    }

    /// Bytes that there is room for.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// As much room, for another way.
    pub(crate) fn another(&self) -> Arc<Self> {
        Budget::new(self.limit)
    }

    /// Waits for room for `bytes`, as long as it takes.
    pub fn take(self: &Arc<Self>, bytes: usize) -> Ticket {
        let mut state = self.state.lock();
        let mut place = self.place(&mut state, bytes);
        self.admitted.wait_while(&mut state, |state| state.waits(place.number));
        drop(state);
        place.ticket()
    }

    /// Waits for room for `bytes`, but no longer than `limit`; `None` if there was none, or the line is too
    /// long to wait at all.
    pub fn take_within(self: &Arc<Self>, bytes: usize, limit: Duration) -> Option<Ticket> {
        let mut place = self.line_up(bytes)?;
        let mut state = self.state.lock();
        self.admitted.wait_while_for(&mut state, |state| state.waits(place.number), limit);
        let waits = state.waits(place.number);
        drop(state);
        (!waits).then(|| place.ticket())
    }

    /// A place in the line for `bytes`; `None` when the line is too long already.
    pub fn line_up(self: &Arc<Self>, bytes: usize) -> Option<Place> {
        let mut state = self.state.lock();
        (state.line.len() < LINE_MAX).then(|| self.place(&mut state, bytes))
    }

    /// What is in it and before it.
    pub fn facts(&self) -> BudgetFacts {
        let state = self.state.lock();
        let taken = state.taken + state.beside.unwrap_or(0);
        BudgetFacts { limit: self.limit, taken, waiting: state.line.len() }
    }

    fn place(self: &Arc<Self>, state: &mut State, bytes: usize) -> Place {
        let number = state.next;
        state.next += 1;
        state.line.push_back(Waiting { number, bytes, waker: None });
        // Nobody but the new one can find room that was not there before.
        drop(state.admit(self.limit));
        Place { budget: self.clone(), number, bytes, is_settled: false }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        change(&mut state);
        let woken = state.admit(self.limit);
        drop(state);
        self.admitted.notify_all();
        woken.into_iter().for_each(Waker::wake);
    }
}

impl State {
    fn waits(&self, number: u64) -> bool {
        self.line.binary_search_by_key(&number, |w| w.number).is_ok()
    }

    /// Lets in whom there is room for, the first first; gives whom to wake. What comes in beside the room and
    /// what comes into it do not wait for each other.
    fn admit(&mut self, limit: usize) -> Vec<Waker> {
        let (mut woken, mut is_full, mut index) = (Vec::new(), false, 0);
        while !(is_full && self.beside.is_some())
            && let Some(bytes) = self.line.get(index).map(|w| w.bytes)
        {
            let is_beside = bytes > limit;
            match is_beside {
                true if self.beside.is_none() => self.beside = Some(bytes),
                false if !is_full && self.taken.saturating_add(bytes) <= limit => self.taken += bytes,
                _ => {
                    is_full |= !is_beside;
                    index += 1;
                    continue;
                }
            }
            woken.extend(self.line.remove(index).and_then(|w| w.waker));
        }
        woken
    }

    fn give_back(&mut self, bytes: usize, is_beside: bool) {
        match is_beside {
            true => self.beside = None,
            false => self.taken -= bytes,
        }
    }

    /// Takes `bytes` where there is room, or beside it, and says which; `None` if neither.
    fn put(&mut self, bytes: usize, limit: usize) -> Option<bool> {
        if self.taken.saturating_add(bytes) <= limit {
            self.taken += bytes;
            return Some(false);
        }
        if self.beside.is_some() {
            return None;
        }
        self.beside = Some(bytes);
        Some(true)
    }
}

impl Place {
    fn is_beside(&self) -> bool {
        self.bytes > self.budget.limit
    }

    fn ticket(&mut self) -> Ticket {
        self.is_settled = true;
        Ticket { budget: self.budget.clone(), bytes: self.bytes, is_beside: self.is_beside() }
    }
}

impl Future for Place {
    type Output = Ticket;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Ticket> {
        let mut state = self.budget.state.lock();
        let found = state.line.binary_search_by_key(&self.number, |w| w.number);
        if let Some(waiting) = found.ok().and_then(|index| state.line.get_mut(index)) {
            waiting.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        drop(state);
        Poll::Ready(self.ticket())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_settled {
            return;
        }
        // It leaves the line, or the room if it came in and nobody noticed.
        self.budget.change(|state| match state.line.binary_search_by_key(&self.number, |w| w.number) {
            Ok(index) => drop(state.line.remove(index)),
            Err(_) => state.give_back(self.bytes, self.is_beside()),
        });
    }
}

impl Ticket {
    /// Takes `bytes` in all if there is room for them. If there is not, one at a time may have them beside the
    /// room: those who have something already cannot wait for each other to give it back.
    pub fn grow(&mut self, bytes: usize) -> bool {
        let budget = self.budget.clone();
        let mut has_grown = false;
        budget.change(|state| {
            state.give_back(self.bytes, self.is_beside);
            match state.put(bytes, budget.limit) {
                Some(is_beside) => {
                    (self.bytes, self.is_beside) = (bytes, is_beside);
                    has_grown = true;
                }
                None => state.taken += self.bytes,
            }
        });
        has_grown
    }

    /// Takes `bytes` from now on, whether there is room for them or not: they are there already.
    pub fn resize(&mut self, bytes: usize) {
        let budget = self.budget.clone();
        budget.change(|state| {
            state.give_back(self.bytes, self.is_beside);
            let put = state.put(bytes, budget.limit);
            if put.is_none() {
                state.taken += bytes;
            }
            (self.bytes, self.is_beside) = (bytes, put == Some(true));
        });
    }

    /// What is in its budget and before it.
    pub fn facts(&self) -> BudgetFacts {
        self.budget.facts()
    }

    /// How much it takes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.budget.change(|state| state.give_back(self.bytes, self.is_beside));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Wake;

    struct Noted(Mutex<bool>);

    impl Wake for Noted {
        fn wake(self: Arc<Self>) {
            *self.0.lock() = true;
        }
    }

    fn polled(place: &mut Place, noted: &Arc<Noted>) -> Option<Ticket> {
        let waker = Waker::from(noted.clone());
        match Pin::new(place).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(ticket) => Some(ticket),
            Poll::Pending => None,
        }
    }

    #[test]
    fn what_has_no_room_waits() {
        let room = Budget::new(10);
        let (a, b) = (room.take(6), room.take(4));
        #[expect(clippy::disallowed_methods, reason = "somebody has to wait")]
        let waiting = std::thread::spawn({
            let room = room.clone();
            move || room.take(10)
        });
        drop((a, b));
        let whole = waiting.join();
        assert_eq!(room.facts(), BudgetFacts { limit: 10, taken: 10, waiting: 0 });
        assert!(room.take_within(1, Duration::ZERO).is_none());
        drop(whole);
        assert_eq!(room.facts(), BudgetFacts { limit: 10, taken: 0, waiting: 0 });
    }

    #[test]
    fn of_what_is_larger_than_the_room_there_is_one_beside_it() {
        let room = Budget::new(10);
        let (a, large) = (room.take(6), room.take(60));
        assert_eq!(room.facts().taken, 66);
        let waiting = room.line_up(50).unwrap();
        assert!(room.take_within(4, Duration::ZERO).is_some(), "it has room, whatever large ones wait for");
        assert!(room.take_within(5, Duration::ZERO).is_none());
        drop(large);
        assert_eq!(room.facts(), BudgetFacts { limit: 10, taken: 56, waiting: 0 });
        drop((a, waiting));
        assert_eq!(room.facts().taken, 0);
    }

    #[test]
    fn small_ones_do_not_pass_a_large_one() {
        let (room, noted) = (Budget::new(10), Arc::new(Noted(Mutex::new(false))));
        let first = room.take(6);
        let (mut large, mut small) = (room.line_up(10).unwrap(), room.line_up(1).unwrap());
        assert!(polled(&mut large, &noted).is_none() && polled(&mut small, &noted).is_none());
        assert_eq!(room.facts().waiting, 2);
        drop(first);
        assert!(*noted.0.lock(), "it is woken");
        let large = polled(&mut large, &noted).unwrap();
        assert!(polled(&mut small, &noted).is_none());
        drop(large);
        assert!(polled(&mut small, &noted).is_some());
    }

    #[test]
    fn who_gives_up_leaves_no_trace() {
        let (room, noted) = (Budget::new(10), Arc::new(Noted(Mutex::new(false))));
        let first = room.take(6);
        let (large, mut small) = (room.line_up(9).unwrap(), room.line_up(4).unwrap());
        drop(large);
        let small = polled(&mut small, &noted);
        assert!(small.is_some(), "the one before it has left");
        // These came in, but gave up before they knew.
        drop((room.line_up(0), room.line_up(70)));
        drop((first, small));
        assert_eq!(room.facts(), BudgetFacts { limit: 10, taken: 0, waiting: 0 });
    }

    #[test]
    fn a_ticket_takes_what_it_turns_out_to_need() {
        let room = Budget::new(10);
        let (mut a, mut b) = (room.take(2), room.take(2));
        a.resize(30);
        b.resize(40);
        assert_eq!(room.facts().taken, 70);
        assert!(room.take_within(1, Duration::ZERO).is_none());
        b.resize(3);
        assert!(room.take_within(7, Duration::ZERO).is_some());
        drop((a, b));
        assert_eq!(room.facts().taken, 0);
    }

    #[test]
    fn one_ticket_at_a_time_grows_beyond_the_room() {
        let room = Budget::new(10);
        let (mut a, mut b, mut c) = (room.take(3), room.take(3), room.take(3));
        assert!(a.grow(4), "there is room");
        assert!(b.grow(20) && !c.grow(20), "b is the one");
        assert_eq!((b.bytes(), c.bytes(), room.facts().taken), (20, 3, 27));
        assert!(b.grow(30), "it still is");
        b.resize(1);
        assert!(c.grow(20), "b has come back");
        drop(b);
        assert!(!a.grow(11));
        drop(c);
        assert!(a.grow(11));
        drop(a);
        assert_eq!(room.facts().taken, 0);
    }

    #[test]
    fn a_line_has_an_end() {
        let room = Budget::new(1);
        let inside = room.take(1);
        let line: Vec<Place> = (0..LINE_MAX).map(|_| room.line_up(1).unwrap()).collect();
        assert!(room.line_up(1).is_none());
        drop((line, inside));
        assert!(room.line_up(1).is_some());
    }
}
