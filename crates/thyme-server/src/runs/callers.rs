//! Who asked for which featureset, day by day, for a month: whom a change of it concerns. Query runs are gone much
//! sooner where much is asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use thyme_core::Result;
use thyme_core::time::format_rfc3339;
use thyme_engine::{Engine, Kept};

/// How long is looked back.
const DAYS: i64 = 30;
const DAY_US: i64 = 86_400_000_000;
/// The callers of one thing that are counted by themselves; the others are counted together.
const CALLERS_MAX: usize = 100;
/// The name under which the engine keeps the counts, and the form that they have.
const KEPT: &str = "callers";
const FORMAT: u32 = 1;

/// What one caller asked of one featureset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Asks {
    /// Queries, by days since the epoch.
    days: BTreeMap<i64, u64>,
    /// The last of them.
    last_us: i64,
}

/// What a caller is counted as beside those that are counted already.
pub(crate) fn counted_as<'c, T>(counted: &BTreeMap<String, T>, caller: &'c str) -> &'c str {
    let by_itself = counted.len() < CALLERS_MAX || counted.contains_key(caller);
    if by_itself { caller } else { "others" }
}

type ByFeatureset = BTreeMap<String, BTreeMap<String, Asks>>;

/// Queries of the last 30 days, by featureset and caller.
#[derive(Debug, Default)]
pub(crate) struct Callers {
    asks: Mutex<ByFeatureset>,
    /// Whether somebody asked since they were written last.
    changed: AtomicBool,
}

#[derive(Serialize, Deserialize)]
struct KeptCallers {
    format: u32,
    asks: ByFeatureset,
}

impl Callers {
    /// Those that were kept when the engine was closed, which keeps them from here on.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub fn kept_in(engine: &Engine) -> Result<Arc<Callers>> {
        let callers = Arc::new(Callers::default());
        let before = engine.keep(KEPT, callers.clone())?;
        let before: Option<KeptCallers> = before.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        if let Some(before) = before.filter(|before| before.format == FORMAT) {
            *callers.asks.lock() = before.asks;
        }
        Ok(callers)
    }

    /// Counts queries, each a featureset, its caller and its time.
    pub fn note<'q>(&self, queries: impl Iterator<Item = (&'q str, String, i64)>) {
        let mut asks = self.asks.lock();
        for (featureset, caller, time_us) in queries {
            if !asks.contains_key(featureset) {
                asks.insert(featureset.to_owned(), BTreeMap::new());
            }
            let Some(callers) = asks.get_mut(featureset) else { continue };
            let caller = counted_as(callers, &caller).to_owned();
            let of_caller = callers.entry(caller).or_default();
            let day = time_us.div_euclid(DAY_US);
            *of_caller.days.entry(day).or_default() += 1;
            of_caller.last_us = of_caller.last_us.max(time_us);
            if of_caller.days.len() as i64 > DAYS {
                of_caller.days.retain(|known, _| day - known < DAYS);
            }
            self.changed.store(true, Ordering::Release);
        }
    }

    /// Who asked for these featuresets in the last 30 days before `now_us`, those that asked most first.
    pub fn of(&self, featuresets: &[&str], now_us: i64) -> Vec<Json> {
        let (asks, today) = (self.asks.lock(), now_us.div_euclid(DAY_US));
        let mut found = Vec::new();
        for featureset in featuresets {
            for (caller, of_caller) in asks.get(*featureset).into_iter().flatten() {
                let lately = of_caller.days.iter().filter(|(day, _)| today - **day < DAYS);
                let queries: u64 = lately.map(|(_, count)| count).sum();
                if queries > 0 {
                    found.push((queries, *featureset, caller.clone(), of_caller.last_us));
                }
            }
        }
        found.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| (a.1, &a.2).cmp(&(b.1, &b.2))));
        let told = |(queries, featureset, caller, last): (u64, &str, String, i64)| json!({"featureset": featureset, "caller": caller, "queries": queries, "last": format_rfc3339(last)});
        found.into_iter().map(told).collect()
    }
}

impl Kept for Callers {
    fn changed(&self) -> Option<Vec<u8>> {
        if !self.changed.swap(false, Ordering::AcqRel) {
            return None;
        }
        serde_json::to_vec(&KeptCallers { format: FORMAT, asks: self.asks.lock().clone() }).ok()
    }

    fn was_not_written(&self) {
        self.changed.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_told_for_thirty_days_and_the_many_together() {
        let callers = Callers::default();
        let at = |day: i64| 20_000 * DAY_US + day * DAY_US + 7;
        let note = |caller: &str, day: i64| callers.note([("F", caller.to_owned(), at(day))].into_iter());
        note("a", 0);
        (0..3).for_each(|_| note("b", 10));
        let told = |day: i64| -> Vec<(String, u64)> {
            let text = |json: &Json| json["caller"].as_str().unwrap_or_default().to_owned();
            let all = callers.of(&["F", "G"], at(day)).into_iter();
            all.map(|json| (text(&json), json["queries"].as_u64().unwrap_or_default())).collect()
        };
        assert_eq!(told(10), [("b".to_owned(), 3), ("a".to_owned(), 1)]);
        assert_eq!(told(29), [("b".to_owned(), 3), ("a".to_owned(), 1)]);
        assert_eq!(told(30), [("b".to_owned(), 3)]);
        assert_eq!(told(40), []);
        (0..200).for_each(|one| note(&format!("c{one}"), 40));
        assert_eq!(told(40).first(), Some(&("others".to_owned(), 102)));
        let kept: KeptCallers = serde_json::from_slice(&callers.changed().unwrap()).unwrap();
        assert_eq!(kept.asks, *callers.asks.lock());
        assert!(callers.changed().is_none());
        // A caller who asks every day is remembered for a month, not for ever.
        (0..100).for_each(|day| note("b", day));
        assert_eq!(callers.asks.lock()["F"]["b"].days.len() as i64, DAYS);
    }
}
