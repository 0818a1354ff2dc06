//! Datasets and their pipelines.

use super::{ChangeKind, Draft, difference, metadata, show_option};
use crate::definition::document::{AggregateDef, Dataset, OperatorDef, Pipeline, Source};
use crate::definition::{growth, show};
use crate::expectation::Expectation;
use crate::schema::{Field, Role};

/// What the dataset will be.
pub(super) fn merge(current: Option<&Dataset>, proposed: &Dataset, draft: &mut Draft) -> Dataset {
    let Some(current) = current else {
        draft.change(ChangeKind::Added, &proposed.name, format!("version {}", proposed.version));
        for pipeline in &proposed.pipelines {
            added(proposed, pipeline, draft);
        }
        return proposed.clone();
    };
    let name = &proposed.name;
    if proposed.version < current.version && !draft.compares {
        draft.conflict(
            &proposed.at,
            name,
            format!("version {}", current.version),
            format!("version {}", proposed.version),
            format!(
                "{name} is committed in version {} and proposed in version {}; versions only grow: give it version={} or more",
                current.version, proposed.version, current.version
            ),
        );
        return proposed.clone();
    }
    let mut next = proposed.clone();
    let bumped = proposed.version != current.version;
    if !bumped {
        next.fields.fields = in_order_of(&current.fields.fields, &proposed.fields.fields, |f| &f.name);
    }
    let meaning = meaning(current, &next);
    let mut details: Vec<String> = Vec::new();
    if bumped {
        details.push(format!("version: {} -> {}", current.version, proposed.version));
        if !current.is_derived() {
            details.push(match proposed.version > current.version {
                true => format!(
                    "it starts without the events of version {}, which stay in the log",
                    current.version
                ),
                false => format!("it has the events of version {} again", proposed.version),
            });
        }
        details.extend(meaning);
    } else if !meaning.is_empty() && !draft.compares && !fields_follow_a_pipeline_bump(current, &next) {
        refuse(current, proposed, &meaning, draft);
    } else {
        details.extend(meaning);
    }
    details.extend(in_place(current, &next));
    draft.changed(name, &details);
    let again = proposed.index && is_filled_again(current, &next);
    if again || bumped || current.retention != proposed.retention {
        draft.filled();
    }
    merge_pipelines(current, &mut next, bumped, draft);
    next
}

fn refuse(current: &Dataset, proposed: &Dataset, meaning: &[String], draft: &mut Draft) {
    let (name, version) = (&proposed.name, current.version);
    let fix = if current.is_derived() && proposed.is_derived() {
        format!("give {name} version={}, or its pipeline a higher version", version + 1)
    } else {
        format!(
            "give {name} version={}, which starts without the events of version {version} (they stay in the log), or put what is new into a dataset of its own",
            version + 1
        )
    };
    draft.conflict(
        &proposed.at,
        name,
        show::list(current.fields.fields.iter().map(show::field)),
        show::list(proposed.fields.fields.iter().map(show::field)),
        format!(
            "{name} changes what it means without a new version: {}; {fix}",
            show::list(meaning.iter().cloned())
        ),
    );
}

/// Whether the change of a derived dataset's fields comes with a new version of its pipeline.
fn fields_follow_a_pipeline_bump(current: &Dataset, proposed: &Dataset) -> bool {
    let pairs = pairs(current, proposed);
    !pairs.is_empty() && pairs.iter().all(|(was, is)| was.is_some_and(|was| is.version > was.version))
}

/// The differences that need a version.
pub(super) fn meaning(current: &Dataset, proposed: &Dataset) -> Vec<String> {
    let (was, is) = (&current.fields, &proposed.fields);
    let mut found = Vec::new();
    for field in &was.fields {
        match is.field(&field.name) {
            None => found.push(format!("field {} is removed", show::field(field))),
            Some(new) if new != field && !is_relaxed(proposed, field, new) => {
                found.push(format!("field {} -> {}", show::field(field), show::field(new)));
            }
            Some(_) => {}
        }
    }
    let new = is.fields.iter().filter(|f| was.field(&f.name).is_none());
    let in_place = current.version == proposed.version || !proposed.is_derived();
    let new = new.filter(|f| !in_place || !is_additive(proposed, f));
    found.extend(new.map(|f| format!("field {} is added", show::field(f))));
    found.extend(pipelines(current, proposed));
    let keys = |d: &Dataset| show::list(d.fields.keys().map(|f| f.name.clone()));
    if found.is_empty() {
        found.extend(difference("order of the key fields", &keys(current), &keys(proposed), String::clone));
    }
    if current.index && !proposed.index && !current.is_derived() {
        found.push("index: on -> off".to_owned());
    }
    found.extend(difference("event id", &current.event_id, &proposed.event_id, show_option));
    let replaces = |d: &Dataset| if d.is_keyed() { "replace each other" } else { "add up" };
    found.extend(difference("rows", &replaces(current), &replaces(proposed), |r| (*r).to_owned()));
    found.extend(difference("what says deleted", &current.deleted, &proposed.deleted, show_option));
    let kind = |d: &Dataset| {
        if d.is_derived() { "a pipeline" } else { "events" }
    };
    found.extend(difference("made by", &kind(current), &kind(proposed), |k| (*k).to_owned()));
    found
}

/// Whether the index of a raw dataset is another one.
fn is_filled_again(current: &Dataset, next: &Dataset) -> bool {
    !next.is_derived() && (!current.index || current.fields != next.fields)
}

/// Whether a new field needs no version. One of a raw dataset: rows that were written without it read as null, or as
/// its default. One of a derived dataset is another aggregate, and the others stay what they are.
fn is_additive(dataset: &Dataset, field: &Field) -> bool {
    field.role == Role::Value && (dataset.is_derived() || field.missing().is_some())
}

/// Whether a field of a raw dataset differs only in that it may be null now, which no row was so far.
fn is_relaxed(dataset: &Dataset, was: &Field, is: &Field) -> bool {
    let relaxed = Field { optional: true, ..was.clone() };
    !dataset.is_derived() && was.role == Role::Value && relaxed == *is
}

/// The changes of a dataset's fields that need no version.
fn fields_in_place(current: &Dataset, proposed: &Dataset) -> Vec<String> {
    let mut found = Vec::new();
    for field in &proposed.fields.fields {
        match current.fields.field(&field.name) {
            None if is_additive(proposed, field) && proposed.is_derived() => {
                found.push(format!("field {} is added", show::field(field)));
            }
            None if is_additive(proposed, field) => {
                let earlier = field.default.as_ref().map_or("null".to_owned(), ToString::to_string);
                found.push(format!("field {} is added; events of before have {earlier}", show::field(field)));
            }
            Some(was) if was != field && is_relaxed(proposed, was, field) => {
                found.push(format!("field {} -> {}", show::field(was), show::field(field)));
            }
            _ => {}
        }
    }
    found
}

/// The differences that apply in place.
fn in_place(current: &Dataset, proposed: &Dataset) -> Vec<String> {
    let mut found = match current.version == proposed.version {
        true => fields_in_place(current, proposed),
        false => Vec::new(),
    };
    // Turning off the index of a raw dataset is a change of meaning; a derived one is readable anyway.
    if proposed.index || proposed.is_derived() {
        let shown = |on: &bool| if *on { "on" } else { "off" }.to_owned();
        found.extend(difference("index", &current.index, &proposed.index, shown));
    }
    found.extend(difference("max_lateness", &current.max_lateness, &proposed.max_lateness, show_option));
    found.extend(difference(
        "max_future_skew",
        &current.max_future_skew,
        &proposed.max_future_skew,
        show_option,
    ));
    found.extend(difference("retention", &current.retention, &proposed.retention, show_option));
    found.extend(difference("extra", &current.extra, &proposed.extra, |e| format!("{e:?}").to_lowercase()));
    found.extend(difference("on_error", &current.on_error, &proposed.on_error, |e| {
        format!("{e:?}").to_lowercase()
    }));
    let shown = |all: &Vec<Expectation>| match all.as_slice() {
        [] => "none".to_owned(),
        all => show::list(all.iter().map(|e| e.kind.to_string())),
    };
    found.extend(difference("expectations", &current.expectations, &proposed.expectations, shown));
    found.extend(difference("on_violation", &current.on_violation, &proposed.on_violation, |e| {
        format!("{e:?}").to_lowercase()
    }));
    found.extend(sources(current, proposed));
    found.extend(metadata(&current.meta, &proposed.meta));
    found
}

/// The differences of the sources. One that replaces the only one is that with other options; of several, one is the
/// same as before if it reads the same.
fn sources(current: &Dataset, proposed: &Dataset) -> Vec<String> {
    let all = |d: &Dataset| d.all_sources().cloned().collect::<Vec<Source>>();
    let (mut was, is) = (all(current), all(proposed));
    if let ([was], [is]) = (was.as_slice(), is.as_slice()) {
        return source(was, is);
    }
    let mut found = Vec::new();
    for source_is in is {
        match was.iter().position(|was| was.path() == source_is.path()) {
            Some(at) => found.extend(source(&was.remove(at), &source_is)),
            None => found.push(format!("source {} is added", source_is.kind)),
        }
    }
    found.extend(was.iter().map(|was| format!("source {} is removed", was.kind)));
    found
}

fn source(was: &Source, is: &Source) -> Vec<String> {
    let mut found = Vec::new();
    found.extend(difference("source", &was.kind, &is.kind, String::clone));
    if was.options != is.options {
        // The values may be secrets: only the names are shown.
        let names = was.options.keys().chain(is.options.keys());
        let mut names: Vec<String> =
            names.filter(|k| was.options.get(*k) != is.options.get(*k)).cloned().collect();
        names.sort();
        names.dedup();
        found.push(format!("source options {}", show::list(names)));
    }
    found.extend(difference("source max_lateness", &was.max_lateness, &is.max_lateness, show_option));
    found.extend(difference(
        "source max_future_skew",
        &was.max_future_skew,
        &is.max_future_skew,
        show_option,
    ));
    found.extend(metadata(&was.meta, &is.meta).map(|m| format!("source {m}")));
    found
}

/// The proposed items, those that are known first and in the known order: so an order that says
/// nothing changes nothing.
pub(super) fn in_order_of<T: Clone>(known: &[T], proposed: &[T], name: impl Fn(&T) -> &String) -> Vec<T> {
    let order: std::collections::HashMap<&String, usize> =
        known.iter().enumerate().map(|(i, t)| (name(t), i)).collect();
    let mut items = proposed.to_vec();
    items.sort_by_key(|t| order.get(name(t)).copied().unwrap_or(usize::MAX));
    items
}

/// Each proposed pipeline with the committed one it continues: of the same name, or the only one.
fn pairs<'a>(current: &'a Dataset, proposed: &'a Dataset) -> Vec<(Option<&'a Pipeline>, &'a Pipeline)> {
    if let ([was], [is]) = (current.pipelines.as_slice(), proposed.pipelines.as_slice()) {
        return vec![(Some(was), is)];
    }
    let named = |name: &str| current.pipelines.iter().find(|p| p.name == name);
    proposed.pipelines.iter().map(|p| (named(&p.name), p)).collect()
}

fn added(dataset: &Dataset, pipeline: &Pipeline, draft: &mut Draft) {
    let subject = format!("{}.{}", dataset.name, pipeline.name);
    draft.change(ChangeKind::Added, subject, format!("version {}", pipeline.version));
    draft.filled();
}

fn merge_pipelines(current: &Dataset, next: &mut Dataset, dataset_bumped: bool, draft: &mut Draft) {
    let proposed = next.clone();
    let pairs = pairs(current, &proposed);
    let continued: Vec<&str> = pairs.iter().filter_map(|(was, _)| was.map(|w| w.name.as_str())).collect();
    for gone in current.pipelines.iter().filter(|p| !continued.contains(&p.name.as_str())) {
        draft.change(ChangeKind::Removed, format!("{}.{}", next.name, gone.name), "");
    }
    let mut merged = Vec::with_capacity(pairs.len());
    for (was, is) in &pairs {
        match was {
            Some(was) => merged.push(merge_pipeline(&proposed, was, is, dataset_bumped, draft)),
            None => {
                added(&proposed, is, draft);
                merged.push((*is).clone());
            }
        }
    }
    next.pipelines = merged;
}

fn merge_pipeline(
    dataset: &Dataset,
    was: &Pipeline,
    is: &Pipeline,
    dataset_bumped: bool,
    draft: &mut Draft,
) -> Pipeline {
    let subject = format!("{}.{}", dataset.name, is.name);
    let place = if is.at.file.is_empty() { &dataset.at } else { &is.at };
    let mut next = is.clone();
    if is.version <= was.version {
        keep_order(&was.operators, &mut next.operators);
    }
    let changes = operators(was, &next);
    let mut details = Vec::new();
    details.extend(difference("name", &was.name, &is.name, String::clone));
    details.extend(difference("version", &was.version, &is.version, u32::to_string));
    if is.version < was.version && !dataset_bumped {
        draft.conflict(
            place,
            &subject,
            format!("version {}", was.version),
            format!("version {}", is.version),
            format!(
                "{subject} is committed in version {} and proposed in version {}; versions only grow: give it @pipeline(version={}) or more",
                was.version, is.version, was.version
            ),
        );
    } else if is.version == was.version && !dataset_bumped && !only_adds(was, &next) {
        draft.conflict(
            place,
            &subject,
            show_operators(was),
            show_operators(is),
            format!(
                "{subject} changes what it computes without a new version: {}; give {} version={}, or {} @pipeline(version={})",
                show::list(changes.iter().cloned()),
                dataset.name,
                dataset.version + 1,
                is.name,
                was.version + 1
            ),
        );
    }
    let differs = is.version != was.version || was.name != is.name || !changes.is_empty();
    // Aggregates over what the timelines keep already are answered from these.
    let holds = growth::feeds_alike(was, &next) && growth::grown(&growth::kept_for(was), &next).is_some();
    let filled = dataset_bumped || (differs && !holds);
    details.extend(changes);
    details.extend(metadata(&was.meta, &is.meta));
    draft.changed(subject, &details);
    if filled {
        draft.filled();
    }
    next
}

/// Whether all that was computed still is, and the same way.
fn only_adds(was: &Pipeline, is: &Pipeline) -> bool {
    let named = |name: &str| is.aggregates().find(|a| a.name == name);
    growth::feeds_alike(was, is) && was.aggregates().all(|a| named(&a.name) == Some(a))
}

/// Pipelines that come or go where several make one dataset's rows: it has others then.
fn pipelines(current: &Dataset, proposed: &Dataset) -> Vec<String> {
    if current.pipelines.len().max(proposed.pipelines.len()) < 2 {
        return Vec::new();
    }
    let lacks = |d: &Dataset, name: &str| d.pipelines.iter().all(|p| p.name != name);
    let gone = current.pipelines.iter().filter(|p| lacks(proposed, &p.name));
    let new = proposed.pipelines.iter().filter(|p| lacks(current, &p.name));
    let gone = gone.map(|p| format!("pipeline {} is removed", p.name));
    gone.chain(new.map(|p| format!("pipeline {} is added", p.name))).collect()
}

pub(super) fn show_operators(pipeline: &Pipeline) -> String {
    show::list(pipeline.operators.iter().map(OperatorDef::to_string))
}

/// Aggregates in the order they were committed in.
fn keep_order(was: &[OperatorDef], next: &mut [OperatorDef]) {
    if let (Some(OperatorDef::Aggregate { aggregates: known }), Some(OperatorDef::Aggregate { aggregates })) =
        (was.last(), next.last_mut())
    {
        *aggregates = in_order_of(known, aggregates, |a| &a.name);
    }
}

/// The differences in what is computed.
pub(super) fn operators(was: &Pipeline, is: &Pipeline) -> Vec<String> {
    let mut found = Vec::new();
    let inputs = |p: &Pipeline| show::list(p.inputs.iter().cloned());
    found.extend(difference("inputs", &inputs(was), &inputs(is), String::clone));
    if was.operators.len() != is.operators.len() {
        found.extend(difference("operators", &show_operators(was), &show_operators(is), String::clone));
        return found;
    }
    for pair in was.operators.iter().zip(&is.operators) {
        match pair {
            (OperatorDef::Aggregate { aggregates: was }, OperatorDef::Aggregate { aggregates: is }) => {
                found.extend(aggregates(was, is));
            }
            (was, is) if was != is => found.push(changed_text(&was.to_string(), &is.to_string())),
            _ => {}
        }
    }
    found
}

/// `was -> is`; deep expressions are cut when shown and may look the same.
fn changed_text(was: &str, is: &str) -> String {
    if was == is { format!("{was} differs deep inside") } else { format!("{was} -> {is}") }
}

fn aggregates(was: &[AggregateDef], is: &[AggregateDef]) -> Vec<String> {
    let mut found = Vec::new();
    for old in was {
        match is.iter().find(|a| a.name == old.name) {
            None => found.push(format!("aggregate {}={old} is removed", old.name)),
            Some(new) if new != old => {
                found.push(format!(
                    "aggregate {}: {}",
                    old.name,
                    changed_text(&old.to_string(), &new.to_string())
                ));
            }
            Some(_) => {}
        }
    }
    let added = is.iter().filter(|a| was.iter().all(|was| was.name != a.name));
    found.extend(added.map(|a| format!("aggregate {}={a} is added", a.name)));
    found
}
