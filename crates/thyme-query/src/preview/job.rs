//! One featureset of a preview: its plans, its rows, its values.

use std::collections::HashSet;
use std::sync::Arc;

use thyme_core::definition::Document;
use thyme_core::key::encode_into;
use thyme_core::{DataType, EntityKey, EventTime, Result, Value};
use thyme_engine::trial::{Trial, Witness};
use thyme_engine::{Catalog, Node};

use super::sample::Sample;
use super::{Asked, FeaturePreview, Rows, SetPreview, Touched};
use crate::column::ColumnBuffer;
use crate::evaluate::{Frame, evaluate};
use crate::plan::{Plan, Request};
use crate::reader::Reader;
use crate::selection::Wanted;

/// A featureset on its way through a preview.
pub(super) struct Job {
    featureset: String,
    touched: Vec<Touched>,
    /// Features that take what nobody gives, and what that is.
    unfed: Vec<(Touched, String)>,
    plan: Plan,
    old: Option<Plan>,
    /// Where its entities are seen, after the commit and before it: what is not read any more has entities, too.
    pub witnesses: Vec<Witness>,
    pub sample: Sample,
    /// The nodes whose rows it needs, each with the places of the key's fields in the entity.
    needs: Vec<(Arc<Node>, Vec<usize>)>,
    frame: Frame,
    left_out: u64,
    /// What the last evaluation gave, and whether lookups missed something.
    values: Option<Result<Vec<ColumnBuffer>>>,
    missed: bool,
    failure: Option<String>,
}

/// The nodes that a plan reads or looks up, each with the places of its key's fields in the entity.
fn nodes(plan: &Plan, catalog: &Catalog) -> Vec<(Arc<Node>, Vec<usize>)> {
    let mut nodes: Vec<_> = plan.reads.iter().map(|read| (read.node.clone(), read.key.clone())).collect();
    let place = |name: &str| plan.entity.iter().position(|(field, _)| field == name);
    for dataset in looked_up(plan, &catalog.document) {
        let Some(node) = catalog.dataset(dataset).ok().and_then(|live| live.node.clone()) else { continue };
        let key: Option<Vec<usize>> = node.keys.iter().map(|field| place(&field.name)).collect();
        if let Some(key) = key.filter(|_| nodes.iter().all(|(known, _)| known.id != node.id)) {
            nodes.push((node, key));
        }
    }
    nodes
}

/// The datasets that the extractors of a plan say they look up.
fn looked_up<'d>(plan: &Plan, document: &'d Document) -> Vec<&'d str> {
    let all = document.featuresets.iter().flat_map(|set| set.extractors.iter().map(move |e| (set, e)));
    let called =
        all.filter(|(set, e)| plan.calls.iter().any(|call| call.name == format!("{}.{}", set.name, e.name)));
    called.flat_map(|(_, extractor)| extractor.deps.iter().map(String::as_str)).collect()
}

/// Where the fields of the entity before are in that of now: by name, or in order if only names changed.
fn places(old: &Plan, now: &Plan) -> Option<Vec<usize>> {
    let now = &now.entity;
    let by_name = |field: &(String, DataType)| now.iter().position(|n| n == field);
    let places: Option<Vec<usize>> = old.entity.iter().map(by_name).collect();
    let types = |entity: &[(String, DataType)]| entity.iter().map(|(_, t)| *t).collect::<Vec<_>>();
    let in_order = || (types(&old.entity) == types(now)).then(|| (0..now.len()).collect());
    places.or_else(in_order)
}

/// What a plan of before reads, each with the places of the key's fields in the entity of now.
fn read_before(old: &Plan, now: &Plan, live: &Catalog) -> Vec<(Arc<Node>, Vec<usize>)> {
    let Some(places) = places(old, now) else { return Vec::new() };
    let moved = nodes(old, live).into_iter().filter_map(|(node, key)| {
        let key: Option<Vec<usize>> = key.iter().map(|place| places.get(*place).copied()).collect();
        Some((node, key?))
    });
    moved.collect()
}

impl Job {
    pub fn new(
        reader: &Reader,
        trial: &mut Trial,
        featureset: String,
        touched: Vec<Touched>,
        asked: &Asked,
    ) -> Result<Job> {
        let mut unfed = Vec::new();
        let touched = Self::fed(reader, trial, &featureset, (touched, &mut unfed), asked)?;
        // A plan is of one feature at least; those that are not fed are never evaluated.
        let all = touched
            .iter()
            .chain(unfed.iter().map(|(feature, _)| feature).take(usize::from(touched.is_empty())));
        let wanted: Vec<Wanted> = all.map(|t| Wanted::Id(t.id)).collect();
        let plan = Plan::new(trial.catalog(), &featureset, Some(&wanted), reader.host())?;
        let there: Vec<Wanted> =
            touched.iter().filter(|t| t.before.is_some()).map(|t| Wanted::Id(t.id)).collect();
        let live = trial.live().catalog.clone();
        let old = match there.is_empty() {
            true => None,
            false => Some(Plan::new(&live, &featureset, Some(&there), reader.host())?),
        };
        let mut needs = nodes(&plan, trial.catalog());
        needs.sort_by_key(|(node, _)| !trial.is_fresh(node));
        let looked_up = looked_up(&plan, &trial.catalog().document.clone()).len();
        let whole = || Plan::new(trial.catalog(), &featureset, None, reader.host());
        let after = trial.catalog().clone();
        let witness = match trial.witness(&after, &plan.entity, &needs) {
            // What is touched may read nothing; the rest of the featureset knows its entities.
            None => trial.witness(&after, &plan.entity, &nodes(&whole()?, &after)),
            some => some,
        };
        let before =
            old.as_ref().and_then(|old| trial.witness(&live, &plan.entity, &read_before(old, &plan, &live)));
        let is_other = |before: &Witness| witness.as_ref().is_none_or(|after| !after.is_same(before));
        let before = before.filter(is_other);
        let witness = witness.or_else(|| trial.any_witness(&plan.entity).filter(|_| before.is_none()));
        let witnesses: Vec<Witness> = witness.into_iter().chain(before).collect();
        let (entities, times) = match asked.entities {
            Some(entities) => (entities.max(1), asked.times),
            None => (usize::MAX, usize::MAX),
        };
        for (node, _) in &needs {
            trial.reads(node);
            if asked.entities.is_none() && looked_up == 0 {
                trial.want_all(node);
            }
        }
        if let Some(Witness::Filled { node, .. }) = witnesses.first() {
            trial.want_all(node);
        }
        let failure = match (unfed.first(), witnesses.is_empty()) {
            (Some((_, failure)), _) if touched.is_empty() => Some(failure.clone()),
            (_, true) => Some("no event has all fields of its entity, so no entity could be chosen".into()),
            _ => None,
        };
        Ok(Job {
            featureset,
            touched,
            unfed,
            plan,
            old,
            witnesses: if failure.is_none() { witnesses } else { Vec::new() },
            sample: Sample::new(entities, times, trial.live().now),
            needs,
            frame: Frame { entity: Vec::new(), times: Vec::new(), positions: None, inputs: Vec::new() },
            left_out: 0,
            values: None,
            missed: true,
            failure,
        })
    }

    /// Those of some features that take nothing from a caller but what is given; the others go to `unfed`.
    fn fed(
        reader: &Reader,
        trial: &Trial,
        featureset: &str,
        (touched, unfed): (Vec<Touched>, &mut Vec<(Touched, String)>),
        asked: &Asked,
    ) -> Result<Vec<Touched>> {
        let given = |name: &String| asked.inputs.iter().any(|(input, _)| input == name);
        let mut fed = Vec::with_capacity(touched.len());
        for feature in touched {
            let plan =
                Plan::new(trial.catalog(), featureset, Some(&[Wanted::Id(feature.id)]), reader.host())?;
            let missing = |r: &&Request| r.default.is_none() && !r.optional && !given(&r.name);
            match plan.requests.iter().find(missing) {
                Some(Request { name, .. }) => {
                    let failure =
                        format!("it takes the request feature {name}; give it: --input {name}=VALUE");
                    unfed.push((feature, failure));
                }
                None => fed.push(feature),
            }
        }
        Ok(fed)
    }

    /// Makes rows of the sample, and has the nodes filled for them.
    pub fn choose(&mut self, trial: &mut Trial, asked: &Asked) -> Result<()> {
        let now = trial.live().time;
        let mut rows: Vec<(Vec<Value>, EventTime)> = Vec::new();
        for (key, times) in self.sample.entities() {
            let entity = EntityKey::decode(key)?;
            let with_now = times.iter().copied().filter(|time| *time != now).chain([now]);
            rows.extend(with_now.map(|time| (entity.clone(), time)));
        }
        let before = rows.len();
        let old = self.old.as_ref().map(|old| nodes(old, &trial.live().catalog)).unwrap_or_default();
        let kept = self.needs.iter().chain(&old).filter(|(node, _)| node.removed_until().is_some());
        let kept: Vec<&Arc<Node>> = kept.map(|(node, _)| node).collect();
        rows.retain(|(_, time)| kept.iter().all(|node| trial.live().keeps(node, *time)));
        self.left_out = (before - rows.len()) as u64;
        let mut entity: Vec<ColumnBuffer> =
            self.plan.entity.iter().map(|(_, t)| ColumnBuffer::nulls(*t, rows.len())).collect();
        for (row, (values, _)) in rows.iter().enumerate() {
            for (column, value) in entity.iter_mut().zip(values) {
                column.set(row, value.clone());
            }
            for (node, key) in &self.needs {
                let mut bytes = Vec::new();
                let parts = key.iter().filter_map(|place| values.get(*place));
                if parts.into_iter().all(|part| encode_into(part, &mut bytes).is_ok()) {
                    trial.want(node, &bytes);
                }
            }
        }
        let requests = self.plan.requests.iter().chain(self.old.iter().flat_map(|old| &old.requests));
        let mut inputs: Vec<(String, ColumnBuffer)> = Vec::new();
        for request in requests {
            let given = asked.inputs.iter().find(|(name, _)| *name == request.name);
            let data_type = self.plan.slots.get(request.slot).map_or(DataType::Str, |(t, _)| *t);
            if let Some((name, value)) = given.filter(|(name, _)| inputs.iter().all(|(n, _)| n != name)) {
                inputs.push((name.clone(), ColumnBuffer::repeat(data_type, value, rows.len())));
            }
        }
        let times = rows.into_iter().map(|(_, time)| time).collect();
        self.frame = Frame { entity, times, positions: None, inputs };
        Ok(())
    }

    /// Whether it has to be evaluated, or again.
    pub fn is_open(&self) -> bool {
        self.failure.is_none() && self.missed
    }

    /// Evaluates the new definitions, as far as they are filled.
    pub fn evaluate(&mut self, reader: &Reader, trial: &mut Trial) {
        self.values = Some(evaluate(&self.plan, &trial.snapshot(), reader.host(), &self.frame));
        self.missed = trial.want_missed() > 0;
    }

    /// The values side by side.
    pub fn compare(mut self, reader: &Reader, trial: &Trial, asked: &Asked) -> SetPreview {
        let mut features = Vec::new();
        match self.sides(reader, trial) {
            Ok((new, old)) => {
                let changed = std::mem::take(&mut self.touched);
                for (place, touched) in changed.into_iter().enumerate() {
                    let new = column(new.get(place));
                    let old = self.old.as_ref().and_then(|plan| {
                        let place = plan.features.iter().position(|column| column.id == touched.id)?;
                        Some(column(old.as_ref()?.get(place)))
                    });
                    features.push(self.feature(touched, old, new, asked.examples));
                }
            }
            Err(failure) => {
                self.failure = Some(failure);
                let all = std::mem::take(&mut self.touched).into_iter();
                features.extend(all.map(|touched| FeaturePreview::without_values(touched, None)));
            }
        }
        let unfed = std::mem::take(&mut self.unfed).into_iter();
        features.extend(unfed.map(|(touched, why)| FeaturePreview::without_values(touched, Some(why))));
        features.sort_by_key(|feature| feature.touched.place);
        SetPreview {
            featureset: self.featureset,
            entities: self.sample.entities().count() as u64,
            is_part: self.sample.is_part(),
            left_out: self.left_out,
            failure: self.failure,
            entity: self.plan.entity.iter().map(|(name, _)| name.clone()).collect(),
            rows: Rows { entity: self.frame.entity, times: self.frame.times },
            features,
        }
    }

    /// The new columns and the old ones, or why there are none.
    fn sides(
        &mut self,
        reader: &Reader,
        trial: &Trial,
    ) -> std::result::Result<(Vec<ColumnBuffer>, Option<Vec<ColumnBuffer>>), String> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        if self.missed {
            return Err("its extractors look up ever more entities, which the sample does not have".into());
        }
        let new = match self.values.take() {
            Some(Ok(new)) => new,
            Some(Err(error)) => return Err(format!("the new definitions fail: {}", error.detail())),
            None => return Err("it was not evaluated".into()),
        };
        let Some(old) = &self.old else { return Ok((new, None)) };
        let Some(entity) = self.entity_of(old) else { return Ok((new, None)) };
        let inputs = self.frame.inputs.clone();
        let frame = Frame { entity, times: self.frame.times.clone(), positions: None, inputs };
        match evaluate(old, trial.live(), reader.host(), &frame) {
            Ok(old) => Ok((new, Some(old))),
            Err(error) => Err(format!("the committed definitions fail: {}", error.detail())),
        }
    }

    /// The entity's columns as a plan of before takes them.
    fn entity_of(&self, old: &Plan) -> Option<Vec<ColumnBuffer>> {
        places(old, &self.plan)?.into_iter().map(|place| self.frame.entity.get(place).cloned()).collect()
    }

    fn feature(
        &self,
        touched: Touched,
        old: Option<Vec<Value>>,
        new: Vec<Value>,
        examples_max: usize,
    ) -> FeaturePreview {
        let is_other = |row: usize, old: &[Value]| {
            let was = old.get(row).cloned().unwrap_or_default().widen(touched.data_type);
            was.as_ref() != new.get(row)
        };
        let differ: Vec<usize> = match &old {
            Some(old) => (0..new.len()).filter(|row| is_other(*row, old)).collect(),
            None => Vec::new(),
        };
        let entity = |row: usize| -> Vec<String> {
            self.frame.entity.iter().map(|column| column.get(row).to_string()).collect()
        };
        let mut seen = HashSet::new();
        let (first, more): (Vec<usize>, Vec<usize>) =
            differ.iter().partition(|row| seen.len() < examples_max && seen.insert(entity(**row)));
        let examples = first.into_iter().chain(more).take(examples_max).collect();
        FeaturePreview { touched, failure: None, old, new, differ, examples }
    }
}

fn column(buffer: Option<&ColumnBuffer>) -> Vec<Value> {
    buffer.map_or_else(Vec::new, |buffer| (0..buffer.len()).map(|row| buffer.get(row)).collect())
}
