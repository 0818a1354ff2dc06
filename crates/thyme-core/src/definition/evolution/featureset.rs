//! Featuresets: features by id, extractors by name.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{ChangeKind, Draft, difference, metadata, show_option};
use crate::definition::document::{
    Document, Extractor, Feature, FeatureRef, Featureset, FieldRef, Form, OnStale, Place, RetiredName,
};
use crate::definition::naming::unversioned;
use crate::definition::show;
use crate::time::Span;

/// All featuresets before and in the proposal, to see which features extractors take from others.
#[derive(Clone, Copy)]
pub(super) struct Sets<'a> {
    pub current: &'a Document,
    pub proposed: &'a Document,
}

impl Sets<'_> {
    /// The id behind a name of a committed featureset.
    fn id_before(&self, featureset: &str, name: &str) -> Option<u32> {
        self.current.featureset(featureset)?.feature(name)?.id
    }

    /// The id behind a name of a featureset as it will be.
    fn id_after(&self, featureset: &str, name: &str) -> Option<u32> {
        let proposed = self.proposed.featureset(featureset);
        let named = proposed.and_then(|set| set.features.iter().find(|f| f.name == name));
        named.and_then(|f| f.id).or_else(|| self.id_before(featureset, name))
    }
}

/// What the featureset will be, with an id for each feature.
pub(super) fn merge(
    current: Option<&Featureset>,
    proposed: &Featureset,
    sets: Sets<'_>,
    draft: &mut Draft,
) -> Featureset {
    let nothing = Featureset {
        name: proposed.name.clone(),
        features: Vec::new(),
        extractors: Vec::new(),
        max_age: proposed.max_age,
        on_stale: proposed.on_stale,
        meta: proposed.meta.clone(),
        retired_ids: Vec::new(),
        retired_names: Vec::new(),
        at: Place::default(),
    };
    let was = current.unwrap_or(&nothing);
    let mut next = proposed.clone();
    assign_ids(was, &mut next.features);

    let before = draft.changes.len();
    merge_features(was, &mut next, draft);
    merge_extractors(was, &next, sets, draft);
    let members = draft.changes.split_off(before);
    let changed = members.iter().filter(|c| c.kind != ChangeKind::Unchanged).count();
    if current.is_none() {
        draft.change(ChangeKind::Added, &proposed.name, format!("{} features", proposed.features.len()));
    } else {
        let mut details: Vec<String> = metadata(&was.meta, &proposed.meta).into_iter().collect();
        details.extend(ages((was.max_age, was.on_stale), (proposed.max_age, proposed.on_stale)));
        if changed > 0 {
            details.push(format!("{changed} of its members"));
        }
        draft.changed(&proposed.name, &details);
    }
    draft.changes.extend(members);

    let kept: HashSet<u32> = next.features.iter().filter_map(|f| f.id).collect();
    let mut retired: BTreeSet<u32> = was.retired_ids.iter().copied().collect();
    retired.extend(was.features.iter().filter_map(|f| f.id).filter(|id| !kept.contains(id)));
    next.retired_ids = retired.into_iter().collect();
    next.retired_names = was.retired_names.clone();
    next.retired_names.extend(names_of_removed(was, &next));
    next
}

/// The names that features answered to which are gone, for whoever goes on asking by them.
pub(super) fn names_of_removed(was: &Featureset, next: &Featureset) -> Vec<RetiredName> {
    let gone =
        was.features.iter().filter_map(|f| Some((f, f.id?))).filter(|(_, id)| next.by_id(*id).is_none());
    let names = gone.flat_map(|(feature, id)| {
        feature.former_names.iter().chain([&feature.name]).map(move |name| (name.clone(), id))
    });
    names.map(|(name, id)| RetiredName { name, id, commit: String::new() }).collect()
}

/// Features without an id keep the one of their name; new ones get the next that was never given.
fn assign_ids(was: &Featureset, features: &mut [Feature]) {
    let by_name: HashMap<&str, u32> =
        was.features.iter().filter_map(|f| Some((f.name.as_str(), f.id?))).collect();
    let mut taken: HashSet<u32> = features.iter().filter_map(|f| f.id).collect();
    for feature in features.iter_mut().filter(|f| f.id.is_none()) {
        feature.id = by_name.get(feature.name.as_str()).copied().filter(|id| taken.insert(*id));
    }
    let ever = taken
        .into_iter()
        .chain(was.retired_ids.iter().copied())
        .chain(was.features.iter().filter_map(|f| f.id));
    let mut last = ever.max().unwrap_or(0);
    for feature in features.iter_mut().filter(|f| f.id.is_none()) {
        last = last.saturating_add(1);
        feature.id = Some(last);
    }
}

fn merge_features(was: &Featureset, next: &mut Featureset, draft: &mut Draft) {
    let by_id: HashMap<u32, &Feature> = was.features.iter().filter_map(|f| Some((f.id?, f))).collect();
    let retired: HashSet<u32> = was.retired_ids.iter().copied().collect();
    let answering = answering(was, &next.features);
    let (was_given, is_given) = (givers(was), givers(next));
    let mut kept = HashSet::new();
    let mut merged = Vec::with_capacity(next.features.len());
    for feature in &next.features {
        let id = feature.id.unwrap_or(0);
        let mut feature = Feature { former_names: Vec::new(), ..feature.clone() };
        let subject = format!("{}.{}", next.name, feature.name);
        let place = if feature.at.file.is_empty() { &next.at } else { &feature.at }.clone();
        let place = &place;
        if let Some(owner) = answering.get(feature.name.as_str()).filter(|owner| owner.id != Some(id)) {
            refuse_taken(next, &feature, owner, place, draft);
        }
        if let Some(old) = by_id.get(&id) {
            kept.insert(id);
            let outer = Outer { was: &was_given, is: &is_given };
            merge_feature(old, &feature, &outer, place, &subject, draft);
            let earlier = old.former_names.iter().chain([&old.name]);
            feature.former_names = earlier.filter(|n| **n != feature.name).cloned().collect();
        } else if retired.contains(&id) {
            draft.conflict(
                place,
                &subject,
                "an id that was never used".to_owned(),
                format!("id {id}"),
                format!("{subject} has the id {id}, which a removed feature had; ids are never reused: give it a new one"),
            );
        } else {
            let replaced = was.features.iter().find(|f| f.name == feature.name && f.id != Some(id));
            let given = Outer { was: &was_given, is: &is_given };
            match replaced.filter(|old| means_the_same(old, &feature, &given)) {
                Some(old) => refuse_renumbered(old, &feature, place, &subject, draft),
                None => {
                    let detail = added_detail(was, &feature.name, id);
                    draft.change(ChangeKind::Added, &subject, detail);
                }
            }
        }
        merged.push(feature);
    }
    for gone in was.features.iter().filter(|f| f.id.is_none_or(|id| !kept.contains(&id))) {
        let detail = gone.id.map(|id| format!("id {id} is retired")).unwrap_or_default();
        draft.change(ChangeKind::Removed, format!("{}.{}", next.name, gone.name), detail);
    }
    next.features = merged;
}

/// By name, the committed feature that it asks for, now and after a commit of `next`: its name or one that it
/// had before, unless the commit removes it.
fn answering<'a>(was: &'a Featureset, next: &[Feature]) -> HashMap<&'a str, &'a Feature> {
    let stays: HashSet<u32> = next.iter().filter_map(|f| f.id).collect();
    let staying = was.features.iter().filter(|f| f.id.is_some_and(|id| stays.contains(&id)));
    staying.flat_map(|f| f.former_names.iter().chain([&f.name]).map(move |name| (name.as_str(), f))).collect()
}

/// A name that still answers for one feature cannot be given to another: whoever asks by it would get another
/// value without noticing.
fn refuse_taken(next: &Featureset, feature: &Feature, owner: &Feature, place: &Place, draft: &mut Draft) {
    let (set, name, id) = (&next.name, &feature.name, owner.id.unwrap_or(0));
    let now = next.features.iter().find(|f| f.id == owner.id).map_or(name.as_str(), |f| f.name.as_str());
    let fix = match owner.name == *name {
        true => format!(
            "commit its rename to {now} first, then end the old name with `thyme retire {set}.{name}`, and give it away after that"
        ),
        false => format!("end the old name first with `thyme retire {set}.{name}`"),
    };
    draft.conflict(
        place,
        &format!("{set}.{name}"),
        "a name that no other feature answers to".to_owned(),
        name.clone(),
        format!(
            "{set}.{name} takes a name that still answers for the feature with the id {id}, which is called {now}: {fix}, or choose another name"
        ),
    );
}

/// Whether a feature with another id says what one of its name said: then it is the same one.
fn means_the_same(old: &Feature, new: &Feature, givers: &Outer<'_>) -> bool {
    let origin = |f: &Feature, givers: &Givers| (origin(f, givers.contains_key(&f.name)), f.data_type);
    origin(old, givers.was) == origin(new, givers.is) && givers.was.get(&old.name) == givers.is.get(&new.name)
}

/// Another id is another feature, and whoever asks by the name would get it without noticing.
fn refuse_renumbered(old: &Feature, new: &Feature, place: &Place, subject: &str, draft: &mut Draft) {
    let (was, is) = (old.id.unwrap_or(0), new.id.unwrap_or(0));
    draft.conflict(
        place,
        subject,
        format!("id {was}"),
        format!("id {is}"),
        format!(
            "{subject} has the id {was} and would have the id {is}, and means the same: an id is a feature's for good; keep id={was}, or give the feature with the id {is} another name"
        ),
    );
}

fn added_detail(was: &Featureset, name: &str, id: u32) -> String {
    let replaced = was.features.iter().find(|f| f.name == name && f.id != Some(id)).and_then(|f| f.id);
    match replaced {
        Some(old) => format!("id {id}, in place of id {old}"),
        None => format!("id {id}"),
    }
}

/// By feature, the name and the version of the extractor that gives it.
type Givers = HashMap<String, (String, u32)>;

fn givers(featureset: &Featureset) -> Givers {
    let outputs = |e: &Extractor| {
        let giver = (e.name.clone(), e.version);
        e.outputs.iter().map(move |o| (o.clone(), giver.clone())).collect::<Vec<_>>()
    };
    featureset.extractors.iter().flat_map(outputs).collect()
}

/// The extractors of a featureset before and after.
struct Outer<'a> {
    was: &'a Givers,
    is: &'a Givers,
}

/// Whether a feature reads the same field of another version of its dataset.
fn is_other_version(old: &Feature, new: &Feature) -> bool {
    let field =
        |f: &Feature| f.reference.as_ref().map(|r| (unversioned(&r.dataset).to_owned(), r.field.clone()));
    field(old).is_some() && field(old) == field(new)
}

fn merge_feature(
    old: &Feature,
    new: &Feature,
    outer: &Outer<'_>,
    place: &Place,
    subject: &str,
    draft: &mut Draft,
) {
    let mut meaning: Vec<String> = Vec::new();
    meaning.extend(difference("type", &old.data_type, &new.data_type, ToString::to_string));
    let (was, is) = (outer.was.get(&old.name), outer.is.get(&new.name));
    let origins = (origin(old, was.is_some()), origin(new, is.is_some()));
    if !is_other_version(old, new) {
        meaning.extend(difference("value", &origins.0, &origins.1, String::clone));
    }
    let id = old.id.unwrap_or(0);
    if !meaning.is_empty() {
        draft.conflict(
            place,
            subject,
            format!("{}: {}, {}", old.name, old.data_type, origins.0),
            format!("{}: {}, {}", new.name, new.data_type, origins.1),
            format!(
                "{subject} has the id {id} and changes what the id means: {}; a new meaning needs a new id: give it one that was never used (without ids: a new name)",
                meaning.join("; ")
            ),
        );
        return;
    }
    let mut details: Vec<String> = Vec::new();
    details.extend(difference("name", &old.name, &new.name, String::clone));
    details.extend(difference("value", &origins.0, &origins.1, String::clone));
    details.extend(difference("default", &old.default, &new.default, show_option));
    details.extend(difference("optional", &old.optional, &new.optional, bool::to_string));
    details.extend(ages((old.max_age, old.on_stale), (new.max_age, new.on_stale)));
    details.extend(metadata(&old.meta, &new.meta));
    if let (Some(was), Some(is)) = (was, is)
        && was.0 != is.0
    {
        if is.1 <= was.1 {
            draft.conflict(
                place,
                subject,
                format!("extractor {}", was.0),
                format!("extractor {}", is.0),
                format!(
                    "{subject} is given by the extractor {} instead of {} without a new version; bump {}: @extractor(version={})",
                    is.0,
                    was.0,
                    is.0,
                    was.1 + 1
                ),
            );
        }
        details.push(format!("extractor: {} -> {}", was.0, is.0));
    }
    draft.changed(subject, &details);
}

/// What is different in how old a value may be: it only says which values are answered, so it changes in place.
fn ages(was: (Option<Span>, Option<OnStale>), is: (Option<Span>, Option<OnStale>)) -> Vec<String> {
    let span = difference("max_age", &was.0, &is.0, show_option);
    let word = |on: &Option<OnStale>| on.map_or_else(|| "none".to_owned(), |on| on.word().to_owned());
    span.into_iter().chain(difference("on_stale", &was.1, &is.1, word)).collect()
}

/// What gives a feature its value.
fn origin(feature: &Feature, by_extractor: bool) -> String {
    match &feature.reference {
        Some(FieldRef { dataset, field }) => format!("ref={dataset}.{field}"),
        None if feature.request => "request=True".to_owned(),
        None if by_extractor => "an extractor".to_owned(),
        None => "the entity".to_owned(),
    }
}

fn merge_extractors(was: &Featureset, next: &Featureset, sets: Sets<'_>, draft: &mut Draft) {
    let by_name: HashMap<&str, &Extractor> = was.extractors.iter().map(|e| (e.name.as_str(), e)).collect();
    for extractor in &next.extractors {
        let subject = format!("{}.{}", next.name, extractor.name);
        let place = if extractor.at.file.is_empty() { &next.at } else { &extractor.at };
        match by_name.get(extractor.name.as_str()) {
            None => draft.change(ChangeKind::Added, subject, format!("version {}", extractor.version)),
            Some(old) => {
                let meaning = extractor_meaning((was, old), (next, extractor), sets);
                merge_extractor(old, extractor, meaning, (place, &subject), draft);
            }
        }
    }
    let kept: HashSet<&str> = next.extractors.iter().map(|e| e.name.as_str()).collect();
    for gone in was.extractors.iter().filter(|e| !kept.contains(e.name.as_str())) {
        draft.change(ChangeKind::Removed, format!("{}.{}", next.name, gone.name), "");
    }
}

fn merge_extractor(
    old: &Extractor,
    new: &Extractor,
    meaning: Vec<String>,
    (place, subject): (&Place, &str),
    draft: &mut Draft,
) {
    if new.version < old.version {
        draft.conflict(
            place,
            subject,
            format!("version {}", old.version),
            format!("version {}", new.version),
            format!(
                "{subject} is committed in version {} and proposed in version {}; versions only grow: give it {} or more",
                old.version,
                new.version,
                new.versioned_by(old.version)
            ),
        );
    } else if new.version == old.version && !meaning.is_empty() {
        draft.conflict(
            place,
            subject,
            format!("version {}", old.version),
            meaning.join("; "),
            format!(
                "{subject} changes what it computes without a new version: {}; bump {}",
                meaning.join("; "),
                new.versioned_by(old.version + 1)
            ),
        );
    }
    let mut details: Vec<String> =
        difference("version", &old.version, &new.version, u32::to_string).into_iter().collect();
    details.extend(meaning);
    draft.changed(subject, &details);
}

/// The differences in what an extractor computes. Features are compared by id, so that a rename is none.
fn extractor_meaning(
    (was, old): (&Featureset, &Extractor),
    (is, new): (&Featureset, &Extractor),
    sets: Sets<'_>,
) -> Vec<String> {
    let id = |set: &Featureset, name: &str| match set.feature(name).and_then(|f| f.id) {
        Some(id) => format!("#{id}"),
        None => name.to_owned(),
    };
    let other_id = |i: &FeatureRef, found: Option<u32>| {
        let other = i.featureset.as_deref().unwrap_or_default();
        found.map_or_else(|| format!("{other}.{}", i.feature), |id| format!("{other}#{id}"))
    };
    let foreign = |i: &FeatureRef| i.featureset.as_deref().is_some_and(|f| f != is.name);
    let before = |i: &FeatureRef| match i.featureset.as_deref().filter(|_| foreign(i)) {
        Some(other) => other_id(i, sets.id_before(other, &i.feature)),
        None => id(was, &i.feature),
    };
    let after = |i: &FeatureRef| match i.featureset.as_deref().filter(|_| foreign(i)) {
        Some(other) => other_id(i, sets.id_after(other, &i.feature)),
        None => id(is, &i.feature),
    };
    let outputs = |set: &Featureset, e: &Extractor| e.outputs.iter().map(|o| id(set, o)).collect::<Vec<_>>();
    let taken = |e: &Extractor| show::list(e.inputs.iter().map(|i| i.feature.clone()));
    let given = |e: &Extractor| show::list(e.outputs.iter().cloned());
    // A name that another feature bears now looks the same and is not.
    let renamed = |was: &str, is: &str| if was == is { " (another id)" } else { "" };
    let mut found = Vec::new();
    if !old.inputs.iter().map(before).eq(new.inputs.iter().map(after)) {
        let (was, is) = (taken(old), taken(new));
        found.push(format!("inputs: {was} -> {is}{}", renamed(&was, &is)));
    } else if new.form == Form::Dict && taken(old) != taken(new) {
        // Its code finds them by name.
        found.push(format!("names in its dict of inputs: {} -> {}", taken(old), taken(new)));
    }
    if outputs(was, old) != outputs(is, new) {
        let (was, is) = (given(old), given(new));
        found.push(format!("outputs: {was} -> {is}{}", renamed(&was, &is)));
    }
    let deps = |e: &Extractor| show::list(e.deps.iter().cloned());
    found.extend(difference("deps", &deps(old), &deps(new), String::clone));
    found.extend(difference("form", &old.form, &new.form, |f| format!("{f:?}").to_lowercase()));
    found.extend(difference("vectorized", &old.vectorized, &new.vectorized, bool::to_string));
    if old.code != new.code {
        found.push("code".to_owned());
    }
    if old.without_names() != new.without_names() {
        let shown = |e: &Extractor| e.expr.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
        found.push(format!("expression: {} -> {}", shown(old), shown(new)));
    }
    found
}
