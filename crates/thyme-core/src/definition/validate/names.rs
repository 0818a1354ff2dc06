//! Names: Python identifiers, of bounded length, each used once.

use std::collections::HashSet;

use super::Faults;
use crate::definition::document::{Document, Place};

/// The longest name, in characters.
pub const NAME_CHARS_MAX: usize = 128;

const KEYWORDS: [&str; 35] = [
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue", "def",
    "del", "elif", "else", "except", "finally", "for", "from", "global", "if", "import", "in", "is",
    "lambda", "nonlocal", "not", "or", "pass", "raise", "return", "try", "while", "with", "yield",
];

/// Checks that `name`, a `what` such as `field`, is a Python identifier of bounded length.
pub(super) fn check(what: &str, name: &str, subject: &str, place: &Place, faults: &mut Faults) {
    let length = name.chars().count();
    if length > NAME_CHARS_MAX {
        let shown: String = name.chars().take(40).collect();
        faults.add(
            place,
            subject.chars().take(NAME_CHARS_MAX).collect::<String>(),
            format!("at most {NAME_CHARS_MAX} characters"),
            format!("{length} characters"),
            format!(
                "the {what} name \"{shown}...\" has {length} characters, more than the {NAME_CHARS_MAX} allowed; shorten it"
            ),
        );
        return;
    }
    let mut chars = name.chars();
    let starts = chars.next().is_some_and(|c| c.is_alphabetic() || c == '_');
    if !starts || !chars.all(|c| c.is_alphanumeric() || c == '_') || KEYWORDS.contains(&name) {
        faults.add(
            place,
            subject,
            "a Python identifier",
            format!("{name:?}"),
            format!(
                "{name:?} is not a {what} name: expected a Python identifier, that is letters, digits and underscores, not starting with a digit, and no keyword"
            ),
        );
    }
}

/// Checks that a version counts from 1.
pub(super) fn check_version(version: u32, subject: &str, place: &Place, faults: &mut Faults) {
    if version == 0 {
        let message = format!("{subject} has version 0; versions count from 1");
        faults.add(place, subject, "a version from 1", "0", message);
    }
}

/// Reports the names that occur again among `names`; `what` is a plural such as `fields`.
pub(super) fn check_unique<'a>(
    what: &str,
    owner: &str,
    names: impl IntoIterator<Item = (&'a str, &'a Place)>,
    faults: &mut Faults,
) {
    let mut seen = HashSet::new();
    let mut reported = HashSet::new();
    for (name, place) in names {
        if !seen.insert(name) && reported.insert(name) {
            faults.add(
                place,
                format!("{owner}.{name}"),
                "unique names",
                format!("{name} twice"),
                format!("{owner} has two {what} named {name}; rename one of them"),
            );
        }
    }
}

/// Checks the names of datasets and featuresets.
pub(super) fn check_top_level(document: &Document, known: &Document, faults: &mut Faults) {
    let datasets = || document.datasets.iter().map(|d| ("dataset", d.name.as_str(), &d.at));
    let featuresets = || document.featuresets.iter().map(|f| ("featureset", f.name.as_str(), &f.at));
    let known_datasets: HashSet<&str> = known.datasets.iter().map(|d| d.name.as_str()).collect();
    let known_featuresets: HashSet<&str> = known.featuresets.iter().map(|f| f.name.as_str()).collect();
    let mut seen = HashSet::new();
    for (what, name, place) in datasets().chain(featuresets()) {
        check(what, name, name, place, faults);
        if !seen.insert(name) {
            let message = format!("two definitions are named {name}; rename one of them");
            faults.add(place, name, "unique names", format!("{name} twice"), message);
        }
        let other = match what {
            "dataset" => known_featuresets.contains(name).then_some("featureset"),
            _ => known_datasets.contains(name).then_some("dataset"),
        };
        if let Some(other) = other {
            let message = format!("{name} is committed as a {other} and cannot also be a {what}; rename it");
            faults.add(place, name, format!("a {other}"), format!("a {what}"), message);
        }
    }
}
