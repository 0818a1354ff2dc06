//! The catalog: the committed definitions and the nodes they made.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};
use thyme_core::definition::{Dataset, Document, Featureset, Source};
use thyme_core::{Error, Result};

use crate::admission::{Limits, MAX_FUTURE_SKEW_DEFAULT};
use crate::node::{Node, NodeId};

/// The stream of all pushes.
pub(crate) const PUSH_STREAM: &str = "push";

/// A committed dataset.
#[derive(Debug)]
pub struct LiveDataset {
    /// Its id in log records; each (name, version) has one for good.
    pub id: u32,
    /// Its definition.
    pub definition: Dataset,
    /// The Arrow schema of its rows.
    pub schema: SchemaRef,
    /// Its timelines: a derived dataset's aggregates, an indexed raw dataset's rows.
    pub node: Option<Arc<Node>>,
}

impl LiveDataset {
    /// Whether pipelines make it.
    pub fn is_derived(&self) -> bool {
        !self.definition.pipelines.is_empty()
    }

    /// The node to look rows up in.
    ///
    /// # Errors
    /// A raw dataset without an index.
    pub fn readable(&self) -> Result<&Arc<Node>> {
        self.node.as_ref().ok_or_else(|| {
            let name = &self.definition.name;
            Error::invalid_data(format!(
                "dataset {name} has no index, so its rows cannot be looked up; declare it with @dataset(index=True)"
            ))
        })
    }
}

/// Everything committed, as of one commit. Never changes; a commit makes another.
#[derive(Debug)]
pub struct Catalog {
    /// The commit's id; empty before the first.
    pub commit: String,
    /// The definitions.
    pub document: Document,
    /// By name; the newest version of each.
    pub datasets: BTreeMap<String, Arc<LiveDataset>>,
}

impl Catalog {
    pub(crate) fn empty() -> Self {
        Catalog {
            commit: String::new(),
            document: Document {
                format: thyme_core::definition::FORMAT,
                datasets: Vec::new(),
                featuresets: Vec::new(),
            },
            datasets: BTreeMap::new(),
        }
    }

    /// The dataset called `name`.
    ///
    /// # Errors
    /// NotFound with the near names.
    pub fn dataset(&self, name: &str) -> Result<&Arc<LiveDataset>> {
        self.datasets
            .get(name)
            .ok_or_else(|| Error::not_found("dataset", name, self.datasets.keys().map(String::as_str)))
    }

    /// The featureset called `name`.
    ///
    /// # Errors
    /// NotFound with the near names.
    pub fn featureset(&self, name: &str) -> Result<&Featureset> {
        let known = &self.document.featuresets;
        known
            .iter()
            .find(|f| f.name == name)
            .ok_or_else(|| Error::not_found("featureset", name, known.iter().map(|f| f.name.as_str())))
    }

    /// The sources of the committed datasets.
    pub fn sources(&self) -> impl Iterator<Item = (&Arc<LiveDataset>, &Source)> {
        self.datasets.values().filter_map(|d| d.definition.source.as_ref().map(|s| (d, s)))
    }

    pub(crate) fn by_id(&self, id: u32) -> Option<&Arc<LiveDataset>> {
        self.datasets.values().find(|d| d.id == id)
    }

    /// The nodes that take rows of dataset `id`.
    pub(crate) fn fed_by(&self, id: u32) -> impl Iterator<Item = &Arc<Node>> {
        self.datasets.values().filter_map(|d| d.node.as_ref()).filter(move |n| n.input == id)
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.datasets.values().filter_map(|d| d.node.as_ref())
    }
}

/// The limits of a stream of a dataset.
pub(crate) fn limits(dataset: &Dataset, stream: &str) -> Limits {
    let source = dataset.source.as_ref().filter(|_| stream != PUSH_STREAM);
    Limits {
        max_lateness: source.and_then(|s| s.max_lateness).or(dataset.max_lateness),
        max_future_skew: source
            .and_then(|s| s.max_future_skew)
            .or(dataset.max_future_skew)
            .unwrap_or(MAX_FUTURE_SKEW_DEFAULT),
    }
}

/// The ids given so far, in the order of the log; part of the checkpoint.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Ids {
    /// Each dataset version ever committed, with the definition its records follow; the index is its id.
    pub datasets: Vec<Dataset>,
    /// Each node ever made, by signature; the index is its id. One that is gone has an empty signature, so
    /// that its id, and the chunks stored under it, never come back for another.
    pub nodes: Vec<String>,
}

impl Ids {
    fn dataset(&mut self, definition: &Dataset) -> u32 {
        let same = |d: &Dataset| d.name == definition.name && d.version == definition.version;
        match self.datasets.iter().position(same) {
            Some(id) => id as u32,
            None => {
                self.datasets.push(definition.clone());
                self.datasets.len() as u32 - 1
            }
        }
    }

    fn node(&mut self, signature: String) -> NodeId {
        match self.nodes.iter().position(|s| *s == signature) {
            Some(id) => NodeId(id as u32),
            None => {
                self.nodes.push(signature);
                NodeId(self.nodes.len() as u32 - 1)
            }
        }
    }

    pub fn schema(&self, dataset: u32) -> Option<SchemaRef> {
        self.datasets.get(dataset as usize).map(|d| d.fields.arrow())
    }
}

/// The catalog that `document` makes of `current`; nodes whose meaning did not change are kept as they
/// are, with their state. The second part is the new nodes, which have to be filled from the log.
///
/// # Errors
/// A definition that validation should have refused.
pub(crate) fn derive(
    current: &Catalog,
    ids: &mut Ids,
    commit: String,
    document: Document,
) -> Result<(Catalog, Vec<Arc<Node>>)> {
    for definition in &document.datasets {
        ids.dataset(definition);
    }
    let known: BTreeMap<NodeId, Arc<Node>> = current.nodes().map(|n| (n.id, n.clone())).collect();
    let mut datasets = BTreeMap::new();
    let mut fresh = Vec::new();
    for definition in &document.datasets {
        let id = ids.dataset(definition);
        let input = match definition.pipelines.first().and_then(|p| p.inputs.first()) {
            Some(name) => document.datasets.iter().find(|d| d.name == *name).ok_or_else(|| {
                Error::not_found("dataset", name, document.datasets.iter().map(|d| d.name.as_str()))
            })?,
            None => definition,
        };
        let node = match Node::signature(definition, input) {
            None => None,
            Some(signature) => {
                let node_id = ids.node(signature);
                Some(match known.get(&node_id) {
                    Some(node) => node.clone(),
                    None => {
                        let node = Arc::new(Node::compile(node_id, definition, input, ids.dataset(input))?);
                        fresh.push(node.clone());
                        node
                    }
                })
            }
        };
        let schema = definition.fields.arrow();
        datasets.insert(
            definition.name.clone(),
            Arc::new(LiveDataset { id, definition: definition.clone(), schema, node }),
        );
    }
    let catalog = Catalog { commit, document, datasets };
    for (id, signature) in ids.nodes.iter_mut().enumerate() {
        if catalog.nodes().all(|node| node.id.0 as usize != id) {
            signature.clear();
        }
    }
    Ok((catalog, fresh))
}
