//! Cycles among datasets: one whose pipelines read what is made of itself.

use std::collections::HashMap;

use super::scope::Scope;
use super::{Faults, place};
use crate::definition::derivation::DEPTH_MAX;
use crate::definition::document::{Dataset, Document};

/// One dataset on the path that is being followed.
struct Step<'a> {
    dataset: &'a Dataset,
    reads: Vec<&'a str>,
}

/// Reports each cycle that a dataset of the document is on or leads into, once, and chains that are too long. Without
/// recursion.
pub(super) fn check(document: &Document, scope: &Scope<'_>, faults: &mut Faults) {
    // Absent: not seen; `None`: on the path; otherwise how deep the chain below it is.
    let mut depths: HashMap<&str, Option<usize>> = HashMap::new();
    for dataset in document.datasets.iter().filter(|d| d.is_derived()) {
        if !depths.contains_key(dataset.name.as_str()) {
            follow(dataset, scope, &mut depths, faults);
        }
    }
}

fn step(dataset: &Dataset) -> Step<'_> {
    Step { dataset, reads: dataset.pipelines.iter().flat_map(|p| p.reads()).collect() }
}

fn follow<'a>(
    start: &'a Dataset,
    scope: &Scope<'a>,
    depths: &mut HashMap<&'a str, Option<usize>>,
    faults: &mut Faults,
) {
    depths.insert(&start.name, None);
    let mut path = vec![step(start)];
    while let Some(last) = path.last_mut() {
        let Some(name) = last.reads.pop() else {
            let of = last.dataset;
            let below = of.pipelines.iter().flat_map(|p| p.reads()).filter_map(|name| scope.dataset(name));
            let below = below.filter_map(|read| depths.get(read.name.as_str()).copied().flatten()).max();
            let depth = below.map_or(1, |below| below + 1);
            depths.insert(&of.name, Some(depth));
            path.pop();
            if depth == DEPTH_MAX + 1 {
                too_deep(of, faults);
            }
            continue;
        };
        // One that reads itself is refused where its pipeline is.
        let is_other = |d: &&Dataset| d.is_derived() && d.name != last.dataset.name;
        let Some(next) = scope.dataset(name).filter(is_other) else { continue };
        match depths.get(next.name.as_str()) {
            None => {
                depths.insert(&next.name, None);
                path.push(step(next));
            }
            Some(None) => report(&path, next, faults),
            Some(Some(_)) => {}
        }
    }
}

/// The cycle is the path from `again` on.
fn report(path: &[Step<'_>], again: &Dataset, faults: &mut Faults) {
    let from = path.iter().position(|step| step.dataset.name == again.name).unwrap_or(0);
    let names = path[from..].iter().map(|step| step.dataset.name.as_str());
    let names: Vec<&str> = names.chain([again.name.as_str()]).collect();
    let shown = match names.len() > 20 {
        true => format!("{} -> ... -> {}", names[..19].join(" -> "), again.name),
        false => names.join(" -> "),
    };
    let at = again.pipelines.first().map_or(&again.at, |pipeline| place(&pipeline.at, &again.at));
    let message = format!(
        "the dataset {} is made of itself: {shown} (each reads the next); let one of these pipelines read a raw dataset instead",
        again.name
    );
    faults.add(at, &again.name, "datasets that are not made of themselves", shown, message);
}

fn too_deep(dataset: &Dataset, faults: &mut Faults) {
    let message = format!(
        "{} is made by more than {DEPTH_MAX} pipelines one after another; bring some of them together",
        dataset.name
    );
    faults.add(
        &dataset.at,
        &dataset.name,
        format!("at most {DEPTH_MAX} pipelines"),
        (DEPTH_MAX + 1).to_string(),
        message,
    );
}
