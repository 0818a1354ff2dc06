//! Which entities a trial looks at, and when.

use std::sync::Arc;

use thyme_core::{DataType, EventTime, Field};

use super::{Trial, key_as_it_came};
use crate::catalog::Catalog;
use crate::node::Node;

/// Where entities are seen while the log goes by.
#[derive(Clone, Debug)]
pub enum Witness {
    /// In these columns of a dataset's rows.
    Columns {
        /// The dataset's id.
        dataset: u32,
        /// Its fields that make the key, in the order of the entity.
        fields: Vec<Field>,
        /// Its event time.
        timestamp: String,
    },
    /// In the rows that a node makes of its input.
    Rows {
        /// The node, which joins nothing.
        node: Arc<Node>,
        /// For each field of the entity its place in the node's key.
        order: Vec<usize>,
    },
    /// In what a new node holds, once it is filled whole.
    Filled {
        /// The node.
        node: Arc<Node>,
        /// As for [`Witness::Rows`].
        order: Vec<usize>,
    },
}

impl Witness {
    /// Whether it sees the same rows.
    pub fn is_same(&self, other: &Witness) -> bool {
        match (self, other) {
            (
                Witness::Columns { dataset: one, fields: mine, .. },
                Witness::Columns { dataset, fields, .. },
            ) => one == dataset && mine.iter().map(|f| &f.name).eq(fields.iter().map(|f| &f.name)),
            (Witness::Rows { node: one, order: mine }, Witness::Rows { node, order }) => {
                one.id == node.id && mine == order
            }
            _ => false,
        }
    }
}

/// An entity at one of its events.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Its key, encoded in the order of the witness.
    pub key: &'a [u8],
    /// The event's time.
    pub time: EventTime,
    /// The event's position, packed: no two events of an input have the same.
    pub position: u64,
}

/// Where a key, or anything else, stands among all others: the same in every run.
pub fn rank(key: &[u8]) -> u64 {
    let mix = |word: u64| {
        let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    };
    let chunks =
        key.chunks(8).map(|chunk| chunk.iter().fold(0u64, |word, byte| word << 8 | u64::from(*byte)));
    chunks.fold(mix(0x9e37_79b9_7f4a_7c15 ^ key.len() as u64), |all, word| {
        mix(all.wrapping_add(0x9e37_79b9_7f4a_7c15) ^ word)
    })
}

impl Trial {
    /// Where entities with these fields are seen under `catalog`, that of the trial or what is live: in what feeds one of
    /// `nodes`, each with the places of its key's fields in the entity. `None` if no row has all of the fields.
    pub fn witness(
        &self,
        catalog: &Catalog,
        entity: &[(String, DataType)],
        nodes: &[(Arc<Node>, Vec<usize>)],
    ) -> Option<Witness> {
        let order = |key: &[usize]| -> Option<Vec<usize>> {
            (0..entity.len()).map(|field| key.iter().position(|of| *of == field)).collect()
        };
        let covering = nodes.iter().filter_map(|(node, key)| Some((node, order(key)?)));
        let mut joined = None;
        for (node, order) in covering {
            // An event is one of its entity even if a filter leaves it out: values change at its time, too.
            if let Some(came) = came(catalog, node) {
                let fields = order.iter().filter_map(|place| came.get(*place).cloned()).collect();
                return Some(witness_of(catalog, node.input, fields));
            }
            if node.is_stateless() {
                return Some(Witness::Rows { node: node.clone(), order });
            }
            if self.is_fresh(node) {
                joined = Some(Witness::Filled { node: node.clone(), order });
            }
        }
        let inputs = nodes.iter().flat_map(|(node, _)| node.inputs());
        joined.or_else(|| inputs.into_iter().find_map(|input| columns(catalog, entity, input)))
    }

    /// Where entities with these fields are seen in a raw dataset: the first that has all of them.
    pub fn any_witness(&self, entity: &[(String, DataType)]) -> Option<Witness> {
        let raw = self.catalog.datasets.values().filter(|live| !live.is_derived());
        raw.into_iter().find_map(|live| columns(&self.catalog, entity, live.id))
    }
}

fn came(catalog: &Catalog, node: &Node) -> Option<Vec<Field>> {
    let mut all = catalog.datasets.values();
    let made = all.find(|live| live.node.as_ref().is_some_and(|made| made.id == node.id))?;
    key_as_it_came(catalog, &made.definition)
}

/// The columns of a dataset with the names and types of the entity's fields, if it has all of them.
fn columns(catalog: &Catalog, entity: &[(String, DataType)], dataset: u32) -> Option<Witness> {
    let live = catalog.by_id(dataset)?;
    let fields = &live.definition.fields;
    let field = |(name, data_type): &(String, DataType)| {
        fields.field(name).filter(|f| f.data_type == *data_type).cloned()
    };
    Some(witness_of(catalog, dataset, entity.iter().map(field).collect::<Option<Vec<_>>>()?))
}

fn witness_of(catalog: &Catalog, dataset: u32, fields: Vec<Field>) -> Witness {
    let live = catalog.by_id(dataset);
    let timestamp = live.and_then(|live| live.definition.fields.timestamp()).map(|f| f.name.clone());
    Witness::Columns { dataset, fields, timestamp: timestamp.unwrap_or_default() }
}
