//! Plans: what a featureset reads and calls, in order, resolved once a commit.

use std::collections::HashMap;
use std::sync::Arc;

use thyme_core::definition::entity::entity_fields;
use thyme_core::definition::{Document, Extractor, Feature, FeatureRef, Featureset, Form, MaxAge};
use thyme_core::schema::Role;
use thyme_core::{DataType, Error, Result, Value};
use thyme_engine::{Catalog, Node};

use crate::extractor::{ExtractorHost, Runs};
use crate::native::Expression;
use crate::selection::{self, Column, Wanted};

/// A field of a dataset's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The n-th key field.
    Key(usize),
    /// The event time.
    Timestamp,
    /// The n-th output of a pipeline or column of an index.
    Value(usize),
}

/// A read of one dataset.
#[derive(Debug)]
pub struct Read {
    /// Where.
    pub node: Arc<Node>,
    /// Its key: for each key field the index of the entity field.
    pub key: Vec<usize>,
    /// What is read, and the slot it goes to.
    pub targets: Vec<(Source, usize)>,
}

impl Read {
    /// Puts targets over one window next to each other: where it lies in a timeline is found once for all of them.
    fn put_windows_together(&mut self) {
        let node = &self.node;
        let mut known = Vec::new();
        self.targets.sort_by_cached_key(|(source, _)| {
            let Source::Value(index) = *source else { return 0 };
            let Some(output) = node.outputs.get(index) else { return 0 };
            let place = known.iter().position(|window| *window == output.window);
            1 + place.unwrap_or_else(|| {
                known.push(output.window);
                known.len() - 1
            })
        });
    }
}

/// A call of one extractor.
#[derive(Debug)]
pub struct Call {
    /// `Featureset.extractor`, for errors.
    pub name: String,
    /// The host's handle.
    pub handle: u64,
    /// How it runs.
    pub runs: Runs,
    /// The slots of its inputs.
    pub inputs: Vec<usize>,
    /// The slots of its outputs, with their features' names.
    pub outputs: Vec<(usize, String)>,
}

/// A value that the caller gives.
#[derive(Debug)]
pub struct Request {
    /// The feature.
    pub name: String,
    /// The names that it had before and may still be given by.
    pub former_names: Vec<String>,
    /// Its slot.
    pub slot: usize,
    /// What it is if it is not given.
    pub default: Option<Value>,
    /// Whether it may be null; if not, and without a default, it has to be given.
    pub optional: bool,
}

/// A feature whose values may be too old.
#[derive(Clone, Debug)]
pub struct Aging {
    /// `Featureset.feature`, for errors.
    pub feature: String,
    /// How old they may be.
    pub max_age: MaxAge,
}

/// A featureset ready to be evaluated.
#[derive(Debug)]
pub struct Plan {
    /// Its name.
    pub name: String,
    /// The entity key: names and types, in order.
    pub entity: Vec<(String, DataType)>,
    /// The features of the answer, in order.
    pub features: Vec<Column>,
    /// Whether certain features were asked for; otherwise it is all of them.
    pub selected: bool,
    /// The type and the default of each slot.
    pub slots: Vec<(DataType, Option<Value>)>,
    /// The version of what gives each slot its value: of the dataset that is read, or of the extractor.
    pub versions: Vec<Option<u32>>,
    /// How old the values of each slot may be.
    pub max_ages: Vec<Option<Aging>>,
    /// The slots that are entity fields.
    pub entity_slots: Vec<(usize, usize)>,
    /// What the caller gives.
    pub requests: Vec<Request>,
    /// What the caller may give, though nothing that is asked for needs it.
    pub unused: Vec<String>,
    /// Reads, one a dataset.
    pub reads: Vec<Read>,
    /// Calls, in an order that has inputs before their use.
    pub calls: Vec<Call>,
}

struct Planner<'a> {
    catalog: &'a Catalog,
    host: &'a dyn ExtractorHost,
    plan: Plan,
    slot_of: HashMap<(String, String), usize>,
    called: Vec<(String, String)>,
}

impl Plan {
    /// Plans a committed featureset.
    ///
    /// # Errors
    /// NotFound; or a definition that validation should have refused.
    pub fn new(
        catalog: &Catalog,
        featureset: &str,
        wanted: Option<&[Wanted]>,
        host: &dyn ExtractorHost,
    ) -> Result<Plan> {
        let definition = catalog.featureset(featureset)?;
        let columns = selection::columns(definition, wanted)?;
        let plan = Plan {
            name: definition.name.clone(),
            entity: entity_of(&catalog.document, definition)?,
            features: Vec::with_capacity(columns.len()),
            selected: wanted.is_some(),
            slots: Vec::new(),
            versions: Vec::new(),
            max_ages: Vec::new(),
            entity_slots: Vec::new(),
            requests: Vec::new(),
            unused: Vec::new(),
            reads: Vec::new(),
            calls: Vec::new(),
        };
        let mut planner = Planner { catalog, host, plan, slot_of: HashMap::new(), called: Vec::new() };
        for column in columns {
            let slot = planner.feature(definition, &column.name, 0)?;
            planner.plan.features.push(Column { slot, ..column });
        }
        let mut plan = planner.plan;
        let given = definition.features.iter().filter(|f| f.request);
        let names = given.flat_map(|f| f.former_names.iter().chain([&f.name]));
        plan.unused = names.filter(|name| plan.request(name).is_none()).cloned().collect();
        plan.reads.iter_mut().for_each(Read::put_windows_together);
        Ok(plan)
    }

    /// What the caller gives under this name, or one that it had before.
    pub fn request(&self, name: &str) -> Option<&Request> {
        let formerly = |r: &&Request| r.former_names.iter().any(|n| n == name);
        self.requests.iter().find(|r| r.name == name).or_else(|| self.requests.iter().find(formerly))
    }

    /// The features of the answer under names that they had before.
    pub fn renamed(&self) -> impl Iterator<Item = (&Column, &str)> {
        self.features.iter().filter_map(|column| Some((column, column.renamed.as_deref()?)))
    }

    /// Whether nothing of it needs the host, as far as is known: a compiled extractor that has left a row to it may
    /// do so again.
    pub fn is_hostless(&self) -> bool {
        self.calls.iter().all(|call| match &call.runs {
            Runs::Compiled(program) => !program.has_deferred(),
            Runs::Hosted(_) | Runs::Vectorized => false,
            Runs::Expression(_) => true,
        })
    }

    /// The type of a feature.
    pub fn data_type(&self, slot: usize) -> DataType {
        self.slots[slot].0
    }
}

/// The entity of a featureset, with those of the featuresets whose features it takes.
///
/// # Errors
/// A field that is a key under two types.
pub fn entity_of(document: &Document, featureset: &Featureset) -> Result<Vec<(String, DataType)>> {
    let dataset = |name: &str| document.dataset(name);
    let mut entity: Vec<(String, DataType)> = Vec::new();
    let mut todo = vec![featureset];
    let mut seen: Vec<&str> = Vec::new();
    while let Some(next) = todo.pop() {
        if seen.contains(&next.name.as_str()) {
            continue;
        }
        seen.push(&next.name);
        let own = entity_fields(next, &dataset)?;
        let renamed = !entity.is_empty() && is_same_entity(&entity, &own);
        for (name, data_type) in own.into_iter().filter(|_| !renamed) {
            match entity.iter().find(|(n, _)| *n == name) {
                None => entity.push((name, data_type)),
                Some((_, known)) if *known == data_type => {}
                Some((_, known)) => {
                    return Err(Error::invalid_definition(format!(
                        "featureset {}: the entity field {name} is {known} in one dataset and {data_type} in another",
                        featureset.name
                    )));
                }
            }
        }
        let others = next.extractors.iter().flat_map(|e| &e.inputs).filter_map(|i| i.featureset.as_deref());
        todo.extend(others.filter_map(|name| document.featuresets.iter().find(|f| f.name == name)));
    }
    Ok(entity)
}

/// Whether another featureset's entity is this one under other names: the same types in the same order.
fn is_same_entity(entity: &[(String, DataType)], other: &[(String, DataType)]) -> bool {
    entity.len() == other.len() && entity.iter().zip(other).all(|((_, a), (_, b))| a == b)
}

impl<'a> Planner<'a> {
    /// Where an entity field of `featureset` stands in the entity that is asked for.
    fn entity_index(&self, featureset: &Featureset, name: &str) -> Result<usize> {
        if let Some(index) = self.plan.entity.iter().position(|(n, _)| n == name) {
            return Ok(index);
        }
        let dataset = |name: &str| self.catalog.document.dataset(name);
        let own = entity_fields(featureset, &dataset)?;
        own.iter()
            .position(|(n, _)| n == name)
            .filter(|_| is_same_entity(&self.plan.entity, &own))
            .ok_or_else(|| {
                Error::internal(format!(
                    "{name} of {} is not part of the entity of {}",
                    featureset.name, self.plan.name
                ))
            })
    }

    /// The slot of a feature; plans whatever it takes to fill it.
    fn feature(&mut self, featureset: &'a Featureset, name: &str, depth: usize) -> Result<usize> {
        // An extractor may still ask for a feature by a name it had before.
        let name = featureset.feature(name).map_or(name, |f| f.name.as_str());
        let key = (featureset.name.clone(), name.to_owned());
        if let Some(slot) = self.slot_of.get(&key) {
            return Ok(*slot);
        }
        let at = || format!("{}.{name}", featureset.name);
        if depth > 200 {
            return Err(Error::invalid_definition(format!(
                "{}: extractors are nested more than 200 deep, or in a circle",
                at()
            )));
        }
        let feature = featureset.named(name)?;
        let slot = self.slot(featureset, feature)?;
        self.slot_of.insert(key, slot);
        if feature.request {
            let default = self.plan.slots[slot].1.clone();
            self.plan.requests.push(Request {
                name: name.to_owned(),
                former_names: feature.former_names.clone(),
                slot,
                default,
                optional: feature.optional,
            });
        } else if let Some(reference) = &feature.reference {
            self.read(featureset, &reference.dataset, &reference.field, slot)?;
        } else if let Some(extractor) = featureset.giver(name) {
            self.call(featureset, extractor, depth)?;
        } else {
            let index = self.entity_index(featureset, name)?;
            self.plan.entity_slots.push((slot, index));
        }
        Ok(slot)
    }

    fn slot(&mut self, featureset: &Featureset, feature: &Feature) -> Result<usize> {
        let default = feature.default.as_ref().map(|d| d.value(feature.data_type)).transpose()?;
        self.plan.slots.push((feature.data_type, default.filter(|d| !d.is_null())));
        self.plan.versions.push(None);
        self.plan.max_ages.push(
            featureset
                .max_age_of(feature)
                .map(|max_age| Aging { feature: format!("{}.{}", featureset.name, feature.name), max_age }),
        );
        Ok(self.plan.slots.len() - 1)
    }

    fn read(&mut self, featureset: &Featureset, dataset: &str, field: &str, slot: usize) -> Result<()> {
        let live = self.catalog.dataset(dataset)?;
        let node = live.readable()?;
        self.plan.versions[slot] = Some(live.definition.version);
        let fields = &live.definition.fields;
        let found = fields
            .field(field)
            .ok_or_else(|| Error::not_found("field", field, fields.fields.iter().map(|f| f.name.as_str())))?;
        let found_at = |index: Option<usize>| {
            index.ok_or_else(|| Error::internal(format!("{dataset}.{field} is not in its node")))
        };
        let source = match found.role {
            Role::Timestamp => Source::Timestamp,
            Role::Key => Source::Key(found_at(node.keys.iter().position(|f| f.name == field))?),
            Role::Value if node.is_index() => {
                Source::Value(found_at(node.columns.iter().position(|f| f.name == field))?)
            }
            Role::Value => Source::Value(found_at(node.outputs.iter().position(|o| o.name == field))?),
        };
        let mut key = Vec::new();
        for part in &node.keys {
            key.push(self.entity_index(featureset, &part.name)?);
        }
        if let Some(read) = self.plan.reads.iter_mut().find(|r| r.node.id == node.id && r.key == key) {
            read.targets.push((source, slot));
            return Ok(());
        }
        self.plan.reads.push(Read { node: node.clone(), key, targets: vec![(source, slot)] });
        Ok(())
    }

    fn call(&mut self, featureset: &'a Featureset, extractor: &Extractor, depth: usize) -> Result<()> {
        let id = (featureset.name.clone(), extractor.name.clone());
        if self.called.contains(&id) {
            return Ok(());
        }
        self.called.push(id);
        let mut inputs = Vec::new();
        for FeatureRef { featureset: other, feature } in &extractor.inputs {
            let of = match other {
                None => featureset,
                Some(name) => self.catalog.featureset(name)?,
            };
            inputs.push(self.feature(of, feature, depth + 1)?);
        }
        let mut outputs = Vec::new();
        for output in &extractor.outputs {
            let slot = self.feature(featureset, output, depth + 1)?;
            self.plan.versions[slot] = Some(extractor.version);
            outputs.push((slot, output.clone()));
        }
        let name = format!("{}.{}", featureset.name, extractor.name);
        let (handle, runs) = if extractor.form == Form::Expression {
            let types: Vec<DataType> = inputs.iter().map(|slot| self.plan.data_type(*slot)).collect();
            let declared = outputs.first().map(|(slot, _)| self.plan.data_type(*slot));
            let declared = declared.ok_or_else(|| Error::internal(format!("{name} gives no feature")))?;
            (0, Runs::Expression(Arc::new(Expression::new(extractor, &types, declared)?)))
        } else {
            let handle = self.host.load(&featureset.name, extractor, &self.catalog.document.datasets)?;
            (handle, self.host.runs(handle))
        };
        self.plan.calls.push(Call { name, handle, runs, inputs, outputs });
        Ok(())
    }
}
