//! Unions: whether several inputs have rows of one kind, and each event is there once.

use std::collections::BTreeSet;

use super::{Check, names, place};
use crate::definition::derivation::DEPTH_MAX;
use crate::definition::document::{Dataset, OperatorDef, Pipeline};
use crate::definition::show;
use crate::definition::union::UnionDef;
use crate::definition::validate::Faults;
use crate::definition::validate::outputs::Outputs;
use crate::definition::validate::scope::{Columns, Scope};

/// Several pipelines of one dataset: each makes rows of it, of events of its own.
pub(in crate::definition::validate) fn check_several(
    dataset: &Dataset,
    scope: &Scope<'_>,
    faults: &mut Faults,
) {
    let (at, name) = (&dataset.at, &dataset.name);
    let given = show::list(dataset.pipelines.iter().map(|p| p.name.clone()));
    if !dataset.has_derived_rows() {
        let message = format!(
            "{name} has several pipelines ({given}), and not all of them end in rows; split it into one dataset a pipeline, or bring their inputs together with .union before .groupby"
        );
        faults.add(at, name, "one pipeline, or several that end in rows", given, message);
        return;
    }
    let inputs: Vec<&str> = dataset.pipelines.iter().flat_map(|p| &p.inputs).map(String::as_str).collect();
    if let Some((expected, got, message)) = fault_of_inputs(name, &inputs, scope) {
        faults.add(at, name, expected, got, message);
    }
}

/// What is wrong with inputs that are brought together: what was expected, what came, and what to do.
fn fault_of_inputs(subject: &str, inputs: &[&str], scope: &Scope<'_>) -> Option<(String, String, String)> {
    let mut seen: Vec<(&str, &Dataset)> = Vec::new();
    for input in inputs {
        let mut raws = BTreeSet::new();
        raw_inputs(input, scope, 0, &mut raws);
        for raw in raws.iter().filter_map(|name| scope.dataset(name)) {
            if let Some((other, _)) = seen.iter().find(|(_, known)| known.name == raw.name) {
                let message = format!(
                    "{subject} brings {other} and {input} together, and both are made of events of {}, so that one event could be there twice; filter and assign on {} itself instead",
                    raw.name, raw.name
                );
                return Some(("inputs of different events".into(), raw.name.clone(), message));
            }
            if let Some((_, other)) = seen.first().filter(|(_, known)| known.retention != raw.retention) {
                let kept = |dataset: &Dataset| match &dataset.retention {
                    Some(retention) => format!("keeps its events for {retention}"),
                    None => "keeps its events for good".to_owned(),
                };
                let message = format!(
                    "{subject} brings events of {} and {} together: {} {}, and {} {}; give both the same retention",
                    other.name,
                    raw.name,
                    other.name,
                    kept(other),
                    raw.name,
                    kept(raw)
                );
                return Some(("one retention".into(), raw.name.clone(), message));
            }
            seen.push((input, raw));
        }
    }
    None
}

/// The raw datasets that a dataset is made of, joins aside.
fn raw_inputs<'s>(name: &str, scope: &Scope<'s>, depth: usize, found: &mut BTreeSet<&'s str>) {
    let Some(dataset) = scope.dataset(name).filter(|_| depth <= DEPTH_MAX) else { return };
    if !dataset.is_derived() {
        found.insert(&dataset.name);
    }
    for input in dataset.pipelines.iter().flat_map(|pipeline| &pipeline.inputs) {
        raw_inputs(input, scope, depth + 1, found);
    }
}

/// The inputs of the branches of unions, in order.
fn branches(pipeline: &Pipeline) -> Vec<&str> {
    let mut found = Vec::new();
    for operator in pipeline.all_operators() {
        if let OperatorDef::Union(union) = operator {
            found.extend(union.others.iter().map(|branch| branch.input.as_str()));
        }
    }
    found
}

impl Check<'_> {
    /// The inputs, each of which comes in once; gives the first.
    pub(super) fn inputs<'s>(&self, scope: &Scope<'s>, faults: &mut Faults) -> Option<&'s Dataset> {
        let (subject, given) = (&self.subject, &self.pipeline.inputs);
        let shown = show::list(given.iter().cloned());
        let Some(first) = given.first() else {
            let message =
                format!("{subject} has no input; name the datasets that it reads, as @inputs(Ride)");
            faults.add(self.place, subject, "an input", "none", message);
            return None;
        };
        let names = given.iter().map(|name| (name.as_str(), self.place));
        names::check_unique("inputs", subject, names, faults);
        let found: Vec<Option<&Dataset>> = given.iter().map(|name| self.input(name, scope, faults)).collect();
        let mut used = branches(self.pipeline);
        used.insert(0, first);
        if let Some(name) = given.iter().find(|name| !used.contains(&name.as_str())) {
            let message = format!(
                "{subject} has the inputs {shown}, and does nothing with {name}: add its rows to the others with .union, or leave it out"
            );
            faults.add(self.place, subject, "inputs that are used", name, message);
            return None;
        }
        for (index, name) in used.iter().enumerate() {
            if given.iter().all(|input| input != name) {
                let message = format!(
                    "{subject} adds rows of {name}, which is none of its inputs, {shown}; name it in @inputs"
                );
                faults.add(self.place, subject, "one of the inputs", *name, message);
                return None;
            }
            if used[..index].contains(name) {
                let message = format!(
                    "{subject} adds the rows of {name} twice, so that each event would be there twice; add them once"
                );
                faults.add(self.place, subject, "each input once", *name, message);
                return None;
            }
        }
        if found.iter().any(Option::is_none) {
            return None;
        }
        if let Some((expected, got, message)) = fault_of_inputs(subject, &used, scope) {
            faults.add(self.place, subject, expected, got, message);
            return None;
        }
        found.into_iter().next().flatten()
    }

    /// Applies a union: left are the columns that all inputs have; false if what follows cannot be checked.
    pub(super) fn union(
        &self,
        union: &UnionDef,
        columns: &mut Columns,
        scope: &Scope<'_>,
        faults: &mut Faults,
    ) -> bool {
        let before = faults.list.len();
        if union.others.is_empty() {
            let message = format!("{} has a union with nothing; leave it out", self.subject);
            faults.add(self.place, &self.subject, "other rows", "none", message);
        }
        for branch in &union.others {
            let ends =
                |o: &OperatorDef| matches!(o, OperatorDef::Groupby { .. } | OperatorDef::Aggregate { .. });
            if branch.operators.iter().any(ends) {
                let message = format!(
                    "{} groups {} before it is added to other rows; group after .union",
                    self.subject, branch.input
                );
                faults.add(self.place, &self.subject, "rows", "groups", message);
                continue;
            }
            let Some(dataset) = scope.dataset(&branch.input) else { continue };
            let mut other = Columns::of(dataset);
            let all = (&mut other, &mut Outputs::default());
            if self.operators(&branch.operators, all, scope, faults) {
                self.unite(columns, &other, &branch.input, faults);
            }
        }
        faults.list.len() == before
    }

    /// Leaves the columns that both have.
    fn unite(&self, columns: &mut Columns, other: &Columns, input: &str, faults: &mut Faults) {
        let (subject, at) = (&self.subject, place(self.place, &self.dataset.at));
        if columns.timestamp != other.timestamp {
            let name = |columns: &Columns| columns.timestamp.clone().unwrap_or_default();
            let message = format!(
                "{subject} adds rows of {input}, whose event time is called {}, to others, where it is {}; call both the same with .rename before .union",
                name(other),
                name(columns)
            );
            faults.add(at, subject, name(columns), name(other), message);
        }
        for (name, data_type) in &columns.list {
            if let Some(given) = other.data_type(name).filter(|given| given != data_type) {
                let message = format!(
                    "{subject} adds rows of {input}, where {name} is {given}, to others, where it is {data_type}; .assign one of them in the type of the other, or .drop it before .union"
                );
                faults.add(at, format!("{subject}.{name}"), data_type.name(), given.name(), message);
            }
        }
        columns.list.retain(|(name, _)| other.data_type(name).is_some());
    }
}
