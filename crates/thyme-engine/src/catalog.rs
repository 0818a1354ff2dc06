//! The catalog: the committed definitions and the nodes they made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};
use thyme_core::definition::derivation::inlined;
use thyme_core::definition::naming::unversioned;
use thyme_core::definition::{AggregateDef, Dataset, Document, Featureset, Pipeline, Source, growth};
use thyme_core::{Error, EventTime, Result, Schema};

use crate::admission::{Limits, MAX_FUTURE_SKEW_DEFAULT};
use crate::event_ids;
use crate::expectations::{self, Rules};
use crate::join::Parts;
use crate::node::{Node, NodeId};
use crate::residence::Residence;
use crate::steps::{Inner, Input};

/// How the signatures of the nodes begin that keep the left rows of joins.
const LEFT_OF: &str = "left of join ";
/// The same of dedups.
const KEPT_BY: &str = "kept by dedup ";

fn part_of(what: &str, number: impl std::fmt::Display, signature: &str) -> String {
    format!("{what}{number} of {signature}")
}

/// The stream of all pushes.
pub(crate) const PUSH_STREAM: &str = "push";

/// A committed dataset.
#[derive(Debug)]
pub struct LiveDataset {
    /// Its id in log records; each (name, version) has one for good.
    pub id: u32,
    /// Its definition.
    pub definition: Dataset,
    /// How it is made of raw datasets: what its pipeline reads is inlined.
    pub made: Dataset,
    /// The Arrow schema of its rows.
    pub schema: SchemaRef,
    /// Its timelines: a derived dataset's aggregates, an indexed raw dataset's rows.
    pub node: Option<Arc<Node>>,
    /// The index of its rows, if joins read it. It may be `node`.
    pub(crate) joined: Option<Arc<Node>>,
    /// Whose the ids of its events are, if they have ids.
    pub(crate) ids: Option<Arc<Node>>,
    /// What its rows are judged by.
    pub(crate) rules: Rules,
}

impl LiveDataset {
    /// Whether pipelines make it.
    pub fn is_derived(&self) -> bool {
        !self.definition.pipelines.is_empty()
    }

    /// Whether lookups give its latest row: of a raw dataset, or of one whose pipeline ends in rows.
    pub fn has_rows(&self) -> bool {
        !self.is_derived() || self.definition.has_derived_rows()
    }

    /// Where its rows begin for those who look them up or join them, if they reach back without end and the log
    /// does not.
    pub fn rows_begin(&self) -> Option<EventTime> {
        self.joined.as_ref().or(self.node.as_ref()).and_then(|node| node.begins())
    }

    /// All its nodes.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        let is_own = |joined: &&Arc<Node>| self.node.as_ref().is_some_and(|node| node.id == joined.id);
        let hidden = self.joined.iter().filter(move |joined| !is_own(joined));
        let parts = self.node.iter().flat_map(|node| node.parts());
        self.node.iter().chain(parts).chain(hidden).chain(&self.ids)
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
        let named = |name: &str| self.datasets.get(name);
        named(name)
            .or_else(|| named(unversioned(name)).filter(|d| d.definition.is_called(name)))
            .ok_or_else(|| Error::not_found("dataset", name, self.datasets.keys().map(String::as_str)))
    }

    /// The featureset called `name`.
    ///
    /// # Errors
    /// NotFound with the near names.
    pub fn featureset(&self, name: &str) -> Result<&Featureset> {
        let known = &self.document.featuresets;
        // One without features was rolled back.
        let known = known.iter().filter(|f| !f.features.is_empty());
        known
            .clone()
            .find(|f| f.name == name)
            .ok_or_else(|| Error::not_found("featureset", name, known.map(|f| f.name.as_str())))
    }

    /// The sources of the committed datasets.
    pub fn sources(&self) -> impl Iterator<Item = (&Arc<LiveDataset>, &Source)> {
        self.datasets.values().flat_map(|d| d.definition.all_sources().map(move |s| (d, s)))
    }

    pub(crate) fn by_id(&self, id: u32) -> Option<&Arc<LiveDataset>> {
        self.datasets.values().find(|d| d.id == id)
    }

    /// The readable nodes that take rows of dataset `id`.
    pub(crate) fn fed_by(&self, id: u32) -> impl Iterator<Item = &Arc<Node>> {
        self.datasets.values().filter_map(|d| d.node.as_ref()).filter(move |n| n.takes(id))
    }

    /// The indexes that rows of dataset `id` change and that joins read: its own, and those of rows that pipelines make
    /// of it. The applier writes them itself.
    pub(crate) fn joined(&self, id: u32) -> impl Iterator<Item = &Arc<Node>> {
        self.datasets.values().filter_map(|d| d.joined.as_ref()).filter(move |n| n.takes(id))
    }

    /// All nodes, those inside others included.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.datasets.values().flat_map(|d| d.nodes())
    }
}

/// The limits of a stream of a dataset.
pub(crate) fn limits(dataset: &Dataset, stream: &str) -> Limits {
    let source = dataset.source_of(stream).filter(|_| stream != PUSH_STREAM);
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
    /// The fields of now of datasets that got new ones; rows are read with these.
    #[serde(default)]
    pub grown: BTreeMap<u32, Schema>,
    /// The definitions of now of those that were committed otherwise since.
    #[serde(default)]
    pub changed: BTreeMap<u32, Dataset>,
    /// Each node ever made, by signature; the index is its id. One that is gone has an empty signature, so
    /// that its id, and the chunks stored under it, never come back for another.
    pub nodes: Vec<String>,
    /// What the timelines of nodes keep whose aggregates were changed in place, in the order in which it came.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kept: BTreeMap<u32, Vec<AggregateDef>>,
}

impl Ids {
    /// Gives ids to the dataset versions of a commit that are new.
    pub fn learn(&mut self, document: &Document) {
        for definition in &document.datasets {
            self.dataset(definition);
        }
    }

    /// The id of a dataset version.
    pub fn of(&self, definition: &Dataset) -> Option<u32> {
        let same = |d: &Dataset| d.name == definition.name && d.version == definition.version;
        self.datasets.iter().position(same).map(|id| id as u32)
    }

    /// A dataset version as it was committed last.
    pub fn latest(&self, id: u32) -> Option<&Dataset> {
        self.changed.get(&id).or(self.datasets.get(id as usize))
    }

    fn dataset(&mut self, definition: &Dataset) -> u32 {
        match self.of(definition) {
            Some(id) => {
                let known = self.grown.get(&id).or(self.datasets.get(id as usize).map(|d| &d.fields));
                if known != Some(&definition.fields) {
                    self.grown.insert(id, definition.fields.clone());
                }
                if self.latest(id) != Some(definition) {
                    self.changed.insert(id, definition.clone());
                }
                id
            }
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

    /// What the timelines of a node keep beside what its definition asks for.
    fn kept(&self, node: NodeId) -> &[AggregateDef] {
        self.kept.get(&node.0).map_or(&[], Vec::as_slice)
    }

    /// Gives a node, and the parts of its joins, another signature.
    fn rename_node(&mut self, node: NodeId, signature: &str) {
        let Some(own) = self.nodes.get_mut(node.0 as usize) else { return };
        let before = std::mem::replace(own, signature.to_owned());
        for part in &mut self.nodes {
            let named = |what: &'static str| Some((what, part.strip_prefix(what)?.split_once(" of ")?));
            let of = named(LEFT_OF).or_else(|| named(KEPT_BY));
            if let Some((what, (number, _))) = of.filter(|(_, (_, whole))| *whole == before) {
                *part = part_of(what, number, signature);
            }
        }
    }

    /// Has the node of a superseded version keep what it has if it was named after that before.
    fn follow(&mut self, definition: &Dataset, signature: &String) {
        let Some(former) = Node::former_signature(definition, signature) else { return };
        let number = self.nodes.iter().position(|known| *known == former);
        if let Some(number) = number.filter(|_| !self.nodes.contains(signature)) {
            self.rename_node(NodeId(number as u32), signature);
        }
    }

    fn fields(&self, dataset: u32) -> Option<&Schema> {
        let first = self.datasets.get(dataset as usize).map(|d| &d.fields);
        self.grown.get(&dataset).or(first)
    }

    /// Makes nodes new ones with the next catalog that is derived; false when there is none. A number is never used
    /// again: what is stored under the old one is dropped with it.
    pub fn forget_nodes(&mut self, nodes: &BTreeSet<NodeId>) -> bool {
        for node in nodes {
            self.nodes.get_mut(node.0 as usize).into_iter().for_each(String::clear);
        }
        !nodes.is_empty()
    }

    pub fn schema(&self, dataset: u32) -> Option<SchemaRef> {
        self.fields(dataset).map(Schema::arrow)
    }

    /// How many fields rows of a dataset have now.
    pub fn columns(&self, dataset: u32) -> usize {
        self.fields(dataset).map_or(0, |schema| schema.fields.len())
    }

    /// The dataset with the fields that it began with. What reads it is named after these, so that a field more
    /// does not make it another node.
    fn at_first(&self, definition: &Dataset) -> Dataset {
        match self.of(definition).and_then(|id| self.datasets.get(id as usize)) {
            Some(first) => Dataset { fields: first.fields.clone(), ..definition.clone() },
            None => definition.clone(),
        }
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
    residence: &Arc<Residence>,
) -> Result<(Catalog, Vec<Arc<Node>>)> {
    ids.learn(&document);
    let known = current.nodes().map(|n| (n.id, n.clone())).collect();
    let indexes = BTreeMap::new();
    let mut deriving =
        Deriving { current, known, document: &document, ids, residence, indexes, fresh: Vec::new() };
    deriving.indexes()?;
    let mut datasets = BTreeMap::new();
    for definition in &document.datasets {
        let live = deriving.live(definition)?;
        datasets.insert(definition.name.clone(), Arc::new(live));
    }
    let fresh = deriving.fresh;
    let catalog = Catalog { commit, document, datasets };
    for (id, signature) in ids.nodes.iter_mut().enumerate() {
        if catalog.nodes().all(|node| node.id.0 as usize != id) {
            signature.clear();
        }
    }
    ids.kept.retain(|node, _| ids.nodes.get(*node as usize).is_some_and(|known| !known.is_empty()));
    Ok((catalog, fresh))
}

/// What else has to be the same for timelines to answer other aggregates: see [`Node::stem`].
fn stem_of(document: &Document, definition: &Dataset, ids: &Ids) -> Option<String> {
    let made = inlined(document, definition).ok()?;
    let pipeline = made.pipelines.first()?;
    let inputs = inputs_at_first(document, pipeline, ids)?;
    let joined = pipeline.joins().map(|join| document.dataset(&join.dataset)).collect::<Option<Vec<_>>>()?;
    let rows = rows_joined(document, &joined, ids).ok()?;
    Some(Node::stem(&made, &inputs, &joined)? + &rows)
}

/// The inputs of a pipeline with the fields that they began with.
fn inputs_at_first(document: &Document, pipeline: &Pipeline, ids: &Ids) -> Option<Vec<Dataset>> {
    pipeline.inputs.iter().map(|name| document.dataset(name).map(|input| ids.at_first(input))).collect()
}

/// How the rows are made that are joined and that pipelines make, for signatures.
fn rows_joined(document: &Document, joined: &[&Dataset], ids: &Ids) -> Result<String> {
    let mut all = String::new();
    for dataset in joined.iter().filter(|dataset| dataset.is_derived()) {
        let made = inlined(document, dataset)?;
        let inputs = made.pipelines.first().and_then(|pipeline| inputs_at_first(document, pipeline, ids));
        let signature = inputs.and_then(|inputs| Node::signature(&made, &inputs, &[]));
        all += &format!(" made by {}", signature.unwrap_or_default());
    }
    Ok(all)
}

/// A catalog in the making.
struct Deriving<'a> {
    current: &'a Catalog,
    known: BTreeMap<NodeId, Arc<Node>>,
    document: &'a Document,
    ids: &'a mut Ids,
    residence: &'a Arc<Residence>,
    /// The indexes of raw datasets, and the rows of derived ones that are joined, by name.
    indexes: BTreeMap<&'a str, Arc<Node>>,
    fresh: Vec<Arc<Node>>,
}

impl<'a> Deriving<'a> {
    fn dataset(&self, name: &str) -> Result<&'a Dataset> {
        let known = || self.document.datasets.iter().map(|d| d.name.as_str());
        self.document.dataset(name).ok_or_else(|| Error::not_found("dataset", name, known()))
    }

    /// The names of the datasets that pipelines join.
    fn joined(&self) -> BTreeSet<&'a str> {
        let pipelines = self.document.datasets.iter().flat_map(|d| &d.pipelines);
        let joined =
            pipelines.flat_map(|p| p.joins()).filter_map(|join| self.document.dataset(&join.dataset));
        joined.map(|dataset| dataset.name.as_str()).collect()
    }

    /// Indexes the raw datasets that are read or joined.
    fn indexes(&mut self) -> Result<()> {
        let joined = self.joined();
        for definition in self.document.datasets.iter().filter(|d| d.pipelines.is_empty()) {
            if !definition.index && !joined.contains(definition.name.as_str()) {
                continue;
            }
            let (id, dataset) =
                (self.ids.node(Node::index_signature(definition)), self.ids.dataset(definition));
            let node = match self.known.get(&id) {
                Some(node) => node.clone(),
                None => {
                    let node = Arc::new(Node::index(id, definition, dataset, self.residence));
                    self.fresh.push(node.clone());
                    node
                }
            };
            self.indexes.insert(&definition.name, node);
        }
        Ok(())
    }

    fn live(&mut self, definition: &'a Dataset) -> Result<LiveDataset> {
        let is_joined = self.joined().contains(definition.name.as_str());
        let made = inlined(self.document, definition)?;
        if is_joined && definition.is_derived() {
            self.rows(definition)?;
        }
        let index = self.indexes.get(definition.name.as_str()).cloned();
        let node = match made.pipelines.first() {
            Some(_) if is_joined => index.clone(),
            None => index.clone().filter(|_| definition.index),
            Some(pipeline) => Some(self.pipeline(&made, pipeline)?),
        };
        Ok(LiveDataset {
            id: self.ids.dataset(definition),
            definition: definition.clone(),
            made,
            schema: definition.fields.arrow(),
            node,
            joined: index.filter(|_| is_joined),
            ids: self.event_ids(definition),
            rules: expectations::rules(definition)?,
        })
    }

    /// The rows of a derived dataset that is joined.
    fn rows(&mut self, definition: &'a Dataset) -> Result<Arc<Node>> {
        if let Some(node) = self.indexes.get(definition.name.as_str()) {
            return Ok(node.clone());
        }
        let made = inlined(self.document, definition)?;
        let pipeline = made.pipelines.first();
        let pipeline = pipeline.ok_or_else(|| Error::internal("a joined dataset has no index"))?;
        let node = self.pipeline(&made, pipeline)?;
        self.indexes.insert(&definition.name, node.clone());
        Ok(node)
    }

    fn event_ids(&mut self, definition: &Dataset) -> Option<Arc<Node>> {
        definition.event_id.as_ref()?;
        let id = self.ids.node(event_ids::signature(definition));
        if let Some(node) = self.known.get(&id) {
            return Some(node.clone());
        }
        let dataset = self.ids.dataset(definition);
        let node = Arc::new(event_ids::node(id, definition, dataset, self.residence));
        self.fresh.push(node.clone());
        Some(node)
    }

    fn pipeline(&mut self, definition: &Dataset, pipeline: &Pipeline) -> Result<Arc<Node>> {
        let rights = pipeline.joins().map(|join| self.dataset(&join.dataset)).collect::<Result<Vec<_>>>()?;
        for dataset in rights.iter().filter(|dataset| dataset.is_derived()) {
            self.rows(dataset)?;
        }
        let signature = inputs_at_first(self.document, pipeline, self.ids)
            .and_then(|inputs| Node::signature(definition, &inputs, &rights))
            .ok_or_else(|| Error::internal("a pipeline cannot be written as JSON"))?;
        let signature = signature + &rows_joined(self.document, &rights, self.ids)?;
        if let Some(node) = self.grown(definition, pipeline, &signature)? {
            return Ok(node);
        }
        self.ids.follow(definition, &signature);
        let id = self.ids.node(signature.clone());
        if let Some(node) = self.known.get(&id) {
            // Its parts keep their numbers.
            return match node.dataset == definition.name {
                true => Ok(node.clone()),
                false => self.called(node, definition, pipeline),
            };
        }
        let mut joined = Vec::with_capacity(rights.len());
        for (number, dataset) in rights.into_iter().enumerate() {
            let left = self.ids.node(part_of(LEFT_OF, number, &signature));
            let right = self.indexes.get(dataset.name.as_str()).cloned();
            let right = right.ok_or_else(|| Error::internal("a joined dataset has no index"))?;
            joined.push(Parts { left, right, dataset });
        }
        let numbers = 0..pipeline.dedups().count();
        let deduped: Vec<NodeId> =
            numbers.map(|number| self.ids.node(part_of(KEPT_BY, number, &signature))).collect();
        let mut inputs = Vec::with_capacity(pipeline.inputs.len());
        for name in &pipeline.inputs {
            let dataset = self.dataset(name)?;
            inputs.push(Input { name, dataset, id: self.ids.dataset(dataset) });
        }
        let node = Arc::new(Node::compile(
            id,
            definition,
            &inputs,
            Inner { joined: joined.into_iter(), deduped: deduped.into_iter() },
            self.ids.kept(id),
            self.residence,
        )?);
        self.fresh.extend(node.parts().cloned());
        self.fresh.push(node.clone());
        Ok(node)
    }

    /// A node over the same timelines for a version that was superseded, or that is the newest again.
    fn called(&self, node: &Node, definition: &Dataset, pipeline: &Pipeline) -> Result<Arc<Node>> {
        let kept = match self.ids.kept(node.id) {
            [] => growth::kept_for(pipeline),
            kept => kept.to_vec(),
        };
        node.grown(definition, &kept, self.residence).map(Arc::new)
    }

    /// The node that answers the pipeline from the timelines that there are, if they have all that it asks for.
    fn grown(
        &mut self,
        definition: &Dataset,
        pipeline: &Pipeline,
        signature: &String,
    ) -> Result<Option<Arc<Node>>> {
        let Some(live) = self.current.datasets.get(&definition.name) else { return Ok(None) };
        let (Some(node), Some(was)) = (&live.node, live.made.pipelines.first()) else {
            return Ok(None);
        };
        let is_known = self.ids.nodes.get(node.id.0 as usize).is_some_and(|known| !known.is_empty());
        if !is_known
            || self.ids.nodes.contains(signature)
            || pipeline.gives_rows()
            || !growth::feeds_alike(was, pipeline)
        {
            return Ok(None);
        }
        let before = stem_of(&self.current.document, &live.definition, self.ids);
        if before.is_none() || before != stem_of(self.document, definition, self.ids) {
            return Ok(None);
        }
        // What it joins may be made anew.
        let is_there = |index: &Arc<Node>| self.indexes.values().any(|known| known.id == index.id);
        if !node.joins().all(|join| is_there(&join.right)) {
            return Ok(None);
        }
        let kept = match self.ids.kept(node.id) {
            [] => growth::kept_for(was),
            kept => kept.to_vec(),
        };
        let Some(kept) = growth::grown(&kept, pipeline) else { return Ok(None) };
        let grown = Arc::new(node.grown(definition, &kept, self.residence)?);
        self.ids.rename_node(node.id, signature);
        self.ids.kept.insert(node.id.0, kept);
        Ok(Some(grown))
    }
}

#[cfg(test)]
mod tests;
