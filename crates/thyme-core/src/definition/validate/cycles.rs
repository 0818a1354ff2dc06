//! Cycles among features: an extractor's output that needs itself, also through other featuresets.

use std::collections::HashMap;

use super::scope::Scope;
use super::{Faults, place};
use crate::definition::document::{Document, Extractor, Featureset};

/// An extractor: its featureset's name and its index in it.
type Node<'a> = (&'a str, usize);

/// One extractor on the path that is being followed.
struct Step<'a> {
    node: Node<'a>,
    /// The next input to follow.
    next: usize,
    /// The feature of this extractor that the step before takes.
    feature: String,
}

/// Reports each cycle that an extractor of the document is on or leads into, once. Without recursion:
/// chains may be long.
pub(super) fn check(document: &Document, scope: &Scope<'_>, faults: &mut Faults) {
    // Absent: not seen; false: on the path; true: done.
    let mut done: HashMap<Node<'_>, bool> = HashMap::new();
    for featureset in &document.featuresets {
        for index in 0..featureset.extractors.len() {
            follow((&featureset.name, index), scope, &mut done, faults);
        }
    }
}

fn follow<'a>(start: Node<'a>, scope: &Scope<'a>, done: &mut HashMap<Node<'a>, bool>, faults: &mut Faults) {
    if done.contains_key(&start) {
        return;
    }
    done.insert(start, false);
    let mut path = vec![Step { node: start, next: 0, feature: String::new() }];
    while let Some(step) = path.last_mut() {
        let node = step.node;
        let taken = extractor(node, scope).and_then(|(_, e)| e.inputs.get(step.next));
        step.next += 1;
        let Some(input) = taken else {
            done.insert(node, true);
            path.pop();
            continue;
        };
        let Some((indexed, feature)) = scope.resolve(node.0, input) else {
            continue;
        };
        let Some(giver) = indexed.giver(&feature.name) else {
            continue;
        };
        let next: Node<'a> = (&indexed.featureset.name, giver);
        let name = format!("{}.{}", next.0, feature.name);
        match done.get(&next) {
            None => {
                done.insert(next, false);
                path.push(Step { node: next, next: 0, feature: name });
            }
            Some(false) => report(&path, next, name, scope, faults),
            Some(true) => {}
        }
    }
}

/// The cycle is the path from `again` on; `name` is the feature that closes it.
fn report(path: &[Step<'_>], again: Node<'_>, name: String, scope: &Scope<'_>, faults: &mut Faults) {
    let from = path.iter().position(|s| s.node == again).unwrap_or(0);
    let features = path[from + 1..].iter().map(|s| s.feature.as_str());
    let names: Vec<&str> = std::iter::once(name.as_str()).chain(features).chain([name.as_str()]).collect();
    let shown = if names.len() > 20 {
        format!("{} -> ... -> {name}", names[..19].join(" -> "))
    } else {
        names.join(" -> ")
    };
    let Some((featureset, extractor)) = extractor(again, scope) else {
        return;
    };
    faults.add(
        place(&extractor.at, &featureset.at),
        &name,
        "features that do not need themselves",
        &shown,
        format!(
            "the feature {name} needs itself: {shown} (each needs the next); take one of these inputs away"
        ),
    );
}

fn extractor<'a>(node: Node<'_>, scope: &Scope<'a>) -> Option<(&'a Featureset, &'a Extractor)> {
    let featureset = scope.featureset(node.0)?.featureset;
    Some((featureset, featureset.extractors.get(node.1)?))
}
