//! The gate: stamps, published positions, and the `(T, S)` of online reads.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use thyme_core::{Env, EventTime, Position};

/// How far ahead of the clock a lease goes: as far as a stamp may be ahead of it after a crash.
const LEASE_US: i64 = 2_000_000;

/// Ties positions to clocks (contract, section 1): hands out stamps that are strictly increasing and
/// above every online `T` given out, and online `(T, S)` such that what is served at `T` is the
/// state at the greatest position with a stamp `<= T`.
#[derive(Debug)]
pub(crate) struct Gate {
    env: Arc<dyn Env>,
    inner: Mutex<Inner>,
    published: Condvar,
}

#[derive(Debug)]
struct Inner {
    last_record: u64,
    last_stamp: i64,
    highest_online: i64,
    /// No online `T` above it is given out before a larger one is durable: the next life of the engine
    /// stamps above it, whatever its clock says.
    lease: i64,
    /// The stamp of a record that was refused and that the next life may find: what is served at this time or
    /// later would then not be what it was.
    bound: i64,
    /// Stamped and not yet published, oldest first.
    pending: VecDeque<Pending>,
    applied: u64,
    applied_stamp: i64,
    /// Largest event time among the clock datasets in what is published.
    event_now: Option<i64>,
    fixed_now: Option<i64>,
    stopped: Option<String>,
}

#[derive(Debug)]
struct Pending {
    record: u64,
    stamp: i64,
    newest: Option<i64>,
}

/// What "now" is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NowSource {
    Wall,
    Event,
}

impl Gate {
    pub(crate) fn new(env: Arc<dyn Env>) -> Self {
        Gate {
            env,
            inner: Mutex::new(Inner {
                last_record: 0,
                last_stamp: i64::MIN,
                highest_online: i64::MIN,
                lease: i64::MAX,
                bound: i64::MAX,
                pending: VecDeque::new(),
                applied: 0,
                applied_stamp: i64::MIN,
                event_now: None,
                fixed_now: None,
                stopped: None,
            }),
            published: Condvar::new(),
        }
    }

    /// Takes up where a checkpoint left off.
    pub(crate) fn restore(&self, record: u64, stamp: i64, event_now: Option<i64>) {
        let mut inner = self.inner.lock();
        inner.last_record = record;
        inner.last_stamp = stamp;
        inner.applied = record;
        inner.applied_stamp = stamp;
        inner.event_now = event_now;
    }

    /// Online times are given out under a lease from now on; an earlier life had one up to `lease`.
    pub(crate) fn restore_lease(&self, lease: i64) {
        let mut inner = self.inner.lock();
        inner.highest_online = inner.highest_online.max(lease);
        inner.lease = lease;
    }

    /// The end of the lease to make durable next, if it is time: always when `is_needed`, or once online
    /// reads come close to the end of this one.
    pub(crate) fn next_lease(&self, is_needed: bool) -> Option<i64> {
        let inner = self.inner.lock();
        if inner.lease == i64::MAX {
            return None;
        }
        let clock = self.env.now_us();
        let is_close = inner.highest_online > inner.lease.saturating_sub(LEASE_US / 2)
            && clock > inner.lease.saturating_sub(LEASE_US / 2);
        (clock > inner.lease && is_needed || is_close).then(|| clock.max(inner.lease) + LEASE_US)
    }

    /// A lease up to `lease` is durable.
    pub(crate) fn extend_lease(&self, lease: i64) {
        let mut inner = self.inner.lock();
        inner.lease = lease;
    }

    /// Ends the lease at the latest time given out, which is what an orderly end makes durable.
    pub(crate) fn end_lease(&self) -> Option<i64> {
        let mut inner = self.inner.lock();
        if inner.lease == i64::MAX {
            return None;
        }
        inner.lease = inner.highest_online;
        Some(inner.lease)
    }

    /// The number and stamp of the next record; it is pending from now on.
    pub(crate) fn stamp(&self) -> (u64, i64) {
        let mut inner = self.inner.lock();
        let floor = inner.last_stamp.max(inner.highest_online).saturating_add(1);
        let stamp = self.env.now_us().max(floor);
        let record = inner.last_record + 1;
        inner.last_record = record;
        inner.last_stamp = stamp;
        inner.pending.push_back(Pending { record, stamp, newest: None });
        (record, stamp)
    }

    /// Announces a record read back from the log.
    pub(crate) fn replayed(&self, record: u64, stamp: i64) {
        let mut inner = self.inner.lock();
        inner.last_record = record;
        inner.last_stamp = stamp;
        inner.pending.push_back(Pending { record, stamp, newest: None });
    }

    /// The log ends with `record`, which is not announced because an earlier one cannot be applied.
    pub(crate) fn ends_with(&self, record: u64, stamp: i64) {
        let mut inner = self.inner.lock();
        inner.last_record = inner.last_record.max(record);
        inner.last_stamp = inner.last_stamp.max(stamp);
    }

    /// No online `T` reaches the stamp of `record` any more, which is pending and may be in the log or not.
    pub(crate) fn bound(&self, record: u64) {
        let mut inner = self.inner.lock();
        if let Some(stamp) = inner.pending.iter().find(|p| p.record == record).map(|p| p.stamp) {
            inner.bound = inner.bound.min(stamp);
        }
    }

    /// Takes back the records from `first` on: they could not be written.
    pub(crate) fn unstamp(&self, first: u64) {
        let mut inner = self.inner.lock();
        inner.pending.retain(|p| p.record < first);
        inner.last_record = first - 1;
    }

    /// Notes the newest event time that `record` brings to the clock datasets.
    pub(crate) fn note_newest(&self, record: u64, newest: i64) {
        let mut inner = self.inner.lock();
        if let Some(p) = inner.pending.iter_mut().find(|p| p.record == record) {
            p.newest = p.newest.max(Some(newest));
        }
    }

    /// Everything up to `record` is applied on every shard.
    pub(crate) fn publish(&self, record: u64) {
        let mut inner = self.inner.lock();
        while inner.pending.front().is_some_and(|p| p.record <= record) {
            if let Some(p) = inner.pending.pop_front() {
                inner.applied = p.record;
                inner.applied_stamp = p.stamp;
                inner.event_now = inner.event_now.max(p.newest);
            }
        }
        drop(inner);
        self.published.notify_all();
    }

    /// Wakes every waiter: nothing more will be applied. The first reason is the one that is told.
    pub(crate) fn stop(&self, reason: &str) {
        self.inner.lock().stopped.get_or_insert_with(|| reason.to_owned());
        self.published.notify_all();
    }

    /// Why nothing more will be applied, if that is so.
    pub(crate) fn failure(&self) -> Option<String> {
        self.inner.lock().stopped.clone()
    }

    /// The last record applied everywhere.
    pub(crate) fn applied(&self) -> u64 {
        self.inner.lock().applied
    }

    /// The last stamp given.
    pub(crate) fn last_stamp(&self) -> i64 {
        self.inner.lock().last_stamp
    }

    /// The last record stamped.
    pub(crate) fn last_record(&self) -> u64 {
        self.inner.lock().last_record
    }

    pub(crate) fn set_fixed_now(&self, now: Option<i64>) {
        self.inner.lock().fixed_now = now;
    }

    /// Whether "now" is fixed.
    pub(crate) fn is_fixed(&self) -> bool {
        self.inner.lock().fixed_now.is_some()
    }

    /// The `(T, S)` of an online read; `None` when the lease has to be extended first.
    pub(crate) fn online(&self, now: NowSource) -> Option<(EventTime, Position)> {
        let mut inner = self.inner.lock();
        let position = match inner.applied {
            0 => Position::ZERO,
            record => Position::end_of(record),
        };
        if let Some(fixed) = inner.fixed_now {
            return Some((EventTime(fixed), position));
        }
        if now == NowSource::Event {
            return Some((EventTime(inner.event_now.unwrap_or(0)), position));
        }
        let clock = self.env.now_us();
        // Never below v(S): a clock that stepped back must not name a state it does not show.
        let time = match inner.pending.front() {
            Some(next) => clock.min(next.stamp - 1),
            None => clock,
        }
        .min(inner.bound.saturating_sub(1))
        .max(inner.applied_stamp);
        if time > inner.lease && time > inner.applied_stamp {
            return None;
        }
        inner.highest_online = inner.highest_online.max(time);
        Some((EventTime(time), position))
    }

    /// Waits until `record` is applied; false when the time is over, `Err` when it will never be.
    pub(crate) fn wait_applied(&self, record: u64, limit: Duration) -> Result<bool, String> {
        let mut inner = self.inner.lock();
        #[expect(clippy::disallowed_methods, reason = "bounds a wait; no value depends on it")]
        let deadline = std::time::Instant::now() + limit;
        while inner.applied < record {
            if let Some(reason) = &inner.stopped {
                return Err(reason.clone());
            }
            if self.published.wait_until(&mut inner, deadline).timed_out() {
                return Ok(inner.applied >= record);
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicI64, Ordering};

    #[derive(Debug)]
    struct Hand(AtomicI64);
    impl Env for Hand {
        fn now_us(&self) -> i64 {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn what_is_served_at_t_is_the_state_at_the_greatest_stamp_up_to_t() {
        let clock = Arc::new(Hand(AtomicI64::new(100)));
        let gate = Gate::new(clock.clone());
        assert_eq!(gate.online(NowSource::Wall).unwrap(), (EventTime(100), Position::ZERO));
        // The clock stands still: the stamp is above the T that was given out.
        let (r1, v1) = gate.stamp();
        assert_eq!((r1, v1), (1, 101));
        // Written, not applied: the read is before it, in position and in time.
        clock.0.store(500, Ordering::Relaxed);
        assert_eq!(gate.online(NowSource::Wall).unwrap(), (EventTime(100), Position::ZERO));
        gate.publish(1);
        assert_eq!(gate.online(NowSource::Wall).unwrap(), (EventTime(500), Position::end_of(1)));
        // The clock steps back.
        clock.0.store(50, Ordering::Relaxed);
        let (_, v2) = gate.stamp();
        assert!(v2 > 500);
        gate.publish(2);
        assert_eq!(gate.online(NowSource::Wall).unwrap(), (EventTime(v2), Position::end_of(2)));
    }

    #[test]
    fn a_record_that_could_not_be_written_gives_its_number_back() {
        let gate = Gate::new(Arc::new(Hand(AtomicI64::new(100))));
        gate.stamp();
        gate.publish(1);
        gate.stamp();
        gate.stamp();
        gate.unstamp(2);
        assert_eq!(gate.stamp().0, 2);
    }

    #[test]
    fn no_time_of_a_record_that_may_be_in_the_log_is_given_out() {
        let clock = Arc::new(Hand(AtomicI64::new(100)));
        let gate = Gate::new(clock.clone());
        gate.stamp();
        gate.publish(1);
        clock.0.store(200, Ordering::Relaxed);
        let (number, stamp) = gate.stamp();
        assert_eq!((number, stamp), (2, 200));
        gate.bound(number);
        gate.unstamp(number);
        clock.0.store(500, Ordering::Relaxed);
        assert_eq!(gate.online(NowSource::Wall).unwrap(), (EventTime(199), Position::end_of(1)));
        // What is refused after it bounds nothing more.
        gate.unstamp(gate.stamp().0);
        assert_eq!(gate.online(NowSource::Wall).unwrap().0, EventTime(199));
    }

    #[test]
    fn event_now_follows_published_records_only() {
        let gate = Gate::new(Arc::new(Hand(AtomicI64::new(100))));
        gate.stamp();
        gate.note_newest(1, 77);
        assert_eq!(gate.online(NowSource::Event).unwrap().0, EventTime(0));
        gate.publish(1);
        assert_eq!(gate.online(NowSource::Event).unwrap().0, EventTime(77));
    }

    #[test]
    fn no_time_above_the_lease_is_given_out_and_the_next_life_stamps_above_it() {
        let clock = Arc::new(Hand(AtomicI64::new(100)));
        let gate = Gate::new(clock.clone());
        gate.restore_lease(i64::MIN);
        assert!(gate.online(NowSource::Wall).is_none());
        let lease = gate.next_lease(true).unwrap();
        gate.extend_lease(lease);
        assert_eq!(gate.online(NowSource::Wall).unwrap().0, EventTime(100));
        assert_eq!(gate.next_lease(true), None);
        clock.0.store(lease + 1, Ordering::Relaxed);
        assert!(gate.online(NowSource::Wall).is_none());
        clock.0.store(0, Ordering::Relaxed);
        let next = Gate::new(clock);
        next.restore_lease(lease);
        assert!(next.stamp().1 > lease);
    }
}
