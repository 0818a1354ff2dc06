//! Datasets: fields, key, event time, and what feeds them.

use std::collections::HashSet;

use super::scope::Scope;
use super::{Faults, keyed, names, pipeline};
use crate::definition::document::{Dataset, Source};
use crate::definition::show;
use crate::error::nearest;
use crate::expectation::Rule;
use crate::schema::{Field, Role};
use crate::value::DataType;

/// The most fields of a dataset.
pub const FIELDS_MAX: usize = 2_000;

/// The connectors there are.
pub const SOURCE_KINDS: [&str; 1] = ["file"];

/// The most expectations of a dataset.
pub const EXPECTATIONS_MAX: usize = 200;

const FILE_FORMATS: [&str; 3] = ["jsonl", "csv", "parquet"];

pub(super) fn check(dataset: &Dataset, scope: &Scope<'_>, faults: &mut Faults) {
    names::check_version(dataset.version, &dataset.name, &dataset.at, faults);
    check_fields(dataset, faults);
    check_key(dataset, faults);
    check_timestamp(dataset, faults);
    check_event_id(dataset, faults);
    keyed::check(dataset, faults);
    check_expectations(dataset, faults);
    for source in dataset.all_sources() {
        check_source(dataset, source, faults);
    }
    let mut paths: Vec<&str> = Vec::new();
    for path in dataset.all_sources().map(Source::path).filter(|path| !path.is_empty()) {
        if paths.contains(&path) {
            let name = &dataset.name;
            let message =
                format!("{name} has two sources that read {path}; a path is one stream: remove one of them");
            faults.add(&dataset.at, name, "one source a path", path, message);
        }
        paths.push(path);
    }
    for one in &dataset.pipelines {
        pipeline::check(dataset, one, scope, faults);
    }
    if dataset.pipelines.len() > 1 {
        pipeline::check_several(dataset, scope, faults);
        let names = dataset.pipelines.iter().map(|p| (p.name.as_str(), &dataset.at));
        names::check_unique("pipelines", &dataset.name, names, faults);
    }
}

fn check_fields(dataset: &Dataset, faults: &mut Faults) {
    let (name, fields) = (&dataset.name, &dataset.fields.fields);
    if fields.is_empty() {
        let message = format!(
            "{name} has no fields; annotate them in the class, such as driver: str = field(key=True)"
        );
        faults.add(&dataset.at, name, "fields", "none", message);
    }
    if fields.len() > FIELDS_MAX {
        faults.add(
            &dataset.at,
            name,
            format!("at most {FIELDS_MAX} fields"),
            fields.len().to_string(),
            format!(
                "{name} has {} fields, more than the {FIELDS_MAX} allowed; split it into several datasets",
                fields.len()
            ),
        );
    }
    for field in fields {
        names::check("field", &field.name, &subject(dataset, field), &dataset.at, faults);
        check_default(dataset, field, faults);
    }
    names::check_unique("fields", name, fields.iter().map(|f| (f.name.as_str(), &dataset.at)), faults);
}

fn check_expectations(dataset: &Dataset, faults: &mut Faults) {
    let (at, name, count) = (&dataset.at, &dataset.name, dataset.expectations.len());
    if dataset.is_derived() && (count > 0 || !dataset.on_violation.is_observe()) {
        let message = format!(
            "{name} has expectations, and its pipelines make it; give them to {} instead",
            show::list(dataset.pipelines.iter().flat_map(|pipeline| pipeline.inputs.iter().cloned()))
        );
        faults.add(at, name, "expectations of a raw dataset", "expectations", message);
        return;
    }
    if count > EXPECTATIONS_MAX {
        let message = format!("{name} has {count} expectations, more than the {EXPECTATIONS_MAX} allowed");
        faults.add(at, name, format!("at most {EXPECTATIONS_MAX} expectations"), count.to_string(), message);
        return;
    }
    let mut seen = HashSet::new();
    for expectation in &dataset.expectations {
        let shown = expectation.kind.to_string();
        if let Err(error) = Rule::new(expectation, &dataset.fields) {
            let message = format!("an expectation of {name} cannot be judged: {}", error.detail());
            faults.add(at, name, "an expectation that fits the fields", &shown, message);
        } else if !seen.insert(shown.clone()) {
            let message = format!("{name} expects \"{shown}\" twice; remove one of them");
            faults.add(at, name, "each expectation once", &shown, message);
        }
    }
    if !dataset.on_violation.is_observe() && !dataset.expectations.iter().any(|e| e.kind.is_of_rows()) {
        let message = format!(
            "{name} has on_violation=\"quarantine\" and no expectation that single rows can break; remove it or add one"
        );
        faults.add(at, name, "an expectation of rows", "none", message);
    }
}

fn check_default(dataset: &Dataset, field: &Field, faults: &mut Faults) {
    let Some(default) = &field.default else { return };
    let subject = subject(dataset, field);
    let (at, given) = (&dataset.at, default.to_string());
    if field.role != Role::Value {
        let message =
            format!("{subject} has a default, and a row always says its key and its event time; remove it");
        faults.add(at, &subject, "no default", given, message);
    } else if dataset.is_derived() {
        let message = format!(
            "{subject} has a default, and a pipeline makes it: give the aggregate the default instead, such as Sum(..., default={default})"
        );
        faults.add(at, &subject, "no default", given, message);
    } else if let Err(error) = default.value(field.data_type) {
        let message = format!("the default of {subject} does not fit its type {}: {error}", field.data_type);
        faults.add(at, &subject, field.data_type.name(), given, message);
    }
}

fn check_key(dataset: &Dataset, faults: &mut Faults) {
    let name = &dataset.name;
    if dataset.fields.keys().next().is_none() && !dataset.fields.fields.is_empty() {
        faults.add(
            &dataset.at,
            name,
            "at least one key field",
            "none",
            format!("{name} has no key: mark the field that names the entity with field(key=True)"),
        );
    }
    for key in dataset.fields.keys() {
        let (subject, field) = (subject(dataset, key), &key.name);
        if key.optional {
            let message = format!(
                "{subject} is a key and Optional, and a key is never null; declare it {field}: {}",
                key.data_type
            );
            faults.add(&dataset.at, &subject, key.data_type.name(), show::field(key), message);
        }
        if !key.data_type.is_key() {
            let given = key.data_type;
            let why = match given {
                DataType::Float => "floats are not names of anything".to_owned(),
                other => format!("a value of type {other} is not the name of anything"),
            };
            let message = format!(
                "{subject} is a key of type {given}, and {why}: expected int, str, bool, datetime or date"
            );
            faults.add(&dataset.at, &subject, "int, str, bool, datetime or date", given.name(), message);
        }
    }
}

fn check_timestamp(dataset: &Dataset, faults: &mut Faults) {
    let name = &dataset.name;
    let times: Vec<&Field> = dataset.fields.fields.iter().filter(|f| f.role == Role::Timestamp).collect();
    if times.is_empty() && !dataset.fields.fields.is_empty() {
        faults.add(
            &dataset.at,
            name,
            "one timestamp field",
            "none",
            format!("{name} has no event time: mark one datetime field with field(timestamp=True)"),
        );
    }
    if times.len() > 1 {
        let given = show::list(times.iter().map(|f| f.name.clone()));
        let message =
            format!("{name} has {} event times ({given}); keep timestamp=True on one of them", times.len());
        faults.add(&dataset.at, name, "one timestamp field", given, message);
    }
    for time in times {
        let subject = subject(dataset, time);
        if time.data_type != DataType::Datetime {
            let message =
                format!("{subject} is the event time and of type {}; declare it datetime", time.data_type);
            faults.add(&dataset.at, &subject, "datetime", time.data_type.name(), message);
        }
        if time.optional {
            let message = format!(
                "{subject} is the event time and Optional, and every event has a time; declare it {}: datetime",
                time.name
            );
            faults.add(&dataset.at, &subject, "datetime", show::field(time), message);
        }
    }
}

/// The field that names an event: it may be (part of) the key too.
fn check_event_id(dataset: &Dataset, faults: &mut Faults) {
    let Some(id) = &dataset.event_id else { return };
    let (at, name) = (&dataset.at, &dataset.name);
    if dataset.is_derived() {
        let message = format!(
            "{name}.{id} is the event id of a dataset that a pipeline makes, and only events have ids; put event_id=True on the pipeline's input"
        );
        faults.add(at, name, "no event id", id, message);
        return;
    }
    let Some(field) = dataset.fields.field(id) else {
        let message = format!("{name} has the event id {id}, which is none of its fields; declare it");
        faults.add(at, name, "one of its fields", id, message);
        return;
    };
    let subject = subject(dataset, field);
    if !matches!(field.data_type, DataType::Str | DataType::Int) {
        let given = field.data_type.name();
        let message = format!("{subject} is the event id and of type {given}; declare it str or int");
        faults.add(at, &subject, "str or int", given, message);
    }
    if field.optional || field.default.is_some() {
        let message = format!(
            "{subject} is the event id, and every event has its own; declare it {id}: {} without a default",
            field.data_type
        );
        faults.add(at, &subject, field.data_type.name(), show::field(field), message);
    }
}

fn check_source(dataset: &Dataset, source: &Source, faults: &mut Faults) {
    let name = &dataset.name;
    if dataset.is_derived() {
        let message = format!(
            "{name} has a pipeline and a source; put the source on the pipeline's input, a dataset of its own"
        );
        faults.add(&dataset.at, name, "a pipeline or a source", "both", message);
    }
    if !SOURCE_KINDS.contains(&source.kind.as_str()) {
        let near = nearest(&source.kind, SOURCE_KINDS);
        let hint = if near.is_empty() { SOURCE_KINDS.join(", ") } else { near.join(", ") };
        let message =
            format!("{name} has a source of the unknown kind \"{}\"; this version has {hint}", source.kind);
        faults.add(&dataset.at, name, SOURCE_KINDS.join(", "), &source.kind, message);
        return;
    }
    if source.options.get("path").is_none_or(String::is_empty) {
        let message = format!(
            "the file source of {name} has no path; give FileSource(path=\"rides.parquet\"), a path or a glob"
        );
        faults.add(&dataset.at, name, "path", "none", message);
    }
    if let Some(format) = source.options.get("format")
        && !FILE_FORMATS.contains(&format.as_str())
    {
        let formats = FILE_FORMATS.join(", ");
        let message = format!(
            "the file source of {name} has the format \"{format}\": expected one of {formats}, or none to go by the file's name"
        );
        faults.add(&dataset.at, name, formats, format, message);
    }
}

fn subject(dataset: &Dataset, field: &Field) -> String {
    format!("{}.{}", dataset.name, field.name)
}
