//! Definitions tried out: the nodes that a commit would add, filled in memory from the log as it is.
//!
//! A [`Trial`] stands beside a running engine. It has a catalog of its own, which shares the nodes that stay with
//! the engine and adds the new ones. Those are filled for the entities that somebody wants, from the records up to the
//! snapshot's position, with the positions and verdicts that the rows have. What is read of it is therefore what
//! the engine would give at that `(T, S)` after the commit. It writes nothing that outlives it.

mod pass;
mod sampling;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use thyme_core::definition::Dataset;
use thyme_core::definition::derivation::inlined;
use thyme_core::{Error, ErrorKind, Field, Position, Result};

use crate::catalog::{Catalog, Ids};
use crate::engine::Shared;
use crate::node::Node;
use crate::residence::Residence;
use crate::snapshot::Snapshot;

pub use pass::{Bounds, Passed, Progress};
pub use sampling::{Seen, Witness, rank};

/// An encoded entity key.
type Key = Box<[u8]>;

/// Of nodes that nobody reads, one entity in this many is filled, to learn what they take.
const PROBED_PART: u64 = 16;

/// The entities that a node which is filled in part has.
#[derive(Debug, Default)]
pub(crate) struct Partial {
    /// It has all of them.
    whole: AtomicBool,
    known: Mutex<BTreeSet<Key>>,
    missed: Mutex<BTreeSet<Key>>,
}

impl Partial {
    /// Somebody reads an entity. If it is not there, that is known afterwards.
    pub fn note(&self, key: &[u8]) {
        if !self.whole.load(Ordering::Acquire) && !self.known.lock().contains(key) {
            self.missed.lock().insert(key.into());
        }
    }
}

/// Where a node says that it is filled in part.
pub(crate) type MaybePartial = OnceLock<Partial>;

/// A node that a commit would add.
struct Fresh {
    node: Arc<Node>,
    /// All of its entities, rather than those that are wanted.
    whole: bool,
    /// Whether it is one that somebody reads.
    read: bool,
    /// The fields of its input that are its key as they came, so that no operator has to run to know it.
    came: Option<Vec<Field>>,
    /// Entities that the next pass fills.
    wanted: BTreeSet<Key>,
    /// Whether a pass has filled it whole, or probed it.
    done: bool,
    facts: FreshFacts,
}

/// What is known of a node that a commit would add.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FreshFacts {
    /// The dataset that it makes readable.
    pub dataset: String,
    /// Rows that passes have offered it.
    pub offered: u64,
    /// Those of them that were of entities which it was to be filled for.
    pub taken: u64,
    /// Bytes of timelines that it has now, of what was taken.
    pub bytes: u64,
    /// Bytes of what its joins keep of all rows, whoever they are of.
    pub fixed_bytes: u64,
    /// Microseconds that it took to put the rows into timelines.
    pub writing_us: u64,
}

impl FreshFacts {
    /// What `of_sample` would be of all rows.
    pub fn scaled(&self, of_sample: u64) -> u64 {
        match self.taken {
            0 => 0,
            taken => (u128::from(of_sample) * u128::from(self.offered) / u128::from(taken)) as u64,
        }
    }
}

impl Fresh {
    fn partial(&self) -> &Partial {
        self.node.partial.get_or_init(Partial::default)
    }

    fn wants(&self, key: &[u8]) -> bool {
        self.whole || self.wanted.contains(key) || (!self.read && rank(key) < u64::MAX / PROBED_PART)
    }

    /// Whether the next pass has anything to do for it.
    fn is_due(&self) -> bool {
        if self.whole || !self.read { !self.done } else { !self.wanted.is_empty() }
    }
}

/// What a commit would make; see the module.
pub struct Trial {
    shared: Arc<Shared>,
    live: Snapshot,
    catalog: Arc<Catalog>,
    ids: Ids,
    residence: Arc<Residence>,
    fresh: Vec<Fresh>,
}

impl fmt::Debug for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trial").field("fresh", &self.fresh.len()).finish_non_exhaustive()
    }
}

impl Trial {
    pub(crate) fn new(
        shared: Arc<Shared>,
        live: Snapshot,
        (catalog, ids): (Arc<Catalog>, Ids),
        residence: Arc<Residence>,
        fresh: &[Arc<Node>],
    ) -> Trial {
        // The left rows that joins keep are written by the nodes that they are parts of; claims of event ids are
        // those of what is live.
        let parts = catalog.nodes().flat_map(|node| node.parts());
        let claims = catalog.datasets.values().filter_map(|dataset| dataset.ids.as_ref());
        let parts: Vec<_> = parts.chain(claims).map(|part| part.id).collect();
        let fed = fresh.iter().filter(|node| !parts.contains(&node.id));
        let fresh = fed.map(|node| Fresh::of(&catalog, node)).collect();
        Trial { shared, live, catalog, ids, residence, fresh }
    }

    /// What is live, at the `(T, S)` of the trial.
    pub fn live(&self) -> &Snapshot {
        &self.live
    }

    /// The definitions as the commit would leave them.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// What the commit would give at the `(T, S)` of [`Trial::live`]. What goes wrong with it is no event of the server.
    pub fn snapshot(&self) -> Snapshot {
        let events = Arc::new(self.live.events.apart());
        Snapshot { catalog: self.catalog.clone(), events, ..self.live.clone() }
    }

    /// Whether the commit would add a node, which has to be filled from the log.
    pub fn is_fresh(&self, node: &Node) -> bool {
        self.fresh.iter().any(|fresh| fresh.node.id == node.id)
    }

    /// What is known of the new nodes.
    pub fn facts(&self) -> Vec<FreshFacts> {
        let all = self.fresh.iter().map(|fresh| {
            let parts = fresh.node.parts().map(|part| part.state.bytes()).sum::<usize>();
            let (bytes, parts) = (fresh.node.state.bytes() as u64, parts as u64);
            let (bytes, fixed_bytes) = if fresh.came.is_some() { (bytes + parts, 0) } else { (bytes, parts) };
            FreshFacts { bytes, fixed_bytes, ..fresh.facts.clone() }
        });
        all.collect()
    }

    /// The events that a fill of all new nodes reads: what the log holds of the datasets that feed them.
    pub fn events_to_read(&self) -> u64 {
        let takes = |id: u32| self.fresh.iter().any(|fresh| fresh.node.takes(id));
        let counters = self.shared.counters.lock();
        counters.iter().filter(|(id, _)| takes(**id)).map(|(_, counters)| counters.events).sum()
    }

    /// Bytes of the log.
    pub fn log_bytes(&self) -> u64 {
        self.shared.log.bytes()
    }

    /// Has the next pass fill a node for an entity. One that stays as it is has all of them.
    pub fn want(&mut self, node: &Node, key: &[u8]) {
        let Some(fresh) = self.fresh.iter_mut().find(|fresh| fresh.node.id == node.id) else { return };
        fresh.read = true;
        if fresh.whole {
            return;
        }
        if fresh.partial().known.lock().insert(key.into()) {
            fresh.wanted.insert(key.into());
        }
    }

    /// Has the next pass fill a node for all of its entities.
    pub fn want_all(&mut self, node: &Node) {
        if let Some(fresh) = self.fresh.iter_mut().find(|fresh| fresh.node.id == node.id) {
            (fresh.read, fresh.whole) = (true, true);
            fresh.partial().whole.store(true, Ordering::Release);
        }
    }

    /// Says that somebody reads a node, of which nothing is wanted yet: the next pass need not probe it.
    pub fn reads(&mut self, node: &Node) {
        if let Some(fresh) = self.fresh.iter_mut().find(|fresh| fresh.node.id == node.id) {
            fresh.read = true;
        }
    }

    /// Whether a pass has anything to fill.
    pub fn is_due(&self) -> bool {
        self.fresh.iter().any(Fresh::is_due)
    }

    /// Has the next pass fill what was read since the last one and was not there; how many entities that is.
    pub fn want_missed(&mut self) -> usize {
        let mut count = 0;
        for fresh in &mut self.fresh {
            let missed = std::mem::take(&mut *fresh.partial().missed.lock());
            if !missed.is_empty() {
                fresh.read = true;
            }
            count += missed.len();
            fresh.partial().known.lock().extend(missed.iter().cloned());
            fresh.wanted.extend(missed);
        }
        count
    }

    /// Refuses what was read if the log or the state beneath is not what it was at the start.
    ///
    /// # Errors
    /// Unavailable: ask again.
    pub fn check_unchanged(&self) -> Result<()> {
        let changed = |what: &str| {
            Err(Error::new(ErrorKind::Unavailable, format!("{what} while values were computed; ask again")))
        };
        if self.shared.erasing().is_some() || self.shared.ledger.since(self.live.position.record()) > 0 {
            return changed("somebody was erased");
        }
        // An index that is joined anew had lost nothing to its retention when the trial began.
        let mut joined = self.fresh.iter().flat_map(|fresh| fresh.node.joins()).map(|join| &join.right);
        if joined.any(|right| right.removed_until().is_some()) {
            return changed("retention removed rows of a joined dataset");
        }
        Ok(())
    }

    fn position(&self) -> Position {
        self.live.position
    }
}

impl Fresh {
    fn of(catalog: &Catalog, node: &Arc<Node>) -> Fresh {
        let all = catalog.datasets.values();
        let joined = all.clone().any(|d| d.joined.as_ref().is_some_and(|joined| joined.id == node.id));
        let made = all.clone().find(|d| d.node.as_ref().is_some_and(|made| made.id == node.id));
        // Whether a row counts is for rows of other entities to say, too.
        let alone = made.filter(|_| node.dedups() == 0);
        let came = alone.and_then(|made| key_as_it_came(catalog, &made.definition));
        let partial = node.partial.get_or_init(Partial::default);
        partial.whole.store(joined, Ordering::Release);
        Fresh {
            node: node.clone(),
            // Whatever is joined may be asked for any of its entities.
            whole: joined,
            read: joined,
            came,
            wanted: BTreeSet::new(),
            done: false,
            facts: FreshFacts { dataset: node.dataset.clone(), ..FreshFacts::default() },
        }
    }
}

/// The fields of its input that are a dataset's key, if no operator makes or changes one.
fn key_as_it_came(catalog: &Catalog, definition: &Dataset) -> Option<Vec<Field>> {
    let keys = definition.fields.keys();
    let Ok(made) = inlined(&catalog.document, definition) else { return None };
    let Some(pipeline) = made.pipelines.first() else { return Some(keys.cloned().collect()) };
    if pipeline.has_unions() {
        return None;
    }
    let input = match pipeline.inputs.first() {
        Some(name) => &catalog.dataset(name).ok()?.definition,
        None => definition,
    };
    let is_made = |name: &str| pipeline.operators.iter().any(|operator| operator.makes(name));
    let came = |key: &Field| {
        let field =
            input.fields.field(&key.name).filter(|f| f.data_type == key.data_type && !is_made(&key.name));
        field.cloned()
    };
    keys.map(came).collect()
}
