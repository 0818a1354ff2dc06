//! Snapshots: `value(k, T, S)` under one commit.

use std::sync::Arc;
use std::time::Duration;

use thyme_core::aggregate::Outcome;
use thyme_core::time::EVENT_TIME_MAX;
use thyme_core::value::Scalar;
use thyme_core::{DataType, Error, ErrorKind, EventTime, Extent, Position, Result, Value, Window};
use thyme_timeline::{Look, SweepOutput, Timeline};

use crate::catalog::Catalog;
use crate::events::{EventLog, Severity};
use crate::node::Node;
use crate::state::{Keep, Looks};

/// Which `(T, S)` a read asks for; nothing asked means online.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadAt {
    /// The as-of time.
    pub time: Option<EventTime>,
    /// The state as known at this position.
    pub position: Option<Position>,
    /// Wait until this position is applied.
    pub min_position: Option<Position>,
    /// How long to wait for positions, instead of [`ReadAt::WAIT`].
    pub wait: Option<Duration>,
}

impl ReadAt {
    /// How long a read waits for its positions to be applied.
    pub const WAIT: Duration = Duration::from_secs(10);
    /// How long it may be told to wait.
    pub const WAIT_MAX: Duration = Duration::from_secs(60);
}

/// A view that does not change: one commit, one time, one position.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The committed definitions.
    pub catalog: Arc<Catalog>,
    /// The as-of time of reads that do not bring their own.
    pub time: EventTime,
    /// How much of the log counts.
    pub position: Position,
    /// The server's now when it was taken: answers as of later times are provisional, since later events
    /// may change them.
    pub now: EventTime,
    /// Whether `time` is the server's now.
    pub online: bool,
    /// The earliest position that is asked for, and how many erasures there were since: then this is no longer
    /// what was known at it.
    pub erasures: Option<(Position, usize)>,
    pub(crate) events: Arc<EventLog>,
    pub(crate) keep: Keep,
}

/// What a window has of a node's rows as of `time`. Rows up to where a node begins are gone, though some may still be there.
fn extent_of(node: &Node, window: Option<&Window>, time: EventTime) -> Extent {
    let extent = Extent::of(window, node.retention, time);
    Extent { after: node.begins().map_or(extent.after, |begins| extent.after.max(begins)), ..extent }
}

/// The exclusive start of what is kept of a node's rows at `time`.
fn kept_after(node: &Node, time: EventTime) -> EventTime {
    extent_of(node, None, time).after
}

/// What reads of the latest row as of each time and position look at.
fn latest_of(node: &Node, at: &[(EventTime, Position)]) -> Vec<Look> {
    let look = |&(until, at): &(EventTime, Position)| {
        let after = kept_after(node, until);
        Look::Latest { after, until, at }
    };
    at.iter().map(look).collect()
}

impl Snapshot {
    /// The same view as it was known at an earlier position.
    pub fn as_known_at(&self, position: Position) -> Snapshot {
        Snapshot { position: position.min(self.position), ..self.clone() }
    }

    /// The same view for reading many entities once: what it has to load does not stay in memory.
    pub fn in_passing(mut self) -> Snapshot {
        self.keep = Keep::Passing;
        self
    }

    /// Tells operators that an extractor has failed; each at most once a second.
    pub fn note_failed_extractor(&self, extractor: &str, why: String) {
        self.events.record(Severity::Error, "extractor_failed", extractor, why);
    }

    fn read<R>(
        &self,
        node: &Node,
        key: &[u8],
        looks: Option<&dyn Fn() -> Vec<Look>>,
        read: impl FnOnce(&Timeline) -> R,
    ) -> Result<Option<R>> {
        if let Some(partial) = node.partial.get() {
            partial.note(key);
        }
        let looks = looks.map(|all| Looks { layout: &node.layout, all });
        node.state.read(key, self.keep, looks.as_ref(), read)
    }

    /// Refuses a read as of `time` that needs rows which may have been removed: of `wanted` outputs, or of an
    /// index's rows. Reads ask it themselves, after they have looked, since rows may go meanwhile. What reaches
    /// back without end begins where the node does ([`Node::removed_until`]) and is never refused.
    ///
    /// # Errors
    /// Gone, with the time from which on it can be answered.
    pub fn check_kept(&self, node: &Node, time: EventTime, wanted: &[usize]) -> Result<()> {
        if node.removed_until().is_none() {
            return Ok(());
        }
        if node.is_index() {
            return self.check_window(node, time, None);
        }
        let outputs = wanted.iter().filter_map(|index| node.outputs.get(*index));
        let windows = outputs.map(|output| output.window.as_ref());
        // Most windows are bounded, and then the one that begins first needs most.
        let begin = |window: Option<&Window>| Extent::of(window, node.retention, time).after;
        let bounded =
            windows.filter(|window| node.retention.is_some() || window.is_some_and(Window::is_bounded));
        let widest = bounded.min_by_key(|window| begin(*window));
        widest.map_or(Ok(()), |widest| self.check_window(node, time, widest))
    }

    /// Whether all that any read of a node as of `time` may need is still there.
    pub fn keeps(&self, node: &Node, time: EventTime) -> bool {
        let all: Vec<usize> = (0..node.outputs.len()).collect();
        self.check_window(node, time, None).and_then(|()| self.check_kept(node, time, &all)).is_ok()
    }

    fn check_window(&self, node: &Node, time: EventTime, window: Option<&Window>) -> Result<()> {
        let Some(removed) = node.removed_until() else { return Ok(()) };
        let is_bounded = node.retention.is_some() || window.is_some_and(Window::is_bounded);
        let after = Extent::of(window, node.retention, time).after;
        if after >= removed || !is_bounded {
            return Ok(());
        }
        let by_window = window.and_then(|window| window.earliest_without(removed));
        let by_retention = node.retention.map(|kept| EventTime(removed.0.saturating_add(kept.0)));
        let from = by_window.into_iter().chain(by_retention).min().unwrap_or(EVENT_TIME_MAX);
        let reach = node.retention.map_or_else(String::new, |span| format!(" (retention=\"{span}\")"));
        Err(Error::new(
            ErrorKind::Gone,
            format!(
                "{} as of {} needs events after {}, and those up to {} have been removed{reach}; ask for {} or later",
                node.dataset,
                time.to_rfc3339(),
                after.to_rfc3339(),
                removed.to_rfc3339(),
                from.to_rfc3339()
            ),
        ))
    }

    /// What whoever asked for an earlier position must be told, if anything.
    pub fn erased(&self) -> Option<String> {
        self.erasures.map(|(position, count)| {
            format!(
                "since position {position} there were {count} erasures: what was erased is not in this answer, nor counted in it"
            )
        })
    }

    /// The values of `wanted` outputs of a pipeline's node for one entity.
    ///
    /// # Errors
    /// An entity that rests in the store and cannot be read.
    pub fn outputs(&self, node: &Node, key: &[u8], time: EventTime, wanted: &[usize]) -> Result<Vec<Value>> {
        let mut values = Vec::with_capacity(wanted.len());
        self.outputs_at(node, key, &[(time, self.position)], wanted, &mut |_, _, value| values.push(value))?;
        Ok(values)
    }

    /// The values of `wanted` outputs of one entity, each time as known at a position of its own. `sink`
    /// gets the index in `at`, the index in `wanted`, and the value.
    ///
    /// # Errors
    /// As [`Snapshot::outputs`].
    pub fn outputs_at(
        &self,
        node: &Node,
        key: &[u8],
        at: &[(EventTime, Position)],
        wanted: &[usize],
        sink: &mut dyn FnMut(usize, usize, Value),
    ) -> Result<()> {
        let window = |index: usize, time| {
            let output = &node.outputs[index];
            (output.slot, extent_of(node, output.window.as_ref(), time))
        };
        let looks = || {
            let look = |&(time, at): &(EventTime, Position), &index: &usize| {
                let (slot, extent) = window(index, time);
                Look::Fold { slot, extent, at }
            };
            at.iter().flat_map(|at| wanted.iter().map(move |index| look(at, index))).collect()
        };
        let folded = self.read(node, key, Some(&looks), |timeline| {
            for (row, &(time, position)) in at.iter().enumerate() {
                let mut last = None;
                for (place, &index) in wanted.iter().enumerate() {
                    let (slot, extent) = window(index, time);
                    let outcome = timeline.fold_extent(&node.layout, slot, &extent, position, &mut last);
                    sink(row, place, self.value(node, index, outcome));
                }
            }
        })?;
        if folded.is_none() {
            for row in 0..at.len() {
                for (place, &index) in wanted.iter().enumerate() {
                    sink(row, place, node.outputs[index].over_nothing.clone());
                }
            }
        }
        let earliest = at.iter().map(|(time, _)| *time).min();
        earliest.map_or(Ok(()), |earliest| self.check_kept(node, earliest, wanted))
    }

    /// The latest row of an index's node for one entity: its event time and its columns.
    ///
    /// # Errors
    /// As [`Snapshot::outputs`].
    pub fn latest_row(
        &self,
        node: &Node,
        key: &[u8],
        time: EventTime,
    ) -> Result<Option<(EventTime, Vec<Value>)>> {
        let mut latest = None;
        self.latest_rows(node, key, &[(time, self.position)], &mut |_, row| latest = Some(row))?;
        Ok(latest)
    }

    /// [`Snapshot::latest_row`] of one entity many times, each as known at a position of its own; `sink` gets
    /// the index in `at` and the row, if there is one.
    ///
    /// # Errors
    /// As [`Snapshot::outputs`].
    pub fn latest_rows(
        &self,
        node: &Node,
        key: &[u8],
        at: &[(EventTime, Position)],
        sink: &mut dyn FnMut(usize, (EventTime, Vec<Value>)),
    ) -> Result<()> {
        self.read(node, key, Some(&|| latest_of(node, at)), |timeline| {
            for (index, (time, position)) in at.iter().enumerate() {
                let after = kept_after(node, *time);
                if let Some(row) = timeline.latest_row(&node.layout, after, *time, *position) {
                    let values = (0..node.columns.len()).map(|column| row.value(column)).collect();
                    sink(index, (row.time(), values));
                }
            }
        })?;
        let earliest = at.iter().map(|(time, _)| *time).min();
        earliest.map_or(Ok(()), |earliest| self.check_window(node, earliest, None))
    }

    /// The event time of an entity's newest event up to `time`.
    ///
    /// # Errors
    /// As [`Snapshot::outputs`].
    pub fn newest_event(&self, node: &Node, key: &[u8], time: EventTime) -> Result<Option<EventTime>> {
        let after = node.begins().unwrap_or(EventTime(i64::MIN));
        let newest = |timeline: &Timeline| {
            timeline.latest_row(&node.layout, after, time, self.position).map(|row| row.time())
        };
        let look = || vec![Look::Latest { after, until: time, at: self.position }];
        Ok(self.read(node, key, Some(&look), newest)?.flatten())
    }

    /// [`Snapshot::newest_event`] of one entity many times, each as known at a position of its own and inside what
    /// `retention` keeps; `sink` gets the index in `at` and the event's time, if there is one.
    ///
    /// # Errors
    /// As [`Snapshot::outputs`]; Gone where it may have been removed.
    pub fn newest_events(
        &self,
        node: &Node,
        key: &[u8],
        at: &[(EventTime, Position)],
        sink: &mut dyn FnMut(usize, EventTime),
    ) -> Result<()> {
        let mut unseen: Option<EventTime> = None;
        let mut note = |time: EventTime| unseen = Some(unseen.map_or(time, |earliest| earliest.min(time)));
        let read = self.read(node, key, Some(&|| latest_of(node, at)), |timeline| {
            for (index, (time, position)) in at.iter().enumerate() {
                let after = kept_after(node, *time);
                match timeline.latest_row(&node.layout, after, *time, *position) {
                    Some(row) => sink(index, row.time()),
                    None => note(*time),
                }
            }
        })?;
        if read.is_none() {
            at.iter().for_each(|(time, _)| note(*time));
        }
        unseen.map_or(Ok(()), |earliest| self.check_window(node, earliest, None))
    }

    /// Whether an entity has any event up to `time`, inside what `retention` keeps.
    ///
    /// # Errors
    /// As [`Snapshot::outputs`].
    pub fn has_events(&self, node: &Node, key: &[u8], time: EventTime) -> Result<bool> {
        let looks = || latest_of(node, &[(time, self.position)]);
        let seen = self.read(node, key, Some(&looks), |timeline| self.is_seen(node, timeline, time))?;
        self.check_window(node, time, None)?;
        Ok(seen.unwrap_or(false))
    }

    fn is_seen(&self, node: &Node, timeline: &Timeline, time: EventTime) -> bool {
        let after = kept_after(node, time);
        timeline.latest_row(&node.layout, after, time, self.position).is_some()
    }

    /// The values of `wanted` outputs for many times of one entity, in one pass over its timeline.
    /// `times` ascend; `sink` gets the index of the time, the index in `wanted`, and the value.
    ///
    /// # Errors
    /// As [`Snapshot::outputs`].
    pub fn sweep(
        &self,
        node: &Node,
        key: &[u8],
        times: &[EventTime],
        wanted: &[usize],
        sink: &mut dyn FnMut(usize, usize, Value),
    ) -> Result<()> {
        let begins = node.begins();
        let outputs: Vec<SweepOutput> = wanted
            .iter()
            .map(|&index| {
                let output = &node.outputs[index];
                SweepOutput { slot: output.slot, window: output.window, retention: node.retention, begins }
            })
            .collect();
        let swept = self.read(node, key, None, |timeline| {
            timeline.sweep(&node.layout, &outputs, times, self.position, &mut |time, output, outcome| {
                sink(time, output, self.value(node, wanted[output], outcome));
            });
        })?;
        if swept.is_none() {
            for time in 0..times.len() {
                for (output, &index) in wanted.iter().enumerate() {
                    sink(time, output, node.outputs[index].over_nothing.clone());
                }
            }
        }
        times.first().map_or(Ok(()), |earliest| self.check_kept(node, *earliest, wanted))
    }

    /// The encoded keys of all entities of a node that have an event up to `time`.
    ///
    /// # Errors
    /// As [`Snapshot::outputs`].
    pub fn entities(&self, node: &Node, time: EventTime) -> Result<Vec<Box<[u8]>>> {
        let mut keys = node.state.keys_where(|timeline| self.is_seen(node, timeline, time))?;
        self.check_window(node, time, None)?;
        keys.sort_unstable();
        Ok(keys)
    }

    /// Calls `f` with the encoded key of every entity of a node that has an event which counts as of some time from
    /// `from` on, in no order; with one, it may be, twice.
    ///
    /// # Errors
    /// As [`Snapshot::outputs`].
    pub fn each_entity(&self, node: &Node, from: EventTime, f: &mut dyn FnMut(&[u8])) -> Result<()> {
        let after = kept_after(node, from);
        let counts = |timeline: &Timeline| {
            timeline.latest_row(&node.layout, after, EventTime(i64::MAX), self.position).is_some()
        };
        node.state.visit_where(&counts, f)?;
        self.check_window(node, from, None)
    }

    fn value(&self, node: &Node, index: usize, outcome: Outcome) -> Value {
        let output = &node.outputs[index];
        match outcome {
            Outcome::Value(value) => value.widen(output.data_type).unwrap_or_default(),
            Outcome::Cut(value, dropped) => {
                node.state.note_dropped(dropped);
                value.widen(output.data_type).unwrap_or_default()
            }
            Outcome::Nothing => output.over_nothing.clone(),
            Outcome::Overflow => {
                let subject = format!("{}.{}", node.dataset, output.name);
                let (of, limit) = match output.data_type {
                    DataType::Map(Scalar::Decimal(_)) => {
                        ("one category of an entity", "has more than 38 digits")
                    }
                    DataType::Map(_) => ("one category of an entity", "is outside int64"),
                    DataType::Decimal(_) => ("an entity", "has more than 38 digits"),
                    _ => ("an entity", "is outside int64"),
                };
                let message = format!(
                    "{subject}: the exact sum of {of} {limit}, so the value is null; declare the summed field as float, or use a shorter window"
                );
                self.events.record(Severity::Error, "sum_overflow", &subject, message);
                Value::Null
            }
        }
    }
}

impl Node {
    /// How many entities it has, late to change under load.
    pub fn entities(&self) -> u64 {
        self.state.entities().0
    }

    /// How many categories were left out of maps that were read of it, since they were beyond a limit.
    pub fn categories_dropped(&self) -> u64 {
        self.state.dropped()
    }

    /// Whether it is an index of raw rows rather than a pipeline.
    pub fn is_index(&self) -> bool {
        self.outputs.is_empty()
    }
}
